// SPDX-License-Identifier: MIT
/** The benchmarks' arithmetic: what becomes of measured rounds. */
import { execFileSync } from 'node:child_process'
import t from 'tap'
import type { Cell } from '../bench/client.js'
import { account, cost, ownNs, type ProcessAccount } from '../bench/process-cost.js'
import { judge, type SuiteResult } from '../bench/report.js'
import { median, meets, orderOfRound, ratios, spread } from '../bench/statistics.js'
import { SUITES } from '../bench/targets.js'
import { variant } from '../bench/variants.js'

t.test('the median is the middle value, or half-way between the two in the middle', async (t) => {
  t.equal(median([3]), 3)
  t.equal(median([9, 1, 5]), 5)
  t.equal(median([10, 9, 100]), 10, 'by value, not as text')
  t.equal(median([4, 1, 3, 2]), 2.5)
  t.throws(() => median([]), RangeError)
})

t.test('a spread says how far rounds lie apart; one wild round moves only its ends', async (t) => {
  const { median: middle, min, max, mad, count } = spread([1, 1.02, 0.98, 1.01, 7])
  t.strictSame([middle, min, max, count], [1.01, 0.98, 7, 5])
  t.ok(mad < 0.04)
  t.equal(spread([5, 5, 5]).mad, 0)
})

t.test('ratios compare within a round, and leave out rounds that lack a side', async (t) => {
  t.strictSame(ratios([2, 4, 6], [1, 4, 12]), [2, 1, 0.5])
  t.strictSame(ratios([2, null, 6], [1, 4, null]), [2])
  t.strictSame(ratios([2], [0]), [], 'nothing is a multiple of nothing')
  t.strictSame(ratios([1, 2, 3], [1]), [1])
})

t.test('rounds go there and back', async (t) => {
  const variants = ['a', 'b', 'c']
  t.strictSame([0, 1, 2].map((round) => orderOfRound(variants, round).join('')), ['abc', 'cba', 'abc'])
  t.strictSame(variants, ['a', 'b', 'c'], 'what was given stays as it was')
})

t.test('what children have cost counts when they have ended', async (t) => {
  const before = ownNs()
  execFileSync('sh', ['-c', 'i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done'])
  t.ok(ownNs() - before >= 50_000_000, `${(ownNs() - before) / 1e6} ms`)
})

t.test('a target is met at its very value', async (t) => {
  t.ok(meets(1.03, 'atMost', 1.03))
  t.notOk(meets(1.0301, 'atMost', 1.03))
  t.ok(meets(8, 'atLeast', 8))
  t.notOk(meets(7.99, 'atLeast', 8))
})

function cell(values: Partial<Cell>): Cell {
  return {
    count: 100, elapsedNs: 1e9, minNs: 1, p50Ns: 1, p90Ns: 1, p99Ns: 1, p999Ns: 1, maxNs: 1, meanNs: 1, clockNs: 1,
    clientCpuNs: 1, voluntarySwitches: 0, involuntarySwitches: 0, verified: 1, error: null, perSecond: 100,
    server: null, serverCpuNs: null, foreignShare: 0, load: { average1: 0, running: 0 }, ...values,
  }
}

function suiteOf(measurements: Record<string, Record<string, (Cell | null)[]>>): SuiteResult {
  return {
    name: 's', title: '', variants: {}, rows: [],
    measurements: Object.fromEntries(
      Object.entries(measurements).map(([name, cells]) => [name, { cells, requests: {} }])),
  }
}

t.test('a row is judged by the median of its rounds\' ratios, not by the ratio of medians', async (t) => {
  const suite = suiteOf({ getattr: {
    ours: [cell({ p50Ns: 10 }), cell({ p50Ns: 200 }), cell({ p50Ns: 30 })],
    theirs: [cell({ p50Ns: 20 }), cell({ p50Ns: 250 }), cell({ p50Ns: 30 })],
  } })
  const row = {
    measurement: 'getattr', metric: 'p50', subject: 'ours', rival: 'theirs', sense: 'atMost', target: 0.9,
  } as const
  const [judged] = judge(suite, [row])
  t.equal(judged.ratio?.median, 0.8)
  t.equal(judged.met, true)
  t.strictSame(judged.values, [30, 30])
  t.equal(judge(suite, [{ ...row, target: 0.79 }])[0].met, false)
  t.equal(judge(suite, [{ ...row, target: null }])[0].met, null, 'without a target there is nothing to meet')
})

t.test('a row whose rival is absent is neither met nor missed', async (t) => {
  const suite = suiteOf({ getattr: { ours: [cell({})], theirs: [null] } })
  const [judged] = judge(suite, [
    { measurement: 'getattr', metric: 'p50', subject: 'ours', rival: 'theirs', sense: 'atMost', target: 1 },
  ])
  t.equal(judged.ratio, null)
  t.equal(judged.met, null)
})

t.test('a gain is compared with the gain of the rival in the same round', async (t) => {
  const suite = suiteOf({
    one: { ours: [cell({ perSecond: 100 })], theirs: [cell({ perSecond: 50 })] },
    two: { ours: [cell({ perSecond: 190 })], theirs: [cell({ perSecond: 100 })] },
  })
  const [judged] = judge(suite, [
    { measurement: 'two', over: 'one', metric: 'gain', subject: 'ours', rival: 'theirs', sense: 'atLeast', target: 1 },
  ])
  t.equal(judged.ratio?.median, 0.95)
  t.strictSame(judged.values, [1.9, 2])
  t.equal(judged.met, false)
})

t.test('server CPU counts threads that came, and those that ended meanwhile', async (t) => {
  const thread = (cpuNs: number) => ({ name: 'w', cpuNs, voluntarySwitches: 0, involuntarySwitches: 0 })
  const at = (ticksNs: number, threads: [number, number][]): ProcessAccount =>
    ({ ticksNs, threads: new Map(threads.map(([tid, cpuNs]) => [tid, thread(cpuNs)])) })
  t.equal(cost(at(0, [[1, 100]]), at(0, [[1, 150], [2, 30]]))?.cpuNs, 80)
  const withoutThird = cost(at(10, [[1, 100], [3, 5]]), at(510, [[1, 150]]))
  t.equal(withoutThird?.cpuNs, 500, 'the process has what the thread no longer tells')
  t.equal(cost(null, at(0, [])), null)
})

t.test('this process has an account, and one that is gone has none', async (t) => {
  const own = account(process.pid)
  t.ok(own !== null && own.threads.size > 0 && own.threads.get(process.pid)!.cpuNs > 0)
  t.equal(account(2 ** 22 + 1), null, 'beyond the largest pid')
})

t.test('the table of suites names only variants and measurements that exist', async (t) => {
  for (const { name, variants, measurements, rows } of SUITES) {
    for (const one of variants) t.doesNotThrow(() => variant(one), `${name}: ${one}`)
    for (const { subject, rival, measurement, over } of rows) {
      t.ok(variants.includes(subject) && variants.includes(rival), `${name}: ${subject} and ${rival} take part`)
      t.ok(measurement in measurements, `${name}: ${measurement} is measured`)
      t.ok(over === undefined || over in measurements, `${name}: ${over} is measured`)
    }
  }
})
