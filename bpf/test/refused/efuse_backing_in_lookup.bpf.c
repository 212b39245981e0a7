// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: the backing file is read for a LOOKUP. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/lookup")
int EFUSE_HOOK(refused_program)
{
	return bpf_efuse_backing_size(ctx) > 0;
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .lookup = (void *)refused_program, .name = "refused" };
