// SPDX-License-Identifier: MIT
/**
 * Requests as typed objects that read the bytes in place.
 *
 * Each has the fields of its kernel struct (`request.fh`, `request.offset`, ...; 64-bit ones also
 * as `fh_low`, `fh_high`), the caller (`uid`, `gid`, `pid`) and, where the operation has them,
 * names and data. A request object is valid until its operation is answered: the next request
 * reuses it. Copy what must live longer.
 */
import { FUSE_EXT_GROUPS, FUSE_MAX_NR_SECCTX } from './constants.js'
import { EFUSE_WANTS } from './efuse-module.js'
import type { Exchange } from './exchange.js'
import { OPERATION_BY_OPCODE } from './operations.js'
import { defineFields, View, type Block, type Fields, type FieldsOf, type Struct } from './struct.js'
import * as s from './structs.js'

// A byte order mark at the start of a name is part of the name.
const UTF8 = new TextDecoder('utf-8', { ignoreBOM: true })
const TWO_32 = 4294967296

/** What every request has. */
export class Request extends View {
  constructor(readonly exchange: Exchange) {
    super()
  }

  /** The memory that the request lies in; offsets below are into it. */
  get block(): Block {
    return this.exchange.block
  }
  get opcode(): number {
    return this.exchange.opcode
  }
  /** The inode that the request is about: a number that the file system gave out. Exact up to 2^53. */
  get nodeid(): number {
    const word = (this.exchange.header >>> 2) + 4
    return this.u32[word] + this.u32[word + 1] * TWO_32
  }
  get nodeid_low(): number {
    return this.u32[(this.exchange.header >>> 2) + 4]
  }
  get nodeid_high(): number {
    return this.u32[(this.exchange.header >>> 2) + 5]
  }
  /** The caller's file system user id. */
  get uid(): number {
    return this.u32[(this.exchange.header >>> 2) + 6]
  }
  /** The caller's file system group id. */
  get gid(): number {
    return this.u32[(this.exchange.header >>> 2) + 7]
  }
  /** The same as `uid` and `gid`, under names that no struct has: a setattr's `uid` is the new owner. */
  get callerUid(): number {
    return this.u32[(this.exchange.header >>> 2) + 6]
  }
  get callerGid(): number {
    return this.u32[(this.exchange.header >>> 2) + 7]
  }
  /** The caller's thread id, as the server's pid namespace sees it; 0 when it has none there. */
  get pid(): number {
    return this.u32[(this.exchange.header >>> 2) + 8]
  }
  /** What else is wanted of the answer: EFUSE_CAN_..., which efuse.ko asks for only if the server has said that it can. */
  get wants(): number {
    const padding = this.u16[(this.exchange.header >>> 1) + 19]
    return (padding & 0xff00) === EFUSE_WANTS ? padding & 0xff : 0
  }
  /** Fired when the caller is interrupted (FUSE_INTERRUPT): answer with EINTR soon. */
  get signal(): AbortSignal {
    return (this.exchange.abort ??= new AbortController()).signal
  }
  /**
   * The one supplementary group of the caller that is the parent directory's group, where the
   * kernel sent it (FUSE_CREATE_SUPP_GROUP, on creating requests), otherwise -1.
   */
  get supplementaryGroup(): number {
    let group = -1
    if (this.exchange.extensionsLength > 0) {
      forEachExtension(this.exchange, (type, bytes) => {
        if (type === FUSE_EXT_GROUPS && bytes.byteLength >= 8 && bytes.getUint32(0, LITTLE) >= 1) {
          group = bytes.getUint32(4, LITTLE)
        }
      })
    }
    return group
  }
  /** Security labels for the new inode (FUSE_SECURITY_CTX), by xattr name. */
  get securityContexts(): Map<string, Uint8Array> {
    const contexts = new Map<string, Uint8Array>()
    forEachExtension(this.exchange, (type, bytes) => {
      if (type > FUSE_MAX_NR_SECCTX) return
      let at = 0
      for (let i = 0; i < type && at + 8 <= bytes.byteLength; i++) {
        const size = bytes.getUint32(at, LITTLE)
        at += 8
        const start = at
        while (at < bytes.byteLength && bytes.getUint8(at) !== 0) at++
        const name = UTF8.decode(new Uint8Array(bytes.buffer, bytes.byteOffset + start, at - start))
        at++
        if (at + size > bytes.byteLength) return
        contexts.set(name, new Uint8Array(bytes.buffer, bytes.byteOffset + at, size).slice())
        at = (at + size + 7) & ~7
      }
    })
    return contexts
  }

  protected decode(offset: number, length: number): string {
    return UTF8.decode(this.u8.subarray(offset, offset + length))
  }
}

