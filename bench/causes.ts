// SPDX-License-Identifier: MIT
/**
 * Why an aim of the mission is missed. A cause is a rule about what was measured: it is said where the figures show it, with
 * these figures, and nowhere else. Where none applies, the report says what was looked at.
 */
import type { Row } from './summary.js'
import type { Spread } from './statistics.js'

export type Miss = 'IOPS' | 'p50' | 'p99' | 'spread' | 'ext4'

/** One load's reads or writes: by eFuse's best mode, by plain FUSE, by ext4. */
export interface Case {
  row: Row
  fuse: Row
  ext4: Row | undefined
  /** How long a round was. */
  seconds: number
  /** What a mode must reach: `IOPS` times plain FUSE, `close` times ext4. */
  aims: { iops: number; close: number }
}

interface Cause {
  misses: readonly Miss[]
  /** @returns null where the figures don't show it */
  shown(seen: Case, miss: Miss): string | null
}

const times = (value: number): string => `${value.toFixed(2)}x`
const percent = (part: number): string => `${Number((part * 100).toPrecision(2))} %`

function ratio({ toFuse, toExt4 }: Row, miss: Miss): Spread | null {
  switch (miss) {
    case 'IOPS': return toFuse?.perSecond ?? null
    case 'p50': return toFuse?.p50 ?? null
    case 'p99': return toFuse?.p99 ?? null
    case 'spread': return toFuse?.deviation ?? null
    case 'ext4': return toExt4?.perSecond ?? null
  }
}

/** Requests per operation below which the kernel has answered all but the first. */
const RARELY = 0.05

/** Whether FUSE passthrough has done the row's reads and writes. */
function passesThrough(row: Row): boolean {
  return /^efuse(-uring)?$/.test(row.system) && seldomAsks(row)
}

function seldomAsks({ requests }: Row): boolean {
  return requests !== null && requests < RARELY
}

/** Whether a row's reads are found in the page cache; its writes may ask the server all the same. */
function hitsItsCache(row: Row): boolean {
  return row.side === 'read' && row.serverReads !== null ? row.serverReads < RARELY : seldomAsks(row)
}

