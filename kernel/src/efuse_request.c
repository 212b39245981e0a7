// SPDX-License-Identifier: GPL-2.0-only
/*
 * The way of a request through its connection's programs.
 *
 * request hook (may answer) -> what the server must not see (efuse_open.c, synthetic inodes) -> begin -> the server
 * -> reply. Requests come here from the two functions of req.c that all of them pass, when efuse_hooked().
 *
 * Programs run under the connection's SRCU, never while the server is waited for: so detaching waits for programs,
 * not for servers. Only read and write hooks may sleep.
 */
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/uaccess.h>
#include "dev.h"
#include "fuse_dev_i.h"
#include "efuse_i.h"

/* Each request's hook, plus one: 0 is none. */
static const u8 efuse_hooks_of[] = {
	[FUSE_LOOKUP] = EFUSE_LOOKUP + 1,
	[FUSE_GETATTR] = EFUSE_GETATTR + 1,
	[FUSE_STATX] = EFUSE_GETATTR + 1,
	[FUSE_ACCESS] = EFUSE_ACCESS + 1,
	[FUSE_GETXATTR] = EFUSE_GETXATTR + 1,
	[FUSE_READLINK] = EFUSE_READLINK + 1,
	[FUSE_OPEN] = EFUSE_OPEN + 1,
	[FUSE_FLUSH] = EFUSE_FLUSH + 1,
	[FUSE_RELEASE] = EFUSE_RELEASE + 1,
	[FUSE_OPENDIR] = EFUSE_OPENDIR + 1,
	[FUSE_READDIR] = EFUSE_READDIR + 1,
	[FUSE_READDIRPLUS] = EFUSE_READDIR + 1,
	[FUSE_RELEASEDIR] = EFUSE_RELEASEDIR + 1,
	[FUSE_STATFS] = EFUSE_STATFS + 1,
	[FUSE_READ] = EFUSE_READ + 1,
	[FUSE_WRITE] = EFUSE_WRITE + 1,
};

static enum efuse_hook efuse_hook_for(u32 opcode)
{
	u32 hook = opcode < ARRAY_SIZE(efuse_hooks_of) ? efuse_hooks_of[opcode] : 0;

	return hook ? hook - 1 : EFUSE_NO_HOOK;
}

/* What programs read most, out of the request's own struct. */
static void efuse_ctx_fill(struct efuse_ctx *ctx, const struct fuse_args *args)
{
	const void *in = args->in_args[0].value;

	ctx->nodeid = args->nodeid;
	ctx->opcode = args->opcode;
	if (args->nocreds) {
		ctx->uid = FUSE_INVALID_UIDGID;
		ctx->gid = FUSE_INVALID_UIDGID;
	} else {
		ctx->uid = args->uid;
		ctx->gid = args->gid;
	}
	ctx->pid = args->pid;

	switch (args->opcode) {
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
		ctx->target = args->efuse.targets[0];
		ctx->target2 = args->efuse.targets[1];
		break;
	case FUSE_GETATTR:
		ctx->flags = ((const struct fuse_getattr_in *)in)->getattr_flags;
		ctx->fh = ((const struct fuse_getattr_in *)in)->fh;
		break;
	case FUSE_STATX:
		ctx->flags = ((const struct fuse_statx_in *)in)->getattr_flags;
		ctx->fh = ((const struct fuse_statx_in *)in)->fh;
		break;
	case FUSE_ACCESS:
		ctx->flags = ((const struct fuse_access_in *)in)->mask;
		break;
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		ctx->size = ((const struct fuse_getxattr_in *)in)->size;
		break;
	case FUSE_READLINK:
		ctx->size = args->out_args[0].size;
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		ctx->flags = ((const struct fuse_open_in *)in)->flags;
		break;
	case FUSE_FLUSH:
		ctx->fh = ((const struct fuse_flush_in *)in)->fh;
		break;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		ctx->fh = ((const struct fuse_release_in *)in)->fh;
		ctx->flags = ((const struct fuse_release_in *)in)->flags;
		break;
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		ctx->fh = ((const struct fuse_read_in *)in)->fh;
		ctx->offset = ((const struct fuse_read_in *)in)->offset;
		ctx->size = ((const struct fuse_read_in *)in)->size;
		ctx->flags = ((const struct fuse_read_in *)in)->flags;
		break;
	case FUSE_WRITE:
		ctx->fh = ((const struct fuse_write_in *)in)->fh;
		ctx->offset = ((const struct fuse_write_in *)in)->offset;
		ctx->size = ((const struct fuse_write_in *)in)->size;
		ctx->flags = ((const struct fuse_write_in *)in)->flags;
		break;
	}
}

