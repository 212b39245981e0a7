// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counts what goes to the server and what comes back, by operation, and checks what a program can see of both: that
 * scratch bytes stay with their request, and that answers can be read. With BPF the other way: `seen` has what the
 * last CREATE and GETATTR were answered with.
 */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

#define OPERATIONS 64
#define MARK 0x1234567890abcdefULL

__u64 begun[OPERATIONS], replied[OPERATIONS], failed[OPERATIONS];
/* replies whose scratch bytes are not those of their begin */
__u64 strange;
/* names that begin has read, of RENAME both */
char name[16], name2[16];
/* what GETATTR and CREATE were answered with */
__u64 getattr_size, create_nodeid;
__u32 create_reply_size;

/* The last READ's first bytes, and those of the last WRITE. */
char read_data[8], write_data[8];

static __always_inline __u32 number_of(struct efuse_ctx *ctx)
{
	return ctx->opcode < OPERATIONS ? ctx->opcode : 0;
}

SEC("struct_ops/begin")
int EFUSE_HOOK(watch_begin)
{
	__u64 *scratch = (__u64 *)bpf_efuse_scratch(ctx, 32);
	__u32 number = number_of(ctx);

	__sync_fetch_and_add(&begun[number & (OPERATIONS - 1)], 1);
	if (scratch) {
		scratch[0] = MARK;
		scratch[3] = ctx->nodeid;
	}
	if (ctx->opcode == FUSE_RENAME || ctx->opcode == FUSE_RENAME2) {
		bpf_efuse_name(ctx, 0, name, sizeof(name));
		bpf_efuse_name(ctx, 1, name2, sizeof(name2));
	}
	if (ctx->opcode == FUSE_WRITE)
		bpf_efuse_arg(ctx, 1, 0, write_data, sizeof(write_data));
	return EFUSE_PASS;
}

SEC("struct_ops/reply")
int EFUSE_HOOK(watch_reply)
{
	__u64 *scratch = (__u64 *)bpf_efuse_scratch(ctx, 32);
	__u32 number = number_of(ctx);
	struct fuse_entry_out entry;
	struct fuse_attr_out attr;

	__sync_fetch_and_add(&replied[number & (OPERATIONS - 1)], 1);
	if (ctx->error)
		__sync_fetch_and_add(&failed[number & (OPERATIONS - 1)], 1);
	if (!scratch || scratch[0] != MARK || scratch[3] != ctx->nodeid)
		__sync_fetch_and_add(&strange, 1);
	if (ctx->opcode == FUSE_GETATTR && bpf_efuse_reply_copy(ctx, 0, &attr, sizeof(attr)) == sizeof(attr))
		getattr_size = attr.attr.size;
	if (ctx->opcode == FUSE_CREATE && bpf_efuse_reply_first(ctx, &entry, sizeof(entry)) == sizeof(entry)) {
		create_nodeid = entry.nodeid;
		create_reply_size = ctx->reply_size;
	}
	if (ctx->opcode == FUSE_READ)
		bpf_efuse_reply_copy(ctx, 0, read_data, sizeof(read_data));
	return EFUSE_PASS;
}

SEC(".struct_ops.link")
struct efuse_ops watch = {
	.begin = (void *)watch_begin,
	.reply = (void *)watch_reply,
	.name = "watch",
};
