/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * eFuse for authors of BPF programs: programs in the kernel that answer a FUSE file system's requests before its
 * server hears of them.
 *
 *	#include <linux/bpf.h>
 *	#include <linux/fuse.h>
 *	#include <bpf/bpf_helpers.h>
 *	#include "efuse.h"
 *
 *	SEC("struct_ops/getattr")
 *	int EFUSE_HOOK(my_getattr) { ... ctx->nodeid ... return EFUSE_PASS; }
 *
 *	SEC(".struct_ops.link")
 *	struct efuse_ops my_ops = { .getattr = (void *)my_getattr, .name = "mine" };
 *
 * `efuse bpf attach MOUNTPOINT my.bpf.o` loads and attaches it. See examples/ for whole programs, docs/hooks.md for the
 * commands, and kernel/README.md for what happens around them.
 *
 * `efuse bpf list` shows a program's counters: its global variables in .bss (without an initial value) that are whole
 * numbers of 4 or 8 bytes. `const volatile` variables are its knobs: `efuse bpf attach --set NAME=VALUE`.
 *
 * Hooks. A connection has each of them once. An attachment takes those that its struct efuse_ops fills, if they are
 * free (else EBUSY), and keeps them until its link is closed or detached; updating the link replaces all of its hooks
 * in one step. Only begin and reply, which answer nothing, may be had by four attachments at a time.
 *
 * Request hooks see a request when the kernel is about to send it, and return
 *	EFUSE_PASS	the server answers, as if there were no program;
 *	EFUSE_DONE	it is answered: a bpf_efuse_reply_...() has filled in the reply, or none is needed;
 *	-EPERM, ...	the caller gets this error. Not ENOSYS, and none above 511: that counts as EFUSE_PASS.
 * A DONE without its reply counts as EFUSE_PASS. They are not asked for what the kernel finds in its own caches, nor
 * during path walks under RCU, nor before FUSE_INIT is done or after the connection has ended.
 *
 *	lookup		LOOKUP				bpf_efuse_reply_entry()
 *	getattr		GETATTR, STATX			bpf_efuse_reply_attr(), bpf_efuse_reply_statx()
 *	access		ACCESS				no reply
 *	getxattr	GETXATTR			bpf_efuse_reply_data(), bpf_efuse_reply_size()
 *	readlink	READLINK			bpf_efuse_reply_data()
 *	open, opendir	OPEN, OPENDIR			bpf_efuse_reply_open()
 *	flush		FLUSH				no reply
 *	readdir		READDIR, READDIRPLUS		bpf_efuse_reply_dirent(); READDIR also ..._data()
 *	statfs		STATFS				bpf_efuse_reply_statfs()
 *	read, write	READ, WRITE			see "data"; they may sleep: SEC("struct_ops.s/read"). Of files with
 *							FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO they see each call of
 *							read() or write() as it is, before requests are made of it
 *	release, releasedir	only told of a RELEASE: who opened the file gets it
 *
 * begin and reply see every request that does go to the server, before it and with its answer (ctx->error,
 * bpf_efuse_reply_copy()): background ones too, whose begin may come with spin locks held and whose reply comes in
 * the server's context. begin sees FORGET as well (ctx->nlookup), which has no reply. What they return is not used.
 * Exceptions: INIT, interrupts, and replies to notifications.
 * begin is also told of the server's notifications, before they take effect: ctx->opcode is EFUSE_NOTIFY + enum
 * fuse_notify_code, for INVAL_INODE, INVAL_ENTRY (the name is argument 1, see bpf_efuse_name()), DELETE (ctx->target is the
 * child), STORE and INC_EPOCH; and with EFUSE_BACKING_UNUSED when a file that was open with FOPEN_PASSTHROUGH is closed, and
 * may have been read without requests, while bpf_efuse_inode() still says EFUSE_INODE_READ. There is no reply.
 *
 * stands is asked before there is a request, also in path walks under RCU, about what the kernel holds past its time-out of
 * this attachment's own answers (bpf_efuse_hold()). ctx->note is what was noted with the answer. With opcode GETATTR or
 * STATX: do the attributes of ctx->nodeid, of type ctx->flags (S_IF...), still stand? With LOOKUP: does that name in
 * ctx->nodeid still mean the same? EFUSE_DONE: it does, and nobody is asked; else the request is made.
 *
 * Memory that calls are given is the stack or a map's value: the verifier wants to be able to write to it, even where
 * a call only reads, so constants (.rodata) won't do.
 *
 * select_queue chooses the io_uring queue of a request, out of ctx->nr_queues: EFUSE_QUEUE(n), or 0 for that of the
 * caller's CPU (ctx->queue). It is asked for the requests that begin and reply see, FORGET apart.
 */
