// SPDX-License-Identifier: GPL-2.0-only
/* Counts what goes to the server, at both ends, in variables that `efuse bpf list` shows. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

__u64 begun;
__u64 replied;
__u32 errors;
/* No counter. */
char remark[16];

SEC("struct_ops/begin")
int EFUSE_HOOK(tally_begin)
{
	__sync_fetch_and_add(&begun, 1);
	return 0;
}

SEC("struct_ops/reply")
int EFUSE_HOOK(tally_reply)
{
	__sync_fetch_and_add(&replied, 1);
	if (ctx->error)
		__sync_fetch_and_add(&errors, 1);
	remark[0] = 'x';
	return 0;
}

SEC(".struct_ops.link")
struct efuse_ops tally = {
	.begin = (void *)tally_begin,
	.reply = (void *)tally_reply,
	.name = "tally",
};
