// SPDX-License-Identifier: GPL-2.0-only
/*
 * Metadata answered in the kernel: what the server has said of names, attributes, extended attributes, links and rights
 * is kept in maps, and given again for as long as it is sure to hold. docs/metadata.md explains it; metadata.h has
 * the records and the rules.
 *
 * `begin` notes what a request that goes to the server is about to change, and when one that asks began; `reply` notes
 * the changes again, and keeps what was learned. The hooks answer from that, or pass. Nothing that is in doubt is
 * answered: an answer costs some hundred nanoseconds, being wrong has no price.
 *
 * Limits: records lie in sets of MD_WAYS, in arrays of a size that is fixed when the program is loaded; a new record
 * takes a random place when its set is full. Names above MD_NAME bytes, values and targets above their sizes are
 * left to the server.
 *
 * Races are met with order instead of locks. A change raises `under_way` before it takes its tick and lowers it after
 * it has taken another; a request that asks reads the clock before it is sent; a record is compared with its facets
 * after it was copied. So an answer is what the server said after the last change that had come to its end when it was
 * compared.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/fuse.h>
#include <linux/stat.h>
#include <bpf/bpf_helpers.h>
#include "efuse.h"
#include "metadata.h"
#include "words.h"

char LICENSE[] SEC("license") = "GPL";

/* Of newer <linux/fuse.h> than some distributions have. */
#define STATX 52
#define OPENED_PASSTHROUGH (1 << 7)

struct statx_time {
	__s64 tv_sec;
	__u32 tv_nsec;
	__s32 reserved;
};

/* struct fuse_statx_out, without the room at its end */
struct statx_known {
	__u64 attr_valid;
	__u32 attr_valid_nsec;
	__u32 flags;
	__u64 spare[2];
	struct {
		__u32 mask;
		__u32 blksize;
		__u64 attributes;
		__u32 nlink;
		__u32 uid;
		__u32 gid;
		__u16 mode;
		__u16 spare0;
		__u64 ino;
		__u64 size;
		__u64 blocks;
		__u64 attributes_mask;
		struct statx_time atime;
		struct statx_time btime;
		struct statx_time ctime;
		struct statx_time mtime;
		__u32 rdev_major;
		__u32 rdev_minor;
		__u32 dev_major;
		__u32 dev_minor;
	} stat;
};

union statx_out {
	struct statx_known known;
	__u64 words[36];
};

/* Of this loading: requests that an earlier one has marked are none of ours. */
const volatile __u64 epoch = 1;
/* Hashes are keyed: whoever chooses names can't choose their places. */
const volatile __u64 seed = 0x5bd1e995;

/* Sets of records in each map, and facets, less one: powers of two, set with the maps' sizes. */
const volatile __u32 attributes_mask = 255;
const volatile __u32 entries_mask = 255;
const volatile __u32 xattrs_mask = 63;
const volatile __u32 links_mask = 63;
const volatile __u32 rights_mask = 63;
const volatile __u32 opens_mask = 63;
const volatile __u32 generations_mask = 4095;

/* How long records live, nanoseconds: MD_SERVER, MD_FOREVER, or in between. */
const volatile __u64 attr_life = MD_SERVER;
const volatile __u64 entry_life = MD_SERVER;
const volatile __u64 negative_life = MD_SERVER;
const volatile __u64 other_life = MD_SERVER;
/* Is any of them not MD_FOREVER? */
const volatile _Bool timed = 1;

/* The kernel does not check permissions: the server does, for each caller. */
const volatile _Bool by_caller = 1;
/* Reading changes times of access. */
const volatile _Bool exact_atime = 1;
/* Data that the kernel has cached of a file stay when it is opened. */
const volatile _Bool keep_data = 0;

/*
 * Opening a directory says nothing, not even the first time: what is read of it then is kept. If the server were asked,
 * the kernel would not keep it, as few servers say that it may.
 */
const volatile _Bool opendir_unasked = 0;

/* The server can do without file handles: files may be opened for writing, and be made, with nothing to release. */
const volatile _Bool without_handles = 0;
/* The server tells the attributes after each WRITE. */
const volatile _Bool tells_attr = 0;

/* What is answered. */
const volatile _Bool answer_lookup = 1;
const volatile _Bool answer_getattr = 1;
const volatile _Bool answer_access = 1;
const volatile _Bool answer_getxattr = 1;
const volatile _Bool answer_readlink = 1;
const volatile _Bool answer_open = 0;
const volatile _Bool answer_opendir = 0;
const volatile _Bool answer_flush = 0;

/*
 * Requests that were under way when this was attached have not been counted as such. Nothing is kept until the loader
 * says that they have ended.
 */
__u32 keeping;
/* Ticks with every change. */
__u64 clock = 1;
/* What began before this falls. */
__u64 not_before;

struct attribute_set { struct md_attr ways[MD_WAYS]; };
struct entry_set { struct md_entry ways[MD_WAYS]; };
struct xattr_set { struct md_xattr ways[MD_WAYS]; };
struct link_set { struct md_link ways[MD_WAYS]; };
struct access_set { struct md_access ways[MD_WAYS]; };
struct open_set { struct md_open ways[MD_WAYS]; };

#define ARRAY(map, record, entries) \
	struct { \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__uint(max_entries, entries); \
		__type(key, __u32); \
		__type(value, record); \
	} map SEC(".maps")

ARRAY(attributes, struct attribute_set, 256);
ARRAY(entries, struct entry_set, 256);
ARRAY(xattrs, struct xattr_set, 64);
ARRAY(links, struct link_set, 64);
ARRAY(rights, struct access_set, 64);
ARRAY(opens, struct open_set, 64);
ARRAY(generations, struct md_generation, 4096);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MD_OPCODES);
	__type(key, __u32);
	__type(value, struct md_counts);
} counts SEC(".maps");

/* For user space: it is used nowhere else. */
const struct md_command *command_type __attribute__((unused));

static __always_inline struct md_counts *counts_of(__u32 opcode)
{
	__u32 index = opcode < MD_OPCODES ? opcode : 0;

	return bpf_map_lookup_elem(&counts, &index);
}

static __always_inline int answered(struct efuse_ctx *ctx, int result)
{
	struct md_counts *count = counts_of(ctx->opcode);

	if (count)
		count->answered++;
	return result;
}

static __always_inline void kept(struct efuse_ctx *ctx)
{
	struct md_counts *count = counts_of(ctx->opcode);

	if (count)
		count->kept++;
}

static __always_inline __u64 caller(struct efuse_ctx *ctx)
{
	return by_caller ? bpf_efuse_who(ctx) : 0;
}

static __always_inline __u64 current_time(void)
{
	return timed ? bpf_ktime_get_ns() : 0;
}

/* Does what began then stand, as far as this facet goes? */
static __always_inline _Bool stands(__u64 facet, __u64 began)
{
	__u32 index = facet & generations_mask;
	struct md_generation *generation = bpf_map_lookup_elem(&generations, &index);
	__u64 under_way;

	if (!generation)
		return 0;
	under_way = WORD(generation->under_way);
	ORDER(generation->under_way);
	return md_stands(under_way, WORD(generation->changed), began);
}

static __always_inline _Bool stands_at_all(const struct md_head *head, __u64 began, __u64 now)
{
	if (began < WORD(not_before))
		return 0;
	return !timed || head->expires > now;
}

/*
 * One facet changes: step 1 begins, -1 ends, 0 is all there is of it.
 *
 * As it is not static, the verifier follows it once, wherever it is called.
 *
 * Returns: the tick of it; 0: somebody else has changed it since that time
 */
