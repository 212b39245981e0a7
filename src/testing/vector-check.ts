// SPDX-License-Identifier: MIT
/** Runs FUSE code, ours or anybody's, against the byte vectors. */
import type { FuseNotifyCode, FuseOpcodeName } from '../protocol/constants.js'
import {
  HEADER, malformedVectors, notificationVectors, replyVectors, requestVectors, type FieldValue, type FieldValues,
  type ReplyAnswer, type VectorDialect,
} from './vectors.js'

/** What a subject makes of a request. */
export type Parsed =
  /** Understood. `fields` may have more than the vector asks for; numbers may be number or bigint. */
  | { readonly opcode: number; readonly unique: bigint; readonly nodeid: bigint; readonly uid: number; readonly gid: number
    readonly pid: number; readonly fields: Readonly<Record<string, unknown>> }
  /** Malformed: the error to answer (positive), 0 for none. */
  | { readonly errno: number }

/** FUSE code under test, behind an adapter. */
export interface VectorSubject {
  /** Parses a request as it comes from the device. */
  parse(request: Uint8Array, dialect: VectorDialect): Parsed
  /** Encodes a reply, fuse_out_header included. Without it reply vectors are left out. */
  encodeReply?(operation: FuseOpcodeName, request: Uint8Array, answer: ReplyAnswer): Uint8Array
  /** Encodes a notification. Without it notification vectors are left out. */
  encodeNotification?(code: keyof typeof FuseNotifyCode, fields: FieldValues): Uint8Array
}

export interface VectorFailure {
  /** Operation or notification, and the vector's name. */
  readonly vector: string
  readonly problem: string
}

/** @returns what differs; empty: the subject conforms */
export function checkVectors(subject: VectorSubject): VectorFailure[] {
  const failures: VectorFailure[] = []
  const run = (vector: string, check: () => Iterable<string>) => {
    try {
      for (const problem of check()) failures.push({ vector, problem })
    } catch (error) {
      failures.push({ vector, problem: `threw ${String(error instanceof Error ? error.stack : error)}` })
    }
  }
  for (const { operation, name, request, dialect, fields } of requestVectors) {
    run(`${operation}, ${name}`, () => {
      const parsed = subject.parse(request.slice(), dialect)
      if ('errno' in parsed) return [`refused with errno ${parsed.errno}`]
      return [
        ...differences('', { ...HEADER, uid: BigInt(HEADER.uid), gid: BigInt(HEADER.gid), pid: BigInt(HEADER.pid) }, {
          unique: parsed.unique, nodeid: parsed.nodeid, uid: parsed.uid, gid: parsed.gid, pid: parsed.pid,
        }),
        ...differences('', fields, parsed.fields),
      ]
    })
  }
  for (const { name, request, dialect, errno } of malformedVectors) {
    run(`malformed: ${name}`, () => {
      const parsed = subject.parse(request.slice(), dialect)
      if (!('errno' in parsed)) return ['accepted']
      return parsed.errno === errno ? [] : [`errno ${parsed.errno}, expected ${errno}`]
    })
  }
  if (subject.encodeReply) {
    for (const { operation, name, request, answer, reply } of replyVectors) {
      run(`${operation} reply, ${name}`, () => sameBytes(subject.encodeReply!(operation, request.slice(), answer), reply))
    }
  }
  if (subject.encodeNotification) {
    for (const { code, name, fields, bytes } of notificationVectors) {
      run(`${code}, ${name}`, () => sameBytes(subject.encodeNotification!(code, fields), bytes))
    }
  }
  return failures
}

function sameBytes(actual: Uint8Array, expected: Uint8Array): string[] {
  const show = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
  if (show(actual) === show(expected)) return []
  return [`got ${show(actual)}\n   expected ${show(expected)}`]
}

function differences(prefix: string, expected: FieldValues, actual: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(expected).flatMap(([name, value]) => difference(`${prefix}${name}`, value, actual[name]))
}

function difference(name: string, expected: FieldValue, actual: unknown): string[] {
  if (expected instanceof Uint8Array) {
    return actual instanceof Uint8Array ? sameBytes(actual, expected).map((problem) => `${name}: ${problem}`) : [`${name}: no bytes`]
  }
  if (typeof expected === 'object') {
    if (typeof actual !== 'object' || actual === null) return [`${name}: ${String(actual)}, expected an object`]
    return differences(`${name}.`, expected, actual as Record<string, unknown>)
  }
  const normal = typeof actual === 'number' && typeof expected === 'bigint' ? BigInt(actual) : actual
  return normal === expected ? [] : [`${name}: ${String(actual)}, expected ${String(expected)}`]
}
