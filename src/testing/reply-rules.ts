// SPDX-License-Identifier: MIT
/**
 * What the Linux kernel demands of a reply: the rules of fs/fuse (fuse_dev_do_write,
 * fuse_copy_out_args and the checks of dir.c, file.c, readdir.c and xattr.c), over plain bytes.
 *
 * A reply that breaks a `framing` rule is refused by write(2) on the device; one that breaks a
 * `content` rule is taken, and the caller gets EIO, often with the inode marked bad.
 */
import {
  FuseInitFlag, FuseOpcode, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK,
} from '../protocol/constants.js'
import { EFUSE_CAN_ATTR } from '../protocol/efuse-module.js'
import { OPERATION_BY_OPCODE, REPLY_SIZE } from '../protocol/operations.js'
import * as s from '../protocol/structs.js'
import { decode } from './decode.js'

/** The longest name that any kernel takes in a listing, bytes (FUSE_NAME_MAX before Linux 6.14). */
export const FUSE_NAME_MAX = 1024
const OUT_HEADER = 16
const PAGE_SIZE = 4096
const OFFSET_MAX = 0x7fffffffffffffffn

/** A reply that the kernel would not accept. */
export class ProtocolViolation extends Error {
  override readonly name = 'ProtocolViolation'

  constructor(
    /** The operation's kernel name. */
    readonly operation: string,
    /** `framing`: write(2) on the device fails. `content`: the caller gets EIO. */
    readonly kind: 'framing' | 'content',
    readonly rule: string,
  ) {
    super(`${operation}: ${rule}`)
  }
}

/** A request as the rules see it. */
export interface SentRequest {
  readonly opcode: number
  readonly unique: bigint
  readonly nodeid: bigint
  /** What followed the fuse_in_header. */
  readonly body: Uint8Array
  /** EFUSE_CAN_...: what was wanted beside the request. */
  readonly wants?: number
}

/** What the kernel knows of its inodes. */
export interface KnownInodes {
  /** File type bits of an inode that the kernel has, or undefined. */
  typeOf(nodeid: bigint): number | undefined
}

const NOTHING_KNOWN: KnownInodes = { typeOf: () => undefined }

/** The size, bytes, that a reply's payload must have, or may have at most where `variable`. */
interface Room {
  readonly size: number
  readonly variable: boolean
}

function roomOf(request: SentRequest): Room {
  const { opcode, body } = request
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const u32 = (offset: number) => (offset + 4 <= body.length ? view.getUint32(offset, true) : 0)
  switch (opcode) {
    case FuseOpcode.FUSE_READ:
    case FuseOpcode.FUSE_READDIR:
    case FuseOpcode.FUSE_READDIRPLUS:
      return { size: u32(16), variable: true }
    case FuseOpcode.FUSE_READLINK:
      return { size: PAGE_SIZE - 1, variable: true }
    case FuseOpcode.FUSE_GETXATTR:
    case FuseOpcode.FUSE_LISTXATTR:
      return u32(0) === 0 ? { size: s.fuse_getxattr_out.size, variable: false } : { size: u32(0), variable: true }
    case FuseOpcode.FUSE_IOCTL:
      return { size: s.fuse_ioctl_out.size + u32(28), variable: true }
    case FuseOpcode.FUSE_INIT:
      return { size: s.fuse_init_out.size, variable: true }
    case FuseOpcode.FUSE_WRITE:
      if (((request.wants ?? 0) & EFUSE_CAN_ATTR) === 0) break
      return { size: s.fuse_write_out.size + s.fuse_attr_out.size, variable: true }
  }
  return { size: REPLY_SIZE[OPERATION_BY_OPCODE[opcode]?.reply ?? 'empty'], variable: false }
}

const FILE_TYPES = new Set([S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK])

/** One record of a listing. */
export interface DirectoryRecord {
  readonly nameBytes: Uint8Array
  readonly ino: bigint
  readonly off: bigint
  readonly type: number
  /** Only in FUSE_READDIRPLUS. */
  readonly entry: ReturnType<typeof decode<typeof s.fuse_entry_out>> | null
}

