// SPDX-License-Identifier: MIT
/**
 * What is asked of eFuse: suites of variants that run interleaved, what the client does in each, and
 * the rows of the target table, each with its rival.
 */
import type { Operation } from './client.js'

/** What a row compares. */
export type Metric =
  | 'p50' | 'p99' | 'p999'
  /** Operations per second. */
  | 'throughput'
  /** The server's CPU time per operation. */
  | 'cpu'
  /** Throughput of this measurement over that of `over`, as a ratio to the rival's own. */
  | 'gain'

/** What the client does, with CPUs by role: "one" is the client's, "all" is every one, "any" is no pinning. */
export type Work = Omit<Operation, 'cpus'> & { on: 'one' | 'all' | 'any' }

export interface Row {
  measurement: string
  metric: Metric
  subject: string
  rival: string
  sense: 'atMost' | 'atLeast'
  /** Null: reported for information. */
  target: number | null
  /** With "gain". */
  over?: string
}

export interface Suite {
  name: string
  title: string
  variants: readonly string[]
  measurements: Readonly<Record<string, Work>>
  rows: readonly Row[]
}

const KIB = 1024
const MIB = 1024 * KIB

function operations(on: Work['on']): Record<string, Work> {
  return {
    'getattr': { op: 'getattr', on },
    'stat': { op: 'stat', on },
    'read 4K': { op: 'read', bytes: 4 * KIB, on },
    'write 4K': { op: 'write', bytes: 4 * KIB, on },
    'create+unlink': { op: 'create', on },
    'open+close': { op: 'open', on },
    'read 128K': { op: 'read', bytes: 128 * KIB, on },
    'read 1M': { op: 'read', bytes: MIB, on },
    'readdir 2000': { op: 'readdir', on },
  }
}

function pick(all: Record<string, Work>, names: readonly string[]): Record<string, Work> {
  return Object.fromEntries(names.map((name) => [name, all[name]]))
}

function rows(
  subject: string, rival: string, measurements: readonly string[], metrics: Partial<Record<Metric, number | null>>,
  sense: Row['sense'] = 'atMost',
): Row[] {
  return measurements.flatMap((measurement) => Object.entries(metrics).map(([metric, target]) => ({
    measurement, metric: metric as Metric, subject, rival, sense, target,
  })))
}

/** Server CPU against the rival of the row, wherever a row has a rival with a server. */
const CPU = { cpu: 1.05 }

const SMALL = ['getattr', 'read 4K', 'write 4K']
const NAMES = ['stat', 'create+unlink', 'open+close']
const BULK = ['read 128K', 'read 1M']
const SIZES = { '4K': 4 * KIB, '16K': 16 * KIB, '128K': 128 * KIB, '1M': MIB }
const PASSED = Object.fromEntries(Object.entries(SIZES).flatMap(([name, bytes]): [string, Work][] => [
  [`read ${name}`, { op: 'read', bytes, on: 'one' }], [`write ${name}`, { op: 'write', bytes, on: 'one' }],
]))
const LARGE = Object.keys(PASSED).filter((name) => /128K|1M/.test(name))

