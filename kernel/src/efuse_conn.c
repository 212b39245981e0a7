// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which programs a connection has: tokens, attachments, and the table of hooks that requests read.
 *
 * An attachment claims the hooks that its struct efuse_ops fills. Whoever changes a connection's attachments holds
 * its lock, publishes a new table, and waits until nobody runs what the old one had (SRCU of the connection). That
 * may take as long as a program reads a backing file, so what all connections share has a lock of its own, taken
 * inside of it and never held for long. Requests take neither.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/random.h>
#include <linux/slab.h>
#include "dev.h"
#include "fuse_dev_i.h"
#include "efuse_i.h"

/* A descriptor's owner who asks for tokens and never uses them takes this many words of memory, not more. */
#define EFUSE_MAX_TOKENS 16

struct efuse_attachment {
	/* of the connection's attachments */
	struct list_head list;
	/* of efuse_attachments */
	struct list_head all;
	struct efuse_conn *ec;
	/* protected by the connection's lock */
	const struct efuse_ops *ops;
	u8 place;
	/* never used again: what another has noted at this place is not for it */
	u32 id;
	/* the BPF link that keeps it attached */
	void *owner;
};

struct efuse_token {
	struct list_head list;
	struct efuse_conn *ec;
	u64 value;
};

/* Protects the lists of all tokens and attachments, and efuse_conn.fc. */
static DEFINE_MUTEX(efuse_lock);
static LIST_HEAD(efuse_tokens);
static LIST_HEAD(efuse_attachments);
static atomic_t efuse_last_id = ATOMIC_INIT(0);

static void efuse_conn_put(struct efuse_conn *ec)
{
	if (!refcount_dec_and_test(&ec->count))
		return;
	cleanup_srcu_struct(&ec->srcu);
	mutex_destroy(&ec->lock);
	efuse_opens_free(ec);
	kfree(ec);
}

/* The connection's part of eFuse, made when it is first asked for. */
static struct efuse_conn *efuse_conn_of(struct fuse_conn *fc)
{
	struct efuse_conn *ec = fc->efuse;

	lockdep_assert_held(&efuse_lock);
	if (ec)
		return ec;

	ec = kzalloc_obj(*ec, GFP_KERNEL_ACCOUNT);
	if (!ec)
		return NULL;
	if (init_srcu_struct_fast(&ec->srcu)) {
		kfree(ec);
		return NULL;
	}
	/* the connection's own reference, see efuse_conn_gone() */
	refcount_set(&ec->count, 1);
	mutex_init(&ec->lock);
	INIT_LIST_HEAD(&ec->attachments);
	xa_init_flags(&ec->opens, XA_FLAGS_ALLOC1);
	ec->fc = fc;
	fc->efuse = ec;
	return ec;
}

static efuse_hook_fn efuse_hook_of(const struct efuse_ops *ops, int hook)
{
	/* the hooks are the first members, all of one type */
	BUILD_BUG_ON(offsetof(struct efuse_ops, token) != EFUSE_NR_HOOKS * sizeof(efuse_hook_fn));
	return ((const efuse_hook_fn *)ops)[hook];
}

/* Makes requests use @hooks, and frees the table before once nobody uses it. */
static void efuse_publish(struct efuse_conn *ec, struct efuse_hooks *hooks)
{
	struct efuse_hooks *old;

	old = rcu_replace_pointer(ec->fc->efuse_hooks, hooks, lockdep_is_held(&ec->lock));
	if (old) {
		synchronize_srcu_expedited(&ec->srcu);
		kfree(old);
	}
}

/* Publishes what the attachments make together. */
static void efuse_update_hooks(struct efuse_conn *ec)
{
	/* a detachment must not fail */
	struct efuse_hooks *hooks = kzalloc_obj(*hooks, GFP_KERNEL | __GFP_NOFAIL);
	struct efuse_attachment *att;
	struct efuse_slot *slot;
	bool any = false;
	u32 filled = 0;
	int nr[2] = {};
	int i;

	list_for_each_entry(att, &ec->attachments, list) {
		any = true;
		for (i = 0; i < EFUSE_NR_HOOKS; i++) {
			if (!efuse_hook_of(att->ops, i))
				continue;
			slot = &hooks->slot[i];
			if (efuse_watches(i))
				slot = &hooks->watch[i - EFUSE_BEGIN][nr[i - EFUSE_BEGIN]++];
			slot->fn = efuse_hook_of(att->ops, i);
			slot->id = att->id;
			slot->place = att->place;
			filled |= BIT(i);
		}
	}
	efuse_publish(ec, hooks);
	/* a hint: who misses it asks once too often, or too late */
	WRITE_ONCE(ec->filled, filled);

	/*
	 * Requests go the short way again when there is nothing left to do for them. What a program has answered
	 * until a moment ago may still need the long one, so this is known only now.
	 */
	if (!any && !READ_ONCE(ec->synthetic) && !READ_ONCE(ec->opened))
		efuse_publish(ec, NULL);
}

