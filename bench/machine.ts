// SPDX-License-Identifier: MIT
/** The machine that measures: what it is, how busy it is, and the kernel's switch for FUSE over io_uring. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'

const URING_SWITCH = '/sys/module/fuse/parameters/enable_uring'

export interface Machine {
  kernel: string
  node: string
  v8: string
  cpu: string
  cpus: number
  memoryBytes: number
  clockSource: string
  /** What the page-table and speculation mitigations are; they change the price of a system call. */
  mitigations: Record<string, string>
  /** Whether the kernel offers FUSE over io_uring at all. */
  uringOffered: boolean
  /** eFuse's commit, with "-dirty" when files differ. */
  commit: string
}

export function machine(root: string): Machine {
  return {
    kernel: release(),
    node: process.version,
    v8: process.versions.v8,
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: cpus().length,
    memoryBytes: totalmem(),
    clockSource: read('/sys/devices/system/clocksource/clocksource0/current_clocksource') ?? 'unknown',
    mitigations: Object.fromEntries(['meltdown', 'spectre_v2', 'retbleed']
      .map((name) => [name, read(`/sys/devices/system/cpu/vulnerabilities/${name}`) ?? 'unknown'])),
    uringOffered: read(URING_SWITCH) !== null,
    commit: commit(root),
  }
}

function commit(root: string): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty', '--abbrev=12'], {
      cwd: root, encoding: 'utf8', timeout: 10_000, stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return 'unknown'
  }
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return null
  }
}

/** How busy the machine is at a moment. */
export interface Load {
  average1: number
  /** Tasks that run or want to, the asking one left out. */
  running: number
}

export function load(): Load {
  const running = Number(/^procs_running (\d+)/m.exec(readFileSync('/proc/stat', 'latin1'))?.[1] ?? 1)
  return { average1: loadavg()[0], running: Math.max(0, running - 1) }
}

/** Busy time of all CPUs since boot, nanoseconds; the hypervisor's theft counts as busy. */
export function busyNs(): number {
  const line = readFileSync('/proc/stat', 'latin1').split('\n')[0].split(/\s+/).slice(1).map(Number)
  const [user, nice, system, , , irq, softirq, steal] = line
  return (user + nice + system + irq + softirq + steal) * 10_000_000
}

/** How many CPUs are online: as many as busyNs() adds up, whichever this process may use. */
export function cpuCount(): number {
  return (readFileSync('/proc/stat', 'latin1').match(/^cpu\d/gm) ?? ['']).length
}

/** Waits until the machine has little to do, as servers that have just started go on compiling: `seconds` at most. */
export async function atRest(seconds: number): Promise<void> {
  const end = performance.now() + seconds * 1000
  const count = cpuCount()
  for (let busy = Infinity; busy > 0.15 && performance.now() < end;) {
    const [work, time] = [busyNs(), performance.now()]
    await sleep(500)
    busy = (busyNs() - work) / ((performance.now() - time) * 1e6 * count)
  }
}

/** The kernel's switch for FUSE over io_uring, which decides at FUSE_INIT. The former setting comes back at the end. */
export class UringSwitch {
  private readonly former = read(URING_SWITCH)

  /** @returns whether it is set as asked */
  set(on: boolean): boolean {
    const wanted = on ? 'Y' : 'N'
    if (read(URING_SWITCH) === wanted) return true
    if (this.former === null) return !on
    try {
      writeFileSync(URING_SWITCH, on ? '1' : '0')
    } catch {
      return false
    }
    return read(URING_SWITCH) === wanted
  }

  restore(): void {
    if (this.former !== null) this.set(this.former === 'Y')
  }
}