/* In place: requests' own. */
static __always_inline void efuse_call_begin(struct efuse_call *call, struct fuse_conn *fc, struct fuse_mount *fm,
					     struct fuse_args *args, bool background)
{
	memset(call, 0, offsetof(typeof(*call), hook));
	call->hook = EFUSE_NO_HOOK;
	call->fc = fc;
	call->fm = fm;
	call->args = args;
	efuse_ctx_fill(&call->ctx, args);
	call->ctx.background = background;
}

void efuse_call_init(struct efuse_call *call, struct fuse_conn *fc, struct fuse_mount *fm, struct fuse_args *args,
		     bool background)
{
	efuse_call_begin(call, fc, fm, args, background);
}

/* Before INIT's reply, and after the connection's end, requests take the ordinary way: they wait, or fail. */
bool efuse_ready(struct fuse_conn *fc)
{
	/* Pairs with smp_store_release() in fuse_chan_set_initialized() */
	return smp_load_acquire(&fc->chan->initialized) && READ_ONCE(fc->chan->connected) && fc->conn_init;
}

static __always_inline int efuse_call_slot(struct efuse_call *call, const struct efuse_slot *slot)
{
	int ret;

	call->slot = slot;
	ret = slot->fn(&call->ctx);
	call->found = NULL;
	return ret;
}

/* Runs a hook that is @holder's, or anybody's if that is 0: what it returned, or 0. Requests' own: in place. */
static __always_inline int efuse_run_here(struct efuse_call *call, enum efuse_hook hook, u32 holder)
{
	/* fc->efuse was set before the first fc->efuse_hooks, and stays: efuse_conn_gone() finds no requests. */
	struct efuse_conn *ec = call->fc->efuse;
	struct srcu_ctr __percpu *readers;
	const struct efuse_hooks *hooks;
	const struct efuse_slot *slot;
	int ret = 0;

	readers = srcu_read_lock_fast(&ec->srcu);
	hooks = srcu_dereference(call->fc->efuse_hooks, &ec->srcu);
	call->hook = hook;
	if (hooks) {
		slot = &hooks->slot[hook];
		if (slot->fn && (!holder || slot->id == holder))
			ret = efuse_call_slot(call, slot);
	}
	srcu_read_unlock_fast(&ec->srcu, readers);
	return ret;
}

int efuse_run_holder(struct efuse_call *call, enum efuse_hook hook, u32 holder)
{
	return efuse_run_here(call, hook, holder);
}

/* Runs begin or reply of all who have it. In place: every request that goes to the server passes both. */
static __always_inline void efuse_tell(struct efuse_call *call, enum efuse_hook hook)
{
	struct efuse_conn *ec = call->fc->efuse;
	struct srcu_ctr __percpu *readers;
	const struct efuse_hooks *hooks;
	const struct efuse_slot *slot;

	readers = srcu_read_lock_fast(&ec->srcu);
	hooks = srcu_dereference(call->fc->efuse_hooks, &ec->srcu);
	call->hook = hook;
	if (hooks)
		for (slot = hooks->watch[hook - EFUSE_BEGIN]; slot->fn; slot++)
			efuse_call_slot(call, slot);
	srcu_read_unlock_fast(&ec->srcu, readers);
}

/* Does a hook's EFUSE_DONE need a reply that was filled in? */
static bool efuse_needs_reply(enum efuse_hook hook)
{
	switch (hook) {
	case EFUSE_ACCESS:
	case EFUSE_FLUSH:
	case EFUSE_RELEASE:
	case EFUSE_RELEASEDIR:
		return false;
	default:
		return true;
	}
}

/* Zeroes pages behind what was read, as far as they belong to the page cache. */
static void efuse_zero_tail(struct fuse_args *args, u32 len)
{
	struct fuse_args_pages *ap = container_of(args, typeof(*ap), args);
	u32 start = 0;
	unsigned int i;

	for (i = 0; i < ap->num_folios; i++) {
		u32 length = ap->descs[i].length;
		u32 skip = clamp(len, start, start + length) - start;

		folio_zero_range(ap->folios[i], ap->descs[i].offset + skip, length - skip);
		start += length;
	}
}

