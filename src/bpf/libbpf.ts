// SPDX-License-Identifier: MIT
/**
 * libbpf as WebAssembly, and the Linux below it: one instance's memory, functions and system calls.
 *
 * An object has an instance for itself, so that one that makes libbpf fail takes nothing with it; an instance
 * whose object was closed serves the next one. Descriptors are the process's own.
 */
import { OpenFile, File, WASI } from '@bjorn3/browser_wasi_shim'
import fs from 'node:fs'
import { constants as osConstants, release as kernelRelease } from 'node:os'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import * as native from '../native.js'
import { Block } from '../protocol/struct.js'
import { BpfError } from './error.js'

/** A place in linear memory; 0 is null. */
export type Pointer = number

type Functions = Record<string, (...args: (number | bigint)[]) => number> & {
  enumerator_value(btf: Pointer, type: number, index: number): bigint
}

/** What the module was built from; `libbpf.json` beside it. */
export interface LibbpfBuild {
  /** Version of Debian's source package. */
  readonly libbpf: string
  readonly clang: string
  readonly lld: string
  readonly wasiLibc: string
  readonly compilerRt: string
  readonly binaryen: string
  readonly linuxHeaders: string
  /** Hash of our own sources. */
  readonly sources: string
  /** Hash of the module. */
  readonly sha256: string
}

/** `enum libbpf_print_level` */
const WARN = 0
const DEBUG = 2
/** Of `enum bpf_cmd`. */
const enum Command { LinkCreate = 28, LinkUpdate = 29 }

const FOLDER = new URL('../../bpf/', import.meta.url)
const { EFAULT, EINVAL, EIO } = osConstants.errno
/** PERF_EVENT_IOC_ENABLE and DISABLE: those without an argument. */
const PERF_IOCTLS = new Set([0x2400, 0x2401])
const BPF_FS_MAGIC = 0xcafe4a11

/** A file of those that `npm run build:bpf` makes. @throws BpfError ENOENT, which says how to make it */
function artefact(name: string): Buffer {
  const path = fileURLToPath(new URL(name, FOLDER))
  try {
    return fs.readFileSync(path)
  } catch (cause) {
    const error = new BpfError(`${path} can't be read; "npm run build:bpf" makes it`, osConstants.errno.ENOENT)
    error.cause = cause
    throw error
  }
}

/** What the shipped libbpf was built from. @throws BpfError ENOENT when it has not been built */
export function libbpfBuild(): LibbpfBuild {
  return JSON.parse(artefact('libbpf.json').toString())
}

/** One of eFuse's own BPF objects, such as `monitor`. @throws BpfError ENOENT when it has not been built */
export function bundledObject(name: string): Uint8Array {
  return artefact(`${name}.bpf.o`)
}

let compiled: Promise<WebAssembly.Module> | null = null
/** An instance without an object. */
let idle: Libbpf | null = null

const utf8 = new TextDecoder()
const encoder = new TextEncoder()

function negated(error: unknown): number {
  const errno = (error as NodeJS.ErrnoException).errno
  return typeof errno === 'number' && errno < 0 ? errno : -EIO
}

function attempt(call: () => number): number {
  try {
    return call()
  } catch (error) {
    return negated(error)
  }
}

export class Libbpf {
  readonly functions: Functions
  readonly #memory: WebAssembly.Memory
  #block: Block
  #bytes: Uint8Array
  #view: DataView
  /** Descriptors that this instance has open. */
  readonly #descriptors = new Set<number>()
  #log: string[] = []
  #warnings: string[] = []
  #failed = false
  /** A link that takes the place of the next one to be made. */
  #replaced: number | null = null

  /** An instance for one object; give it back with `release`. @throws BpfError */
  static async acquire(verbose: boolean): Promise<Libbpf> {
    // Loaded once; after a failure (it had not been built) tried again.
    compiled ??= WebAssembly.compile(new Uint8Array(artefact('libbpf.wasm')))
    let module
    try {
      module = await compiled
    } catch (error) {
      compiled = null
      throw error
    }
    const instance = idle ?? new Libbpf(module)
    idle = null
    instance.functions.start(verbose ? DEBUG : WARN)
    return instance
  }

  private constructor(module: WebAssembly.Module) {
    // No files: libbpf's go to the host. What it prints when it aborts is kept for the error.
    const output = () => new OpenFile(new File([]))
    const wasi = new WASI([], [], [output(), output(), output()], { debug: false })
    const instance = new WebAssembly.Instance(module, {
      wasi_snapshot_preview1: wasi.wasiImport,
      host: this.#host(),
    })
    this.functions = this.#guarded(instance.exports as Functions)
    this.#memory = instance.exports.memory as WebAssembly.Memory
    this.#block = new Block(this.#memory.buffer)
    this.#bytes = this.#block.u8
    this.#view = new DataView(this.#memory.buffer)
    wasi.initialize(instance as Parameters<typeof wasi.initialize>[0])
  }

