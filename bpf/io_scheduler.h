/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which way a read goes: through the cache in BPF maps, or to the backing file directly. Plain C without calls, which
 * the program and a host test compile alike. The includer provides __u8, __u16, __u32, __u64.
 *
 * Requests of one inode and size class come in rounds. The first few of a round take both paths in turn and are timed;
 * the rest take the one that is expected to cost less. What the direct path costs is an average of what it has cost.
 * What the cache costs depends on how often a block is found there:
 *
 *	cost(cache) = p cost(hit) + (1 - p) cost(miss)
 *
 * and p must be known before the cache is used, for a cache that is not used is not filled and has no hits. So p is
 * *reuse*, the share of blocks that were asked for not long ago, times *trust*, the share that the cache turned out to
 * have kept of the blocks that had gone through it; or the share of hits that it had lately, if that is more. A write makes
 * all blocks of its file old, and reuse counts from then on.
 * Reuse is found without storing blocks, by a scale model of the cache: some blocks are watched, by their hash, one in
 * as many as the cache has room for 256 of (or the file has 128 of; but for tiny files, one in two at most), and up to 256
 * are remembered by 16 bits each, in sets of four as in the cache. The idea is that of Waldspurger's SHARDS (FAST 2015).
 *
 * A choice that wins round after round is probed ever more seldom; one that ceases to cost what was expected, or that is
 * not expected to be the cheaper one any more, ends its round at once.
 *
 * An ordinary request, one that is neither a probe nor timed, costs a count down and the look at its block's hash: there
 * is no clock in it and nothing is averaged.
 */
#ifndef EFUSE_IO_SCHEDULER_H
#define EFUSE_IO_SCHEDULER_H

/* Sizes up to 4, 8, 16, 32 KiB; larger ones have no choice. */
#define IO_CLASSES 4
#define IO_SMALLEST_CLASS 4096
/* One, for shares. */
#define IO_ONE 65536
/* Words of four watched blocks each, those used last in front. */
#define IO_WATCHED 64
/* The share of hits is that of so many requests: a power of two. */
#define IO_ASKED 128
/* Reuse is that of so many watched blocks. */
#define IO_REMEMBERED 32
/* Of requests that are not probes, one in as many is timed. */
#define IO_TIMED 16
/* A round becomes at most so many times as long: 1 << IO_STABLE. */
#define IO_STABLE 4

enum io_path {
	IO_CACHE,
	IO_DIRECT,
};

struct io_knobs {
	/* requests in a round, and how many of them are probes; 0 probes, and `fixed` is the path */
	__u32 round;
	__u32 probes;
	__u32 fixed;
	/* bytes; larger requests go the direct way */
	__u32 limit;
	/* one block in as many is watched; a power of two */
	__u32 sample;
};

/* How one request goes. */
struct io_decision {
	__u8 path;
	__u8 probe;
	/* its cost is to be told to io_observe() */
	__u8 timed;
	/* the cache should have it, for it had */
	__u8 kept;
};

/* Of one inode and size class. */
struct io_class {
	/* nanoseconds, averages; 0: not known */
	__u32 hit;
	__u32 miss;
	__u32 direct;
	/* what the chosen path was expected to cost in this round */
	__u32 expected;
	/* in the round; requests that are not timed are counted ahead */
	__u32 position;
	/* one minus trust */
	__u32 distrust;
	/* the share of requests that the cache had, while it is used; 0: it is not */
	__u32 hits;
	/* requests of this round that the cache was asked for, and those that it had */
	__u16 asked;
	__u16 found;
	/* so many ordinary requests follow */
	__u16 ordinary;
	__u8 choice;
	__u8 stable;
	__u8 chosen;
};

/* What paths have cost lately, whichever inode: files that are new begin with it, and need not try. */
struct io_known {
	struct {
		__u32 hit;
		__u32 miss;
		__u32 direct;
	} classes[IO_CLASSES];
};

/* Of one inode; begun by io_begin(). */
struct io_file {
	struct io_class classes[IO_CLASSES];
	/* what is left of the hashes of watched blocks, each in the word that the rest of its hash says */
	__u64 watched[IO_WATCHED];
	/* the last block asked for so far */
	__u32 reach;
	/* one block in as many, and one, is watched: a power of two less one */
	__u32 mask;
	/* the share of watched blocks that were asked for before, and of how many, at most IO_REMEMBERED */
	__u32 reuse;
	__u32 asked;
	/* for who watches: decisions timed, those that turned out dearer than the other path is expected to be, and rounds
	 * cut short */
	__u32 timed;
	__u32 mispredicted;
	__u32 drifted;
	/* writes to it: part of a block's hash, so that what was asked for before one is not found after it */
	__u32 changes;
};

