// SPDX-License-Identifier: MIT
/** In the guest: requests of an io_uring mount spread over its rings by programs. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { POLICIES, type BalanceReport } from '../../../src/bpf/balance.js'
import { HookProgram } from '../../../src/bpf/hooks.js'
import { bundledObject } from '../../../src/bpf/libbpf.js'
import { findServer } from '../../../src/mount/control.js'
import type { AttachmentReport } from '../../../src/mount/hooks.js'
import { moduleFree, OBJECTS, sh, sleep, until } from './hooks-support.js'

t.setTimeout(0)

/** Everything, in place of what CI has time for. */
const full = process.argv.includes('--share=full')
const SOURCE = '/tmp/balance-source'
const AT = '/tmp/balance'
const cpus = Number((await sh('getconf _NPROCESSORS_CONF')).output)

const parameter = '/sys/module/efuse/parameters/enable_uring'
const before = readFileSync(parameter, 'ascii')
writeFileSync(parameter, '1')
t.teardown(() => writeFileSync(parameter, before))
await sh(`mkdir ${SOURCE} ${AT}; echo content > ${SOURCE}/file; head -c 8000000 /dev/urandom > ${SOURCE}/big`)

async function efuse(...words: string[]): Promise<string> {
  const { ok, output, errors } = await sh('node efuse.js "$@"', ...words)
  if (!ok) throw new Error(`efuse ${words.join(' ')}: ${errors}`)
  return output
}

interface Stat { workers: number; accel: string; kernel: { balance: BalanceReport }; operations: Record<string, { count: number }> }

const stat = async (): Promise<Stat> => JSON.parse(await efuse('stat', AT, '--json')) as Stat
const deviceOfMount = (): string => /^\S+ \S+ (\S+) \S+ \/tmp\/balance /m.exec(readFileSync('/proc/self/mountinfo', 'utf8'))![1]

/** Asks the mount's server as the commands do, without the second or more that a Node takes to start in a guest. */
async function ask<T>(...question: [request: string, args?: object]): Promise<T> {
  const found = await findServer(deviceOfMount())
  if (found === null || !('client' in found)) throw new Error('the mount has no server')
  try {
    return await found.client.ask<T>(...question)
  } finally {
    found.client.close()
  }
}

const balance = async (): Promise<BalanceReport> => (await ask<Stat>('report')).kernel.balance

async function mounted(t: Test, ...more: string[]): Promise<void> {
  await efuse('mount', SOURCE, AT, '--type', 'efuse', '--rings', 'uring', '--passthrough', 'off', '--accel', 'balance',
    ...more)
  t.teardown(() => sh(`node efuse.js umount ${AT} || umount -l ${AT}`))
}

/** Waits until all that was sent has been answered. @returns what is known then */
async function idle(): Promise<BalanceReport> {
  let last: BalanceReport | null = null
  await until(async () => {
    last = await balance()
    return last.rings.every(({ depth }) => depth === 0)
  })
  return last!
}

/** Makes synchronous requests on a CPU, of a kind that is never answered by the kernel. */
const requests = (cpu: number, count: number) => sh(`taskset -c ${cpu} python3 -c 'import os
for i in range(${count}): os.statvfs("${AT}/file")'`)

/** Background requests, made on a CPU: read-ahead, whose data must be right. */
const readAhead = (cpu: number) => sh(`echo 1 > /proc/sys/vm/drop_caches; taskset -c ${cpu} cmp ${AT}/big ${SOURCE}/big`)

const given = (report: BalanceReport): number[] => report.rings.map((ring) => ring.given)
const more = (after: BalanceReport, before: BalanceReport): number[] => given(after).map((count, ring) => count - given(before)[ring])
const total = (counts: readonly number[]): number => counts.reduce((sum, one) => sum + one, 0)

