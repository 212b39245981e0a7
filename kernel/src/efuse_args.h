/* SPDX-License-Identifier: GPL-2.0-only */
/* What eFuse keeps with a request: a member of struct fuse_args. */
#ifndef _FS_EFUSE_ARGS_H
#define _FS_EFUSE_ARGS_H

#include <linux/seqlock_types.h>
#include <linux/types.h>
#include "efuse_uapi.h"

struct fuse_args;
struct fuse_conn;
struct inode;

#define EFUSE_SCRATCH_WORDS 4

/* So many attachments of a connection may have begin or reply, and notes on requests. */
#define EFUSE_WATCHERS 4

#define EFUSE_NOTE_WORDS 4

/*
 * What a program has noted with an answer that the kernel holds, see bpf_efuse_hold(): with the attributes of an
 * inode, or with the name of a dentry. Written under the inode's, or the dentry's, lock.
 */
struct efuse_note {
	seqcount_t seq;
	/* whose it is; 0: there is none */
	u32 holder;
	u64 words[EFUSE_NOTE_WORDS];
};

/* struct efuse_args.flags */
#define EFUSE_ARGS_NO_HOOK	BIT(0)	/* to the server: no request hook is asked */
#define EFUSE_ARGS_ANSWERED	BIT(1)	/* a program has answered, the server has not seen it */
#define EFUSE_ARGS_WATCHED	BIT(2)	/* begin has seen it, reply will */

struct efuse_args {
	/* The programs' own notes on this request, from hook over begin to reply: each attachment's at its place. */
	u64 scratch[EFUSE_WATCHERS][EFUSE_SCRATCH_WORDS];
	/* whose they are */
	u32 writer[EFUSE_WATCHERS];
	union {
		/* LOOKUP: the inode that a program's answer names, held until the caller has taken it. */
		struct inode *inode;
		/*
		 * Background requests: what @end was before ours took its place, whose request it is, and memory that
		 * a READ's answer comes to first, or NULL.
		 */
		struct {
			void (*end)(struct fuse_args *args, int error);
			struct fuse_conn *fc;
			void *bytes;
		};
		/* UNLINK, RMDIR, RENAME: the inodes that lose a name by it, see struct efuse_ctx. */
		u64 targets[2];
	};
	u32 flags;
	/* EFUSE_CAN_*: what the server is asked for beside the request */
	u16 wants;
	/* Whose notes they are, on the answer's attributes and on its name; 0: there are none. */
	u32 holder;
	u64 attr_note[EFUSE_NOTE_WORDS];
	u64 name_note[EFUSE_NOTE_WORDS];
};

#endif
