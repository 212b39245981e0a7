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
 * *reuse*, the share of blocks that were asked for not long ago, times *trust*, the share of these that the cache
 * turned out to have kept where it was used; or the share of hits that it had lately, if that is more. Reuse is found
 * without storing the blocks: only some are watched (by their hash, one in as many as the cache has room for 128 of),
 * and of these up to 256 are remembered by 16 bits each.
 * The idea is that of Waldspurger's SHARDS (FAST 2015).
 *
 * A choice that wins round after round is probed ever more seldom; one that ceases to cost what was expected ends its
 * round at once.
 */
#ifndef EFUSE_IO_SCHEDULER_H
#define EFUSE_IO_SCHEDULER_H

/* Sizes up to 4, 8, 16, 32 KiB; larger ones have no choice. */
#define IO_CLASSES 4
#define IO_SMALLEST_CLASS 4096
/* One, for shares. */
#define IO_ONE 65536
#define IO_WATCHED 256
/* The share of hits is that of so many requests. */
#define IO_ASKED 128
/* Of requests that are not probes, one in as many is timed; a power of two. */
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
};

/* Of one inode and size class. */
struct io_class {
	/* nanoseconds, averages; 0: not known */
	__u32 hit;
	__u32 miss;
	__u32 direct;
	/* what the chosen path was expected to cost in this round */
	__u32 expected;
	__u32 position;
	/* one minus trust */
	__u32 distrust;
	/* the share of requests that the cache had, while it is used; 0: it is not */
	__u32 hits;
	/* requests of this round that the cache was asked for, and those that it had */
	__u16 asked;
	__u16 found;
	__u8 choice;
	__u8 stable;
	__u8 chosen;
};

/* Of one inode. */
struct io_file {
	struct io_class classes[IO_CLASSES];
	/* what is left of the hashes of watched blocks, each in the place that the rest of its hash says */
	__u16 watched[IO_WATCHED];
	/* one minus reuse: every block may have been asked for before, until it turns out that it was not */
	__u32 fresh;
	/* for who watches: decisions that turned out dearer than the other path is expected to be, and rounds cut short */
	__u32 mispredicted;
	__u32 drifted;
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

/* A block is asked for: was it, not long ago? */
io_inline void io_watch(struct io_file *file, const struct io_knobs *knobs, __u64 block)
{
	__u64 hash = io_hash(block);
	__u32 place = (hash >> 32) & (IO_WATCHED - 1);
	/* 0: none */
	__u16 rest = (hash >> 48) | 1;

	if (hash & (knobs->sample - 1))
		return;
	if (file->watched[place] == rest) {
		file->fresh -= file->fresh >> 5;
	} else {
		file->fresh += (IO_ONE - file->fresh) >> 5;
		file->watched[place] = rest;
	}
}

io_inline __u32 io_expected_cache(const struct io_file *file, const struct io_class *class)
{
	/* what a hit costs is not known before the first: half of the direct path, so that it is found out */
	__u64 hit = class->hit ? class->hit : class->direct / 2;
	__u64 miss = class->miss ? class->miss : class->direct;
	__u64 p = (__u64)(IO_ONE - file->fresh) * (IO_ONE - class->distrust) / IO_ONE;

	if (p < class->hits)
		p = class->hits;
	return (p * hit + (IO_ONE - p) * miss) / IO_ONE;
}

/* How the next request goes. */
io_inline struct io_decision io_decide(struct io_file *file, const struct io_knobs *knobs, __u32 size, __u64 block)
{
	struct io_decision decision = { .path = IO_DIRECT };
	struct io_class *class;
	__u32 expected;

	if (size > knobs->limit)
		return decision;
	if (knobs->probes == 0) {
		decision.path = knobs->fixed;
		return decision;
	}
	class = &file->classes[io_class_of(size)];
	io_watch(file, knobs, block);
	if (class->position < knobs->probes) {
		decision.path = class->position & 1 ? IO_DIRECT : IO_CACHE;
		decision.probe = 1;
		decision.timed = 1;
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
	decision.timed = (class->position & (IO_TIMED - 1)) == 0;
	if (++class->position >= knobs->round << class->stable) {
		class->position = 0;
		/* what was remembered of a cache that is not used is out of date: believed again, little by little */
		if (class->choice == IO_DIRECT) {
			class->distrust -= class->distrust >> 3;
			class->hits = 0;
		}
	}
	return decision;
}

/* Whether a block that the cache was asked for was there. */
io_inline void io_found(struct io_file *file, __u32 size, __u32 found)
{
	struct io_class *class = &file->classes[io_class_of(size)];
	__u32 share, seen, before = class->hits;

	class->found += !!found;
	if (++class->asked < IO_ASKED)
		return;
	class->hits = class->found * (IO_ONE / IO_ASKED);
	/* of those that were asked for before, how many were kept? */
	seen = class->asked * (IO_ONE - file->fresh) / IO_ONE;
	if (seen >= 16) {
		share = class->found * IO_ONE / seen;
		if (share > IO_ONE)
			share = IO_ONE;
		/* a cache that has ever more is still being filled: no reason to trust it less */
		if (class->hits <= before + IO_ONE / 8 || IO_ONE - share < class->distrust)
			class->distrust += (IO_ONE - share) / 4 - class->distrust / 4;
	}
	class->asked = 0;
	class->found = 0;
}

/* What a timed request has cost. A miss includes filling the cache. */
io_inline void io_observe(struct io_file *file, struct io_decision decision, __u32 size, __u32 found, __u32 ns)
{
	struct io_class *class = &file->classes[io_class_of(size)];
	__u32 *cost = decision.path == IO_DIRECT ? &class->direct : found ? &class->hit : &class->miss;
	__u32 cache, now;

	/* one that was interrupted says little about the path, above all if it was the first */
	if (*cost && ns > 4 * *cost)
		ns = 4 * *cost;
	*cost = io_average(*cost, ns, ns < *cost / 2 ? 1 : 3);
	if (decision.probe)
		return;
	cache = io_expected_cache(file, class);
	file->mispredicted += ns > (decision.path == IO_CACHE ? class->direct : cache);
	now = decision.path == IO_CACHE ? cache : class->direct;
	if (now <= 2 * class->expected && 2 * now >= class->expected)
		return;
	class->position = 0;
	class->stable = 0;
	class->chosen = 0;
	class->distrust = 0;
	file->drifted++;
}

#endif
