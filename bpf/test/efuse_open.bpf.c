// SPDX-License-Identifier: GPL-2.0-only
/* Files and directories are opened and closed without the server; it hears of those that it is asked to read. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

__u64 opened, released, flushed;

static __always_inline int answer_open(struct efuse_ctx *ctx)
{
	if (bpf_efuse_reply_open(ctx, FOPEN_KEEP_CACHE))
		return EFUSE_PASS;
	__sync_fetch_and_add(&opened, 1);
	return EFUSE_DONE;
}

SEC("struct_ops/open")
int EFUSE_HOOK(open_open)
{
	return answer_open(ctx);
}

SEC("struct_ops/opendir")
int EFUSE_HOOK(open_opendir)
{
	return answer_open(ctx);
}

SEC("struct_ops/flush")
int EFUSE_HOOK(open_flush)
{
	__sync_fetch_and_add(&flushed, 1);
	return EFUSE_DONE;
}

SEC("struct_ops/release")
int EFUSE_HOOK(open_release)
{
	__sync_fetch_and_add(&released, 1);
	return EFUSE_PASS;
}

SEC(".struct_ops.link")
struct efuse_ops opener = {
	.open = (void *)open_open,
	.opendir = (void *)open_opendir,
	.flush = (void *)open_flush,
	.release = (void *)open_release,
	.name = "opener",
};
