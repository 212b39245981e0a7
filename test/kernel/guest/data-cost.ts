// SPDX-License-Identifier: MIT
/**
 * In a guest in instruction-time: prints what reads and writes cost on ext4, through plain FUSE with StackFS, with FUSE
 * passthrough, and with the data accelerator's policies; one line of JSON for each. Arguments: data-cost, compiled; words
 * that choose among them; `--times N`, `--loads 'read 4K,write 4K'`.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { parseArgs, promisify } from 'node:util'
import { DATA_POLICIES, type DataCache, type DataCounts, type DataOptions } from '../../../src/bpf/data-cache.js'
import { mount, StackFS, type InProcessOptions, type StackFSOptions } from '../../../src/index.js'

const { values: { times: TIMES, loads: CHOSEN }, positionals: [PROGRAM, ...WORDS] } = parseArgs({
  allowPositionals: true, options: { times: { type: 'string', default: '1001' }, loads: { type: 'string', default: '' } },
})
/** What is served, a part of a file system of the guest's disk; and an ext4 of its own on a RAM disk. */
const SOURCE = '/var/tmp/cost-source'
const RAM = '/var/tmp/cost-ram'
const AT = '/var/tmp/cost'

interface Load {
  load: 'read' | 'write' | 'mixed' | 'first'
  size: number
  files: keyof typeof FILES
}

/** Files of a kind, and how large they are. */
const FILES = { one: [1, 4 << 20], small: [256, 64 << 10], large: [4, 32 << 20], cold: [1, 48 << 20] } as const
const LOADS: Record<string, Load> = {
  'read 4K': { load: 'read', size: 4096, files: 'one' },
  'write 4K': { load: 'write', size: 4096, files: 'one' },
  'mixed 4K': { load: 'mixed', size: 4096, files: 'one' },
  'small files 4K': { load: 'mixed', size: 4096, files: 'small' },
  'large files 4K': { load: 'mixed', size: 4096, files: 'large' },
  'read 128K': { load: 'read', size: 131072, files: 'one' },
  'read 1M': { load: 'read', size: 1 << 20, files: 'one' },
  // What the mount has not read before: the source's pages are there.
  'cold 4K': { load: 'first', size: 4096, files: 'cold' },
}
const run = promisify(execFile)

interface Subject {
  stackfs?: Partial<StackFSOptions>
  options?: InProcessOptions
  data?: DataOptions
  /** The program opens its file with O_DIRECT. */
  direct?: boolean
  /** Served by the command line's server, with these words. */
  command?: string[]
  /** On a RAM disk. */
  ram?: boolean
}

const SUBJECTS: Record<string, Subject> = {
  ext4: {},
  'ext4, O_DIRECT, RAM disk': { ram: true, direct: true },
  'plain FUSE, direct': { command: ['--type', 'fuse', '--passthrough', 'off', '--accel', 'off'], direct: true },
  'plain FUSE, buffered': { command: ['--type', 'fuse', '--passthrough', 'off', '--accel', 'off'] },
  passthrough: { stackfs: {}, options: { type: 'fuse' } },
  ...Object.fromEntries(DATA_POLICIES.map((policy) =>
    [`data, ${policy}`, { stackfs: { passthrough: 'hooked' }, options: { type: 'efuse' }, data: { policy } }])),
  // The kernel has no files. First the server is asked for everything, and so has its code compiled; then what it has sent is kept.
  'not served, direct': { stackfs: { passthrough: false }, options: { type: 'efuse' }, direct: true },
  'served, direct': { stackfs: { passthrough: false }, options: { type: 'efuse' }, data: { coherence: 'exclusive' }, direct: true },
  'data, cached files': { stackfs: { passthrough: 'bound' }, options: { type: 'efuse' }, data: { policy: 'direct' } },
  'data, cached files, direct': { stackfs: { passthrough: 'bound' }, options: { type: 'efuse' }, data: { policy: 'direct' }, direct: true },
}

async function makeFiles(folder: string): Promise<void> {
  for (const [kind, [count, bytes]] of Object.entries(FILES)) {
    for (let i = 0; i < count; i++) writeFileSync(`${folder}/${kind}${i}`, Buffer.alloc(bytes, 'eFuse'))
  }
  await run('sync')
}

async function measure(name: string, { stackfs, options, data, direct, command, ram }: Subject): Promise<void> {
  if (ram) {
    await run('sh', ['-c', `modprobe brd rd_nr=1 rd_size=262144 && mkfs.ext4 -q /dev/ram0 && mkdir -p ${RAM} && mount /dev/ram0 ${RAM}`])
    await makeFiles(RAM)
  }
  const mounted = stackfs === undefined ? null : await mount(new StackFS({ source: SOURCE, ...stackfs }), AT, {
    ...options, accelerate: data === undefined ? 'off' : { data },
  })
  if (command !== undefined) await run(process.execPath, ['efuse.js', 'mount', SOURCE, AT, ...command])
  const folder = ram ? RAM : mounted === null && command === undefined ? SOURCE : AT
  const accelerator = (mounted as { accelerators?: { data?: DataCache } } | null)?.accelerators?.data
  const results: Record<string, unknown> = {}
  for (const [title, { load, size, files }] of Object.entries(LOADS)) {
    if (CHOSEN !== '' && !CHOSEN.split(',').includes(title)) continue
    const times = size > 4096 ? Math.ceil(Number(TIMES) / 8) : Number(TIMES)
    const [count, bytes] = FILES[files]
    const before = accelerator?.counts()
    const { stdout } = await run(PROGRAM, [`${folder}/${files}`, load, String(size), String(times), String(count), String(bytes),
      ...direct ? ['direct'] : []])
    const after = accelerator?.counts()
    const counts = before && after && Object.fromEntries(Object.entries(after).flatMap(([name, value]) => {
      const difference = value - before[name as keyof DataCounts]
      return difference > 0 ? [[name, difference]] : []
    }))
    results[title] = { ...JSON.parse(stdout), ...counts && { counts } }
  }
  console.log(JSON.stringify({ subject: name, ...results }))
  await mounted?.unmount()
  if (command !== undefined) await run('umount', [AT])
  if (ram) await run('umount', [RAM])
}

mkdirSync(SOURCE)
mkdirSync(AT)
await makeFiles(SOURCE)
for (const [name, subject] of Object.entries(SUBJECTS)) {
  if (WORDS.length === 0 || WORDS.some((word) => name.includes(word))) await measure(name, subject)
}
process.exit()
