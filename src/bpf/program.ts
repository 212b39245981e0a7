// SPDX-License-Identifier: MIT
/** Programs of an object, and links: what keeps a program, or a struct_ops, attached. */
import { constants as osConstants } from 'node:os'
import * as native from '../native.js'
import { Block } from '../protocol/struct.js'
import { BpfError } from './error.js'
import type { Libbpf, Pointer } from './libbpf.js'
import { pinObject } from './pin.js'

/** How to attach; what is not given is taken from the program's section. */
export interface AttachOptions {
  /** What bpf_get_attach_cookie() returns in the program. */
  readonly cookie?: bigint | number
  /** `raw_tracepoint`: its name. */
  readonly rawTracepoint?: string
  /** `tracepoint`: category and name. */
  readonly tracepoint?: readonly [category: string, name: string]
  /** `iter`: the map whose elements are visited, or a process or thread whose resources are. */
  readonly iterate?: { readonly map?: { readonly fd: number }; readonly pid?: number; readonly tid?: number }
  /** A kernel function, at its begin or at its return. */
  readonly kprobe?: { readonly function: string; readonly atReturn?: boolean }
  /** A function of a program or library; `pid` -1 is every process. */
  readonly uprobe?: {
    readonly path: string
    readonly function: string
    readonly pid?: number
    readonly atReturn?: boolean
  }
}

/** Of `enum bpf_cmd`. */
const enum Command { LinkUpdate = 29, IterCreate = 33 }

/** What a test run returned. */
export interface RunResult {
  readonly value: number
  readonly data: Uint8Array
  /** Nanoseconds. */
  readonly duration: number
}

/** What programs and maps of one object share. */
export interface Owner {
  readonly libbpf: Libbpf
  readonly name: string
  /** Takes a link in, to be closed with the object. */
  adopt(link: BpfLink): BpfLink
  forget(link: BpfLink): void
  /** Before every use of what libbpf has for the object. @throws BpfError EBADF when it is closed */
  needOpen(): void
  /** @throws BpfError EBADF, EINVAL when it is not loaded */
  needLoaded(): void
  /** @throws BpfError EBADF, EPERM when it is loaded */
  needUnloaded(): void
}

export class BpfProgram {
  readonly name: string
  /** As in `SEC("tp_btf/fuse_request_send")`. */
  readonly section: string
  /** `enum bpf_prog_type` */
  readonly type: number
  readonly #owner: Owner
  readonly #at: Pointer

  /** Use `BpfObject.program`. */
  constructor(owner: Owner, at: Pointer) {
    const { libbpf } = owner
    this.#owner = owner
    this.#at = at
    this.name = libbpf.string(libbpf.functions.bpf_program__name(at))
    this.section = libbpf.string(libbpf.functions.bpf_program__section_name(at))
    this.type = libbpf.functions.bpf_program__type(at)
  }

  /** A descriptor of the program, the object's. */
  get fd(): number {
    this.#owner.needLoaded()
    return this.#owner.libbpf.call(`program ${this.name}`, () => this.#owner.libbpf.functions.bpf_program__fd(this.#at))
  }

  /** Whether `load` loads it: true unless its section begins with `?`. */
  get autoload(): boolean {
    this.#owner.needOpen()
    return this.#owner.libbpf.functions.bpf_program__autoload(this.#at) !== 0
  }

