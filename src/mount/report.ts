// SPDX-License-Identifier: MIT
/** What `efuse stat` says of a mount. */
import type { OperationCount } from '../fs/counters.js'
import type { Agreement, Negotiation } from '../protocol/init.js'
import { FuseInitFlag } from '../protocol/constants.js'
import { FUSE_KERNEL_VERSION } from '../protocol/constants.js'

/** What the kernel has to do with a mount. */
export interface KernelReport {
  /** The connection's number under /sys/fs/fuse/connections. */
  connection: number
  /** The protocol's version in use. */
  protocol: string
  /** INIT capabilities in use. */
  capabilities: string[]
  /** Bytes. */
  maxWrite: number
  /** Bytes. */
  maxReadahead: number
  maxBackground: number
  /** Requests that were answered in the kernel, by its names. */
  answered: Record<string, { count: number }>
}

export interface MountReport {
  mountpoint: string
  source: string
  type: string
  rings: 'dev' | 'uring'
  workers: number
  passthrough: 'on' | 'off'
  accel: 'off'
  /** Requests that reached the server since it was mounted, by the kernel's names. */
  operations: Record<string, OperationCount>
  kernel: KernelReport
}

/** @param device `major:minor` of the mount */
export function kernelReport(device: string, negotiation: Negotiation | Agreement): KernelReport {
  const agreed: Agreement = 'agree' in negotiation ? negotiation.agree() : negotiation
  return {
    connection: Number(device.slice(device.indexOf(':') + 1)),
    protocol: `${FUSE_KERNEL_VERSION}.${agreed.minor}`,
    capabilities: Object.entries(FuseInitFlag)
      .filter(([, bit]) => (((bit < 32 ? agreed.flags : agreed.flags2) >>> (bit & 31)) & 1) === 1)
      .map(([name]) => name),
    maxWrite: agreed.maxWrite,
    maxReadahead: agreed.maxReadahead,
    maxBackground: agreed.maxBackground,
    answered: {},
  }
}
