// SPDX-License-Identifier: MIT
/** What kernel/src/efuse_uapi.h defines: ioctls of a mounted /dev/efuse, and of its control descriptors. */

export const EFUSE_IOC_TOKEN = 0x8008ef01
export const EFUSE_IOC_CONTROL = 0xef02
export const EFUSE_IOC_BIND = 0x4010ef03
export const EFUSE_IOC_INFO = 0x8208ef04
export const EFUSE_IOC_QUEUES = 0xef05
export const EFUSE_IOC_BACKGROUND = 0xef06

/** Bytes of a name in struct efuse_info, NUL included. */
export const EFUSE_NAME_LEN = 16
/** sizeof(struct efuse_info) */
export const EFUSE_INFO_BYTES = 8 + 32 * EFUSE_NAME_LEN
