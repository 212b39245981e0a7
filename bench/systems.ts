// SPDX-License-Identifier: MIT
/**
 * What `efuse bench` compares: ext4 itself, libfuse's passthrough_hp, eFuse in each of its modes. Each serves a directory
 * of its own with the same contents. Where the two differ in what they are used for, the mount has one of two manners:
 * `cached` is how its users have it; `fresh` has time-outs 0, so that each operation asks.
 */
import { join } from 'node:path'
import { passthroughHp, ROOT, type Place, type Variant } from './variants.js'

export type Manner = 'cached' | 'fresh'
/** Where it is measured: the machine's own kernel at its own speed, or the lab's guest in instruction-time. */
export type Where = 'native' | 'lab'

export interface System {
  readonly name: string
  /** As figures and tables have it. */
  readonly label: string
  readonly where: readonly Where[]
  readonly needs?: Variant['needs']
  readonly uring?: boolean
  /** Needs efuse.ko. */
  readonly module?: boolean
  /** eFuse's own, whose server `efuse stat` can ask. */
  readonly own?: boolean
  /** Its scheduler chooses how reads go. */
  readonly decides?: boolean
  command(manner: Manner): Variant['command']
}

/**
 * passthrough_hp keeps cached data from open to open, unless it is told not to cache: so do ours, while sizes and times stay.
 */
const OPTIONS = { cached: 'attr_timeout=1,entry_timeout=1,auto_cache', fresh: 'attr_timeout=0,entry_timeout=0' }

const hp = (...options: string[]) => (manner: Manner) =>
  passthroughHp(...options, ...manner === 'fresh' ? ['--nocache'] : [])

const efuse = (...options: string[]) => (manner: Manner) => ({ source, mountpoint }: Place) =>
  [process.execPath, join(ROOT, 'efuse.js'), 'mount', source, mountpoint, '-f', '-o', OPTIONS[manner], ...options]

const BOTH = ['native', 'lab'] as const

export const SYSTEMS: readonly System[] = [
  { name: 'ext4', label: 'ext4', where: BOTH, command: () => () => null },
  { name: 'fuse', label: 'plain FUSE (libfuse)', where: BOTH, needs: 'libfuse', command: hp('--nopassthrough') },
  { name: 'libfuse', label: 'libfuse, passthrough', where: BOTH, needs: 'libfuse', command: hp() },
  {
    name: 'libfuse-uring', label: 'libfuse, passthrough, io_uring', where: ['native'], needs: 'libfuse', uring: true,
    command: hp('-o', 'io_uring'),
  },
  {
    name: 'efuse-server', label: 'eFuse, server only', where: BOTH, own: true,
    command: efuse('--type', 'fuse', '--rings', 'dev', '--passthrough', 'off', '--accel', 'off'),
  },
  {
    name: 'efuse', label: 'eFuse, passthrough', where: BOTH, own: true,
    command: efuse('--type', 'fuse', '--rings', 'dev', '--accel', 'off'),
  },
  {
    name: 'efuse-uring', label: 'eFuse, passthrough, io_uring', where: ['native'], uring: true, own: true,
    command: efuse('--type', 'fuse', '--rings', 'uring', '--accel', 'off'),
  },
  {
    name: 'efuse-module', label: 'eFuse, efuse.ko', where: BOTH, module: true, own: true,
    command: efuse('--type', 'efuse', '--accel', 'off'),
  },
  {
    name: 'efuse-metadata', label: 'eFuse, accel metadata', where: BOTH, module: true, own: true,
    command: efuse('--type', 'efuse', '--accel', 'metadata', '--coherence', 'exclusive'),
  },
  {
    name: 'efuse-data', label: 'eFuse, accel metadata+data', where: BOTH, module: true, own: true, decides: true,
    command: efuse('--type', 'efuse', '--accel', 'metadata,data', '--coherence', 'exclusive'),
  },
]

/** What the others are compared with. */
export const BASELINE = 'fuse'

/** @throws RangeError for a name that is not in the table */
export function system(name: string): System {
  const found = SYSTEMS.find((candidate) => candidate.name === name)
  if (found === undefined) throw new RangeError(`no system ${name}`)
  return found
}
