// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs that the verifier accepts and that do everything wrong. Whatever they do, applications see errors or the
 * server's answers, and the kernel goes on. `mode` says what to do next; `refused` counts calls that returned errors,
 * `accepted` those that did not.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/fuse.h>
#include <linux/stat.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

__u64 refused, accepted;

/* newer than some machines' headers */
#ifndef FOPEN_PASSTHROUGH
#define FOPEN_PASSTHROUGH (1 << 7)
#endif

/* one of the modes below */
__u32 mode;

enum {
	WRONG_SIZE, WRONG_TYPE, NO_TYPE, HUGE_SIZE, WRONG_NSEC, WRONG_NODEID, WRONG_GENERATION, TWICE, WRONG_REQUEST,
	PASS_AFTER_REPLY, ERROR_AFTER_REPLY, RETURN_ENOSYS, RETURN_RESTART, RETURN_LARGE, DONE_WITHOUT_REPLY,
	HUGE_REPLY, GAPS, SUBMOUNT, BAD_NAMES, LOOPS, AROUND, AROUND_ELSEWHERE, MODES,
};

static long turn(__u32 index, void *context)
{
	return 0;
}

/* Notes what a call returned. */
static __always_inline void note(int result)
{
	__sync_fetch_and_add(result < 0 ? &refused : &accepted, 1);
}

static __always_inline void fill(struct fuse_attr *attr, __u32 type)
{
	attr->ino = 2;
	attr->mode = type | 0644;
	attr->nlink = 1;
	attr->size = 100;
}

/* The returns that are no answers, for every hook. */
static __always_inline int wrong_return(void)
{
	switch (mode) {
	case RETURN_ENOSYS:
		return -ENOSYS;
	case RETURN_RESTART:
		return -512;
	case RETURN_LARGE:
		return 0x7fffffff;
	case DONE_WITHOUT_REPLY:
		return EFUSE_DONE;
	default:
		return EFUSE_PASS;
	}
}

SEC("struct_ops/getattr")
int EFUSE_HOOK(adversary_getattr)
{
	struct {
		struct fuse_attr_out out;
		char more[64];
	} reply = {};
	struct fuse_entry_out entry = { .nodeid = 2 };
	struct fuse_dirent dirent = { .ino = 5, .off = 1 };

	fill(&reply.out.attr, S_IFREG);
	switch (mode) {
	case WRONG_SIZE:
		note(bpf_efuse_reply_attr(ctx, &reply, sizeof(reply)));
		note(bpf_efuse_reply_attr(ctx, &reply, 1));
		return EFUSE_DONE;
	case WRONG_TYPE:
		reply.out.attr.mode = S_IFSOCK | 0644;
		note(bpf_efuse_reply_attr(ctx, &reply.out, sizeof(reply.out)));
		return EFUSE_DONE;
	case NO_TYPE:
		reply.out.attr.mode = 0xffffffff;
		note(bpf_efuse_reply_attr(ctx, &reply.out, sizeof(reply.out)));
		return EFUSE_DONE;
	case HUGE_SIZE:
		reply.out.attr.size = 1ULL << 63;
		note(bpf_efuse_reply_attr(ctx, &reply.out, sizeof(reply.out)));
		return EFUSE_DONE;
	case WRONG_NSEC:
		reply.out.attr_valid_nsec = 1000000000;
		note(bpf_efuse_reply_attr(ctx, &reply.out, sizeof(reply.out)));
		return EFUSE_DONE;
	case WRONG_REQUEST:
		fill(&entry.attr, S_IFREG);
		note(bpf_efuse_reply_entry(ctx, &entry, sizeof(entry)));
		note(bpf_efuse_reply_open(ctx, 0));
		note(bpf_efuse_hold(ctx, 1, &entry, 32));
		note(bpf_efuse_hold(ctx, 0, &entry, 8));
		note(bpf_efuse_reply_statx(ctx, &reply, sizeof(reply)));
		note(bpf_efuse_reply_statfs(ctx, &reply, sizeof(reply)));
		note(bpf_efuse_reply_data(ctx, 0, &reply, sizeof(reply)));
		note(bpf_efuse_reply_size(ctx, 10));
		note(bpf_efuse_reply_dirent(ctx, &dirent, sizeof(dirent), &entry, 4));
		note(bpf_efuse_name(ctx, 0, &reply, sizeof(reply)));
		note(bpf_efuse_arg(ctx, 100, 0, &reply, sizeof(reply)));
		note(bpf_efuse_read_around(ctx, 0, 4096));
		return EFUSE_DONE;
	case PASS_AFTER_REPLY:
		reply.out.attr.size = 4242;
		if (ctx->nodeid == 2)
			note(bpf_efuse_reply_attr(ctx, &reply.out, sizeof(reply.out)));
		return EFUSE_PASS;
	case ERROR_AFTER_REPLY:
		if (ctx->nodeid != 2)
			return EFUSE_PASS;
		note(bpf_efuse_reply_attr(ctx, &reply.out, sizeof(reply.out)));
		return -EXDEV;
	case LOOPS:
		/* as long as a verifier lets it */
		for (int i = 0; i < 1000; i++)
			bpf_efuse_reply_attr(ctx, &reply.out, sizeof(reply.out));
		bpf_loop(1 << 18, turn, 0, 0);
		return EFUSE_PASS;
	default:
		return wrong_return();
	}
}

