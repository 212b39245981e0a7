// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads and writes as their callers make them.
 *
 * A file that the server opens with FOPEN_PASSTHROUGH and FOPEN_DIRECT_IO has a backing file, which mappings go to,
 * and no pages of its own in the page cache. So there is nothing that its read and write hooks could bypass: they are
 * asked at once, with the caller's memory in place of a request's pages. What they don't answer becomes requests, as
 * ever.
 *
 * The caller's memory is written to without waiting for it, but by the backing file's read: programs may be called
 * where nothing sleeps, and may hold what others wait for.
 */
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/task_io_accounting_ops.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include "efuse_file.h"
#include "efuse_i.h"

#ifdef CONFIG_FUSE_PASSTHROUGH

/*
 * A read or write that is offered to its hook, and the request it would be. Whoever has one tells the compiler not to
 * zero it: efuse_file_call_init() sets all that is read of it.
 */
struct efuse_file_call {
	struct efuse_call call;
	struct fuse_args args;
	union {
		struct fuse_read_in read;
		struct fuse_write_in write;
	};
};

static void efuse_file_call_init(struct efuse_file_call *fcall, struct kiocb *iocb, struct iov_iter *iter, u32 opcode)
{
	struct fuse_file *ff = iocb->ki_filp->private_data;
	struct fuse_mount *fm = ff->fm;
	struct fuse_args *args = &fcall->args;

	/* Notes are zeroed for whom they are given to. */
	memset(args, 0, offsetof(struct fuse_args, efuse));
	memset_startat(args, 0, efuse.writer);
	memset(&fcall->write, 0, sizeof(fcall->write));
	args->nodeid = ff->nodeid;
	args->opcode = opcode;
	args->pid = pid_nr_ns(task_pid(current), fm->fc->pid_ns);
	if (!(fm->sb->s_iflags & SB_I_NOIDMAP)) {
		args->uid = FUSE_INVALID_UIDGID;
		args->gid = FUSE_INVALID_UIDGID;
	} else if (fm->fc->user_ns == &init_user_ns) {
		args->uid = __kuid_val(current_fsuid());
		args->gid = __kgid_val(current_fsgid());
	} else {
		args->uid = from_kuid(fm->fc->user_ns, current_fsuid());
		args->gid = from_kgid(fm->fc->user_ns, current_fsgid());
	}
	args->in_numargs = 1;
	args->in_args[0].value = &fcall->read;
	if (opcode == FUSE_READ) {
		args->in_args[0].size = sizeof(fcall->read);
		fcall->read.fh = ff->fh;
		fcall->read.offset = iocb->ki_pos;
		fcall->read.size = iov_iter_count(iter);
		fcall->read.flags = iocb->ki_filp->f_flags;
		args->out_numargs = 1;
		args->out_argvar = true;
		args->out_args[0].size = fcall->read.size;
	} else {
		args->in_args[0].size = sizeof(fcall->write);
		fcall->write.fh = ff->fh;
		fcall->write.offset = iocb->ki_pos;
		fcall->write.size = iov_iter_count(iter);
		fcall->write.flags = iocb->ki_filp->f_flags;
	}
	efuse_call_init(&fcall->call, fm->fc, fm, args, false);
	fcall->call.iocb = iocb;
	fcall->call.iter = iter;
	fcall->call.pos = iocb->ki_pos;
}

/* May the hook have this call? Not one that must not wait: whoever makes such a call is ready to make it again. */
static bool efuse_file_asks(struct kiocb *iocb, struct iov_iter *iter, enum efuse_hook hook)
{
	struct fuse_file *ff = iocb->ki_filp->private_data;

	return fuse_file_passthrough(ff) && iov_iter_count(iter) && !(iocb->ki_flags & IOCB_NOWAIT) &&
	       efuse_takes(ff->fm->fc, hook);
}

/**
 * efuse_read_iter - asks the read hook
 * @iocb: of a file with FOPEN_DIRECT_IO
 * @to: for the data
 * @result: the answer
 *
 * Returns: true: it is answered
 */
bool efuse_read_iter(struct kiocb *iocb, struct iov_iter *to, ssize_t *result)
{
	struct efuse_file_call fcall __uninitialized;

	if (!efuse_file_asks(iocb, to, EFUSE_READ))
		return false;
	efuse_file_call_init(&fcall, iocb, to, FUSE_READ);
	if (!efuse_ask(&fcall.call, EFUSE_READ, result))
		return false;
	if (*result > 0) {
		iov_iter_advance(to, *result);
		iocb->ki_pos += *result;
		efuse_iter_accessed(&fcall.call);
	}
	fuse_invalidate_atime(file_inode(iocb->ki_filp));
	return true;
}

