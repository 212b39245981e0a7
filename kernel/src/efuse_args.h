/* SPDX-License-Identifier: GPL-2.0-only */
/* What eFuse keeps with a request: a member of struct fuse_args. */
#ifndef _FS_EFUSE_ARGS_H
#define _FS_EFUSE_ARGS_H

#include <linux/types.h>

struct fuse_args;
struct fuse_conn;
struct inode;

#define EFUSE_SCRATCH_WORDS 4

/* So many attachments of a connection may have begin or reply, and notes on requests. */
#define EFUSE_WATCHERS 4

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
		/* Background requests: what @end was before ours took its place, and whose request it is. */
		struct {
			void (*end)(struct fuse_args *args, int error);
			struct fuse_conn *fc;
		};
		/* UNLINK, RMDIR, RENAME: the inodes that lose a name by it, see struct efuse_ctx. */
		u64 targets[2];
	};
	u32 flags;
};

#endif