/** Takes a listing apart, strictly. @throws ProtocolViolation */
export function parseDirectory(payload: Uint8Array, plus: boolean): DirectoryRecord[] {
  const operation = plus ? 'FUSE_READDIRPLUS' : 'FUSE_READDIR'
  const fail = (rule: string): never => {
    throw new ProtocolViolation(operation, 'content', rule)
  }
  const head = plus ? s.fuse_entry_out.size : 0
  const records: DirectoryRecord[] = []
  let at = 0
  while (at < payload.length) {
    if (at + head + s.fuse_dirent.size > payload.length) fail('the listing ends inside a record')
    const entry = plus ? decode(s.fuse_entry_out, payload, at) : null
    const dirent = decode(s.fuse_dirent, payload, at + head)
    const namelen = Number(dirent.namelen)
    if (namelen === 0 || namelen > FUSE_NAME_MAX) fail(`a name of ${namelen} bytes (1 to ${FUSE_NAME_MAX} are allowed)`)
    const start = at + head + s.fuse_dirent.size
    const next = (start + namelen + 7) & ~7
    if (next > payload.length) fail('the listing ends inside a record')
    const nameBytes = payload.slice(start, start + namelen)
    if (nameBytes.includes(0x2f)) fail('a name with a slash')
    if (nameBytes.includes(0)) fail('a name with a NUL')
    if (payload.subarray(start + namelen, next).some((byte) => byte !== 0)) fail('padding that is not zero')
    if (dirent.off > OFFSET_MAX) fail('a negative offset')
    if (entry !== null) checkListedEntry(entry, nameBytes, fail)
    records.push({ nameBytes, ino: dirent.ino, off: dirent.off, type: Number(dirent.type), entry })
    at = next
  }
  return records
}

function isDotOrDotDot(name: Uint8Array): boolean {
  return name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e))
}

function checkListedEntry(
  entry: { nodeid: bigint; attr: { mode: bigint; size: bigint } }, name: Uint8Array, fail: (rule: string) => never,
): void {
  if (entry.nodeid === 0n) return
  if (isDotOrDotDot(name)) fail('"." and ".." with a nodeid: the kernel will never forget that look-up')
  if (entry.nodeid === 1n) fail('the root as an entry')
  checkAttr(entry.attr, fail)
}

function checkAttr(attr: { mode: bigint; size: bigint }, fail: (rule: string) => never): void {
  const mode = Number(attr.mode)
  if (!FILE_TYPES.has(mode & S_IFMT)) fail(`mode 0o${mode.toString(8)} has no valid file type`)
  if (attr.size > OFFSET_MAX) fail(`size ${attr.size} is more than 2^63 - 1`)
}

/**
 * Checks a reply.
 * @param reply the whole message, fuse_out_header included
 * @throws ProtocolViolation
 */
export function checkReply(request: SentRequest, reply: Uint8Array, inodes: KnownInodes = NOTHING_KNOWN): void {
  const operation = OPERATION_BY_OPCODE[request.opcode]
  const name = operation?.name ?? `opcode ${request.opcode}`
  const framing = (rule: string): never => {
    throw new ProtocolViolation(name, 'framing', rule)
  }
  const content = (rule: string): never => {
    throw new ProtocolViolation(name, 'content', rule)
  }
  if (operation?.reply === 'none') framing('a reply to a request that has none')
  if (reply.length < OUT_HEADER) framing(`${reply.length} bytes are no fuse_out_header`)
  const { len, error, unique } = decode(s.fuse_out_header, reply, 0)
  if (Number(len) !== reply.length) framing(`header says ${len} bytes, ${reply.length} were sent`)
  if (error > 0n || error <= -512n) framing(`error ${error} is not in -511..0`)
  if (unique !== request.unique) framing(`unique ${unique} answers no request (${request.unique} is due)`)
  if (error !== 0n) {
    if (reply.length !== OUT_HEADER) framing('an error with a payload')
    return
  }
  const payload = reply.subarray(OUT_HEADER)
  const room = roomOf(request)
  if (payload.length > room.size) framing(`${payload.length} bytes of payload, ${room.size} are the most`)
  if (!room.variable && payload.length !== room.size) framing(`${payload.length} bytes of payload, ${room.size} are due`)
  checkContent(request, payload, inodes, content, framing)
}

