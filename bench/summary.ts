// SPDX-License-Identifier: MIT
/** A record as a report: medians with their spread, ratios to plain FUSE and ext4, and the mission's aims. */
import { causesOf, type Miss } from './causes.js'
import type { LoadSuite } from './loads.js'
import type { Machine } from './machine.js'
import type { Decisions, Key, Measured, SideName } from './measured.js'
import type { RunRecord } from './record.js'
import { ratios, spread, type Spread } from './statistics.js'
import { BASELINE, SYSTEMS, type Where } from './systems.js'

export interface Environment {
  machine: Machine
  settings: { rounds: number; seconds: number; [name: string]: unknown }
  versions: { [name: string]: string }
  /** When each part of the run began. */
  started: string[]
  lab: string
  /** The guest's kernel and what else measures there; null: there was none. */
  guest: { [name: string]: string } | null
  /** Whether efuse.ko was loaded in the machine's own kernel. */
  moduleHere: boolean
}

/** One load on one system, its reads or its writes or what else it does. */
export interface Row extends Key {
  side: SideName
  rounds: number
  perSecond: Spread
  bytesPerSecond: Spread | null
  p50Ns: Spread
  p99Ns: Spread
  p999Ns: Spread
  deviationNs: Spread | null
  /** Per operation: client and server, nanoseconds. */
  cpuNs: number | null
  switches: number | null
  diskReads: number | null
  requests: number | null
  serverReads: number | null
  answered: number
  /** Of rounds, to plain FUSE: what is above 1 in `perSecond` is faster, in the others slower. */
  toFuse: Ratios | null
  toExt4: Ratios | null
  /** Of the round in the middle: [percent, nanoseconds]. */
  distribution: [number, number][]
  /** Of each round, where the data accelerator was at work. */
  decisions?: Decisions[]
}

export interface Ratios {
  perSecond: Spread
  p50: Spread
  p99: Spread
  deviation: Spread | null
}

/** An aim of the mission, on one load. */
export interface Verdict {
  where: Where
  load: string
  side: SideName
  /** eFuse's mode that does most operations per second there. */
  system: string
  row: Pick<Row, 'perSecond' | 'toFuse' | 'toExt4'>
  misses: string[]
  cause: string | null
}

export interface Report {
  version: 1
  environment: Environment
  /** Where it was joined of several runs: those of the others. */
  others?: Environment[]
  systems: { [name: string]: string }
  suites: { name: string; title: string; loads: { name: string; title: string; tool: string }[] }[]
  rows: Row[]
  absent: { where: Where; suite: string; system: string; why: string }[]
  verdicts: Verdict[]
  /** Median of what others used of the CPUs while the machine's own kernel was measured. */
  foreignShare: Spread | null
}

/** The lab's loads take so much less time than the machine's own. */
export const LAB_SHARE = 5

/** The mission's aims, and how close to ext4 is close. */
const AIMS = { iops: 3, upToKib: 32, close: 0.8 }

export function summarize(record: RunRecord, environment: Environment, suites: readonly LoadSuite[]): Report {
  const keys = record.keys()
  const rows = keys.flatMap((key) => rowsOf(key, record))
  const used = new Set(keys.map(({ system }) => system))
  const measured = new Set(keys.map(({ suite, load }) => `${suite}/${load}`))
  const foreign = record.entries.flatMap((entry) =>
    'measured' in entry && entry.where === 'native' && entry.measured.foreignShare !== null ? [entry.measured.foreignShare] : [])
  return {
    version: 1,
    environment,
    systems: Object.fromEntries(SYSTEMS.filter(({ name }) => used.has(name)).map(({ name, label }) => [name, label])),
    suites: suites.map(({ name, title, loads }) => ({
      name, title, loads: loads.filter((load) => measured.has(`${name}/${load.name}`))
        .map(({ name: load, title: what, tool }) => ({ name: load, title: what, tool })),
    })).filter(({ loads }) => loads.length > 0),
    rows,
    absent: record.entries.flatMap((entry) =>
      'absent' in entry ? [{ where: entry.where, suite: entry.suite, system: entry.system, why: entry.absent }] : []),
    verdicts: verdicts(rows, environment),
    foreignShare: foreign.length === 0 ? null : rounded(spread(foreign)),
  }
}

/** Runs of one place each as one report, as if one run had measured both: figures of different places are never compared. */
export function joined([first, ...more]: readonly Report[]): Report {
  if (more.length === 0) return first
  const all = [first, ...more]
  const suites = [...new Map(all.flatMap((one) => one.suites).map((suite) => [suite.name, suite])).values()]
  return {
    ...first,
    others: more.map(({ environment }) => environment),
    systems: Object.fromEntries(SYSTEMS.flatMap(({ name, label }) => all.some(({ systems }) => name in systems) ? [[name, label]] : [])),
    suites: suites.map((suite) => ({ ...suite, loads: [...new Map(all.flatMap((one) => one.suites)
      .filter(({ name }) => name === suite.name).flatMap(({ loads }) => loads).map((load) => [load.name, load])).values()] })),
    rows: all.flatMap(({ rows }) => rows),
    absent: all.flatMap(({ absent }) => absent),
    verdicts: all.flatMap(({ verdicts: some }) => some),
  }
}

