// SPDX-License-Identifier: MIT
/**
 * Byte vectors of the FUSE protocol, little-endian: every request and its meaning, every reply and
 * every notification, and malformed requests. Written out by hand from `linux/fuse.h`, field by
 * field, so that they can be read against it and don't depend on any encoder.
 *
 * All requests have the same unique, nodeid and caller (`HEADER`), so that a mix-up of two fields
 * shows: no two 64-bit values here are alike.
 */
import { constants } from 'node:os'
import { FuseOpcode, type FuseOpcodeName, type FuseNotifyCode } from '../protocol/constants.js'
import { cstring, hex, i32, i64, join, text, u16, u32, u64, zeros, type Piece } from './bytes.js'

const { EIO, EINVAL, ENOENT, ENOSYS } = constants.errno

/** A field's value: numbers as bigint, strings and bytes as they are, nested structs as objects. */
export type FieldValue = bigint | string | Uint8Array | { readonly [name: string]: FieldValue }
export type FieldValues = Readonly<Record<string, FieldValue>>

/** What the negotiation decided about the forms of requests. */
export interface VectorDialect {
  readonly minor: number
  /** FUSE_SETXATTR_EXT is in use. */
  readonly setxattrExt: boolean
}

export interface RequestVector {
  readonly operation: FuseOpcodeName
  readonly name: string
  readonly dialect: VectorDialect
  readonly request: Uint8Array
  /**
   * What parsing must find: the fields of the operation's struct by kernel names, `name` and `name2`
   * (strings after it), `data` (bytes after those), `group` and `securityContexts` (extensions).
   */
  readonly fields: FieldValues
}

export interface ReplyVector {
  readonly operation: FuseOpcodeName
  readonly name: string
  /** The request that is answered. */
  readonly request: Uint8Array
  /** The reply's struct by kernel names, `data`, `dirents`, or `errno` (positive). */
  readonly answer: ReplyAnswer
  /** The whole reply; empty: none is sent. */
  readonly reply: Uint8Array
}

export interface ReplyAnswer {
  readonly fields?: FieldValues
  readonly data?: Uint8Array
  readonly dirents?: readonly FieldValues[]
  readonly errno?: number
}

export interface MalformedVector {
  readonly name: string
  readonly dialect: VectorDialect
  readonly request: Uint8Array
  /** The error that must be answered (positive); 0: no answer at all. */
  readonly errno: number
}

export interface NotificationVector {
  readonly code: keyof typeof FuseNotifyCode
  readonly name: string
  /** The fields of its struct, and `name`, `data` or `nodeids` (joined 64-bit values) behind it. */
  readonly fields: FieldValues
  readonly bytes: Uint8Array
}

const NEWEST: VectorDialect = { minor: 46, setxattrExt: true }

/** What the fuse_in_header of every vector says. */
export const HEADER = { unique: 0x0102030405060708n, nodeid: 0x1112131415161718n, uid: 1000, gid: 100, pid: 4242 } as const

/** fuse_in_header: len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding. */
function message(opcode: number, body: readonly Piece[], extensions: readonly Piece[] = [], len?: number): Uint8Array {
  const tail = join(extensions)
  const rest = join([...body, tail])
  return join([
    u32(len ?? 40 + rest.length),
    u32(opcode),
    u64(HEADER.unique),
    u64(HEADER.nodeid),
    u32(HEADER.uid),
    u32(HEADER.gid),
    u32(HEADER.pid),
    u16(tail.length / 8),
    u16(0),
    rest,
  ])
}

/** fuse_out_header: len, error, unique; then the payload. */
function answer(pieces: readonly Piece[], error = 0): Uint8Array {
  const payload = join(pieces)
  return join([u32(16 + payload.length), i32(error), u64(HEADER.unique), payload])
}

const requests: RequestVector[] = []
function request(
  operation: FuseOpcodeName, name: string, body: readonly Piece[], fields: FieldValues,
  { extensions = [], dialect = NEWEST }: { extensions?: readonly Piece[]; dialect?: VectorDialect } = {},
): void {
  requests.push({ operation, name, dialect, request: message(FuseOpcode[operation], body, extensions), fields })
}

// Requests

