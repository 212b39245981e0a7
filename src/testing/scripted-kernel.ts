// SPDX-License-Identifier: MIT
/**
 * A kernel in memory: drives any FileSystem through a real Dispatcher, with no mount, no root and
 * no native code. It sends requests as the Linux kernel would, checks each reply by the kernel's
 * rules (`ProtocolViolation` otherwise) and keeps look-up counts as the kernel does, so that a
 * test can see what leaks. Any number of requests may be in flight.
 */
import { constants } from 'node:os'
import { Dispatcher, Outcome, type DispatchOptions } from '../fs/dispatch.js'
import { FuseError, type ErrnoName } from '../fs/errors.js'
import type { FileSystem } from '../fs/filesystem.js'
import { NotifierOver } from '../fs/notifier.js'
import {
  FATTR_ATIME, FATTR_ATIME_NOW, FATTR_CTIME, FATTR_FH, FATTR_GID, FATTR_MODE, FATTR_MTIME, FATTR_MTIME_NOW, FATTR_SIZE,
  FATTR_UID, FUSE_EXT_GROUPS, FUSE_KERNEL_MINOR_VERSION, FUSE_KERNEL_VERSION, FUSE_POLL_SCHEDULE_NOTIFY, FUSE_ROOT_ID,
  FuseInitFlag, FuseNotifyCode, FuseOpcode, S_IFDIR, S_IFMT, S_IFREG, type FuseOpcodeName,
} from '../protocol/constants.js'
import { EFUSE_WANTS } from '../protocol/efuse-module.js'
import { Exchange, IN_HEADER_SIZE } from '../protocol/exchange.js'
import { Negotiation } from '../protocol/init.js'
import { OPERATION_BY_OPCODE } from '../protocol/operations.js'
import { Block, type Struct } from '../protocol/struct.js'
import * as s from '../protocol/structs.js'
import { decode } from './decode.js'
import { Paths } from './paths.js'
import { checkReply, parseDirectory, ProtocolViolation, type SentRequest } from './reply-rules.js'

/** A 64-bit value: a number where it is exact, otherwise a bigint. */
export type Wide = number | bigint

/** Whose request it is. What is left out is as in the kernel's options. */
export interface Caller {
  uid?: number
  gid?: number
  pid?: number
  /** Sends a FUSE_INTERRUPT when it fires. */
  signal?: AbortSignal
  /** The supplementary group of a FUSE_EXT_GROUPS extension. */
  group?: number
  /** Security labels of a new inode, by xattr name. */
  securityContexts?: Readonly<Record<string, Uint8Array>>
  /** EFUSE_CAN_...: what efuse.ko wants beside the request. */
  wants?: number
}

export interface KernelAttr {
  ino: Wide
  size: number
  blocks: number
  /** Nanoseconds since 1970. */
  atime: bigint
  mtime: bigint
  ctime: bigint
  mode: number
  nlink: number
  uid: number
  gid: number
  rdev: number
  blksize: number
  flags: number
}

export interface KernelEntry {
  /** 0: a negative entry, the kernel may remember that there is no such name. */
  nodeid: Wide
  generation: Wide
  /** Seconds. */
  entryTimeout: number
  attrTimeout: number
  attr: KernelAttr
}

export interface KernelOpen {
  fh: Wide
  openFlags: number
  backingId: number
}

export interface KernelDirent {
  name: string
  nameBytes: Uint8Array
  ino: Wide
  /** Where a listing that goes on after this entry starts. */
  off: Wide
  /** File type bits as in `mode`. */
  type: number
  /** Only of readdirplus, and only where the file system gave it. */
  entry?: KernelEntry
}

/** A setattr's changes. Times are nanoseconds since 1970, or 'now'. */
export interface Changes {
  mode?: number
  uid?: number
  gid?: number
  size?: Wide
  atime?: bigint | 'now'
  mtime?: bigint | 'now'
  ctime?: bigint
  fh?: Wide
}

/** A notification that the file system sent. */
export interface Notification {
  readonly code: keyof typeof FuseNotifyCode
  /** The fields of its struct. */
  readonly fields: Readonly<Record<string, bigint>>
  /** The name or data behind it. */
  readonly tail: Uint8Array
}

/** A request on its way. */
export interface Sent {
  readonly unique: bigint
  /** The reply as sent, fuse_out_header included, checked; empty for requests without a reply. */
  readonly reply: Promise<Uint8Array>
}

export interface ScriptedKernelOptions {
  /** The protocol minor that this kernel speaks; default: the newest. */
  minor?: number
  /** INIT flags that it offers, as bits 0 to 63; default: all that are known. */
  flags?: bigint
  /** Pages in the largest request; default 32. */
  maxPages?: number
  maxReadahead?: number
  /** The default caller: uid 0, gid 0, pid 1. */
  uid?: number
  gid?: number
  pid?: number
  dispatch?: Omit<DispatchOptions, 'notifier' | 'onNotifyReply' | 'negotiation'>
  /** What a `retrieve` finds in this kernel's cache; default: nothing. */
  cached?: (nodeid: Wide, offset: Wide, size: number) => Uint8Array
  /** Sees the memory before the request is put into it: a fuzzer's chance to poison it. */
  onPrepare?: (block: Block) => void
  /** Sees the memory when the request is answered, before the checks. */
  onAnswered?: (exchange: Exchange) => void
}

