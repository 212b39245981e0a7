// SPDX-License-Identifier: MIT
/** How long a mount takes until it answers, and what each further worker keeps in memory. */
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Client } from './client.js'
import { memoryOf } from './process-cost.js'
import { connectionAt, Server } from './server.js'
import { spread, type Spread } from './statistics.js'
import { ROOT, variant, type Place } from './variants.js'

export interface Startup {
  /** `efuse mount` in the background, called until its mount has answered a stat; milliseconds. */
  mountToAnswerMs: Spread
  /** The same for libfuse's passthrough_hp, from its start to its first answer; null without it. */
  rivalMs: Spread | null
  /** Bytes that one more worker adds (proportional share), all workers having served. */
  workerBytes: Spread | null
}

const TIMEOUT_MS = 30_000
/** Workers in the smaller and the larger mount that are compared. */
const FEW = 1
const MANY = 5
const WARM = { seconds: 0.3, warmup: 0 }

export async function measureStartup(
  place: (name: string) => Place, client: Client, rounds: number, withRival: boolean,
): Promise<Startup> {
  const own: number[] = []
  const rival: number[] = []
  const worker: number[] = []
  for (let round = 0; round < rounds; round++) {
    own.push(timeBackgroundMount(place(`start-${round}`), client))
    if (withRival) {
      const begin = performance.now()
      const at = place(`start-hp-${round}`)
      const server = await Server.start(variant('hp'), at, 0)
      try {
        client.probe(at.mountpoint, TIMEOUT_MS)
        rival.push(performance.now() - begin)
      } finally {
        await server.stop()
      }
    }
    const few = await memoryWith(FEW, place(`memory-${FEW}-${round}`), client)
    const many = await memoryWith(MANY, place(`memory-${MANY}-${round}`), client)
    if (few !== null && many !== null) worker.push((many - few) / (MANY - FEW))
  }
  return {
    mountToAnswerMs: spread(own),
    rivalMs: rival.length > 0 ? spread(rival) : null,
    workerBytes: worker.length > 0 ? spread(worker) : null,
  }
}

/** The command itself, as a user calls it: it returns when the mount answers. */
function timeBackgroundMount({ source, mountpoint }: Place, client: Client): number {
  const efuse = (...args: string[]): void => {
    execFileSync(process.execPath, [join(ROOT, 'efuse.js'), ...args],
      { timeout: TIMEOUT_MS, stdio: ['ignore', 'ignore', 'pipe'] })
  }
  mkdirSync(mountpoint, { recursive: true })
  const begin = performance.now()
  try {
    efuse('mount', source, mountpoint)
    client.probe(mountpoint, TIMEOUT_MS)
    return performance.now() - begin
  } finally {
    if (connectionAt(mountpoint) !== null) efuse('umount', mountpoint)
  }
}

async function memoryWith(workers: number, at: Place, client: Client): Promise<number | null> {
  const base = variant('efuse')
  const sized = { ...base, command: (place: Place) => [...base.command(place)!, '--workers', String(workers)] }
  const server = await Server.start(sized, at, 0)
  try {
    for (const op of ['getattr', 'read', 'open'] as const) {
      await client.measure(server, { op, processes: 2 * workers }, WARM)
    }
    return memoryOf(server.pid!)
  } finally {
    await server.stop()
  }
}
