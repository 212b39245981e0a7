// SPDX-License-Identifier: MIT
/**
 * What is measured: each variant is a way of serving the same directory. A line in this table is
 * all that a new one needs.
 *
 * All are started in the foreground with time-outs 0, and with direct I/O unless the name says
 * otherwise, so that each operation of the client is the same requests to each server.
 */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { RivalName } from './rivals.js'

export interface Place {
  source: string
  mountpoint: string
  /** Where a rival was built. */
  rival(name: RivalName): string
}

export interface Variant {
  name: string
  needs?: RivalName
  /** The kernel's switch for FUSE over io_uring while it is mounted; default off. */
  uring?: boolean
  /** The whole server stays on the client's CPU. */
  besideClient?: boolean
  /** Program and arguments; null: the source itself, no server. */
  command(place: Place): string[] | null
}

const HERE = fileURLToPath(new URL('.', import.meta.url))
/** The repository: this file runs from dist/bench. */
export const ROOT = join(HERE, '..', '..')

const ASYNC = join(HERE, 'async-stackfs.js')
const FRESH = 'attr_timeout=0,entry_timeout=0'
const DIRECT = `direct_io,${FRESH}`

function efuse(options: string, ...more: string[]): (place: Place) => string[] {
  return ({ source, mountpoint }) =>
    [process.execPath, join(ROOT, 'efuse.js'), 'mount', source, mountpoint, '-f', '-o', options, ...more]
}

export function passthroughHp(...options: string[]): (place: Place) => string[] {
  return ({ source, mountpoint, rival }) =>
    [join(rival('libfuse'), 'build', 'example', 'passthrough_hp'), '--foreground', ...options, source, mountpoint]
}

function binding(...more: string[]): (place: Place) => string[] {
  return ({ source, mountpoint, rival }) =>
    [process.execPath, join(HERE, 'fuse-native-server.js'), rival('binding'), source, mountpoint, ...more]
}

const HP_DIRECT = ['--nocache', '--direct-io', '--nopassthrough']

export const VARIANTS: readonly Variant[] = [
  { name: 'ext4', command: () => null },

  { name: 'efuse', command: efuse(DIRECT, '--passthrough', 'off') },
  {
    name: 'efuse-dev-1',
    besideClient: true,
    command: efuse(DIRECT, '--rings', 'dev', '--workers', '1', '--passthrough', 'off'),
  },
  { name: 'efuse-uring', uring: true, command: efuse(DIRECT, '--rings', 'uring', '--passthrough', 'off') },
  { name: 'efuse-passthrough', command: efuse(FRESH, '--passthrough', 'on') },
  { name: 'efuse-buffered', command: efuse('attr_timeout=1,entry_timeout=1', '--passthrough', 'off') },
  { name: 'efuse-async', besideClient: true, command: efuse(DIRECT, '--rings', 'dev', '--fs', ASYNC) },
  { name: 'efuse-async-uring', uring: true, command: efuse(DIRECT, '--rings', 'uring', '--fs', ASYNC) },

  { name: 'hp', needs: 'libfuse', command: passthroughHp(...HP_DIRECT) },
  {
    name: 'hp-single',
    needs: 'libfuse',
    besideClient: true,
    command: passthroughHp(...HP_DIRECT, '--nosplice', '--single'),
  },
  {
    name: 'hp-uring',
    needs: 'libfuse',
    uring: true,
    command: passthroughHp(...HP_DIRECT, '--nosplice', '-o', 'io_uring'),
  },
  { name: 'hp-passthrough', needs: 'libfuse', command: passthroughHp('--nocache') },
  { name: 'hp-buffered', needs: 'libfuse', command: passthroughHp('--nopassthrough') },
  {
    name: 'll-uring',
    needs: 'libfuse',
    uring: true,
    command: ({ source, mountpoint, rival }) => [join(rival('libfuse'), 'build', 'example', 'passthrough_ll'),
      // As the others have it: the kernel checks permissions, and asks for the attributes of directories on the way.
      '-f', '-o', `source=${source},cache=never,io_uring,default_permissions`, mountpoint],
  },

  { name: 'binding', needs: 'binding', command: binding() },
  { name: 'binding-sync', needs: 'binding', command: binding('--sync') },
]

/** @throws RangeError for a name that is not in the table */
export function variant(name: string): Variant {
  const found = VARIANTS.find((candidate) => candidate.name === name)
  if (found === undefined) throw new RangeError(`no variant ${name}`)
  return found
}
