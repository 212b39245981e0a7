/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * eFuse inside fs/fuse: what the patched files call.
 *
 * A connection without programs costs its requests one load and one branch (efuse_hooked()). The README says how
 * the parts work together and which lock protects what.
 */
#ifndef _FS_EFUSE_H
#define _FS_EFUSE_H

#include <linux/compiler.h>
#include <linux/rcupdate.h>
#include "efuse_args.h"
#include "efuse_bpf.h"
#include "fuse_i.h"

struct dentry;
struct file;
struct fuse_attr;
struct iov_iter;
struct kiocb;
struct fuse_forget_link;
struct fuse_req;
struct fuse_ring;
struct qstr;

/* Is there anything to do for this connection's requests? */
static inline bool efuse_hooked(struct fuse_conn *fc)
{
	/* Pairs with rcu_replace_pointer() in efuse_publish(): who sees hooks sees fc->efuse, which was set before. */
	return unlikely(smp_load_acquire((struct efuse_hooks * __force *)&fc->efuse_hooks));
}

/* How many look-ups the server has counted with this LOOKUP, once it has succeeded. */
static inline u64 efuse_nlookup(const struct fuse_args *args)
{
	return args->efuse.flags & EFUSE_ARGS_ANSWERED ? 0 : 1;
}

int efuse_bpf_init(void);

ssize_t efuse_request(struct fuse_mount *fm, struct fuse_args *args);
int efuse_background(struct fuse_mount *fm, struct fuse_args *args, gfp_t gfp_flags);
void efuse_forget(struct fuse_conn *fc, u64 nodeid, u64 nlookup);
void efuse_notify(struct fuse_conn *fc, u32 code, u64 nodeid, u64 child, const struct qstr *name);

/* An open file of the inode is about to have no more use for its backing file, which it may have read. */
static inline void efuse_backing_unused(struct fuse_inode *fi)
{
	struct fuse_conn *fc = get_fuse_conn(&fi->inode);

	if (efuse_hooked(fc) && fuse_inode_backing(fi))
		efuse_notify(fc, EFUSE_BACKING_UNUSED - EFUSE_NOTIFY, fi->nodeid, 0, NULL);
}

void efuse_lookup_forget(struct fuse_chan *fch, struct fuse_forget_link *forget, u64 nodeid, struct fuse_args *args);
void efuse_lookup_end(struct fuse_args *args, struct inode *inode);

#ifdef CONFIG_FUSE_PASSTHROUGH
bool efuse_read_iter(struct kiocb *iocb, struct iov_iter *to, ssize_t *result);
bool efuse_write_iter(struct kiocb *iocb, struct iov_iter *from, ssize_t *result);
#else
static inline bool efuse_read_iter(struct kiocb *iocb, struct iov_iter *to, ssize_t *result)
{
	return false;
}

static inline bool efuse_write_iter(struct kiocb *iocb, struct iov_iter *from, ssize_t *result)
{
	return false;
}
#endif

/* These come with every look-up and request for attributes: where there are no notes, they cost nothing. */
bool __efuse_entry_stands(struct inode *dir, const struct efuse_note *note);
bool __efuse_attr_stands(struct inode *inode, u32 request_mask, u64 *version);
void __efuse_hold_entry(struct dentry *entry, struct efuse_note *note, const struct fuse_args *args);
void __efuse_hold(struct inode *inode, const struct fuse_args *args, const struct fuse_attr *attr);
void __efuse_note_clear(struct efuse_note *note);

static inline bool efuse_entry_stands(struct inode *dir, const struct efuse_note *note)
{
	return READ_ONCE(note->holder) && __efuse_entry_stands(dir, note);
}

static inline bool efuse_attr_stands(struct inode *inode, u32 request_mask, u64 *version)
{
	return READ_ONCE(get_fuse_inode(inode)->efuse_note.holder) && __efuse_attr_stands(inode, request_mask, version);
}

/* Is the answer a program's, with notes? */
static inline bool efuse_noted(const struct fuse_args *args)
{
	return args->efuse.holder && args->efuse.flags & EFUSE_ARGS_ANSWERED;
}

static inline void efuse_hold_entry(struct dentry *entry, struct efuse_note *note, const struct fuse_args *args)
{
	if (efuse_noted(args))
		__efuse_hold_entry(entry, note, args);
}

static inline void efuse_hold(struct inode *inode, const struct fuse_args *args, const struct fuse_attr *attr)
{
	if (efuse_noted(args))
		__efuse_hold(inode, args, attr);
}

static inline void efuse_note_clear(struct efuse_note *note)
{
	if (note->holder)
		__efuse_note_clear(note);
}

/* Has nobody changed the inode's attributes since efuse_attr_stands()? */
static inline bool efuse_attr_same(struct inode *inode, u64 version)
{
	/* what was read of them comes before */
	smp_rmb();
	return READ_ONCE(get_fuse_inode(inode)->attr_version) == version;
}

u64 efuse_unique(void);
unsigned int efuse_select_queue(struct fuse_req *req, struct fuse_ring *ring, unsigned int cpu);

long efuse_dev_ioctl(struct file *file, unsigned int cmd, void __user *argp);
void efuse_conn_gone(struct fuse_conn *fc);
void efuse_inode_free(struct fuse_inode *fi);

#endif