#ifndef EFUSE_H
#define EFUSE_H

#define EFUSE_PASS 0
#define EFUSE_DONE 1
#define EFUSE_QUEUE(n) ((n) + 1)
#define EFUSE_NOTIFY 0x10000
#define EFUSE_BACKING_UNUSED (EFUSE_NOTIFY + 0x100)

/* Defines a program, whose argument is struct efuse_ctx *ctx. */
#define EFUSE_HOOK(name)						\
	name(unsigned long long *arguments);				\
	static __always_inline int name##_hook(struct efuse_ctx *ctx);	\
	int name(unsigned long long *arguments)				\
	{								\
		return name##_hook((struct efuse_ctx *)arguments[0]);	\
	}								\
	static __always_inline int name##_hook(struct efuse_ctx *ctx)

#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* A request. Programs can't write to it; what a field's comment does not mention has it 0. */
struct efuse_ctx {
	__u64 nodeid;
	/* file handle of the server, or of the module for a file that a program has opened */
	__u64 fh;
	/* READ, WRITE, READDIR: where in the file */
	__u64 offset;
	/* FORGET: look-ups to take back */
	__u64 nlookup;
	/* UNLINK, RMDIR, RENAME: the inode that loses this name; RENAME: the one whose place it takes, if there is one */
	__u64 target;
	__u64 target2;
	/* enum fuse_opcode */
	__u32 opcode;
	/* READ, WRITE, READDIR, READLINK: bytes; GETXATTR: room for the value, 0 asks for its size;
	 * select_queue: of the request's arguments */
	__u32 size;
	/* OPEN, RELEASE, READ, WRITE: open flags; ACCESS: mask; GETATTR, STATX: FUSE_GETATTR_... */
	__u32 flags;
	/* of the caller, as the server would see them; ~0: there is no caller, or the mount is idmapped */
	__u32 uid;
	__u32 gid;
	__u32 pid;
	/* nobody waits for the answer */
	__u32 background;
	/* reply: 0 or a negated errno, and the size of the last part of the answer */
	__s32 error;
	__u32 reply_size;
	/* select_queue: the caller's CPU, how many queues there are, and which of them is that CPU's */
	__u32 cpu;
	__u32 nr_queues;
	__u32 queue;
	/* stands: what was noted with the answer, see bpf_efuse_hold() */
	__u64 note[4];
	/* nothing: says to the verifier that no other struct will do */
	void *genuine;
};

struct efuse_ops {
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
	int (*begin)(struct efuse_ctx *ctx);
	int (*reply)(struct efuse_ctx *ctx);
	int (*select_queue)(struct efuse_ctx *ctx);
	int (*stands)(struct efuse_ctx *ctx);

	/* Names the connection, once: the loader fills it in (EFUSE_IOC_TOKEN). */
	__u64 token;
	/* For listings: letters, digits, '_', '.'; must not be empty. */
	char name[16];
};

#pragma clang attribute pop

/*
 * The request's arguments, in all hooks. Argument 0 is the request's struct of <linux/fuse.h> (struct fuse_setattr_in
 * for SETATTR and so on), names and data follow.
 *
 * bpf_efuse_arg() copies from `offset` on, zeroes the rest of `mem`, and returns the argument's full size or -EINVAL.
 * bpf_efuse_arg_ptr() gives the first `size` bytes in place, a constant, or NULL; not for a WRITE's data.
 * bpf_efuse_name() copies a name without its NUL, zeroes the rest, and returns its length, -ENAMETOOLONG or -EINVAL:
 * the first, or with `which` 1 the new name of a RENAME and the target of a SYMLINK.
 */
extern int bpf_efuse_arg(struct efuse_ctx *ctx, __u32 arg, __u32 offset, void *mem, __u32 mem__sz) __ksym;
extern const __u8 *bpf_efuse_arg_ptr(struct efuse_ctx *ctx, __u32 arg, const __u32 size) __ksym;
extern int bpf_efuse_name(struct efuse_ctx *ctx, __u32 which, void *mem, __u32 mem__sz) __ksym;

/*
 * Up to 32 bytes for an attachment's own use that stay with a request, from its hook over begin to reply; zero at
 * first, also for a program that was attached in between. `size` is a constant. NULL for FORGET, and for attachments
 * that have neither begin nor reply.
 */
extern __u8 *bpf_efuse_scratch(struct efuse_ctx *ctx, const __u32 size) __ksym;

