// SPDX-License-Identifier: MIT
/** What `efuse top` shows, made from two samples: rates and percentiles of the time between them. No I/O. */
import { BUCKETS, percentile } from '../fs/latency.js'
import type { Flight, OperationLoad, Times, WorkerLoad } from '../mount/load.js'
import type { Sample } from './top-source.js'

/** Rates are per second, times in nanoseconds; null where nothing is known. */
export interface OperationRow {
  name: string
  requests: number
  errors: number
  bytesIn: number
  bytesOut: number
  /** From when the kernel gave them to the server until their answer was there. */
  mean: number | null
  p50: number | null
  p99: number | null
  /** In the server's hands: the mean. */
  service: number | null
  /** The rest of `mean`: queued, waking, carrying. */
  queued: number | null
  /** What part of the requests the kernel answered itself; null where it answers none. */
  hits: number | null
  /** Since the mount began, by its server's account; since we look, by the kernel's. */
  total: number
}

export interface CpuRow {
  cpu: number
  requests: number
  errors: number
  mean: number | null
}

export interface WorkerRow {
  index: number
  cpu: number
  serves: WorkerLoad['serves']
  requests: number
  errors: number
  pending: number
}

/** A ring that requests are chosen for. */
export interface RingRow {
  ring: number
  requests: number
  /** Those of them that came from other CPUs. */
  guests: number
  depth: number
  /** What one waits there for those before it; nanoseconds. */
  wait: number
  /** What one takes there; null where that is not known. */
  service: number | null
  /** What its server does. */
  state: string
}

export interface MakerRow {
  process: number
  command: string
  requests: number
  bytes: number
  mean: number | null
}

export interface MountView {
  mountpoint: string
  source: string
  type: string
  /** Which account this is: the kernel's of any mount, or the server's own. */
  observer: 'kernel' | 'server' | 'none'
  /** Whether each request is timed, or those of a part of the time. */
  timing: 'all' | 'some' | 'sample'
  rings: 'dev' | 'uring' | null
  total: OperationRow
  operations: OperationRow[]
  cpus: CpuRow[]
  workers: WorkerRow[]
  /** How rings are chosen; null where nobody does. */
  policy: string | null
  chosen: RingRow[]
  makers: MakerRow[]
  /** Requests under way, the oldest first. */
  flights: Flight[]
  waiting: number | null
  background: number | null
  maxBackground: number | null
  /** FORGETs that wait in the kernel, or that had gathered when the server took them last. */
  forgets: number
  /** Answers that the server awaits. */
  pending: number | null
  interrupted: number
}

const NO_TIMES: Times = { timed: 0, nanoseconds: 0, buckets: [] }

function lessTimes(now: Times, before: Times): Times {
  const buckets = Array.from({ length: Math.max(now.buckets.length, 0) }, (_, i) => {
    return Math.max(0, (now.buckets[i] ?? 0) - (before.buckets[i] ?? 0))
  })
  return { timed: now.timed - before.timed, nanoseconds: now.nanoseconds - before.nanoseconds, buckets }
}

function mean({ timed, nanoseconds }: { timed: number; nanoseconds: number }): number | null {
  return timed > 0 ? nanoseconds / timed : null
}

/** The counts of one operation in the time between two samples. */
interface Difference {
  requests: number
  errors: number
  bytesIn: number
  bytesOut: number
  times: Times
  service: Times
  answered: number
  total: number
}

function rowOf(name: string, one: Difference, seconds: number): OperationRow {
  const average = mean(one.times)
  const service = mean(one.service)
  return {
    name,
    requests: one.requests / seconds,
    errors: one.errors / seconds,
    bytesIn: one.bytesIn / seconds,
    bytesOut: one.bytesOut / seconds,
    mean: average,
    p50: percentile(one.times.buckets, 0.5),
    p99: percentile(one.times.buckets, 0.99),
    service,
    queued: average === null || service === null ? null : Math.max(0, average - service),
    hits: one.answered === 0 ? null : one.answered / (one.answered + one.requests),
    total: one.total,
  }
}