  /**
   * The functions, of which none is called any more when one has failed: after a trap, or whatever else ended a call
   * midway, memory can't be trusted.
   */
  #guarded(functions: Functions): Functions {
    type Function = (...args: (number | bigint)[]) => number
    const guard = (name: string, one: Function): Function => (...args) => {
      if (this.#failed) throw new BpfError('libbpf', osConstants.errno.EBADF, 'it has failed on this object before')
      try {
        return one(...args)
      } catch (cause) {
        // The innermost of nested calls tells.
        if (cause instanceof BpfError) throw cause
        const error = new BpfError(name, EFAULT, [...this.#log, `libbpf failed: ${(cause as Error).message}`].join(''))
        error.cause = cause
        this.discard()
        throw error
      }
    }
    const entries = Object.entries(functions).filter(([, value]) => typeof value === 'function')
    return Object.fromEntries(entries.map(([name, value]) => [name, guard(name, value as Function)])) as Functions
  }

  /** Back to be used again, unless it has failed: then all its descriptors are closed. */
  release(): void {
    if (this.#failed || this.#descriptors.size > 0) this.discard()
    else idle ??= this
  }

  /** Ends it. */
  discard(): void {
    this.#failed = true
    for (const fd of this.#descriptors) native.bpfClose(fd)
    this.#descriptors.clear()
  }

  // Memory ---------------------------------------------------------------------------------------

  /** Memory moves when it grows, which any call may do. */
  #current(): void {
    if (this.#bytes.length !== 0) return
    this.#block = new Block(this.#memory.buffer)
    this.#bytes = this.#block.u8
    this.#view = new DataView(this.#memory.buffer)
  }

  /** Bytes at a place; not to be kept over another call. */
  bytes(at: Pointer, length: number): Uint8Array {
    this.#current()
    if (at + length > this.#bytes.length) throw new RangeError('outside linear memory')
    return this.#bytes.subarray(at, at + length)
  }

  /** All of memory; not to be kept over another call. */
  view(): DataView {
    this.#current()
    return this.#view
  }

  /** A string that ends with NUL; of a null pointer, the empty one. */
  string(at: Pointer): string {
    if (at === 0) return ''
    this.#current()
    const end = this.#bytes.indexOf(0, at)
    return utf8.decode(this.#bytes.subarray(at, end < 0 ? this.#bytes.length : end))
  }

  /** Memory for the length of `use`. */
  allocated<T>(bytes: Uint8Array, use: (at: Pointer) => T): T {
    const at = this.functions.malloc(Math.max(bytes.length, 1))
    if (at === 0) throw new BpfError('libbpf', osConstants.errno.ENOMEM)
    try {
      this.bytes(at, bytes.length).set(bytes)
      return use(at)
    } finally {
      this.finish(() => this.functions.free(at))
    }
  }

  /** A string in memory for the length of `use`; null is a null pointer. */
  text<T>(value: string | null, use: (at: Pointer) => T): T {
    if (value === null) return use(0)
    if (value.includes('\0')) throw new TypeError('a string with NUL')
    return this.allocated(encoder.encode(`${value}\0`), use)
  }

  // Calls ----------------------------------------------------------------------------------------

  /** Calls a function that returns a negated errno. @throws BpfError */
  call(what: string, run: () => number): number {
    this.#forget()
    const result = run()
    if (result < 0) throw new BpfError(what, result, this.#log.join(''), this.#warnings.join(''))
    return result
  }

  /** Calls a function that returns a pointer, and null when it has failed. @throws BpfError */
  pointer(what: string, run: () => Pointer): Pointer {
    this.#forget()
    const result = run()
    if (result !== 0) return result
    throw new BpfError(what, this.functions.last_error(), this.#log.join(''), this.#warnings.join(''))
  }

  /** A call at the end of something, when it does not matter any more whether libbpf fails. */
  finish(run: () => void): void {
    if (this.#failed) return
    try {
      run()
    } catch (error) {
      if (!(error instanceof BpfError)) throw error
    }
  }

  /**
   * Runs an attachment that is to take over a link in place of making one: everything else is as libbpf does it.
   * libbpf itself can replace only within one instance.
   */
  replacing<T>(link: number, attach: () => T): T {
    this.#replaced = link
    try {
      return attach()
    } finally {
      this.#replaced = null
    }
  }

  #updateLink(link: number, attr: Pointer): number {
    const map = this.view().getUint32(attr, true)
    const block = new Block(new ArrayBuffer(24))
    block.u32[2] = link
    block.u32[3] = map
    const result = this.#refused(native.bpf(Command.LinkUpdate, block, 8, 16))
    return result < 0 ? result : native.bpfDuplicate(link, 3)
  }

  #forget(): void {
    this.#log = []
    this.#warnings = []
  }

  /** What libbpf has printed during the last call. */
  get log(): string {
    return this.#log.join('')
  }

  // The host's functions ---------------------------------------------------------------------------

  /** Descriptors that a call returned. */
  #opened(fd: number): number {
    if (fd >= 0) this.#descriptors.add(fd)
    return fd
  }

  #print(level: number, text: string): void {
    this.#log.push(text)
    if (level === WARN) this.#warnings.push(text)
  }

  #refused(result: number): number {
    const why = result < 0 ? native.bpfRefusal() : ''
    if (why !== '') this.#print(WARN, `${why}\n`)
    return result
  }

  #host() {
    const path = (at: Pointer) => this.string(at)
    return {
      log: (level: number, at: Pointer, length: number) => this.#print(level, utf8.decode(this.bytes(at, length))),
      bpf: (command: number, attr: Pointer, size: number) => {
        this.#current()
        if (command === Command.LinkCreate && this.#replaced !== null) {
          return this.#opened(this.#updateLink(this.#replaced, attr))
        }
        const result = this.#refused(native.bpf(command, this.#block, attr, size))
        return DESCRIPTOR_COMMANDS.has(command) ? this.#opened(result) : result
      },
      perfEventOpen: (attr: Pointer, pid: number, cpu: number, group: number, flags: number) => {
        this.#current()
        return this.#opened(this.#refused(native.perfEventOpen(this.#block, attr, pid, cpu, group, flags)))
      },
      ioctl: (fd: number, request: number, value: number) =>
        PERF_IOCTLS.has(request) ? native.ioctlValue(fd, request, value) : -EINVAL,
      open: (at: Pointer) => {
        this.#current()
        const { AT_FDCWD, O_RDONLY } = native.constants
        return this.#opened(native.openat(AT_FDCWD, this.#block, at, O_RDONLY, 0, null))
      },
      close: (fd: number) => this.#descriptors.delete(fd) ? native.bpfClose(fd) : -osConstants.errno.EBADF,
      read: (fd: number, at: Pointer, length: number) => {
        this.#current()
        return native.read(fd, this.#block, at, length)
      },
      size: (fd: number) => attempt(() => fs.fstatSync(fd).size),
      duplicate: (fd: number, minimum: number) => this.#opened(native.bpfDuplicate(fd, minimum)),
      replace: (fd: number, replaced: number) => native.bpfReplace(fd, replaced),
      placeholder: () => this.#opened(native.bpfPlaceholder()),
      access: (at: Pointer, mode: number) => attempt(() => (fs.accessSync(path(at), mode), 0)),
      makeDirectory: (at: Pointer) => attempt(() => (fs.mkdirSync(path(at), 0o700), 0)),
      unlink: (at: Pointer) => attempt(() => (fs.unlinkSync(path(at)), 0)),
      fileSystem: (at: Pointer) => attempt(() => Number(fs.statfsSync(path(at)).type >>> 0 === BPF_FS_MAGIC)),
      realPath: (at: Pointer, resolved: Pointer, length: number) =>
        attempt(() => this.#give(fs.realpathSync(path(at)), resolved, length)),
      release: (at: Pointer, length: number) => this.#give(kernelRelease(), at, length),
      processId: () => process.pid,
      load: (at: Pointer, content: Pointer) => attempt(() => this.#load(path(at), content)),
    }
  }

  #give(value: string, at: Pointer, length: number): number {
    const bytes = encoder.encode(`${value}\0`)
    if (bytes.length > length) return -osConstants.errno.ENAMETOOLONG
    this.bytes(at, bytes.length).set(bytes)
    return 0
  }

  #load(path: string, content: Pointer): number {
    const raw = fs.readFileSync(path)
    const bytes = raw[0] === 0x1f && raw[1] === 0x8b ? gunzipSync(raw) : raw
    const at = this.functions.malloc(Math.max(bytes.length, 1))
    if (at === 0) return -osConstants.errno.ENOMEM
    this.bytes(at, bytes.length).set(bytes)
    this.view().setUint32(content, at, true)
    return bytes.length
  }
}

const DESCRIPTOR_COMMANDS: ReadonlySet<number> = new Set(
  native.bpfCommandTable().filter((row) => row.descriptor).map((row) => row.number))
