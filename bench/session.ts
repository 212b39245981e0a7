// SPDX-License-Identifier: MIT
/** Runs suites: starts their systems, lets each do each load in turns, and records what came of it. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { findServer } from '../src/mount/control.js'
import { mounts } from '../src/mount/mountinfo.js'
import type { MountReport } from '../src/mount/report.js'
import type { Client, Duration } from './client.js'
import { COMMANDS, type Command } from './commands.js'
import { countRequests } from './count.js'
import { runFio, type FioRun } from './fio.js'
import type { JobSettings, Load, LoadSuite } from './loads.js'
import { atRest, busyNs, cpuCount, UringSwitch } from './machine.js'
import type { Counted, Decisions, Key, Measured } from './measured.js'
import { account, cost, ownNs } from './process-cost.js'
import type { RunRecord } from './record.js'
import { connectionAt, Server } from './server.js'
import { orderOfRound } from './statistics.js'
import type { System, Where } from './systems.js'
import { ROOT, type Place } from './variants.js'

export interface Setting {
  where: Where
  /** A folder on the file system that is served. */
  workspace: string
  systems: readonly System[]
  /** How many CPUs there are. */
  cpus: number
  rounds: number
  /** Of each load on each system in each round. */
  seconds: number
  /** Bytes of a large file, as fio has them; how many small files. */
  large: string
  files: number
  rival: Place['rival']
  client: Client
  record: RunRecord
  log(text: string): void
}

/** A system that serves, with its own copy of the data. */
interface Served {
  system: System
  server: Server
  source: string
  /** What its scheduler had decided when the last run ended; null: not known. */
  decisions: Decisions | null
}

/** A load that is done on one system, once. */
type Run = (served: Served, before?: readonly string[]) => Promise<Measured>

/** @param loads those of the suite that are wanted */
export async function runSuite(suite: LoadSuite, loads: readonly Load[], setting: Setting): Promise<void> {
  const { where, record, systems, rounds, log } = setting
  const key = (load: Load, { name }: System): Key => ({ where, suite: suite.name, load: load.name, system: name })
  const all = Array.from({ length: rounds }, (_, round) => round)
  const complete = (load: Load, some: readonly System[], of: readonly number[]): boolean =>
    some.every((one) => of.every((round) => record.has(key(load, one), round)))
  const wanted = loads.filter((load) => !complete(load, systems, all))
  if (wanted.length === 0) return
  log(`${where}, ${suite.name}: ${suite.title}`)
  const uringSwitch = new UringSwitch()
  const served: Served[] = []
  const servers: Server[] = []
  const fail = (load: string, { name }: System, error: unknown): void => {
    const failure = (error as Error).message.split('\n')[0]
    log(`  ${name}: ${failure}`)
    record.add({ where, suite: suite.name, load, system: name, round: -3, failure })
  }
  try {
    for (const one of systems) {
      try {
        const source = join(setting.workspace, suite.name, 'source', one.name)
        mkdirSync(source, { recursive: true })
        prepare(wanted, source, setting)
        const server = await start(one, suite, wanted, source, setting, uringSwitch)
        servers.push(server)
        log(`  ${one.name} serves`)
        served.push({ system: one, source, decisions: null, server })
      } catch (error) {
        const absent = (error as Error).message.split('\n')[0]
        log(`  ${one.name} is absent: ${absent}`)
        record.add({ where, suite: suite.name, load: '*', system: one.name, round: -2, absent })
      }
    }
    if (wanted.some(({ tool }) => tool === 'fio')) {
      for (const one of [...served]) {
        try {
          verify(one)
        } catch (error) {
          fail('verification', one.system, error)
          served.splice(served.indexOf(one), 1)
        }
      }
    }
    // In the lab, where a second of the guest's is little, Node's start takes half a minute.
    const patience = where === 'lab' ? 5 : setting.seconds
    await atRest(10 * patience)
    /** Who can do a load, and has done it once. */
    const able = new Map<Load, Served[]>()
    for (const some of passes(where, all)) {
      for (const [index, load] of wanted.entries()) {
        if (complete(load, served.map(({ system }) => system), some)) continue
        log(`  ${load.name} (${index + 1} of ${wanted.length}${some.length === 1 ? `, round ${some[0] + 1} of ${rounds}` : ''})`)
        const run = runner(load, suite, setting)
        const ready: Served[] = []
        for (const one of able.get(load) ?? served) {
          try {
            // Caches are filled: by all data, as a short run in the lab doesn't come to all of them.
            if (load.tool === 'fio') execFileSync('sh', ['-c', 'cat -- * > /dev/null'], { cwd: one.server.directory, timeout: 300_000 })
            if (!able.has(load)) {
              // Code is compiled.
              await run(one)
              if (!record.has(key(load, one.system), -1)) {
                record.add({ ...key(load, one.system), round: -1, counted: await count(one, run) })
              }
            }
            one.decisions = null
            ready.push(one)
          } catch (error) {
            fail(load.name, one.system, error)
          }
        }
        able.set(load, ready)
        await atRest(patience)
        for (const round of some) {
          for (const one of orderOfRound(ready, round)) {
            if (record.has(key(load, one.system), round)) continue
            try {
              record.add({ ...key(load, one.system), round, measured: await deciding(one, load, () => run(one)) })
            } catch (error) {
              fail(load.name, one.system, error)
            }
            // Signals, and news of servers that ended.
            await sleep(0)
          }
        }
      }
    }
  } finally {
    for (const server of servers) await server.stop()
    uringSwitch.restore()
  }
}

