// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads and writes answered in the kernel: from blocks that are kept in maps, or by the backing file itself.
 * docs/data.md explains it; io_scheduler.h chooses the way of a read.
 *
 * A block is what a file has in one place in one version of it. The file's own file system counts the version up with
 * every change, before it is made, whoever makes it: through this mount, another, or behind them. So there is nothing
 * to invalidate. Where changes can't be counted (somebody has mapped the file to write to it), blocks are not used.
 *
 * Limits: blocks of 4 KiB lie in sets of IO_WAYS, in an array of a size that is fixed when the program is loaded. A block
 * that is in use is neither filled nor given away; who finds it so takes the direct path.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "efuse.h"
#include "io.h"
#include "words.h"

char LICENSE[] SEC("license") = "GPL";

/* Hashes are keyed: whoever chooses files and places can't choose their sets. */
const volatile __u64 seed = 0x5bd1e995;
const volatile __u32 policy = IO_ADAPTIVE;
/* Sets of blocks; inodes' accounts, a power of two, less one. Set with the maps' sizes. */
const volatile __u32 nr_sets = 16;
const volatile __u32 slots_mask = 1023;
/* See struct io_knobs. */
const volatile __u32 round = 256;
const volatile __u32 probes = 8;
const volatile __u32 limit = 32768;
const volatile __u32 sample = 1;
/* Whether writes are answered. */
const volatile _Bool answer_write = 1;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct io_set);
} sets SEC(".maps");

/* The bytes of block `way` of set `set` are at set * IO_WAYS + way. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct io_bytes);
} blocks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct io_slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct io_counts);
} counts SEC(".maps");

/* One's own CPU's is as good as another's. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct io_known);
} known SEC(".maps");

static __always_inline struct io_counts *counts_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

/* Where an inode's account is, or another one's that shares its place. */
static __always_inline struct io_slot *slot_at(__u64 nodeid)
{
	__u32 index = io_hash(nodeid ^ seed) & slots_mask;

	return bpf_map_lookup_elem(&slots, &index);
}

/* The account of the request's inode: what an other one has left there is forgotten. */
static __always_inline struct io_slot *slot_of(__u64 nodeid, const struct io_knobs *knobs)
{
	struct io_slot *slot = slot_at(nodeid);

	if (slot && slot->nodeid != nodeid) {
		volatile __u64 *words = (volatile __u64 *)slot;
		struct io_known *now;
		__u32 zero = 0;

		for (int word = 0; word < sizeof(*slot) / 8; word++)
			words[word] = 0;
		slot->nodeid = nodeid;
		now = bpf_map_lookup_elem(&known, &zero);
		if (now)
			io_begin(&slot->file, now, knobs);
	}
	return slot;
}

/* The request's inode is written to: so its account, if it has one, has blocks that are old. */
static __always_inline void count_change(__u64 nodeid)
{
	struct io_slot *slot = slot_at(nodeid);

	if (slot && slot->nodeid == nodeid)
		io_changed(&slot->file);
}

/* Is this the file's block `index`, as it is now, with `length` bytes at least? */
static __always_inline _Bool is_block(const struct io_block *block, const struct efuse_backing_state *file, __u64 index,
				      __u32 length)
{
	return WORD(block->version) == file->version && WORD(block->index) == index && WORD(block->ino) == file->ino &&
	       WORD(block->generation) == file->generation && WORD(block->dev) == file->dev &&
	       WORD(block->length) >= length;
}

/*
 * A block to be filled: one of no use any more, or that nobody has used for a while. It is ours then.
 *
 * This is a function of its own to the verifier, as are the scheduler's below: followed once, wherever it is called. All of their
 * ways together would be as many as its limit allows.
 */
__noinline int take_block(struct io_set *set __arg_nonnull, const struct efuse_backing_state *file __arg_nonnull)
{
	int found = -1;

#pragma unroll
	for (int way = 0; way < IO_WAYS; way++) {
		struct io_block *block = &set->ways[way];

		/* Another state of this file, or nothing yet. */
		if (!WORD(block->users) && (!WORD(block->length) ||
		    (WORD(block->ino) == file->ino && WORD(block->version) != file->version))) {
			found = way;
			break;
		}
	}
	if (found < 0)
		found = IO_SECOND_CHANCE(set);
	found &= IO_WAYS - 1;
	return __sync_val_compare_and_swap(&set->ways[found].users, 0, IO_FILLING) ? -1 : found;
}

/* What became of a block of a request. */
enum block_outcome {
	BLOCK_HIT,
	BLOCK_FILLED,
	BLOCK_MISSED,
};

