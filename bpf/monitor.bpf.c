// SPDX-License-Identifier: GPL-2.0-only
/*
 * What FUSE servers are asked, and how long they take: counts, errors, bytes and latencies per mount, operation
 * and CPU, the requests under way, and who makes them.
 *
 * Two programs on two tracepoints, which see the requests of every FUSE file system on the machine; those of the
 * connections in `watched` are counted. `request_end` counts, and does so exactly: requests are counted when they
 * end, so those under way when it begins or stops to look do no harm. `request_send` is there for the times:
 * entering a program costs more than what it does, so the reader attaches it all the time while requests are few,
 * and now and then while they are many.
 *
 * Everything has a bound. What finds no room is not timed, or makes room of what was not seen longest.
 *
 * What the kernel does, and what follows from it:
 * - A request gets its number after fuse_request_send, so its address tells which end belongs to which beginning.
 *   Addresses are used again at once.
 * - A killed process takes a request back that the server has not read yet, with no fuse_request_end. Its entry in
 *   `flights` stays until the address is used again; until then the reader sees that its thread is no more.
 * - Background requests lose FR_BACKGROUND before their end over io_uring, and after it over /dev/fuse. FR_ASYNC,
 *   which says that a function is called at the end, comes to the same and stays.
 * - FORGETs are no requests: neither tracepoint sees them. The kernel has a list of them, but no count.
 * - An aborted connection ends all of its requests, with ENOTCONN or ECONNABORTED.
 *
 * Both programs run with preemption disabled and never in interrupts, so per-CPU values need no atomics. A reader
 * may see a count before its neighbours in the struct.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "monitor.h"

/* monitor_efuse.bpf.c has others. */
#ifndef MONITOR_TRACEPOINT
#define MONITOR_TRACEPOINT(event) "tp_btf/fuse_" #event
#endif

/* The kernel's structs, as far as they are used; where the fields are is found out when the program is loaded. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct fuse_in_header {
	__u32 len;
	__u32 opcode;
	__u64 nodeid;
	__u32 pid;
};

struct fuse_out_header {
	__s32 error;
};

struct fuse_arg {
	unsigned int size;
};

struct fuse_args {
	__u8 out_numargs;
	struct fuse_arg out_args[2];
};

struct fuse_forget_link {
	struct fuse_forget_link *next;
};

struct fuse_iqueue {
	struct fuse_forget_link forget_list_head;
};

struct fuse_conn {
	struct fuse_iqueue iq;
	unsigned int max_background;
	unsigned int num_background;
	unsigned int active_background;
	__u32 dev;
};

struct fuse_mount {
	struct fuse_conn *fc;
};

struct fuse_req {
	struct fuse_args *args;
	unsigned long flags;
	struct {
		struct fuse_in_header h;
	} in;
	struct {
		struct fuse_out_header h;
	} out;
	struct fuse_mount *fm;
};

/* Since Linux 7.1 what belongs to the channel stands apart from the connection. */
struct fuse_chan {
	struct fuse_iqueue iq;
	unsigned int max_background;
	unsigned int num_background;
	unsigned int active_background;
	struct fuse_conn *conn;
};

struct fuse_req___chan {
	struct fuse_chan *chan;
};

#pragma clang attribute pop

enum fuse_req_flag {
	FR_BACKGROUND = 2,
	FR_ASYNC = 11,
};

/* Sets in `flights` and `makers`, entries of `watched`, less one: powers of two, set with the maps' sizes. */
const volatile __u32 flights_mask = 1023;
const volatile __u32 makers_mask = 63;
const volatile __u32 watched_mask = 255;

#define NO_PLACE (~0U)
#define IN_HEADER_SIZE 40

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct monitor_watched);
} watched SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MONITOR_OPCODES);
	__type(key, __u32);
	__type(value, struct monitor_operation);
} operations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct monitor_flights);
} flights SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct monitor_makers);
} makers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct monitor_connection);
} connections SEC(".maps");

static __always_inline int has_chan(void)
{
	return bpf_core_field_exists(((struct fuse_req___chan *)0)->chan);
}

static __always_inline struct fuse_chan *chan_of(struct fuse_req *req)
{
	return ((struct fuse_req___chan *)req)->chan;
}

/* Whether nobody waits for a request. */
static __always_inline __u32 is_background(struct fuse_req *req)
{
	return (req->flags >> bpf_core_enum_value(enum fuse_req_flag, FR_ASYNC)) & 1;
}

