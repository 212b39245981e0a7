// SPDX-License-Identifier: MIT
/**
 * The benchmarks' driver: serves one directory in several ways at once and lets the client measure
 * them in turns.
 *
 *   node dist/bench/driver.js [--suite NAMES] [--only TEXT] [--rounds N] [--seconds S] [--out DIR]
 *                             [--quick] [--no-build] [--list]
 *
 * Prints Markdown; --out gets results.json and results.md. Exit status 0 when everything measured
 * gave the right data, whatever the targets say; 1 otherwise; 2 for wrong usage.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { Client, type Cell, type Duration, type Operation } from './client.js'
import { load, machine, UringSwitch } from './machine.js'
import { judge, markdown, type MeasurementResult, type Results, type SuiteResult } from './report.js'
import { buildClient, rival, type RivalName, type RivalOutcome } from './rivals.js'
import { endAllNow, connectionAt, Server } from './server.js'
import { measureStartup } from './startup.js'
import { orderOfRound, spread } from './statistics.js'
import { STARTUP, SUITES, type Suite, type Work } from './targets.js'
import { ROOT, variant, VARIANTS, type Place } from './variants.js'

/** More than this much CPU time used by others, and the figures are the machine's rather than ours. */
const FOREIGN_LIMIT = 0.05
const COUNTED_OPERATIONS = 200
/** Rounds, and seconds for each measurement of each variant in each of them. */
const QUICK = { rounds: 2, seconds: 0.1, warmup: 0.05, settle: 0.05 }
const FULL = { rounds: 5, seconds: 0.5, warmup: 0.15, settle: 0.5 }

interface Settings {
  suites: Suite[]
  startup: boolean
  rounds: number
  seconds: number
  warmup: number
  /** Seconds that every variant runs before a measurement's first round: code is compiled, caches are filled. */
  settle: number
  quick: boolean
  build: boolean
  out: string | null
}

function log(text: string): void {
  process.stderr.write(`bench: ${text}\n`)
}

function usage(message: string): never {
  process.stderr.write(`bench: ${message}\n`)
  process.exit(2)
}

function settings(): Settings {
  const { values } = parseArgs({
    options: {
      suite: { type: 'string' }, only: { type: 'string' }, rounds: { type: 'string' }, seconds: { type: 'string' },
      out: { type: 'string' }, quick: { type: 'boolean', default: false }, list: { type: 'boolean', default: false },
      'no-build': { type: 'boolean', default: false },
    },
  })
  if (values.list) {
    for (const { name, title, variants, measurements } of SUITES) {
      console.log(`${name}: ${title}\n  variants: ${variants.join(', ')}`)
      console.log(`  measurements: ${Object.keys(measurements).join(', ')}`)
    }
    console.log(`${STARTUP.name}: ${STARTUP.title}`)
    console.log(`all variants: ${VARIANTS.map(({ name }) => name).join(', ')}`)
    process.exit(0)
  }
  const names = values.suite?.split(',') ?? [...SUITES.map(({ name }) => name), STARTUP.name]
  for (const name of names) {
    if (name !== STARTUP.name && !SUITES.some((suite) => suite.name === name)) usage(`no suite ${name}: see --list`)
  }
  const positive = (name: string, text: string | undefined, otherwise: number): number => {
    const number = text === undefined ? otherwise : Number(text)
    if (!(number > 0)) usage(`--${name} takes a number above 0`)
    return number
  }
  const base = values.quick ? QUICK : FULL
  return {
    suites: SUITES.filter(({ name }) => names.includes(name)).map((suite) => only(suite, values.only))
      .filter(({ measurements }) => Object.keys(measurements).length > 0),
    startup: names.includes(STARTUP.name) && values.only === undefined,
    rounds: Math.ceil(positive('rounds', values.rounds, base.rounds)),
    seconds: positive('seconds', values.seconds, base.seconds),
    warmup: base.warmup,
    settle: base.settle,
    quick: values.quick,
    build: !values['no-build'],
    out: values.out === undefined ? null : resolve(values.out),
  }
}

