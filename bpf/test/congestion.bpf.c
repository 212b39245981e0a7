// SPDX-License-Identifier: GPL-2.0-only
/*
 * For test/bpf: a struct_ops of the stock kernel. A TCP congestion control that keeps a window of constant size and
 * counts its calls; and another one that takes its place.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct sock {
} __attribute__((preserve_access_index));
struct tcp_sock {
	__u32 snd_cwnd;
} __attribute__((preserve_access_index));
struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	void (*init)(struct sock *sk);
	void (*release)(struct sock *sk);
	__u32 (*undo_cwnd)(struct sock *sk);
	__u32 flags;
	char name[16];
};

__u64 opened;
__u64 acknowledged;
__u64 replaced_acknowledged;

SEC("struct_ops")
void BPF_PROG(count_init, struct sock *sk)
{
	__sync_fetch_and_add(&opened, 1);
}

SEC("struct_ops")
__u32 BPF_PROG(count_ssthresh, struct sock *sk)
{
	return 10;
}

SEC("struct_ops")
__u32 BPF_PROG(count_undo_cwnd, struct sock *sk)
{
	return 10;
}

SEC("struct_ops")
void BPF_PROG(count_cong_avoid, struct sock *sk, __u32 ack, __u32 acked)
{
	__sync_fetch_and_add(&acknowledged, acked);
}

SEC("struct_ops")
void BPF_PROG(other_cong_avoid, struct sock *sk, __u32 ack, __u32 acked)
{
	__sync_fetch_and_add(&replaced_acknowledged, acked);
}

SEC(".struct_ops.link")
struct tcp_congestion_ops counting = {
	.init = (void *)count_init,
	.ssthresh = (void *)count_ssthresh,
	.undo_cwnd = (void *)count_undo_cwnd,
	.cong_avoid = (void *)count_cong_avoid,
	.name = "efuse_test",
};

SEC(".struct_ops.link")
struct tcp_congestion_ops other = {
	.init = (void *)count_init,
	.ssthresh = (void *)count_ssthresh,
	.undo_cwnd = (void *)count_undo_cwnd,
	.cong_avoid = (void *)other_cong_avoid,
	.name = "efuse_test",
};

/* Registered by its value alone, without a link. */
SEC(".struct_ops")
struct tcp_congestion_ops linkless = {
	.ssthresh = (void *)count_ssthresh,
	.undo_cwnd = (void *)count_undo_cwnd,
	.cong_avoid = (void *)count_cong_avoid,
	.name = "efuse_linkless",
};
