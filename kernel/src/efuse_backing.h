/* SPDX-License-Identifier: GPL-2.0-only */
/* Backing files: what the calls of programs use of them. */
#ifndef _FS_EFUSE_BACKING_H
#define _FS_EFUSE_BACKING_H

#include "efuse_i.h"

struct efuse_backing;

struct efuse_backing *efuse_backing_get(struct efuse_call *call);
void efuse_backing_put(struct efuse_backing *backing);
loff_t efuse_backing_size(struct efuse_backing *backing);
ssize_t efuse_backing_io(struct efuse_call *call, struct efuse_backing *backing, u32 offset, u32 len);
ssize_t efuse_backing_read_mem(struct efuse_backing *backing, loff_t pos, void *mem, u32 len);

#endif
