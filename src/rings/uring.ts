// SPDX-License-Identifier: MIT
/**
 * FUSE over io_uring: requests arrive as completions, replies leave as submissions, and one system
 * call does both. The kernel puts a request into the ring entry of the CPU it was made on.
 *
 * An entry has a page for the headers and a payload as large as the largest transfer; both stay
 * registered with the kernel. Submission and completion queues are shared memory, read and written
 * here in place, without atomics: the kernel touches them only while this thread is in a system call
 * or interrupted, as there is no kernel thread that polls. FORGET, INTERRUPT and notifications still
 * go over /dev/fuse: a DeviceRing must run beside. The kernel uses the rings once every queue (one
 * per possible CPU) has an entry.
 *
 * Since protocol 7.46 payloads may come from a pool of each queue, pinned once instead of found
 * anew for each copy. And the bytes of large reads and writes may stay with the
 * caller (zero copy): the kernel puts the caller's pages into the ring's table of buffers, and the ring
 * has them read from or written to a file.
 *
 * Linux: Documentation/filesystems/fuse-io-uring.rst, io_uring(7)
 */
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import * as native from '../native.js'
import {
  FuseUringCmd, FUSE_URING_ENT_ZERO_COPY, FUSE_URING_IN_OUT_HEADER_SZ, FUSE_URING_OP_IN_OUT_SZ, FUSE_URING_ZERO_COPY,
} from '../protocol/constants.js'
import { Exchange, type ExchangeOwner, OUT_HEADER_SIZE, Outcome, REPLY_AREA_SIZE } from '../protocol/exchange.js'
import { OPERATION_BY_OPCODE } from '../protocol/operations.js'
import { Block } from '../protocol/struct.js'
import { fuse_uring_ent_in_out, fuse_uring_req_header } from '../protocol/structs.js'
import { Adaptive } from './adaptive.js'
import type { RequestServer, RingEnd } from './device.js'

const { EBUSY, ECONNABORTED, EAGAIN, EINTR, EIO, ENOMEM, ENOTCONN, EPERM } = constants.errno
const PAGE_SIZE = 4096

// An entry's first page: the headers that the kernel writes, the area for small replies, the iovecs
const ARGS = FUSE_URING_IN_OUT_HEADER_SZ
const ENT_IN_OUT = FUSE_URING_IN_OUT_HEADER_SZ + FUSE_URING_OP_IN_OUT_SZ
const ENT_FLAGS_WORD = ENT_IN_OUT >>> 2
const COMMIT_ID_WORD = (ENT_IN_OUT + 8) >>> 2
const PAYLOAD_SIZE_WORD = (ENT_IN_OUT + 16) >>> 2
const POOL_OFFSET_WORD = (ENT_IN_OUT + 20) >>> 2
const SMALL_REPLIES = 1024
const IOVECS = 2048

// io_uring.h
const IORING_OP_READ_FIXED = 4
const IORING_OP_WRITE_FIXED = 5
const IORING_OP_URING_CMD = 46
const IORING_URING_CMD_FIXED = 1
const IOSQE_FIXED_FILE = 1
const IORING_SETUP_CQSIZE = 1 << 3
const IORING_SETUP_SUBMIT_ALL = 1 << 7
const IORING_SETUP_COOP_TASKRUN = 1 << 8
const IORING_SETUP_SQE128 = 1 << 10
const IORING_SETUP_SINGLE_ISSUER = 1 << 12
const IORING_ENTER_GETEVENTS = 1
const IORING_ENTER_REGISTERED_RING = 1 << 4
const IORING_OFF_SQES = 0x10000000
const SQE_BYTES = 128
const SQE_WORDS = SQE_BYTES / 4
// Word offsets in struct io_uring_sqe: `cmd_op`, `user_data`, and the struct fuse_uring_cmd_req in `cmd`
const SQE_COMMAND = 2
const SQE_OFFSET = 2
const SQE_LENGTH = 6
const SQE_COMMAND_FLAGS = 7
const SQE_USER_DATA = 8
const SQE_BUFFER = 10
const SQE_QUEUE_FLAGS = 12
const SQE_COMMIT_ID = 14
const SQE_QUEUE = 16
const SQE_TAIL = 18
/** What a submission queue entry begins with when it is a FUSE command. */
const COMMAND_HEAD = IORING_OP_URING_CMD | (IOSQE_FIXED_FILE << 8)
const CQE_WORDS = 4

