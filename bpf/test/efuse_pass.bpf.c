// SPDX-License-Identifier: GPL-2.0-only
/* Every hook there is, each of which counts and passes. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

__u64 calls;

static __always_inline int count(void)
{
	__sync_fetch_and_add(&calls, 1);
	return EFUSE_PASS;
}

#define HOOK(section, name) \
	SEC(section "/" #name) int EFUSE_HOOK(pass_##name) { return count(); }

HOOK("struct_ops", lookup)
HOOK("struct_ops", getattr)
HOOK("struct_ops", access)
HOOK("struct_ops", getxattr)
HOOK("struct_ops", readlink)
HOOK("struct_ops", open)
HOOK("struct_ops", flush)
HOOK("struct_ops", release)
HOOK("struct_ops", opendir)
HOOK("struct_ops", readdir)
HOOK("struct_ops", releasedir)
HOOK("struct_ops", statfs)
HOOK("struct_ops.s", read)
HOOK("struct_ops.s", write)
HOOK("struct_ops", begin)
HOOK("struct_ops", reply)
HOOK("struct_ops", select_queue)
HOOK("struct_ops", stands)

SEC(".struct_ops.link")
struct efuse_ops pass = {
	.lookup = (void *)pass_lookup,
	.getattr = (void *)pass_getattr,
	.access = (void *)pass_access,
	.getxattr = (void *)pass_getxattr,
	.readlink = (void *)pass_readlink,
	.open = (void *)pass_open,
	.flush = (void *)pass_flush,
	.release = (void *)pass_release,
	.opendir = (void *)pass_opendir,
	.readdir = (void *)pass_readdir,
	.releasedir = (void *)pass_releasedir,
	.statfs = (void *)pass_statfs,
	.read = (void *)pass_read,
	.write = (void *)pass_write,
	.begin = (void *)pass_begin,
	.reply = (void *)pass_reply,
	.select_queue = (void *)pass_select_queue,
	.stands = (void *)pass_stands,
	.name = "pass",
};
