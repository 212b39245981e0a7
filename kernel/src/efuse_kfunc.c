// SPDX-License-Identifier: GPL-2.0-only
/*
 * What programs may call.
 *
 * A program is trusted to decide, not to be right: everything it hands over is checked as if it came from a server,
 * and then for what a server could not do (name inodes that are not held, open for writing). Replies are zeroed by
 * fs/fuse before, and have no byte that was not written: see efuse_reply_begin(). Memory arguments come with their
 * size, which the verifier has checked.
 *
 * Which calls a hook may make is checked when a program is loaded (efuse_kfunc_filter()).
 */
#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/cred.h>
#include <linux/highmem.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/siphash.h>
#include "dev.h"
#include "efuse_backing.h"
#include "efuse_file.h"

/* Copies between memory and the request's pages, from @offset on, or zeroes them: the bytes that there were. */
u32 efuse_pages_copy(struct fuse_args *args, u32 offset, void *to, const void *from, u32 len)
{
	struct fuse_args_pages *ap = container_of(args, typeof(*ap), args);
	u32 copied = 0;
	unsigned int i;

	for (i = 0; i < ap->num_folios && copied < len; i++) {
		u32 length = ap->descs[i].length;
		u32 part;

		if (offset >= length) {
			offset -= length;
			continue;
		}
		part = min(length - offset, len - copied);
		if (to)
			memcpy_from_folio(to + copied, ap->folios[i], ap->descs[i].offset + offset, part);
		else if (from)
			memcpy_to_folio(ap->folios[i], ap->descs[i].offset + offset, from + copied, part);
		else
			folio_zero_range(ap->folios[i], ap->descs[i].offset + offset, part);
		copied += part;
		offset = 0;
	}
	return copied;
}

static bool efuse_arg_in_pages(const struct fuse_args *args, u32 arg)
{
	return args->in_pages && arg == args->in_numargs - 1;
}

/* The arguments that are names, first and second: -1 if there is none. */
static int efuse_name_arg(const struct fuse_args *args, u32 which)
{
	switch (args->opcode) {
	case FUSE_LOOKUP:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_LINK:
	case FUSE_CREATE:
	case FUSE_TMPFILE:
	case FUSE_SETXATTR:
	case FUSE_GETXATTR:
	case FUSE_REMOVEXATTR:
	case EFUSE_NOTIFY + FUSE_NOTIFY_INVAL_ENTRY:
	case EFUSE_NOTIFY + FUSE_NOTIFY_DELETE:
		return which == 0 ? 1 : -1;
	case FUSE_SYMLINK:
	case FUSE_RENAME:
	case FUSE_RENAME2:
		return which < 2 ? which + 1 : -1;
	default:
		return -1;
	}
}

__bpf_kfunc_start_defs();

/**
 * bpf_efuse_arg - copies a part of an argument of the request
 * @ctx: request
 * @arg: which: 0 is the request's struct, then come names and data
 * @offset: where in it to begin
 * @mem: for the copy; zeroed behind it
 * @mem__sz: of @mem
 *
 * Returns: the argument's full size, or -EINVAL: there is none
 */
__bpf_kfunc int bpf_efuse_arg(struct efuse_ctx *ctx, u32 arg, u32 offset, void *mem, u32 mem__sz)
{
	struct fuse_args *args = efuse_call(ctx)->args;
	u32 size, part;

	memset(mem, 0, mem__sz);
	if (!args || arg >= args->in_numargs)
		return -EINVAL;
	size = args->in_args[arg].size;
	part = offset < size ? min(size - offset, mem__sz) : 0;
	if (efuse_arg_in_pages(args, arg))
		efuse_pages_copy(args, offset, mem, NULL, part);
	else if (part)
		memcpy(mem, args->in_args[arg].value + offset, part);
	return size;
}

/**
 * bpf_efuse_arg_ptr - an argument of the request, in place
 * @ctx: request
 * @arg: which, not the data of a WRITE
 * @rdonly_buf_size: bytes wanted, from its start
 *
 * Returns: those, or NULL: it is shorter than that
 */
__bpf_kfunc const u8 *bpf_efuse_arg_ptr(struct efuse_ctx *ctx, u32 arg, const u32 rdonly_buf_size)
{
	struct fuse_args *args = efuse_call(ctx)->args;

	if (!args || arg >= args->in_numargs || efuse_arg_in_pages(args, arg) ||
	    args->in_args[arg].size < rdonly_buf_size)
		return NULL;
	return args->in_args[arg].value;
}

/**
 * bpf_efuse_name - copies a name of the request
 * @ctx: request
 * @which: 0, or 1 for the second name of a RENAME and the target of a SYMLINK
 * @mem: for the name; zeroed behind it, so that it serves as a key
 * @mem__sz: of @mem
 *
 * Returns: its length, without a NUL; -ENAMETOOLONG: it does not fit, and nothing is copied; -EINVAL: there is none
 */
__bpf_kfunc int bpf_efuse_name(struct efuse_ctx *ctx, u32 which, void *mem, u32 mem__sz)
{
	struct fuse_args *args = efuse_call(ctx)->args;
	int arg = args ? efuse_name_arg(args, which) : -1;
	const char *name;
	u32 len;

	if (arg < 0) {
		memset(mem, 0, mem__sz);
		return -EINVAL;
	}
	name = args->in_args[arg].value;
	len = strnlen(name, args->in_args[arg].size);
	if (len > mem__sz) {
		memset(mem, 0, mem__sz);
		return -ENAMETOOLONG;
	}
	memcpy(mem, name, len);
	memset(mem + len, 0, mem__sz - len);
	return len;
}

/**
 * bpf_efuse_in_group - is the caller in this group, by its fsgid or a supplementary one?
 * @ctx: request, in a request hook
 * @gid: group, as the server numbers it
 *
 * Of a caller whom the request does not name nothing is known: that is so on idmapped mounts, where its groups are
 * not those of the file system.
 */