/* The place of a request's connection; NO_PLACE when nobody watches it. */
static __always_inline __u32 place_of(struct fuse_req *req)
{
	__u32 device;

	/* Never, but the verifier takes a module's tracepoints for capable of it. */
	if (!req)
		return NO_PLACE;
	device = has_chan() ? chan_of(req)->conn->dev : req->fm->fc->dev;
	for (int probe = 0; probe < MONITOR_WATCH_PROBES; probe++) {
		__u32 key = (device + probe) & watched_mask;
		struct monitor_watched *entry = bpf_map_lookup_elem(&watched, &key);

		if (!entry)
			break;
		if (entry->device == device && entry->place)
			return entry->place - 1;
	}
	return NO_PLACE;
}

static __always_inline struct monitor_operation *operation_at(__u32 place, __u32 opcode)
{
	__u32 key = place * MONITOR_OPCODES + (opcode < MONITOR_OPCODES ? opcode : 0);

	return bpf_map_lookup_elem(&operations, &key);
}

/* A request's address as a number: the verifier lets nobody calculate with pointers, but store them. */
static __always_inline __u64 address_of(struct fuse_req *req, struct monitor_operation *operation)
{
	*(volatile __u64 *)&operation->scratch = (__u64)req;
	return *(volatile __u64 *)&operation->scratch;
}

static __always_inline struct monitor_flights *flights_of(__u64 request)
{
	__u32 key = ((request * 0x9e3779b97f4a7c15ULL) >> 32) & flights_mask;

	return bpf_map_lookup_elem(&flights, &key);
}

static __always_inline __u32 bucket_of(__u64 nanoseconds)
{
	__u32 shift = 0;
	__u64 rest = nanoseconds;

	if (nanoseconds < (1ULL << MONITOR_FIRST_SHIFT))
		return 0;
	if (nanoseconds >= (2ULL << MONITOR_LAST_SHIFT))
		return MONITOR_BUCKETS - 1;
	/* Its highest bit. */
	if (rest >> 32) { shift += 32; rest >>= 32; }
	if (rest >> 16) { shift += 16; rest >>= 16; }
	if (rest >> 8) { shift += 8; rest >>= 8; }
	if (rest >> 4) { shift += 4; rest >>= 4; }
	if (rest >> 2) { shift += 2; rest >>= 2; }
	if (rest >> 1) shift += 1;
	return (shift - MONITOR_FIRST_SHIFT) * 4 + ((nanoseconds >> (shift - 2)) & 3);
}

/* Who made a request, on this CPU; entered if need be. */
static __always_inline struct monitor_maker *maker_of(__u32 thread, __u32 place)
{
	__u32 key = (((thread + place) * 0x9e3779b1U) >> 16) & makers_mask;
	struct monitor_makers *set = bpf_map_lookup_elem(&makers, &key);
	struct monitor_maker *maker = NULL;

	if (!set)
		return NULL;
	for (int way = 0; way < MONITOR_MAKER_WAYS; way++) {
		struct monitor_maker *one = &set->makers[way];

		if (one->thread == thread && one->place == place + 1) {
			maker = one;
			break;
		}
		if (!maker || one->seen < maker->seen)
			maker = one;
	}
	if (maker->thread != thread || maker->place != place + 1) {
		__builtin_memset(maker, 0, sizeof(*maker));
		maker->thread = thread;
		maker->place = place + 1;
	}
	/* A new one was never seen, not even at 0, where the clock begins. */
	if (!maker->seen || maker->seen != set->clock)
		maker->seen = ++set->clock;
	return maker;
}

/* A request that will not end: its process took it back. */
static __always_inline void taken_back(struct monitor_flight *flight)
{
	struct monitor_operation *operation = operation_at(flight->place, flight->opcode);

	if (operation)
		operation->interrupted++;
}

/* What is known of background requests when one of them ends, which the kernel may still have to subtract. */
static __always_inline void note_background(struct fuse_req *req, struct monitor_connection *connection)
{
	__u32 ending = (req->flags >> bpf_core_enum_value(enum fuse_req_flag, FR_BACKGROUND)) & 1;

	if (has_chan()) {
		struct fuse_chan *chan = chan_of(req);

		connection->background = chan->num_background - ending;
		connection->active = chan->active_background - ending;
		connection->max_background = chan->max_background;
	} else {
		struct fuse_conn *conn = req->fm->fc;

		connection->background = conn->num_background - ending;
		connection->active = conn->active_background - ending;
		connection->max_background = conn->max_background;
	}
}

/* Counts the FORGETs that wait. The list is not locked: its end may be missed, which costs a wrong figure. */
static __always_inline void note_forgets(struct fuse_req *req, struct monitor_connection *connection, __u64 now)
{
	struct fuse_forget_link *link = has_chan()
		? chan_of(req)->iq.forget_list_head.next : req->fm->fc->iq.forget_list_head.next;
	__u32 count = 0;

	if (!link) {
		if (connection->forgets)
			connection->forgets = 0;
		return;
	}
	if (now - connection->forgets_seen < MONITOR_FORGETS_INTERVAL)
		return;
	connection->forgets_seen = now;
	for (int i = 0; i < MONITOR_FORGETS && link; i++) {
		count++;
		if (bpf_core_read(&link, sizeof(link), &link->next))
			break;
	}
	connection->forgets = count;
}

