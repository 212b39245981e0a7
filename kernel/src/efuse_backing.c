// SPDX-License-Identifier: GPL-2.0-only
/*
 * Backing files of inodes, for the read and write hooks.
 *
 * The server registers a file as for passthrough and binds it to an inode that the kernel holds. It is opened again
 * then, with the server's credentials of the registration, as passthrough does for each open. Programs never name
 * a file: they get that of the inode of their request, at the place of their request.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/iversion.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include "dev.h"
#include "efuse_backing.h"
#include "efuse_file.h"

struct efuse_backing {
	struct file *file;
	const struct cred *cred;
	refcount_t count;
	struct rcu_head rcu;
};

static void efuse_backing_put(struct efuse_backing *backing)
{
	if (!backing || !refcount_dec_and_test(&backing->count))
		return;
	fput(backing->file);
	put_cred(backing->cred);
	kfree_rcu(backing, rcu);
}

void efuse_inode_free(struct fuse_inode *fi)
{
	efuse_backing_put(rcu_dereference_protected(fi->efuse_backing, true));
}

static int efuse_inode_test(struct inode *inode, void *nodeid)
{
	return get_node_id(inode) == *(u64 *)nodeid;
}

/* The inode of this number, if the kernel holds it. Under rcu_read_lock(), for as long. */
struct inode *efuse_find_inode(struct efuse_call *call, u64 nodeid)
{
	struct inode *inode;

	if (call->found && call->found_nodeid == nodeid)
		return call->found;
	inode = call->fm ? find_inode_rcu(call->fm->sb, nodeid, efuse_inode_test, &nodeid) : NULL;
	if (call->hook != EFUSE_READ && call->hook != EFUSE_WRITE) {
		call->found = inode;
		call->found_nodeid = nodeid;
	}
	return inode;
}

/* The file bound to the inode of the request. */
static struct efuse_backing *efuse_backing_get(struct efuse_call *call)
{
	struct efuse_backing *backing = NULL;
	struct inode *inode;

	rcu_read_lock();
	inode = efuse_find_inode(call, call->args->nodeid);
	if (inode)
		backing = rcu_dereference(get_fuse_inode(inode)->efuse_backing);
	if (backing && !refcount_inc_not_zero(&backing->count))
		backing = NULL;
	rcu_read_unlock();
	return backing;
}

static struct efuse_backing *efuse_backing_open(struct fuse_conn *fc, const struct efuse_bind *bind)
{
	struct efuse_backing *backing;
	struct fuse_backing *fb;
	struct file *file;
	int flags;

	if (!(bind->flags & EFUSE_BIND_WRITE))
		flags = O_RDONLY;
	else
		flags = bind->flags & EFUSE_BIND_READ ? O_RDWR : O_WRONLY;

	fb = fuse_backing_lookup(fc, bind->backing_id);
	if (!fb)
		return ERR_PTR(-ENOENT);
	backing = kzalloc_obj(*backing, GFP_KERNEL_ACCOUNT);
	if (!backing) {
		fuse_backing_put(fb);
		return ERR_PTR(-ENOMEM);
	}
	/* no atime of its own: fs/fuse invalidates the inode's */
	file = dentry_open(&fb->file->f_path, flags | O_LARGEFILE | O_NOATIME, fb->cred);
	if (file == ERR_PTR(-EPERM))
		file = dentry_open(&fb->file->f_path, flags | O_LARGEFILE, fb->cred);
	if (IS_ERR(file)) {
		kfree(backing);
		fuse_backing_put(fb);
		return ERR_CAST(file);
	}
	backing->file = file;
	backing->cred = get_cred(fb->cred);
	refcount_set(&backing->count, 1);
	fuse_backing_put(fb);
	return backing;
}

/**
 * efuse_bind - EFUSE_IOC_BIND
 * @fc: connection
 * @bind: inode, which the kernel must hold, and file
 *
 * Reads and writes under way end with the file they began with.
 */
int efuse_bind(struct fuse_conn *fc, const struct efuse_bind *bind)
{
	struct efuse_backing *backing = NULL;
	struct inode *inode;
	int err = 0;

	if (bind->flags & ~(EFUSE_BIND_READ | EFUSE_BIND_WRITE) || !bind->backing_id != !bind->flags)
		return -EINVAL;
	if (bind->backing_id) {
		backing = efuse_backing_open(fc, bind);
		if (IS_ERR(backing))
			return PTR_ERR(backing);
	}

	/* Until the inode is let go of: an unmount would find it busy. */
	down_read(&fc->killsb);
	inode = fuse_ilookup(fc, bind->nodeid, NULL);
	if (!inode) {
		err = -ENOENT;
	} else {
		if (S_ISREG(inode->i_mode))
			backing = unrcu_pointer(xchg(&get_fuse_inode(inode)->efuse_backing,
						     RCU_INITIALIZER(backing)));
		else
			err = -EINVAL;
		iput(inode);
	}
	up_read(&fc->killsb);
	efuse_backing_put(backing);
	return err;
}

