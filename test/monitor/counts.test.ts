// SPDX-License-Identifier: MIT
/**
 * The monitor's figures are exactly what was asked: of two mounts at the same time, kept apart, over both channels,
 * and whatever becomes of requests: interrupted, begun before it came, aborted, more than there is room for.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Monitor } from '../../src/bpf/monitor.js'
import { BUCKET_BOUNDS } from '../../src/fs/latency.js'
import { connectionOf } from '../../src/mount/load.js'
import { skip } from '../mount/support.js'
import {
  countsOf, efuse, mountBindfs, mountSlow, mountStackFs, run, runClient, said, startClient, until,
} from './support.js'

if (skip) t.plan(0, skip)
t.setTimeout(300_000)

const URING = '/sys/module/fuse/parameters/enable_uring'

/** What the kernel sends of its own accord, or not as a request. */
const NOT_TRACED = new Set(['FUSE_FORGET', 'FUSE_BATCH_FORGET', 'FUSE_INTERRUPT', 'FUSE_INIT'])

async function serverCounts(mountpoint: string): Promise<Record<string, { count: number; errors: number }>> {
  const { operations } = JSON.parse((await efuse('stat', mountpoint, '--json')).stdout) as {
    operations: Record<string, { count: number; errors: number }>
  }
  return Object.fromEntries(Object.entries(operations).filter(([name]) => !NOT_TRACED.has(name))
    .map(([name, { count, errors }]) => [name, { count, errors }]))
}

/** Counts of the later account, less those of the earlier. */
function less(now: Awaited<ReturnType<typeof serverCounts>>, before: typeof now): typeof now {
  return Object.fromEntries(Object.entries(now).map(([name, { count, errors }]): [string, { count: number; errors: number }] => {
    return [name, { count: count - (before[name]?.count ?? 0), errors: errors - (before[name]?.errors ?? 0) }]
  }).filter(([, { count }]) => count > 0))
}

/** Makes directories, files with blocks written and read past the cache, and asks for what is not there. */
const load = ({ directories, blocks, absent }: { directories: number; blocks: number; absent: number }) => `
  const { O_RDWR, O_CREAT, O_DIRECT } = fs.constants
  for (let i = 0; i < ${directories}; i++) fs.mkdirSync(at + '/d' + i)
  const fd = fs.openSync(at + '/file', O_RDWR | O_CREAT | O_DIRECT)
  const block = Buffer.alloc(4096, 7)
  for (let i = 0; i < ${blocks}; i++) fs.writeSync(fd, block, 0, 4096, i * 4096)
  for (let i = 0; i < ${blocks}; i++) fs.readSync(fd, block, 0, 4096, i * 4096)
  fs.fsyncSync(fd)
  fs.closeSync(fd)
  for (let i = 0; i < ${absent}; i++) {
    try {
      fs.rmdirSync(at + '/absent' + i)
    } catch {}
  }
  for (let i = 0; i < ${directories}; i++) fs.rmdirSync(at + '/d' + i)`

/** The part of what that sends which does not depend on who serves. */
const expected = ({ directories, blocks }: Parameters<typeof load>[0]) => ({
  FUSE_MKDIR: { count: directories, errors: 0 },
  FUSE_RMDIR: { count: directories, errors: 0 },
  FUSE_WRITE: { count: blocks, errors: 0 },
  FUSE_READ: { count: blocks, errors: 0 },
  FUSE_FSYNC: { count: 1, errors: 0 },
  FUSE_CREATE: { count: 1, errors: 0 },
  FUSE_RELEASE: { count: 1, errors: 0 },
})

