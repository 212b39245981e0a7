// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: another hook's program is called in place of this one. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} others SEC(".maps");

SEC("struct_ops/begin")
int refused_program(unsigned long long *arguments)
{
	bpf_tail_call(arguments, &others, 0);
	return EFUSE_PASS;
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .begin = (void *)refused_program, .name = "refused" };
