// SPDX-License-Identifier: MIT
/** For tests on real mounts: directories of their own, commands with time-outs, and nothing left behind. */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Readable } from 'node:stream'
import type { Test } from 'tap'
import { mountAt, mounts } from '../../src/mount/mountinfo.js'

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const EFUSE = join(ROOT, 'efuse.js')
/** How much slower than usual this machine may be: the lab's guests are emulated. */
export const PATIENCE = Number(process.env.EFUSE_TEST_PATIENCE ?? 1)
const COMMAND_TIMEOUT = 30_000 * PATIENCE

/** Why these tests can't run here, or false. */
export const skip: string | false = process.getuid!() !== 0
  ? 'needs root'
  : existsSync('/dev/fuse') ? false : 'needs /dev/fuse'

/** What /proc/mounts shows of root's mounts: `efuse` where its module is loaded, as in the lab. */
export const TYPE = existsSync('/dev/efuse') ? 'efuse' : 'fuse'

export interface Result {
  status: number | null
  stdout: string
  stderr: string
}

/** Runs a program; never rejects for its exit status. It is killed when it takes too long. */
export function run(program: string, args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}): Promise<Result> {
  return new Promise((resolve) => {
    execFile(program, args, { ...options, timeout: COMMAND_TIMEOUT, killSignal: 'SIGKILL', encoding: 'utf8' },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null
        resolve({ status, stdout, stderr })
      })
  })
}

/** On efuse mounts programs are attached by themselves; these tests are about mounts without, unless they are told. */
function withAccel(args: readonly string[]): string[] {
  if (TYPE !== 'efuse' || args[0] !== 'mount' || args.includes('--accel')) return [...args]
  return [...args, '--accel', process.env.EFUSE_TEST_ACCEL ?? 'off']
}

/** Runs `node efuse.js ...`. */
export function efuse(...args: string[]): Promise<Result> {
  return run(process.execPath, [EFUSE, ...withAccel(args)])
}

/** Starts `node efuse.js ...` and leaves it running. @param options `memory`: MiB that a thread's heap may have */
export function startEfuse(args: readonly string[], options: { memory?: number } = {}): ChildProcess {
  const limits = options.memory === undefined ? [] : [`--max-old-space-size=${options.memory}`]
  return spawn(process.execPath, [...limits, EFUSE, ...withAccel(args)], { stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Starts a program of the test's own: an ES module, given as text. */
export function startScript(text: string, args: readonly string[] = []): ChildProcess {
  return spawn(process.execPath, ['--input-type=module', '-e', text, '--', ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'], cwd: ROOT,
  })
}

/** Waits until a stream has said something. @returns all it said */
export async function said(stream: NodeJS.ReadableStream, what: RegExp): Promise<string> {
  let text = ''
  for await (const part of (stream as Readable).iterator({ destroyOnReturn: false })) {
    text += String(part)
    if (what.test(text)) return text
  }
  throw new Error(`the stream ended without ${what}: ${text}`)
}

/** The exit status of a child, or its signal. */
export async function exit(child: ChildProcess): Promise<number | NodeJS.Signals> {
  if (child.exitCode !== null) return child.exitCode
  if (child.signalCode !== null) return child.signalCode
  const [status, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  return status ?? signal!
}

/** The line of /proc/mounts for a mountpoint, as its fields. */
export function procMounts(mountpoint: string): { device: string; type: string; options: string[] } | null {
  const line = readFileSync('/proc/mounts', 'utf8').split('\n').findLast((one) => one.split(' ')[1] === mountpoint)
  if (line === undefined) return null
  const [device, , type, options] = line.split(' ')
  return { device, type, options: options.split(',') }
}

/** Processes whose command line names a path. */
export function processesOf(path: string): number[] {
  const { stdout } = { stdout: execFileSync('ps', ['-eo', 'pid=,stat=,args='], { encoding: 'utf8' }) }
  return stdout.split('\n')
    .filter((line) => line.includes(path) && !line.includes('ps -eo') && line.trim().split(/\s+/)[1]?.[0] !== 'Z')
    .map((line) => Number.parseInt(line, 10))
    .filter((pid) => pid !== process.pid)
}

export interface Place {
  readonly directory: string
  readonly source: string
  readonly mountpoint: string
}

/** A directory of the test's own with `source` and `mountpoint` in it; unmounted, ended and removed afterwards. */
export function place(t: Test): Place {
  // Not under /tmp: some systems mount that nosuid, or as another user's.
  const directory = mkdtempSync('/var/tmp/efuse-test-')
  chmodSync(directory, 0o755)
  const source = join(directory, 'source')
  const mountpoint = join(directory, 'mountpoint')
  mkdirSync(source)
  mkdirSync(mountpoint)
  t.teardown(async () => {
    for (const pid of processesOf(directory)) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // Ended meanwhile.
      }
    }
    for (const { mountpoint } of mounts().reverse()) {
      if (mountpoint.startsWith(`${directory}/`)) await run('umount', ['-l', mountpoint])
    }
    rmSync(directory, { recursive: true, force: true })
  })
  return { directory, source, mountpoint }
}

export { mountAt, mounts }
