// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a name is copied behind the end of its buffer. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/lookup")
int EFUSE_HOOK(refused_program)
{
	char name[16];

	return bpf_efuse_name(ctx, 0, name, sizeof(name) + 16) > 0 ? EFUSE_PASS : EFUSE_DONE;
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .lookup = (void *)refused_program, .name = "refused" };