/*
 * Can @ops have the hooks it wants, beside all attachments but @self? begin and reply may have several holders, each at
 * a place of its own.
 *
 * Returns: its place, EFUSE_WATCHERS for none, or an error
 */
static int efuse_check_hooks(struct efuse_conn *ec, const struct efuse_ops *ops,
			     const struct efuse_attachment *self)
{
	bool taken[EFUSE_WATCHERS] = {}, any = false, watches = false;
	struct efuse_attachment *att;
	int i;

	for (i = 0; i < EFUSE_NR_HOOKS; i++) {
		if (!efuse_hook_of(ops, i))
			continue;
		any = true;
		if (efuse_watches(i)) {
			watches = true;
			continue;
		}
		list_for_each_entry(att, &ec->attachments, list)
			if (att != self && efuse_hook_of(att->ops, i))
				return -EBUSY;
	}
	if (!any)
		return -EINVAL;
	if (!watches)
		return EFUSE_WATCHERS;
	list_for_each_entry(att, &ec->attachments, list)
		if (att != self && att->place < EFUSE_WATCHERS)
			taken[att->place] = true;
	if (self && self->place < EFUSE_WATCHERS)
		return self->place;
	for (i = 0; i < EFUSE_WATCHERS; i++)
		if (!taken[i])
			return i;
	return -EBUSY;
}

static void efuse_token_free(struct efuse_token *token)
{
	list_del(&token->list);
	efuse_conn_put(token->ec);
	kfree(token);
}

/* Takes the token, which is good for one attempt. */
static struct efuse_conn *efuse_token_redeem(u64 value)
{
	struct efuse_token *token;
	struct efuse_conn *ec;

	list_for_each_entry(token, &efuse_tokens, list) {
		if (token->value != value)
			continue;
		ec = token->ec;
		refcount_inc(&ec->count);
		efuse_token_free(token);
		return ec;
	}
	return NULL;
}

static int efuse_token_new(struct efuse_conn *ec, u64 *value)
{
	struct efuse_token *token, *oldest = NULL;
	int nr = 0;

	/* the newest come first */
	list_for_each_entry(token, &efuse_tokens, list) {
		if (token->ec == ec) {
			oldest = token;
			nr++;
		}
	}
	token = kmalloc_obj(*token, GFP_KERNEL_ACCOUNT);
	if (!token)
		return -ENOMEM;
	if (nr >= EFUSE_MAX_TOKENS)
		efuse_token_free(oldest);
	do {
		token->value = get_random_u64();
	} while (!token->value);
	token->ec = ec;
	refcount_inc(&ec->count);
	list_add(&token->list, &efuse_tokens);
	*value = token->value;
	return 0;
}

/**
 * efuse_attach - gives a connection the hooks of @ops
 * @ops: with the token that names the connection; stays as it is until efuse_detach()
 * @owner: who may detach or replace them
 *
 * Returns: 0, or -EACCES: no such token; -ENOTCONN: the connection has ended; -EBUSY: a hook is taken; -EINVAL: there
 * is none.
 */
int efuse_attach(struct efuse_ops *ops, void *owner)
{
	struct efuse_attachment *att;
	struct efuse_conn *ec = NULL;
	int err;

	att = kzalloc_obj(*att, GFP_KERNEL_ACCOUNT);
	if (!att)
		return -ENOMEM;
	att->ops = ops;
	att->owner = owner;

	mutex_lock(&efuse_lock);
	if (ops->token)
		ec = efuse_token_redeem(ops->token);
	mutex_unlock(&efuse_lock);
	if (!ec) {
		kfree(att);
		return -EACCES;
	}
	att->ec = ec;

	mutex_lock(&ec->lock);
	err = -ENOTCONN;
	if (ec->fc && READ_ONCE(ec->fc->chan->connected))
		err = efuse_check_hooks(ec, ops, NULL);
	if (err >= 0) {
		att->place = err;
		att->id = atomic_inc_return(&efuse_last_id);
		list_add_tail(&att->list, &ec->attachments);
		efuse_update_hooks(ec);
		err = 0;
	}
	mutex_unlock(&ec->lock);
	if (err) {
		efuse_conn_put(ec);
		kfree(att);
		return err;
	}

	mutex_lock(&efuse_lock);
	list_add_tail(&att->all, &efuse_attachments);
	mutex_unlock(&efuse_lock);
	return 0;
}

