// SPDX-License-Identifier: MIT
/**
 * In the guest, in instruction-time: one CPU reads deeply and asynchronously, the others one by one. Which rings get these reads,
 * and how many queue there, is what the simulator says (bench/balance-simulator.ts), fed with what was measured here: what a read
 * takes the server, and its caller, and for how long a thread keeps its CPU.
 *
 * In instruction-time QEMU runs one CPU after another, each for a part of the time until the next timer; the simulator does
 * so, too. In a guest whose CPUs are threads of the host they stop for as long as that pleases: what a request takes can't be
 * told from what its CPU waits for there, and the share that stays with the reader's own ring follows their quotient.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { emulated, simulate, skewed, type Emulated, type Policy } from '../../../bench/balance-simulator.js'
import type { BalanceReport } from '../../../src/bpf/balance.js'
import { findServer } from '../../../src/mount/control.js'
import { moduleFree, sh, sleep, until } from './hooks-support.js'

t.setTimeout(0)

const SOURCE = '/tmp/skew-source'
const AT = '/tmp/skew'
const READS = 3000
const DEPTH = 32
/** Nanoseconds between an answer and the next read of those who wait for each. */
const THINK = 1_000_000
const cpus = Number((await sh('getconf _NPROCESSORS_CONF')).output)

const parameter = '/sys/module/efuse/parameters/enable_uring'
const before = readFileSync(parameter, 'ascii')
writeFileSync(parameter, '1')
t.teardown(() => writeFileSync(parameter, before))

async function works(command: string, ...words: string[]): Promise<string> {
  const { ok, output, errors } = await sh(command, ...words)
  if (!ok) throw new Error(errors)
  return output
}

await works('mkdir $1 $2; head -c 8000000 /dev/urandom > $1/big; gcc -O1 -o /tmp/balance-load test/kernel/guest/balance-load.c', SOURCE, AT)
// V8's own threads would take the other CPUs' turns while they compile.
const server = spawn('node', ['--single-threaded', 'efuse.js', 'mount', SOURCE, AT, '-f', '--type', 'efuse', '--rings', 'uring',
  '--passthrough', 'off', '--accel', 'balance'], { stdio: 'inherit' })
t.teardown(async () => {
  await sh('umount -l $1', AT)
  server.kill()
})
t.ok(await until(async () => (await sh('mountpoint -q $1', AT)).ok), 'it is mounted')
const device = /^\S+ \S+ (\S+) \S+ \/tmp\/skew /m.exec(readFileSync('/proc/self/mountinfo', 'utf8'))![1]
const found = await findServer(device)
if (found === null || !('client' in found)) throw new Error('the mount has no server')
const { client } = found
const balance = async (): Promise<BalanceReport> => (await client.ask<{ kernel: { balance: BalanceReport } }>('report')).kernel.balance

/** Reads on a CPU. @returns what balance-load prints */
async function load(cpu: number, ...words: readonly number[]): Promise<number[]> {
  return (await works(`taskset -c ${cpu} /tmp/balance-load ${AT}/big ${words.join(' ')}`)).trim().split(' ').map(Number)
}

/** Reads one by one on a CPU until it is ended. */
function light(cpu: number): () => Promise<void> {
  const child = spawn('taskset', ['-c', String(cpu), '/tmp/balance-load', `${AT}/big`, '0', '0', String(THINK)], { stdio: 'ignore' })
  return async () => {
    child.kill()
    await once(child, 'exit')
  }
}

/** What the deep reader's requests did. */
interface Seen {
  /** The share that went to its own ring, and to the fullest of the others. */
  own: number
  fullest: number
  /** Most that were under way at once, there and in any of the others. */
  most: number
  mostElsewhere: number
}

async function measured(policy: Policy): Promise<Seen> {
  await client.ask('policy', { policy: 'local' })
  const ends = Array.from({ length: cpus - 1 }, (_, n) => light(n + 1))
  await sleep(100)
  await client.ask('policy', { policy })
  const start = await balance()
  await load(0, READS, DEPTH)
  const { rings } = await balance()
  for (const end of ends) await end()
  const guests = rings.map((ring, n) => ring.guests - start.rings[n].guests)
  const elsewhere = guests.slice(1)
  return {
    own: 1 - elsewhere.reduce((sum, count) => sum + count, 0) / READS, fullest: Math.max(...elsewhere) / READS,
    most: rings[0].most, mostElsewhere: Math.max(...rings.slice(1).map(({ most }) => most)),
  }
}

/**
 * How far from what the simulator says with five seeds: a tenth of the reads, and as many requests at once as a server answers
 * together. The guest has timers and threads that the simulator knows nothing of.
 */
const TOLERATED: Seen = { own: 0.1, fullest: 0.1, most: 8, mostElsewhere: 8 }

async function measures(t: Test): Promise<Emulated> {
  await client.ask('policy', { policy: 'local' })
  // The server's code is compiled while it serves, and takes longer until then.
  for (let n = 0; n < 3; n++) await load(0, READS, DEPTH)
  const [count, elapsed, own] = await load(0, READS, DEPTH)
  const caller = own / count
  const service = elapsed / count - caller
  await works('mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug')
  const turn = Number(readFileSync('/sys/kernel/debug/sched/base_slice_ns', 'ascii'))
  t.comment(`a read takes its caller ${caller.toFixed(0)} ns, its server ${service.toFixed(0)}; a thread's slice is ${turn}`)
  return { caller, service, turn }
}

function simulated(policy: Policy, measures: Emulated, seed: number): Seen {
  const { longest, background } = simulate({
    ...emulated(measures), policy, cpus, clients: skewed(cpus, THINK), seed, warm: 0,
    duration: READS * (measures.caller + measures.service),
  })
  return {
    own: background.own, fullest: Math.max(...background.shares.slice(1)),
    most: longest[0], mostElsewhere: Math.max(...longest.slice(1)),
  }
}

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`
const text = ({ own, fullest, most, mostElsewhere }: Seen): string =>
  `${percent(own)} stay, ${percent(fullest)} go to one other; up to ${most} at once there, ${mostElsewhere} elsewhere`

await t.test('as simulated', async (t) => {
  const inputs = await measures(t)
  for (const policy of ['local', 'adaptive'] as const) {
    const seen = await measured(policy)
    const expected = [1, 2, 3, 4, 5].map((seed) => simulated(policy, inputs, seed))
    t.comment(`${policy}: seen ${text(seen)}`)
    for (const one of expected) t.comment(`  simulated ${text(one)}`)
    for (const [what, tolerated] of Object.entries(TOLERATED) as [keyof Seen, number][]) {
      const values = expected.map((one) => one[what])
      const [low, high] = [Math.min(...values) - tolerated, Math.max(...values) + tolerated]
      t.ok(seen[what] >= low && seen[what] <= high,
        `${policy}, ${what}: ${seen[what].toFixed(2)}, simulated ${low.toFixed(2)} to ${high.toFixed(2)} with ${tolerated} tolerated`)
    }
  }
})

client.close()
await t.test('the module is free then', async (t) => {
  t.ok((await sh('umount $1', AT)).ok)
  t.ok(await moduleFree())
})
