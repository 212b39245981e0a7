// SPDX-License-Identifier: MIT
/**
 * What a server has been asked, by operation, in shared memory: each worker writes its own, anybody reads.
 *
 * It lies on the way of every request, so it is additions to numbers that no other thread writes. Only one request
 * in TIMED_EVERY is timed: the clock costs as much as all the rest.
 */
import { OPCODE_LIMIT, OPERATIONS } from '../protocol/operations.js'
import { BUCKETS, bucketOf } from './latency.js'

/** A prime, so that no pattern of requests that repeats itself hides from it. */
export const TIMED_EVERY = 61

// Numbers kept per operation
const COUNT = 0
const ERRORS = 1
const BYTES_IN = 2
const BYTES_OUT = 3
const TIMED = 4
const NANOSECONDS = 5
const FIELDS = 6
// Behind those: the buckets of service times of each operation, then what is not about one operation
const ALL_BUCKETS = OPCODE_LIMIT * FIELDS
const FORGOTTEN = ALL_BUCKETS + OPCODE_LIMIT * BUCKETS
const FORGET_BACKLOG = FORGOTTEN + 1
const PENDING = FORGOTTEN + 2
const NUMBERS = FORGOTTEN + 3

/** How long requests were in the server's hands, from when it had them to when their answer was ready. A sample. */
export interface ServiceTimes {
  /** Requests that were timed. */
  timed: number
  /** Their sum. */
  nanoseconds: number
  /** How many were in each bucket of src/fs/latency.ts. */
  buckets: number[]
}

export interface OperationCount {
  /** Requests answered or, where no answer is due, taken. */
  count: number
  /** Those answered with an error. */
  errors: number
  /** Data that came with requests (writes, extended attributes), without headers, structs and names. */
  bytesIn: number
  /** What went back in answers, without headers. */
  bytesOut: number
}

export interface OperationTimes extends OperationCount {
  service: ServiceTimes
}

/** What is not about one operation. */
export interface ServerGauges {
  /** Inodes that the kernel has said to have forgotten. */
  forgotten: number
  /** How many of them came at once the last time: so many had gathered in the kernel by then. */
  forgetBacklog: number
  /** Requests whose answers are awaited just now. */
  pending: number
}

export class OperationCounters {
  static readonly BYTES = NUMBERS * Float64Array.BYTES_PER_ELEMENT

  /** Doubles: exact to 2^53, and a reader never sees half of one on a 64-bit machine. */
  private readonly numbers: Float64Array
  /** Requests until one is to be timed; who times it sets it to TIMED_EVERY again. */
  untilTimed = TIMED_EVERY

  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(OperationCounters.BYTES)) {
    this.numbers = new Float64Array(memory)
  }

  /**
   * @param opcode below OPCODE_LIMIT
   * @param bytesIn data that came with it
   * @param bytesOut what went back; of no account when it failed
   */
  record(opcode: number, failed: boolean, bytesIn: number, bytesOut: number): void {
    const { numbers } = this
    const at = opcode * FIELDS
    numbers[at + COUNT]++
    numbers[at + BYTES_IN] += bytesIn
    if (failed) numbers[at + ERRORS]++
    else numbers[at + BYTES_OUT] += bytesOut
  }

  /** @param nanoseconds that one request took */
  recordService(opcode: number, nanoseconds: number): void {
    const { numbers } = this
    const at = opcode * FIELDS
    numbers[at + TIMED]++
    numbers[at + NANOSECONDS] += nanoseconds
    numbers[ALL_BUCKETS + opcode * BUCKETS + bucketOf(nanoseconds)]++
  }

  /** @param count inodes that came in one request */
  recordForgets(count: number): void {
    this.numbers[FORGOTTEN] += count
    this.numbers[FORGET_BACKLOG] = count
  }

  /** How many answers are awaited now. */
  set pending(count: number) {
    this.numbers[PENDING] = count
  }

  get gauges(): ServerGauges {
    const { numbers } = this
    return { forgotten: numbers[FORGOTTEN], forgetBacklog: numbers[FORGET_BACKLOG], pending: numbers[PENDING] }
  }

  /** The sum of several workers' counters, by kernel name; operations that never came are left out. */
  static total(all: Iterable<OperationCounters>): Record<string, OperationTimes> {
    const counters = [...all]
    const result: Record<string, OperationTimes> = {}
    const sum = (at: number): number => counters.reduce((total, one) => total + one.numbers[at], 0)
    for (const { name, opcode } of OPERATIONS) {
      const at = opcode * FIELDS
      const count = sum(at + COUNT)
      if (count === 0) continue
      const timed = sum(at + TIMED)
      result[name] = {
        count,
        errors: sum(at + ERRORS),
        bytesIn: sum(at + BYTES_IN),
        bytesOut: sum(at + BYTES_OUT),
        service: {
          timed,
          nanoseconds: sum(at + NANOSECONDS),
          buckets: timed === 0 ? [] : Array.from({ length: BUCKETS }, (_, i) => sum(ALL_BUCKETS + opcode * BUCKETS + i)),
        },
      }
    }
    return result
  }

  /** What several workers say beside: sums. */
  static totalGauges(all: Iterable<OperationCounters>): ServerGauges {
    const total: ServerGauges = { forgotten: 0, forgetBacklog: 0, pending: 0 }
    for (const { gauges } of all) {
      total.forgotten += gauges.forgotten
      total.forgetBacklog += gauges.forgetBacklog
      total.pending += gauges.pending
    }
    return total
  }
}