const PAGE_SIZE = 4096
const DATA_AREA = 8192
/** Where the ring puts a request: so that a WRITE's data begins at the data area. */
const HEADER = DATA_AREA - IN_HEADER_SIZE - s.fuse_write_in.size
const UTF8_ENCODER = new TextEncoder()
const UTF8_DECODER = new TextDecoder('utf-8', { ignoreBOM: true })
const ALL_FLAGS = Object.values(FuseInitFlag).reduce((all, bit) => all | (1n << BigInt(bit)), 0n)
const NO_BYTES = new Uint8Array(0)

const ERRNO_NAMES = new Map<number, ErrnoName>()
for (const [name, errno] of Object.entries(constants.errno)) {
  if (!ERRNO_NAMES.has(errno) && name !== 'EWOULDBLOCK') ERRNO_NAMES.set(errno, name as ErrnoName)
}
ERRNO_NAMES.set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP')

/** An inode that the kernel has. */
interface KnownInode {
  type: number
  generation: bigint
  nlookup: bigint
}

interface InFlight {
  readonly request: SentRequest
  readonly resolve: (reply: Uint8Array) => void
  readonly reject: (error: unknown) => void
}

export class ScriptedKernel {
  readonly dispatcher: Dispatcher
  /** Whole-path operations, as system calls do them. */
  readonly paths: Paths
  /** Notifications that the file system has sent, in order. */
  readonly notifications: Notification[] = []
  /** Files and directories that are open: opens less releases. */
  openCount = 0

  private readonly idle: Exchange[] = []
  private readonly inFlight = new Map<Exchange, InFlight>()
  private readonly inodes = new Map<bigint, KnownInode>()
  private readonly notifier: NotifierOver
  private nextUnique = 2n

  constructor(readonly fileSystem: FileSystem, private readonly options: ScriptedKernelOptions = {}) {
    this.notifier = new NotifierOver(async (bytes) => this.takeNotification(bytes))
    this.dispatcher = new Dispatcher(fileSystem, {
      ...options.dispatch,
      negotiation: new Negotiation(options.maxPages ?? 32),
      notifier: this.notifier,
      onNotifyReply: (request) => { this.notifier.takeReply(request) },
    })
    this.dispatcher.onComplete = (exchange) => this.complete(exchange)
    this.paths = new Paths(this)
    this.inodes.set(BigInt(FUSE_ROOT_ID), { type: S_IFDIR, generation: 0n, nlookup: 1n })
  }

  /** A kernel that has been through FUSE_INIT. */
  static async start(fileSystem: FileSystem, options?: ScriptedKernelOptions): Promise<ScriptedKernel> {
    const kernel = new ScriptedKernel(fileSystem, options)
    await kernel.init()
    return kernel
  }

  // Requests as bytes

  /**
   * Sends a request of any content.
   * @param body what follows the fuse_in_header, extensions excluded
   */
  send(opcode: number, nodeid: Wide, body: Uint8Array, caller: Caller = {}): Sent {
    const unique = this.nextUnique
    this.nextUnique += 2n
    const extensions = encodeExtensions(caller)
    const header = s.fuse_in_header.encode({
      len: IN_HEADER_SIZE + body.length + extensions.length,
      opcode, unique, nodeid,
      uid: caller.uid ?? this.options.uid ?? 0,
      gid: caller.gid ?? this.options.gid ?? 0,
      pid: caller.pid ?? this.options.pid ?? 1,
      total_extlen: extensions.length / 8,
      padding: caller.wants === undefined ? 0 : EFUSE_WANTS | caller.wants,
    })
    const reply = this.deliver(concatenate([header, body, extensions]))
    const { signal } = caller
    if (signal) {
      const interrupt = () => { this.interrupt(unique) }
      if (signal.aborted) interrupt()
      else {
        signal.addEventListener('abort', interrupt, { once: true })
        const done = () => signal.removeEventListener('abort', interrupt)
        reply.then(done, done)
      }
    }
    return { unique, reply }
  }

  /** Hands over a message as it is, header included, however malformed. At most one reply comes of it. */
  deliver(message: Uint8Array): Promise<Uint8Array> {
    const exchange = this.idle.pop() ?? this.newExchange()
    const { block } = exchange
    if (HEADER + message.length > block.length) throw new RangeError('the request is larger than any that a kernel sends')
    this.options.onPrepare?.(block)
    block.u8.set(message, HEADER)
    const padded = new Uint8Array(IN_HEADER_SIZE)
    padded.set(message.subarray(0, IN_HEADER_SIZE))
    const { opcode, unique, nodeid, padding } = decode(s.fuse_in_header, padded, 0)
    const request: SentRequest = {
      // Less than a header is no request, whatever its first bytes are: no kernel sends it, a fuzzer does.
      opcode: message.length < IN_HEADER_SIZE ? 0 : Number(opcode), unique, nodeid, body: message.slice(IN_HEADER_SIZE),
      wants: (Number(padding) & 0xff00) === EFUSE_WANTS ? Number(padding) & 0xff : 0,
    }
    return new Promise((resolve, reject) => {
      this.inFlight.set(exchange, { request, resolve, reject })
      const outcome = this.dispatcher.receive(exchange, HEADER, message.length)
      if (outcome === Outcome.Ready) this.complete(exchange)
      else if (outcome === Outcome.Silent) this.silent(exchange)
    })
  }

