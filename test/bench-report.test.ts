// SPDX-License-Identifier: MIT
/** What becomes of recorded rounds: the record, what tools print, the report's figures, and that texts say the same. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inflateSync } from 'node:zlib'
import t from 'tap'
import { compare, comparison } from '../bench/compare.js'
import { parseHistogram } from '../bench/count.js'
import { parseFio } from '../bench/fio.js'
import { loadSuites } from '../bench/loads.js'
import type { Key, Line, Measured, Side } from '../bench/measured.js'
import { html, markdown } from '../bench/page.js'
import { draw, plots } from '../bench/plots.js'
import { png } from '../bench/png.js'
import { published } from '../bench/published.js'
import { RunRecord } from '../bench/record.js'
import { joined, summarize, type Environment, type Report } from '../bench/summary.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const KEY: Key = { where: 'native', suite: 'single-core', load: 'random-read 4k buffered', system: 'ext4' }

function side(perSecond: number, ns: number): Side {
  return {
    count: 100, perSecond, bytesPerSecond: perSecond * 4096, p50Ns: ns, p99Ns: 2 * ns, p999Ns: 3 * ns, meanNs: ns, deviationNs: ns / 2,
    distribution: [[50, ns], [99, 2 * ns], [99.9, 3 * ns]],
  }
}

function measured(perSecond: number, ns: number): Measured {
  return {
    sides: { read: side(perSecond, ns) }, operations: 100, clientCpuNs: 1000, serverCpuNs: 500, switches: 2, diskReads: 0,
    foreignShare: 0.1,
  }
}

const ENVIRONMENT: Environment = {
  machine: {
    kernel: '1.2.3', node: 'v20', v8: '1', cpu: 'a CPU', cpus: 2, memoryBytes: 2 ** 34, clockSource: 'tsc', mitigations: {},
    uringOffered: true, commit: 'abc',
  },
  settings: { rounds: 2, seconds: 1 }, versions: { fio: '3' }, started: ['today'], lab: 'none', guest: null, moduleHere: false,
}

/** Plain FUSE at 100 and 200, eFuse at 400 and 600, ext4 at 500 and 500 operations per second. */
function exampleReport(): Report {
  const record = RunRecord.inMemory()
  const rates = { ext4: [500, 500], fuse: [100, 200], efuse: [400, 600] }
  for (const [system, rounds] of Object.entries(rates)) {
    record.add({ ...KEY, system, round: -1, counted: { requests: system === 'ext4' ? 0 : 1, serverReads: 0, answered: {} } })
    rounds.forEach((rate, round) => record.add({ ...KEY, system, round, measured: measured(rate, 1e6 / rate) }))
  }
  return summarize(record, ENVIRONMENT, loadSuites(2))
}

t.test('a record that was cut off goes on; failures are tried again', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'efuse-record-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'record.jsonl')
  const first = RunRecord.open(path, { rounds: 2 })
  first.add({ ...KEY, round: 0, measured: measured(1, 1) })
  first.add({ ...KEY, round: -3, failure: 'wrong data' })
  t.match(first.failures, [/wrong data/])
  t.throws(() => RunRecord.open(path, { rounds: 2 }), /another efuse bench writes/)
  first.close()
  appendFileSync(path, '{"where":"nat')
  const second = RunRecord.open(path, { rounds: 2 })
  t.ok(second.has(KEY, 0))
  t.notOk(second.has(KEY, 1))
  t.strictSame(second.failures, [])
  second.add({ ...KEY, round: 1, measured: measured(2, 1) })
  second.close()
  const third = RunRecord.open(path, { rounds: 2 })
  t.strictSame(third.rounds(KEY).map((one) => one?.sides.read?.perSecond), [1, 2])
  t.equal(third.started.length, 3)
  third.close()
  t.throws(() => RunRecord.open(path, { rounds: 3 }), /other settings/)
})

t.test('a guest\'s lines become part of the record as they come, and it is told what is known', async (t) => {
  const lines: string[] = []
  const guest = RunRecord.inMemory([{ ...KEY, where: 'lab', round: 0 }], (line) => lines.push(line))
  t.ok(guest.has({ ...KEY, where: 'lab' }, 0))
  guest.add({ ...KEY, where: 'lab', round: 0, measured: measured(7, 1) })
  guest.add({ ...KEY, where: 'lab', round: 1, measured: measured(2, 1) })
  t.equal(lines.length, 1, 'what is known is not told again')
  const host = RunRecord.inMemory()
  host.take({ guest: { kernel: '7.3' } })
  for (const line of lines) host.take(JSON.parse(line) as Line)
  t.strictSame(host.guest, { kernel: '7.3' })
  t.strictSame(host.rounds({ ...KEY, where: 'lab' }).map((one) => one?.sides.read?.perSecond), [undefined, 2])
})