/* The reply is complete: what fuse_chan_send() would return. */
static ssize_t efuse_finish(struct efuse_call *call)
{
	struct fuse_args *args = call->args;
	int err;

	if (args->opcode == FUSE_OPEN || args->opcode == FUSE_OPENDIR) {
		err = efuse_open_answer(call);
		if (err)
			return err;
	}
	args->efuse.flags |= EFUSE_ARGS_ANSWERED;
	if (args->opcode == FUSE_WRITE)
		((struct fuse_write_out *)args->out_args[0].value)->size = call->len;
	if (args->opcode == FUSE_GETXATTR && !args->out_argvar)
		((struct fuse_getxattr_out *)args->out_args[0].value)->size = call->len;
	if (!args->out_argvar)
		return 0;
	if (args->out_pages && args->page_zeroing)
		efuse_zero_tail(args, call->len);
	args->out_args[args->out_numargs - 1].size = call->len;
	return call->len;
}

/* The program has not answered after all: nothing that it has filled in, or holds, may stay. */
static void efuse_undo(struct efuse_call *call)
{
	struct fuse_args *args = call->args;

	if (call->replied && !args->out_argvar && args->out_numargs)
		memset(args->out_args[0].value, 0, args->out_args[0].size);
	if (call->held) {
		iput(args->efuse.inode);
		args->efuse.inode = NULL;
		call->held = false;
	}
}

/* What a hook has made of its request, if it has not just passed it on: see efuse_answer(). */
static noinline bool efuse_answered(struct efuse_call *call, enum efuse_hook hook, int ret, ssize_t *result)
{
	/* Releases go to whoever opened the file: programs are only told. */
	if (hook == EFUSE_RELEASE || hook == EFUSE_RELEASEDIR)
		return false;
	/* Closing a file releases POSIX locks, which only the server has. */
	if (hook == EFUSE_FLUSH && READ_ONCE(call->fc->efuse_locked))
		return false;
	if (ret == EFUSE_DONE && (call->replied || !efuse_needs_reply(hook))) {
		*result = efuse_finish(call);
		return true;
	}
	efuse_undo(call);
	/*
	 * The errors that a server may return, but for ENOSYS: fs/fuse would take it as the server's word and never
	 * send this kind of request again.
	 */
	if (ret < 0 && ret > -512 && ret != -ENOSYS) {
		*result = ret;
		return true;
	}
	return false;
}

/* Is this for the page cache? Its folios, or the mapping, are locked then, which page faults lock, too. */
static __always_inline bool efuse_fills_cache(const struct fuse_args *args)
{
	return (args->out_pages || args->in_pages) && !args->user_pages;
}

/*
 * Asks the request's hook.
 *
 * Returns: true: answered, with @result as fuse_chan_send() would return it.
 */
static __always_inline bool efuse_answer(struct efuse_call *call, ssize_t *result)
{
	enum efuse_hook hook = efuse_hook_for(call->ctx.opcode);
	bool no_faults;
	int ret;

	if (hook == EFUSE_NO_HOOK || call->args->efuse.flags & EFUSE_ARGS_NO_HOOK)
		return false;
	/* Programs that sleep may read user memory: a page fault under these locks could wait for itself. */
	no_faults = efuse_fills_cache(call->args);
	if (no_faults)
		pagefault_disable();
	ret = efuse_run_here(call, hook, 0);
	if (no_faults)
		pagefault_enable();
	return (ret != EFUSE_PASS || call->replied || call->held) && efuse_answered(call, hook, ret, result);
}

/* Does the request name an inode that only programs know? */
static bool efuse_names_synthetic(const struct fuse_args *args)
{
	const void *in = args->in_args[0].value;

	if (efuse_synthetic(args->nodeid))
		return true;
	switch (args->opcode) {
	case FUSE_LINK:
		return efuse_synthetic(((const struct fuse_link_in *)in)->oldnodeid);
	case FUSE_RENAME:
		return efuse_synthetic(((const struct fuse_rename_in *)in)->newdir);
	case FUSE_RENAME2:
		return efuse_synthetic(((const struct fuse_rename2_in *)in)->newdir);
	case FUSE_COPY_FILE_RANGE:
	case FUSE_COPY_FILE_RANGE_64:
		return efuse_synthetic(((const struct fuse_copy_file_range_in *)in)->nodeid_out);
	default:
		return false;
	}
}

