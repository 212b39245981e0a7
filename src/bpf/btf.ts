// SPDX-License-Identifier: MIT
/** An object's own types: found and described by libbpf, made into codecs here. */
import * as codec from './codec.js'
import type { Codec, Member, Wide } from './codec.js'
import type { Libbpf, Pointer } from './libbpf.js'
import type { Owner } from './program.js'

/** `BTF_KIND_*` of include/uapi/linux/btf.h. */
const Kind = {
  VOID: 0, INT: 1, PTR: 2, ARRAY: 3, STRUCT: 4, UNION: 5, ENUM: 6, FWD: 7, TYPEDEF: 8, VOLATILE: 9, CONST: 10,
  RESTRICT: 11, FUNC: 12, FUNC_PROTO: 13, VAR: 14, DATASEC: 15, FLOAT: 16, DECL_TAG: 17, TYPE_TAG: 18, ENUM64: 19,
} as const

const REFERENCES: ReadonlySet<number> = new Set([Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG])
const NAMED: readonly number[] = [Kind.STRUCT, Kind.UNION, Kind.TYPEDEF, Kind.ENUM, Kind.ENUM64, Kind.INT, Kind.FLOAT]
const SIGNED = 1
const BOOL = 4
const POINTER_BYTES = 8
/** Types that nest deeper are not C's. */
const DEEPEST = 32
const MOST_MEMBERS = 65_536

/** A variable of a section. */
export interface Variable {
  readonly name: string
  /** Bytes from the section's start. */
  readonly offset: number
  readonly size: number
  readonly codec: Codec<any>
}

/** The types of one object. */
export class BtfTypes {
  readonly #owner: Owner
  readonly #libbpf: Libbpf
  readonly #btf: Pointer
  /** Each type is looked at once, so that types which nest in themselves many times cost no more than their number. */
  readonly #known: Record<Wide, Map<number, Codec<any>>> = { bigint: new Map(), number: new Map() }
  readonly #underWay = new Set<number>()

  /** @param btf `struct btf *`, or null when the object has no types */
  constructor(owner: Owner, btf: Pointer) {
    this.#owner = owner
    this.#libbpf = owner.libbpf
    this.#btf = btf
  }

