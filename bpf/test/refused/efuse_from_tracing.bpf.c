// SPDX-License-Identifier: GPL-2.0-only
/* To be refused: a tracing program calls what only hooks may call. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../../efuse.h"

char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sched_switch")
int refused_program(unsigned long long *arguments)
{
	return bpf_efuse_reply_size((struct efuse_ctx *)arguments[1], 1);
}
