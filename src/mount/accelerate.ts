// SPDX-License-Identifier: MIT
/**
 * What `--accel` and `accelerate` ask for: which accelerators a mount loads, and what becomes of those that can't be
 * loaded. One that was demanded and is not to be had is an error; `auto` goes without, and says why.
 */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import {
  ACCELERATOR_NAMES, accelerators, type Accelerator, type AcceleratorContext, type AcceleratorName, type Attachment,
} from '../bpf/accelerators.js'
import type { Balancer, Policy } from '../bpf/balance.js'
import type { DataCache, DataOptions } from '../bpf/data-cache.js'
import { BpfError } from '../bpf/error.js'
import type { MetadataCache, MetadataOptions } from '../bpf/metadata-cache.js'
import { probeBpf } from '../bpf/probe.js'
import type { Handover, Hooks } from './hooks.js'
import { deviceOf, type KernelType } from './kernel-type.js'
import { MountError } from './mountpoint.js'

/** `on` demands it. */
type Wish = 'on' | 'auto' | 'off'
export type Wishes = Readonly<Record<AcceleratorName, Wish>>

/**
 * Accelerators of a mount: `true`, or its options, demands one, `'auto'` takes it where it is to be had; default: none.
 */
export type Acceleration = 'auto' | 'off' |
  {
    readonly metadata?: boolean | 'auto' | MetadataOptions
    readonly data?: boolean | 'auto' | DataOptions
    readonly balance?: boolean | 'auto'
  }

/** The metadata accelerator's options among those of a mount. */
export function metadataOptionsOf(acceleration: Acceleration | undefined): MetadataOptions {
  const metadata = typeof acceleration === 'object' ? acceleration?.metadata : undefined
  return typeof metadata === 'object' ? metadata : {}
}

/** The data accelerator's options among those of a mount. */
export function dataOptionsOf(acceleration: Acceleration | undefined): DataOptions {
  const data = typeof acceleration === 'object' ? acceleration?.data : undefined
  return typeof data === 'object' ? data : {}
}

/** Whether an accelerator is at work, and otherwise why not. */
export interface AcceleratorReport {
  state: 'on' | 'off'
  /** Null when it is on. */
  why: string | null
}

export type AcceleratorReports = Record<AcceleratorName, AcceleratorReport>

export const NOT_ASKED_FOR = 'not asked for'

const OBJECTS = new URL('../../bpf/', import.meta.url)

function all(wish: Wish): Wishes {
  return Object.fromEntries(ACCELERATOR_NAMES.map((name) => [name, wish])) as Record<AcceleratorName, Wish>
}

/** Of `--accel`: `auto`, `off` or names. @returns null when it is none of these */
export function parseAccel(text: string): Wishes | null {
  if (text === 'auto' || text === 'off') return all(text)
  const names = text.split(',')
  if (!names.every((name): name is AcceleratorName => (ACCELERATOR_NAMES as readonly string[]).includes(name))) return null
  return { ...all('off'), ...Object.fromEntries(names.map((name) => [name, 'on'])) }
}

/** @throws TypeError for what is no Acceleration */
export function wishesOf(acceleration: Acceleration = 'off'): Wishes {
  if (acceleration === 'auto' || acceleration === 'off') return all(acceleration)
  if (typeof acceleration !== 'object' || acceleration === null) {
    throw new TypeError(`accelerate: it is 'auto', 'off' or { ${ACCELERATOR_NAMES.join(', ')} }`)
  }
  const wishes = { ...all('off') } as Record<AcceleratorName, Wish>
  for (const [name, wish] of Object.entries(acceleration)) {
    if (!(name in wishes)) throw new TypeError(`accelerate: there is no ${name}, only ${ACCELERATOR_NAMES.join(', ')}`)
    wishes[name as AcceleratorName] = wish === 'auto' ? 'auto' : wish ? 'on' : 'off'
  }
  return wishes
}

/**
 * What stands against an accelerator on this machine, whatever the mount; null when nothing does.
 * @param type of the mount; default: what can be mounted here
 */
export function obstacle({ object }: Accelerator, type: KernelType = existsSync(deviceOf('efuse')) ? 'efuse' : 'fuse'): string | null {
  if (!existsSync(fileURLToPath(new URL(`${object}.bpf.o`, OBJECTS)))) return `this package has no ${object}.bpf.o`
  if (type !== 'efuse') {
    return existsSync(deviceOf('efuse'))
      ? 'the mount is not of type efuse: use --type efuse'
      : 'the efuse kernel module is not loaded: run "efuse kernel build" and "efuse kernel load"'
  }
  if (!probeBpf().btf) return 'this kernel has no type information (CONFIG_DEBUG_INFO_BTF)'
  if (!existsSync('/sys/kernel/btf/efuse')) return 'the efuse kernel module has no type information: build it with pahole installed'
  return null
}

/** @throws MountError when something is demanded that can't be had on this machine */
export function checkWishes(wishes: Wishes, type: KernelType): void {
  for (const accelerator of accelerators) {
    if (wishes[accelerator.name] !== 'on') continue
    const why = obstacle(accelerator, type)
    if (why !== null) throw demanded(accelerator.name, why)
  }
}

function demanded(name: AcceleratorName, why: string, cause?: unknown): MountError {
  return new MountError(`--accel ${name} is not to be had: ${why}; or use --accel auto`, undefined, { cause })
}

