// SPDX-License-Identifier: GPL-2.0-only
/* For test/bpf: programs that the verifier, or libbpf's relocation, must refuse; none is loaded unless asked for. */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} slots SEC(".maps");

SEC("?raw_tp/sys_enter")
int unchecked_pointer(void *ctx)
{
	__u32 zero = 0;
	__u64 *value = bpf_map_lookup_elem(&slots, &zero);

	/* It may be null. */
	*value = 1;
	return 0;
}

struct task_struct {
	int no_such_member;
} __attribute__((preserve_access_index));

SEC("?raw_tp/sys_enter")
int no_such_field(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, no_such_member);
}

SEC("?tp_btf/no_such_tracepoint_of_efuse")
int no_such_tracepoint(void *ctx)
{
	return 0;
}
