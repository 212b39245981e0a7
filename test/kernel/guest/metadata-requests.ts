// SPDX-License-Identifier: MIT
/**
 * In the guest: how many requests everyday programs cost a server, with metadata answered in the kernel and without.
 *
 *     metadata-requests.js [--files 20000] [--modes off,exclusive,shared] [--passthrough] [--project FOLDER]
 *                          [--npm FOLDER --packages FOLDER] [--only REGEX]
 *
 * --project is a C project with a configure script (`lab/project.js`); --npm is npm itself, as guests have none, and --packages
 * has a package.json, its package-lock.json, and in `cache` what npm has downloaded of it, as guests have no network.
 *
 * Each program runs twice: what is counted is the second, warm run; but for `compile`, `npm ci` and `rm`, which begin with a
 * new tree each time. Prints a table, and one line of JSON for each mode and program. Switches are those of the whole guest.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs'
import { parseArgs, promisify } from 'node:util'
import type { MetadataOptions } from '../../../src/bpf/metadata-cache.js'
import { mount, StackFS } from '../../../src/index.js'

const { values } = parseArgs({
  options: {
    files: { type: 'string', default: '20000' }, modes: { type: 'string', default: 'off,exclusive,shared' },
    passthrough: { type: 'boolean', default: false }, project: { type: 'string', default: '' },
    only: { type: 'string', default: '' }, npm: { type: 'string', default: '' }, packages: { type: 'string', default: '' },
  },
})

const run = promisify(execFile)
const sh = async (command: string): Promise<string> => (await run('bash', ['-c', `set -e; ${command}`], { maxBuffer: 1 << 26 })).stdout

/** Requests of the kinds that could have been answered in the kernel. */
const METADATA = /^FUSE_(LOOKUP|GETATTR|STATX|ACCESS|GETXATTR|READLINK|OPEN|FLUSH|RELEASE|OPENDIR|READDIR|READDIRPLUS|RELEASEDIR)$/

interface Work {
  /** Before it is counted. */
  prepare: string
  command: string
}

/** In the mount's `tree`, and with a copy of the project in `project`. */
const works: Readonly<Record<string, Work>> = {
  'git status': { prepare: 'cd tree; git status > /dev/null', command: 'cd tree; git status --porcelain' },
  'find -ls': { prepare: 'find tree -ls > /dev/null', command: 'find tree -ls > /dev/null' },
  'du': { prepare: 'du -s tree > /dev/null', command: 'du -s tree > /dev/null' },
  ...values.project === '' ? {} : {
    'compile': {
      prepare: `rm -rf project; cp -r ${values.project} project`,
      command: 'cd project; ./configure > /dev/null; make libz.a > /dev/null 2>&1',
    },
  },
  ...values.packages === '' ? {} : {
    'npm ci': {
      prepare: `rm -rf app; mkdir app; cp ${values.packages}/package*.json app`,
      command: `cd app; node ${values.npm}/bin/npm-cli.js ci --offline --cache ${values.packages}/cache \\
        --ignore-scripts --no-audit --no-fund`,
    },
    'rm -r node_modules': { prepare: 'find app > /dev/null', command: 'rm -r app/node_modules' },
  },
  'rm -r': { prepare: 'rm -rf copy; mkdir copy; cp -r tree/0 tree/1 copy', command: 'rm -r copy' },
}

const FOLDERS = 100

/** FILES files with the same words in them, in a hundred folders, known to git. */
async function makeTree(at: string): Promise<void> {
  const each = Math.ceil(Number(values.files) / FOLDERS)
  await sh(`mkdir ${at}/tree; cd ${at}/tree
    for folder in $(seq 0 ${FOLDERS - 1}); do
      mkdir $folder; for file in $(seq ${each}); do echo text > $folder/file$file; done
    done
    git init -q .; git config user.name x; git config user.email x@example.org; git config gc.auto 0
    git add .; git commit -q -m tree; git status > /dev/null`)
}

interface Counted {
  mode: string
  work: string
  /** That the server got. */
  requests: number
  metadata: number
  answered: number
  switches: number
  by: Record<string, number>
}

const switches = (): number => Number(/^ctxt (\d+)/m.exec(readFileSync('/proc/stat', 'utf8'))![1])

async function count(mode: string, source: string, at: string): Promise<Counted[]> {
  const metadata: MetadataOptions = {
    coherence: mode === 'shared' ? 'shared' : 'exclusive', perCaller: false, settle: 0,
    operations: { open: mode === 'exclusive', opendir: true },
  }
  const mounted = await mount(new StackFS({ source, passthrough: values.passthrough }), at, {
    type: 'efuse', entryTimeout: 1, attrTimeout: 1, accelerate: mode === 'off' ? 'off' : { metadata },
  })
  const counted: Counted[] = []
  const requests = (): Record<string, number> => Object.fromEntries(
    Object.entries(mounted.stats().operations).map(([name, { count }]) => [name, Number(count)]))
  const hits = (): number => Object.values(mounted.stats().kernel.answered).reduce((sum, { count }) => sum + Number(count), 0)
  for (const [work, { prepare, command }] of Object.entries(works)) {
    if (!new RegExp(values.only).test(work)) continue
    await sh(`cd ${at}; ${prepare}`)
    const [before, hitsBefore, switchesBefore] = [requests(), hits(), switches()]
    await sh(`cd ${at}; ${command}`)
    const switched = switches() - switchesBefore
    const by = Object.fromEntries(Object.entries(requests()).map(([name, times]) => [name, times - (before[name] ?? 0)] as const)
      .filter(([, times]) => times > 0).sort(([, a], [, b]) => b - a))
    const sum = (names: RegExp): number => Object.entries(by).reduce((all, [name, times]) => all + (names.test(name) ? times : 0), 0)
    const one = { mode, work, requests: sum(/./), metadata: sum(METADATA), answered: hits() - hitsBefore, switches: switched, by }
    counted.push(one)
    console.log(JSON.stringify(one))
  }
  await mounted.unmount()
  return counted
}

const folder = mkdtempSync('/var/tmp/efuse-requests-')
const [at, source] = [`${folder}/mount`, `${folder}/source`]
mkdirSync(at)
mkdirSync(source)
await makeTree(source)
const all: Counted[] = []
for (const mode of values.modes.split(',')) all.push(...await count(mode, source, at))

const fewer = (now: number, then: number): string => then === 0 ? '-' : `${(100 - now / then * 100).toFixed(1)} %`
console.log('mode\tprogram\trequests\tfewer\tmetadata requests\tfewer\tswitches\tfewer')
for (const one of all) {
  const off = all.find(({ mode, work }) => mode === 'off' && work === one.work)
  console.log([one.mode, one.work, ...(['requests', 'metadata', 'switches'] as const).flatMap((what) =>
    [one[what], off === undefined || off === one ? '' : fewer(one[what], off[what])])].join('\t'))
}
