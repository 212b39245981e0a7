// SPDX-License-Identifier: MIT
/**
 * Reads and writes answered in the kernel: bpf/io.bpf.c, loaded for one mount of type efuse, or bpf/served.bpf.c where the
 * server gives the kernel no files. docs/data.md tells how they go, and why it is right.
 *
 *     const fileSystem = new StackFS({ source: '/srv', passthrough: 'hooked' })
 *     const mounted = await mount(fileSystem, '/mnt', { type: 'efuse', accelerate: { data: { memory: 16 << 20 } } })
 */
import { randomBytes } from 'node:crypto'
import { agreedOn } from '../protocol/init.js'
import type { AcceleratorContext, Attachment } from './accelerators.js'
import type { HookProgram } from './hooks.js'
import type { BpfMap } from './map.js'
import type { Coherence } from './metadata-cache.js'
import type { BpfLink } from './program.js'

/** How reads go: `adaptive` chooses, `cache` and `direct` always go the same way, `off` leaves them to the server, and writes too. */
export const DATA_POLICIES = ['adaptive', 'cache', 'direct', 'off'] as const
export type DataPolicy = (typeof DATA_POLICIES)[number]

export interface DataOptions {
  /** Default: `adaptive`. */
  policy?: DataPolicy
  /** Bytes of kernel memory for everything, taken at once; 1 MiB to 4 GiB. Default: 64 MiB. `dataMemory` tells what is taken. */
  memory?: number
  /** Reads above so many bytes never go through the cache; at most 32 KiB, the default. */
  limit?: number
  /** The scheduler: so many requests of an inode and size class are a round (default 256), */
  round?: number
  /** the first of which (default 8) try both ways. */
  probes?: number
  /** Whether writes are answered, too. Default: true. */
  writes?: boolean
  /**
   * On the command line: whether each read and write meets the program (`direct`, the default), or those that the kernel's
   * page cache of the mount leaves (`cached`). In programs the file system says so: StackFS's `passthrough`.
   */
  files?: 'direct' | 'cached'
  /** Of servers that give the kernel no files: `exclusive` says that nobody changes them but through this mount. */
  coherence?: Coherence
}

/** What became of reads and writes so far. */
export interface DataCounts {
  /** Reads that the cache answered, and bytes that came through it, also of reads that it did not answer wholly. */
  cached: number
  cached_bytes: number
  /** Reads of the backing file for a caller. */
  direct: number
  direct_bytes: number
  /** Blocks that were in the cache, that were not, and of these the ones that were taken in. */
  hits: number
  misses: number
  filled: number
  written: number
  written_bytes: number
  /** Left to the server. */
  reads_passed: number
  writes_passed: number
  /** Of the scheduler's decisions: those that tried; a part of the others, which is timed; of these, the ones of a kind (from
   * the cache, missed there, direct) that costs more than the other way is expected to; and rounds that ended early because
   * costs had changed. */
  probes: number
  timed: number
  mispredicted: number
  drifted: number
}

const BLOCK = 4096
const WAYS = 4
/** Bytes of struct io_set: four of struct io_block. */
const SET_BYTES = 4 * 40
const MOST_LIMIT = 32768
const DEFAULT_MEMORY = 64 << 20

interface Room {
  sets: number
  /** A power of two. */
  slots: number
}

function within(name: string, value: number, low: number, high: number): number {
  if (Number.isInteger(value) && value >= low && value <= high) return value
  throw new RangeError(`data: ${name} ${value}: it is a whole number from ${low} to ${high}`)
}

/** Bytes of struct io_slot: they get a sixteenth of the memory at most. */
const SLOT_BYTES = 712

/** bpf/served.h: struct served_set, and the counts that blocks depend on: an eighth of the memory at most. */
const SERVED_SET_BYTES = 4 * 48
const SERVED_FILE_BYTES = 32
const SERVED_PLACE_BYTES = 16

