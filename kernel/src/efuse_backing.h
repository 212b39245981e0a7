/* SPDX-License-Identifier: GPL-2.0-only */
/* Backing files: what the calls of programs use of them. */
#ifndef _FS_EFUSE_BACKING_H
#define _FS_EFUSE_BACKING_H

#include "efuse_i.h"

s64 efuse_backing_size(struct efuse_call *call);
int efuse_backing_state(struct efuse_call *call, struct efuse_backing_state *state);
int efuse_backing_fill(struct efuse_call *call, loff_t pos, void *mem, u32 len, u64 version);
ssize_t efuse_backing_io(struct efuse_call *call, u32 offset, u32 len);
ssize_t efuse_backing_read_mem(struct efuse_call *call, loff_t pos, void *mem, u32 len);

#endif
