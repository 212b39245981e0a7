// SPDX-License-Identifier: MIT
import fc from 'fast-check'
import t from 'tap'
import { LIMIT, model, simulate, type Costs, type Load } from './io-simulator.js'

const DEAR: Costs = { hit: 1000, direct: 4000, fill: 1500 }

function load(block: Load['block'], costs: Load['costs'] = () => DEAR, more: Partial<Load> = {}): Load {
  return { requests: 100_000, capacity: 16384, block, costs, seed: 1, ...more }
}

const within = (blocks: number): Load['block'] => (random) => Math.floor(random() * blocks)

t.test('what is read again and again, and fits, comes from the cache', async (t) => {
  // A block must have been asked for to be asked for again: that takes a few thousand requests to find out.
  const hot = load(within(4000), undefined, { requests: 800_000 })
  const { mean, cached, mispredicted } = simulate('adaptive', hot)
  t.ok(cached > 0.98, `${cached}`)
  const cacheOnly = simulate('cache', hot).mean
  t.ok(mean < 1.03 * cacheOnly, `${mean} against ${cacheOnly}`)
  t.ok(mispredicted < 0.05, `${mispredicted}`)
})

t.test('what is hardly ever read again does not go through the cache', async (t) => {
  const { mean, cached } = simulate('adaptive', load(within(1e6)))
  t.ok(cached < 0.03, `${cached}`)
  t.ok(mean < 1.02 * simulate('direct', load(within(1e6))).mean)
})

t.test('a long file read in order, over and over, is not cached: nothing would be there the next time', async (t) => {
  const scan = load((_, i) => i % 8192, undefined, { capacity: 4096 })
  t.ok(simulate('adaptive', scan).mean < 1.02 * simulate('direct', scan).mean)
  t.ok(simulate('cache', scan).mean > 1.3 * simulate('direct', scan).mean, 'it would cost')
})

t.test('where the backing file is the cheaper one, it is taken, hits or not', async (t) => {
  const { cached } = simulate('adaptive', load(within(1000), () => ({ hit: 2000, direct: 1500, fill: 500 })))
  t.ok(cached < 0.02, `${cached}`)
})

t.test('when what is read or what it costs changes, so does the path', async (t) => {
  const half = 50_000
  const cheaper = load(within(2000), (i) => (i < half ? DEAR : { hit: 1000, direct: 700, fill: 500 }))
  t.ok(simulate('adaptive', cheaper).mean < 0.95 * Math.min(
    simulate('cache', cheaper).mean, simulate('direct', cheaper).mean), 'the backing file got cheaper')
  const warmer = load((random, i) => Math.floor(random() * (i < half ? 1e6 : 2000)))
  t.ok(simulate('adaptive', warmer).mean < 0.95 * Math.min(
    simulate('cache', warmer).mean, simulate('direct', warmer).mean), 'the file got hot')
})

/** As in instruction-time: the cache pays by a tenth, and taking a block in costs as much as ten hits save. */
const NEAR: Costs = { hit: 3900, direct: 4370, fill: 4600 }

t.test('where the paths cost nearly the same, too: within 3 % of the better one, and better than both when it changes', async (t) => {
  for (const [name, blocks] of [['small', 64], ['hot', 1024], ['cold', 1e6], ['twice the cache', 32_768]] as const) {
    const pure = load(within(blocks), () => NEAR)
    const { mean, mispredicted } = simulate('adaptive', pure)
    t.ok(mean < 1.03 * Math.min(simulate('cache', pure).mean, simulate('direct', pure).mean), `${name}: ${mean}`)
    t.ok(mispredicted < 0.05, `${name}: ${mispredicted} mispredicted`)
  }
  const phases = load((random, i) => Math.floor(i / 20_000) % 2 === 0 ? Math.floor(random() * 1024)
    : 1024 + Math.floor(random() * 1e6), () => NEAR, { requests: 120_000 })
  const { mean } = simulate('adaptive', phases)
  for (const policy of ['cache', 'direct'] as const) {
    t.ok(mean < 0.99 * simulate(policy, phases).mean, `phases: ${mean} against ${simulate(policy, phases).mean} for ${policy}`)
  }
})

t.test('files that are read a few times each are not tried one by one', async (t) => {
  const short = load((random, i) => Math.floor(i / 30) * 16 + Math.floor(random() * 16), () => NEAR, { each: 30 })
  const { mean, cached } = simulate('adaptive', short)
  t.ok(mean < 1.03 * Math.min(simulate('cache', short).mean, simulate('direct', short).mean), `${mean}, ${cached} cached`)
})