/* Answers what the request wants of one block, `length` bytes of which are needed, from the cache. */
static __noinline int serve_block(struct efuse_ctx *ctx, const struct efuse_backing_state *file, __u64 index,
				  __u32 length)
{
	__u32 set_index = ((io_hash((index ^ seed) * 31 + file->ino) >> 32) * nr_sets) >> 32, at;
	struct io_set *set = bpf_map_lookup_elem(&sets, &set_index);
	struct io_bytes *bytes;
	int way, copied, err;

	if (!set || !length || length > IO_BLOCK)
		return BLOCK_MISSED;
#pragma unroll
	for (way = 0; way < IO_WAYS; way++) {
		struct io_block *block = &set->ways[way];

		if (!is_block(block, file, index, length))
			continue;
		at = set_index * IO_WAYS + way;
		bytes = bpf_map_lookup_elem(&blocks, &at);
		if (!bytes)
			return BLOCK_MISSED;
		err = -EAGAIN;
		/* From here on it stays what it is, if it still is. */
		if (!(__sync_fetch_and_add(&block->users, 1) & IO_FILLING) && is_block(block, file, index, length))
			err = bpf_efuse_reply_block(ctx, index << IO_BLOCK_SHIFT, bytes->bytes, length);
		__sync_fetch_and_add(&block->users, -1);
		if (err)
			return BLOCK_MISSED;
		if (!block->used)
			block->used = 1;
		return BLOCK_HIT;
	}

	way = take_block(set, file);
	/* the compiler knows what the verifier has to be shown */
	barrier_var(way);
	if (way < 0 || way >= IO_WAYS)
		return BLOCK_MISSED;
	at = set_index * IO_WAYS + way;
	bytes = bpf_map_lookup_elem(&blocks, &at);
	err = -EAGAIN;
	if (bytes) {
		struct io_block *block = &set->ways[way];

		copied = bpf_efuse_backing_fill(ctx, index << IO_BLOCK_SHIFT, bytes->bytes, IO_BLOCK, file->version);
		block->length = copied > 0 ? copied : 0;
		block->ino = file->ino;
		block->dev = file->dev;
		block->generation = file->generation;
		block->version = file->version;
		block->index = index;
		block->used = 0;
		if (copied >= (int)length)
			err = bpf_efuse_reply_block(ctx, index << IO_BLOCK_SHIFT, bytes->bytes, length);
	}
	__sync_fetch_and_add(&set->ways[way].users, -IO_FILLING);
	return err ? BLOCK_MISSED : BLOCK_FILLED;
}

struct passage {
	/* bytes of the answer that the cache has given */
	__u32 done;
	__u16 hits;
	__u16 filled;
	_Bool complete;
};

/* A small file, of which something was taken in, is taken in as a whole: the answer gets nothing of the other blocks. */
static __noinline int take_whole(struct efuse_ctx *ctx, const struct efuse_backing_state *file, struct passage *passage)
{
	int index;

	if (!file || !passage)
		return 0;
	bpf_for(index, 0, IO_MOST_BLOCKS) {
		__u64 left = file->size - ((__u64)index << IO_BLOCK_SHIFT);

		if ((__u64)index << IO_BLOCK_SHIFT >= file->size)
			break;
		if (serve_block(ctx, file, index, left < IO_BLOCK ? left : IO_BLOCK) == BLOCK_FILLED)
			passage->filled++;
	}
	return 0;
}

/* Answers from the cache, up to the first block that is neither there nor can be taken in. */
static __noinline int through_cache(struct efuse_ctx *ctx, struct passage *passage)
{
	struct efuse_backing_state file;
	__u64 start = ctx->offset, end = start + ctx->size, index;
	int i;

	if (!passage || bpf_efuse_backing_state(ctx, &file, sizeof(file)))
		return 0;
	if (end > file.size)
		end = file.size;
	if (start >= end) {
		passage->complete = !bpf_efuse_reply_size(ctx, 0);
		return 0;
	}
	index = start >> IO_BLOCK_SHIFT;
	bpf_for(i, 0, IO_MOST_BLOCKS) {
		__u64 from = (index + i) << IO_BLOCK_SHIFT;
		__u64 left = end - from;
		__u32 length = left < IO_BLOCK ? left : IO_BLOCK;
		int outcome = serve_block(ctx, &file, index + i, length);

		if (outcome == BLOCK_MISSED)
			return 0;
		if (outcome == BLOCK_HIT)
			passage->hits++;
		else
			passage->filled++;
		passage->done = from + length - start;
		if (left <= IO_BLOCK) {
			passage->complete = 1;
			break;
		}
	}
	if (passage->complete && passage->filled && file.size <= limit)
		take_whole(ctx, &file, passage);
	return 0;
}