export const SUITES: readonly Suite[] = [
  {
    name: 'uring',
    title: 'FUSE over io_uring, client on one CPU',
    variants: ['efuse-uring', 'hp-uring', 'll-uring', 'ext4'],
    measurements: operations('one'),
    rows: [
      ...rows('efuse-uring', 'hp-uring', SMALL, { p50: 0.95, p99: 1.10, p999: 1.25, ...CPU }),
      ...rows('efuse-uring', 'll-uring', NAMES, { p50: 0.95, ...CPU }),
      ...rows('efuse-uring', 'hp-uring', BULK, { p50: 1.03, ...CPU }),
      ...rows('efuse-uring', 'hp-uring', ['readdir 2000'], { p50: 0.95, ...CPU }),
    ],
  },
  {
    name: 'dev',
    title: '/dev/fuse, one server thread on the client\'s CPU',
    variants: ['efuse-dev-1', 'hp-single', 'ext4'],
    measurements: operations('one'),
    rows: [
      ...rows('efuse-dev-1', 'hp-single', ['getattr', 'read 4K'], { p50: 1.03, ...CPU }),
      ...rows('efuse-dev-1', 'hp-single', ['write 4K', ...NAMES, ...BULK, 'readdir 2000'], { p50: null, cpu: null }),
    ],
  },
  {
    name: 'default',
    title: 'as a user starts both: nothing tuned, nothing pinned, io_uring not enabled',
    variants: ['efuse', 'hp', 'ext4'],
    measurements: operations('any'),
    rows: [
      ...rows('efuse', 'hp', [...SMALL, 'create+unlink'], { p50: 0.60, ...CPU }),
      ...rows('efuse', 'hp', ['read 128K'], { p50: 0.85, ...CPU }),
      ...rows('efuse', 'hp', ['stat', 'open+close', 'read 1M', 'readdir 2000'], { p50: null, cpu: null }),
    ],
  },
  {
    name: 'binding',
    title: 'the maintained Node binding of libfuse 2, as its README says',
    variants: ['efuse', 'binding', 'binding-sync'],
    measurements: pick(operations('any'), ['getattr', 'read 4K', 'stat', 'create+unlink', 'read 128K']),
    rows: [
      ...([['getattr', 8], ['read 4K', 6], ['stat', 5], ['create+unlink', 3], ['read 128K', 3.5]] as const)
        .flatMap(([name, target]) => rows('efuse', 'binding', [name], { throughput: target }, 'atLeast')),
      ...rows('efuse', 'binding', ['getattr', 'read 4K', 'stat', 'create+unlink', 'read 128K'], CPU),
      ...rows('efuse', 'binding-sync', ['getattr', 'read 4K', 'stat', 'create+unlink', 'read 128K'],
        { throughput: null }, 'atLeast'),
    ],
  },
  {
    name: 'scaling',
    title: 'two clients on two CPUs: what the second adds',
    variants: ['efuse-uring', 'hp-uring', 'efuse', 'hp'],
    measurements: {
      'getattr, 1 client': { op: 'getattr', on: 'one' },
      'getattr, 2 clients': { op: 'getattr', processes: 2, on: 'all' },
      'read 4K, 1 client': { op: 'read', bytes: 4 * KIB, on: 'one' },
      'read 4K, 2 clients': { op: 'read', bytes: 4 * KIB, processes: 2, on: 'all' },
    },
    rows: ['getattr', 'read 4K'].flatMap((name): Row[] => {
      const gain = {
        measurement: `${name}, 2 clients`, metric: 'gain', over: `${name}, 1 client`, sense: 'atLeast',
      } as const
      return [
        { ...gain, subject: 'efuse-uring', rival: 'hp-uring', target: 1.00 },
        { ...gain, subject: 'efuse', rival: 'hp', target: null },
      ]
    }),
  },
  {
    name: 'crowd',
    title: '64 clients',
    variants: ['efuse-uring', 'hp-uring'],
    measurements: {
      'getattr, 64 clients': { op: 'getattr', processes: 64, on: 'all' },
      'read 4K, 64 clients': { op: 'read', bytes: 4 * KIB, processes: 64, on: 'all' },
      'write 4K, 64 clients': { op: 'write', bytes: 4 * KIB, processes: 64, on: 'all' },
    },
    rows: ['getattr', 'read 4K', 'write 4K'].flatMap((name) => [
      ...rows('efuse-uring', 'hp-uring', [`${name}, 64 clients`], { throughput: 0.97 }, 'atLeast'),
      ...rows('efuse-uring', 'hp-uring', [`${name}, 64 clients`], CPU),
    ]),
  },
  {
    name: 'passthrough',
    title: 'FUSE passthrough: the kernel reads and writes itself',
    variants: ['efuse-passthrough', 'hp-passthrough', 'ext4'],
    measurements: PASSED,
    rows: [
      ...rows('efuse-passthrough', 'hp-passthrough', Object.keys(PASSED), { p50: 1.03 }),
      ...rows('efuse-passthrough', 'ext4', LARGE, { p50: 1.03 }),
      ...rows('efuse-passthrough', 'ext4', Object.keys(PASSED).filter((name) => !LARGE.includes(name)), { p50: null }),
    ],
  },
  {
    name: 'async',
    title: 'handlers that return promises, on the event loop',
    variants: ['efuse-async', 'efuse-async-uring', 'hp-uring'],
    measurements: pick(operations('one'), ['getattr', 'read 4K']),
    rows: [
      ...rows('efuse-async', 'hp-uring', ['getattr'], { p50: 1.10, ...CPU }),
      ...rows('efuse-async', 'hp-uring', ['read 4K'], { p50: null, cpu: null }),
      ...rows('efuse-async-uring', 'hp-uring', ['getattr', 'read 4K'], { p50: null, cpu: null }),
    ],
  },
  {
    name: 'buffered',
    title: 'with the kernel\'s caches: time-outs as each has them, data through the page cache',
    variants: ['efuse-buffered', 'hp-buffered', 'ext4'],
    measurements: {
      'read 4K': { op: 'read', bytes: 4 * KIB, on: 'any' },
      'sequential read 128K': { op: 'read', bytes: 128 * KIB, sequential: true, on: 'any' },
      'write 4K': { op: 'write', bytes: 4 * KIB, on: 'any' },
      'open+close': { op: 'open', on: 'any' },
      'create+unlink': { op: 'create', on: 'any' },
      'readdir 2000': { op: 'readdir', on: 'any' },
    },
    rows: rows('efuse-buffered', 'hp-buffered',
      ['read 4K', 'sequential read 128K', 'write 4K', 'open+close', 'create+unlink', 'readdir 2000'],
      { p50: null, cpu: null }),
  },
]

/** The suite that times mounts instead of operations: see startup.ts. */
export const STARTUP = {
  name: 'start',
  title: 'mount to first answer; memory of each further worker',
  mountToAnswerMs: 250,
  workerBytes: 8 * MIB,
} as const
