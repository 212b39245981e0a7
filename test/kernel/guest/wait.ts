// SPDX-License-Identifier: MIT
/** In the guest: waiting for what comes by itself. */
import type { ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { procMounts, run } from '../../mount/support.js'

const STEP = 100
/** Guests are emulated. */
const PATIENCE = 120_000

/** Waits until something is so. @returns whether it came to that in time */
export async function until(condition: () => boolean | Promise<boolean>, patience = PATIENCE): Promise<boolean> {
  const deadline = Date.now() + patience
  while (!await condition()) {
    if (Date.now() > deadline) return false
    await sleep(STEP)
  }
  return true
}

/** Waits until a mount answers. @returns false when its server has ended before, or takes too long */
export async function answers(mountpoint: string, server: ChildProcess): Promise<boolean> {
  const ended = (): boolean => server.exitCode !== null || server.signalCode !== null
  if (!await until(() => procMounts(mountpoint) !== null || ended()) || ended()) return false
  return (await run('timeout', ['100', 'stat', mountpoint])).status === 0
}
