// SPDX-License-Identifier: MIT
/**
 * The programs on a mount of efuse.ko: what the mount's server knows of them, and does for who attaches and detaches.
 *
 * Who attaches loads the program itself, with its own right to load BPF: the server gives a one-time token of the
 * connection, and afterwards takes the link over by its number, so that the attachment lives until it is detached or
 * the server ends. The server never loads what others hand it.
 */
import { constants as os } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { HOOKS, type CounterMap, type HookName } from '../bpf/hooks.js'
import { HeldLink, mapById } from '../bpf/ids.js'
import type { BpfMap } from '../bpf/map.js'
import * as native from '../native.js'
import {
  EFUSE_INFO_BYTES, EFUSE_IOC_CONTROL, EFUSE_IOC_INFO, EFUSE_IOC_QUEUES, EFUSE_IOC_TOKEN, EFUSE_NAME_LEN,
} from '../protocol/efuse-module.js'
import type { Block } from '../protocol/struct.js'
import { MountError } from './mountpoint.js'

/** What is attached under a name. */
export interface AttachmentReport {
  name: string
  hooks: HookName[]
  /** Who attached it: `root`, `efuse (--accel)`; null when it was another program, without our help. */
  owner: string | null
  /** What was loaded, such as an object's path; null when that is not known. */
  object: string | null
  /** When, ISO 8601; null when that is not known. */
  since: string | null
  /** The kernel's number of the link; null when that is not known. */
  link: number | null
  /** The program's counters by name: its global variables. */
  counters: Record<string, number>
}

/** An attachment that its maker hands over. */
export interface Handover {
  /** The link's number. Known already: it is the same attachment, replaced. */
  link: number
  name: string
  owner: string
  object: string | null
  counters: CounterMap | null
}

interface Held {
  owner: string
  object: string | null
  since: Date
  link: number
  counters(): Record<string, number>
  detach(): void
  close(): void
}

export class Hooks {
  /** By the attachments' names. */
  private readonly held = new Map<string, Held>()
  private closed = false

  /** @param control a descriptor of EFUSE_IOC_CONTROL, from now on ours */
  private constructor(readonly control: number) {}

  /** @param device a mounted descriptor of /dev/efuse @throws MountError */
  static of(device: number): Hooks {
    const control = native.ioctlValue(device, EFUSE_IOC_CONTROL, 0)
    if (control >= 0) return new Hooks(control)
    const code = getSystemErrorName(control)
    throw new MountError(`the efuse module hands out no control descriptor: ${code}`, code)
  }

  /** A token for one attachment. @throws MountError when the connection has ended */
  token(): bigint {
    const block = native.allocate(8)
    try {
      this.ioctl(EFUSE_IOC_TOKEN, block, 8)
      return new DataView(block.buffer).getBigUint64(0, true)
    } finally {
      native.release(block)
    }
  }

  /** Says how many io_uring queues will be used. @returns whether the kernel agrees */
  setQueues(queues: number): boolean {
    return native.ioctlValue(this.control, EFUSE_IOC_QUEUES, queues) === 0
  }

  private ioctl(request: number, block: Block, length: number): void {
    const result = native.ioctl(this.control, request, block, 0, length)
    if (result >= 0) return
    const code = getSystemErrorName(result)
    if (result === -os.errno.ENOTCONN) throw new MountError('the mount has ended', code)
    throw new MountError(`the efuse module refuses: ${code}`, code)
  }

  /** Who holds which hook: the attachments' names. */
  private holders(): Map<HookName, string> {
    const block = native.allocate(EFUSE_INFO_BYTES)
    try {
      this.ioctl(EFUSE_IOC_INFO, block, EFUSE_INFO_BYTES)
      const bytes = Buffer.from(block.buffer, 0, EFUSE_INFO_BYTES)
      const holders = new Map<HookName, string>()
      for (const [index, hook] of HOOKS.slice(0, bytes.readUInt32LE(4)).entries()) {
        const at = 8 + index * EFUSE_NAME_LEN
        const name = bytes.toString('latin1', at, at + EFUSE_NAME_LEN).replace(/\0.*/s, '')
        if (name !== '') holders.set(hook, name)
      }
      return holders
    } finally {
      native.release(block)
    }
  }

