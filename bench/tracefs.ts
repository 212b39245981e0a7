// SPDX-License-Identifier: MIT
/** The kernel's tracepoints as files, where nobody has mounted them: for as long as this process lives. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'

export const TRACING = '/sys/kernel/tracing'

const there = (): boolean => existsSync(`${TRACING}/events`)

/** Mounts tracefs unless it is there. @returns whether it is now */
export function provideTracefs(): boolean {
  if (there()) return true
  try {
    execFileSync('mount', ['-t', 'tracefs', 'tracefs', TRACING], { stdio: 'ignore' })
  } catch {
    return false
  }
  process.once('exit', () => {
    try {
      execFileSync('umount', ['-l', TRACING], { stdio: 'ignore' })
    } catch {
      // Somebody else has.
    }
  })
  return there()
}