__noinline __u64 touch(__u64 facet, int step, __u64 since)
{
	__u32 index = facet & generations_mask;
	struct md_generation *generation = bpf_map_lookup_elem(&generations, &index);
	__u64 tick = 0, before, last = 0;
	int tries;

	if (!generation)
		return 0;
	if (step > 0)
		__sync_fetch_and_add(&generation->under_way, 1);
	/* Somebody else's later tick must not be overwritten with our earlier one: then another is taken. */
	for (tries = 0; tries < 8; tries++) {
		tick = __sync_fetch_and_add(&clock, 1) + 1;
		before = __sync_lock_test_and_set(&generation->changed, tick);
		if (before > last)
			last = before;
		if (before < tick)
			break;
	}
	/* Never seen; what shares the place is not answered any more. */
	if (tries == 8)
		__sync_fetch_and_add(&generation->under_way, 1);
	if (step < 0)
		__sync_fetch_and_add(&generation->under_way, -1);
	return last <= since ? tick : 0;
}

static __noinline __u64 touch_node(__u64 nodeid, __u32 facet, int step, __u64 since)
{
	return touch(md_facet_hash(seed, nodeid, facet), step, since);
}

/* A name is as many words, zero behind its end. */
#define NAME_WORDS (MD_NAME / 8)

static __noinline __u64 touch_name(struct efuse_ctx *ctx, __u64 nodeid, __u32 which, int step, __u64 since)
{
	__u64 name[NAME_WORDS] = {};

	/* longer ones are not kept */
	if (bpf_efuse_name(ctx, which, name, sizeof(name)) <= 0)
		return 0;
	return touch(md_name_hash(seed, nodeid, name, NAME_WORDS), step, since);
}

/* What stays with a request. */
struct mark {
	__u64 epoch;
	/* the clock when it began */
	__u64 began;
	/* nanoseconds */
	__u64 begun;
	__u64 changes;
};

/* When a change was noted; 0: somebody else has changed the same since the time that was asked about. */
struct ticks {
	__u64 attr;
	__u64 named;
};

/*
 * Notes what a request changes.
 *
 * Returns: the ticks of its inode's attributes and its first name
 */
static __always_inline struct ticks change(struct efuse_ctx *ctx, __u32 changes, int step, __u64 since)
{
	__u64 nodeid = ctx->nodeid, other = nodeid;
	struct ticks ticks = {};

	if (changes & MD_ALL) {
		WORD(not_before) = __sync_fetch_and_add(&clock, 1) + 1;
		return ticks;
	}
	if (changes & (MD_NAME_2 | MD_OTHER_ATTR)) {
		/* RENAME: the new directory; LINK: the inode; COPY_FILE_RANGE: where to */
		__u32 offset = changes & (MD_NAME_2 | MD_NAME_1) ? 0 : 16;

		bpf_efuse_arg(ctx, 0, offset, &other, sizeof(other));
	}
	if (changes & MD_NODE_ATTR)
		ticks.attr = touch_node(nodeid, MD_ATTR, step, since);
	if (changes & MD_NODE_ATIME && exact_atime && step <= 0)
		touch_node(nodeid, MD_ATTR, 0, 0);
	if (changes & MD_NODE_RIGHTS)
		touch_node(nodeid, MD_RIGHTS, step, 0);
	if (changes & MD_NODE_LIST)
		touch_node(nodeid, MD_LIST, step, 0);
	if (changes & MD_NODE_SELF)
		touch_node(nodeid, MD_SELF, step, 0);
	if (changes & MD_NAME_1)
		ticks.named = touch_name(ctx, nodeid, 0, step, since);
	if (changes & MD_OTHER_ATTR)
		touch_node(other, MD_ATTR, step, 0);
	if (changes & MD_NAME_2) {
		touch_name(ctx, other, 1, step, 0);
		touch_node(other, MD_ATTR, step, 0);
		touch_node(other, MD_LIST, step, 0);
	}
	if (changes & MD_TARGETS) {
		if (ctx->target) {
			touch_node(ctx->target, MD_ATTR, step, 0);
			touch_node(ctx->target, MD_LIST, step, 0);
		}
		if (ctx->target2) {
			touch_node(ctx->target2, MD_ATTR, step, 0);
			touch_node(ctx->target2, MD_LIST, step, 0);
		}
	}
	return ticks;
}

/* Reads: */

/* Begins to read a record: is it there, and whose is it? */
#define READ_RECORD(record, wanted, caller, seen)						\
	({											\
		seen = WORD((record)->head.sequence);						\
		ORDER((record)->head.sequence);							\
		!(seen & 1) && WORD((record)->head.nodeid) == (wanted) && (record)->head.who == (caller);	\
	})

/* Ends it: what was read is one record. */
#define READ_DONE(record, seen)								\
	({										\
		ORDER((record)->head.sequence);						\
		WORD((record)->head.sequence) == seen;					\
	})

/* Writes: takes the record, or finds somebody else at it. */
#define WRITE_RECORD(record, seen)							\
	({										\
		seen = WORD((record)->head.sequence);					\
		!(seen & 1) && __sync_val_compare_and_swap(&(record)->head.sequence, seen, seen + 1) == seen;	\
	})
#define WRITE_DONE(record) __sync_fetch_and_add(&(record)->head.sequence, 1)

/*
 * Always 0, which the verifier can't know: it takes a place that this was added to for any place, and so follows what comes
 * after it once, and not for each place and what came before.
 */
__u32 zero;

/* Which of a set's records is this one? MD_WAYS: none. `matches` says so of `at`, and may be wrong while that is written. */
#define FIND(set, matches)								\
	({										\
		__u32 place = 0;							\
		for (; place < MD_WAYS; place++) {					\
			const typeof((set)->ways[0]) *at = &(set)->ways[place];		\
			if (WORD(at->head.nodeid) && (matches))				\
				break;							\
		}									\
		place + WORD(zero);							\
	})

static __always_inline __u32 set_of(__u64 hash, __u64 who, __u32 mask)
{
	return (by_caller ? md_mix(hash, who) : hash) & mask;
}

/* Does the inode's data, and with it its attributes, change where begin and reply don't see it? */
static __always_inline _Bool changes_unseen(struct efuse_ctx *ctx, __u64 nodeid, __u32 mode)
{
	__u32 unseen = exact_atime ? EFUSE_INODE_WRITTEN | EFUSE_INODE_READ : EFUSE_INODE_WRITTEN;

	return (mode & S_IFMT) == S_IFREG && bpf_efuse_inode(ctx, nodeid) & unseen;
}

struct attributes {
	__u64 began;
	__u64 expires;
	__u64 valid;
	__u32 valid_nsec;
	__u32 birth_nsec;
	__s64 birth;
	_Bool has_birth;
};

/* Copies the attributes of an inode to `attr`, a struct fuse_attr, if they are known for sure. */
static __always_inline _Bool recall_attr(struct efuse_ctx *ctx, __u64 nodeid, __u64 who, __u64 now, __u64 *attr,
					 struct attributes *about)
{
	__u64 facet = md_facet_hash(seed, nodeid, MD_ATTR);
	__u32 index = set_of(facet, who, attributes_mask), place, seen;
	struct attribute_set *set = bpf_map_lookup_elem(&attributes, &index);
	struct md_attr *record;