// Word offsets in struct io_uring_params
const PARAMS_CQ_ENTRIES = 1
const PARAMS_FLAGS = 2
const PARAMS_SQ_ENTRIES = 0
const PARAMS_SQ_OFF = 10
const PARAMS_CQ_OFF = 20

/** After so many waits in a row without a request in time, looking before sleeping is not worth it ... */
const MISSES = 4
/** ... for so many requests. */
const PLAIN_ROUNDS = 256

/** What serves the requests; the Dispatcher of src/fs does. */
export interface PartsServer extends RequestServer {
  receiveParts(exchange: Exchange, header: number, args: number, payload: number, payloadLength: number): Outcome
}

/**
 * Tells others what the thread that serves a ring does: its queues' words are `asleep` while it waits in the kernel,
 * `polling` while it looks for requests, and `busy` while it serves. src/bpf/ring-states.ts
 */
export interface RingStates {
  words: Uint32Array
  /** Where the queues' words are. */
  at: readonly number[]
  busy: number
  polling: number
  asleep: number
}

export interface UringRingOptions {
  /** Bytes of the largest read or write. */
  maxTransfer: number
  /** Entries per queue: requests that one CPU may have with the server at a time. */
  depth: number
  /** Whether the ring is to be served by `runBlocking`, not from an event loop. */
  blocking: boolean
  /**
   * The kernel has buffer pools (FUSE_HAS_IO_URING_BUFPOOL): bytes of one of their buffers, which is what was agreed on
   * as the largest write in whole pages. 0: it has none.
   */
  poolBuffer: number
  /** Whether to ask for zero copy, which takes pools, and CAP_SYS_ADMIN. */
  zeroCopy: boolean
  states?: RingStates
  /** For how long to look for a request before sleeping, while that pays, microseconds. Default: 0. `runBlocking` only. */
  busyPoll?: number
  /** A word that becomes other than 0 when the ring is to stop. Shared with whoever signals the thread. */
  stop?: Int32Array
}

/** The kernel can't do this: serve over /dev/fuse instead. */
export class UringUnavailableError extends Error {
  override readonly name = 'UringUnavailableError'
  /** Positive. */
  readonly errno: number
  /** @param errno negated */
  constructor(what: string, errno: number) {
    super(`${what}: ${getSystemErrorName(errno)}`)
    this.errno = -errno
  }
}

/** Entries per queue unless the user says otherwise. */
const USUAL_DEPTH = 8
/** Bytes that the entries of all queues together take at most, unless the user says otherwise or one each takes more. */
const USUAL_MEMORY = 512 * 1024 * 1024

/**
 * How many entries each queue gets: as many as asked for, otherwise a few, and fewer where there are so many
 * CPUs that the buffers of all entries would add up. An entry's buffer is touched as far as requests fill it.
 * @param queues of the whole mount
 * @param maxTransfer bytes of the largest read or write
 * @param wanted what the user wants, or undefined
 */
export function queueDepth(queues: number, maxTransfer: number, wanted: number | undefined): number {
  return wanted ?? Math.max(1, Math.min(USUAL_DEPTH, Math.floor(USUAL_MEMORY / (queues * entryLength(maxTransfer)))))
}

function payloadLength(maxTransfer: number): number {
  return Math.ceil(Math.max(maxTransfer, 32 * PAGE_SIZE) / PAGE_SIZE) * PAGE_SIZE
}

function entryLength(maxTransfer: number): number {
  return PAGE_SIZE + payloadLength(maxTransfer)
}

/** Queues that the kernel wants: one per possible CPU. sysfs-devices-system-cpu */
export function queueCount(): number {
  return Math.max(...cpuList('possible')) + 1
}

/** Queues that the CPUs that are there now want: each its own. */
export function queuesOnline(): number {
  return Math.max(...cpuList('online')) + 1
}

function cpuList(which: 'possible' | 'online'): number[] {
  return parseCpuList(readFileSync(`/sys/devices/system/cpu/${which}`, 'ascii'))
}

/** The kernel's lists of numbers: `0-3,8`. */
export function parseCpuList(text: string): number[] {
  return text.trim().split(',').filter((part) => part !== '').flatMap((part) => {
    const [first, last = first] = part.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, n) => first + n)
  })
}

