// SPDX-License-Identifier: MIT
/** The kernel's control files that are mounted on most machines: elsewhere for as long as this process lives. */
import { execFileSync } from 'node:child_process'
import { mounts } from '../src/mount/mountinfo.js'

export const TRACING = '/sys/kernel/tracing'
export const CONNECTIONS = '/sys/fs/fuse/connections'

const PLACES = {
  /** Tracepoints: their numbers, formats and histograms. */
  tracefs: TRACING,
  /** FUSE's connections: how many requests wait, and how to abort them. */
  fusectl: CONNECTIONS,
}

/** Mounts them unless they are there. @returns whether they are now */
export function provideKernelFiles(type: keyof typeof PLACES): boolean {
  const at = PLACES[type]
  if (mounts().some(({ mountpoint }) => mountpoint === at)) return true
  try {
    execFileSync('mount', ['-t', type, type, at], { stdio: 'ignore', timeout: 10_000 })
  } catch {
    return false
  }
  process.once('exit', () => {
    try {
      execFileSync('umount', ['-l', at], { stdio: 'ignore', timeout: 10_000 })
    } catch {
      // Somebody else has.
    }
  })
  return true
}
