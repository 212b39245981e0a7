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
 *   file's previous request is preferred, as its CPU has the file's data in its caches. But it stays where the other is not
 *   much better, unless that idles on a CPU that asks for nothing in the background itself: moving costs, and where all
 *   CPUs have enough to do nobody gains by it.
 * - On few CPUs background requests leave the others' rings idle for half the time while callers there wait for their own.
 *
 * Loads are read without locks and are out of date by some requests: drawing at random also keeps CPUs that see
 * the same loads from all choosing the same ring.
 */
#ifndef EFUSE_BALANCE_POLICY_H
#define EFUSE_BALANCE_POLICY_H

#define BALANCE_MAX_RINGS 1024

/* Nanoseconds between answers that come together, while nothing is known; how many of them are looked at together. */
#define BALANCE_TOGETHER 4000
#define BALANCE_MOST_TOGETHER 64
/* The longest that is measured. */
#define BALANCE_LONGEST (1U << 30)

/* In units of 1024 ns: who has asked for something in the background, or waited for something, since then is still at it. */
#define BALANCE_ASKING 64
#define BALANCE_CALLING 1024

/* So few rings that what one CPU asks for in the background would keep all others' busy. */
#define BALANCE_FEW 4

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
	/* nanoseconds that a request waits there for those before it, an average */
	__u32 wait;
	/* answers that came together: how many, and how long after those before; 0: not known */
	__u32 batch;
	__u32 batch_ns;
	/* when its CPU's caller last asked for something in the background, in units of struct balance_request.now */
	__u32 asked;
	/* and when it last waited for something */
	__u32 called;
	__u32 spare;
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
	/* the time, in units of 1024 ns */
	__u32 now;
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
 * A function that is verified once, wherever it is called, and what its pointers must not be: NULL. Each look at a ring takes
 * either of many ways; the verifier would follow all of their combinations (a million instructions with 1024 rings).
 */
#ifndef balance_apart
#define balance_apart balance_inline
#define balance_given
#endif

/* Does its CPU's caller ask for things in the background? */
balance_inline __u32 balance_asking(const struct balance_ring *ring, const struct balance_request *request)
{
	return ring->asked && request->now - ring->asked < BALANCE_ASKING;
}

/*
 * Is it to be left to its own CPU's caller? Where that waits for each of its requests, most of these must find the ring idle:
 * others' requests come one at a time, and it rests for as long as one takes before the next.
 */
balance_inline __u32 balance_left_alone(const struct balance_ring *ring, const struct balance_request *request, __u32 usual)
{
	if (!ring->called || request->now - ring->called >= BALANCE_CALLING)
		return 0;
	return ring->given != ring->answered || request->now - (__u32)(ring->last >> 10) < usual >> 10;
}

/*
 * Nanoseconds until this ring would have served one more request of a caller on that CPU. @usual: what is assumed of a ring
 * whose requests have not had to wait for each other yet.
 */
balance_inline __u32 balance_cost(const struct balance_ring *ring, const struct balance_knobs *knobs, __u32 at,
				  __u32 cpu, __u32 node, const struct balance_request *request, __u32 usual)
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
	/* its CPU's caller goes on: the server has to wait for it, or it for the server */
	if (request->background && (at == cpu || balance_asking(ring, request)))
		cost += service;
	if (at != cpu) {
		cost += ring->node == node ? knobs->remote : knobs->far;
		/* which nobody waits for in the background */
		if (!waiting && ring->state == BALANCE_ASLEEP)
			cost += request->background ? knobs->wake / 4 : knobs->wake;
	}
	return cost < ~0U ? cost : ~0U - 1;
}

/* Ring number n; NULL: there is none. Who includes this defines it: a program looks it up in a map, the host in an array. */
balance_inline const struct balance_ring *balance_ring_at(__u32 n);

/* Whose request it is, and what is assumed of rings. */
struct balance_view {
	__u32 cpu;
	__u32 node;
	/* nanoseconds that a request takes */
	__u32 usual;
	/* rings may have to be left alone */
	__u32 spare;
};

#define BALANCE_IDLE (1ULL << 32)

