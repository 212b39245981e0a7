// SPDX-License-Identifier: MIT
/** What `efuse stat` says of a mount. */
import { ACCELERATOR_NAMES } from '../bpf/accelerators.js'
import type { BalanceReport } from '../bpf/balance.js'
import type { DataCounts } from '../bpf/data-cache.js'
import { OperationCounters, type OperationCount, type ServerGauges } from '../fs/counters.js'
import { percentile } from '../fs/latency.js'
import { FUSE_KERNEL_VERSION, FuseInitFlag, type FuseInitFlagName } from '../protocol/constants.js'
import { agreedOn, type Agreement, type Negotiation } from '../protocol/init.js'
import type { AcceleratorReports, Accelerators } from './accelerate.js'
import { connectionOf, waitingRequests } from './load.js'
import type { MountEntry } from './mountinfo.js'

/** What the kernel has to do with a mount. */
export interface KernelReport {
  /** The connection's number under /sys/fs/fuse/connections. */
  connection: number
  /** The protocol's version in use. */
  protocol: string
  /** INIT capabilities in use. */
  capabilities: string[]
  /** Bytes. */
  maxWrite: number
  /** Bytes. */
  maxReadahead: number
  maxBackground: number
  /** Requests that wait for the server or are with it; null when we may not know. */
  waiting: number | null
  /** Requests that were answered in the kernel, by its names. */
  answered: Record<string, { count: number }>
  /** What the data accelerator has done, and its memory in bytes; null where it is not at work. */
  data: DataCounts & { memory: number } | null
  /** How the balance accelerator spreads requests over rings; null where it is not at work. */
  balance: BalanceReport | null
}

/** How long requests of one kind were in the server's hands: a sample, nanoseconds. */
export interface ServiceReport {
  /** How many were timed. */
  timed: number
  meanNs: number
  p50Ns: number
  p99Ns: number
}

export interface OperationReport extends OperationCount {
  /** Null when none was timed yet. */
  service: ServiceReport | null
}

export interface MountReport {
  mountpoint: string
  source: string
  type: string
  rings: 'dev' | 'uring'
  workers: number
  passthrough: 'on' | 'off'
  /** The accelerators at work, by their names, or `off`. */
  accel: string
  /** Each accelerator, and why it is not at work. */
  accelerators: AcceleratorReports
  /** Requests that reached the server since it was mounted, by the kernel's names. */
  operations: Record<string, OperationReport>
  /** Where metrics are served; null when they are not. */
  metrics: string | null
  /** What the server says beside. */
  server: ServerGauges
  kernel: KernelReport
}

/** What is known of a mount that another program serves, under `efuse exec`. */
export interface ProgramReport {
  mountpoint: string
  source: string
  type: string
  /** The program with its arguments. */
  program: string[]
  /** Of the process that was started, which may have left another one in the background; null before. */
  pid: number | null
  accel: string
  accelerators: AcceleratorReports
  kernel: Pick<KernelReport, 'connection' | 'waiting' | 'answered'>
}

export function programReport(
  { mountpoint, source, type, device }: MountEntry, program: string[], pid: number | null, accelerators: Accelerators | null,
): ProgramReport {
  return {
    mountpoint, source, type, program, pid, ...accelReport(accelerators),
    kernel: {
      connection: connectionOf(device), waiting: waitingRequests(device), answered: accelerators?.answered() ?? {},
    },
  }
}

/** What accelerators do for a mount. @param accelerators null before they were loaded */
export function accelReport(accelerators: Accelerators | null): Pick<MountReport, 'accel' | 'accelerators'> {
  const none = () => Object.fromEntries(ACCELERATOR_NAMES.map((name) => [name, { state: 'off', why: 'not loaded yet' }]))
  return { accel: accelerators?.summary ?? 'off', accelerators: accelerators?.report() ?? none() as AcceleratorReports }
}

/** @param device `major:minor` of the mount */
export function kernelReport(
  device: string, negotiation: Negotiation | Agreement, accelerators: Accelerators | null,
): KernelReport {
  const agreed: Agreement = 'agree' in negotiation ? negotiation.agree() : negotiation
  return {
    connection: connectionOf(device),
    protocol: `${FUSE_KERNEL_VERSION}.${agreed.minor}`,
    capabilities: (Object.keys(FuseInitFlag) as FuseInitFlagName[]).filter((name) => agreedOn(agreed, name)),
    maxWrite: agreed.maxWrite,
    maxReadahead: agreed.maxReadahead,
    maxBackground: agreed.maxBackground,
    waiting: waitingRequests(device),
    answered: accelerators?.answered() ?? {},
    data: dataReport(accelerators),
    balance: accelerators?.balance?.report() ?? null,
  }
}

function dataReport(accelerators: Accelerators | null): KernelReport['data'] {
  const data = accelerators?.data ?? null
  return data && { ...data.counts(), memory: data.memory }
}

/** What workers' counters say, for a report. */
export function operationReports(counters: Iterable<OperationCounters>): Record<string, OperationReport> {
  return Object.fromEntries(Object.entries(OperationCounters.total(counters)).map(([name, { service, ...count }]) => {
    const { timed, nanoseconds, buckets } = service
    return [name, {
      ...count,
      service: timed === 0 ? null : {
        timed,
        meanNs: Math.round(nanoseconds / timed),
        p50Ns: Math.round(percentile(buckets, 0.5)!),
        p99Ns: Math.round(percentile(buckets, 0.99)!),
      },
    }]
  }))
}