  /** Sends a request; its reply's errno (positive, 0: none) and payload, checked. */
  async raw(opcode: number, nodeid: Wide, body: Uint8Array, caller?: Caller): Promise<{ errno: number; payload: Uint8Array }> {
    const reply = await this.send(opcode, nodeid, body, caller).reply
    if (reply.length === 0) return { errno: 0, payload: reply }
    return { errno: Number(-decode(s.fuse_out_header, reply, 0).error), payload: reply.subarray(16) }
  }

  /**
   * Sends a request made from its parts.
   * @param values fields of the operation's struct
   * @param names strings that follow it, without NUL
   * @returns the reply's payload
   * @throws FuseError the error that it was answered with
   */
  async call(
    name: FuseOpcodeName, nodeid: Wide, values: Record<string, unknown> = {}, names: readonly Bytes[] = [],
    data: Uint8Array = NO_BYTES, caller?: Caller,
  ): Promise<Uint8Array> {
    const { errno, payload } = await this.raw(FuseOpcode[name], nodeid, this.body(name, values, names, data), caller)
    if (errno !== 0) throw errorOf(errno)
    return payload
  }

  /** A request's body, in the form that was negotiated. */
  body(
    name: FuseOpcodeName, values: Record<string, unknown> = {}, names: readonly Bytes[] = [], data: Uint8Array = NO_BYTES,
  ): Uint8Array {
    const args = OPERATION_BY_OPCODE[FuseOpcode[name]]!.args
    let head = args === null ? NO_BYTES : args.encode(values as never)
    if (name === 'FUSE_SETXATTR' && !this.dispatcher.negotiation.setxattrExt) head = head.subarray(0, 8)
    return concatenate([head, ...names.flatMap((text) => [bytesOf(text), new Uint8Array(1)]), data])
  }

  /** Sends a FUSE_INTERRUPT for a request in flight. */
  interrupt(unique: bigint): void {
    const header = s.fuse_in_header.encode({
      len: IN_HEADER_SIZE + 8, opcode: FuseOpcode.FUSE_INTERRUPT, unique: unique | 1n,
    })
    void this.deliver(concatenate([header, s.fuse_interrupt_in.encode({ unique })]))
  }

  /** Requests that wait for their reply. */
  get inFlightCount(): number {
    return this.inFlight.size
  }

  private newExchange(): Exchange {
    const pages = this.options.maxPages ?? 32
    return new Exchange(new Block(new ArrayBuffer(DATA_AREA + pages * PAGE_SIZE + 2 * PAGE_SIZE)), 0, DATA_AREA)
  }

  private complete(exchange: Exchange): void {
    const flight = this.inFlight.get(exchange)
    if (flight === undefined) {
      throw new ProtocolViolation(exchange.operation?.name ?? 'unknown', 'framing', 'a second reply to one request')
    }
    this.inFlight.delete(exchange)
    try {
      const length = exchange.writeOutHeader()
      this.options.onAnswered?.(exchange)
      const start = exchange.reply - 16
      const reply = exchange.block.u8.slice(start, start + length)
      checkReply(flight.request, reply, { typeOf: (nodeid) => this.inodes.get(nodeid)?.type })
      this.account(flight.request, reply)
      flight.resolve(reply)
    } catch (error) {
      flight.reject(error)
    }
    this.idle.push(exchange)
  }

  private silent(exchange: Exchange): void {
    const flight = this.inFlight.get(exchange)!
    this.inFlight.delete(exchange)
    try {
      this.options.onAnswered?.(exchange)
      const operation = OPERATION_BY_OPCODE[flight.request.opcode]
      if (operation !== undefined && operation.reply !== 'none') {
        throw new ProtocolViolation(operation.name, 'framing', 'no reply')
      }
      flight.resolve(NO_BYTES)
    } catch (error) {
      flight.reject(error)
    }
    this.idle.push(exchange)
  }

  // Look-up counts

  /** Books what a reply has given out. */
  private account(request: SentRequest, reply: Uint8Array): void {
    if (decode(s.fuse_out_header, reply, 0).error !== 0n) return
    const payload = reply.subarray(16)
    switch (request.opcode) {
      case FuseOpcode.FUSE_LOOKUP:
      case FuseOpcode.FUSE_MKNOD:
      case FuseOpcode.FUSE_MKDIR:
      case FuseOpcode.FUSE_SYMLINK:
      case FuseOpcode.FUSE_LINK:
        this.count(decode(s.fuse_entry_out, payload, 0))
        return
      case FuseOpcode.FUSE_CREATE:
      case FuseOpcode.FUSE_TMPFILE:
        this.count(decode(s.fuse_entry_out, payload, 0))
        this.openCount++
        return
      case FuseOpcode.FUSE_READDIRPLUS:
        for (const { entry } of parseDirectory(payload, true)) if (entry) this.count(entry)
        return
      case FuseOpcode.FUSE_OPEN:
      case FuseOpcode.FUSE_OPENDIR:
        this.openCount++
        return
    }
  }

  private count(entry: { nodeid: bigint; generation: bigint; attr: { mode: bigint } }): void {
    if (entry.nodeid === 0n) return
    const type = Number(entry.attr.mode) & S_IFMT
    const known = this.inodes.get(entry.nodeid)
    if (known === undefined) {
      this.inodes.set(entry.nodeid, { type, generation: entry.generation, nlookup: 1n })
      return
    }
    known.nlookup++
    if (known.generation === entry.generation && known.type !== type) {
      throw new ProtocolViolation('FUSE_LOOKUP', 'content',
        `nodeid ${entry.nodeid} became another file type while the kernel knew it, and its generation is the same`)
    }
    known.generation = entry.generation
    known.type = type
  }

