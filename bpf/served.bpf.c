// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads of files that only the server has: answered from blocks that its replies have filled. The server need not know.
 * docs/data.md explains it. bpf/io.bpf.c is for servers that give the kernel their files.
 *
 * All changes go through the mount, or are told of by notifications: whoever loads it says so. Each change counts in what
 * it changes (the file, or blocks of it), when it begins and when it has ended. A block is kept if nothing that it depends
 * on was under way when its READ began, and nothing had begun since; it is used for as long as the counts are the same.
 *
 * Files that are short are asked for as a whole, other reads by blocks, where somebody waits for them.
 */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "efuse.h"
#include "served.h"
#include "words.h"

char LICENSE[] SEC("license") = "GPL";

/* Hashes are keyed: whoever chooses files and places can't choose their sets. */
const volatile __u64 seed = 0x5bd1e995;
/* Sets of blocks; files' and places' counts, powers of two, less one. Set with the maps' sizes. */
const volatile __u32 nr_sets = 16;
const volatile __u32 files_mask = 1023;
const volatile __u32 places_mask = 1023;
/* Bytes: larger reads are the server's. At most 32 KiB. */
const volatile __u32 limit = 32768;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct served_file);
} files SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct served_place);
} places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct served_set);
} sets SEC(".maps");

/* The bytes of block `way` of set `set` are at set * IO_WAYS + way. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct io_bytes);
} blocks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct io_counts);
} counts SEC(".maps");

/* Changes of nobody knows what: they count for every file. */
__u64 everything;

#ifndef FOPEN_PASSTHROUGH
#define FOPEN_PASSTHROUGH (1 << 7)
#endif
/* Of these opens, what is read is not what the file has at that place; or it is written to unseen. */
#define UNLIKE_FILES (FOPEN_NONSEEKABLE | FOPEN_STREAM | FOPEN_PASSTHROUGH)

#define SERVED_O_TRUNC 01000
#define SERVED_COPY_FILE_RANGE_64 53

/* What a request changes of the file's data. */
enum change {
	CHANGES_NOTHING,
	/* blocks, and maybe the length */
	CHANGES_BLOCKS,
	CHANGES_FILE,
	CHANGES_OTHER_FILE,
	CHANGES_EVERYTHING,
};

enum mark_state {
	MARK_NONE,
	MARK_READ,
	MARK_CHANGE,
};

/* Stays with a request. */
struct mark {
	/* MARK_READ: counts of all that these blocks depend on, and of writes to the file, when it began */
	__u64 counts;
	__u64 file_writes;
	__u64 first;
	__u32 blocks;
	__u16 state;
	/* MARK_CHANGE */
	__u16 change;
};

static __always_inline struct io_counts *counts_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

static __always_inline struct served_file *file_of(__u64 nodeid)
{
	__u32 index = io_hash(nodeid ^ seed) & files_mask;

	return bpf_map_lookup_elem(&files, &index);
}

static __always_inline __u64 hash_of(__u64 nodeid, __u64 index)
{
	return io_hash(io_hash(nodeid ^ seed) + index);
}

static __always_inline struct served_place *place_of(__u64 nodeid, __u64 index)
{
	__u32 at = hash_of(nodeid, index) & places_mask;

	return bpf_map_lookup_elem(&places, &at);
}

static __always_inline __u64 changes_of(struct served_file *file)
{
	return WORD(file->changes) + WORD(everything);
}

/* What the blocks of a range depend on, but for the file's writes. */
struct seen {
	__u64 changes;
	__u64 places[SERVED_MOST_BLOCKS];
	/* something of it is under way */
	_Bool busy;
};

/*
 * Returns: all these counts together. As they only grow, that is the same only if all of them are.
 *
 * Functions that are not static are followed by the verifier once, wherever they are called.
 */
__noinline __u64 look(struct seen *seen __arg_nonnull, __u64 nodeid, __u64 first, __u32 blocks)
{
	struct served_file *file = file_of(nodeid);
	struct served_place *place;
	__u64 sum;
	int i;

	if (!file)
		return 0;
	sum = seen->changes = changes_of(file);
	ORDER(file->changes);
	seen->busy = WORD(file->changing) != 0;
	bpf_for(i, 0, SERVED_MOST_BLOCKS) {
		if (i >= blocks)
			break;
		place = place_of(nodeid, first + i);
		if (!place)
			return 0;
		seen->places[i] = WORD(place->writes);
		sum += seen->places[i];
		ORDER(place->writes);
		seen->busy |= WORD(place->writing) != 0;
	}
	return sum;
}

