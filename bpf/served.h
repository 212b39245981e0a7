/* SPDX-License-Identifier: GPL-2.0-only */
/* What bpf/served.bpf.c keeps: blocks of files as the server sent them. docs/data.md explains it. */
#ifndef EFUSE_SERVED_H
#define EFUSE_SERVED_H

#include <linux/types.h>
#include "io.h"

/* That a read has to do with: 32 KiB that begin within a block, and where the file ends. */
#define SERVED_MOST_BLOCKS 10

/* An inode's, found by its hash: those that fall on the same place fall together. */
struct served_file {
	/* Changes of any part of it, and writes, which change one part and maybe the length: each counts twice, when it
	 * begins and when it has ended. And those under way. */
	__u64 changes;
	__u64 writes;
	__u32 changing;
	__u32 writing;
	/* It is not a file as others: what is read depends on more than the place. */
	__u32 never;
	__u32 unused;
};

/* A block's, found by the hash of inode and block: writes to it, and those under way. */
struct served_place {
	__u64 writes;
	__u64 writing;
};

/* What a block holds: so many bytes of a file, as of so many changes. */
struct served_block {
	__u64 nodeid;
	/* in the file, in blocks */
	__u64 index;
	__u64 changes;
	/* of the place; a block that ends before its room does also ends with the next write to the file */
	__u64 place_writes;
	__u64 file_writes;
	/* readers, or IO_FILLING */
	__u32 users;
	/* 0: the file ends before it */
	__u16 length;
	/* since it was looked at by who needed room */
	__u8 used;
	__u8 there;
};

struct served_set {
	struct served_block ways[IO_WAYS];
};

#endif
