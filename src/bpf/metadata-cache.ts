// SPDX-License-Identifier: MIT
/**
 * Metadata answered in the kernel: bpf/metadata.bpf.c, loaded for one mount of type efuse. docs/metadata.md tells what
 * is answered, for how long, and why it is right.
 *
 *     const mounted = await mount(fileSystem, '/mnt', { accelerate: { metadata: { coherence: 'exclusive' } } })
 *     ...
 *     mounted.metadata?.invalidate(nodeid)
 */
import { randomBytes } from 'node:crypto'
import * as native from '../native.js'
import type { FuseInitFlagName } from '../protocol/constants.js'
import { EFUSE_CAN_ATTR, EFUSE_CAN_NO_HANDLE, EFUSE_IOC_CAN } from '../protocol/efuse-module.js'
import { agreedOn } from '../protocol/init.js'
import type { Notifier } from '../fs/filesystem.js'
import type { SourceChanges } from '../mount/source-watch.js'
import type { AcceleratorContext, Attachment } from './accelerators.js'
import { HookProgram } from './hooks.js'
import { bundledObject } from './libbpf.js'
import type { BpfMap } from './map.js'
import type { BpfLink } from './program.js'
import type { Codec } from './codec.js'

/** Who else changes what the server serves. */
export type Coherence =
  /** Anybody: answers end with the server's time-outs. */
  | 'shared'
  /**
   * Anybody, and we are told (src/mount/source-watch.ts): answers end then, or after a minute, for what is not told.
   * For StackFS alone; needs CAP_SYS_ADMIN.
   */
  | 'watched'
  /** Nobody but through this mount: answers don't end, unless something that goes through the mount changes them. */
  | 'exclusive'

/** How long an answer may be given again: seconds, for ever, or as long as the server said. */
export type Life = number | 'forever' | 'server'

/** What can be answered in the kernel. */
export const METADATA_OPERATIONS = ['lookup', 'getattr', 'access', 'getxattr', 'readlink', 'open', 'opendir', 'flush'] as const
export type MetadataOperation = (typeof METADATA_OPERATIONS)[number]

export interface MetadataOptions {
  /** Default: `shared`. */
  coherence?: Coherence
  /** With `watched`: the folder that StackFS serves. The command line knows it. */
  source?: string
  /**
   * Room: so many names, inodes' attributes, extended attributes (present or absent), links, rights and opened files
   * are remembered, rounded up to eight times a power of two. The memory is taken at once: `metadataMemory` tells.
   */
  entries?: number
  attributes?: number
  xattrs?: number
  links?: number
  rights?: number
  opens?: number
  /** Lives, in place of what `coherence` makes of them. */
  attrLife?: Life
  entryLife?: Life
  /** Of names that don't exist. */
  negativeLife?: Life
  /** Of all that the protocol has no time-outs for. */
  otherLife?: Life
  /** What is answered. By default all but flushes; opens only where the server is eFuse's own, those of files unless shared. */
  operations?: { readonly [name in MetadataOperation]?: boolean }
  /**
   * Whether times of access must be right: then an inode that was read is asked for again (default: yes). Otherwise
   * they may lag behind as long as nothing else of it changes.
   */
  exactAccessTimes?: boolean
  /** Files that are opened without the server keep the data that the kernel has cached of them (default: unless shared). */
  keepData?: boolean
  /**
   * Whether the server's answers may depend on who asks: then each is remembered for callers with the same rights only.
   * Default: false for StackFS and MemFS on the command line, else true. Say false of a server that leaves permissions
   * to the kernel (`default_permissions`) and answers all alike.
   */
  perCaller?: boolean
  /**
   * Seconds after attaching before anything is kept. Requests that were under way then have not been seen to begin;
   * this is how long they may take. Default: 1
   */
  settle?: number
}

