// SPDX-License-Identifier: MIT
/** Objects that come and go: many of them, in several threads, and threads that end with them open. */
import { test } from 'tap'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { BpfObject } from '../../src/bpf/index.js'
import type { Order } from './load-worker.js'
import { descriptors, objectBytes, share, unavailable } from './objects.js'

const skip = unavailable()

function start(order: Order): Worker {
  return new Worker(new URL('./load-worker.js', import.meta.url), { workerData: order })
}

async function cycle(bytes: Uint8Array): Promise<void> {
  using object = await BpfObject.open(bytes)
  object.load()
  object.attach()
  object.ringBuffer('events')
  object.map('.bss').memory()
  // The event loop closes what it has watched, in its own time.
  await nextTurn()
}

test('objects that come and go leave nothing', { skip }, async (t) => {
  const bytes = objectBytes('tracing')
  const times = share === 'full' ? 1000 : 200
  for (let i = 0; i < 30; i++) await cycle(bytes)
  const before = { descriptors: descriptors(), memory: process.memoryUsage.rss() }
  for (let i = 0; i < times; i++) await cycle(bytes)
  const grown = (process.memoryUsage.rss() - before.memory) / 1024 / 1024
  t.equal(descriptors(), before.descriptors)
  // A leak of one kernel's types, 5 MB, in a hundred cycles would be seen.
  t.ok(grown < 24, `${times} cycles: ${grown.toFixed(1)} MiB more`)
  t.comment(`${times} cycles: ${grown.toFixed(1)} MiB more`)
})

test('several objects at once do not disturb each other', { skip }, async (t) => {
  const bytes = objectBytes('tracing')
  const before = descriptors()
  const objects = await Promise.all(Array.from({ length: 5 }, (_, i) => BpfObject.open(bytes, { name: `number${i}` })))
  objects.forEach((object, i) => object.globals.set('calls', i))
  objects[3].close()
  objects.forEach((object, i) => { if (i !== 3) object.load() })
  t.strictSame(objects.filter((_, i) => i !== 3).map((object) => object.globals.get('calls')), [0n, 1n, 2n, 4n])
  for (const object of objects) object.close()
  t.equal(descriptors(), before)
})

test('workers load at the same time', { skip }, async (t) => {
  const before = descriptors()
  const times = share === 'full' ? 50 : 8
  const workers = Array.from({ length: 4 }, () => start({ times }))
  const seen = await Promise.all(workers.map(async (worker) => {
    const ended = once(worker, 'exit')
    const [answer] = await once(worker, 'message')
    t.strictSame(await ended, [0])
    return answer
  }))
  t.strictSame(seen, workers.map(() => 3 * times), 'each saw its own thread\'s calls, all of them')
  t.equal(descriptors(), before)
})

test('a worker that is ended detaches what it had attached', { skip }, async (t) => {
  const known = () => readFileSync('/proc/sys/net/ipv4/tcp_available_congestion_control', 'utf8').includes('efuse_test')
  const before = descriptors()
  const worker = start({ attach: 'counting' })
  await once(worker, 'message')
  t.equal(known(), true)
  await worker.terminate()
  t.equal(known(), false)
  t.equal(descriptors(), before)
})