function sumTimes(all: readonly Times[]): Times {
  const buckets = new Array<number>(BUCKETS).fill(0)
  let timed = 0
  let nanoseconds = 0
  for (const times of all) {
    timed += times.timed
    nanoseconds += times.nanoseconds
    times.buckets.forEach((count, bucket) => { buckets[bucket] += count })
  }
  return { timed, nanoseconds, buckets }
}

/** An account of operations in the kernel's form, whoever gave it. */
function accountOf({ kernel, server }: Sample): Record<string, OperationLoad> {
  if (kernel !== null) return kernel.operations
  return Object.fromEntries(Object.entries(server?.operations ?? {}).map(([name, { count, service, ...rest }]) => {
    return [name, { ...rest, requests: count, times: NO_TIMES }]
  }))
}

/**
 * @param now the later sample of a mount
 * @param before an earlier one of the same; null when there is none: then all rates are 0
 */
export function viewOf(now: Sample, before: Sample | null): MountView {
  const { entry, kernel, server } = now
  const first = before ?? now
  const seconds = before === null ? 1 : Math.max((now.at - before.at) / 1000, 0.001)
  const account = accountOf(now)
  // An observer that has just come has no past.
  const past = (kernel === null) === (first.kernel === null) ? accountOf(first) : account
  const names = new Set([...Object.keys(account), ...Object.keys(server?.answered ?? {})])
  const differences = [...names].map((name): [string, Difference] => {
    const one = account[name]
    const old = past[name]
    const own = server?.operations[name]
    return [name, {
      requests: (one?.requests ?? 0) - (old?.requests ?? 0),
      errors: (one?.errors ?? 0) - (old?.errors ?? 0),
      bytesIn: (one?.bytesIn ?? 0) - (old?.bytesIn ?? 0),
      bytesOut: (one?.bytesOut ?? 0) - (old?.bytesOut ?? 0),
      times: lessTimes(one?.times ?? NO_TIMES, old?.times ?? NO_TIMES),
      service: lessTimes(own?.service ?? NO_TIMES, first.server?.operations[name]?.service ?? NO_TIMES),
      answered: (server?.answered[name]?.count ?? 0) - (first.server?.answered[name]?.count ?? 0),
      total: own?.count ?? one?.requests ?? 0,
    }]
  })
  const all = differences.map(([, one]) => one)
  const sum = (of: (one: Difference) => number) => all.reduce((total, one) => total + of(one), 0)
  const total = rowOf('total', {
    requests: sum((one) => one.requests),
    errors: sum((one) => one.errors),
    bytesIn: sum((one) => one.bytesIn),
    bytesOut: sum((one) => one.bytesOut),
    times: sumTimes(all.map(({ times }) => times)),
    service: sumTimes(all.map(({ service }) => service)),
    answered: sum((one) => one.answered),
    total: sum((one) => one.total),
  }, seconds)
  // Makers are known of timed requests: they stand for the others.
  const timed = all.reduce((sum, { times }) => sum + times.timed, 0)
  const scale = timed > 0 ? all.reduce((sum, { requests }) => sum + requests, 0) / timed : 0
  const oldCpus = new Map(first.kernel?.cpus.map((one) => [one.cpu, one]))
  const oldMakers = new Map(first.kernel?.makers.map((one) => [one.process, one]))
  const oldWorkers = new Map(first.server?.workers.map((one) => [one.index, one]))
  return {
    mountpoint: entry.mountpoint,
    source: entry.source,
    type: entry.type,
    observer: kernel !== null ? 'kernel' : server !== null ? 'server' : 'none',
    timing: kernel?.timing ?? 'sample',
    rings: server?.rings ?? null,
    total,
    operations: differences.map(([name, one]) => rowOf(name, one, seconds)),
    cpus: (kernel?.cpus ?? []).map(({ cpu, requests, errors, timed, nanoseconds }) => {
      const old = oldCpus.get(cpu) ?? { requests: 0, errors: 0, timed: 0, nanoseconds: 0 }
      return {
        cpu,
        requests: (requests - old.requests) / seconds,
        errors: (errors - old.errors) / seconds,
        mean: mean({ timed: timed - old.timed, nanoseconds: nanoseconds - old.nanoseconds }),
      }
    }),
    workers: (server?.workers ?? []).map(({ index, cpu, serves, requests, errors, pending }) => {
      const old = oldWorkers.get(index) ?? { requests: 0, errors: 0 }
      return {
        index, cpu, serves, pending,
        requests: (requests - old.requests) / seconds,
        errors: (errors - old.errors) / seconds,
      }
    }),
    policy: server?.balance?.policy ?? null,
    chosen: (server?.balance?.rings ?? []).map(({ given, guests, depth, serviceNs, waitNs, state, online }, ring) => {
      const old = first.server?.balance?.rings[ring] ?? { given, guests }
      return {
        ring, depth,
        requests: (given - old.given) / seconds,
        guests: (guests - old.guests) / seconds,
        wait: waitNs,
        service: serviceNs || null,
        state: online ? state : 'offline',
      }
    }),
    makers: (kernel?.makers ?? []).map(({ process, command, requests, bytes, nanoseconds }) => {
      const known = oldMakers.get(process)
      // One that had made room for others has begun anew.
      const old = known !== undefined && known.requests <= requests ? known : { requests: 0, bytes: 0, nanoseconds: 0 }
      const made = requests - old.requests
      return {
        process, command,
        requests: made / seconds * scale,
        bytes: (bytes - old.bytes) / seconds * scale,
        mean: mean({ timed: made, nanoseconds: nanoseconds - old.nanoseconds }),
      }
    }).filter(({ requests }) => requests > 0).sort((a, b) => b.requests - a.requests || a.process - b.process),
    flights: kernel?.flights ?? [],
    waiting: now.waiting,
    background: kernel?.background ?? null,
    maxBackground: kernel?.maxBackground ?? null,
    forgets: kernel?.forgets ?? server?.forgetBacklog ?? 0,
    pending: server?.pending ?? null,
    interrupted: kernel?.interrupted ?? 0,
  }
}

