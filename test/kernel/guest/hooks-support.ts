// SPDX-License-Identifier: MIT
/**
 * In the guest: a file system on an efuse mount, served by this process, and BPF programs on its connection. What uses
 * the mount runs in processes of its own.
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { getSystemErrorName, promisify } from 'node:util'
import type { Test } from 'tap'
import { HOOKS, HookProgram } from '../../../src/bpf/hooks.js'
import { MemFS, mount, type FileSystem, type Mount } from '../../../src/index.js'
import type { InProcessOptions } from '../../../src/mount/mount.js'
import * as native from '../../../src/native.js'
import {
  EFUSE_INFO_BYTES, EFUSE_IOC_BIND, EFUSE_IOC_CONTROL, EFUSE_IOC_INFO, EFUSE_IOC_TOKEN, EFUSE_NAME_LEN,
} from '../../../src/protocol/efuse-module.js'
import { until } from './wait.js'

export const OBJECTS = fileURLToPath(new URL('../../../bpf/test', import.meta.url))

/** Whether there are hours. */
export const full = process.argv.includes('full')

export const EFUSE_BIND_READ = 1
export const EFUSE_BIND_WRITE = 2

const run = promisify(execFile)

export interface Result {
  ok: boolean
  /** Bytes as characters. */
  output: string
  errors: string
}

/** A shell command of another process, with words as $1 and so on. */
export async function sh(command: string, ...words: string[]): Promise<Result> {
  try {
    const { stdout } = await run('bash', ['-c', command, 'bash', ...words], { encoding: 'latin1', maxBuffer: 1 << 26 })
    return { ok: true, output: stdout, errors: '' }
  } catch (error) {
    const { stdout = '', stderr = '', message } = error as Error & { stdout?: string; stderr?: string }
    return { ok: false, output: stdout, errors: stderr || message }
  }
}

/** Runs a command, its number as $1, once, and again until it was enough, or it fails. @returns the last one's result */
export async function enough(condition: () => boolean, command: string): Promise<Result> {
  for (let number = 1;; number++) {
    const result = await sh(command, String(number))
    if (!result.ok || condition()) return result
  }
}

/** Drops what the kernel has cached. */
export const dropCaches = (): Promise<Result> => sh('echo 3 > /proc/sys/vm/drop_caches')

function throwing(result: number, what: string): number {
  if (result < 0) throw Object.assign(new Error(what), { code: getSystemErrorName(result) })
  return result
}

/** This process's newest descriptor of the device. */
export function deviceDescriptor(): number {
  const found = readdirSync('/proc/self/fd').map(Number).filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === '/dev/efuse'
    } catch {
      return false
    }
  })
  return Math.max(...found)
}

/** A descriptor for the ioctls below. */
export function controlOf(device: number): number {
  return throwing(native.ioctlValue(device, EFUSE_IOC_CONTROL, 0), 'no control descriptor')
}

export function token(control: number): bigint {
  const block = native.allocate(8)
  throwing(native.ioctl(control, EFUSE_IOC_TOKEN, block, 0, 8), 'no token')
  return new DataView(block.buffer).getBigUint64(0, true)
}

/** Binds a backing file to an inode. */
export function bind(control: number, nodeid: number | bigint, backingId: number, flags: number): void {
  const block = native.allocate(16)
  const view = new DataView(block.buffer)
  view.setBigUint64(0, BigInt(nodeid), true)
  view.setInt32(8, backingId, true)
  view.setUint32(12, flags, true)
  throwing(native.ioctl(control, EFUSE_IOC_BIND, block, 0, 16), 'not bound')
}

/** Who holds which hook, in the order of struct efuse_ops. */
export function holders(control: number): string[] {
  const block = native.allocate(EFUSE_INFO_BYTES)
  throwing(native.ioctl(control, EFUSE_IOC_INFO, block, 0, EFUSE_INFO_BYTES), 'no information')
  const bytes = Buffer.from(block.buffer, 0, EFUSE_INFO_BYTES)
  return Array.from({ length: bytes.readUInt32LE(4) }, (_, hook) => {
    const start = 8 + hook * EFUSE_NAME_LEN
    return bytes.toString('latin1', start, start + EFUSE_NAME_LEN).replace(/\0.*/s, '')
  })
}

export const objectPath = (name: string): string => join(OBJECTS, `${name}.bpf.o`)

/** A program of bpf/test/, loaded for a connection and attached until it is closed. */
export async function attach(name: string, value: bigint): Promise<HookProgram & { link: ReturnType<HookProgram['attach']> }> {
  const program = await HookProgram.open(objectPath(name))
  try {
    return Object.assign(program, { link: program.attach(value) })
  } catch (error) {
    program.close()
    throw error
  }
}

export interface Fixture {
  mounted: Mount
  /** The mountpoint. */
  at: string
  /** A control descriptor. */
  control: number
  /** How many requests of a kind the server has had. */
  count(operation: string): number
  /** All requests so far by kind, but for those that belong to no caller. */
  counts(): Record<string, number>
  token(): bigint
}

/** A mount with a file of 100,000 random bytes, which is `${at}.copy` too. Nothing is cached longer than it must. */
export async function fixture(t: Test, { fileSystem = new MemFS(), options = {} }: {
  fileSystem?: FileSystem; options?: InProcessOptions
} = {}): Promise<Fixture> {
  const at = mkdtempSync('/tmp/efuse-hooks-')
  const mounted = await mount(fileSystem, at, { type: 'efuse', entryTimeout: 0, attrTimeout: 0, ...options })
  const control = controlOf(deviceDescriptor())
  t.teardown(async () => {
    native.close(control)
    await mounted.unmount({ lazy: true }).catch(() => {})
  })
  await sh('head -c 100000 /dev/urandom > "$1.copy"; cp "$1.copy" "$1/file"', at)
  const operations = () => mounted.stats().operations
  return {
    mounted, at, control,
    count: (operation) => Number(operations()[operation]?.count ?? 0),
    counts: () => Object.fromEntries(Object.entries(operations())
      .filter(([name]) => !/FORGET|INTERRUPT|INIT|DESTROY/.test(name))
      .map(([name, { count }]) => [name, Number(count)])),
    token: () => token(control),
  }
}

/** Waits until the server has had all that was sent without anybody waiting for it. */
export async function quiet(f: Fixture): Promise<void> {
  let last = ''
  await until(async () => {
    await sleep(300)
    const now = JSON.stringify(f.counts())
    return now === last || (last = now, false)
  })
}

/** Programs are freed some time after they were detached, and hold the module until then. */
export async function moduleFree(): Promise<boolean> {
  return until(() => {
    try {
      return readFileSync('/sys/module/efuse/refcnt', 'utf8') === '0\n'
    } catch (error) {
      // Somebody may have removed it just now.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true
      throw error
    }
  })
}

export { HOOKS, sleep, until }
