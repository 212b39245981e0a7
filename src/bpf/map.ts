// SPDX-License-Identifier: MIT
/**
 * BPF maps: the kernel's tables that programs and their user share. Once loaded they are driven by native calls,
 * with neither libbpf nor WebAssembly in the way.
 */
import { constants as osConstants } from 'node:os'
import * as native from '../native.js'
import type { BpfMapHandle } from '../native.js'
import { Block } from '../protocol/struct.js'
import * as codecs from './codec.js'
import type { Codec } from './codec.js'
import { BpfError } from './error.js'
import { getObject, pinObject } from './pin.js'

/** `enum bpf_map_type`, in the kernel's order. */
const TYPES = [
  'unspec', 'hash', 'array', 'prog_array', 'perf_event_array', 'percpu_hash', 'percpu_array', 'stack_trace',
  'cgroup_array', 'lru_hash', 'lru_percpu_hash', 'lpm_trie', 'array_of_maps', 'hash_of_maps', 'devmap', 'sockmap',
  'cpumap', 'xskmap', 'sockhash', 'cgroup_storage', 'reuseport_sockarray', 'percpu_cgroup_storage', 'queue', 'stack',
  'sk_storage', 'devmap_hash', 'struct_ops', 'ringbuf', 'inode_storage', 'task_storage', 'bloom_filter',
  'user_ringbuf', 'cgrp_storage', 'arena', 'insn_array',
] as const

/** A map's type, as bpftool names it. */
export type BpfMapType = (typeof TYPES)[number]

export function mapTypeName(type: number): BpfMapType {
  return TYPES[type] ?? 'unspec'
}

type Types = ReadonlySet<BpfMapType>
const PER_CPU: Types = new Set(['percpu_hash', 'percpu_array', 'lru_percpu_hash', 'percpu_cgroup_storage'])
/** Maps whose values are programs, maps or files. */
const DESCRIPTORS: Types = new Set(['prog_array', 'perf_event_array', 'cgroup_array', 'array_of_maps', 'hash_of_maps'])
/** Maps whose keys are numbers from 0 on. */
const INDEXED: Types = new Set(
  ['array', 'percpu_array', 'prog_array', 'perf_event_array', 'cgroup_array', 'array_of_maps'])

/** Of `enum bpf_cmd`. */
const enum Command {
  Create = 0, Lookup = 1, Update = 2, Delete = 3, NextKey = 4, Take = 21, LookupBatch = 24, TakeBatch = 25,
  UpdateBatch = 26,
}
const { ENOENT, ENOSPC, EBADF, EINVAL } = osConstants.errno
const ENOTSUPP = 524
const BPF_F_MMAPABLE = 1 << 10
/** `BPF_ANY`, `BPF_NOEXIST`, `BPF_EXIST`. */
const MODES = { any: 0, create: 1, replace: 2 } as const
/** Bytes of keys and values that a batch aims at. */
const BATCH_BYTES = 64 << 10

/** What `set` does about an element that is there already, or not. */
export type UpdateMode = keyof typeof MODES

/** For `BpfMap.create`. */
export interface MapDefinition {
  readonly type: BpfMapType
  /** At most 15 characters. */
  readonly name?: string
  readonly keySize: number
  readonly valueSize: number
  readonly maxEntries: number
  /** `BPF_F_*` */
  readonly flags?: number
}

/** Where a batch's parts lie in its block: cursors, keys and values; and how many elements. */
interface BatchPlaces {
  readonly from: number
  readonly to: number
  readonly keys: number
  readonly values: number
  readonly count: number
}

/** Elements that a batch has found, and where. */
interface Batch {
  readonly count: number
  readonly view: DataView
  readonly keys: number
  readonly values: number
}

export interface MapCodecs<K, V> {
  readonly key?: Codec<K>
  /** Of one CPU's value, in per-CPU maps. */
  readonly value?: Codec<V>
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / 8) * 8
}

/**
 * An open map. In per-CPU maps `V` is an array, with a value for each possible CPU.
 *
 * Errors are `BpfError`s, with the errno's name in `code`; an element that is not there is none.
 */
