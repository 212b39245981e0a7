// SPDX-License-Identifier: MIT
/**
 * From a parsed request to the file system's method and back: the one place that knows both.
 *
 * A ring hands over an exchange; `dispatch` says whether its reply is ready, will come later, or
 * is not wanted. Nothing that a file system or a kernel does here may throw into the ring's loop.
 */
import { constants } from 'node:os'
import { FuseOpcode } from '../protocol/constants.js'
import type { Exchange, Validity } from '../protocol/exchange.js'
import { IN_HEADER_SIZE, NO_VALIDITY, Outcome } from '../protocol/exchange.js'
import { Negotiation } from '../protocol/init.js'
import { OPCODE_LIMIT, OPERATION_BY_OPCODE } from '../protocol/operations.js'
import { checkOutcome, replyOf, type InitReply, type Reply } from '../protocol/reply.js'
import {
  forEachForget, requestOf, type ForgetRequest, type InitRequest, type InterruptRequest, type NotifyReplyRequest,
  type Request,
} from '../protocol/request.js'
import { fuse_forget_one } from '../protocol/structs.js'
import { OperationCounters, TIMED_EVERY } from './counters.js'
import { errnoOf, FuseError } from './errors.js'
import type { Answer, BackingFiles, Connection, FileSystem, Notifier } from './filesystem.js'

const { EIO, ENOSYS } = constants.errno
const TWO_32 = 4294967296

export { Outcome }

type Handler = (request: Request, reply: Reply) => Answer<unknown>

/** The method that serves each operation; those served by the dispatcher itself are not here. */
const METHOD_BY_OPERATION: Readonly<Partial<Record<keyof typeof FuseOpcode, keyof FileSystem>>> = {
  FUSE_LOOKUP: 'lookup',
  FUSE_GETATTR: 'getattr',
  FUSE_SETATTR: 'setattr',
  FUSE_READLINK: 'readlink',
  FUSE_SYMLINK: 'symlink',
  FUSE_MKNOD: 'mknod',
  FUSE_MKDIR: 'mkdir',
  FUSE_UNLINK: 'unlink',
  FUSE_RMDIR: 'rmdir',
  FUSE_RENAME: 'rename',
  FUSE_LINK: 'link',
  FUSE_OPEN: 'open',
  FUSE_READ: 'read',
  FUSE_WRITE: 'write',
  FUSE_STATFS: 'statfs',
  FUSE_RELEASE: 'release',
  FUSE_FSYNC: 'fsync',
  FUSE_SETXATTR: 'setxattr',
  FUSE_GETXATTR: 'getxattr',
  FUSE_LISTXATTR: 'listxattr',
  FUSE_REMOVEXATTR: 'removexattr',
  FUSE_FLUSH: 'flush',
  FUSE_OPENDIR: 'opendir',
  FUSE_READDIR: 'readdir',
  FUSE_RELEASEDIR: 'releasedir',
  FUSE_FSYNCDIR: 'fsyncdir',
  FUSE_GETLK: 'getlk',
  FUSE_SETLK: 'setlk',
  FUSE_SETLKW: 'setlkw',
  FUSE_ACCESS: 'access',
  FUSE_CREATE: 'create',
  FUSE_BMAP: 'bmap',
  FUSE_IOCTL: 'ioctl',
  FUSE_POLL: 'poll',
  FUSE_FALLOCATE: 'fallocate',
  FUSE_READDIRPLUS: 'readdirplus',
  FUSE_RENAME2: 'rename',
  FUSE_LSEEK: 'lseek',
  FUSE_COPY_FILE_RANGE: 'copyFileRange',
  FUSE_SETUPMAPPING: 'setupmapping',
  FUSE_REMOVEMAPPING: 'removemapping',
  FUSE_SYNCFS: 'syncfs',
  FUSE_TMPFILE: 'tmpfile',
  FUSE_STATX: 'statx',
  FUSE_COPY_FILE_RANGE_64: 'copyFileRange64',
}

/** How a mount's dispatcher is set up. */
export interface DispatchOptions {
  /** Time-outs that entry and attr replies carry unless the file system says otherwise. */
  validity?: Readonly<Validity>
  counters?: OperationCounters
  /** Negotiated by another worker already; otherwise the first request is FUSE_INIT. */
  negotiation?: Negotiation
  /** Mount options that shape the negotiation (writeback cache, ...): runs before the file system's `init`. */
  prepare?: (negotiation: Negotiation) => void
  /** Has the last word on the negotiation, after the file system's `init`. */
  conclude?: (negotiation: Negotiation) => void
  /** The messages to the kernel, for the file system's `connection.notify`. */
  notifier?: Notifier
  /** Takes files for passthrough, for the file system's `connection.backing`. */
  backing?: BackingFiles
  /** Zero copy was asked for, for the file system's `connection.zeroCopy`. */
  zeroCopy?: boolean
  /** A FUSE_NOTIFY_REPLY has come: the answer to a `retrieve`. */
  onNotifyReply?: (request: NotifyReplyRequest) => void
  /** An interrupt for a request that is not pending here: another worker may have it. */
  onForeignInterrupt?: (unique: number) => void
  /** A handler threw something that is not an answer: a bug worth a log line. */
  onHandlerError?: (error: unknown, operation: string) => void
}

