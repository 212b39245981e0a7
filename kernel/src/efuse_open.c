// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files that a program has opened.
 *
 * The server knows nothing of them. Their file handle is ours: a tag and a number. Requests that need no handle go
 * without it, and the first one that does makes the server open the file, late; from then on its handle takes the
 * place of ours on the way. A file that was never opened there is never released there.
 *
 * Only files opened for reading alone: written-back pages come in atomic context, where nothing can be opened.
 * Unless the server can do without handles (EFUSE_CAN_NO_HANDLE): then written-back pages have none, as the first
 * few requests on any such file, which often are all; and a file that is made, or emptied, is left like that by the
 * server itself.
 */
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include "dev.h"
#include "efuse_i.h"

#define EFUSE_FH_TAG	(0xEF5EULL << 48)
#define EFUSE_FH_ID(fh)	((fh) ^ EFUSE_FH_TAG)

/* So many requests on a file go without a handle before the server is made to open it: opening costs two. */
#define EFUSE_WITHOUT_HANDLE 4

struct efuse_open {
	/* the table's, until it is released, and one for each request that looks at it */
	refcount_t count;
	/* two threads may need the server's handle at once */
	struct mutex lock;
	/* the server has it, under @fh */
	bool opened;
	/* the server takes requests without opening: RELEASE is not for it either */
	bool no_release;
	bool dir;
	/* requests that went without a handle */
	atomic_t without;
	u32 flags;
	u64 nodeid;
	u64 fh;
};

static void efuse_open_put(struct efuse_open *open)
{
	if (!refcount_dec_and_test(&open->count))
		return;
	mutex_destroy(&open->lock);
	kfree(open);
}

/*
 * The file behind a handle, held; NULL: the handle is the server's. Users of a file keep it from being released, but
 * a server may make handles that look like ours: then it loses files, and nothing worse.
 */
static struct efuse_open *efuse_open_get(struct efuse_conn *ec, u64 fh, u64 nodeid, bool release)
{
	struct efuse_open *open;

	if (fh >> 48 != EFUSE_FH_TAG >> 48 || EFUSE_FH_ID(fh) > INT_MAX)
		return NULL;
	xa_lock(&ec->opens);
	open = xa_load(&ec->opens, EFUSE_FH_ID(fh));
	if (open && open->nodeid != nodeid)
		open = NULL;
	if (open && release)
		__xa_erase(&ec->opens, EFUSE_FH_ID(fh));
	else if (open)
		refcount_inc(&open->count);
	xa_unlock(&ec->opens);
	return open;
}

static int efuse_open_new(struct efuse_conn *ec, u64 nodeid, u32 flags, bool dir, u64 *fh)
{
	struct efuse_open *open;
	u32 id;
	int err;

	open = kzalloc_obj(*open, GFP_KERNEL_ACCOUNT);
	if (!open)
		return -ENOMEM;
	refcount_set(&open->count, 1);
	mutex_init(&open->lock);
	open->dir = dir;
	open->flags = flags;
	open->nodeid = nodeid;
	err = xa_alloc(&ec->opens, &id, open, xa_limit_31b, GFP_KERNEL_ACCOUNT);
	if (err) {
		efuse_open_put(open);
		return err;
	}
	*fh = EFUSE_FH_TAG | id;
	return 0;
}

/**
 * efuse_open_answer - remembers a file that a program has just opened
 * @call: OPEN or OPENDIR, whose reply the program has filled in
 */
int efuse_open_answer(struct efuse_call *call)
{
	struct fuse_open_out *out = call->args->out_args[0].value;

	return efuse_open_new(call->fc->efuse, call->args->nodeid, call->ctx.flags,
			      call->args->opcode == FUSE_OPENDIR, &out->fh);
}

/**
 * efuse_open_adopt - remembers a file that the server has opened without a handle
 * @fc: connection
 * @args: CREATE or OPEN, answered
 *
 * If there is no memory for that, the file's requests go to the server as they are, RELEASE included.
 */
