// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel holds already, and whether it still stands.
 *
 * Where an inode's attributes, or a name's meaning, are past their time-out, fs/fuse asks again and nearly always
 * learns what it knew. A program that knows what has changed can say so before there is a request: the hook
 * `stands`. It is asked only about what it has itself given in an earlier answer (bpf_efuse_hold()), and is told
 * what it noted then.
 *
 * Attributes: the inode must have exactly those of the answer when the note is taken, and whatever else fs/fuse
 * learns of it clears the note (fuse_change_attributes_common()). Names: a dentry stays with its inode and its name
 * as long as no request changes what the name means, which is for the program to know.
 */
#include <linux/dcache.h>
#include <linux/log2.h>
#include <linux/seqlock.h>
#include <linux/srcu.h>
#include "fuse_i.h"
#include "efuse_i.h"

static void efuse_note_take(struct efuse_note *note, u32 holder, const u64 *words)
{
	raw_write_seqcount_begin(&note->seq);
	note->holder = holder;
	memcpy(note->words, words, sizeof(note->words));
	raw_write_seqcount_end(&note->seq);
}

/* The inode's attributes are about to be others. */
void __efuse_note_clear(struct efuse_note *note)
{
	raw_write_seqcount_begin(&note->seq);
	WRITE_ONCE(note->holder, 0);
	raw_write_seqcount_end(&note->seq);
}

/* Returns: whose note it is, copied to @words; 0: there is none */
static u32 efuse_note_read(const struct efuse_note *note, u64 *words)
{
	/* odd while it is written: then it is as good as none */
	unsigned int seq = raw_seqcount_begin(&note->seq);
	u32 holder = READ_ONCE(note->holder);

	memcpy(words, note->words, sizeof(note->words));
	return read_seqcount_retry(&note->seq, seq) ? 0 : holder;
}

/* Are the inode's attributes these? */
static bool efuse_attr_equal(struct inode *inode, const struct fuse_attr *attr)
{
	struct fuse_inode *fi = get_fuse_inode(inode);
	struct user_namespace *ns = get_fuse_conn(inode)->user_ns;
	u32 cached = fuse_get_cache_mask(inode);

	lockdep_assert_held(&fi->lock);
	return fi->orig_ino == attr->ino && (fi->orig_i_mode & 07777) == (attr->mode & 07777) &&
	       inode->i_nlink == attr->nlink && uid_eq(inode->i_uid, make_kuid(ns, attr->uid)) &&
	       gid_eq(inode->i_gid, make_kgid(ns, attr->gid)) && inode->i_blocks == attr->blocks &&
	       fi->cached_i_blkbits == (attr->blksize ? ilog2(attr->blksize) : inode->i_sb->s_blocksize_bits) &&
	       inode_get_atime_sec(inode) == attr->atime && inode_get_atime_nsec(inode) == attr->atimensec &&
	       /* what the kernel itself is the authority for is right in any case */
	       (cached & STATX_SIZE || i_size_read(inode) == attr->size) &&
	       (cached & STATX_MTIME || (inode_get_mtime_sec(inode) == attr->mtime &&
					 inode_get_mtime_nsec(inode) == attr->mtimensec)) &&
	       (cached & STATX_CTIME || (inode_get_ctime_sec(inode) == attr->ctime &&
					 inode_get_ctime_nsec(inode) == attr->ctimensec));
}

/**
 * __efuse_hold - notes with an inode that its attributes are those of a program's answer
 * @inode: that has taken them, or newer ones
 * @args: GETATTR, STATX or LOOKUP, answered by a program that notes
 * @attr: of the answer
 */
void __efuse_hold(struct inode *inode, const struct fuse_args *args, const struct fuse_attr *attr)
{
	struct fuse_inode *fi = get_fuse_inode(inode);

	spin_lock(&fi->lock);
	if (efuse_attr_equal(inode, attr))
		efuse_note_take(&fi->efuse_note, args->efuse.holder, args->efuse.attr_note);
	spin_unlock(&fi->lock);
}

/**
 * __efuse_hold_entry - notes with a dentry that its name means what a program's answer says
 * @entry: dentry
 * @note: the dentry's
 * @args: LOOKUP, answered by a program that notes
 */
void __efuse_hold_entry(struct dentry *entry, struct efuse_note *note, const struct fuse_args *args)
{
	spin_lock(&entry->d_lock);
	efuse_note_take(note, args->efuse.holder, args->efuse.name_note);
	spin_unlock(&entry->d_lock);
}

static bool efuse_stands(u32 opcode, struct inode *inode, const struct efuse_note *note)
{
	struct fuse_conn *fc = get_fuse_conn(inode);
	struct efuse_call call __uninitialized;
	u32 holder;

	if (!efuse_ready(fc))
		return false;
	/* what a program can reach from here: the kfuncs that read and write the rest are not for this hook */
	memset(&call.ctx, 0, offsetof(typeof(call.ctx), note));
	call.ctx.genuine = NULL;
	call.args = NULL;
	holder = efuse_note_read(note, call.ctx.note);
	if (!holder)
		return false;
	call.ctx.opcode = opcode;
	call.ctx.nodeid = get_node_id(inode);
	call.ctx.flags = inode->i_mode & S_IFMT;
	call.ctx.uid = FUSE_INVALID_UIDGID;
	call.ctx.gid = FUSE_INVALID_UIDGID;
	call.fc = fc;
	call.fm = get_fuse_mount(inode);
	call.found = inode;
	call.found_nodeid = call.ctx.nodeid;
	return efuse_run_holder(&call, EFUSE_STANDS, holder) == EFUSE_DONE;
}

/**
 * __efuse_attr_stands - may the attributes that the inode has be given again?
 * @inode: maybe under RCU
 * @request_mask: what is wanted of them
 * @version: to be compared once they have been read, by efuse_attr_same(); or NULL
 */
bool __efuse_attr_stands(struct inode *inode, u32 request_mask, u64 *version)
{
	struct fuse_inode *fi = get_fuse_inode(inode);

	if (request_mask & STATX_BTIME && !test_bit(FUSE_I_BTIME, &fi->state))
		return false;
	if (version) {
		*version = READ_ONCE(fi->attr_version);
		/* the note is of these attributes, or of later ones */
		smp_rmb();
	}
	return efuse_stands(request_mask & STATX_BTIME ? FUSE_STATX : FUSE_GETATTR, inode, &fi->efuse_note);
}

/**
 * __efuse_entry_stands - does a name still mean what the kernel thinks?
 * @dir: directory, maybe under RCU
 * @note: of the name's dentry
 */
bool __efuse_entry_stands(struct inode *dir, const struct efuse_note *note)
{
	return efuse_stands(FUSE_LOOKUP, dir, note);
}
