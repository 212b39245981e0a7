// SPDX-License-Identifier: MIT
/**
 * Replies as typed objects that are written in place, and the plain values that become them.
 *
 * A file system answers in one of two ways: it returns a value (`{ mode, size }`, a string, bytes),
 * which is encoded here, or it fills the reply object it was given and returns nothing, which
 * allocates nothing. Reply objects come zeroed, with the mount's time-outs filled in.
 */
import { constants } from 'node:os'
import {
  FuseOpcode, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK,
} from './constants.js'
import type { Exchange } from './exchange.js'
import { type ReplyKind } from './operations.js'
import type { Block, FieldsOf, Struct, View } from './struct.js'
import * as s from './structs.js'

const { E2BIG, EIO, ERANGE } = constants.errno
const UTF8 = new TextEncoder()

type ViewOf<S> = S extends Struct<infer F> ? View & FieldsOf<F> : never

/** A point in time: a Date, milliseconds since 1970 (fractions count), or nanoseconds as a bigint. */
export type Time = Date | number | bigint

/** Attributes of an inode. `mode` holds the type too (`S_IFREG | 0o644`). What is left out is 0, `nlink` 1. */
export interface Attr {
  mode: number
  /** Bytes. */
  size?: number | bigint
  /** The inode number that stat(2) shows; default: the nodeid. */
  ino?: number | bigint
  nlink?: number
  uid?: number
  gid?: number
  atime?: Time
  mtime?: Time
  ctime?: Time
  /** Units of 512 bytes; default: as many as `size` needs. */
  blocks?: number | bigint
  rdev?: number
  /** Preferred I/O size, bytes; default 4096. */
  blksize?: number
  /** FUSE_ATTR_* */
  flags?: number
}

/** An inode under a name. Each one given out counts as one look-up, until `forget` takes it back. */
export interface Entry {
  nodeid: number | bigint
  /** Makes a nodeid that is used again unique (NFS handles); default 0. */
  generation?: number | bigint
  attr: Attr
  /** Seconds that the kernel may keep the name; default: the mount's `entry_timeout`. */
  entryTimeout?: number
  /** Seconds that the kernel may keep the attributes; default: the mount's `attr_timeout`. */
  attrTimeout?: number
}

/** An open file or directory. */
export interface Open {
  /** Any number the file system likes: it comes back with each request on this open file. */
  fh?: number | bigint
  /** FOPEN_* */
  openFlags?: number
}

export interface Statfs {
  /** Sizes are in units of `frsize`. */
  blocks?: number
  bfree?: number
  bavail?: number
  files?: number
  ffree?: number
  bsize?: number
  namelen?: number
  frsize?: number
}

export interface FileLock {
  /** F_RDLCK, F_WRLCK or F_UNLCK. */
  type: number
  /** First byte. */
  start?: number | bigint
  /** Last byte, included. */
  end?: number | bigint
  pid?: number
}

/** One name of a directory listing. */
export interface Dirent {
  name: string | Uint8Array
  ino?: number | bigint
  /** File type bits (S_IFDIR, ...): a whole `mode` will do. */
  mode?: number
  /**
   * Where the listing goes on after this entry: comes back as the request's `offset`. Default: the
   * entry's index in the listing plus one, right for file systems that list everything each time.
   */
  offset?: number | bigint
  /** For readdirplus: the inode. Leave it out for `.` and `..`, which are not looked up. */
  entry?: Entry
}

export interface Ioctl {
  /** The system call's result. */
  result?: number
  data?: Uint8Array
}

export type Bytes = Uint8Array | string

/** Sets a 64-bit field of a view through its word arrays. */
function setWide(view: View, field: string, value: number | bigint | undefined): void {
  if (value === undefined) return
  const target = view as unknown as Record<string, number>
  if (typeof value === 'bigint') {
    target[`${field}_low`] = Number(BigInt.asUintN(32, value))
    target[`${field}_high`] = Number(BigInt.asUintN(32, value >> 32n))
  } else {
    target[field] = value
  }
}

