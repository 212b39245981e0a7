// SPDX-License-Identifier: MIT
/** What kernel/src/efuse_uapi.h defines: ioctls of a mounted /dev/efuse, and of its control descriptors. */

export const EFUSE_IOC_TOKEN = 0x8008ef01
export const EFUSE_IOC_CONTROL = 0xef02
export const EFUSE_IOC_BIND = 0x4010ef03
export const EFUSE_IOC_INFO = 0x8208ef04
export const EFUSE_IOC_QUEUES = 0xef05
export const EFUSE_IOC_BACKGROUND = 0xef06
export const EFUSE_IOC_CAN = 0xef07

/** Bytes of a name in struct efuse_info, NUL included. */
export const EFUSE_NAME_LEN = 16
/** sizeof(struct efuse_info) */
export const EFUSE_INFO_BYTES = 8 + 32 * EFUSE_NAME_LEN

/**
 * What a server may do beside FUSE on mounts of type efuse (kernel/src/efuse_uapi.h): the request's header then says
 * EFUSE_WANTS and what is wanted where other kernels have padding.
 */
export const EFUSE_WANTS = 0xef00
/** WRITE: behind the answer comes a fuse_attr_out, the inode's attributes after it. */
export const EFUSE_CAN_ATTR = 1
/**
 * CREATE, OPEN: the handle is EFUSE_FH_NONE, and nothing is released. READ, WRITE and READDIR may come with this handle: they
 * are about the inode.
 */
export const EFUSE_CAN_NO_HANDLE = 2
/** Both halves of EFUSE_FH_NONE. */
export const EFUSE_FH_NONE_HALF = 0xffffffff