/** The accelerators of one mount. */
export class Accelerators {
  private readonly loaded = new Map<AcceleratorName, Attachment>()
  private readonly reports: AcceleratorReports

  private constructor(wishes: Wishes) {
    this.reports = Object.fromEntries(ACCELERATOR_NAMES.map((name) =>
      [name, { state: 'off', why: wishes[name] === 'off' ? NOT_ASKED_FOR : null }])) as AcceleratorReports
  }

  /**
   * Loads what is asked for.
   * @param hooks of the mount; null when its type has none
   * @throws MountError when a demanded one is not to be had; then none is loaded
   */
  static async load(
    wishes: Wishes, hooks: Hooks | null, mount: Omit<AcceleratorContext, 'token' | 'control'>,
  ): Promise<Accelerators> {
    const loading = new Accelerators(wishes)
    for (const accelerator of accelerators) {
      const { name } = accelerator
      if (wishes[name] === 'off') continue
      const refused = await loading.loadOne(accelerator, hooks, { ...mount, demanded: wishes[name] === 'on' })
      if (refused === null) continue
      if (wishes[name] === 'on') {
        loading.close()
        throw demanded(name, refused.why, refused.cause)
      }
      loading.reports[name].why = refused.why
    }
    return loading
  }

  /** @returns null when it is at work */
  private async loadOne(
    accelerator: Accelerator, hooks: Hooks | null, mount: Omit<AcceleratorContext, 'token' | 'control'>,
  ): Promise<{ why: string; cause?: unknown } | null> {
    const { name } = accelerator
    const why = obstacle(accelerator, hooks === null ? 'fuse' : 'efuse')
    if (why !== null) return { why }
    const context: AcceleratorContext = { ...mount, control: hooks!.control, token: () => hooks!.token() }
    const unfit = accelerator.unfit?.(context) ?? null
    if (unfit !== null) return { why: unfit }
    const { idOf } = await import('../bpf/ids.js')
    let attachment: Attachment
    let link: number
    try {
      attachment = await accelerator.load(context)
      link = idOf(attachment.link.fd)
    } catch (cause) {
      return { why: explain(cause), cause }
    }
    this.loaded.set(name, attachment)
    this.reports[name] = { state: 'on', why: null }
    this.enter(hooks!, accelerator, attachment, link)
    return null
  }

  private enter(hooks: Hooks, { name, object }: Accelerator, attachment: Attachment, link: number): void {
    hooks.enter(attachment.program.name, {
      owner: 'efuse (--accel)',
      object: `${attachment.object ?? object}.bpf.o`,
      link,
      counters: () => attachment.counters?.() ?? {},
      close: () => this.unload(name, 'detached'),
    })
  }

  /**
   * Another policy of choosing rings: one of the accelerator's own, or a program that another process has put in its
   * place.
   * @throws MountError when the balance accelerator is not at work; BpfError
   */
  async choosePolicy(hooks: Hooks, wish: { policy: Policy } | Omit<Handover, 'link'>): Promise<void> {
    const { balance } = this
    if (balance === null) {
      throw new MountError(`rings are not balanced here (${this.reports.balance.why}): mount with --rings uring --accel balance`)
    }
    if ('policy' in wish) {
      const { idOf } = await import('../bpf/ids.js')
      balance.choose(wish.policy)
      this.enter(hooks, accelerators.find(({ name }) => name === 'balance')!, balance, idOf(balance.link.fd))
    } else {
      hooks.replaced(wish)
      balance.replaced()
    }
  }

  private unload(name: AcceleratorName, why: string): void {
    this.loaded.get(name)?.close()
    this.loaded.delete(name)
    this.reports[name] = { state: 'off', why }
  }

  /** What `stat` and metrics show: `off`, or names. */
  get summary(): string {
    return [...this.loaded.keys()].join(',') || 'off'
  }

  /** The metadata accelerator, where it is at work. */
  get metadata(): MetadataCache | null {
    return (this.loaded.get('metadata') as MetadataCache | undefined) ?? null
  }

  /** The data accelerator, where it is at work. */
  get data(): DataCache | null {
    return (this.loaded.get('data') as DataCache | undefined) ?? null
  }

  /** The balance accelerator, where it is at work. */
  get balance(): Balancer | null {
    return (this.loaded.get('balance') as Balancer | undefined) ?? null
  }

  report(): AcceleratorReports {
    return structuredClone(this.reports)
  }

  /** Requests that were answered in the kernel, by its names. */
  answered(): Record<string, { count: number }> {
    const sum: Record<string, { count: number }> = {}
    for (const attachment of this.loaded.values()) {
      for (const [operation, count] of Object.entries(attachment.answered())) {
        (sum[operation] ??= { count: 0 }).count += count
      }
    }
    return sum
  }

  close(): void {
    for (const name of [...this.loaded.keys()]) this.unload(name, 'the mount has ended')
  }
}

/** Why loading failed, in a line. */
function explain(error: unknown): string {
  if (!(error instanceof BpfError)) return (error as Error).message.split('\n')[0]
  if (error.code === 'EBUSY') return 'another program has taken its hooks ("efuse bpf list MOUNTPOINT" shows which)'
  if (error.code === 'EPERM') return 'eBPF is not permitted: it takes root, or CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN'
  return error.message.split('\n')[0]
}
