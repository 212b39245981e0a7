// SPDX-License-Identifier: MIT
/**
 * One request and its reply: where their bytes lie, and what came of it.
 *
 * A ring owns a few exchanges and uses each over and over. It receives a request into the
 * exchange's block, `parse` finds the parts, the file system reads them through a `Request` and
 * writes its answer through a `Reply`, both in place. An answer that takes its time simply keeps
 * its exchange; the ring goes on with another.
 */
import { constants } from 'node:os'
import {
  FUSE_COMPAT_INIT_IN_SIZE, FUSE_COMPAT_SETXATTR_IN_SIZE, FuseOpcode,
} from './constants.js'
import { OPERATION_BY_OPCODE, OPCODE_LIMIT, REPLY_SIZE, type Operation } from './operations.js'
import type { Block } from './struct.js'
import { fuse_in_header, fuse_out_header } from './structs.js'

const { EIO, EINVAL, ENOSYS } = constants.errno

export const IN_HEADER_SIZE = fuse_in_header.size
export const OUT_HEADER_SIZE = fuse_out_header.size

/** What became of a request. */
export const enum Outcome {
  /** The exchange holds the reply: send it. */
  Ready,
  /** No reply is due: the exchange is free. */
  Silent,
  /** The reply comes later, through `onComplete`; the exchange is taken until then. */
  Pending,
}

/** How long the kernel may keep what a reply says: whole seconds and nanoseconds. */
export interface Validity {
  entrySeconds: number
  entryNanoseconds: number
  attrSeconds: number
  attrNanoseconds: number
  negativeSeconds: number
  negativeNanoseconds: number
}

export const NO_VALIDITY: Readonly<Validity> = {
  entrySeconds: 0, entryNanoseconds: 0, attrSeconds: 0, attrNanoseconds: 0, negativeSeconds: 0, negativeNanoseconds: 0,
}

/** What `Exchange.parse` needs to know of the negotiated protocol. */
export interface Dialect {
  readonly minor: number
  /** FUSE_SETXATTR_EXT: fuse_setxattr_in has its long form. */
  readonly setxattrExt: boolean
}

/** What exchanges belong to. */
export interface ExchangeOwner {
  /** The answer that an exchange waited for is there: send its reply, and use it again. */
  complete(exchange: Exchange): void
}

export class Exchange {
  /** The row of the request's opcode; undefined before the first request and for unknown opcodes. */
  operation: Operation | undefined = undefined
  opcode = 0
  /** Offset of the fuse_in_header, bytes from the start of the block. */
  header = 0
  /** Offset of the operation's fixed struct. */
  args = 0
  /** Bytes of the fixed struct that were sent: older kernels send shorter forms. */
  argsSize = 0
  /** First string after the fixed struct, and its length without the NUL. */
  name = 0
  nameLength = 0
  /** Second string. */
  name2 = 0
  name2Length = 0
  /** The bytes after the strings. */
  data = 0
  dataLength = 0
  /** The extensions behind them. */
  extensions = 0
  extensionsLength = 0

  /** Offset of the reply's payload; its fuse_out_header, where contiguous, lies OUT_HEADER_SIZE before. */
  reply = 0
  /** Bytes that the payload may have. */
  replyCapacity = 0
  /** The outcome: 0, or a negated errno. */
  error = 0
  /** The outcome: bytes of payload. */
  replyLength = 0

  /**
   * The bytes of this read or write are not here: the kernel holds the caller's own pages ready, and the ring moves
   * the bytes between them and a file. The handler says which, by `transfer`, once it has all the rest in order.
   */
  zeroCopy = false
  /** What `transfer` was told; -1: nothing. */
  transferFd = -1
  transferLow = 0
  transferHigh = 0
  transferSize = 0

  /** Who sends the reply when it was awaited: the ring that the exchange belongs to. */
  owner: ExchangeOwner | null = null
  /** Where it stands among the requests whose answers are awaited; -1: it is none of them. */
  pendingAt = -1
  /** What settles its answer; made by the dispatcher when first needed. */
  settling: unknown = null
  /** Fired by FUSE_INTERRUPT; made when a handler asks for it. */
  abort: AbortController | null = null
  /** Defaults that entry and attr replies are filled with. */
  validity: Readonly<Validity> = NO_VALIDITY
  /** Cached request and reply objects, by opcode; filled by request.ts and reply.ts. */
  readonly requests: unknown[] = new Array(OPCODE_LIMIT)
  readonly replies: unknown[] = new Array(OPCODE_LIMIT)

