// SPDX-License-Identifier: MIT
/**
 * `efuse kernel build|load|unload|status`: the kernel module efuse.ko.
 *
 * It is built from the running kernel's own FUSE source (kernel/README.md) into a folder of the user's cache, and
 * loaded from there, unless DKMS has installed it where modprobe finds it.
 */
import { spawnSync } from 'node:child_process'
import { accessSync, chmodSync, constants, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { homedir, release } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { mounts as allMounts } from '../mount/mountinfo.js'
import { Failure } from './failure.js'

const SOURCE = fileURLToPath(new URL('../../../kernel', import.meta.url))
const DEVICE = '/dev/efuse'
const LOADED = '/sys/module/efuse'
const MODULE = 'efuse'
/** As udev gives it to /dev/fuse: who may mount is the kernel's affair, and fusermount's. */
const DEVICE_MODE = 0o666
const UNLOAD_TRIES = 20
const UNLOAD_PAUSE_MS = 100

export interface BuildOptions {
  /** A kernel's version, as `uname -r` has it. */
  readonly kernel: string
  /** Its source: linux-source's archive or a folder. By default Debian's place for it. */
  readonly source?: string
}

interface Status {
  readonly kernel: string
  readonly built: string | null
  readonly installed: string | null
  readonly loaded: boolean
  readonly users: number
  readonly mounts: readonly string[]
}

/** Where `build` leaves the module for a kernel. */
function buildFolder(kernel: string): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'efuse', 'kernel', kernel)
}

function moduleFile(kernel: string): string {
  return join(buildFolder(kernel), `${MODULE}.ko`)
}

/** The first two numbers of a kernel's version: its source's package is named by them. */
function series(kernel: string): string {
  const found = /^\d+\.\d+/.exec(kernel)
  if (found === null) throw new Failure(`"${kernel}" is not a kernel's version, such as ${release()}`)
  return found[0]
}

/** What a program has said last, on one line. */
function lastWords(text: string): string {
  return text.trim().split('\n').at(-1)?.trim() ?? ''
}

function run(command: string, args: readonly string[]): void {
  const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] })
  if (error !== undefined) {
    throw new Failure((error as NodeJS.ErrnoException).code === 'ENOENT' ? `${command} is not installed` : error.message)
  }
  if (status !== 0) throw new Failure(`${command} failed: ${lastWords(stderr)}`)
}

/** Builds the module and prints where it is. */
export function build({ kernel, source = `/usr/src/linux-source-${series(kernel)}.tar.xz` }: BuildOptions): void {
  const headers = `/lib/modules/${kernel}/build`
  if (!existsSync(headers)) throw new Failure(`the kernel's headers are missing: install linux-headers-${kernel}`)
  if (!existsSync(source)) {
    throw new Failure(`the kernel's source is missing: install linux-source-${series(kernel)}, or say where it is with --source`)
  }
  const folder = buildFolder(kernel)
  mkdirSync(folder, { recursive: true })
  const made = spawnSync('make', ['--silent', '-C', SOURCE, `KVER=${kernel}`, `SOURCE=${source}`, `OUT=${folder}`], {
    stdio: ['ignore', process.stderr, process.stderr],
  })
  if (made.error !== undefined) throw new Failure('make is not installed: apt install build-essential')
  if (made.status !== 0) throw new Failure('the module could not be built; what is wrong stands above')
  process.stdout.write(`${moduleFile(kernel)}\n`)
}

/** Where modprobe finds the module, such as one that DKMS has made. */
function installed(kernel: string): string | null {
  const { stdout, status } = spawnSync('modinfo', ['-k', kernel, '-n', MODULE], { encoding: 'utf8' })
  return status === 0 ? stdout.trim() : null
}

/** Loads the module, unless it is loaded. */
export function load(): void {
  if (!existsSync(LOADED)) {
    const kernel = release()
    const file = moduleFile(kernel)
    // What was built by hand is newer than what was installed.
    if (existsSync(file)) run('insmod', [file])
    else if (installed(kernel) !== null) run('modprobe', [MODULE])
    else throw new Failure('there is no module for this kernel: run "efuse kernel build" first')
  }
  try {
    chmodSync(DEVICE, DEVICE_MODE)
  } catch (error) {
    throw new Failure(`${DEVICE} can't be opened to others: ${(error as Error).message}`)
  }
}

function mounts(): string[] {
  return allMounts().filter(({ type }) => /^efuse(blk)?(\.|$)/.test(type)).map(({ mountpoint }) => mountpoint)
}

/** Unloads the module, unless something uses it. */
export async function unload(): Promise<void> {
  if (!existsSync(LOADED)) return
  const [first, ...others] = mounts()
  if (first !== undefined) {
    const more = others.length > 0 ? ` and ${others.length} more` : ''
    throw new Failure(`${first}${more} is mounted with it: unmount first (efuse umount)`)
  }
  // The kernel lets go of detached programs a little after their owner has ended.
  for (let tries = UNLOAD_TRIES; users() > 0 && tries > 0; tries--) await sleep(UNLOAD_PAUSE_MS)
  run('rmmod', [MODULE])
}

function users(): number {
  try {
    return Number(readFileSync(join(LOADED, 'refcnt'), 'utf8'))
  } catch {
    return 0
  }
}

function examine(): Status {
  const kernel = release()
  const file = moduleFile(kernel)
  return {
    kernel,
    built: existsSync(file) ? file : null,
    installed: installed(kernel),
    loaded: existsSync(LOADED),
    users: users(),
    mounts: mounts(),
  }
}

function mayOpenDevice(): boolean {
  try {
    accessSync(DEVICE, constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** Tells what there is. */
export function status({ json }: { json: boolean }): void {
  const found = examine()
  if (json) {
    process.stdout.write(`${JSON.stringify({ ...found, device: mayOpenDevice() }, null, 2)}\n`)
    return
  }
  const lines = [
    `kernel     ${found.kernel}`,
    `built      ${found.built ?? 'no: efuse kernel build'}`,
    `installed  ${found.installed ?? 'no'}`,
    `loaded     ${found.loaded ? `yes, used ${found.users} times` : 'no: efuse kernel load'}`,
    `device     ${mayOpenDevice() ? DEVICE : `${DEVICE} can't be opened`}`,
    `mounts     ${found.mounts.length > 0 ? found.mounts.join(', ') : 'none'}`,
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}