/* The attachment of @owner, which the BPF subsystem replaces and detaches one after the other. */
static struct efuse_attachment *efuse_attachment_of(void *owner)
{
	struct efuse_attachment *att, *found = NULL;

	mutex_lock(&efuse_lock);
	list_for_each_entry(att, &efuse_attachments, all)
		if (att->owner == owner)
			found = att;
	mutex_unlock(&efuse_lock);
	return found;
}

/**
 * efuse_replace - gives @owner's attachment other hooks, in one step
 * @ops: in place of those it has; their token is not looked at
 * @owner: of the attachment
 *
 * Once it returns, nobody runs the old hooks. Errors are those of efuse_attach(); then nothing has changed.
 */
int efuse_replace(struct efuse_ops *ops, void *owner)
{
	struct efuse_attachment *att = efuse_attachment_of(owner);
	struct efuse_conn *ec;
	int err = -ENOTCONN;

	if (!att)
		return err;
	ec = att->ec;
	mutex_lock(&ec->lock);
	if (ec->fc)
		err = efuse_check_hooks(ec, ops, att);
	if (err >= 0) {
		att->place = err;
		att->ops = ops;
		efuse_update_hooks(ec);
		err = 0;
	}
	mutex_unlock(&ec->lock);
	return err;
}

/**
 * efuse_detach - takes @owner's hooks away
 * @owner: of the attachment
 *
 * Once it returns, nobody runs them.
 */
void efuse_detach(void *owner)
{
	struct efuse_attachment *att = efuse_attachment_of(owner);
	struct efuse_conn *ec;

	if (WARN_ON_ONCE(!att))
		return;
	ec = att->ec;
	mutex_lock(&efuse_lock);
	list_del(&att->all);
	mutex_unlock(&efuse_lock);

	mutex_lock(&ec->lock);
	list_del(&att->list);
	if (ec->fc)
		efuse_update_hooks(ec);
	mutex_unlock(&ec->lock);
	efuse_conn_put(ec);
	kfree(att);
}

/*
 * The connection ends: its last reference has been dropped, so that nobody can still make requests. Path walks
 * under RCU, which have none, may still ask whether something stands.
 */
void efuse_conn_gone(struct fuse_conn *fc)
{
	struct efuse_token *token, *next;
	struct efuse_conn *ec = fc->efuse;

	if (!ec)
		return;
	mutex_lock(&ec->lock);
	efuse_publish(ec, NULL);
	synchronize_rcu();
	mutex_lock(&efuse_lock);
	list_for_each_entry_safe(token, next, &efuse_tokens, list)
		if (token->ec == ec)
			efuse_token_free(token);
	ec->fc = NULL;
	mutex_unlock(&efuse_lock);
	mutex_unlock(&ec->lock);
	fc->efuse = NULL;
	efuse_conn_put(ec);
}

static int efuse_control_release(struct inode *inode, struct file *file)
{
	efuse_conn_put(file->private_data);
	return 0;
}

static long efuse_ioctl(struct fuse_conn *fc, unsigned int cmd, unsigned long arg);

static long efuse_control_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct efuse_conn *ec = file->private_data;
	struct fuse_conn *fc;
	long ret;

	mutex_lock(&efuse_lock);
	/* the last reference may be gone already, but not the memory: see efuse_conn_gone() */
	fc = ec->fc;
	if (fc && !refcount_inc_not_zero(&fc->count))
		fc = NULL;
	mutex_unlock(&efuse_lock);
	if (!fc)
		return -ENOTCONN;
	ret = efuse_ioctl(fc, cmd, arg);
	fuse_conn_put(fc);
	return ret;
}

