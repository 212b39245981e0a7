// SPDX-License-Identifier: MIT
/** What one run of one load on one system gives. */
import type { Where } from './systems.js'

/** Reads, writes, or whatever else an operation is. */
export type SideName = 'read' | 'write' | 'operation'

export interface Side {
  count: number
  perSecond: number
  /** Null where an operation moves no bytes. */
  bytesPerSecond: number | null
  p50Ns: number
  p99Ns: number
  p999Ns: number
  meanNs: number
  /** Standard deviation; null where the tool does not tell. */
  deviationNs: number | null
  /** [percent, nanoseconds], rising. */
  distribution: [number, number][]
}

export interface Measured {
  sides: Partial<Record<SideName, Side>>
  operations: number
  /** CPU time of the calling program and of the server, nanoseconds per operation; null where it is not known. */
  clientCpuNs: number | null
  serverCpuNs: number | null
  /** Context switches of client and server together, per operation. */
  switches: number | null
  /** Reads that the disk did, per operation. */
  diskReads: number | null
  /** The part of all CPU time that neither client nor server used. */
  foreignShare: number | null
  /** How the data accelerator's reads went meanwhile, where it is at work. */
  decisions?: Decisions
}

/** Reads answered from maps, from the backing file in the kernel, and by the server; of the first two, trials. */
export interface Decisions {
  cached: number
  direct: number
  passed: number
  probes: number
  mispredicted: number
}

/** What the kernel sent to user space, per operation: looked at in a run that is not measured. */
export interface Counted {
  requests: number | null
  /** FUSE_READ among them: each is one read of the backing file by the server. */
  serverReads: number | null
  /** Answered by programs in the kernel, per operation, by kernel name. */
  answered: Record<string, number>
}

export interface Key {
  where: Where
  suite: string
  load: string
  system: string
}

/** A line of the record. `round` is -1 for what was counted. */
export type Entry =
  | (Key & { round: number; measured: Measured })
  | (Key & { round: -1; counted: Counted })
  /** A system could not be started there, or a load is impossible on it. */
  | (Key & { round: -2; absent: string })
  /** Wrong data, or a run that ended with an error: nothing is reported then. */
  | (Key & { round: -3; failure: string })

/** When a part of the run began; what the lab's guest is; something measured. */
export type Line = Entry | { started: string } | { guest: { [name: string]: string } }