request('FUSE_LOOKUP', 'a name', [cstring('file.txt')], { name: 'file.txt' })
request('FUSE_LOOKUP', 'a name of several bytes a character', [hex('c3a9 e282ac f09f9880 00')], { name: 'é€😀' })
request('FUSE_LOOKUP', 'a name that begins with a byte order mark', [hex('efbbbf 61 00')], { name: '\ufeffa' })
request('FUSE_LOOKUP', 'a name of 255 bytes', [cstring('n'.repeat(255))], { name: 'n'.repeat(255) })
request('FUSE_FORGET', 'more look-ups than 32 bits hold', [u64(0x100000002n)], { nlookup: 0x100000002n })
request('FUSE_GETATTR', 'by inode', [
  u32(0), // getattr_flags
  u32(0), // dummy
  u64(0n), // fh
], { getattr_flags: 0n, fh: 0n })
request('FUSE_GETATTR', 'by file handle', [
  u32(1), // getattr_flags: FUSE_GETATTR_FH
  u32(0), // dummy
  u64(0xf1f2f3f4f5f6f7f8n), // fh
], { getattr_flags: 1n, fh: 0xf1f2f3f4f5f6f7f8n })
request('FUSE_SETATTR', 'everything, times before 1970', [
  u32(0x7f | 0x200 | 0x400), // valid: all but ATIME_NOW and MTIME_NOW
  u32(0), // padding
  u64(0x2122232425262728n), // fh
  u64(0x3132333435363738n), // size
  u64(0x4142434445464748n), // lock_owner
  i64(-1n), // atime
  i64(-62135596800n), // mtime: the year 1
  i64(253402300799n), // ctime: the year 9999
  u32(999999999), // atimensec
  u32(1), // mtimensec
  u32(2), // ctimensec
  u32(0o100755), // mode
  u32(0), // unused4
  u32(0xfffffffe), // uid
  u32(65534), // gid
  u32(0), // unused5
], {
  valid: 0x67fn, fh: 0x2122232425262728n, size: 0x3132333435363738n, lock_owner: 0x4142434445464748n,
  atime: -1n, mtime: -62135596800n, ctime: 253402300799n, atimensec: 999999999n, mtimensec: 1n, ctimensec: 2n,
  mode: 0o100755n, uid: 0xfffffffen, gid: 65534n,
})
request('FUSE_READLINK', 'nothing but a header', [], {})
request('FUSE_SYMLINK', 'name and target', [cstring('link'), cstring('../target')], { name: 'link', name2: '../target' })
request('FUSE_MKNOD', 'a character device', [
  u32(0o020600), // mode
  u32(0x103), // rdev
  u32(0o027), // umask
  u32(0), // padding
  cstring('null'),
], { mode: 0o020600n, rdev: 0x103n, umask: 0o027n, name: 'null' })
request('FUSE_MKDIR', 'a directory', [
  u32(0o755), // mode
  u32(0o022), // umask
  cstring('dir'),
], { mode: 0o755n, umask: 0o022n, name: 'dir' })
request('FUSE_MKDIR', 'with a supplementary group behind a name of odd length', [
  u32(0o2775), u32(0), cstring('shared'),
], { mode: 0o2775n, umask: 0n, name: 'shared', group: 4711n }, {
  extensions: [
    u32(16), // fuse_ext_header.size
    u32(32), // type: FUSE_EXT_GROUPS
    u32(1), // fuse_supp_groups.nr_groups
    u32(4711),
  ],
})
request('FUSE_UNLINK', 'a name', [cstring('gone')], { name: 'gone' })
request('FUSE_RMDIR', 'a name', [cstring('empty')], { name: 'empty' })
request('FUSE_RENAME', 'to another directory', [
  u64(0x5152535455565758n), // newdir
  cstring('old'), cstring('new'),
], { newdir: 0x5152535455565758n, name: 'old', name2: 'new' })
request('FUSE_LINK', 'another name', [
  u64(0x6162636465666768n), // oldnodeid
  cstring('second'),
], { oldnodeid: 0x6162636465666768n, name: 'second' })
request('FUSE_OPEN', 'for reading and writing', [
  u32(0o100002), // flags: O_LARGEFILE | O_RDWR
  u32(1), // open_flags: FUSE_OPEN_KILL_SUIDGID
], { flags: 0o100002n, open_flags: 1n })
const read = (size: number): readonly Piece[] => [
  u64(0xa1a2a3a4a5a6a7a8n), // fh
  u64(0x7172737475767778n), // offset
  u32(size), // size
  u32(2), // read_flags: FUSE_READ_LOCKOWNER
  u64(0x8182838485868788n), // lock_owner
  u32(0o100000), // flags
  u32(0), // padding
]
const readFields = (size: bigint): FieldValues => ({
  fh: 0xa1a2a3a4a5a6a7a8n, offset: 0x7172737475767778n, size, read_flags: 2n, lock_owner: 0x8182838485868788n, flags: 0o100000n,
})
request('FUSE_READ', 'four pages', read(16384), readFields(16384n))
const write = (size: number, ...data: Piece[]): readonly Piece[] => [
  u64(0xb1b2b3b4b5b6b7b8n), // fh
  u64(0x0a0b0c0d0e0f1011n), // offset
  u32(size), // size
  u32(3), // write_flags: FUSE_WRITE_CACHE | FUSE_WRITE_LOCKOWNER
  u64(0x9192939495969798n), // lock_owner
  u32(0o100001), // flags
  u32(0), // padding
  ...data,
]
request('FUSE_WRITE', 'five bytes', write(5, text('hello')), {
  fh: 0xb1b2b3b4b5b6b7b8n, offset: 0x0a0b0c0d0e0f1011n, size: 5n, write_flags: 3n, lock_owner: 0x9192939495969798n,
  flags: 0o100001n, data: text('hello'),
})
request('FUSE_WRITE', 'nothing', write(0), { size: 0n, data: zeros(0) })
request('FUSE_STATFS', 'nothing but a header', [], {})
const release: readonly Piece[] = [
  u64(0xc1c2c3c4c5c6c7c8n), // fh
  u32(0o100002), // flags
  u32(2), // release_flags: FUSE_RELEASE_FLOCK_UNLOCK
  u64(0x1213141516171819n), // lock_owner
]
const releaseFields: FieldValues = {
  fh: 0xc1c2c3c4c5c6c7c8n, flags: 0o100002n, release_flags: 2n, lock_owner: 0x1213141516171819n,
}
request('FUSE_RELEASE', 'with flock locks to drop', release, releaseFields)
const fsync: readonly Piece[] = [
  u64(0xd1d2d3d4d5d6d7d8n), // fh
  u32(1), // fsync_flags: FUSE_FSYNC_FDATASYNC
  u32(0), // padding
]
request('FUSE_FSYNC', 'data only', fsync, { fh: 0xd1d2d3d4d5d6d7d8n, fsync_flags: 1n })
request('FUSE_SETXATTR', 'long form', [
  u32(5), // size
  u32(1), // flags: XATTR_CREATE
  u32(1), // setxattr_flags: FUSE_SETXATTR_ACL_KILL_SGID
  u32(0), // padding
  cstring('user.comment'), hex('00 01 02 03 ff'),
], { size: 5n, flags: 1n, setxattr_flags: 1n, name: 'user.comment', data: hex('00010203ff') })
request('FUSE_SETXATTR', 'short form, before FUSE_SETXATTR_EXT', [
  u32(3), // size
  u32(2), // flags: XATTR_REPLACE
  cstring('user.a'), text('abc'),
], { size: 3n, flags: 2n, name: 'user.a', data: text('abc') }, { dialect: { minor: 31, setxattrExt: false } })
request('FUSE_SETXATTR', 'an empty value', [u32(0), u32(0), u32(0), u32(0), cstring('user.none')], {
  size: 0n, name: 'user.none', data: zeros(0),
})
const getxattr = (size: number): readonly Piece[] => [
  u32(size), // size
  u32(0), // padding
  cstring('security.capability'),
]
request('FUSE_GETXATTR', 'value', getxattr(256), { size: 256n, name: 'security.capability' })
const listxattr = (size: number): readonly Piece[] => [u32(size), u32(0)]
request('FUSE_LISTXATTR', 'size only', listxattr(0), { size: 0n })
request('FUSE_REMOVEXATTR', 'a name', [cstring('user.comment')], { name: 'user.comment' })
request('FUSE_FLUSH', 'a lock owner', [
  u64(0xe1e2e3e4e5e6e7e8n), // fh
  u32(0), // unused
  u32(0), // padding
  u64(0x2223242526272829n), // lock_owner
], { fh: 0xe1e2e3e4e5e6e7e8n, lock_owner: 0x2223242526272829n })
const init: readonly Piece[] = [
  u32(7), // major
  u32(46), // minor
  u32(131072), // max_readahead
  u32(0x73fffffb), // flags, FUSE_INIT_EXT among them
  u32(0x00000bff), // flags2
  zeros(44), // unused[11]
]
request('FUSE_INIT', 'long form, since 7.36', init, {
  major: 7n, minor: 46n, max_readahead: 131072n, flags: 0x73fffffbn, flags2: 0xbffn,
})
request('FUSE_INIT', 'short form, before 7.36', [
  u32(7), u32(31), u32(65536), u32(0x03fffffb),
], { major: 7n, minor: 31n, max_readahead: 65536n, flags: 0x03fffffbn })
request('FUSE_OPENDIR', 'a directory', [u32(0o300000), u32(0)], { flags: 0o300000n, open_flags: 0n })
request('FUSE_READDIR', 'from a 64-bit cookie', read(4096), readFields(4096n))
request('FUSE_RELEASEDIR', 'a directory', release, releaseFields)
request('FUSE_FSYNCDIR', 'a directory', fsync, { fh: 0xd1d2d3d4d5d6d7d8n, fsync_flags: 1n })
const lock: readonly Piece[] = [
  u64(0x3233343536373839n), // fh
  u64(0x4243444546474849n), // owner
  u64(0x5253545556575859n), // lk.start
  u64(0x7fffffffffffffffn), // lk.end
  u32(1), // lk.type: F_WRLCK
  u32(777), // lk.pid
  u32(1), // lk_flags: FUSE_LK_FLOCK
  u32(0), // padding
]
const lockFields: FieldValues = {
  fh: 0x3233343536373839n, owner: 0x4243444546474849n, lk_flags: 1n,
  lk: { start: 0x5253545556575859n, end: 0x7fffffffffffffffn, type: 1n, pid: 777n },
}
request('FUSE_GETLK', 'to the end of the file', lock, lockFields)
request('FUSE_SETLK', 'to the end of the file', lock, lockFields)
request('FUSE_SETLKW', 'to the end of the file', lock, lockFields)
request('FUSE_ACCESS', 'R_OK | X_OK', [u32(5), u32(0)], { mask: 5n })
const create: readonly Piece[] = [
  u32(0o100302), // flags: O_LARGEFILE | O_CREAT | O_EXCL | O_RDWR
  u32(0o100644), // mode
  u32(0o022), // umask
  u32(0), // open_flags
]
const createFields: FieldValues = { flags: 0o100302n, mode: 0o100644n, umask: 0o022n, open_flags: 0n }
request('FUSE_CREATE', 'exclusively', [...create, cstring('made')], { ...createFields, name: 'made' })
request('FUSE_CREATE', 'with two security contexts and a group', [...create, cstring('labelled')], {
  ...createFields, name: 'labelled', group: 55n,
  securityContexts: { 'security.selinux': text('user_u:object_r:t'), 'security.apparmor': hex('00ff') },
}, {
  extensions: [
    u32(88), // fuse_secctx_header.size: all of it
    u32(2), // nr_secctx
    u32(17), u32(0), // fuse_secctx: size, padding
    cstring('security.selinux'), text('user_u:object_r:t'), // 17 + 17 bytes
    zeros(6), // to a multiple of 8
    u32(2), u32(0), // fuse_secctx
    cstring('security.apparmor'), hex('00ff'), // 18 + 2 bytes
    zeros(4),
    u32(16), u32(32), u32(1), u32(55), // FUSE_EXT_GROUPS
  ],
})
request('FUSE_INTERRUPT', 'a request', [u64(0x0203040506070809n)], { unique: 0x0203040506070809n })
request('FUSE_BMAP', 'a block', [
  u64(0x6263646566676869n), // block
  u32(4096), // blocksize
  u32(0), // padding
], { block: 0x6263646566676869n, blocksize: 4096n })
request('FUSE_DESTROY', 'nothing but a header', [], {})
const ioctl = (inSize: number, outSize: number, ...data: Piece[]): readonly Piece[] => [
  u64(0x7273747576777879n), // fh
  u32(16), // flags: FUSE_IOCTL_DIR
  u32(0x80086601), // cmd: FS_IOC_GETFLAGS
  u64(0x00007ffd12345678n), // arg
  u32(inSize), // in_size
  u32(outSize), // out_size
  ...data,
]
request('FUSE_IOCTL', 'with input', ioctl(4, 8, u32(0xdeadbeef)), {
  fh: 0x7273747576777879n, flags: 16n, cmd: 0x80086601n, arg: 0x00007ffd12345678n, in_size: 4n, out_size: 8n, data: u32(0xdeadbeef),
})
request('FUSE_POLL', 'to be told', [
  u64(0x8283848586878889n), // fh
  u64(0x9293949596979899n), // kh
  u32(1), // flags: FUSE_POLL_SCHEDULE_NOTIFY
  u32(0x41), // events: POLLIN | POLLRDNORM
], { fh: 0x8283848586878889n, kh: 0x9293949596979899n, flags: 1n, events: 0x41n })
request('FUSE_NOTIFY_REPLY', 'to a retrieve', [
  u64(0n), // dummy1
  u64(0xa2a3a4a5a6a7a8a9n), // offset
  u32(3), // size
  u32(0), // dummy2
  u64(0n), // dummy3
  u64(0n), // dummy4
  text('abc'),
], { offset: 0xa2a3a4a5a6a7a8a9n, size: 3n, data: text('abc') })
request('FUSE_BATCH_FORGET', 'two inodes', [
  u32(2), // count
  u32(0), // dummy
  u64(0xb2b3b4b5b6b7b8b9n), u64(1n), // fuse_forget_one: nodeid, nlookup
  u64(0xc2c3c4c5c6c7c8c9n), u64(0x100000000n),
], { count: 2n, data: join([u64(0xb2b3b4b5b6b7b8b9n), u64(1n), u64(0xc2c3c4c5c6c7c8c9n), u64(0x100000000n)]) })
request('FUSE_FALLOCATE', 'punch a hole', [
  u64(0xd2d3d4d5d6d7d8d9n), // fh
  u64(0x1314151617181920n), // offset
  u64(0x2324252627282930n), // length
  u32(3), // mode: FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
  u32(0), // padding
], { fh: 0xd2d3d4d5d6d7d8d9n, offset: 0x1314151617181920n, length: 0x2324252627282930n, mode: 3n })
request('FUSE_READDIRPLUS', 'from a 64-bit cookie', read(8192), readFields(8192n))
request('FUSE_RENAME2', 'exchange', [
  u64(0x3334353637383940n), // newdir
  u32(2), // flags: RENAME_EXCHANGE
  u32(0), // padding
  cstring('a'), cstring('b'),
], { newdir: 0x3334353637383940n, flags: 2n, name: 'a', name2: 'b' })
request('FUSE_LSEEK', 'SEEK_HOLE', [
  u64(0x4344454647484950n), // fh
  u64(0x5354555657585960n), // offset
  u32(4), // whence
  u32(0), // padding
], { fh: 0x4344454647484950n, offset: 0x5354555657585960n, whence: 4n })
const copy: readonly Piece[] = [
  u64(0x6364656667686970n), // fh_in
  u64(0x7374757677787980n), // off_in
  u64(0x8384858687888990n), // nodeid_out
  u64(0x93949596979899a0n), // fh_out
  u64(0xa3a4a5a6a7a8a9b0n), // off_out
  u64(0x100000000n), // len
  u64(0n), // flags
]
const copyFields: FieldValues = {
  fh_in: 0x6364656667686970n, off_in: 0x7374757677787980n, nodeid_out: 0x8384858687888990n, fh_out: 0x93949596979899a0n,
  off_out: 0xa3a4a5a6a7a8a9b0n, len: 0x100000000n, flags: 0n,
}
request('FUSE_COPY_FILE_RANGE', 'four gigabytes', copy, copyFields)
request('FUSE_COPY_FILE_RANGE_64', 'four gigabytes', copy, copyFields)
request('FUSE_SETUPMAPPING', 'read and write', [
  u64(0xb3b4b5b6b7b8b9c0n), // fh
  u64(0x200000n), // foffset
  u64(0x400000n), // len
  u64(3n), // flags: FUSE_SETUPMAPPING_FLAG_WRITE | FUSE_SETUPMAPPING_FLAG_READ
  u64(0x600000n), // moffset
], { fh: 0xb3b4b5b6b7b8b9c0n, foffset: 0x200000n, len: 0x400000n, flags: 3n, moffset: 0x600000n })
request('FUSE_REMOVEMAPPING', 'one window', [
  u32(1), // count
  u64(0x600000n), u64(0x200000n), // fuse_removemapping_one: moffset, len
], { count: 1n, data: join([u64(0x600000n), u64(0x200000n)]) })
request('FUSE_SYNCFS', 'padding', [u64(0n)], {})
request('FUSE_TMPFILE', 'a file without a name', [...create, cstring('/')], { ...createFields, name: '/' })
request('FUSE_STATX', 'by file handle', [
  u32(1), // getattr_flags: FUSE_GETATTR_FH
  u32(0), // reserved
  u64(0xc3c4c5c6c7c8c9d0n), // fh
  u32(0x2000), // sx_flags: AT_STATX_FORCE_SYNC
  u32(0xfff), // sx_mask: STATX_BASIC_STATS | STATX_BTIME
], { getattr_flags: 1n, fh: 0xc3c4c5c6c7c8c9d0n, sx_flags: 0x2000n, sx_mask: 0xfffn })

