// SPDX-License-Identifier: MIT
/** Every type of map, from the program's side and from ours. */
import { test, type Test } from 'tap'
import { readFileSync } from 'node:fs'
import { BpfMap, BpfObject } from '../../src/bpf/index.js'
import { descriptors, objectPath, unavailable } from './objects.js'

interface Key {
  mount: number
  operation: number
  cpu: number
}

interface Value {
  count: bigint
  balance: bigint
  histogram: number[]
  name: string
  number: number
  bytes: Uint8Array
  set: boolean
}

interface Request {
  number: number
  records: number
  key: Key
}

const skip = unavailable()
/** As the kernel counts those that are possible. */
const cpus = Number(/(\d+)\s*$/.exec(readFileSync('/sys/devices/system/cpu/possible', 'utf8'))![1]) + 1
const key: Key = { mount: 1, operation: 2, cpu: 3 }
const value: Value = {
  count: 10n,
  balance: -5n,
  histogram: [1, 2, 3, 4],
  name: 'eFuse',
  number: 0x04030201,
  bytes: Uint8Array.of(1, 2, 3, 4),
  set: true,
}

async function loaded(t: Test): Promise<BpfObject> {
  const object = await BpfObject.open(objectPath('maps'))
  t.teardown(() => object.close())
  return object.load()
}

/** Has the program touch the maps. @returns a bit for each that it could touch */
function touch(object: BpfObject, number: number, records = 0): number {
  const context = new Uint8Array(24)
  const view = new DataView(context.buffer)
  view.setBigUint64(0, BigInt(number), true)
  view.setBigUint64(8, BigInt(records), true)
  object.type<Key>('key').write(view, 16, key)
  return object.program('touch').run({ context }).value
}

test('a hash of structs', { skip }, async (t) => {
  const object = await loaded(t)
  const map = object.map<Key, Value>('hash')
  t.equal(map.type, 'hash')
  t.equal(map.maxEntries, 1000)
  t.equal(object.map('hash'), map, 'it is the same each time')
  t.equal(map.get(key), undefined)
  t.equal(map.has(key), false)
  t.equal(map.delete(key), false)
  t.equal(map.take(key), undefined)
  t.throws(() => map.set(key, value, 'replace'), { code: 'ENOENT' })

  map.set(key, value)
  t.strictSame(map.get(key), value)
  t.throws(() => map.set(key, value, 'create'), { code: 'EEXIST' })
  t.equal(touch(object, 7) & 1, 1)
  const counted = { ...value, count: 17n, balance: -12n, histogram: [1, 2, 3, 5] }
  t.strictSame(map.get(key), counted, 'the program has counted')
  t.equal(new DataView(map.peekBytes(key)!.slice().buffer).getBigUint64(0, true), 17n, 'its bytes')

  map.set(key, { count: 1 } as never)
  t.strictSame(map.get(key), {
    count: 1n, balance: 0n, histogram: [0, 0, 0, 0], name: '', number: 0, bytes: new Uint8Array(4), set: false,
  }, 'what is not given is zero')
  t.equal(map.take(key)!.count, 1n)
  t.equal(map.has(key), false)
  t.throws(() => map.set(key, { ...value, histogram: [1] }), RangeError)
  t.throws(() => map.get({ ...key, mount: -1 }), RangeError)
  t.throws(() => map.get({ ...key, other: 1 } as never), TypeError)
})

test('many elements at once', { skip }, async (t) => {
  const map = (await loaded(t)).map<Key, Value>('hash')
  const entries = Array.from({ length: 1000 }, (_, mount): [Key, Value] =>
    [{ mount, operation: mount % 7, cpu: 0 }, { ...value, count: BigInt(mount) }])
  t.equal(map.setMany(entries), 1000)
  t.throws(() => map.set(key, value), { code: 'E2BIG' }, 'then it is full')
  const found = [...map].sort(([a], [b]) => a.mount - b.mount)
  t.strictSame(found, entries)
  t.equal([...map.keys()].length, 1000)
  t.equal([...map.values()].reduce((sum, { count }) => sum + count, 0n), 499_500n)
  t.equal(map.deleteMany([entries[0][0], entries[1][0], key]), 2, 'those that are there')
  t.equal(map.takeAll().length, 998)
  t.strictSame([...map], [])
  t.throws(() => map.setMany([entries[0], entries[0]], 'create'), { code: 'EEXIST' })
  map.clear()
  t.strictSame([...map.keys()], [])
})