  set autoload(on: boolean) {
    this.#owner.needUnloaded()
    const { libbpf } = this.#owner
    libbpf.call(`program ${this.name}`, () => libbpf.functions.bpf_program__set_autoload(this.#at, Number(on)))
  }

  /**
   * Names what the program is attached to, before `load`: a kernel function or a tracepoint with BTF, or, given a
   * program's descriptor, a function of it.
   */
  setTarget(name: string, programFd = 0): void {
    this.#owner.needUnloaded()
    const { libbpf } = this.#owner
    libbpf.call(`program ${this.name}`, () => libbpf.text(name, (at) =>
      libbpf.functions.bpf_program__set_attach_target(this.#at, programFd, at)))
  }

  /** Attaches it, for as long as the link is open. @throws BpfError */
  attach(options: AttachOptions = {}): BpfLink {
    this.#owner.needLoaded()
    const { libbpf } = this.#owner
    const what = `program ${this.name}: attach`
    const at = libbpf.pointer(what, () => this.#attach(options))
    return this.#owner.adopt(new BpfLink(this.#owner, at, what))
  }

  #attach(options: AttachOptions): Pointer {
    const { libbpf } = this.#owner
    const f = libbpf.functions
    const { rawTracepoint, tracepoint, iterate, kprobe, uprobe } = options
    const cookie = BigInt(options.cookie ?? 0)
    if (rawTracepoint !== undefined) {
      return libbpf.text(rawTracepoint, (name) => f.attach_raw_tracepoint(this.#at, name, cookie))
    }
    if (tracepoint !== undefined) {
      return libbpf.text(tracepoint[0], (category) => libbpf.text(tracepoint[1], (name) =>
        f.attach_tracepoint(this.#at, category, name, cookie)))
    }
    if (iterate !== undefined) {
      return f.attach_iterator(this.#at, iterate.map?.fd ?? -1, iterate.tid ?? 0, iterate.pid ?? 0)
    }
    if (kprobe !== undefined) {
      return libbpf.text(kprobe.function, (name) =>
        f.attach_kprobe(this.#at, name, Number(kprobe.atReturn ?? false), cookie))
    }
    if (uprobe !== undefined) {
      return libbpf.text(uprobe.path, (path) => libbpf.text(uprobe.function, (name) =>
        f.attach_uprobe(this.#at, uprobe.pid ?? -1, path, name, Number(uprobe.atReturn ?? false), cookie)))
    }
    return cookie === 0n ? f.bpf_program__attach(this.#at) : f.attach_trace(this.#at, cookie)
  }

  /**
   * Runs it once, in the kernel, with test input: for types that allow that. BPF_PROG_TEST_RUN
   *
   * @param input a packet, for those that take one. @param outputBytes room for the packet afterwards
   * @param context `struct __sk_buff` and the like, or a raw tracepoint's arguments
   */
  run(input: { data?: Uint8Array; context?: Uint8Array; outputBytes?: number } = {}): RunResult {
    const { libbpf } = this.#owner
    const { data = new Uint8Array(0), context = new Uint8Array(0), outputBytes = 0 } = input
    const { fd } = this
    const zeroed = (bytes: number, use: (at: Pointer) => RunResult) => libbpf.allocated(new Uint8Array(bytes), use)
    return libbpf.allocated(data, (dataAt) => libbpf.allocated(context, (contextAt) => zeroed(outputBytes, (outAt) =>
      zeroed(12, (results) => {
        libbpf.call(`program ${this.name}: run`, () => libbpf.functions.test_run(fd,
          data.length ? dataAt : 0, data.length, outputBytes ? outAt : 0, outputBytes,
          context.length ? contextAt : 0, context.length, results))
        const view = libbpf.view()
        const written = outputBytes ? view.getUint32(results + 4, true) : 0
        return {
          value: view.getUint32(results, true),
          data: libbpf.bytes(outAt, written).slice(),
          duration: view.getUint32(results + 8, true),
        }
      }))))
  }

  /** Gives the program a name in a BPF file system. */
  pin(path: string): void {
    pinObject(path, this.fd, `program ${this.name}`)
  }
}

/** An attachment; it ends when this is closed, and with its process at the latest, unless it is pinned. */
export class BpfLink {
  readonly #owner: Owner
  #at: Pointer
  readonly #what: string

  /** Use `attach`. */
  constructor(owner: Owner, at: Pointer, what: string) {
    this.#owner = owner
    this.#at = at
    this.#what = what
  }

  get closed(): boolean {
    return this.#at === 0
  }

  /** A descriptor of the link, its own; the map's, for a struct_ops that was loaded without a link. */
  get fd(): number {
    return this.#owner.libbpf.functions.bpf_link__fd(this.#open())
  }

  #open(): Pointer {
    if (this.#at === 0) throw new BpfError(this.#what, osConstants.errno.EBADF, 'it is detached')
    return this.#at
  }

  /** Puts another program in this one's place, in one step, where the kind of link allows it. LINK_UPDATE */
  update(program: { readonly fd: number }): void {
    const block = new Block(new ArrayBuffer(24))
    block.u32[2] = this.fd
    block.u32[3] = program.fd
    const result = native.bpf(Command.LinkUpdate, block, 8, 16)
    if (result < 0) throw new BpfError(`${this.#what}: update`, result, native.bpfRefusal())
  }

  /** Runs an iterator to its end. @returns what it printed */
  read(): string {
    const block = new Block(new ArrayBuffer(64 << 10))
    block.u32[2] = this.fd
    const fd = native.bpf(Command.IterCreate, block, 8, 8)
    if (fd < 0) throw new BpfError(`${this.#what}: iterate`, fd, native.bpfRefusal())
    const parts: Buffer[] = []
    try {
      for (;;) {
        const length = native.read(fd, block, 0, block.length)
        if (length === -osConstants.errno.EAGAIN) continue
        if (length < 0) throw new BpfError(`${this.#what}: iterate`, length)
        if (length === 0) return Buffer.concat(parts).toString()
        parts.push(Buffer.from(block.u8.subarray(0, length)))
      }
    } finally {
      native.bpfClose(fd)
    }
  }

  /** Gives the link a name in a BPF file system: it stays attached when this process ends. */
  pin(path: string): void {
    pinObject(path, this.fd, this.#what)
  }

  /** Detaches. Never fails: what is attached goes with its descriptor. */
  close(): void {
    if (this.#at === 0) return
    const at = this.#at
    this.#at = 0
    this.#owner.forget(this)
    const { libbpf } = this.#owner
    libbpf.finish(() => libbpf.functions.bpf_link__destroy(at))
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