__bpf_kfunc bool bpf_efuse_in_group(struct efuse_ctx *ctx, u32 gid)
{
	kgid_t kgid = make_kgid(efuse_call(ctx)->fc->user_ns, gid);

	return ctx->gid != FUSE_INVALID_UIDGID && gid_valid(kgid) && in_group_p(kgid);
}

/**
 * bpf_efuse_scratch - a few bytes that stay with the request, from its hook over begin to reply
 * @ctx: request, not a FORGET
 * @rdwr_buf_size: at most 32
 *
 * Each attachment that has begin or reply has its own.
 *
 * Returns: them, zero at first; or NULL
 */
__bpf_kfunc u8 *bpf_efuse_scratch(struct efuse_ctx *ctx, const u32 rdwr_buf_size)
{
	struct efuse_call *call = efuse_call(ctx);
	struct efuse_args *args;

	if (!call->args || call->slot->place >= EFUSE_WATCHERS || rdwr_buf_size > sizeof(args->scratch[0]))
		return NULL;
	args = &call->args->efuse;
	if (args->writer[call->slot->place] != call->slot->id) {
		/* of another attachment, which was there when the request began */
		memset(args->scratch[call->slot->place], 0, sizeof(args->scratch[0]));
		args->writer[call->slot->place] = call->slot->id;
	}
	return (u8 *)args->scratch[call->slot->place];
}

/* Does anybody answer writes instead of the server? */
static bool efuse_writes_answered(struct fuse_conn *fc)
{
	/* who runs a program is a reader */
	struct efuse_hooks *hooks = srcu_dereference(fc->efuse_hooks, &fc->efuse->srcu);

	return hooks && hooks->slot[EFUSE_WRITE].fn;
}

/**
 * bpf_efuse_inode - what is known of an inode beside what requests tell
 * @ctx: request
 * @nodeid: of the inode
 *
 * An inode counts as open for writing from before its OPEN until after its RELEASE has begun, see do_dentry_open() and
 * __fput().
 *
 * Returns: EFUSE_INODE_*; 0: it is not held
 */
__bpf_kfunc u32 bpf_efuse_inode(struct efuse_ctx *ctx, u64 nodeid)
{
	struct efuse_call *call = efuse_call(ctx);
	struct fuse_conn *fc = call->fc;
	struct fuse_inode *fi;
	struct inode *inode;
	u32 known = 0;

	rcu_read_lock();
	inode = efuse_find_inode(call, nodeid);
	if (inode) {
		fi = get_fuse_inode(inode);
		known = EFUSE_INODE_HELD;
		if (atomic_read(&inode->i_writecount) > 0) {
			known |= EFUSE_INODE_OPEN_TO_WRITE;
			if (fc->passthrough || efuse_writes_answered(fc))
				known |= EFUSE_INODE_WRITTEN;
		}
		if (READ_ONCE(fi->efuse_mapped))
			known |= EFUSE_INODE_WRITTEN | EFUSE_INODE_READ;
		if (fuse_inode_backing(fi))
			known |= EFUSE_INODE_READ;
	}
	rcu_read_unlock();
	return known;
}

static siphash_key_t efuse_who_key __read_mostly;

/* Who was last asked about on a CPU, of those without further groups, as hashing takes longer than looking. */
struct efuse_last_who {
	u64 ids;
	u64 caps;
	const struct user_namespace *user_ns;
	u64 who;
};

static DEFINE_PER_CPU(struct efuse_last_who, efuse_last_who);

/**
 * bpf_efuse_who - a number that stands for the caller's rights
 * @ctx: request, in a request hook, or a reply that somebody waits for
 *
 * Returns: a keyed hash of what file permissions may depend on; 0: there is no caller
 */
__bpf_kfunc u64 bpf_efuse_who(struct efuse_ctx *ctx)
{
	const struct cred *cred = current_cred();
	u64 ids = (u64)__kuid_val(cred->fsuid) << 32 | __kgid_val(cred->fsgid);
	struct efuse_last_who *last;
	u64 groups = 0, who = 0;

	if (!efuse_call(ctx)->fm)
		return 0;
	if (!cred->group_info->ngroups) {
		last = get_cpu_ptr(&efuse_last_who);
		if (last->ids == ids && last->caps == cred->cap_effective.val && last->user_ns == cred->user_ns)
			who = last->who;
		put_cpu_ptr(&efuse_last_who);
		if (who)
			return who;
	}
	/* sorted, see groups_sort() */
	if (cred->group_info->ngroups)
		groups = siphash(cred->group_info->gid, cred->group_info->ngroups * sizeof(kgid_t), &efuse_who_key);
	who = siphash_4u64(ids, cred->cap_effective.val, (unsigned long)cred->user_ns, groups, &efuse_who_key) ?: 1;
	if (!cred->group_info->ngroups) {
		last = get_cpu_ptr(&efuse_last_who);
		*last = (struct efuse_last_who) { ids, cred->cap_effective.val, cred->user_ns, who };
		put_cpu_ptr(&efuse_last_who);
	}
	return who;
}

/* A reply of fixed size: where to put it, or NULL. */
static void *efuse_reply_fixed(struct efuse_call *call, u32 size)
{
	struct fuse_args *args = call->args;

	if (call->hook >= EFUSE_BEGIN || args->out_argvar || args->out_numargs != 1 || args->out_args[0].size != size)
		return NULL;
	return args->out_args[0].value;
}

/* What fs/fuse takes from anybody, and the flags that only virtiofs knows. */
bool efuse_attr_valid(const struct fuse_attr *attr)
{
	return fuse_valid_type(attr->mode) && attr->size <= LLONG_MAX && !attr->flags &&
	       attr->atimensec < NSEC_PER_SEC && attr->mtimensec < NSEC_PER_SEC && attr->ctimensec < NSEC_PER_SEC &&
	       attr->blksize <= SZ_1G;
}

