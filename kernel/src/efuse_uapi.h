/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/* ioctls on a mounted /dev/efuse descriptor, or on the control descriptor that EFUSE_IOC_CONTROL hands out. */
#ifndef _EFUSE_UAPI_H
#define _EFUSE_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Grows with every change that a program or a server could notice. */
#define EFUSE_VERSION 1

#define EFUSE_NAME_LEN 16
#define EFUSE_MAX_HOOKS 32

/* A backing file for the read and write hooks of one inode. */
struct efuse_bind {
	__u64 nodeid;
	/* from FUSE_DEV_IOC_BACKING_OPEN on this connection; 0: no file any more */
	__s32 backing_id;
	/* EFUSE_BIND_*: what programs may do with it, at least one of them */
	__u32 flags;
};

#define EFUSE_BIND_READ		(1U << 0)
#define EFUSE_BIND_WRITE	(1U << 1)

struct efuse_info {
	__u32 version;
	/* hooks that this module has, in the order of struct efuse_ops */
	__u32 nr_hooks;
	/* name of the attachment that holds each hook, empty when it is free */
	char holders[EFUSE_MAX_HOOKS][EFUSE_NAME_LEN];
};

#define EFUSE_IOC_MAGIC 0xEF

/* A token to put into struct efuse_ops: good for one attachment to this connection. */
#define EFUSE_IOC_TOKEN		_IOR(EFUSE_IOC_MAGIC, 1, __u64)
/* A descriptor for these ioctls that does not keep the connection alive. */
#define EFUSE_IOC_CONTROL	_IO(EFUSE_IOC_MAGIC, 2)
#define EFUSE_IOC_BIND		_IOW(EFUSE_IOC_MAGIC, 3, struct efuse_bind)
#define EFUSE_IOC_INFO		_IOR(EFUSE_IOC_MAGIC, 4, struct efuse_info)
/*
 * How many io_uring queues are used, from number 0 on: at first one for each possible CPU. With fewer of them, CPUs
 * whose numbers are next to each other share one. May change while mounted: what is in other queues is still served.
 */
#define EFUSE_IOC_QUEUES	_IO(EFUSE_IOC_MAGIC, 5)
/* How many background requests may be under way, as FUSE_INIT's max_background. */
#define EFUSE_IOC_BACKGROUND	_IO(EFUSE_IOC_MAGIC, 6)
/*
 * What the server understands beside FUSE: EFUSE_CAN_*. A program may then want some of it of a request
 * (bpf_efuse_want()): fuse_in_header.padding is EFUSE_WANTS and those. A server that does not do as it is asked
 * answers as ever.
 */
#define EFUSE_IOC_CAN		_IO(EFUSE_IOC_MAGIC, 7)

#define EFUSE_WANTS		0xEF00
/* WRITE: behind the answer comes a struct fuse_attr_out, the inode's attributes after it */
#define EFUSE_CAN_ATTR		(1U << 0)
/*
 * CREATE, OPEN: the file handle is EFUSE_FH_NONE, and nothing is to be released. Of such a file, and of one that
 * was opened without the server, READ, WRITE and READDIR come with this handle: the nodeid says it all.
 */
#define EFUSE_CAN_NO_HANDLE	(1U << 1)
#define EFUSE_FH_NONE		(~0ULL)

#endif
