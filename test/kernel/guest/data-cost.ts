// SPDX-License-Identifier: MIT
/**
 * In a guest in instruction-time: prints what reads and writes cost on ext4, through plain FUSE with StackFS, with FUSE
 * passthrough, and with the data accelerator's policies; one line of JSON for each. Arguments: data-cost, compiled; how
 * many times; words that choose among them.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { DATA_POLICIES, type DataOptions } from '../../../src/bpf/data-cache.js'
import { mount, StackFS, type InProcessOptions, type StackFSOptions } from '../../../src/index.js'

const [PROGRAM, TIMES = '1001', ...WORDS] = process.argv.slice(2)
const SOURCE = '/var/tmp/cost-source'
const AT = '/var/tmp/cost'
const LOADS: [string, number][] = [['read', 4096], ['write', 4096], ['mixed', 4096], ['read', 131072], ['read', 1048576]]
const run = promisify(execFile)

interface Subject {
  stackfs?: Partial<StackFSOptions>
  options?: InProcessOptions
  data?: DataOptions
  /** The program opens its file with O_DIRECT. */
  direct?: boolean
  /** Served by the command line's server, with these words. */
  command?: string[]
}

const SUBJECTS: Record<string, Subject> = {
  ext4: {},
  'plain FUSE, direct': { command: ['--type', 'fuse', '--passthrough', 'off', '--accel', 'off'], direct: true },
  'plain FUSE, buffered': { command: ['--type', 'fuse', '--passthrough', 'off', '--accel', 'off'] },
  passthrough: { stackfs: {}, options: { type: 'fuse' } },
  ...Object.fromEntries(DATA_POLICIES.map((policy) =>
    [`data, ${policy}`, { stackfs: { passthrough: 'hooked' }, options: { type: 'efuse' }, data: { policy } }])),
  'data, cached files': { stackfs: { passthrough: 'bound' }, options: { type: 'efuse' }, data: { policy: 'direct' } },
  'data, cached files, direct': { stackfs: { passthrough: 'bound' }, options: { type: 'efuse' }, data: { policy: 'direct' }, direct: true },
}

async function measure(name: string, { stackfs, options, data, direct, command }: Subject): Promise<void> {
  const mounted = stackfs === undefined ? null : await mount(new StackFS({ source: SOURCE, ...stackfs }), AT, {
    ...options, accelerate: data === undefined ? 'off' : { data },
  })
  if (command !== undefined) await run(process.execPath, ['efuse.js', 'mount', SOURCE, AT, ...command])
  const results: Record<string, unknown> = {}
  for (const [load, size] of LOADS) {
    const times = size > 4096 ? Math.ceil(Number(TIMES) / 8) : Number(TIMES)
    const { stdout } = await run(PROGRAM,
      [`${mounted === null && command === undefined ? SOURCE : AT}/file`, load, String(size), String(times), ...direct ? ['direct'] : []])
    results[`${load} ${size >= 1 << 20 ? `${size >> 20}M` : `${size >> 10}K`}`] = JSON.parse(stdout)
  }
  const counts = (mounted as { accelerators?: { data?: { counts(): object } } } | null)?.accelerators?.data?.counts()
  console.log(JSON.stringify({ subject: name, ...results, ...counts && { counts } }))
  await mounted?.unmount()
  if (command !== undefined) await run('umount', [AT])
}

mkdirSync(SOURCE)
mkdirSync(AT)
writeFileSync(`${SOURCE}/file`, Buffer.alloc(4 << 20, 'eFuse'))
await run('sync')
for (const [name, subject] of Object.entries(SUBJECTS)) {
  if (WORDS.length === 0 || WORDS.some((word) => name.includes(word))) await measure(name, subject)
}
process.exit()
