// SPDX-License-Identifier: MIT
/**
 * A BPF object file: opened, adjusted, loaded into the kernel, attached, closed.
 *
 *     using object = await BpfObject.open(bytes, { name: 'monitor' })
 *     object.knobs.set('target', 42)
 *     object.load()
 *     object.attach()
 *     for (const [key, value] of object.map('counts')) ...
 */
import { readFile } from 'node:fs/promises'
import { constants as osConstants } from 'node:os'
import { BtfTypes } from './btf.js'
import * as codecs from './codec.js'
import type { BpfValue, Codec, Wide } from './codec.js'
import { BpfError } from './error.js'
import { Libbpf, type Pointer } from './libbpf.js'
import { BpfMap, mapTypeName, type BpfMapType } from './map.js'
import { BpfLink, BpfProgram, type Owner } from './program.js'
import { RingBuffer } from './ring-buffer.js'
import { BpfVariables, type Section } from './variables.js'

const { EBADF, EINVAL, ENOENT, EOPNOTSUPP, EPERM } = osConstants.errno
const RODATA = /^\.rodata(\.|$)/
const KCONFIG = '.kconfig'

export interface OpenOptions {
  /** Begins the names of the kernel's objects, and is in messages; by default the file's, or `object`. */
  readonly name?: string
  /** Additional kernel configuration for `__kconfig` variables, as in /boot/config. */
  readonly kconfig?: string
  /** A file with the kernel's types, in place of /sys/kernel/btf/vmlinux. */
  readonly btf?: string
  /** How 64-bit integers are read; `bigint` by default. Each map and ring can choose for itself. */
  readonly wide?: Wide
  /** Keep the verifier's log and libbpf's own of every load, not only of failed ones, in `log`. */
  readonly verbose?: boolean
}

export interface TypeOptions<K = any, V = any> {
  readonly wide?: Wide
  /** In place of what BTF says. */
  readonly key?: Codec<K> | string
  readonly value?: Codec<V> | string
}

export interface RecordOptions<T> {
  /** The records' C type, by its name in the object. */
  readonly type?: Codec<T> | string
  readonly wide?: Wide
}

/** A map of an object before it is loaded: its definition can still be changed. */
export class MapSettings {
  readonly name: string
  readonly type: BpfMapType
  readonly #owner: Owner
  /** `struct bpf_map *`. */
  readonly at: Pointer
  /** Numbers of its types. Loading may forget them, when the kernel does not want them. */
  readonly types: { readonly key: number; readonly value: number }

  /** Use `BpfObject.settings`. */
  constructor(owner: Owner, at: Pointer) {
    const { functions } = owner.libbpf
    this.types = { key: functions.bpf_map__btf_key_type_id(at), value: functions.bpf_map__btf_value_type_id(at) }
    this.#owner = owner
    this.at = at
    this.name = owner.libbpf.string(functions.bpf_map__name(at))
    this.type = mapTypeName(functions.bpf_map__type(at))
  }