static const struct file_operations efuse_control_operations = {
	.owner		= THIS_MODULE,
	.release	= efuse_control_release,
	.unlocked_ioctl	= efuse_control_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

static long efuse_ioctl_token(struct fuse_conn *fc, u64 __user *argp)
{
	struct efuse_conn *ec;
	int err = -ENOMEM;
	u64 value;

	mutex_lock(&efuse_lock);
	ec = efuse_conn_of(fc);
	if (ec)
		err = efuse_token_new(ec, &value);
	mutex_unlock(&efuse_lock);
	if (err)
		return err;
	return put_user(value, argp);
}

static long efuse_ioctl_control(struct fuse_conn *fc)
{
	struct efuse_conn *ec;
	int fd;

	mutex_lock(&efuse_lock);
	ec = efuse_conn_of(fc);
	if (ec)
		refcount_inc(&ec->count);
	mutex_unlock(&efuse_lock);
	if (!ec)
		return -ENOMEM;

	fd = anon_inode_getfd("[efuse]", &efuse_control_operations, ec, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		efuse_conn_put(ec);
	return fd;
}

static long efuse_ioctl_bind(struct fuse_conn *fc, const struct efuse_bind __user *argp)
{
	struct efuse_bind bind;

	if (copy_from_user(&bind, argp, sizeof(bind)))
		return -EFAULT;
	return efuse_bind(fc, &bind);
}

static long efuse_ioctl_info(struct fuse_conn *fc, struct efuse_info __user *argp)
{
	struct efuse_attachment *att;
	struct efuse_info *info;
	struct efuse_conn *ec;
	long err = 0;
	int i;

	BUILD_BUG_ON(EFUSE_NR_HOOKS > EFUSE_MAX_HOOKS);
	info = kzalloc_obj(*info);
	if (!info)
		return -ENOMEM;
	info->version = EFUSE_VERSION;
	info->nr_hooks = EFUSE_NR_HOOKS;
	mutex_lock(&efuse_lock);
	ec = fc->efuse;
	mutex_unlock(&efuse_lock);
	if (ec) {
		mutex_lock(&ec->lock);
		list_for_each_entry(att, &ec->attachments, list)
			for (i = 0; i < EFUSE_NR_HOOKS; i++)
				if (efuse_hook_of(att->ops, i))
					memcpy(info->holders[i], att->ops->name, EFUSE_NAME_LEN);
		mutex_unlock(&ec->lock);
	}
	if (copy_to_user(argp, info, sizeof(*info)))
		err = -EFAULT;
	kfree(info);
	return err;
}

static long efuse_ioctl_can(struct fuse_conn *fc, unsigned long can)
{
	struct efuse_conn *ec;

	if (can & ~(EFUSE_CAN_ATTR | EFUSE_CAN_NO_HANDLE))
		return -EINVAL;
	mutex_lock(&efuse_lock);
	ec = efuse_conn_of(fc);
	/* what is open without a handle stays so: it is never taken back */
	if (ec)
		WRITE_ONCE(ec->can, ec->can | can);
	mutex_unlock(&efuse_lock);
	return ec ? 0 : -ENOMEM;
}

static long efuse_ioctl(struct fuse_conn *fc, unsigned int cmd, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case EFUSE_IOC_TOKEN:
		return efuse_ioctl_token(fc, argp);
	case EFUSE_IOC_CONTROL:
		return efuse_ioctl_control(fc);
	case EFUSE_IOC_BIND:
		return efuse_ioctl_bind(fc, argp);
	case EFUSE_IOC_INFO:
		return efuse_ioctl_info(fc, argp);
	case EFUSE_IOC_QUEUES:
		return efuse_set_queues(fc, arg);
	case EFUSE_IOC_BACKGROUND:
		return efuse_set_background(fc, arg);
	case EFUSE_IOC_CAN:
		return efuse_ioctl_can(fc, arg);
	default:
		return -ENOTTY;
	}
}

/* What the device does not know itself. */
long efuse_dev_ioctl(struct file *file, unsigned int cmd, void __user *argp)
{
	struct fuse_dev *fud;

	/* fuse_get_dev() may wait for the mount */
	if (_IOC_TYPE(cmd) != EFUSE_IOC_MAGIC)
		return -ENOTTY;
	fud = fuse_get_dev(file);
	if (IS_ERR(fud))
		return PTR_ERR(fud);
	return efuse_ioctl(fud->chan->conn, cmd, (unsigned long)argp);
}