/* A wrong type would make fs/fuse give up the inode for good. */
static bool efuse_type_fits(struct efuse_call *call, u32 mode)
{
	struct inode *inode;
	bool fits;

	rcu_read_lock();
	inode = efuse_find_inode(call, call->args->nodeid);
	fits = inode && !inode_wrong_type(inode, mode);
	rcu_read_unlock();
	return fits;
}

/**
 * bpf_efuse_reply_attr - answers GETATTR
 * @ctx: GETATTR, or STATX: it is told of what GETATTR has
 * @attr: struct fuse_attr_out
 * @attr__sz: its size
 *
 * Returns: 0; -EINVAL: wrong size or values; -ESTALE: not this inode's type
 */
__bpf_kfunc int bpf_efuse_reply_attr(struct efuse_ctx *ctx, const void *attr, u32 attr__sz)
{
	struct efuse_call *call = efuse_call(ctx);
	struct fuse_attr_out in, *out;
	struct fuse_statx_out *statx;

	if (attr__sz != sizeof(in))
		return -EINVAL;
	/* a map value may change while it is looked at */
	memcpy(&in, attr, sizeof(in));
	if (in.attr_valid_nsec >= NSEC_PER_SEC || !efuse_attr_valid(&in.attr))
		return -EINVAL;
	if (!efuse_type_fits(call, in.attr.mode))
		return -ESTALE;

	in.dummy = 0;
	if (ctx->opcode == FUSE_GETATTR) {
		out = efuse_reply_fixed(call, sizeof(*out));
		if (!out)
			return -EINVAL;
		*out = in;
	} else {
		statx = efuse_reply_fixed(call, sizeof(*statx));
		if (!statx)
			return -EINVAL;
		memset(statx, 0, sizeof(*statx));
		statx->attr_valid = in.attr_valid;
		statx->attr_valid_nsec = in.attr_valid_nsec;
		statx->stat.mask = STATX_BASIC_STATS;
		statx->stat.blksize = in.attr.blksize;
		statx->stat.nlink = in.attr.nlink;
		statx->stat.uid = in.attr.uid;
		statx->stat.gid = in.attr.gid;
		statx->stat.mode = in.attr.mode;
		statx->stat.ino = in.attr.ino;
		statx->stat.size = in.attr.size;
		statx->stat.blocks = in.attr.blocks;
		statx->stat.atime.tv_sec = in.attr.atime;
		statx->stat.atime.tv_nsec = in.attr.atimensec;
		statx->stat.mtime.tv_sec = in.attr.mtime;
		statx->stat.mtime.tv_nsec = in.attr.mtimensec;
		statx->stat.ctime.tv_sec = in.attr.ctime;
		statx->stat.ctime.tv_nsec = in.attr.ctimensec;
		statx->stat.rdev_major = MAJOR(new_decode_dev(in.attr.rdev));
		statx->stat.rdev_minor = MINOR(new_decode_dev(in.attr.rdev));
	}
	call->replied = true;
	return 0;
}

/**
 * bpf_efuse_hold - lets the kernel hold this answer: before it asks again, the hook stands is asked
 * @ctx: GETATTR, STATX, LOOKUP
 * @name: note on what the name means, of LOOKUP; else on the attributes
 * @note: 32 bytes that stands is told then, in ctx->note
 * @note__sz: their size
 *
 * Returns: 0; -EINVAL: another size, or another kind of request
 */
__bpf_kfunc int bpf_efuse_hold(struct efuse_ctx *ctx, bool name, const void *note, u32 note__sz)
{
	struct efuse_call *call = efuse_call(ctx);
	struct efuse_args *args = &call->args->efuse;

	if (note__sz != sizeof(args->attr_note) ||
	    (call->hook != EFUSE_LOOKUP && (name || call->hook != EFUSE_GETATTR)))
		return -EINVAL;
	memcpy(name ? args->name_note : args->attr_note, note, sizeof(args->attr_note));
	args->holder = call->slot->id;
	return 0;
}

/**
 * bpf_efuse_reply_statx - answers STATX
 * @ctx: STATX
 * @statx: struct fuse_statx_out
 * @statx__sz: its size
 *
 * Returns: as bpf_efuse_reply_attr()
 */
__bpf_kfunc int bpf_efuse_reply_statx(struct efuse_ctx *ctx, const void *statx, u32 statx__sz)
{
	struct efuse_call *call = efuse_call(ctx);
	struct fuse_statx_out in, *out;

	if (ctx->opcode != FUSE_STATX || statx__sz != sizeof(in))
		return -EINVAL;
	memcpy(&in, statx, sizeof(in));
	if (in.attr_valid_nsec >= NSEC_PER_SEC || in.stat.size > LLONG_MAX || in.stat.blksize > SZ_1G ||
	    !fuse_valid_type(in.stat.mode) || (in.stat.mask & STATX_BASIC_STATS) != STATX_BASIC_STATS ||
	    in.stat.atime.tv_nsec >= NSEC_PER_SEC || in.stat.mtime.tv_nsec >= NSEC_PER_SEC ||
	    in.stat.ctime.tv_nsec >= NSEC_PER_SEC || in.stat.btime.tv_nsec >= NSEC_PER_SEC)
		return -EINVAL;
	if (!efuse_type_fits(call, in.stat.mode))
		return -ESTALE;
	out = efuse_reply_fixed(call, sizeof(*out));
	if (!out)
		return -EINVAL;
	*out = in;
	call->replied = true;
	return 0;
}

/*
 * The inode that a LOOKUP's answer names, held; NULL if the kernel has none. One that is held keeps the server from
 * being told to forget it before the caller has it too.
 */
static int efuse_hold_inode(struct efuse_call *call, const struct fuse_entry_out *entry)
{
	struct inode *inode;
	int err = 0;

	rcu_read_lock();
	inode = efuse_find_inode(call, entry->nodeid);
	if (inode)
		inode = igrab(inode);
	rcu_read_unlock();
	/* being evicted, or never seen: a program's own inodes may be new, the server's not */
	if (!inode)
		return efuse_synthetic(entry->nodeid) ? 0 : -ESTALE;

	call->args->efuse.inode = inode;
	call->held = true;
	/* fs/fuse would give up the inode for good */
	if (inode_state_read_once(inode) & (I_NEW | I_CREATING) || fuse_is_bad(inode) ||
	    fuse_stale_inode(inode, entry->generation, (struct fuse_attr *)&entry->attr))
		err = -ESTALE;
	return err;
}