// Sorting ----------------------------------------------------------------------------------------

export type SortKey = 'name' | 'requests' | 'errors' | 'bytesIn' | 'bytesOut' | 'mean' | 'p50' | 'p99' | 'service' | 'total'

/** Rows in order: numbers from the largest down, names from A on; `reverse` turns that. Ties go by name. */
export function sorted(rows: readonly OperationRow[], key: SortKey, reverse: boolean): OperationRow[] {
  const sign = reverse ? -1 : 1
  return [...rows].sort((a, b) => {
    const order = key === 'name' ? 0 : (b[key] ?? -1) - (a[key] ?? -1)
    return sign * (order || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  })
}

// Text -------------------------------------------------------------------------------------------

/** A count or a rate in at most five characters. */
export function shortNumber(value: number): string {
  if (value === 0) return '0'
  if (value < 9.95) return value.toFixed(1)
  if (value < 9999.5) return String(Math.round(value))
  const units = ['k', 'M', 'G', 'T']
  let unit = -1
  do {
    value /= 1000
    unit++
  } while (value >= 999.5 && unit < units.length - 1)
  return `${value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : Math.round(value)}${units[unit]}`
}

/** A time in at most six characters. @param nanoseconds null: not known */
export function shortTime(nanoseconds: number | null): string {
  if (nanoseconds === null) return '-'
  const units = ['ns', 'us', 'ms', 's'] as const
  let unit = 0
  let value = nanoseconds
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)}${units[unit]}`
}

/** Rates of the last while as a line of blocks, the newest at the right. */
export function sparkline(values: readonly number[], width: number, unicode: boolean): string {
  const blocks = unicode ? ' ▁▂▃▄▅▆▇█' : ' .:-=+*#@'
  const shown = values.slice(-width)
  const highest = Math.max(...shown, 1e-9)
  return shown.map((value) => {
    return blocks[value <= 0 ? 0 : 1 + Math.min(blocks.length - 2, Math.floor(value / highest * (blocks.length - 1)))]
  }).join('').padStart(width)
}