SEC("struct_ops/lookup")
int EFUSE_HOOK(adversary_lookup)
{
	struct fuse_entry_out entry = { .nodeid = 2 };

	fill(&entry.attr, S_IFREG);
	switch (mode) {
	case WRONG_SIZE:
		note(bpf_efuse_reply_entry(ctx, &entry, sizeof(entry) - 1));
		return EFUSE_DONE;
	case WRONG_TYPE:
		entry.attr.mode = S_IFDIR | 0755;
		note(bpf_efuse_reply_entry(ctx, &entry, sizeof(entry)));
		return EFUSE_DONE;
	case NO_TYPE:
		entry.attr.mode = 0;
		note(bpf_efuse_reply_entry(ctx, &entry, sizeof(entry)));
		return EFUSE_DONE;
	case HUGE_SIZE:
		entry.attr.size = ~0ULL;
		note(bpf_efuse_reply_entry(ctx, &entry, sizeof(entry)));
		return EFUSE_DONE;
	case WRONG_NSEC:
		entry.entry_valid_nsec = ~0U;
		note(bpf_efuse_reply_entry(ctx, &entry, sizeof(entry)));
		return EFUSE_DONE;
	case WRONG_NODEID:
		/* one that nobody has heard of, and the root */
		entry.nodeid = 987654321;
		note(bpf_efuse_reply_entry(ctx, &entry, sizeof(entry)));
		entry.nodeid = FUSE_ROOT_ID;
		entry.attr.mode = S_IFDIR | 0755;
		note(bpf_efuse_reply_entry(ctx, &entry, sizeof(entry)));
		return EFUSE_DONE;
	case WRONG_GENERATION:
		entry.generation = 77;
		note(bpf_efuse_reply_entry(ctx, &entry, sizeof(entry)));
		return EFUSE_DONE;
	case SUBMOUNT:
		entry.attr.flags = FUSE_ATTR_SUBMOUNT;
		note(bpf_efuse_reply_entry(ctx, &entry, sizeof(entry)));
		return EFUSE_DONE;
	case TWICE:
		bpf_efuse_reply_entry(ctx, &entry, sizeof(entry));
		note(bpf_efuse_reply_entry(ctx, &entry, sizeof(entry)));
		return EFUSE_PASS;
	case PASS_AFTER_REPLY:
		bpf_efuse_reply_entry(ctx, &entry, sizeof(entry));
		return EFUSE_PASS;
	default:
		return wrong_return();
	}
}

SEC("struct_ops/read")
int EFUSE_HOOK(adversary_read)
{
	char block[64] = {};

	switch (mode) {
	case HUGE_REPLY:
		note(bpf_efuse_reply_data(ctx, ctx->size, block, sizeof(block)));
		note(bpf_efuse_reply_data(ctx, ~0U, block, sizeof(block)));
		note(bpf_efuse_reply_data(ctx, ctx->size - 1, block, 2));
		note(bpf_efuse_reply_size(ctx, ctx->size + 1));
		note(bpf_efuse_reply_size(ctx, ~0U));
		note(bpf_efuse_backing_size(ctx) < 0 ? -1 : 0);
		return EFUSE_DONE;
	case GAPS:
		/* one byte at the end of the first 3000, and a little beyond: the rest must be zero */
		block[0] = 'x';
		bpf_efuse_reply_data(ctx, 2999, block, 1);
		bpf_efuse_reply_size(ctx, 3010);
		return EFUSE_DONE;
	case PASS_AFTER_REPLY:
		bpf_efuse_reply_data(ctx, 10, block, sizeof(block));
		return EFUSE_PASS;
	default:
		return wrong_return();
	}
}