export const requestVectors: readonly RequestVector[] = requests

// Replies

const replies: ReplyVector[] = []
function reply(
  operation: FuseOpcodeName, name: string, body: readonly Piece[], given: ReplyAnswer, pieces: readonly Piece[],
): void {
  replies.push({
    operation, name, request: message(FuseOpcode[operation], body), answer: given,
    reply: given.errno === undefined ? answer(pieces) : answer([], -given.errno),
  })
}

const attr: readonly Piece[] = [
  u64(0x0112233445566778n), // ino
  u64(0x7fffffffffffffffn), // size
  u64(0x1223344556677889n), // blocks
  i64(-2n), // atime
  i64(1700000000n), // mtime
  i64(4294967296n), // ctime
  u32(500000000), // atimensec
  u32(1), // mtimensec
  u32(999999999), // ctimensec
  u32(0o100644), // mode
  u32(3), // nlink
  u32(1001), // uid
  u32(1002), // gid
  u32(0x801), // rdev
  u32(65536), // blksize
  u32(1), // flags: FUSE_ATTR_SUBMOUNT
]
const attrFields: FieldValues = {
  ino: 0x0112233445566778n, size: 0x7fffffffffffffffn, blocks: 0x1223344556677889n,
  atime: -2n, mtime: 1700000000n, ctime: 4294967296n, atimensec: 500000000n, mtimensec: 1n, ctimensec: 999999999n,
  mode: 0o100644n, nlink: 3n, uid: 1001n, gid: 1002n, rdev: 0x801n, blksize: 65536n, flags: 1n,
}
const attrOf = (mode: number): readonly Piece[] => [...attr.slice(0, 9), u32(mode), ...attr.slice(10)]
const entry = (mode = 0o100644): readonly Piece[] => [
  u64(0xfedcba9876543210n), // nodeid
  u64(0x0123456789abcdefn), // generation
  u64(0x100000001n), // entry_valid
  u64(2n), // attr_valid
  u32(3), // entry_valid_nsec
  u32(4), // attr_valid_nsec
  ...attrOf(mode),
]
const entryFields = (mode = 0o100644n): FieldValues => ({
  nodeid: 0xfedcba9876543210n, generation: 0x0123456789abcdefn, entry_valid: 0x100000001n, attr_valid: 2n,
  entry_valid_nsec: 3n, attr_valid_nsec: 4n, attr: { ...attrFields, mode },
})
const attrOut: readonly Piece[] = [
  u64(60n), // attr_valid
  u32(7), // attr_valid_nsec
  u32(0), // dummy
  ...attr,
]
const attrOutFields: FieldValues = { attr_valid: 60n, attr_valid_nsec: 7n, attr: attrFields }
const open: readonly Piece[] = [
  u64(0x99aabbccddeeff00n), // fh
  u32(0x82), // open_flags: FOPEN_KEEP_CACHE | FOPEN_PASSTHROUGH
  i32(-1), // backing_id
]
const openFields: FieldValues = { fh: 0x99aabbccddeeff00n, open_flags: 0x82n, backing_id: -1n }
/** The body of the first vector of an operation. */
const bodyOf = (operation: FuseOpcodeName): readonly Piece[] => [
  requests.find((vector) => vector.operation === operation)!.request.subarray(40),
]

