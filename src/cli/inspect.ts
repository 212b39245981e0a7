// SPDX-License-Identifier: MIT
/** `efuse list` and `efuse stat`: what is served, and what it was asked. */
import { setTimeout as sleep } from 'node:timers/promises'
import { percentile } from '../fs/latency.js'
import { allServers, findServer, type ControlClient, type ServerIdentity } from '../mount/control.js'
import { NOT_ASKED_FOR, type AcceleratorReports } from '../mount/accelerate.js'
import { connectionOf, waitingRequests, type KernelLoad, type Times } from '../mount/load.js'
import { mounts, type MountEntry } from '../mount/mountinfo.js'
import type { MountReport, ProgramReport } from '../mount/report.js'
import { Failure } from './failure.js'
import { table } from './table.js'
import { shortNumber, shortTime } from './top-model.js'
import { fuseMountAt } from './umount.js'

interface Listed {
  mountpoint: string
  source: string
  type: string
  pid: number
  /** 0 for another program's. */
  workers: number
}

export async function list(json: boolean): Promise<void> {
  const listed: Listed[] = []
  for (const { client } of await allServers()) {
    try {
      const { mountpoint, source, type, workers = 0 } = await client.ask<MountReport | ProgramReport & { workers?: 0 }>('report')
      const { pid } = await client.ask<ServerIdentity>('server')
      listed.push({ mountpoint, source, type, pid, workers })
    } catch {
      // It is ending just now.
    } finally {
      client.close()
    }
  }
  const order = new Map(mounts().map(({ mountpoint }, index) => [mountpoint, index]))
  listed.sort((a, b) => (order.get(a.mountpoint) ?? -1) - (order.get(b.mountpoint) ?? -1))
  if (json) {
    print(JSON.stringify(listed, null, 2))
    return
  }
  if (listed.length === 0) return
  print(table(['MOUNTPOINT', 'SOURCE', 'TYPE', 'PID', 'WORKERS'],
    listed.map(({ mountpoint, source, type, pid, workers }) => [mountpoint, source, type, pid, workers])))
}

/** How another program's mount was used while we looked: what only its own server could tell is missing. */
interface WatchedReport {
  mountpoint: string
  source: string
  type: string
  observer: 'kernel'
  /** How long we looked. */
  seconds: number
  operations: Record<string, {
    count: number
    errors: number
    bytesIn: number
    bytesOut: number
    /** From when the kernel gave requests to the server until their answers were there; null when none was timed. */
    latency: { timed: number; meanNs: number; p50Ns: number; p99Ns: number } | null
  }>
  kernel: {
    connection: number
    waiting: number | null
    background: number
    interrupted: number
    answered: Record<string, { count: number }>
  }
}

/** @param seconds how long another program's mount is watched */
export async function stat(path: string, { json, seconds }: { json: boolean; seconds: number }): Promise<void> {
  const entry = fuseMountAt(path)
  const found = await findServer(entry.device)
  if (found === null) {
    const report = await watch(entry, seconds)
    print(json ? JSON.stringify(report, null, 2) : describeWatched(report))
    return
  }
  if ('refused' in found) throw new Failure(`${path} is another user's: ask as that user, or as root`)
  const { client } = found
  try {
    const { program } = await client.ask<ServerIdentity>('server')
    if (program !== undefined) return await statProgram(entry, client, json, seconds)
    const report = await client.ask<MountReport>('report')
    print(json ? JSON.stringify(report, null, 2) : describe(report))
  } finally {
    client.close()
  }
}

/** A mount of `efuse exec`: what we see of its requests, and what its keeper knows. */
async function statProgram(entry: MountEntry, client: ControlClient, json: boolean, seconds: number): Promise<void> {
  const watched = await watch(entry, seconds)
  const { program, pid, accel, accelerators, kernel } = await client.ask<ProgramReport>('report')
  const report = { ...watched, program, pid, accel, accelerators, kernel: { ...watched.kernel, ...kernel } }
  print(json ? JSON.stringify(report, null, 2) : describeWatched(report))
}

async function watch(entry: MountEntry, seconds: number): Promise<WatchedReport> {
  const { Monitor } = await import('../bpf/monitor.js')
  let load: KernelLoad
  try {
    using monitor = await Monitor.open({ connections: 1, timing: 'all' })
    monitor.watch(entry.device)
    await sleep(seconds * 1000)
    load = monitor.read(entry.device)
  } catch (error) {
    throw new Failure(`${entry.mountpoint} has no eFuse server (it is dead, or served by another program), and can't be `
      + `watched: ${(error as Error).message}`)
  }
  const { mountpoint, source, type, device } = entry
  const { operations, background, interrupted } = load
  return {
    mountpoint, source, type, observer: 'kernel', seconds,
    operations: Object.fromEntries(Object.entries(operations).map(([name, { requests, times, ...counts }]) => {
      return [name, { count: requests, ...counts, latency: summary(times) }]
    })),
    kernel: { connection: connectionOf(device), waiting: waitingRequests(device), background, interrupted, answered: {} },
  }
}

