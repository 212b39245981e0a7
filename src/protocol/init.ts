// SPDX-License-Identifier: MIT
/**
 * FUSE_INIT: what the kernel offers, what the file system and we can honour, and the reply that
 * says so. A capability is taken only when somebody asked for it and will keep its promise.
 */
import {
  FUSE_KERNEL_MINOR_VERSION, FUSE_KERNEL_VERSION, FUSE_OLDEST_MINOR_VERSION, FuseInitFlag, type FuseInitFlagName,
} from './constants.js'
import type { Dialect } from './exchange.js'
import type { InitReply } from './reply.js'
import type { InitRequest } from './request.js'

const PAGE_SIZE = 4096

/** Capabilities that this code honours for every file system, whatever it does. */
const ALWAYS_WANTED: readonly FuseInitFlagName[] = [
  'FUSE_INIT_EXT',
  'FUSE_MAX_PAGES',
  'FUSE_BIG_WRITES',
  'FUSE_ASYNC_READ',
  'FUSE_ASYNC_DIO',
  'FUSE_PARALLEL_DIROPS',
  'FUSE_ABORT_ERROR',
  'FUSE_AUTO_INVAL_DATA',
  'FUSE_HAS_IOCTL_DIR',
  'FUSE_NO_OPEN_SUPPORT',
  'FUSE_NO_OPENDIR_SUPPORT',
  'FUSE_SETXATTR_EXT',
  'FUSE_CREATE_SUPP_GROUP',
  'FUSE_HAS_EXPIRE_ONLY',
  'FUSE_HAS_RESEND',
  'FUSE_DIRECT_IO_ALLOW_MMAP',
]

/** The agreement in plain numbers, which workers are told. */
export interface Agreement {
  readonly minor: number
  /** INIT flags, bits 0 to 31 and 32 to 63. */
  readonly flags: number
  readonly flags2: number
  readonly maxWrite: number
  readonly maxReadahead: number
  readonly maxBackground: number
  readonly timeGranularity: number
  readonly maxStackDepth: number
}

/** Whether a capability is agreed on. */
export function agreedOn({ flags, flags2 }: Pick<Agreement, 'flags' | 'flags2'>, flag: FuseInitFlagName): boolean {
  return isSet(flags, flags2, flag)
}

function isSet(low: number, high: number, flag: FuseInitFlagName): boolean {
  const bit = FuseInitFlag[flag]
  return (((bit < 32 ? low : high) >>> (bit & 31)) & 1) === 1
}

/** A set of INIT flags: bits 0 to 31 and 32 to 63. */
class FlagSet {
  low = 0
  high = 0
  has(flag: FuseInitFlagName): boolean {
    return isSet(this.low, this.high, flag)
  }
  add(flag: FuseInitFlagName): void {
    const bit = FuseInitFlag[flag]
    if (bit < 32) this.low |= 1 << bit
    else this.high |= 1 << (bit - 32)
  }
  delete(flag: FuseInitFlagName): void {
    const bit = FuseInitFlag[flag]
    if (bit < 32) this.low &= ~(1 << bit)
    else this.high &= ~(1 << (bit - 32))
  }
}

/** A kernel whose protocol is not served. */
export class UnsupportedProtocolError extends Error {
  override readonly name = 'UnsupportedProtocolError'
  readonly code = 'EPROTO'
}

/** One mount's negotiation: made from the kernel's offer, shaped by the file system, then encoded. */
export class Negotiation implements Dialect {
  minor = FUSE_KERNEL_MINOR_VERSION
  maxWrite: number
  maxReadahead = 128 * 1024
  maxBackground = 64
  timeGranularity = 1
  maxStackDepth = 0
  /** Seconds after which the kernel gives up on a request and aborts the connection; 0: never. */
  requestTimeout = 0
  private readonly offered = new FlagSet()
  private readonly wanted = new FlagSet()

  /** @param maxPages pages in the largest request, as the kernel's `fs.fuse.max_pages_limit` allows */
  constructor(private readonly maxPages = 256) {
    this.maxWrite = maxPages * PAGE_SIZE
    for (const flag of ALWAYS_WANTED) this.wanted.add(flag)
  }