function checkContent(
  request: SentRequest, payload: Uint8Array, inodes: KnownInodes,
  fail: (rule: string) => never, framing: (rule: string) => never,
): void {
  const { opcode, body, nodeid } = request
  const requested = new DataView(body.buffer, body.byteOffset, body.byteLength)
  switch (opcode) {
    case FuseOpcode.FUSE_LOOKUP: {
      const entry = decode(s.fuse_entry_out, payload, 0)
      if (entry.nodeid === 0n) return
      if (entry.nodeid === 1n && !isDotOrDotDot(body.subarray(0, body.indexOf(0)))) fail('the root as an entry')
      return checkAttr(entry.attr, fail)
    }
    case FuseOpcode.FUSE_MKNOD:
    case FuseOpcode.FUSE_MKDIR:
    case FuseOpcode.FUSE_SYMLINK:
    case FuseOpcode.FUSE_LINK:
    case FuseOpcode.FUSE_CREATE:
    case FuseOpcode.FUSE_TMPFILE: {
      const entry = decode(s.fuse_entry_out, payload, 0)
      if (entry.nodeid <= 1n) fail(`nodeid ${entry.nodeid} for a new entry`)
      checkAttr(entry.attr, fail)
      const type = Number(entry.attr.mode) & S_IFMT
      const due = opcode === FuseOpcode.FUSE_MKNOD ? (requested.getUint32(0, true) & S_IFMT) || S_IFREG
        : opcode === FuseOpcode.FUSE_MKDIR ? S_IFDIR
          : opcode === FuseOpcode.FUSE_SYMLINK ? S_IFLNK
            : opcode === FuseOpcode.FUSE_LINK ? inodes.typeOf(requested.getBigUint64(0, true)) ?? type
              : S_IFREG
      if (type !== due) fail(`file type 0o${type.toString(8)} where 0o${due.toString(8)} was made`)
      return
    }
    case FuseOpcode.FUSE_GETATTR:
    case FuseOpcode.FUSE_SETATTR: {
      const { attr } = decode(s.fuse_attr_out, payload, 0)
      checkAttr(attr, fail)
      const known = inodes.typeOf(nodeid)
      const type = Number(attr.mode) & S_IFMT
      if (known !== undefined && known !== type) fail(`file type became 0o${type.toString(8)}, it was 0o${known.toString(8)}`)
      return
    }
    case FuseOpcode.FUSE_STATX: {
      const { stat } = decode(s.fuse_statx_out, payload, 0)
      const STATX_TYPE = 0x1n
      const STATX_SIZE = 0x200n
      if ((stat.mask & STATX_SIZE) !== 0n && stat.size > OFFSET_MAX) fail(`size ${stat.size} is more than 2^63 - 1`)
      if ((stat.mask & STATX_TYPE) !== 0n && !FILE_TYPES.has(Number(stat.mode) & S_IFMT)) {
        fail(`mode 0o${stat.mode.toString(8)} has no valid file type`)
      }
      return
    }
    case FuseOpcode.FUSE_READDIR:
    case FuseOpcode.FUSE_READDIRPLUS:
      parseDirectory(payload, opcode === FuseOpcode.FUSE_READDIRPLUS)
      return
    case FuseOpcode.FUSE_WRITE:
      if (decode(s.fuse_write_out, payload, 0).size > BigInt(requested.getUint32(16, true))) {
        fail('more written than was to be written')
      }
      return
    case FuseOpcode.FUSE_COPY_FILE_RANGE:
      if (decode(s.fuse_write_out, payload, 0).size > requested.getBigUint64(40, true)) fail('more copied than was asked for')
      return
    case FuseOpcode.FUSE_COPY_FILE_RANGE_64:
      if (decode(s.fuse_copy_file_range_out, payload, 0).bytes_copied > requested.getBigUint64(40, true)) {
        fail('more copied than was asked for')
      }
      return
    case FuseOpcode.FUSE_LISTXATTR:
      if (requested.getUint32(0, true) !== 0) checkNames(payload, fail)
      return
    case FuseOpcode.FUSE_GETLK: {
      const { lk } = decode(s.fuse_lk_out, payload, 0)
      const F_UNLCK = 2n
      if (lk.type > F_UNLCK) fail(`lock type ${lk.type}`)
      if (lk.type !== F_UNLCK && (lk.start > OFFSET_MAX || lk.end > OFFSET_MAX || lk.end < lk.start)) {
        fail(`lock range ${lk.start}..${lk.end}`)
      }
      return
    }
    case FuseOpcode.FUSE_LSEEK:
      if (decode(s.fuse_lseek_out, payload, 0).offset > OFFSET_MAX) fail('a negative offset')
      return
    case FuseOpcode.FUSE_IOCTL: {
      if (payload.length < s.fuse_ioctl_out.size) framing('less than a fuse_ioctl_out')
      const FUSE_IOCTL_UNRESTRICTED = 2
      const FUSE_IOCTL_RETRY = 4n
      const { flags } = decode(s.fuse_ioctl_out, payload, 0)
      if ((flags & FUSE_IOCTL_RETRY) !== 0n && (requested.getUint32(8, true) & FUSE_IOCTL_UNRESTRICTED) === 0) {
        fail('FUSE_IOCTL_RETRY of a restricted ioctl')
      }
      return
    }
    case FuseOpcode.FUSE_INIT:
      return checkInit(body, payload, fail)
  }
}