export class Dispatcher {
  /** The answer to a pending request is there: by default its exchange's owner sends it. */
  onComplete: (exchange: Exchange) => void = (exchange) => exchange.owner?.complete(exchange)
  /** What was agreed on; until FUSE_INIT came, our own wishes. */
  readonly negotiation: Negotiation
  readonly counters: OperationCounters
  /** Resolves with the negotiation when FUSE_INIT has been answered; rejects when it can't be. */
  readonly initialized: Promise<Negotiation>

  private readonly validity: Readonly<Validity>
  private readonly handlers: (Handler | undefined)[] = new Array(OPCODE_LIMIT).fill(undefined)
  /** Requests whose answer is awaited. Not keyed by unique: resent ones (bit 63 set) are not exact as numbers. */
  /** The requests whose answers are awaited, in no order; each knows its place. */
  private readonly pending: Exchange[] = []
  /** Of those, the ones that are timed: when they came, milliseconds. */
  private readonly timed = new Map<Exchange, number>()
  private resolveInitialized!: (negotiation: Negotiation) => void
  private rejectInitialized!: (error: unknown) => void
  private destroyed = false

  constructor(
    readonly fileSystem: FileSystem,
    private readonly options: DispatchOptions = {},
  ) {
    this.negotiation = options.negotiation ?? new Negotiation()
    this.counters = options.counters ?? new OperationCounters()
    this.validity = options.validity ?? NO_VALIDITY
    this.initialized = new Promise((resolve, reject) => {
      this.resolveInitialized = resolve
      this.rejectInitialized = reject
    })
    // A rejection that nobody awaits is not an unhandled one: the ring ends and says why.
    this.initialized.catch(() => {})
    for (const [operation, method] of Object.entries(METHOD_BY_OPERATION)) {
      const handler = fileSystem[method] as Handler | undefined
      this.handlers[FuseOpcode[operation as keyof typeof FuseOpcode]] = handler
    }
  }

  /** Requests that wait for a promise. */
  get pendingCount(): number {
    return this.pending.length
  }

  /** Takes over a negotiation that another worker made: tells the file system. */
  async adopt(): Promise<void> {
    await this.fileSystem.init?.(this.connection())
    this.agreed()
    this.resolveInitialized(this.negotiation)
  }

  /**
   * Parses and serves a request that lies in one piece.
   * @param header offset of the fuse_in_header in the exchange's block
   * @param length bytes received
   */
  receive(exchange: Exchange, header: number, length: number): Outcome {
    const malformed = exchange.parse(header, length, this.negotiation)
    // Not even a header: there is no unique to answer to.
    if (length < IN_HEADER_SIZE) return Outcome.Silent
    return malformed === 0 ? this.dispatch(exchange) : this.refuse(exchange, -malformed)
  }

  /** Parses and serves a request whose parts lie apart: see Exchange.parseParts. */
  receiveParts(exchange: Exchange, header: number, args: number, payload: number, payloadLength: number): Outcome {
    const malformed = exchange.parseParts(header, args, payload, payloadLength, this.negotiation)
    return malformed === 0 ? this.dispatch(exchange) : this.refuse(exchange, -malformed)
  }

  /** Answers a request that can't be served. @param errno positive */
  refuse(exchange: Exchange, errno: number): Outcome {
    if (exchange.operation?.reply === 'none') return Outcome.Silent
    exchange.fail(errno)
    if (exchange.opcode < OPCODE_LIMIT) this.counters.record(exchange.opcode, true, 0, 0)
    return Outcome.Ready
  }

  /** Serves a request that has been parsed. */
  dispatch(exchange: Exchange): Outcome {
    if (--this.counters.untilTimed === 0) return this.dispatchTimed(exchange)
    const { opcode } = exchange
    exchange.validity = this.validity
    const handler = this.handlers[opcode]
    if (handler === undefined) return this.serveProtocol(exchange)
    const reply = replyOf(exchange)
    let result: unknown
    try {
      result = handler.call(this.fileSystem, requestOf(exchange), reply)
      if (isThenable(result)) {
        this.await(exchange, reply, result as PromiseLike<unknown>)
        return Outcome.Pending
      }
    } catch (error) {
      return this.failed(exchange, error)
    }
    return this.answered(exchange, reply, result)
  }