class UringExchange extends Exchange {
  constructor(
    block: Block,
    readonly entry: number,
    readonly queue: number,
    /** Where its queue's pool begins, if it has one. */
    readonly pool: number,
    readonly page: number,
    payload: number,
    payloadLength: number,
  ) {
    super(block, page + SMALL_REPLIES, payload, payload + payloadLength)
  }

  /** Where the payload of request and reply lies. */
  get payload(): number {
    return this.dataArea
  }

  /** Moves the payload. */
  place(payload: number, length: number): void {
    this.dataArea = payload
    this.limit = payload + length
  }
}

export class UringRing implements ExchangeOwner {
  /** The ring's descriptor: readable when requests are there. */
  readonly fd: number
  private readonly memory: Block
  private readonly rings: Block
  private readonly queue: Block
  private readonly exchanges: UringExchange[] = []
  private readonly stop: Int32Array
  private readonly states: RingStates | null
  /** Milliseconds. */
  private readonly patience: number
  private readonly looking: Adaptive
  // Word indexes into the shared rings
  private readonly sqTail: number
  private readonly sqMask: number
  private readonly cqHead: number
  private readonly cqTail: number
  private readonly cqMask: number
  private readonly cqEntries: number
  /** How this thread names the ring to the kernel: by its descriptor, or by the index that it was registered with. */
  private enterFd: number
  private enterFlags = 0
  /** Bytes of a pool's buffer; 0: each entry has its own. */
  private poolBuffer = 0
  /** Where the first queue's pool begins, and how much each takes. */
  private poolStart = 0
  private poolLength = 0
  /** Whether the pools are in the ring's table of buffers, as number 0. */
  private pinned = false
  /** Whether the queues do zero copy: entry `e` then has number `e + 1` in the table of buffers. */
  private zeroCopy = false
  /** Our tail of the submission queue, and how much of it the kernel has not taken yet. */
  private tail = 0
  private toSubmit = 0
  private end: RingEnd | null = null
  private failure: Error | null = null
  private draining = false
  private poller: native.Poller | null = null
  private onEnd: ((end: RingEnd) => void) | null = null

  /**
   * @param device the mount's /dev/fuse descriptor
   * @param queues the queues (CPUs) that this ring serves
   * @throws UringUnavailableError
   */
  constructor(
    device: number,
    queues: readonly number[],
    private readonly server: PartsServer,
    options: UringRingOptions,
  ) {
    this.stop = options.stop ?? new Int32Array(1)
    this.states = options.states ?? null
    this.patience = (options.busyPoll ?? 0) / 1000
    this.looking = new Adaptive(this.patience > 0)
    const count = queues.length * options.depth
    const params = new Block(new ArrayBuffer(128))
    const sqEntries = 2 ** Math.ceil(Math.log2(Math.max(count, 1)))
    params.u32[PARAMS_CQ_ENTRIES] = sqEntries * 2
    params.u32[PARAMS_FLAGS] = IORING_SETUP_SQE128 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE
      // Deferred task work would save a little of each sleep, but come with the next call only: neither
      // would epoll tell of it, nor would a look after submitting find the next request.
      | IORING_SETUP_COOP_TASKRUN | (options.blocking ? IORING_SETUP_SINGLE_ISSUER : 0)
    this.fd = native.uringSetup(sqEntries, params, 0)
    if (this.fd < 0) throw new UringUnavailableError('io_uring_setup', this.fd)
    this.enterFd = this.fd
    let memory: Block | null = null
    try {
      const registered = native.uringRegisterFile(this.fd, device)
      if (registered < 0) throw new UringUnavailableError('io_uring_register', registered)
      const sq = params.u32.subarray(PARAMS_SQ_OFF, PARAMS_SQ_OFF + 10)
      const cq = params.u32.subarray(PARAMS_CQ_OFF, PARAMS_CQ_OFF + 10)
      const [sqHeadOffset, sqTailOffset, sqMaskOffset, , , , sqArrayOffset] = sq
      const [cqHeadOffset, cqTailOffset, cqMaskOffset, , , cqesOffset] = cq
      const ringBytes = Math.max(
        sqArrayOffset + params.u32[PARAMS_SQ_ENTRIES] * 4, cqesOffset + params.u32[PARAMS_CQ_ENTRIES] * 16,
      )
      this.rings = native.mapDevice(this.fd, 0, 0, ringBytes, true)
      this.queue = native.mapDevice(this.fd, IORING_OFF_SQES, 0, params.u32[PARAMS_SQ_ENTRIES] * SQE_BYTES, true)
      const { u32 } = this.rings
      for (let i = 0; i < params.u32[PARAMS_SQ_ENTRIES]; i++) u32[(sqArrayOffset >>> 2) + i] = i
      this.sqTail = sqTailOffset >>> 2
      this.sqMask = u32[sqMaskOffset >>> 2]
      this.cqHead = cqHeadOffset >>> 2
      this.cqTail = cqTailOffset >>> 2
      this.cqMask = u32[cqMaskOffset >>> 2]
      this.cqEntries = cqesOffset >>> 2
      this.tail = u32[sqHeadOffset >>> 2]

      const payloadBytes = payloadLength(options.maxTransfer)
      const entryBytes = entryLength(options.maxTransfer)
      if (count * entryBytes >= 2 ** 31) throw new UringUnavailableError('the entries of one ring', -ENOMEM)
      // With pools the headers' pages come first, then each queue's buffers.
      // The kernel writes to it until the ring is closed, whatever becomes of this thread.
      this.memory = memory = native.allocate(count * entryBytes, true)
      if (options.poolBuffer > 0 && options.poolBuffer <= payloadBytes) this.addPools(queues, options)
      const pooled = this.poolBuffer > 0
      for (let entry = 0; entry < count; entry++) {
        const page = entry * (pooled ? PAGE_SIZE : entryBytes)
        const queue = Math.floor(entry / options.depth)
        const exchange = new UringExchange(
          this.memory, entry, queues[queue], this.poolStart + queue * this.poolLength, page, page + PAGE_SIZE, payloadBytes,
        )
        exchange.owner = this
        this.exchanges.push(exchange)
        this.command(this.tail, FuseUringCmd.FUSE_IO_URING_CMD_REGISTER)
        if (this.zeroCopy) this.queue.u32[(this.tail & this.sqMask) * SQE_WORDS + SQE_TAIL] = entry + 1
        this.prepare(exchange, 0, 0)
        native.uringPlaceBuffers(
          this.queue, ((this.tail - 1) & this.sqMask) * SQE_BYTES, page + IOVECS, this.memory,
          page, fuse_uring_req_header.size, exchange.payload, pooled ? 0 : payloadBytes,
        )
      }
    } catch (error) {
      native.close(this.fd)
      // Nothing was registered that the kernel could write to.
      if (memory !== null) native.release(memory)
      throw error
    }
  }