/** An inode's attributes as `struct fuse_attr` has them; times are seconds, with their nanoseconds beside. */
export interface Attributes {
  ino: bigint
  size: bigint
  blocks: bigint
  atime: bigint
  mtime: bigint
  ctime: bigint
  atimensec: number
  mtimensec: number
  ctimensec: number
  /** With the type. */
  mode: number
  nlink: number
  uid: number
  gid: number
  rdev: number
  blksize: number
}

/** Something that is known before it is asked for. */
export interface Prefill {
  nodeid: bigint
  attributes?: Attributes
  /** A name that it has: its directory, and what LOOKUP would say its generation is. */
  entry?: { parent: bigint; name: string | Uint8Array; generation?: bigint }
}

/** Of one operation. */
export interface MetadataCounts {
  /** Answered in the kernel. */
  answered: number
  /** Answered by the server. */
  passed: number
  /** Answers of the server that were kept. */
  kept: number
}

/** Seconds that answers live where changes are watched, for the sake of those that can't be. */
const WATCHED_LIFE = 60

/** Of these at most so many. */
const MOST_UNTOLD = 4096

/** MD_WAYS */
const WAYS = 8
const FOREVER = 0xffffffffffffffffn
const NAME_BYTES = 64
/** Bytes of a record of each map: bpf/metadata.h. */
const MAPS = {
  attributes: { bytes: 152, default: 65_536 },
  entries: { bytes: 136, default: 65_536 },
  xattrs: { bytes: 144, default: 16_384 },
  links: { bytes: 256, default: 4096 },
  rights: { bytes: 48, default: 4096 },
  opens: { bytes: 64, default: 16_384 },
} as const
type MapName = keyof typeof MAPS
const GENERATION_BYTES = 16

/** enum md_command_code */
const enum Command { Inode = 1, Entry = 2, All = 3, Attr = 4, Name = 5 }

/** Operations by opcode, of those that may be counted. */
const OPERATIONS: Readonly<Record<number, string>> = {
  1: 'FUSE_LOOKUP', 3: 'FUSE_GETATTR', 5: 'FUSE_READLINK', 14: 'FUSE_OPEN', 22: 'FUSE_GETXATTR', 25: 'FUSE_FLUSH',
  27: 'FUSE_OPENDIR', 34: 'FUSE_ACCESS', 52: 'FUSE_STATX',
}

function sets(records: number): number {
  if (!Number.isInteger(records) || records < 1 || records > 1 << 26) {
    throw new RangeError(`metadata: room for ${records} records: it is a whole number from 1 to ${1 << 26}`)
  }
  return 2 ** Math.ceil(Math.log2(Math.max(1, records / WAYS)))
}

function sizes(options: MetadataOptions): Record<MapName, number> {
  return Object.fromEntries(Object.entries(MAPS).map(([name, map]) =>
    [name, sets(options[name as MapName] ?? map.default)])) as Record<MapName, number>
}

/** Places for facets: so many that a change seldom falls on what others share. */
function generations(room: Record<MapName, number>): number {
  return Math.max(1024, room.attributes * WAYS * 2)
}

/** Bytes of kernel memory that a mount with these options takes, whatever it is used for. */
export function metadataMemory(options: MetadataOptions = {}): number {
  const room = sizes(options)
  const records = Object.entries(MAPS).reduce((sum, [name, { bytes }]) => sum + room[name as MapName] * WAYS * bytes, 0)
  return records + generations(room) * GENERATION_BYTES
}

function life(given: Life): bigint {
  if (given === 'forever') return FOREVER
  if (given === 'server') return 0n
  if (!(given >= 0)) throw new RangeError(`metadata: a life of ${given}: it is seconds, 'forever' or 'server'`)
  // 0 would be the server's word
  return BigInt(Math.max(1, Math.round(given * 1e9)))
}