/**
 * bpf_efuse_reply_entry - answers LOOKUP
 * @ctx: LOOKUP
 * @entry: struct fuse_entry_out; with nodeid 0: there is no such file, for entry_valid
 * @entry__sz: its size
 *
 * Returns: 0; -EINVAL: wrong size or values; -ESTALE: the kernel does not hold this inode, with this generation and
 * type; -EALREADY: it is answered
 */
__bpf_kfunc int bpf_efuse_reply_entry(struct efuse_ctx *ctx, const void *entry, u32 entry__sz)
{
	struct efuse_call *call = efuse_call(ctx);
	struct fuse_entry_out in, *out;
	int err;

	if (ctx->opcode != FUSE_LOOKUP || entry__sz != sizeof(in))
		return -EINVAL;
	/* an inode that is held can't be let go of here: that may sleep */
	if (call->replied || call->args->efuse.inode)
		return -EALREADY;
	out = efuse_reply_fixed(call, sizeof(*out));
	memcpy(&in, entry, sizeof(in));
	if (!out || in.nodeid == FUSE_ROOT_ID || in.entry_valid_nsec >= NSEC_PER_SEC ||
	    in.attr_valid_nsec >= NSEC_PER_SEC)
		return -EINVAL;
	if (in.nodeid) {
		if (!efuse_attr_valid(&in.attr))
			return -EINVAL;
		/* before the inode can be used */
		if (efuse_synthetic(in.nodeid))
			WRITE_ONCE(call->fc->efuse->synthetic, true);
		err = efuse_hold_inode(call, &in);
		if (err)
			return err;
	}
	*out = in;
	call->replied = true;
	return 0;
}

/**
 * bpf_efuse_reply_open - answers OPEN or OPENDIR: of a file that is opened for reading alone, unless the server can do
 * without handles
 * @ctx: OPEN or OPENDIR
 * @open_flags: FOPEN_*
 *
 * Returns: 0; -EINVAL: flags that a program can't give; -EACCES: opened for more than reading
 */
__bpf_kfunc int bpf_efuse_reply_open(struct efuse_ctx *ctx, u32 open_flags)
{
	const u32 allowed = FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE | FOPEN_NONSEEKABLE | FOPEN_CACHE_DIR | FOPEN_STREAM |
			    FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES;
	struct efuse_call *call = efuse_call(ctx);
	struct fuse_open_out *out;

	if (ctx->opcode != FUSE_OPEN && ctx->opcode != FUSE_OPENDIR)
		return -EINVAL;
	if (ctx->flags & O_TRUNC)
		return -EACCES;
	if ((ctx->flags & O_ACCMODE) != O_RDONLY && !(READ_ONCE(call->fc->efuse->can) & EFUSE_CAN_NO_HANDLE))
		return -EACCES;
	out = efuse_reply_fixed(call, sizeof(*out));
	if (!out || open_flags & ~allowed)
		return -EINVAL;
	/* before the handle can be used, and while who takes the programs away still waits for this one */
	WRITE_ONCE(call->fc->efuse->opened, true);
	memset(out, 0, sizeof(*out));
	out->open_flags = open_flags;
	call->replied = true;
	return 0;
}

/**
 * bpf_efuse_reply_statfs - answers STATFS
 * @ctx: STATFS
 * @statfs: struct fuse_statfs_out
 * @statfs__sz: its size
 */
__bpf_kfunc int bpf_efuse_reply_statfs(struct efuse_ctx *ctx, const void *statfs, u32 statfs__sz)
{
	struct efuse_call *call = efuse_call(ctx);
	struct fuse_statfs_out *out;

	if (ctx->opcode != FUSE_STATFS || statfs__sz != sizeof(*out))
		return -EINVAL;
	out = efuse_reply_fixed(call, sizeof(*out));
	if (!out)
		return -EINVAL;
	memcpy(out, statfs, sizeof(*out));
	memset(out->st.spare, 0, sizeof(out->st.spare));
	out->st.padding = 0;
	call->replied = true;
	return 0;
}

/* How much data a reply of variable size may have; 0: it has none. */
static u32 efuse_reply_room(struct efuse_call *call)
{
	struct fuse_args *args = call->args;

	if (call->hook >= EFUSE_BEGIN)
		return 0;
	switch (args->opcode) {
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_READLINK:
	case FUSE_GETXATTR:
		return args->out_argvar ? args->out_args[args->out_numargs - 1].size : 0;
	default:
		return 0;
	}
}

/*
 * Copies to the reply's data, or zeroes it with no @from. The range is within efuse_reply_room().
 *
 * Returns: 0; -EFAULT: the caller's memory is not there
 */
static int efuse_reply_copy(struct efuse_call *call, u32 offset, const void *from, u32 len)
{
	struct fuse_args *args = call->args;
	void *to;

	if (call->iter)
		return efuse_iter_copy(call, offset, from, len);
	if (args->out_pages) {
		efuse_pages_copy(args, offset, NULL, from, len);
		return 0;
	}
	to = args->out_args[args->out_numargs - 1].value + offset;
	if (from)
		memcpy(to, from, len);
	else
		memset(to, 0, len);
	return 0;
}

/*
 * The reply's data is about to be written from @offset on: what lies before it and has not been written is zeroed,
 * so that a reply never has a byte of what its memory held before.
 */
static int efuse_reply_begin(struct efuse_call *call, u32 offset)
{
	int err;

	if (offset > call->len) {
		err = efuse_reply_copy(call, call->len, NULL, offset - call->len);
		if (err)
			return err;
		call->len = offset;
	}
	return 0;
}