  /** Gives each queue a pool of buffers, and zero copy where that is wanted and allowed; or leaves all as it is. */
  private addPools(queues: readonly number[], { depth, poolBuffer, zeroCopy }: UringRingOptions): void {
    const entries = queues.length * depth
    // Each request that is in flight has a buffer: fewer than entries would make requests wait.
    this.poolStart = entries * PAGE_SIZE
    this.poolLength = depth * poolBuffer
    const { memory, poolStart, poolLength } = this
    // Number 0 is all pools; the kernel fills the others, one per entry.
    const table = zeroCopy ? entries + 1 : 1
    this.pinned = native.uringRegisterBuffers(this.fd, table, memory, poolStart, queues.length * poolLength) === 0
    this.zeroCopy = zeroCopy && this.pinned
    for (const [index, queue] of queues.entries()) {
      let added = this.execute(FuseUringCmd.FUSE_IO_URING_CMD_ADD_QUEUE, queue, (sqe) => {
        this.queue.u32[sqe + SQE_COMMAND_FLAGS] = 0
        this.queue.u32[sqe + SQE_QUEUE_FLAGS] = this.zeroCopy ? FUSE_URING_ZERO_COPY : 0
      })
      if (added === -EPERM && this.zeroCopy && index === 0) {
        this.zeroCopy = false
        added = this.execute(FuseUringCmd.FUSE_IO_URING_CMD_ADD_QUEUE, queue, (sqe) => {
          this.queue.u32[sqe + SQE_COMMAND_FLAGS] = 0
        })
      }
      if (added === 0) {
        added = this.execute(FuseUringCmd.FUSE_IO_URING_CMD_ADD_BUFPOOL, queue, (sqe) => {
          native.uringPlaceRange(
            this.queue, sqe * 4, SQE_TAIL * 4, memory, poolStart + index * poolLength, poolLength,
          )
        })
      }
      if (added === 0) continue
      // A first queue without a pool can still take buffers by entry; another one would differ from the rest.
      if (index > 0 || this.zeroCopy) throw new UringUnavailableError('adding a pool of buffers', added)
      this.poolStart = this.poolLength = 0
      this.pinned = false
      return
    }
    this.poolBuffer = poolBuffer
  }