/** Splits a time into whole seconds and nanoseconds; times before 1970 have negative seconds. */
export function splitTime(time: Time): { seconds: number; nanoseconds: number } {
  if (typeof time === 'bigint') {
    const nanoseconds = ((time % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n
    return { seconds: Number((time - nanoseconds) / 1_000_000_000n), nanoseconds: Number(nanoseconds) }
  }
  const milliseconds = typeof time === 'number' ? time : time.getTime()
  const seconds = Math.floor(milliseconds / 1000)
  return { seconds, nanoseconds: Math.min(999_999_999, Math.round((milliseconds - seconds * 1000) * 1e6)) }
}

/** Seconds as the protocol has them: whole ones and nanoseconds; Infinity is as long as can be said. */
export function splitTimeout(timeout: number): { seconds: number; nanoseconds: number } {
  if (!(timeout > 0)) return { seconds: 0, nanoseconds: 0 }
  // The kernel turns the sum into jiffies; beyond this it means "for ever" anyway.
  const seconds = Math.min(Math.floor(timeout), 0x7fffffff)
  return { seconds, nanoseconds: Math.min(999_999_999, Math.floor((timeout % 1) * 1e9) || 0) }
}

/** The largest size that the kernel takes, bytes. */
const MAX_SIZE = 0x7fffffffffffffffn
/** The longest name that every kernel takes in a listing, bytes. */
const MAX_LISTED_NAME = 1024

/** The kernel answers EIO to attributes it can't believe, and says no more; here it is said. */
function checkAttr(attr: Attr): void {
  const { mode, size = 0 } = attr
  switch (mode & S_IFMT) {
    case S_IFREG: case S_IFDIR: case S_IFLNK: case S_IFCHR: case S_IFBLK: case S_IFIFO: case S_IFSOCK: break
    default: throw new TypeError(`mode ${mode} has no file type: it is S_IFREG, S_IFDIR, ... and permissions`)
  }
  if (!(size >= 0 && size <= MAX_SIZE)) throw new RangeError(`size ${size} is not in 0 .. 2^63 - 1`)
}

/** Writes attributes into a fuse_attr. @param nodeid the default for `ino` */
export function encodeAttr(view: ViewOf<typeof s.fuse_attr>, attr: Attr, nodeid: number | bigint): void {
  checkAttr(attr)
  setWide(view, 'ino', attr.ino ?? nodeid)
  setWide(view, 'size', attr.size)
  setWide(view, 'blocks', attr.blocks ?? Math.ceil(Number(attr.size ?? 0) / 512))
  view.mode = attr.mode
  view.nlink = attr.nlink ?? ((attr.mode & S_IFMT) === S_IFDIR ? 2 : 1)
  view.uid = attr.uid ?? 0
  view.gid = attr.gid ?? 0
  view.rdev = attr.rdev ?? 0
  view.blksize = attr.blksize ?? 4096
  view.flags = attr.flags ?? 0
  if (attr.atime !== undefined) {
    const { seconds, nanoseconds } = splitTime(attr.atime)
    view.atime = seconds
    view.atimensec = nanoseconds
  }
  if (attr.mtime !== undefined) {
    const { seconds, nanoseconds } = splitTime(attr.mtime)
    view.mtime = seconds
    view.mtimensec = nanoseconds
  }
  if (attr.ctime !== undefined) {
    const { seconds, nanoseconds } = splitTime(attr.ctime)
    view.ctime = seconds
    view.ctimensec = nanoseconds
  }
}

function encodeEntry(view: ViewOf<typeof s.fuse_entry_out>, entry: Entry): void {
  setWide(view, 'nodeid', entry.nodeid)
  setWide(view, 'generation', entry.generation)
  if (entry.entryTimeout !== undefined) {
    const { seconds, nanoseconds } = splitTimeout(entry.entryTimeout)
    view.entry_valid = seconds
    view.entry_valid_nsec = nanoseconds
  }
  if (entry.attrTimeout !== undefined) {
    const { seconds, nanoseconds } = splitTimeout(entry.attrTimeout)
    view.attr_valid = seconds
    view.attr_valid_nsec = nanoseconds
  }
  encodeAttr(view.attr as ViewOf<typeof s.fuse_attr>, entry.attr, entry.nodeid)
}

/** Zeroes the words of a few hundred bytes: a loop costs less here than a call of TypedArray's fill. */
function clear(block: Block, offset: number, size: number): void {
  const { u32 } = block
  for (let word = offset >>> 2, end = (offset + size) >>> 2; word < end; word++) u32[word] = 0
}

/** What every reply has: the exchange it belongs to and the room it may fill. */
export class Reply {
  constructor(readonly exchange: Exchange) {}

  /** The memory that the reply is written into. */
  get block(): Block {
    return this.exchange.block
  }
  /** Offset of the reply's payload in `block`. */
  get offset(): number {
    return this.exchange.reply
  }

  /** Zeroes the fixed part and fills in the defaults. */
  prepare(size: number): void {
    const { block, reply } = this.exchange
    clear(block, reply, size)
    this.exchange.replyLength = size
  }

  /** Encodes a value that a handler returned; each kind of reply has its own kind of value. */
  encode(_value: any): void {}
}

/** A reply of no payload. */
export class EmptyReply extends Reply {}

type EntryView = ViewOf<typeof s.fuse_entry_out>

/** Moves an entry's view to where it goes, zeroed before, and fills in the mount's time-outs. */
function placeEntry(entry: EntryView, exchange: Exchange, offset: number): void {
  const { validity } = exchange
  entry.move(exchange.block, offset)
  entry.entry_valid = validity.entrySeconds
  entry.entry_valid_nsec = validity.entryNanoseconds
  entry.attr_valid = validity.attrSeconds
  entry.attr_valid_nsec = validity.attrNanoseconds
}

/** A look-up's or creation's answer. */
export class EntryReply extends Reply {
  /** The struct in place. */
  readonly entry = s.fuse_entry_out.view()

  override prepare(size: number): void {
    super.prepare(size)
    placeEntry(this.entry as EntryView, this.exchange, this.exchange.reply)
  }

  /** Answers that there is no such name, which the kernel may keep for the mount's `negative_timeout`. */
  setNegative(): void {
    const { entry } = this
    const { validity } = this.exchange
    entry.nodeid = 0
    entry.entry_valid = validity.negativeSeconds
    entry.entry_valid_nsec = validity.negativeNanoseconds
  }

  override encode(value: any): void {
    this.encodeEntry(value as Entry | null)
  }

  protected encodeEntry(value: Entry | null): void {
    if (value === null) this.setNegative()
    else encodeEntry(this.entry as ViewOf<typeof s.fuse_entry_out>, value)
  }
}

/** A creation that also opens. */
export class CreateReply extends EntryReply {
  readonly open = s.fuse_open_out.view()

  override prepare(size: number): void {
    super.prepare(size)
    this.open.move(this.exchange.block, this.exchange.reply + s.fuse_entry_out.size)
  }

  override encode(value: { entry: Entry; open?: Open }): void {
    this.encodeEntry(value.entry)
    if (value.open) {
      setWide(this.open, 'fh', value.open.fh)
      this.open.open_flags = value.open.openFlags ?? 0
    }
  }
}

export class AttrReply extends Reply {
  /** fuse_attr_out in place. */
  readonly out = s.fuse_attr_out.view()

  override prepare(size: number): void {
    super.prepare(size)
    const { exchange, out } = this
    out.move(exchange.block, exchange.reply)
    out.attr_valid = exchange.validity.attrSeconds
    out.attr_valid_nsec = exchange.validity.attrNanoseconds
  }

  override encode(value: Attr): void {
    const { block, header } = this.exchange
    const word = (header >>> 2) + 4
    encodeAttr(this.out.attr as ViewOf<typeof s.fuse_attr>, value, block.u32[word] + block.u32[word + 1] * 4294967296)
  }
}

/** The struct of a reply that is just that: filled by a handler, or from the fields of its value. */
function structReply<S extends Struct<any>>(layout: S, encode: (out: ViewOf<S>, value: never) => void) {
  return class StructReply extends Reply {
    /** The struct in place. */
    readonly out = layout.view() as ViewOf<S>
    override prepare(size: number): void {
      super.prepare(size)
      this.out.move(this.exchange.block, this.exchange.reply)
    }
    override encode(value: unknown): void {
      encode(this.out, value as never)
    }
  }
}

export const StatxReply = structReply(s.fuse_statx_out, () => {})
export type StatxReply = InstanceType<typeof StatxReply>

export const OpenReply = structReply(s.fuse_open_out, (out, value: Open) => {
  setWide(out, 'fh', value.fh)
  out.open_flags = value.openFlags ?? 0
})
export type OpenReply = InstanceType<typeof OpenReply>

/** Of a WRITE, and of COPY_FILE_RANGE. */
export class WriteReply extends structReply(s.fuse_write_out, (out, value: number) => {
  out.size = value
}) {
  /**
   * Makes room for a fuse_attr_out behind it (EFUSE_CAN_ATTR), with the mount's time-outs.
   * @returns where its fuse_attr goes
   */
  addAttributes(): number {
    const { exchange } = this
    const { u32 } = exchange.block
    const { attrSeconds, attrNanoseconds } = exchange.validity
    const word = (exchange.reply + s.fuse_write_out.size) >>> 2
    u32[word] = attrSeconds
    u32[word + 1] = attrSeconds / 4294967296
    u32[word + 2] = attrNanoseconds
    u32[word + 3] = 0
    exchange.replyLength = s.fuse_write_out.size + s.fuse_attr_out.size
    return (word << 2) + 16
  }
}

export const CopiedReply = structReply(s.fuse_copy_file_range_out, (out, value: number) => {
  out.bytes_copied = value
})
export type CopiedReply = InstanceType<typeof CopiedReply>

export const StatfsReply = structReply(s.fuse_statfs_out, (out, value: Statfs) => {
  const st = out.st as ViewOf<typeof s.fuse_kstatfs>
  st.blocks = value.blocks ?? 0
  st.bfree = value.bfree ?? 0
  st.bavail = value.bavail ?? value.bfree ?? 0
  st.files = value.files ?? 0
  st.ffree = value.ffree ?? 0
  st.bsize = value.bsize ?? 4096
  st.frsize = value.frsize ?? value.bsize ?? 4096
  st.namelen = value.namelen ?? 255
})
export type StatfsReply = InstanceType<typeof StatfsReply>

export const LockReply = structReply(s.fuse_lk_out, (out, value: FileLock) => {
  const lk = out.lk as ViewOf<typeof s.fuse_file_lock>
  setWide(lk, 'start', value.start ?? 0)
  setWide(lk, 'end', value.end ?? 0x7fffffffffffffffn)
  lk.type = value.type
  lk.pid = value.pid ?? 0
})
export type LockReply = InstanceType<typeof LockReply>

export const BmapReply = structReply(s.fuse_bmap_out, (out, value: number) => {
  out.block = value
})
export type BmapReply = InstanceType<typeof BmapReply>

export const PollReply = structReply(s.fuse_poll_out, (out, value: number) => {
  out.revents = value
})
export type PollReply = InstanceType<typeof PollReply>

export const LseekReply = structReply(s.fuse_lseek_out, (out, value: number | bigint) => {
  setWide(out, 'offset', value)
})
export type LseekReply = InstanceType<typeof LseekReply>

export const InitReply = structReply(s.fuse_init_out, () => {})
export type InitReply = InstanceType<typeof InitReply>

function bytesOf(bytes: Bytes): Uint8Array {
  if (typeof bytes === 'string') return UTF8.encode(bytes)
  if (bytes?.BYTES_PER_ELEMENT === 1) return bytes
  throw new TypeError('an answer of bytes is a Uint8Array or a string')
}

/** A reply of bytes: what was read, a link's target. */
export class DataReply extends Reply {
  /** Bytes that may be written from `offset`: what the caller asked for, or less. */
  capacity = 0

  override prepare(size: number): void {
    this.exchange.replyLength = size
    this.capacity = Math.min(this.exchange.replyCapacity, this.requestedSize())
  }

  /** What the request has room for: `size` of fuse_read_in and fuse_getxattr_in; a link's target, a page. */
  protected requestedSize(): number {
    const { block, opcode, args } = this.exchange
    const word = args >>> 2
    switch (opcode) {
      case FuseOpcode.FUSE_READ:
      case FuseOpcode.FUSE_READDIR:
      case FuseOpcode.FUSE_READDIRPLUS: return block.u32[word + 4]
      case FuseOpcode.FUSE_GETXATTR:
      case FuseOpcode.FUSE_LISTXATTR: return block.u32[word]
      case FuseOpcode.FUSE_IOCTL: return block.u32[word + 7]
      default: return 4095
    }
  }

  /** Bytes of the answer so far. */
  get length(): number {
    return this.exchange.replyLength
  }
  set length(bytes: number) {
    this.exchange.replyLength = bytes
  }

  /** Appends bytes. @returns how many fitted */
  write(bytes: Bytes): number {
    const source = bytesOf(bytes)
    const count = Math.max(0, Math.min(source.length, this.capacity - this.length))
    this.exchange.block.u8.set(count === source.length ? source : source.subarray(0, count), this.offset + this.length)
    this.length += count
    return count
  }

  override encode(value: any): void {
    this.length = 0
    this.write(value as Bytes)
  }
}

/** A value or a list of names, or, when the caller asked for it, only its size. */
export class XattrReply extends DataReply {
  override prepare(size: number): void {
    super.prepare(size)
    // A handler that has nothing to say says "0 bytes", which has a form of its own here.
    if (this.sizeOnly) this.setSize(0)
  }

  /** Whether only the size is wanted: call `setSize`. */
  get sizeOnly(): boolean {
    return this.requestedSize() === 0
  }

  /** Answers how large the value is, bytes. */
  setSize(size: number): void {
    const { block, reply } = this.exchange
    block.u32[reply >>> 2] = size
    block.u32[(reply >>> 2) + 1] = 0
    this.exchange.replyLength = s.fuse_getxattr_out.size
  }

  override encode(value: Bytes | readonly string[]): void {
    const bytes = bytesOf(Array.isArray(value) ? value.map((name) => `${name}\0`).join('') : value as Bytes)
    if (this.sizeOnly) this.setSize(bytes.length)
    else if (bytes.length > this.capacity) this.exchange.fail(bytes.length > 65536 ? E2BIG : ERANGE)
    else super.encode(bytes)
  }
}

export class IoctlReply extends DataReply {
  readonly out = s.fuse_ioctl_out.view()

  override prepare(size: number): void {
    const { exchange } = this
    clear(exchange.block, exchange.reply, size)
    exchange.replyLength = size
    this.out.move(exchange.block, exchange.reply)
    this.capacity = size + Math.min(Math.max(0, exchange.replyCapacity - size), this.requestedSize())
  }

  override encode(value: Ioctl | number): void {
    const answer = typeof value === 'number' ? { result: value } : value
    this.out.result = answer.result ?? 0
    if (answer.data) this.write(answer.data)
  }
}

const SLASH = 0x2f
const DIRENT_SIZE = s.fuse_dirent.size

/** A directory listing, of plain records (FUSE_READDIR) or with inodes (FUSE_READDIRPLUS). */
export class DirectoryReply extends DataReply {
  /** The record's inode, in place; only when `plus`. */
  readonly entry = s.fuse_entry_out.view()
  /** The record, in place. */
  readonly dirent = s.fuse_dirent.view()
  /** Where the record's name goes. */
  nameOffset = 0

  /** Whether records carry inodes. Each one with a nodeid other than 0 counts as a look-up. */
  get plus(): boolean {
    return this.exchange.opcode === FuseOpcode.FUSE_READDIRPLUS
  }

  /**
   * Makes room for the next record: `dirent` (and `entry`) are placed, zeroed but for time-outs
   * and the name's length; the caller fills them and copies the name to `nameOffset`.
   * @returns false when the reply is full: the record must come with the next request
   */
  next(nameLength: number): boolean {
    const { exchange } = this
    const { block } = exchange
    const head = this.plus ? s.fuse_entry_out.size : 0
    const size = (head + DIRENT_SIZE + nameLength + 7) & ~7
    if (exchange.replyLength + size > this.capacity) return false
    const at = exchange.reply + exchange.replyLength
    clear(block, at, size)
    if (head !== 0) placeEntry(this.entry as EntryView, exchange, at)
    this.dirent.move(block, at + head)
    this.dirent.namelen = nameLength
    this.nameOffset = at + head + DIRENT_SIZE
    exchange.replyLength += size
    return true
  }

  /**
   * Appends an entry of a listing.
   * @param fallbackOffset used when the entry has no `offset`
   * @returns false when the reply is full
   */
  add(item: Dirent, fallbackOffset: number): boolean {
    const name = bytesOf(item.name)
    if (name.length === 0 || name.length > MAX_LISTED_NAME || name.includes(SLASH) || name.includes(0)) {
      throw new RangeError('a name in a listing has 1 to 1024 bytes, none of them a slash or NUL')
    }
    if (!this.next(name.length)) return false
    setWide(this.dirent, 'ino', item.ino ?? item.entry?.attr.ino ?? item.entry?.nodeid ?? 0xffffffff)
    setWide(this.dirent, 'off', item.offset ?? fallbackOffset)
    this.dirent.type = ((item.mode ?? item.entry?.attr.mode ?? 0) & S_IFMT) >>> 12
    this.block.u8.set(name, this.nameOffset)
    if (this.plus && item.entry) encodeEntry(this.entry as ViewOf<typeof s.fuse_entry_out>, item.entry)
    return true
  }

  /** Encodes a listing; entries without offsets are the whole directory, from the first. */
  override encode(value: readonly Dirent[]): void {
    const { block, args } = this.exchange
    const word = args >>> 2
    const offset = block.u32[word + 2] + block.u32[word + 3] * 4294967296
    const whole = value.length > 0 && value[0].offset === undefined
    for (let index = whole ? offset : 0; index < value.length; index++) {
      if (!this.add(value[index], index + 1)) break
    }
  }
}

const REPLY_CLASSES: Readonly<Record<ReplyKind, new (exchange: Exchange) => Reply>> = {
  none: EmptyReply,
  empty: EmptyReply,
  entry: EntryReply,
  attr: AttrReply,
  statx: StatxReply,
  open: OpenReply,
  create: CreateReply,
  write: WriteReply,
  copied: CopiedReply,
  statfs: StatfsReply,
  data: DataReply,
  dirents: DirectoryReply,
  xattr: XattrReply,
  lk: LockReply,
  bmap: BmapReply,
  ioctl: IoctlReply,
  poll: PollReply,
  lseek: LseekReply,
  init: InitReply,
}

/** The reply object of a parsed exchange, prepared: zeroed, time-outs filled in. One per exchange and opcode. */
export function replyOf(exchange: Exchange): Reply {
  const { opcode } = exchange
  const operation = exchange.operation!
  const reply = (exchange.replies[opcode] ??= new REPLY_CLASSES[operation.reply](exchange)) as Reply
  reply.prepare(operation.replySize)
  return reply
}

/** Turns an outcome that the kernel would refuse into EIO: an errno out of range, a payload that does not fit. */
export function checkOutcome(exchange: Exchange): void {
  const { error, replyLength } = exchange
  if (error === 0) {
    // In this form, NaN fails too.
    if (replyLength >= 0 && replyLength <= exchange.replyCapacity && Number.isInteger(replyLength)) return
  } else if (error < 0 && error > -512 && Number.isInteger(error)) {
    return
  }
  exchange.fail(EIO)
}
