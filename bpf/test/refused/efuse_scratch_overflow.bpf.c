// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: memory behind the scratch bytes is written to. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/begin")
int EFUSE_HOOK(refused_program)
{
	__u8 *scratch = bpf_efuse_scratch(ctx, 32);

	if (scratch)
		((volatile __u8 *)scratch)[32] = 1;
	return EFUSE_PASS;
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .begin = (void *)refused_program, .name = "refused" };
