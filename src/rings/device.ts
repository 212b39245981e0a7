// SPDX-License-Identifier: MIT
/**
 * The /dev/fuse channel: requests are read from a device descriptor, replies written to it.
 *
 * Each request lies in an exchange's block of memory, and so does its reply. Two ways to run:
 * blocked in the kernel between requests (one native call writes a reply and waits for the next
 * request; for file systems that never answer later), or from the event loop (any number of
 * requests may wait for their answers, each keeping its exchange).
 */
import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import * as native from '../native.js'
import { Exchange, type ExchangeOwner, OUT_HEADER_SIZE, Outcome, REPLY_AREA_SIZE } from '../protocol/exchange.js'
import { fuse_in_header, fuse_write_in } from '../protocol/structs.js'
import { Block } from '../protocol/struct.js'
import { Adaptive } from './adaptive.js'
import type { Standby } from './standby.js'

const { EAGAIN, EBADF, ECONNABORTED, EINTR, EIO, ENODEV, ENOENT } = constants.errno
const PAGE_SIZE = 4096

/** What serves the requests; the Dispatcher of src/fs does. */
export interface RequestServer {
  /** Called when an awaited answer is there; tells the exchange's owner, the ring. */
  onComplete: (exchange: Exchange) => void
  /** Requests whose answers are awaited. */
  readonly pendingCount: number
  /** Serves the request of `length` bytes at `header`; never throws. */
  receive(exchange: Exchange, header: number, length: number): Outcome
}

/**
 * Why a ring ended.
 * - `unmounted`: the file system was unmounted and its last user is gone;
 * - `aborted`: the connection was aborted;
 * - `stopped`: we stopped reading, the connection may live on;
 * - `pending`: `runBlocking` only: an answer is awaited, which takes an event loop.
 */
export type RingEnd = 'unmounted' | 'aborted' | 'stopped' | 'pending'

export interface DeviceRingOptions {
  /** Bytes of the largest read or write. */
  maxTransfer: number
  /** A word that becomes other than 0 when the ring is to stop. Shared with whoever signals the thread. */
  stop?: Int32Array
  /** For how long to look for a request before sleeping, while that pays, microseconds. Default: 0. */
  busyPoll?: number
  /** Whether the event loop serves nothing that could not wait for a moment. */
  ownLoop?: boolean
  /** The kernel refused a reply, which has been replaced by EIO: a bug worth a log line. */
  onRejected?: (errno: string, opcode: number) => void
}

/** Bulk data, of a write's request or a read's reply, lies here: page aligned, so that it can go to the disk as it is. */
const DATA_AREA = 2 * PAGE_SIZE
/** Where the request goes, so that a FUSE_WRITE's data falls on DATA_AREA. */
const REQUEST_AREA = DATA_AREA - fuse_in_header.size - fuse_write_in.size
/** Room for what other requests and replies need beyond the data: names, extensions, headers. */
const SLACK = 2 * PAGE_SIZE
/** Without FUSE_MAX_PAGES the kernel reads this much at once, whatever was agreed on for writes. */
const LEAST_TRANSFER = 32 * PAGE_SIZE
/** setxattr's and ioctl's largest. */
const LARGEST_XATTR = 64 * 1024 + 2 * PAGE_SIZE

/** Requests served, and microseconds spent, before the event loop gets its turn. */
const BATCH_REQUESTS = 128
const BATCH_MILLISECONDS = 4
/** How often the clock is looked at. */
const CLOCK_INTERVAL = 16

/**
 * For how long to look for the next request again and again before going to sleep, unless told otherwise, microseconds.
 *
 * A client that works through a directory asks its next question some microseconds after each answer. Where it runs on
 * another CPU, to sleep in between costs more than that: both CPUs go idle in turns, and each request waits until
 * the server's has been woken. Where it needs this very CPU, looking is in vain: hence Adaptive.
 */
export const BUSY_POLL = 20
/** How long `drain` sleeps until the next request, while it comes in this time, rather than ask the event loop, microseconds. */
const LOOP_PATIENCE = 200

/** Exchanges kept when idle; the others are unmapped. */
const IDLE_EXCHANGES = 16
/** Of those, how many keep the pages that large transfers touched. */
const WARM_EXCHANGES = 2
/** Transfers beyond this count as large, bytes. */
const LARGE = 16 * PAGE_SIZE

class DeviceExchange extends Exchange {
  /** Whether pages of the data area were touched that are worth giving back. */
  large = false
}