/** The measurements whose names contain a text. */
function only(suite: Suite, text: string | undefined): Suite {
  if (text === undefined) return suite
  const measurements = Object.fromEntries(Object.entries(suite.measurements).filter(([name]) => name.includes(text)))
  return {
    ...suite,
    measurements,
    rows: suite.rows
      .filter(({ measurement, over }) => measurement in measurements && (over === undefined || over in measurements)),
  }
}

const chosen = settings()
const uringSwitch = new UringSwitch()
const workspace = mkdtempSync('/var/tmp/efuse-bench-')
let cleaned = false
function cleanUp(): void {
  if (cleaned) return
  cleaned = true
  endAllNow()
  uringSwitch.restore()
  // Never into a mount that could not be ended.
  const allGone = mountpoints.every((mountpoint) => connectionAt(mountpoint) === null)
  if (allGone) rmSync(workspace, { recursive: true, force: true })
  else log(`something is still mounted under ${workspace}`)
}
const mountpoints: string[] = []
process.on('exit', cleanUp)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    log(`${signal}: ending`)
    process.exit(1)
  })
}

process.exit(await main())

async function main(): Promise<number> {
  const client = new Client(buildClient(join(ROOT, 'bench', 'client.c')))
  const source = join(workspace, 'source')
  mkdirSync(source)
  client.prepare(source)
  const rivals = findRivals()
  const places = (name: string): Place => {
    const mountpoint = join(workspace, 'mounts', name)
    mountpoints.push(mountpoint)
    return {
      source,
      mountpoint,
      rival: (needed) => {
        const found = rivals.get(needed)
        if (found === undefined || 'absent' in found) {
          throw new Error(`${needed} is absent: ${found?.absent ?? 'not looked for'}`)
        }
        return found.folder
      },
    }
  }
  const results: Results = {
    when: new Date().toISOString(),
    options: { ...chosen, suites: chosen.suites.map(({ name }) => name) },
    machine: machine(ROOT),
    load: { before: load(), after: load(), foreignShare: null },
    rivals: [...rivals.values()],
    final: false,
    caveats: [],
    failures: [],
    suites: [],
    startup: null,
  }
  for (const suite of chosen.suites) results.suites.push(await runSuite(suite, places, client, results))
  if (chosen.startup) {
    log('suite start')
    try {
      const libfuse = rivals.get('libfuse')
      const withRival = libfuse !== undefined && !('absent' in libfuse)
      results.startup = await measureStartup(places, client, chosen.quick ? 1 : chosen.rounds, withRival)
    } catch (error) {
      results.failures.push(`start: ${(error as Error).message}`)
    }
  }
  results.load.after = load()
  conclude(results)
  const text = markdown(results)
  console.log(text)
  if (chosen.out !== null) {
    mkdirSync(chosen.out, { recursive: true })
    writeFileSync(join(chosen.out, 'results.json'), `${JSON.stringify(results, null, 1)}\n`)
    writeFileSync(join(chosen.out, 'results.md'), `${text}\n`)
  }
  return results.failures.length > 0 ? 1 : 0
}

function findRivals(): Map<RivalName, RivalOutcome> {
  const needed = new Set(chosen.suites.flatMap(({ variants }) => variants).map((name) => variant(name).needs))
  if (chosen.startup) needed.add('libfuse')
  const found = new Map<RivalName, RivalOutcome>()
  for (const name of needed) {
    if (name !== undefined) found.set(name, rival(name, chosen.build, log))
  }
  for (const outcome of found.values()) {
    if ('absent' in outcome) log(`${outcome.name} is absent: ${outcome.absent}`)
  }
  return found
}

