// SPDX-License-Identifier: MIT
/** What mount options mean for the dispatcher and the negotiation. */
import { readFileSync } from 'node:fs'
import type { Validity } from '../protocol/exchange.js'
import { Negotiation } from '../protocol/init.js'
import { splitTimeout } from '../protocol/reply.js'
import { kernelTypeOf } from './kernel-type.js'
import { MountError } from './mountpoint.js'
import type { MountOptions } from './options.js'

const PAGE_SIZE = 4096
/** The kernel's own default for `fs.fuse.max_pages_limit`. */
const DEFAULT_MAX_PAGES = 256

/** Pages that the largest request may have on this kernel. */
export function maxPagesLimit(options: MountOptions): number {
  try {
    return Number(readFileSync(`/proc/sys/fs/${kernelTypeOf(options)}/max_pages_limit`, 'ascii')) || DEFAULT_MAX_PAGES
  } catch {
    // Before Linux 6.13 it can't be changed.
    return DEFAULT_MAX_PAGES
  }
}

/**
 * Bytes of the largest write that is to be negotiated.
 * @throws MountError when more is asked for than the kernel allows
 */
export function maxWriteOf(options: MountOptions): number {
  const limit = maxPagesLimit(options)
  const { maxWrite = Math.min(limit, DEFAULT_MAX_PAGES) * PAGE_SIZE } = options
  if (maxWrite > limit * PAGE_SIZE) {
    throw new MountError(
      `max_write ${maxWrite} exceeds this kernel's ${limit * PAGE_SIZE} bytes: `
      + `raise the sysctl fs.${kernelTypeOf(options)}.max_pages_limit`,
      'EINVAL')
  }
  return Math.max(PAGE_SIZE, maxWrite)
}

/** The time-outs of entries and attributes. */
export function validityOf(options: MountOptions): Validity {
  const entry = splitTimeout(options.entryTimeout ?? 1)
  const attr = splitTimeout(options.attrTimeout ?? 1)
  const negative = splitTimeout(options.negativeTimeout ?? 0)
  return {
    entrySeconds: entry.seconds,
    entryNanoseconds: entry.nanoseconds,
    attrSeconds: attr.seconds,
    attrNanoseconds: attr.nanoseconds,
    negativeSeconds: negative.seconds,
    negativeNanoseconds: negative.nanoseconds,
  }
}

/** Asks for what the options need of the kernel, before the file system has its say. */
export function prepareNegotiation(negotiation: Negotiation, options: MountOptions): void {
  if (options.writebackCache) negotiation.want('FUSE_WRITEBACK_CACHE')
}

/** The negotiation that a mount begins with. */
export function newNegotiation(options: MountOptions): Negotiation {
  const maxWrite = maxWriteOf(options)
  const negotiation = new Negotiation(Math.ceil(maxWrite / PAGE_SIZE))
  negotiation.maxWrite = maxWrite
  return negotiation
}