	if (!set)
		return 0;
	place = FIND(set, at->head.nodeid == nodeid && at->head.who == who);
	if (place >= MD_WAYS)
		return 0;
	record = &set->ways[place];
	if (!READ_RECORD(record, nodeid, who, seen))
		return 0;
	about->began = record->head.began;
	if (!stands_at_all(&record->head, about->began, now))
		return 0;
	about->expires = record->head.expires;
	about->valid = record->valid;
	about->valid_nsec = record->valid_nsec;
	about->has_birth = record->head.flags & MD_HAS_BIRTH;
	about->birth = record->birth;
	about->birth_nsec = record->birth_nsec;
	if (timed)
		md_remaining(about->expires, now, &about->valid, &about->valid_nsec);
#pragma unroll
	for (int word = 0; word < 11; word++)
		attr[word] = record->attr[word];
	return READ_DONE(record, seen) && stands(facet, about->began) && !changes_unseen(ctx, nodeid, attr[7] >> 32);
}

/*
 * What metadata_stands() is told of an answer that the kernel holds. Of facets, which are hashes, 32 bits are enough to find
 * their places: that of the attributes, or of the name, in the low half, and for a name its directory's in the high half.
 */
enum { NOTE_BEGAN, NOTE_EXPIRES, NOTE_WHO, NOTE_FACETS, NOTE_WORDS };

/* The kernel may give this answer again for as long as metadata_stands() finds that it holds. */
static __always_inline void hold(struct efuse_ctx *ctx, _Bool name, __u64 began, __u64 expires, __u64 who, __u64 facet,
				 __u64 other)
{
	__u64 note[NOTE_WORDS] = { began, expires, who, (__u32)facet | other << 32 };

	bpf_efuse_hold(ctx, name, note, sizeof(note));
}

static __always_inline void hold_attr(struct efuse_ctx *ctx, __u64 nodeid, const struct attributes *about, __u64 who)
{
	hold(ctx, 0, about->began, about->expires, who, md_facet_hash(seed, nodeid, MD_ATTR), 0);
}

SEC("struct_ops/getattr")
int EFUSE_HOOK(metadata_getattr)
{
	struct attributes about;
	__u64 now = current_time(), who = caller(ctx);

	if (!answer_getattr)
		return EFUSE_PASS;
	if (ctx->opcode == FUSE_GETATTR) {
		struct fuse_attr_out out;

		if (!recall_attr(ctx, ctx->nodeid, who, now, (__u64 *)&out.attr, &about))
			return EFUSE_PASS;
		out.attr_valid = about.valid;
		out.attr_valid_nsec = about.valid_nsec;
		out.dummy = 0;
		if (bpf_efuse_reply_attr(ctx, &out, sizeof(out)))
			return EFUSE_PASS;
	} else {
		union statx_out all = {};
		struct statx_known *out = &all.known;
		struct fuse_attr attr;

		if (!recall_attr(ctx, ctx->nodeid, who, now, (__u64 *)&attr, &about) || !about.has_birth)
			return EFUSE_PASS;
		out->attr_valid = about.valid;
		out->attr_valid_nsec = about.valid_nsec;
		/* STATX_BASIC_STATS and STATX_BTIME */
		out->stat.mask = 0xfff;
		out->stat.blksize = attr.blksize;
		out->stat.nlink = attr.nlink;
		out->stat.uid = attr.uid;
		out->stat.gid = attr.gid;
		out->stat.mode = attr.mode;
		out->stat.ino = attr.ino;
		out->stat.size = attr.size;
		out->stat.blocks = attr.blocks;
		out->stat.atime.tv_sec = attr.atime;
		out->stat.atime.tv_nsec = attr.atimensec;
		out->stat.btime.tv_sec = about.birth;
		out->stat.btime.tv_nsec = about.birth_nsec;
		out->stat.ctime.tv_sec = attr.ctime;
		out->stat.ctime.tv_nsec = attr.ctimensec;
		out->stat.mtime.tv_sec = attr.mtime;
		out->stat.mtime.tv_nsec = attr.mtimensec;
		/* Device numbers as the kernel packs them for user space. */
		out->stat.rdev_major = (attr.rdev & 0xfff00) >> 8;
		out->stat.rdev_minor = (attr.rdev & 0xff) | ((attr.rdev >> 12) & 0xfff00);
		if (bpf_efuse_reply_statx(ctx, &all, sizeof(all)))
			return EFUSE_PASS;
	}
	hold_attr(ctx, ctx->nodeid, &about, who);
	return answered(ctx, EFUSE_DONE);
}

/* "." and "..", by which exported handles are looked up, are the server's. */
static __always_inline _Bool is_dots(const __u64 *name)
{
	return name[0] == 0x2e || name[0] == 0x2e2e;
}

static __always_inline _Bool same_name(const __u64 *a, const __u64 *b, int words)
{
	__u64 difference = 0;

#pragma unroll
	for (int i = 0; i < words; i++)
		difference |= a[i] ^ b[i];
	return !difference;
}

/* What a name means. */
struct meaning {
	/* 0: there is no such name */
	__u64 child;
	__u64 generation;
	__u64 valid;
	__u32 valid_nsec;
	__u64 began;
	__u64 expires;
	__u64 facet;
};

/* What a name in the request's directory means, if that is known for sure. */
static __always_inline _Bool recall_entry(struct efuse_ctx *ctx, const __u64 *name, __u64 who, __u64 now,
					  struct meaning *out)
{
	__u64 nodeid = ctx->nodeid, facet = md_name_hash(seed, nodeid, name, NAME_WORDS);
	__u32 index = set_of(facet, who, entries_mask), place, seen;
	struct entry_set *set = bpf_map_lookup_elem(&entries, &index);
	struct md_entry *record;

	if (!set)
		return 0;
	place = FIND(set, at->head.nodeid == nodeid && at->head.who == who && same_name(at->name, name, NAME_WORDS));
	if (place >= MD_WAYS)
		return 0;
	record = &set->ways[place];
	if (!READ_RECORD(record, nodeid, who, seen) || !same_name(record->name, name, NAME_WORDS))
		return 0;
	out->began = record->head.began;
	if (!stands_at_all(&record->head, out->began, now))
		return 0;
	out->child = record->child;
	out->generation = record->generation;
	out->valid = record->valid;
	out->valid_nsec = record->valid_nsec;
	out->expires = record->head.expires;
	out->facet = facet;
	if (timed)
		md_remaining(out->expires, now, &out->valid, &out->valid_nsec);
	if (!READ_DONE(record, seen) || !stands(facet, out->began))
		return 0;
	/* the directory is the same as then, and so is who may search it */
	return stands(md_facet_hash(seed, nodeid, MD_SELF), out->began) &&
	       (!by_caller || stands(md_facet_hash(seed, nodeid, MD_RIGHTS), out->began));
}

SEC("struct_ops/lookup")
int EFUSE_HOOK(metadata_lookup)
{
	__u64 name[NAME_WORDS] = {}, who, now = current_time();
	struct fuse_entry_out out;
	struct attributes about;
	struct meaning meaning;

	if (!answer_lookup || bpf_efuse_name(ctx, 0, name, sizeof(name)) <= 0 || is_dots(name))
		return EFUSE_PASS;
	who = caller(ctx);
	if (!recall_entry(ctx, name, who, now, &meaning))
		return EFUSE_PASS;
	if (!meaning.child)
		return answered(ctx, -ENOENT);
	if (!recall_attr(ctx, meaning.child, who, now, (__u64 *)&out.attr, &about))
		return EFUSE_PASS;
	out.nodeid = meaning.child;
	out.generation = meaning.generation;
	out.entry_valid = meaning.valid;
	out.entry_valid_nsec = meaning.valid_nsec;
	out.attr_valid = about.valid;
	out.attr_valid_nsec = about.valid_nsec;
	if (bpf_efuse_reply_entry(ctx, &out, sizeof(out)))
		return EFUSE_PASS;
	hold_attr(ctx, meaning.child, &about, who);
	hold(ctx, 1, meaning.began, meaning.expires, who, meaning.facet, md_facet_hash(seed, ctx->nodeid, MD_SELF));
	return answered(ctx, EFUSE_DONE);
}