function lives(context: AcceleratorContext, options: MetadataOptions): Record<'attr' | 'entry' | 'negative' | 'other', bigint> {
  const long: Life | null = options.coherence === 'exclusive' ? 'forever' : options.coherence === 'watched' ? WATCHED_LIFE : null
  // A server of ours gives these times itself with its answers; those of names that don't exist, and of all that the
  // protocol has no time-outs for, are to be no longer.
  const own: Life = context.server === 'program' ? 'server' : context.options.attrTimeout ?? 1
  const other = long ?? (own === 0 ? 'server' : own)
  return {
    attr: life(options.attrLife ?? long ?? 'server'),
    entry: life(options.entryLife ?? long ?? 'server'),
    negative: life(options.negativeLife ?? other),
    other: life(options.otherLife ?? other),
  }
}

function agreed(context: AcceleratorContext, name: FuseInitFlagName): boolean | null {
  return context.agreement === null ? null : agreedOn(context.agreement, name)
}

/**
 * Whether answers may depend on who asks. Ours don't, where the kernel checks permissions; of others nobody knows, even
 * if it does.
 */
function differsByCaller(context: AcceleratorContext, given: boolean | undefined): boolean {
  if (given !== undefined) return given
  const ours = context.server === 'stackfs' || context.server === 'memfs'
  return !ours || (context.options.defaultPermissions === false && agreed(context, 'FUSE_POSIX_ACL') !== true)
}

/** Are changes that don't come through the mount told, or none? */
function notShared({ coherence = 'shared' }: MetadataOptions): boolean {
  return coherence !== 'shared'
}

function operations(context: AcceleratorContext, options: MetadataOptions): Record<MetadataOperation, boolean> {
  const own = context.server === 'stackfs' || context.server === 'memfs'
  return {
    lookup: true, getattr: true, access: true, getxattr: true, readlink: true,
    // In shared mode data are asked for anew after each open, and then the server has to open the file anyway: too late
    // to look its name up again, if it has been replaced.
    open: own && notShared(options), opendir: own, flush: false,
    ...options.operations,
  }
}

/** What the server can do beside FUSE: the kernel is told, so that it may be asked for. */
function serverCan({ can = 0, control }: AcceleratorContext): number {
  return can !== 0 && native.ioctlValue(control, EFUSE_IOC_CAN, can) === 0 ? can : 0
}

type Notify = Pick<Notifier, 'invalInode' | 'invalEntry'>

/** A mount's metadata in the kernel. */
export class MetadataCache implements Attachment {
  private closed = false
  private readonly settling: NodeJS.Timeout | null = null
  /** Changes that the kernel's own caches have not been told of yet. */
  private readonly untold = new Map<string, () => Promise<void>>()
  private telling = false
  private readonly counters_: BpfMap<number, CountsValue[]>
  private readonly codec: Codec<any>

  private constructor(
    readonly program: HookProgram,
    readonly link: BpfLink,
    /** Bytes of kernel memory. */
    readonly memory: number,
    settle: number,
    watch: AcceleratorContext['watch'],
    notify: Notify | null,
  ) {
    this.counters_ = program.object.map('counts', { wide: 'number' })
    this.codec = program.object.type('md_command')
    watch?.start((changes) => this.changedBehind(changes, notify))
    if (settle <= 0) {
      this.keep()
    } else {
      this.settling = setTimeout(() => this.keep(), settle * 1000)
      this.settling.unref()
    }
  }

  /** Why it is of no use to a mount. */
  static unfit(): string | null {
    return null
  }

