/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads and writes that have not become requests: what the calls of programs use of them. */
#ifndef _FS_EFUSE_FILE_H
#define _FS_EFUSE_FILE_H

#include "efuse_i.h"

#ifdef CONFIG_FUSE_PASSTHROUGH
int efuse_iter_copy(struct efuse_call *call, u32 offset, const void *from, u32 len);
ssize_t efuse_iter_read(struct efuse_call *call, u32 offset, u32 len);
ssize_t efuse_iter_write(struct efuse_call *call, u32 len);
ssize_t efuse_iter_read_mem(struct efuse_call *call, loff_t pos, void *mem, u32 len);
void efuse_iter_accessed(struct efuse_call *call);
struct file *efuse_iter_backing(struct efuse_call *call);
#else
/* There are none: call->iter is NULL. */
static inline int efuse_iter_copy(struct efuse_call *call, u32 offset, const void *from, u32 len)
{
	return -EFAULT;
}

static inline ssize_t efuse_iter_read(struct efuse_call *call, u32 offset, u32 len)
{
	return -ENOENT;
}

static inline ssize_t efuse_iter_write(struct efuse_call *call, u32 len)
{
	return -ENOENT;
}

static inline ssize_t efuse_iter_read_mem(struct efuse_call *call, loff_t pos, void *mem, u32 len)
{
	return -ENOENT;
}

static inline void efuse_iter_accessed(struct efuse_call *call)
{
}

static inline struct file *efuse_iter_backing(struct efuse_call *call)
{
	return NULL;
}
#endif

#endif
