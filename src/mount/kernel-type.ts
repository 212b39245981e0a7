// SPDX-License-Identifier: MIT
/**
 * The kernel's two FUSE file systems: its own, type `fuse` with /dev/fuse, and eFuse's module beside it, type `efuse`
 * with /dev/efuse, whose requests eBPF programs may answer. They speak the same protocol.
 */
import { existsSync } from 'node:fs'

export type KernelType = 'fuse' | 'efuse'

/** Its device. */
export function deviceOf(type: KernelType): string {
  return `/dev/${type}`
}

/**
 * Which of them a mount is to be of. `auto`, the default, takes efuse where its module is loaded and this process
 * could mount it; fusermount3, which mounts for ordinary users, knows `fuse` only.
 */
export function kernelTypeOf(options: { type?: 'auto' | KernelType }): KernelType {
  const { type = 'auto' } = options
  if (type !== 'auto') return type
  return process.geteuid!() === 0 && existsSync(deviceOf('efuse')) ? 'efuse' : 'fuse'
}

/** Which of them a type in mountinfo belongs to. */
export function kernelTypeOfMount(type: string): KernelType {
  return type === 'efuse' || type.startsWith('efuse.') ? 'efuse' : 'fuse'
}
