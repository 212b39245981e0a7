// SPDX-License-Identifier: MIT
/** `efuse doctor`: what this machine offers eFuse, what is missing and how to get it. */
import {
  accessSync, chmodSync, constants, existsSync, mkdtempSync, readFileSync, rmdirSync, statSync, writeFileSync,
} from 'node:fs'
import { release, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { accelerators } from '../bpf/accelerators.js'
import { probeBpf } from '../bpf/probe.js'
import type { Connection, FileSystem } from '../fs/filesystem.js'
import { obstacle } from '../mount/accelerate.js'
import { deviceOf } from '../mount/kernel-type.js'
import { Failure } from './failure.js'
import { table } from './table.js'

interface Check {
  name: string
  ok: boolean
  /** What was found. */
  found: string
  /** Whether plain mounts need it. */
  needed: boolean
  /** What to do when it is missing. */
  advice?: string
}

interface Fix {
  what: string
  done: boolean
  why?: string
  /** Mounts do without it. */
  optional?: boolean
}

const EFUSE = fileURLToPath(new URL('../../../efuse.js', import.meta.url))
const HELPER = '/sbin/mount.fuse.efuse'
const ENABLE_URING = '/sys/module/fuse/parameters/enable_uring'
const OLDEST_NODE = 20
const COMFORTABLE_FILE_LIMIT = 65536

export async function doctor({ json, fix }: { json: boolean; fix: boolean }): Promise<void> {
  const fixes = fix ? mend() : []
  const checks = await examine()
  if (json) {
    const ok = checks.every((check) => check.ok || !check.needed)
    process.stdout.write(`${JSON.stringify({ ok, checks, fixes }, null, 2)}\n`)
  } else {
    const rows = checks.map(({ name, ok, found, advice }) => [ok ? 'ok' : 'missing', name, ok || !advice ? found : `${found}: ${advice}`])
    process.stdout.write(`${table([], rows)}\n`)
    for (const { what, done, why } of fixes) {
      process.stdout.write(`${done ? 'fixed' : 'not fixed'}: ${what}${why ? ` (${why})` : ''}\n`)
    }
  }
  const failed = fixes.find(({ done, optional }) => !done && !optional)
  if (failed !== undefined) throw new Failure(`${failed.what} could not be done: ${failed.why}`)
}

async function examine(): Promise<Check[]> {
  const native = await nativeChecks()
  const trial = await tryMount()
  const bpf = probeBpf()
  return [
    { name: 'node', ok: Number(process.versions.node.split('.')[0]) >= OLDEST_NODE, needed: true,
      found: process.version, advice: `install Node ${OLDEST_NODE} or newer` },
    { name: 'kernel', ok: true, needed: true, found: release() },
    ...native,
    device(),
    trial.check,
    fusermount(),
    allowOther(),
    mountHelper(),
    maxPages(),
    { name: 'passthrough', ok: trial.passthrough, needed: false,
      found: trial.passthrough ? 'offered by the kernel' : 'not offered by the kernel',
      advice: 'needs Linux 6.9 with CONFIG_FUSE_PASSTHROUGH' },
    uring(),
    { name: 'kernel type information (BTF)', ok: bpf.btf, needed: false,
      found: bpf.btf ? '/sys/kernel/btf/vmlinux' : 'absent', advice: 'needs a kernel with CONFIG_DEBUG_INFO_BTF' },
    { name: 'BPF compiler', ok: bpf.jit, needed: false, found: bpf.jit ? 'on' : 'off',
      advice: 'sysctl net.core.bpf_jit_enable=1' },
    { name: 'FUSE tracepoints', ok: bpf.fuseTracepoints, needed: false,
      found: bpf.fuseTracepoints ? 'fuse_request_send, fuse_request_end' : 'none seen',
      advice: 'needs Linux 6.10, and /sys/kernel/tracing mounted to be seen' },
    kernelModule(),
    ...accelerators.map((accelerator): Check => {
      const why = obstacle(accelerator)
      return { name: `accelerator "${accelerator.name}"`, ok: why === null, needed: false,
        found: why === null ? 'can be loaded on mounts of type efuse' : 'can\'t be loaded', advice: why ?? undefined }
    }),
  ]
}

function kernelModule(): Check {
  const there = existsSync(deviceOf('efuse'))
  return { name: 'efuse kernel module', ok: there, needed: false,
    found: there ? deviceOf('efuse') : 'not loaded',
    advice: 'plain FUSE is used instead; "efuse kernel build" and "efuse kernel load" as root bring it' }
}

/** The addon, and what only it can find out. */
async function nativeChecks(): Promise<Check[]> {
  let native: typeof import('../native.js')
  try {
    native = await import('../native.js')
  } catch (error) {
    return [{ name: 'native addon', ok: false, needed: true, found: 'can\'t be loaded',
      advice: `run "npm run build:native" (${(error as Error).message})` }]
  }
  const { CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, CAP_SETUID, CAP_SETGID } = native.constants
  native.effectiveCapabilities()
  const effective = native.result.low
  const missing = Object.entries({ CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, CAP_SETUID, CAP_SETGID })
    .filter(([, bit]) => ((effective >>> bit) & 1) === 0).map(([name]) => name)
  const limit = native.raiseFileLimit(COMFORTABLE_FILE_LIMIT)
  return [
    { name: 'native addon', ok: true, needed: true, found: 'loaded' },
    { name: 'CPUs', ok: true, needed: false, found: `${native.cpuList().length} for workers` },
    { name: 'capabilities', ok: missing.length === 0, needed: false,
      found: missing.length === 0 ? 'all that a root mount uses' : `without ${missing.join(', ')}`,
      advice: 'fusermount3 mounts, and files belong to the user who mounts' },
    { name: 'open files', ok: limit >= COMFORTABLE_FILE_LIMIT, needed: false, found: `limit ${limit}`,
      advice: `raise the hard limit to ${COMFORTABLE_FILE_LIMIT} or more (ulimit -Hn)` },
  ]
}

function device(): Check {
  const name = '/dev/fuse'
  if (!existsSync(name)) {
    return { name, ok: false, needed: true, found: 'absent', advice: 'modprobe fuse; in a container, pass --device /dev/fuse' }
  }
  try {
    accessSync(name, constants.R_OK | constants.W_OK)
  } catch {
    return { name, ok: false, needed: true, found: 'not accessible', advice: 'as root, chmod 666 /dev/fuse' }
  }
  const forAll = (statSync(name).mode & 0o006) === 0o006
  return { name, ok: true, needed: true, found: forAll ? 'accessible' : 'accessible, to root only (chmod 666 lets users mount)' }
}

/** The proof: a file system with nothing in it is mounted, and unmounted. */
async function tryMount(): Promise<{ check: Check; passthrough: boolean }> {
  const name = 'a mount'
  let passthrough = false
  const directory = mkdtempSync(join(tmpdir(), 'efuse-doctor-'))
  try {
    const { mount } = await import('../mount/mount.js')
    const nothing: FileSystem = {
      init: (connection: Connection) => { passthrough = connection.offers('FUSE_PASSTHROUGH') },
      getattr: () => ({ mode: 0o40755 }),
    }
    const mounted = await mount(nothing, directory, { control: false, initTimeout: 5 })
    const { protocol } = mounted.stats().kernel
    await mounted.unmount()
    return { check: { name, ok: true, needed: true, found: `works, FUSE ${protocol}` }, passthrough }
  } catch (error) {
    const check = { name, ok: false, needed: true, found: 'failed', advice: (error as Error).message.split('\n')[0] }
    return { check, passthrough }
  } finally {
    rmdirSync(directory)
  }
}

function fusermount(): Check {
  const path = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'fusermount3')).find(existsSync)
  const setuid = path !== undefined && (statSync(path).mode & 0o4000) !== 0
  return { name: 'fusermount3', ok: setuid, needed: process.geteuid!() !== 0,
    found: path === undefined ? 'absent' : setuid ? path : `${path} is not set-uid`,
    advice: path === undefined ? 'ordinary users need it: install the package "fuse3"' : `as root, chmod u+s ${path}` }
}

