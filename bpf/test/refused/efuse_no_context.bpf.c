// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: no context is handed over at all. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/getattr")
int EFUSE_HOOK(refused_program)
{
	return bpf_efuse_reply_size((struct efuse_ctx *)0, 1);
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .getattr = (void *)refused_program, .name = "refused" };
