// SPDX-License-Identifier: MIT
/** What `efuse bench` does to each system: suites of loads. */
import type { Operation } from './client.js'
import { COMMANDS } from './commands.js'
import type { Manner, Where } from './systems.js'

/** Placeholders of the files in bench/jobs. */
export type JobSettings = Readonly<Record<string, string>>

interface Common {
  /** Unique within its suite. */
  readonly name: string
  readonly title: string
  /** Left out of the lab, where it would take too long or says nothing. */
  readonly nativeOnly?: boolean
}

export type Load = Common & (
  | { readonly tool: 'fio'; readonly job: string; readonly settings: JobSettings; readonly direct: boolean }
  | { readonly tool: 'client'; readonly operation: Operation }
  | { readonly tool: 'command'; readonly command: string }
)

export interface LoadSuite {
  readonly name: string
  readonly title: string
  readonly manner: Manner
  /** The CPU set of clients and servers: the last CPU alone, or all. */
  readonly cpus: 'one' | 'all'
  readonly loads: readonly Load[]
  readonly where: readonly Where[]
}

const KIB = 1024

function mission(): Load[] {
  const kinds = [
    { job: 'random-read', title: 'random reads of one file', sizes: ['4k', '32k', '128k', '1m'] },
    // A block can't be larger than the file.
    { job: 'small-files', title: 'small files, 70 % read', sizes: ['4k', '32k'] },
    { job: 'large-files', title: 'large files, 50 % read', sizes: ['4k', '32k', '128k', '1m'] },
  ]
  return [false, true].flatMap((direct) => kinds.flatMap(({ job, title, sizes }) => sizes.map((size): Load => ({
    name: `${job} ${size} ${direct ? 'direct' : 'buffered'}`,
    title: `${title}, ${size.toUpperCase()}, ${direct ? 'O_DIRECT' : 'buffered'}`,
    tool: 'fio', job, direct, settings: { BS: size },
    nativeOnly: size === '1m' || (size === '128k' && job !== 'random-read'),
  }))))
}

/** @param cpus how many there are: jobs are 1, 2, 4, ... up to as many */
export function multiCore(cpus: number): Load[] {
  const jobs = [...Array.from({ length: Math.floor(Math.log2(cpus)) + 1 }, (_, power) => 2 ** power)]
  const shapes = [
    { depth: 1, places: 'random', rw: 'randread', direct: false },
    { depth: 1, places: 'random', rw: 'randread', direct: true },
    { depth: 8, places: 'random', rw: 'randread', direct: true },
    { depth: 32, places: 'random', rw: 'randread', direct: true },
    { depth: 32, places: 'zipf:1.1', rw: 'randread', direct: true },
    { depth: 8, places: 'random', rw: 'randrw', direct: true },
  ]
  return shapes.flatMap(({ depth, places, rw, direct }) => jobs.map((count): Load => ({
    name: `${rw} ${count}x${depth} ${places.startsWith('zipf') ? 'skewed' : 'uniform'} ${direct ? 'direct' : 'buffered'}`,
    title: `${rw === 'randread' ? 'reads' : 'mixed 70/30'} 4K ${direct ? 'O_DIRECT' : 'buffered'}, ` +
      `${places.startsWith('zipf') ? 'skewed, ' : ''}depth ${depth}, ${count} ${count === 1 ? 'job' : 'jobs'}`,
    tool: 'fio', job: 'multi-core', direct,
    settings: {
      BS: '4k', JOBS: String(count), DEPTH: String(depth), PLACES: places, RW: rw, ENGINE: depth === 1 ? 'psync' : 'libaio',
    },
  })))
}

function client(name: string, operation: Operation): Load {
  return { name, title: name, tool: 'client', operation }
}

export function loadSuites(cpus: number): LoadSuite[] {
  return [
    {
      name: 'single-core', title: "the mission's three loads, one job; client and server on one CPU",
      manner: 'cached', cpus: 'one', where: ['native', 'lab'], loads: mission(),
    },
    {
      name: 'multi-core', title: 'several jobs, one or many requests under way',
      // In the lab CPUs take turns.
      manner: 'cached', cpus: 'all', where: ['native'], loads: multiCore(cpus),
    },
    {
      name: 'metadata', title: 'names and attributes; the kernel\'s caches hold nothing (time-outs 0)',
      manner: 'fresh', cpus: 'one', where: ['native', 'lab'],
      loads: [
        client('stat', { op: 'stat' }), client('open+close', { op: 'open' }), client('create+unlink', { op: 'create' }),
        client('readdir 2000', { op: 'readdir' }),
        ...COMMANDS.map(({ name, nativeOnly }): Load =>
          ({ name, title: name, tool: 'command', command: name, nativeOnly })),
      ],
    },
    {
      name: 'mixes', title: 'like the personalities of filebench: one operation is one step of one of them',
      manner: 'cached', cpus: 'one', where: ['native', 'lab'],
      loads: (['fileserver', 'webserver', 'varmail'] as const)
        .map((op): Load => client(op, { op })),
    },
    {
      name: 'micro', title: 'one call over and over; the kernel\'s caches hold no names and attributes',
      manner: 'fresh', cpus: 'one', where: ['native', 'lab'],
      loads: [
        client('getattr', { op: 'getattr' }),
        client('read 4K', { op: 'read', bytes: 4 * KIB }),
        client('write 4K', { op: 'write', bytes: 4 * KIB }),
        client('read 128K', { op: 'read', bytes: 128 * KIB }),
      ],
    },
  ]
}
