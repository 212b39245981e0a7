/* SPDX-License-Identifier: GPL-2.0-only */
/* balance_policy.h for eBPF programs, with the map that its rings are in. */
#ifndef BALANCE_RINGS_H
#define BALANCE_RINGS_H

#include <linux/bpf.h>
#include <linux/stddef.h>
#include <bpf/bpf_helpers.h>

#define balance_each(at, nr) bpf_for(at, 0, nr)
#define balance_apart __noinline
#define balance_given __arg_nonnull
#include "balance_policy.h"

/* Knobs: struct balance_knobs */
const volatile __u32 most_rings = 1;
const volatile __u32 node_size;

/* Rings by number. The server writes state, online and node; for worker threads, which map it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct balance_ring);
} rings SEC(".maps");

/* Says what the caller's CPU asks for. */
static __always_inline void note_asking(const struct balance_request *request)
{
	__u32 cpu = request->cpu;
	struct balance_ring *own = bpf_map_lookup_elem(&rings, &cpu);

	if (!own)
		return;
	if (request->background)
		own->asked = request->now;
	else
		own->called = request->now;
}

balance_inline const struct balance_ring *balance_ring_at(__u32 n)
{
	return bpf_map_lookup_elem(&rings, &n);
}

#endif
