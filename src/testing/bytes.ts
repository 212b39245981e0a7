// SPDX-License-Identifier: MIT
/**
 * Messages from small pieces, little-endian. Shares no code with src/protocol, so that vectors
 * built here check it.
 */

export type Piece = Uint8Array

export function u8(value: number): Piece {
  return Uint8Array.of(value)
}
export function u16(value: number): Piece {
  return Uint8Array.of(value, value >>> 8)
}
export function u32(value: number): Piece {
  return Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24)
}
export function i32(value: number): Piece {
  return u32(value)
}
export function u64(value: bigint): Piece {
  return Uint8Array.from({ length: 8 }, (_, index) => Number((value >> BigInt(8 * index)) & 0xffn))
}
/** Two's complement. */
export function i64(value: bigint): Piece {
  return u64(value < 0n ? value + (1n << 64n) : value)
}
/** UTF-8 without an end. */
export function text(value: string): Piece {
  return new TextEncoder().encode(value)
}
/** UTF-8 and a NUL. */
export function cstring(value: string): Piece {
  return join([text(value), u8(0)])
}
export function zeros(count: number): Piece {
  return new Uint8Array(count)
}
/** Bytes from hexadecimal digits; spaces are for the reader. */
export function hex(digits: string): Piece {
  return Uint8Array.from(digits.replace(/\s+/g, '').match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
}
export function join(pieces: readonly Piece[]): Piece {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}
