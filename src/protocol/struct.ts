// SPDX-License-Identifier: MIT
/**
 * Struct layouts as tables, and typed views over bytes made from them.
 *
 * A kernel struct is described once, field by field in order; offsets follow the C rules of a
 * 64-bit machine. From that one table come its size, the checks against a C compiler, and a
 * `View` class whose properties read and write the bytes in place: no copy, no allocation.
 *
 * A 64-bit field `fh` appears as three properties: `fh` as a number (exact up to 2^53), and
 * `fh_low` and `fh_high`, its 32-bit halves, for values that may be larger (ext4's directory
 * cookies are). Bytes are in host order, as FUSE's are.
 */

/** A range of memory seen as bytes, 16-bit and 32-bit words at once. Requests and replies live in one. */
export class Block {
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly u32: Uint32Array
  readonly i32: Int32Array
  /** Number by which the native addon knows this memory; 0 until native.ts registers it. */
  nativeId = 0

  /** @param buffer its length must be a multiple of 8 */
  constructor(readonly buffer: ArrayBufferLike) {
    this.u8 = new Uint8Array(buffer)
    this.u16 = new Uint16Array(buffer)
    this.u32 = new Uint32Array(buffer)
    this.i32 = new Int32Array(buffer)
  }

  get length(): number {
    return this.u8.length
  }
}

/** Scalar field types, named after the kernel's: `u64` for `uint64_t` and so on. */
export const u8 = 'u8'
export const u16 = 'u16'
export const u32 = 'u32'
export const i32 = 'i32'
export const u64 = 'u64'
export const i64 = 'i64'
export type Scalar = 'u8' | 'u16' | 'u32' | 'i32' | 'u64' | 'i64'

/** A fixed array; it takes part in the layout and has no property of its own. */
export interface ArrayField {
  readonly kind: 'array'
  readonly element: Scalar
  readonly count: number
}

/** `array(u32, 6)` is C's `uint32_t name[6]`; a count of 0 is a flexible array member. */
export function array(element: Scalar, count: number): ArrayField {
  return { kind: 'array', element, count }
}

export type Field = Scalar | ArrayField | Struct<any>
export type Fields = Readonly<Record<string, Field>>

type Wide<F extends Fields> = { [K in keyof F]: F[K] extends 'u64' | 'i64' ? K : never }[keyof F] & string
type Plain<F extends Fields> = { [K in keyof F]: F[K] extends ArrayField ? never : K }[keyof F] & string

/** The properties that a struct's fields become. */
export type FieldsOf<F extends Fields> = {
  [K in Plain<F>]: F[K] extends Struct<infer G> ? View & FieldsOf<G> : number
} & { [K in Wide<F> as `${K}_low` | `${K}_high`]: number }

/** Field values to encode a struct from: every field optional, nested structs as objects. */
export type ValuesOf<F extends Fields> = {
  [K in Plain<F>]?: F[K] extends Struct<infer G> ? ValuesOf<G> : number | bigint
}

export interface FieldLayout {
  readonly name: string
  readonly field: Field
  /** Bytes from the start of the struct. */
  readonly offset: number
  /** Bytes. */
  readonly size: number
}

/** The bytes of one struct: where they lie. Structs add their fields as properties. */
export class View {
  protected u16!: Uint16Array
  protected u32!: Uint32Array
  protected i32!: Int32Array
  protected u8!: Uint8Array
  /** Index of the struct's first 32-bit word. */
  protected word = 0

  /** Moves the view. @param offset bytes, a multiple of 4 */
  move(block: Block, offset: number): this {
    // A view mostly stays in its exchange's block.
    if (this.u32 !== block.u32) {
      this.u8 = block.u8
      this.u16 = block.u16
      this.u32 = block.u32
      this.i32 = block.i32
    }
    this.word = offset >>> 2
    return this
  }

  /** Bytes from the start of the block. */
  get offset(): number {
    return this.word * 4
  }
}

export interface Struct<F extends Fields> {
  readonly kind: 'struct'
  /** The kernel's name. */
  readonly name: string
  /** Bytes, padding included. */
  readonly size: number
  readonly align: number
  readonly fields: F
  readonly layout: readonly FieldLayout[]
  /** A view that is not placed yet: call `move`. */
  view(): View & FieldsOf<F>
  /** A view at an offset of a block. */
  at(block: Block, offset: number): View & FieldsOf<F>
  /** The struct's bytes; fields that are not given are zero. */
  encode(values?: ValuesOf<F>): Uint8Array
}

const SCALAR_SIZE: Record<Scalar, number> = { u8: 1, u16: 2, u32: 4, i32: 4, u64: 8, i64: 8 }

function sizeAndAlign(field: Field): { size: number; align: number } {
  if (typeof field === 'string') return { size: SCALAR_SIZE[field], align: SCALAR_SIZE[field] }
  if (field.kind === 'array') {
    const element = SCALAR_SIZE[field.element]
    return { size: element * field.count, align: element }
  }
  return { size: field.size, align: field.align }
}

