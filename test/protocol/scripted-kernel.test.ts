// SPDX-License-Identifier: MIT
/** The kernel in memory: it refuses what Linux refuses, counts as Linux counts, and tells what leaks. */
import t from 'tap'
import { FuseOpcode, S_IFDIR, S_IFLNK, S_IFREG } from '../../src/protocol/index.js'
import type { FileSystem } from '../../src/fs/filesystem.js'
import { NotifierOver } from '../../src/fs/notifier.js'
import type { Notifier } from '../../src/fs/filesystem.js'
import { bytes, checkReply, ProtocolViolation, ScriptedKernel } from '../../src/testing/index.js'

const { u32, i32, u64, zeros, join } = bytes

t.test('replies that the kernel refuses', async (t) => {
  const reply = (payload: Uint8Array, { error = 0, len = 16 + payload.length, unique = 2n } = {}) => (
    join([u32(len), i32(error), u64(unique), payload])
  )
  const request = (name: keyof typeof FuseOpcode, body = zeros(64)) => ({ opcode: FuseOpcode[name], unique: 2n, nodeid: 1n, body })
  const entry = (mode: number, nodeid = 5n) => join([u64(nodeid), zeros(92), u32(mode), zeros(24)])
  const dirent = (name: string, namelen = name.length) => join([u64(1n), u64(1n), u32(namelen), u32(0), bytes.text(name)])
  const readBody = join([zeros(16), u32(4096), zeros(20)])
  const cases: [string, Parameters<typeof checkReply>[0], Uint8Array, RegExp][] = [
    ['no header', request('FUSE_ACCESS'), zeros(15), /no fuse_out_header/],
    ['a wrong length', request('FUSE_ACCESS'), reply(zeros(0), { len: 17 }), /header says 17/],
    ['a positive error', request('FUSE_ACCESS'), reply(zeros(0), { error: 2 }), /error 2/],
    ['an error of the kernel\'s own', request('FUSE_ACCESS'), reply(zeros(0), { error: -512 }), /error -512/],
    ['another request\'s unique', request('FUSE_ACCESS'), reply(zeros(0), { unique: 3n }), /unique 3/],
    ['an error with a payload', request('FUSE_ACCESS'), reply(zeros(8), { error: -2 }), /payload/],
    ['too much', request('FUSE_ACCESS'), reply(zeros(1)), /0 are the most/],
    ['too little', request('FUSE_GETATTR'), reply(zeros(8)), /104 are due/],
    ['a reply to a forget', request('FUSE_FORGET'), reply(zeros(0)), /a request that has none/],
    ['a mode without a type', request('FUSE_LOOKUP', bytes.cstring('a')), reply(entry(0o644)), /no valid file type/],
    ['the root as an entry', request('FUSE_LOOKUP', bytes.cstring('a')), reply(entry(S_IFDIR, 1n)), /the root/],
    ['nodeid 0 for what was made', request('FUSE_MKDIR'), reply(entry(S_IFDIR, 0n)), /nodeid 0/],
    ['a file where a directory was made', request('FUSE_MKDIR'), reply(entry(S_IFREG)), /file type/],
    ['more written than given', request('FUSE_WRITE'), reply(join([u32(5), u32(0)])), /more written/],
    ['more read than asked for', request('FUSE_READ', readBody), reply(zeros(4097)), /4096 are the most/],
    ['an empty name', request('FUSE_READDIR', readBody), reply(dirent('')), /a name of 0 bytes/],
    ['a slash', request('FUSE_READDIR', readBody), reply(dirent('a/b-c/d/')), /slash/],
    ['half a record', request('FUSE_READDIR', readBody), reply(dirent('abc').subarray(0, 25)), /inside a record/],
    ['a list without its last NUL', request('FUSE_LISTXATTR', u32(100)), reply(bytes.text('user.a')), /last NUL/],
    ['an empty name in a list', request('FUSE_LISTXATTR', u32(100)), reply(bytes.text('user.a\0\0')), /empty name/],
  ]
  for (const [name, sent, answer, rule] of cases) {
    t.throws(() => checkReply(sent, answer), { name: 'ProtocolViolation', message: rule }, name)
  }
})

t.test('look-ups are counted until they are forgotten', async (t) => {
  const forgotten = new Map<number, number>()
  const kernel = await ScriptedKernel.start({
    lookup: () => ({ nodeid: 5, attr: { mode: S_IFREG } }),
    readdirplus: () => [{ name: '.' }, { name: 'f', entry: { nodeid: 5, attr: { mode: S_IFREG } } }, { name: 'g' }],
    opendir: () => ({}),
    forget: ({ nodeid, nlookup }) => { forgotten.set(nodeid, (forgotten.get(nodeid) ?? 0) + nlookup) },
  })
  await kernel.lookup(1, 'a')
  await kernel.lookup(1, 'b')
  await kernel.readdirplus(1, 0)
  t.equal(kernel.lookupCount(5), 3n)
  await kernel.forget(5, 1)
  t.equal(kernel.lookupCount(5), 2n)
  await t.rejects(kernel.forget(5, 3), RangeError, 'no more than there are')
  await kernel.shutdown()
  t.same([...forgotten], [[5, 3]])
  t.equal(kernel.knownCount, 1)
})

t.test('an inode that changes its type under a kernel that knows it', async (t) => {
  let mode = S_IFREG
  const kernel = await ScriptedKernel.start({ lookup: () => ({ nodeid: 5, attr: { mode } }), getattr: () => ({ mode }) })
  await kernel.lookup(1, 'a')
  mode = S_IFLNK
  await t.rejects(kernel.getattr(5), ProtocolViolation)
  await t.rejects(kernel.lookup(1, 'a'), ProtocolViolation)
})

