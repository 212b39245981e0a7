// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a call is made to write to an argument, in place. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/lookup")
int EFUSE_HOOK(refused_program)
{
	const __u8 *in = bpf_efuse_arg_ptr(ctx, 1, 2);

	return in && bpf_efuse_name(ctx, 0, (void *)in, 2) > 0 ? EFUSE_PASS : EFUSE_DONE;
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .lookup = (void *)refused_program, .name = "refused" };
