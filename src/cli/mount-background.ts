// SPDX-License-Identifier: MIT
/**
 * The command in the background: `efuse mount` starts itself once more, as the server, in a session of its own, and
 * returns when the mount answers. What is wrong is found by the server, and said here. This side loads as little as it
 * can: whoever mounts waits for both.
 */
import { spawn } from 'node:child_process'
import * as native from '../native.js'
import { EXIT_USAGE, Failure, WrongUsage } from './failure.js'
import type { MountArguments } from './mount.js'

/** Set for the server. */
const BACKGROUND = 'EFUSE_BACKGROUND'

type Readiness = { ready: true } | { error: string; status: number }
/** How the server tells its parent what became of it. */
export type Report = (message: Readiness) => Promise<void>

const isServer = process.env[BACKGROUND] !== undefined && process.send !== undefined
delete process.env[BACKGROUND]

/** `efuse mount` and mount(8)'s helper. */
export async function mount(source: string, mountpoint: string, args: MountArguments): Promise<void> {
  if (!args.foreground && !isServer) await startInBackground()
  else await (await import('./mount.js')).mountCommand(source, mountpoint, args)
}

/** The server's way to its parent; null: it has none, for it runs in the foreground. */
export function parent(): Report | null {
  if (!isServer) return null
  return (message) => new Promise((resolve) => {
    process.send!(message, undefined, undefined, () => resolve())
  })
}

/** @throws Failure with what the server says is wrong */
async function startInBackground(): Promise<void> {
  native.closeOnExecFrom(3)
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    env: { ...process.env, [BACKGROUND]: '1' },
  })
  const readiness = await new Promise<Readiness>((resolve, reject) => {
    child.once('message', (message) => resolve(message as Readiness))
    child.once('error', reject)
    child.once('exit', (status, signal) => {
      resolve({
        error: `the server ended (${signal ?? `status ${status}`}) before the mount answered: try with -f to see why`,
        status: 1,
      })
    })
  })
  if ('error' in readiness) {
    const { error, status } = readiness
    throw status === EXIT_USAGE ? new WrongUsage(error) : new Failure(error, status)
  }
  child.unref()
  if (child.connected) child.disconnect()
}
