// SPDX-License-Identifier: MIT
/**
 * Prints what a choice costs on this machine, by policy and number of rings, as the kernel measures its programs:
 * `node dist/bench/balance-cost.js`, as root. The maps' counters and the request's note come to that, some ten nanoseconds.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { POLICIES } from '../src/bpf/balance.js'
import { BpfObject } from '../src/bpf/index.js'
import { RING_WORDS, RingWord } from '../src/bpf/ring-states.js'

const RINGS = [2, 8, 64, 256, 1024]
const ROUNDS = 20_000
const STATS = '/proc/sys/kernel/bpf_stats_enabled'

const before = readFileSync(STATS, 'ascii')
writeFileSync(STATS, '1')
try {
  console.log(`| rings | ${POLICIES.flatMap((policy) => [policy, `${policy}, background`]).join(' | ')} |`)
  console.log(`|---|${'---|'.repeat(2 * POLICIES.length)}`)
  for (const rings of RINGS) console.log(`| ${[rings, ...await costs(rings)].join(' | ')} |`)
} finally {
  writeFileSync(STATS, before)
}

/** Nanoseconds, for requests that somebody waits for and for others, of each policy. */
async function costs(rings: number): Promise<number[]> {
  using object = await BpfObject.open(fileURLToPath(new URL('../bpf/test/balance_policy.bpf.o', import.meta.url)))
  object.settings('rings').maxEntries = rings
  object.knobs.set({ most_rings: rings })
  object.load()
  const { u32 } = object.map('rings').memory()
  for (let ring = 0; ring < rings; ring++) {
    const at = ring * RING_WORDS
    u32[at + RingWord.Online] = 1
    u32[at + RingWord.Service] = 4000
    u32[at + RingWord.Given] = ring % 4
  }
  return POLICIES.flatMap((policy) => [0, 1].map((background) => {
    const program = object.program(policy.replace('-', '_'))
    const counter = (name: string): number =>
      Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(readFileSync(`/proc/self/fdinfo/${program.fd}`, 'ascii'))![1])
    const [time, count] = [counter('run_time_ns'), counter('run_cnt')]
    for (let turn = 0; turn < ROUNDS; turn++) {
      // Word by word struct balance_request: cpu, background, previous, random, turn, now
      const random = Math.floor(Math.random() * 2 ** 32)
      program.run({ context: new Uint8Array(Uint32Array.of(turn % rings, background, 0, random, turn, turn).buffer) })
    }
    return Math.round((counter('run_time_ns') - time) / (counter('run_cnt') - count))
  }))
}
