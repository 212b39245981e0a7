// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a program that may sleep for a hook that may not. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops.s/getattr")
int EFUSE_HOOK(refused_program)
{
	return EFUSE_PASS;
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .getattr = (void *)refused_program, .name = "refused" };