/* The file to work on: that of the open file, or the inode's, which is held then. */
static struct file *efuse_file_get(struct efuse_call *call, struct efuse_backing **held)
{
	*held = NULL;
	if (call->iter)
		return efuse_iter_backing(call);
	*held = efuse_backing_get(call);
	return *held ? (*held)->file : NULL;
}

s64 efuse_backing_size(struct efuse_call *call)
{
	struct efuse_backing *held;
	struct file *file = efuse_file_get(call, &held);
	s64 size = file ? i_size_read(file_inode(file)) : -ENOENT;

	efuse_backing_put(held);
	return size;
}

/* Is every change of a file's data counted? Those through mappings are not, but for the first. */
static int efuse_counts_changes(struct inode *inode)
{
	if (!IS_I_VERSION(inode) || IS_NOCMTIME(inode) || IS_DAX(inode))
		return -EOPNOTSUPP;
	return mapping_writably_mapped(inode->i_mapping) ? -EBUSY : 0;
}

/**
 * efuse_backing_state - tells which file it is, and which state of it
 * @call: READ or WRITE
 * @state: filled in
 *
 * The version is read first: what is seen after it is of that version, or a newer one.
 */
int efuse_backing_state(struct efuse_call *call, struct efuse_backing_state *state)
{
	struct efuse_backing *held;
	struct file *file = efuse_file_get(call, &held);
	struct inode *inode;
	int err = -ENOENT;

	if (file) {
		inode = file_inode(file);
		state->version = inode_peek_iversion(inode);
		/* pairs with the barriers in inode_maybe_inc_iversion() and in mapping_map_writable() */
		smp_mb();
		err = efuse_counts_changes(inode);
		state->ino = inode->i_ino;
		state->dev = new_encode_dev(inode->i_sb->s_dev);
		state->generation = inode->i_generation;
		state->size = i_size_read(inode);
	}
	efuse_backing_put(held);
	return err;
}

/* Copies from the page cache, as far as it has the data and the file goes. */
static int efuse_cached_copy(struct inode *inode, loff_t pos, void *mem, u32 len)
{
	loff_t size = i_size_read(inode);
	u32 copied = 0;

	if (pos >= size)
		return 0;
	len = min_t(loff_t, len, size - pos);
	while (copied < len) {
		struct folio *folio = filemap_get_folio(inode->i_mapping, (pos + copied) >> PAGE_SHIFT);
		size_t offset, part;

		if (IS_ERR(folio))
			return -EAGAIN;
		if (!folio_test_uptodate(folio)) {
			folio_put(folio);
			return -EAGAIN;
		}
		offset = offset_in_folio(folio, pos + copied);
		part = min_t(size_t, folio_size(folio) - offset, len - copied);
		memcpy_from_folio(mem + copied, folio, offset, part);
		folio_put(folio);
		copied += part;
	}
	return copied;
}

/**
 * efuse_backing_fill - copies from the backing file's pages, in a known state of the file
 * @call: READ or WRITE
 * @pos: in the file
 * @mem: for the data
 * @len: of @mem
 * @version: the state
 *
 * A version is counted up before the data is changed, and only if somebody has asked for it. Who holds the inode's
 * lock, sees no direct I/O under way, and then asks, knows that all changes of this version are done and that none
 * will be made without counting.
 */
int efuse_backing_fill(struct efuse_call *call, loff_t pos, void *mem, u32 len, u64 version)
{
	struct efuse_backing *held;
	struct file *file = efuse_file_get(call, &held);
	struct inode *inode;
	int ret = -ENOENT;

	if (!file)
		return ret;
	inode = file_inode(file);
	ret = -EBADF;
	if (!(file->f_mode & FMODE_READ))
		goto out;
	ret = -EAGAIN;
	if (!inode_trylock(inode))
		goto out;
	if (!atomic_read(&inode->i_dio_count) && inode_query_iversion(inode) == version) {
		ret = efuse_counts_changes(inode);
		if (!ret)
			ret = efuse_cached_copy(inode, pos, mem, len);
		if (ret >= 0 && (efuse_counts_changes(inode) || inode_query_iversion(inode) != version))
			ret = -EAGAIN;
	}
	inode_unlock(inode);
out:
	efuse_backing_put(held);
	return ret;
}