  /** Makes the kernel do a command that completes at once. @returns 0 or -errno */
  private execute(command: number, queue: number, fill: (sqe: number) => void): number {
    const slot = this.tail & this.sqMask
    this.command(slot, command)
    this.queue.u32[slot * SQE_WORDS + SQE_QUEUE] = queue
    fill(slot * SQE_WORDS)
    this.tail = (this.tail + 1) | 0
    this.toSubmit++
    this.publish()
    const submitted = this.submit(1)
    if (submitted < 0) return submitted
    const { i32 } = this.rings
    const head = i32[this.cqHead]
    if (i32[this.cqTail] === head) return -EAGAIN
    i32[this.cqHead] = (head + 1) | 0
    return i32[this.cqEntries + (head & this.cqMask) * CQE_WORDS + 2]
  }

  /**
   * Offers the entries to the kernel: requests come from now on, once all queues have done so. To be
   * called on the thread that will serve them.
   * @throws UringUnavailableError
   */
  register(): void {
    const index = native.uringRegisterRing(this.fd)
    if (index >= 0) {
      this.enterFd = index
      this.enterFlags = IORING_ENTER_REGISTERED_RING
    }
    this.publish()
    const count = this.toSubmit
    const submitted = this.submit(0)
    if (submitted !== count) throw new UringUnavailableError('io_uring_enter', submitted < 0 ? submitted : -EAGAIN)
    // What can't be registered completes at once.
    const { i32 } = this.rings
    const head = i32[this.cqHead]
    if (i32[this.cqTail] !== head) {
      const result = i32[this.cqEntries + (head & this.cqMask) * CQE_WORDS + 2]
      if (result < 0) throw new UringUnavailableError('registering a ring entry', result)
    }
    // From now on all that a submission says is which reply it commits.
    for (let slot = 0; slot <= this.sqMask; slot++) {
      this.command(slot, FuseUringCmd.FUSE_IO_URING_CMD_COMMIT_AND_FETCH)
    }
  }

  /** Serves requests on this thread, which does nothing else, until the ring ends. */
  runBlocking(): RingEnd {
    const { stop } = this
    const { i32 } = this.rings
    let misses = 0
    let plain = 0
    for (;;) {
      if (stop[0] !== 0) return 'stopped'
      // Submitting and then looking once, before going to sleep, pays when the next request is
      // usually there already; when it is not, the extra system call does not.
      let result = 0
      if (plain > 0) {
        plain--
        result = this.wait()
      } else {
        if (this.toSubmit > 0) result = this.submit(0)
        if (i32[this.cqTail] !== i32[this.cqHead]) {
          misses = 0
        } else {
          if (++misses >= MISSES) {
            plain = PLAIN_ROUNDS
            misses = 0
          }
          result = this.wait()
        }
      }
      if (result < 0 && result !== -EINTR && result !== -EAGAIN && result !== -EBUSY) {
        throw new Error(`io_uring_enter: ${getSystemErrorName(result)}`)
      }
      this.drain()
      if (this.failure !== null) throw this.failure
      if (this.end !== null) return this.end
      if (this.server.pendingCount > 0) return 'pending'
    }
  }

  /**
   * Serves requests from this thread's event loop until the ring ends or `leave` is called.
   * @param onEnd called once, from the event loop
   */
  runInEventLoop(onEnd: (end: RingEnd) => void): void {
    this.onEnd = onEnd
    this.poller = native.pollReadable(this.fd, () => this.turn())
    this.turn()
  }

  /** Ends `runInEventLoop`: no further request is taken, `onEnd` is not called. */
  leave(): void {
    this.poller?.close()
    this.poller = null
    this.onEnd = null
  }

  /** Closes the ring: the kernel takes its entries back. The memory goes with the ring's last user. */
  close(): void {
    this.leave()
    native.close(this.fd)
    native.release(this.rings)
    native.release(this.queue)
    native.release(this.memory)
  }

  private turn(): void {
    if (this.stop[0] !== 0) return this.finish('stopped')
    this.drain()
    if (this.toSubmit > 0) this.submit(0)
    if (this.failure !== null) throw this.failure
    if (this.end !== null) this.finish(this.end)
  }

  private finish(end: RingEnd): void {
    const { onEnd } = this
    this.leave()
    onEnd?.(end)
  }

