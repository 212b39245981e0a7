// SPDX-License-Identifier: GPL-2.0-only
/* bpf/balance_policy.h for simulator and test, which call this as WebAssembly and see the rings in its memory. */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
#include "../../balance_policy.h"

#define EXPORT(name) __attribute__((export_name(#name)))

static struct balance_ring rings[BALANCE_MAX_RINGS];
static struct balance_knobs knobs;

balance_inline const struct balance_ring *balance_ring_at(__u32 n)
{
	return n < BALANCE_MAX_RINGS ? &rings[n] : 0;
}

EXPORT(reset) void reset(__u32 policy, __u32 nr, __u32 node_size, __u32 wake, __u32 remote, __u32 far, __u32 service,
			 __u32 affinity)
{
	knobs = (struct balance_knobs){ policy, nr, node_size, wake, remote, far, service, affinity };
	for (__u32 i = 0; i < nr && i < BALANCE_MAX_RINGS; i++)
		rings[i] = (struct balance_ring){
			.state = BALANCE_ASLEEP, .online = 1, .node = node_size ? i / node_size : 0,
		};
}

/* The ring, and above bit 16 the verdict. */
EXPORT(choose) __u32 choose(__u32 cpu, __u32 background, __u32 previous, __u32 random, __u32 turn, __u32 now)
{
	struct balance_request request = { cpu, background, previous, random, turn, now };
	struct balance_choice choice;

	if (cpu < knobs.rings)
		*(background ? &rings[cpu].asked : &rings[cpu].called) = now;
	choice = balance_choose(&knobs, &request);
	if (choice.verdict != BALANCE_NO_RING)
		rings[choice.ring].given++;
	return choice.ring | choice.verdict << 16;
}

/* Times in nanoseconds. */
EXPORT(answered) void answered(__u32 ring, double given, double now)
{
	rings[ring].answered++;
	balance_answered(&rings[ring], (__u64)given, (__u64)now);
}

EXPORT(set_state) void set_state(__u32 ring, __u32 state) { rings[ring].state = state; }
EXPORT(set_online) void set_online(__u32 ring, __u32 online) { rings[ring].online = online; }
EXPORT(depth) __u32 depth(__u32 ring) { return rings[ring].given - rings[ring].answered; }
EXPORT(service) __u32 service(__u32 ring) { return rings[ring].service; }
EXPORT(max_background) __u32 max_background(__u32 nr, __u32 ns, __u32 delay, __u32 least, __u32 most)
{
	return balance_max_background(nr, ns, delay, least, most);
}
