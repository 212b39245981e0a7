// SPDX-License-Identifier: GPL-2.0-only
/*
 * A directory that no server knows, /tree, with a file and a symbolic link in it: every hook that may answer does.
 * `answers` counts by hook.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/fuse.h>
#include <linux/stat.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

enum { TREE = 1, DATA, LINK };

#define NODEID(number) (EFUSE_SYNTHETIC_BASE + (number))
#define NUMBER(nodeid) ((nodeid) - EFUSE_SYNTHETIC_BASE)
#define LENGTH(text) (sizeof(text) - 1)

/* What calls read must be memory that a program may write to. */
char content[] = "written by a program\n";
char target[] = "data";
char value[] = "of a program";

/* In the order of struct efuse_ops. */
__u64 answers[12];
enum { LOOKUP, GETATTR, ACCESS, GETXATTR, READLINK, OPEN, FLUSH, RELEASE, OPENDIR, READDIR, RELEASEDIR, STATFS };
__u64 reads;

static __always_inline int answered(__u32 hook)
{
	__sync_fetch_and_add(&answers[hook], 1);
	return EFUSE_DONE;
}

static __always_inline int is_ours(struct efuse_ctx *ctx)
{
	return NUMBER(ctx->nodeid) >= TREE && NUMBER(ctx->nodeid) <= LINK;
}

static __always_inline void fill_attr(struct fuse_attr *attr, __u64 nodeid)
{
	attr->ino = nodeid;
	attr->nlink = 1;
	switch (NUMBER(nodeid)) {
	case TREE:
		attr->mode = S_IFDIR | 0755;
		attr->nlink = 2;
		break;
	case DATA:
		attr->mode = S_IFREG | 0444;
		attr->size = LENGTH(content);
		break;
	default:
		attr->mode = S_IFLNK | 0777;
		attr->size = LENGTH(target);
	}
}

SEC("struct_ops/lookup")
int EFUSE_HOOK(tree_lookup)
{
	struct fuse_entry_out entry = {};
	char name[16];

	if (bpf_efuse_name(ctx, 0, name, sizeof(name)) < 0)
		return EFUSE_PASS;
	if (ctx->nodeid == FUSE_ROOT_ID) {
		if (bpf_strncmp(name, sizeof(name), "tree"))
			return EFUSE_PASS;
		entry.nodeid = NODEID(TREE);
	} else if (ctx->nodeid == NODEID(TREE)) {
		if (!bpf_strncmp(name, sizeof(name), "data"))
			entry.nodeid = NODEID(DATA);
		else if (!bpf_strncmp(name, sizeof(name), "link"))
			entry.nodeid = NODEID(LINK);
		/* else: no such file */
	} else {
		return EFUSE_PASS;
	}
	if (entry.nodeid)
		fill_attr(&entry.attr, entry.nodeid);
	return bpf_efuse_reply_entry(ctx, &entry, sizeof(entry)) ? EFUSE_PASS : answered(LOOKUP);
}

SEC("struct_ops/getattr")
int EFUSE_HOOK(tree_getattr)
{
	struct fuse_attr_out attr = {};

	if (!is_ours(ctx))
		return EFUSE_PASS;
	fill_attr(&attr.attr, ctx->nodeid);
	return bpf_efuse_reply_attr(ctx, &attr, sizeof(attr)) ? EFUSE_PASS : answered(GETATTR);
}

SEC("struct_ops/access")
int EFUSE_HOOK(tree_access)
{
	if (!is_ours(ctx))
		return EFUSE_PASS;
	answered(ACCESS);
	/* W_OK */
	return ctx->flags & 2 ? -EROFS : EFUSE_DONE;
}