await t.test('policies', async (t) => {
  await mounted(t)
  t.equal((await stat()).accel, 'balance')
  t.equal(await efuse('bpf', 'policy', AT), 'adaptive\n', 'the default')
  t.equal((await balance()).rings.length, cpus)

  const busy = cpus - 1
  for (const policy of POLICIES) {
    t.equal(await efuse('bpf', 'policy', AT, policy), `policy: ${policy}\n`)
    const start = await idle()
    t.equal(start.policy, policy)
    t.ok((await requests(busy, 200)).ok, `${policy}: synchronous requests`)
    const after = await idle()
    const counts = more(after, start)
    t.ok(total(counts) >= 200, `${policy}: all are counted: ${counts.join(', ')}`)
    if (policy === 'local' || policy === 'adaptive') {
      t.ok(counts[busy] >= 200, `${policy}: they stay with their CPU`)
    } else if (policy === 'round-robin') {
      t.ok(Math.max(...counts) - Math.min(...counts) <= total(counts) / 4, `${policy}: all rings get as many`)
    }
    t.ok((await readAhead(busy)).ok, `${policy}: background requests`)
    const read = await idle()
    const ahead = more(read, after)
    t.ok(total(ahead) > 0, `${policy}: ${ahead.join(', ')}`)
    if (policy === 'local') t.ok(ahead[busy] > 0.8 * total(ahead), 'local: background ones stay, too')
    t.equal(total(Object.values(read.verdicts)) - total(Object.values(start.verdicts)), total(more(read, start)),
      `${policy}: each choice gave a ring one request`)
  }

  await t.test("another's program", async (t) => {
    const object = join(OBJECTS, 'efuse_queue.bpf.o')
    await efuse('bpf', 'policy', AT, object)
    t.equal(await efuse('bpf', 'policy', AT), 'program\n')
    t.ok((await requests(0, 100)).ok)
    const [attached, ...others] = JSON.parse(await efuse('bpf', 'list', AT, '--json')) as AttachmentReport[]
    t.strictSame(others, [])
    t.match(attached, { name: 'balance', hooks: ['select_queue'], object })
    t.ok(attached.counters.asked >= 100, 'its counters')
    await efuse('bpf', 'policy', AT, 'local')
    const start = await idle()
    t.ok((await requests(0, 100)).ok)
    t.ok(more(await idle(), start)[0] >= 100, 'and back')
    const [again] = JSON.parse(await efuse('bpf', 'list', AT, '--json')) as AttachmentReport[]
    t.match(again, { object: 'balance.bpf.o', hooks: ['reply', 'select_queue'] })
    const none = await sh(`node efuse.js bpf policy ${AT} ${join(OBJECTS, 'efuse_pass.bpf.o')}.none`)
    t.notOk(none.ok)
    t.match((await sh(`node efuse.js bpf policy ${AT} fastest`)).errors, /it is one of local, round-robin/)
  })

  await t.test('policies that change all the time', async (t) => {
    let changes = 0
    const found = await findServer(deviceOfMount())
    if (found === null || !('client' in found)) return void t.fail('the mount has a server')
    const load = Promise.all([requests(0, full ? 1500 : 500), requests(busy, full ? 1500 : 500), readAhead(0), readAhead(busy)])
    let running = true
    void load.then(() => { running = false })
    for (; running; await sleep(10)) {
      await found.client.ask('policy', { policy: POLICIES[changes++ % POLICIES.length] })
    }
    found.client.close()
    for (const { ok, errors } of await load) t.ok(ok, errors)
    t.ok(changes > 20, `${changes} changes`)
    t.strictSame((await idle()).rings.map(({ depth }) => depth), Array.from({ length: cpus }, () => 0), 'nothing is lost')
  })
})

