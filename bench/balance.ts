// SPDX-License-Identifier: MIT
/** Prints what the ring policies do to loads on more CPUs than we have: `node dist/bench/balance.js`. */
import { POLICIES, simulate, skewed, uniform, type Client } from './balance-simulator.js'

const CPUS = [2, 4, 8, 16, 64, 256]
/** CPUs of a node, where there are more than one. */
const NODE = 32
const DURATION = 20e6
/** A policy that looks at all rings is of no use with so many. */
const MOST_LOOKED_AT = 64

const LOADS: Record<string, (cpus: number) => Client[]> = {
  'one CPU reads deeply, the others lightly': skewed,
  'one CPU reads deeply, the others nothing': () => [{ cpu: 0, depth: 32, background: true, think: 0 }],
  'all synchronous': (cpus) => uniform(cpus, { depth: 1, background: false, think: 0 }),
  'all eight deep': (cpus) => uniform(cpus, { depth: 8, background: true, think: 0 }),
}

/** A thread's slice in Linux on 8 CPUs and more, nanoseconds: how long it may keep the CPU from who has been woken. */
const SLICE = 2.8e6

const us = (ns: number): string => (ns / 1000).toFixed(1)
const thousands = (perSecond: number): string => (perSecond / 1000).toFixed(0)

console.log('Simulated; times in us, rates in thousands per second.')
for (const [[load, clients], turn] of Object.entries(LOADS).flatMap((one) => [[one, 0], [one, SLICE]] as const)) {
  console.log(`\n## ${load}${turn > 0 ? ', threads run for their slice' : ''}\n`)
  console.log('| CPUs | policy | longest queue | queueing p50 | p99 | sync p50 | p99 | sync/s | background/s | stayed |')
  console.log('|---|---|---|---|---|---|---|---|---|---|')
  for (const cpus of CPUS) {
    for (const policy of POLICIES) {
      if (policy === 'least-loaded' && cpus > MOST_LOOKED_AT) continue
      const outcome = simulate({
        policy, cpus, nodeSize: cpus > NODE ? NODE : undefined, clients: clients(cpus), duration: DURATION, turn,
      })
      const { longestQueue, queueing, sync, background, verdicts } = outcome
      const all = Object.values(verdicts).reduce((sum, count) => sum + count, 0)
      console.log(`| ${[
        cpus, policy, longestQueue, us(queueing.p50), us(queueing.p99), us(sync.p50), us(sync.p99),
        thousands(sync.perSecond), thousands(background.perSecond), `${(100 * verdicts.stayed / all).toFixed(0)} %`,
      ].join(' | ')} |`)
    }
  }
}
