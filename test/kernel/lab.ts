// SPDX-License-Identifier: MIT
/** Guests for the tests: commands run by lab/run, and test programs that run in a guest and count as subtests here. */
import { execFileSync, spawn } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Test } from 'tap'

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

const { values } = parseArgs({ options: { share: { type: 'string' }, kernel: { type: 'string' } }, strict: false })
/** `ci`: what a change must pass, in minutes; `full`: everything, in hours. */
export const share = values.share === 'full' ? 'full' : 'ci'
/** Which kernel the guests boot. */
export const kernel = values.kernel === 'debug' ? 'debug' : 'release'
/** How much slower than usual this machine may be. */
const patience = Number(process.env.EFUSE_TEST_PATIENCE ?? 1)
/** The guest is emulated, and the debug kernel checks every access to memory. */
const slowness = (kernel === 'debug' ? 30 : 10) * patience

export interface Outcome {
  status: number | null
  stdout: string
  stderr: string
}

/** Runs lab/run. */
export function lab(...args: readonly string[]): Promise<Outcome> {
  return run('lab/run', '--kernel', kernel, ...args)
}

/** Runs a command in the lab's root. */
export function chroot(...command: readonly string[]): Promise<Outcome> {
  return run('lab/chroot', ...command)
}

/** What this file's guests say, while they say it: nothing of a guest is left that is ended. */
const LOG = join(ROOT, `.tap/guest-${basename(process.argv[1], '.test.js')}.log`)

function run(program: string, ...args: readonly string[]): Promise<Outcome> {
  mkdirSync(join(ROOT, '.tap'), { recursive: true })
  return new Promise((done, fail) => {
    const child = spawn(join(ROOT, program), args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
    const output = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] += text
        appendFileSync(LOG, text)
      })
    }
    child.on('error', fail)
    child.on('close', (status) => done({ status, ...output }))
  })
}

/** A directory of this test's own. */
export function temporary(t: Test): string {
  const path = mkdtempSync('/var/tmp/efuse-kernel-test-')
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** A folder with libfuse's example file systems, compiled for the guest. */
export function examples(): string {
  return execFileSync(process.execPath, [join(ROOT, 'lab/examples.js')], { encoding: 'utf8', timeout: 600_000 }).trim()
}

export interface GuestOptions {
  cpus?: number
  /** Seconds that the whole run may take, on a machine that is as fast as usual; the debug kernel gets more. */
  seconds: number
  /** Further options of lab/run. */
  options?: readonly string[]
}

/**
 * Boots a guest with efuse.ko loaded, runs programs that print TAP in it, one after another, and reports each of them
 * as a subtest. Afterwards the module must unload, and the kernel must not have complained.
 *
 * @param programs name → command, run by bash in the repository
 * @returns whether all of that is so
 */
export async function testInGuest(t: Test, programs: Readonly<Record<string, string>>, guest: GuestOptions): Promise<boolean> {
  let passed = false
  // A test from the start, as its parent would end while it waits for the guest.
  const seconds = guest.seconds * patience * (kernel === 'debug' ? 5 : 1)
  await t.test(Object.keys(programs).join('; '), { timeout: (seconds + 600) * 1000 }, async (t) => {
    let folder = temporary(t)
    const boot = (): Promise<Outcome> => lab(
      '--cpus', String(guest.cpus ?? 2), '--timeout', String(seconds), '--collect', `/tmp/results:${folder}`,
      '--env', `EFUSE_TEST_PATIENCE=${slowness}`, '--env', `TAP_TIMEOUT=${30 * slowness}`,
      '--env', 'EFUSE_SUITES_PROGRAMS=/efuse/dist/test/kernel/guest/programs',
      ...guest.options ?? [],
      resolve(ROOT, 'test/kernel/guest/run-tests.sh'), ...Object.values(programs))
    let outcome = await boot()
    if (outcome.status !== 0 && crashed(join(folder, 'results'))) {
      // The script says lines that begin so on the console.
      process.stderr.write(`kernel: a program crashed in the emulator, ${Object.keys(programs).join('; ')}: once more\n`)
      t.comment(`${outcome.stdout}\n${outcome.stderr}`)
      folder = temporary(t)
      outcome = await boot()
    }
    const { status, stdout, stderr } = outcome
    if (status !== 0) t.comment(`${stdout}\n${stderr}`)
    for (const [index, name] of Object.keys(programs).entries()) {
      await t.test(name, async (t) => reportProgram(t, join(folder, 'results', String(index))))
    }
    t.equal(status, 0, 'all of them pass, the module unloads, and the kernel has nothing to complain about')
    passed = t.passing()
  })
  return passed
}

/** Statuses of programs that SIGILL, SIGTRAP, SIGABRT, SIGBUS or SIGSEGV has ended. */
const CRASHES = new Set([4, 5, 6, 7, 11].map((signal) => 128 + signal))

/**
 * Whether a test program itself crashed: in the guest that is most likely the emulator, which now and then lets a CPU run code
 * that V8 has just changed (docs/lab.md). What does it twice has failed.
 */
function crashed(results: string): boolean {
  return existsSync(results) && readdirSync(results).some((name) => name.endsWith('.status')
    && CRASHES.has(Number(readFileSync(join(results, name), 'utf8'))))
}

/** How many of a program's failures are shown. */
const SHOWN = 10

/** What one program printed, and its exit status, which is in a file beside. */
function reportProgram(t: Test, output: string): void {
  if (!existsSync(`${output}.status`)) return void t.fail('it ran to its end')
  const status = Number(readFileSync(`${output}.status`, 'utf8'))
  const lines = readFileSync(`${output}.tap`, 'utf8').split('\n')
  // Assertions of every depth.
  const failures = lines.filter((line) => /^\s*not ok /.test(line) && !/# (TODO|SKIP)/i.test(line))
  const passed = /^# \{ total: \d+, pass: (\d+)/m.exec(lines.join('\n'))?.[1]
  t.equal(status, 0, 'its exit status', { said: status === 0 ? [] : lines.slice(-40) })
  // By their own words, for those who see no more than names; the deepest first, which the others only contain.
  const depth = (line: string): number => line.length - line.trimStart().length
  failures.sort((a, b) => depth(b) - depth(a))
  for (const line of failures.slice(0, SHOWN)) t.fail(line.trim())
  t.equal(failures.length, 0, 'nothing fails')
  t.ok(Number(passed ?? 0) > 0, `${passed ?? 0} assertions pass`)
}