  /**
   * Loads it for a mount and attaches it.
   * @throws BpfError; RangeError for options that make no sense
   */
  static async load(context: AcceleratorContext, options: MetadataOptions = {}): Promise<MetadataCache> {
    const room = sizes(options)
    const living = lives(context, options)
    if (options.coherence === 'watched' && context.watch === undefined) {
      throw new TypeError('coherence: watched needs the source that is to be watched')
    }
    const program = await HookProgram.open(bundledObject('metadata'), { name: 'metadata' })
    const { object } = program
    try {
      for (const name of Object.keys(MAPS) as MapName[]) {
        object.settings(name).maxEntries = room[name]
        object.knobs.set(`${name}_mask`, room[name] - 1)
      }
      object.settings('generations').maxEntries = generations(room)
      const random = randomBytes(16)
      object.knobs.set({
        generations_mask: generations(room) - 1,
        epoch: random.readBigUInt64LE(0) | 1n,
        seed: random.readBigUInt64LE(8),
        attr_life: living.attr,
        entry_life: living.entry,
        negative_life: living.negative,
        other_life: living.other,
        timed: Object.values(living).some((one) => one !== FOREVER),
        by_caller: differsByCaller(context, options.perCaller),
        exact_atime: options.exactAccessTimes ?? true,
        // Where others change the source, a directory that has gone is to be missed when it is opened.
        opendir_unasked: notShared(options) && !differsByCaller(context, options.perCaller),
        keep_data: options.keepData ?? notShared(options),
      })
      const answered = operations(context, options)
      for (const [name, on] of Object.entries(answered)) object.knobs.set(`answer_${name}`, on)
      const can = serverCan(context)
      object.knobs.set({
        tells_attr: (can & EFUSE_CAN_ATTR) !== 0,
        // What opening means for the kernel's own reads and writes is the server's to say.
        without_handles: (can & EFUSE_CAN_NO_HANDLE) !== 0 && answered.open && agreed(context, 'FUSE_PASSTHROUGH') === false,
      })
      const link = program.attach(context.token())
      return new MetadataCache(program, link, metadataMemory(options), options.settle ?? 1,
        context.watch, context.notify ?? null)
    } catch (error) {
      program.close()
      throw error
    }
  }

  private keep(): void {
    if (!this.closed) this.program.object.globals.set('keeping', 1)
  }

  // Numbers ----------------------------------------------------------------------------------------

  /** What became of requests so far, by the kernel's names of operations. */
  counts(): Record<string, MetadataCounts> {
    const counts: Record<string, MetadataCounts> = {}
    if (this.closed) return counts
    for (const [opcode, name] of Object.entries(OPERATIONS)) {
      const sum = { answered: 0, passed: 0, kept: 0 }
      for (const one of this.counters_.get(Number(opcode)) ?? []) {
        sum.answered += one.answered
        sum.passed += one.passed
        sum.kept += one.kept
      }
      counts[name] = sum
    }
    return counts
  }

  answered(): Record<string, number> {
    return Object.fromEntries(Object.entries(this.counts()).filter(([, { answered }]) => answered > 0)
      .map(([name, { answered }]) => [name, answered]))
  }

  counters(): Record<string, number> {
    const counts = Object.values(this.counts())
    const sum = (what: keyof MetadataCounts): number => counts.reduce((all, one) => all + one[what], 0)
    return { answered: sum('answered'), passed: sum('passed'), kept: sum('kept'), memory: this.memory }
  }

  // Changes and knowledge from the server ------------------------------------------------------------------

  /**
   * What is remembered of an inode holds no more: attributes, extended attributes, its listing. What the kernel's own
   * caches have of it is another matter: the server's notifications (`notify`) reach both.
   */
  invalidate(nodeid: bigint): void {
    this.command({ code: Command.Inode, nodeid })
  }

  /** What a name in a directory means has changed. */
  invalidateEntry(parent: bigint, name: string | Uint8Array): void {
    const words = nameWords(name)
    // Longer ones are never remembered; the directory has changed all the same.
    if (words === null) this.invalidate(parent)
    else this.command({ code: Command.Entry, nodeid: parent, name: words })
  }

  /** Nothing of what is remembered holds. */
  invalidateAll(): void {
    this.command({ code: Command.All })
  }

  /** The time of changes: to be read before what is given to `prefill` is gathered. */
  now(): bigint {
    return this.program.object.globals.get<bigint>('clock')
  }