static void efuse_reply_end(struct efuse_call *call, u32 end)
{
	call->len = max(call->len, end);
	call->replied = true;
}

static int efuse_reply_put(struct efuse_call *call, u32 offset, const void *from, u32 len)
{
	int err;

	err = efuse_reply_begin(call, offset);
	if (!err)
		err = efuse_reply_copy(call, offset, from, len);
	if (!err)
		efuse_reply_end(call, offset + len);
	return err;
}

/**
 * bpf_efuse_reply_data - copies a block to a place in the reply's data
 * @ctx: READ, READLINK, GETXATTR with a size, or READDIR: whole struct fuse_dirent, padded
 * @offset: in the data; what was left out before it is zero
 * @mem: block
 * @mem__sz: of @mem
 *
 * The data ends with the last byte written, unless bpf_efuse_reply_size() says otherwise.
 *
 * Returns: 0; -ERANGE: the caller has no room for that much; -EINVAL: no such request
 */
__bpf_kfunc int bpf_efuse_reply_data(struct efuse_ctx *ctx, u32 offset, const void *mem, u32 mem__sz)
{
	struct efuse_call *call = efuse_call(ctx);
	u32 room = efuse_reply_room(call);

	/* the look-ups of READDIRPLUS are counted: bpf_efuse_reply_dirent() knows how not to */
	if (!room || ctx->opcode == FUSE_READDIRPLUS)
		return -EINVAL;
	if (offset > room || mem__sz > room - offset)
		return -ERANGE;
	return efuse_reply_put(call, offset, mem, mem__sz);
}

/**
 * bpf_efuse_reply_block - copies what a read wants of a block of the file
 * @ctx: READ
 * @pos: of the block in the file
 * @mem: block
 * @mem__sz: of @mem
 *
 * Returns: 0, also where the block has nothing that was asked for; -EFAULT: the caller's memory can't be written to
 * without waiting; -EINVAL: no such request
 */
__bpf_kfunc int bpf_efuse_reply_block(struct efuse_ctx *ctx, u64 pos, const void *mem, u32 mem__sz)
{
	struct efuse_call *call = efuse_call(ctx);
	u32 room = efuse_reply_room(call);
	u64 start = ctx->offset;
	u64 from, to;

	if (ctx->opcode != FUSE_READ || !room || pos > LLONG_MAX - mem__sz || start > LLONG_MAX - room)
		return -EINVAL;
	from = max(pos, start);
	to = min(pos + mem__sz, start + room);
	if (from >= to)
		return 0;
	return efuse_reply_put(call, from - start, mem + (from - pos), to - from);
}

/**
 * bpf_efuse_reply_size - says how much data a reply has
 * @ctx: READ, READDIR, READLINK, GETXATTR: also one that asks for the size alone
 * @size: shorter than what was written, or longer: zeros follow
 *
 * Returns: 0; -ERANGE: the caller has no room for that much; -EINVAL: no such request
 */
__bpf_kfunc int bpf_efuse_reply_size(struct efuse_ctx *ctx, u32 size)
{
	struct efuse_call *call = efuse_call(ctx);
	u32 room = efuse_reply_room(call);
	int err = 0;

	if (ctx->opcode == FUSE_GETXATTR && !ctx->size)
		room = XATTR_SIZE_MAX;
	else if (!room)
		return -EINVAL;
	else if (size <= room)
		err = efuse_reply_begin(call, size);
	if (size > room)
		return -ERANGE;
	if (err)
		return err;
	call->len = size;
	call->replied = true;
	return 0;
}

/**
 * bpf_efuse_reply_dirent - adds an entry to a directory's listing
 * @ctx: READDIR or READDIRPLUS
 * @entry: struct fuse_dirent; its off is that of the entry behind this one, where the next READDIR begins; its
 *	namelen is not looked at
 * @entry__sz: its size
 * @name: of the entry
 * @name__sz: its length
 *
 * Returns: 0; -ERANGE: it does not fit any more; -EINVAL: no such request, or no possible name
 */
__bpf_kfunc int bpf_efuse_reply_dirent(struct efuse_ctx *ctx, const void *entry, u32 entry__sz, const void *name,
				       u32 name__sz)
{
	struct efuse_call *call = efuse_call(ctx);
	struct fuse_dirent dirent;
	u32 room = efuse_reply_room(call);
	u32 start, size, plus = 0;

	if (!room || (ctx->opcode != FUSE_READDIR && ctx->opcode != FUSE_READDIRPLUS))
		return -EINVAL;
	if (entry__sz != FUSE_NAME_OFFSET || !name__sz || name__sz > FUSE_NAME_MAX)
		return -EINVAL;
	memcpy(&dirent, entry, FUSE_NAME_OFFSET);
	dirent.namelen = name__sz;
	if (memchr(name, '/', name__sz) || memchr(name, 0, name__sz))
		return -EINVAL;
	/* entry_out with nodeid 0: no attributes, and no look-up that would be counted */
	if (ctx->opcode == FUSE_READDIRPLUS)
		plus = sizeof(struct fuse_entry_out);
	size = plus + FUSE_DIRENT_SIZE(&dirent);
	if (size > room - call->len)
		return -ERANGE;

	start = call->len;
	efuse_reply_begin(call, start + size);
	efuse_reply_copy(call, start + plus, &dirent, FUSE_NAME_OFFSET);
	efuse_reply_copy(call, start + plus + FUSE_NAME_OFFSET, name, name__sz);
	call->replied = true;
	return 0;
}

/**
 * bpf_efuse_reply_copy - copies from a reply's data or struct
 * @ctx: in the reply hook, what the server has sent; in the read hook, what has been written so far
 * @offset: where in it to begin
 * @mem: for the copy; zeroed behind it
 * @mem__sz: of @mem
 *
 * Returns: bytes copied, or -EINVAL; -EACCES: a READ's data went to the caller's own memory (O_DIRECT), see
 * bpf_efuse_read_around()
 */