/*
 * What the server must not see, because it knows nothing of the inode or of the open file.
 *
 * Returns: true: answered, with @result; false: the server may have the request.
 */
static noinline bool __efuse_keep(struct fuse_mount *fm, struct fuse_args *args, bool may_sleep, ssize_t *result)
{
	struct efuse_conn *ec = fm->fc->efuse;
	int ret;

	if (READ_ONCE(ec->opened)) {
		ret = efuse_open_resolve(fm, args, may_sleep);
		if (ret != EFUSE_PASS) {
			*result = ret == EFUSE_DONE ? 0 : ret;
			return true;
		}
	}
	if (READ_ONCE(ec->synthetic) && efuse_names_synthetic(args)) {
		*result = -EOPNOTSUPP;
		return true;
	}
	return false;
}

static __always_inline bool efuse_keep(struct fuse_mount *fm, struct fuse_args *args, bool may_sleep, ssize_t *result)
{
	struct efuse_conn *ec = fm->fc->efuse;

	return (READ_ONCE(ec->opened) || READ_ONCE(ec->synthetic)) && __efuse_keep(fm, args, may_sleep, result);
}

static __always_inline void efuse_tell_reply(struct efuse_call *call, ssize_t result)
{
	struct fuse_args *args = call->args;

	call->ctx.error = result < 0 ? result : 0;
	if (result >= 0 && args->out_numargs)
		call->ctx.reply_size = args->out_args[args->out_numargs - 1].size;
	efuse_tell(call, EFUSE_REPLY);
}

/* Sends a request of whose answer attributes are wanted behind its own struct: see bpf_efuse_want(). */
static noinline ssize_t efuse_send_for_more(struct efuse_call *call)
{
	struct fuse_args *args = call->args;
	struct fuse_arg *more = &args->out_args[args->out_numargs];
	struct fuse_attr_out *attr = &call->attr;
	ssize_t ret;

	memset(attr, 0, sizeof(*attr));
	more->size = sizeof(*attr);
	more->value = attr;
	args->out_numargs++;
	/* the server may leave it out */
	args->out_argvar = true;
	ret = fuse_chan_send(call->fc->chan, args);
	args->out_argvar = false;
	args->out_numargs--;
	if (ret < 0)
		return ret;
	if (more->size == sizeof(*attr) && efuse_attr_valid(&attr->attr))
		call->extra = attr;
	return 0;
}

/* Sends a READ for another range, to memory that nobody else has: the caller's may be changed by the caller. */
static ssize_t efuse_send_read(struct efuse_call *call, u64 offset, u32 size, void *bytes)
{
	struct fuse_args *args = call->args;
	struct fuse_read_in *in = (struct fuse_read_in *)args->in_args[0].value;
	const struct fuse_read_in asked = *in;
	const struct fuse_arg out = args->out_args[0];
	const bool pages = args->out_pages;
	ssize_t got;

	in->offset = offset;
	in->size = size;
	args->out_args[0] = (struct fuse_arg) { .size = size, .value = bytes };
	args->out_pages = false;
	got = fuse_chan_send(call->fc->chan, args);
	if (got >= 0) {
		call->ctx.offset = offset;
		call->ctx.size = size;
		efuse_tell_reply(call, got);
		call->ctx.offset = asked.offset;
		call->ctx.size = asked.size;
	}
	*in = asked;
	args->out_args[0] = out;
	args->out_pages = pages;
	return got;
}

/*
 * Sends a READ for what bpf_efuse_read_around() has said.
 *
 * Returns: true: what the caller wants was in it, or is known to the program now
 */
