// SPDX-License-Identifier: GPL-2.0-only
/* Tells what bpf_efuse_inode() and bpf_efuse_who() say when attributes are asked for, and passes. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

/* 0: the request's own */
__u64 wanted;
__u64 who;
__u32 known;
__u32 times;

SEC("struct_ops/getattr")
int EFUSE_HOOK(about_getattr)
{
	known = bpf_efuse_inode(ctx, wanted ? wanted : ctx->nodeid);
	who = bpf_efuse_who(ctx);
	times++;
	return EFUSE_PASS;
}

SEC(".struct_ops.link")
struct efuse_ops about = {
	.getattr = (void *)about_getattr,
	.name = "about",
};