function rowsOf(key: Key, record: RunRecord): Row[] {
  const rounds = record.rounds(key)
  const present = rounds.filter((one) => one !== null)
  const counted = record.counted(key)
  const names = (['read', 'write', 'operation'] as const).filter((side) => present.some(({ sides }) => side in sides))
  return names.map((side) => {
    const sides = present.map(({ sides: all }) => all[side]).filter((one) => one !== undefined)
    const of = (value: (one: (typeof sides)[number]) => number | null): Spread | null => {
      const values = sides.map(value).filter((one): one is number => one !== null && Number.isFinite(one))
      return values.length === 0 ? null : rounded(spread(values))
    }
    const middle = (value: (one: Measured) => number | null): number | null => {
      const values = present.map(value).filter((one): one is number => one !== null)
      return values.length === 0 ? null : significant(spread(values).median)
    }
    const to = (other: string): Ratios | null =>
      other === key.system ? null : ratiosTo(rounds, record.rounds({ ...key, system: other }), side)
    const perSecond = of((one) => one.perSecond)!
    const decisions = side === 'write' ? [] : present.flatMap((one) => one.decisions ?? [])
    const typical = sides.reduce((best, one) =>
      Math.abs(one.perSecond - perSecond.median) < Math.abs(best.perSecond - perSecond.median) ? one : best)
    return {
      ...key, side, rounds: sides.length, perSecond,
      bytesPerSecond: of((one) => one.bytesPerSecond),
      p50Ns: of((one) => one.p50Ns)!, p99Ns: of((one) => one.p99Ns)!, p999Ns: of((one) => one.p999Ns)!,
      deviationNs: of((one) => one.deviationNs),
      cpuNs: middle(({ clientCpuNs, serverCpuNs }) =>
        clientCpuNs === null || serverCpuNs === null ? null : clientCpuNs + serverCpuNs),
      switches: middle(({ switches }) => switches),
      diskReads: middle(({ diskReads }) => diskReads),
      requests: counted === null || counted.requests === null ? null : significant(counted.requests),
      serverReads: counted === null || counted.serverReads === null ? null : significant(counted.serverReads),
      answered: significant(Object.values(counted?.answered ?? {}).reduce((sum, one) => sum + one, 0)),
      toFuse: to(BASELINE), toExt4: to('ext4'),
      distribution: typical.distribution.map(([percent, ns]): [number, number] => [percent, significant(ns)]),
      ...decisions.length > 0 ? { decisions } : {},
    }
  })
}

function ratiosTo(own: (Measured | null)[], other: (Measured | null)[], side: SideName): Ratios | null {
  const of = (value: 'perSecond' | 'p50Ns' | 'p99Ns' | 'deviationNs'): Spread | null => {
    const series = (all: (Measured | null)[]): (number | null)[] => all.map((one) => one?.sides[side]?.[value] ?? null)
    const found = ratios(series(own), series(other))
    return found.length === 0 ? null : rounded(spread(found))
  }
  const perSecond = of('perSecond')
  const p50 = of('p50Ns')
  const p99 = of('p99Ns')
  return perSecond === null || p50 === null || p99 === null ? null : { perSecond, p50, p99, deviation: of('deviationNs') }
}

/** The mission's three loads, each by the mode of eFuse that is best at it. */
export function verdicts(rows: readonly Row[], { settings }: Pick<Environment, 'settings'>): Verdict[] {
  const found = new Map<string, Row>()
  for (const row of rows) {
    if (row.suite !== 'single-core' || !row.system.startsWith('efuse') || row.toFuse === null) continue
    const id = JSON.stringify([row.where, row.load, row.side])
    const best = found.get(id)
    if (best === undefined || row.perSecond.median > best.perSecond.median) found.set(id, row)
  }
  return [...found.values()].map((row) => {
    const misses = new Map<Miss, string>()
    const { toFuse, toExt4, side, load, where, system } = row
    const of = (name: string): Row | undefined => rows.find((one) =>
      one.where === where && one.suite === row.suite && one.load === load && one.side === side && one.system === name)
    const kib = blockKib(load)
    if (side === 'read' && kib <= AIMS.upToKib && toFuse!.perSecond.median < AIMS.iops) misses.set('IOPS', `IOPS < ${AIMS.iops}x`)
    if (toFuse!.p50.median >= 1) misses.set('p50', 'p50')
    if (toFuse!.p99.median >= 1) misses.set('p99', 'p99')
    if ((toFuse!.deviation?.median ?? 0) >= 1) misses.set('spread', 'spread')
    if (toExt4 !== null) {
      const direct = load.endsWith('direct')
      if (toExt4.perSecond.median < (direct ? 1 : AIMS.close)) misses.set('ext4', direct ? 'below ext4' : 'not close to ext4')
    }
    return {
      where, load, side, system, row: { perSecond: row.perSecond, toFuse, toExt4 }, misses: [...misses.values()],
      cause: misses.size === 0 ? null : causesOf({
        row, fuse: of(BASELINE)!, ext4: of('ext4'), aims: AIMS,
        seconds: where === 'lab' ? settings.seconds / LAB_SHARE : settings.seconds,
      }, [...misses.keys()]),
    }
  })
}

/** KiB of a load's blocks, by its name: `large-files 4k direct`, `random-read 1m buffered`. */
function blockKib(load: string): number {
  const [, number, unit] = / (\d+)([km]) /.exec(load) ?? ['', '0', 'k']
  return Number(number) * (unit === 'm' ? 1024 : 1)
}

/** Four digits are more than any of it is good for. */
function significant(value: number): number {
  return Number(value.toPrecision(4))
}

function rounded({ median, min, max, mad, count }: Spread): Spread {
  return { median: significant(median), min: significant(min), max: significant(max), mad: significant(mad), count }
}