/* The cost of a ring, ~0: it can't be had; and BALANCE_IDLE: nothing is under way there, nor about to be. */
balance_apart __u64 balance_price(const struct balance_knobs *knobs balance_given,
				  const struct balance_request *request balance_given,
				  const struct balance_view *view balance_given, __u32 at)
{
	const struct balance_ring *ring = balance_ring_at(at);
	__u64 price;

	if (!ring || (view->spare && at != view->cpu && balance_left_alone(ring, request, view->usual)))
		return ~0U;
	price = balance_cost(ring, knobs, at, view->cpu, view->node, request, view->usual);
	if (ring->given == ring->answered && !balance_asking(ring, request))
		price |= BALANCE_IDLE;
	return price;
}

struct balance_best {
	__u32 ring;
	__u32 cost;
	__u32 idle;
};

#define balance_consider(best, at)								\
	do {											\
		__u64 price = balance_price(knobs, request, &view, at);				\
												\
		if ((__u32)price < (best)->cost)						\
			*(best) = (struct balance_best){ at, price, price >> 32 };		\
	} while (0)

balance_inline struct balance_choice balance_choose(const struct balance_knobs *knobs,
						    const struct balance_request *request)
{
	__u32 nr = knobs->rings, cpu = request->cpu < nr ? request->cpu : 0, at, first = 0, size = nr, here;
	const struct balance_ring *own = balance_ring_at(cpu);
	struct balance_best best = { cpu, ~0U, 0 }, previous;
	struct balance_view view = { .cpu = cpu };

	if (!own || !nr)
		return (struct balance_choice){ cpu, BALANCE_NO_RING };
	/* one server's rings take about as long as each other */
	view.usual = own->service ? own->service : knobs->service;
	if (knobs->policy == BALANCE_LOCAL && own->online)
		return (struct balance_choice){ cpu, BALANCE_STAYED };
	view.node = own->node;
	view.spare = knobs->policy == BALANCE_ADAPTIVE && request->background && nr <= BALANCE_FEW;
	balance_consider(&best, cpu);
	here = best.cost;

	switch (knobs->policy) {
	case BALANCE_ROUND_ROBIN:
		/* a step that rings of callers in step don't share */
		at = (cpu + request->turn) % nr;
		own = balance_ring_at(at);
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
			previous = (struct balance_best){ 0, ~0U, 0 };
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
	/* where all have something to do, moving about only costs: it has to be much better */
	if (knobs->policy == BALANCE_ADAPTIVE && here < ~0U && !best.idle && best.cost > here / 4)
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

/* A request has waited for so many nanoseconds, until the one before it was done. */
balance_inline void balance_waited(struct balance_ring *ring, __u32 ns)
{
	__u32 wait = ring->wait;

	ring->wait = ns >= wait ? wait + ((ns - wait) >> 3) : wait - ((wait - ns + 7) >> 3);
}

/*
 * A request that was given at one time is answered at another.
 *
 * A ring's server takes what it finds and answers all of that at once: the time since its answers before is what all of
 * them have taken together. It is known when the next ones come. What found nobody before it tells more of how long
 * the server takes to wake, which has a knob of its own.
 */
balance_inline void balance_answered(struct balance_ring *ring, __u64 given, __u64 now)
{
	__u64 since = ring->last, passed = now > since ? now - since : 0;
	__u32 ns = passed < BALANCE_LONGEST ? passed : BALANCE_LONGEST;

	ring->last = now;
	balance_waited(ring, since <= given ? 0 : since - given < BALANCE_LONGEST ? since - given : BALANCE_LONGEST);
	if (ring->batch && ring->batch < BALANCE_MOST_TOGETHER && ring->batch_ns < BALANCE_LONGEST &&
	    ns < (ring->service ? ring->service : BALANCE_TOGETHER) / 2) {
		ring->batch++;
		if (ring->batch_ns)
			ring->batch_ns += ns;
		return;
	}
	if (ring->batch_ns && ring->batch)
		balance_served(ring, ring->batch_ns / ring->batch);
	ring->batch_ns = since <= given ? 0 : ns;
	ring->batch = 1;
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