t.test('files that are written to as often as read have no blocks to be found', async (t) => {
  // What reads cost was learned from files that nobody writes to; after a write they take longer, as they note the time of access.
  const learning = 6000
  const written: Partial<Load> = { changes: (random, i) => i >= learning && random() < 0.3, requests: 30_000 }
  const costs = (i: number): Costs => i < learning ? { hit: 6600, direct: 6870, fill: 1500 }
    : { hit: 6600, direct: i % 5 < 2 ? 9900 : 6900, fill: 3000 }
  for (const [name, each] of [['many files', 30], ['one file', 30_000]] as const) {
    const mixed = load((random, i) => Math.floor(random() * (i < learning ? 1024 : 16)), costs, { ...written, each })
    const { mean, cached, mispredicted } = simulate('adaptive', mixed)
    const direct = simulate('direct', mixed).mean
    t.ok(mean < 1.01 * direct, `${name}: ${mean} against ${direct}, ${mispredicted} mispredicted`)
    if (name === 'many files') t.ok(cached < 0.01, `${cached} cached`)
  }
  const seldom = load(within(16), costs, { requests: 30_000, changes: (_, i) => i % 1000 === 0 })
  t.ok(simulate('adaptive', seldom).mean < 0.95 * simulate('direct', seldom).mean, 'now and then is another matter')
})

t.test('a cost that changes ends a round', async (t) => {
  const sudden = simulate('adaptive', load(within(1e9), (i) => (i < 50_000 ? DEAR : { ...DEAR, direct: 40_000 })))
  t.ok(sudden.drifted >= 1 && sudden.drifted < 20, `${sudden.drifted} times`)
  t.equal(simulate('adaptive', load(within(1e9))).drifted, 0, 'noise does not')
})

t.test('large requests never go through the cache', async (t) => {
  for (const size of [LIMIT + 1, 131_072, 1 << 20]) {
    t.equal(simulate('adaptive', load(within(10), undefined, { size, requests: 5000 })).cached, 0, `${size} bytes`)
    t.equal(simulate('cache', load(within(10), undefined, { size, requests: 5000 })).cached, 0, `${size} bytes, cache only`)
  }
  t.ok(simulate('adaptive', load(within(10), undefined, { size: LIMIT })).cached > 0.9)
})

t.test('fixed policies', async (t) => {
  t.equal(simulate('cache', load(within(1e6))).cached, 1)
  t.equal(simulate('direct', load(within(10))).cached, 0)
})

t.test('the state of an inode is small', async (t) => {
  t.ok(model.bytes() <= 1024, `${model.bytes()} bytes`)
})

/** Whatever the load: not much worse than the better of the two paths, had one known it beforehand. */
t.test('regret', async (t) => {
  const blocks: Record<string, (set: number) => Load['block']> = {
    uniform: within,
    zipf: (set) => (random) => Math.floor(set ** random()),
    scan: (set) => (_, i) => i % set,
    hot: (set) => (random) => Math.floor(random() * (random() < 0.9 ? set / 10 : set)),
  }
  const ratios: number[] = []
  fc.assert(fc.property(
    fc.record({
      kind: fc.constantFrom(...Object.keys(blocks)),
      set: fc.integer({ min: 4, max: 17 }).chain((bits) => fc.integer({ min: 2 ** (bits - 1), max: 2 ** bits })),
      capacity: fc.integer({ min: 8, max: 14 }).map((bits) => 2 ** bits),
      hit: fc.integer({ min: 200, max: 5000 }),
      direct: fc.integer({ min: 200, max: 8000 }),
      fill: fc.integer({ min: 0, max: 2000 }),
      seed: fc.nat(),
    }),
    ({ kind, set, capacity, hit, direct, fill, seed }) => {
      const costs = { hit, direct, fill }
      const one = load(blocks[kind](set), () => costs, { capacity, seed, requests: 60_000 })
      const best = Math.min(simulate('cache', one).mean, simulate('direct', one).mean)
      const ratio = simulate('adaptive', one).mean / best
      ratios.push(ratio)
      // Finding out costs once, and more the more there is to be cached.
      const learning = 4 * Math.min(set, capacity) * (direct + fill) / one.requests
      return ratio * best <= 1.1 * best + learning
    },
  ), { numRuns: 100, seed: 20261122 })
  ratios.sort((a, b) => a - b)
  t.ok(ratios[50] < 1.01, `half the loads: ${ratios[50].toFixed(4)} of the better path`)
  t.ok(ratios[90] < 1.05, `nine of ten: ${ratios[90].toFixed(4)}`)
})