t.test('what fio prints', async (t) => {
  const percentile = { '50.000000': 4, '99.000000': 9, '99.900000': 11 }
  const direction = { total_ios: 7, iops: 70, bw_bytes: 280, lat_ns: { mean: 5, stddev: 1, percentile } }
  const idle = { total_ios: 0, iops: 0, bw_bytes: 0, lat_ns: { mean: 0, stddev: 0 } }
  const job = { error: 0, read: direction, write: idle, usr_cpu: 10, sys_cpu: 30, job_runtime: 100, ctx: 3 }
  const text = `fio: a warning\n${JSON.stringify({ jobs: [job] }, null, 1)}`
  const run = parseFio(text)
  t.strictSame(Object.keys(run.sides), ['read'])
  t.match(run, { operations: 7, cpuNs: 40e6, switches: 3, sides: { read: { p50Ns: 4, p99Ns: 9, p999Ns: 11, perSecond: 70 } } })
  t.throws(() => parseFio(text.replace('"error": 0', '"error": 84')), /84/)
})

t.test('what the kernel\'s histogram says', async (t) => {
  const text = '# event histogram\n{ connection:         53, opcode:         15 } hitcount:        120\n' +
    '{ connection:         53, opcode:          3 } hitcount:          4\n\nTotals:\n    Hits: 124\n'
  t.strictSame(parseHistogram(text), { all: 124, reads: 120 })
  t.strictSame(parseHistogram(''), { all: 0, reads: 0 })
})

t.test('a report compares within rounds, and judges by the mission\'s aims', async (t) => {
  const report = exampleReport()
  const row = report.rows.find(({ system }) => system === 'efuse')!
  t.equal(row.perSecond.median, 500)
  t.strictSame([row.perSecond.min, row.perSecond.max], [400, 600])
  t.equal(row.toFuse!.perSecond.median, 3.5, 'of 4 and 3')
  t.equal(row.toExt4!.perSecond.median, 1)
  t.equal(row.cpuNs, 1500)
  const [verdict] = report.verdicts
  t.match(verdict, { system: 'efuse', load: KEY.load, misses: [], cause: null })
})

t.test('tables say what the JSON says; what misses an aim is named', async (t) => {
  const report = exampleReport()
  const text = markdown(report, [], '')
  t.match(text, '| random-read 4k buffered, reads | eFuse, passthrough | 500 ±20 % |')
  t.match(text, '| 3.50x | 1.00x |')
  const [verdict] = report.verdicts
  const missed = { ...report, verdicts: [{ ...verdict, misses: ['p99'], cause: 'not known yet' }] }
  t.match(markdown(missed, [], ''), '**random-read 4k buffered, reads** (p99): not known yet.')
  t.match(text, /not final.*10 % of its CPU time/, 'others were busy')
})

/** Rates and times of a round, by system; requests per operation, by system. */
function reportOf(
  rates: { [system: string]: [perSecond: number, ns: number][] }, requests: { [system: string]: number }, where = KEY.where,
): Report {
  const record = RunRecord.inMemory()
  for (const [system, rounds] of Object.entries(rates)) {
    const asked = requests[system]
    record.add({ ...KEY, where, system, round: -1, counted: { requests: asked, serverReads: asked, answered: {} } })
    rounds.forEach(([rate, ns], round) => record.add({ ...KEY, where, system, round, measured: measured(rate, ns) }))
  }
  return summarize(record, ENVIRONMENT, loadSuites(2))
}

