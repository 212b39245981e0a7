// SPDX-License-Identifier: MIT
/**
 * The numbers of the FUSE protocol, 7.31 to 7.46: opcodes, notifications and flags, by their
 * kernel names (`linux/fuse.h` of Linux 7.3).
 */

/** The protocol version that this code speaks; the smaller minor of kernel and server is used. */
export const FUSE_KERNEL_VERSION = 7
export const FUSE_KERNEL_MINOR_VERSION = 46
/** The oldest minor that is served (Linux 5.2). */
export const FUSE_OLDEST_MINOR_VERSION = 31

/** The root directory's nodeid. */
export const FUSE_ROOT_ID = 1

/** Requests, by opcode. */
export const FuseOpcode = {
  FUSE_LOOKUP: 1,
  FUSE_FORGET: 2,
  FUSE_GETATTR: 3,
  FUSE_SETATTR: 4,
  FUSE_READLINK: 5,
  FUSE_SYMLINK: 6,
  FUSE_MKNOD: 8,
  FUSE_MKDIR: 9,
  FUSE_UNLINK: 10,
  FUSE_RMDIR: 11,
  FUSE_RENAME: 12,
  FUSE_LINK: 13,
  FUSE_OPEN: 14,
  FUSE_READ: 15,
  FUSE_WRITE: 16,
  FUSE_STATFS: 17,
  FUSE_RELEASE: 18,
  FUSE_FSYNC: 20,
  FUSE_SETXATTR: 21,
  FUSE_GETXATTR: 22,
  FUSE_LISTXATTR: 23,
  FUSE_REMOVEXATTR: 24,
  FUSE_FLUSH: 25,
  FUSE_INIT: 26,
  FUSE_OPENDIR: 27,
  FUSE_READDIR: 28,
  FUSE_RELEASEDIR: 29,
  FUSE_FSYNCDIR: 30,
  FUSE_GETLK: 31,
  FUSE_SETLK: 32,
  FUSE_SETLKW: 33,
  FUSE_ACCESS: 34,
  FUSE_CREATE: 35,
  FUSE_INTERRUPT: 36,
  FUSE_BMAP: 37,
  FUSE_DESTROY: 38,
  FUSE_IOCTL: 39,
  FUSE_POLL: 40,
  FUSE_NOTIFY_REPLY: 41,
  FUSE_BATCH_FORGET: 42,
  FUSE_FALLOCATE: 43,
  FUSE_READDIRPLUS: 44,
  FUSE_RENAME2: 45,
  FUSE_LSEEK: 46,
  FUSE_COPY_FILE_RANGE: 47,
  FUSE_SETUPMAPPING: 48,
  FUSE_REMOVEMAPPING: 49,
  FUSE_SYNCFS: 50,
  FUSE_TMPFILE: 51,
  FUSE_STATX: 52,
  FUSE_COPY_FILE_RANGE_64: 53,
  CUSE_INIT: 4096,
} as const
export type FuseOpcodeName = keyof typeof FuseOpcode

/** Messages that the server sends unasked: `error` of a fuse_out_header whose unique is 0. */
export const FuseNotifyCode = {
  FUSE_NOTIFY_POLL: 1,
  FUSE_NOTIFY_INVAL_INODE: 2,
  FUSE_NOTIFY_INVAL_ENTRY: 3,
  FUSE_NOTIFY_STORE: 4,
  FUSE_NOTIFY_RETRIEVE: 5,
  FUSE_NOTIFY_DELETE: 6,
  FUSE_NOTIFY_RESEND: 7,
  FUSE_NOTIFY_INC_EPOCH: 8,
  FUSE_NOTIFY_PRUNE: 9,
} as const

