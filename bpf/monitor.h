/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What bpf/monitor.bpf.c and its reader (src/bpf/monitor.ts) agree on. Numbers are in the machine's byte order,
 * times in nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef EFUSE_MONITOR_H
#define EFUSE_MONITOR_H

/* Opcodes of a mounted file system lie below; others are counted under 0. */
#define MONITOR_OPCODES 64

/*
 * Latency buckets: four per power of two, from 256 ns to 68 s. Bucket b begins at
 * (4 + b % 4) << (b / 4 + 6) nanoseconds and is a quarter to a seventh of that wide; the first holds all that is
 * shorter, too, the last all that is longer.
 */
#define MONITOR_FIRST_SHIFT 8
#define MONITOR_LAST_SHIFT 35
#define MONITOR_BUCKETS ((MONITOR_LAST_SHIFT - MONITOR_FIRST_SHIFT + 1) * 4)

/* Map `watched`: which connections are looked at. A device number lies in one of four entries from its own on. */
#define MONITOR_WATCH_PROBES 4
struct monitor_watched {
	__u32 device;	/* the kernel's dev_t: major << 20 | minor */
	__u32 place;	/* 1 + index into the maps below; 0: nothing here */
};

/* Map `operations`, per CPU that ended the request: place * MONITOR_OPCODES + opcode. */
struct monitor_operation {
	__u64 requests;		/* that ended */
	__u64 errors;		/* of those, the ones that ended with an error */
	__u64 bytes_in;		/* to the server, without headers */
	__u64 bytes_out;	/* from the server, without headers */
	__u64 timed;		/* of `requests`, the ones whose beginning was seen; the buckets hold them */
	__u64 nanoseconds;	/* the sum of their times */
	__u64 interrupted;	/* taken back before the server had them, as their process was killed; not in `requests` */
	__u64 scratch;		/* of the programs */
	__u64 buckets[MONITOR_BUCKETS];
};

/* Map `flights`: requests that are under way and whose beginning was seen, in sets by the hash of their address. */
#define MONITOR_FLIGHT_WAYS 4
struct monitor_flight {
	__u64 since;
	__u64 nodeid;
	__u32 place;
	__u32 opcode;
	__u32 process;		/* who waits for it: thread group and thread; 0 for background requests */
	__u32 thread;
	__u32 background;	/* nobody waits for it, so nobody takes it back */
	__u32 unused;
};
struct monitor_flights {
	__u64 requests[MONITOR_FLIGHT_WAYS];	/* addresses; 0: nothing here */
	struct monitor_flight flights[MONITOR_FLIGHT_WAYS];
};

/* Map `makers`, per CPU: who makes the timed requests, in sets of four; the one not seen longest makes room. */
#define MONITOR_MAKER_WAYS 4
struct monitor_maker {
	__u32 thread;		/* as the server is told: in the mount's pid namespace */
	__u32 place;		/* 1 + place; 0: nothing here */
	__u64 seen;		/* when last, by the set's clock */
	__u64 requests;
	__u64 bytes;		/* both ways */
	__u64 nanoseconds;	/* that they took */
	__u32 process;		/* in our own namespace; 0 while nobody has seen a request's beginning */
	__u32 unused;
	char command[16];
};
struct monitor_makers {
	__u64 clock;		/* ticks when another maker is seen than the last time */
	struct monitor_maker makers[MONITOR_MAKER_WAYS];
};

/* Map `connections`: what the kernel keeps of each place, as it was last seen. */
struct monitor_connection {
	__u32 background;	/* background requests, those that wait for their turn included */
	__u32 active;		/* of those, the ones that the server may take (over /dev/fuse) */
	__u32 max_background;
	__u32 forgets;		/* FORGETs that wait for the server, counted up to MONITOR_FORGETS */
	__u32 untimed;		/* requests that were not timed because their set of `flights` was full */
	__u64 forgets_seen;	/* when they were counted */
};
#define MONITOR_FORGETS 256
/* How often they are counted. */
#define MONITOR_FORGETS_INTERVAL 20000000

#endif
