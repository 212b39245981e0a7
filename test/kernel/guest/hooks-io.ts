// SPDX-License-Identifier: MIT
/** In the guest: hooks that read and write backing files, and those that choose io_uring queues. */
import { closeSync, existsSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { MemFS, type Connection } from '../../../src/index.js'
import { ControlClient, findServer } from '../../../src/mount/control.js'
import type { AttrReply, EntryReply } from '../../../src/protocol/reply.js'
import type { GetattrRequest, LookupRequest } from '../../../src/protocol/request.js'
import {
  attach, bind, dropCaches, EFUSE_BIND_READ, EFUSE_BIND_WRITE, fixture, moduleFree, quiet, sh, until,
} from './hooks-support.js'

t.setTimeout(0)

/** A MemFS that gives the kernel backing files, and tells of one's size. */
class Backed extends MemFS {
  backing: Connection['backing'] = null
  nodeid = 0
  path = ''

  override init(connection: Connection): void {
    super.init(connection)
    connection.want('FUSE_PASSTHROUGH')
    connection.maxStackDepth = 1
    this.backing = connection.backing
  }

  override lookup(request: LookupRequest, reply: EntryReply): number | void {
    const answer = super.lookup(request, reply)
    if (reply.entry.nodeid === this.nodeid) reply.entry.attr.size = statSync(this.path).size
    return answer
  }

  override getattr(request: GetattrRequest, reply: AttrReply): number | void {
    const answer = super.getattr(request, reply)
    if (request.nodeid === this.nodeid) reply.out.attr.size = statSync(this.path).size
    return answer
  }
}

await t.test('backing files', async (t) => {
  const fileSystem = new Backed()
  const f = await fixture(t, { fileSystem })
  const { object } = await attach('efuse_io', f.token())
  const global = (name: string) => Number(object.globals.get(name))
  await sh('head -c 50001 /dev/urandom > "$1.backing"; cp "$1.backing" "$1.same"', f.at)
  const fd = openSync(`${f.at}.backing`, 'r+')
  const id = fileSystem.backing!.open(fd)
  t.ok(id > 0, `a backing id: ${id}`)
  closeSync(fd)
  const nodeid = Number((await sh('stat -c %i "$1/file"', f.at)).output)
  Object.assign(fileSystem, { nodeid, path: `${f.at}.backing` })

  t.throws(() => bind(f.control, nodeid, 0, EFUSE_BIND_READ), { code: 'EINVAL' }, 'no file, and rights')
  t.throws(() => bind(f.control, nodeid, id, 0), { code: 'EINVAL' }, 'a file, and no rights')
  t.throws(() => bind(f.control, nodeid, id, 8), { code: 'EINVAL' }, 'unknown flags')
  t.throws(() => bind(f.control, nodeid, 4711, EFUSE_BIND_READ), { code: 'ENOENT' }, 'no such file')
  t.throws(() => bind(f.control, 987654, id, EFUSE_BIND_READ), { code: 'ENOENT' }, 'no such inode')
  t.throws(() => bind(f.control, 1, id, EFUSE_BIND_READ), { code: 'EINVAL' }, 'a directory')

  // An inode that nobody holds goes with what the kernel has cached, and what was bound to it, too.
  const holder = sh('exec 3< "$1/file"; : > "$1.held"; sleep 1000', f.at)
  t.ok(await until(() => existsSync(`${f.at}.held`)))
  bind(f.control, nodeid, id, EFUSE_BIND_READ | EFUSE_BIND_WRITE)
  await dropCaches()
  await quiet(f)
  const before = ['FUSE_READ', 'FUSE_WRITE'].map(f.count)
  t.ok((await sh('cmp "$1/file" "$1.same"', f.at)).ok, 'buffered reads')
  t.ok((await sh('dd if="$1/file" iflag=direct bs=64k status=none | cmp - "$1.same"', f.at)).ok, 'direct reads')
  t.ok((await sh('tail -c +49153 "$1.same" > "$1.tail"; '
    + 'dd if="$1/file" iflag=direct bs=4096 skip=12 status=none | cmp - "$1.tail"', f.at)).ok,
  'the last block, which is short')
  await sh('head -c 70000 /dev/urandom > "$1.new"; dd if="$1.new" of="$1/file" conv=notrunc bs=70000 status=none', f.at)
  t.ok((await sh('cmp "$1.backing" "$1.new" && cmp "$1/file" "$1.new" && test $(stat -c %s "$1/file") = 70000', f.at)).ok,
    'writes, past the end')
  t.ok((await sh('printf hello | dd of="$1/file" conv=notrunc bs=4096 seek=1 oflag=seek_bytes,direct status=none; '
    + 'dd if=/dev/zero of="$1/file" conv=notrunc oflag=direct bs=4096 seek=2 count=3 status=none && cmp "$1/file" "$1.backing"', f.at)).ok,
  'direct writes')
  await quiet(f)
  t.strictSame(['FUSE_READ', 'FUSE_WRITE'].map(f.count), before, 'all without the server')
  t.ok(global('reads') > 2 && global('writes') > 2, `${global('reads')} reads and ${global('writes')} writes in the kernel`)

  const passed = global('passed')
  bind(f.control, nodeid, id, EFUSE_BIND_READ)
  await sh('printf x | dd of="$1/file" conv=notrunc status=none', f.at)
  t.ok(global('passed') > passed && f.count('FUSE_WRITE') > before[1], 'what was bound for reading is not written to')
  const unread = global('passed')
  bind(f.control, nodeid, id, EFUSE_BIND_WRITE)
  await dropCaches()
  await sh('cat "$1/file" > /dev/null', f.at)
  t.ok(global('passed') > unread && f.count('FUSE_READ') > before[0], 'what was bound for writing is not read')
  const served = f.count('FUSE_READ')
  bind(f.control, nodeid, 0, 0)
  await dropCaches()
  await sh('cat "$1/file" > /dev/null', f.at)
  t.ok(f.count('FUSE_READ') > served, 'unbound: the server reads')
  bind(f.control, nodeid, id, EFUSE_BIND_READ | EFUSE_BIND_WRITE)
  t.equal(fileSystem.backing!.close(id), 0)
  await dropCaches()
  t.ok((await sh('cmp "$1/file" "$1.backing"', f.at)).ok, 'a bound file stays, whatever becomes of its number')
  t.throws(() => bind(f.control, nodeid, id, EFUSE_BIND_READ), { code: 'ENOENT' })
  object.close()
  await sh('pkill -f "sleep 1000"')
  await holder
})

await t.test('a program chooses the ring', async (t) => {
  const parameter = '/sys/module/efuse/parameters/enable_uring'
  const before = readFileSync(parameter, 'ascii')
  writeFileSync(parameter, '1')
  t.teardown(() => writeFileSync(parameter, before))
  await sh('mkdir /tmp/rings-source /tmp/rings; echo content > /tmp/rings-source/file')
  const mounted = await sh('node efuse.js mount /tmp/rings-source /tmp/rings --type efuse --rings uring --passthrough off '
    + '--accel off -o entry_timeout=0,attr_timeout=0')
  t.ok(mounted.ok, mounted.errors)
  t.teardown(() => sh('node efuse.js umount /tmp/rings || umount -l /tmp/rings'))
  const device = /^\S+ \S+ (\S+) \S+ \/tmp\/rings /m.exec(readFileSync('/proc/self/mountinfo', 'utf8'))![1]
  const found = await findServer(device)
  if (found === null || !('client' in found)) return void t.fail('the mount has a server')
  const client: ControlClient = found.client
  t.teardown(() => client.close())
  const { pid } = await client.ask<{ pid: number }>('server')
  const { object } = await attach('efuse_queue', BigInt(await client.ask<string>('token')))
  const cpus = Number((await sh('nproc')).output)

  /** Which of the server's threads, by the one CPU that it may use, woke how often while 100 requests were made on a CPU. */
  const woken = async (t: Test, choice: number, from: number): Promise<Map<number, number>> => {
    object.globals.set('choice', choice)
    const before = switches(pid)
    const { ok, errors } = await sh(`taskset -c ${from} python3 -c 'import os
for i in range(100): os.stat("/tmp/rings/file")'`)
    t.ok(ok, errors)
    const after = switches(pid)
    const sum = new Map<number, number>()
    for (const [thread, { cpu, count }] of after) {
      if (cpu >= 0) sum.set(cpu, (sum.get(cpu) ?? 0) + count - (before.get(thread)?.count ?? 0))
    }
    return sum
  }
  for (let queue = 0; queue < cpus; queue++) {
    const sum = await woken(t, queue + 1, (queue + 1) % cpus)
    const most = [...sum].sort(([, a], [, b]) => b - a)[0]
    t.equal(most[0], queue, `queue ${queue}: ${[...sum].map(([cpu, count]) => `${cpu}: ${count}`).join(', ')}`)
  }
  t.equal(object.globals.get('nr_queues'), cpus)
  t.ok(object.globals.get('asked') >= 100n * BigInt(cpus), 'it was asked for each of them')
  for (const nonsense of [0, -1, cpus + 1, 0x7fffffff, -0x80000000]) {
    const sum = await woken(t, nonsense, cpus - 1)
    t.equal([...sum].sort(([, a], [, b]) => b - a)[0][0], cpus - 1, `${nonsense}: the queue of the caller's CPU`)
  }
  const big = await sh('dd if=/dev/urandom of=/tmp/rings/big bs=1M count=4 status=none; echo 3 > /proc/sys/vm/drop_caches; '
    + 'cmp /tmp/rings/big /tmp/rings-source/big')
  t.ok(big.ok, big.errors)
  t.ok(object.globals.get('background') > 0n, 'what nobody waits for, too')
  t.ok(object.globals.get('largest') > 4096, 'with its size')
  object.close()
  t.ok((await sh('cmp /tmp/rings/big /tmp/rings-source/big')).ok)
})

/** Of each thread of a process: its CPU, if it may use but one, and how often it has slept. */
function switches(pid: number): Map<number, { cpu: number; count: number }> {
  const threads = new Map<number, { cpu: number; count: number }>()
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'ascii')
    const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(status)![1]
    threads.set(Number(thread), {
      cpu: /^\d+$/.test(list) ? Number(list) : -1,
      count: Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(status)![1]),
    })
  }
  return threads
}

await t.test('nothing holds the module', async (t) => void t.ok(await moduleFree()))
