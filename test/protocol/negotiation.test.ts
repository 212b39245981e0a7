// SPDX-License-Identifier: MIT
/** FUSE_INIT: every version and offer of a kernel gets a reply that takes only what was offered and is honoured. */
import t from 'tap'
import { FuseInitFlag, Negotiation, type FuseInitFlagName } from '../../src/protocol/index.js'
import type { FileSystem } from '../../src/fs/filesystem.js'
import { ScriptedKernel, type ScriptedKernelOptions } from '../../src/testing/index.js'

const bit = (flag: FuseInitFlagName) => 1n << BigInt(FuseInitFlag[flag])
const ALL = Object.values(FuseInitFlag).reduce((all, flag) => all | (1n << BigInt(flag)), 0n)

/** What was taken in answer to an offer. */
async function negotiate(fileSystem: FileSystem, options: ScriptedKernelOptions) {
  const kernel = new ScriptedKernel(fileSystem, options)
  const out = await kernel.init()
  const negotiation = await kernel.dispatcher.initialized
  const taken = out.flags | (out.flags2 << 32n)
  return { out, negotiation, has: (flag: FuseInitFlagName) => (taken & bit(flag)) !== 0n, taken }
}

for (let minor = 31; minor <= 46; minor++) {
  t.test(`a kernel of 7.${minor}`, async (t) => {
    const { out, negotiation, has, taken } = await negotiate({}, { minor })
    t.equal(out.major, 7n)
    t.equal(out.minor, 46n)
    t.equal(negotiation.minor, minor, 'the smaller minor is used')
    t.ok(has('FUSE_MAX_PAGES'))
    t.equal(has('FUSE_HAS_RESEND'), minor >= 36, 'the upper flags only where there is room for them')
    if (minor < 36) t.equal(taken >> 32n, 0n)
  })
}

t.test('a kernel that is newer is spoken to in our minor', async (t) => {
  const kernel = new ScriptedKernel({})
  await kernel.init({ minor: 99 })
  t.equal((await kernel.dispatcher.initialized).minor, 46)
})

t.test('a kernel of a newer major is asked to come back with 7', async (t) => {
  const kernel = new ScriptedKernel({})
  t.equal((await kernel.init({ major: 8 })).major, 7n)
  await kernel.init()
  t.equal((await kernel.dispatcher.initialized).minor, 46, 'the second INIT is the one that counts')
})

for (const version of [{ major: 6, minor: 46 }, { major: 7, minor: 30 }, { major: 7, minor: 0 }, { major: 0, minor: 0 }]) {
  t.test(`a kernel of ${version.major}.${version.minor} is refused`, async (t) => {
    const kernel = new ScriptedKernel({})
    await t.rejects(kernel.init(version), { name: 'FuseError', code: 'EPROTO' })
    await t.rejects(kernel.dispatcher.initialized, { name: 'UnsupportedProtocolError' })
  })
}

t.test('an offer without FUSE_INIT_EXT has no upper flags', async (t) => {
  const { out, has } = await negotiate({}, { flags: ALL & ~bit('FUSE_INIT_EXT') })
  t.equal(out.flags2, 0n)
  t.notOk(has('FUSE_INIT_EXT'))
})

t.test('nothing is taken that is not offered', async (t) => {
  const { taken } = await negotiate({
    init: (connection) => { for (const flag of Object.keys(FuseInitFlag)) connection.want(flag as FuseInitFlagName) },
  }, { flags: 0n })
  t.equal(taken, 0n)
})

t.test('nothing is taken that is not honoured', async (t) => {
  const promises: FuseInitFlagName[] = [
    'FUSE_POSIX_LOCKS', 'FUSE_FLOCK_LOCKS', 'FUSE_ATOMIC_O_TRUNC', 'FUSE_EXPORT_SUPPORT', 'FUSE_DONT_MASK', 'FUSE_SPLICE_WRITE',
    'FUSE_SPLICE_MOVE', 'FUSE_SPLICE_READ', 'FUSE_DO_READDIRPLUS', 'FUSE_WRITEBACK_CACHE', 'FUSE_HANDLE_KILLPRIV',
    'FUSE_HANDLE_KILLPRIV_V2', 'FUSE_POSIX_ACL', 'FUSE_CACHE_SYMLINKS', 'FUSE_EXPLICIT_INVAL_DATA', 'FUSE_MAP_ALIGNMENT',
    'FUSE_SUBMOUNTS', 'FUSE_SECURITY_CTX', 'FUSE_HAS_INODE_DAX', 'FUSE_PASSTHROUGH', 'FUSE_NO_EXPORT_SUPPORT', 'FUSE_ALLOW_IDMAP',
    'FUSE_OVER_IO_URING', 'FUSE_REQUEST_TIMEOUT', 'FUSE_HAS_IO_URING_BUFPOOL', 'FUSE_FILE_OPS',
  ]
  const { has } = await negotiate({}, {})
  for (const flag of promises) t.notOk(has(flag), flag)
})