/* Before there is a request: does what the kernel holds past its time-out still hold? */
SEC("struct_ops/stands")
int EFUSE_HOOK(metadata_stands)
{
	__u64 nodeid = ctx->nodeid, began = ctx->note[NOTE_BEGAN];
	_Bool lookup = ctx->opcode == FUSE_LOOKUP;

	if (!(lookup ? answer_lookup : answer_getattr) || began < WORD(not_before) ||
	    (timed && ctx->note[NOTE_EXPIRES] <= current_time()) || (by_caller && ctx->note[NOTE_WHO] != caller(ctx)) ||
	    !stands((__u32)ctx->note[NOTE_FACETS], began))
		return EFUSE_PASS;
	if (!lookup) {
		if (changes_unseen(ctx, nodeid, ctx->flags))
			return EFUSE_PASS;
	} else if (!stands(ctx->note[NOTE_FACETS] >> 32, began) ||
		   (by_caller && !stands(md_facet_hash(seed, nodeid, MD_RIGHTS), began))) {
		return EFUSE_PASS;
	}
	return answered(ctx, EFUSE_DONE);
}

SEC("struct_ops/access")
int EFUSE_HOOK(metadata_access)
{
	__u64 facet = md_facet_hash(seed, ctx->nodeid, MD_RIGHTS), who, began, now = current_time();
	struct md_access *record;
	__u32 index, place, seen;
	struct access_set *set;
	int error;

	if (!answer_access)
		return EFUSE_PASS;
	who = caller(ctx);
	index = set_of(facet, who, rights_mask);
	set = bpf_map_lookup_elem(&rights, &index);
	if (!set)
		return EFUSE_PASS;
	place = FIND(set, at->head.nodeid == ctx->nodeid && at->head.who == who && at->mask == ctx->flags);
	if (place >= MD_WAYS)
		return EFUSE_PASS;
	record = &set->ways[place];
	if (!READ_RECORD(record, ctx->nodeid, who, seen) || record->mask != ctx->flags)
		return EFUSE_PASS;
	began = record->head.began;
	if (!stands_at_all(&record->head, began, now))
		return EFUSE_PASS;
	error = record->error;
	if (!READ_DONE(record, seen) || !stands(facet, began))
		return EFUSE_PASS;
	return answered(ctx, error == -EACCES ? -EACCES : EFUSE_DONE);
}

#define XATTR_WORDS (MD_XATTR_NAME / 8)
#define VALUE_WORDS (MD_XATTR_VALUE / 8)

SEC("struct_ops/getxattr")
int EFUSE_HOOK(metadata_getxattr)
{
	__u64 name[XATTR_WORDS] = {}, value[VALUE_WORDS], who, began, now = current_time();
	__u64 facet = md_facet_hash(seed, ctx->nodeid, MD_RIGHTS);
	__u32 index, place, seen, size;
	struct md_xattr *record;
	struct xattr_set *set;
	int error;

	if (!answer_getxattr || bpf_efuse_name(ctx, 0, name, sizeof(name)) <= 0)
		return EFUSE_PASS;
	who = caller(ctx);
	index = set_of(md_name_hash(facet, ctx->nodeid, name, XATTR_WORDS), who, xattrs_mask);
	set = bpf_map_lookup_elem(&xattrs, &index);
	if (!set)
		return EFUSE_PASS;
	place = FIND(set, at->head.nodeid == ctx->nodeid && at->head.who == who && same_name(at->name, name, XATTR_WORDS));
	if (place >= MD_WAYS)
		return EFUSE_PASS;
	record = &set->ways[place];
	if (!READ_RECORD(record, ctx->nodeid, who, seen) || !same_name(record->name, name, XATTR_WORDS))
		return EFUSE_PASS;
	began = record->head.began;
	if (!stands_at_all(&record->head, began, now))
		return EFUSE_PASS;
	error = record->error;
	size = record->size;
#pragma unroll
	for (int word = 0; word < VALUE_WORDS; word++)
		value[word] = record->value[word];
	if (!READ_DONE(record, seen) || !stands(facet, began))
		return EFUSE_PASS;
	if (error == -ENODATA || error == -EOPNOTSUPP)
		return answered(ctx, error);
	/* writing takes capabilities away, chmod changes ACLs */
	if (!stands(md_facet_hash(seed, ctx->nodeid, MD_ATTR), began) || changes_unseen(ctx, ctx->nodeid, S_IFREG))
		return EFUSE_PASS;
	if (size > MD_XATTR_VALUE)
		return EFUSE_PASS;
	if (!ctx->size) {
		if (bpf_efuse_reply_size(ctx, size))
			return EFUSE_PASS;
	} else {
		if (size > ctx->size)
			return answered(ctx, -ERANGE);
		if (bpf_efuse_reply_data(ctx, 0, value, size) || bpf_efuse_reply_size(ctx, size))
			return EFUSE_PASS;
	}
	return answered(ctx, EFUSE_DONE);
}

#define TARGET_WORDS (MD_TARGET / 8)

SEC("struct_ops/readlink")
int EFUSE_HOOK(metadata_readlink)
{
	__u64 facet = md_facet_hash(seed, ctx->nodeid, MD_SELF), target[TARGET_WORDS], who, began, size, now = current_time();
	__u32 index, place, seen;
	struct md_link *record;
	struct link_set *set;

	if (!answer_readlink)
		return EFUSE_PASS;
	who = caller(ctx);
	index = set_of(facet, who, links_mask);
	set = bpf_map_lookup_elem(&links, &index);
	if (!set)
		return EFUSE_PASS;
	place = FIND(set, at->head.nodeid == ctx->nodeid && at->head.who == who);
	if (place >= MD_WAYS)
		return EFUSE_PASS;
	record = &set->ways[place];
	if (!READ_RECORD(record, ctx->nodeid, who, seen))
		return EFUSE_PASS;
	began = record->head.began;
	if (!stands_at_all(&record->head, began, now))
		return EFUSE_PASS;
	size = record->size;
#pragma unroll
	for (int word = 0; word < TARGET_WORDS; word++)
		target[word] = record->target[word];
	if (!READ_DONE(record, seen) || !stands(facet, began))
		return EFUSE_PASS;
	if (!size || size > MD_TARGET || bpf_efuse_reply_data(ctx, 0, target, size))
		return EFUSE_PASS;
	return answered(ctx, EFUSE_DONE);
}

/* md_open.head.flags */
#define OPEN_KNOWN 1

/* What the server said to opening this inode, as far as it is known. */
static __always_inline _Bool recall_open(struct efuse_ctx *ctx, __u64 who, __u64 now, struct md_open *out)
{
	__u64 facet = md_facet_hash(seed, ctx->nodeid, MD_SELF);
	__u32 index = set_of(facet, who, opens_mask), place, seen;
	struct open_set *set = bpf_map_lookup_elem(&opens, &index);
	struct md_open *record;

	if (!set)
		return 0;
	place = FIND(set, at->head.nodeid == ctx->nodeid && at->head.who == who);
	if (place >= MD_WAYS)
		return 0;
	record = &set->ways[place];
	if (!READ_RECORD(record, ctx->nodeid, who, seen))
		return 0;
	out->head = record->head;
	out->flags = record->flags;
	out->listed = record->listed;
	out->listed_began = record->listed_began;
	out->listed_expires = record->listed_expires;
	if (!READ_DONE(record, seen) || !stands(facet, out->head.began))
		return 0;
	return !by_caller || stands(md_facet_hash(seed, ctx->nodeid, MD_RIGHTS), out->head.began);
}

