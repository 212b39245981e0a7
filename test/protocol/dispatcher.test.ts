// SPDX-License-Identifier: MIT
/** The dispatcher: what becomes of each kind of answer, and of requests that are about the protocol itself. */
import { constants } from 'node:os'
import t from 'tap'
import { FUSE_UNIQUE_RESEND_HIGH, FuseOpcode, S_IFDIR, S_IFREG } from '../../src/protocol/index.js'
import { Dispatcher } from '../../src/fs/dispatch.js'
import { FuseError } from '../../src/fs/errors.js'
import type { FileSystem } from '../../src/fs/filesystem.js'
import { bytes, ScriptedKernel } from '../../src/testing/index.js'

const { ENOENT, ENOSYS } = constants.errno
const ATTR = { mode: S_IFDIR | 0o755 }

/** What a getattr that answers like this is answered with: an errno's name, or 'ok'. */
async function outcomeOf(getattr: () => unknown): Promise<string> {
  const kernel = await ScriptedKernel.start({ getattr } as FileSystem)
  return kernel.getattr(1).then(() => 'ok', (error: FuseError) => error.code)
}

t.test('an answer', async (t) => {
  t.equal(await outcomeOf(() => ATTR), 'ok', 'a value')
  t.equal(await outcomeOf(async () => ATTR), 'ok', 'a promise of a value')
  t.equal(await outcomeOf(() => -ENOENT), 'ENOENT', 'a negated errno')
  t.equal(await outcomeOf(async () => -ENOENT), 'ENOENT', 'a promise of one')
  t.equal(await outcomeOf(() => { throw new FuseError('ENOTDIR') }), 'ENOTDIR', 'a FuseError')
  t.equal(await outcomeOf(async () => { throw new FuseError('ENOTDIR') }), 'ENOTDIR', 'a rejection with one')
  t.equal(await outcomeOf(() => { throw Object.assign(new Error(), { code: 'EACCES', errno: -13 }) }), 'EACCES', 'an error of Node\'s')
  t.equal(await outcomeOf(() => { throw Object.assign(new Error(), { name: 'AbortError' }) }), 'EINTR', 'an AbortError')
  t.equal(await outcomeOf(() => ({ then: (resolve: (value: unknown) => void) => resolve(ATTR) })), 'ok', 'any thenable')
})

t.test('what is no answer becomes EIO', async (t) => {
  const nonsense: [string, () => unknown][] = [
    ['a bug', () => { throw new TypeError('undefined is not a function') }],
    ['a bug, later', async () => { throw new TypeError('undefined is not a function') }],
    ['a throw of nothing', () => { throw undefined }],
    ['a throw of what throws', () => { throw { get code() { throw new Error() } } }],
    ['a fraction of an errno', () => -0.5],
    ['an errno out of range', () => -512],
    ['minus infinity', () => -Infinity],
    ['a mode without a type', () => ({ mode: 0o644 })],
    ['a negative size', () => ({ mode: S_IFREG, size: -1 })],
    ['a thenable whose then throws', () => ({ get then() { throw new Error() } })],
    ['null', () => null],
    ['a symbol', () => Symbol('attr')],
  ]
  for (const [name, getattr] of nonsense) t.equal(await outcomeOf(getattr), 'EIO', name)
})

t.test('a bug is reported, an error that was meant is not', async (t) => {
  const reported: string[] = []
  const kernel = await ScriptedKernel.start({
    getattr() { throw new TypeError('a bug') },
    lookup() { throw new FuseError('ENOENT') },
    forget() { throw new Error('in forget') },
  }, { dispatch: { onHandlerError: (error, operation) => { reported.push(`${operation}: ${String(error)}`) } } })
  await t.rejects(kernel.getattr(1))
  await t.rejects(kernel.lookup(1, 'a'))
  await kernel.raw(FuseOpcode.FUSE_FORGET, 5, bytes.u64(1n))
  t.same(reported, ['FUSE_GETATTR: TypeError: a bug', 'FUSE_FORGET: Error: in forget'])
})