void efuse_open_adopt(struct fuse_conn *fc, struct fuse_args *args)
{
	struct fuse_open_out *out = args->out_args[args->out_numargs - 1].value;
	const void *in = args->in_args[0].value;
	u64 nodeid = args->nodeid;
	u32 flags;

	if (out->fh != EFUSE_FH_NONE)
		return;
	if (args->opcode == FUSE_CREATE) {
		nodeid = ((const struct fuse_entry_out *)args->out_args[0].value)->nodeid;
		flags = ((const struct fuse_create_in *)in)->flags;
	} else {
		flags = ((const struct fuse_open_in *)in)->flags;
	}
	WRITE_ONCE(fc->efuse->opened, true);
	efuse_open_new(fc->efuse, nodeid, flags & ~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC), false, &out->fh);
}

/* The file handle in a request that has one. */
static u64 *efuse_fh_of(struct fuse_args *args)
{
	void *in = (void *)args->in_args[0].value;

	switch (args->opcode) {
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		return &((struct fuse_read_in *)in)->fh;
	case FUSE_WRITE:
		return &((struct fuse_write_in *)in)->fh;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		return &((struct fuse_release_in *)in)->fh;
	case FUSE_FLUSH:
		return &((struct fuse_flush_in *)in)->fh;
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
		return &((struct fuse_fsync_in *)in)->fh;
	case FUSE_GETLK:
	case FUSE_SETLK:
	case FUSE_SETLKW:
		return &((struct fuse_lk_in *)in)->fh;
	case FUSE_IOCTL:
		return &((struct fuse_ioctl_in *)in)->fh;
	case FUSE_POLL:
		return &((struct fuse_poll_in *)in)->fh;
	case FUSE_FALLOCATE:
		return &((struct fuse_fallocate_in *)in)->fh;
	case FUSE_LSEEK:
		return &((struct fuse_lseek_in *)in)->fh;
	case FUSE_COPY_FILE_RANGE:
	case FUSE_COPY_FILE_RANGE_64:
		return &((struct fuse_copy_file_range_in *)in)->fh_in;
	case FUSE_GETATTR:
		return &((struct fuse_getattr_in *)in)->fh;
	case FUSE_STATX:
		return &((struct fuse_statx_in *)in)->fh;
	case FUSE_SETATTR:
		return &((struct fuse_setattr_in *)in)->fh;
	default:
		return NULL;
	}
}

/* Requests for which a handle is only an addition: takes it out. */
static bool efuse_fh_leave_out(struct fuse_args *args)
{
	void *in = (void *)args->in_args[0].value;

	switch (args->opcode) {
	case FUSE_GETATTR:
		((struct fuse_getattr_in *)in)->getattr_flags &= ~FUSE_GETATTR_FH;
		((struct fuse_getattr_in *)in)->fh = 0;
		return true;
	case FUSE_STATX:
		((struct fuse_statx_in *)in)->getattr_flags &= ~FUSE_GETATTR_FH;
		((struct fuse_statx_in *)in)->fh = 0;
		return true;
	case FUSE_SETATTR:
		((struct fuse_setattr_in *)in)->valid &= ~FATTR_FH;
		((struct fuse_setattr_in *)in)->fh = 0;
		return true;
	default:
		return false;
	}
}

/* Makes the server open the file, unless it has done so. */
static int efuse_open_late(struct fuse_mount *fm, struct efuse_open *open)
{
	struct fuse_open_in inarg = { .flags = open->flags };
	struct fuse_open_out outarg = {};
	FUSE_ARGS(args);
	int err = 0;

	mutex_lock(&open->lock);
	if (open->opened)
		goto unlock;

	args.opcode = open->dir ? FUSE_OPENDIR : FUSE_OPEN;
	args.nodeid = open->nodeid;
	args.in_numargs = 1;
	args.in_args[0].size = sizeof(inarg);
	args.in_args[0].value = &inarg;
	args.out_numargs = 1;
	args.out_args[0].size = sizeof(outarg);
	args.out_args[0].value = &outarg;
	args.efuse.flags = EFUSE_ARGS_NO_HOOK;
	err = fuse_simple_request(fm, &args);
	if (err == -ENOSYS) {
		open->no_release = true;
		err = 0;
	}
	if (!err) {
		open->fh = outarg.fh;
		open->opened = true;
	}
unlock:
	mutex_unlock(&open->lock);
	return err;
}