/**
 * How often all loads are gone through, and which rounds each time. Here the machine is now faster, now slower, for minutes: rounds
 * one after another would know nothing of it, and state a spread that another run does not keep to. In the lab's time nothing of
 * that is seen, and what is done before a load takes long.
 */
function passes(where: Where, all: number[]): number[][] {
  return where === 'lab' ? [all] : all.map((round) => [round])
}

/** @param loads for which the source was prepared */
async function start(
  one: System, suite: LoadSuite, loads: readonly Load[], source: string, { where, workspace, cpus, rival, client }: Setting,
  uring: UringSwitch,
): Promise<Server> {
  if (!uring.set(one.uring ?? false)) throw new Error('the kernel has no FUSE over io_uring, or it can\'t be switched on')
  const server = await Server.start({
    name: one.name, needs: one.needs, besideClient: suite.cpus === 'one', command: one.command(suite.manner),
  }, { source, mountpoint: join(workspace, suite.name, 'mounts', one.name), rival }, cpus - 1)
  try {
    const asked = where === 'lab' ? 120_000 : 30_000
    if (loads.some(({ tool }) => tool === 'client')) client.probe(server.directory, asked)
    else statSync(server.directory)
  } catch (error) {
    await server.stop()
    throw error
  }
  return server
}

/** Fills a source with what the loads work on: before it is mounted, as some mounts rely on nobody else changing it. */
function prepare(loads: readonly Load[], source: string, setting: Setting): void {
  if (loads.some(({ tool }) => tool === 'client')) setting.client.prepare(source)
  const kept = keptFolder(setting)
  const jobs = new Map(loads.flatMap((load) => load.tool === 'fio' ? [[load.job, load.settings] as const] : []))
  for (const [job, settings] of jobs) {
    runFio(job, jobSettings(settings, false, source, setting), [], ['--create_only=1'])
  }
  if (jobs.size > 0) runFio('verify', { DIR: source, RW: 'write' })
  for (const load of loads) {
    if (load.tool === 'command') shell(command(load.command).prepare, { SOURCE: source, DIR: source, KEPT: kept })
  }
  execFileSync('sync', ['-f', source])
}

function keptFolder({ workspace }: Setting): string {
  const kept = join(workspace, 'kept')
  mkdirSync(kept, { recursive: true })
  return kept
}

function command(name: string): Command {
  return COMMANDS.find((one) => one.name === name)!
}

function jobSettings(settings: JobSettings, direct: boolean, folder: string, { seconds, large, files }: Setting): JobSettings {
  return {
    ...settings, DIRECT: direct ? '1' : '0', DIR: folder, RUNTIME: `${Math.round(seconds * 1000)}ms`,
    LARGE: large, FILES: String(files),
  }
}

function shell(script: string, environment: NodeJS.ProcessEnv, before: readonly string[] = []): void {
  const [program, ...args] = [...before, 'sh', '-e', '-c', script]
  try {
    execFileSync(program, args, {
      env: { ...process.env, PROJECT: ROOT, ...environment }, stdio: ['ignore', 'ignore', 'pipe'],
      timeout: 300_000, killSignal: 'SIGKILL', cwd: '/',
    })
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: Buffer }
    throw new Error(String(stderr ?? '').trim().split('\n').at(-1) || message.split('\n')[0])
  }
}

