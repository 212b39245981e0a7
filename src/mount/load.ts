// SPDX-License-Identifier: MIT
/**
 * What a mount has been asked so far, as its two observers tell it: the server, of what it served, and the monitor
 * in the kernel (src/bpf/monitor.ts), of any FUSE mount.
 *
 * The kernel times a request from when it is given to the server until its answer is there; the server, for one in
 * 61, from when it has it in hand until the answer is ready. The difference is queueing and waking.
 */
import { readFileSync } from 'node:fs'
import type { BalanceReport } from '../bpf/balance.js'
import type { OperationTimes, ServerGauges, ServiceTimes } from '../fs/counters.js'

/** Times in the buckets of src/fs/latency.ts; those of a sample when `timed` is less than the requests. */
export type Times = ServiceTimes

/** One operation, by the kernel's account. */
export interface OperationLoad {
  /** Requests that ended. */
  requests: number
  /** Those that ended with an error. */
  errors: number
  /** Bytes to the server, without headers. */
  bytesIn: number
  /** Bytes from the server, without headers. */
  bytesOut: number
  times: Times
}

/** What ended on one CPU: with io_uring, the requests of the CPU's queue. */
export interface CpuLoad {
  cpu: number
  requests: number
  errors: number
  timed: number
  nanoseconds: number
}

/** Who makes requests, of those that are timed. */
export interface MakerLoad {
  /** Thread group id; a thread's id where the process is not known. */
  process: number
  /** Empty when it is not known. */
  command: string
  requests: number
  /** Both ways. */
  bytes: number
  /** That they took. */
  nanoseconds: number
}

/** A request under way. */
export interface Flight {
  operation: string
  nodeid: bigint
  /** 0 for background requests. */
  process: number
  /** Nanoseconds since it was given to the server. */
  age: number
}

/** What the kernel tells of a mount. */
export interface KernelLoad {
  operations: Record<string, OperationLoad>
  cpus: CpuLoad[]
  makers: MakerLoad[]
  /** Those whose beginning was seen, the oldest first. */
  flights: Flight[]
  /** Requests that were taken back before the server had them: their process was killed. */
  interrupted: number
  /** Background requests, as of when the last one ended; with those that wait for their turn. */
  background: number
  maxBackground: number
  /** FORGETs that wait for the server; counted up to 256. */
  forgets: number
  /** `all`: every request is timed; `some`: those of a twentieth of the time, as they are many. */
  timing: 'all' | 'some'
}

/** One worker of a server. */
export interface WorkerLoad extends ServerGauges {
  index: number
  /** The CPU that it stays on; -1: any. */
  cpu: number
  /** `device`: reads /dev/fuse; `queues`: serves io_uring queues. */
  serves: 'device' | 'queues'
  requests: number
  errors: number
}

/** What a server tells of itself. */
export interface ServerLoad extends ServerGauges {
  rings: 'dev' | 'uring'
  /** Requests that were answered in the kernel, which the server has not seen, by the kernel's names. */
  answered: Record<string, { count: number }>
  operations: Record<string, OperationTimes>
  workers: WorkerLoad[]
  /** How requests are spread over io_uring rings; where nobody chooses, it is missing. */
  balance?: BalanceReport | null
}

/** How many requests a server's operations are in all. */
export function requestsIn(operations: Record<string, OperationTimes>): { requests: number; errors: number } {
  const sum = { requests: 0, errors: 0 }
  for (const { count, errors } of Object.values(operations)) {
    sum.requests += count
    sum.errors += errors
  }
  return sum
}

/** @param device `major:minor` @returns the kernel's dev_t, which names the connection, too */
export function connectionOf(device: string): number {
  const [major, minor] = device.split(':').map(Number)
  return major * 2 ** 20 + minor
}

/**
 * Requests that wait for a mount's server or are with it, by the kernel's account.
 * @returns null where fusectl is not mounted, or to others than the user who mounted
 */
export function waitingRequests(device: string): number | null {
  try {
    return Number(readFileSync(`/sys/fs/fuse/connections/${connectionOf(device)}/waiting`, 'ascii'))
  } catch {
    return null
  }
}