for (const rings of ['dev', 'uring'] as const) {
  t.test(`two mounts at the same time, each its own counts, over ${rings}`, async (t) => {
    if (rings === 'uring') {
      if (!existsSync(URING)) {
        t.equal(process.env.CI, undefined, 'CI has a kernel with FUSE over io_uring')
        return
      }
      const before = readFileSync(URING, 'ascii')
      writeFileSync(URING, '1')
      t.teardown(() => writeFileSync(URING, before))
    }
    const stackfs = await mountStackFs(t, '--rings', rings, '--passthrough', 'off')
    const bindfs = await mountBindfs(t)
    using monitor = await Monitor.open({ timing: 'all' })
    monitor.watch(stackfs.device)
    monitor.watch(bindfs.device)
    const before = await serverCounts(stackfs.mountpoint)

    const ours = { directories: 200, blocks: 300, absent: 50 }
    const theirs = { directories: 130, blocks: 70, absent: 20 }
    await Promise.all([
      runClient(stackfs.mountpoint, load(ours)),
      runClient(bindfs.mountpoint, load(theirs)),
      runClient(bindfs.mountpoint, `for (let i = 0; i < 500; i++) fs.statSync(at)`),
    ])
    // A release is sent when the file is closed, and waited for by nobody.
    await until(() => monitor.read(stackfs.device).operations.FUSE_RELEASE?.requests === 1
      && monitor.read(bindfs.device).operations.FUSE_RELEASE?.requests === 1)

    const seen = monitor.read(stackfs.device)
    t.match(countsOf(seen), expected(ours))
    t.strictSame(countsOf(seen), less(await serverCounts(stackfs.mountpoint), before), 'just what the server counted')
    t.equal(seen.operations.FUSE_LOOKUP.errors >= ours.absent, true, 'names that are not there are errors')
    t.equal(seen.operations.FUSE_READ.bytesOut, ours.blocks * 4096)
    t.equal(seen.operations.FUSE_WRITE.bytesIn, ours.blocks * (4096 + 40), 'a block and a fuse_write_in each')
    t.strictSame(seen.flights, [])
    t.equal(seen.interrupted, 0)
    const total = Object.values(seen.operations).reduce((sum, { requests }) => sum + requests, 0)
    t.equal(seen.cpus.reduce((sum, { requests }) => sum + requests, 0), total, 'each request ended on one CPU')
    t.equal(seen.makers.reduce((sum, { requests }) => sum + requests, 0), total, 'and had one maker')
    for (const [name, { requests, times }] of Object.entries(seen.operations)) {
      t.equal(times.timed, requests, `${name}: all are timed`)
      t.equal(times.buckets.reduce((sum, count) => sum + count, 0), requests)
    }

    const other = monitor.read(bindfs.device)
    t.match(countsOf(other), expected(theirs))
    t.ok(other.operations.FUSE_GETATTR.requests >= 500)
    t.strictSame(other.flights, [])
  })
}

t.test('FORGETs and notifications are no requests, and disturb none', async (t) => {
  const at = await mountStackFs(t)
  using monitor = await Monitor.open({ timing: 'all' })
  monitor.watch(at.device)
  const before = await serverCounts(at.mountpoint)
  await runClient(at.mountpoint, `
    for (let i = 0; i < 500; i++) fs.writeFileSync(at + '/f' + i, 'x')
    for (let i = 0; i < 500; i++) fs.unlinkSync(at + '/f' + i)`)
  await until(() => monitor.read(at.device).operations.FUSE_RELEASE?.requests === 500)
  const { server } = JSON.parse((await efuse('stat', at.mountpoint, '--json')).stdout) as { server: { forgotten: number } }
  t.ok(server.forgotten > 0, 'inodes were forgotten')
  t.strictSame(countsOf(monitor.read(at.device)), less(await serverCounts(at.mountpoint), before))
  t.strictSame(monitor.read(at.device).flights, [])
})

t.test('a request that its killed process took back was none', async (t) => {
  const at = await mountBindfs(t)
  using monitor = await Monitor.open({ timing: 'all' })
  monitor.watch(at.device)
  at.server.kill('SIGSTOP')
  const client = startClient(at.mountpoint, 'fs.statSync(at)')
  await until(() => monitor.read(at.device).flights.length === 1)
  t.match(monitor.read(at.device).flights, [{ operation: 'FUSE_GETATTR', nodeid: 1n, process: client.pid! }])
  t.equal(readFileSync(`/sys/fs/fuse/connections/${connectionOf(at.device)}/waiting`, 'ascii'), '1\n')
  client.kill('SIGKILL')
  await until(() => monitor.read(at.device).interrupted === 1)
  t.strictSame(monitor.read(at.device).flights, [])
  t.strictSame(monitor.read(at.device).operations, {})
  at.server.kill('SIGCONT')
  await runClient(at.mountpoint, 'for (let i = 0; i < 100; i++) fs.statSync(at)')
  const { operations, flights, interrupted } = monitor.read(at.device)
  t.equal(operations.FUSE_GETATTR.requests, 100)
  t.equal(interrupted, 1)
  t.strictSame(flights, [])
})

t.test('a request that is with the server when its process is killed is counted when it is answered', async (t) => {
  const at = await mountSlow(t)
  using monitor = await Monitor.open({ timing: 'all' })
  monitor.watch(at.device)
  const client = startClient(at.mountpoint, `fs.statSync(at + '/1500')`)
  await until(() => monitor.read(at.device).flights.some(({ nodeid }) => nodeid === 1502n))
  // Before the server has it, a request goes with its process.
  await until(() => existsSync(join(at.directory, 'asked-1500')))
  client.kill('SIGKILL')
  const long = (): number => monitor.read(at.device).operations.FUSE_GETATTR.times.buckets
    .reduce((sum, count, bucket) => BUCKET_BOUNDS[bucket] > 1e9 ? sum + count : sum, 0)
  await until(() => long() === 1)
  t.equal(monitor.read(at.device).interrupted, 0)
  t.strictSame(monitor.read(at.device).flights, [])
})

