// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a field of the request is written to. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/getattr")
int EFUSE_HOOK(refused_program)
{
	ctx->nodeid = 7;
	return EFUSE_PASS;
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .getattr = (void *)refused_program, .name = "refused" };
