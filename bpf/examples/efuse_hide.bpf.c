// SPDX-License-Identifier: GPL-2.0-only
/*
 * Example: a policy that hides files by their names' ending, from everyone but one user.
 *
 * It fills `lookup`: the name is compared with `suffix`, and if it matches, the caller hears that there is no such
 * file, while the server is not asked. Other names pass.
 *
 *	efuse bpf attach /mnt efuse_hide.bpf.o --set suffix=.key --set owner=1000
 *
 * `suffix` and `owner` are knobs: they are set before loading. What it shows: reading a name, and answering with an
 * error. What it does not: names still appear in listings; hiding them there takes a `readdir` hook that lists the
 * others itself. And what the kernel has looked up before stays in its cache for as long as the server's
 * entry_timeout says, so that such a policy wants to be attached from the beginning, or with that time-out 0.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

#define NAME_MAX 255
#define SUFFIX_MAX 16

const volatile char suffix[SUFFIX_MAX] = ".secret";
const volatile __u32 owner;

/* A name is too long for a program's stack: each CPU has a place for one. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, char[NAME_MAX + 1]);
} names SEC(".maps");

/* How often something was hidden. */
__u64 hidden;

SEC("struct_ops/lookup")
int EFUSE_HOOK(hide_lookup)
{
	__u32 zero = 0, length = 0;
	char *name = bpf_map_lookup_elem(&names, &zero);
	int size;

	if (!name || ctx->uid == owner)
		return EFUSE_PASS;
	/* longer names than a file system has: nothing of ours */
	size = bpf_efuse_name(ctx, 0, name, NAME_MAX);
	if (size <= 0)
		return EFUSE_PASS;
	while (length < SUFFIX_MAX && suffix[length])
		length++;
	if (length == 0 || size < length)
		return EFUSE_PASS;
	for (__u32 i = 0; i < SUFFIX_MAX; i++) {
		/* changes nothing, but shows the verifier that it lies within the name's place */
		__u32 at = (size - length + i) & NAME_MAX;

		if (i >= length)
			break;
		if (name[at] != suffix[i])
			return EFUSE_PASS;
	}
	__sync_fetch_and_add(&hidden, 1);
	return -ENOENT;
}

SEC(".struct_ops.link")
struct efuse_ops hide = {
	.lookup = (void *)hide_lookup,
	.name = "hide",
};
