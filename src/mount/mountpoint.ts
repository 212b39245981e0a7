// SPDX-License-Identifier: MIT
/**
 * The place to mount on: found, checked, and cleared of a dead mount, without ever asking a file
 * system that is mounted there (its server may be dead, or ourselves).
 */
import { spawn } from 'node:child_process'
import { lstatSync, readlinkSync, realpathSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { isFuse, mountAt, type MountEntry } from './mountinfo.js'
import { unmount } from './unmount.js'

const MOST_LINKS = 40
/** How long a mount that is there already may take to show that it is alive, milliseconds. */
const PROBE_TIMEOUT = 3000

/** A mount could not be made, or unmade: says what, and what to do. */
export class MountError extends Error {
  override readonly name = 'MountError'
  /** @param code an errno's name where the kernel gave one */
  constructor(message: string, readonly code?: string, options?: ErrorOptions) {
    super(message, options)
  }
}

export interface Mountpoint {
  /** Absolute, no symbolic link in it. */
  readonly path: string
  /** The type bits and permissions of what is mounted over: a directory or a file. */
  readonly mode: number
}

/** The absolute path of a mountpoint, links followed, its last component never entered if something is mounted there. */
export function resolveMountpoint(path: string): string {
  let current = resolve(path)
  for (let links = 0; links < MOST_LINKS; links++) {
    if (current === '/') return current
    const inParent = `${realParent(current)}/${basename(current)}`.replace(/^\/\//, '/')
    if (mountAt(inParent) !== undefined) return inParent
    let status
    try {
      status = lstatSync(inParent)
    } catch (error) {
      throw notThere(path, error)
    }
    if (!status.isSymbolicLink()) return inParent
    current = resolve(dirname(inParent), readlinkSync(inParent))
  }
  throw new MountError(`${path}: too many symbolic links`, 'ELOOP')
}

function realParent(path: string): string {
  try {
    return realpathSync.native(dirname(path))
  } catch (error) {
    throw notThere(path, error)
  }
}

function notThere(path: string, error: unknown): MountError {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOENT') return new MountError(`mountpoint ${path} does not exist: create it first`, code)
  if (code === 'ENOTCONN') return new MountError(`mountpoint ${path} lies in a dead mount: unmount that first`, code)
  return new MountError(`mountpoint ${path} can't be used: ${code}`, code)
}

/**
 * Readies a mountpoint: a dead FUSE mount there is detached.
 * @throws MountError when it does not exist, is neither directory nor file, or a live FUSE mount is there
 */
export async function prepareMountpoint(path: string): Promise<Mountpoint> {
  const resolved = resolveMountpoint(path)
  for (;;) {
    const there = mountAt(resolved)
    if (there === undefined || !isFuse(there.type)) break
    await clear(there)
  }
  const status = lstatSync(resolved)
  if (!status.isDirectory() && !status.isFile()) {
    throw new MountError(`mountpoint ${path} is neither a directory nor a file`, 'ENOTDIR')
  }
  return { path: resolved, mode: status.mode }
}

async function clear(there: MountEntry): Promise<void> {
  switch (await probe(there.mountpoint)) {
    case 'alive':
      throw new MountError(
        `${there.mountpoint} is mounted already (${there.source}): unmount it first with "efuse umount ${there.mountpoint}"`,
        'EBUSY')
    case 'silent':
      throw new MountError(
        `${there.mountpoint} is mounted already and its server does not answer: `
        + `unmount it first with "efuse umount --force ${there.mountpoint}"`,
        'EBUSY')
    case 'dead':
      await unmount(there.mountpoint, { lazy: true })
  }
}

/** Whether a mounted FUSE file system has a server. Asked by a process of its own, which may be left hanging. */
export function probe(mountpoint: string): Promise<'alive' | 'dead' | 'silent'> {
  const script = 'try { require("fs").statfsSync(process.argv[1]) } catch (error) { process.stdout.write(error.code) }'
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['-e', script, mountpoint], { stdio: ['ignore', 'pipe', 'ignore'], cwd: '/' })
    let answer = ''
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      // In an uninterruptible wait it can't even die: don't wait for it either.
      child.unref()
      child.stdout.destroy()
      resolve('silent')
    }, PROBE_TIMEOUT)
    child.stdout.setEncoding('latin1').on('data', (text: string) => { answer += text })
    child.on('error', reject)
    child.on('close', () => {
      clearTimeout(timer)
      resolve(answer === 'ENOTCONN' || answer === 'ECONNABORTED' ? 'dead' : 'alive')
    })
  })
}