/* A write begins (step 1), has ended (-1), or both (0). */
__noinline int count_writes(__u64 nodeid, __u64 offset, __u32 size, int step)
{
	__u64 index = offset >> IO_BLOCK_SHIFT, last = (offset + size - 1) >> IO_BLOCK_SHIFT;
	struct served_file *file = file_of(nodeid);
	struct served_place *place;
	int i;

	if (!file || !size)
		return 0;
	if (step > 0)
		__sync_fetch_and_add(&file->writing, 1);
	__sync_fetch_and_add(&file->writes, 1);
	bpf_for(i, 0, SERVED_MOST_BLOCKS) {
		place = place_of(nodeid, index + i);
		if (!place || index + i > last)
			break;
		if (step > 0)
			__sync_fetch_and_add(&place->writing, 1);
		__sync_fetch_and_add(&place->writes, 1);
		if (step < 0)
			__sync_fetch_and_add(&place->writing, -1);
	}
	if (step < 0)
		__sync_fetch_and_add(&file->writing, -1);
	return 0;
}

static __always_inline void count_change(__u64 nodeid, int step)
{
	struct served_file *file = file_of(nodeid);

	if (!file)
		return;
	if (step > 0)
		__sync_fetch_and_add(&file->changing, 1);
	__sync_fetch_and_add(&file->changes, 1);
	if (step < 0)
		__sync_fetch_and_add(&file->changing, -1);
}

/* Opcodes that are not known change everything. */
static __always_inline enum change change_of(struct efuse_ctx *ctx)
{
	const struct fuse_setattr_in *setattr;

	switch (ctx->opcode) {
	case FUSE_WRITE:
		return ctx->size <= IO_BLOCK * (SERVED_MOST_BLOCKS - 1) ? CHANGES_BLOCKS : CHANGES_FILE;
	case FUSE_SETATTR:
		setattr = (const struct fuse_setattr_in *)bpf_efuse_arg_ptr(ctx, 0, sizeof(*setattr));
		return setattr && !(setattr->valid & FATTR_SIZE) ? CHANGES_NOTHING : CHANGES_FILE;
	case FUSE_OPEN:
		return ctx->flags & SERVED_O_TRUNC ? CHANGES_FILE : CHANGES_NOTHING;
	case FUSE_FALLOCATE:
	case FUSE_IOCTL:
	/* the number may come back as another file's */
	case FUSE_FORGET:
	case EFUSE_NOTIFY + FUSE_NOTIFY_INVAL_INODE:
	case EFUSE_NOTIFY + FUSE_NOTIFY_STORE:
		return CHANGES_FILE;
	case FUSE_COPY_FILE_RANGE:
	case SERVED_COPY_FILE_RANGE_64:
		return CHANGES_OTHER_FILE;
	case EFUSE_NOTIFY + FUSE_NOTIFY_INVAL_ENTRY:
	case EFUSE_NOTIFY + FUSE_NOTIFY_DELETE:
	case EFUSE_BACKING_UNUSED:
		return CHANGES_NOTHING;
	default:
		return ctx->opcode < SERVED_COPY_FILE_RANGE_64 ? CHANGES_NOTHING : CHANGES_EVERYTHING;
	}
}

static __always_inline void count(struct efuse_ctx *ctx, enum change change, __u64 nodeid, int step)
{
	if (change == CHANGES_BLOCKS)
		count_writes(nodeid, ctx->offset, ctx->size, step);
	else if (change == CHANGES_EVERYTHING)
		__sync_fetch_and_add(&everything, 1);
	else if (change != CHANGES_NOTHING)
		count_change(nodeid, step);
}

static __always_inline __u64 changed_inode(struct efuse_ctx *ctx, enum change change)
{
	const struct fuse_copy_file_range_in *copy;

	if (change != CHANGES_OTHER_FILE)
		return ctx->nodeid;
	copy = (const struct fuse_copy_file_range_in *)bpf_efuse_arg_ptr(ctx, 0, sizeof(*copy));
	return copy ? copy->nodeid_out : 0;
}

/* The blocks that a read has to do with: as far as it goes, or to the one in which the file ends. */
struct range {
	__u64 first;
	__u32 blocks;
};