SEC("struct_ops/readdir")
int EFUSE_HOOK(adversary_readdir)
{
	char slash[] = "a/b", nul[] = "a\0b";
	struct fuse_dirent dirent = { .ino = 5, .off = 1, .namelen = ~0U };
	char name[256];

	switch (mode) {
	case BAD_NAMES:
		note(bpf_efuse_reply_dirent(ctx, &dirent, sizeof(dirent), slash, 3));
		note(bpf_efuse_reply_dirent(ctx, &dirent, sizeof(dirent), nul, 3));
		note(bpf_efuse_reply_dirent(ctx, &dirent, sizeof(dirent), nul, 0));
		note(bpf_efuse_reply_dirent(ctx, &dirent, 1, slash, 1));
		return ctx->offset ? EFUSE_PASS : EFUSE_DONE;
	case HUGE_REPLY:
		/* until the buffer is full */
		__builtin_memset(name, 'n', sizeof(name));
		for (int i = 0; i < 1000; i++)
			if (bpf_efuse_reply_dirent(ctx, &dirent, sizeof(dirent), name, 200)) {
				note(-1);
				break;
			}
		return ctx->offset ? EFUSE_PASS : EFUSE_DONE;
	default:
		return wrong_return();
	}
}

SEC("struct_ops/open")
int EFUSE_HOOK(adversary_open)
{
	switch (mode) {
	case WRONG_SIZE:
		note(bpf_efuse_reply_open(ctx, ~0U));
		note(bpf_efuse_reply_open(ctx, FOPEN_PASSTHROUGH));
		return EFUSE_DONE;
	case ERROR_AFTER_REPLY:
		bpf_efuse_reply_open(ctx, 0);
		return -EXDEV;
	case PASS_AFTER_REPLY:
		bpf_efuse_reply_open(ctx, 0);
		return EFUSE_PASS;
	default:
		return wrong_return();
	}
}

SEC("struct_ops/readlink")
int EFUSE_HOOK(adversary_readlink)
{
	char block[64];

	__builtin_memset(block, 'x', sizeof(block));
	switch (mode) {
	case HUGE_REPLY:
		/* as long as a link can be, with no byte to spare */
		for (int i = 0; i < 63; i++)
			note(bpf_efuse_reply_data(ctx, i * sizeof(block), block, sizeof(block)));
		note(bpf_efuse_reply_data(ctx, 63 * sizeof(block), block, sizeof(block)));
		note(bpf_efuse_reply_data(ctx, 63 * sizeof(block), block, sizeof(block) - 1));
		return EFUSE_DONE;
	case GAPS:
		note(bpf_efuse_reply_data(ctx, 2000, block, 1));
		return EFUSE_DONE;
	default:
		return wrong_return();
	}
}

SEC("struct_ops/getxattr")
int EFUSE_HOOK(adversary_getxattr)
{
	char block[64] = {};

	switch (mode) {
	case HUGE_REPLY:
		note(bpf_efuse_reply_size(ctx, 65537));
		note(bpf_efuse_reply_size(ctx, ~0U));
		note(bpf_efuse_reply_data(ctx, ctx->size, block, sizeof(block)));
		note(bpf_efuse_reply_size(ctx, ctx->size ? ctx->size : 65536));
		return EFUSE_DONE;
	case WRONG_REQUEST:
		note(bpf_efuse_reply_attr(ctx, block, sizeof(block)));
		note(bpf_efuse_reply_open(ctx, 0));
		return EFUSE_DONE;
	default:
		return wrong_return();
	}
}

SEC("struct_ops/statfs")
int EFUSE_HOOK(adversary_statfs)
{
	struct {
		struct fuse_statfs_out out;
		char more[8];
	} reply;

	__builtin_memset(&reply, 0xff, sizeof(reply));
	switch (mode) {
	case WRONG_SIZE:
		note(bpf_efuse_reply_statfs(ctx, &reply, sizeof(reply)));
		note(bpf_efuse_reply_statfs(ctx, &reply, 1));
		return EFUSE_DONE;
	case HUGE_SIZE:
		note(bpf_efuse_reply_statfs(ctx, &reply.out, sizeof(reply.out)));
		return EFUSE_DONE;
	default:
		return wrong_return();
	}
}