  /** Serves one request in TIMED_EVERY and tells the counters how long it took. */
  private dispatchTimed(exchange: Exchange): Outcome {
    const { counters, timed } = this
    counters.untilTimed = TIMED_EVERY
    const begin = performance.now()
    const outcome = this.dispatch(exchange)
    if (outcome === Outcome.Pending) timed.set(exchange, begin)
    else if (exchange.opcode < OPCODE_LIMIT) counters.recordService(exchange.opcode, (performance.now() - begin) * 1e6)
    return outcome
  }

  /** Aborts every pending request's signal: the connection is gone. */
  abandon(): void {
    for (const exchange of this.pending) {
      exchange.pendingAt = -1
      exchange.abort?.abort()
    }
    this.pending.length = 0
    this.timed.clear()
    this.counters.pending = 0
  }

  /** Ends the file system's work; later calls do nothing. */
  async destroy(): Promise<void> {
    if (this.destroyed) return
    this.destroyed = true
    await this.fileSystem.destroy?.()
  }

  /** Fires the signal of a pending request. @returns whether it is pending here */
  interrupt(unique: number): boolean {
    return this.interruptExact(unique % TWO_32, Math.floor(unique / TWO_32))
  }

  private interruptExact(uniqueLow: number, uniqueHigh: number): boolean {
    for (const exchange of this.pending) {
      if (exchange.uniqueLow !== uniqueLow || exchange.uniqueHigh !== uniqueHigh) continue
      exchange.abort ??= new AbortController()
      exchange.abort.abort()
      return true
    }
    return false
  }

  /** The requests that are about the protocol itself, and those that no method serves. */
  private serveProtocol(exchange: Exchange): Outcome {
    switch (exchange.opcode) {
      case FuseOpcode.FUSE_FORGET:
        if (this.fileSystem.forget) this.forgetOne(requestOf(exchange) as ForgetRequest)
        this.counters.record(exchange.opcode, false, 0, 0)
        this.counters.recordForgets(1)
        return Outcome.Silent
      case FuseOpcode.FUSE_BATCH_FORGET:
        if (this.fileSystem.forget) forEachForget(exchange, this.forgetOne)
        this.counters.record(exchange.opcode, false, exchange.dataLength, 0)
        this.counters.recordForgets(Math.floor(exchange.dataLength / fuse_forget_one.size))
        return Outcome.Silent
      case FuseOpcode.FUSE_INTERRUPT: {
        const { unique, unique_low, unique_high } = requestOf(exchange) as InterruptRequest
        this.counters.record(exchange.opcode, false, exchange.dataLength, 0)
        if (!this.interruptExact(unique_low, unique_high)) this.options.onForeignInterrupt?.(unique)
        return Outcome.Silent
      }
      case FuseOpcode.FUSE_NOTIFY_REPLY:
        this.counters.record(exchange.opcode, false, exchange.dataLength, 0)
        this.options.onNotifyReply?.(requestOf(exchange) as NotifyReplyRequest)
        return Outcome.Silent
      case FuseOpcode.FUSE_INIT:
        return this.init(exchange)
      case FuseOpcode.FUSE_DESTROY: {
        const reply = replyOf(exchange)
        this.await(exchange, reply, this.destroy())
        return Outcome.Pending
      }
      case FuseOpcode.FUSE_STATFS:
        // Without an answer df(1) and others would fail on a file system that has nothing to say.
        return this.answered(exchange, replyOf(exchange), {})
      default:
        exchange.fail(ENOSYS)
        return this.count(exchange)
    }
  }

  /** One failure must not keep the rest of a batch from being forgotten. */
  private readonly forgetOne = (request: ForgetRequest): void => {
    try {
      const result: unknown = this.fileSystem.forget!(request)
      if (isThenable(result)) Promise.resolve(result).catch(this.forgetFailed)
    } catch (error) {
      this.forgetFailed(error)
    }
  }

  private readonly forgetFailed = (error: unknown): void => {
    this.options.onHandlerError?.(error, 'FUSE_FORGET')
  }

