/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What bpf/metadata.bpf.c remembers, for how long, and which requests change what: plain C, which host tests compile
 * too (test/metadata-policy.c). docs/metadata.md says why.
 *
 * One clock ticks with every change. A record carries the time at which the request it was learned from began. What
 * it says may change with certain *facets* of an inode or a name; each facet has a place in `generations` with the time
 * of its last change, and how many changes are under way. A record stands as long as none is under way and the last one
 * came before the record's request began. Facets share places by their hash: then a record falls too often, never too
 * seldom.
 */
#ifndef EFUSE_METADATA_H
#define EFUSE_METADATA_H

#include <linux/types.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* Records of a kind lie in sets of so many, by the hash of their keys. */
#define MD_WAYS 8

/* Longer names, values and targets are not remembered. */
#define MD_NAME 64
#define MD_XATTR_NAME 32
#define MD_XATTR_VALUE 64
#define MD_TARGET 208

/* Of a record's end, and of the knobs for lives: never. */
#define MD_FOREVER (~0ULL)
/* Of the knobs for lives: as long as the server says; what it says nothing about, as long as the inode's attributes. */
#define MD_SERVER 0ULL

#define MD_OPCODES 64

/* Facets. */
enum md_facet {
	/* what GETATTR tells */
	MD_ATTR = 1,
	/* who may do what, and extended attributes */
	MD_RIGHTS = 2,
	/* which names a directory has */
	MD_LIST = 3,
	/* that the nodeid means this inode; a link's target, which never changes */
	MD_SELF = 4,
	/* what a name in a directory means */
	MD_NAMED = 5,
};

struct md_generation {
	__u64 changed;
	__u64 under_way;
};

/*
 * What each record begins with. `sequence` is odd while it is written: readers compare it before and after, a writer
 * who finds it odd gives up.
 */
struct md_head {
	__u32 sequence;
	__u32 flags;
	/* 0: nothing here. Entries: of the directory */
	__u64 nodeid;
	/* whose answer it is, where the server tells callers apart; else 0 */
	__u64 who;
	/* by the clock, when the request began */
	__u64 began;
	/* nanoseconds of CLOCK_MONOTONIC, or MD_FOREVER */
	__u64 expires;
};

/* struct fuse_attr of <linux/fuse.h>, and what came with it. */
struct md_attr {
	struct md_head head;
	__u64 valid;
	__u32 valid_nsec;
	__u32 birth_nsec;
	__s64 birth;
	__u64 attr[11];
};
/* md_attr.head.flags */
#define MD_HAS_BIRTH 1

struct md_entry {
	struct md_head head;
	/* 0: there is no such name */
	__u64 child;
	__u64 generation;
	__u64 valid;
	__u32 valid_nsec;
	__u32 unused;
	__u64 name[MD_NAME / 8];
};

struct md_xattr {
	struct md_head head;
	/* 0, or a negated errno: there is none */
	__s32 error;
	__u32 size;
	__u64 name[MD_XATTR_NAME / 8];
	__u64 value[MD_XATTR_VALUE / 8];
};

struct md_link {
	struct md_head head;
	__u64 size;
	__u64 target[MD_TARGET / 8];
};

struct md_access {
	struct md_head head;
	__u32 mask;
	/* 0 or a negated errno */
	__s32 error;
};

/* What the server said to opening: FOPEN_... And since when the kernel has a directory's listing. */
struct md_open {
	struct md_head head;
	__u32 flags;
	__u32 listed;
	__u64 listed_began;
	__u64 listed_expires;
};

struct md_counts {
	/* here */
	__u64 answered;
	/* by the server */
	__u64 passed;
	/* answers of the server that were kept */
	__u64 kept;
	__u64 unused;
};

/* What the program `metadata_command` is to do, for user space; it returns 0 or a negated errno. */
enum md_command_code {
	/* tells the clock */
	MD_COMMAND_NOW = 0,
	/* all facets of `nodeid` have changed */
	MD_COMMAND_INODE = 1,
	/* what `name` in `nodeid` means, and the directory with it */
	MD_COMMAND_ENTRY = 2,
	/* everything */
	MD_COMMAND_ALL = 3,
	/* `attr` are the attributes of `nodeid` */
	MD_COMMAND_ATTR = 4,
	/* `name` in `nodeid` is `child` */
	MD_COMMAND_NAME = 5,
};