t.test('a request that no method serves is answered ENOSYS', async (t) => {
  const kernel = await ScriptedKernel.start({})
  for (const opcode of [0, 7, 19, 54, 63, 64, 4096, 0xffffffff]) {
    t.equal((await kernel.raw(opcode, 1, new Uint8Array(64))).errno, ENOSYS, `opcode ${opcode}`)
  }
  t.equal((await kernel.raw(FuseOpcode.FUSE_GETATTR, 1, new Uint8Array(16))).errno, ENOSYS)
})

t.test('statfs has an answer even where the file system has none', async (t) => {
  const kernel = await ScriptedKernel.start({})
  t.match(await kernel.statfs(), { namelen: 255n, bsize: 4096n })
})

t.test('hundreds of answers may be pending, and come in any order', async (t) => {
  const waiting: (() => void)[] = []
  const kernel = await ScriptedKernel.start({
    async read(request) {
      const { offset } = request
      await new Promise<void>((resolve) => waiting.push(resolve))
      return `answer ${offset}`
    },
  })
  const answers = Array.from({ length: 300 }, (_, index) => kernel.read(2, 0, index, 100))
  t.equal(kernel.dispatcher.pendingCount, 300)
  for (const resolve of waiting.reverse()) resolve()
  const texts = (await Promise.all(answers)).map((answer) => Buffer.from(answer).toString())
  t.same(texts, Array.from({ length: 300 }, (_, index) => `answer ${index}`))
  t.equal(kernel.dispatcher.pendingCount, 0)
})

t.test('an interrupt fires the signal of its request, and of no other', async (t) => {
  const signals: AbortSignal[] = []
  const kernel = await ScriptedKernel.start({
    setlkw(request) {
      const { signal } = request
      signals.push(signal)
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(new FuseError('EINTR')))
      })
    },
  })
  const caller = new AbortController()
  const first = kernel.setlk(2, 1, 1, { type: 1 }, true, { signal: caller.signal })
  const second = kernel.setlk(2, 1, 2, { type: 1 }, true)
  second.catch(() => {})
  caller.abort()
  await t.rejects(first, { code: 'EINTR' })
  t.same(signals.map(({ aborted }) => aborted), [true, false])
  t.equal(kernel.dispatcher.pendingCount, 1, 'the other goes on waiting')
})

t.test('a handler that never looks at its signal is interrupted all the same when it does', async (t) => {
  let release!: () => void
  let aborted: boolean | undefined
  const kernel = await ScriptedKernel.start({
    async read(request) {
      await new Promise<void>((resolve) => { release = resolve })
      aborted = request.signal.aborted
      return ''
    },
  })
  const caller = new AbortController()
  const reading = kernel.read(2, 0, 0, 10, { signal: caller.signal })
  caller.abort()
  release()
  await reading
  t.equal(aborted, true)
})

t.test('an interrupt for a request that is not here is passed on', async (t) => {
  const foreign: number[] = []
  const kernel = await ScriptedKernel.start({}, { dispatch: { onForeignInterrupt: (unique) => { foreign.push(unique) } } })
  kernel.interrupt(0x1234567890n)
  t.same(foreign, [0x1234567890])
})

t.test('requests sent again (bit 63 of unique set) are each answered', async (t) => {
  const releases: (() => void)[] = []
  const kernel = new ScriptedKernel({
    read: (request) => new Promise((resolve) => releases.push(() => resolve(`${request.offset}`))),
  })
  await kernel.init()
  const resent = [2, 4, 6].map((unique) => kernel.deliver(bytes.join([
    bytes.u32(80), bytes.u32(FuseOpcode.FUSE_READ), bytes.u32(unique), bytes.u32(FUSE_UNIQUE_RESEND_HIGH), bytes.u64(1n),
    bytes.zeros(16), bytes.u64(0n), bytes.u64(BigInt(unique)), bytes.u32(10), bytes.zeros(20),
  ])))
  t.equal(kernel.dispatcher.pendingCount, 3)
  for (const release of releases) release()
  const replies = await Promise.all(resent)
  t.same(replies.map((reply) => Buffer.from(reply.subarray(16)).toString()), ['2', '4', '6'])
})