const CAUSES: readonly Cause[] = [
  {
    // ext4 is what a mode without any cost would be.
    misses: ['IOPS'],
    shown: ({ row, fuse, ext4, aims }) => {
      const bound = ext4?.toFuse?.perSecond.median
      if (bound === undefined || bound >= aims.iops || (row.toExt4?.perSecond.median ?? 0) < aims.close) return null
      const few = fuse.serverReads !== null && fuse.serverReads < RARELY
      return `the aim is beyond ext4, which itself does ${times(bound)}: ` +
        (few ? `plain FUSE has these reads in the page cache as well (p50 ${us(fuse)}, ext4's ${us(ext4!)}; its server reads for ` +
          `${percent(fuse.serverReads!)} of operations)`
          : `plain FUSE serves most of these reads from the page cache as well (p50 ${us(fuse)}, ext4's ${us(ext4!)})`)
    },
  },
  {
    misses: ['p50', 'p99'],
    shown: ({ row, ext4 }, miss) => {
      const own = ext4 === undefined ? null : ratio(ext4, miss)
      if (row.where === 'lab' || own === null || own.median < 1 || !passesThrough(row)) return null
      return `a read is ext4's own (${percent(row.requests!)} of operations are requests), and ext4 itself has ${times(own.median)}`
    },
  },
  {
    // Nothing of either server's is in these reads.
    misses: ['p50', 'p99', 'spread'],
    shown: ({ row, fuse }) => row.system === 'efuse-server' && row.side === 'read' && seldomAsks(row) && seldomAsks(fuse)
      ? `both find all but the first of these reads in their own page cache, by the same code of the kernel (p50 ${us(row)}, ${us(fuse)})`
      : null,
  },
  {
    misses: ['p50'],
    shown: ({ row, fuse, ext4 }) => {
      const more = row.p50Ns.median - fuse.p50Ns.median
      // Then ext4 is the cause.
      if ((ext4?.toFuse?.p50.median ?? 0) >= 1) return null
      if (row.where !== 'native' || row.side !== 'read' || !passesThrough(row) || !hitsItsCache(fuse)) return null
      if ((row.toFuse?.p50.min ?? 0) < 1) return null
      return `plain FUSE's reads are hits in its own page cache, ours go on to that of another file, ${Math.round(more)} ns farther`
    },
  },
  {
    // Instructions are the same from round to round: what is more is another path.
    misses: ['p50', 'p99'],
    shown: ({ row, fuse, ext4 }) => {
      const more = ext4 === undefined ? 0 : row.p50Ns.median - ext4.p50Ns.median
      if (row.where !== 'lab' || more <= 0 || !hitsItsCache(row) || !hitsItsCache(fuse)) return null
      return "neither asks its server; plain FUSE's reads are hits in its page cache, which cost what ext4's do " +
        `(${us(fuse)}, ${us(ext4!)}), ours come from another file's, ${Math.round(more)} ns of instructions farther`
    },
  },
  {
    misses: ['spread'],
    shown: ({ row, fuse }) => row.where === 'lab' && row.side === 'read' && row.deviationNs !== null && hitsItsCache(row) &&
      hitsItsCache(fuse)
      ? `plain FUSE's reads are all hits in its page cache; ours go more than one way in the kernel, ${us(row)} at p50 and ` +
        `${microseconds(row.p99Ns)} at p99, a deviation of ${Math.round(row.deviationNs.median)} ns`
      : null,
  },
  {
    // Beside writes, reads of ext4's page cache take longer.
    misses: ['p50'],
    shown: ({ row, ext4 }) => row.side === 'read' && row.where === 'native' && /^large-files .* buffered$/.test(row.load) &&
      passesThrough(row) && (ext4?.toFuse?.p50.median ?? 0) >= 1
      ? 'ext4\'s reads take longer beside as many writes: by perf, 128K take 1.2 times as long to copy (`_copy_to_iter`) and 1.4 ' +
        'times to find (`filemap_get_read_batch`), as if memory were waited for; why plain FUSE\'s pages suffer less is not known'
      : null,
  },
  {
    // Seen by running fio with SCHED_FIFO: ext4's deviation, small files at 4K, on a busy machine, fell from 95..197 us to 1..6.
    misses: ['spread'],
    shown: ({ row, fuse, seconds }) => {
      if (row.where !== 'native' || row.deviationNs === null || row.p999Ns.median > fuse.p999Ns.median) return null
      const count = row.perSecond.median * seconds
      const one = row.deviationNs.median * Math.sqrt(count) / 1e6
      return `made by fewer than one in 1,000 (p99.9 is ${times(row.p999Ns.median / fuse.p999Ns.median)}); of a round's ` +
        `${Math.round(count).toLocaleString('en')} a single one of ${Number(one.toPrecision(2))} ms has as much. ` +
        'Interruptions can: with SCHED_FIFO, which lets nobody interrupt, ext4\'s own in small files at 4K was 1 to 6 us ' +
        'instead of 95 to 197 on a busy machine'
    },
  },
  {
    misses: ['p50', 'p99', 'spread'],
    shown: ({ row }, miss) => {
      const found = ratio(row, miss)!
      return found.min < 1 && found.max >= 1 ? `the rounds disagree, ${times(found.min)} to ${times(found.max)}` : null
    },
  },
]

const microseconds = ({ median }: Spread): string => `${Number((median / 1000).toPrecision(3))} us`
const us = ({ p50Ns }: Row): string => microseconds(p50Ns)

/** All that the figures show of each miss; otherwise what they are. */
export function causesOf(seen: Case, misses: readonly Miss[]): string {
  const named = new Map<string, Miss[]>()
  for (const miss of misses) {
    const found = CAUSES.flatMap((cause) => cause.misses.includes(miss) ? cause.shown(seen, miss) ?? [] : [])
    const text = found.length > 0 ? found.join('; ') : `not known; looked at ${lookedAt(seen, miss)}`
    named.set(text, [...named.get(text) ?? [], miss])
  }
  return [...named].map(([text, some]) => misses.length > 1 ? `${some.join(', ')}: ${text}` : text).join('. ')
}

function lookedAt({ row, fuse, ext4 }: Case, miss: Miss): string {
  const found = ratio(row, miss)
  const own = ext4 === undefined ? null : ratio(ext4, miss)
  const each = (value: number | null): string => value === null ? 'unknown' : String(Number(value.toPrecision(3)))
  return [
    ...found === null ? [] : [`its rounds (${times(found.min)} to ${times(found.max)})`],
    ...own === null ? [] : [`ext4 (${times(own.median)})`],
    `requests per operation (${each(row.requests)}, plain FUSE ${each(fuse.requests)})`,
    `CPU per operation (${each(row.cpuNs)} ns, plain FUSE ${each(fuse.cpuNs)})`,
  ].join(', ')
}
