// SPDX-License-Identifier: MIT
/** Requests to fuzz with: made from the operations table, or from a corpus, then damaged. */
import { FuseOpcode } from '../../src/protocol/constants.js'
import { OPERATIONS, type Operation } from '../../src/protocol/operations.js'
import type { FieldLayout } from '../../src/protocol/struct.js'
import { fuse_in_header } from '../../src/protocol/structs.js'
import type { Random } from './random.js'

const NAMES: readonly (string | Uint8Array)[] = [
  'a', 'b', 'c', 'd', 'e', 'a', 'b', '.', '..', '', 'a/b', '/', 'user.a', 'system.posix_acl_access', 'x'.repeat(255), 'x'.repeat(256),
  'y'.repeat(4000), Uint8Array.of(0xff, 0xfe, 0x41), '\ufeffname', 'é',
]
const UTF8 = new TextEncoder()

/** Numbers that replies have given out, so that requests can be about them. */
export class Known {
  readonly nodeids: bigint[] = [1n, 1n, 1n]
  readonly handles: bigint[] = [0n]
  /** Of the last request. */
  unique = 2n
  add(list: bigint[], value: bigint): void {
    if (list.length > 64) list[3 + (list.length % 61)] = value
    else list.push(value)
  }
}

/** A whole request, well formed more often than not. */
export function makeRequest(random: Random, known: Known, without: ReadonlySet<number>): Uint8Array {
  known.unique += 2n
  let operation: Operation
  do operation = random.pick(OPERATIONS)
  while (without.has(operation.opcode) || (operation.opcode === FuseOpcode.FUSE_INIT && !random.chance(0.1)))
  const parts: Uint8Array[] = []
  const data = operation.data ? random.bytes(random.chance(0.8) ? random.below(300) : random.below(9000)) : new Uint8Array(0)
  if (operation.args) {
    const values = fieldValues(operation.args.layout, random, known)
    if (operation.opcode === FuseOpcode.FUSE_BATCH_FORGET || operation.opcode === FuseOpcode.FUSE_REMOVEMAPPING) {
      values.count = BigInt(data.length >> 4)
    } else if (operation.data) {
      values[operation.opcode === FuseOpcode.FUSE_IOCTL ? 'in_size' : 'size'] = BigInt(data.length)
    }
    parts.push(operation.args.encode(values as never))
  }
  for (let i = 0; i < operation.names; i++) {
    const name = random.pick(NAMES)
    parts.push(typeof name === 'string' ? UTF8.encode(name) : name, new Uint8Array(1))
  }
  parts.push(data)
  const extensions = random.chance(0.1) ? makeExtensions(random) : new Uint8Array(0)
  parts.push(extensions)
  const length = fuse_in_header.size + parts.reduce((sum, part) => sum + part.length, 0)
  const header = fuse_in_header.encode({
    len: length, opcode: operation.opcode, unique: known.unique, nodeid: random.chance(0.9) ? random.pick(known.nodeids) : random.u64(),
    uid: random.pick([0, 1000]), gid: 0, pid: random.u32(), total_extlen: extensions.length / 8,
  })
  return new Uint8Array(Buffer.concat([header, ...parts]))
}

function fieldValues(layout: readonly FieldLayout[], random: Random, known: Known): Record<string, unknown> {
  const values: Record<string, unknown> = {}
  for (const { name, field } of layout) {
    if (typeof field === 'object') {
      if (field.kind === 'struct') values[name] = fieldValues(field.layout, random, known)
    } else if (name === 'fh' || name === 'fh_in' || name === 'fh_out') {
      values[name] = random.chance(0.9) ? random.pick(known.handles) : random.u64()
    } else if (name === 'oldnodeid' || name === 'newdir' || name === 'nodeid_out') {
      values[name] = random.chance(0.9) ? random.pick(known.nodeids) : random.u64()
    } else if (name === 'unique') {
      values[name] = random.chance(0.8) ? known.unique - BigInt(2 * random.below(16)) : random.u64()
    } else if (name === 'offset' || name === 'length' || name === 'len') {
      values[name] = random.chance(0.7) ? BigInt(random.below(10000)) : random.u64()
    } else if (name === 'mode') {
      values[name] = BigInt(random.pick([0o644, 0o100644, 0o100755, 0o40755, 0o10644, 0o120777]))
    } else {
      values[name] = field === 'u64' || field === 'i64' ? random.u64() : BigInt(random.u32())
    }
  }
  return values
}

function makeExtensions(random: Random): Uint8Array {
  const bytes = random.bytes(8 * (1 + random.below(12)))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, random.chance(0.7) ? bytes.length : random.u32(), true)
  view.setUint32(4, random.chance(0.7) ? random.pick([0, 1, 2, 31, 32]) : random.u32(), true)
  if (bytes.length >= 24 && random.chance(0.7)) view.setUint32(8, random.pick([0, 1, 4, 0xffffffff]), true)
  return bytes
}

/** Damages a message. `len` is put right again half of the time, so that the damage gets further. */
export function mutate(random: Random, message: Uint8Array): Uint8Array {
  let bytes = message.slice()
  for (let i = 1 + random.below(3); i > 0; i--) {
    const at = random.below(bytes.length)
    switch (random.below(6)) {
      case 0: bytes = bytes.slice(0, at); break
      case 1: bytes = new Uint8Array(Buffer.concat([bytes, random.bytes(random.below(64))])); break
      case 2: if (bytes.length > 0) bytes[at] ^= 1 << random.below(8); break
      case 3:
        if (bytes.length < 4) break
        new DataView(bytes.buffer).setUint32(at & ~3 & (at + 4 <= bytes.length ? ~0 : 0), random.u32(), true)
        break
      case 4: if (bytes.length >= 40) new DataView(bytes.buffer).setUint16(36, random.u32() & 0xffff, true); break
      default: bytes = new Uint8Array(Buffer.concat([bytes.subarray(0, at), random.bytes(random.below(8)), bytes.subarray(at)]))
    }
  }
  if (bytes.length >= 4 && random.chance(0.5)) new DataView(bytes.buffer).setUint32(0, bytes.length, true)
  return bytes
}