t.test('requests that are under way when it comes or goes do no harm', async (t) => {
  const at = await mountBindfs(t)
  at.server.kill('SIGSTOP')
  const client = startClient(at.mountpoint, 'fs.statSync(at); print(1)')
  const waiting = () => readFileSync(`/sys/fs/fuse/connections/${connectionOf(at.device)}/waiting`, 'ascii')
  await until(() => waiting() === '1\n')
  using monitor = await Monitor.open({ timing: 'all' })
  monitor.watch(at.device)
  t.strictSame(monitor.read(at.device).flights, [])
  at.server.kill('SIGCONT')
  await said(client.stdout!, /1/)
  const { requests, times } = monitor.read(at.device).operations.FUSE_GETATTR
  t.strictSame([requests, times.timed], [1, 0], 'counted when it ended, not timed')

  at.server.kill('SIGSTOP')
  const next = startClient(at.mountpoint, 'fs.statSync(at); print(1)')
  await until(() => monitor.read(at.device).flights.length === 1)
  monitor.close()
  using later = await Monitor.open({ timing: 'all' })
  later.watch(at.device)
  at.server.kill('SIGCONT')
  await said(next.stdout!, /1/)
  await runClient(at.mountpoint, 'for (let i = 0; i < 9; i++) fs.statSync(at)')
  t.equal(later.read(at.device).operations.FUSE_GETATTR.requests, 10)
  t.equal(later.read(at.device).operations.FUSE_GETATTR.times.timed, 9)
})

t.test('an aborted connection ends its requests', async (t) => {
  const at = await mountBindfs(t)
  using monitor = await Monitor.open({ timing: 'all' })
  monitor.watch(at.device)
  at.server.kill('SIGSTOP')
  const clients = [1, 2, 3].map(() => startClient(at.mountpoint, 'try { fs.statSync(at) } catch { print(1) }'))
  await until(() => monitor.read(at.device).flights.length === 3)
  writeFileSync(`/sys/fs/fuse/connections/${connectionOf(at.device)}/abort`, '1')
  await Promise.all(clients.map((client) => said(client.stdout!, /1/)))
  const { operations, flights } = monitor.read(at.device)
  t.match(operations.FUSE_GETATTR, { requests: 3, errors: 3 })
  t.strictSame(flights, [])
  at.server.kill('SIGCONT')
})

t.test('what finds no room is counted all the same', async (t) => {
  const at = await mountSlow(t)
  using monitor = await Monitor.open({ flights: 4, makers: 4, timing: 'all' })
  monitor.watch(at.device)
  await Promise.all(Array.from({ length: 12 }, () => runClient(at.mountpoint, `
    for (let i = 0; i < 10; i++) fs.statSync(at + '/20')`)))
  const { requests, times } = monitor.read(at.device).operations.FUSE_GETATTR
  t.ok(requests >= 120)
  t.ok(times.timed > 0 && times.timed < requests, `${times.timed} of ${requests} could be timed`)
  t.ok(monitor.read(at.device).makers.length <= 4 * monitor.read(at.device).cpus.length + 4)
  t.strictSame(monitor.read(at.device).flights, [])
})

t.test('mounts come and go: each begins at 0', async (t) => {
  const make = (count: number, name = 'd') => `for (let i = 0; i < ${count}; i++) fs.mkdirSync(at + '/${name}' + i)`
  using monitor = await Monitor.open({ connections: 1, timing: 'all' })
  const first = await mountStackFs(t)
  monitor.watch(first.device)
  await runClient(first.mountpoint, make(20))
  t.equal(monitor.read(first.device).operations.FUSE_MKDIR.requests, 20)
  const second = await mountStackFs(t)
  t.throws(() => monitor.watch(second.device), RangeError)
  t.throws(() => monitor.read(second.device), RangeError)
  monitor.unwatch(first.device)
  monitor.watch(second.device)
  t.strictSame(monitor.read(second.device).operations, {})
  await runClient(first.mountpoint, make(1, 'x'))
  await runClient(second.mountpoint, make(7))
  t.equal(monitor.read(second.device).operations.FUSE_MKDIR.requests, 7)
})

t.test('stat tells of another program\'s mount, and of an eFuse mount by its server', async (t) => {
  const at = await mountBindfs(t)
  const watching = efuse('stat', at.mountpoint, '--json', '--seconds', '3')
  const client = startClient(at.mountpoint, 'for (;;) fs.statSync(at)')
  const { status, stdout } = await watching
  client.kill('SIGKILL')
  t.equal(status, 0)
  t.match(JSON.parse(stdout), {
    mountpoint: at.mountpoint, source: at.source, observer: 'kernel', seconds: 3,
    operations: { FUSE_GETATTR: { count: Number, errors: 0, latency: { meanNs: Number, p50Ns: Number, p99Ns: Number } } },
    kernel: { connection: connectionOf(at.device) },
  })
  t.match((await efuse('stat', at.mountpoint, '--seconds', '0.1')).stdout, /another program; watched for 0\.1 s/)
  t.equal((await run('stat', [at.mountpoint])).status, 0)
})