t.test('open files are counted', async (t) => {
  const kernel = await ScriptedKernel.start({
    open: () => ({ fh: 7 }), release: () => {}, create: () => ({ entry: { nodeid: 9, attr: { mode: S_IFREG } }, open: { fh: 2n ** 60n } }),
  })
  const { fh } = await kernel.open(5)
  const { open } = await kernel.create(1, 'new')
  t.equal(open.fh, 2n ** 60n, 'handles are exact')
  t.equal(kernel.openCount, 2)
  await kernel.release(5, fh)
  t.equal(kernel.openCount, 1)
})

t.test('paths: what system calls make of a file system that lacks open, create and opendir', async (t) => {
  let content = new Uint8Array(0)
  let made = false
  const attr = () => ({ mode: S_IFREG | 0o644, size: content.length })
  const fileSystem: FileSystem = {
    lookup: (request) => (request.name === 'file' && made ? { nodeid: 2, attr: attr() } : null),
    getattr: (request) => (request.nodeid === 1 ? { mode: S_IFDIR | 0o755 } : attr()),
    mknod: () => {
      made = true
      return { nodeid: 2, attr: attr() }
    },
    read: ({ offset, size }) => content.slice(offset, offset + size),
    write: (request) => {
      const grown = new Uint8Array(Math.max(content.length, request.offset + request.size))
      grown.set(content)
      grown.set(request.data, request.offset)
      content = grown
      return request.size
    },
    readdir: () => [{ name: '.' }, { name: '..' }, ...(made ? [{ name: 'file' }] : [])],
  }
  const kernel = await ScriptedKernel.start(fileSystem)
  t.notOk(await kernel.paths.exists('/file'))
  t.equal(await kernel.paths.writeFile('/file', 'hello'), 2)
  t.equal(await kernel.paths.readText('/file'), 'hello')
  t.same(await kernel.paths.readdir('/'), ['file'])
  t.equal(await kernel.path('/file'), 2)
  await t.rejects(kernel.path('/none'), { code: 'ENOENT' })
  t.match(await kernel.paths.stat('/file'), { size: 5, mode: S_IFREG | 0o644 })
})

t.test('the caller', async (t) => {
  const seen: unknown[] = []
  const kernel = await ScriptedKernel.start({
    mkdir(request) {
      seen.push(request.uid, request.gid, request.pid, request.supplementaryGroup, request.securityContexts)
      return { nodeid: 2, attr: { mode: S_IFDIR } }
    },
  }, { uid: 1000, gid: 100, pid: 42 })
  await kernel.mkdir(1, 'odd', 0o755)
  await kernel.mkdir(1, 'name', 0o755, { uid: 5, gid: 6, pid: 7, group: 8, securityContexts: { 'security.a': bytes.text('label') } })
  t.same(seen, [1000, 100, 42, -1, new Map(), 5, 6, 7, 8, new Map([['security.a', bytes.text('label')]])])
})

t.test('notifications reach the kernel', async (t) => {
  let notify!: Notifier
  const kernel = await ScriptedKernel.start({ init(connection) { notify = connection.notify } }, {
    cached: (_nodeid, offset, size) => bytes.text('cached data').subarray(Number(offset), Number(offset) + size),
  })
  await notify.invalInode(5)
  await notify.invalInode(5, -1)
  await notify.invalEntry(1, 'näme', true)
  await notify.delete(1, 5, 'gone')
  await notify.store(5, 4096, Uint8Array.of(1, 2))
  await notify.poll(77)
  await notify.resend()
  await notify.incEpoch()
  await notify.prune([5, 6])
  t.same(kernel.notifications.map(({ code }) => code), [
    'FUSE_NOTIFY_INVAL_INODE', 'FUSE_NOTIFY_INVAL_INODE', 'FUSE_NOTIFY_INVAL_ENTRY', 'FUSE_NOTIFY_DELETE', 'FUSE_NOTIFY_STORE',
    'FUSE_NOTIFY_POLL', 'FUSE_NOTIFY_RESEND', 'FUSE_NOTIFY_INC_EPOCH', 'FUSE_NOTIFY_PRUNE',
  ])
  t.match(kernel.notifications[1].fields, { ino: 5n, off: -1n })
  t.same(kernel.notifications[2].tail, bytes.cstring('näme'))
  const both = await Promise.all([notify.retrieve(5, 7, 4), notify.retrieve(5, 0, 6)])
  t.same(both.map((data) => Buffer.from(data).toString()), ['data', 'cached'])
})

t.test('a notification that can\'t be sent fails, and a retrieve is not waited for', async (t) => {
  const notifier = new NotifierOver(() => Promise.reject(Object.assign(new Error('ENOENT'), { code: 'ENOENT' })))
  await t.rejects(notifier.invalInode(5), { code: 'ENOENT' })
  await t.rejects(notifier.retrieve(5, 0, 10), { code: 'ENOENT' })
  await t.rejects(notifier.invalInode(NaN), RangeError)
  t.equal(notifier.pendingCount, 0)
})

t.test('a retrieve may be answered through another worker, or never', async (t) => {
  const notifier = new NotifierOver(async () => {}, 1000)
  const data = notifier.retrieve(5, 0, 10)
  const lost = notifier.retrieve(5, 0, 10)
  t.notOk(notifier.deliver(1, Uint8Array.of(1)), 'not one of ours')
  t.ok(notifier.deliver(1000, Uint8Array.of(1, 2)))
  t.same(await data, Uint8Array.of(1, 2))
  notifier.abandon()
  await t.rejects(lost, { code: 'ENOTCONN' })
})
