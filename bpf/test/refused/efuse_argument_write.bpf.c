// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: an argument is written to in place. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/getattr")
int EFUSE_HOOK(refused_program)
{
	__u8 *in = (__u8 *)bpf_efuse_arg_ptr(ctx, 0, 16);

	if (in)
		*in = 1;
	return EFUSE_PASS;
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .getattr = (void *)refused_program, .name = "refused" };
