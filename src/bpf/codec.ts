// SPDX-License-Identifier: MIT
/**
 * From C types to JavaScript values and back. What the types are says BTF, through libbpf (`btf.ts`); here are
 * the values:
 *
 * | C | JavaScript |
 * |---|---|
 * | integers up to 32 bits, enumerations, float, double | number |
 * | 64-bit integers, pointers | bigint; number if so asked for |
 * | 128-bit integers | bigint |
 * | bool | boolean |
 * | `char x[n]` | string up to its NUL |
 * | arrays of u8 | Uint8Array |
 * | other arrays | array |
 * | structs, unions | object; the members of anonymous ones are the outer one's |
 */

/** A value of any C type. */
export type BpfValue =
  | number | bigint | boolean | string | Uint8Array | readonly BpfValue[] | { readonly [name: string]: BpfValue }

/** How 64-bit integers are read: exactly, or as the nearest number, which is exact up to 2^53. Both can be written. */
export type Wide = 'bigint' | 'number'

/** Reads and writes values of one type, at an offset of memory in host order. */
export interface Codec<T = BpfValue> {
  /** Bytes. */
  readonly size: number
  /** The C type's name, for messages. */
  readonly name: string
  read(view: DataView, offset: number): T
  /** Writes all of `size` bytes. @throws TypeError, RangeError when the value is none of the type */
  write(view: DataView, offset: number, value: T): void
  /** Of structs and unions. */
  readonly members?: readonly Member[]
}

function mismatch(name: string, value: unknown): TypeError {
  const shown = typeof value === 'bigint' ? `${value}n` : JSON.stringify(value) ?? String(value)
  return new TypeError(`${shown} is no ${name}`)
}

function toInteger(name: string, value: unknown): bigint {
  if (typeof value === 'bigint') return value
  if (typeof value === 'number' && Number.isInteger(value)) return BigInt(value)
  throw mismatch(name, value)
}

function ranged(name: string, value: bigint, bits: number, signed: boolean): bigint {
  const low = signed ? -(1n << BigInt(bits - 1)) : 0n
  const high = (1n << BigInt(signed ? bits - 1 : bits)) - 1n
  if (value < low || value > high) throw new RangeError(`${value} does not fit ${name}`)
  return value
}

const small = {
  u8: (view: DataView, at: number) => view.getUint8(at),
  i8: (view: DataView, at: number) => view.getInt8(at),
  u16: (view: DataView, at: number) => view.getUint16(at, true),
  i16: (view: DataView, at: number) => view.getInt16(at, true),
  u32: (view: DataView, at: number) => view.getUint32(at, true),
  i32: (view: DataView, at: number) => view.getInt32(at, true),
}

export function integer(name: string, size: number, signed: boolean, wide: Wide): Codec<any> {
  if (size === 1 || size === 2 || size === 4) {
    const read = small[`${signed ? 'i' : 'u'}${size * 8}` as keyof typeof small]
    const low = signed ? -(2 ** (size * 8 - 1)) : 0
    const high = 2 ** (signed ? size * 8 - 1 : size * 8) - 1
    const write = (view: DataView, at: number, value: unknown) => {
      const number = typeof value === 'bigint' ? Number(value) : value
      if (typeof number !== 'number' || !Number.isInteger(number)) throw mismatch(name, value)
      if (number < low || number > high) throw new RangeError(`${number} does not fit ${name}`)
      if (size === 1) view.setUint8(at, number)
      else if (size === 2) view.setUint16(at, number, true)
      else view.setUint32(at, number, true)
    }
    return { name, size, read, write }
  }
  if (size === 8) {
    const exact = (view: DataView, at: number) => signed ? view.getBigInt64(at, true) : view.getBigUint64(at, true)
    const near = (view: DataView, at: number) =>
      (signed ? view.getInt32(at + 4, true) : view.getUint32(at + 4, true)) * 4294967296 + view.getUint32(at, true)
    return {
      name,
      size,
      read: wide === 'number' ? near : exact,
      write: (view, at, value: unknown) => {
        const whole = ranged(name, toInteger(name, value), 64, signed)
        view.setBigUint64(at, BigInt.asUintN(64, whole), true)
      },
    }
  }
  if (size !== 16) throw new TypeError(`${name}: integers of ${size} bytes are not known`)
  return {
    name,
    size,
    read: (view, at) => {
      const high = signed ? view.getBigInt64(at + 8, true) : view.getBigUint64(at + 8, true)
      return high << 64n | view.getBigUint64(at, true)
    },
    write: (view, at, value: unknown) => {
      const whole = BigInt.asUintN(128, ranged(name, toInteger(name, value), 128, signed))
      view.setBigUint64(at, whole & 0xffffffffffffffffn, true)
      view.setBigUint64(at + 8, whole >> 64n, true)
    },
  }
}

export function boolean(name: string, size: number): Codec<any> {
  const number = integer(name, size, false, 'number')
  return {
    name,
    size,
    read: (view, at) => number.read(view, at) !== 0,
    write: (view, at, value: unknown) => {
      if (typeof value !== 'boolean' && value !== 0 && value !== 1) throw mismatch(name, value)
      number.write(view, at, Number(value))
    },
  }
}

export function float(name: string, size: number): Codec<any> {
  if (size !== 4 && size !== 8) throw new TypeError(`${name}: floating-point numbers of ${size} bytes are not known`)
  return {
    name,
    size,
    read: (view, at) => size === 4 ? view.getFloat32(at, true) : view.getFloat64(at, true),
    write: (view, at, value: unknown) => {
      if (typeof value !== 'number') throw mismatch(name, value)
      if (size === 4) view.setFloat32(at, value, true)
      else view.setFloat64(at, value, true)
    },
  }
}