reply('FUSE_LOOKUP', 'an entry', bodyOf('FUSE_LOOKUP'), { fields: entryFields() }, entry())
reply('FUSE_LOOKUP', 'a negative entry', bodyOf('FUSE_LOOKUP'), { fields: { nodeid: 0n, entry_valid: 5n } }, [
  u64(0n), u64(0n), u64(5n), u64(0n), u32(0), u32(0), zeros(88),
])
reply('FUSE_LOOKUP', 'no such name', bodyOf('FUSE_LOOKUP'), { errno: ENOENT }, [])
reply('FUSE_GETATTR', 'attributes', bodyOf('FUSE_GETATTR'), { fields: attrOutFields }, attrOut)
reply('FUSE_SETATTR', 'attributes', bodyOf('FUSE_SETATTR'), { fields: attrOutFields }, attrOut)
reply('FUSE_READLINK', 'a target', [], { data: text('../target') }, [text('../target')])
reply('FUSE_SYMLINK', 'an entry', bodyOf('FUSE_SYMLINK'), { fields: entryFields(0o120777n) }, entry(0o120777))
reply('FUSE_MKNOD', 'an entry', bodyOf('FUSE_MKNOD'), { fields: entryFields(0o020600n) }, entry(0o020600))
reply('FUSE_MKDIR', 'an entry', bodyOf('FUSE_MKDIR'), { fields: entryFields(0o040755n) }, entry(0o040755))
reply('FUSE_LINK', 'an entry', bodyOf('FUSE_LINK'), { fields: entryFields() }, entry())
for (const operation of [
  'FUSE_UNLINK', 'FUSE_RMDIR', 'FUSE_RENAME', 'FUSE_RENAME2', 'FUSE_RELEASE', 'FUSE_FSYNC', 'FUSE_SETXATTR', 'FUSE_REMOVEXATTR',
  'FUSE_FLUSH', 'FUSE_RELEASEDIR', 'FUSE_FSYNCDIR', 'FUSE_SETLK', 'FUSE_SETLKW', 'FUSE_ACCESS', 'FUSE_FALLOCATE',
  'FUSE_SETUPMAPPING', 'FUSE_REMOVEMAPPING', 'FUSE_SYNCFS', 'FUSE_DESTROY',
] as const) {
  reply(operation, 'done', bodyOf(operation), {}, [])
}
reply('FUSE_OPEN', 'a file handle', bodyOf('FUSE_OPEN'), { fields: openFields }, open)
reply('FUSE_OPENDIR', 'a file handle', bodyOf('FUSE_OPENDIR'), { fields: openFields }, open)
reply('FUSE_READ', 'less than asked for', bodyOf('FUSE_READ'), { data: text('the end') }, [text('the end')])
reply('FUSE_READ', 'nothing', bodyOf('FUSE_READ'), { data: zeros(0) }, [])
reply('FUSE_READ', 'all that was asked for', read(3), { data: text('abc') }, [text('abc')])
reply('FUSE_WRITE', 'all of it', bodyOf('FUSE_WRITE'), { fields: { size: 5n } }, [u32(5), u32(0)])
reply('FUSE_STATFS', 'sizes beyond 32 bits', [], {
  fields: { st: {
    blocks: 0x1122334455667788n, bfree: 0x2233445566778899n, bavail: 0x33445566778899aan, files: 0x445566778899aabbn,
    ffree: 0x5566778899aabbccn, bsize: 1048576n, namelen: 255n, frsize: 4096n,
  } },
}, [
  u64(0x1122334455667788n), // blocks
  u64(0x2233445566778899n), // bfree
  u64(0x33445566778899aan), // bavail
  u64(0x445566778899aabbn), // files
  u64(0x5566778899aabbccn), // ffree
  u32(1048576), // bsize
  u32(255), // namelen
  u32(4096), // frsize
  u32(0), // padding
  zeros(24), // spare[6]
])
reply('FUSE_GETXATTR', 'a value', bodyOf('FUSE_GETXATTR'), { data: hex('0100000201000000') }, [hex('0100000201000000')])
reply('FUSE_GETXATTR', 'its size', getxattr(0), { fields: { size: 20n } }, [u32(20), u32(0)])
reply('FUSE_LISTXATTR', 'names', listxattr(64), { data: text('user.a\0user.b\0') }, [cstring('user.a'), cstring('user.b')])
reply('FUSE_LISTXATTR', 'their size', listxattr(0), { fields: { size: 14n } }, [u32(14), u32(0)])
reply('FUSE_READDIR', 'two records, 64-bit cookies', bodyOf('FUSE_READDIR'), {
  dirents: [
    { ino: 0x10n, off: 0xf000000000000001n & 0x7fffffffffffffffn, type: 4n, name: '.' },
    { ino: 0x2000000000000003n, off: 0x7ffffffffffffffen, type: 8n, name: 'file.txt' },
  ],
}, [
  u64(0x10n), // ino
  u64(0x7000000000000001n), // off
  u32(1), // namelen
  u32(4), // type: DT_DIR
  text('.'), zeros(7),
  u64(0x2000000000000003n), u64(0x7ffffffffffffffen), u32(8), u32(8), text('file.txt'),
])
reply('FUSE_READDIR', 'the end', bodyOf('FUSE_READDIR'), { dirents: [] }, [])
reply('FUSE_READDIRPLUS', 'one looked up, one not', bodyOf('FUSE_READDIRPLUS'), {
  dirents: [
    { entry: { nodeid: 0n }, ino: 5n, off: 1n, type: 4n, name: '..' },
    { entry: entryFields(), ino: 6n, off: 2n, type: 8n, name: 'abc' },
  ],
}, [
  zeros(128), u64(5n), u64(1n), u32(2), u32(4), text('..'), zeros(6),
  ...entry(), u64(6n), u64(2n), u32(3), u32(8), text('abc'), zeros(5),
])
reply('FUSE_GETLK', 'a lock in the way', bodyOf('FUSE_GETLK'), {
  fields: { lk: { start: 0x10n, end: 0x7fffffffffffffffn, type: 0n, pid: 31337n } },
}, [u64(0x10n), u64(0x7fffffffffffffffn), u32(0), u32(31337)])
for (const operation of ['FUSE_CREATE', 'FUSE_TMPFILE'] as const) {
  reply(operation, 'an entry, open', bodyOf(operation), { fields: { ...entryFields(), open: openFields } }, [...entry(), ...open])
}
reply('FUSE_BMAP', 'a block', bodyOf('FUSE_BMAP'), { fields: { block: 0x0f1e2d3c4b5a6978n } }, [u64(0x0f1e2d3c4b5a6978n)])
reply('FUSE_IOCTL', 'result and data', bodyOf('FUSE_IOCTL'), {
  fields: { result: -1n, flags: 0n, in_iovs: 0n, out_iovs: 0n }, data: hex('0011223344556677'),
}, [i32(-1), u32(0), u32(0), u32(0), hex('0011223344556677')])
reply('FUSE_POLL', 'ready', bodyOf('FUSE_POLL'), { fields: { revents: 0x45n } }, [u32(0x45), u32(0)])
reply('FUSE_LSEEK', 'an offset', bodyOf('FUSE_LSEEK'), { fields: { offset: 0x7edcba9876543210n } }, [u64(0x7edcba9876543210n)])
reply('FUSE_COPY_FILE_RANGE', 'bytes', bodyOf('FUSE_COPY_FILE_RANGE'), { fields: { size: 0xfffff000n } }, [u32(0xfffff000), u32(0)])
reply('FUSE_COPY_FILE_RANGE_64', 'bytes', bodyOf('FUSE_COPY_FILE_RANGE_64'), {
  fields: { bytes_copied: 0x100000000n },
}, [u64(0x100000000n)])
reply('FUSE_STATX', 'with birth time', bodyOf('FUSE_STATX'), {
  fields: {
    attr_valid: 0x200000001n, attr_valid_nsec: 9n,
    stat: {
      mask: 0xfffn, blksize: 4096n, attributes: 0x10n, nlink: 2n, uid: 3n, gid: 4n, mode: 0o100600n, ino: 0x1020304050607080n,
      size: 0x2030405060708090n, blocks: 0x30405060708090a0n, attributes_mask: 0x70n,
      atime: { tv_sec: -1n, tv_nsec: 1n }, btime: { tv_sec: 1n, tv_nsec: 2n },
      ctime: { tv_sec: 0x100000000n, tv_nsec: 3n }, mtime: { tv_sec: 5n, tv_nsec: 999999999n },
      rdev_major: 8n, rdev_minor: 1n, dev_major: 0n, dev_minor: 42n,
    },
  },
}, [
  u64(0x200000001n), // attr_valid
  u32(9), // attr_valid_nsec
  u32(0), // flags
  zeros(16), // spare[2]
  u32(0xfff), // stat.mask
  u32(4096), // blksize
  u64(0x10n), // attributes
  u32(2), u32(3), u32(4), // nlink, uid, gid
  u16(0o100600), // mode
  u16(0), // __spare0[1]
  u64(0x1020304050607080n), // ino
  u64(0x2030405060708090n), // size
  u64(0x30405060708090a0n), // blocks
  u64(0x70n), // attributes_mask
  i64(-1n), u32(1), i32(0), // atime: tv_sec, tv_nsec, __reserved
  i64(1n), u32(2), i32(0), // btime
  i64(0x100000000n), u32(3), i32(0), // ctime
  i64(5n), u32(999999999), i32(0), // mtime
  u32(8), u32(1), u32(0), u32(42), // rdev_major, rdev_minor, dev_major, dev_minor
  zeros(112), // __spare2[14]
])
reply('FUSE_INIT', 'all fields', init, {
  fields: {
    major: 7n, minor: 46n, max_readahead: 65536n, flags: 0x40400020n, max_background: 64n, congestion_threshold: 48n,
    max_write: 1048576n, time_gran: 1n, max_pages: 256n, map_alignment: 12n, flags2: 0x28n, max_stack_depth: 1n, request_timeout: 60n,
  },
}, [
  u32(7), // major
  u32(46), // minor
  u32(65536), // max_readahead
  u32(0x40400020), // flags
  u16(64), // max_background
  u16(48), // congestion_threshold
  u32(1048576), // max_write
  u32(1), // time_gran
  u16(256), // max_pages
  u16(12), // map_alignment
  u32(0x28), // flags2
  u32(1), // max_stack_depth
  u16(60), // request_timeout
  zeros(22), // unused[11]
])