const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/**
 * Walks the extensions behind a request: `type` below 32 is a fuse_secctx_header with that many
 * contexts, FUSE_EXT_GROUPS a fuse_supp_groups. Stops at the first malformed one. They follow
 * names of any length, so nothing is aligned.
 */
function forEachExtension(exchange: Exchange, visit: (type: number, bytes: DataView) => void): void {
  let at = exchange.extensions
  const end = at + exchange.extensionsLength
  while (at + 8 <= end) {
    const head = new DataView(exchange.block.buffer, at, 8)
    const size = head.getUint32(0, LITTLE)
    if (size < 8 || at + size > end) return
    visit(head.getUint32(4, LITTLE), new DataView(exchange.block.buffer, at + 8, size - 8))
    at += (size + 7) & ~7
  }
}

/** A request about a name in the directory `nodeid`. */
export interface Named {
  /** Decoded as UTF-8; names that are not valid UTF-8 keep their identity only in `nameBytes`. */
  readonly name: string
  /** The name's bytes, in place, without the NUL. */
  readonly nameBytes: Uint8Array
  /** Offset of the NUL-terminated name in `block`. */
  readonly nameOffset: number
  readonly nameLength: number
}

/** A request with a second string: rename's new name, symlink's target. */
export interface TwiceNamed extends Named {
  readonly name2: string
  readonly name2Bytes: Uint8Array
  readonly name2Offset: number
  readonly name2Length: number
}

/** A request that carries bytes. */
export interface WithData {
  /** The bytes, in place. */
  readonly data: Uint8Array
  /** Offset of the bytes in `block`. */
  readonly dataOffset: number
  readonly dataLength: number
}

const NAMED: PropertyDescriptorMap & ThisType<Request> = {
  name: { get() { return this['decode'](this.exchange.name, this.exchange.nameLength) } },
  nameBytes: { get() { return this['u8'].subarray(this.exchange.name, this.exchange.name + this.exchange.nameLength) } },
  nameOffset: { get() { return this.exchange.name } },
  nameLength: { get() { return this.exchange.nameLength } },
}
const TWICE_NAMED: PropertyDescriptorMap & ThisType<Request> = {
  name2: { get() { return this['decode'](this.exchange.name2, this.exchange.name2Length) } },
  name2Bytes: { get() { return this['u8'].subarray(this.exchange.name2, this.exchange.name2 + this.exchange.name2Length) } },
  name2Offset: { get() { return this.exchange.name2 } },
  name2Length: { get() { return this.exchange.name2Length } },
}
const WITH_DATA: PropertyDescriptorMap & ThisType<Request> = {
  data: { get() { return this['u8'].subarray(this.exchange.data, this.exchange.data + this.exchange.dataLength) } },
  dataOffset: { get() { return this.exchange.data } },
  dataLength: { get() { return this.exchange.dataLength } },
}

/** The class of each operation's requests, made from its row. Index: opcode. */
const REQUEST_CLASSES = OPERATION_BY_OPCODE.map((operation) => {
  if (operation === undefined) return undefined
  class OperationRequest extends Request {}
  if (operation.args) defineFields(OperationRequest.prototype, operation.args)
  if (operation.names > 0) Object.defineProperties(OperationRequest.prototype, NAMED)
  if (operation.names > 1) Object.defineProperties(OperationRequest.prototype, TWICE_NAMED)
  if (operation.data) Object.defineProperties(OperationRequest.prototype, WITH_DATA)
  // FUSE_RENAME is FUSE_RENAME2 with a shorter struct: handlers see one kind of request.
  if (operation.name === 'FUSE_RENAME') Object.defineProperty(OperationRequest.prototype, 'flags', { value: 0 })
  return OperationRequest
})

/** The request object of an exchange that has been parsed; one object per exchange and opcode. */
export function requestOf(exchange: Exchange): Request {
  let request = exchange.requests[exchange.opcode] as Request | undefined
  if (request === undefined) {
    const RequestClass = REQUEST_CLASSES[exchange.opcode]
    if (RequestClass === undefined) throw new RangeError(`no FUSE operation has opcode ${exchange.opcode}`)
    request = new RequestClass(exchange)
    exchange.requests[exchange.opcode] = request
  }
  return request.move(exchange.block, exchange.args)
}

/** One inode of a FUSE_BATCH_FORGET, seen as the FUSE_FORGET that it stands for. */
class ForgetOne extends Request {
  override get nodeid(): number {
    return this.u32[this.word] + this.u32[this.word + 1] * TWO_32
  }
  override get nodeid_low(): number {
    return this.u32[this.word]
  }
  override get nodeid_high(): number {
    return this.u32[this.word + 1]
  }
  get nlookup(): number {
    return this.u32[this.word + 2] + this.u32[this.word + 3] * TWO_32
  }
  get nlookup_low(): number {
    return this.u32[this.word + 2]
  }
  get nlookup_high(): number {
    return this.u32[this.word + 3]
  }
}