/*
 * What the kernel knows of an inode, EFUSE_INODE_...; 0: it does not hold it, or can't tell (background replies).
 *	OPEN_TO_WRITE	somebody has it open for writing
 *	WRITTEN		its data may change, and its size and times with it, where begin and reply don't see it: it is open
 *			for writing, and the kernel writes the file itself (passthrough) or a program has the write hook; or
 *			it was mapped past the server
 *	READ		it may be read unseen, which changes its time of access
 */
#define EFUSE_INODE_HELD		(1U << 0)
#define EFUSE_INODE_OPEN_TO_WRITE	(1U << 1)
#define EFUSE_INODE_WRITTEN		(1U << 2)
#define EFUSE_INODE_READ		(1U << 3)
extern __u32 bpf_efuse_inode(struct efuse_ctx *ctx, __u64 nodeid) __ksym;

/*
 * A number that stands for the caller's rights: user and group of file accesses, all further groups, capabilities.
 * Equal for equal ones until the module is unloaded; 0 where there is no caller, as in background replies.
 */
extern __u64 bpf_efuse_who(struct efuse_ctx *ctx) __ksym;

/* Request hooks: is the caller in this group? Not where ctx->gid does not tell who the caller is. */
extern _Bool bpf_efuse_in_group(struct efuse_ctx *ctx, __u32 gid) __ksym;

/*
 * Answers of fixed size: struct fuse_attr_out, fuse_statx_out, fuse_entry_out, fuse_statfs_out of <linux/fuse.h>, and
 * their size. They return 0; -EINVAL for values that no server may send, or another kind of request; -ESTALE where
 * the kernel holds no such inode with this generation and type.
 *
 * bpf_efuse_reply_entry() may name inodes that the kernel holds already, so that the server knows them too. The
 * look-up is not counted: no FORGET will tell the server of it. With nodeid 0 there is no such file. A program's own
 * files, which the server does not know, have nodeids from EFUSE_SYNTHETIC_BASE on (48 bits are free); no request for
 * them reaches the server, and what the programs don't answer fails with EOPNOTSUPP.
 *
 * bpf_efuse_hold() lets the kernel hold the answer beyond its time-outs, with a note of 32 bytes on its attributes, and with
 * `name` another one on the name of a LOOKUP: then it asks the hook `stands` before it makes the next request.
 *
 * bpf_efuse_reply_open() opens a file (FOPEN_... flags) for reading alone, else -EACCES. The server hears of it when
 * something needs it to: then the module opens the file there, later, on behalf of whoever makes that request.
 */
#define EFUSE_SYNTHETIC_BASE (0xEF5EULL << 48)
extern int bpf_efuse_hold(struct efuse_ctx *ctx, _Bool name, const void *note, __u32 note__sz) __ksym;
extern int bpf_efuse_reply_attr(struct efuse_ctx *ctx, const void *attr, __u32 attr__sz) __ksym;
extern int bpf_efuse_reply_statx(struct efuse_ctx *ctx, const void *statx, __u32 statx__sz) __ksym;
extern int bpf_efuse_reply_entry(struct efuse_ctx *ctx, const void *entry, __u32 entry__sz) __ksym;
extern int bpf_efuse_reply_open(struct efuse_ctx *ctx, __u32 open_flags) __ksym;
extern int bpf_efuse_reply_statfs(struct efuse_ctx *ctx, const void *statfs, __u32 statfs__sz) __ksym;

/*
 * Data: the answers of READ, READLINK, READDIR and GETXATTR. The answer ends with the last byte written, or where
 * bpf_efuse_reply_size() says; bytes that were left out are zero. A READ that is shorter than asked for means the end
 * of the file. 0 or -ERANGE: more than was asked for.
 *
 * bpf_efuse_reply_dirent() adds an entry, of struct fuse_dirent and a name; `off` is that of the entry behind it,
 * `namelen` is not looked at; -ERANGE: no room for it.
 */
extern int bpf_efuse_reply_data(struct efuse_ctx *ctx, __u32 offset, const void *mem, __u32 mem__sz) __ksym;
extern int bpf_efuse_reply_size(struct efuse_ctx *ctx, __u32 size) __ksym;
extern int bpf_efuse_reply_dirent(struct efuse_ctx *ctx, const void *entry, __u32 entry__sz, const void *name,
				  __u32 name__sz) __ksym;

/*
 * Copies from an answer, and returns how many bytes: in reply what the server has sent (of two structs the last;
 * bpf_efuse_reply_first(): CREATE's struct fuse_entry_out), in read and write what has been filled in so far.
 */