/** INIT flags: the bit number of each. Bits 32 and up travel in `flags2`, when FUSE_INIT_EXT is set. */
export const FuseInitFlag = {
  FUSE_ASYNC_READ: 0,
  FUSE_POSIX_LOCKS: 1,
  FUSE_FILE_OPS: 2,
  FUSE_ATOMIC_O_TRUNC: 3,
  FUSE_EXPORT_SUPPORT: 4,
  FUSE_BIG_WRITES: 5,
  FUSE_DONT_MASK: 6,
  FUSE_SPLICE_WRITE: 7,
  FUSE_SPLICE_MOVE: 8,
  FUSE_SPLICE_READ: 9,
  FUSE_FLOCK_LOCKS: 10,
  FUSE_HAS_IOCTL_DIR: 11,
  FUSE_AUTO_INVAL_DATA: 12,
  FUSE_DO_READDIRPLUS: 13,
  FUSE_READDIRPLUS_AUTO: 14,
  FUSE_ASYNC_DIO: 15,
  FUSE_WRITEBACK_CACHE: 16,
  FUSE_NO_OPEN_SUPPORT: 17,
  FUSE_PARALLEL_DIROPS: 18,
  FUSE_HANDLE_KILLPRIV: 19,
  FUSE_POSIX_ACL: 20,
  FUSE_ABORT_ERROR: 21,
  FUSE_MAX_PAGES: 22,
  FUSE_CACHE_SYMLINKS: 23,
  FUSE_NO_OPENDIR_SUPPORT: 24,
  FUSE_EXPLICIT_INVAL_DATA: 25,
  FUSE_MAP_ALIGNMENT: 26,
  FUSE_SUBMOUNTS: 27,
  FUSE_HANDLE_KILLPRIV_V2: 28,
  FUSE_SETXATTR_EXT: 29,
  FUSE_INIT_EXT: 30,
  FUSE_SECURITY_CTX: 32,
  FUSE_HAS_INODE_DAX: 33,
  FUSE_CREATE_SUPP_GROUP: 34,
  FUSE_HAS_EXPIRE_ONLY: 35,
  FUSE_DIRECT_IO_ALLOW_MMAP: 36,
  FUSE_PASSTHROUGH: 37,
  FUSE_NO_EXPORT_SUPPORT: 38,
  FUSE_HAS_RESEND: 39,
  FUSE_ALLOW_IDMAP: 40,
  FUSE_OVER_IO_URING: 41,
  FUSE_REQUEST_TIMEOUT: 42,
  FUSE_HAS_IO_URING_BUFPOOL: 43,
} as const
export type FuseInitFlagName = keyof typeof FuseInitFlag

// fuse_setattr_in.valid
export const FATTR_MODE = 1 << 0
export const FATTR_UID = 1 << 1
export const FATTR_GID = 1 << 2
export const FATTR_SIZE = 1 << 3
export const FATTR_ATIME = 1 << 4
export const FATTR_MTIME = 1 << 5
export const FATTR_FH = 1 << 6
export const FATTR_ATIME_NOW = 1 << 7
export const FATTR_MTIME_NOW = 1 << 8
export const FATTR_LOCKOWNER = 1 << 9
export const FATTR_CTIME = 1 << 10
export const FATTR_KILL_SUIDGID = 1 << 11

// fuse_open_out.open_flags
export const FOPEN_DIRECT_IO = 1 << 0
export const FOPEN_KEEP_CACHE = 1 << 1
export const FOPEN_NONSEEKABLE = 1 << 2
export const FOPEN_CACHE_DIR = 1 << 3
export const FOPEN_STREAM = 1 << 4
export const FOPEN_NOFLUSH = 1 << 5
export const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6
export const FOPEN_PASSTHROUGH = 1 << 7
export const FOPEN_IO_URING_ZERO_COPY = 1 << 8

// fuse_release_in.release_flags
export const FUSE_RELEASE_FLUSH = 1 << 0
export const FUSE_RELEASE_FLOCK_UNLOCK = 1 << 1

// fuse_getattr_in.getattr_flags
export const FUSE_GETATTR_FH = 1 << 0

// fuse_lk_in.lk_flags
export const FUSE_LK_FLOCK = 1 << 0

// fuse_write_in.write_flags
export const FUSE_WRITE_CACHE = 1 << 0
export const FUSE_WRITE_LOCKOWNER = 1 << 1
export const FUSE_WRITE_KILL_SUIDGID = 1 << 2

// fuse_read_in.read_flags
export const FUSE_READ_LOCKOWNER = 1 << 1