  /** Look-ups of an inode that have not been forgotten. */
  lookupCount(nodeid: Wide): bigint {
    return this.inodes.get(BigInt(nodeid))?.nlookup ?? 0n
  }

  /** Inodes that the kernel has, the root included. */
  get knownCount(): number {
    return this.inodes.size
  }

  /** Gives look-ups back. @param nlookup default: all that there are */
  async forget(nodeid: Wide, nlookup: Wide = this.lookupCount(nodeid)): Promise<void> {
    this.uncount(BigInt(nodeid), BigInt(nlookup))
    await this.call('FUSE_FORGET', nodeid, { nlookup })
  }

  /** Gives look-ups of several inodes back at once. */
  async batchForget(all: Iterable<readonly [nodeid: Wide, nlookup: Wide]>): Promise<void> {
    const items = [...all]
    for (const [nodeid, nlookup] of items) this.uncount(BigInt(nodeid), BigInt(nlookup))
    const data = concatenate(items.map(([nodeid, nlookup]) => s.fuse_forget_one.encode({ nodeid, nlookup })))
    await this.call('FUSE_BATCH_FORGET', 0, { count: items.length }, [], data)
  }

  private uncount(nodeid: bigint, nlookup: bigint): void {
    const known = this.inodes.get(nodeid)
    if (known === undefined || known.nlookup < nlookup) throw new RangeError(`nodeid ${nodeid} has not been looked up so often`)
    known.nlookup -= nlookup
    if (known.nlookup === 0n && nodeid !== 1n) this.inodes.delete(nodeid)
  }

  /** Forgets every inode but the root. */
  async forgetAll(): Promise<void> {
    const all = [...this.inodes].filter(([nodeid]) => nodeid !== 1n).map(([nodeid, { nlookup }]) => [nodeid, nlookup] as const)
    // As many as fit into the smallest buffer that a server may read with.
    for (let at = 0; at < all.length; at += 500) await this.batchForget(all.slice(at, at + 500))
  }

  /** Ends the mount as umount(2) does: forgets all, then FUSE_DESTROY. */
  async shutdown(): Promise<void> {
    await this.forgetAll()
    await this.call('FUSE_DESTROY', 0)
  }

  // One method per request

  /** FUSE_INIT. @returns the fields of fuse_init_out */
  async init(values: { major?: number; minor?: number } = {}): Promise<Record<string, bigint>> {
    const flags = this.options.flags ?? ALL_FLAGS
    const minor = values.minor ?? this.options.minor ?? FUSE_KERNEL_MINOR_VERSION
    const body = s.fuse_init_in.encode({
      major: values.major ?? FUSE_KERNEL_VERSION, minor,
      max_readahead: this.options.maxReadahead ?? 128 * 1024,
      flags: flags & 0xffffffffn, flags2: minor >= 36 ? flags >> 32n : 0n,
    })
    // Before 7.36 the struct ended after `flags`.
    const { errno, payload } = await this.raw(FuseOpcode.FUSE_INIT, 0, minor >= 36 ? body : body.subarray(0, 16))
    if (errno !== 0) throw errorOf(errno)
    return decode(s.fuse_init_out, payload, 0) as unknown as Record<string, bigint>
  }