struct md_command {
	__u32 code;
	__u32 valid_nsec;
	__u64 nodeid;
	/* in: since when the answer holds; out: the clock */
	__u64 began;
	/* in nanoseconds from now on, or MD_FOREVER */
	__u64 life;
	__u64 child;
	__u64 generation;
	__u64 valid;
	__u64 name[MD_NAME / 8];
	__u64 attr[11];
};

/* Mixes a word into a hash: every bit of both counts. */
static __always_inline __u64 md_mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 29);
}

static __always_inline __u64 md_facet_hash(__u64 seed, __u64 nodeid, __u32 facet)
{
	return md_mix(md_mix(seed, nodeid), facet);
}

static __always_inline __u64 md_name_hash(__u64 seed, __u64 nodeid, const __u64 *name, __u32 words)
{
	__u64 hash = md_mix(seed, nodeid);

	for (__u32 i = 0; i < words; i++)
		hash = md_mix(hash, name[i]);
	return md_mix(hash, MD_NAMED);
}

/* Does a record still stand, as far as this facet goes? `changed` must be read after `under_way`. */
static __always_inline int md_stands(__u64 under_way, __u64 changed, __u64 began)
{
	return under_way == 0 && changed <= began;
}

/*
 * When a record ends.
 * @life: a knob; MD_SERVER: what the server said
 * @begun: nanoseconds, when the request began
 * @valid, @valid_nsec: what the server said
 *
 * Returns: nanoseconds or MD_FOREVER; 0: it is not to be kept
 */
static __always_inline __u64 md_expires(__u64 life, __u64 begun, __u64 valid, __u32 valid_nsec)
{
	if (life == MD_FOREVER)
		return MD_FOREVER;
	if (life == MD_SERVER) {
		/* more than a century is for ever */
		if (valid >= 4000000000ULL)
			return MD_FOREVER;
		life = valid * 1000000000ULL + valid_nsec;
	}
	return life ? begun + life : 0;
}

/*
 * How long the kernel's own caches may keep an answer: what the server said, and not beyond the record's end, so that
 * the two lives don't add up.
 */
static __always_inline void md_remaining(__u64 expires, __u64 now, __u64 *valid, __u32 *valid_nsec)
{
	__u64 left;

	if (expires == MD_FOREVER)
		return;
	left = expires > now ? expires - now : 0;
	if (*valid < 4000000000ULL && *valid * 1000000000ULL + *valid_nsec <= left)
		return;
	*valid = left / 1000000000ULL;
	*valid_nsec = left % 1000000000ULL;
}

/* What a request may change, by its opcode. Facets of: */
#define MD_NODE_ATTR	(1U << 0)	/* the request's inode */
#define MD_NODE_RIGHTS	(1U << 1)
#define MD_NODE_LIST	(1U << 2)
#define MD_NAME_1	(1U << 3)	/* its first name, in the request's inode or, with the next one, in the new directory */
#define MD_NAME_2	(1U << 4)	/* RENAME: the second name, in the new directory */
#define MD_TARGETS	(1U << 5)	/* the inodes whose names go or move: attributes, and listing, for ".." */
#define MD_OTHER_ATTR	(1U << 6)	/* LINK: the linked inode; COPY_FILE_RANGE: the file that is written */
#define MD_CHILD	(1U << 7)	/* the inode that the answer names: everything */
#define MD_NODE_SELF	(1U << 8)
#define MD_NODE_ATIME	(1U << 9)	/* attributes, if times of access count: it may have been read */
#define MD_IF_WRITTEN	(1U << 10)	/* MD_NODE_ATTR, if it is open for writing */
#define MD_ALL		(1U << 31)	/* who knows */

#define MD_FATTR_RIGHTS	((1U << 0) | (1U << 1) | (1U << 2) | (1U << 11))	/* FATTR_MODE, _UID, _GID, _KILL_SUIDGID */
#define MD_O_ACCMODE 3
#define MD_O_TRUNC 01000

/* Notifications come as opcodes from here on: enum fuse_notify_code. */
#ifndef EFUSE_NOTIFY
#define EFUSE_NOTIFY 0x10000
#define EFUSE_BACKING_UNUSED (EFUSE_NOTIFY + 0x100)
#endif

