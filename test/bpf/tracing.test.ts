// SPDX-License-Identifier: MIT
/** Tracing programs on one thread's system calls: knobs, globals, CO-RE, a ring buffer, every kind of link. */
import { test, type Test } from 'tap'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { BpfMap, BpfObject, unpin, type OpenOptions } from '../../src/bpf/index.js'
import * as native from '../../src/native.js'
import { descriptors, GETPPID, objectPath, unavailable } from './objects.js'

interface Event {
  number: bigint
  pid: number
  argument: bigint
  comm: string
  bytes: Uint8Array
}

const skip = unavailable()

async function open(t: Test, options: OpenOptions = {}): Promise<BpfObject> {
  const object = await BpfObject.open(objectPath('tracing'), options)
  t.teardown(() => object.close())
  return object
}

/** Watches this thread, and reports its calls of getppid. */
async function watching(t: Test, options: OpenOptions = {}): Promise<BpfObject> {
  const object = await open(t, options)
  object.knobs.set({ watched: native.threadId(), enabled: true, reported: GETPPID })
  return object.load()
}

function callParent(times: number): void {
  for (let i = 0; i < times; i++) void process.ppid
}

test('an object shows what is in it before it is loaded', { skip }, async (t) => {
  const object = await open(t)
  t.equal(object.name, 'tracing', 'its name is the file\'s')
  t.strictSame(object.mapNames.sort(), ['events', 'per_task', 'tracing.bss', 'tracing.data', 'tracing.rodata'])
  t.equal(object.program('on_call').section, 'tp_btf/sys_enter')
  t.equal(object.program('store').autoload, false, 'a section that begins with ? is not loaded unasked')
  t.throws(() => object.program('nothing'), { name: 'BpfError', code: 'ENOENT' }, 'a program that is not there')
  t.throws(() => object.settings('nothing'), { code: 'ENOENT', message: /there are .*events/ })
  t.throws(() => object.map('events'), { code: 'EINVAL' }, 'maps are there after loading')
  t.throws(() => object.attach(), { code: 'EINVAL' }, 'and so are programs')
})

test('knobs and globals have the types of C', { skip }, async (t) => {
  const object = await open(t)
  t.equal(object.knobs.get('watched'), 0)
  t.equal(object.knobs.get('wide'), 1n << 60n, '64 bits are exact')
  t.equal(object.knobs.get('label'), 'unset', 'char arrays are strings')
  t.equal(object.knobs.get('enabled'), false)
  t.strictSame(object.globals.get('pairs'), [{ left: -1, right: 3, more: 4 }, { left: -2, right: 5, more: 6 }])
  t.equal(object.globals.get('bias'), -7, 'static variables too')

  object.knobs.set({ label: 'sixteen letters!', wide: 5 })
  t.equal(object.knobs.get('label'), 'sixteen letters!', 'a string that fills its array')
  t.throws(() => object.knobs.set('label', 'seventeen letters'), RangeError, 'one that does not fit')
  t.throws(() => object.knobs.set('watched', 2 ** 31), RangeError)
  t.throws(() => object.knobs.set('watched', 1.5), TypeError)
  t.throws(() => object.knobs.set('watched', '7'), TypeError)
  t.throws(() => object.knobs.set('wide', -1), RangeError)
  t.throws(() => object.knobs.set('absent', 1), { code: 'ENOENT', message: /there are .*watched/ })
  t.throws(() => object.globals.set('pairs', [{ left: 1, wrong: 1 }, {}]), TypeError, 'a member that is not there')
  t.throws(() => object.globals.set('pairs', [{ left: 1, right: 32 }, {}]), RangeError, 'a bit-field of 5 bits')

  object.globals.set('pairs', [{ left: 7, right: 31, more: 0 }, { left: -8 }])
  t.strictSame(object.globals.get('pairs'), [{ left: 7, right: 31, more: 0 }, { left: -8, right: 0, more: 0 }])
  object.load()
  t.equal(object.knobs.get('wide'), 5n, 'knobs can still be read')
  t.throws(() => object.knobs.set('wide', 6), { code: 'EPERM' }, 'but are fixed')
  t.strictSame(object.globals.get('pairs'), [{ left: 7, right: 31, more: 0 }, { left: -8, right: 0, more: 0 }])
  object.globals.set('calls', 2n ** 64n - 1n)
  t.equal(object.globals.get('calls'), 2n ** 64n - 1n, 'globals are live')

  const asNumbers = await open(t, { wide: 'number' })
  t.equal(asNumbers.knobs.get('wide'), 2 ** 60)
})

