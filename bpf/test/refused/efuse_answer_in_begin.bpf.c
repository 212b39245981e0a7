// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a request is answered by the hook that only watches. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/begin")
int EFUSE_HOOK(refused_program)
{
	return bpf_efuse_reply_size(ctx, 1);
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .begin = (void *)refused_program, .name = "refused" };
