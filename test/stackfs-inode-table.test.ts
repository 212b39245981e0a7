// SPDX-License-Identifier: MIT
/** StackFS's inode table: what it promises one worker, several at once, and after one has died. */
import t from 'tap'
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { fileURLToPath } from 'node:url'
import { InodeTable, newIdentity, NO_DESCRIPTOR, NO_ENTRY, type InodeTableMemory } from '../src/fs/stackfs/inode-table.js'

function identityOf(low: number, high = 0, generation = 7) {
  const identity = newIdentity()
  Object.assign(identity, { nodeidLow: low, nodeidHigh: high, inoLow: low, inoHigh: 0, generation, handleBytes: 8, handleType: 1 })
  identity.handle[0] = low
  identity.handle[1] = generation
  return identity
}

const WORKERS = 4
const ROUNDS = 4000
const INODES = 500

/** Each look-up is forgotten again by the same worker; descriptors are numbers from a counter. */
function hammer(memory: InodeTableMemory, worker: number, counter: Int32Array): void {
  const table = new InodeTable(memory, worker)
  const identity = newIdentity()
  let seed = worker + 1
  const random = (limit: number) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % limit
  const close = () => { Atomics.add(counter, 1, 1) }
  for (let round = 0; round < ROUNDS; round++) {
    const mine: number[] = []
    for (let i = 0; i < 10; i++) {
      const low = 2 + random(INODES)
      if (table.lookUp(identityOf(low)) < 0) throw new Error('full')
      mine.push(low)
      const fd = table.fdOf(low, 0, 0, identity)
      if (fd === NO_ENTRY) throw new Error('an inode that was looked up is not there')
      if (fd === NO_DESCRIPTOR) {
        const opened = Atomics.add(counter, 0, 1)
        if (table.install(low, 0, opened, 0, false) !== opened) close()
      }
      if (table.tooManyOpen) table.evict(8, close)
    }
    for (const low of mine) if (table.forget(low, 0, 1, 0) >= 0) close()
  }
}