/** What was there is read, what is written is read back, and both are in the source: by small and large blocks. */
function verify({ server, source }: Served): void {
  mustBeMounted(server)
  runFio('verify', { DIR: server.directory, RW: 'read' })
  runFio('verify', { DIR: server.directory, RW: 'write' })
  execFileSync('sync', ['-f', server.directory])
  runFio('verify', { DIR: source, RW: 'read' })
}

function runner(load: Load, suite: LoadSuite, setting: Setting): Run {
  const last = setting.cpus - 1
  const pinned = suite.cpus === 'one' ? ['taskset', '-c', String(last)] : []
  switch (load.tool) {
    case 'fio':
      return async (served, before = []) => around(served, async () => fromFio(runFio(load.job,
        jobSettings(load.settings, load.direct, served.server.directory, setting), [...before, ...pinned])))
    case 'client': {
      const operation = { ...load.operation, ...suite.cpus === 'one' ? { cpus: [last] } : {} }
      const duration: Duration = { seconds: setting.seconds, warmup: 0.02 }
      return async (served, before = []) =>
        around(served, () => fromClient(setting.client, served.server, operation, duration, before))
    }
    case 'command': {
      const { before: first, run, verify: last } = command(load.command)
      const kept = keptFolder(setting)
      return async ({ server, source }, before = []) => {
        const environment = { DIR: server.directory, SOURCE: source, KEPT: kept }
        if (first !== undefined) shell(first, environment)
        const measured = await around({ server, source }, async () => {
          const begin = performance.now()
          shell(run, environment, [...before, ...pinned])
          return fromTime((performance.now() - begin) * 1e6)
        })
        try {
          shell(last, environment)
        } catch (error) {
          throw new Error(`wrong result: ${(error as Error).message}`)
        }
        return measured
      }
    }
  }
}

/** Where a mount has gone, the file system below it would be measured. */
function mustBeMounted({ connection, directory }: Server): void {
  if (connection !== null && connectionAt(directory) !== connection) throw new Error('it is not mounted any more')
}

/** What a tool itself has seen. */
type Seen = Pick<Measured, 'sides' | 'operations'> & { cpuNs: number | null; switches: number | null }

/** Lets a tool run, and looks at the server and the disk before and after. */
async function around({ server, source }: Pick<Served, 'server' | 'source'>, tool: () => Promise<Seen>): Promise<Measured> {
  mustBeMounted(server)
  execFileSync('sync', ['-f', source])
  const look = () => ({
    server: server.pid === null ? null : account(server.pid), busy: busyNs(), own: ownNs(), disk: diskReads(source),
    time: performance.now(),
  })
  const before = look()
  const seen = await tool()
  const after = look()
  mustBeMounted(server)
  const spent = cost(before.server, after.server)
  const { operations } = seen
  const each = (total: number | null | undefined): number | null => total === null || total === undefined ? null : total / operations
  const wall = (after.time - before.time) * 1e6 * cpuCount()
  // Not what the tool says of itself alone: starting fio and ending it takes as long as a short load.
  const known = after.own - before.own + (spent?.cpuNs ?? 0)
  return {
    sides: seen.sides,
    operations,
    clientCpuNs: each(seen.cpuNs),
    serverCpuNs: server.pid === null ? 0 : each(spent?.cpuNs),
    switches: seen.switches === null ? null
      : (seen.switches + (spent === null ? 0 : spent.voluntarySwitches + spent.involuntarySwitches)) / operations,
    diskReads: before.disk === null || after.disk === null ? null : (after.disk - before.disk) / operations,
    foreignShare: Math.min(1, Math.max(0, (after.busy - before.busy - known) / wall)),
  }
}

/** Reads that the disk of a folder has completed; null where it has none. */
function diskReads(folder: string): number | null {
  try {
    const { dev } = statSync(folder)
    return Number(readFileSync(`/sys/dev/block/${dev >> 8 & 0xfff}:${dev & 0xff}/stat`, 'latin1').trim().split(/\s+/)[0])
  } catch {
    return null
  }
}

function fromFio({ sides, operations, cpuNs, switches }: FioRun): Seen {
  return { sides, operations, cpuNs, switches }
}