test('arrays', { skip }, async (t) => {
  const object = await loaded(t)
  const map = object.map<number, bigint>('array')
  map.set(1, 2n ** 64n - 1n).set(7, 70n)
  t.strictSame([...map], [[0, 0n], [1, 2n ** 64n - 1n], [2, 0n], [3, 0n], [4, 0n], [5, 0n], [6, 0n], [7, 70n]])
  t.equal(map.get(8), undefined)
  t.throws(() => map.set(8, 1n), { code: 'E2BIG' })
  t.throws(() => map.delete(1), { code: 'EINVAL' }, 'elements of arrays are always there')
  touch(object, 3)
  t.equal(map.get(1), 2n, 'it wraps')
  const memory = new BigUint64Array(map.memory().buffer, 0, 8)
  t.equal(memory[1], 2n, 'the same as memory')
  touch(object, 3)
  t.equal(memory[1], 5n, 'which is live')
  memory[0] = 9n
  t.equal(map.get(0), 9n)
  t.throws(() => object.map('hash').memory(), { code: 'EINVAL' })
})

test('values for each CPU', { skip }, async (t) => {
  const object = await loaded(t)
  const array = object.map<number, number[]>('percpu_array')
  t.strictSame(array.get(1), Array.from({ length: cpus }, () => 0))
  const own = Array.from({ length: cpus }, (_, cpu) => 100 + cpu)
  array.set(1, own)
  t.strictSame(array.get(1), own)
  touch(object, 1000)
  t.equal(array.get(1)!.reduce((a, b) => a + b), own.reduce((a, b) => a + b) + 1000, 'one CPU has counted')
  t.throws(() => array.set(1, [...own, 1]), RangeError, 'one for each, and no more')
  t.equal([...array].length, 4)
  t.equal(array.peekBytes(1)!.length, 8 * cpus)

  const hash = object.map<bigint, Value[]>('percpu_hash')
  touch(object, 5)
  const counts = hash.get(5n)!.map(({ count }) => count)
  t.equal(counts.reduce((a, b) => a + b), 5n)
  t.equal(counts.length, cpus)
  hash.setMany([[1n, Array.from({ length: cpus }, (_, cpu) => ({ ...value, count: BigInt(cpu) }))]])
  t.strictSame([...hash.keys()].sort((a, b) => Number(a - b)), [1n, 5n, 1000n])
  t.equal(hash.get(1n)![cpus - 1].count, BigInt(cpus - 1))

  const lru = object.map<number, bigint[]>('lru_percpu_hash')
  t.equal(lru.get(5)!.reduce((a, b) => a + b), 5n)
})

test('a least-recently-used hash makes room for itself', { skip }, async (t) => {
  const object = await loaded(t)
  const map = object.map<number, number>('lru_hash')
  touch(object, 5)
  t.equal(map.get(5), 5)
  map.setMany(Array.from({ length: 1000 }, (_, i): [number, number] => [i, i]))
  const kept = [...map]
  t.ok(kept.length <= 64 && kept.length > 0, `${kept.length} of 64 are kept`)
  t.ok(kept.every(([number, same]) => number === same))
})

test('a trie of prefixes', { skip }, async (t) => {
  const map = (await loaded(t)).map<Uint8Array, number>('lpm_trie')
  const prefix = (bits: number, ...address: number[]) => Uint8Array.of(bits, 0, 0, 0, ...address)
  map.set(prefix(8, 10, 0, 0, 0), 1).set(prefix(24, 10, 1, 2, 0), 2)
  t.equal(map.get(prefix(32, 10, 1, 2, 3)), 2)
  t.equal(map.get(prefix(32, 10, 9, 9, 9)), 1)
  t.equal(map.get(prefix(32, 11, 0, 0, 0)), undefined)
  t.equal([...map].length, 2, 'without keys of the kernel\'s type it is bytes')
})

test('queues, stacks, filters', { skip }, async (t) => {
  const object = await loaded(t)
  const queue = object.map<never, number>('queue')
  const stack = object.map<never, number>('stack')
  const filter = object.map<never, number>('bloom_filter')
  t.equal(queue.pop(), undefined)
  t.equal(queue.peek(), undefined)
  for (const map of [queue, stack]) for (const number of [1, 2, 3]) map.push(number)
  t.equal(touch(object, 4) & 0xc0, 0xc0, 'the program pushes too')
  t.equal(touch(object, 5) & 0xc0, 0, 'until they are full')
  t.throws(() => queue.push(5), { code: 'E2BIG' })
  t.equal(queue.peek(), 1)
  t.strictSame([queue.pop(), queue.pop(), queue.pop(), queue.pop(), queue.pop()], [1, 2, 3, 4, undefined])
  t.strictSame([stack.pop(), stack.pop()], [4, 3])
  filter.push(42)
  t.equal(touch(object, 42) & 0x100, 0x100, 'the filter knows 42')
})