if (!isMainThread) {
  hammer(workerData.memory, workerData.worker, new Int32Array(workerData.counter))
} else {
  t.test('an inode lives as long as its look-ups', (t) => {
    const table = new InodeTable(InodeTable.reserve(1024, 100, false), 0)
    t.ok(table.lookUp(identityOf(5, 9)) >= 0)
    t.ok(table.lookUp(identityOf(5, 9)) >= 0)
    t.equal(table.install(5, 9, 33, 0, false), 33)
    t.equal(table.fdOf(5, 9, 0, newIdentity()), 33)
    t.equal(table.forget(5, 9, 1, 0), -1, 'one look-up is left')
    t.ok(table.has(5, 9))
    t.equal(table.forget(5, 9, 1, 0), 33, 'the last one gives its descriptor back to be closed')
    t.notOk(table.has(5, 9))
    t.equal(table.openCount, 0)
    t.equal(table.fdOf(5, 9, 0, newIdentity()), NO_ENTRY)
    t.end()
  })

  t.test('look-ups beyond 2^32 are counted', (t) => {
    const table = new InodeTable(InodeTable.reserve(1024, 100, false), 0)
    table.lookUp(identityOf(5))
    t.equal(table.forget(5, 0, 0, 0), -1)
    for (let i = 0; i < 3; i++) table.lookUp(identityOf(5))
    t.equal(table.forget(5, 0, 3, 0), -1)
    t.ok(table.has(5, 0))
    t.equal(table.forget(5, 0, 0xffffffff, 0xffffffff), -1, 'more than were given: gone, without a descriptor')
    t.notOk(table.has(5, 0))
    t.end()
  })

  t.test('two inodes whose nodeids collide get different ones', (t) => {
    const table = new InodeTable(InodeTable.reserve(1024, 100, false), 0)
    const first = identityOf(5)
    const second = Object.assign(identityOf(5), { inoLow: 6 })
    table.lookUp(first)
    table.lookUp(second)
    t.not(second.nodeidLow, first.nodeidLow)
    const again = Object.assign(identityOf(5), { inoLow: 6 })
    table.lookUp(again)
    t.equal(again.nodeidLow, second.nodeidLow, 'the same one each time')
    t.equal(table.size, 2)
    t.end()
  })

  t.test('a full table says so, and has room again after a forget', (t) => {
    const memory = InodeTable.reserve(1024, 100, false)
    const table = new InodeTable(memory, 0)
    const entered: number[] = []
    let low = 2
    for (; low < 10_000; low++) {
      if (table.lookUp(identityOf(low)) < 0) break
      entered.push(low)
    }
    t.ok(entered.length >= 500 && entered.length <= memory.capacity)
    for (const one of entered) t.ok(table.has(one, 0)) || t.bailout()
    for (const one of entered) table.forget(one, 0, 1, 0)
    t.equal(table.size, 0)
    t.ok(table.lookUp(identityOf(low)) >= 0)
    t.end()
  })

  t.test('descriptors that are in use, or the only way to an inode, are not taken', (t) => {
    const memory = InodeTable.reserve(1024, 0, false)
    const table = new InodeTable(memory, 0)
    const other = new InodeTable(memory, 1)
    const taken: number[] = []
    for (const low of [10, 11, 12, 13]) {
      table.lookUp(identityOf(low))
      table.install(low, 0, low, 3, low === 11)
    }
    table.clearHazards()
    table.lookUp(Object.assign(identityOf(14), { handleBytes: 0 }))
    table.install(14, 0, 14, 3, false)
    table.clearHazards()
    other.fdOf(12, 0, 1, newIdentity())
    for (let i = 0; i < 3; i++) table.evict(100, (fd) => taken.push(fd))
    t.same(taken.sort(), [10, 13], '11 is pinned, another worker uses 12, and 14 has no handle')
    other.clearHazards()
    for (let i = 0; i < 3; i++) table.evict(100, (fd) => taken.push(fd))
    t.same(taken.sort(), [10, 12, 13])
    t.end()
  })

  t.test('what many inodes took is given back when they are forgotten, and can be used again', (t) => {
    const table = new InodeTable(InodeTable.reserve(65536, 100, true), 0)
    let given = 0
    table.giveBack = (memory, offset, length) => {
      given += length
      new Uint8Array(memory, offset, length).fill(0)
    }
    for (let round = 0; round < 3; round++) {
      for (let low = 2; low < 50_000; low++) if (table.lookUp(identityOf(low)) < 0) t.bailout('full')
      given = 0
      for (let low = 2; low < 50_000; low++) table.forget(low, 0, 1, 0)
      t.equal(table.size, 0)
      t.ok(given > 50_000 * 100, `${given} bytes`)
    }
    t.ok(table.lookUp(identityOf(5)) >= 0)
    t.ok(table.has(5, 0))
    t.end()
  })

  t.test('names are kept for those that have no handle', (t) => {
    const table = new InodeTable(InodeTable.reserve(1024, 10, true), 0)
    table.lookUp(identityOf(20))
    const bytes = Buffer.from('a name')
    t.equal(table.nameOf(20, 0, new Uint8Array(256), 0), null)
    table.setName(20, 0, 1, 0, bytes, 0, bytes.length)
    const out = new Uint8Array(300)
    t.same(table.nameOf(20, 0, out, 10), { parentLow: 1, parentHigh: 0 })
    t.equal(Buffer.from(out.subarray(10, out.indexOf(0, 10))).toString(), 'a name')
    t.end()
  })

  t.test('what a dead worker had locked is released, and nothing is lost', (t) => {
    const memory = InodeTable.reserve(4096, 100, false)
    const table = new InodeTable(memory, 0)
    for (let low = 2; low < 1000; low++) table.lookUp(identityOf(low))
    const dying = new InodeTable(memory, 1)
    t.throws(() => (dying as unknown as { locked: Function }).locked(500, 0, () => { (dying as any).words = null }, null))
    table.recover(1)
    for (let low = 2; low < 1000; low++) t.ok(table.has(low, 0)) || t.bailout()
    t.equal(table.size, 998)
    for (let low = 2; low < 1000; low++) table.forget(low, 0, 1, 0)
    t.equal(table.size, 0)
    t.end()
  })

  t.test('workers at once: every inode is there while looked up, and none is left', async (t) => {
    const memory = InodeTable.reserve(2048, 40, false)
    const counter = new SharedArrayBuffer(8)
    await Promise.all(Array.from({ length: WORKERS }, (_, worker) => new Promise<void>((resolve, reject) => {
      const thread = new Worker(fileURLToPath(import.meta.url), { workerData: { memory, worker, counter } })
      thread.on('error', reject).on('exit', () => resolve())
    })))
    const table = new InodeTable(memory, 0)
    t.equal(table.size, 0)
    t.equal(table.openCount, 0)
    const [opened, closed] = new Int32Array(counter)
    t.equal(closed, opened, 'every descriptor is closed once')
  })
}
