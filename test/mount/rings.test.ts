// SPDX-License-Identifier: MIT
/** The rungs of the ladder on a stock kernel: io_uring rings and passthrough, found, demanded, and ending. */
import { promises as fs, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { queueCount, queueDepth } from '../../src/rings/uring.js'
import { efuse, exit, PATIENCE, place, procMounts, ROOT, run, said, skip, startEfuse, TYPE, type Place } from './support.js'

if (skip) t.plan(0, skip)

t.setTimeout(240_000 * PATIENCE)

const PARAMETER = `/sys/module/${TYPE}/parameters/enable_uring`

/** Sets whether the kernel offers FUSE over io_uring, for the length of a test. */
function offerUring(t: Test, on: boolean): void {
  const before = readFileSync(PARAMETER, 'ascii')
  writeFileSync(PARAMETER, on ? '1' : '0')
  t.teardown(() => writeFileSync(PARAMETER, before))
}

async function report(mountpoint: string): Promise<Record<string, any>> {
  return JSON.parse((await efuse('stat', mountpoint, '--json')).stdout)
}

async function serverOf({ mountpoint }: Place): Promise<number> {
  const mounts = JSON.parse((await efuse('list', '--json')).stdout) as { mountpoint: string; pid: number }[]
  return mounts.find((mount) => mount.mountpoint === mountpoint)!.pid
}

async function mounted(t: Test, ...args: string[]): Promise<Place> {
  const at = place(t)
  const { status, stderr } = await efuse('mount', at.source, at.mountpoint, ...args)
  t.equal(status, 0, `mount ${args.join(' ')} ${stderr}`)
  return at
}

/** Work that uses requests of every size. */
async function work(t: Test, { mountpoint, source }: Place): Promise<void> {
  const script = 'set -e; cd "$1"; head -c 3000000 /dev/urandom > big; cp big copy; cmp big copy; '
    + 'mkdir d; for i in $(seq 200); do echo $i > d/$i; done; test "$(ls d | wc -l)" = 200; setfattr -n user.a -v b big; '
    + 'ln -s big link; cat link | cmp - big; rm -r d'
  const { status, stderr } = await run('bash', ['-c', script, 'work', mountpoint])
  t.equal(status, 0, `the work goes well ${stderr}`)
  t.same(await fs.readFile(join(source, 'copy')), await fs.readFile(join(source, 'big')))
}

t.test('without an offer of the kernel requests come over /dev/fuse', async (t) => {
  offerUring(t, false)
  const at = await mounted(t)
  t.equal((await report(at.mountpoint)).rings, 'dev')
  t.equal((await efuse('umount', at.mountpoint)).status, 0)
  const demanded = await efuse('mount', at.source, at.mountpoint, '--rings', 'uring')
  t.equal(demanded.status, 1)
  t.match(demanded.stderr, /^efuse: .*io_uring.*doctor/)
  t.equal(demanded.stderr.trim().split('\n').length, 1)
  t.equal(procMounts(at.mountpoint), null, 'and nothing stays mounted')
})

t.test('queues are as deep as asked for, or as memory allows', async (t) => {
  const MiB = 1024 * 1024
  t.equal(queueDepth(2, MiB, undefined), 8)
  t.equal(queueDepth(256, MiB, undefined), 1, '512 MiB at most')
  t.equal(queueDepth(128, MiB, undefined), 3)
  t.equal(queueDepth(4096, MiB, undefined), 1, 'but one each')
  t.equal(queueDepth(256, MiB, 32), 32)
})

t.test('over io_uring', async (t) => {
  offerUring(t, true)
  const many = String(queueCount() + 2)
  for (const [workers, depth] of [['auto', '8'], ['1', '8'], ['auto', '1'], ['1', '100'], [many, '8']]) {
    const at = await mounted(
      t, '--rings', 'uring', '--passthrough', 'off', '--workers', workers, '-o', `io_uring_q_depth=${depth}`,
    )
    const { rings, workers: count } = await report(at.mountpoint)
    t.equal(rings, 'uring')
    t.equal(count, workers === '1' ? 2 : queueCount() + 1, 'one more than serve queues: FORGET comes over the device')
    await work(t, at)
    t.equal((await efuse('umount', at.mountpoint)).status, 0)
    t.equal(procMounts(at.mountpoint), null)
  }
})

/** Buffers in the tables of a process's io_uring rings, as the kernel tells. */
function ringBuffers(pid: number): number {
  return readdirSync(`/proc/${pid}/fdinfo`)
    .map((fd) => /^UserBufs:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1])
    .reduce((sum, count) => sum + Number(count ?? 0), 0)
}