export class BpfMap<K = any, V = any> implements Iterable<[K, V]> {
  readonly name: string
  readonly type: BpfMapType
  readonly keySize: number
  /** Of one CPU's value, in per-CPU maps. */
  readonly valueSize: number
  readonly maxEntries: number
  readonly keyCodec: Codec<any>
  readonly valueCodec: Codec<any>
  #handle: BpfMapHandle | null
  readonly #flags: number
  readonly #whole: number
  readonly #block: Block
  readonly #view: DataView
  /** Places in the block: a key, a further key, a whole value. */
  readonly #key = 8
  readonly #nextKey: number
  readonly #value: number
  #memory: Block | null = null

  /** Opens what a descriptor refers to; the descriptor itself stays its owner's. */
  constructor(name: string, fd: number, given: MapCodecs<any, any> = {}) {
    let handle
    try {
      handle = native.bpfMapOpen(fd)
    } catch (error) {
      throw new BpfError(`map ${name}`, (error as NodeJS.ErrnoException).errno ?? EBADF)
    }
    this.name = name
    this.#handle = handle
    this.type = mapTypeName(handle.type)
    this.keySize = handle.keySize
    this.valueSize = handle.valueSize
    this.maxEntries = handle.maxEntries
    this.#flags = handle.flags
    this.#whole = handle.wholeValueSize
    this.keyCodec = given.key ?? defaultKey(this.type, this.keySize)
    const one = given.value ?? defaultValue(this.type, this.valueSize)
    try {
      this.#fits('key', this.keyCodec, this.keySize)
      this.#fits('value', one, this.valueSize)
    } catch (error) {
      this.close()
      throw error
    }
    const stride = aligned(this.valueSize)
    this.valueCodec = PER_CPU.has(this.type)
      ? codecs.sequence(`${one.name} per CPU`, one, this.#whole / stride, stride)
      : one
    this.#nextKey = this.#key + aligned(this.keySize)
    this.#value = this.#nextKey + aligned(this.keySize)
    this.#block = new Block(new ArrayBuffer(this.#value + aligned(Math.max(this.#whole, 8))))
    this.#view = new DataView(this.#block.buffer)
  }

  /** Makes a map that belongs to no object, such as an inner map. `close` it. */
  static create<K = any, V = any>(definition: MapDefinition, given: MapCodecs<K, V> = {}): BpfMap<K, V> {
    const name = definition.name ?? ''
    const block = new Block(new ArrayBuffer(80))
    const view = new DataView(block.buffer)
    // union bpf_attr from offset 8, as 0 would be NULL.
    view.setUint32(8, TYPES.indexOf(definition.type), true)
    view.setUint32(12, definition.keySize, true)
    view.setUint32(16, definition.valueSize, true)
    view.setUint32(20, definition.maxEntries, true)
    view.setUint32(24, definition.flags ?? 0, true)
    const encoded = new TextEncoder().encode(name)
    if (encoded.length > 15) throw new RangeError(`the name ${name} is longer than 15 bytes`)
    block.u8.set(encoded, 36)
    const fd = native.bpf(Command.Create, block, 8, 72)
    if (fd < 0) throw new BpfError(`map ${name}`, fd, native.bpfRefusal())
    try {
      return new BpfMap<K, V>(name, fd, given)
    } finally {
      native.bpfClose(fd)
    }
  }

  /** Opens a map that was pinned. `close` it. */
  static open<K = any, V = any>(path: string, given: MapCodecs<K, V> = {}): BpfMap<K, V> {
    const fd = getObject(path)
    try {
      return new BpfMap<K, V>(path, fd, given)
    } finally {
      native.bpfClose(fd)
    }
  }

  #fits(what: string, { name, size }: Codec<any>, has: number): void {
    if (size === has) return
    throw new BpfError(`map ${this.name}`, EINVAL, `its ${what} has ${has} bytes, ${name} has ${size}`)
  }

