/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which ring takes a request: plain C without calls, which the program (balance.bpf.c), the simulator and a host test
 * compile alike. The includer provides __u8, __u16, __u32, __u64.
 *
 * A ring's load is the time until it would get to one more request: those that wait there and the one being served,
 * each for as long as requests have lately taken there, and what waking its server costs if it sleeps.
 *
 * - A synchronous request stays on the ring of its caller's CPU: who waits for it sleeps meanwhile, so its server gets the
 *   CPU without anything having to be woken elsewhere. Only when so much waits there that even another CPU's wake-up
 *   would be the shorter way, it goes to the better of two others.
 * - A background request competes with its caller for the CPU: the caller goes on. It goes to the least loaded of
 *   its own ring and two that are drawn at random, which is all that is needed to keep the longest queue short
 *   (Mitzenmacher 2001, "The power of two choices"). One of the two is drawn from the same node. The ring that had the
 *   file's previous request is preferred, as its CPU has the file's data in its caches.
 *
 * Loads are read without locks and are out of date by some requests: drawing at random also keeps CPUs that see
 * the same loads from all choosing the same ring.
 */
#ifndef EFUSE_BALANCE_POLICY_H
#define EFUSE_BALANCE_POLICY_H

#define BALANCE_MAX_RINGS 1024

enum balance_policy {
	BALANCE_LOCAL,
	BALANCE_ROUND_ROBIN,
	BALANCE_LEAST_LOADED,
	BALANCE_ADAPTIVE,
};

/* What a ring's server does while nothing is to be served. */
enum balance_state {
	BALANCE_BUSY,
	BALANCE_POLLING,
	BALANCE_ASLEEP,
};

/* Of one ring: on a cache line of its own. */
struct balance_ring {
	/* requests that were given to it, and that it has answered; what is under way is the difference */
	__u32 given;
	__u32 answered;
	/* nanoseconds that a request takes there once the one before it is done, an average; 0: not known */
	__u32 service;
	/* enum balance_state */
	__u32 state;
	/* its server's CPU is there */
	__u32 online;
	__u32 node;
	/* for who watches: most that was under way at once; how many of what was given came from other CPUs */
	__u32 most;
	__u32 guests;
	/* nanoseconds since boot: when it last answered */
	__u64 last;
	__u32 spare[6];
};

struct balance_knobs {
	/* enum balance_policy */
	__u32 policy;
	/* rings are 0 to rings - 1 */
	__u32 rings;
	/* rings of a node follow each other, so many of them; 0: one node */
	__u32 node_size;
	/* nanoseconds: to wake a sleeping server on another CPU; to have a request served on another CPU, or another node */
	__u32 wake;
	__u32 remote;
	__u32 far;
	/* nanoseconds: what is assumed while nothing is known */
	__u32 service;
	/* nanoseconds: the ring of the file's previous request may be so much worse than the best */
	__u32 affinity;
};

struct balance_request {
	__u32 cpu;
	__u32 background;
	/* ring of the file's previous request, plus one; 0: not known */
	__u32 previous;
	/* anything */
	__u32 random;
	/* counts the requests of this CPU */
	__u32 turn;
};

/* What became of a choice: counted. */
enum balance_verdict {
	BALANCE_STAYED,
	BALANCE_SPREAD,
	BALANCE_SPILLED,
	BALANCE_FOLLOWED,
	BALANCE_NO_RING,
	BALANCE_VERDICTS,
};

struct balance_choice {
	__u32 ring;
	__u32 verdict;
};

/*
 * Goes through all rings. A BPF program has a loop of its own (bpf_for): the verifier would follow this one round by round,
 * and give up at some tens of rings.
 */
#ifndef balance_each
#define balance_each(at, nr) for ((at) = 0; (at) < (nr) && (at) < BALANCE_MAX_RINGS; (at)++)
#endif

#define balance_inline static inline __attribute__((always_inline, unused))

/*
 * Nanoseconds until this ring would have served one more request of a caller on that CPU. @usual: what is assumed of a ring
 * whose requests have not had to wait for each other yet.
 */
balance_inline __u32 balance_cost(const struct balance_ring *ring, const struct balance_knobs *knobs, __u32 at,
				  __u32 cpu, __u32 node, __u32 background, __u32 usual)
{
	__u32 waiting = ring->given - ring->answered;
	__u32 service = ring->service ? ring->service : usual;
	__u64 cost;

	/* A ring that once was slow, and is avoided since, would never be found better: what waits there tells then. */
	if (service / 4 > usual)
		service = 4 * usual;

	if (!ring->online)
		return ~0U;
	/* a counter that was read in the middle of something */
	if (waiting > 1U << 16)
		waiting = 0;
	cost = ((__u64)waiting + 1) * service;
	if (at == cpu) {
		/* its caller goes on, here: the server has to wait for it, or it for the server */
		cost += background ? service : 0;
	} else {
		cost += ring->node == node ? knobs->remote : knobs->far;
		/* which nobody waits for in the background */
		if (!waiting && ring->state == BALANCE_ASLEEP)
			cost += background ? knobs->wake / 4 : knobs->wake;
	}
	return cost < ~0U ? cost : ~0U - 1;
}