function summary({ timed, nanoseconds, buckets }: Times): WatchedReport['operations'][string]['latency'] {
  if (timed === 0) return null
  const at = (share: number) => Math.round(percentile(buckets, share)!)
  return { timed, meanNs: Math.round(nanoseconds / timed), p50Ns: at(0.5), p99Ns: at(0.99) }
}

function describeWatched(report: WatchedReport & Partial<ProgramReport>): string {
  const { mountpoint, source, type, seconds, operations, kernel, program, accelerators } = report
  const facts = [
    ['mountpoint', mountpoint], ['source', source], ['type', type], ['connection', kernel.connection],
    ['waiting', kernel.waiting ?? 'not known'],
    ['server', `${program?.join(' ') ?? 'another program'}; watched for ${seconds} s`],
    ...(accelerators === undefined ? [] : describeAccelerators(accelerators)),
  ]
  const rows = Object.entries(operations).map(([name, { count, errors, bytesIn, bytesOut, latency }]) => [
    name, count, errors, shortNumber(bytesIn), shortNumber(bytesOut),
    shortTime(latency?.meanNs ?? null), shortTime(latency?.p50Ns ?? null), shortTime(latency?.p99Ns ?? null),
  ])
  return `${table([], facts)}\n\n${table(['OPERATION', 'COUNT', 'ERRORS', 'IN', 'OUT', 'MEAN', 'P50', 'P99'], rows)}`
}

function describe(report: MountReport): string {
  const { operations, kernel } = report
  const facts = [
    ['mountpoint', report.mountpoint],
    ['source', report.source],
    ['type', report.type],
    ['rings', report.rings],
    ['workers', report.workers],
    ['passthrough', report.passthrough],
    ...describeAccelerators(report.accelerators),
    ...describeData(kernel.data),
    ...describeBalance(kernel.balance),
    ['protocol', kernel.protocol],
    ['connection', kernel.connection],
    ['waiting', kernel.waiting ?? 'not known'],
    ...(report.metrics === null ? [] : [['metrics', report.metrics]]),
  ]
  const counts = Object.entries(operations).map(([name, { count, errors, bytesIn, bytesOut, service }]) => [
    name, count, errors, shortNumber(bytesIn), shortNumber(bytesOut), shortTime(service?.meanNs ?? null),
    shortTime(service?.p99Ns ?? null),
  ])
  return `${table([], facts)}\n\n${table(['OPERATION', 'COUNT', 'ERRORS', 'IN', 'OUT', 'SERVICE', 'P99'], counts)}`
}

/** A line for each, which says why one is off unless it was not asked for. */
function describeAccelerators(accelerators: AcceleratorReports): [string, string][] {
  const asked = Object.entries(accelerators).filter(([, { state, why }]) => state === 'on' || why !== NOT_ASKED_FOR)
  if (asked.length === 0) return [['accel', 'off']]
  return asked.map(([name, { state, why }]) => [`accel ${name}`, state === 'on' ? 'on' : `off: ${why}`])
}

/** How reads went in the kernel. */
function describeData(data: MountReport['kernel']['data']): [string, string][] {
  if (data === null) return []
  const { cached, cached_bytes, direct, direct_bytes, hits, misses, written, written_bytes, probes, timed, mispredicted, memory } = data
  const share = (part: number, all: number): string => (all === 0 ? '-' : `${Math.round(part / all * 100)}%`)
  return [
    ['data cache', `${cached} reads, ${shortNumber(cached_bytes)}; ${share(hits, hits + misses)} of blocks found; `
      + `${shortNumber(memory)} of memory`],
    ['data direct', `${direct} reads, ${shortNumber(direct_bytes)}; ${written} writes, ${shortNumber(written_bytes)}`],
    ['data choices', `${share(probes, cached + direct)} of reads were probes; ${share(mispredicted, timed)} of others mispredicted`],
  ]
}

/** How requests were spread over rings, and what the rings do now. */
function describeBalance(balance: MountReport['kernel']['balance']): [string, string][] {
  if (balance === null) return []
  const { policy, rings, verdicts, maxBackground } = balance
  return [
    ['balance', `${policy}; ${Object.entries(verdicts).map(([verdict, count]) => `${count} ${verdict}`).join(', ')}`
      + (maxBackground === null ? '' : `; at most ${maxBackground} in the background`)],
    ...rings.map(({ given, guests, depth, most, serviceNs, waitNs, state, online }, ring): [string, string] => [
      `ring ${ring}`, `${given} requests, ${guests} from other CPUs; ${depth} under way (most ${most}); `
        + `${shortTime(waitNs)} waiting and ${shortTime(serviceNs || null)} each; ${online ? state : 'its CPU is offline'}`,
    ]),
  ]
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}