export class DeviceRing implements ExchangeOwner {
  private readonly capacity: number
  private readonly blockLength: number
  private readonly idle: DeviceExchange[] = []
  /** The header of the reply that is being sent with EIO for its error: sent if the reply is refused. */
  private readonly fallback = new Block(new ArrayBuffer(OUT_HEADER_SIZE))
  private readonly stop: Int32Array
  private readonly busy: number
  private readonly looking: Adaptive
  private readonly sleeping: Adaptive
  private replyOpcode = 0
  private rejected = false
  private poller: native.Poller | null = null
  /** Requests served in this turn of the event loop, and when the turn is to end, as performance.now() has it. */
  private served = 0
  private deadline = 0
  private onEnd: ((end: RingEnd) => void) | null = null
  /** Called when the last awaited answer has been sent. */
  onAnswered: (() => void) | null = null

  constructor(
    private readonly fd: number,
    private readonly server: RequestServer,
    private readonly options: DeviceRingOptions,
  ) {
    const transfer = Math.max(options.maxTransfer, LEAST_TRANSFER, LARGEST_XATTR)
    this.blockLength = DATA_AREA + Math.ceil(transfer / PAGE_SIZE) * PAGE_SIZE + SLACK
    this.capacity = this.blockLength - REQUEST_AREA
    this.stop = options.stop ?? new Int32Array(1)
    this.busy = 1000 * (options.busyPoll ?? 0)
    this.looking = new Adaptive(this.busy > 0)
    this.sleeping = new Adaptive(options.ownLoop === true)
    this.fallback.u32[0] = OUT_HEADER_SIZE
    this.fallback.i32[1] = -EIO
  }

  /**
   * Serves requests on this thread, which does nothing else, until the ring ends or an answer has to be awaited.
   * @param standby who reads when, where several workers could; null: always this one
   */
  runBlocking(standby: Standby | null = null): RingEnd {
    const { fd, server, stop, looking } = this
    const exchange = this.take()
    let nonBlocking = looking.on
    native.setNonBlocking(fd, nonBlocking)
    let replyLength = 0
    for (;;) {
      if (stop[0] !== 0) {
        if (replyLength > 0) this.write(exchange, replyLength)
        this.give(exchange)
        return 'stopped'
      }
      if (standby !== null) {
        if (!standby.mayRead) {
          if (replyLength > 0) this.write(exchange, replyLength)
          replyLength = 0
          standby.wait(stop)
          continue
        }
        standby.reading()
      }
      if (nonBlocking !== looking.on) {
        nonBlocking = looking.on
        native.setNonBlocking(fd, nonBlocking)
      }
      const received = this.replyAndReceive(exchange, replyLength, nonBlocking, nonBlocking ? -1 : 0)
      replyLength = 0
      if (standby !== null) standby.serving()
      if (received < 0) {
        const end = endOf(received)
        if (end === null) continue
        this.give(exchange)
        return end
      }
      const outcome = server.receive(exchange, REQUEST_AREA, received)
      if (outcome === Outcome.Ready) {
        replyLength = this.prepareReply(exchange)
      } else if (outcome === Outcome.Pending) {
        return 'pending'
      }
    }
  }

  /**
   * Serves requests from this thread's event loop until the ring ends or `leave` is called.
   * @param onEnd called once, from the event loop
   */
  runInEventLoop(onEnd: (end: RingEnd) => void): void {
    this.onEnd = onEnd
    this.poller = native.pollReadable(this.fd, (status) => this.turn(status !== 0))
  }

  /** Ends `runInEventLoop`: no further request is taken, `onEnd` is not called. */
  leave(): void {
    this.poller?.close()
    this.poller = null
    this.onEnd = null
  }

  /** Lets the process end although the ring serves, or not. */
  keepAlive(on: boolean): void {
    if (on) this.poller?.ref()
    else this.poller?.unref()
  }

  /** Unmaps the memory that no request uses. */
  close(): void {
    this.leave()
    for (const exchange of this.idle.splice(0)) native.release(exchange.block)
  }

  /** The descriptor is readable: a turn of this ring in its event loop. */
  private turn(hungUp: boolean): void {
    this.served = 0
    this.deadline = performance.now() + BATCH_MILLISECONDS
    // Answers that are still awaited now take their time: meanwhile others may have more to ask.
    const crowded = this.server.pendingCount > 0
    this.drain(this.take(), 0, crowded, hungUp)
  }

