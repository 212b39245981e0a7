// SPDX-License-Identifier: MIT
/** What `efuse top` and `stat` look at: each mount's server, where it is ours, and the kernel's monitor, where it may be. */
import { Monitor, MonitorUnavailableError } from '../bpf/monitor.js'
import { findServer, type ControlClient } from '../mount/control.js'
import { waitingRequests, type KernelLoad, type ServerLoad } from '../mount/load.js'
import { isFuse, mounts, type MountEntry } from '../mount/mountinfo.js'

/** One mount at one moment. Counts grow from one sample to the next. */
export interface Sample {
  entry: MountEntry
  /** Milliseconds, of performance.now(). */
  at: number
  /** Null where the server is another program, or another user's. */
  server: ServerLoad | null
  /** Null where eBPF is not permitted. */
  kernel: KernelLoad | null
  /** Requests that wait for the server or are with it; null where only others may know. */
  waiting: number | null
}

export class LoadSource {
  private readonly clients = new Map<string, ControlClient>()
  /** Of mounts without a server of ours: looked for once. */
  private readonly foreign = new Set<number>()

  private constructor(
    private readonly monitor: Monitor | null,
    /** Why the kernel can't be watched; null when it can. */
    readonly refused: string | null,
  ) {}

  /** @param connections mounts that may be watched at a time */
  static async open(connections: number): Promise<LoadSource> {
    try {
      return new LoadSource(await Monitor.open({ connections }), null)
    } catch (error) {
      if (!(error instanceof MonitorUnavailableError)) throw error
      return new LoadSource(null, error.message)
    }
  }

  /** The FUSE mounts that are there now, each file system once. */
  static mounts(): MountEntry[] {
    const seen = new Set<string>()
    return mounts().filter(({ type, device }) => isFuse(type) && !seen.has(device) && Boolean(seen.add(device)))
  }

  /** Looks at some mounts; those that are gone are forgotten. */
  async sample(entries: readonly MountEntry[]): Promise<Sample[]> {
    const present = new Set(entries.map(({ device }) => device))
    for (const device of this.monitor?.devices ?? []) if (!present.has(device)) this.monitor!.unwatch(device)
    for (const [device, client] of this.clients) {
      if (present.has(device)) continue
      client.close()
      this.clients.delete(device)
    }
    return Promise.all(entries.map((entry) => this.sampleOne(entry)))
  }

  private async sampleOne(entry: MountEntry): Promise<Sample> {
    const server = await this.serverLoad(entry)
    let kernel: KernelLoad | null = null
    try {
      this.monitor?.watch(entry.device)
      kernel = this.monitor?.read(entry.device) ?? null
    } catch (error) {
      // More mounts have come than there is room for: those are shown by their servers' account.
      if (!(error instanceof RangeError)) throw error
    }
    return { entry, at: performance.now(), server, kernel, waiting: waitingRequests(entry.device) }
  }

  private async serverLoad({ device, id }: MountEntry): Promise<ServerLoad | null> {
    let client = this.clients.get(device)
    if (client === undefined) {
      if (this.foreign.has(id)) return null
      const found = await findServer(device)
      if (found === null || 'refused' in found) {
        this.foreign.add(id)
        return null
      }
      client = found.client
      this.clients.set(device, client)
    }
    try {
      // One that was started by an older version says less.
      const load = await client.ask<ServerLoad>('load')
      return { ...load, answered: load.answered ?? {} }
    } catch (error) {
      // Another program serves it, under `efuse exec`: nobody has counts.
      if ((error as NodeJS.ErrnoException).code === 'ENOTSUP') this.foreign.add(id)
      client.close()
      this.clients.delete(device)
      return null
    }
  }

  close(): void {
    for (const client of this.clients.values()) client.close()
    this.monitor?.close()
  }
}