  async lookup(parent: Wide, name: Bytes, caller?: Caller): Promise<KernelEntry> {
    return entryOf(await this.call('FUSE_LOOKUP', parent, {}, [name], NO_BYTES, caller))
  }
  /** @param fh an open file to ask instead of the inode */
  async getattr(nodeid: Wide, fh?: Wide, caller?: Caller): Promise<KernelAttr> {
    const values = fh === undefined ? {} : { getattr_flags: 1, fh }
    return attrOf(decode(s.fuse_attr_out, await this.call('FUSE_GETATTR', nodeid, values, [], NO_BYTES, caller), 0).attr)
  }
  async setattr(nodeid: Wide, changes: Changes, caller?: Caller): Promise<KernelAttr> {
    const payload = await this.call('FUSE_SETATTR', nodeid, setattrValues(changes), [], NO_BYTES, caller)
    return attrOf(decode(s.fuse_attr_out, payload, 0).attr)
  }
  /** @returns the fields of fuse_statx_out's `stat` */
  async statx(nodeid: Wide, mask: number, fh?: Wide, caller?: Caller) {
    const values = { sx_mask: mask, ...(fh === undefined ? {} : { getattr_flags: 1, fh }) }
    return decode(s.fuse_statx_out, await this.call('FUSE_STATX', nodeid, values, [], NO_BYTES, caller), 0).stat
  }
  async readlink(nodeid: Wide, caller?: Caller): Promise<string> {
    return UTF8_DECODER.decode(await this.call('FUSE_READLINK', nodeid, {}, [], NO_BYTES, caller))
  }
  async symlink(parent: Wide, name: Bytes, target: Bytes, caller?: Caller): Promise<KernelEntry> {
    return entryOf(await this.call('FUSE_SYMLINK', parent, {}, [name, target], NO_BYTES, caller))
  }
  /** @param mode type and permissions, umask applied as by the kernel unless FUSE_DONT_MASK is in use */
  async mknod(parent: Wide, name: Bytes, mode: number, rdev = 0, caller?: Caller): Promise<KernelEntry> {
    return entryOf(await this.call('FUSE_MKNOD', parent, { mode, rdev, umask: 0o022 }, [name], NO_BYTES, caller))
  }
  async mkdir(parent: Wide, name: Bytes, mode = 0o755, caller?: Caller): Promise<KernelEntry> {
    // The kernel sends no file type here.
    return entryOf(await this.call('FUSE_MKDIR', parent, { mode: mode & 0o7777, umask: 0o022 }, [name], NO_BYTES, caller))
  }
  async unlink(parent: Wide, name: Bytes, caller?: Caller): Promise<void> {
    await this.call('FUSE_UNLINK', parent, {}, [name], NO_BYTES, caller)
  }
  async rmdir(parent: Wide, name: Bytes, caller?: Caller): Promise<void> {
    await this.call('FUSE_RMDIR', parent, {}, [name], NO_BYTES, caller)
  }
  /** @param flags RENAME_*; FUSE_RENAME is sent when there are none, as the kernel does */
  async rename(parent: Wide, name: Bytes, newdir: Wide, newname: Bytes, flags = 0, caller?: Caller): Promise<void> {
    if (flags === 0) await this.call('FUSE_RENAME', parent, { newdir }, [name, newname], NO_BYTES, caller)
    else await this.call('FUSE_RENAME2', parent, { newdir, flags }, [name, newname], NO_BYTES, caller)
  }
  async link(oldnodeid: Wide, parent: Wide, name: Bytes, caller?: Caller): Promise<KernelEntry> {
    return entryOf(await this.call('FUSE_LINK', parent, { oldnodeid }, [name], NO_BYTES, caller))
  }
  async open(nodeid: Wide, flags = 0, caller?: Caller): Promise<KernelOpen> {
    return openOf(await this.call('FUSE_OPEN', nodeid, { flags }, [], NO_BYTES, caller), 0)
  }
  async read(nodeid: Wide, fh: Wide, offset: Wide, size: number, caller?: Caller): Promise<Uint8Array> {
    return this.call('FUSE_READ', nodeid, { fh, offset, size }, [], NO_BYTES, caller)
  }
  /** @returns bytes written */
  async write(nodeid: Wide, fh: Wide, offset: Wide, data: Uint8Array, caller?: Caller): Promise<number> {
    const payload = await this.call('FUSE_WRITE', nodeid, { fh, offset, size: data.length }, [], data, caller)
    return Number(decode(s.fuse_write_out, payload, 0).size)
  }
  async statfs(nodeid: Wide = FUSE_ROOT_ID, caller?: Caller) {
    return decode(s.fuse_statfs_out, await this.call('FUSE_STATFS', nodeid, {}, [], NO_BYTES, caller), 0).st
  }
  async release(nodeid: Wide, fh: Wide, flags = 0, caller?: Caller): Promise<void> {
    this.openCount--
    await this.call('FUSE_RELEASE', nodeid, { fh, flags }, [], NO_BYTES, caller)
  }
  async flush(nodeid: Wide, fh: Wide, lockOwner: Wide = 0, caller?: Caller): Promise<void> {
    await this.call('FUSE_FLUSH', nodeid, { fh, lock_owner: lockOwner }, [], NO_BYTES, caller)
  }
  async fsync(nodeid: Wide, fh: Wide, dataOnly = false, caller?: Caller): Promise<void> {
    await this.call('FUSE_FSYNC', nodeid, { fh, fsync_flags: dataOnly ? 1 : 0 }, [], NO_BYTES, caller)
  }
  /** @param flags XATTR_CREATE 1, XATTR_REPLACE 2 */
  async setxattr(nodeid: Wide, name: Bytes, value: Uint8Array, flags = 0, caller?: Caller): Promise<void> {
    await this.call('FUSE_SETXATTR', nodeid, { size: value.length, flags }, [name], value, caller)
  }
  /** The size of an attribute's value, bytes. */
  async getxattrSize(nodeid: Wide, name: Bytes, caller?: Caller): Promise<number> {
    const payload = await this.call('FUSE_GETXATTR', nodeid, { size: 0 }, [name], NO_BYTES, caller)
    return Number(decode(s.fuse_getxattr_out, payload, 0).size)
  }
  /** @param size room for the value, bytes, not 0 */
  async getxattr(nodeid: Wide, name: Bytes, size = 65536, caller?: Caller): Promise<Uint8Array> {
    return this.call('FUSE_GETXATTR', nodeid, { size }, [name], NO_BYTES, caller)
  }
  async listxattrSize(nodeid: Wide, caller?: Caller): Promise<number> {
    const payload = await this.call('FUSE_LISTXATTR', nodeid, { size: 0 }, [], NO_BYTES, caller)
    return Number(decode(s.fuse_getxattr_out, payload, 0).size)
  }
  async listxattr(nodeid: Wide, size = 65536, caller?: Caller): Promise<string[]> {
    const list = await this.call('FUSE_LISTXATTR', nodeid, { size }, [], NO_BYTES, caller)
    return UTF8_DECODER.decode(list).split('\0').slice(0, -1)
  }
  async removexattr(nodeid: Wide, name: Bytes, caller?: Caller): Promise<void> {
    await this.call('FUSE_REMOVEXATTR', nodeid, {}, [name], NO_BYTES, caller)
  }
  async opendir(nodeid: Wide, flags = 0, caller?: Caller): Promise<KernelOpen> {
    return openOf(await this.call('FUSE_OPENDIR', nodeid, { flags }, [], NO_BYTES, caller), 0)
  }
  async readdir(nodeid: Wide, fh: Wide, offset: Wide = 0, size = PAGE_SIZE, caller?: Caller): Promise<KernelDirent[]> {
    const payload = await this.call('FUSE_READDIR', nodeid, { fh, offset, size }, [], NO_BYTES, caller)
    return parseDirectory(payload, false).map(direntOf)
  }
  async readdirplus(nodeid: Wide, fh: Wide, offset: Wide = 0, size = PAGE_SIZE, caller?: Caller): Promise<KernelDirent[]> {
    const payload = await this.call('FUSE_READDIRPLUS', nodeid, { fh, offset, size }, [], NO_BYTES, caller)
    return parseDirectory(payload, true).map(direntOf)
  }
  async releasedir(nodeid: Wide, fh: Wide, caller?: Caller): Promise<void> {
    this.openCount--
    await this.call('FUSE_RELEASEDIR', nodeid, { fh }, [], NO_BYTES, caller)
  }
  async fsyncdir(nodeid: Wide, fh: Wide, caller?: Caller): Promise<void> {
    await this.call('FUSE_FSYNCDIR', nodeid, { fh }, [], NO_BYTES, caller)
  }
  /** @param lock F_RDLCK 0, F_WRLCK 1, F_UNLCK 2; `end` included */
  async getlk(nodeid: Wide, fh: Wide, owner: Wide, lock: KernelLock, caller?: Caller): Promise<Required<KernelLock>> {
    const { lk } = decode(s.fuse_lk_out, await this.call('FUSE_GETLK', nodeid, { fh, owner, lk: lock }, [], NO_BYTES, caller), 0)
    return { type: Number(lk.type), start: wide(lk.start), end: wide(lk.end), pid: Number(lk.pid) }
  }
  /** @param wait FUSE_SETLKW: until the lock is free */
  async setlk(nodeid: Wide, fh: Wide, owner: Wide, lock: KernelLock, wait = false, caller?: Caller): Promise<void> {
    await this.call(wait ? 'FUSE_SETLKW' : 'FUSE_SETLK', nodeid, { fh, owner, lk: lock }, [], NO_BYTES, caller)
  }
  async access(nodeid: Wide, mask: number, caller?: Caller): Promise<void> {
    await this.call('FUSE_ACCESS', nodeid, { mask }, [], NO_BYTES, caller)
  }
  async create(
    parent: Wide, name: Bytes, mode = 0o644, flags = 2, caller?: Caller,
  ): Promise<{ entry: KernelEntry; open: KernelOpen }> {
    const values = { flags, mode: S_IFREG | (mode & 0o7777), umask: 0o022 }
    const payload = await this.call('FUSE_CREATE', parent, values, [name], NO_BYTES, caller)
    return { entry: entryOf(payload), open: openOf(payload, s.fuse_entry_out.size) }
  }
  async tmpfile(parent: Wide, mode = 0o600, flags = 2, caller?: Caller): Promise<{ entry: KernelEntry; open: KernelOpen }> {
    const values = { flags, mode: S_IFREG | (mode & 0o7777), umask: 0o022 }
    const payload = await this.call('FUSE_TMPFILE', parent, values, ['/'], NO_BYTES, caller)
    return { entry: entryOf(payload), open: openOf(payload, s.fuse_entry_out.size) }
  }
  async bmap(nodeid: Wide, block: Wide, blocksize: number, caller?: Caller): Promise<Wide> {
    return wide(decode(s.fuse_bmap_out, await this.call('FUSE_BMAP', nodeid, { block, blocksize }, [], NO_BYTES, caller), 0).block)
  }
  async ioctl(
    nodeid: Wide, fh: Wide, cmd: number, input: Uint8Array = NO_BYTES, outSize = 0, caller?: Caller,
  ): Promise<{ result: number; data: Uint8Array }> {
    const values = { fh, cmd, in_size: input.length, out_size: outSize }
    const payload = await this.call('FUSE_IOCTL', nodeid, values, [], input, caller)
    return { result: Number(decode(s.fuse_ioctl_out, payload, 0).result), data: payload.subarray(s.fuse_ioctl_out.size) }
  }
  /** @param kh asks to be told of changes by a FUSE_NOTIFY_POLL with this number */
  async poll(nodeid: Wide, fh: Wide, events: number, kh?: Wide, caller?: Caller): Promise<number> {
    const values = { fh, events, ...(kh === undefined ? {} : { kh, flags: FUSE_POLL_SCHEDULE_NOTIFY }) }
    return Number(decode(s.fuse_poll_out, await this.call('FUSE_POLL', nodeid, values, [], NO_BYTES, caller), 0).revents)
  }
  async fallocate(nodeid: Wide, fh: Wide, offset: Wide, length: Wide, mode = 0, caller?: Caller): Promise<void> {
    await this.call('FUSE_FALLOCATE', nodeid, { fh, offset, length, mode }, [], NO_BYTES, caller)
  }
  /** @param whence SEEK_DATA 3, SEEK_HOLE 4 */
  async lseek(nodeid: Wide, fh: Wide, offset: Wide, whence: number, caller?: Caller): Promise<Wide> {
    const payload = await this.call('FUSE_LSEEK', nodeid, { fh, offset, whence }, [], NO_BYTES, caller)
    return wide(decode(s.fuse_lseek_out, payload, 0).offset)
  }
  /** FUSE_COPY_FILE_RANGE_64, or FUSE_COPY_FILE_RANGE where it is not served. @returns bytes copied */
  async copyFileRange(
    from: { nodeid: Wide; fh: Wide; offset: Wide }, to: { nodeid: Wide; fh: Wide; offset: Wide }, len: Wide, caller?: Caller,
  ): Promise<Wide> {
    const values = {
      fh_in: from.fh, off_in: from.offset, nodeid_out: to.nodeid, fh_out: to.fh, off_out: to.offset, len,
    }
    try {
      const payload = await this.call('FUSE_COPY_FILE_RANGE_64', from.nodeid, values, [], NO_BYTES, caller)
      return wide(decode(s.fuse_copy_file_range_out, payload, 0).bytes_copied)
    } catch (error) {
      if (!isErrno(error, 'ENOSYS')) throw error
    }
    const payload = await this.call('FUSE_COPY_FILE_RANGE', from.nodeid, values, [], NO_BYTES, caller)
    return Number(decode(s.fuse_write_out, payload, 0).size)
  }
  async syncfs(caller?: Caller): Promise<void> {
    await this.call('FUSE_SYNCFS', FUSE_ROOT_ID, {}, [], NO_BYTES, caller)
  }

