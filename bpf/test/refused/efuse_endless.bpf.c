// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a loop that never ends. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/getattr")
int EFUSE_HOOK(refused_program)
{
	while (1)
		if (bpf_get_prandom_u32() == 7 && ctx->nodeid == 1)
			bpf_efuse_reply_size(ctx, 1);
	return EFUSE_PASS;
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .getattr = (void *)refused_program, .name = "refused" };
