// SPDX-License-Identifier: MIT
/**
 * Links and maps by their numbers, as the kernel knows them: how one process takes over what another has made.
 * Opening by number takes CAP_SYS_ADMIN.
 */
import { constants as osConstants } from 'node:os'
import * as native from '../native.js'
import { Block } from '../protocol/struct.js'
import { BpfError } from './error.js'
import { BpfMap } from './map.js'

/** Of `enum bpf_cmd`. */
const enum Command { MapById = 14, ObjectInfo = 15, LinkById = 30, LinkDetach = 34 }

const ATTR = 8
const INFO = 24
/** Bytes that are asked for of struct bpf_link_info and bpf_map_info: number and type come first in both. */
const INFO_BYTES = 32
/** `BPF_LINK_TYPE_STRUCT_OPS` */
const STRUCT_OPS = 9

function openById(command: Command, id: number, what: string): number {
  const block = new Block(new ArrayBuffer(24))
  block.u32[ATTR / 4] = id
  const fd = native.bpf(command, block, ATTR, 16)
  if (fd < 0) throw new BpfError(what, fd, native.bpfRefusal())
  return fd
}

/** Type and number of a link or a map. */
function identity(fd: number): { type: number; id: number } {
  const block = new Block(new ArrayBuffer(INFO + INFO_BYTES))
  block.u32[ATTR / 4] = fd
  block.u32[ATTR / 4 + 1] = INFO_BYTES
  block.u32[ATTR / 4 + 2] = INFO
  const result = native.bpf(Command.ObjectInfo, block, ATTR, 16)
  if (result < 0) throw new BpfError('number of a BPF object', result, native.bpfRefusal())
  return { type: block.u32[INFO / 4], id: block.u32[INFO / 4 + 1] }
}

/** The number of a link or a map. @throws BpfError */
export function idOf(fd: number): number {
  return identity(fd).id
}

/** A map that another process has made, by its number. `close` it. @throws BpfError ENOENT, EPERM */
export function mapById(id: number): BpfMap<number, Uint8Array> {
  const fd = openById(Command.MapById, id, `map ${id}`)
  try {
    return new BpfMap(`map ${id}`, fd)
  } finally {
    native.bpfClose(fd)
  }
}

/** A struct_ops' link, held by this process too: what it keeps attached stays until both have let go. */
export class HeldLink {
  private open = true

  private constructor(readonly fd: number, readonly id: number) {}

  /** @throws BpfError ENOENT, EPERM; EINVAL when it is no struct_ops' */
  static byId(id: number): HeldLink {
    const fd = openById(Command.LinkById, id, `link ${id}`)
    if (identity(fd).type !== STRUCT_OPS) {
      native.bpfClose(fd)
      throw new BpfError(`link ${id}`, osConstants.errno.EINVAL, 'it is no struct_ops')
    }
    return new HeldLink(fd, id)
  }

  /** Ends the attachment, whoever else holds the link, and lets go of it. */
  detach(): void {
    if (!this.open) return
    const block = new Block(new ArrayBuffer(16))
    block.u32[ATTR / 4] = this.fd
    // Whatever it answers: closed, it holds nothing any more.
    native.bpf(Command.LinkDetach, block, ATTR, 4)
    this.close()
  }

  /** Lets go of it. */
  close(): void {
    if (!this.open) return
    this.open = false
    native.bpfClose(this.fd)
  }
}