/** Uninterpreted bytes: reads a copy, writes as many bytes as there are. */
export function bytes(name: string, size: number): Codec<any> {
  return {
    name,
    size,
    read: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at, size).slice(),
    write: (view, at, value: unknown) => {
      const given = typeof value === 'string' ? new TextEncoder().encode(value) : value
      const list = given instanceof Uint8Array || Array.isArray(given) ? given : null
      if (list === null) throw mismatch(name, value)
      if (list.length > size) throw new RangeError(`${list.length} bytes do not fit ${name}`)
      const target = new Uint8Array(view.buffer, view.byteOffset + at, size)
      target.fill(0)
      target.set(list)
    },
  }
}

/** Characters up to the first NUL. A string that fills the array has none, as in C. */
export function characters(name: string, size: number): Codec<any> {
  const raw = bytes(name, size)
  return {
    ...raw,
    read: (view, at) => {
      const text = Buffer.from(view.buffer, view.byteOffset + at, size)
      const end = text.indexOf(0)
      return text.toString('utf8', 0, end < 0 ? size : end)
    },
  }
}

export function array(name: string, element: Codec<any>, count: number): Codec<any> {
  return sequence(name, element, count, element.size)
}

/** Elements that begin every `stride` bytes: a per-CPU value is such a one. */
export function sequence(name: string, element: Codec<any>, count: number, stride: number): Codec<any> {
  // Else their number would have no bound.
  if (stride === 0 && count > 0) throw new TypeError(`${name} is not a type of values: its elements have no size`)
  return {
    name,
    size: stride * count,
    read: (view, at) => {
      const values = new Array(count)
      for (let i = 0; i < count; i++) values[i] = element.read(view, at + i * stride)
      return values
    },
    write: (view, at, value: unknown) => {
      if (!Array.isArray(value)) throw mismatch(name, value)
      if (value.length !== count) throw new RangeError(`${name} has ${count} elements, not ${value.length}`)
      for (let i = 0; i < count; i++) element.write(view, at + i * stride, value[i])
    },
  }
}

/** A member of a struct; `bits` is 0 unless it is a bit-field, which begins `bit` bits into the struct. */
export interface Member {
  readonly name: string
  readonly bit: number
  readonly bits: number
  readonly signed: boolean
  readonly codec: Codec<any>
}

function readBits(view: DataView, at: number, { bit, bits, signed }: Member): bigint {
  let value = 0n
  const first = bit >> 3
  const last = bit + bits - 1 >> 3
  for (let i = last; i >= first; i--) value = value << 8n | BigInt(view.getUint8(at + i))
  value >>= BigInt(bit & 7)
  return signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value)
}

function writeBits(view: DataView, at: number, { bit, bits }: Member, value: bigint): void {
  const pattern = BigInt.asUintN(bits, value)
  for (let i = 0; i < bits; i++) {
    const byte = at + (bit + i >> 3)
    const mask = 1 << (bit + i & 7)
    const set = pattern >> BigInt(i) & 1n
    view.setUint8(byte, set === 1n ? view.getUint8(byte) | mask : view.getUint8(byte) & ~mask)
  }
}

/**
 * A struct, or a union, whose members lie over each other: written are those that are given, and what is not
 * given is zero.
 */
export function struct(name: string, size: number, members: readonly Member[]): Codec<any> {
  for (const { name: member, bit, bits, codec } of members) {
    const end = bits === 0 ? (bit >> 3) + codec.size : Math.ceil((bit + bits) / 8)
    if (end > size) throw new TypeError(`the type is wrong: ${name}.${member} lies outside of it`)
  }
  const plain = members.filter((member) => member.bits === 0)
    .map(({ name, bit, codec }) => ({ name, at: bit >> 3, codec }))
  const fields = members.filter((member) => member.bits !== 0)
  const known = new Map(members.map((member) => [member.name, member]))
  return {
    name,
    size,
    members,
    read: (view, at) => {
      const value: Record<string, unknown> = {}
      for (const member of plain) value[member.name] = member.codec.read(view, at + member.at)
      for (const field of fields) {
        const bits = readBits(view, at, field)
        value[field.name] = field.bits > 32 ? bits : Number(bits)
      }
      return value
    },
    write: (view, at, value: unknown) => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw mismatch(name, value)
      new Uint8Array(view.buffer, view.byteOffset + at, size).fill(0)
      for (const [key, part] of Object.entries(value)) {
        const member = known.get(key)
        if (member === undefined) throw new TypeError(`${name} has no member ${key}`)
        if (member.bits === 0) {
          member.codec.write(view, at + (member.bit >> 3), part)
        } else {
          const given = typeof part === 'boolean' ? BigInt(part) : toInteger(`${name}.${key}`, part)
          writeBits(view, at, member, ranged(`${name}.${key}`, given, member.bits, member.signed))
        }
      }
    },
  }
}

/** The descriptor of a program or a map, given as itself or as its object; reads give the kernel's id of it. */
export const descriptor: Codec<any> = {
  name: 'file descriptor',
  size: 4,
  read: (view, at) => view.getUint32(at, true),
  write: (view, at, value: unknown) => {
    const fd = typeof value === 'object' && value !== null && 'fd' in value ? value.fd : value
    if (typeof fd !== 'number' || !Number.isInteger(fd) || fd < 0) throw mismatch('file descriptor', value)
    view.setUint32(at, fd, true)
  },
}
