// SPDX-License-Identifier: MIT
/**
 * Notifications: the messages that a server sends the kernel unasked. Each is a fuse_out_header
 * with unique 0 and the notification's code where a reply has its error, then a struct, then names
 * or data; written to the device in one piece. Here as bytes; who sends them is not decided here.
 */
import { FuseNotifyCode } from './constants.js'
import type { Fields, Struct, ValuesOf } from './struct.js'
import * as s from './structs.js'

/** A 64-bit value: a number where it is exact, or a bigint. */
export type Wide = number | bigint

const UTF8 = new TextEncoder()
const NO_BYTES = new Uint8Array(0)

/** Puts header, struct and tail into one array. */
function message<F extends Fields>(
  code: number, layout: Struct<F> | null = null, values: ValuesOf<F> = {} as ValuesOf<F>, ...tail: Uint8Array[]
): Uint8Array {
  const head = layout === null ? NO_BYTES : layout.encode(values)
  let length = s.fuse_out_header.size + head.length
  for (const part of tail) length += part.length
  const bytes = new Uint8Array(length)
  bytes.set(s.fuse_out_header.encode({ len: length, error: code, unique: 0 }))
  let at = s.fuse_out_header.size
  for (const part of [head, ...tail]) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/** A name as the kernel reads it: `namelen` leaves out the NUL that must follow all the same. */
function terminated(name: string | Uint8Array): { namelen: number; bytes: Uint8Array } {
  const text = typeof name === 'string' ? UTF8.encode(name) : name
  const bytes = new Uint8Array(text.length + 1)
  bytes.set(text)
  return { namelen: text.length, bytes }
}

/** Wakes pollers. @param kh the `kh` of the poll request */
export function encodeNotifyPoll(kh: Wide): Uint8Array {
  return message(FuseNotifyCode.FUSE_NOTIFY_POLL, s.fuse_notify_poll_wakeup_out, { kh })
}

/**
 * Drops an inode's cached attributes and part of its data.
 * @param offset first byte; negative: attributes only
 * @param length bytes; 0 or less: to the end
 */
export function encodeNotifyInvalInode(nodeid: Wide, offset: Wide = 0, length: Wide = 0): Uint8Array {
  return message(FuseNotifyCode.FUSE_NOTIFY_INVAL_INODE, s.fuse_notify_inval_inode_out, {
    ino: nodeid, off: offset, len: length,
  })
}

/** Drops a cached name. @param flags FUSE_EXPIRE_ONLY: keep it until it is looked at again */
export function encodeNotifyInvalEntry(parent: Wide, name: string | Uint8Array, flags = 0): Uint8Array {
  const { namelen, bytes } = terminated(name)
  return message(FuseNotifyCode.FUSE_NOTIFY_INVAL_ENTRY, s.fuse_notify_inval_entry_out, {
    parent, namelen, flags,
  }, bytes)
}

/** Drops a cached name, if it is `child`'s, and tells its watchers that it was deleted. */
export function encodeNotifyDelete(parent: Wide, child: Wide, name: string | Uint8Array): Uint8Array {
  const { namelen, bytes } = terminated(name)
  return message(FuseNotifyCode.FUSE_NOTIFY_DELETE, s.fuse_notify_delete_out, { parent, child, namelen }, bytes)
}

/** Puts data into the kernel's cache of an inode. */
export function encodeNotifyStore(nodeid: Wide, offset: Wide, data: Uint8Array): Uint8Array {
  return message(FuseNotifyCode.FUSE_NOTIFY_STORE, s.fuse_notify_store_out, {
    nodeid, offset, size: data.length,
  }, data)
}

/**
 * Asks for what the kernel's cache has of an inode. A FUSE_NOTIFY_REPLY request answers it.
 * @param notifyUnique comes back as the `unique` of that request
 */
export function encodeNotifyRetrieve(notifyUnique: Wide, nodeid: Wide, offset: Wide, size: number): Uint8Array {
  return message(FuseNotifyCode.FUSE_NOTIFY_RETRIEVE, s.fuse_notify_retrieve_out, {
    notify_unique: notifyUnique, nodeid, offset, size,
  })
}

/** Has the kernel send all unanswered requests again, FUSE_UNIQUE_RESEND_HIGH set in their unique. */
export function encodeNotifyResend(): Uint8Array {
  return message(FuseNotifyCode.FUSE_NOTIFY_RESEND)
}

/** Makes every cached name be looked up again when next used. */
export function encodeNotifyIncEpoch(): Uint8Array {
  return message(FuseNotifyCode.FUSE_NOTIFY_INC_EPOCH)
}

/** Asks the kernel to forget inodes that nobody uses. */
export function encodeNotifyPrune(nodeids: readonly Wide[]): Uint8Array {
  const tail = BigUint64Array.from(nodeids, (nodeid) => BigInt.asUintN(64, BigInt(nodeid)))
  return message(FuseNotifyCode.FUSE_NOTIFY_PRUNE, s.fuse_notify_prune_out, { count: nodeids.length },
    new Uint8Array(tail.buffer))
}