t.test('a cause is said where the figures show it, and nowhere else', async (t) => {
  const cause = (rates: Parameters<typeof reportOf>[0], requests = { ext4: 0, fuse: 0, efuse: 0 }) => reportOf(rates, requests).verdicts[0]
  const slow: [number, number][] = [[100, 1e7], [100, 1e7]]
  const same: [number, number][] = [[150, 9e6], [150, 9e6]]
  t.match(cause({ ext4: same, fuse: slow, efuse: same }), {
    misses: ['IOPS < 3x'], cause: /beyond ext4, which itself does 1\.50x.*page cache/,
  })
  t.match(cause({ ext4: [[400, 2e6], [400, 2e6]], fuse: slow, efuse: [[350, 2e6], [350, 2e6]] }), { misses: [], cause: null })
  const fast: [number, number][] = [[400, 2e6], [400, 2e6]]
  t.match(cause({ ext4: fast, fuse: slow, efuse: same }).cause,
    /IOPS: not known; looked at its rounds \(1\.50x to 1\.50x\), ext4 \(4\.00x\)/)
  const slower: [number, number][] = [[350, 2e7], [350, 2e7]]
  t.match(cause({ ext4: slower, fuse: slow, efuse: slower }).cause, /p50, p99: a read is ext4's own.*ext4 itself has 2\.00x/)
  t.notMatch(cause({ ext4: slower, fuse: slow, efuse: slower }, { ext4: 0, fuse: 0, efuse: 1 }).cause, /ext4's own/, 'a server has read')
  t.match(cause({ ext4: same, fuse: slow, efuse: [[350, 9e6], [350, 2e7]] }).cause,
    /p50, p99, spread: the rounds disagree, 0\.90x to 2\.00x/)
  t.match(cause({ ext4: same, fuse: slow, efuse: [[350, 1.1e7], [350, 1.2e7]] }).cause,
    /p50: .*plain FUSE's reads are hits in its own page cache, ours go on to that of another file, 1500000 ns farther/)
  const serverOnly = reportOf({ ext4: slow, fuse: slow, 'efuse-server': [[350, 1.1e7]] }, { ext4: 0, fuse: 0, 'efuse-server': 0 })
  t.match(serverOnly.verdicts[0].cause, /p50.*by the same code of the kernel \(p50 11000 us, 10000 us\)/)
  const instructions = reportOf({ ext4: slow, fuse: slow, efuse: [[90, 1.1e7]] }, { ext4: 0, fuse: 0, efuse: 0 }, 'lab').verdicts[0]
  t.match(instructions.cause, /p50, p99: neither asks its server.* 1000000 ns of instructions farther/)
})

t.test('two runs agree when they lie no farther apart than both state', async (t) => {
  const run = (...rates: number[]): Report => reportOf({ ext4: rates.map((rate) => [rate, 1e9 / rate]) }, { ext4: 0 })
  const one = run(90, 100, 110)
  t.strictSame(compare(one, one), { compared: 3, differing: [], alone: 0 })
  t.equal(compare(one, run(105, 115, 125)).differing.length, 0)
  const far = compare(one, run(190, 200, 210))
  t.strictSame(far.differing.map(({ figure, apart }) => [figure, apart]), [['op/s', 1], ['p50', 0.5], ['p99', 0.5]])
  t.match(comparison(far),
    /^0 of 3 figures agree.*\| native, single-core: random-read 4k buffered, read \| ext4 \| op\/s \| 100\.0 % \| 20\.0 % \|/s)
  t.equal(compare(run(100, 100), run(101.9, 101.9)).differing.length, 0, 'tables have whole percents')
  t.equal(compare(run(100, 100), run(103, 103)).differing.length, 3)
  t.equal(compare(one, reportOf({ efuse: [[1, 1]] }, { efuse: 0 })).alone, 2)
})

t.test('runs of two places become one report', async (t) => {
  const lab = exampleReport()
  const labOnly: Report = {
    ...lab, rows: lab.rows.map((row) => ({ ...row, where: 'lab' })), verdicts: lab.verdicts.map((one) => ({ ...one, where: 'lab' })),
    environment: { ...ENVIRONMENT, lab: 'instructions', guest: { kernel: '7.3' } },
  }
  const both = joined([exampleReport(), labOnly])
  t.equal(both.rows.length, 2 * lab.rows.length)
  t.equal(both.suites.length, 1)
  t.equal(both.suites[0].loads.length, 1)
  const text = markdown(both, [], '')
  t.match(text, "The machine's own kernel: a CPU")
  t.match(text, /The lab: a CPU.*In the guest: kernel 7\.3/)
  t.match(text, "The mission's three loads: the lab")
})

t.test('a picture keeps its frequent colours, and takes the nearest for others', async (t) => {
  const many = Array.from({ length: 64 }, (_, i) => [i, 0, 0, 255])
  const pixels = Uint8Array.from([...many, ...many, [70, 0, 0, 255], [0, 0, 0, 255]].flat())
  const file = png(pixels, 65, 2)
  const at = file.indexOf('IDAT') + 4
  const lines = inflateSync(file.subarray(at, at + file.readUInt32BE(at - 8)))
  const palette = file.subarray(file.indexOf('PLTE') + 4, file.indexOf('PLTE') + 4 + 3 * 64)
  const colours = [...lines.subarray(1, 66), ...lines.subarray(67)].map((index) => palette[3 * index])
  t.strictSame(colours, [...many, ...many, [63], [0]].map(([red]) => red))
})

t.test('pictures are drawn without a browser; the page needs nothing else', async (t) => {
  const report = exampleReport()
  const drawn = await draw(plots(report))
  if (typeof drawn === 'string') return t.fail(drawn)
  t.strictSame(drawn.map(({ plot }) => plot.name),
    ['rate', 'throughput', 'latency', 'requests', 'cdf'].map((name) => `native-single-core-${name}`))
  for (const { svg, png } of drawn) {
    t.match(svg, /eFuse, passthrough/)
    t.strictSame([...png.subarray(1, 4)], [...Buffer.from('PNG')])
  }
  const page = html(report, drawn)
  t.equal(page.match(/<svg/g)?.length, drawn.length)
  t.notMatch(page, /(src|href)="(?!#)|url\((?!#)|@import|<script/)
})

t.test('docs/results.md is what its JSON says', async (t) => {
  const report = published(ROOT)
  t.equal(readFileSync(join(ROOT, 'docs/results.md'), 'utf8'), markdown(report, plots(report), 'results/pictures', 'png'))
  for (const { load, misses, cause } of report.verdicts) t.equal(misses.length > 0, Boolean(cause), `${load}: what is missed has a cause`)
})