async function fromClient(
  client: Client, server: Server, operation: Parameters<Client['measure']>[1], duration: Duration, before: readonly string[],
): Promise<Seen> {
  const cell = await client.measure(server, operation, duration, before)
  if (cell.error !== null) throw new Error(cell.error)
  if (cell.verified === 0) throw new Error('nothing was verified')
  const bytes = operation.op === 'read' || operation.op === 'write' ? operation.bytes ?? 4096 : null
  return {
    sides: {
      [operation.op === 'read' || operation.op === 'write' ? operation.op : 'operation']: {
        count: cell.count, perSecond: cell.perSecond, bytesPerSecond: bytes === null ? null : bytes * cell.perSecond,
        p50Ns: cell.p50Ns, p99Ns: cell.p99Ns, p999Ns: cell.p999Ns, meanNs: cell.meanNs, deviationNs: null,
        distribution: [[50, cell.p50Ns], [90, cell.p90Ns], [99, cell.p99Ns], [99.9, cell.p999Ns]],
      },
    },
    operations: cell.count, cpuNs: cell.clientCpuNs, switches: cell.voluntarySwitches + cell.involuntarySwitches,
  }
}

function fromTime(ns: number): Seen {
  return {
    sides: {
      operation: {
        count: 1, perSecond: 1e9 / ns, bytesPerSecond: null, p50Ns: ns, p99Ns: ns, p999Ns: ns, meanNs: ns,
        deviationNs: null, distribution: [],
      },
    },
    operations: 1, cpuNs: null, switches: null,
  }
}

/** What reached user space in one more run, which is not measured. */
async function count(served: Served, run: Run): Promise<Counted> {
  const { server, system: { own, module } } = served
  const none: Counted = { requests: null, serverReads: null, answered: {} }
  if (server.connection === null) return { ...none, requests: 0, serverReads: 0 }
  const earlier = own ? await answered(server.directory) : {}
  let operations = 0
  const counts = await countRequests(server.connection, module ? 'efuse' : 'fuse', async (before) => {
    operations = (await run(served, before)).operations
  })
  const later = own && Object.keys(earlier).length > 0 ? await answered(server.directory) : {}
  return {
    requests: counts === null ? null : counts.all / operations,
    serverReads: counts === null ? null : counts.reads / operations,
    answered: Object.fromEntries(Object.entries(later)
      .map(([name, total]) => [name, (total - (earlier[name] ?? 0)) / operations] as const).filter(([, each]) => each > 0)),
  }
}

/** What a mount's kernel has answered itself so far, by request. */
async function answered(mountpoint: string): Promise<{ [name: string]: number }> {
  const all = (await kernelReport(mountpoint))?.answered ?? {}
  return Object.fromEntries(Object.entries(all).map(([name, { count: total }]) => [name, total]))
}

/** What `efuse stat` says, without its process: Node's start takes half a minute in the lab. */
async function kernelReport(mountpoint: string): Promise<MountReport['kernel'] | null> {
  try {
    const { device } = mounts().findLast((one) => one.mountpoint === mountpoint)!
    const found = await findServer(device)
    if (found === null || 'refused' in found) return null
    try {
      return (await found.client.ask<MountReport>('report')).kernel
    } finally {
      found.client.close()
    }
  } catch {
    return null
  }
}

/** Adds how the accelerator's reads went during a run. */
async function deciding(served: Served, { tool }: Load, run: () => Promise<Measured>): Promise<Measured> {
  if (!served.system.decides || tool !== 'fio') return run()
  const before = served.decisions ?? await decisionsSoFar(served)
  const measured = await run()
  const after = await decisionsSoFar(served)
  // Nobody else reads there: the next run begins where this one ended.
  served.decisions = after
  if (before === null || after === null) return measured
  const names = Object.keys(after) as (keyof Decisions)[]
  const decisions = Object.fromEntries(names.map((name) => [name, after[name] - before[name]])) as unknown as Decisions
  return { ...measured, decisions }
}

async function decisionsSoFar({ server }: Served): Promise<Decisions | null> {
  const data = (await kernelReport(server.directory))?.data
  if (!data) return null
  const { cached, direct, reads_passed: passed, probes, mispredicted } = data
  return { cached, direct, passed, probes, mispredicted }
}