t.test('buffer pools and zero copy, where the kernel has them (7.46)', async (t) => {
  offerUring(t, true)
  const script = 'set -e; cd "$1"; head -c 3000000 /dev/urandom > a; cmp a "$2/a"; chmod 4755 a; '
    // Direct, in sizes that are and are not whole pages, behind each other, over the end.
    + 'dd if=a of=b bs=1M iflag=direct oflag=direct conv=notrunc 2>&1; dd if=a of=c bs=299k iflag=direct conv=fsync 2>&1; '
    + 'dd if=a of=d bs=4k count=50 iflag=direct oflag=direct 2>&1; dd if=a of=e bs=300001 oflag=append conv=notrunc 2>&1; '
    + 'sync; cmp a b; cmp a c; cmp a e; cmp a "$2/b"; cmp a "$2/c"; cmp -n 204800 a "$2/d"; cmp a "$2/e"; rm a b c d e'
  for (const options of ['direct_io', 'direct_io,io_uring_zero_copy', 'writeback_cache,io_uring_zero_copy']) {
    const at = await mounted(t, '--rings', 'uring', '--passthrough', 'off', '-o', options)
    const done = await run('bash', ['-c', script, 'copy', at.mountpoint, at.source])
    t.equal(done.status, 0, `${options}: every byte is where it belongs ${done.stdout} ${done.stderr}`)
    await work(t, at)
    const { kernel } = await report(at.mountpoint)
    const pid = await serverOf(at)
    const zeroCopy = options.includes('zero_copy')
    const pools = kernel.capabilities.includes('FUSE_HAS_IO_URING_BUFPOOL')
    const expected = !pools ? 0 : queueCount() * (zeroCopy ? 9 : 1)
    t.equal(ringBuffers(pid), expected, `${expected} buffers in the rings' tables`)
    t.equal((await efuse('umount', at.mountpoint)).status, 0)
  }
})

t.test('a server killed over io_uring leaves nothing that hangs, and the next mount works', async (t) => {
  offerUring(t, true)
  const at = await mounted(t, '--rings', 'uring')
  process.kill(await serverOf(at), 'SIGKILL')
  const { status } = await run('stat', [join(at.mountpoint, 'x')])
  t.not(status, null, 'whoever looks gets an error in time')
  t.equal((await efuse('mount', at.source, at.mountpoint, '--rings', 'uring')).status, 0)
  await work(t, at)
  t.equal((await efuse('umount', at.mountpoint)).status, 0)
})

t.test('a signal ends a mount over io_uring', async (t) => {
  offerUring(t, true)
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    const at = place(t)
    const server = startEfuse(['mount', at.source, at.mountpoint, '-f', '--rings', 'uring'])
    await said(server.stderr!, /serving/)
    server.kill(signal)
    t.equal(await exit(server), 0, signal)
    t.equal(procMounts(at.mountpoint), null)
  }
})

const CRASHING = `
  import { BaseFileSystem } from ${JSON.stringify(pathToFileURL(join(ROOT, 'dist/src/index.js')).href)}
  export const concurrency = 'shared'
  class Crashing extends BaseFileSystem {
    synchronous = true
    lookup({ name }) {
      if (name === 'crash') process.exit(3)
      return name === 'file' ? { nodeid: 2, attr: { mode: 0o100644, size: 4 } } : null
    }
    getattr({ nodeid }) { return nodeid === 1 ? { mode: 0o40755 } : { mode: 0o100644, size: 4 } }
    read() { return 'text' }
  }
  export default () => new Crashing()`

t.test('a worker that dies with its ring ends the mount: nobody waits for ever', async (t) => {
  offerUring(t, true)
  const at = place(t)
  const module = join(at.directory, 'crashing.mjs')
  await fs.writeFile(module, CRASHING)
  const server = startEfuse(['mount', 'none', at.mountpoint, '-f', '--fs', module, '--rings', 'uring'])
  await said(server.stderr!, /serving/)
  t.equal((await run('cat', [join(at.mountpoint, 'file')])).stdout, 'text')
  const { status, stderr } = await run('stat', [join(at.mountpoint, 'crash')])
  t.equal(status, 1)
  t.match(stderr, /connect|abort/i)
  t.equal(await exit(server), 1)
  t.equal(procMounts(at.mountpoint), null)
})

const SLOW = `
  import { BaseFileSystem } from ${JSON.stringify(pathToFileURL(join(ROOT, 'dist/src/index.js')).href)}
  import { setTimeout } from 'node:timers/promises'
  class Slow extends BaseFileSystem {
    async lookup({ name, signal }) {
      if (name === 'never') await setTimeout(1e6, undefined, { signal })
      await setTimeout(5)
      return { nodeid: 2, attr: { mode: 0o100644, size: 4 } }
    }
    async getattr({ nodeid }) { await null; return nodeid === 1 ? { mode: 0o40755 } : { mode: 0o100644, size: 4 } }
    async read() { await setTimeout(5); return 'text' }
  }
  export default () => new Slow()`

t.test('asynchronous handlers on rings: many in flight, and interrupted', async (t) => {
  offerUring(t, true)
  const at = place(t)
  const module = join(at.directory, 'slow.mjs')
  await fs.writeFile(module, SLOW)
  const server = startEfuse([
    'mount', 'none', at.mountpoint, '-f', '--fs', module, '--rings', 'uring', '-o', 'entry_timeout=0,attr_timeout=0',
  ])
  await said(server.stderr!, /serving/)
  t.equal((await report(at.mountpoint)).rings, 'uring')
  const names = Array.from({ length: 64 }, (_, i) => join(at.mountpoint, `f${i}`))
  const { stdout, status } = await run('bash', ['-c', 'for f; do cat "$f" & done; wait', 'cat', ...names])
  t.equal(status, 0)
  t.equal(stdout, 'text'.repeat(64))
  const interrupted = await run('timeout', ['-s', 'INT', '0.3', 'stat', join(at.mountpoint, 'never')])
  t.equal(interrupted.status, 124, 'a caller that is interrupted comes back')
  server.kill('SIGTERM')
  t.equal(await exit(server), 0)
})