  /**
   * Tells what is known, so that the first who asks is answered in the kernel. Names are answered for inodes that the
   * kernel has met; attributes once it has.
   * @param since `now()` from before it was gathered: what has changed since is not taken
   * @param seconds how long it holds
   * @returns how many were taken. None with `perCaller`: who may have it can't be told beforehand
   */
  prefill(known: Iterable<Prefill>, since: bigint, seconds: number | 'forever'): number {
    const span = seconds === 'forever' ? FOREVER : BigInt(Math.round(seconds * 1e9))
    const valid = seconds === 'forever' ? 0n : BigInt(Math.floor(seconds))
    let taken = 0
    for (const { nodeid, attributes, entry } of known) {
      let all = attributes !== undefined || entry !== undefined
      if (attributes !== undefined) {
        all &&= this.command({ code: Command.Attr, nodeid, began: since, life: span, valid, attr: attributeWords(attributes) }) === 0
      }
      if (entry !== undefined) {
        const name = nameWords(entry.name)
        all &&= name !== null && this.command({
          code: Command.Name, nodeid: entry.parent, child: nodeid, generation: entry.generation ?? 0n, began: since, life: span,
          valid, name,
        }) === 0
      }
      if (all) taken++
    }
    return taken
  }

  /**
   * What others have changed in the source. The kernel's own caches are told afterwards, one by one: what they ask for
   * then is not answered with what was before.
   */
  private changedBehind({ all, nodeids, names }: SourceChanges, notify: Notify | null): void {
    if (all) this.invalidateAll()
    for (const nodeid of nodeids) this.invalidate(nodeid)
    for (const { parent, name } of names) this.invalidateEntry(parent, name)
    if (notify === null) return
    // Who is behind has each thing to tell once. What finds no room ends with the kernel's time-outs.
    for (const nodeid of nodeids) {
      if (this.untold.size < MOST_UNTOLD) this.untold.set(`${nodeid}`, () => notify.invalInode(nodeid, 0, 0))
    }
    for (const { parent, name } of names) {
      if (this.untold.size < MOST_UNTOLD) this.untold.set(`${parent}/${name.toString('latin1')}`, () => notify.invalEntry(parent, name))
    }
    if (!this.telling) void this.tell()
  }

  private async tell(): Promise<void> {
    this.telling = true
    for (const [key, send] of this.untold) {
      this.untold.delete(key)
      // ENOENT: the kernel does not know it.
      await send().catch(() => {})
      if (this.closed) break
    }
    this.telling = false
  }

  private command(command: Record<string, unknown>): number {
    if (this.closed) return 0
    const context = new Uint8Array(this.codec.size)
    this.codec.write(new DataView(context.buffer), 0, command)
    return this.program.object.program('metadata_command').run({ context }).value | 0
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    if (this.settling !== null) clearTimeout(this.settling)
    this.program.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

interface CountsValue {
  answered: number
  passed: number
  kept: number
}

/** A name in 64-bit words. @returns null for one that is longer than those that are remembered */
function nameWords(name: string | Uint8Array): bigint[] | null {
  const bytes = typeof name === 'string' ? Buffer.from(name) : name
  if (bytes.length === 0 || bytes.length > NAME_BYTES) return null
  const padded = Buffer.alloc(NAME_BYTES)
  padded.set(bytes)
  return Array.from({ length: NAME_BYTES / 8 }, (_, word) => padded.readBigUInt64LE(word * 8))
}

function attributeWords(a: Attributes): bigint[] {
  const pair = (low: number, high: number): bigint => BigInt(low >>> 0) | BigInt(high >>> 0) << 32n
  const wide = (value: bigint): bigint => BigInt.asUintN(64, value)
  return [
    wide(a.ino), wide(a.size), wide(a.blocks), wide(a.atime), wide(a.mtime), wide(a.ctime), pair(a.atimensec, a.mtimensec),
    pair(a.ctimensec, a.mode), pair(a.nlink, a.uid), pair(a.gid, a.rdev), pair(a.blksize, 0),
  ]
}