  /** An unsigned number, as all of BTF's are. */
  #ask(what: string, ...args: number[]): number {
    this.#owner.needOpen()
    return this.#libbpf.functions[what](this.#btf, ...args) >>> 0
  }

  /** A type's number; 0 if there is none of that name and kind. */
  #find(name: string, kind: number): number {
    const id = this.#libbpf.text(name, (at) => this.#ask('btf__find_by_name_kind', at, kind)) | 0
    return Math.max(id, 0)
  }

  #name(what: string, ...args: number[]): string {
    return this.#libbpf.string(this.#ask(what, ...args))
  }

  /** The codec of a type by its name (of a struct, a typedef and so on); null if there is none. */
  find(name: string, wide: Wide): Codec<any> | null {
    if (this.#btf === 0) return null
    for (const kind of NAMED) {
      const id = this.#find(name, kind)
      if (id !== 0) return this.codec(id, wide)
    }
    return null
  }

  /** The values of an enumeration by name; empty if there is none of that name. */
  enumeration(name: string): ReadonlyMap<string, bigint> {
    const values = new Map<string, bigint>()
    if (this.#btf === 0) return values
    for (const kind of [Kind.ENUM, Kind.ENUM64]) {
      const id = this.#find(name, kind)
      for (let i = 0; id !== 0 && i < this.#ask('type_length', id); i++) {
        values.set(this.#name('enumerator_name', id, i), this.#libbpf.functions.enumerator_value(this.#btf, id, i))
      }
    }
    return values
  }

  /** The variables of a section (`BTF_KIND_DATASEC`). */
  variables(section: number, wide: Wide): Variable[] {
    if (this.#btf === 0 || this.#ask('type_kind', section) !== Kind.DATASEC) return []
    return Array.from({ length: this.#ask('type_length', section) }, (_, i) => {
      const variable = this.#ask('variable_type', section, i)
      const type = this.#ask('type_target', variable)
      const codec = () => this.codec(type, wide)
      return {
        name: this.#name('type_name', variable),
        offset: this.#ask('variable_offset', section, i),
        size: this.#ask('variable_size', section, i),
        // When it is used: others may have types that no value can be made of.
        get codec() { return codec() },
      }
    })
  }

  /** @throws TypeError for types that have no values, such as functions, and for those that make no sense */
  codec(id: number, wide: Wide): Codec<any> {
    const known = this.#known[wide].get(id)
    if (known !== undefined) return known
    if (this.#underWay.has(id) || this.#underWay.size >= DEEPEST) throw new TypeError('a type is part of itself')
    this.#underWay.add(id)
    try {
      const made = this.#codec(id, wide)
      this.#known[wide].set(id, made)
      return made
    } finally {
      this.#underWay.delete(id)
    }
  }

  #codec(id: number, wide: Wide): Codec<any> {
    const kind = this.#ask('type_kind', id)
    const name = this.#name('type_name', id) || 'anonymous type'
    const size = () => this.#ask('type_size', id)
    if (REFERENCES.has(kind)) return this.codec(this.#ask('type_target', id), wide)
    switch (kind) {
      case Kind.INT: {
        const encoding = this.#ask('type_int_encoding', id)
        if ((encoding & BOOL) !== 0) return codec.boolean(name, size())
        return codec.integer(name, size(), (encoding & SIGNED) !== 0, wide)
      }
      case Kind.PTR:
        return codec.integer('pointer', POINTER_BYTES, false, wide)
      case Kind.ENUM:
      case Kind.ENUM64:
        return codec.integer(`enum ${name}`, size(), this.#ask('type_flag', id) !== 0, wide)
      case Kind.FLOAT:
        return codec.float(name, size())
      case Kind.ARRAY:
        return this.#array(id, wide)
      case Kind.STRUCT:
      case Kind.UNION:
        return codec.struct(`struct ${name}`, size(), this.#members(id, 0, wide, []))
      default:
        throw new TypeError(`${name} is not a type of values (BTF kind ${kind})`)
    }
  }

  #array(id: number, wide: Wide): Codec<any> {
    const count = this.#ask('type_array_count', id)
    const element = this.#resolve(this.#ask('type_array_element', id))
    const name = this.#name('type_name', element)
    if (this.#ask('type_kind', element) === Kind.INT && this.#ask('type_size', element) === 1) {
      const encoding = this.#ask('type_int_encoding', element)
      if (name === 'char') return codec.characters(`char[${count}]`, count)
      if ((encoding & (SIGNED | BOOL)) === 0) return codec.bytes(`u8[${count}]`, count)
    }
    const of = this.codec(element, wide)
    return codec.array(`${of.name}[${count}]`, of, count)
  }

  /** What a typedef or a qualified type is in the end. */
  #resolve(id: number): number {
    for (let i = 0; i < DEEPEST && REFERENCES.has(this.#ask('type_kind', id)); i++) id = this.#ask('type_target', id)
    return id
  }

  /** Adds a struct's members to `members`, anonymous structs' included. */
  #members(id: number, base: number, wide: Wide, members: Member[], depth = 0): Member[] {
    if (depth > DEEPEST || members.length > MOST_MEMBERS) throw new TypeError('a type is part of itself')
    for (let i = 0; i < this.#ask('type_length', id); i++) {
      const type = this.#ask('member_type', id, i)
      const name = this.#name('member_name', id, i)
      const bit = base + this.#ask('member_bit_offset', id, i)
      const resolved = this.#resolve(type)
      const kind = this.#ask('type_kind', resolved)
      if (name === '') {
        // Padding bit-fields have no name either, and no value.
        if (kind === Kind.STRUCT || kind === Kind.UNION) {
          this.#members(resolved, bit, wide, members, depth + 1)
        }
        continue
      }
      const bits = this.#ask('member_bits', id, i)
      const signed = kind === Kind.INT && (this.#ask('type_int_encoding', resolved) & SIGNED) !== 0
      members.push({ name, bit, bits, signed, codec: this.codec(type, wide) })
    }
    return members
  }
}
