// SPDX-License-Identifier: MIT
/**
 * Every FUSE request as a row of one table: what its bytes hold and what its reply looks like.
 * Parsing, dispatch, the counters, the conformance vectors and the documentation read this table.
 */
import { FuseOpcode, type FuseOpcodeName } from './constants.js'
import type { Struct } from './struct.js'
import * as s from './structs.js'

/**
 * What the reply's payload is.
 * - `none`: no reply is sent; `empty`: only the header.
 * - `data`: bytes, as many as the answer has; `dirents`: directory records.
 * - `xattr`: bytes, or fuse_getxattr_out when the request asked for the size only.
 * - `ioctl`: fuse_ioctl_out and bytes. The others are one struct.
 */
export type ReplyKind =
  | 'none' | 'empty' | 'entry' | 'attr' | 'statx' | 'open' | 'create' | 'write' | 'copied' | 'statfs'
  | 'data' | 'dirents' | 'xattr' | 'lk' | 'bmap' | 'ioctl' | 'poll' | 'lseek' | 'init'

export interface Operation {
  /** The kernel's name. */
  readonly name: FuseOpcodeName
  readonly opcode: number
  /** The fixed struct at the start of the request's body. */
  readonly args: Struct<any> | null
  /** NUL-terminated strings after it. */
  readonly names: 0 | 1 | 2
  /** Bytes after those. */
  readonly data: boolean
  readonly reply: ReplyKind
  /** Bytes of the reply's fixed part. */
  readonly replySize: number
  /** Whether the reply may be as large as a transfer, and so goes where bulk data go. */
  readonly bulkReply: boolean
  /** Whether the reply holds a fuse_open_out. */
  readonly opens: boolean
  /** First protocol minor that has it. */
  readonly since: number
}

/** The struct that a reply consists of or begins with; null where it has none. */
export const REPLY_STRUCT: Readonly<Record<ReplyKind, Struct<any> | null>> = {
  none: null,
  empty: null,
  data: null,
  dirents: null,
  xattr: null,
  entry: s.fuse_entry_out,
  attr: s.fuse_attr_out,
  statx: s.fuse_statx_out,
  open: s.fuse_open_out,
  create: s.fuse_entry_out,
  write: s.fuse_write_out,
  copied: s.fuse_copy_file_range_out,
  statfs: s.fuse_statfs_out,
  lk: s.fuse_lk_out,
  bmap: s.fuse_bmap_out,
  ioctl: s.fuse_ioctl_out,
  poll: s.fuse_poll_out,
  lseek: s.fuse_lseek_out,
  init: s.fuse_init_out,
}

/** Size of a reply's fixed part, bytes. */
export const REPLY_SIZE: Readonly<Record<ReplyKind, number>> = {
  ...(Object.fromEntries(
    Object.entries(REPLY_STRUCT).map(([kind, layout]) => [kind, layout?.size ?? 0]),
  ) as Record<ReplyKind, number>),
  create: s.fuse_entry_out.size + s.fuse_open_out.size,
}

type Row = [FuseOpcodeName, Struct<any> | null, 0 | 1 | 2, boolean, ReplyKind, number?]

