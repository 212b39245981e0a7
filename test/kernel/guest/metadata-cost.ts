// SPDX-License-Identifier: MIT
/**
 * In a guest in instruction-time: prints what metadata costs on ext4, through StackFS and libfuse's passthrough_ll, and with
 * the kernel answering for them; one line of JSON for each, all time-outs 0.
 *
 *     metadata-cost.js [--creations N] PROGRAM EXAMPLES [WORD...]
 *
 * PROGRAM is metadata-cost, compiled; EXAMPLES the folder with libfuse's; the words choose among the subjects.
 */
import { execFile, spawn } from 'node:child_process'
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs, promisify } from 'node:util'
import { mount, StackFS, type InProcessOptions } from '../../../src/index.js'

const { values, positionals: [PROGRAM, EXAMPLES, ...WORDS] } = parseArgs({
  options: { creations: { type: 'string', default: '51' } }, allowPositionals: true,
})
const SOURCE = '/var/tmp/cost-source'
const AT = '/var/tmp/cost'
const run = promisify(execFile)

const TYPE: InProcessOptions = { type: 'efuse', entryTimeout: 0, attrTimeout: 0, negativeTimeout: 0 }

/** Options of a mount of StackFS by this process, or words for efuse.js. */
const SUBJECTS: Record<string, InProcessOptions | string[]> = {
  'StackFS': TYPE,
  'StackFS, io_uring': ['mount', SOURCE, AT, '--type', 'efuse', '--rings', 'uring', '--passthrough', 'off', '--accel', 'off',
    '-o', 'entry_timeout=0,attr_timeout=0'],
  'StackFS, accelerated': {
    ...TYPE, accelerate: {
      metadata: { coherence: 'exclusive', perCaller: false, settle: 0, operations: { open: true, opendir: true } },
    },
  },
  'passthrough_ll': exec('--accel', 'off'),
  'passthrough_ll, accelerated': exec('--accel', 'metadata', '--coherence', 'exclusive'),
}

function exec(...words: string[]): string[] {
  return ['exec', AT, ...words, '--', `${EXAMPLES}/passthrough_ll`, '-f', '-o', `source=${SOURCE},cache=never`, '{}']
}

async function print(subject: string, at: string): Promise<void> {
  console.log(JSON.stringify({ subject, ...JSON.parse((await run(PROGRAM, [at, values.creations])).stdout) }))
}

async function measure(name: string, subject: InProcessOptions | string[]): Promise<void> {
  if (!Array.isArray(subject)) {
    const mounted = await mount(new StackFS({ source: SOURCE, passthrough: false }), AT, subject)
    await print(name, AT)
    return mounted.unmount()
  }
  const { dev } = statSync(AT)
  const server = spawn(process.execPath, ['efuse.js', ...subject], { stdio: 'inherit' })
  const ended = new Promise((done) => server.once('exit', done))
  while (statSync(AT).dev === dev) await sleep(100)
  // Nothing is kept for the first second.
  await sleep(1500)
  await print(name, AT)
  await run('umount', [AT])
  await ended
}

mkdirSync(SOURCE)
mkdirSync(AT)
writeFileSync(`${SOURCE}/file`, 'text')
await run('sync')
const chosen = (name: string): boolean => WORDS.length === 0 || WORDS.some((word) => name.includes(word))
if (chosen('ext4')) await print('ext4', SOURCE)
for (const [name, subject] of Object.entries(SUBJECTS)) if (chosen(name)) await measure(name, subject)
process.exit()