#define io_inline static inline __attribute__((always_inline, unused))

io_inline __u32 io_class_of(__u32 size)
{
	__u32 class = 0;

	for (__u32 most = IO_SMALLEST_CLASS; class < IO_CLASSES - 1 && size > most; most *= 2)
		class++;
	return class;
}

/* An average that the last 2^shift values weigh most in. */
io_inline __u32 io_average(__u32 average, __u32 value, __u32 shift)
{
	if (average == 0)
		return value;
	return value >= average ? average + ((value - average + (1 << shift) - 1) >> shift)
				: average - ((average - value + (1 << shift) - 1) >> shift);
}

io_inline __u64 io_hash(__u64 block)
{
	block *= 0x9e3779b97f4a7c15ULL;
	block ^= block >> 32;
	block *= 0xd6e8feb86659fd93ULL;
	return block ^ block >> 32;
}

/* An inode that nothing is known of: `file` is zero. Files that are read a few times would else be tried all the time. */
io_inline void io_begin(struct io_file *file, const struct io_known *known, const struct io_knobs *knobs)
{
	for (int i = 0; i < IO_CLASSES; i++) {
		file->classes[i].hit = known->classes[i].hit;
		file->classes[i].miss = known->classes[i].miss;
		file->classes[i].direct = known->classes[i].direct;
		if (known->classes[i].miss && known->classes[i].direct)
			file->classes[i].position = knobs->probes;
	}
}

/* A file turns out to be longer: fewer of its blocks are watched. */
io_inline void io_reach(struct io_file *file, const struct io_knobs *knobs, __u64 block)
{
	__u32 mask;

	file->reach = block < 0xffffffff ? block : 0xffffffff;
	/* of files of eight blocks and more half of them will do */
	mask = file->reach / 128 | (file->reach >= 7);
	mask |= mask >> 1;
	mask |= mask >> 2;
	mask |= mask >> 4;
	mask |= mask >> 8;
	mask |= mask >> 16;
	if (mask > knobs->sample - 1)
		mask = knobs->sample - 1;
	file->mask = mask;
}

/* A watched block is asked for. Returns: it was before, and went through the cache, as it does now */
io_inline _Bool io_watch(struct io_file *file, __u64 hash, __u8 path)
{
	__u32 place = (hash >> 32) & (IO_WATCHED - 1);
	__u64 word = file->watched[place], found = 0;
	/* Of the 16 bits, one says that there is a block, and one that it went through the cache last. */
	__u64 rest = (hash >> 48 & 0xfffc) | 2 | (path == IO_CACHE);

	/* Those before it move one place on, into its own. */
	for (int shift = 0; shift < 64 && !found; shift += 16) {
		found = word >> shift & 0xffff;
		if ((found | 1) != (rest | 1)) {
			found = 0;
			continue;
		}
		word = (word & ~((0x10000ULL << shift) - 1)) | (word & ((1ULL << shift) - 1)) << 16 | rest;
	}
	file->watched[place] = found ? word : word << 16 | rest;
	file->asked += file->asked < IO_REMEMBERED;
	if (found)
		file->reuse += (IO_ONE - file->reuse) / file->asked;
	else
		file->reuse -= file->reuse / file->asked;
	return found & rest & 1;
}

io_inline __u32 io_expected_cache(const struct io_file *file, const struct io_class *class)
{
	/* what a hit costs is not known before the first: half of the direct path, so that it is found out */
	__u64 hit = class->hit ? class->hit : class->direct / 2;
	__u64 miss = class->miss ? class->miss : class->direct;
	__u64 p = (__u64)file->reuse * (IO_ONE - class->distrust) / IO_ONE;

	if (p < class->hits)
		p = class->hits;
	return (p * hit + (IO_ONE - p) * miss) / IO_ONE;
}