/*
 * How to reach ring number n: the program looks it up in a map, the host in an array. NULL: there is none.
 */
typedef const struct balance_ring *(*balance_get)(void *rings, __u32 n);

struct balance_best {
	__u32 ring;
	__u32 cost;
};

#define balance_consider(best, at)								\
	do {											\
		const struct balance_ring *other = get(rings, at);				\
		__u32 price = other ? balance_cost(other, knobs, at, cpu, node,	\
							 request->background, usual) : ~0U;		\
												\
		if (price < (best)->cost)							\
			*(best) = (struct balance_best){ at, price };				\
	} while (0)

balance_inline struct balance_choice balance_choose(void *rings, balance_get get, const struct balance_knobs *knobs,
						    const struct balance_request *request)
{
	__u32 nr = knobs->rings, cpu = request->cpu < nr ? request->cpu : 0, at, node, first = 0, size = nr, here;
	const struct balance_ring *own = get(rings, cpu);
	struct balance_best best = { cpu, ~0U }, previous;
	__u32 usual;

	if (!own || !nr)
		return (struct balance_choice){ cpu, BALANCE_NO_RING };
	/* one server's rings take about as long as each other */
	usual = own->service ? own->service : knobs->service;
	if (knobs->policy == BALANCE_LOCAL && own->online)
		return (struct balance_choice){ cpu, BALANCE_STAYED };
	node = own->node;
	balance_consider(&best, cpu);
	here = best.cost;

	switch (knobs->policy) {
	case BALANCE_ROUND_ROBIN:
		/* a step that rings of callers in step don't share */
		at = (cpu + request->turn) % nr;
		own = get(rings, at);
		if (own && own->online)
			return (struct balance_choice){ at, at == cpu ? BALANCE_STAYED : BALANCE_SPREAD };
		break;
	case BALANCE_LEAST_LOADED:
		balance_each(at, nr) {
			balance_consider(&best, at);
		}
		break;
	default:
		/* a synchronous request moves only when much waits: its own CPU is about to be free */
		if (!request->background && here < ~0U && own->given - own->answered < 2)
			return (struct balance_choice){ cpu, BALANCE_STAYED };
		if (knobs->node_size && knobs->node_size < nr) {
			first = cpu / knobs->node_size * knobs->node_size;
			size = nr - first < knobs->node_size ? nr - first : knobs->node_size;
		}
		at = first + (request->random & 0xffff) % size;
		balance_consider(&best, at);
		at = (request->random >> 16) % nr;
		balance_consider(&best, at);
		if (request->previous && request->previous <= nr && request->background) {
			previous = (struct balance_best){ 0, ~0U };
			at = request->previous - 1;
			balance_consider(&previous, at);
			if (previous.cost <= here / 2 && previous.cost <= (__u64)best.cost + knobs->affinity)
				return (struct balance_choice){ at, at == cpu ? BALANCE_STAYED : BALANCE_FOLLOWED };
		}
	}
	if (best.cost == ~0U) {
		/* nothing that was looked at is online: any that is */
		balance_each(at, nr) {
			balance_consider(&best, at);
			if (best.cost != ~0U)
				break;
		}
		if (best.cost == ~0U)
			return (struct balance_choice){ cpu, BALANCE_NO_RING };
	}
	/* where all have much to do, moving about only costs */
	if (knobs->policy == BALANCE_ADAPTIVE && here < ~0U && best.cost > here / 2 - here / 16)
		best.ring = cpu;
	if (best.ring == cpu)
		return (struct balance_choice){ cpu, BALANCE_STAYED };
	return (struct balance_choice){ best.ring, request->background ? BALANCE_SPREAD : BALANCE_SPILLED };
}

/* A request was served in so many nanoseconds. */
balance_inline void balance_served(struct balance_ring *ring, __u32 ns)
{
	__u32 service = ring->service;

	if (!service)
		ring->service = ns ? ns : 1;
	else if (ns >= service)
		ring->service = service + ((ns < 8 * service ? ns - service : 7 * service) >> 3);
	else
		ring->service = service - ((service - ns) >> 3);
}

/*
 * How many background requests may be under way: as many as are served in the delay that is aimed at. More of them
 * only wait, and keep memory; fewer leave rings idle.
 */
balance_inline __u32 balance_max_background(__u32 rings, __u32 service, __u32 delay, __u32 least, __u32 most)
{
	__u64 max;

	if (!service)
		return most;
	max = (__u64)rings * delay / service;
	return max < least ? least : max > most ? most : max;
}

#endif
