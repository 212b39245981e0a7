// SPDX-License-Identifier: GPL-2.0-only
/*
 * Spreads requests over a mount's rings (io_uring queues). docs/balance.md tells what the policies do, balance_policy.h
 * decides, this counts: select_queue what a ring is given, reply what it has answered and how long that took.
 *
 * Each policy is a struct efuse_ops of its own, over the same maps, so that one takes another's place by a link's
 * update; and as its policy is a constant in it, it costs no more than it must.
 *
 * No locks: a ring's numbers are out of date by what other CPUs do at the moment. given and answered are exact, as
 * the difference would otherwise stay wrong; the others may lose an update.
 */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "efuse.h"
#include "balance_rings.h"

char LICENSE[] SEC("license") = "GPL";

#define FILES 4096

/* More knobs: struct balance_knobs */
const volatile __u32 wake_ns = 5000;
const volatile __u32 remote_ns = 300;
const volatile __u32 far_ns = 900;
const volatile __u32 service_ns = 4000;
const volatile __u32 affinity_ns = 300;

/*
 * Counts how often the programs were away: what began under an earlier number is not counted when it ends, because the
 * server has cleared the rings since.
 */
__u32 epoch = 1;

struct balance_counts {
	/* requests of this CPU */
	__u64 turn;
	/* by enum balance_verdict */
	__u64 verdicts[BALANCE_VERDICTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct balance_counts);
} counts SEC(".maps");

/* Which ring had a file's previous background request: bits of the nodeid, and below them the ring's number plus one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FILES);
	__type(key, __u32);
	__type(value, __u64);
} files SEC(".maps");

/* With a request, from select_queue to reply. */
struct note {
	__u64 given;
	__u32 epoch;
	__u32 ring;
};

static __always_inline int choose(struct efuse_ctx *ctx, __u32 policy)
{
	struct balance_knobs knobs = {
		.policy = policy, .rings = ctx->nr_queues, .node_size = node_size, .wake = wake_ns, .remote = remote_ns,
		.far = far_ns, .service = service_ns, .affinity = affinity_ns,
	};
	struct balance_request request = { .cpu = ctx->queue, .background = ctx->background };
	struct balance_choice choice;
	struct balance_counts *count;
	struct balance_ring *ring;
	__u64 file = 0, *previous = NULL;
	struct note *note;
	__u32 zero = 0, depth;
	__u64 now = bpf_ktime_get_ns();

	/* more than there is room for; there is for each possible CPU's */
	if (knobs.rings > most_rings)
		knobs.rings = most_rings;
	count = bpf_map_lookup_elem(&counts, &zero);
	if (!count)
		return 0;
	request.turn = count->turn++;
	request.now = now >> 10;
	if (policy == BALANCE_ADAPTIVE) {
		request.random = bpf_get_prandom_u32();
		if (request.background) {
			/* a nodeid's low bits differ most, Fibonacci's multiplier brings them up */
			file = ctx->nodeid * 0x9e3779b97f4a7c15ULL;
			depth = file >> 52;
			file <<= 16;
			previous = bpf_map_lookup_elem(&files, &depth);
			if (previous && !((*previous ^ file) >> 16))
				request.previous = *previous & 0xffff;
		}
		note_asking(&request);
	}

	choice = balance_choose(&knobs, &request);
	if (choice.verdict < BALANCE_VERDICTS)
		count->verdicts[choice.verdict]++;
	ring = bpf_map_lookup_elem(&rings, &choice.ring);
	if (!ring || choice.verdict == BALANCE_NO_RING)
		return 0;
	if (previous)
		*previous = file | (choice.ring + 1);

	note = (struct note *)bpf_efuse_scratch(ctx, sizeof(*note));
	if (note) {
		/* asked once more for the same request: it is given to another one */
		if (note->epoch == epoch) {
			struct balance_ring *other = bpf_map_lookup_elem(&rings, &note->ring);

			if (other)
				__sync_fetch_and_add(&other->answered, 1);
		}
		note->given = now;
		note->epoch = epoch;
		note->ring = choice.ring;
		depth = __sync_fetch_and_add(&ring->given, 1) + 1 - ring->answered;
		if ((__s32)depth > (__s32)ring->most)
			ring->most = depth;
		if (choice.ring != ctx->queue)
			ring->guests++;
	}
	return EFUSE_QUEUE(choice.ring);
}

SEC("struct_ops/reply")
int EFUSE_HOOK(balance_reply)
{
	struct note *note = (struct note *)bpf_efuse_scratch(ctx, sizeof(*note));
	struct balance_ring *ring;
	__u32 n;

	/* not ours: it went over the device, or began before us */
	if (!note || note->epoch != epoch)
		return 0;
	n = note->ring;
	ring = bpf_map_lookup_elem(&rings, &n);
	if (!ring)
		return 0;
	note->epoch = 0;
	balance_answered(ring, note->given, bpf_ktime_get_ns());
	__sync_fetch_and_add(&ring->answered, 1);
	return 0;
}

#define POLICY(policy, number)								\
	SEC("struct_ops/select_queue")							\
	int EFUSE_HOOK(balance_##policy)						\
	{										\
		return choose(ctx, number);						\
	}										\
											\
	SEC(".struct_ops.link")								\
	struct efuse_ops policy = {							\
		.reply = (void *)balance_reply,						\
		.select_queue = (void *)balance_##policy,				\
		.name = "balance",							\
	}

POLICY(local, BALANCE_LOCAL);
POLICY(round_robin, BALANCE_ROUND_ROBIN);
POLICY(least_loaded, BALANCE_LEAST_LOADED);
POLICY(adaptive, BALANCE_ADAPTIVE);

struct balance_question {
	__u32 rings;
	/* nanoseconds: what requests take in rings; what they may wait in the background; and limits of the answer */
	__u32 service;
	__u32 delay;
	__u32 least;
	__u32 most;
};

/* How many background requests are good. The server asks now and then. */
SEC("syscall")
int balance_background(struct balance_question *question)
{
	return balance_max_background(question->rings, question->service, question->delay, question->least, question->most);
}
