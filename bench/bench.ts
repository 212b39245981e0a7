// SPDX-License-Identifier: MIT
/** `efuse bench`: runs what is asked for, goes on where an earlier run was, and writes the report. */
import { execFileSync, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { lockAlone } from './alone.js'
import { Client } from './client.js'
import { compare, comparison, readReport } from './compare.js'
import { labLacks, runInLab } from './lab.js'
import { loadSuites } from './loads.js'
import { machine } from './machine.js'
import { RunRecord } from './record.js'
import { buildClient, rival, type RivalOutcome } from './rivals.js'
import { connectionAt, endAllNow } from './server.js'
import { runSuite } from './session.js'
import { SYSTEMS, type Where } from './systems.js'
import { LAB_SHARE, summarize, type Environment } from './summary.js'
import { ROOT } from './variants.js'
import { writeReport } from './page.js'

export interface BenchOptions {
  /** Names, comma between; undefined: all. */
  suite?: string
  /** Only loads whose names contain one of these, comma between. */
  only?: string
  /** Only these systems, comma between. */
  systems?: string
  out: string
  where: 'auto' | Where
  rounds: number
  /** Of each load on each system in each round; in the lab a fifth of it. */
  seconds: number
  /** Where the file system that is served lies. */
  directory: string
  /** A folder with another run's report: what is in `out` is compared with it, and nothing is measured. */
  compare?: string
  /** For the machinery's sake: small data, whatever the spread. */
  smoke?: boolean
}

export class WrongBenchUsage extends Error {}

const FULL = { large: '64m', labLarge: '4m', files: 512, labFiles: 64 }
const SMOKE = { large: '4m', labLarge: '4m', files: 16, labFiles: 16 }
const INTERRUPTED = 130

/** @returns the exit status: 0 when everything was measured and verified, or all that was compared agrees */
export async function bench(options: BenchOptions): Promise<number> {
  if (options.compare !== undefined) {
    const found = compare(readReport(options.out), readReport(options.compare))
    process.stdout.write(`${comparison(found)}\n`)
    return found.differing.length === 0 ? 0 : 1
  }
  const log = (text: string): void => void process.stderr.write(`bench: ${text}\n`)
  const out = resolve(options.out)
  const cpus = availableParallelism()
  const known = loadSuites(cpus)
  const suites = pick(known, options.suite, 'suite')
  const systems = pick(SYSTEMS, options.systems, 'system')
  if (process.getuid?.() !== 0) throw new Error('it mounts, pins and counts: run it as root')
  // The lab counts instructions: others don't disturb it.
  const native = options.where !== 'lab'
  if (native && !options.smoke) beAlone()
  const libfuse: RivalOutcome = native ? rival('libfuse', !options.smoke, log) : { name: 'libfuse', absent: 'not asked for' }
  const tools = native ? versions(libfuse) : {}
  const sizes = options.smoke ? SMOKE : FULL
  const host = machine(ROOT)
  const settings = {
    rounds: options.rounds, seconds: options.seconds, sizes, commit: host.commit, kernel: host.kernel, cpu: host.cpu, cpus,
  }
  const record = RunRecord.open(join(out, 'record.jsonl'), settings)

  let guest: ChildProcess | null = null
  const workspace = mkdtempSync(join(options.directory, 'efuse-bench-'))
  const cleanUp = (): void => {
    endAllNow()
    guest?.kill('SIGTERM')
    const mounts = suites.flatMap(({ name }) => SYSTEMS.map((one) => join(workspace, name, 'mounts', one.name)))
    if (mounts.every((path) => connectionAt(path) === null)) rmSync(workspace, { recursive: true, force: true })
    else log(`something is still mounted below ${workspace}`)
  }
  process.on('exit', cleanUp)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      log(`interrupted: the same command goes on where this one was (${join(out, 'record.jsonl')})`)
      process.exit(INTERRUPTED)
    })
  }

  const module = existsSync('/dev/efuse')
  const here = systems.filter(({ where, module: needed }) => where.includes('native') && (module || !needed))
  const inLab = systems.filter(({ where }) => where.includes('lab'))
  const lacks = labLacks()
  if (options.where === 'lab' && lacks !== null) throw new Error(lacks)
  const lab = options.where === 'lab' || (options.where === 'auto' && !module && lacks === null)
  for (const suite of suites) {
    const loads = suite.loads.filter(({ name }) => options.only?.split(',').some((text) => name.includes(text)) ?? true)
    if (native) {
      await runSuite(suite, loads, {
        where: 'native', workspace, systems: here, cpus, rounds: options.rounds, seconds: options.seconds,
        large: sizes.large, files: sizes.files, record, log, client: new Client(buildClient(join(ROOT, 'bench', 'client.c'))),
        rival: () => {
          if ('absent' in libfuse) throw new Error(libfuse.absent)
          return libfuse.folder
        },
      })
    }
    if (lab && suite.where.includes('lab')) {
      await runInLab(suite, loads, {
        systems: inLab, rounds: options.rounds, seconds: options.seconds / LAB_SHARE,
        large: sizes.labLarge, files: sizes.labFiles, record, log, began: (child) => { guest = child },
      })
    }
  }

  const { failures } = record
  if (failures.length > 0) {
    for (const failure of failures) log(`failed: ${failure}`)
    log('no report: what failed is tried again by the same command')
    return 1
  }
  const environment: Environment = {
    machine: host, settings, versions: tools, started: record.started,
    lab: lab ? 'instruction-time: one emulated CPU, a nanosecond per instruction, the data on a RAM disk' : lacks ?? 'not asked for',
    guest: record.guest,
    moduleHere: module,
  }
  mkdirSync(out, { recursive: true })
  const written = await writeReport(summarize(record, environment, known), out)
  for (const line of written) log(line)
  return 0
}

/** Two at once would measure each other. Holds until this process ends. */
function beAlone(): void {
  const lock = openSync(join(tmpdir(), 'efuse-bench.lock'), 'a')
  if (!lockAlone(lock)) throw new Error('another efuse bench is running here: each would measure the other')
}

function versions(libfuse: RivalOutcome): { [name: string]: string } {
  const said = (program: string): string => {
    try {
      return execFileSync(program, ['--version'], { encoding: 'utf8' }).trim().replace(/^fio-/, '')
    } catch {
      throw new Error(`${program} is not installed: apt install ${program}`)
    }
  }
  return { fio: said('fio'), libfuse: 'absent' in libfuse ? `absent (${libfuse.absent})` : libfuse.version }
}

function pick<T extends { name: string }>(all: readonly T[], names: string | undefined, what: string): T[] {
  if (names === undefined) return [...all]
  return names.split(',').map((name) => {
    const found = all.find((one) => one.name === name)
    if (found === undefined) {
      throw new WrongBenchUsage(`no ${what} ${name}: there are ${all.map((one) => one.name).join(', ')}`)
    }
    return found
  })
}
