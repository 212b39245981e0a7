// SPDX-License-Identifier: MIT
/**
 * Where the thread that reads the device runs: beside the one who asks, as long as it is one who waits for each answer.
 *
 * The scheduler likes to wake the reader on another CPU, which is idle; but there is nothing to do at the same time
 * when the caller waits, and waking across CPUs takes longer than most requests (getattr 5 us on one CPU, 12 and
 * more on two). Of several callers, or one that reads ahead, none is followed: then two CPUs do more than one.
 *
 * The kernel says who asks, not where; /proc tells that, and is asked now and then.
 */
import { readFileSync } from 'node:fs'
import * as native from '../native.js'
import { FuseOpcode, FUSE_WRITE_CACHE } from '../protocol/constants.js'
import type { Exchange } from '../protocol/exchange.js'

/** Requests that are looked at together, and how many of them must be one caller's. */
const WINDOW = 64
const MOST = 56
/** Windows after which a caller that is followed is looked for again: the scheduler may have moved it. */
const RECHECK = 16
/** Reads through the page cache beyond this are most likely readahead, bytes. */
const READAHEAD = 16 * 1024
const EVERYWHERE = -1

/** The CPU that a thread ran on last, or -1. proc_pid_stat(5) */
function cpuOf(tid: number): number {
  try {
    const stat = readFileSync(`/proc/${tid}/stat`, 'latin1')
    // The name, in parentheses, may contain anything; the state, field 3, follows it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return Number(fields[39 - 3] ?? -1)
  } catch {
    return -1
  }
}

export class Placement {
  private caller = 0
  private requests = 0
  private waited = 0
  private windows = 0
  private cpu = EVERYWHERE

  /**
   * @param cpus where the thread may run
   * @param direct whether no read is ahead of its caller: `direct_io`
   */
  constructor(
    private readonly cpus: readonly number[],
    private readonly direct: boolean,
    private readonly whereIs: (tid: number) => number = cpuOf,
    private readonly pin: (cpu: number) => void = native.setAffinity,
  ) {}

  /** A request has been served. */
  served({ block, header, opcode, args }: Exchange): void {
    const tid = block.u32[(header >>> 2) + 8]
    // The kernel's own: FORGET, writing back.
    if (tid === 0) return
    if (tid === this.caller && this.waits(block.u32, opcode, args >>> 2)) this.waited++
    if (++this.requests === WINDOW) this.decide(tid)
  }

  /** Whether whoever asked does nothing until the answer is there. */
  private waits(u32: Uint32Array, opcode: number, args: number): boolean {
    if (opcode === FuseOpcode.FUSE_READ) {
      // fuse_read_in: size is word 4, the open file's flags word 8.
      return this.direct || u32[args + 4] <= READAHEAD || (u32[args + 8] & native.constants.O_DIRECT) !== 0
    }
    if (opcode === FuseOpcode.FUSE_WRITE) return (u32[args + 5] & FUSE_WRITE_CACHE) === 0
    return true
  }

  private decide(tid: number): void {
    const follow = this.waited >= MOST
    if (!follow) {
      if (this.cpu !== EVERYWHERE) this.go(EVERYWHERE)
      this.windows = 0
    } else if (this.windows++ % RECHECK === 0) {
      const cpu = this.whereIs(this.caller)
      if (this.cpus.includes(cpu) && cpu !== this.cpu) this.go(cpu)
    }
    this.caller = tid
    this.requests = 0
    this.waited = 0
  }

  private go(cpu: number): void {
    this.cpu = cpu
    this.pin(cpu)
  }
}