/** fuse_verify_xattr_list: names that are not empty, each with its NUL. */
function checkNames(list: Uint8Array, fail: (rule: string) => never): void {
  let at = 0
  while (at < list.length) {
    const nul = list.indexOf(0, at)
    if (nul < 0) fail('a list of names without its last NUL')
    if (nul === at) fail('an empty name in a list of names')
    at = nul + 1
  }
}

function checkInit(body: Uint8Array, payload: Uint8Array, fail: (rule: string) => never): void {
  if (payload.length < 8) fail('less than major and minor')
  const offer = new Uint8Array(s.fuse_init_in.size)
  offer.set(body.subarray(0, offer.length))
  const asked = decode(s.fuse_init_in, offer, 0)
  const whole = new Uint8Array(s.fuse_init_out.size)
  whole.set(payload)
  const out = decode(s.fuse_init_out, whole, 0)
  if (asked.major > 7n) {
    if (out.major !== 7n) fail(`major ${out.major} where 7 is to be proposed`)
    return
  }
  if (out.major !== 7n) fail(`major ${out.major}`)
  const EXT = 1n << BigInt(FuseInitFlag.FUSE_INIT_EXT)
  const offered = asked.flags | ((asked.flags & EXT) !== 0n ? asked.flags2 << 32n : 0n)
  const taken = out.flags | (out.flags2 << 32n)
  const unasked = taken & ~offered
  if (unasked !== 0n) {
    const names = Object.entries(FuseInitFlag).filter(([, bit]) => (unasked >> BigInt(bit)) & 1n).map(([flag]) => flag)
    fail(`took what was not offered: ${names.join(', ')}`)
  }
  if (out.flags2 !== 0n && (out.flags & EXT) === 0n) fail('flags2 without FUSE_INIT_EXT')
  if (out.max_write < 4096n) fail(`max_write ${out.max_write}`)
  if (out.time_gran > 1_000_000_000n) fail(`time_gran ${out.time_gran}`)
}