extern int bpf_efuse_reply_copy(struct efuse_ctx *ctx, __u32 offset, void *mem, __u32 mem__sz) __ksym;
extern int bpf_efuse_reply_first(struct efuse_ctx *ctx, void *mem, __u32 mem__sz) __ksym;

/*
 * READs. What the server sends in answer to O_DIRECT's goes to the caller's memory, where the caller may change it, and
 * is not shown in reply (-EACCES). bpf_efuse_read_around(), in begin, asks the server for another range instead (with
 * ctx->background for none but the same), and shows it: in reply ctx->offset and ctx->size are that range. If the caller
 * wants more than it, the read hook is asked once more after that. Where all this has no answer, the server is asked for
 * what the caller wants. At most 256 KiB, else -ERANGE.
 *
 * bpf_efuse_inode_size() tells how long the kernel takes the request's file to be, in request hooks and begin; -ENOENT in
 * reply.
 */
extern int bpf_efuse_read_around(struct efuse_ctx *ctx, __u64 offset, __u32 size) __ksym;
extern __s64 bpf_efuse_inode_size(struct efuse_ctx *ctx) __ksym;

/*
 * What a server can do beside FUSE, if it has said so (EFUSE_IOC_CAN); bpf_efuse_want() asks for it in begin, of requests
 * that somebody waits for: 0, or -EOPNOTSUPP.
 *	ATTR		WRITE: bpf_efuse_reply_extra() in reply has the attributes after it, struct fuse_attr_out (0: it has not)
 *	NO_HANDLE	CREATE, OPEN: the file has no handle on the server, and is not released there. Files that programs open
 *			may be opened for writing, too, and the server may never hear of it.
 */
#define EFUSE_CAN_ATTR		(1U << 0)
#define EFUSE_CAN_NO_HANDLE	(1U << 1)
extern int bpf_efuse_want(struct efuse_ctx *ctx, __u32 what) __ksym;
extern int bpf_efuse_reply_extra(struct efuse_ctx *ctx, void *mem, __u32 mem__sz) __ksym;

/*
 * bpf_efuse_reply_block() answers a READ with what it wants of a block of the file, which begins at `pos`: bytes that
 * it has not asked for are left out. -EFAULT: the caller's memory is not there without waiting; bpf_efuse_read_backing()
 * waits.
 */
extern int bpf_efuse_reply_block(struct efuse_ctx *ctx, __u64 pos, const void *mem, __u32 mem__sz) __ksym;

/*
 * The backing file that the server has bound to the request's inode (EFUSE_IOC_BIND) or, with FOPEN_PASSTHROUGH and
 * FOPEN_DIRECT_IO, to the open file, in read and write hooks. -ENOENT: there is none. Those that read and write it need
 * a program that may sleep.
 *
 * bpf_efuse_read_backing() fills the answer, bpf_efuse_write_backing() takes the request's data: `offset` counts in
 * these, and in the file from the request's offset on. They return bytes. A WRITE that would have to take suid bits
 * away is the server's: -EAGAIN. bpf_efuse_read_backing_mem() reads from anywhere in the file. What is answered without
 * bpf_efuse_read_backing() has the time of access noted afterwards, or by bpf_efuse_accessed(), to be timed with the program.
 *
 * bpf_efuse_backing_state() tells which file it is, and its version, which changes with every change of its data,
 * whoever makes it. -EOPNOTSUPP: its file system does not count them; -EBUSY: it is mapped to be written to, which is
 * not counted. bpf_efuse_backing_fill() copies from its pages in the page cache: what it has copied is what the file has
 * there for as long as its version is `version`. It returns bytes, fewer at the file's end, or -EAGAIN.
 */
struct efuse_backing_state {
	__u64 version;
	__u64 size;
	/* the file's identity */
	__u64 ino;
	__u32 dev;
	__u32 generation;
};
extern int bpf_efuse_backing_state(struct efuse_ctx *ctx, void *state, __u32 state__sz) __ksym;
extern int bpf_efuse_backing_fill(struct efuse_ctx *ctx, __u64 pos, void *mem, __u32 mem__sz, __u64 version) __ksym;
extern __s64 bpf_efuse_backing_size(struct efuse_ctx *ctx) __ksym;
extern int bpf_efuse_read_backing(struct efuse_ctx *ctx, __u32 offset, __u32 len) __ksym;
extern int bpf_efuse_write_backing(struct efuse_ctx *ctx, __u32 offset, __u32 len) __ksym;
extern void bpf_efuse_accessed(struct efuse_ctx *ctx) __ksym;
extern int bpf_efuse_read_backing_mem(struct efuse_ctx *ctx, __u64 pos, void *mem, __u32 mem__sz) __ksym;

#endif