SEC("struct_ops/open")
int EFUSE_HOOK(metadata_open)
{
	__u64 now = current_time();
	struct md_open known;
	__u32 flags;

	if (!answer_open || ctx->flags & MD_O_TRUNC || (ctx->flags & MD_O_ACCMODE && !without_handles))
		return EFUSE_PASS;
	if (!recall_open(ctx, caller(ctx), now, &known) || !(known.head.flags & OPEN_KNOWN) ||
	    !stands_at_all(&known.head, known.head.began, now))
		return EFUSE_PASS;
	flags = known.flags;
	/* the kernel reads and writes it itself: not to be mixed with files that it caches */
	if (flags & OPENED_PASSTHROUGH)
		return EFUSE_PASS;
	if (keep_data && !(flags & FOPEN_DIRECT_IO))
		flags |= FOPEN_KEEP_CACHE;
	if (bpf_efuse_reply_open(ctx, flags))
		return EFUSE_PASS;
	return answered(ctx, EFUSE_DONE);
}

/*
 * A directory's listing is kept by the kernel itself, in its page cache: what is decided here is whether it still
 * holds.
 */
SEC("struct_ops/opendir")
int EFUSE_HOOK(metadata_opendir)
{
	__u64 now = current_time(), who;
	struct md_open known = {};
	__u32 flags = 0;
	_Bool found;

	if (!answer_opendir)
		return EFUSE_PASS;
	who = caller(ctx);
	found = recall_open(ctx, who, now, &known);
	if (found && known.head.flags & OPEN_KNOWN && stands_at_all(&known.head, known.head.began, now))
		flags = known.flags;
	else if (!opendir_unasked)
		return EFUSE_PASS;
	if (other_life != MD_SERVER && !(flags & FOPEN_DIRECT_IO)) {
		flags |= FOPEN_CACHE_DIR;
		if (found && known.listed && known.listed_began >= WORD(not_before) &&
		    (!timed || known.listed_expires > now) &&
		    stands(md_facet_hash(seed, ctx->nodeid, MD_LIST), known.listed_began))
			flags |= FOPEN_KEEP_CACHE;
		else
			flags &= ~FOPEN_KEEP_CACHE;
	}
	if (bpf_efuse_reply_open(ctx, flags))
		return EFUSE_PASS;
	return answered(ctx, EFUSE_DONE);
}

SEC("struct_ops/flush")
int EFUSE_HOOK(metadata_flush)
{
	return answer_flush ? answered(ctx, EFUSE_DONE) : EFUSE_PASS;
}

/* Learning: */

/* Where in a set a record goes: where it is already, or else nothing is, or else anywhere. */
#define PLACE(set, matches)								\
	({										\
		__u32 chosen = FIND(set, matches);					\
		if (chosen >= MD_WAYS) {						\
			for (chosen = 0; chosen < MD_WAYS; chosen++)			\
				if (!WORD((set)->ways[chosen].head.nodeid))		\
					break;						\
			chosen += WORD(zero);						\
		}									\
		if (chosen >= MD_WAYS)							\
			chosen = bpf_get_prandom_u32();					\
		chosen & (MD_WAYS - 1);							\
	})

static __always_inline void fill_head(struct md_head *head, __u64 nodeid, __u64 who, __u64 began, __u64 expires,
				      __u32 flags)
{
	head->nodeid = nodeid;
	head->who = who;
	head->began = began;
	head->expires = expires;
	head->flags = flags;
}

static __always_inline _Bool learn_attr(__u64 nodeid, __u64 who, __u64 began, __u64 expires, const __u64 *attr,
					const struct attributes *about)
{
	__u64 facet = md_facet_hash(seed, nodeid, MD_ATTR);
	__u32 index = set_of(facet, who, attributes_mask), seen, flags = 0;
	struct attribute_set *set = bpf_map_lookup_elem(&attributes, &index);
	struct md_attr *record;

	if (!set || !expires || !stands(facet, began))
		return 0;
	record = &set->ways[PLACE(set, at->head.nodeid == nodeid && at->head.who == who)];
	if (!WRITE_RECORD(record, seen))
		return 0;
	if (record->head.nodeid == nodeid && record->head.who == who) {
		/* somebody else's answer is newer */
		if (record->head.began > began) {
			WRITE_DONE(record);
			return 0;
		}
		/* the time of birth stays the same for as long as the inode is the same */
		if (stands(md_facet_hash(seed, nodeid, MD_SELF), record->head.began))
			flags = record->head.flags & MD_HAS_BIRTH;
	}
	if (about->has_birth) {
		flags = MD_HAS_BIRTH;
		record->birth = about->birth;
		record->birth_nsec = about->birth_nsec;
	}
	fill_head(&record->head, nodeid, who, began, expires, flags);
	record->valid = about->valid;
	record->valid_nsec = about->valid_nsec;
#pragma unroll
	for (int word = 0; word < 11; word++)
		record->attr[word] = attr[word];
	WRITE_DONE(record);
	return 1;
}

/* When what the server gives no time for ends: with the inode's attributes, unless a knob says otherwise. */
static __always_inline __u64 other_expires(__u64 nodeid, __u64 who, __u64 begun)
{
	__u64 facet = md_facet_hash(seed, nodeid, MD_ATTR);
	__u32 index = set_of(facet, who, attributes_mask), place;
	struct attribute_set *set;

	if (other_life != MD_SERVER)
		return md_expires(other_life, begun, 0, 0);
	set = bpf_map_lookup_elem(&attributes, &index);
	if (!set)
		return 0;
	place = FIND(set, at->head.nodeid == nodeid && at->head.who == who);
	return place < MD_WAYS ? WORD(set->ways[place].head.expires) : 0;
}

/* What GETATTR has told, or another request about its inode: `since` is then the tick of its own end. */
static __noinline int learn_attr_out(struct efuse_ctx *ctx, const struct mark *mark, struct fuse_attr_out *out, __u64 since)
{
	struct attributes about = {};

	if (changes_unseen(ctx, ctx->nodeid, out->attr.mode))
		return 0;
	about.valid = out->attr_valid;
	about.valid_nsec = out->attr_valid_nsec;
	if (learn_attr(ctx->nodeid, caller(ctx), since,
		       md_expires(attr_life, mark->begun, about.valid, about.valid_nsec), (__u64 *)&out->attr, &about))
		kept(ctx);
	return 0;
}

static __noinline int learn_getattr(struct efuse_ctx *ctx, const struct mark *mark, __u64 since)
{
	struct fuse_attr_out out;

	if (bpf_efuse_reply_copy(ctx, 0, &out, sizeof(out)) == sizeof(out))
		learn_attr_out(ctx, mark, &out, since);
	return 0;
}

/* WRITE: the attributes after it, if the server tells them. */
static __noinline int learn_written(struct efuse_ctx *ctx, const struct mark *mark, __u64 since)
{
	struct fuse_attr_out out;

	if (bpf_efuse_reply_extra(ctx, &out, sizeof(out)) == sizeof(out))
		learn_attr_out(ctx, mark, &out, since);
	return 0;
}