interface ServedRoom {
  sets: number
  files: number
  places: number
}

function servedRoomFor(memory: number): ServedRoom {
  const files = 2 ** Math.min(14, Math.floor(Math.log2(memory / 16 / SERVED_FILE_BYTES)))
  const places = 2 ** Math.floor(Math.log2(memory / 16 / SERVED_PLACE_BYTES))
  const left = memory - files * SERVED_FILE_BYTES - places * SERVED_PLACE_BYTES
  return { files, places, sets: Math.floor(left / (WAYS * BLOCK + SERVED_SET_BYTES)) }
}

function servedMemory({ sets, files, places }: ServedRoom): number {
  return sets * (WAYS * BLOCK + SERVED_SET_BYTES) + files * SERVED_FILE_BYTES + places * SERVED_PLACE_BYTES
}

function roomFor(memory: number): Room {
  within('memory', memory, 1 << 20, 2 ** 32)
  const slots = 2 ** Math.min(12, Math.floor(Math.log2(memory / 16 / SLOT_BYTES)))
  const set = WAYS * BLOCK + SET_BYTES
  return { slots, sets: Math.floor((memory - slots * SLOT_BYTES) / set) }
}

/** Bytes of kernel memory that a mount with these options takes, whatever it is used for. */
export function dataMemory({ memory = DEFAULT_MEMORY }: DataOptions = {}): number {
  const { sets, slots } = roomFor(memory)
  return sets * (WAYS * BLOCK + SET_BYTES) + slots * SLOT_BYTES
}

/**
 * Of `--data`: `policy=direct:memory=16M:limit=8K:round=256:probes=8:writes=off`.
 * @throws RangeError for what makes no sense
 */
export function parseDataOptions(text: string): DataOptions {
  const options: Record<string, unknown> = {}
  for (const part of text.split(':')) {
    const [name, value = ''] = part.split('=', 2)
    const number = /^(\d+)([KMG]?)$/.exec(value)
    if (name === 'policy' && (DATA_POLICIES as readonly string[]).includes(value)) options.policy = value
    else if (name === 'files' && (value === 'direct' || value === 'cached')) options.files = value
    else if (name === 'writes' && (value === 'on' || value === 'off')) options.writes = value === 'on'
    else if (['memory', 'limit', 'round', 'probes'].includes(name) && number !== null) {
      options[name] = Number(number[1]) * { '': 1, K: 1 << 10, M: 1 << 20, G: 1 << 30 }[number[2]]!
    } else {
      throw new RangeError(`--data ${part}: it is policy=${DATA_POLICIES.join('|')}, memory=64M, limit=32K, round=256, `
        + 'probes=8, writes=on|off or files=direct|cached, and colons in between')
    }
  }
  checkDataOptions(options)
  return options
}

/** Whether the kernel has the files themselves; otherwise there is only what the server sends. */
export function hasFiles({ agreement }: Pick<AcceleratorContext, 'agreement'>): boolean {
  return agreement !== null && agreedOn(agreement, 'FUSE_PASSTHROUGH')
}

/** Whether nobody changes the files but through the mount. MemFS's are nowhere else. */
export function isExclusive({ server, data }: Pick<AcceleratorContext, 'server' | 'data'>): boolean {
  return server === 'memfs' || data?.coherence === 'exclusive'
}

function checkDataOptions({ policy = 'adaptive', memory, limit, round, probes }: DataOptions): void {
  if (!DATA_POLICIES.includes(policy)) throw new RangeError(`data: policy ${policy}: it is one of ${DATA_POLICIES.join(', ')}`)
  roomFor(memory ?? DEFAULT_MEMORY)
  within('limit', limit ?? MOST_LIMIT, 0, MOST_LIMIT)
  within('round', round ?? 256, 16, 1 << 20)
  within('probes', probes ?? 8, 2, (round ?? 256) / 2)
}