export const replyVectors: readonly ReplyVector[] = replies

/** Requests that no reply may follow. */
export const unansweredOperations: readonly FuseOpcodeName[] = [
  'FUSE_FORGET', 'FUSE_BATCH_FORGET', 'FUSE_INTERRUPT', 'FUSE_NOTIFY_REPLY',
]

// Malformed requests

const malformed: MalformedVector[] = []
function bad(name: string, errno: number, bytes: Uint8Array, dialect: VectorDialect = NEWEST): void {
  malformed.push({ name, errno, request: bytes, dialect })
}
const opcode = FuseOpcode
bad('nothing at all', 0, zeros(0))
bad('seven bytes', 0, message(opcode.FUSE_GETATTR, bodyOf('FUSE_GETATTR')).subarray(0, 7))
bad('a header short of a byte', 0, message(opcode.FUSE_GETATTR, bodyOf('FUSE_GETATTR')).subarray(0, 39))
bad('len says less than came', EIO, message(opcode.FUSE_GETATTR, bodyOf('FUSE_GETATTR'), [], 40))
bad('len says more than came', EIO, message(opcode.FUSE_GETATTR, bodyOf('FUSE_GETATTR'), [], 4096))
bad('opcode 0', ENOSYS, message(0, []))
bad('opcode 7, which never was', ENOSYS, message(7, [u64(0n)]))
bad('opcode 19, which never was', ENOSYS, message(19, [u64(0n)]))
bad('the opcode after the last', ENOSYS, message(54, [u64(0n)]))
bad('opcode 63', ENOSYS, message(63, []))
bad('opcode 64', ENOSYS, message(64, []))
bad('CUSE_INIT, on a file system', ENOSYS, message(opcode.CUSE_INIT, [zeros(16)]))
bad('FUSE_INIT of the other byte order', ENOSYS, message(26 << 24, [zeros(16)]))
bad('opcode 2^32 - 1', ENOSYS, message(0xffffffff, []))
for (const { operation, request: bytes, dialect } of requests.filter((vector, index) => (
  requests.findIndex(({ operation }) => operation === vector.operation) === index
))) {
  const WITHOUT_STRUCT: readonly string[] = [
    'FUSE_LOOKUP', 'FUSE_READLINK', 'FUSE_SYMLINK', 'FUSE_UNLINK', 'FUSE_RMDIR', 'FUSE_STATFS', 'FUSE_REMOVEXATTR', 'FUSE_DESTROY',
  ]
  if (WITHOUT_STRUCT.includes(operation)) continue
  const cut = bytes.slice(0, 43)
  cut.set(u32(43))
  bad(`${operation} with three bytes of its struct`, unansweredOperations.includes(operation) ? 0 : EIO, cut, dialect)
}
bad('FUSE_LOOKUP without a name', EINVAL, message(opcode.FUSE_LOOKUP, []))
bad('FUSE_LOOKUP without a NUL', EINVAL, message(opcode.FUSE_LOOKUP, [text('name')]))
bad('FUSE_MKDIR without a NUL', EINVAL, message(opcode.FUSE_MKDIR, [u32(0o755), u32(0), text('name')]))
bad('FUSE_SYMLINK with one string', EINVAL, message(opcode.FUSE_SYMLINK, [cstring('link')]))
bad('FUSE_SYMLINK with the second string cut', EINVAL, message(opcode.FUSE_SYMLINK, [cstring('link'), text('target')]))
bad('FUSE_RENAME2 with one string', EINVAL, message(opcode.FUSE_RENAME2, [u64(1n), u32(0), u32(0), cstring('a')]))
bad('FUSE_WRITE with less data than announced', EINVAL, message(opcode.FUSE_WRITE, write(6, text('hello'))))
bad('FUSE_WRITE with 4 GiB announced', EINVAL, message(opcode.FUSE_WRITE, write(0xffffffff, text('hello'))))
bad('FUSE_SETXATTR with less value than announced', EINVAL, message(opcode.FUSE_SETXATTR, [
  u32(4), u32(0), u32(0), u32(0), cstring('user.a'), text('abc'),
]))
bad('FUSE_IOCTL with less input than announced', EINVAL, message(opcode.FUSE_IOCTL, ioctl(5, 0, u32(0))))
bad('FUSE_BATCH_FORGET with fewer inodes than announced', 0, message(opcode.FUSE_BATCH_FORGET, [u32(2), u32(0), u64(5n), u64(1n)]))
bad('FUSE_BATCH_FORGET with 2^32 - 1 announced', 0, message(opcode.FUSE_BATCH_FORGET, [u32(0xffffffff), u32(0), u64(5n), u64(1n)]))
bad('FUSE_REMOVEMAPPING with fewer than announced', EINVAL, message(opcode.FUSE_REMOVEMAPPING, [u32(2), u64(1n), u64(2n)]))
bad('FUSE_NOTIFY_REPLY with less data than announced', 0, message(opcode.FUSE_NOTIFY_REPLY, [
  u64(0n), u64(0n), u32(9), u32(0), u64(0n), u64(0n), text('abc'),
]))
/** total_extlen at offset 36. */
const withExtensions = (units: number, body: readonly Piece[]): Uint8Array => {
  const bytes = message(opcode.FUSE_MKDIR, body)
  bytes.set(u16(units), 36)
  return bytes
}
bad('extensions longer than the message', EIO, withExtensions(0xffff, [u32(0o755), u32(0), cstring('d')]))
bad('extensions that leave no room for the struct', EIO, withExtensions(1, [u32(0o755), u32(0)]))
bad('extensions that take the name\'s NUL', EINVAL, withExtensions(1, [u32(0o755), u32(0), cstring('eight_c')]))