t.test('a capability is taken with the methods that serve it', async (t) => {
  const plain = await negotiate({ readdir: () => [] }, {})
  t.notOk(plain.has('FUSE_DO_READDIRPLUS'))
  const plus = await negotiate({ readdir: () => [], readdirplus: () => [], getlk: () => ({ type: 2 }), setlk: () => {} }, {})
  t.ok(plus.has('FUSE_DO_READDIRPLUS'))
  t.ok(plus.has('FUSE_POSIX_LOCKS'))
  t.ok(plus.has('FUSE_FLOCK_LOCKS'))
})

t.test('the file system asks, declines and sees', async (t) => {
  let offered = true
  const { has, out } = await negotiate({
    async init(connection) {
      offered = connection.offers('FUSE_PASSTHROUGH')
      connection.want('FUSE_WRITEBACK_CACHE')
      connection.want('FUSE_PASSTHROUGH')
      connection.refuse('FUSE_ASYNC_READ')
      connection.maxBackground = 12
      connection.maxReadahead = 4096
      connection.timeGranularity = 1000
    },
  }, { flags: ALL & ~bit('FUSE_PASSTHROUGH') })
  t.notOk(offered)
  t.ok(has('FUSE_WRITEBACK_CACHE'))
  t.notOk(has('FUSE_PASSTHROUGH'))
  t.notOk(has('FUSE_ASYNC_READ'))
  t.match(out, { max_background: 12n, congestion_threshold: 9n, max_readahead: 4096n, time_gran: 1000n, max_stack_depth: 0n })
})

t.test('mount options have their say before and after the file system', async (t) => {
  const order: string[] = []
  const kernel = new ScriptedKernel({ init() { order.push('file system') } }, {
    dispatch: { prepare: () => { order.push('prepare') }, conclude: () => { order.push('conclude') } },
  })
  await kernel.init()
  t.same(order, ['prepare', 'file system', 'conclude'])
})

t.test('the size of writes', async (t) => {
  for (const [pages, flags, maxWrite, maxPages] of [
    [1, ALL, 4096n, 1n],
    [32, ALL, 131072n, 32n],
    [256, ALL, 1048576n, 256n],
    [256, ALL & ~bit('FUSE_MAX_PAGES'), 131072n, 0n],
  ] as const) {
    const { out } = await negotiate({}, { maxPages: pages, flags })
    t.equal(out.max_write, maxWrite, `${pages} pages`)
    t.equal(out.max_pages, maxPages)
  }
  const { out } = await negotiate({ init(connection) { connection.maxWrite = 10000 } }, {})
  t.equal(out.max_write, 10000n, 'a file system may lower it')
  t.equal(out.max_pages, 3n)
  const greedy = await negotiate({ init(connection) { connection.maxWrite = 1 << 30 } }, { maxPages: 16 })
  t.equal(greedy.out.max_write, 65536n, 'and not raise it')
})

t.test('an init that fails fails the mount', async (t) => {
  for (const init of [() => { throw new Error('no') }, async () => { throw new Error('no') }]) {
    const kernel = new ScriptedKernel({ init })
    await t.rejects(kernel.init(), { code: 'EIO' })
    await t.rejects(kernel.dispatcher.initialized, /no/)
  }
})

t.test('workers take over what one of them has negotiated', async (t) => {
  const { negotiation } = await negotiate({}, { minor: 40 })
  const taken = Negotiation.from(structuredClone(negotiation.agree()))
  t.same(taken.agree(), negotiation.agree())
  t.equal(taken.minor, 40)
  t.ok(taken.setxattrExt)
  t.ok(taken.has('FUSE_MAX_PAGES'))
  t.notOk(taken.has('FUSE_WRITEBACK_CACHE'))
})