/* A request that begins a round, or that is timed. */
io_inline struct io_decision io_decide_anew(struct io_file *file, struct io_class *class, const struct io_knobs *knobs)
{
	struct io_decision decision = { .path = IO_DIRECT, .timed = 1 };
	__u32 expected;

	if (class->position < knobs->probes) {
		decision.path = class->position & 1 ? IO_DIRECT : IO_CACHE;
		decision.probe = 1;
		class->position++;
		return decision;
	}
	if (class->position == knobs->probes) {
		/* the round's choice */
		expected = io_expected_cache(file, class);
		decision.path = expected <= class->direct ? IO_CACHE : IO_DIRECT;
		if (class->chosen && decision.path == class->choice)
			class->stable += class->stable < IO_STABLE;
		else
			class->stable = 0;
		class->chosen = 1;
		class->choice = decision.path;
		class->expected = decision.path == IO_CACHE ? expected : class->direct;
		class->asked = 0;
		class->found = 0;
	}
	decision.path = class->choice;
	class->ordinary = IO_TIMED - 1;
	class->position += IO_TIMED;
	if (class->position >= knobs->round << class->stable) {
		class->position = 0;
		/* what was remembered of a cache that is not used is out of date: believed again, little by little */
		if (class->choice == IO_DIRECT) {
			class->distrust -= class->distrust >> 3;
			class->hits = 0;
		}
	}
	return decision;
}

/* The file is written to: blocks asked for before are as good as never asked for. */
io_inline void io_changed(struct io_file *file)
{
	file->changes++;
}

/* How the next request goes. */
io_inline struct io_decision io_decide(struct io_file *file, const struct io_knobs *knobs, __u32 size, __u64 block)
{
	struct io_decision decision = { .path = IO_DIRECT };
	struct io_class *class;
	__u64 hash;

	if (size > knobs->limit)
		return decision;
	if (knobs->probes == 0) {
		decision.path = knobs->fixed;
		return decision;
	}
	class = &file->classes[io_class_of(size)];
	if (class->ordinary) {
		class->ordinary--;
		decision.path = class->choice;
	} else {
		decision = io_decide_anew(file, class, knobs);
	}
	hash = io_hash(block ^ (__u64)file->changes << 44);
	if (block > file->reach)
		io_reach(file, knobs, block);
	if (!(hash & file->mask))
		decision.kept = io_watch(file, hash, decision.path);
	return decision;
}

/* Whether the blocks that the cache was asked for were there. */
io_inline void io_found(struct io_file *file, struct io_decision decision, __u32 size, __u32 found)
{
	struct io_class *class = &file->classes[io_class_of(size)];

	if (decision.kept && found)
		class->distrust -= class->distrust >> 3;
	else if (decision.kept)
		class->distrust += (IO_ONE - class->distrust) >> 3;
	class->found += !!found;
	if (++class->asked < IO_ASKED)
		return;
	class->hits = class->found * (IO_ONE / IO_ASKED);
	class->asked = 0;
	class->found = 0;
}

/* What a timed request has cost. A miss includes filling the cache. */
io_inline void io_observe(struct io_file *file, struct io_known *known, struct io_decision decision, __u32 size, __u32 found,
			  __u32 ns)
{
	__u32 index = io_class_of(size);
	struct io_class *class = &file->classes[index];
	__u32 *cost = decision.path == IO_DIRECT ? &class->direct : found ? &class->hit : &class->miss;
	__u32 cache, now, other;
	_Bool drifted;

	/* one that was interrupted says little about the path, above all if it was the first */
	if (*cost && ns > 2 * *cost)
		ns = 2 * *cost;
	*cost = io_average(*cost, ns, ns < *cost / 2 ? 1 : 4);
	known->classes[index].hit = class->hit;
	known->classes[index].miss = class->miss;
	known->classes[index].direct = class->direct;
	if (decision.probe)
		return;
	cache = io_expected_cache(file, class);
	now = decision.path == IO_CACHE ? cache : class->direct;
	other = decision.path == IO_CACHE ? class->direct : cache;
	file->timed++;
	/* what such a request costs, whatever has come in between in this one */
	file->mispredicted += *cost > other;
	drifted = now > 2 * class->expected || 2 * now < class->expected;
	if (!drifted && now <= other + other / 32)
		return;
	class->position = 0;
	class->ordinary = 0;
	class->stable = 0;
	class->chosen = 0;
	if (drifted)
		class->distrust = 0;
	file->drifted++;
}

#endif