/** Lays out fields in order, each at its natural alignment, as the C compiler does. */
function layOut(fields: Fields): { layout: FieldLayout[]; size: number; align: number } {
  const layout: FieldLayout[] = []
  let end = 0
  let structAlign = 1
  for (const [name, field] of Object.entries(fields)) {
    const { size, align } = sizeAndAlign(field)
    const offset = Math.ceil(end / align) * align
    layout.push({ name, field, offset, size })
    end = offset + size
    structAlign = Math.max(structAlign, align)
  }
  return { layout, size: Math.ceil(end / structAlign) * structAlign, align: structAlign }
}

const TWO_32 = 4294967296

/** Words are read through `this.word`, so one accessor serves every place a view is moved to. */
interface Words {
  u8: Uint8Array
  u16: Uint16Array
  u32: Uint32Array
  i32: Int32Array
  word: number
}

function property<T>(get: (this: Words) => T, set?: (this: Words, value: T) => void): PropertyDescriptor {
  return { get, set, enumerable: true, configurable: true }
}

/**
 * Gives a class one property per field. The class must be a `View` (its `word` says where the
 * struct begins). Used by `struct` and by the request classes, which are views of their arguments.
 */
export function defineFields(prototype: object, struct: Struct<any>): void {
  for (const { name, field, offset } of struct.layout as readonly FieldLayout[]) {
    const word = offset >>> 2
    if (field === 'u8') {
      Object.defineProperty(prototype, name, property(
        function () { return this.u8[this.word * 4 + offset] },
        function (value) { this.u8[this.word * 4 + offset] = value },
      ))
    } else if (field === 'u16') {
      const half = offset >>> 1
      Object.defineProperty(prototype, name, property(
        function () { return this.u16[this.word * 2 + half] },
        function (value) { this.u16[this.word * 2 + half] = value },
      ))
    } else if (field === 'u32') {
      Object.defineProperty(prototype, name, property(
        function () { return this.u32[this.word + word] },
        function (value) { this.u32[this.word + word] = value },
      ))
    } else if (field === 'i32') {
      Object.defineProperty(prototype, name, property(
        function () { return this.i32[this.word + word] },
        function (value) { this.i32[this.word + word] = value },
      ))
    } else if (field === 'u64' || field === 'i64') {
      const signed = field === 'i64'
      Object.defineProperty(prototype, name, property(
        signed
          ? function () { return this.u32[this.word + word] + this.i32[this.word + word + 1] * TWO_32 }
          : function () { return this.u32[this.word + word] + this.u32[this.word + word + 1] * TWO_32 },
        function (value) {
          this.u32[this.word + word] = value >>> 0 === value ? value : value % TWO_32
          this.u32[this.word + word + 1] = value >>> 0 === value ? 0 : Math.floor(value / TWO_32)
        },
      ))
      Object.defineProperty(prototype, `${name}_low`, property(
        function () { return this.u32[this.word + word] },
        function (value) { this.u32[this.word + word] = value },
      ))
      Object.defineProperty(prototype, `${name}_high`, property(
        function () { return this.u32[this.word + word + 1] },
        function (value) { this.u32[this.word + word + 1] = value },
      ))
    } else if (field.kind === 'struct') {
      const slot = Symbol(name)
      Object.defineProperty(prototype, name, {
        get(this: Words & Record<symbol, View & Words>) {
          const nested = (this[slot] ??= field.view() as unknown as View & Words)
          nested.u8 = this.u8
          nested.u16 = this.u16
          nested.u32 = this.u32
          nested.i32 = this.i32
          nested.word = this.word + word
          return nested
        },
        enumerable: true,
        configurable: true,
      })
    }
  }
}

/** Describes a kernel struct: its C name and its fields in order. */
export function struct<F extends Fields>(name: string, fields: F): Struct<F> {
  const { layout, size, align } = layOut(fields)
  class StructView extends View {}
  const description: Struct<F> = {
    kind: 'struct',
    name,
    size,
    align,
    fields,
    layout,
    view: () => new StructView() as unknown as View & FieldsOf<F>,
    at: (block, offset) => description.view().move(block, offset),
    encode(values = {}) {
      const block = new Block(new ArrayBuffer(Math.ceil(size / 8) * 8))
      assign(block, 0, description, values)
      return block.u8.subarray(0, size)
    },
  }
  defineFields(StructView.prototype, description)
  return description
}

function assign(block: Block, base: number, description: Struct<any>, values: ValuesOf<any>): void {
  const bytes = new DataView(block.buffer)
  const little = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1
  for (const { name, field, offset } of description.layout as readonly FieldLayout[]) {
    const value = (values as Record<string, unknown>)[name]
    if (value === undefined) continue
    if (typeof field === 'object') {
      if (field.kind === 'struct') assign(block, base + offset, field, value as ValuesOf<any>)
      continue
    }
    const number = BigInt.asUintN(64, BigInt(value as number | bigint))
    if (field === 'u64' || field === 'i64') bytes.setBigUint64(base + offset, number, little)
    else if (field === 'u16') bytes.setUint16(base + offset, Number(number & 0xffffn), little)
    else if (field === 'u8') bytes.setUint8(base + offset, Number(number & 0xffn))
    else bytes.setUint32(base + offset, Number(number & 0xffffffffn), little)
  }
}