test('programs see this thread, and their events arrive', { skip }, async (t) => {
  const object = await watching(t)
  object.globals.set('calls', 0)
  const ring = object.ringBuffer<Event>('events', { type: 'event' })
  const [first] = object.attach()
  t.equal(ring.available, 0)

  callParent(3)
  const seen: Event[] = []
  for await (const event of ring) {
    seen.push(event)
    if (seen.length === 3) break
  }
  t.strictSame(seen[0], {
    number: BigInt(GETPPID),
    // By a relocation: where task_struct has its leader and that its pid is found when it is loaded.
    pid: process.pid,
    argument: -7n,
    comm: seen[0].comm,
    bytes: Uint8Array.of(0xab, 0xab, 0xab, 0xab),
  })
  t.match(execFileSync('cat', [`/proc/${process.pid}/comm`], { encoding: 'utf8' }).trim(), seen[2].comm)
  t.equal(ring.available, 0, 'and no more')
  t.ok(object.globals.get<bigint>('calls') >= 3n)
  t.ok(object.globals.get<bigint>('raw_calls') >= 3n, 'the raw tracepoint too')
  t.ok(object.globals.get<bigint>('tracepoint_calls') >= 3n, 'and the plain one')

  first.close()
  t.equal(first.closed, true)
  callParent(2)
  t.equal(ring.available, 0, 'a program that was detached sends nothing')
  t.throws(() => first.fd, { code: 'EBADF' })
})

test('a ring is waited for without work, and iterations end', { skip }, async (t) => {
  const object = await watching(t)
  const ring = object.ringBuffer<Event>('events', { type: 'event', wide: 'number' })
  object.program('on_call').attach()

  const waiting = ring[Symbol.asyncIterator]()
  const pending = waiting.next()
  const before = process.cpuUsage()
  // No event comes: until a timer's end the process must sleep.
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const used = process.cpuUsage(before)
  t.ok(used.user + used.system < 500_000, `waiting costs nothing: ${used.user + used.system} us of 1,000,000`)
  callParent(1)
  t.equal((await pending).value!.number, GETPPID)

  const controller = new AbortController()
  const aborted = (async () => { for await (const _ of ring.records(controller.signal)); })()
  controller.abort()
  await t.rejects(aborted, { name: 'AbortError' })

  callParent(100)
  const numbers: number[] = []
  t.equal(ring.drain(({ number }) => numbers.push(Number(number)), 40), 40, 'as many as are wanted')
  t.equal(ring.drain(({ number }) => numbers.push(Number(number))), 60, 'and the rest')
  t.equal(new Set(numbers).size, 1)

  const ended = (async () => { for await (const _ of ring); return 'ended' })()
  object.close()
  t.equal(await ended, 'ended', 'closing the object ends the iteration')
  t.equal(ring.available, 0)
})

test('a full ring loses no event that was sent', { skip }, async (t) => {
  const object = await watching(t)
  const ring = object.ringBuffer('events')
  object.program('on_call').attach()
  // 64 KiB of 48 bytes with a header of 8, more than once around.
  callParent(5000)
  const room = Math.floor(65536 / (8 + 48))
  const sizes = new Set<number>()
  t.ok(Math.abs(ring.drain(({ length }) => sizes.add(length)) - room) <= 1, `${room} fit`)
  callParent(10)
  t.equal(ring.drain(({ length }) => sizes.add(length)), 10, 'and then there is room again')
  t.strictSame([...sizes], [48], 'without a type records are their bytes')
})