  private init(exchange: Exchange): Outcome {
    const { negotiation, options, fileSystem } = this
    const reply = replyOf(exchange) as InitReply
    const conclude = () => {
      options.conclude?.(negotiation)
      negotiation.encode(reply)
      this.agreed()
      this.resolveInitialized(negotiation)
    }
    try {
      if (!negotiation.receive(requestOf(exchange) as InitRequest)) {
        reply.out.major = 7
        return this.count(exchange)
      }
      if (fileSystem.readdirplus) {
        negotiation.want('FUSE_DO_READDIRPLUS')
        negotiation.want('FUSE_READDIRPLUS_AUTO')
      }
      if (fileSystem.getlk && fileSystem.setlk) {
        negotiation.want('FUSE_POSIX_LOCKS')
        negotiation.want('FUSE_FLOCK_LOCKS')
      }
      options.prepare?.(negotiation)
      const made = fileSystem.init?.(this.connection())
      if (isThenable(made)) {
        this.await(exchange, reply, Promise.resolve(made).then(conclude).catch((error) => {
          this.rejectInitialized(error)
          throw error
        }))
        return Outcome.Pending
      }
      conclude()
    } catch (error) {
      this.rejectInitialized(error)
      return this.failed(exchange, error)
    }
    return this.count(exchange)
  }

  /** The negotiation is over: what follows from it for every file system. */
  private agreed(): void {
    // The kernel asks for holes without writing out first, and would take what it has yet to write
    // for one; cp(1) loses data by that. Answered ENOSYS, it takes all of the file for data.
    if (this.negotiation.has('FUSE_WRITEBACK_CACHE')) this.handlers[FuseOpcode.FUSE_LSEEK] = undefined
  }

  private connection(): Connection {
    return Object.assign(this.negotiation, {
      notify: this.options.notifier ?? NO_NOTIFIER,
      backing: this.options.backing ?? null,
      zeroCopy: this.options.zeroCopy === true && this.negotiation.has('FUSE_OVER_IO_URING')
        && this.negotiation.has('FUSE_HAS_IO_URING_BUFPOOL'),
    })
  }

  private await(exchange: Exchange, reply: Reply, result: PromiseLike<unknown>): void {
    const { pending } = this
    exchange.pendingAt = pending.length
    pending.push(exchange)
    this.counters.pending = pending.length
    const settling = (exchange.settling ??= this.settling(exchange)) as Settling
    settling.reply = reply
    // Not every thenable keeps a promise's rules (settles once, later); Promise.resolve sees to it.
    Promise.resolve(result).then(settling.fulfilled, settling.rejected)
  }

  private settling(exchange: Exchange): Settling {
    const settling: Settling = {
      reply: null,
      fulfilled: (value) => {
        if (exchange.pendingAt < 0) return
        this.answered(exchange, settling.reply!, value)
        this.settled(exchange)
      },
      rejected: (error) => {
        if (exchange.pendingAt < 0) return
        this.failed(exchange, error)
        this.settled(exchange)
      },
    }
    return settling
  }

  private settled(exchange: Exchange): void {
    const { pending, timed, counters } = this
    const last = pending.pop()!
    if (last !== exchange) {
      pending[exchange.pendingAt] = last
      last.pendingAt = exchange.pendingAt
    }
    exchange.pendingAt = -1
    counters.pending = pending.length
    const begin = timed.size > 0 ? timed.get(exchange) : undefined
    if (begin !== undefined) {
      timed.delete(exchange)
      counters.recordService(exchange.opcode, (performance.now() - begin) * 1e6)
    }
    this.onComplete(exchange)
  }

  private answered(exchange: Exchange, reply: Reply, result: unknown): Outcome {
    if (result !== undefined) {
      if (typeof result === 'number' && result < 0) {
        exchange.fail(-result)
      } else {
        try {
          reply.encode(result)
        } catch (error) {
          return this.failed(exchange, error)
        }
      }
    }
    return this.count(exchange)
  }

  private failed(exchange: Exchange, error: unknown): Outcome {
    const errno = errnoOf(error)
    if (!(error instanceof FuseError) && errno === EIO) {
      this.options.onHandlerError?.(error, OPERATION_BY_OPCODE[exchange.opcode]?.name ?? `opcode ${exchange.opcode}`)
    }
    exchange.fail(errno)
    return this.count(exchange)
  }

  private count(exchange: Exchange): Outcome {
    checkOutcome(exchange)
    this.counters.record(exchange.opcode, exchange.error !== 0, exchange.dataLength, exchange.replyLength)
    return Outcome.Ready
  }
}

/** What a promise is told to do; one for each exchange, used over and over. Abandoned meanwhile, it does nothing. */
interface Settling {
  reply: Reply | null
  readonly fulfilled: (value: unknown) => void
  readonly rejected: (error: unknown) => void
}

function isThenable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

/** Where there is no kernel to tell, telling it fails. */
const NO_NOTIFIER: Notifier = new Proxy({} as Notifier, {
  get: () => () => Promise.reject(new FuseError('ENOTCONN', 'this connection has no kernel to notify')),
})