static __always_inline _Bool range_of(struct efuse_ctx *ctx, __s64 file_size, struct range *range)
{
	__u64 end = ctx->offset + ctx->size;

	if (file_size < 0 || ctx->offset >= file_size || !ctx->size)
		return 0;
	if ((end < file_size ? end : file_size) - ctx->offset > limit)
		return 0;
	/* the byte behind its last one shows where it ends */
	if (end > file_size + 1)
		end = file_size + 1;
	range->first = ctx->offset >> IO_BLOCK_SHIFT;
	range->blocks = ((end - 1) >> IO_BLOCK_SHIFT) - range->first + 1;
	return 1;
}

/* A block to be filled: an empty or old one, or one that nobody has used for a while. It is ours then. */
__noinline int take_block(struct served_set *set __arg_nonnull, __u64 nodeid, __u64 index)
{
	int found = -1;

#pragma unroll
	for (int way = 0; way < IO_WAYS; way++) {
		struct served_block *block = &set->ways[way];

		if (!WORD(block->users) && (!WORD(block->there) ||
		    (WORD(block->nodeid) == nodeid && WORD(block->index) == index))) {
			found = way;
			break;
		}
	}
	if (found < 0)
		found = IO_SECOND_CHANCE(set);
	found &= IO_WAYS - 1;
	return __sync_val_compare_and_swap(&set->ways[found].users, 0, IO_FILLING) ? -1 : found;
}

/* Takes a block in from the reply, where it begins `at` and has so many bytes. */
static __noinline int keep_block(struct efuse_ctx *ctx, __u64 index, __u32 at, __u32 length, struct served_block *as)
{
	__u32 set_index = ((hash_of(ctx->nodeid, index) >> 32) * nr_sets) >> 32, number;
	struct served_set *set = bpf_map_lookup_elem(&sets, &set_index);
	struct served_block *block;
	struct io_bytes *bytes;
	_Bool kept = 0;
	int way;

	if (!set || !as)
		return 0;
	way = take_block(set, ctx->nodeid, index);
	/* the compiler knows what the verifier has to be shown */
	barrier_var(way);
	if (way < 0 || way >= IO_WAYS)
		return 0;
	number = set_index * IO_WAYS + way;
	bytes = bpf_map_lookup_elem(&blocks, &number);
	block = &set->ways[way];
	WORD(block->there) = 0;
	ORDER(block->users);
	if (bytes && bpf_efuse_reply_copy(ctx, at, bytes->bytes, IO_BLOCK) >= (int)length) {
		block->nodeid = ctx->nodeid;
		block->index = index;
		block->changes = as->changes;
		block->place_writes = as->place_writes;
		block->file_writes = as->file_writes;
		block->length = length;
		block->used = 0;
		ORDER(block->users);
		WORD(block->there) = 1;
		kept = 1;
	}
	__sync_fetch_and_add(&block->users, -IO_FILLING);
	return kept;
}

/*
 * Takes in what the server has sent. Blocks get the counts that were seen when their READ began: they are the same now, as
 * their sum is, and what begins from now on finds the blocks old.
 */
static __always_inline void keep(struct efuse_ctx *ctx, const struct mark *mark, struct io_counts *count)
{
	__u64 end = ctx->offset + ctx->reply_size;
	_Bool ends = ctx->reply_size < ctx->size;
	struct served_block as = { .file_writes = mark->file_writes };
	struct seen seen = {};
	int i;

	if (look(&seen, ctx->nodeid, mark->first, mark->blocks) != mark->counts)
		return;
	as.changes = seen.changes;
	bpf_for(i, 0, SERVED_MOST_BLOCKS) {
		if (i >= mark->blocks)
			return;
		__u64 index = mark->first + i, start = index << IO_BLOCK_SHIFT;
		__u32 length;

		if (start < ctx->offset)
			continue;
		if (start > end || (!ends && end - start < IO_BLOCK))
			return;
		length = end - start < IO_BLOCK ? end - start : IO_BLOCK;
		as.place_writes = seen.places[i];
		count->filled += keep_block(ctx, index, start - ctx->offset, length, &as);
	}
}

static __always_inline _Bool is_block(const struct served_block *block, struct served_file *file,
				      struct served_place *place, __u64 nodeid, __u64 index)
{
	return WORD(block->there) && WORD(block->nodeid) == nodeid && WORD(block->index) == index &&
	       WORD(block->changes) == changes_of(file) && WORD(block->place_writes) == WORD(place->writes) &&
	       (WORD(block->length) == IO_BLOCK || WORD(block->file_writes) == WORD(file->writes));
}

