// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a context of the program's own making is handed over. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/getattr")
int EFUSE_HOOK(refused_program)
{
	struct efuse_ctx forged = {};

	return bpf_efuse_reply_size(&forged, 1);
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .getattr = (void *)refused_program, .name = "refused" };
