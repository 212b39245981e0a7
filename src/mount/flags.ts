// SPDX-License-Identifier: MIT
/** mount(8)'s generic flags as mount(2) wants them. */
import { constants } from '../native.js'
import type { GenericFlag, MountOptions } from './options.js'

const {
  MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_SYNCHRONOUS, MS_DIRSYNC, MS_NOATIME, MS_NODIRATIME, MS_RELATIME,
  MS_STRICTATIME, MS_LAZYTIME, MS_NOSYMFOLLOW, MS_MANDLOCK, MS_I_VERSION, MS_SILENT,
} = constants

/** The bits that each flag sets, and those that it clears. */
const BITS: Readonly<Record<GenericFlag, readonly [set: number, clear: number]>> = {
  ro: [MS_RDONLY, 0],
  rw: [0, MS_RDONLY],
  suid: [0, MS_NOSUID],
  nosuid: [MS_NOSUID, 0],
  dev: [0, MS_NODEV],
  nodev: [MS_NODEV, 0],
  exec: [0, MS_NOEXEC],
  noexec: [MS_NOEXEC, 0],
  sync: [MS_SYNCHRONOUS, 0],
  async: [0, MS_SYNCHRONOUS],
  dirsync: [MS_DIRSYNC, 0],
  nodirsync: [0, MS_DIRSYNC],
  atime: [0, MS_NOATIME],
  noatime: [MS_NOATIME, MS_RELATIME | MS_STRICTATIME],
  diratime: [0, MS_NODIRATIME],
  nodiratime: [MS_NODIRATIME, 0],
  relatime: [MS_RELATIME, MS_NOATIME | MS_STRICTATIME],
  norelatime: [0, MS_RELATIME],
  strictatime: [MS_STRICTATIME, MS_NOATIME | MS_RELATIME],
  nostrictatime: [0, MS_STRICTATIME],
  lazytime: [MS_LAZYTIME, 0],
  nolazytime: [0, MS_LAZYTIME],
  symfollow: [0, MS_NOSYMFOLLOW],
  nosymfollow: [MS_NOSYMFOLLOW, 0],
  mand: [MS_MANDLOCK, 0],
  nomand: [0, MS_MANDLOCK],
  iversion: [MS_I_VERSION, 0],
  noiversion: [0, MS_I_VERSION],
  silent: [MS_SILENT, 0],
  loud: [0, MS_SILENT],
}

/** The flags of mount(2), MS_*. */
export function mountFlags(options: MountOptions): number {
  let bits = options.readOnly ? MS_RDONLY : 0
  for (const flag of options.flags ?? []) {
    const [set, clear] = BITS[flag]
    bits = (bits & ~clear) | set
  }
  return bits
}