/* Must the server hear of the request? */
static bool efuse_open_needed(struct fuse_conn *fc, struct fuse_args *args, struct efuse_open *open)
{
	switch (args->opcode) {
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		return open->opened && !open->no_release;
	case FUSE_FLUSH:
		return open->opened || READ_ONCE(fc->efuse_locked);
	default:
		return true;
	}
}

/* May the request go without a handle? */
static bool efuse_open_without(struct efuse_conn *ec, struct fuse_args *args, struct efuse_open *open, bool may_sleep)
{
	if (!(READ_ONCE(ec->can) & EFUSE_CAN_NO_HANDLE))
		return false;
	switch (args->opcode) {
	case FUSE_READ:
	case FUSE_WRITE:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		return !may_sleep || (!READ_ONCE(open->opened) &&
				      atomic_add_unless(&open->without, 1, EFUSE_WITHOUT_HANDLE));
	default:
		return false;
	}
}

/* COPY_FILE_RANGE has a second handle, that of the file it writes to. */
static int efuse_open_resolve_second(struct fuse_mount *fm, struct fuse_args *args)
{
	struct fuse_copy_file_range_in *in = (void *)args->in_args[0].value;
	struct efuse_open *open;
	int err;

	if (args->opcode != FUSE_COPY_FILE_RANGE && args->opcode != FUSE_COPY_FILE_RANGE_64)
		return EFUSE_PASS;
	open = efuse_open_get(fm->fc->efuse, in->fh_out, in->nodeid_out, false);
	if (!open)
		return EFUSE_PASS;
	err = efuse_open_late(fm, open);
	if (!err)
		in->fh_out = open->fh;
	efuse_open_put(open);
	return err;
}

/**
 * efuse_open_resolve - makes a request on a file that a program has opened one that the server understands
 * @fm: mount
 * @args: request
 * @may_sleep: so may its caller; else it is a WRITE of written-back pages
 *
 * Returns: EFUSE_PASS: so it is, or was before; EFUSE_DONE: the server need not hear of it; or an error.
 */
int efuse_open_resolve(struct fuse_mount *fm, struct fuse_args *args, bool may_sleep)
{
	struct fuse_conn *fc = fm->fc;
	struct efuse_conn *ec = fc->efuse;
	struct efuse_open *open;
	bool release;
	u64 *fh;
	int ret;

	fh = efuse_fh_of(args);
	if (!fh)
		return EFUSE_PASS;
	ret = efuse_open_resolve_second(fm, args);
	if (ret != EFUSE_PASS)
		return ret;
	release = args->opcode == FUSE_RELEASE || args->opcode == FUSE_RELEASEDIR;
	open = efuse_open_get(ec, *fh, args->nodeid, release);
	if (!open)
		return EFUSE_PASS;

	if (efuse_fh_leave_out(args)) {
		ret = EFUSE_PASS;
	} else if (!efuse_open_needed(fc, args, open)) {
		ret = EFUSE_DONE;
	} else if (efuse_synthetic(open->nodeid)) {
		ret = -EOPNOTSUPP;
	} else if (efuse_open_without(ec, args, open, may_sleep)) {
		*fh = EFUSE_FH_NONE;
		ret = EFUSE_PASS;
	} else if (!may_sleep) {
		/* never: such files are opened for writing only where this can be done without */
		ret = -EIO;
	} else {
		ret = efuse_open_late(fm, open);
		if (!ret)
			*fh = open->fh;
	}
	efuse_open_put(open);
	return ret;
}

/* The connection has ended: what is still there was open when it did. */
void efuse_opens_free(struct efuse_conn *ec)
{
	struct efuse_open *open;
	unsigned long id;

	xa_for_each(&ec->opens, id, open)
		efuse_open_put(open);
	xa_destroy(&ec->opens);
}
