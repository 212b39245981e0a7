// SPDX-License-Identifier: GPL-2.0-only
/* bpf/balance_policy.h as the verifier sees it, for kernels without efuse.ko: each policy as a program that is run once. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "../balance_rings.h"

char LICENSE[] SEC("license") = "GPL";

/* Returns the ring, and above bit 16 the verdict, as models/balance.c does. */
static __always_inline int choose(const struct balance_request *asked, __u32 policy)
{
	struct balance_knobs knobs = {
		.policy = policy, .rings = most_rings, .node_size = node_size, .wake = 5000, .remote = 300, .far = 900,
		.service = 4000, .affinity = 300,
	};
	struct balance_request request = *asked;
	struct balance_choice choice;

	note_asking(&request);
	choice = balance_choose(&knobs, &request);
	return choice.ring | choice.verdict << 16;
}

#define POLICY(name, number)				\
	SEC("syscall")					\
	int name(const struct balance_request *request)	\
	{						\
		return choose(request, number);		\
	}

POLICY(local, BALANCE_LOCAL)
POLICY(round_robin, BALANCE_ROUND_ROBIN)
POLICY(least_loaded, BALANCE_LEAST_LOADED)
POLICY(adaptive, BALANCE_ADAPTIVE)
