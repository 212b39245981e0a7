// SPDX-License-Identifier: MIT
/** Random choices that a seed repeats (sfc32), biased towards what breaks programs. */

/** The byte that memory is poisoned with; random content never has it, so that a leak shows. */
export const POISON = 0xe7

const INTERESTING = [
  0, 1, 2, 3, 7, 8, 15, 16, 39, 40, 41, 63, 64, 127, 128, 255, 256, 511, 512, 1023, 1024, 4095, 4096, 4097, 8191, 8192, 65535,
  65536, 131072, 0x7ffffff8, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff,
]
const INTERESTING_WIDE = [
  0n, 1n, 2n, 4095n, 4096n, 1n << 31n, 1n << 32n, (1n << 32n) + 1n, (1n << 53n) - 1n, 1n << 53n, (1n << 53n) + 1n,
  (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n,
]

export class Random {
  private a: number
  private b = 0x9e3779b9
  private c = 0x243f6a88
  private counter = 1

  constructor(seed: number) {
    this.a = seed | 0
    for (let i = 0; i < 15; i++) this.next()
  }

  /** 32 random bits. */
  next(): number {
    const t = (this.a + this.b + this.counter++) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = ((this.c << 21) | (this.c >>> 11)) + t | 0
    return t >>> 0
  }

  /** 0 to limit - 1. */
  below(limit: number): number {
    return limit <= 0 ? 0 : this.next() % limit
  }

  chance(probability: number): boolean {
    return this.next() < probability * 4294967296
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]
  }

  byte(): number {
    const byte = this.next() & 0xff
    return byte === POISON ? 0 : byte
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    for (let i = 0; i < length; i++) bytes[i] = this.byte()
    return bytes
  }

  u32(): number {
    if (this.chance(0.7)) return this.pick(INTERESTING)
    return (this.byte() | (this.byte() << 8) | (this.byte() << 16) | (this.byte() << 24)) >>> 0
  }

  u64(): bigint {
    if (this.chance(0.5)) return BigInt(this.u32())
    if (this.chance(0.7)) return this.pick(INTERESTING_WIDE)
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32())
  }
}
