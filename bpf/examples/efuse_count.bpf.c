// SPDX-License-Identifier: GPL-2.0-only
/*
 * Example: counts the requests that reach a file system's server, by operation, with their errors.
 *
 * It fills `begin` and `reply`, which see every request on its way to the server and back and can't change anything.
 * Read the map `operations` at any time:
 *
 *	efuse bpf attach /mnt efuse_count.bpf.o
 *	bpftool map dump name operations
 *
 * What it shows: per-CPU counters (no atomics: each CPU has its own, the reader adds them up), and how a program
 * keeps something with a request: the time of `begin` travels in the request's scratch bytes to `reply`.
 */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

/* Operations are numbered from 1; those that are newer than this program are counted at 0. */
#define OPERATIONS 64

struct operation {
	__u64 requests;
	__u64 errors;
	/* from begin to reply, summed up */
	__u64 nanoseconds;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OPERATIONS);
	__type(key, __u32);
	__type(value, struct operation);
} operations SEC(".maps");

static __always_inline struct operation *operation_of(struct efuse_ctx *ctx)
{
	__u32 number = ctx->opcode < OPERATIONS ? ctx->opcode : 0;

	return bpf_map_lookup_elem(&operations, &number);
}

SEC("struct_ops/begin")
int EFUSE_HOOK(count_begin)
{
	struct operation *operation = operation_of(ctx);
	__u64 *started = (__u64 *)bpf_efuse_scratch(ctx, sizeof(*started));

	/* a FORGET has neither scratch bytes nor a reply */
	if (started)
		*started = bpf_ktime_get_ns();
	if (operation)
		operation->requests++;
	return 0;
}

SEC("struct_ops/reply")
int EFUSE_HOOK(count_reply)
{
	struct operation *operation = operation_of(ctx);
	__u64 *started = (__u64 *)bpf_efuse_scratch(ctx, sizeof(*started));

	if (!operation)
		return 0;
	if (ctx->error)
		operation->errors++;
	/* attached while the request was under way: there was no begin */
	if (started && *started)
		operation->nanoseconds += bpf_ktime_get_ns() - *started;
	return 0;
}

SEC(".struct_ops.link")
struct efuse_ops count = {
	.begin = (void *)count_begin,
	.reply = (void *)count_reply,
	.name = "count",
};