const ROWS: readonly Row[] = [
  // name                     fixed struct              names data   reply     since 7.x
  ['FUSE_LOOKUP',             null,                       1, false, 'entry'],
  ['FUSE_FORGET',             s.fuse_forget_in,           0, false, 'none'],
  ['FUSE_GETATTR',            s.fuse_getattr_in,          0, false, 'attr'],
  ['FUSE_SETATTR',            s.fuse_setattr_in,          0, false, 'attr'],
  ['FUSE_READLINK',           null,                       0, false, 'data'],
  ['FUSE_SYMLINK',            null,                       2, false, 'entry'],
  ['FUSE_MKNOD',              s.fuse_mknod_in,            1, false, 'entry'],
  ['FUSE_MKDIR',              s.fuse_mkdir_in,            1, false, 'entry'],
  ['FUSE_UNLINK',             null,                       1, false, 'empty'],
  ['FUSE_RMDIR',              null,                       1, false, 'empty'],
  ['FUSE_RENAME',             s.fuse_rename_in,           2, false, 'empty'],
  ['FUSE_LINK',               s.fuse_link_in,             1, false, 'entry'],
  ['FUSE_OPEN',               s.fuse_open_in,             0, false, 'open'],
  ['FUSE_READ',               s.fuse_read_in,             0, false, 'data'],
  ['FUSE_WRITE',              s.fuse_write_in,            0, true,  'write'],
  ['FUSE_STATFS',             null,                       0, false, 'statfs'],
  ['FUSE_RELEASE',            s.fuse_release_in,          0, false, 'empty'],
  ['FUSE_FSYNC',              s.fuse_fsync_in,            0, false, 'empty'],
  ['FUSE_SETXATTR',           s.fuse_setxattr_in,         1, true,  'empty'],
  ['FUSE_GETXATTR',           s.fuse_getxattr_in,         1, false, 'xattr'],
  ['FUSE_LISTXATTR',          s.fuse_getxattr_in,         0, false, 'xattr'],
  ['FUSE_REMOVEXATTR',        null,                       1, false, 'empty'],
  ['FUSE_FLUSH',              s.fuse_flush_in,            0, false, 'empty'],
  ['FUSE_INIT',               s.fuse_init_in,             0, false, 'init'],
  ['FUSE_OPENDIR',            s.fuse_open_in,             0, false, 'open'],
  ['FUSE_READDIR',            s.fuse_read_in,             0, false, 'dirents'],
  ['FUSE_RELEASEDIR',         s.fuse_release_in,          0, false, 'empty'],
  ['FUSE_FSYNCDIR',           s.fuse_fsync_in,            0, false, 'empty'],
  ['FUSE_GETLK',              s.fuse_lk_in,               0, false, 'lk'],
  ['FUSE_SETLK',              s.fuse_lk_in,               0, false, 'empty'],
  ['FUSE_SETLKW',             s.fuse_lk_in,               0, false, 'empty'],
  ['FUSE_ACCESS',             s.fuse_access_in,           0, false, 'empty'],
  ['FUSE_CREATE',             s.fuse_create_in,           1, false, 'create'],
  ['FUSE_INTERRUPT',          s.fuse_interrupt_in,        0, false, 'none'],
  ['FUSE_BMAP',               s.fuse_bmap_in,             0, false, 'bmap'],
  ['FUSE_DESTROY',            null,                       0, false, 'empty'],
  ['FUSE_IOCTL',              s.fuse_ioctl_in,            0, true,  'ioctl'],
  ['FUSE_POLL',               s.fuse_poll_in,             0, false, 'poll'],
  ['FUSE_NOTIFY_REPLY',       s.fuse_notify_retrieve_in,  0, true,  'none'],
  ['FUSE_BATCH_FORGET',       s.fuse_batch_forget_in,     0, true,  'none'],
  ['FUSE_FALLOCATE',          s.fuse_fallocate_in,        0, false, 'empty'],
  ['FUSE_READDIRPLUS',        s.fuse_read_in,             0, false, 'dirents'],
  ['FUSE_RENAME2',            s.fuse_rename2_in,          2, false, 'empty'],
  ['FUSE_LSEEK',              s.fuse_lseek_in,            0, false, 'lseek'],
  ['FUSE_COPY_FILE_RANGE',    s.fuse_copy_file_range_in,  0, false, 'write'],
  ['FUSE_SETUPMAPPING',       s.fuse_setupmapping_in,     0, false, 'empty', 31],
  ['FUSE_REMOVEMAPPING',      s.fuse_removemapping_in,    0, true,  'empty', 31],
  ['FUSE_SYNCFS',             s.fuse_syncfs_in,           0, false, 'empty', 34],
  ['FUSE_TMPFILE',            s.fuse_create_in,           1, false, 'create', 37],
  ['FUSE_STATX',              s.fuse_statx_in,            0, false, 'statx', 39],
  ['FUSE_COPY_FILE_RANGE_64', s.fuse_copy_file_range_in,  0, false, 'copied', 45],
]

const BULK_REPLIES: ReadonlySet<ReplyKind> = new Set(['data', 'dirents', 'xattr', 'ioctl'])

/** All requests, in the order of their opcodes. */
export const OPERATIONS: readonly Operation[] = ROWS.map(([name, args, names, data, reply, since = 31]) => ({
  name,
  opcode: FuseOpcode[name],
  args,
  names,
  data,
  reply,
  replySize: REPLY_SIZE[reply],
  bulkReply: BULK_REPLIES.has(reply),
  opens: reply === 'open' || reply === 'create',
  since,
}))

/** One more than the largest opcode of a mounted file system: the size of tables by opcode. */
export const OPCODE_LIMIT = 64

/** The row of each opcode; undefined where there is none. Index: below OPCODE_LIMIT. */
export const OPERATION_BY_OPCODE: readonly (Operation | undefined)[] = Array.from(
  { length: OPCODE_LIMIT },
  (_, opcode) => OPERATIONS.find((operation) => operation.opcode === opcode),
)
