// SPDX-License-Identifier: GPL-2.0-only
/* The successor of efuse_tally: of its name, on one of its hooks and another. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

__u64 lookups;
__u64 begun;

SEC("struct_ops/lookup")
int EFUSE_HOOK(tally_lookup)
{
	__sync_fetch_and_add(&lookups, 1);
	return EFUSE_PASS;
}

SEC("struct_ops/begin")
int EFUSE_HOOK(tally_begin)
{
	__sync_fetch_and_add(&begun, 1);
	return 0;
}

SEC(".struct_ops.link")
struct efuse_ops tally = {
	.lookup = (void *)tally_lookup,
	.begin = (void *)tally_begin,
	.name = "tally",
};
