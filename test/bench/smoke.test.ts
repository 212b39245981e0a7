// SPDX-License-Identifier: MIT
/**
 * `efuse bench` from end to end, with small data: the machinery, not speeds. A report appears and is what was recorded; a
 * run that was interrupted goes on where it was; wrong data, and there is no report.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Client } from '../../bench/client.js'
import { loadSuites } from '../../bench/loads.js'
import { RunRecord } from '../../bench/record.js'
import { buildClient } from '../../bench/rivals.js'
import { runSuite } from '../../bench/session.js'
import type { Report } from '../../bench/summary.js'
import { system } from '../../bench/systems.js'
import { mounts } from '../../src/mount/mountinfo.js'
import { skip } from '../mount/support.js'

if (skip) t.plan(0, skip)
t.setTimeout(300_000)

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const folder = mkdtempSync('/var/tmp/efuse-bench-test-')
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

interface Outcome {
  status: number | null
  stderr: string
}

/** @param until ends it by SIGINT when it has said this */
function bench(out: string, args: readonly string[], until?: RegExp): Promise<Outcome> {
  const always = ['bench', '--smoke', '--where', 'native', '--directory', folder, '--out', out]
  const child = spawn(process.execPath, [join(ROOT, 'efuse.js'), ...always, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    if (until?.test(stderr)) child.kill('SIGINT')
  })
  return new Promise((done) => child.on('close', (status) => done({ status, stderr })))
}

const benchMounts = (): string[] => mounts().map(({ mountpoint }) => mountpoint).filter((path) => path.startsWith(folder))

const ARGS = [
  '--suite', 'single-core,metadata,mixes', '--only', 'random-read 4k,stat,untar,webserver', '--systems', 'ext4,efuse-server,efuse',
  '--rounds', '2', '--seconds', '0.03',
]
const SMALL = ['--suite', 'mixes', '--only', 'webserver', '--systems', 'ext4,efuse-server', '--rounds', '1', '--seconds', '0.03']

t.test('a report, of all that was asked for, after an interruption', async (t) => {
  const out = join(folder, 'report')
  const first = await bench(out, ARGS, /random-read 4k direct/)
  t.equal(first.status, 130, 'it was interrupted')
  t.match(first.stderr, /goes on where this one was/)
  t.strictSame(benchMounts(), [], 'nothing stays mounted')
  const lines = readFileSync(join(out, 'record.jsonl'), 'utf8').split('\n').slice(0, -1)
  t.notOk(existsSync(join(out, 'report.json')), 'half a run has no report')

  const second = await bench(out, ARGS)
  t.equal(second.status, 0, second.stderr)
  t.strictSame(benchMounts(), [], 'nothing stays mounted')
  const record = readFileSync(join(out, 'record.jsonl'), 'utf8').split('\n').slice(0, -1)
  t.strictSame(record.slice(0, lines.length), lines, 'what the first had measured is kept')
  const entries = record.map((line) => JSON.parse(line) as { round?: number; suite?: string; load?: string; system?: string })
    .filter(({ round }) => round !== undefined && round >= 0)
  const rounds = entries.map(({ load, system, round }) => `${load} ${system} ${round}`)
  t.equal(new Set(rounds).size, rounds.length, 'nothing is measured twice')
  for (const suite of ['single-core', 'metadata', 'mixes']) {
    const order = entries.filter((entry) => entry.suite === suite).map(({ round }) => round!)
    t.strictSame(order, [...order].sort(), `${suite}: all loads have a round before any has the next`)
  }

  const report = JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')) as Report
  const loads = ['random-read 4k buffered', 'random-read 4k direct', 'stat', 'git status', 'untar', 'webserver']
  for (const load of loads.filter((name) => name !== 'git status')) {
    const rows = report.rows.filter((row) => row.load === load)
    t.strictSame(rows.map((row) => row.system).sort(), ['efuse', 'efuse-server', 'ext4'], load)
    for (const row of rows) {
      t.equal(row.rounds, 2)
      t.ok(row.perSecond.median > 0 && row.p50Ns.median > 0 && row.perSecond.min <= row.perSecond.max, `${row.system}: figures`)
    }
  }
  const page = readFileSync(join(out, 'report.html'), 'utf8')
  t.match(page, /<svg/, 'with pictures')
  t.notMatch(page, /(src|href)="(?!#)|url\((?!#)|@import|<script/, 'that needs nothing from elsewhere')
})

t.test('loads that are left of a suite need nothing of the others', async (t) => {
  const out = join(folder, 'left')
  const { status, stderr } = await bench(out, [
    '--suite', 'metadata', '--only', 'untar', '--systems', 'ext4,efuse-server', '--rounds', '1', '--seconds', '0.03',
  ])
  t.equal(status, 0, stderr)
  const report = JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')) as Report
  t.strictSame(report.rows.map((row) => row.system).sort(), ['efuse-server', 'ext4'])
})

t.test('a program that reads wrong data has no figures', async (t) => {
  const record = RunRecord.inMemory()
  const workspace = join(folder, 'wrong')
  mkdirSync(workspace)
  const wrong = {
    ...system('efuse-server'),
    command: () => ({ source, mountpoint }: { source: string; mountpoint: string }) => [process.execPath, join(ROOT, 'efuse.js'),
      'mount', source, mountpoint, '-f', '--fs', join(ROOT, 'dist/test/bench/wrong-data.js'), '--passthrough', 'off'],
  }
  for (const name of ['single-core', 'mixes']) {
    const suite = loadSuites(1).find((one) => one.name === name)!
    await runSuite(suite, suite.loads.slice(0, 1), {
      where: 'native', workspace, systems: [wrong], cpus: 1, rounds: 1, seconds: 0.03, large: '4m', files: 16,
      rival: () => '', client: new Client(buildClient(join(ROOT, 'bench/client.c'))), record, log: () => {},
    })
  }
  t.equal(record.keys().length, 0, 'nothing was recorded as measured')
  t.equal(record.failures.length, 2, 'both tools have seen it')
  t.match(record.failures[0], /verif/)
  t.match(record.failures[1], /wrong data/)
  t.strictSame(benchMounts(), [])
})

t.test('another machine or other settings are another record', async (t) => {
  const out = join(folder, 'other')
  t.equal((await bench(out, SMALL)).status, 0)
  const { status, stderr } = await bench(out, SMALL.map((word) => (word === '0.03' ? '0.04' : word)))
  t.equal(status, 1)
  t.match(stderr, /begun with other settings/)
})

t.test('one at a time', async (t) => {
  const held = [join(tmpdir(), 'efuse-bench.lock'), process.execPath, join(ROOT, 'efuse.js')]
  const out = join(folder, 'second')
  const { status, stderr } = spawnSync('flock', [...held, 'bench', '--where', 'native', '--out', out], { encoding: 'utf8' })
  t.equal(status, 1)
  t.match(stderr, /another efuse bench is running/)
  t.notOk(existsSync(out), 'leaves nothing')
})

t.test('wrong usage', async (t) => {
  for (const args of [['--suite', 'nothing'], ['--systems', 'nothing'], ['--rounds', '0'], ['--seconds', 'x']]) {
    t.equal((await bench(join(folder, 'usage'), args)).status, 2, args.join(' '))
  }
  t.notOk(existsSync(join(folder, 'usage')), 'leaves nothing')
})
