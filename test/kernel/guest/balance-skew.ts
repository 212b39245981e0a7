// SPDX-License-Identifier: MIT
/**
 * In the guest: one CPU reads deeply and asynchronously, the others make requests one by one. Which rings get these, and how
 * long they queue, is compared with what the simulator says of emulated CPUs that take turns: bench/balance-simulator.ts
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { COSTS, simulate, type Client, type Policy } from '../../../bench/balance-simulator.js'
import type { BalanceReport, RingLoad } from '../../../src/bpf/balance.js'
import { findServer } from '../../../src/mount/control.js'
import { moduleFree, sh, sleep, until } from './hooks-support.js'

t.setTimeout(0)

const SOURCE = '/tmp/skew-source'
const AT = '/tmp/skew'
const READS = 3000
const DEPTH = 32
/** Between an answer and the next request of those who wait for each, seconds; and what Python and a timer add to it. */
const THINK = 0.001
const MORE = 0.0003
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
await works('node efuse.js mount $1 $2 --type efuse --rings uring --passthrough off --accel balance', SOURCE, AT)
t.teardown(() => sh('umount -l $1', AT))
const device = /^\S+ \S+ (\S+) \S+ \/tmp\/skew /m.exec(readFileSync('/proc/self/mountinfo', 'utf8'))![1]
const found = await findServer(device)
if (found === null || !('client' in found)) throw new Error('the mount has no server')
const { client } = found
const balance = async (): Promise<BalanceReport> => (await client.ask<{ kernel: { balance: BalanceReport } }>('report')).kernel.balance

/** Makes synchronous requests on a CPU until it is ended. */
function light(cpu: number): () => Promise<void> {
  const child = spawn('taskset', ['-c', String(cpu), 'python3', '-c', `import os, time
while True:
    os.statvfs("${AT}/big")
    time.sleep(${THINK})`], { stdio: 'ignore' })
  return async () => {
    child.kill()
    await once(child, 'exit')
  }
}

interface Seen {
  /** Of the deep reader's requests that went to its own ring. */
  own: number
  longest: number
  wait: number
}

async function measured(t: Test, policy: Policy): Promise<Seen & { service: number }> {
  const ends = Array.from({ length: cpus - 1 }, (_, n) => light(n + 1))
  await until(async () => (await balance()).rings.slice(1).every(({ given }) => given > 20))
  await client.ask('policy', { policy })
  await sleep(300)
  const start = await balance()
  await works(`taskset -c 0 /tmp/balance-load ${AT}/big ${DEPTH} ${READS}`)
  const end = await balance()
  for (const endIt of ends) await endIt()
  const { rings, verdicts } = end
  const each = (value: (ring: RingLoad) => number): string => rings.map(value).join(', ')
  t.comment(`${policy}: ${rings.map(({ given }, n) => given - start.rings[n].given).join(', ')}; most ${each(({ most }) => most)}; `
    + `wait ${each(({ waitNs }) => waitNs)} ns, service ${each(({ serviceNs }) => serviceNs)} ns; `
    + JSON.stringify(verdicts))
  const { given, guests, serviceNs, waitNs } = rings[0]
  return {
    own: (given - start.rings[0].given - guests + start.rings[0].guests) / READS,
    longest: Math.max(...rings.map(({ most }) => most)), wait: waitNs, service: serviceNs,
  }
}

/** With costs in proportion to what a request was seen to take. */
function simulated(policy: Policy, service: number, cores: number): Seen {
  const scale = service / COSTS.service
  const costs = Object.fromEntries(Object.entries(COSTS).map(([name, ns]) => [name, ns * scale])) as unknown as typeof COSTS
  const clients = Array.from({ length: cpus }, (_, cpu): Client => cpu === 0
    ? { cpu, depth: DEPTH, background: true, think: 0 }
    : { cpu, depth: 1, background: false, think: (THINK + MORE) * 1e9 })
  const { longestQueue, queueing, background } = simulate({
    policy, cpus, cores, clients, costs, knobs: COSTS, duration: READS * service,
  })
  return { own: background.own, longest: longestQueue, wait: queueing.p50 }
}

for (const policy of ['local', 'adaptive'] as const) {
  await t.test(policy, async (t) => {
    const seen = await measured(t, policy)
    t.comment(`seen: ${JSON.stringify(seen)}`)
    // How many cores emulate the CPUs, and what else these do, is not known here.
    const expected = [1, 2, cpus].map((cores) => simulated(policy, seen.service, cores))
    t.comment(`simulated on 1, 2 and ${cpus} cores: ${JSON.stringify(expected)}`)
    const most = Math.max(...expected.map(({ own }) => own))
    if (policy === 'local') t.ok(seen.own >= 1 && seen.longest > DEPTH / 2, 'all stay, and queue there')
    else t.ok(seen.own < (1 + most) / 2, `${(100 * seen.own).toFixed(0)} % stay, simulated ${(100 * most).toFixed(0)} %`)
  })
}

client.close()
await t.test('the module is free then', async (t) => {
  t.ok((await sh('umount $1', AT)).ok)
  t.ok(await moduleFree())
})