  /**
   * @param block the memory of both request and reply
   * @param replyArea where replies of a fixed size go: offset of at least REPLY_AREA_SIZE bytes,
   *   the out header included, that no request covers
   * @param dataArea where bulk replies (reads, listings) go when the request has nothing but its
   *   fixed struct; page aligned, so that a read can go to the disk without a copy
   */
  constructor(
    readonly block: Block,
    readonly replyArea: number,
    protected dataArea: number,
    /** End of the memory that is this exchange's. */
    protected limit: number = block.length,
  ) {
    this.reply = replyArea + OUT_HEADER_SIZE
  }

  get uniqueLow(): number {
    return this.block.u32[(this.header >>> 2) + 2]
  }

  get uniqueHigh(): number {
    return this.block.u32[(this.header >>> 2) + 3]
  }

  /**
   * Finds the parts of a request that lies in one piece, as /dev/fuse hands it out.
   * @param header offset of the fuse_in_header, a multiple of 8
   * @param length bytes received
   * @returns 0, or a negated errno that the request must be answered with
   */
  parse(header: number, length: number, dialect: Dialect): number {
    const { u32, u16 } = this.block
    const word = header >>> 2
    this.begin(header, length < 8 ? 0 : u32[word + 1])
    if (length < IN_HEADER_SIZE || u32[word] !== length) return -EIO
    const operation = this.operation
    if (operation === undefined) return -ENOSYS
    this.args = header + IN_HEADER_SIZE
    const extensions = u16[(word << 1) + 18] * 8
    const end = header + length - extensions
    const argsSize = this.expectedArgsSize(operation, dialect, end - this.args)
    if (this.args + argsSize > end) return -EIO
    this.extensions = end
    this.extensionsLength = extensions
    return this.parsePayload(operation, argsSize, this.args + argsSize, end)
  }

  /**
   * Finds the parts of a request whose header, fixed struct and payload lie apart, as io_uring's
   * rings hand it out.
   * @param payloadLength bytes of names, data and extensions
   * @returns 0, or a negated errno that the request must be answered with
   */
  parseParts(header: number, args: number, payload: number, payloadLength: number, dialect: Dialect): number {
    const { u32, u16 } = this.block
    const word = header >>> 2
    this.begin(header, u32[word + 1])
    const operation = this.operation
    if (operation === undefined) return -ENOSYS
    this.args = args
    const extensions = u16[(word << 1) + 18] * 8
    if (extensions > payloadLength || payload + payloadLength > this.limit) return -EIO
    const end = payload + payloadLength - extensions
    this.extensions = end
    this.extensionsLength = extensions
    // Where the request leaves the payload alone, the reply goes there at once.
    if (payloadLength === 0) {
      this.reply = payload
      this.replyCapacity = this.limit - payload
    }
    return this.parsePayload(operation, this.expectedArgsSize(operation, dialect, 64), payload, end)
  }

  /** Resets what the last request left. */
  begin(header: number, opcode: number): void {
    this.header = header
    this.opcode = opcode
    this.operation = opcode < OPCODE_LIMIT ? OPERATION_BY_OPCODE[opcode] : undefined
    this.abort = null
    this.error = 0
    this.replyLength = 0
    this.nameLength = 0
    this.name2Length = 0
    this.dataLength = 0
    this.extensionsLength = 0
    this.reply = this.replyArea + OUT_HEADER_SIZE
    this.replyCapacity = REPLY_AREA_SIZE - OUT_HEADER_SIZE
  }

  /** Bytes of the fixed struct that this kernel sends for an operation. */
  expectedArgsSize(operation: Operation, dialect: Dialect, available: number): number {
    const opcode = operation.opcode
    if (opcode === FuseOpcode.FUSE_SETXATTR && !dialect.setxattrExt) return FUSE_COMPAT_SETXATTR_IN_SIZE
    if (opcode === FuseOpcode.FUSE_INIT && available < 64) return FUSE_COMPAT_INIT_IN_SIZE
    return operation.args === null ? 0 : operation.args.size
  }

