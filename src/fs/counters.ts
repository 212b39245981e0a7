// SPDX-License-Identifier: MIT
/**
 * Counts of requests by operation, in shared memory: each worker writes its own, anybody reads.
 */
import { OPCODE_LIMIT, OPERATIONS } from '../protocol/operations.js'

/** Numbers kept per operation. */
const FIELDS = 2
const COUNT = 0
const ERRORS = 1

export interface OperationCount {
  /** Requests answered or, where no answer is due, taken. */
  count: number
  /** Those answered with an error. */
  errors: number
}

export class OperationCounters {
  static readonly BYTES = OPCODE_LIMIT * FIELDS * Float64Array.BYTES_PER_ELEMENT

  /** Doubles: exact to 2^53, and a reader never sees half of one on a 64-bit machine. */
  private readonly numbers: Float64Array

  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(OperationCounters.BYTES)) {
    this.numbers = new Float64Array(memory)
  }

  /** @param opcode below OPCODE_LIMIT */
  record(opcode: number, failed: boolean): void {
    const at = opcode * FIELDS
    this.numbers[at + COUNT]++
    if (failed) this.numbers[at + ERRORS]++
  }

  /** The sum of several workers' counters, by kernel name; operations that never came are left out. */
  static total(all: Iterable<OperationCounters>): Record<string, OperationCount> {
    const counters = [...all]
    const result: Record<string, OperationCount> = {}
    for (const { name, opcode } of OPERATIONS) {
      const at = opcode * FIELDS
      const sum = (field: number) => counters.reduce((total, one) => total + one.numbers[at + field], 0)
      const count = sum(COUNT)
      if (count > 0) result[name] = { count, errors: sum(ERRORS) }
    }
    return result
  }
}