async function runSuite(
  suite: Suite, places: (name: string) => Place, client: Client, results: Results,
): Promise<SuiteResult> {
  log(`suite ${suite.name}`)
  const result: SuiteResult = { name: suite.name, title: suite.title, variants: {}, measurements: {}, rows: [] }
  const cpus = Array.from({ length: availableParallelism() }, (_, cpu) => cpu)
  const clientCpu = cpus.at(-1)!
  const servers: Server[] = []
  try {
    for (const name of suite.variants) {
      const { uring = false } = variant(name)
      try {
        if (!uringSwitch.set(uring)) {
          throw new Error(`the kernel's FUSE over io_uring can't be switched ${uring ? 'on' : 'off'}`)
        }
        const server = await Server.start(variant(name), places(`${suite.name}-${name}`), clientCpu)
        servers.push(server)
        client.probe(server.directory, 30_000)
        result.variants[name] = { command: server.command }
      } catch (error) {
        const absent = (error as Error).message.split('\n')[0]
        result.variants[name] = { command: null, absent }
        log(`${name} is absent: ${absent}`)
        const impossible = uring && !results.machine.uringOffered
        if (variant(name).needs === undefined && !impossible) results.failures.push(`${name} does not start: ${absent}`)
        await servers.find((server) => server.variant.name === name)?.stop()
      }
    }
    const present = servers.filter(({ variant: { name } }) => result.variants[name].absent === undefined)
    for (const [name, work] of Object.entries(suite.measurements)) {
      const what = operation(work, cpus, clientCpu)
      result.measurements[name] = await measure(`${suite.name}, ${name}`, what, present, client, results)
    }
  } finally {
    for (const server of servers) await server.stop()
    uringSwitch.restore()
  }
  result.rows = judge(result, suite.rows)
  return result
}

function operation({ on, ...rest }: Work, all: number[], one: number): Operation {
  return { ...rest, cpus: on === 'one' ? [one] : on === 'all' ? all : undefined }
}

async function measure(
  title: string, work: Operation, servers: Server[], client: Client, results: Results,
): Promise<MeasurementResult> {
  log(title)
  const result: MeasurementResult = { cells: {}, requests: {} }
  const attempt = async (server: Server, duration: Duration): Promise<Cell | null> => {
    const { name } = server.variant
    if (!server.alive) return null
    try {
      const cell = await client.measure(server, work, duration)
      if (cell.error === null) return cell
      results.failures.push(`${title}, ${name}: ${cell.error}`)
    } catch (error) {
      results.failures.push(`${title}, ${name}: ${(error as Error).message}`)
    }
    if (!server.alive) results.failures.push(`${title}: the server of ${name} died`)
    return null
  }
  for (const server of servers) {
    const { name } = server.variant
    result.cells[name] = Array.from({ length: chosen.rounds }, () => null)
    await attempt(server, { seconds: chosen.settle, warmup: 0 })
    result.requests[name] = client.requestsPerOperation(server, work, work.op === 'readdir' ? 20 : COUNTED_OPERATIONS)
  }
  for (let round = 0; round < chosen.rounds; round++) {
    for (const server of orderOfRound(servers, round)) {
      result.cells[server.variant.name][round] = await attempt(server, chosen)
    }
  }
  return result
}

function conclude(results: Results): void {
  const cells = results.suites.flatMap(({ measurements }) => Object.values(measurements))
    .flatMap(({ cells: byVariant }) => Object.values(byVariant).flat()).filter((cell) => cell !== null)
  if (cells.length > 0) {
    const foreign = spread(cells.map(({ foreignShare }) => foreignShare))
    results.load.foreignShare = foreign
    if (foreign.median > FOREIGN_LIMIT) {
      const percent = (foreign.median * 100).toFixed(0)
      results.caveats.push(`the machine was busy with other work (${percent} % of its CPU time)`)
    }
  }
  if (chosen.quick) results.caveats.push('a quick run is too short')
  if (chosen.rounds < FULL.rounds) results.caveats.push(`fewer than ${FULL.rounds} rounds`)
  if (cells.some(({ verified }) => verified === 0)) {
    results.failures.push('something was measured without being verified')
  }
  results.failures = [...new Set(results.failures)]
  results.final = results.failures.length === 0 && results.caveats.length === 0
}