/* Does a write have to take suid, sgid or file capabilities away? The server knows how. */
static bool efuse_must_kill_privileges(struct efuse_call *call, struct efuse_backing *backing)
{
	const struct fuse_write_in *in = call->args->in_args[0].value;

	return in->write_flags & FUSE_WRITE_KILL_SUIDGID && !IS_NOSEC(file_inode(backing->file));
}

static ssize_t efuse_backing_rw(struct efuse_backing *backing, int direction, struct iov_iter *iter, loff_t pos,
				rwf_t rwf)
{
	unsigned int nofs;
	ssize_t ret;

	/* The caller may hold folios of the inode: reclaim must not come back for them. */
	nofs = memalloc_nofs_save();
	scoped_with_creds(backing->cred)
		ret = direction == READ ? vfs_iter_read(backing->file, iter, &pos, rwf) :
					  vfs_iter_write(backing->file, iter, &pos, rwf);
	memalloc_nofs_restore(nofs);
	return ret;
}

/* efuse_backing_io() of a request. */
static ssize_t efuse_request_io(struct efuse_call *call, struct efuse_backing *backing, u32 offset, u32 len)
{
	struct fuse_args *args = call->args;
	struct fuse_args_pages *ap = container_of(args, typeof(*ap), args);
	bool write = args->opcode == FUSE_WRITE;
	int direction = write ? ITER_SOURCE : ITER_DEST;
	loff_t pos = call->ctx.offset + offset;
	struct bio_vec few[8], *vec = few;
	struct iov_iter iter;
	struct kvec kvec;
	rwf_t rwf = 0;
	size_t total = 0;
	unsigned int i;
	ssize_t ret;

	if (write) {
		if (efuse_must_kill_privileges(call, backing))
			return -EAGAIN;
		if (call->ctx.flags & O_DSYNC)
			rwf |= RWF_DSYNC;
		if ((call->ctx.flags & O_SYNC) == O_SYNC)
			rwf |= RWF_SYNC;
	}

	if (write ? args->in_pages : args->out_pages) {
		if (ap->num_folios > ARRAY_SIZE(few)) {
			vec = kmalloc_array(ap->num_folios, sizeof(*vec), GFP_NOFS);
			if (!vec)
				return -ENOMEM;
		}
		for (i = 0; i < ap->num_folios; i++) {
			bvec_set_folio(&vec[i], ap->folios[i], ap->descs[i].length, ap->descs[i].offset);
			total += ap->descs[i].length;
		}
		iov_iter_bvec(&iter, direction, vec, ap->num_folios, total);
	} else {
		kvec.iov_base = write ? (void *)args->in_args[1].value : args->out_args[0].value;
		kvec.iov_len = call->ctx.size;
		iov_iter_kvec(&iter, direction, &kvec, 1, kvec.iov_len);
	}
	iov_iter_advance(&iter, offset);
	iov_iter_truncate(&iter, len);
	ret = efuse_backing_rw(backing, write ? WRITE : READ, &iter, pos, rwf);
	if (vec != few)
		kfree(vec);
	return ret;
}

/**
 * efuse_backing_io - reads or writes @len bytes between the backing file and the data of the request
 * @call: READ or WRITE
 * @offset: in the data; in the file it is that of the request, and as much on
 * @len: within the data
 *
 * Returns: bytes, or an error
 */
ssize_t efuse_backing_io(struct efuse_call *call, u32 offset, u32 len)
{
	struct efuse_backing *backing;
	ssize_t ret = -ENOENT;

	if (call->iter && call->args->opcode == FUSE_READ)
		return efuse_iter_read(call, offset, len);
	if (call->iter)
		return efuse_iter_write(call, len);
	backing = efuse_backing_get(call);
	if (backing)
		ret = efuse_request_io(call, backing, offset, len);
	efuse_backing_put(backing);
	return ret;
}

/* Reads from the backing file into a program's memory. */
ssize_t efuse_backing_read_mem(struct efuse_call *call, loff_t pos, void *mem, u32 len)
{
	struct kvec kvec = { .iov_base = mem, .iov_len = len };
	struct efuse_backing *backing;
	ssize_t ret = -ENOENT;
	struct iov_iter iter;

	if (call->iter)
		return efuse_iter_read_mem(call, pos, mem, len);
	backing = efuse_backing_get(call);
	if (backing) {
		iov_iter_kvec(&iter, ITER_DEST, &kvec, 1, len);
		ret = efuse_backing_rw(backing, READ, &iter, pos, 0);
	}
	efuse_backing_put(backing);
	return ret;
}