export const malformedVectors: readonly MalformedVector[] = malformed

// Notifications

/** fuse_out_header with unique 0 and the code as `error`. */
function notice(code: number, pieces: readonly Piece[]): Uint8Array {
  const body = join(pieces)
  return join([u32(16 + body.length), i32(code), u64(0n), body])
}

export const notificationVectors: readonly NotificationVector[] = [
  {
    code: 'FUSE_NOTIFY_POLL', name: 'a poll handle', fields: { kh: 0x1122334455667788n },
    bytes: notice(1, [u64(0x1122334455667788n)]),
  },
  {
    code: 'FUSE_NOTIFY_INVAL_INODE', name: 'attributes only', fields: { ino: 0x8877665544332211n, off: -1n, len: 0n },
    bytes: notice(2, [u64(0x8877665544332211n), i64(-1n), i64(0n)]),
  },
  {
    code: 'FUSE_NOTIFY_INVAL_INODE', name: 'a range', fields: { ino: 2n, off: 0x7000000000000000n, len: 4096n },
    bytes: notice(2, [u64(2n), i64(0x7000000000000000n), i64(4096n)]),
  },
  {
    code: 'FUSE_NOTIFY_INVAL_ENTRY', name: 'a name', fields: { parent: 0x1020304050607080n, flags: 0n, name: 'näme' },
    bytes: notice(3, [u64(0x1020304050607080n), u32(5), u32(0), hex('6e c3a4 6d 65 00')]),
  },
  {
    code: 'FUSE_NOTIFY_INVAL_ENTRY', name: 'to expire', fields: { parent: 1n, flags: 1n, name: 'x' },
    bytes: notice(3, [u64(1n), u32(1), u32(1), cstring('x')]),
  },
  {
    code: 'FUSE_NOTIFY_STORE', name: 'data', fields: { nodeid: 0x2030405060708090n, offset: 0x30405060708090a0n, data: text('abc') },
    bytes: notice(4, [u64(0x2030405060708090n), u64(0x30405060708090a0n), u32(3), u32(0), text('abc')]),
  },
  {
    code: 'FUSE_NOTIFY_RETRIEVE', name: 'a range',
    fields: { notify_unique: 0x405060708090a0b0n, nodeid: 0x5060708090a0b0c0n, offset: 0x60708090a0b0c0d0n, size: 65536n },
    bytes: notice(5, [u64(0x405060708090a0b0n), u64(0x5060708090a0b0c0n), u64(0x60708090a0b0c0d0n), u32(65536), u32(0)]),
  },
  {
    code: 'FUSE_NOTIFY_DELETE', name: 'a name', fields: { parent: 0x708090a0b0c0d0e0n, child: 0x8090a0b0c0d0e0f0n, name: 'gone' },
    bytes: notice(6, [u64(0x708090a0b0c0d0e0n), u64(0x8090a0b0c0d0e0f0n), u32(4), u32(0), cstring('gone')]),
  },
  { code: 'FUSE_NOTIFY_RESEND', name: 'all', fields: {}, bytes: notice(7, []) },
  { code: 'FUSE_NOTIFY_INC_EPOCH', name: 'all', fields: {}, bytes: notice(8, []) },
  {
    code: 'FUSE_NOTIFY_PRUNE', name: 'two inodes', fields: { nodeids: join([u64(5n), u64(0xfffffffffffffffen)]) },
    bytes: notice(9, [u32(2), u32(0), u64(0n), u64(5n), u64(0xfffffffffffffffen)]),
  },
]