/**
 * efuse_write_iter - asks the write hook
 * @iocb: of a file with FOPEN_DIRECT_IO
 * @from: data
 * @result: the answer
 *
 * Where to and how much is the backing file's to say: O_APPEND, limits, room.
 *
 * Returns: true: it is answered
 */
bool efuse_write_iter(struct kiocb *iocb, struct iov_iter *from, ssize_t *result)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	struct efuse_file_call fcall __uninitialized;
	bool answered;

	if (!efuse_file_asks(iocb, from, EFUSE_WRITE))
		return false;
	inode_lock(inode);
	/* Asks the server: not while a program runs. */
	*result = file_remove_privs(iocb->ki_filp);
	if (*result) {
		inode_unlock(inode);
		return true;
	}
	efuse_file_call_init(&fcall, iocb, from, FUSE_WRITE);
	answered = efuse_ask(&fcall.call, EFUSE_WRITE, result);
	/* What is written is written, whatever the program makes of it. */
	if (fcall.call.len) {
		answered = true;
		*result = fcall.call.len;
		iov_iter_advance(from, fcall.call.len);
		iocb->ki_pos = fcall.call.pos;
		task_io_account_write(fcall.call.len);
		fuse_write_update_attr(inode, iocb->ki_pos, *result);
	}
	inode_unlock(inode);
	return answered;
}

/* A part of the caller's memory, without moving on in it. */
static struct iov_iter efuse_iter_at(struct efuse_call *call, u32 offset)
{
	struct iov_iter iter = *call->iter;

	iov_iter_advance(&iter, offset);
	return iter;
}

/* Copies to the caller's memory, or zeroes it with no @from. -EFAULT: it is not there, or not now. */
int efuse_iter_copy(struct efuse_call *call, u32 offset, const void *from, u32 len)
{
	struct iov_iter iter = efuse_iter_at(call, offset);
	size_t copied;

	pagefault_disable();
	copied = from ? copy_to_iter(from, len, &iter) : iov_iter_zero(len, &iter);
	pagefault_enable();
	return copied == len ? 0 : -EFAULT;
}

/* Reads from the backing file to the caller's memory. */
ssize_t efuse_iter_read(struct efuse_call *call, u32 offset, u32 len)
{
	struct fuse_file *ff = call->iocb->ki_filp->private_data;
	struct iov_iter iter = efuse_iter_at(call, offset);
	loff_t pos = call->ctx.offset + offset;
	ssize_t ret;

	iov_iter_truncate(&iter, len);
	scoped_with_creds(ff->cred)
		ret = vfs_iter_read(ff->passthrough, &iter, &pos, 0);
	if (ret > 0)
		call->accessed = true;
	return ret;
}

/* Reads from the backing file to a program's memory. */
ssize_t efuse_iter_read_mem(struct efuse_call *call, loff_t pos, void *mem, u32 len)
{
	struct fuse_file *ff = call->iocb->ki_filp->private_data;
	struct kvec kvec = { .iov_base = mem, .iov_len = len };
	struct iov_iter iter;
	ssize_t ret;

	iov_iter_kvec(&iter, ITER_DEST, &kvec, 1, len);
	scoped_with_creds(ff->cred)
		ret = vfs_iter_read(ff->passthrough, &iter, &pos, 0);
	return ret;
}

/* Writes on to the backing file from the caller's memory. */
ssize_t efuse_iter_write(struct efuse_call *call, u32 len)
{
	struct fuse_file *ff = call->iocb->ki_filp->private_data;
	struct iov_iter iter = efuse_iter_at(call, call->len);
	int flags = call->iocb->ki_flags;
	rwf_t rwf = 0;
	ssize_t ret;

	if (flags & IOCB_DSYNC)
		rwf |= RWF_DSYNC;
	if (flags & IOCB_SYNC)
		rwf |= RWF_SYNC;
	/* fcntl() and pwritev2() change what the backing file was opened with */
	rwf |= flags & IOCB_APPEND ? RWF_APPEND : RWF_NOAPPEND;
	iov_iter_truncate(&iter, len);
	scoped_with_creds(ff->cred)
		ret = vfs_iter_write(ff->passthrough, &iter, &call->pos, rwf);
	return ret;
}

/* Notes that the backing file was read, if its own read has not. */
void efuse_iter_accessed(struct efuse_call *call)
{
	if (call->accessed)
		return;
	call->accessed = true;
	file_accessed(fuse_file_passthrough(call->iocb->ki_filp->private_data));
}

/* The backing file of the open file that a hook is asked for. */
struct file *efuse_iter_backing(struct efuse_call *call)
{
	return fuse_file_passthrough(call->iocb->ki_filp->private_data);
}

#endif