static noinline bool efuse_send_around(struct efuse_call *call, ssize_t *result)
{
	const u64 from = call->around_offset, wanted = call->ctx.offset;
	struct fuse_args *args = call->args;
	const u32 size = call->ctx.size;
	bool answered = false;
	ssize_t got, skipped;
	u8 *bytes;

	/* folios may be locked */
	bytes = kvmalloc(call->around_size, GFP_NOFS);
	if (!bytes)
		return false;
	got = efuse_send_read(call, from, call->around_size, bytes);
	skipped = wanted - from;
	if (from > wanted || from + call->around_size < wanted + size) {
		if (got >= 0) {
			call->replied = false;
			call->len = 0;
			answered = efuse_answer(call, result);
		}
	} else if (got > skipped) {
		*result = min_t(ssize_t, got - skipped, size);
		args->out_args[0].size = *result;
		if (args->out_pages)
			efuse_pages_copy(args, 0, NULL, bytes + skipped, *result);
		else
			memcpy(args->out_args[0].value, bytes + skipped, *result);
		if (args->out_pages && args->page_zeroing)
			efuse_zero_tail(args, *result);
		answered = true;
	}
	kvfree(bytes);
	return answered;
}

/**
 * efuse_request - fuse_chan_send(), with the connection's programs on the way
 * @fm: mount
 * @args: request; the caller waits for its answer and may sleep
 */
ssize_t efuse_request(struct fuse_mount *fm, struct fuse_args *args)
{
	struct fuse_conn *fc = fm->fc;
	struct efuse_call call __uninitialized;
	ssize_t ret;

	if (!efuse_ready(fc)) {
		/* a file that a program has opened is closed here even so */
		if (efuse_keep(fm, args, true, &ret))
			return ret;
		return fuse_chan_send(fc->chan, args);
	}

	/* What READDIRPLUS has told of and nobody takes goes back one by one. */
	if (args->opcode == FUSE_FORGET) {
		efuse_forget(fc, args->nodeid, ((const struct fuse_forget_in *)args->in_args[0].value)->nlookup);
		return fuse_chan_send(fc->chan, args);
	}

	efuse_call_begin(&call, fc, fm, args, false);
	if (efuse_answer(&call, &ret) || efuse_keep(fm, args, true, &ret))
		return ret;

	args->efuse.flags |= EFUSE_ARGS_WATCHED;
	efuse_tell(&call, EFUSE_BEGIN);
	if (call.around_size && efuse_send_around(&call, &ret))
		return ret;
	if (args->efuse.wants & EFUSE_CAN_ATTR)
		ret = efuse_send_for_more(&call);
	else
		ret = fuse_chan_send(fc->chan, args);
	if (args->efuse.wants & EFUSE_CAN_NO_HANDLE && !ret)
		efuse_open_adopt(fc, args);
	efuse_tell_reply(&call, ret);
	return ret;
}

/* Has anybody this hook, and may it be asked? */
bool efuse_takes(struct fuse_conn *fc, enum efuse_hook hook)
{
	return efuse_ready(fc) && READ_ONCE(fc->efuse->filled) & BIT(hook);
}

/*
 * Asks a hook about what is no request yet.
 *
 * Returns: true: answered, with bytes or an error in @result
 */
bool efuse_ask(struct efuse_call *call, enum efuse_hook hook, ssize_t *result)
{
	int ret = efuse_run(call, hook);

	if (ret == EFUSE_DONE && call->replied)
		*result = call->len;
	else if (ret < 0 && ret > -512 && ret != -ENOSYS)
		*result = ret;
	else
		return false;
	return true;
}

/* A READ's answer comes to memory that only programs see first: see bpf_efuse_read_around(). */
static void efuse_background_to(struct fuse_args *args, gfp_t gfp_flags)
{
	args->efuse.bytes = kvmalloc(args->out_args[0].size, gfp_flags);
	if (!args->efuse.bytes)
		return;
	args->out_args[0].value = args->efuse.bytes;
	args->out_pages = false;
}

static void efuse_background_from(struct fuse_args *args, int error)
{
	args->out_args[0].value = NULL;
	args->out_pages = true;
	if (!error)
		efuse_pages_copy(args, 0, NULL, args->efuse.bytes, args->out_args[0].size);
	kvfree(args->efuse.bytes);
}

static void efuse_background_end(struct fuse_args *args, int error)
{
	struct efuse_call call __uninitialized;

	args->end = args->efuse.end;
	efuse_call_init(&call, args->efuse.fc, NULL, args, true);
	efuse_tell_reply(&call, error);
	if (args->efuse.bytes)
		efuse_background_from(args, error);
	args->end(args, error);
}