test('attachments of other kinds, and cookies', { skip }, async (t) => {
  const object = await watching(t)
  object.program('on_tracepoint').attach({ tracepoint: ['raw_syscalls', 'sys_enter'], cookie: 0x123456789an })
  callParent(1)
  t.equal(object.globals.get('cookie_seen'), 0x123456789an)

  const other = await watching(t)
  other.program('on_raw_call').attach({ rawTracepoint: 'sys_enter' })
  callParent(1)
  t.ok(other.globals.get<bigint>('raw_calls') >= 1n)
  t.throws(() => other.program('on_raw_call').attach({ rawTracepoint: 'no_such_tracepoint' }), { code: 'ENOENT' })

  const tid = native.threadId()
  const link = other.program('list_tasks').attach()
  t.equal(link.read(), `${process.pid} ${tid}\n`, 'an iterator prints')
  t.equal(link.read(), `${process.pid} ${tid}\n`, 'each time')
  const one = other.program('list_tasks').attach({ iterate: { tid } })
  t.equal(one.read(), `${process.pid} ${tid}\n`, 'an iterator over one task')
  const none = other.program('list_tasks').attach({ iterate: { tid: 1 } })
  t.equal(none.read(), '', 'over another one')
})

test('a program that is not loaded unasked is loaded when asked for', { skip }, async (t) => {
  const object = await open(t)
  object.knobs.set({ watched: native.threadId(), enabled: true })
  for (const program of object.programs) program.autoload = program.name === 'store'
  object.load()
  t.throws(() => object.program('on_call').fd, { name: 'BpfError' }, 'the others have no descriptor')
  t.equal(object.attach().length, 1)
})

test('what is pinned outlives the object, and can be opened again', { skip }, async (t) => {
  const folder = `/sys/fs/bpf/efuse-test-${process.pid}`
  try {
    mkdirSync(folder)
  } catch {
    t.equal(spawnSync('mount', ['-t', 'bpf', 'bpf', '/sys/fs/bpf']).status, 0, 'a BPF file system')
    t.teardown(() => spawnSync('umount', ['/sys/fs/bpf']))
    mkdirSync(folder)
  }
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const object = await watching(t)
  object.program('on_call').attach().pin(`${folder}/link`)
  object.map('.data').pin(`${folder}/data`)
  object.program('on_call').pin(`${folder}/program`)
  t.throws(() => object.map('.data').pin(`${folder}/data`), { code: 'EEXIST' })
  t.throws(() => object.map('.data').pin('/tmp/efuse-no-bpf'), { name: 'BpfError' }, 'elsewhere nothing can be pinned')
  object.close()

  using map = BpfMap.open(`${folder}/data`)
  t.equal(map.type, 'array')
  const before = Buffer.from(map.get(0) as Uint8Array)
  callParent(5)
  t.notOk(before.equals(map.get(0) as Uint8Array), 'the program still counts')
  unpin(`${folder}/link`)
  t.throws(() => BpfMap.open(`${folder}/nothing`), { code: 'ENOENT' })
})

test('nothing is left when objects are closed', { skip }, async (t) => {
  // Descriptors that stay, such as the event loop's, are there now.
  await (await watching(t)).close()
  const before = descriptors()
  const object = await watching(t)
  object.attach()
  object.ringBuffer('events')
  object.map('.bss').memory()
  t.ok(descriptors() > before)
  object.close()
  object.close()
  t.equal(descriptors(), before)
  t.throws(() => object.load(), { code: 'EBADF' })
  t.throws(() => object.globals.get('calls'), { code: 'EBADF' })
  t.throws(() => object.settings('events').maxEntries, { code: 'EBADF' })
  t.throws(() => object.program('on_call').autoload, { code: 'EBADF' })
})
