// SPDX-License-Identifier: MIT
/**
 * Structs as plain objects, every number a bigint: exact, and made without the views that are
 * under test. Bytes are little-endian.
 */
import type { ArrayField, FieldLayout, Fields, Struct } from '../protocol/struct.js'

export type DecodedFields<F extends Fields> = {
  [K in keyof F as F[K] extends ArrayField ? never : K]: F[K] extends Struct<infer G> ? DecodedFields<G> : bigint
}
export type Decoded<S> = S extends Struct<infer F> ? DecodedFields<F> : never

/** Reads a struct. @throws RangeError when the bytes end before it does */
export function decode<S extends Struct<any>>(layout: S, bytes: Uint8Array, offset: number): Decoded<S> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return decodeFields(layout.layout, view, offset) as Decoded<S>
}

function decodeFields(layout: readonly FieldLayout[], view: DataView, base: number): Record<string, unknown> {
  const result: Record<string, unknown> = {}
  for (const { name, field, offset } of layout) {
    const at = base + offset
    if (typeof field === 'object') {
      if (field.kind === 'struct') result[name] = decodeFields(field.layout, view, at)
      continue
    }
    result[name] = field === 'u64' ? view.getBigUint64(at, true)
      : field === 'i64' ? view.getBigInt64(at, true)
        : field === 'i32' ? BigInt(view.getInt32(at, true))
          : field === 'u32' ? BigInt(view.getUint32(at, true))
            : field === 'u16' ? BigInt(view.getUint16(at, true))
              : BigInt(view.getUint8(at))
  }
  return result
}
