// SPDX-License-Identifier: MIT
/**
 * Mount options that change replies, whatever file system gave them: whose files seem to be
 * (`uid=`, `gid=`, `umask=`) and how open files use the kernel's cache (`direct_io`, `kernel_cache`,
 * `auto_cache`). Done on the finished reply's bytes, before it is sent.
 */
import { FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE, FOPEN_PASSTHROUGH, FuseOpcode, S_IFMT } from '../protocol/constants.js'
import { Outcome, type Exchange } from '../protocol/exchange.js'
import type { Struct } from '../protocol/struct.js'
import * as s from '../protocol/structs.js'
import type { PartsServer } from '../rings/uring.js'
import type { MountOptions } from './options.js'

function offsetOf(struct: Struct<any>, ...path: string[]): number {
  let offset = 0
  for (const name of path) {
    const field = struct.layout.find((one) => one.name === name)!
    offset += field.offset
    struct = field.field as Struct<any>
  }
  return offset
}

const ATTR_OF_ENTRY = offsetOf(s.fuse_entry_out, 'attr')
const ATTR_OF_ATTR = offsetOf(s.fuse_attr_out, 'attr')
const STAT_OF_STATX = offsetOf(s.fuse_statx_out, 'stat')
const OPEN_FLAGS = offsetOf(s.fuse_open_out, 'open_flags')
const DIRENT_NAMELEN = offsetOf(s.fuse_direntplus, 'dirent', 'namelen')
const ATTR_OF_DIRENTPLUS = offsetOf(s.fuse_direntplus, 'entry_out', 'attr')

const MODE = offsetOf(s.fuse_attr, 'mode')
const UID = offsetOf(s.fuse_attr, 'uid')
const GID = offsetOf(s.fuse_attr, 'gid')
const STATX_MODE = offsetOf(s.fuse_statx, 'mode')
const STATX_UID = offsetOf(s.fuse_statx, 'uid')
const STATX_GID = offsetOf(s.fuse_statx, 'gid')

/** Stands between a ring and its server. */
class OverridingServer implements PartsServer {
  onComplete: (exchange: Exchange) => void = (exchange) => exchange.owner?.complete(exchange)
  private readonly openFlags: number
  /** Whether only what opens a file is changed, as with `direct_io`. */
  private readonly opensOnly: boolean

  constructor(
    private readonly server: PartsServer,
    private readonly options: MountOptions,
  ) {
    this.openFlags = openFlagsOf(options)
    this.opensOnly = !changesAttributes(options)
    server.onComplete = (exchange) => {
      this.apply(exchange)
      this.onComplete(exchange)
    }
  }

  get pendingCount(): number {
    return this.server.pendingCount
  }

  receive(exchange: Exchange, header: number, length: number): Outcome {
    const outcome = this.server.receive(exchange, header, length)
    if (outcome === Outcome.Ready) this.apply(exchange)
    return outcome
  }

  receiveParts(exchange: Exchange, header: number, args: number, payload: number, payloadLength: number): Outcome {
    const outcome = this.server.receiveParts(exchange, header, args, payload, payloadLength)
    if (outcome === Outcome.Ready) this.apply(exchange)
    return outcome
  }

  private apply(exchange: Exchange): void {
    if (exchange.error !== 0) return
    const { reply, operation } = exchange
    if (this.opensOnly && !operation?.opens) return
    switch (operation?.reply) {
      case 'entry':
        return this.attr(exchange, reply + ATTR_OF_ENTRY)
      case 'attr':
        return this.attr(exchange, reply + ATTR_OF_ATTR)
      case 'create':
        this.attr(exchange, reply + ATTR_OF_ENTRY)
        return this.open(exchange, reply + s.fuse_entry_out.size + OPEN_FLAGS)
      case 'open':
        if (exchange.opcode === FuseOpcode.FUSE_OPEN) this.open(exchange, reply + OPEN_FLAGS)
        return
      case 'statx':
        return this.statx(exchange, reply + STAT_OF_STATX)
      case 'dirents':
        if (exchange.opcode === FuseOpcode.FUSE_READDIRPLUS) this.direntplus(exchange)
    }
  }

  private open(exchange: Exchange, at: number): void {
    const { u32 } = exchange.block
    // Files that the kernel reads and writes itself have no part in its cache: it refuses the flags.
    if ((u32[at >>> 2] & FOPEN_PASSTHROUGH) === 0) u32[at >>> 2] |= this.openFlags
  }

  private attr(exchange: Exchange, at: number): void {
    const { u32 } = exchange.block
    const { uid, gid, umask } = this.options
    const mode = (at + MODE) >>> 2
    if (umask !== undefined) u32[mode] = (u32[mode] & S_IFMT) | (0o777 & ~umask)
    if (uid !== undefined) u32[(at + UID) >>> 2] = uid
    if (gid !== undefined) u32[(at + GID) >>> 2] = gid
  }

  private statx(exchange: Exchange, at: number): void {
    const { u16, u32 } = exchange.block
    const { uid, gid, umask } = this.options
    const mode = (at + STATX_MODE) >>> 1
    if (umask !== undefined) u16[mode] = (u16[mode] & S_IFMT) | (0o777 & ~umask)
    if (uid !== undefined) u32[(at + STATX_UID) >>> 2] = uid
    if (gid !== undefined) u32[(at + STATX_GID) >>> 2] = gid
  }

  private direntplus(exchange: Exchange): void {
    const { u32 } = exchange.block
    const end = exchange.reply + exchange.replyLength
    let at = exchange.reply
    while (at + s.fuse_direntplus.size <= end) {
      this.attr(exchange, at + ATTR_OF_DIRENTPLUS)
      at += (s.fuse_direntplus.size + u32[(at + DIRENT_NAMELEN) >>> 2] + 7) & ~7
    }
  }
}

function openFlagsOf({ directIo, kernelCache, autoCache }: MountOptions): number {
  if (directIo) return FOPEN_DIRECT_IO
  return kernelCache || autoCache ? FOPEN_KEEP_CACHE : 0
}

function changesAttributes({ uid, gid, umask }: MountOptions): boolean {
  return uid !== undefined || gid !== undefined || umask !== undefined
}

/** The server itself, or one in front of it where the options ask for changes. */
export function withOverrides(server: PartsServer, options: MountOptions): PartsServer {
  const nothing = !changesAttributes(options) && openFlagsOf(options) === 0
  return nothing ? server : new OverridingServer(server, options)
}
