// SPDX-License-Identifier: MIT
/**
 * The accelerators: eFuse's own programs for efuse.ko, which a mount loads by itself (`--accel`, `accelerate`).
 *
 * Each says here how it is loaded for a mount. Which of them are, and what becomes of one that can't be, is decided
 * in src/mount/accelerate.ts.
 */
import type { Notifier } from '../fs/filesystem.js'
import type { MountOptions } from '../mount/options.js'
import type { SourceWatch } from '../mount/source-watch.js'
import type { Agreement } from '../protocol/init.js'
import { hasFiles, isExclusive, type DataOptions } from './data-cache.js'
import type { HookProgram } from './hooks.js'
import type { MetadataOptions } from './metadata-cache.js'

export const ACCELERATOR_NAMES = ['metadata', 'data', 'balance'] as const
export type AcceleratorName = (typeof ACCELERATOR_NAMES)[number]

/** What an accelerator is told of the mount it is loaded for. */
export interface AcceleratorContext {
  /** A token for one attachment to the mount's connection. @throws MountError when the connection has ended */
  token(): bigint
  /** A control descriptor (EFUSE_IOC_...), the mount's own: don't close it. */
  readonly control: number
  readonly options: MountOptions
  /** What server and kernel have agreed on; null when another program serves the mount. */
  readonly agreement: Agreement | null
  /** Whose file system: `program` is another program's, under `efuse exec`. */
  readonly server: 'stackfs' | 'memfs' | 'module' | 'embedded' | 'program'
  /** What the server can do beside FUSE: EFUSE_CAN_... of src/protocol/efuse-module.ts. Default: nothing. */
  readonly can?: number
  /** Whether requests go over io_uring. */
  readonly uring: boolean
  /** How many io_uring queues are served; more may come. */
  readonly rings?: number
  /** Whether the server opens files so that their reads and writes meet the hooks; where that is known. */
  readonly hooked?: boolean
  /** Changes made behind the mount's back, if they are watched; the mount closes it. */
  readonly watch?: Pick<SourceWatch, 'start'>
  /** Reaches the kernel's own caches. */
  readonly notify?: Notifier
  /** What was said of the metadata accelerator. */
  readonly metadata?: MetadataOptions
  /** What was said of the data accelerator. */
  readonly data?: DataOptions
  /** Whether this accelerator was asked for by name. */
  readonly demanded?: boolean
}

/** An accelerator at work for one mount. */
export interface Attachment {
  readonly program: HookProgram
  /** Its object, if that depends on the mount; default: the accelerator's. */
  readonly object?: string
  /** Number of its link, which `efuse bpf list` and bpftool show. */
  readonly link: { readonly fd: number }
  /** How many requests it has answered so far, by the kernel's names (`FUSE_GETATTR`). */
  answered(): Record<string, number>
  /** Further numbers for people who watch it. */
  counters?(): Record<string, number>
  /** Detaches and unloads. Never fails. */
  close(): void
}

export interface Accelerator {
  readonly name: AcceleratorName
  /** Its object among those of the package: dist/bpf/NAME.bpf.o. */
  readonly object: string
  /** Why it is of no use to such a mount; null when it is. Then `auto` leaves it out, and demanding it is an error. */
  unfit?(context: AcceleratorContext): string | null
  /** @throws BpfError and others when it can't be loaded */
  load(context: AcceleratorContext): Promise<Attachment>
}

async function loadMetadata(context: AcceleratorContext): Promise<Attachment> {
  const { MetadataCache } = await import('./metadata-cache.js')
  return MetadataCache.load(context, context.metadata)
}

async function loadData(context: AcceleratorContext): Promise<Attachment> {
  const { DataCache } = await import('./data-cache.js')
  return DataCache.load(context, context.data)
}

/** Why the data accelerator is of no use to a mount; null when it is. */
function dataUnfit(context: AcceleratorContext): string | null {
  if (context.hooked === false) return 'the kernel reads and writes the files itself (passthrough): demand it by --accel data'
  if (hasFiles(context)) return null
  if (!context.demanded) return 'the server gives the kernel no files, only data: demand it by --accel data'
  return isExclusive(context) ? null : 'the server gives the kernel no files (FUSE_PASSTHROUGH), and others may change what it has: '
    + 'say --coherence exclusive if they don\'t'
}

async function loadBalance(context: AcceleratorContext): Promise<Attachment> {
  const { Balancer } = await import('./balance.js')
  return Balancer.load(context)
}

/** Why there is nothing to balance; null when there is. */
function balanceUnfit({ uring, rings = 0 }: AcceleratorContext): string | null {
  if (!uring) return 'requests do not go over io_uring: use --rings uring'
  return rings > 1 ? null : 'there is but one ring'
}

/** In the order in which they are loaded. */
export const accelerators: readonly Accelerator[] = [
  { name: 'metadata', object: 'metadata', load: loadMetadata },
  { name: 'data', object: 'io', unfit: dataUnfit, load: loadData },
  { name: 'balance', object: 'balance', unfit: balanceUnfit, load: loadBalance },
]
