// SPDX-License-Identifier: MIT
/**
 * fusermount3, the set-uid program by which ordinary users mount FUSE file systems: it opens the
 * device, mounts, and hands the descriptor over a socket.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import * as native from '../native.js'

const PROGRAMS = ['fusermount3', 'fusermount']
const UNMOUNT_TIMEOUT = 5000

export class FusermountError extends Error {
  override readonly name = 'FusermountError'
}

/** Mounts. @param options as in -o, escaped. @returns the device's descriptor */
export async function fusermount(mountpoint: string, options: string): Promise<number> {
  const made = native.socketPair()
  if (made < 0) throw new FusermountError('no socket pair for fusermount3')
  const ours = native.result.low
  const theirs = native.result.high
  let child: ChildProcess
  try {
    child = await start(['-o', options, '--', mountpoint], theirs)
  } catch (error) {
    native.close(ours)
    throw error
  } finally {
    // Ours to the last copy: otherwise the end of fusermount3 would not be seen.
    native.close(theirs)
  }
  const complaint = collect(child)
  const fd = native.receiveFd(ours)
  native.close(ours)
  const text = await complaint
  if (fd < 0) throw new FusermountError(explain(text))
  return fd
}

/** Unmounts. @throws FusermountError saying why not */
export async function fusermountUnmount(mountpoint: string, lazy: boolean): Promise<void> {
  const child = await start(['-u', ...(lazy ? ['-z'] : []), '--', mountpoint])
  const complaint = await collect(child)
  if (child.exitCode !== 0) throw new FusermountError(explain(complaint))
}

/** As fusermountUnmount, lazily and at once: for a process that is ending. */
export function fusermountUnmountSync(mountpoint: string): boolean {
  for (const program of PROGRAMS) {
    const { status, error } = spawnSync(program, ['-u', '-z', '--', mountpoint], {
      stdio: 'ignore', cwd: '/', timeout: UNMOUNT_TIMEOUT, killSignal: 'SIGKILL',
    })
    if (error === undefined) return status === 0
  }
  return false
}

/** Whether ordinary users may pass allow_other. */
export function userAllowOther(): boolean {
  try {
    return /^\s*user_allow_other\s*$/m.test(readFileSync('/etc/fuse.conf', 'utf8'))
  } catch {
    return false
  }
}

async function start(args: string[], socket?: number): Promise<ChildProcess> {
  for (const program of PROGRAMS) {
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe', ...(socket === undefined ? [] : [socket])],
      cwd: '/',
      env: { ...process.env, LC_ALL: 'C', ...(socket === undefined ? {} : { _FUSE_COMMFD: '3' }) },
    })
    const error = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
      child.once('spawn', () => resolve(null)).once('error', resolve)
    })
    if (error === null) return child
    if (error.code !== 'ENOENT') throw new FusermountError(`${program} can't be run: ${error.code}`)
  }
  throw new FusermountError('fusermount3 is not installed, and only root mounts without it: install the package "fuse3"')
}

/** What the child says before it ends. */
function collect(child: ChildProcess): Promise<string> {
  let text = ''
  child.stderr?.setEncoding('utf8').on('data', (part: string) => { text += part })
  return new Promise((resolve) => {
    child.once('close', () => resolve(text))
    child.stderr?.once('close', () => { if (child.exitCode !== null) resolve(text) })
  })
}

/** One line out of what fusermount3 printed. */
function explain(text: string): string {
  const line = text.trim().split('\n').at(-1) || 'fusermount3 failed without a word'
  if (line.includes('user_allow_other')) {
    return 'allow_other is refused to ordinary users: have the line "user_allow_other" added to /etc/fuse.conf'
  }
  if (line.includes('/dev/fuse') && line.includes('Permission denied')) {
    return 'ordinary users may not open /dev/fuse here: as root, "chmod 666 /dev/fuse"'
  }
  return line
}
