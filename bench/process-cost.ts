// SPDX-License-Identifier: MIT
/** What a server process has cost so far: CPU time and context switches, by thread, from /proc. */
import { readdirSync, readFileSync } from 'node:fs'

/** A clock tick of /proc/PID/stat: USER_HZ is 100 on every Linux. */
const TICK_NS = 10_000_000

interface ThreadCost {
  name: string
  cpuNs: number
  voluntarySwitches: number
  involuntarySwitches: number
}

/** A server's account at one moment. */
export interface ProcessAccount {
  /** utime + stime of the process, threads that have ended included; in steps of 10 ms. */
  ticksNs: number
  threads: Map<number, ThreadCost>
}

/** What happened between two moments. */
export interface ProcessCost {
  cpuNs: number
  voluntarySwitches: number
  involuntarySwitches: number
  /** The threads that did something. */
  threads: { name: string; cpuNs: number }[]
}

/** @returns null when the process is gone */
export function account(pid: number): ProcessAccount | null {
  try {
    const fields = afterName(readFileSync(`/proc/${pid}/stat`, 'latin1'))
    const threads = new Map<number, ThreadCost>()
    for (const tid of readdirSync(`/proc/${pid}/task`)) {
      const thread = accountThread(`/proc/${pid}/task/${tid}`)
      if (thread !== null) threads.set(Number(tid), thread)
    }
    return { ticksNs: (Number(fields[11]) + Number(fields[12])) * TICK_NS, threads }
  } catch {
    return null
  }
}

/** CPU time of this process and of the children that have ended, in steps of 10 ms: what starting and ending them took, too. */
export function ownNs(): number {
  const fields = afterName(readFileSync('/proc/self/stat', 'latin1'))
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) * TICK_NS
}

/** The fields of a stat line from `state` on: the name before them may contain anything. */
function afterName(line: string): string[] {
  return line.slice(line.lastIndexOf(')') + 2).split(' ')
}

function accountThread(path: string): ThreadCost | null {
  try {
    const stat = readFileSync(`${path}/stat`, 'latin1')
    const fields = afterName(stat)
    const status = readFileSync(`${path}/status`, 'latin1')
    const number = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
    return {
      name: stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')),
      cpuNs: runTime(path) ?? (Number(fields[11]) + Number(fields[12])) * TICK_NS,
      voluntarySwitches: number('voluntary_ctxt_switches'),
      involuntarySwitches: number('nonvoluntary_ctxt_switches'),
    }
  } catch {
    // It has ended meanwhile.
    return null
  }
}

/** Time on a CPU to the nanosecond, where the kernel keeps it. */
function runTime(path: string): number | null {
  try {
    return Number(readFileSync(`${path}/schedstat`, 'latin1').split(' ')[0])
  } catch {
    return null
  }
}

/** @returns null when either moment is missing */
export function cost(before: ProcessAccount | null, after: ProcessAccount | null): ProcessCost | null {
  if (before === null || after === null) return null
  const result: ProcessCost = { cpuNs: 0, voluntarySwitches: 0, involuntarySwitches: 0, threads: [] }
  for (const [tid, thread] of after.threads) {
    const earlier = before.threads.get(tid)
    const cpuNs = thread.cpuNs - (earlier?.cpuNs ?? 0)
    result.cpuNs += cpuNs
    result.voluntarySwitches += thread.voluntarySwitches - (earlier?.voluntarySwitches ?? 0)
    result.involuntarySwitches += thread.involuntarySwitches - (earlier?.involuntarySwitches ?? 0)
    if (cpuNs > 0) result.threads.push({ name: thread.name, cpuNs })
  }
  const lostOne = [...before.threads.keys()].some((tid) => !after.threads.has(tid))
  // What a thread that has ended did is in the process's sum only.
  if (lostOne) result.cpuNs = Math.max(result.cpuNs, after.ticksNs - before.ticksNs)
  result.threads.sort((a, b) => b.cpuNs - a.cpuNs)
  return result
}

/** Proportional share of memory, bytes; null when it can't be read. */
export function memoryOf(pid: number): number | null {
  try {
    const pss = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))
    return pss === null ? null : Number(pss[1]) * 1024
  } catch {
    return null
  }
}