static __noinline int learn_statx(struct efuse_ctx *ctx, const struct mark *mark)
{
	struct attributes about = {};
	struct statx_known out;
	struct fuse_attr attr = {};

	if (bpf_efuse_reply_copy(ctx, 0, &out, sizeof(out)) != sizeof(out) || (out.stat.mask & 0xfff) != 0xfff ||
	    out.stat.attributes || changes_unseen(ctx, ctx->nodeid, out.stat.mode))
		return 0;
	attr.ino = out.stat.ino;
	attr.size = out.stat.size;
	attr.blocks = out.stat.blocks;
	attr.atime = out.stat.atime.tv_sec;
	attr.atimensec = out.stat.atime.tv_nsec;
	attr.mtime = out.stat.mtime.tv_sec;
	attr.mtimensec = out.stat.mtime.tv_nsec;
	attr.ctime = out.stat.ctime.tv_sec;
	attr.ctimensec = out.stat.ctime.tv_nsec;
	attr.mode = out.stat.mode;
	attr.nlink = out.stat.nlink;
	attr.uid = out.stat.uid;
	attr.gid = out.stat.gid;
	attr.rdev = (out.stat.rdev_minor & 0xff) | (out.stat.rdev_major << 8) | ((out.stat.rdev_minor & ~0xffU) << 12);
	attr.blksize = out.stat.blksize;
	about.valid = out.attr_valid;
	about.valid_nsec = out.attr_valid_nsec;
	about.birth = out.stat.btime.tv_sec;
	about.birth_nsec = out.stat.btime.tv_nsec;
	about.has_birth = 1;
	if (learn_attr(ctx->nodeid, caller(ctx), mark->began,
		       md_expires(attr_life, mark->begun, about.valid, about.valid_nsec), (__u64 *)&attr, &about))
		kept(ctx);
	return 0;
}

static __always_inline _Bool learn_entry(__u64 nodeid, __u64 who, __u64 began, __u64 expires, const __u64 *name,
					 __u64 child, __u64 generation, __u64 valid, __u32 valid_nsec)
{
	__u64 facet = md_name_hash(seed, nodeid, name, NAME_WORDS);
	__u32 index = set_of(facet, who, entries_mask), seen;
	struct entry_set *set = bpf_map_lookup_elem(&entries, &index);
	struct md_entry *record;

	if (!set || !expires || !stands(facet, began))
		return 0;
	record = &set->ways[PLACE(set, at->head.nodeid == nodeid && at->head.who == who &&
				  same_name(at->name, name, NAME_WORDS))];
	if (!WRITE_RECORD(record, seen))
		return 0;
	fill_head(&record->head, nodeid, who, began, expires, 0);
	record->child = child;
	record->generation = generation;
	record->valid = valid;
	record->valid_nsec = valid_nsec;
#pragma unroll
	for (int word = 0; word < NAME_WORDS; word++)
		record->name[word] = name[word];
	WRITE_DONE(record);
	return 1;
}

static __noinline int learn_lookup(struct efuse_ctx *ctx, const struct mark *mark)
{
	__u64 name[NAME_WORDS] = {}, who, expires;
	struct attributes about = {};
	struct fuse_entry_out out = {};

	if (ctx->error && ctx->error != -ENOENT)
		return 0;
	if (!ctx->error && bpf_efuse_reply_copy(ctx, 0, &out, sizeof(out)) != sizeof(out))
		return 0;
	if (bpf_efuse_name(ctx, 0, name, sizeof(name)) <= 0 || is_dots(name))
		return 0;
	who = caller(ctx);
	if (!out.nodeid) {
		/* an error says nothing of a time, so it is 0 */
		expires = md_expires(negative_life, mark->begun, out.entry_valid, out.entry_valid_nsec);
		if (learn_entry(ctx->nodeid, who, mark->began, expires, name, 0, 0, 0, 0))
			kept(ctx);
		return 0;
	}
	if (out.attr.flags)
		return 0;
	expires = md_expires(entry_life, mark->begun, out.entry_valid, out.entry_valid_nsec);
	if (learn_entry(ctx->nodeid, who, mark->began, expires, name, out.nodeid, out.generation, out.entry_valid,
			out.entry_valid_nsec))
		kept(ctx);
	if (changes_unseen(ctx, out.nodeid, out.attr.mode))
		return 0;
	about.valid = out.attr_valid;
	about.valid_nsec = out.attr_valid_nsec;
	learn_attr(out.nodeid, who, mark->began,
		   md_expires(attr_life, mark->begun, about.valid, about.valid_nsec), (__u64 *)&out.attr, &about);
	return 0;
}

static __noinline int learn_access(struct efuse_ctx *ctx, const struct mark *mark)
{
	__u64 facet = md_facet_hash(seed, ctx->nodeid, MD_RIGHTS), who = caller(ctx);
	__u64 expires = other_expires(ctx->nodeid, who, mark->begun), nodeid = ctx->nodeid;
	__u32 index = set_of(facet, who, rights_mask), seen, mask = ctx->flags;
	struct md_access *record;
	struct access_set *set;

	if (!expires || (ctx->error && ctx->error != -EACCES))
		return 0;
	set = bpf_map_lookup_elem(&rights, &index);
	if (!set)
		return 0;
	record = &set->ways[PLACE(set, at->head.nodeid == nodeid && at->head.who == who && at->mask == mask)];
	if (!WRITE_RECORD(record, seen))
		return 0;
	fill_head(&record->head, nodeid, who, mark->began, expires, 0);
	record->mask = mask;
	record->error = ctx->error;
	WRITE_DONE(record);
	kept(ctx);
	return 0;
}

static __noinline int learn_getxattr(struct efuse_ctx *ctx, const struct mark *mark)
{
	__u64 facet = md_facet_hash(seed, ctx->nodeid, MD_RIGHTS), who = caller(ctx), nodeid = ctx->nodeid;
	__u64 name[XATTR_WORDS] = {}, value[VALUE_WORDS] = {}, expires;
	struct md_xattr *record;
	struct xattr_set *set;
	__u32 index, seen;
	int error = ctx->error;

	/* the size alone is not worth keeping */
	if (error ? error != -ENODATA && error != -EOPNOTSUPP : !ctx->size || ctx->reply_size > MD_XATTR_VALUE)
		return 0;
	if (bpf_efuse_name(ctx, 0, name, sizeof(name)) <= 0)
		return 0;
	if (!error && bpf_efuse_reply_copy(ctx, 0, value, sizeof(value)) < 0)
		return 0;
	expires = other_expires(ctx->nodeid, who, mark->begun);
	if (!expires)
		return 0;
	index = set_of(md_name_hash(facet, nodeid, name, XATTR_WORDS), who, xattrs_mask);
	set = bpf_map_lookup_elem(&xattrs, &index);
	if (!set)
		return 0;
	record = &set->ways[PLACE(set, at->head.nodeid == nodeid && at->head.who == who &&
				  same_name(at->name, name, XATTR_WORDS))];
	if (!WRITE_RECORD(record, seen))
		return 0;
	fill_head(&record->head, nodeid, who, mark->began, expires, 0);
	record->error = error;
	record->size = error ? 0 : ctx->reply_size;
#pragma unroll
	for (int word = 0; word < XATTR_WORDS; word++)
		record->name[word] = name[word];
#pragma unroll
	for (int word = 0; word < VALUE_WORDS; word++)
		record->value[word] = value[word];
	WRITE_DONE(record);
	kept(ctx);
	return 0;
}

