// SPDX-License-Identifier: MIT
/** eFuse's own protocol code as a subject of the byte vectors: also the example of an adapter. */
import type { FuseNotifyCode, FuseOpcodeName } from '../protocol/constants.js'
import { Exchange, IN_HEADER_SIZE, OUT_HEADER_SIZE } from '../protocol/exchange.js'
import * as notify from '../protocol/notify.js'
import { checkOutcome, replyOf, type CreateReply, type DataReply, type DirectoryReply, type XattrReply } from '../protocol/reply.js'
import { requestOf } from '../protocol/request.js'
import { Block, type FieldLayout } from '../protocol/struct.js'
import type { FieldValues, ReplyAnswer, VectorDialect } from './vectors.js'
import type { Parsed, VectorSubject } from './vector-check.js'

const DATA_AREA = 8192

/** Puts a request where a ring would, among bytes that must not matter. */
function receive(request: Uint8Array, dialect: VectorDialect): { exchange: Exchange; error: number } {
  const block = new Block(new ArrayBuffer(65536))
  block.u8.fill(0xa5)
  const exchange = new Exchange(block, 0, DATA_AREA)
  const header = DATA_AREA - IN_HEADER_SIZE - 40
  block.u8.set(request, header)
  return { exchange, error: exchange.parse(header, request.length, dialect) }
}

/** Reads each field of a view, 64-bit ones exactly. */
function read(view: Record<string, any>, layout: readonly FieldLayout[]): Record<string, unknown> {
  const fields: Record<string, unknown> = {}
  for (const { name, field } of layout) {
    if (typeof field === 'object') {
      if (field.kind === 'struct') fields[name] = read(view[name], field.layout)
    } else if (field === 'u64' || field === 'i64') {
      const bits = BigInt(view[`${name}_low`]) | (BigInt(view[`${name}_high`]) << 32n)
      fields[name] = field === 'i64' ? BigInt.asIntN(64, bits) : bits
    } else {
      fields[name] = view[name]
    }
  }
  return fields
}

/** Writes fields through a view. */
function write(view: Record<string, any>, values: FieldValues): void {
  for (const [name, value] of Object.entries(values)) {
    if (typeof value === 'object') write(view[name], value as FieldValues)
    else if (typeof value === 'bigint') {
      if (`${name}_low` in view) {
        view[`${name}_low`] = Number(BigInt.asUintN(32, value))
        view[`${name}_high`] = Number(BigInt.asUintN(32, value >> 32n))
      } else view[name] = Number(value)
    }
  }
}

export const efuseSubject: VectorSubject = {
  parse(request: Uint8Array, dialect: VectorDialect): Parsed {
    const { exchange, error } = receive(request, dialect)
    if (error !== 0) {
      return { errno: request.length < IN_HEADER_SIZE || exchange.operation?.reply === 'none' ? 0 : -error }
    }
    const parsed = requestOf(exchange) as ReturnType<typeof requestOf> & Record<string, any>
    const securityContexts = Object.fromEntries(parsed.securityContexts)
    return {
      opcode: parsed.opcode,
      unique: BigInt(exchange.uniqueLow) | (BigInt(exchange.uniqueHigh) << 32n),
      nodeid: BigInt(parsed.nodeid_low) | (BigInt(parsed.nodeid_high) << 32n),
      uid: parsed.callerUid, gid: parsed.callerGid, pid: parsed.pid,
      fields: {
        ...(exchange.operation!.args ? read(parsed, exchange.operation!.args.layout) : {}),
        name: parsed.name, name2: parsed.name2, data: parsed.data, group: parsed.supplementaryGroup, securityContexts,
      },
    }
  },

  encodeReply(_operation: FuseOpcodeName, request: Uint8Array, answer: ReplyAnswer): Uint8Array {
    const { exchange, error } = receive(request, { minor: 46, setxattrExt: true })
    if (error !== 0) throw new Error(`the request was refused: ${error}`)
    const reply = replyOf(exchange) as unknown as Record<string, any>
    const { fields = {}, data, dirents, errno } = answer
    if (errno !== undefined) exchange.fail(errno)
    else if (dirents !== undefined) fillDirectory(reply as DirectoryReply, dirents)
    else if ((reply as XattrReply).sizeOnly) (reply as XattrReply).setSize(Number(fields.size))
    else if ('open' in reply) {
      const { open, ...entry } = fields
      write(reply.entry, entry)
      write((reply as CreateReply).open, open as FieldValues)
    } else if ('entry' in reply) write(reply.entry, fields)
    else if ('out' in reply) write(reply.out, fields)
    if (data !== undefined) (reply as DataReply).write(data)
    checkOutcome(exchange)
    const length = exchange.writeOutHeader()
    return exchange.block.u8.slice(exchange.reply - OUT_HEADER_SIZE, exchange.reply - OUT_HEADER_SIZE + length)
  },

  encodeNotification(code: keyof typeof FuseNotifyCode, fields: FieldValues): Uint8Array {
    const f = fields as Record<string, any>
    switch (code) {
      case 'FUSE_NOTIFY_POLL': return notify.encodeNotifyPoll(f.kh)
      case 'FUSE_NOTIFY_INVAL_INODE': return notify.encodeNotifyInvalInode(f.ino, f.off, f.len)
      case 'FUSE_NOTIFY_INVAL_ENTRY': return notify.encodeNotifyInvalEntry(f.parent, f.name, Number(f.flags))
      case 'FUSE_NOTIFY_STORE': return notify.encodeNotifyStore(f.nodeid, f.offset, f.data)
      case 'FUSE_NOTIFY_RETRIEVE': return notify.encodeNotifyRetrieve(f.notify_unique, f.nodeid, f.offset, Number(f.size))
      case 'FUSE_NOTIFY_DELETE': return notify.encodeNotifyDelete(f.parent, f.child, f.name)
      case 'FUSE_NOTIFY_RESEND': return notify.encodeNotifyResend()
      case 'FUSE_NOTIFY_INC_EPOCH': return notify.encodeNotifyIncEpoch()
      case 'FUSE_NOTIFY_PRUNE': return notify.encodeNotifyPrune([...new BigUint64Array(f.nodeids.slice().buffer)])
    }
  },
}

function fillDirectory(reply: DirectoryReply, dirents: readonly FieldValues[]): void {
  for (const { entry, name, ...dirent } of dirents) {
    const bytes = new TextEncoder().encode(name as string)
    if (!reply.next(bytes.length)) throw new Error('the listing does not fit')
    write(reply.dirent as unknown as Record<string, any>, dirent)
    if (entry !== undefined) write(reply.entry as unknown as Record<string, any>, entry as FieldValues)
    reply.block.u8.set(bytes, reply.nameOffset)
  }
}