SEC(MONITOR_TRACEPOINT(request_send))
int BPF_PROG(request_send, struct fuse_req *req)
{
	__u32 place = place_of(req);
	struct monitor_connection *connection;
	struct monitor_operation *operation;
	struct monitor_flights *set;
	struct monitor_flight *flight = NULL;
	__u64 request, now;
	__u32 opcode;

	if (place == NO_PLACE)
		return 0;
	connection = bpf_map_lookup_elem(&connections, &place);
	opcode = req->in.h.opcode;
	operation = operation_at(place, opcode);
	if (!connection || !operation)
		return 0;
	request = address_of(req, operation);
	set = flights_of(request);
	if (!set)
		return 0;
	for (int way = 0; way < MONITOR_FLIGHT_WAYS && !flight; way++) {
		if (set->requests[way] == request) {
			flight = &set->flights[way];
			taken_back(flight);
		}
	}
	for (int way = 0; way < MONITOR_FLIGHT_WAYS && !flight; way++) {
		if (!set->requests[way] && !__sync_val_compare_and_swap(&set->requests[way], 0, request))
			flight = &set->flights[way];
	}
	now = bpf_ktime_get_ns();
	note_forgets(req, connection, now);
	if (!flight) {
		__sync_fetch_and_add(&connection->untimed, 1);
		return 0;
	}
	flight->since = now;
	flight->nodeid = req->in.h.nodeid;
	flight->place = place;
	flight->opcode = opcode;
	flight->background = is_background(req);
	flight->process = 0;
	flight->thread = 0;
	/* Whoever sends a background request on may be another than who made it. */
	if (!flight->background) {
		struct monitor_maker *maker = maker_of(req->in.h.pid, place);
		__u64 ids = bpf_get_current_pid_tgid();

		flight->process = ids >> 32;
		flight->thread = ids;
		if (maker && !maker->process) {
			maker->process = ids >> 32;
			bpf_get_current_comm(maker->command, sizeof(maker->command));
		}
	}
	return 0;
}

/* What a reply holds. Not the length in its header: over io_uring servers leave that as they like. */
static __always_inline __u32 reply_bytes(struct fuse_args *args)
{
	__u32 count = args->out_numargs;
	__u32 bytes = 0;

	if (count > 0)
		bytes = args->out_args[0].size;
	if (count > 1)
		bytes += args->out_args[1].size;
	return bytes;
}

SEC(MONITOR_TRACEPOINT(request_end))
int BPF_PROG(request_end, struct fuse_req *req)
{
	__u32 place = place_of(req);
	struct monitor_operation *operation;
	struct monitor_flights *set;
	__u32 opcode, background, bytes_in, bytes_out = 0;
	__u64 request;

	if (place == NO_PLACE)
		return 0;
	opcode = req->in.h.opcode;
	operation = operation_at(place, opcode);
	if (!operation)
		return 0;
	operation->requests++;
	operation->bytes_in += bytes_in = req->in.h.len - IN_HEADER_SIZE;
	if (req->out.h.error)
		operation->errors++;
	else
		operation->bytes_out += bytes_out = reply_bytes(req->args);
	background = is_background(req);
	if (background) {
		struct monitor_connection *connection = bpf_map_lookup_elem(&connections, &place);

		if (connection)
			note_background(req, connection);
	}

	request = address_of(req, operation);
	set = flights_of(request);
	if (!set)
		return 0;
	for (int way = 0; way < MONITOR_FLIGHT_WAYS; way++) {
		struct monitor_flight *flight = &set->flights[way];

		if (set->requests[way] != request)
			continue;
		/* A request that was taken back may have had this address before. */
		if (flight->opcode != opcode || flight->background != background || flight->place != place) {
			taken_back(flight);
		} else {
			__u64 took = bpf_ktime_get_ns() - flight->since;
			__u32 bucket = bucket_of(took);
			struct monitor_maker *maker = maker_of(req->in.h.pid, place);

			operation->timed++;
			operation->nanoseconds += took;
			if (bucket < MONITOR_BUCKETS)
				operation->buckets[bucket]++;
			if (maker) {
				maker->requests++;
				maker->bytes += bytes_in + bytes_out;
				maker->nanoseconds += took;
			}
		}
		__sync_lock_test_and_set(&set->requests[way], 0);
		break;
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