/*
 * @opcode: enum fuse_opcode, or EFUSE_NOTIFY and more
 * @flags: OPEN, RELEASE: open flags
 */
static __always_inline __u32 md_changes(__u32 opcode, __u32 flags)
{
	switch (opcode) {
	case 1:		/* LOOKUP */
	case 3:		/* GETATTR */
	case 17:	/* STATFS */
	case 22:	/* GETXATTR */
	case 23:	/* LISTXATTR */
	case 26:	/* INIT */
	case 27:	/* OPENDIR */
	case 29:	/* RELEASEDIR */
	case 30:	/* FSYNCDIR */
	case 31:	/* GETLK */
	case 32:	/* SETLK */
	case 33:	/* SETLKW */
	case 34:	/* ACCESS */
	case 36:	/* INTERRUPT */
	case 37:	/* BMAP */
	case 38:	/* DESTROY */
	case 40:	/* POLL */
	case 41:	/* NOTIFY_REPLY */
	case 46:	/* LSEEK */
	case 50:	/* SYNCFS */
	case 52:	/* STATX */
		return 0;
	case 5:		/* READLINK */
	case 15:	/* READ */
	case 28:	/* READDIR */
	case 44:	/* READDIRPLUS */
	case EFUSE_BACKING_UNUSED:
		return MD_NODE_ATIME;
	case 14:	/* OPEN */
		return flags & MD_O_TRUNC ? MD_NODE_ATTR : 0;
	case 18:	/* RELEASE */
		return flags & MD_O_ACCMODE ? MD_NODE_ATTR : 0;
	case 20:	/* FSYNC */
	case 25:	/* FLUSH */
		/* a server that gathers writes lets them go here */
		return MD_IF_WRITTEN;
	case 16:	/* WRITE */
	case 43:	/* FALLOCATE */
		return MD_NODE_ATTR;
	case 47:	/* COPY_FILE_RANGE */
	case 53:	/* COPY_FILE_RANGE_64 */
		return MD_OTHER_ATTR | MD_NODE_ATIME;
	case 4:		/* SETATTR */
	case 21:	/* SETXATTR */
	case 24:	/* REMOVEXATTR */
	case 39:	/* IOCTL */
		return MD_NODE_ATTR | MD_NODE_RIGHTS;
	case 6:		/* SYMLINK */
	case 8:		/* MKNOD */
	case 9:		/* MKDIR */
	case 35:	/* CREATE */
		return MD_NODE_ATTR | MD_NODE_LIST | MD_NAME_1 | MD_CHILD;
	case 51:	/* TMPFILE */
		return MD_CHILD;
	case 10:	/* UNLINK */
	case 11:	/* RMDIR */
		return MD_NODE_ATTR | MD_NODE_LIST | MD_NAME_1 | MD_TARGETS;
	case 13:	/* LINK */
		return MD_NODE_ATTR | MD_NODE_LIST | MD_NAME_1 | MD_OTHER_ATTR | MD_CHILD;
	case 12:	/* RENAME */
	case 45:	/* RENAME2 */
		return MD_NODE_ATTR | MD_NODE_LIST | MD_NAME_1 | MD_NAME_2 | MD_TARGETS;
	case 2:		/* FORGET */
	case 42:	/* BATCH_FORGET */
	case EFUSE_NOTIFY + 2:	/* INVAL_INODE */
		return MD_NODE_ATTR | MD_NODE_RIGHTS | MD_NODE_LIST | MD_NODE_SELF;
	case EFUSE_NOTIFY + 3:	/* INVAL_ENTRY */
	case EFUSE_NOTIFY + 6:	/* DELETE */
		return MD_NODE_ATTR | MD_NODE_LIST | MD_NAME_1 | MD_TARGETS;
	case EFUSE_NOTIFY + 4:	/* STORE */
		return MD_NODE_ATTR;
	case EFUSE_NOTIFY + 1:	/* POLL */
	case EFUSE_NOTIFY + 5:	/* RETRIEVE */
	case EFUSE_NOTIFY + 7:	/* RESEND */
	case EFUSE_NOTIFY + 9:	/* PRUNE: FORGETs follow */
		return 0;
	default:
		/* INC_EPOCH, and what is newer than this program */
		return MD_ALL;
	}
}

#endif