  /** Serves all requests that are there, and puts their replies into the submission queue. */
  private drain(): void {
    const { rings, server, exchanges, memory } = this
    const { i32, u32 } = rings
    this.draining = true
    let head = i32[this.cqHead]
    while (head !== i32[this.cqTail]) {
      const completion = this.cqEntries + (head & this.cqMask) * CQE_WORDS
      const entry = u32[completion]
      const result = i32[completion + 2]
      const moved = u32[completion + 1] !== 0
      head = (head + 1) | 0
      i32[this.cqHead] = head
      if (moved) {
        this.moved(exchanges[entry], result)
        continue
      }
      if (result < 0) {
        if (result === -ENOTCONN) this.end = 'unmounted'
        else if (result === -ECONNABORTED) this.end = 'aborted'
        else if (result !== -EAGAIN && result !== -EINTR) {
          this.failure = new Error(`a ring entry failed: ${getSystemErrorName(result)}`)
        }
        continue
      }
      const exchange = exchanges[entry]
      const { page } = exchange
      const payloadLength = memory.u32[(page >>> 2) + PAYLOAD_SIZE_WORD]
      if (this.poolBuffer > 0) this.findPayload(exchange, payloadLength)
      const outcome = server.receiveParts(exchange, page, page + ARGS, exchange.payload, payloadLength)
      if (outcome === Outcome.Pending) continue
      // No request on a ring goes unanswered: its entry would be lost.
      if (outcome === Outcome.Silent) exchange.replyLength = 0
      this.answer(exchange)
    }
    this.draining = false
    this.publish()
  }

  /** Sends the reply of an exchange that was pending. */
  complete(exchange: UringExchange): void {
    this.answer(exchange)
    if (this.draining) return
    this.publish()
    this.submit(0)
  }

  /** Finds the buffer that the kernel has chosen for a request from the pool, if one was needed. */
  private findPayload(exchange: UringExchange, payloadLength: number): void {
    const { u32 } = this.memory
    const word = exchange.page >>> 2
    const operation = OPERATION_BY_OPCODE[u32[word + 1]]
    exchange.zeroCopy = (u32[word + ENT_FLAGS_WORD] & FUSE_URING_ENT_ZERO_COPY) !== 0
    exchange.transferFd = -1
    const none = payloadLength === 0 && (operation === undefined || operation.replySize === 0 && !operation.bulkReply)
    if (none || (exchange.zeroCopy && operation!.bulkReply)) {
      exchange.place(exchange.page + SMALL_REPLIES + OUT_HEADER_SIZE, REPLY_AREA_SIZE - OUT_HEADER_SIZE)
      return
    }
    exchange.place(exchange.pool + u32[word + POOL_OFFSET_WORD], this.poolBuffer)
  }

  /** Sends a reply, after the bytes have been moved that the ring is to move. */
  private answer(exchange: UringExchange): void {
    if (exchange.zeroCopy && exchange.error === 0) {
      if (exchange.transferFd >= 0) return this.move(exchange)
      // Who asks for zero copy and then answers with bytes of its own: they would not reach the caller.
      exchange.fail(EIO)
    }
    this.commit(exchange)
  }

  /** Has the kernel move bytes between a file and the caller's pages. */
  private move(exchange: UringExchange): void {
    const { u32 } = this.queue
    const at = (this.tail & this.sqMask) * SQE_WORDS
    u32.fill(0, at, at + SQE_WORDS)
    u32[at] = exchange.operation!.bulkReply ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED
    u32[at + 1] = exchange.transferFd
    u32[at + SQE_OFFSET] = exchange.transferLow
    u32[at + SQE_OFFSET + 1] = exchange.transferHigh
    u32[at + SQE_LENGTH] = exchange.transferSize
    u32[at + SQE_USER_DATA] = exchange.entry
    u32[at + SQE_USER_DATA + 1] = 1
    u32[at + SQE_BUFFER] = exchange.entry + 1
    this.tail = (this.tail + 1) | 0
    this.toSubmit++
  }

  /** The bytes have been moved, or could not be. @param result bytes or -errno */
  private moved(exchange: UringExchange, result: number): void {
    exchange.transferFd = -1
    if (result < 0) exchange.fail(-result)
    else if (exchange.operation!.bulkReply) exchange.replyLength = result
    else this.memory.u32[exchange.reply >>> 2] = result
    this.commit(exchange)
  }

