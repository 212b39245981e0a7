// SPDX-License-Identifier: MIT
/** `efuse list` and `efuse stat`: what is served, and what it was asked. */
import { allServers, findServer, type ServerIdentity } from '../mount/control.js'
import { mounts } from '../mount/mountinfo.js'
import type { MountReport } from '../mount/report.js'
import { Failure } from './failure.js'
import { table } from './table.js'
import { fuseMountAt } from './umount.js'

interface Listed {
  mountpoint: string
  source: string
  type: string
  pid: number
  workers: number
}

export async function list(json: boolean): Promise<void> {
  const listed: Listed[] = []
  for (const { client } of await allServers()) {
    try {
      const { mountpoint, source, type, workers } = await client.ask<MountReport>('report')
      const { pid } = await client.ask<ServerIdentity>('server')
      listed.push({ mountpoint, source, type, pid, workers })
    } catch {
      // It is ending just now.
    } finally {
      client.close()
    }
  }
  const order = new Map(mounts().map(({ mountpoint }, index) => [mountpoint, index]))
  listed.sort((a, b) => (order.get(a.mountpoint) ?? -1) - (order.get(b.mountpoint) ?? -1))
  if (json) {
    print(JSON.stringify(listed, null, 2))
    return
  }
  if (listed.length === 0) return
  print(table(['MOUNTPOINT', 'SOURCE', 'TYPE', 'PID', 'WORKERS'],
    listed.map(({ mountpoint, source, type, pid, workers }) => [mountpoint, source, type, pid, workers])))
}

export async function stat(path: string, json: boolean): Promise<void> {
  const entry = fuseMountAt(path)
  const found = await findServer(entry.device)
  if (found === null) throw new Failure(`${path} has no eFuse server: it is dead, or served by another program`)
  if ('refused' in found) throw new Failure(`${path} is another user's: ask as that user, or as root`)
  let report: MountReport
  try {
    report = await found.client.ask<MountReport>('report')
  } finally {
    found.client.close()
  }
  print(json ? JSON.stringify(report, null, 2) : describe(report))
}

function describe(report: MountReport): string {
  const { operations, kernel } = report
  const facts = [
    ['mountpoint', report.mountpoint],
    ['source', report.source],
    ['type', report.type],
    ['rings', report.rings],
    ['workers', report.workers],
    ['passthrough', report.passthrough],
    ['accel', report.accel],
    ['protocol', kernel.protocol],
    ['connection', kernel.connection],
  ]
  const counts = Object.entries(operations).map(([name, { count, errors }]) => [name, count, errors])
  return `${table([], facts)}\n\n${table(['OPERATION', 'COUNT', 'ERRORS'], counts)}`
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}