/* Answers what the request wants of one block. Returns: the bytes it has; -1: it is not there */
static __noinline int serve_block(struct efuse_ctx *ctx, __u64 index)
{
	__u32 set_index = ((hash_of(ctx->nodeid, index) >> 32) * nr_sets) >> 32, number;
	struct served_set *set = bpf_map_lookup_elem(&sets, &set_index);
	struct served_file *file = file_of(ctx->nodeid);
	struct served_place *place = place_of(ctx->nodeid, index);
	struct io_bytes *bytes;
	int length;

	if (!set || !file || !place)
		return -1;
#pragma unroll
	for (int way = 0; way < IO_WAYS; way++) {
		struct served_block *block = &set->ways[way];

		if (!is_block(block, file, place, ctx->nodeid, index))
			continue;
		number = set_index * IO_WAYS + way;
		bytes = bpf_map_lookup_elem(&blocks, &number);
		if (!bytes)
			return -1;
		length = -1;
		/* From here on it stays what it is, if it still is. */
		if (!(__sync_fetch_and_add(&block->users, 1) & IO_FILLING) &&
		    is_block(block, file, place, ctx->nodeid, index)) {
			length = block->length;
			if (length > IO_BLOCK ||
			    (length && bpf_efuse_reply_block(ctx, index << IO_BLOCK_SHIFT, bytes->bytes, length)))
				length = -1;
		}
		__sync_fetch_and_add(&block->users, -1);
		if (!block->used)
			block->used = 1;
		return length;
	}
	return -1;
}

/* Returns: bytes answered; 0: it is the server's */
static __noinline int answer(struct efuse_ctx *ctx, struct io_counts *count)
{
	__u64 before, end, wanted = ctx->offset + ctx->size;
	struct range range = {};
	int length = IO_BLOCK, served = 0, i;
	struct seen seen = {};

	if (!count || !range_of(ctx, bpf_efuse_inode_size(ctx), &range))
		return 0;
	before = look(&seen, ctx->nodeid, range.first, range.blocks);
	bpf_for(i, 0, SERVED_MOST_BLOCKS) {
		if (i >= range.blocks || length != IO_BLOCK)
			break;
		served = i + 1;
		length = serve_block(ctx, range.first + i);
		if (length < 0) {
			count->misses++;
			return 0;
		}
		count->hits++;
	}
	end = ((range.first + served - 1) << IO_BLOCK_SHIFT) + length;
	/* That there is nothing there, or nothing more, is the server's to say. */
	if (end <= ctx->offset || (end < wanted && length == IO_BLOCK))
		return 0;
	/* Blocks of different times are no answer. */
	if (served > 1 && look(&seen, ctx->nodeid, range.first, range.blocks) != before)
		return 0;
	return (end < wanted ? end : wanted) - ctx->offset;
}

SEC("struct_ops.s/read")
int EFUSE_HOOK(served_read)
{
	struct io_counts *count = counts_here();
	int bytes = answer(ctx, count);

	if (!count)
		return EFUSE_PASS;
	if (!bytes) {
		count->reads_passed++;
		return EFUSE_PASS;
	}
	count->cached++;
	count->cached_bytes += bytes;
	return EFUSE_DONE;
}

__noinline int is_there(__u64 nodeid, __u64 index)
{
	__u32 set_index = ((hash_of(nodeid, index) >> 32) * nr_sets) >> 32;
	struct served_set *set = bpf_map_lookup_elem(&sets, &set_index);
	struct served_file *file = file_of(nodeid);
	struct served_place *place = place_of(nodeid, index);

	if (!set || !file || !place)
		return 0;
#pragma unroll
	for (int way = 0; way < IO_WAYS; way++) {
		if (is_block(&set->ways[way], file, place, nodeid, index))
			return 1;
	}
	return 0;
}

/* Of a range, the part from the first block that is missing to the last one. */
__noinline int missing(struct range *range __arg_nonnull, __u64 nodeid)
{
	__u32 first = SERVED_MOST_BLOCKS, end = 0;
	int i;

	bpf_for(i, 0, SERVED_MOST_BLOCKS) {
		if (i >= range->blocks)
			break;
		if (is_there(nodeid, range->first + i))
			continue;
		if (!end)
			first = i;
		end = i + 1;
	}
	if (!end)
		return 0;
	range->first += first;
	range->blocks = end - first;
	return 0;
}