  /** The nodeid that a path leads to; symbolic links are not followed. @throws FuseError ENOENT, ENOTDIR */
  path(path: string): Promise<Wide> {
    return this.paths.resolve(path)
  }

  // Notifications

  /** Takes a notification as fuse_notify does. @throws FuseError with the errno that write(2) would get */
  private takeNotification(bytes: Uint8Array): void {
    const { len, error, unique } = decode(s.fuse_out_header, bytes, 0)
    if (Number(len) !== bytes.length || unique !== 0n) throw new FuseError('EINVAL')
    const found = Object.entries(FuseNotifyCode).find(([, code]) => BigInt(code) === error)
    if (found === undefined) throw new FuseError('EINVAL')
    const code = found[0] as keyof typeof FuseNotifyCode
    const layout = NOTIFICATION_STRUCT[code]
    const body = bytes.subarray(16)
    if (body.length < (layout?.size ?? 0)) throw new FuseError('EINVAL')
    const fields = (layout === null ? {} : decode(layout, body, 0)) as Record<string, bigint>
    const tail = body.slice(layout?.size ?? 0)
    if (tail.length !== notificationTail(code, fields)) throw new FuseError('EINVAL')
    if (fields.namelen !== undefined && tail[tail.length - 1] !== 0) throw new FuseError('EINVAL')
    this.notifications.push({ code, fields, tail })
    if (code === 'FUSE_NOTIFY_RETRIEVE') this.answerRetrieve(fields)
  }