  /** Restores what another worker has negotiated. */
  static from(agreement: Agreement): Negotiation {
    const negotiation = new Negotiation(Math.ceil(agreement.maxWrite / PAGE_SIZE))
    negotiation.offered.low = negotiation.wanted.low = agreement.flags
    negotiation.offered.high = negotiation.wanted.high = agreement.flags2
    const { minor, maxWrite, maxReadahead, maxBackground, timeGranularity, maxStackDepth } = agreement
    return Object.assign(negotiation, { minor, maxWrite, maxReadahead, maxBackground, timeGranularity, maxStackDepth })
  }

  /**
   * Takes the kernel's offer.
   * @returns false when the kernel speaks a newer major version: the reply names ours, and a new
   *   INIT follows
   * @throws UnsupportedProtocolError when the kernel's version is too old
   */
  receive(request: InitRequest): boolean {
    if (request.major > FUSE_KERNEL_VERSION) return false
    if (request.major < FUSE_KERNEL_VERSION || request.minor < FUSE_OLDEST_MINOR_VERSION) {
      throw new UnsupportedProtocolError(
        `this kernel speaks FUSE ${request.major}.${request.minor}; `
        + `eFuse needs ${FUSE_KERNEL_VERSION}.${FUSE_OLDEST_MINOR_VERSION} (Linux 5.2) or newer`,
      )
    }
    this.minor = Math.min(request.minor, FUSE_KERNEL_MINOR_VERSION)
    this.maxReadahead = request.max_readahead
    this.offered.low = request.flags
    // flags2 exists only in the long form, and only counts when the kernel says so.
    this.offered.high = this.offered.has('FUSE_INIT_EXT') && request.exchange.argsSize >= 64 ? request.flags2 : 0
    if (!this.offered.has('FUSE_MAX_PAGES')) this.maxWrite = Math.min(this.maxWrite, 32 * PAGE_SIZE)
    return true
  }

  offers(flag: FuseInitFlagName): boolean {
    return this.offered.has(flag)
  }
  want(flag: FuseInitFlagName): boolean {
    this.wanted.add(flag)
    return this.offered.has(flag)
  }
  refuse(flag: FuseInitFlagName): void {
    this.wanted.delete(flag)
  }
  has(flag: FuseInitFlagName): boolean {
    return this.offered.has(flag) && this.wanted.has(flag)
  }

  /** Bytes of a buffer in a pool for FUSE over io_uring (FUSE_HAS_IO_URING_BUFPOOL). Linux: fuse_uring_create() */
  get poolBuffer(): number {
    return Math.max(2, Math.ceil(this.maxWrite / PAGE_SIZE)) * PAGE_SIZE
  }

  get setxattrExt(): boolean {
    return this.has('FUSE_SETXATTR_EXT')
  }

  /** The agreement in plain numbers. */
  agree(): Agreement {
    return {
      minor: this.minor,
      flags: (this.offered.low & this.wanted.low) >>> 0,
      flags2: (this.offered.high & this.wanted.high) >>> 0,
      maxWrite: this.maxWrite,
      maxReadahead: this.maxReadahead,
      maxBackground: this.maxBackground,
      timeGranularity: this.timeGranularity,
      maxStackDepth: this.has('FUSE_PASSTHROUGH') ? this.maxStackDepth : 0,
    }
  }

  /** Writes the reply to an INIT whose offer `receive` took. */
  encode(reply: InitReply): void {
    const { out } = reply
    const agreement = this.agree()
    this.maxWrite = Math.min(Math.max(PAGE_SIZE, this.maxWrite), this.maxPages * PAGE_SIZE)
    out.major = FUSE_KERNEL_VERSION
    out.minor = FUSE_KERNEL_MINOR_VERSION
    out.max_readahead = this.maxReadahead
    out.flags = agreement.flags
    out.flags2 = agreement.flags2
    out.max_background = this.maxBackground
    out.congestion_threshold = Math.max(1, Math.floor((this.maxBackground * 3) / 4))
    out.max_write = this.maxWrite
    out.max_pages = this.has('FUSE_MAX_PAGES') ? Math.ceil(this.maxWrite / PAGE_SIZE) : 0
    out.time_gran = this.timeGranularity
    out.max_stack_depth = agreement.maxStackDepth
    out.request_timeout = this.has('FUSE_REQUEST_TIMEOUT') ? this.requestTimeout : 0
  }
}