__bpf_kfunc int bpf_efuse_reply_copy(struct efuse_ctx *ctx, u32 offset, void *mem, u32 mem__sz)
{
	struct efuse_call *call = efuse_call(ctx);
	struct fuse_args *args = call->args;
	struct fuse_arg *arg;
	u32 size, part;

	memset(mem, 0, mem__sz);
	if (!args->out_numargs || ctx->error)
		return -EINVAL;
	arg = &args->out_args[args->out_numargs - 1];
	if (call->hook == EFUSE_REPLY)
		size = arg->size;
	else
		size = min(call->len, efuse_reply_room(call));
	part = offset < size ? min(size - offset, mem__sz) : 0;
	if (!part)
		return 0;
	/* the caller's own memory, which another of its threads may have changed: that is not what the server sent */
	if (call->hook == EFUSE_REPLY && args->out_pages && args->user_pages)
		return -EACCES;
	if (args->out_pages)
		return efuse_pages_copy(args, offset, mem, NULL, part);
	if (!arg->value)
		return -EINVAL;
	memcpy(mem, arg->value + offset, part);
	return part;
}

/**
 * bpf_efuse_reply_first - copies the first struct of a reply that has two: CREATE's struct fuse_entry_out
 * @ctx: in the reply hook
 * @mem: for the copy; zeroed behind it
 * @mem__sz: of @mem
 *
 * Returns: bytes copied, or -EINVAL
 */
__bpf_kfunc int bpf_efuse_reply_first(struct efuse_ctx *ctx, void *mem, u32 mem__sz)
{
	struct fuse_args *args = efuse_call(ctx)->args;
	u32 part;

	memset(mem, 0, mem__sz);
	if (args->out_numargs != 2 || ctx->error || !args->out_args[0].value)
		return -EINVAL;
	part = min(args->out_args[0].size, mem__sz);
	memcpy(mem, args->out_args[0].value, part);
	return part;
}

/**
 * bpf_efuse_reply_extra - copies what the server was asked for beside its answer
 * @ctx: in the reply hook
 * @mem: for the struct fuse_attr_out
 * @mem__sz: its size
 *
 * Returns: bytes copied; 0: there is none; or -EINVAL
 */
__bpf_kfunc int bpf_efuse_reply_extra(struct efuse_ctx *ctx, void *mem, u32 mem__sz)
{
	const struct fuse_attr_out *extra = efuse_call(ctx)->extra;

	if (mem__sz != sizeof(*extra))
		return -EINVAL;
	if (!extra) {
		memset(mem, 0, mem__sz);
		return 0;
	}
	memcpy(mem, extra, sizeof(*extra));
	return sizeof(*extra);
}

/**
 * bpf_efuse_want - asks the server for more than the request does
 * @ctx: in the begin hook of a request that somebody waits for
 * @what: EFUSE_CAN_*: ATTR of WRITE, NO_HANDLE of CREATE and OPEN
 *
 * Returns: 0; -EOPNOTSUPP: the server has not said that it can; -EINVAL: not of this request
 */
__bpf_kfunc int bpf_efuse_want(struct efuse_ctx *ctx, u32 what)
{
	struct efuse_call *call = efuse_call(ctx);
	u32 fits = 0;

	if (call->hook != EFUSE_BEGIN || !call->args || !call->fm || ctx->background)
		return -EINVAL;
	if (ctx->opcode == FUSE_WRITE)
		fits = EFUSE_CAN_ATTR;
	else if (ctx->opcode == FUSE_CREATE || ctx->opcode == FUSE_OPEN)
		fits = EFUSE_CAN_NO_HANDLE;
	if (what & ~fits)
		return -EINVAL;
	if (what & ~READ_ONCE(call->fc->efuse->can))
		return -EOPNOTSUPP;
	call->args->efuse.wants |= what;
	return 0;
}

/**
 * bpf_efuse_read_around - asks the server for another part of the file than the caller wants, where programs can see it
 * @ctx: in the begin hook of a READ
 * @offset: where in the file to begin
 * @size: bytes
 *
 * In the background it can but be what the caller wants, and is of use where that goes to the caller's own memory.
 * In the reply hook ctx->offset and ctx->size are then these. If the caller wants more, the read hook is asked once
 * more. Where nothing of that has the answer, the server is asked for what the caller wants, and reply is told of that,
 * too.
 *
 * Returns: 0; -EINVAL: no such request, or no range; -ERANGE: more than the server takes, or than EFUSE_READ_AROUND;
 * -EALREADY: another program has asked
 */
__bpf_kfunc int bpf_efuse_read_around(struct efuse_ctx *ctx, u64 offset, u32 size)
{
	struct efuse_call *call = efuse_call(ctx);
	struct fuse_conn *fc = call->fc;

	if (call->hook != EFUSE_BEGIN || ctx->opcode != FUSE_READ || !size || offset > LLONG_MAX - size)
		return -EINVAL;
	if (ctx->background && (!call->args->user_pages || offset != ctx->offset || size != ctx->size))
		return -EINVAL;
	if (size > min3(fc->max_read, fc->max_pages << PAGE_SHIFT, EFUSE_READ_AROUND))
		return -ERANGE;
	if (call->around_size)
		return -EALREADY;
	call->around_offset = offset;
	call->around_size = size;
	return 0;
}

/**
 * bpf_efuse_inode_size - how long the kernel takes the request's file to be
 * @ctx: request, in its hook or begin
 *
 * Returns: bytes, or -ENOENT: its inode is not held
 */
__bpf_kfunc s64 bpf_efuse_inode_size(struct efuse_ctx *ctx)
{
	struct inode *inode;
	s64 size = -ENOENT;

	rcu_read_lock();
	inode = efuse_find_inode(efuse_call(ctx), ctx->nodeid);
	if (inode)
		size = i_size_read(inode);
	rcu_read_unlock();
	return size;
}

/**
 * bpf_efuse_backing_size - size of the file that is bound to the inode of the request
 * @ctx: READ or WRITE
 *
 * Returns: bytes, or -ENOENT: no file is bound
 */