  private answerRetrieve({ notify_unique, nodeid, offset, size }: Record<string, bigint>): void {
    const data = (this.options.cached?.(wide(nodeid), wide(offset), Number(size)) ?? NO_BYTES).subarray(0, Number(size))
    const body = concatenate([s.fuse_notify_retrieve_in.encode({ offset, size: data.length }), data])
    const header = s.fuse_in_header.encode({
      len: IN_HEADER_SIZE + body.length, opcode: FuseOpcode.FUSE_NOTIFY_REPLY, unique: notify_unique, nodeid,
    })
    // The answer is a request of its own, never part of the write that asked for it.
    queueMicrotask(() => { void this.deliver(concatenate([header, body])) })
  }
}

type Bytes = string | Uint8Array

export interface KernelLock {
  type: number
  start?: Wide
  end?: Wide
  pid?: number
}

const NOTIFICATION_STRUCT: Readonly<Record<keyof typeof FuseNotifyCode, Struct<any> | null>> = {
  FUSE_NOTIFY_POLL: s.fuse_notify_poll_wakeup_out,
  FUSE_NOTIFY_INVAL_INODE: s.fuse_notify_inval_inode_out,
  FUSE_NOTIFY_INVAL_ENTRY: s.fuse_notify_inval_entry_out,
  FUSE_NOTIFY_STORE: s.fuse_notify_store_out,
  FUSE_NOTIFY_RETRIEVE: s.fuse_notify_retrieve_out,
  FUSE_NOTIFY_DELETE: s.fuse_notify_delete_out,
  FUSE_NOTIFY_RESEND: null,
  FUSE_NOTIFY_INC_EPOCH: null,
  FUSE_NOTIFY_PRUNE: s.fuse_notify_prune_out,
}

/** Bytes that must follow a notification's struct. */
function notificationTail(code: keyof typeof FuseNotifyCode, fields: Record<string, bigint>): number {
  switch (code) {
    case 'FUSE_NOTIFY_INVAL_ENTRY':
    case 'FUSE_NOTIFY_DELETE': return Number(fields.namelen) + 1
    case 'FUSE_NOTIFY_STORE': return Number(fields.size)
    case 'FUSE_NOTIFY_PRUNE': return Number(fields.count) * 8
    default: return 0
  }
}