static __noinline int learn_readlink(struct efuse_ctx *ctx, const struct mark *mark)
{
	__u64 facet = md_facet_hash(seed, ctx->nodeid, MD_SELF), who = caller(ctx), nodeid = ctx->nodeid;
	__u64 expires = other_expires(ctx->nodeid, who, mark->begun), target[TARGET_WORDS] = {};
	__u32 index = set_of(facet, who, links_mask), seen;
	struct md_link *record;
	struct link_set *set;

	if (ctx->error || !expires || !ctx->reply_size || ctx->reply_size > MD_TARGET)
		return 0;
	if (bpf_efuse_reply_copy(ctx, 0, target, sizeof(target)) < 0)
		return 0;
	set = bpf_map_lookup_elem(&links, &index);
	if (!set)
		return 0;
	record = &set->ways[PLACE(set, at->head.nodeid == nodeid && at->head.who == who)];
	if (!WRITE_RECORD(record, seen))
		return 0;
	fill_head(&record->head, nodeid, who, mark->began, expires, 0);
	record->size = ctx->reply_size;
#pragma unroll
	for (int word = 0; word < TARGET_WORDS; word++)
		record->target[word] = target[word];
	WRITE_DONE(record);
	kept(ctx);
	return 0;
}

/*
 * OPEN, OPENDIR, CREATE: how the server opens it; READDIR from the first entry on: the kernel gets the listing again.
 * `nodeid` is what was opened.
 */
static __noinline int learn_open(struct efuse_ctx *ctx, const struct mark *mark, __u64 nodeid, _Bool listing)
{
	__u64 facet = md_facet_hash(seed, nodeid, MD_SELF), who = caller(ctx);
	__u64 expires = other_expires(nodeid, who, mark->begun);
	__u32 index = set_of(facet, who, opens_mask), seen;
	struct fuse_open_out out = {};
	struct md_open *record;
	struct open_set *set;

	if (ctx->error || !expires)
		return 0;
	if (!listing && bpf_efuse_reply_copy(ctx, 0, &out, sizeof(out)) != sizeof(out))
		return 0;
	set = bpf_map_lookup_elem(&opens, &index);
	if (!set)
		return 0;
	record = &set->ways[PLACE(set, at->head.nodeid == nodeid && at->head.who == who)];
	if (!WRITE_RECORD(record, seen))
		return 0;
	if (record->head.nodeid != nodeid || record->head.who != who || !stands(facet, record->head.began)) {
		record->flags = 0;
		record->listed = 0;
		record->head.flags = 0;
		fill_head(&record->head, nodeid, who, mark->began, expires, 0);
	}
	if (listing) {
		/*
		 * Of several who read it at a time, the kernel keeps what the first one got: what is there is as old as that,
		 * for as long as it holds.
		 */
		if (record->listed && (!timed || record->listed_expires > mark->begun) &&
		    stands(md_facet_hash(seed, nodeid, MD_LIST), record->listed_began))
			goto done;
		record->listed = 1;
		record->listed_began = mark->began;
		record->listed_expires = expires;
	} else {
		fill_head(&record->head, nodeid, who, mark->began, expires, OPEN_KNOWN);
		record->flags = out.open_flags;
	}
done:
	WRITE_DONE(record);
	kept(ctx);
	return 0;
}

/* MD_IF_WRITTEN depends on more than the opcode. */
static __always_inline __u32 changes_of(struct efuse_ctx *ctx)
{
	__u32 changes = md_changes(ctx->opcode, ctx->flags);

	if (changes & MD_IF_WRITTEN && bpf_efuse_inode(ctx, ctx->nodeid) & EFUSE_INODE_OPEN_TO_WRITE)
		changes |= MD_NODE_ATTR;
	return changes;
}

/*
 * The answer to a request that made, or removed, the first name: it says what that means from `named` on, the tick of
 * the request's own end. Nobody else may have changed it, or the directory, since the request began.
 */
static __always_inline void learn_named(struct efuse_ctx *ctx, const struct mark *mark, __u64 named, __u64 expires,
					const struct fuse_entry_out *out)
{
	__u64 name[NAME_WORDS] = {};

	if (!named || !stands(md_facet_hash(seed, ctx->nodeid, MD_SELF), mark->began) ||
	    (by_caller && !stands(md_facet_hash(seed, ctx->nodeid, MD_RIGHTS), mark->began)) ||
	    mark->began < WORD(not_before) || bpf_efuse_name(ctx, 0, name, sizeof(name)) <= 0)
		return;
	if (learn_entry(ctx->nodeid, caller(ctx), named, expires, name, out->nodeid, out->generation, out->entry_valid,
			out->entry_valid_nsec))
		kept(ctx);
}

/* What a request has made, or found: it may be an inode that has another name already. */
static __noinline int learn_child(struct efuse_ctx *ctx, const struct mark *mark, __u64 named)
{
	struct attributes about = {};
	struct fuse_entry_out out = {};
	__u64 tick;

	if (bpf_efuse_reply_first(ctx, &out, sizeof(out)) < 0)
		bpf_efuse_reply_copy(ctx, 0, &out, sizeof(out));
	tick = touch_node(out.nodeid, MD_ATTR, 0, mark->began);
	touch_node(out.nodeid, MD_RIGHTS, 0, 0);
	if (!WORD(keeping) || ctx->background || !out.nodeid || out.attr.flags)
		return 0;
	learn_named(ctx, mark, named, md_expires(entry_life, mark->begun, out.entry_valid, out.entry_valid_nsec), &out);
	if (ctx->opcode == FUSE_CREATE)
		learn_open(ctx, mark, out.nodeid, 0);
	if (!tick || mark->began < WORD(not_before) || changes_unseen(ctx, out.nodeid, out.attr.mode))
		return 0;
	about.valid = out.attr_valid;
	about.valid_nsec = out.attr_valid_nsec;
	learn_attr(out.nodeid, caller(ctx), tick,
		   md_expires(attr_life, mark->begun, about.valid, about.valid_nsec), (__u64 *)&out.attr, &about);
	return 0;
}

/* A name that is gone: where it was renamed from, nothing was exchanged, left behind, or the same as the new one. */
static __noinline int learn_gone(struct efuse_ctx *ctx, const struct mark *mark, __u64 named)
{
	struct fuse_entry_out none = {};
	__u32 flags = 0;

	if (ctx->opcode == FUSE_RENAME2)
		bpf_efuse_arg(ctx, 0, 8, &flags, sizeof(flags));
	if (flags & ~1U || ((ctx->opcode == FUSE_RENAME || ctx->opcode == FUSE_RENAME2) && ctx->target2))
		return 0;
	learn_named(ctx, mark, named, md_expires(negative_life, mark->begun, 0, 0), &none);
	return 0;
}

/* How READDIRPLUS tells of a name: struct fuse_direntplus, before the name itself. */
struct listed {
	struct fuse_entry_out entry;
	__u64 ino;
	__u64 off;
	__u32 namelen;
	__u32 type;
};

struct listing {
	struct efuse_ctx *ctx;
	__u64 nodeid;
	__u64 who;
	__u64 began;
	__u64 begun;
	__u32 offset;
	__u32 learned;
};

/* More than a server gives at once. */
#define MOST_LISTED 8192

