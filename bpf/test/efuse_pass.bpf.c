// SPDX-License-Identifier: GPL-2.0-only
/* Every hook there is, each of which counts and passes. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

/* In the order of struct efuse_ops. */
enum { LOOKUP, GETATTR, ACCESS, GETXATTR, READLINK, OPEN, FLUSH, RELEASE, OPENDIR, READDIR, RELEASEDIR, STATFS, READ,
	WRITE, BEGIN, REPLY, SELECT_QUEUE, STANDS, HOOKS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HOOKS);
	__type(key, __u32);
	__type(value, __u64);
} calls SEC(".maps");

static __always_inline int count(__u32 hook)
{
	__u64 *value = bpf_map_lookup_elem(&calls, &hook);

	if (value)
		*value += 1;
	return EFUSE_PASS;
}

#define HOOK(section, name, number) \
	SEC(section "/" #name) int EFUSE_HOOK(pass_##name) { return count(number); }

HOOK("struct_ops", lookup, LOOKUP)
HOOK("struct_ops", getattr, GETATTR)
HOOK("struct_ops", access, ACCESS)
HOOK("struct_ops", getxattr, GETXATTR)
HOOK("struct_ops", readlink, READLINK)
HOOK("struct_ops", open, OPEN)
HOOK("struct_ops", flush, FLUSH)
HOOK("struct_ops", release, RELEASE)
HOOK("struct_ops", opendir, OPENDIR)
HOOK("struct_ops", readdir, READDIR)
HOOK("struct_ops", releasedir, RELEASEDIR)
HOOK("struct_ops", statfs, STATFS)
HOOK("struct_ops.s", read, READ)
HOOK("struct_ops.s", write, WRITE)
HOOK("struct_ops", begin, BEGIN)
HOOK("struct_ops", reply, REPLY)
HOOK("struct_ops", select_queue, SELECT_QUEUE)
HOOK("struct_ops", stands, STANDS)

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