  /** All attachments, those of others too. @throws MountError when the connection has ended */
  list(): AttachmentReport[] {
    const hooks = new Map<string, HookName[]>()
    for (const [hook, name] of this.holders()) hooks.set(name, [...hooks.get(name) ?? [], hook])
    // What ended behind our back: somebody has detached the link itself.
    for (const [name, held] of this.held) {
      if (hooks.has(name)) continue
      held.close()
      this.held.delete(name)
    }
    return [...hooks].map(([name, filled]) => {
      const held = this.held.get(name)
      return {
        name,
        hooks: filled,
        owner: held?.owner ?? null,
        object: held?.object ?? null,
        since: held?.since.toISOString() ?? null,
        link: held?.link ?? null,
        counters: held?.counters() ?? {},
      }
    })
  }

  /** Takes over an attachment that another process has made with a token of ours. @throws BpfError, MountError */
  adopt({ link: id, name, owner, object, counters }: Handover): void {
    const link = HeldLink.byId(id)
    let map: BpfMap<number, Uint8Array> | null = null
    try {
      if (![...this.holders().values()].includes(name)) throw new MountError(`"${name}" is not attached here`, 'ENOENT')
      if (counters !== null) map = mapById(counters.map)
    } catch (error) {
      link.close()
      throw error
    }
    // Replaced: the same link, which the other descriptor keeps meanwhile.
    this.held.get(name)?.close()
    this.held.set(name, {
      owner, object, since: new Date(), link: id,
      counters: () => map === null ? {} : readCounters(map, counters!),
      detach: () => {
        map?.close()
        link.detach()
      },
      close: () => {
        map?.close()
        link.close()
      },
    })
  }

  /**
   * Another process has put its program in the place of one that is ours, on the same link: it keeps its name.
   * @throws MountError ENOENT: there is none of that name; BpfError
   */
  replaced({ name, owner, object, counters }: Omit<Handover, 'link'>): void {
    const held = this.held.get(name)
    if (held === undefined) throw new MountError(`"${name}" is not attached here`, 'ENOENT')
    this.held.set(name, {
      ...held, owner, object, since: new Date(),
      counters: () => {
        if (counters === null) return {}
        using map = mapById(counters.map)
        return readCounters(map, counters)
      },
    })
  }

  /** Enters an attachment of this process. @param close detaches it */
  enter(name: string, held: { owner: string; object: string; link: number; counters(): Record<string, number>; close(): void }): void {
    this.held.set(name, { ...held, since: new Date(), detach: held.close })
  }

  /**
   * Detaches by name, or all.
   * @returns the names of what was detached
   * @throws MountError ENOENT: nothing has that name; EPERM: who attached it holds it by itself
   */
  detach(name?: string): string[] {
    const attached = this.list()
    if (name !== undefined && !attached.some((one) => one.name === name)) {
      const names = attached.map((one) => one.name).join(', ')
      throw new MountError(`nothing named "${name}" is attached (${names === '' ? 'nothing is' : `there is ${names}`})`, 'ENOENT')
    }
    const wanted = name === undefined ? [...this.held.keys()] : [name]
    for (const one of wanted) {
      const held = this.held.get(one)
      if (held === undefined) {
        throw new MountError(`"${one}" was attached by another program: it is detached when that ends`, 'EPERM')
      }
      this.held.delete(one)
      held.detach()
    }
    return wanted
  }

  /** Detaches all that is ours, and closes the control descriptor. */
  close(): void {
    if (this.closed) return
    this.closed = true
    for (const held of this.held.values()) held.close()
    this.held.clear()
    native.close(this.control)
  }
}

function readCounters(map: BpfMap<number, Uint8Array>, { variables }: CounterMap): Record<string, number> {
  const bytes = map.peekBytes(0)
  if (bytes === undefined) return {}
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Object.fromEntries(variables.filter(({ offset, size }) => offset + size <= view.byteLength).map(
    ({ name, offset, size }) => [name, size === 8 ? Number(view.getBigUint64(offset, true)) : view.getUint32(offset, true)]))
}
