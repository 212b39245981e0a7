// SPDX-License-Identifier: GPL-2.0-only
/* bpf/io_scheduler.h for test/io-scheduler.test.ts, which calls this as WebAssembly. */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
#include "../../io_scheduler.h"

#define EXPORT(name) __attribute__((export_name(#name)))

static struct io_file file;
static struct io_known known;
static struct io_knobs knobs;
static struct io_decision decision;

EXPORT(reset) void reset(__u32 round, __u32 probes, __u32 fixed, __u32 limit, __u32 sample)
{
	file = (struct io_file){};
	known = (struct io_known){};
	knobs = (struct io_knobs){ round, probes, fixed, limit, sample };
}

/* Another file. */
EXPORT(next) void next(void)
{
	file = (struct io_file){};
	io_begin(&file, &known, &knobs);
}

/* The file is written to. */
EXPORT(changed) void changed(void)
{
	io_changed(&file);
}

/* Path, and in further bits whether it is a probe and whether it is timed. */
EXPORT(decide) __u32 decide(__u32 size, __u32 block)
{
	decision = io_decide(&file, &knobs, size, block);
	return decision.path | decision.probe << 1 | decision.timed << 2;
}

EXPORT(found) void found(__u32 size, __u32 was)
{
	io_found(&file, decision, size, was);
}

EXPORT(observe) void observe(__u32 size, __u32 was, __u32 ns)
{
	io_observe(&file, &known, decision, size, was, ns);
}

EXPORT(reuse) __u32 reuse(void) { return file.reuse; }
EXPORT(trust) __u32 trust(__u32 class) { return IO_ONE - file.classes[class].distrust; }
EXPORT(drifted) __u32 drifted(void) { return file.drifted; }
EXPORT(timed) __u32 timed(void) { return file.timed; }
EXPORT(mispredicted) __u32 mispredicted(void) { return file.mispredicted; }
EXPORT(bytes) __u32 bytes(void) { return sizeof(file); }
