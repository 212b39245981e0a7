// SPDX-License-Identifier: MIT
/** Mounts to be watched: ours, a libfuse program's, and one that takes its time. */
import { spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, chownSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { once } from 'node:events'
import type { Test } from 'tap'
import { provideKernelFiles } from '../../bench/kernel-files.js'
import type { KernelLoad } from '../../src/mount/load.js'
import { openDevice } from '../suites/ground.js'
import { efuse, mountAt, place, run, ROOT, said, type Place } from '../mount/support.js'

// The kernel's own account of what waits.
provideKernelFiles('fusectl')

/** No answer is kept by the kernel, so that every call reaches the server. */
export const UNCACHED = 'attr_timeout=0,entry_timeout=0'

export interface Mounted extends Place {
  /** `major:minor`. */
  readonly device: string
}

/** A StackFS mount of the command line. */
export async function mountStackFs(t: Test, ...args: string[]): Promise<Mounted> {
  const at = place(t)
  const { status, stderr } = await efuse('mount', at.source, at.mountpoint, '-o', UNCACHED, ...args)
  if (status !== 0) throw new Error(stderr)
  return { ...at, device: mountAt(at.mountpoint)!.device }
}

export interface Bindfs extends Mounted {
  readonly server: ChildProcess
}

/** A mount of bindfs, which is a program over libfuse, in one thread. */
export async function mountBindfs(t: Test): Promise<Bindfs> {
  const at = place(t)
  const args = ['-f', '-s', '-o', UNCACHED, at.source, at.mountpoint]
  const server = spawn('bindfs', args, { stdio: 'ignore' })
  t.teardown(() => { server.kill('SIGKILL') })
  await until(() => mountAt(at.mountpoint) !== undefined)
  // The mount is there before the server has answered FUSE_INIT. It knows no FUSE_STATX, which is asked for once.
  await runClient(at.mountpoint, 'fs.statSync(at)')
  return { ...at, server, device: mountAt(at.mountpoint)!.device }
}

/**
 * A file system of files whose names say how many milliseconds their attributes take: `3`, `12`, ...; all look-ups are
 * answered at once.
 */
export async function mountSlow(t: Test, ...args: string[]): Promise<Mounted> {
  const at = place(t)
  const module = join(at.directory, 'slow.mjs')
  writeFileSync(module, `
    import { writeFileSync } from 'node:fs'
    import { setTimeout as sleep } from 'node:timers/promises'
    const file = { mode: 0o100444, size: 0 }
    export default () => ({
      lookup: ({ name }) => /^[0-9]+$/.test(name) ? { nodeid: 2 + Number(name), attr: file } : null,
      getattr({ nodeid }) {
        if (nodeid === 1) return { mode: 0o40755 }
        writeFileSync(new URL('asked-' + (nodeid - 2), import.meta.url), '')
        return sleep(Number(nodeid) - 2).then(() => file)
      },
    })`)
  const { status, stderr } = await efuse('mount', 'slow', at.mountpoint, '--fs', module, '-o', UNCACHED, ...args)
  if (status !== 0) throw new Error(stderr)
  return { ...at, device: mountAt(at.mountpoint)!.device }
}

/** The words before a command that make it an ordinary user's, who has no rights but files of his own in `at`. */
export function ordinaryUser(t: Test, at: Place): string[] {
  openDevice(t)
  const user = 65534
  chmodSync(at.directory, 0o777)
  for (const path of [at.source, at.mountpoint]) chownSync(path, user, user)
  return ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups', 'env', '-u', 'XDG_RUNTIME_DIR', 'HOME=/nonexistent']
}

/** Waits until something is so, looking every few milliseconds; the test's own time-out is the bound. */
export async function until(what: () => boolean | Promise<boolean>, interval = 10): Promise<void> {
  while (!await what()) await new Promise((resolve) => setTimeout(resolve, interval))
}

/**
 * Starts a program of the test's own in a process of its own: JavaScript with `fs`, `at` (the mountpoint) and
 * `print` for its result. A server and its synchronous client must not be one process.
 */
export function startClient(mountpoint: string, script: string): ChildProcess {
  return spawn(process.execPath, ['--input-type=module', '-e', `
    import fs from 'node:fs'
    const at = ${JSON.stringify(mountpoint)}
    const print = (value) => fs.writeSync(1, JSON.stringify(value) + '\\n')
    ${script}`], { stdio: ['ignore', 'pipe', 'inherit'], cwd: ROOT })
}

/** Runs a client to its end. @returns what it printed */
export async function runClient<T>(mountpoint: string, script: string): Promise<T> {
  const client = startClient(mountpoint, script)
  const exited = once(client, 'exit')
  let text = ''
  for await (const part of client.stdout!) text += String(part)
  const [status] = await exited
  if (status !== 0) throw new Error(`the client ended with ${status}`)
  return text === '' ? undefined as T : JSON.parse(text) as T
}

/** Requests by operation, by the kernel's account. */
export function countsOf(load: KernelLoad): Record<string, { count: number; errors: number }> {
  return Object.fromEntries(Object.entries(load.operations).map(([name, { requests, errors }]) => {
    return [name, { count: requests, errors }]
  }))
}

export { efuse, mountAt, place, run, said, ROOT }
