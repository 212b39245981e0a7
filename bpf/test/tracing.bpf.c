// SPDX-License-Identifier: GPL-2.0-only
/*
 * For test/bpf: tracing programs of several kinds, global data of each section, and a ring buffer. They count the
 * system calls of one thread alone.
 */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <stdbool.h>

char LICENSE[] SEC("license") = "GPL";

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct task_struct *group_leader;
} __attribute__((preserve_access_index));

/* Knobs: the thread to watch, and what to call itself. */
const volatile int watched = 0;
const volatile __u64 wide = 1ull << 60;
const volatile char label[16] = "unset";
const volatile bool enabled = false;
/* The system call that is reported: its number differs between architectures. */
const volatile long reported = -1;

/* Global data: initialized, zeroed, static. */
__u64 calls = 40;
__u64 raw_calls;
__u32 last_pid;
static volatile __s16 bias = -7;
struct pair {
	__s32 left;
	__u32 right : 5;
	__u32 more : 27;
} pairs[2] = {{-1, 3, 4}, {-2, 5, 6}};

struct event {
	__u64 number;
	__u32 pid;
	__s64 argument;
	char comm[16];
	__u8 bytes[4];
};
const struct event *event_type __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

static int is_watched(void)
{
	return enabled && (__u32)bpf_get_current_pid_tgid() == (__u32)watched;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_call, void *regs, long number)
{
	struct event *event;
	struct task_struct *task;

	if (!is_watched())
		return 0;
	calls += 1;
	if (number != reported)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	task = (struct task_struct *)bpf_get_current_task();
	event->number = number;
	event->pid = BPF_CORE_READ(task, group_leader, pid);
	event->argument = bias;
	BPF_CORE_READ_STR_INTO(&event->comm, task, comm);
	__builtin_memset(event->bytes, 0xab, sizeof(event->bytes));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("raw_tp/sys_enter")
int on_raw_call(struct bpf_raw_tracepoint_args *ctx)
{
	if (is_watched())
		__sync_fetch_and_add(&raw_calls, 1);
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} per_task SEC(".maps");

__u64 tracepoint_calls;
__u64 cookie_seen;

/* As the kernel's format file has it. */
struct sys_enter {
	__u64 common;
	__s64 id;
	__u64 arguments[6];
};

SEC("tracepoint/raw_syscalls/sys_enter")
int on_tracepoint(struct sys_enter *ctx)
{
	if (is_watched()) {
		__sync_fetch_and_add(&tracepoint_calls, 1);
		cookie_seen = bpf_get_attach_cookie(ctx);
	}
	return 0;
}

/* Not loaded unless asked for. */
SEC("?tp_btf/sys_enter")
int BPF_PROG(store, void *regs, long number)
{
	__u64 *value;

	if (!is_watched())
		return 0;
	value = bpf_task_storage_get(&per_task, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (value)
		*value += 1;
	return 0;
}

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

SEC("iter/task")
int list_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (task && task->pid == watched)
		BPF_SEQ_PRINTF(ctx->meta->seq, "%d %d\n", task->tgid, task->pid);
	return 0;
}