/**
 * efuse_background - fuse_chan_send_bg(), with the connection's programs on the way
 * @fm: mount
 * @args: request, whose end() is called at its end, unless an error is returned
 * @gfp_flags: memory for it
 *
 * Written-back pages come under the inode's spin lock, which their end() takes: no hook is asked that could sleep, and
 * what fails is left to the caller to end. They have no credentials, as RELEASE, which no hook answers: so what may be
 * answered, and may sleep, are reads and writes on behalf of a caller.
 */
int efuse_background(struct fuse_mount *fm, struct fuse_args *args, gfp_t gfp_flags)
{
	bool atomic = args->opcode == FUSE_WRITE && args->nocreds;
	struct fuse_conn *fc = fm->fc;
	struct efuse_call call __uninitialized;
	ssize_t ret;
	int err;

	if (!args->end)
		return fuse_chan_send_bg(fc->chan, args, gfp_flags);

	efuse_call_init(&call, fc, fm, args, true);
	if ((efuse_ready(fc) && !atomic && efuse_answer(&call, &ret)) || efuse_keep(fm, args, !atomic, &ret)) {
		if (ret < 0)
			return ret;
		args->end(args, 0);
		return 0;
	}
	if (!efuse_ready(fc))
		return fuse_chan_send_bg(fc->chan, args, gfp_flags);

	args->efuse.flags |= EFUSE_ARGS_WATCHED;
	efuse_tell(&call, EFUSE_BEGIN);
	args->efuse.end = args->end;
	args->efuse.fc = fc;
	args->efuse.bytes = NULL;
	args->end = efuse_background_end;
	if (call.around_size)
		efuse_background_to(args, gfp_flags);
	err = fuse_chan_send_bg(fc->chan, args, gfp_flags);
	if (err) {
		args->end = args->efuse.end;
		if (args->efuse.bytes)
			efuse_background_from(args, err);
		efuse_tell_reply(&call, err);
	}
	return err;
}

/* FORGET: no request, and nothing is sent for what the server has not counted. */
void efuse_forget(struct fuse_conn *fc, u64 nodeid, u64 nlookup)
{
	struct efuse_call call = {
		.ctx.opcode = FUSE_FORGET,
		.ctx.nodeid = nodeid,
		.ctx.nlookup = nlookup,
		.fc = fc,
	};

	if (efuse_ready(fc))
		efuse_tell(&call, EFUSE_BEGIN);
}

/**
 * efuse_notify - shows begin what has changed without a request
 * @fc: connection
 * @code: enum fuse_notify_code, or EFUSE_BACKING_UNUSED without EFUSE_NOTIFY
 * @nodeid: whose attributes, or entry, or 0
 * @child: nodeid that goes with the entry, or 0
 * @name: of the entry, or NULL
 */
void efuse_notify(struct fuse_conn *fc, u32 code, u64 nodeid, u64 child, const struct qstr *name)
{
	struct efuse_call call __uninitialized;
	FUSE_ARGS(args);

	if (!efuse_hooked(fc))
		return;
	args.opcode = EFUSE_NOTIFY + code;
	args.nodeid = nodeid;
	args.nocreds = true;
	args.efuse.targets[0] = child;
	if (name) {
		args.in_numargs = 2;
		args.in_args[1].size = name->len + 1;
		args.in_args[1].value = name->name;
	}
	efuse_call_init(&call, fc, NULL, &args, true);
	call.ctx.target = child;
	efuse_tell(&call, EFUSE_BEGIN);
}

/* The caller of a LOOKUP won't take the inode: the server is told to forget it, if it has counted the look-up. */
void efuse_lookup_forget(struct fuse_chan *fch, struct fuse_forget_link *forget, u64 nodeid, struct fuse_args *args)
{
	if (efuse_nlookup(args))
		fuse_chan_queue_forget(fch, forget, nodeid, 1);
	else
		kfree(forget);
}

/*
 * The caller of a LOOKUP is done: it has counted it in @inode, which is held, or has none. A look-up that a program
 * has answered is taken back: the server's FORGET will not tell of it.
 */
void efuse_lookup_end(struct fuse_args *args, struct inode *inode)
{
	if (!(args->efuse.flags & EFUSE_ARGS_ANSWERED))
		return;
	if (inode) {
		struct fuse_inode *fi = get_fuse_inode(inode);

		spin_lock(&fi->lock);
		fi->nlookup--;
		spin_unlock(&fi->lock);
	}
	iput(args->efuse.inode);
	args->efuse.inode = NULL;
}