/* A decision as a number: what functions of their own can return. */
union decision {
	struct io_decision as;
	__u32 number;
};

__noinline __u32 decide(struct io_file *file __arg_nonnull, const struct io_knobs *knobs __arg_nonnull, __u32 size, __u64 block)
{
	union decision decision = { .as = io_decide(file, knobs, size, block) };

	return decision.number;
}

__noinline int found_in_cache(struct io_file *file __arg_nonnull, __u32 number, __u32 size, __u32 found)
{
	union decision decision = { .number = number };

	io_found(file, decision.as, size, found);
	return 0;
}

/* `number` has whether the cache had all of it above its 32 bits. */
__noinline int observe(struct io_file *file __arg_nonnull, struct io_known *costs __arg_nonnull, __u64 number, __u32 size, __u32 ns)
{
	union decision decision = { .number = number };

	io_observe(file, costs, decision.as, size, number >> 32, ns);
	return 0;
}

SEC("struct_ops.s/read")
int EFUSE_HOOK(io_read)
{
	union decision decision = { .as.path = policy == IO_CACHE_ONLY ? IO_CACHE : IO_DIRECT };
	const struct io_knobs knobs = { .round = round, .probes = probes, .limit = limit, .sample = sample };
	__u32 size = ctx->size, zero = 0, before, drifted;
	struct io_counts *count = counts_here();
	struct passage passage = {};
	struct io_slot *slot = 0;
	struct io_known *costs;
	__u64 began = 0, ns;
	int got = 0;

	if (!count || policy == IO_OFF)
		return EFUSE_PASS;
	if (size > limit) {
		decision.as.path = IO_DIRECT;
	} else if (policy == IO_ADAPTIVE) {
		slot = slot_of(ctx->nodeid, &knobs);
		if (!slot)
			return EFUSE_PASS;
		decision.number = decide(&slot->file, &knobs, size, ctx->offset >> IO_BLOCK_SHIFT);
		count->probes += decision.as.probe;
		if (decision.as.timed)
			began = bpf_ktime_get_ns();
	}

	if (decision.as.path == IO_CACHE) {
		through_cache(ctx, &passage);
		count->hits += passage.hits;
		count->filled += passage.filled;
		count->cached += passage.complete;
		count->cached_bytes += passage.done;
		count->misses += passage.filled + !passage.complete;
		/* which takes its time after a write, and is a part of what the other path is timed with */
		if (passage.complete && passage.done && policy == IO_ADAPTIVE)
			bpf_efuse_accessed(ctx);
	}
	if (!passage.complete) {
		got = bpf_efuse_read_backing(ctx, passage.done, size - passage.done);
		if (got < 0 && !passage.done) {
			if (got == -ENOENT || got == -EBADF) {
				count->reads_passed++;
				return EFUSE_PASS;
			}
			return got;
		}
		count->direct++;
		if (got > 0)
			count->direct_bytes += got;
	}

	if (slot) {
		_Bool found = passage.complete && !passage.filled;

		if (decision.as.path == IO_CACHE)
			found_in_cache(&slot->file, decision.number, size, found);
		costs = decision.as.timed ? bpf_map_lookup_elem(&known, &zero) : 0;
		if (costs) {
			ns = bpf_ktime_get_ns() - began;
			if (ns > 0xffffffff)
				ns = 0xffffffff;
			before = slot->file.mispredicted;
			drifted = slot->file.drifted;
			observe(&slot->file, costs, decision.number | (__u64)found << 32, size, ns);
			count->timed += !decision.as.probe;
			count->mispredicted += slot->file.mispredicted - before;
			count->drifted += slot->file.drifted - drifted;
		}
	}
	return EFUSE_DONE;
}

SEC("struct_ops.s/write")
int EFUSE_HOOK(io_write)
{
	struct io_counts *count = counts_here();
	int written;

	if (!count || policy == IO_OFF || !answer_write)
		return EFUSE_PASS;
	written = bpf_efuse_write_backing(ctx, 0, ctx->size);
	if (written == -ENOENT || written == -EAGAIN || written == -EBADF) {
		count->writes_passed++;
		return EFUSE_PASS;
	}
	if (written < 0)
		return written;
	if (policy == IO_ADAPTIVE)
		count_change(ctx->nodeid);
	count->written++;
	count->written_bytes += written;
	return EFUSE_DONE;
}

SEC(".struct_ops.link")
struct efuse_ops data = {
	.read = (void *)io_read,
	.write = (void *)io_write,
	.name = "data",
};