SEC("struct_ops/write")
int EFUSE_HOOK(adversary_write)
{
	char block[64] = {};

	switch (mode) {
	case HUGE_REPLY:
		note(bpf_efuse_reply_size(ctx, 1));
		note(bpf_efuse_reply_data(ctx, 0, block, sizeof(block)));
		note(bpf_efuse_arg(ctx, 1, ~0U, block, sizeof(block)));
		note(bpf_efuse_arg(ctx, 2, 0, block, sizeof(block)));
		return EFUSE_DONE;
	default:
		return wrong_return();
	}
}

SEC("struct_ops/select_queue")
int EFUSE_HOOK(adversary_select_queue)
{
	return mode * 0x1234567;
}

SEC("struct_ops/stands")
int EFUSE_HOOK(adversary_stands)
{
	char bytes[64];

	bpf_efuse_name(ctx, mode, bytes, sizeof(bytes));
	bpf_efuse_arg(ctx, 0, 0, bytes, sizeof(bytes));
	bpf_efuse_inode(ctx, ctx->nodeid + mode);
	bpf_efuse_who(ctx);
	if (bpf_efuse_scratch(ctx, 32))
		note(0);
	return mode * 0x1234567;
}

/* Ranges that are none, that nobody may ask for, that are not the caller's, or not all of what the caller wants. */
static __always_inline void around(struct efuse_ctx *ctx)
{
	switch (mode) {
	case AROUND:
		note(bpf_efuse_read_around(ctx, ctx->offset, 0));
		note(bpf_efuse_read_around(ctx, ~0ULL, 4096));
		note(bpf_efuse_read_around(ctx, (1ULL << 63) - 1, 1));
		note(bpf_efuse_read_around(ctx, 0, ~0U));
		note(bpf_efuse_read_around(ctx, 0, 1U << 31));
		/* the caller's last byte is missing, and where there is more than one, all that is asked for comes late */
		note(bpf_efuse_read_around(ctx, ctx->offset, ctx->size > 1 ? ctx->size - 1 : 1));
		note(bpf_efuse_read_around(ctx, ctx->offset, ctx->size));
		break;
	case AROUND_ELSEWHERE:
		/* far behind the end of the file, or one byte of it */
		note(bpf_efuse_read_around(ctx, ctx->offset & 4096 ? ctx->offset + (1ULL << 40) : 1, 1));
		break;
	}
}

SEC("struct_ops/begin")
int EFUSE_HOOK(adversary_begin)
{
	__u64 *scratch = (__u64 *)bpf_efuse_scratch(ctx, 32);

	if (scratch)
		scratch[3] = ctx->nodeid;
	/* nobody has said that the server can */
	if (!bpf_efuse_want(ctx, 1 << (mode & 31)))
		note(0);
	around(ctx);
	return -EPERM;
}

SEC("struct_ops/reply")
int EFUSE_HOOK(adversary_reply)
{
	__u64 *scratch = (__u64 *)bpf_efuse_scratch(ctx, 32);
	char bytes[64];

	bpf_efuse_reply_copy(ctx, ~0U, bytes, sizeof(bytes));
	bpf_efuse_reply_copy(ctx, 0, bytes, sizeof(bytes));
	bpf_efuse_reply_first(ctx, bytes, sizeof(bytes));
	bpf_efuse_reply_extra(ctx, bytes, sizeof(bytes));
	if (scratch && scratch[3] != ctx->nodeid)
		note(0);
	return -EPERM;
}

SEC(".struct_ops.link")
struct efuse_ops adversary = {
	.lookup = (void *)adversary_lookup,
	.getattr = (void *)adversary_getattr,
	.read = (void *)adversary_read,
	.readdir = (void *)adversary_readdir,
	.open = (void *)adversary_open,
	.readlink = (void *)adversary_readlink,
	.getxattr = (void *)adversary_getxattr,
	.statfs = (void *)adversary_statfs,
	.write = (void *)adversary_write,
	.select_queue = (void *)adversary_select_queue,
	.stands = (void *)adversary_stands,
	.begin = (void *)adversary_begin,
	.reply = (void *)adversary_reply,
	.name = "adversary",
};