__bpf_kfunc s64 bpf_efuse_backing_size(struct efuse_ctx *ctx)
{
	return efuse_backing_size(efuse_call(ctx));
}

/**
 * bpf_efuse_backing_state - which file it is that is bound to the inode, and which state of it
 * @ctx: READ or WRITE
 * @state: struct efuse_backing_state
 * @state__sz: its size
 *
 * Returns: 0; -ENOENT: no file is bound; -EOPNOTSUPP: its file system does not count changes; -EBUSY: somebody has
 * mapped it to write to it, which is not counted
 */
__bpf_kfunc int bpf_efuse_backing_state(struct efuse_ctx *ctx, void *state, u32 state__sz)
{
	struct efuse_backing_state now = {};
	int err = -EINVAL;

	if (state__sz == sizeof(now))
		err = efuse_backing_state(efuse_call(ctx), &now);
	memcpy(state, &now, min(state__sz, sizeof(now)));
	return err;
}

/**
 * bpf_efuse_backing_fill - copies a part of the bound file that is in the page cache, in a known state of the file
 * @ctx: READ or WRITE
 * @pos: in the file
 * @mem: for the data; zeroed behind it
 * @mem__sz: of @mem
 * @version: that of bpf_efuse_backing_state()
 *
 * As long as bpf_efuse_backing_state() then tells this version, this is what the file has there. It does not sleep.
 *
 * Returns: bytes copied, less at the file's end; -EAGAIN: it is not in the page cache, or being written to, or in
 * another state; or bpf_efuse_backing_state()'s errors
 */
__bpf_kfunc int bpf_efuse_backing_fill(struct efuse_ctx *ctx, u64 pos, void *mem, u32 mem__sz, u64 version)
{
	int ret = -EINVAL;

	if (pos <= LLONG_MAX - mem__sz)
		ret = efuse_backing_fill(efuse_call(ctx), pos, mem, mem__sz, version);
	if (ret < 0)
		memset(mem, 0, mem__sz);
	else
		memset(mem + ret, 0, mem__sz - ret);
	return ret;
}

/**
 * bpf_efuse_read_backing - reads from the bound file to the reply
 * @ctx: READ
 * @offset: in the reply's data, and from the request's offset on in the file
 * @len: bytes
 *
 * Returns: bytes read, less at the file's end; -ENOENT: no file is bound; or the file's error
 */
__bpf_kfunc int bpf_efuse_read_backing(struct efuse_ctx *ctx, u32 offset, u32 len)
{
	struct efuse_call *call = efuse_call(ctx);
	u32 room = efuse_reply_room(call);
	int ret, err;

	if (ctx->opcode != FUSE_READ)
		return -EINVAL;
	if (offset > room || len > room - offset)
		return -ERANGE;
	ret = efuse_backing_io(call, offset, len);
	if (ret >= 0) {
		err = efuse_reply_begin(call, offset);
		if (err)
			return err;
		efuse_reply_end(call, offset + ret);
	}
	return ret;
}

/**
 * bpf_efuse_read_backing_mem - reads from the bound file to a program's memory
 * @ctx: READ or WRITE
 * @pos: in the file
 * @mem: for the data; zeroed behind it
 * @mem__sz: of @mem
 *
 * Returns: bytes read, less at the file's end; -ENOENT: no file is bound; or the file's error
 */
__bpf_kfunc int bpf_efuse_read_backing_mem(struct efuse_ctx *ctx, u64 pos, void *mem, u32 mem__sz)
{
	memset(mem, 0, mem__sz);
	if (pos > LLONG_MAX - mem__sz)
		return -EINVAL;
	return efuse_backing_read_mem(efuse_call(ctx), pos, mem, mem__sz);
}

/**
 * bpf_efuse_accessed - notes the backing file's time of access, as reading it does
 * @ctx: READ that was offered as its caller made it; of others, fs/fuse and the server do
 *
 * What is answered without reading the backing file has its time of access noted afterwards in any case. This is for
 * who wants to time that, too.
 */
__bpf_kfunc void bpf_efuse_accessed(struct efuse_ctx *ctx)
{
	struct efuse_call *call = efuse_call(ctx);

	if (ctx->opcode == FUSE_READ && call->iter)
		efuse_iter_accessed(call);
}

/**
 * bpf_efuse_write_backing - writes the request's data to the bound file
 * @ctx: WRITE
 * @offset: in the data, and from the request's offset on in the file
 * @len: bytes
 *
 * The caller is told of what was written from the first byte on without a gap.
 *
 * Returns: bytes written; -ENOENT: no file is bound; -EAGAIN: privileges must go, which is the server's task; or the
 * file's error
 */
__bpf_kfunc int bpf_efuse_write_backing(struct efuse_ctx *ctx, u32 offset, u32 len)
{
	struct efuse_call *call = efuse_call(ctx);
	int ret;

	if (ctx->opcode != FUSE_WRITE)
		return -EINVAL;
	if (offset > ctx->size || len > ctx->size - offset)
		return -ERANGE;
	/* what is no request yet may be appended */
	if (call->iter && offset != call->len)
		return -EINVAL;
	ret = efuse_backing_io(call, offset, len);
	if (ret >= 0 && offset <= call->len)
		efuse_reply_end(call, offset + ret);
	return ret;
}

__bpf_kfunc_end_defs();

