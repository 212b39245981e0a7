// SPDX-License-Identifier: MIT
/** The modes that need efuse.ko, and what they are compared with, in the lab's guest in instruction-time. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Load, LoadSuite } from './loads.js'
import type { Key, Line } from './measured.js'
import type { RunRecord } from './record.js'
import type { System } from './systems.js'
import { ROOT } from './variants.js'

export interface GuestPlan {
  suite: string
  loads: string[]
  systems: string[]
  rounds: number
  seconds: number
  large: string
  files: number
  /** Where the guest has libfuse's examples, in the folders of its build. */
  libfuse: string
  /** The RAM disk with the data, MiB. */
  diskMib: number
  /** Rounds that the record has already. */
  known: (Key & { round: number })[]
}

export interface LabSetting {
  systems: readonly System[]
  rounds: number
  seconds: number
  large: string
  files: number
  record: RunRecord
  log(text: string): void
  /** Called with each guest, so that it can be ended. */
  began(child: ChildProcess): void
}

const LIBFUSE = '/opt/libfuse'
/** A guest does so many loads, and may take so long: starting one with all its servers costs as much as a load. */
const LOADS_AT_ONCE = 8
const SECONDS = 7200
const MEMORY_MIB = 6144
const DISK_MIB = 2048

/** Why there is no lab here; null when there is one. */
export function labLacks(): string | null {
  if (!existsSync(join(ROOT, 'lab', 'run'))) return 'the lab is part of the repository, not of the package'
  return process.getuid?.() === 0 ? null : 'the lab wants to be root'
}

/**
 * Runs what is missing in the record, which has each round as soon as it is measured. A guest that fails is a failure of
 * each load it had.
 */
export async function runInLab(suite: LoadSuite, loads: readonly Load[], setting: LabSetting): Promise<void> {
  const { systems, rounds, record, log } = setting
  const key = (load: Load, { name }: System): Key => ({ where: 'lab', suite: suite.name, load: load.name, system: name })
  const wanted = loads.filter((load) => load.nativeOnly !== true && systems.some((one) =>
    Array.from({ length: rounds }, (_, round) => round).some((round) => !record.has(key(load, one), round))))
  if (wanted.length === 0) return
  const examples = execFileSync(process.execPath, [join(ROOT, 'lab', 'examples.js')],
    { encoding: 'utf8', timeout: 3_600_000, stdio: ['ignore', 'pipe', 'inherit'] }).trim()
  for (let first = 0; first < wanted.length; first += LOADS_AT_ONCE) {
    const now = wanted.slice(first, first + LOADS_AT_ONCE)
    log(`lab, ${suite.name}: ${now.map(({ name }) => name).join(', ')}`)
    try {
      await boot(suite, now, examples, setting)
    } catch (error) {
      const failure = (error as Error).message
      log(`  ${failure}`)
      for (const { name } of now) record.add({ where: 'lab', suite: suite.name, load: name, system: '*', round: -3, failure })
    }
  }
}

async function boot(suite: LoadSuite, loads: readonly Load[], examples: string, setting: LabSetting): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'efuse-bench-lab-'))
  const remove = (): void => rmSync(folder, { recursive: true, force: true })
  // An interruption ends the process on the spot.
  process.once('exit', remove)
  try {
    const plan: GuestPlan = {
      suite: suite.name, loads: loads.map(({ name }) => name), systems: setting.systems.map(({ name }) => name),
      rounds: setting.rounds, seconds: setting.seconds, large: setting.large, files: setting.files, libfuse: LIBFUSE,
      diskMib: DISK_MIB,
      known: setting.record.entries.filter(({ where, round }) => where === 'lab' && round >= -1)
        .map(({ where, suite: name, load, system, round }) => ({ where, suite: name, load, system, round })),
    }
    writeFileSync(join(folder, 'plan.json'), JSON.stringify(plan))
    const child = spawn(join(ROOT, 'lab', 'run'), [
      '--icount', '--memory', String(MEMORY_MIB), '--timeout', String(SECONDS),
      '--file', `${join(folder, 'plan.json')}:/tmp/plan.json`, '--file', `${join(ROOT, 'bench')}:/efuse/bench`,
      '--file', `${examples}:${LIBFUSE}/build/example`,
      '-c', 'insmod /lib/modules/$(uname -r)/updates/efuse.ko && node dist/bench/guest.js /tmp/plan.json',
    ], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
    setting.began(child)
    createInterface(child.stdout).on('line', (line) => {
      if (line.startsWith('{')) setting.record.take(JSON.parse(line) as Line)
      else setting.log(`  ${line}`)
    })
    let last = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.split('\n').filter((one) => one !== '')) {
        last = line
        setting.log(`  ${line}`)
      }
    })
    const status = await new Promise<number | null>((done, fail) => {
      child.on('error', fail)
      child.on('close', done)
    })
    if (status !== 0) throw new Error(`the guest ended with status ${status}: ${last}`)
  } finally {
    process.off('exit', remove)
    remove()
  }
}