const BLOCKING = `
  import { BaseFileSystem } from ${JSON.stringify(pathToFileURL(join(ROOT, 'dist/src/index.js')).href)}
  export const concurrency = 'shared'
  const never = new Int32Array(new SharedArrayBuffer(4))
  class Blocking extends BaseFileSystem {
    synchronous = true
    lookup({ name }) {
      if (name.startsWith('slow')) Atomics.wait(never, 0, 0, ${1500 * PATIENCE})
      return { nodeid: name.length, attr: { mode: 0o100644, size: 4 } }
    }
    getattr({ nodeid }) { return nodeid === 1 ? { mode: 0o40755 } : { mode: 0o100644, size: 4 } }
  }
  export default () => new Blocking()`

t.test('a worker that is busy with a slow request is helped out', async (t) => {
  const at = place(t)
  const module = join(at.directory, 'blocking.mjs')
  await fs.writeFile(module, BLOCKING)
  const server = startEfuse(['mount', 'none', at.mountpoint, '-f', '--fs', module, '--rings', 'dev', '--workers', '3'])
  await said(server.stderr!, /serving/)
  for (const round of [1, 2, 3]) {
    const finished: string[] = []
    const stat = async (name: string): Promise<void> => {
      const { status } = await run('stat', [join(at.mountpoint, `${name}${round}`)])
      t.equal(status, 0)
      finished.push(name)
    }
    await Promise.all([stat('slow'), stat('slower'), run('sleep', ['0.2']).then(() => stat('quick'))])
    t.equal(finished[0], 'quick', 'two workers are blocked, the third one serves')
  }
  server.kill('SIGTERM')
  t.equal(await exit(server), 0)
  t.equal(procMounts(at.mountpoint), null)
})

/** How often threads of a process have gone to sleep. */
function sleeps(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => sum
    + Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8'))![1]), 0)
}

t.test('nothing wakes the server of an idle mount', async (t) => {
  for (const rings of ['dev', 'uring']) {
    offerUring(t, true)
    const at = await mounted(t, '--workers', '4', '--rings', rings)
    await work(t, at)
    const pid = await serverOf(at)
    const woken: number[] = []
    // Node still compiles, and collects garbage now and then.
    for (let tries = 0; tries < 10 && !woken.some((times) => times <= 10); tries++) {
      const before = sleeps(pid)
      await sleep(2000)
      woken.push(sleeps(pid) - before)
    }
    t.ok(woken.at(-1)! <= 10, `${rings}: ${woken.join(', ')} times in 2 seconds`)
    t.equal((await efuse('umount', at.mountpoint)).status, 0)
  }
})

t.test('passthrough: the kernel reads and writes by itself', async (t) => {
  const at = await mounted(t, '--passthrough', 'on')
  t.equal((await report(at.mountpoint)).passthrough, 'on')
  await work(t, at)
  const { operations } = await report(at.mountpoint)
  t.equal(operations.FUSE_READ, undefined, 'no read reached the server')
  t.equal(operations.FUSE_WRITE, undefined)
  t.equal((await efuse('umount', at.mountpoint)).status, 0)
  const off = await mounted(t, '--passthrough', 'off')
  await work(t, off)
  t.ok((await report(off.mountpoint)).operations.FUSE_WRITE.count > 0)
  t.equal((await efuse('umount', off.mountpoint)).status, 0)
})

t.test('passthrough keeps to the rules: append, suid, sizes, and one file opened by many', async (t) => {
  const at = await mounted(t, '--passthrough', 'on', '-o', 'allow_other')
  const script = `set -e; cd "$1"; chmod 777 .
    for i in $(seq 20); do (for j in $(seq 20); do echo "$i $j" >> log; done) & done; wait
    test "$(wc -l < log)" = 400
    setpriv --reuid=65534 --regid=65534 --clear-groups bash -c 'echo a > s; chmod 6755 s; echo b >> s'
    test "$(stat -c %a s)" = 755; test "$(stat -c %s s)" = 4
    truncate -s 100000 t; test "$(stat -c %s t)" = 100000; dd if=/dev/zero of=t bs=1 seek=200000 count=1 conv=notrunc status=none
    test "$(stat -c %s t)" = 200001
    exec 3<>u 4<>u 5>>u; rm u; echo text >&5; test "$(cat <&3)" = text; mv log log2; test "$(wc -l < log2)" = 400`
  const { status, stderr } = await run('bash', ['-c', script, 'rules', at.mountpoint])
  t.equal(status, 0, stderr)
  t.equal((await efuse('umount', at.mountpoint)).status, 0)
})