/** A FuseError of an errno. @param errno positive */
export function errorOf(errno: number): FuseError {
  const name = ERRNO_NAMES.get(errno)
  if (name !== undefined) return new FuseError(name)
  return Object.assign(new FuseError('EIO', `errno ${errno}`), { errno })
}

/** Whether something thrown is the error of this name. */
export function isErrno(error: unknown, code: ErrnoName): boolean {
  return error instanceof FuseError && error.code === code
}

function wide(value: bigint): Wide {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value
}

function bytesOf(text: Bytes): Uint8Array {
  return typeof text === 'string' ? UTF8_ENCODER.encode(text) : text
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/** The extensions behind a request, each padded to 8 bytes. */
function encodeExtensions(caller: Caller): Uint8Array {
  const extensions: Uint8Array[] = []
  const add = (type: number, content: Uint8Array) => {
    const size = (8 + content.length + 7) & ~7
    const bytes = new Uint8Array(size)
    bytes.set(s.fuse_ext_header.encode({ size, type }))
    bytes.set(content, 8)
    extensions.push(bytes)
  }
  const contexts = Object.entries(caller.securityContexts ?? {})
  if (contexts.length > 0) {
    add(contexts.length, concatenate(contexts.map(([name, value]) => {
      const text = concatenate([bytesOf(name), new Uint8Array(1), value])
      const padded = new Uint8Array((8 + text.length + 7) & ~7)
      padded.set(s.fuse_secctx.encode({ size: value.length }))
      padded.set(text, 8)
      return padded
    })))
  }
  if (caller.group !== undefined) add(FUSE_EXT_GROUPS, new Uint8Array(Uint32Array.of(1, caller.group).buffer))
  return concatenate(extensions)
}

function nanoseconds(seconds: bigint, fraction: bigint): bigint {
  return seconds * 1_000_000_000n + fraction
}

type DecodedAttr = ReturnType<typeof decode<typeof s.fuse_attr>>

function attrOf(attr: DecodedAttr): KernelAttr {
  return {
    ino: wide(attr.ino),
    size: Number(attr.size),
    blocks: Number(attr.blocks),
    atime: nanoseconds(attr.atime, attr.atimensec),
    mtime: nanoseconds(attr.mtime, attr.mtimensec),
    ctime: nanoseconds(attr.ctime, attr.ctimensec),
    mode: Number(attr.mode),
    nlink: Number(attr.nlink),
    uid: Number(attr.uid),
    gid: Number(attr.gid),
    rdev: Number(attr.rdev),
    blksize: Number(attr.blksize),
    flags: Number(attr.flags),
  }
}

type DecodedEntry = ReturnType<typeof decode<typeof s.fuse_entry_out>>

function kernelEntry(entry: DecodedEntry): KernelEntry {
  return {
    nodeid: wide(entry.nodeid),
    generation: wide(entry.generation),
    entryTimeout: Number(entry.entry_valid) + Number(entry.entry_valid_nsec) / 1e9,
    attrTimeout: Number(entry.attr_valid) + Number(entry.attr_valid_nsec) / 1e9,
    attr: attrOf(entry.attr),
  }
}

function entryOf(payload: Uint8Array): KernelEntry {
  return kernelEntry(decode(s.fuse_entry_out, payload, 0))
}

function openOf(payload: Uint8Array, offset: number): KernelOpen {
  const { fh, open_flags, backing_id } = decode(s.fuse_open_out, payload, offset)
  return { fh: wide(fh), openFlags: Number(open_flags), backingId: Number(backing_id) }
}

function direntOf(record: ReturnType<typeof parseDirectory>[number]): KernelDirent {
  return {
    name: UTF8_DECODER.decode(record.nameBytes),
    nameBytes: record.nameBytes,
    ino: wide(record.ino),
    off: wide(record.off),
    type: record.type << 12,
    ...(record.entry !== null && record.entry.nodeid !== 0n ? { entry: kernelEntry(record.entry) } : {}),
  }
}

/** fuse_setattr_in of some changes. */
function setattrValues(changes: Changes): Record<string, unknown> {
  const values: Record<string, unknown> = {}
  let valid = 0
  const take = (flag: number, fields: Record<string, unknown>) => {
    valid |= flag
    Object.assign(values, fields)
  }
  const time = (name: string, value: bigint) => {
    const fraction = ((value % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n
    return { [name]: (value - fraction) / 1_000_000_000n, [`${name}nsec`]: fraction }
  }
  if (changes.mode !== undefined) take(FATTR_MODE, { mode: changes.mode })
  if (changes.uid !== undefined) take(FATTR_UID, { uid: changes.uid })
  if (changes.gid !== undefined) take(FATTR_GID, { gid: changes.gid })
  if (changes.size !== undefined) take(FATTR_SIZE, { size: changes.size })
  if (changes.fh !== undefined) take(FATTR_FH, { fh: changes.fh })
  if (changes.atime === 'now') take(FATTR_ATIME | FATTR_ATIME_NOW, {})
  else if (changes.atime !== undefined) take(FATTR_ATIME, time('atime', changes.atime))
  if (changes.mtime === 'now') take(FATTR_MTIME | FATTR_MTIME_NOW, {})
  else if (changes.mtime !== undefined) take(FATTR_MTIME, time('mtime', changes.mtime))
  if (changes.ctime !== undefined) take(FATTR_CTIME, time('ctime', changes.ctime))
  return { ...values, valid }
}
