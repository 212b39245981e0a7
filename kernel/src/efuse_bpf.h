/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What BPF programs see: struct efuse_ops and its argument. bpf/efuse.h documents both for their authors.
 *
 * None of fs/fuse's own types is exposed: programs get numbers and copies.
 */
#ifndef _FS_EFUSE_BPF_H
#define _FS_EFUSE_BPF_H

#include <linux/sizes.h>
#include <linux/types.h>
#include "efuse_args.h"
#include "efuse_uapi.h"

/* What request hooks return; other values are errors for the caller. 0 is also what an absent program returns. */
#define EFUSE_PASS 0
#define EFUSE_DONE 1

/* What bpf_efuse_reply_entry() accepts although the server has never heard of it: see bpf/efuse.h. */
#define EFUSE_SYNTHETIC_BASE (0xEF5EULL << 48)

/* Notifications are shown to begin as opcodes from here on, by their enum fuse_notify_code. */
#define EFUSE_NOTIFY 0x10000
#define EFUSE_BACKING_UNUSED (EFUSE_NOTIFY + 0x100)

/* Bytes that bpf_efuse_read_around() may ask the server for. */
#define EFUSE_READ_AROUND SZ_256K

/* What bpf_efuse_inode() tells, see bpf/efuse.h. */
#define EFUSE_INODE_HELD		BIT(0)
#define EFUSE_INODE_OPEN_TO_WRITE	BIT(1)
#define EFUSE_INODE_WRITTEN		BIT(2)
#define EFUSE_INODE_READ		BIT(3)

struct efuse_ctx {
	u64 nodeid;
	u64 fh;
	u64 offset;
	u64 nlookup;
	u64 target;
	u64 target2;
	u32 opcode;
	u32 size;
	u32 flags;
	u32 uid;
	u32 gid;
	u32 pid;
	u32 background;
	s32 error;
	u32 reply_size;
	u32 cpu;
	u32 nr_queues;
	u32 queue;
	u64 note[EFUSE_NOTE_WORDS];
	/*
	 * Always NULL. A struct of nothing but numbers is just memory to the verifier: a program could hand one of its
	 * own making to a call. With a pointer in it, it must be the one that the hook was given.
	 */
	void *genuine;
};

/* bpf_efuse_backing_state(): which file (ino, dev, generation), and which state of it. */
struct efuse_backing_state {
	u64 version;
	u64 size;
	u64 ino;
	u32 dev;
	u32 generation;
};

struct efuse_ops {
	/* Request hooks, see enum efuse_hook. */
	int (*lookup)(struct efuse_ctx *ctx);
	int (*getattr)(struct efuse_ctx *ctx);
	int (*access)(struct efuse_ctx *ctx);
	int (*getxattr)(struct efuse_ctx *ctx);
	int (*readlink)(struct efuse_ctx *ctx);
	int (*open)(struct efuse_ctx *ctx);
	int (*flush)(struct efuse_ctx *ctx);
	int (*release)(struct efuse_ctx *ctx);
	int (*opendir)(struct efuse_ctx *ctx);
	int (*readdir)(struct efuse_ctx *ctx);
	int (*releasedir)(struct efuse_ctx *ctx);
	int (*statfs)(struct efuse_ctx *ctx);
	int (*read)(struct efuse_ctx *ctx);
	int (*write)(struct efuse_ctx *ctx);
	/* On each request's way to the server and back. */
	int (*begin)(struct efuse_ctx *ctx);
	int (*reply)(struct efuse_ctx *ctx);
	int (*select_queue)(struct efuse_ctx *ctx);
	/* Before there is a request, maybe under RCU. */
	int (*stands)(struct efuse_ctx *ctx);

	u64 token;
	char name[EFUSE_NAME_LEN];
};

#endif