  /** Writes the reply where the kernel looks for it, and its submission. */
  private commit(exchange: UringExchange): void {
    const { memory } = this
    const { page, payload, reply } = exchange
    const { u32, i32 } = memory
    const word = page >>> 2
    const length = exchange.error === 0 ? exchange.replyLength : 0
    if (length > 0 && reply !== payload) copyDown(memory, reply, payload, length)
    // The unique stays where it is: fuse_in_header and fuse_out_header have it in the same place.
    u32[word] = OUT_HEADER_SIZE
    i32[word + 1] = exchange.error
    u32[word + PAYLOAD_SIZE_WORD] = length
    this.prepare(exchange, u32[word + COMMIT_ID_WORD], u32[word + COMMIT_ID_WORD + 1])
  }

  /** Makes a submission queue entry a FUSE command, whatever was there. @param slot its number, or more by whole rounds */
  private command(slot: number, command: number): void {
    const { u32 } = this.queue
    const at = (slot & this.sqMask) * SQE_WORDS
    u32.fill(0, at, at + SQE_WORDS)
    u32[at] = COMMAND_HEAD
    u32[at + SQE_COMMAND] = command
    // Pinned pools are number 0 in the table of buffers.
    if (this.pinned) u32[at + SQE_COMMAND_FLAGS] = IORING_URING_CMD_FIXED
  }

  /** Fills in what differs from one command to the next, in the next submission queue entry. */
  private prepare(exchange: UringExchange, commitLow: number, commitHigh: number): void {
    const { u32 } = this.queue
    const at = (this.tail & this.sqMask) * SQE_WORDS
    if (u32[at] !== COMMAND_HEAD) this.command(this.tail, FuseUringCmd.FUSE_IO_URING_CMD_COMMIT_AND_FETCH)
    u32[at + SQE_USER_DATA] = exchange.entry
    u32[at + SQE_COMMIT_ID] = commitLow
    u32[at + SQE_COMMIT_ID + 1] = commitHigh
    u32[at + SQE_QUEUE] = exchange.queue
    this.tail = (this.tail + 1) | 0
    this.toSubmit++
  }

  private publish(): void {
    this.rings.i32[this.sqTail] = this.tail
  }

  /** Submits, and waits for a request if there is none. */
  private wait(): number {
    const { states, looking } = this
    if (!looking.on) looking.passed()
    else if (this.look()) return 0
    if (states !== null) this.tell(states.asleep)
    const result = this.submit(1)
    if (states !== null) this.tell(states.busy)
    return result
  }

  /**
   * Looks for a request again and again for a while. It is found where another CPU makes it; one that needs this very CPU
   * can't come meanwhile: hence Adaptive.
   * @returns whether there is one
   */
  private look(): boolean {
    const { states, looking, rings: { i32 } } = this
    const until = performance.now() + this.patience
    if (states !== null) this.tell(states.polling)
    do {
      // Completions come with a system call of this thread.
      if (this.submit(0) < 0) break
      if (i32[this.cqTail] !== i32[this.cqHead]) {
        if (states !== null) this.tell(states.busy)
        looking.succeeded()
        return true
      }
    } while (performance.now() < until)
    looking.failed()
    return false
  }

  private tell(state: number): void {
    const { words, at } = this.states!
    for (let i = 0; i < at.length; i++) words[at[i]] = state
  }

  private submit(minComplete: number): number {
    const flags = minComplete > 0 ? this.enterFlags | IORING_ENTER_GETEVENTS : this.enterFlags
    const submitted = native.uringEnter(this.enterFd, this.toSubmit, minComplete, flags)
    if (submitted > 0) this.toSubmit -= submitted
    return submitted
  }
}

/** Copies a reply to the payload's start: small ones word by word, which costs less than a call. */
function copyDown(memory: Block, from: number, to: number, length: number): void {
  if (length > REPLY_AREA_SIZE) {
    memory.u8.copyWithin(to, from, from + length)
    return
  }
  const { u32 } = memory
  for (let i = 0, words = (length + 3) >>> 2; i < words; i++) u32[(to >>> 2) + i] = u32[(from >>> 2) + i]
}

if (IOVECS + 32 > PAGE_SIZE || SMALL_REPLIES + REPLY_AREA_SIZE > IOVECS || ENT_IN_OUT + fuse_uring_ent_in_out.size > SMALL_REPLIES) {
  throw new Error('the parts of a ring entry overlap')
}