  /**
   * Reads and serves until nothing is left, or it is the event loop's turn again: the poller calls back then.
   * @param exchange takes the first request; holds the reply that goes out before
   * @param replyLength bytes of that reply, 0 for none
   * @param crowded whether to go on reading while an answer is awaited. Otherwise its completion does, most often
   *   in this very turn: then no read is in vain, and the event loop not asked for what is already there.
   */
  private drain(exchange: DeviceExchange, replyLength: number, crowded: boolean, hungUp: boolean): void {
    const { server, stop, sleeping } = this
    let end: RingEnd | null = null
    while (hungUp || this.hasTurn()) {
      if (stop[0] !== 0) {
        end = 'stopped'
        break
      }
      const wait = !crowded && !hungUp
      const sleep = wait && sleeping.on
      const received = this.replyAndReceive(exchange, replyLength, wait && this.looking.on, sleep ? LOOP_PATIENCE : 0)
      replyLength = 0
      if (!sleep) sleeping.passed()
      else if (received === -EAGAIN) sleeping.failed()
      else if (received >= 0) sleeping.succeeded()
      if (received < 0) {
        if (received === -EAGAIN) {
          // The descriptor reported an error and polling has stopped: there is no later.
          if (hungUp) end = 'aborted'
          break
        }
        end = endOf(received)
        if (end !== null) break
        continue
      }
      const outcome = server.receive(exchange, REQUEST_AREA, received)
      if (outcome === Outcome.Ready) {
        replyLength = this.prepareReply(exchange)
      } else if (outcome === Outcome.Pending) {
        if (!crowded && !hungUp) return
        exchange = this.take()
      }
    }
    if (replyLength > 0) this.write(exchange, replyLength)
    this.give(exchange)
    if (end !== null) this.ended(end)
  }

  /**
   * Sends a reply, if there is one, and takes the next request.
   * @param look whether to look for it for a while; the descriptor is non-blocking then
   * @param patience microseconds to sleep until it comes, at most; -1: any time
   */
  private replyAndReceive(exchange: DeviceExchange, replyLength: number, look: boolean, patience: number): number {
    const { looking } = this
    const received = native.replyAndReceive(
      this.fd, exchange.block, exchange.reply - OUT_HEADER_SIZE, replyLength, REQUEST_AREA, this.capacity,
      look ? this.busy : 0, patience,
    )
    const { looks, write } = native.result
    if (!look) looking.passed()
    else if (looks === 0) looking.failed()
    else if (looks > 1) looking.succeeded()
    if (replyLength > 0 && write < 0) this.replyRefused(write)
    return received
  }

  /** Counts a request. @returns false when it is the event loop's turn */
  private hasTurn(): boolean {
    const served = this.served++
    return served < BATCH_REQUESTS && (served % CLOCK_INTERVAL !== 0 || performance.now() <= this.deadline)
  }

  private ended(end: RingEnd): void {
    const { onEnd } = this
    this.leave()
    onEnd?.(end)
  }

  /** Sends the reply of an exchange that was pending. */
  complete(exchange: DeviceExchange): void {
    const length = this.prepareReply(exchange)
    const last = this.server.pendingCount === 0
    if (last && this.poller !== null && this.onAnswered === null) return this.drain(exchange, length, false, false)
    this.write(exchange, length)
    this.give(exchange)
    if (last) this.onAnswered?.()
  }

  private prepareReply(exchange: DeviceExchange): number {
    const length = exchange.writeOutHeader()
    const { u32 } = this.fallback
    u32[2] = exchange.uniqueLow
    u32[3] = exchange.uniqueHigh
    this.replyOpcode = exchange.opcode
    if (length > LARGE || exchange.dataLength > LARGE) exchange.large = true
    return length
  }

  private write(exchange: DeviceExchange, length: number): void {
    const written = native.write(this.fd, exchange.block, exchange.reply - OUT_HEADER_SIZE, length)
    if (written < 0) this.replyRefused(written)
  }

  /** The kernel did not take a reply: whoever waits for it must not wait for ever. */
  private replyRefused(errno: number): void {
    // Taken back or aborted: nobody waits. Unmounted: the next read tells.
    if (errno === -ENOENT || errno === -ENODEV || errno === -ECONNABORTED) return
    native.write(this.fd, this.fallback, 0, OUT_HEADER_SIZE)
    if (this.rejected) return
    this.rejected = true
    this.options.onRejected?.(getSystemErrorName(errno), this.replyOpcode)
  }

  private take(): DeviceExchange {
    const idle = this.idle.pop()
    if (idle !== undefined) return idle
    const exchange = new DeviceExchange(native.allocate(this.blockLength), 0, DATA_AREA)
    exchange.owner = this
    return exchange
  }

  private give(exchange: DeviceExchange): void {
    const { idle } = this
    if (idle.length >= IDLE_EXCHANGES) {
      native.release(exchange.block)
      return
    }
    if (exchange.large && idle.length >= WARM_EXCHANGES) {
      native.discard(exchange.block, DATA_AREA, this.blockLength - DATA_AREA)
      exchange.large = false
    }
    idle.push(exchange)
  }
}

/** What a failed read means; null: go on. */
function endOf(errno: number): RingEnd | null {
  switch (-errno) {
    case EINTR: // look at the stop flag
    case EAGAIN:
    case ENOENT: // the request was taken back before we had it
      return null
    case ENODEV:
      return 'unmounted'
    case ECONNABORTED:
      return 'aborted'
    case EBADF: // closed by whoever stops us
      return 'stopped'
    default:
      throw new Error(`reading requests failed: ${getSystemErrorName(errno)}`)
  }
}

if (REPLY_AREA_SIZE > REQUEST_AREA) throw new Error('the reply area would cover the request')