  #open(): BpfMapHandle {
    if (this.#handle === null) throw new BpfError(`map ${this.name}`, EBADF, 'it is closed')
    return this.#handle
  }

  #fail(what: string, errno: number): never {
    throw new BpfError(`map ${this.name}: ${what}`, errno, native.bpfRefusal())
  }

  /** One command on one element. @returns the errno, negated, only where that is an answer; else it throws */
  #element(command: Command, what: string, key: number, value: number, flags: number, ...answers: number[]): number {
    const result = native.bpfMapElement(command, this.#open().handle, this.#block, key, value, flags)
    if (result < 0 && !answers.includes(-result)) this.#fail(what, result)
    return result
  }

  #writeKey(key: K): number {
    if (this.keySize === 0) return 0
    this.keyCodec.write(this.#view, this.#key, key)
    return this.#key
  }

  /** A descriptor of the map, its own. */
  get fd(): number {
    return this.#open().fd
  }

  // Single elements --------------------------------------------------------------------------------

  /** The value of a key; undefined if there is none. */
  get(key: K): V | undefined {
    const found = this.#element(Command.Lookup, 'look-up', this.#writeKey(key), this.#value, 0, ENOENT)
    return found < 0 ? undefined : this.valueCodec.read(this.#view, this.#value)
  }

  has(key: K): boolean {
    return this.#element(Command.Lookup, 'look-up', this.#writeKey(key), this.#value, 0, ENOENT) >= 0
  }

  /**
   * The bytes of a key's value, all CPUs' (each from a multiple of 8 on), without a copy: valid until the map's next
   * call. For those who read often and know the layout.
   */
  peekBytes(key: K): Uint8Array | undefined {
    const found = this.#element(Command.Lookup, 'look-up', this.#writeKey(key), this.#value, 0, ENOENT)
    return found < 0 ? undefined : this.#block.u8.subarray(this.#value, this.#value + this.#whole)
  }

  /**
   * Sets a value. In maps of programs or maps the value is one of those, or a descriptor.
   *
   * @param mode `create` only where there is none (EEXIST), `replace` only where there is one (ENOENT)
   */
  set(key: K, value: V, mode: UpdateMode = 'any'): this {
    const at = this.#writeKey(key)
    this.valueCodec.write(this.#view, this.#value, value)
    this.#element(Command.Update, 'update', at, this.#value, MODES[mode])
    return this
  }

  /** Whether there was one. */
  delete(key: K): boolean {
    return this.#element(Command.Delete, 'delete', this.#writeKey(key), 0, 0, ENOENT) >= 0
  }

  /** Removes a value and returns it, in one step. */
  take(key: K): V | undefined {
    const found = this.#element(Command.Take, 'take', this.#writeKey(key), this.#value, 0, ENOENT)
    return found < 0 ? undefined : this.valueCodec.read(this.#view, this.#value)
  }

  /** Adds to a queue, a stack or a bloom filter. @throws BpfError E2BIG when a queue is full */
  push(value: V): void {
    this.valueCodec.write(this.#view, this.#value, value)
    this.#element(Command.Update, 'push', 0, this.#value, 0)
  }

  /** Takes from a queue or a stack; undefined when it is empty. */
  pop(): V | undefined {
    const found = this.#element(Command.Take, 'pop', 0, this.#value, 0, ENOENT)
    return found < 0 ? undefined : this.valueCodec.read(this.#view, this.#value)
  }

  /** What `pop` would take. */
  peek(): V | undefined {
    const found = this.#element(Command.Lookup, 'peek', 0, this.#value, 0, ENOENT)
    return found < 0 ? undefined : this.valueCodec.read(this.#view, this.#value)
  }

  // All of it --------------------------------------------------------------------------------------

  /**
   * All elements, by batches where the map's type has them. What is added or removed meanwhile may or may not be
   * seen. Arrays have all their indices, maps of programs those that are filled.
   */
  *entries(): IterableIterator<[K, V]> {
    for (const { count, view, keys, values } of this.#batches(Command.LookupBatch)) {
      for (let i = 0; i < count; i++) {
        const key = this.keyCodec.read(view, keys + i * this.keySize)
        yield [key, this.valueCodec.read(view, values + i * this.#whole)]
      }
    }
  }

  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.entries()
  }

  *keys(): IterableIterator<K> {
    for (const { count, view, keys } of this.#batches(Command.LookupBatch)) {
      for (let i = 0; i < count; i++) yield this.keyCodec.read(view, keys + i * this.keySize)
    }
  }

  *values(): IterableIterator<V> {
    for (const { count, view, values } of this.#batches(Command.LookupBatch)) {
      for (let i = 0; i < count; i++) yield this.valueCodec.read(view, values + i * this.#whole)
    }
  }

  /** Removes all elements and returns them: each is returned once, whatever programs do meanwhile. Not for arrays. */
  takeAll(): [K, V][] {
    const taken: [K, V][] = []
    for (const { count, view, keys, values } of this.#batches(Command.TakeBatch)) {
      for (let i = 0; i < count; i++) {
        const key = this.keyCodec.read(view, keys + i * this.keySize)
        taken.push([key, this.valueCodec.read(view, values + i * this.#whole)])
      }
    }
    return taken
  }

  /** Removes all elements. */
  clear(): void {
    for (const _ of this.#batches(Command.TakeBatch));
  }

  /** Sets many elements. @returns how many */
  setMany(entries: Iterable<readonly [K, V]>, mode: UpdateMode = 'any'): number {
    return this.#write(Command.UpdateBatch, entries, MODES[mode])
  }

  /** Removes many elements; those that are not there are passed over. @returns how many there were */
  deleteMany(keys: Iterable<K>): number {
    let deleted = 0
    for (const key of keys) deleted += Number(this.delete(key))
    return deleted
  }

  #batchCapacity(): number {
    const one = this.keySize + this.#whole
    return Math.max(1, Math.min(this.maxEntries, Math.max(16, Math.floor(BATCH_BYTES / one))))
  }

  /** Memory for a batch: attr, two cursors, keys and values. */
  #batchBlock(capacity: number) {
    const cursor = aligned(Math.max(this.keySize, 4))
    const first = 64
    const keys = first + 2 * cursor
    const values = keys + aligned(capacity * this.keySize)
    const block = new Block(new ArrayBuffer(values + aligned(capacity * this.#whole)))
    const view = new DataView(block.buffer)
    return { block, view, cursors: [first, first + cursor], keys, values }
  }

  *#batches(command: Command): IterableIterator<Batch> {
    let capacity = this.#batchCapacity()
    let memory = this.#batchBlock(capacity)
    const attr = 8
    let from = 0
    for (;;) {
      const { block, view, cursors, keys, values } = memory
      // The cursor that is written must not be the one that is read.
      const to = cursors[from === cursors[0] ? 1 : 0]
      this.#batchAttr(view, attr, { from, to, keys, values, count: capacity })
      const result = native.bpf(command, block, attr, 56)
      const count = view.getUint32(attr + 32, true)
      if (result === -ENOSPC) {
        // A hash bucket holds more than there was room for.
        const larger = this.#batchBlock(capacity *= 2)
        larger.block.u8.set(block.u8.subarray(cursors[0], keys), larger.cursors[0])
        memory = larger
        continue
      }
      if (from === 0 && (result === -ENOTSUPP || result === -EINVAL)) {
        yield* this.#oneByOne(command)
        return
      }
      if (result < 0 && result !== -ENOENT) this.#fail('batch', result)
      if (count > 0) yield { count, view, keys, values }
      if (result < 0) return
      from = to
    }
  }

  #batchAttr(view: DataView, attr: number, at: BatchPlaces): void {
    const set = (offset: number, value: number) => view.setBigUint64(attr + offset, BigInt(value), true)
    set(0, at.from)
    set(8, at.to)
    set(16, at.keys)
    set(24, at.values)
    view.setUint32(attr + 32, at.count, true)
    view.setUint32(attr + 36, this.fd, true)
    set(40, 0)
    set(48, 0)
  }

  /** For the types that have no batches. */
  *#oneByOne(command: Command): IterableIterator<Batch> {
    const one = { count: 1, view: this.#view, keys: this.#nextKey, values: this.#value }
    let previous: Uint8Array | null = null
    // When the key before is gone the kernel begins anew: a bound, lest it never end.
    for (let i = 0; i < this.maxEntries; i++) {
      if (previous !== null) this.#block.u8.set(previous, this.#key)
      const key: number = previous === null ? 0 : this.#key
      if (this.#element(Command.NextKey, 'next key', key, this.#nextKey, 0, ENOENT) < 0) return
      previous = this.#block.u8.slice(this.#nextKey, this.#nextKey + this.keySize)
      if (this.#element(Command.Lookup, 'look-up', this.#nextKey, this.#value, 0, ENOENT) < 0) continue
      if (command === Command.TakeBatch) {
        this.#element(Command.Delete, 'delete', this.#nextKey, 0, 0, ENOENT)
        previous = null
      }
      yield one
    }
  }

  #write(command: Command, entries: Iterable<readonly [K, V]>, flags: number): number {
    const capacity = this.#batchCapacity()
    const { block, view, keys, values } = this.#batchBlock(capacity)
    const attr = 8
    let written = 0
    let count = 0
    const flush = () => {
      if (count === 0) return
      this.#batchAttr(view, attr, { from: 0, to: 0, keys, values, count })
      view.setBigUint64(attr + 40, BigInt(flags), true)
      const result = native.bpf(command, block, attr, 56)
      if (result === -ENOTSUPP || result === -EINVAL) {
        for (let i = 0; i < count; i++) {
          const key = this.keyCodec.read(view, keys + i * this.keySize)
          this.keyCodec.write(this.#view, this.#key, key)
          this.#block.u8.set(block.u8.subarray(values + i * this.#whole, values + (i + 1) * this.#whole), this.#value)
          this.#element(Command.Update, 'update', this.#key, this.#value, flags)
        }
      } else if (result < 0) {
        this.#fail('batch', result)
      }
      written += count
      count = 0
    }
    for (const [key, value] of entries) {
      this.keyCodec.write(view, keys + count * this.keySize, key)
      this.valueCodec.write(view, values + count * this.#whole, value)
      if (++count === capacity) flush()
    }
    flush()
    return written
  }

  // Other ways -------------------------------------------------------------------------------------

  /**
   * The memory of an array with `BPF_F_MMAPABLE`, live: elements begin every `valueSize` bytes, rounded up to 8. Not
   * to be used after `close`, which takes it away. EINVAL for other maps.
   */
  memory(): Block {
    const { fd } = this.#open()
    if (this.type !== 'array' || (this.#flags & BPF_F_MMAPABLE) === 0) this.#fail('mapping', EINVAL)
    try {
      this.#memory ??= native.mapDevice(fd, 0, 0, aligned(this.valueSize) * this.maxEntries, false)
    } catch (error) {
      this.#fail('mapping', (error as NodeJS.ErrnoException).errno ?? EINVAL)
    }
    return this.#memory!
  }

  /** Gives the map a name in a BPF file system, where it outlives this process. @param path on bpffs */
  pin(path: string): void {
    pinObject(path, this.fd, `map ${this.name}`)
  }

  /** Ends the use of the map. Maps of an object are closed with it. */
  close(): void {
    if (this.#handle === null) return
    if (this.#memory !== null) native.release(this.#memory)
    native.bpfMapClose(this.#handle.handle)
    this.#handle = null
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

function defaultKey(type: BpfMapType, size: number): Codec<any> {
  return size === 4 && (INDEXED.has(type) || DESCRIPTORS.has(type))
    ? codecs.integer('u32', 4, false, 'number')
    : codecs.bytes(`key of ${size} bytes`, size)
}

function defaultValue(type: BpfMapType, size: number): Codec<any> {
  return DESCRIPTORS.has(type) ? codecs.descriptor : codecs.bytes(`value of ${size} bytes`, size)
}