  #get(what: string): number {
    this.#owner.needOpen()
    return this.#owner.libbpf.functions[what](this.at) >>> 0
  }

  #set(what: string, value: number): void {
    this.#owner.needUnloaded()
    const { libbpf } = this.#owner
    libbpf.call(`map ${this.name}`, () => libbpf.functions[what](this.at, value))
  }

  get maxEntries(): number { return this.#get('bpf_map__max_entries') }
  set maxEntries(value: number) { this.#set('bpf_map__set_max_entries', value) }

  /** Bytes. Of a section's map (`.bss.name`): its size, which the last array of it follows. */
  get valueSize(): number { return this.#get('bpf_map__value_size') }
  set valueSize(value: number) { this.#set('bpf_map__set_value_size', value) }

  get keySize(): number { return this.#get('bpf_map__key_size') }

  /** `BPF_F_*` */
  get flags(): number { return this.#get('bpf_map__map_flags') }
  set flags(value: number) { this.#set('bpf_map__set_map_flags', value) }

  /** Whether `load` makes it. */
  get autocreate(): boolean { return this.#get('bpf_map__autocreate') !== 0 }
  set autocreate(on: boolean) { this.#set('bpf_map__set_autocreate', Number(on)) }

  /** For maps of maps: a map whose like the inner ones are. It may be closed after `load`. */
  setInner(map: { readonly fd: number }): void {
    this.#set('bpf_map__set_inner_map_fd', map.fd)
  }

  /** Takes a map that exists in place of a new one. */
  reuse(map: { readonly fd: number }): void {
    this.#set('bpf_map__reuse_fd', map.fd)
  }

  /** Where `load` pins it, or finds it pinned and takes that. */
  pinAt(path: string): void {
    this.#owner.needUnloaded()
    const { libbpf } = this.#owner
    libbpf.call(`map ${this.name}`, () => libbpf.text(path, (at) =>
      libbpf.functions.bpf_map__set_pin_path(this.at, at)))
  }
}

/** A kernel interface filled with programs (BPF_MAP_TYPE_STRUCT_OPS). */
export class StructOps {
  readonly name: string
  /** The interface's scalar members, which can be set before `load`. */
  readonly fields: BpfVariables
  readonly #owner: Owner
  readonly #at: Pointer

  /** Use `BpfObject.structOps`. */
  constructor(owner: Owner, at: Pointer, name: string, fields: BpfVariables) {
    this.#owner = owner
    this.#at = at
    this.name = name
    this.fields = fields
  }

  /**
   * Gives it to the kernel, for as long as the link is open. One in `SEC(".struct_ops.link")` ends with its process;
   * one in `SEC(".struct_ops")` only when the link is closed, which the process's orderly exit does as well.
   */
  attach(): BpfLink {
    return this.#attach(`struct_ops ${this.name}: attach`)
  }

  /**
   * Takes the place of one that is attached, of this object or another, in one step: nothing passes by between. Both
   * must be in `SEC(".struct_ops.link")`. The kernel decides what may replace what.
   *
   * @param link is closed: what it kept attached belongs to the link that is returned
   */
  replace(link: { readonly fd: number; close(): void }): BpfLink {
    const { libbpf } = this.#owner
    const replacing = libbpf.replacing(link.fd, () => this.#attach(`struct_ops ${this.name}: replace`))
    link.close()
    return replacing
  }

  #attach(what: string): BpfLink {
    this.#owner.needLoaded()
    const { libbpf } = this.#owner
    const at = libbpf.pointer(what, () => libbpf.functions.bpf_map__attach_struct_ops(this.#at))
    return this.#owner.adopt(new BpfLink(this.#owner, at, what))
  }
}

function isWholeNumber(codec: Codec<any>): boolean {
  return ['bigint', 'number'].includes(typeof codec.read(new DataView(new ArrayBuffer(codec.size)), 0))
}

/** Objects that are open in this thread; closed when it ends. */
const open = new Set<BpfObject>()
let watching = false

function closeAtExit(object: BpfObject): void {
  open.add(object)
  if (watching) return
  watching = true
  process.on('exit', () => { for (const one of open) one.close() })
}

export class BpfObject {
  readonly name: string
  /** `const volatile` variables: to be set before `load`, which fixes them. */
  readonly knobs: BpfVariables
  /** Other global variables: initial values before `load`, the programs' own, live, afterwards. */
  readonly globals: BpfVariables
  readonly #libbpf: Libbpf
  #at: Pointer
  readonly #types: BtfTypes
  readonly #wide: Wide
  readonly #owner: Owner
  readonly #maps = new Map<string, MapSettings>()
  readonly #programs = new Map<string, BpfProgram>()
  readonly #opened = new Map<string, BpfMap>()
  readonly #rings = new Map<string, RingBuffer<any>>()
  readonly #links = new Set<BpfLink>()
  /** Sections that were fixed by `load`. */
  readonly #fixed = new Map<string, DataView>()
  #loaded = false
  #log = ''

  /**
   * Opens an object file. Nothing is loaded into the kernel yet.
   *
   * @param source its bytes, or where they are
   * @throws BpfError when it is no BPF object, or libbpf has not been built (ENOENT)
   */
  static async open(source: Uint8Array | string | URL, options: OpenOptions = {}): Promise<BpfObject> {
    const fileName = source instanceof Uint8Array ? null : /([^/]*?)(?:\.bpf)?\.o$/.exec(String(source))?.[1] ?? null
    const name = options.name ?? fileName ?? 'object'
    const bytes = source instanceof Uint8Array ? source : await readFile(source)
    const libbpf = await Libbpf.acquire(options.verbose ?? false)
    try {
      return new BpfObject(libbpf, bytes, name, options)
    } catch (error) {
      libbpf.release()
      throw error
    }
  }

  private constructor(libbpf: Libbpf, bytes: Uint8Array, name: string, options: OpenOptions) {
    this.name = name
    this.#libbpf = libbpf
    this.#wide = options.wide ?? 'bigint'
    const f = libbpf.functions
    this.#at = libbpf.pointer(`open ${name}`, () => libbpf.allocated(bytes, (at) => libbpf.text(name, (nameAt) =>
      libbpf.text(options.kconfig ?? null, (kconfig) => libbpf.text(options.btf ?? null, (btf) =>
        f.object_open(at, bytes.length, nameAt, kconfig, btf, options.verbose ? 1 : 0))))))
    this.#log = libbpf.log
    this.#owner = {
      libbpf,
      name,
      adopt: (link) => {
        this.#links.add(link)
        return link
      },
      forget: (link) => { this.#links.delete(link) },
      needOpen: () => this.#needOpen(),
      needLoaded: () => this.#needLoaded(),
      needUnloaded: () => this.#needUnloaded(),
    }
    try {
      this.#types = new BtfTypes(this.#owner, f.bpf_object__btf(this.#at))
      for (let at = f.bpf_object__next_map(this.#at, 0); at !== 0; at = f.bpf_object__next_map(this.#at, at)) {
        const map = new MapSettings(this.#owner, at)
        this.#maps.set(map.name, map)
      }
      for (let at = f.bpf_object__next_program(this.#at, 0); at !== 0; at = f.bpf_object__next_program(this.#at, at)) {
        const program = new BpfProgram(this.#owner, at)
        this.#programs.set(program.name, program)
      }
      const sections = [...this.#maps.values()].filter((map) => f.bpf_map__is_internal(map.at) !== 0)
      const fixed = sections.filter((map) => RODATA.test(this.#section(map)))
      const shared = sections.filter((map) => !RODATA.test(this.#section(map)) && this.#section(map) !== KCONFIG)
      this.knobs = new BpfVariables(`${name}: knob`, fixed.map((map) => this.#variables(map, true)))
      this.globals = new BpfVariables(`${name}: variable`, shared.map((map) => this.#variables(map, false)))
    } catch (error) {
      libbpf.finish(() => f.bpf_object__close(this.#at))
      throw error
    }
    closeAtExit(this)
  }

  // Before loading -------------------------------------------------------------------------------

  /** A section's own name: its map is called `monitor.rodata`, say, or what it is in the file. */
  #section(map: MapSettings): string {
    const dot = map.name.indexOf('.')
    return dot < 0 ? map.name : map.name.slice(dot)
  }

  /** Bytes of a map's initial value in libbpf's memory. */
  #initial(map: MapSettings): DataView {
    const { libbpf } = this.#owner
    return libbpf.allocated(new Uint8Array(8), (sizeAt) => {
      const at = libbpf.functions.bpf_map__initial_value(map.at, sizeAt)
      if (at === 0) throw new BpfError(`map ${map.name}: initial value`, EINVAL)
      const bytes = libbpf.bytes(at, libbpf.view().getUint32(sizeAt, true))
      return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    })
  }

  #variables(map: MapSettings, fixed: boolean): Section {
    let live: DataView | null = null
    return {
      variables: this.#types.variables(map.types.value, this.#wide),
      memory: (write) => {
        this.#needOpen()
        if (!this.#loaded) return this.#initial(map)
        if (!fixed) return live ??= new DataView(this.map(map.name).memory().buffer)
        if (write) throw new BpfError(`${this.name}: knobs`, EPERM, 'they are fixed when the object is loaded')
        return this.#fixed.get(map.name)!
      },
    }
  }

  /**
   * A map's definition, to be changed before `load`.
   *
   * @param name as in C; a section's (`.bss`) too, whose map's own name has the object's before it
   * @throws BpfError ENOENT
   */
  settings(name: string): MapSettings {
    const found = this.#maps.get(name)
      ?? (name.startsWith('.') ? [...this.#maps.values()].find((map) => this.#section(map) === name) : undefined)
    if (found !== undefined) return found
    throw new BpfError(`${this.name}: map ${name}`, ENOENT, `there are ${[...this.#maps.keys()].join(', ') || 'none'}`)
  }

  /**
   * The whole numbers among a section's variables (`.bss`) and where they lie in its map's value: for who reads them
   * without this object.
   */
  counters(section: string): { name: string; offset: number; size: 4 | 8 }[] {
    const map = [...this.#maps.values()].find((one) => this.#section(one) === section)
    if (map === undefined) return []
    return this.#types.variables(map.types.value, this.#wide).flatMap((variable) => {
      const { name, offset, size } = variable
      return (size === 4 || size === 8) && isWholeNumber(variable.codec) ? [{ name, offset, size }] : []
    })
  }

  get mapNames(): string[] {
    return [...this.#maps.keys()]
  }

  get programs(): BpfProgram[] {
    return [...this.#programs.values()]
  }

  /** @throws BpfError ENOENT */
  program(name: string): BpfProgram {
    const found = this.#programs.get(name)
    if (found !== undefined) return found
    const names = [...this.#programs.keys()].join(', ') || 'none'
    throw new BpfError(`${this.name}: program ${name}`, ENOENT, `there are ${names}`)
  }

  /** A struct_ops by its variable's name. @throws BpfError ENOENT, EINVAL */
  structOps(name: string): StructOps {
    this.#needOpen()
    const map = this.settings(name)
    if (map.type !== 'struct_ops') throw new BpfError(`map ${name}`, EINVAL, 'it is no struct_ops')
    const codec = this.#types.codec(map.types.value, this.#wide)
    const variables = (codec.members ?? []).map((member) =>
      ({ name: member.name, offset: member.bit >> 3, size: member.codec.size, codec: member.codec }))
    const memory = (write: boolean) => {
      if (write) this.#needUnloaded()
      else this.#needOpen()
      return this.#initial(map)
    }
    const fields = new BpfVariables(`struct_ops ${name}: member`, [{ variables, memory }])
    return new StructOps(this.#owner, map.at, name, fields)
  }

  // Loading --------------------------------------------------------------------------------------

  /**
   * Makes the maps and loads the programs. An object that failed to load can only be closed.
   *
   * @throws BpfError with the verifier's log in `log`
   */
  load(): this {
    this.#needUnloaded()
    const { libbpf } = this.#owner
    for (const map of this.#maps.values()) {
      if (!RODATA.test(this.#section(map)) || libbpf.functions.bpf_map__is_internal(map.at) === 0) continue
      const { buffer, byteOffset, byteLength } = this.#initial(map)
      this.#fixed.set(map.name, new DataView(buffer.slice(byteOffset, byteOffset + byteLength)))
    }
    try {
      libbpf.call(`load ${this.name}`, () => libbpf.functions.bpf_object__load(this.#at))
    } catch (error) {
      // libbpf tries the simplest of programs first, and blames kernels that are long gone when it is refused.
      if (!(error instanceof BpfError) || error.errno !== EPERM || !error.log.includes('probe_loading')) throw error
      throw new BpfError(`load ${this.name}`, EPERM, error.log, 'it takes CAP_BPF and CAP_PERFMON, or root')
    }
    this.#log += libbpf.log
    this.#loaded = true
    return this
  }

  get loaded(): boolean {
    return this.#loaded
  }

  /** What libbpf, and with `verbose` the verifier, have said until now. */
  get log(): string {
    return this.#log
  }

  /** Attaches every program that says in its section what to, and every struct_ops. All or none. */
  attach(): BpfLink[] {
    this.#needLoaded()
    const links: BpfLink[] = []
    try {
      for (const program of this.#programs.values()) {
        const link = program.autoload ? this.#attachIfItSays(program) : null
        if (link !== null) links.push(link)
      }
      for (const map of this.#maps.values()) {
        if (map.type === 'struct_ops' && map.autocreate) links.push(this.structOps(map.name).attach())
      }
    } catch (error) {
      for (const link of links) link.close()
      throw error
    }
    return links
  }

  /** Null for a program whose section does not say what it is attached to, or a struct_ops'. */
  #attachIfItSays(program: BpfProgram): BpfLink | null {
    try {
      return program.attach()
    } catch (error) {
      // libbpf's answer for those; when the kernel refuses, libbpf says more.
      if (error instanceof BpfError && error.errno === EOPNOTSUPP && error.log === '') return null
      throw error
    }
  }

  // After loading --------------------------------------------------------------------------------

  #codec(given: Codec<any> | string | undefined, id: number, wide: Wide): Codec<any> | undefined {
    if (typeof given === 'object') return given
    if (given !== undefined) return this.type(given, wide)
    return id > 0 ? this.#types.codec(id, wide) : undefined
  }

  /**
   * A map, after `load`, by the names that `settings` knows; keys and values as its BTF types say. The same one each
   * time, with the first call's types.
   *
   * @throws BpfError ENOENT
   */
  map<K = any, V = any>(name: string, options: TypeOptions<K> = {}): BpfMap<K, V> {
    this.#needLoaded()
    const settings = this.settings(name)
    const known = this.#opened.get(settings.name)
    if (known !== undefined) return known
    const wide = options.wide ?? this.#wide
    const fd = this.#libbpf.call(`map ${name}`, () => this.#libbpf.functions.bpf_map__fd(settings.at))
    // A section's value is its variables, which have their own names: see `knobs` and `globals`.
    const section = this.#libbpf.functions.bpf_map__is_internal(settings.at) !== 0
    const value = section ? undefined : this.#codec(options.value, settings.types.value, wide)
    const map = new BpfMap<K, V>(name, fd, { key: this.#codec(options.key, settings.types.key, wide), value })
    this.#opened.set(settings.name, map)
    return map
  }

  /**
   * The consumer of a ring buffer.
   *
   * @param records without a type, they are copies of their bytes
   */
  ringBuffer<T = Uint8Array>(name: string, records: RecordOptions<T> = {}): RingBuffer<T> {
    const known = this.#rings.get(name)
    if (known !== undefined) return known
    const map = this.map(name)
    if (map.type !== 'ringbuf') throw new BpfError(`map ${name}`, EINVAL, `it is no ring buffer but ${map.type}`)
    const codec = this.#codec(records.type, 0, records.wide ?? this.#wide) ?? codecs.bytes('record', 0)
    const ring = new RingBuffer<T>(name, map.fd, map.maxEntries, codec)
    this.#rings.set(name, ring)
    return ring
  }

  /** The codec of a C type that the object has, such as a record's struct. @throws BpfError ENOENT */
  type<T = BpfValue>(name: string, wide: Wide = this.#wide): Codec<T> {
    this.#needOpen()
    const found = this.#types.find(name, wide)
    if (found === null) throw new BpfError(`${this.name}: type ${name}`, ENOENT, 'the object has no type of that name')
    return found
  }

  /** An enumeration of the object: its values by name. */
  enumeration(name: string): ReadonlyMap<string, bigint> {
    this.#needOpen()
    return this.#types.enumeration(name)
  }

  // The end ----------------------------------------------------------------------------------------

  #needOpen(): void {
    if (this.#at === 0) throw new BpfError(this.name, EBADF, 'it is closed')
  }

  #needLoaded(): void {
    this.#needOpen()
    if (!this.#loaded) throw new BpfError(this.name, EINVAL, 'it is not loaded')
  }

  #needUnloaded(): void {
    this.#needOpen()
    if (this.#loaded) throw new BpfError(this.name, EPERM, 'it is loaded')
  }

  get closed(): boolean {
    return this.#at === 0
  }

  /** Detaches, and unloads what nobody else holds: links, programs and maps that are pinned stay. Idempotent. */
  close(): void {
    if (this.#at === 0) return
    const at = this.#at
    for (const ring of this.#rings.values()) ring.close()
    for (const link of [...this.#links]) link.close()
    for (const map of this.#opened.values()) map.close()
    this.#at = 0
    open.delete(this)
    this.#libbpf.finish(() => this.#libbpf.functions.bpf_object__close(at))
    this.#libbpf.release()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