/** A mount's data in the kernel. */
export class DataCache implements Attachment {
  private closed = false
  private readonly counts_: BpfMap<number, DataCounts[]>

  private constructor(
    readonly program: HookProgram,
    readonly link: BpfLink,
    /** Bytes of kernel memory. */
    readonly memory: number,
    readonly object: 'io' | 'served',
  ) {
    this.counts_ = program.object.map('counts', { wide: 'number' })
  }

  /**
   * Loads it for a mount and attaches it.
   * @throws BpfError; RangeError for options that make no sense
   */
  static async load(context: AcceleratorContext, options: DataOptions = {}): Promise<DataCache> {
    checkDataOptions(options)
    const { memory = DEFAULT_MEMORY, limit = MOST_LIMIT } = options
    // Loaded when it is needed: the command line reads this file for its options.
    const [{ HookProgram }, { bundledObject }] = await Promise.all([import('./hooks.js'), import('./libbpf.js')])
    const served = !hasFiles(context)
    if (served && !isExclusive({ server: context.server, data: options })) {
      throw new RangeError('data: the server gives the kernel no files, and others may change what it has: say coherence: \'exclusive\' '
        + 'if they don\'t')
    }
    const program = await HookProgram.open(bundledObject(served ? 'served' : 'io'), { name: 'data' })
    const { object } = program
    const seed = randomBytes(8).readBigUInt64LE()
    try {
      if (served) {
        const room = servedRoomFor(memory)
        object.settings('sets').maxEntries = room.sets
        object.settings('blocks').maxEntries = room.sets * WAYS
        object.settings('files').maxEntries = room.files
        object.settings('places').maxEntries = room.places
        // What is not answered from blocks goes to the server, whatever it is called.
        const used = options.policy !== 'direct' && options.policy !== 'off'
        object.knobs.set({
          seed, nr_sets: room.sets, files_mask: room.files - 1, places_mask: room.places - 1, limit: used ? limit : 0,
        })
        return new DataCache(program, program.attach(context.token()), servedMemory(room), 'served')
      }
      const { sets, slots } = roomFor(memory)
      object.settings('sets').maxEntries = sets
      object.settings('blocks').maxEntries = sets * WAYS
      object.settings('slots').maxEntries = slots
      object.knobs.set({
        seed,
        policy: DATA_POLICIES.indexOf(options.policy ?? 'adaptive'),
        nr_sets: sets,
        slots_mask: slots - 1,
        round: options.round ?? 256,
        probes: options.probes ?? 8,
        limit,
        // As many as the cache has room for 256 of: see io_scheduler.h.
        sample: 2 ** Math.max(0, Math.round(Math.log2(sets * WAYS / 256))),
        answer_write: options.writes ?? true,
      })
      const link = program.attach(context.token())
      return new DataCache(program, link, dataMemory({ memory }), 'io')
    } catch (error) {
      program.close()
      throw error
    }
  }

  /** What became of reads and writes so far. */
  counts(): DataCounts {
    const sum = {
      cached: 0, cached_bytes: 0, direct: 0, direct_bytes: 0, hits: 0, misses: 0, filled: 0, written: 0, written_bytes: 0,
      reads_passed: 0, writes_passed: 0, probes: 0, timed: 0, mispredicted: 0, drifted: 0,
    }
    if (this.closed) return sum
    for (const one of this.counts_.get(0) ?? []) {
      for (const name of Object.keys(sum) as (keyof DataCounts)[]) sum[name] += one[name]
    }
    return sum
  }

  answered(): Record<string, number> {
    const { cached, direct, written } = this.counts()
    const reads = cached + direct
    return { ...(reads > 0 ? { FUSE_READ: reads } : {}), ...(written > 0 ? { FUSE_WRITE: written } : {}) }
  }

  counters(): Record<string, number> {
    return { ...this.counts(), memory: this.memory }
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.program.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