test('maps of maps', { skip }, async (t) => {
  const object = await loaded(t)
  t.equal(touch(object, 3) & 0x200, 0x200, 'the one of the object\'s own definition')
  t.equal(object.map<number, number>('inner').get(0), 3)

  using mine = BpfMap.create<number, number>({ type: 'array', name: 'mine', keySize: 4, valueSize: 4, maxEntries: 2 }, {
    value: object.map<number, number>('inner').valueCodec,
  })
  object.map('outer_hash').set(9n, mine)
  t.type(object.map('outer_hash').get(9n), 'number', 'read, it is the map\'s number')
  t.equal(touch(object, 9) & 0x400, 0x400)
  t.equal(mine.get(1), 9)
  object.map('outer').set(1, mine)
  touch(object, 9)
  t.equal(mine.get(0), 9)
  t.equal(object.map('outer').delete(1), true)
  t.equal(touch(object, 9) & 0x200, 0)
  t.throws(() => object.map('outer').set(0, 'mine' as never), TypeError)
  using wrong = BpfMap.create({ type: 'hash', keySize: 8, valueSize: 8, maxEntries: 1 })
  t.throws(() => object.map('outer').set(0, wrong), { code: 'EINVAL' }, 'a map of another kind')
  t.throws(() => BpfMap.create({ type: 'hash', keySize: 0, valueSize: 8, maxEntries: 1 }), { code: 'EINVAL' })
})

test('programs that call each other', { skip }, async (t) => {
  const object = await loaded(t)
  const packet = { data: new Uint8Array(64), outputBytes: 64 }
  t.equal(object.program('jump').run(packet).value, 1)
  object.map('tails').set(2, object.program('tail'))
  const ran = object.program('jump').run(packet)
  t.equal(ran.value, 77)
  t.equal(ran.data.length, 64)
  t.equal([...object.map('tails')].length, 1, 'empty slots are not listed')
  object.map('tails').delete(2)
  t.equal(object.program('jump').run(packet).value, 1)
  t.throws(() => object.map('tails').set(2, object.map('hash')), { name: 'BpfError' }, 'a map is no program')
  t.throws(() => object.program('touch').run({ data: new Uint8Array(14) }), { code: 'EINVAL' })
})

test('a ring of records, some of which were thought better of', { skip }, async (t) => {
  const object = await loaded(t)
  const ring = object.ringBuffer<Request>('ring', { type: 'request' })
  const numbers = () => {
    const all: number[] = []
    ring.drain(({ records }) => all.push(records))
    return all
  }
  t.equal(touch(object, 1, 10) & 0x800, 0x800)
  t.strictSame(numbers(), [0, 1, 3, 4, 6, 7, 9])
  for (let round = 0; round < 100; round++) {
    touch(object, round, 50)
    const seen = numbers()
    if (seen.length !== 34 || seen.at(-1) !== 49) t.fail(`round ${round}: ${seen}`)
  }
  t.throws(() => object.ringBuffer('hash'), { code: 'EINVAL' })
  t.throws(() => object.ringBuffer('none'), { code: 'ENOENT' })
})

test('definitions can be changed before they are loaded', { skip }, async (t) => {
  const object = await BpfObject.open(objectPath('maps'))
  t.teardown(() => object.close())
  const settings = object.settings('hash')
  t.equal(settings.maxEntries, 1000)
  settings.maxEntries = 5
  object.settings('queue').autocreate = true
  object.settings('inode_storage').autocreate = false
  using shared = BpfMap.create({ type: 'array', keySize: 4, valueSize: 4, maxEntries: 2 })
  object.settings('inner').reuse(shared)
  object.load()
  t.equal(object.map('hash').maxEntries, 5)
  t.throws(() => { settings.maxEntries = 6 }, { code: 'EPERM' })
  object.map('inner').set(0, 1)
  t.strictSame(shared.get(0), Uint8Array.of(1, 0, 0, 0), 'the map that was there before')
})

test('a map lives until it is closed', { skip }, async (t) => {
  const before = descriptors()
  const mappable = 1 << 10
  const map = BpfMap.create({ type: 'array', keySize: 4, valueSize: 4, maxEntries: 2, flags: mappable })
  map.memory()
  t.equal(descriptors(), before + 1)
  map.close()
  map.close()
  t.equal(descriptors(), before)
  t.throws(() => map.get(0), { code: 'EBADF' })
  t.throws(() => map.fd, { code: 'EBADF' })
  t.throws(() => [...map], { code: 'EBADF' })
})
