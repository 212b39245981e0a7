// SPDX-License-Identifier: MIT
/** Values of C types, apart from any object: what is written is read, and what is no value is refused. */
import { test } from 'tap'
import * as codec from '../../src/bpf/codec.js'
import type { Codec } from '../../src/bpf/codec.js'

/** Writes between bytes that must not change. @returns what is read afterwards, and the bytes */
function through<T>(one: Codec<T>, value: T): { read: T; bytes: Buffer } {
  const memory = Buffer.alloc(one.size + 16, 0xee)
  const view = new DataView(memory.buffer, memory.byteOffset, memory.length)
  one.write(view, 8, value)
  const around = [...memory.subarray(0, 8), ...memory.subarray(8 + one.size)]
  if (around.some((byte) => byte !== 0xee)) throw new Error('written outside')
  return { read: one.read(view, 8), bytes: memory.subarray(8, 8 + one.size) }
}

test('integers, at their limits', (t) => {
  for (const size of [1, 2, 4, 8, 16]) {
    for (const signed of [false, true]) {
      const one = codec.integer('x', size, signed, 'bigint')
      const bits = BigInt(size * 8)
      const [low, high] = signed ? [-(1n << bits - 1n), (1n << bits - 1n) - 1n] : [0n, (1n << bits) - 1n]
      for (const value of [low, high, 0n, 1n]) {
        t.equal(BigInt(through(one, value).read), value, `${value} in ${size} bytes`)
        if (size <= 4) t.equal(through(one, Number(value)).read, Number(value))
      }
      t.throws(() => through(one, low - 1n), RangeError)
      t.throws(() => through(one, high + 1n), RangeError)
      for (const wrong of [0.5, NaN, '1', null, undefined, {}]) t.throws(() => through(one, wrong), TypeError)
    }
  }
  t.equal(through(codec.integer('x', 8, true, 'number'), -1).read, -1)
  t.equal(through(codec.integer('x', 8, true, 'number'), -(2 ** 53)).read, -(2 ** 53))
  t.equal(through(codec.integer('x', 8, false, 'number'), 2 ** 53).read, 2 ** 53)
  t.equal(through(codec.integer('x', 8, false, 'number'), (1n << 64n) - 1n).read, 2 ** 64, 'the nearest number')
  t.throws(() => codec.integer('x', 3, false, 'bigint'), TypeError)
  t.end()
})

test('strings, bytes, arrays', (t) => {
  const text = codec.characters('char[4]', 4)
  t.equal(through(text, 'ab').read, 'ab')
  t.strictSame([...through(text, 'ab').bytes], [97, 98, 0, 0], 'the rest is zero')
  t.equal(through(text, 'abcd').read, 'abcd')
  t.equal(through(text, 'é1').read, 'é1', 'UTF-8')
  t.throws(() => through(text, 'ééé'), RangeError)
  t.throws(() => through(text, 7 as never), TypeError)
  const bytes = codec.bytes('u8[3]', 3)
  t.strictSame(through(bytes, Uint8Array.of(1, 2)).read, Uint8Array.of(1, 2, 0))
  const copy = through(bytes, Uint8Array.of(1, 2, 3))
  copy.bytes.fill(9)
  t.strictSame(copy.read, Uint8Array.of(1, 2, 3), 'read is a copy')
  const list = codec.array('u16[3]', codec.integer('u16', 2, false, 'number'), 3)
  t.strictSame(through(list, [1, 2, 65535]).read, [1, 2, 65535])
  t.throws(() => through(list, [1, 2]), RangeError)
  t.throws(() => through(list, 'abc' as never), TypeError)
  const perCpu = codec.sequence('u32 per CPU', codec.integer('u32', 4, false, 'number'), 2, 8)
  t.equal(perCpu.size, 16)
  t.strictSame(through(perCpu, [1, 2]).read, [1, 2])
  t.end()
})

test('structs and bit-fields', (t) => {
  const u32 = codec.integer('u32', 4, false, 'number')
  const one = codec.struct('struct x', 16, [
    { name: 'plain', bit: 0, bits: 0, signed: false, codec: u32 },
    { name: 'flag', bit: 32, bits: 1, signed: false, codec: u32 },
    { name: 'small', bit: 33, bits: 3, signed: true, codec: u32 },
    { name: 'across', bit: 37, bits: 17, signed: false, codec: u32 },
    { name: 'wide', bit: 64, bits: 40, signed: false, codec: u32 },
  ])
  const value = { plain: 7, flag: 1, small: -4, across: 0x1abcd, wide: 0xfedcba9876n }
  t.strictSame(through(one, value).read, value)
  t.strictSame(through(one, { across: 0x1ffff }).read, { plain: 0, flag: 0, small: 0, across: 0x1ffff, wide: 0n })
  t.equal(through(one, { flag: true }).read.flag, 1)
  t.throws(() => codec.struct('struct x', 4, [{ name: 'late', bit: 8, bits: 0, signed: false, codec: u32 }]), TypeError)
  t.throws(() => codec.array('none[9]', codec.struct('struct none', 0, []), 9), TypeError)
  t.throws(() => through(one, { flag: 2 }), RangeError)
  t.throws(() => through(one, { small: 4 }), RangeError)
  t.throws(() => through(one, { small: -5 }), RangeError)
  t.throws(() => through(one, { other: 1 }), TypeError)
  t.throws(() => through(one, [] as never), TypeError)
  t.throws(() => through(one, null as never), TypeError)
  t.end()
})

test('numbers of other kinds', (t) => {
  t.equal(through(codec.float('double', 8), 0.1).read, 0.1)
  t.equal(through(codec.float('float', 4), 0.5).read, 0.5)
  t.throws(() => codec.float('x', 10), TypeError)
  t.equal(through(codec.boolean('bool', 1), true).read, true)
  t.equal(through(codec.boolean('bool', 1), 0).read, false)
  t.throws(() => through(codec.boolean('bool', 1), 2), TypeError)
  t.equal(through(codec.descriptor, { fd: 7 }).read, 7)
  t.throws(() => through(codec.descriptor, -1), TypeError)
  t.throws(() => through(codec.descriptor, {}), TypeError)
  t.end()
})