/* A read goes to the server: what is missing is asked for by whole blocks, and short files as a whole. */
static __always_inline void begin_read(struct efuse_ctx *ctx, struct mark *mark)
{
	__u64 from, to = (ctx->offset + ctx->size + IO_BLOCK - 1) & -IO_BLOCK;
	__s64 file_size = bpf_efuse_inode_size(ctx);
	struct served_file *file = file_of(ctx->nodeid);
	struct range range = {};
	struct seen seen = {};
	__u64 end;

	if (!file || WORD(file->never) || !range_of(ctx, file_size, &range))
		return;
	if (!ctx->background) {
		if (file_size <= limit) {
			/* with a byte more, which shows where it ends */
			range.first = 0;
			range.blocks = (file_size >> IO_BLOCK_SHIFT) + 1;
		}
		end = range.first + range.blocks;
		missing(&range, ctx->nodeid);
		from = range.first << IO_BLOCK_SHIFT;
		/* behind the file's last block there may be something, for all we know */
		if (to < (range.first + range.blocks) << IO_BLOCK_SHIFT || range.first + range.blocks < end)
			to = (range.first + range.blocks) << IO_BLOCK_SHIFT;
		bpf_efuse_read_around(ctx, from, to - from);
	} else {
		/* what goes to the caller's memory is seen so; what goes to the page cache need not */
		bpf_efuse_read_around(ctx, ctx->offset, ctx->size);
	}
	mark->file_writes = WORD(file->writes);
	ORDER(file->writes);
	/* what ends behind a write that is under way is not known */
	if (WORD(file->writing))
		mark->file_writes = -1;
	mark->first = range.first;
	mark->blocks = range.blocks;
	mark->counts = look(&seen, ctx->nodeid, range.first, range.blocks);
	mark->state = seen.busy ? MARK_NONE : MARK_READ;
}

SEC("struct_ops/begin")
int EFUSE_HOOK(served_begin)
{
	struct mark *mark = (struct mark *)bpf_efuse_scratch(ctx, sizeof(*mark));
	enum change change = change_of(ctx);
	__u64 nodeid;

	if (change == CHANGES_NOTHING) {
		if (ctx->opcode == FUSE_READ && mark)
			begin_read(ctx, mark);
		return 0;
	}
	nodeid = changed_inode(ctx, change);
	/* FORGETs and notifications have no answer */
	if (!mark || ctx->opcode >= EFUSE_NOTIFY) {
		count(ctx, change, nodeid, 0);
		return 0;
	}
	count(ctx, change, nodeid, 1);
	mark->change = change;
	mark->state = MARK_CHANGE;
	return 0;
}

/* What an open says of the file. */
static __always_inline void opened(struct efuse_ctx *ctx)
{
	struct fuse_open_out open = {};
	struct fuse_entry_out entry = {};
	struct served_file *file;
	__u64 nodeid = ctx->nodeid;

	if (bpf_efuse_reply_copy(ctx, 0, &open, sizeof(open)) != sizeof(open))
		return;
	if (ctx->opcode == FUSE_CREATE) {
		/* it may have been there, and be empty now */
		if (bpf_efuse_reply_first(ctx, &entry, sizeof(entry)) != sizeof(entry))
			return;
		nodeid = entry.nodeid;
		count_change(nodeid, 0);
	}
	file = file_of(nodeid);
	if (file && open.open_flags & UNLIKE_FILES)
		WORD(file->never) = 1;
}

SEC("struct_ops/reply")
int EFUSE_HOOK(served_reply)
{
	struct mark *given = (struct mark *)bpf_efuse_scratch(ctx, sizeof(*given));
	struct io_counts *here = counts_here();
	struct mark mark;

	if (!given || !here)
		return 0;
	mark = *given;
	/* in case that the same memory is used for another request */
	given->state = MARK_NONE;
	if (mark.state == MARK_CHANGE) {
		count(ctx, mark.change, changed_inode(ctx, mark.change), -1);
	} else if (mark.state == MARK_READ) {
		if (!ctx->error)
			keep(ctx, &mark, here);
	} else {
		/* its beginning was not seen */
		enum change change = change_of(ctx);

		count(ctx, change, changed_inode(ctx, change), 0);
	}
	if ((ctx->opcode == FUSE_OPEN || ctx->opcode == FUSE_CREATE) && !ctx->error)
		opened(ctx);
	return 0;
}

SEC(".struct_ops.link")
struct efuse_ops data = {
	.read = (void *)served_read,
	.begin = (void *)served_begin,
	.reply = (void *)served_reply,
	.name = "data",
};
