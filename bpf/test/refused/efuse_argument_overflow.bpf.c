// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: an argument is read behind the bytes that were asked for. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/getattr")
int EFUSE_HOOK(refused_program)
{
	const __u8 *in = bpf_efuse_arg_ptr(ctx, 0, 16);

	return in && in[16] ? EFUSE_DONE : EFUSE_PASS;
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .getattr = (void *)refused_program, .name = "refused" };