SEC("struct_ops/getxattr")
int EFUSE_HOOK(tree_getxattr)
{
	char name[16];
	int result;

	if (!is_ours(ctx))
		return EFUSE_PASS;
	answered(GETXATTR);
	if (bpf_efuse_name(ctx, 0, name, sizeof(name)) < 0 || bpf_strncmp(name, sizeof(name), "user.bpf"))
		return -ENODATA;
	if (ctx->size)
		result = bpf_efuse_reply_data(ctx, 0, value, LENGTH(value));
	else
		result = bpf_efuse_reply_size(ctx, LENGTH(value));
	return result ? result : EFUSE_DONE;
}

SEC("struct_ops/readlink")
int EFUSE_HOOK(tree_readlink)
{
	if (!is_ours(ctx) || bpf_efuse_reply_data(ctx, 0, target, LENGTH(target)))
		return EFUSE_PASS;
	return answered(READLINK);
}

static __always_inline int open(struct efuse_ctx *ctx, __u32 hook)
{
	return !is_ours(ctx) || bpf_efuse_reply_open(ctx, 0) ? EFUSE_PASS : answered(hook);
}

SEC("struct_ops/open")
int EFUSE_HOOK(tree_open)
{
	return open(ctx, OPEN);
}

SEC("struct_ops/opendir")
int EFUSE_HOOK(tree_opendir)
{
	return open(ctx, OPENDIR);
}

SEC("struct_ops/flush")
int EFUSE_HOOK(tree_flush)
{
	return is_ours(ctx) ? answered(FLUSH) : EFUSE_PASS;
}

SEC("struct_ops/release")
int EFUSE_HOOK(tree_release)
{
	return is_ours(ctx) ? answered(RELEASE) : EFUSE_PASS;
}

SEC("struct_ops/releasedir")
int EFUSE_HOOK(tree_releasedir)
{
	return is_ours(ctx) ? answered(RELEASEDIR) : EFUSE_PASS;
}

static __always_inline int add(struct efuse_ctx *ctx, __u32 number, char *name, __u32 length)
{
	struct fuse_dirent dirent = { .ino = NODEID(number), .off = number, .type = number == DATA ? 8 : 10 };

	return bpf_efuse_reply_dirent(ctx, &dirent, sizeof(dirent), name, length);
}

SEC("struct_ops/readdir")
int EFUSE_HOOK(tree_readdir)
{
	char data[] = "data", link[] = "link";

	if (!is_ours(ctx) || bpf_efuse_reply_size(ctx, 0))
		return EFUSE_PASS;
	if (ctx->offset < DATA && add(ctx, DATA, data, LENGTH(data)))
		return -EIO;
	if (ctx->offset < LINK && add(ctx, LINK, link, LENGTH(link)))
		return -EIO;
	return answered(READDIR);
}

SEC("struct_ops/statfs")
int EFUSE_HOOK(tree_statfs)
{
	struct fuse_statfs_out out = { .st = { .blocks = 4242, .bsize = 4096, .frsize = 4096, .namelen = 255 } };

	return bpf_efuse_reply_statfs(ctx, &out, sizeof(out)) ? EFUSE_PASS : answered(STATFS);
}

SEC("struct_ops/read")
int EFUSE_HOOK(tree_read)
{
	if (!is_ours(ctx))
		return EFUSE_PASS;
	__sync_fetch_and_add(&reads, 1);
	if (ctx->offset)
		return bpf_efuse_reply_size(ctx, 0) ? -EIO : EFUSE_DONE;
	return bpf_efuse_reply_data(ctx, 0, content, LENGTH(content)) ? -EIO : EFUSE_DONE;
}

SEC(".struct_ops.link")
struct efuse_ops tree = {
	.lookup = (void *)tree_lookup,
	.getattr = (void *)tree_getattr,
	.access = (void *)tree_access,
	.getxattr = (void *)tree_getxattr,
	.readlink = (void *)tree_readlink,
	.open = (void *)tree_open,
	.flush = (void *)tree_flush,
	.release = (void *)tree_release,
	.opendir = (void *)tree_opendir,
	.readdir = (void *)tree_readdir,
	.releasedir = (void *)tree_releasedir,
	.statfs = (void *)tree_statfs,
	.read = (void *)tree_read,
	.name = "tree",
};