t.test('forgets reach the file system, one by one or in batches, and a failure spoils no other', async (t) => {
  const forgotten: [number, number][] = []
  const kernel = await ScriptedKernel.start({
    lookup: (request) => ({ nodeid: Number(request.name), attr: { mode: S_IFREG } }),
    forget(request) {
      forgotten.push([request.nodeid, request.nlookup])
      if (request.nodeid === 11) throw new Error('a bug')
    },
  })
  for (const name of ['10', '11', '11', '12']) await kernel.lookup(1, name)
  await kernel.forget(10)
  await kernel.batchForget([[11, 2], [12, 1]])
  t.same(forgotten, [[10, 1], [11, 2], [12, 1]])
  t.equal(kernel.knownCount, 1)
})

t.test('a forget that is asynchronous, and fails, hurts nobody', async (t) => {
  const errors: unknown[] = []
  const fileSystem = { async forget() { throw new Error('late') } } as unknown as FileSystem
  const kernel = await ScriptedKernel.start(fileSystem, { dispatch: { onHandlerError: (error) => { errors.push(error) } } })
  await kernel.raw(FuseOpcode.FUSE_FORGET, 5, bytes.u64(1n))
  await new Promise(setImmediate)
  t.match(errors, [{ message: 'late' }])
})

t.test('destroy is called once, and waited for', async (t) => {
  let calls = 0
  const kernel = await ScriptedKernel.start({ async destroy() { calls++ } })
  await kernel.shutdown()
  await kernel.dispatcher.destroy()
  t.equal(calls, 1)
})

t.test('when the connection is gone, signals fire and nothing is answered', async (t) => {
  const kernel = await ScriptedKernel.start({
    read: (request) => new Promise((_, reject) => request.signal.addEventListener('abort', () => reject(new FuseError('EINTR')))),
  })
  let answered = false
  void kernel.read(2, 0, 0, 10).finally(() => { answered = true }).catch(() => {})
  kernel.dispatcher.abandon()
  t.equal(kernel.dispatcher.pendingCount, 0)
  await new Promise(setImmediate)
  t.notOk(answered)
})

t.test('time-outs of entries and attributes are the mount\'s unless the answer has its own', async (t) => {
  const validity = {
    entrySeconds: 7, entryNanoseconds: 1, attrSeconds: 8, attrNanoseconds: 2, negativeSeconds: 9, negativeNanoseconds: 3,
  }
  const kernel = await ScriptedKernel.start({
    lookup(request) {
      if (request.name === 'none') return null
      const entry = { nodeid: 5, attr: { mode: S_IFREG } }
      return request.name === 'own' ? { ...entry, entryTimeout: 0.5, attrTimeout: Infinity } : entry
    },
  }, { dispatch: { validity } })
  t.match(await kernel.lookup(1, 'usual'), { entryTimeout: 7.000000001, attrTimeout: 8.000000002 })
  t.match(await kernel.lookup(1, 'own'), { entryTimeout: 0.5, attrTimeout: 0x7fffffff })
  t.match(await kernel.lookup(1, 'none'), { nodeid: 0, entryTimeout: 9.000000003 })
})

t.test('counters count requests and errors', async (t) => {
  const kernel = await ScriptedKernel.start({ getattr: () => ATTR, lookup: () => -ENOENT })
  await kernel.getattr(1)
  await kernel.getattr(1)
  await t.rejects(kernel.lookup(1, 'x'))
  const { counters } = kernel.dispatcher
  const { OperationCounters } = await import('../../src/fs/counters.js')
  t.match(OperationCounters.total([counters]), {
    FUSE_INIT: { count: 1, errors: 0 }, FUSE_GETATTR: { count: 2, errors: 0 }, FUSE_LOOKUP: { count: 1, errors: 1 },
  })
})

t.test('without a kernel, notifications fail', async (t) => {
  let notified: Promise<void> | undefined
  const dispatcher = new Dispatcher({ init(connection) { notified = connection.notify.invalInode(1) } })
  await dispatcher.adopt()
  await t.rejects(notified!, { code: 'ENOTCONN' })
  t.equal(dispatcher.interrupt(2), false)
})
