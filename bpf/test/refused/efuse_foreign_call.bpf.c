// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a call of another part of the kernel, for schedulers. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

extern __u32 scx_bpf_nr_cpu_ids(void) __ksym;

SEC("struct_ops/getattr")
int EFUSE_HOOK(refused_program)
{
	return scx_bpf_nr_cpu_ids() ? EFUSE_PASS : EFUSE_DONE;
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .getattr = (void *)refused_program, .name = "refused" };