await t.test('CPUs that come and go', { skip: cpus < 3 && 'two CPUs' }, async (t) => {
  await mounted(t)
  const last = cpus - 1
  const turn = (cpu: number, online: number) => writeFileSync(`/sys/devices/system/cpu/cpu${cpu}/online`, String(online))
  t.teardown(() => { for (let cpu = 1; cpu < cpus; cpu++) turn(cpu, 1) })
  const load = Promise.all([requests(0, full ? 2000 : 500), readAhead(0)])
  let running = true
  void load.then(() => { running = false })
  let turns = 0
  for (; running; turns++) {
    turn(1 + turns % last, 0)
    await sleep(200)
    turn(1 + turns % last, 1)
    await sleep(200)
  }
  for (const { ok, errors } of await load) t.ok(ok, errors)
  t.ok(turns > 0, `${turns} times`)
  turn(last, 0)
  t.ok(await until(async () => !(await balance()).rings[last].online), 'a ring whose CPU is not there')
  await efuse('bpf', 'policy', AT, 'round-robin')
  const start = await idle()
  t.ok((await requests(0, 200)).ok)
  const counts = more(await idle(), start)
  t.equal(counts[last], 0, `gets none: ${counts.join(', ')}`)
  turn(last, 1)
  t.ok(await until(async () => (await balance()).rings[last].online))
  t.ok((await requests(last, 200)).ok)
  t.ok(more(await idle(), start)[last] > 0, 'until it is back')
})

await t.test('fewer rings than CPUs', { skip: cpus < 3 && 'two CPUs' }, async (t) => {
  const last = cpus - 1
  const turn = (online: number) => writeFileSync(`/sys/devices/system/cpu/cpu${last}/online`, String(online))
  turn(0)
  t.teardown(() => turn(1))
  await mounted(t)
  const start = await idle()
  t.equal(start.rings.length, cpus - 1, 'a ring for each CPU that is there')
  for (const policy of full ? POLICIES : ['round-robin', 'adaptive']) {
    await ask('policy', { policy })
    for (let cpu = 0; cpu < last; cpu++) t.ok((await requests(cpu, 50)).ok, `${policy}: CPU ${cpu}`)
  }
  await efuse('bpf', 'policy', AT, 'local')
  const between = await idle()
  t.ok((await requests(1, 100)).ok)
  t.ok(more(await idle(), between)[1] >= 100, "each is its CPU's")
  turn(1)
  t.ok((await requests(last, 100)).ok, 'one that comes later shares')
  t.ok(await until(async () => (await balance()).rings[last]?.online), 'and gets a ring of its own')
  const grown = await idle()
  t.ok((await requests(last, 100)).ok)
  t.ok((await readAhead(last)).ok)
  t.ok(more(await idle(), grown)[last] >= 100, 'that takes its requests')
  turn(0)
  t.ok(await until(async () => !(await balance()).rings[last].online), 'until it leaves again')
  for (let cpu = 0; cpu < last; cpu++) t.ok((await requests(cpu, 50)).ok)
  turn(1)
  t.ok(await until(async () => (await balance()).rings[last].online), 'and when it is back')
  t.ok((await requests(last, 100)).ok)
})

await t.test('large machines: the verifier takes it with as many rings', async (t) => {
  for (const rings of full ? [2, 64, 256, 1024] : [1024]) {
    const program = await HookProgram.open(bundledObject('balance'), { variable: 'adaptive' })
    program.object.settings('rings').maxEntries = rings
    program.object.knobs.set({ most_rings: rings, node_size: rings / 2 })
    t.doesNotThrow(() => program.object.load(), `${rings} rings`)
    program.close()
  }
})

await t.test('without the accelerator, and without rings', async (t) => {
  const refused = await sh(`node efuse.js mount ${SOURCE} ${AT} --type efuse --rings dev --accel balance`)
  t.match(refused.errors, /--accel balance is not to be had: requests do not go over io_uring/)
  await mounted(t, '--accel', 'off')
  t.match((await sh(`node efuse.js bpf policy ${AT}`)).errors, /is not balanced: not asked for/)
  t.match((await sh(`node efuse.js bpf policy ${AT} local`)).errors, /rings are not balanced here/)
  t.ok((await requests(0, 50)).ok)
})

await t.test('nothing holds the module', async (t) => void t.ok(await moduleFree()))