static long learn_listed(__u32 number, struct listing *listing)
{
	struct efuse_ctx *ctx = listing->ctx;
	struct attributes about = {};
	__u64 name[NAME_WORDS] = {}, expires;
	struct listed it;
	__u32 at, length;

	if (bpf_efuse_reply_copy(ctx, listing->offset, &it, sizeof(it)) != sizeof(it))
		return 1;
	at = listing->offset + sizeof(it);
	length = it.namelen;
	listing->offset = at + ((length + 7) & ~7U);
	if (!length || length > 4096)
		return 1;
	/* "." and "..", and what the server tells no more of, have none */
	if (!it.entry.nodeid || it.entry.attr.flags || length > MD_NAME)
		return 0;
	if (bpf_efuse_reply_copy(ctx, at, name, length) != length || is_dots(name))
		return 0;
	expires = md_expires(entry_life, listing->begun, it.entry.entry_valid, it.entry.entry_valid_nsec);
	if (learn_entry(listing->nodeid, listing->who, listing->began, expires, name, it.entry.nodeid,
			it.entry.generation, it.entry.entry_valid, it.entry.entry_valid_nsec))
		listing->learned++;
	if (changes_unseen(ctx, it.entry.nodeid, it.entry.attr.mode))
		return 0;
	about.valid = it.entry.attr_valid;
	about.valid_nsec = it.entry.attr_valid_nsec;
	expires = md_expires(attr_life, listing->begun, about.valid, about.valid_nsec);
	learn_attr(it.entry.nodeid, listing->who, listing->began, expires, (__u64 *)&it.entry.attr, &about);
	return 0;
}

/* READDIRPLUS: all names of a directory, with their attributes. */
static __noinline int learn_listing(struct efuse_ctx *ctx, const struct mark *mark)
{
	struct listing listing = {
		.ctx = ctx,
		.nodeid = ctx->nodeid,
		.who = caller(ctx),
		.began = mark->began,
		.begun = mark->begun,
	};
	struct md_counts *count = counts_of(ctx->opcode);

	if (ctx->error)
		return 0;
	bpf_loop(MOST_LISTED, learn_listed, &listing, 0);
	if (count)
		count->kept += listing.learned;
	return 0;
}

SEC("struct_ops/begin")
int EFUSE_HOOK(metadata_begin)
{
	struct md_counts *count = counts_of(ctx->opcode);
	struct mark *mark = (struct mark *)bpf_efuse_scratch(ctx, sizeof(*mark));
	__u32 changes = changes_of(ctx);

	if (count)
		count->passed++;
	/* FORGETs and notifications have no answer */
	if (!mark || ctx->opcode >= EFUSE_NOTIFY) {
		change(ctx, changes, 0, 0);
		return 0;
	}
	change(ctx, changes, 1, 0);
	mark->epoch = epoch;
	mark->changes = changes;
	mark->begun = current_time();
	mark->began = WORD(clock);
	if (ctx->background)
		return 0;
	if (ctx->opcode == FUSE_WRITE && tells_attr)
		bpf_efuse_want(ctx, EFUSE_CAN_ATTR);
	else if (without_handles && (ctx->opcode == FUSE_CREATE || (ctx->opcode == FUSE_OPEN && ctx->flags & MD_O_TRUNC)))
		bpf_efuse_want(ctx, EFUSE_CAN_NO_HANDLE);
	return 0;
}

SEC("struct_ops/reply")
int EFUSE_HOOK(metadata_reply)
{
	struct mark *given = (struct mark *)bpf_efuse_scratch(ctx, sizeof(*given));
	struct mark mark;
	struct ticks ticks;
	__u32 changes;

	if (!given)
		return 0;
	mark = *given;
	if (mark.epoch != epoch) {
		/* its beginning was not seen */
		change(ctx, changes_of(ctx), 0, 0);
		return 0;
	}
	/* in case that the same memory is used for another request */
	given->epoch = 0;
	changes = mark.changes;
	ticks = change(ctx, changes, -1, mark.began);
	/*
	 * The inode has gone behind the mount's back. The VFS then looks its name up anew, and must not be told the same
	 * again: without attributes it isn't.
	 */
	if (ctx->error == -ESTALE)
		change(ctx, MD_NODE_ATTR | MD_NODE_RIGHTS | MD_NODE_LIST | MD_NODE_SELF, 0, 0);
	if (changes & MD_CHILD && !ctx->error)
		return learn_child(ctx, &mark, ticks.named);
	if (!WORD(keeping) || ctx->background)
		return 0;
	switch (ctx->opcode) {
	case FUSE_LOOKUP:
		learn_lookup(ctx, &mark);
		break;
	case FUSE_ACCESS:
		learn_access(ctx, &mark);
		break;
	case FUSE_GETXATTR:
		learn_getxattr(ctx, &mark);
		break;
	case FUSE_READLINK:
		learn_readlink(ctx, &mark);
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		learn_open(ctx, &mark, ctx->nodeid, 0);
		break;
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		if (!ctx->offset)
			learn_open(ctx, &mark, ctx->nodeid, 1);
		if (ctx->opcode == FUSE_READDIRPLUS)
			learn_listing(ctx, &mark);
		break;
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
		if (!ctx->error)
			learn_gone(ctx, &mark, ticks.named);
		break;
	case FUSE_GETATTR:
		if (!ctx->error)
			learn_getattr(ctx, &mark, mark.began);
		break;
	/* These hold from the tick of their own end on. */
	case FUSE_SETATTR:
		if (!ctx->error && ticks.attr && mark.began >= WORD(not_before))
			learn_getattr(ctx, &mark, ticks.attr);
		break;
	case FUSE_WRITE:
		if (tells_attr && !ctx->error && ticks.attr && mark.began >= WORD(not_before))
			learn_written(ctx, &mark, ticks.attr);
		break;
	case STATX:
		if (!ctx->error)
			learn_statx(ctx, &mark);
		break;
	}
	return 0;
}

SEC(".struct_ops.link")
struct efuse_ops metadata = {
	.lookup = (void *)metadata_lookup,
	.getattr = (void *)metadata_getattr,
	.access = (void *)metadata_access,
	.getxattr = (void *)metadata_getxattr,
	.readlink = (void *)metadata_readlink,
	.open = (void *)metadata_open,
	.flush = (void *)metadata_flush,
	.opendir = (void *)metadata_opendir,
	.stands = (void *)metadata_stands,
	.begin = (void *)metadata_begin,
	.reply = (void *)metadata_reply,
	.name = "metadata",
};

/* What user space asks for: see enum md_command_code. */
SEC("syscall")
int metadata_command(struct md_command *command)
{
	__u64 nodeid = command->nodeid, began = command->began, expires = command->life, name[NAME_WORDS], attr[11];
	struct attributes about = { .valid = command->valid, .valid_nsec = command->valid_nsec };

	if (expires != MD_FOREVER)
		expires += bpf_ktime_get_ns();
#pragma unroll
	for (int word = 0; word < NAME_WORDS; word++)
		name[word] = command->name[word];
	switch (command->code) {
	case MD_COMMAND_INODE:
		touch_node(nodeid, MD_ATTR, 0, 0);
		touch_node(nodeid, MD_RIGHTS, 0, 0);
		touch_node(nodeid, MD_LIST, 0, 0);
		touch_node(nodeid, MD_SELF, 0, 0);
		return 0;
	case MD_COMMAND_ENTRY:
		touch(md_name_hash(seed, nodeid, name, NAME_WORDS), 0, 0);
		touch_node(nodeid, MD_ATTR, 0, 0);
		touch_node(nodeid, MD_LIST, 0, 0);
		return 0;
	case MD_COMMAND_ALL:
		WORD(not_before) = __sync_fetch_and_add(&clock, 1) + 1;
		return 0;
	case MD_COMMAND_ATTR:
		if (by_caller)
			return -EOPNOTSUPP;
#pragma unroll
		for (int word = 0; word < 11; word++)
			attr[word] = command->attr[word];
		return learn_attr(nodeid, 0, began, expires, attr, &about) ? 0 : -ESTALE;
	case MD_COMMAND_NAME:
		if (by_caller)
			return -EOPNOTSUPP;
		return learn_entry(nodeid, 0, began, expires, name, command->child, command->generation, command->valid,
				   command->valid_nsec) ? 0 : -ESTALE;
	default:
		return -EINVAL;
	}
}