/** Calls `visit` for each inode of a FUSE_BATCH_FORGET; the argument is reused. */
export function forEachForget(exchange: Exchange, visit: (request: ForgetRequest) => void): void {
  const one = new ForgetOne(exchange)
  const count = exchange.block.u32[exchange.args >>> 2]
  for (let index = 0; index < count; index++) {
    visit(one.move(exchange.block, exchange.data + index * 16) as unknown as ForgetRequest)
  }
}

type FieldsOfStruct<S> = S extends Struct<infer F extends Fields> ? Readonly<FieldsOf<F>> : never

export type LookupRequest = Request & Named
export type ForgetRequest = Request & FieldsOfStruct<typeof s.fuse_forget_in>
export type GetattrRequest = Request & FieldsOfStruct<typeof s.fuse_getattr_in>
/** `uid` and `gid` are those to be set; the caller's are `callerUid` and `callerGid`. */
export type SetattrRequest = Request & FieldsOfStruct<typeof s.fuse_setattr_in>
export type ReadlinkRequest = Request
/** `name` is the link's name, `name2` its target. */
export type SymlinkRequest = Request & TwiceNamed
export type MknodRequest = Request & FieldsOfStruct<typeof s.fuse_mknod_in> & Named
export type MkdirRequest = Request & FieldsOfStruct<typeof s.fuse_mkdir_in> & Named
export type UnlinkRequest = Request & Named
export type RmdirRequest = Request & Named
/** `name` in `nodeid` becomes `name2` in `newdir`. FUSE_RENAME comes with `flags` 0. */
export type RenameRequest = Request & FieldsOfStruct<typeof s.fuse_rename2_in> & TwiceNamed
/** A new name for the inode `oldnodeid`. */
export type LinkRequest = Request & FieldsOfStruct<typeof s.fuse_link_in> & Named
export type OpenRequest = Request & FieldsOfStruct<typeof s.fuse_open_in>
export type ReadRequest = Request & FieldsOfStruct<typeof s.fuse_read_in>
export type WriteRequest = Request & FieldsOfStruct<typeof s.fuse_write_in> & WithData
export type StatfsRequest = Request
export type ReleaseRequest = Request & FieldsOfStruct<typeof s.fuse_release_in>
export type FsyncRequest = Request & FieldsOfStruct<typeof s.fuse_fsync_in>
/** The value is the first `size` bytes of `data`. */
export type SetxattrRequest = Request & FieldsOfStruct<typeof s.fuse_setxattr_in> & Named & WithData
/** `size` 0 asks for the value's size. */
export type GetxattrRequest = Request & FieldsOfStruct<typeof s.fuse_getxattr_in> & Named
export type ListxattrRequest = Request & FieldsOfStruct<typeof s.fuse_getxattr_in>
export type RemovexattrRequest = Request & Named
export type FlushRequest = Request & FieldsOfStruct<typeof s.fuse_flush_in>
export type InitRequest = Request & FieldsOfStruct<typeof s.fuse_init_in>
export type ReaddirRequest = Request & FieldsOfStruct<typeof s.fuse_read_in>
export type LockRequest = Request & FieldsOfStruct<typeof s.fuse_lk_in>
export type AccessRequest = Request & FieldsOfStruct<typeof s.fuse_access_in>
export type CreateRequest = Request & FieldsOfStruct<typeof s.fuse_create_in> & Named
export type InterruptRequest = Request & FieldsOfStruct<typeof s.fuse_interrupt_in>
export type BmapRequest = Request & FieldsOfStruct<typeof s.fuse_bmap_in>
export type IoctlRequest = Request & FieldsOfStruct<typeof s.fuse_ioctl_in> & WithData
export type PollRequest = Request & FieldsOfStruct<typeof s.fuse_poll_in>
export type NotifyReplyRequest = Request & FieldsOfStruct<typeof s.fuse_notify_retrieve_in> & WithData
export type BatchForgetRequest = Request & FieldsOfStruct<typeof s.fuse_batch_forget_in> & WithData
export type FallocateRequest = Request & FieldsOfStruct<typeof s.fuse_fallocate_in>
export type LseekRequest = Request & FieldsOfStruct<typeof s.fuse_lseek_in>
export type CopyFileRangeRequest = Request & FieldsOfStruct<typeof s.fuse_copy_file_range_in>
export type SetupmappingRequest = Request & FieldsOfStruct<typeof s.fuse_setupmapping_in>
export type RemovemappingRequest = Request & FieldsOfStruct<typeof s.fuse_removemapping_in> & WithData
export type SyncfsRequest = Request
export type TmpfileRequest = Request & FieldsOfStruct<typeof s.fuse_create_in> & Named
export type StatxRequest = Request & FieldsOfStruct<typeof s.fuse_statx_in>