  /**
   * Splits what follows the fixed struct into strings and data, and chooses the reply's place.
   * @param payload offset of the first byte
   * @param end offset behind the last byte, extensions excluded
   * @returns 0, or a negated errno
   */
  parsePayload(operation: Operation, argsSize: number, payload: number, end: number): number {
    this.argsSize = argsSize
    let next = payload
    if (operation.names > 0) {
      const nul = this.findNul(next, end)
      if (nul < 0) return -EINVAL
      this.name = next
      this.nameLength = nul - next
      next = nul + 1
      if (operation.names > 1) {
        const nul2 = this.findNul(next, end)
        if (nul2 < 0) return -EINVAL
        this.name2 = next
        this.name2Length = nul2 - next
        next = nul2 + 1
      }
    }
    this.data = next
    this.dataLength = end - next
    if (operation.data && !this.zeroCopy) {
      if (this.dataLength < this.announcedDataLength(operation.opcode)) return -EINVAL
    }
    if (operation.bulkReply) {
      const place = end <= this.dataArea
        ? this.dataArea
        : ((end + this.extensionsLength + OUT_HEADER_SIZE + 7) & ~7)
      this.reply = place
      this.replyCapacity = Math.max(0, this.limit - place)
    }
    return 0
  }

  /** Bytes of data that the fixed struct promises; a request with fewer is malformed. */
  private announcedDataLength(opcode: number): number {
    const { u32 } = this.block
    const word = this.args >>> 2
    switch (opcode) {
      case FuseOpcode.FUSE_WRITE: return u32[word + 4]
      case FuseOpcode.FUSE_SETXATTR: return u32[word]
      case FuseOpcode.FUSE_IOCTL: return u32[word + 6]
      case FuseOpcode.FUSE_NOTIFY_REPLY: return u32[word + 4]
      case FuseOpcode.FUSE_BATCH_FORGET: return u32[word] * 16
      case FuseOpcode.FUSE_REMOVEMAPPING: return u32[word] * 16
      default: return 0
    }
  }

  private findNul(start: number, end: number): number {
    // Names are short: a loop is done before TypedArray's indexOf has begun.
    const { u8 } = this.block
    for (let at = start; at < end; at++) if (u8[at] === 0) return at
    return -1
  }

  /**
   * Writes the fuse_out_header in front of the payload, for channels that send both in one piece.
   * @returns bytes to send, from `reply - OUT_HEADER_SIZE`
   */
  writeOutHeader(): number {
    const { u32, i32 } = this.block
    // Read before written: a bulk reply's header may overlap the request's arguments, never its header.
    const uniqueLow = this.uniqueLow
    const uniqueHigh = this.uniqueHigh
    const word = (this.reply - OUT_HEADER_SIZE) >>> 2
    const length = OUT_HEADER_SIZE + (this.error === 0 ? this.replyLength : 0)
    u32[word] = length
    i32[word + 1] = this.error
    u32[word + 2] = uniqueLow
    u32[word + 3] = uniqueHigh
    return length
  }

  /**
   * Answers a request with `zeroCopy` by a file's bytes, or writes its bytes to a file, after the handler has returned.
   * @param fd stays open until the request is answered
   * @param size bytes at most
   */
  transfer(fd: number, offsetLow: number, offsetHigh: number, size: number): void {
    this.transferFd = fd
    this.transferLow = offsetLow
    this.transferHigh = offsetHigh
    this.transferSize = size
  }

  /** Fails the exchange. @param errno positive */
  fail(errno: number): void {
    this.error = -errno
    this.replyLength = 0
    // Behind a request that fills the block there may be no room, not even for a header.
    this.reply = this.replyArea + OUT_HEADER_SIZE
  }
}

/** Bytes that `replyArea` must offer: the out header and the largest fixed reply (fuse_statx_out). */
export const REPLY_AREA_SIZE = 512

for (const size of Object.values(REPLY_SIZE)) {
  if (size + OUT_HEADER_SIZE > REPLY_AREA_SIZE) throw new Error('REPLY_AREA_SIZE is too small')
}
