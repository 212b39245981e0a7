// SPDX-License-Identifier: MIT
/** A program's global variables, by name, typed by BTF: knobs (`const volatile`) and shared state. */
import { constants as osConstants } from 'node:os'
import type { Variable } from './btf.js'
import type { BpfValue } from './codec.js'
import { BpfError } from './error.js'

/** Variables of one section and where their bytes are now. */
export interface Section {
  readonly variables: readonly Variable[]
  /** @param write whether they will be written. @throws BpfError when they can't be read or written now */
  memory(write: boolean): DataView
}

/** Variables by name. Names with `static` in C count as well; of two that have the same name, the first. */
export class BpfVariables {
  readonly #what: string
  readonly #found = new Map<string, { section: Section; variable: Variable }>()

  constructor(what: string, sections: readonly Section[]) {
    this.#what = what
    for (const section of sections) {
      for (const variable of section.variables) {
        if (!this.#found.has(variable.name)) this.#found.set(variable.name, { section, variable })
      }
    }
  }

  get names(): string[] {
    return [...this.#found.keys()]
  }

  has(name: string): boolean {
    return this.#found.has(name)
  }

  #find(name: string) {
    const found = this.#found.get(name)
    if (found !== undefined) return found
    const names = this.names.join(', ') || 'none'
    throw new BpfError(`${this.#what} ${name}`, osConstants.errno.ENOENT, `there are ${names}`)
  }

  /** @throws BpfError ENOENT when there is no such variable */
  get<T = any>(name: string): T {
    const { section, variable } = this.#find(name)
    const { codec } = variable
    return codec.read(this.#memory(name, section, variable, false), variable.offset)
  }

  /** Sets one variable, or several. @throws BpfError ENOENT, EPERM; TypeError, RangeError when a value does not fit */
  set(name: string, value: BpfValue): this
  set(values: Readonly<Record<string, BpfValue>>): this
  set(names: string | Readonly<Record<string, BpfValue>>, value?: BpfValue): this {
    const given = typeof names === 'string' ? { [names]: value } : names
    for (const [name, one] of Object.entries(given)) {
      const { section, variable } = this.#find(name)
      const { codec } = variable
      codec.write(this.#memory(name, section, variable, true), variable.offset, one)
    }
    return this
  }

  /** Types and sections come from the object's file, which may be wrong about them. */
  #memory(name: string, section: Section, { offset, codec }: Variable, write: boolean): DataView {
    const view = section.memory(write)
    if (offset + codec.size <= view.byteLength) return view
    throw new BpfError(`${this.#what} ${name}`, osConstants.errno.EINVAL, 'it lies outside its section')
  }
}
