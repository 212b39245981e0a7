/* SPDX-License-Identifier: GPL-2.0-only */
/* What bpf/io.bpf.c keeps: blocks of files, and how its reads go. docs/data.md explains it. */
#ifndef EFUSE_IO_H
#define EFUSE_IO_H

#include <linux/types.h>
#include "io_scheduler.h"

#define IO_BLOCK 4096
#define IO_BLOCK_SHIFT 12
/* Blocks lie in sets of so many, by the hash of file and place. */
#define IO_WAYS 4
/* Of a request that goes through the cache: 32 KiB that begin within a block. */
#define IO_MOST_BLOCKS 9

/* Of io_block.users: somebody writes to the block. */
#define IO_FILLING 0x80000000U

/* What a block holds: so many bytes of a file, in a version of it. */
struct io_block {
	__u64 ino;
	__u64 version;
	/* in the file, in blocks */
	__u64 index;
	__u32 dev;
	__u32 generation;
	/* readers, or IO_FILLING: a block is written to by whoever finds it without users */
	__u32 users;
	__u16 length;
	/* since it was looked at by who needed room */
	__u8 used;
	__u8 unused;
};

struct io_set {
	struct io_block ways[IO_WAYS];
};

/*
 * The way of a set that makes room: one that nobody uses, or has used since it was last passed over; or else any. Whoever
 * fills it takes its users first. For structs with `users` and `used`.
 */
#define IO_SECOND_CHANCE(set)								\
	({										\
		__u32 start = bpf_get_prandom_u32();					\
		int chosen = -1;							\
		_Pragma("unroll")							\
		for (int i = 0; i < IO_WAYS; i++) {					\
			int way = (start + i) & (IO_WAYS - 1);				\
											\
			if (chosen >= 0 || WORD((set)->ways[way].users))		\
				continue;						\
			if (!WORD((set)->ways[way].used))				\
				chosen = way;						\
			else								\
				WORD((set)->ways[way].used) = 0;			\
		}									\
		chosen < 0 ? start & (IO_WAYS - 1) : chosen;				\
	})

struct io_bytes {
	__u8 bytes[IO_BLOCK];
};

/* The scheduler's account of an inode. Inodes whose numbers fall on the same place take it from each other. */
struct io_slot {
	__u64 nodeid;
	struct io_file file;
};

struct io_counts {
	/* reads that the cache answered; bytes that it had or took in */
	__u64 cached;
	__u64 cached_bytes;
	/* reads of the backing file on behalf of a caller */
	__u64 direct;
	__u64 direct_bytes;
	/* blocks: there, not there, and taken in */
	__u64 hits;
	__u64 misses;
	__u64 filled;
	__u64 written;
	__u64 written_bytes;
	/* left to the server */
	__u64 reads_passed;
	__u64 writes_passed;
	/* the scheduler's decisions that were probes; that were timed and are not; of these, that turned out dearer than
	 * the other path; rounds cut short */
	__u64 probes;
	__u64 timed;
	__u64 mispredicted;
	__u64 drifted;
};

enum io_policy {
	IO_ADAPTIVE,
	IO_CACHE_ONLY,
	IO_DIRECT_ONLY,
	/* everything is left to the server */
	IO_OFF,
};

#endif
