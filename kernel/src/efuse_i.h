/* SPDX-License-Identifier: GPL-2.0-only */
/* Between eFuse's own files. */
#ifndef _FS_EFUSE_I_H
#define _FS_EFUSE_I_H

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/srcu.h>
#include <linux/xarray.h>
#include "efuse.h"
#include "efuse_bpf.h"

struct bpf_struct_ops;
struct iov_iter;
struct kiocb;

/* The members of struct efuse_ops that are hooks, in its order. */
enum efuse_hook {
	EFUSE_LOOKUP,
	EFUSE_GETATTR,
	EFUSE_ACCESS,
	EFUSE_GETXATTR,
	EFUSE_READLINK,
	EFUSE_OPEN,
	EFUSE_FLUSH,
	EFUSE_RELEASE,
	EFUSE_OPENDIR,
	EFUSE_READDIR,
	EFUSE_RELEASEDIR,
	EFUSE_STATFS,
	EFUSE_READ,
	EFUSE_WRITE,
	EFUSE_BEGIN,
	EFUSE_REPLY,
	EFUSE_SELECT_QUEUE,
	EFUSE_STANDS,
	EFUSE_NR_HOOKS,
	EFUSE_NO_HOOK = EFUSE_NR_HOOKS,
};

typedef int (*efuse_hook_fn)(struct efuse_ctx *ctx);

static inline bool efuse_watches(enum efuse_hook hook)
{
	return hook == EFUSE_BEGIN || hook == EFUSE_REPLY;
}

struct efuse_slot {
	efuse_hook_fn fn;
	/* whose it is, and its place for notes; EFUSE_WATCHERS: none */
	u32 id;
	u8 place;
};

/* All hooks of a connection, of whichever attachment: never changed, but replaced. */
struct efuse_hooks {
	/* but for begin and reply */
	struct efuse_slot slot[EFUSE_NR_HOOKS];
	/* begin and reply: those there are, and behind them one without a function */
	struct efuse_slot watch[2][EFUSE_WATCHERS + 1];
};

/* A connection as attachments and control descriptors know it, which may outlive it. */
struct efuse_conn {
	refcount_t count;

	/* Held by whoever runs a program, or reads fc->efuse_hooks to do so. */
	struct srcu_struct srcu;

	/* Held by whoever changes the attachments, until nobody runs what was taken away. */
	struct mutex lock;

	/* Protected by @lock. */
	struct list_head attachments;

	/* NULL once the connection is gone. Written under @lock and efuse_lock, read under either. */
	struct fuse_conn *fc;

	/*
	 * Set by an answer that the module must remember even without programs: an inode or an open file that the
	 * server does not know. Never cleared.
	 */
	bool synthetic;
	bool opened;

	/* Hooks that somebody has, by their bits: may lag behind the table of hooks. */
	u32 filled;

	/* EFUSE_CAN_*: what the server understands */
	u32 can;

	/* Files that programs have opened, by the low bits of their file handle. */
	struct xarray opens;
};

/* What a program's calls work on: its argument comes first. */
struct efuse_call {
	struct efuse_ctx ctx;
	/* a reply has been filled in */
	bool replied;
	/* LOOKUP: args->efuse.inode is held, if only because it can't be let go of where programs run */
	bool held;
	/* the backing file's time of access is noted */
	bool accessed;
	/* bytes of a reply of variable size that are filled in; bytes written, for WRITE */
	u32 len;
	/* The inode that was looked up last: programs that can't sleep run under RCU, so that it stays there. */
	struct inode *found;
	/* A read or write that is no request yet: the caller's memory */
	const struct iov_iter *iter;
	/* reply: what the server has told beside its answer, or NULL */
	const struct fuse_attr_out *extra;
	/* READ: how much the server is asked for instead, see bpf_efuse_read_around(); 0: what the caller wants */
	u32 around_size;

	/* What follows efuse_call_init() does not zero: it is set there, or with what it belongs to. */
	enum efuse_hook hook;
	/* while a program runs: whose it is */
	const struct efuse_slot *slot;
	struct fuse_conn *fc;
	/* NULL where no inode may be looked up: FORGET, background replies, select_queue */
	struct fuse_mount *fm;
	/* NULL for FORGET, and where there is no request yet */
	struct fuse_args *args;
	/* with @found */
	u64 found_nodeid;
	/* with @iter: whose, and where in the file it goes on */
	struct kiocb *iocb;
	loff_t pos;
	/* with @around_size */
	u64 around_offset;
	/* room for @extra */
	struct fuse_attr_out attr;
};

static inline struct efuse_call *efuse_call(struct efuse_ctx *ctx)
{
	return container_of(ctx, struct efuse_call, ctx);
}

static inline bool efuse_synthetic(u64 nodeid)
{
	return nodeid >> 48 == EFUSE_SYNTHETIC_BASE >> 48;
}

/* efuse_request.c */
void efuse_call_init(struct efuse_call *call, struct fuse_conn *fc, struct fuse_mount *fm, struct fuse_args *args,
		     bool background);
int efuse_run_holder(struct efuse_call *call, enum efuse_hook hook, u32 holder);

static inline int efuse_run(struct efuse_call *call, enum efuse_hook hook)
{
	return efuse_run_holder(call, hook, 0);
}

bool efuse_ready(struct fuse_conn *fc);
bool efuse_takes(struct fuse_conn *fc, enum efuse_hook hook);
bool efuse_ask(struct efuse_call *call, enum efuse_hook hook, ssize_t *result);

/* efuse_conn.c */
int efuse_attach(struct efuse_ops *ops, void *owner);
int efuse_replace(struct efuse_ops *ops, void *owner);
void efuse_detach(void *owner);

/* efuse_open.c */
int efuse_open_answer(struct efuse_call *call);
int efuse_open_resolve(struct fuse_mount *fm, struct fuse_args *args, bool may_sleep);
void efuse_open_adopt(struct fuse_conn *fc, struct fuse_args *args);
void efuse_opens_free(struct efuse_conn *ec);

/* efuse_backing.c */
struct inode *efuse_find_inode(struct efuse_call *call, u64 nodeid);
int efuse_bind(struct fuse_conn *fc, const struct efuse_bind *bind);

/* efuse_rings.c */
int efuse_set_queues(struct fuse_conn *fc, unsigned long nr);
int efuse_set_background(struct fuse_conn *fc, unsigned long max);

/* efuse_kfunc.c */
u32 efuse_pages_copy(struct fuse_args *args, u32 offset, void *to, const void *from, u32 len);
bool efuse_attr_valid(const struct fuse_attr *attr);
int efuse_kfuncs_init(const struct bpf_struct_ops *ops);

#endif