/* A module registers one set. */
BTF_KFUNCS_START(efuse_kfuncs)
BTF_ID_FLAGS(func, bpf_efuse_arg)
BTF_ID_FLAGS(func, bpf_efuse_arg_ptr, KF_RET_NULL)
BTF_ID_FLAGS(func, bpf_efuse_name)
BTF_ID_FLAGS(func, bpf_efuse_scratch, KF_RET_NULL)
BTF_ID_FLAGS(func, bpf_efuse_in_group)
BTF_ID_FLAGS(func, bpf_efuse_inode)
BTF_ID_FLAGS(func, bpf_efuse_who)
BTF_ID_FLAGS(func, bpf_efuse_hold)
BTF_ID_FLAGS(func, bpf_efuse_reply_attr)
BTF_ID_FLAGS(func, bpf_efuse_reply_statx)
BTF_ID_FLAGS(func, bpf_efuse_reply_entry)
BTF_ID_FLAGS(func, bpf_efuse_reply_open)
BTF_ID_FLAGS(func, bpf_efuse_reply_statfs)
BTF_ID_FLAGS(func, bpf_efuse_reply_data)
BTF_ID_FLAGS(func, bpf_efuse_reply_size)
BTF_ID_FLAGS(func, bpf_efuse_reply_block)
BTF_ID_FLAGS(func, bpf_efuse_reply_dirent)
BTF_ID_FLAGS(func, bpf_efuse_reply_copy)
BTF_ID_FLAGS(func, bpf_efuse_reply_first)
BTF_ID_FLAGS(func, bpf_efuse_reply_extra)
BTF_ID_FLAGS(func, bpf_efuse_want)
BTF_ID_FLAGS(func, bpf_efuse_read_around)
BTF_ID_FLAGS(func, bpf_efuse_inode_size)
BTF_ID_FLAGS(func, bpf_efuse_backing_size)
BTF_ID_FLAGS(func, bpf_efuse_backing_state)
BTF_ID_FLAGS(func, bpf_efuse_backing_fill)
BTF_ID_FLAGS(func, bpf_efuse_read_backing, KF_SLEEPABLE)
BTF_ID_FLAGS(func, bpf_efuse_read_backing_mem, KF_SLEEPABLE)
BTF_ID_FLAGS(func, bpf_efuse_accessed, KF_SLEEPABLE)
BTF_ID_FLAGS(func, bpf_efuse_write_backing, KF_SLEEPABLE)
BTF_KFUNCS_END(efuse_kfuncs)

/* For hooks that may answer. Those for one kind of request check which it is. */
BTF_SET_START(efuse_kfuncs_answer)
BTF_ID(func, bpf_efuse_in_group)
BTF_ID(func, bpf_efuse_hold)
BTF_ID(func, bpf_efuse_reply_attr)
BTF_ID(func, bpf_efuse_reply_statx)
BTF_ID(func, bpf_efuse_reply_entry)
BTF_ID(func, bpf_efuse_reply_open)
BTF_ID(func, bpf_efuse_reply_statfs)
BTF_ID(func, bpf_efuse_reply_data)
BTF_ID(func, bpf_efuse_reply_size)
BTF_ID(func, bpf_efuse_reply_dirent)
BTF_SET_END(efuse_kfuncs_answer)

/* For the reply hook. */
BTF_SET_START(efuse_kfuncs_reply)
BTF_ID(func, bpf_efuse_reply_copy)
BTF_ID(func, bpf_efuse_reply_first)
BTF_ID(func, bpf_efuse_reply_extra)
BTF_SET_END(efuse_kfuncs_reply)

/* For read and write. */
BTF_SET_START(efuse_kfuncs_io)
BTF_ID(func, bpf_efuse_reply_copy)
BTF_ID(func, bpf_efuse_reply_block)
BTF_ID(func, bpf_efuse_backing_size)
BTF_ID(func, bpf_efuse_backing_state)
BTF_ID(func, bpf_efuse_backing_fill)
BTF_ID(func, bpf_efuse_read_backing)
BTF_ID(func, bpf_efuse_read_backing_mem)
BTF_ID(func, bpf_efuse_accessed)
BTF_ID(func, bpf_efuse_write_backing)
BTF_SET_END(efuse_kfuncs_io)

BTF_ID_LIST_SINGLE(efuse_ops_id, struct, efuse_ops)

static const struct bpf_struct_ops *efuse_kfunc_ops;

/* Which hook may call what. It is asked for our calls alone: a filter is part of the module's own type information. */
static int efuse_kfunc_filter(const struct bpf_prog *prog, u32 kfunc_id)
{
	enum efuse_hook hook;
	bool allowed;

	/* The verifier asks first before it knows, and again after. */
	if (!prog->aux->st_ops)
		return 0;
	if (prog->aux->st_ops != efuse_kfunc_ops)
		return -EACCES;

	/*
	 * Types of a module built out of tree are renumbered when it is loaded: its own ones by as much as one of them
	 * that is known under both numbers. Ours above are as they were.
	 */
	kfunc_id -= prog->aux->attach_btf_id - efuse_ops_id[0];
	if (!btf_id_set8_contains(&efuse_kfuncs, kfunc_id))
		return -EACCES;

	hook = prog->aux->attach_st_ops_member_off / sizeof(efuse_hook_fn);
	allowed = !btf_id_set_contains(&efuse_kfuncs_answer, kfunc_id) &&
		  !btf_id_set_contains(&efuse_kfuncs_reply, kfunc_id) &&
		  !btf_id_set_contains(&efuse_kfuncs_io, kfunc_id);
	if (hook < EFUSE_BEGIN)
		allowed |= btf_id_set_contains(&efuse_kfuncs_answer, kfunc_id);
	if (hook == EFUSE_READ || hook == EFUSE_WRITE)
		allowed |= btf_id_set_contains(&efuse_kfuncs_io, kfunc_id);
	if (hook == EFUSE_REPLY)
		allowed |= btf_id_set_contains(&efuse_kfuncs_reply, kfunc_id);
	return allowed ? 0 : -EACCES;
}

static const struct btf_kfunc_id_set efuse_kfunc_set = {
	.owner	= THIS_MODULE,
	.set	= &efuse_kfuncs,
	.filter	= efuse_kfunc_filter,
};

int efuse_kfuncs_init(const struct bpf_struct_ops *ops)
{
	efuse_kfunc_ops = ops;
	get_random_bytes(&efuse_who_key, sizeof(efuse_who_key));
	return register_btf_kfunc_id_set(BPF_PROG_TYPE_STRUCT_OPS, &efuse_kfunc_set);
}
