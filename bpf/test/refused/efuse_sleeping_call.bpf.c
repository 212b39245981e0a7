// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a call that sleeps in a program that may not. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/read")
int EFUSE_HOOK(refused_program)
{
	return bpf_efuse_read_backing(ctx, 0, ctx->size);
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .read = (void *)refused_program, .name = "refused" };
