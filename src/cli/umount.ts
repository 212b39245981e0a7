// SPDX-License-Identifier: MIT
/** `efuse umount`: unmounts, and returns after the server has exited. */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { findServer, type ControlClient, type ServerIdentity } from '../mount/control.js'
import { isFuse, mountAt, type MountEntry } from '../mount/mountinfo.js'
import { resolveMountpoint } from '../mount/mountpoint.js'
import { unmount } from '../mount/unmount.js'
import { Failure } from './failure.js'

/** How long the server may take to end after the unmounting, milliseconds. */
const SERVER_TIMEOUT = 15_000
const POLL_INTERVAL = 5

export async function umount(path: string, force: boolean): Promise<void> {
  const entry = fuseMountAt(path)
  const found = await findServer(entry.device)
  const client = found !== null && 'client' in found ? found.client : null
  const server = client === null ? null : await client.ask<ServerIdentity>('server').catch(() => null)
  try {
    await unmount(entry.mountpoint, { force })
    if (client === null) return
    // Who may not abort by umount(2) can still end the server, which is as good.
    if (force && server?.exits) await client.ask('abort').catch(() => {})
    await ended(client, server, entry.mountpoint)
  } finally {
    client?.close()
  }
}

/** The FUSE mount at a path. @throws Failure */
export function fuseMountAt(path: string): MountEntry {
  const mountpoint = resolveMountpoint(path)
  const entry = mountAt(mountpoint)
  if (entry === undefined) throw new Failure(`${path} is not mounted: "efuse list" shows what is`)
  if (!isFuse(entry.type)) throw new Failure(`${path} is mounted, but not by FUSE (type ${entry.type})`)
  return entry
}

async function ended(client: ControlClient, server: ServerIdentity | null, mountpoint: string): Promise<void> {
  const start = server?.exits ? startOf(server.pid) : null
  const deadline = Date.now() + SERVER_TIMEOUT
  const late = sleep(SERVER_TIMEOUT, 'late', { ref: false })
  if (await Promise.race([client.closed, late]) === 'late') {
    throw new Failure(`${mountpoint} is unmounted, but its server lives on: it may be in use in another mount namespace`)
  }
  // Its sockets are closed, which is nearly the last thing that an exiting process does.
  while (server !== null && start !== null && startOf(server.pid) === start) {
    if (Date.now() > deadline) throw new Failure(`${mountpoint} is unmounted, but process ${server.pid} does not end`)
    await sleep(POLL_INTERVAL)
  }
}

/** When a process started, by which a later one of the same number differs; null when it is no more, or a zombie. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The command in parentheses may contain anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? null : fields[19]
  } catch {
    return null
  }
}
