// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a request is answered after its server has done so. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("struct_ops/reply")
int EFUSE_HOOK(refused_program)
{
	char data[8] = {};

	return bpf_efuse_reply_data(ctx, 0, data, sizeof(data));
}

SEC(".struct_ops.link")
struct efuse_ops refused = { .reply = (void *)refused_program, .name = "refused" };
