// SPDX-License-Identifier: MIT
/**
 * How many requests the kernel gave to a mount's server while a command ran, by its tracepoint: with a histogram where
 * the kernel has them, otherwise with perf. Either makes requests dearer, so what is counted is not timed.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { provideKernelFiles, TRACING } from './kernel-files.js'

const FUSE_READ = 15
const KEYS = 'hist:keys=connection,opcode'

export interface Requests {
  all: number
  reads: number
}

/**
 * @param run runs the command with words before it
 * @returns null where there is no such tracepoint, or neither way to count
 */
export async function countRequests(
  connection: number, type: 'fuse' | 'efuse', run: (before: string[]) => Promise<void>,
): Promise<Requests | null> {
  const event = `${TRACING}/events/${type}/${type}_request_send`
  if (!provideKernelFiles('tracefs')) return null
  if (existsSync(`${event}/hist`)) return byHistogram(event, connection, run)
  return existsSync(event) ? byPerf(`${type}:${type}_request_send`, connection, run) : null
}

async function byHistogram(event: string, connection: number, run: (before: string[]) => Promise<void>): Promise<Requests> {
  writeFileSync(`${event}/trigger`, `${KEYS} if connection == ${connection}`)
  try {
    await run([])
    return parseHistogram(readFileSync(`${event}/hist`, 'utf8'))
  } finally {
    writeFileSync(`${event}/trigger`, `!${KEYS} if connection == ${connection}`)
  }
}

/** Lines such as `{ connection: 40, opcode: 15 } hitcount: 2`. */
export function parseHistogram(text: string): Requests {
  const found: Requests = { all: 0, reads: 0 }
  for (const [, opcode, count] of text.matchAll(/opcode:\s*(\d+)\s*}\s*hitcount:\s*(\d+)/g)) {
    found.all += Number(count)
    if (Number(opcode) === FUSE_READ) found.reads += Number(count)
  }
  return found
}

async function byPerf(event: string, connection: number, run: (before: string[]) => Promise<void>): Promise<Requests | null> {
  const output = `/tmp/efuse-perf-${process.pid}`
  const only = (filter: string): string[] => ['-e', event, '--filter', filter]
  try {
    execFileSync('perf', ['--version'], { stdio: 'ignore' })
  } catch {
    return null
  }
  try {
    await run(['perf', 'stat', '-a', '-x', ',', '-o', output,
      ...only(`connection == ${connection}`), ...only(`connection == ${connection} && opcode == ${FUSE_READ}`), '--'])
    const counts = [...readFileSync(output, 'utf8').matchAll(/^(\d+),[^\n]*_request_send/gm)].map(([, count]) => Number(count))
    return counts.length === 2 ? { all: counts[0], reads: counts[1] } : null
  } finally {
    execFileSync('rm', ['-f', output])
  }
}