function allowOther(): Check {
  let allowed = false
  try {
    allowed = /^\s*user_allow_other\s*$/m.test(readFileSync('/etc/fuse.conf', 'utf8'))
  } catch {
    // No file: not allowed.
  }
  return { name: 'allow_other for users', ok: allowed, needed: false, found: allowed ? 'allowed' : 'not allowed',
    advice: 'add the line "user_allow_other" to /etc/fuse.conf' }
}

function mountHelper(): Check {
  const there = existsSync(HELPER)
  return { name: 'mount(8) helper', ok: there, needed: false, found: there ? HELPER : 'not installed',
    advice: '"efuse doctor --fix" as root installs it' }
}

function maxPages(): Check {
  const path = '/proc/sys/fs/fuse/max_pages_limit'
  const there = existsSync(path)
  return { name: 'largest request', ok: true, needed: false,
    found: `${there ? readFileSync(path, 'ascii').trim() : 256} pages${there ? ' (sysctl fs.fuse.max_pages_limit)' : ''}` }
}

function uring(): Check {
  const name = 'FUSE over io_uring'
  if (!existsSync(ENABLE_URING)) {
    return { name, ok: false, needed: false, found: 'not in this kernel', advice: 'needs Linux 6.14 with CONFIG_FUSE_IO_URING' }
  }
  const on = /^[Y1]/.test(readFileSync(ENABLE_URING, 'ascii'))
  return { name, ok: on, needed: false, found: on ? 'enabled' : 'disabled',
    advice: '"efuse doctor --fix" as root enables it until the next boot; fuse.enable_uring=1 on the kernel\'s command line, for good' }
}

/** Installs the mount(8) helper, and allows FUSE over io_uring until the next boot. */
function mend(): Fix[] {
  const quote = (text: string): string => `'${text.replace(/'/g, `'\\''`)}'`
  const fixes = [attempt(`${HELPER} installed`, () => {
    writeFileSync(HELPER, `#!/bin/sh
# The helper of mount(8) for type fuse.efuse; installed by "efuse doctor --fix".
exec ${quote(process.execPath)} ${quote(EFUSE)} mount.fuse.efuse "$@"
`)
    chmodSync(HELPER, 0o755)
  })]
  if (existsSync(ENABLE_URING) && !uring().ok) {
    fixes.push({ ...attempt('FUSE over io_uring enabled', () => writeFileSync(ENABLE_URING, '1')), optional: true })
  }
  return fixes
}

function attempt(what: string, how: () => void): Fix {
  if (process.geteuid!() !== 0) return { what, done: false, why: 'needs root' }
  try {
    how()
    return { what, done: true }
  } catch (error) {
    return { what, done: false, why: (error as NodeJS.ErrnoException).code ?? (error as Error).message }
  }
}
