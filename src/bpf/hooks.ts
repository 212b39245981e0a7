// SPDX-License-Identifier: MIT
/**
 * Programs for efuse.ko's hooks: an object with a struct efuse_ops, loaded for one connection and attached to it.
 *
 * What an accelerator is, and what `efuse bpf attach` loads; bpf/efuse.h is for the authors of such programs.
 */
import { constants as osConstants } from 'node:os'
import { BpfError } from './error.js'
import { idOf } from './ids.js'
import { BpfObject } from './object.js'
import type { BpfLink } from './program.js'

const { EINVAL } = osConstants.errno

/** The hooks of a connection, in the order of struct efuse_ops. */
export const HOOKS = [
  'lookup', 'getattr', 'access', 'getxattr', 'readlink', 'open', 'flush', 'release', 'opendir', 'readdir', 'releasedir',
  'statfs', 'read', 'write', 'begin', 'reply', 'select_queue', 'stands',
] as const
export type HookName = (typeof HOOKS)[number]

/** Where a program's counters are: whole numbers in the one value of a map. */
export interface CounterMap {
  /** The map's number. */
  map: number
  variables: { name: string; offset: number; size: 4 | 8 }[]
}

/** An object with one struct efuse_ops. Adjust `object` (knobs, sizes of maps), then attach. */
export class HookProgram {
  private constructor(
    readonly object: BpfObject,
    /** The variable that is the struct efuse_ops. */
    private readonly variable: string,
    /** As listings show it: struct efuse_ops.name. */
    readonly name: string,
    /** The hooks that it fills. */
    readonly hooks: readonly HookName[],
  ) {}

  /**
   * Opens an object file; nothing is loaded yet.
   * @param source its bytes, or where they are
   * @param options.variable the struct efuse_ops that is meant, where there are several
   * @throws BpfError when it is no BPF object, or has no struct efuse_ops or several; the file system's own errors
   */
  static async open(source: Uint8Array | string | URL, options: { name?: string; variable?: string } = {}): Promise<HookProgram> {
    const object = await BpfObject.open(source, options)
    try {
      const found = object.mapNames.filter((name) =>
        isEfuseOps(object, name) && (options.variable === undefined || name === options.variable))
      if (found.length !== 1) {
        throw new BpfError(object.name, EINVAL, `it has ${found.length || 'no'} struct efuse_ops, and must have one`)
      }
      const [variable] = found
      const { fields } = object.structOps(variable)
      // Before loading, libbpf has a pointer to the program there.
      const hooks = HOOKS.filter((hook) => fields.has(hook) && BigInt(fields.get(hook)) !== 0n)
      const name = fields.get<string>('name')
      if (name === '') throw new BpfError(object.name, EINVAL, `struct efuse_ops ${variable} has no .name`)
      if (hooks.length === 0) throw new BpfError(object.name, EINVAL, `struct efuse_ops ${variable} fills no hook`)
      return new HookProgram(object, variable, name, hooks)
    } catch (error) {
      object.close()
      throw error
    }
  }

  /**
   * Loads it for a connection, and attaches it until the link or the object is closed.
   * @param token of the connection, unused: an attempt spends it
   * @throws BpfError EBUSY: a hook is taken; EACCES: no such token; ENOTCONN: the connection has ended; EPERM: we may
   *   not load programs; others with the verifier's log
   */
  attach(token: bigint): BpfLink {
    this.load(token)
    return this.object.structOps(this.variable).attach()
  }

  /**
   * Loads it, and puts it in the place of what a link keeps attached, in one step. Hooks that the other one had and
   * this one does not fill get free.
   * @param link is closed
   * @throws BpfError as `attach`; then nothing has changed
   */
  replace(link: { readonly fd: number; close(): void }): BpfLink {
    // The link knows its connection.
    this.load(0n)
    return this.object.structOps(this.variable).replace(link)
  }

  /** Where its counters are, the global variables of .bss that are whole numbers; null if it has none. After loading. */
  counters(): CounterMap | null {
    const variables = this.object.counters('.bss')
    return variables.length === 0 ? null : { map: idOf(this.object.map('.bss').fd), variables }
  }

  /** Gives it the name under which it will be listed, in place of its own. */
  rename(name: string): void {
    this.object.structOps(this.variable).fields.set('name', name)
  }

  private load(token: bigint): void {
    this.object.structOps(this.variable).fields.set('token', token)
    this.object.load()
  }

  /** Detaches and unloads. */
  close(): void {
    this.object.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

function isEfuseOps(object: BpfObject, name: string): boolean {
  if (object.settings(name).type !== 'struct_ops') return false
  const { fields } = object.structOps(name)
  return fields.has('token') && fields.has('select_queue')
}