// fuse_ioctl_in.flags and fuse_ioctl_out.flags
export const FUSE_IOCTL_COMPAT = 1 << 0
export const FUSE_IOCTL_UNRESTRICTED = 1 << 1
export const FUSE_IOCTL_RETRY = 1 << 2
export const FUSE_IOCTL_32BIT = 1 << 3
export const FUSE_IOCTL_DIR = 1 << 4
export const FUSE_IOCTL_COMPAT_X32 = 1 << 5

// fuse_poll_in.flags
export const FUSE_POLL_SCHEDULE_NOTIFY = 1 << 0

// fuse_fsync_in.fsync_flags
export const FUSE_FSYNC_FDATASYNC = 1 << 0

// fuse_attr.flags
export const FUSE_ATTR_SUBMOUNT = 1 << 0
export const FUSE_ATTR_DAX = 1 << 1

// fuse_open_in.open_flags
export const FUSE_OPEN_KILL_SUIDGID = 1 << 0

// fuse_setxattr_in.setxattr_flags
export const FUSE_SETXATTR_ACL_KILL_SGID = 1 << 0

// fuse_setupmapping_in.flags
export const FUSE_SETUPMAPPING_FLAG_WRITE = 1 << 0
export const FUSE_SETUPMAPPING_FLAG_READ = 1 << 1

// fuse_notify_inval_entry_out.flags
export const FUSE_EXPIRE_ONLY = 1 << 0

// fuse_uring_ent_in_out.flags
export const FUSE_URING_ENT_ZERO_COPY = 1 << 0

// fuse_uring_cmd_req.flags of FUSE_IO_URING_CMD_ADD_QUEUE
export const FUSE_URING_ZERO_COPY = 1 << 0

/** At most so many in_iovs and out_iovs in one FUSE_IOCTL retry. */
export const FUSE_IOCTL_MAX_IOV = 256
/** Set in a request's unique (bit 63) when the kernel sends it again after FUSE_NOTIFY_RESEND. */
export const FUSE_UNIQUE_RESEND_HIGH = 0x80000000
/** uid and gid of a request on an idmapped mount whose caller has no mapping. */
export const FUSE_INVALID_UIDGID = 0xffffffff
/** The device refuses reads into less than this, bytes. */
export const FUSE_MIN_READ_BUFFER = 8192

// Extensions behind a request's payload
export const FUSE_MAX_NR_SECCTX = 31
export const FUSE_EXT_GROUPS = 32

// The shorter forms that older kernels send or expect, bytes
export const FUSE_COMPAT_SETXATTR_IN_SIZE = 8
export const FUSE_COMPAT_INIT_IN_SIZE = 16

// FUSE over io_uring
export const FUSE_URING_IN_OUT_HEADER_SZ = 128
export const FUSE_URING_OP_IN_OUT_SZ = 128
export const FuseUringCmd = {
  FUSE_IO_URING_CMD_INVALID: 0,
  FUSE_IO_URING_CMD_REGISTER: 1,
  FUSE_IO_URING_CMD_COMMIT_AND_FETCH: 2,
  FUSE_IO_URING_CMD_ADD_QUEUE: 3,
  FUSE_IO_URING_CMD_ADD_BUFPOOL: 4,
} as const

/** Requests of the device fd's ioctl(2): `_IOR/_IOW/_IO(229, n, type)`. */
export const FUSE_DEV_IOC_CLONE = 0x8004e500
export const FUSE_DEV_IOC_BACKING_OPEN = 0x4010e501
export const FUSE_DEV_IOC_BACKING_CLOSE = 0x4004e502
export const FUSE_DEV_IOC_SYNC_INIT = 0xe503

// File type and permission bits (stat(2))
export const S_IFMT = 0o170000
export const S_IFSOCK = 0o140000
export const S_IFLNK = 0o120000
export const S_IFREG = 0o100000
export const S_IFBLK = 0o060000
export const S_IFDIR = 0o040000
export const S_IFCHR = 0o020000
export const S_IFIFO = 0o010000
export const S_ISUID = 0o4000
export const S_ISGID = 0o2000
export const S_ISVTX = 0o1000
