// SPDX-License-Identifier: MIT
// The native calls: each does what it says, stays inside its block, and leaves the thread as it was.
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { constants as os } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import * as native from '../src/native.js'
import { Block } from '../src/protocol/struct.js'

const { constants: c, result } = native
const { EBADF, EEXIST, EFAULT, EINVAL, EINTR, EISDIR, ELOOP, ENOENT, ENOMSG, ENODATA, EOPNOTSUPP, EACCES, EAGAIN,
  EOVERFLOW, ERANGE, EPERM, ENAMETOOLONG } = os.errno
const asRoot = process.getuid?.() === 0 ? {} : { skip: 'needs root' }

/** All of a request's block that a test needs: names below 32 K, results from there on. */
const block = native.allocate(65536)
const OUT = 32768
let next = 0

/** Puts a NUL-terminated string into the block, as a request's name lies there. Returns its offset. */
function text(value: string): number {
  const bytes = Buffer.from(`${value}\0`)
  if (next + bytes.length > OUT) next = 0
  const offset = next
  block.u8.set(bytes, offset)
  next += bytes.length
  return offset
}

function output(length: number): string {
  return Buffer.from(block.buffer, OUT, length).toString()
}

function caller(uid: number, gid = uid, umask = -1, groups: number[] | null = null): native.Caller {
  return { uid, gid, umask, groups: groups && Uint32Array.from(groups), groupCount: groups?.length ?? 0 }
}

/** A directory of its own, open, that everybody may write to. */
function folder(test: Test): { path: string; fd: number } {
  const path = test.testdir({})
  fs.chmodSync(path, 0o777)
  const fd = fs.openSync(path, c.O_RDONLY | c.O_DIRECTORY)
  test.teardown(() => fs.closeSync(fd))
  return { path, fd }
}

/** Opens a name with O_PATH, not following it. */
function handle(test: Test, path: string): number {
  const fd = native.openat(c.AT_FDCWD, block, text(path), c.O_PATH | c.O_NOFOLLOW, 0, null)
  test.ok(fd >= 0, `opens ${path}`)
  test.teardown(() => native.close(fd))
  return fd
}

/** Uid, gid, groups, umask and effective capabilities in force in the calling thread. */
function credentials(): string {
  const lines = fs.readFileSync('/proc/thread-self/status', 'utf8').split('\n')
  return lines.filter((line) => /^(Uid|Gid|Groups|Umask|CapEff):/.test(line)).join(' ')
}

/** A worker that has the native calls as `native` and the module's parts; posts what the code returns. */
function inWorker(code: string, workerData: unknown = null): Worker {
  const source = `
    const { parentPort, workerData, threadId } = require('node:worker_threads')
    const fs = require('node:fs')
    void (async () => {
      const native = await import(${JSON.stringify(new URL('../src/native.js', import.meta.url).href)})
      const { Block } = await import(${JSON.stringify(new URL('../src/protocol/struct.js', import.meta.url).href)})
      const { constants: c, result } = native
      ${code}
    })()`
  return new Worker(source, { eval: true, workerData })
}

const message = <T>(worker: Worker): Promise<T> => new Promise((resolve, reject) => {
  worker.once('message', resolve)
  worker.once('error', reject)
})
/** A worker that has ended already sends no event any more; its threadId is -1. */
const exit = (worker: Worker): Promise<unknown> =>
  worker.threadId === -1 ? Promise.resolve() : new Promise((resolve) => worker.once('exit', resolve))

t.test('memory', async (t) => {
  t.test('allocate gives zeroed pages', async (t) => {
    const memory = native.allocate(10000)
    t.equal(memory.length, 12288)
    t.ok(memory.u8.every((byte) => byte === 0))
    native.release(memory)
  })

  t.test('a large block takes no memory until touched', async (t) => {
    const before = process.memoryUsage.rss()
    const memory = native.allocate(1 << 30)
    t.ok(process.memoryUsage.rss() - before < 64 << 20)
    native.release(memory)
  })

  t.test('memory that is to last stays when its thread ends, until it is released', async (t) => {
    const GiB = 1 << 30
    const mapped = (): number => 1024 * Number(/^VmSize:\s*(\d+) kB/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))![1])
    for (const [lasting, bytes] of [[false, 0], [true, GiB]] as const) {
      const before = mapped()
      const worker = inWorker(`native.allocate(${GiB}, ${lasting}); parentPort.postMessage(1)`)
      await message(worker)
      await exit(worker)
      const left = mapped() - before
      t.ok(Math.abs(left - bytes) < GiB / 2, `${lasting ? 'lasting' : 'ordinary'}: ${left} bytes are left`)
    }
    const before = mapped()
    native.release(native.allocate(GiB, true))
    t.ok(mapped() - before < GiB / 2)
  })

  t.test('sizes that no block can have are refused', async (t) => {
    for (const bytes of [0, -1, NaN, 2 ** 31, 2 ** 40]) t.throws(() => native.allocate(bytes), { code: 'EINVAL' })
    t.equal(native.allocate(2 ** 31 - 4096).length, 2 ** 31 - 4096)
  })

  t.test('a released block is gone for JavaScript and for every call', async (t) => {
    const memory = native.allocate(4096)
    const sibling = new Block(memory.buffer)
    native.register(sibling)
    native.release(memory)
    t.equal(memory.length, 0)
    t.equal(native.fstatx(0, 0, 0, memory, 0), -EFAULT)
    t.equal(native.fstatx(0, 0, 0, sibling, 0), -EFAULT, 'so is another block over its memory')
    t.equal(native.fstatx(0, 0, 0, native.allocate(4096), 0), 0, 'a block that takes its number is not')
    t.equal(native.read(0, memory, 0, 0), -EFAULT)
    t.doesNotThrow(() => native.release(memory), 'releasing twice is harmless')
  })

  t.test('ordinary and shared buffers register on first use', async (t) => {
    for (const buffer of [new ArrayBuffer(256), new SharedArrayBuffer(256)]) {
      const memory = new Block(buffer)
      t.equal(native.fstatx(0, 0, c.STATX_INO, memory, 0), 0)
      t.ok(memory.nativeId > 0)
      t.not(memory.u32[0], 0)
      native.release(memory)
      t.equal(native.fstatx(0, 0, c.STATX_INO, memory, 0), -EFAULT)
      t.equal(memory.length, 256, 'JavaScript keeps its own memory')
    }
  })

  t.test('a detached buffer is noticed', async (t) => {
    const memory = new Block(new ArrayBuffer(256))
    t.equal(native.fstatx(0, 0, 0, memory, 0), 0)
    structuredClone(memory.buffer, { transfer: [memory.buffer as ArrayBuffer] })
    t.equal(native.fstatx(0, 0, 0, memory, 0), -EFAULT)
    t.doesNotThrow(() => native.release(memory))
  })

  t.test('buffers that can shrink, and empty ones, are refused', async (t) => {
    t.throws(() => native.register(new Block(new ArrayBuffer(0))), RangeError)
    const Resizable = ArrayBuffer as unknown as new (length: number, options: object) => ArrayBuffer
    t.throws(() => native.register(new Block(new Resizable(64, { maxByteLength: 128 }))), RangeError)
  })

  t.test('nothing outside a block is touched', async (t) => {
    const memory = native.allocate(4096)
    const fd = fs.openSync('/dev/zero', 'r')
    for (const [offset, length] of [[0, 4097], [4096, 1], [4097, 0], [-1, 8], [0, -1], [2 ** 31 - 1, 2 ** 31 - 1]]) {
      t.equal(native.read(fd, memory, offset, length), -EFAULT, `${offset}, ${length}`)
    }
    t.equal(native.read(fd, memory, 0, 4096), 4096)
    t.equal(native.read(fd, memory, 4096, 0), 0)
    fs.closeSync(fd)
  })

  t.test('a name must end inside its block', async (t) => {
    const memory = new Block(new ArrayBuffer(16))
    memory.u8.fill(0x61)
    t.equal(native.openat(c.AT_FDCWD, memory, 0, 0, 0, null), -EFAULT)
    t.equal(native.openat(c.AT_FDCWD, memory, 16, 0, 0, null), -EFAULT)
    memory.u8[15] = 0
    t.equal(native.openat(c.AT_FDCWD, memory, 0, 0, 0, null), -ENOENT)
    const long = new Block(new ArrayBuffer(8192))
    long.u8.fill(0x61)
    t.equal(native.openat(c.AT_FDCWD, long, 0, 0, 0, null), -ENAMETOOLONG, 'the kernel stops reading before the end')
  })

  t.test('discard gives pages back', async (t) => {
    const memory = native.allocate(16384)
    memory.u8.fill(1)
    t.equal(native.discard(memory, 4096, 8192), 0)
    t.equal(memory.u8.indexOf(0), 4096)
    t.equal(memory.u8[4096 + 8192], 1)
    t.equal(native.discard(memory, 8, 4096), -EINVAL)
    t.equal(native.discard(memory, 0, 16385), -EFAULT)
    t.equal(native.discard(new Block(new ArrayBuffer(8192)), 0, 4096), -EINVAL, 'only pages of our own')
  })

  t.test('mapDevice shares memory with the descriptor', async (t) => {
    const file = t.testdir({ file: Buffer.alloc(8192, 7) }) + '/file'
    const fd = fs.openSync(file, 'r+')
    const memory = native.mapDevice(fd, 4096, 0, 4096, true)
    t.equal(memory.u8[0], 7)
    memory.u8[0] = 9
    fs.closeSync(fd)
    t.equal(fs.readFileSync(file)[4096], 9)
    native.release(memory)
    t.throws(() => native.mapDevice(-1, 0, 0, 4096, false), { code: 'EBADF' })
  })

  t.test('a collected block is unmapped', async (t) => {
    const script = `
      const native = await import(${JSON.stringify(new URL('../src/native.js', import.meta.url).href)})
      const { readFileSync } = await import('node:fs')
      const size = () => Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[0]) * 4096
      const before = size()
      for (let i = 0; i < 64; i++) native.allocate(1 << 30)
      for (let i = 0; i < 20 && size() - before > 2 ** 31; i++) { gc(); await new Promise(setImmediate) }
      process.exit(size() - before > 2 ** 31 ? 1 : 0)`
    const run = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], { encoding: 'utf8' })
    t.equal(run.status, 0, run.stderr)
  })
})

t.test('devices', async (t) => {
  t.test('openDevice', async (t) => {
    const fd = native.openDevice('/dev/null')
    t.ok(fd > 2)
    t.match(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'), /flags:\s+02\d*02\n/, 'O_RDWR, O_CLOEXEC')
    t.equal(native.close(fd), 0)
    t.equal(native.openDevice('/no/such'), -ENOENT)
    t.equal(native.openDevice('/dev/null\0x'), -EINVAL)
  })

  t.test('read and write', async (t) => {
    t.equal(native.socketPair(), 0)
    const [left, right] = [result.low, result.high]
    t.equal(native.write(left, block, text('hello'), 5), 5)
    t.equal(native.read(right, block, OUT, 100), 5)
    t.equal(output(5), 'hello')
    t.equal(native.setNonBlocking(right, true), 0)
    t.equal(native.read(right, block, OUT, 100), -EAGAIN)
    t.equal(native.setNonBlocking(right, false), 0)
    native.write(left, block, text('x'), 1)
    t.equal(native.read(right, block, OUT, 100), 1)
    t.equal(native.read(-1, block, OUT, 100), -EBADF)
    native.close(left)
    native.close(right)
  })

  t.test('replyAndReceive', async (t) => {
    native.socketPair()
    const [server, client] = [result.low, result.high]
    native.write(client, block, text('request'), 7)
    t.equal(native.replyAndReceive(server, block, text('reply'), 5, OUT, 100), 7)
    t.equal(result.write, 5)
    t.equal(output(7), 'request')
    t.equal(native.read(client, block, OUT, 100), 5)
    t.equal(output(5), 'reply')

    native.write(client, block, text('again'), 5)
    t.equal(native.replyAndReceive(server, block, 0, 0, OUT, 100), 5, 'without a reply')
    t.equal(result.write, 0)

    t.equal(native.replyAndReceive(server, block, 0, 65537, OUT, 100), -EFAULT)
    t.equal(native.replyAndReceive(server, block, text('lost?'), 5, OUT, 65536), -EFAULT)
    native.setNonBlocking(client, true)
    t.equal(native.read(client, block, OUT, 100), -EAGAIN, 'a refused call replies nothing')

    t.equal(native.replyAndReceive(-1, block, 0, 8, OUT, 100), -EBADF)
    t.equal(result.write, -EBADF)

    native.setNonBlocking(server, true)
    t.equal(native.replyAndReceive(server, block, 0, 0, OUT, 100, 1000), -EAGAIN, 'looked for a microsecond')
    t.equal(result.looks, 0)
    t.equal(native.replyAndReceive(server, block, 0, 0, OUT, 100, 0, 1000), -EAGAIN, 'slept for a millisecond')
    t.equal(result.looks, 0)
    native.write(client, block, text('there'), 5)
    t.equal(native.replyAndReceive(server, block, 0, 0, OUT, 100, 1000, -1), 5, 'there at once')
    t.equal(result.looks, 1)
    const later = new Worker(`
      const { workerData } = require('node:worker_threads')
      setTimeout(() => require('node:fs').writeSync(workerData, 'later'), 20)
    `, { eval: true, workerData: client })
    t.equal(native.replyAndReceive(server, block, 0, 0, OUT, 100, 1000, -1), 5, 'slept until it came')
    t.equal(output(5), 'later')
    t.equal(result.looks, 0)
    await new Promise((resolve) => later.once('exit', resolve))
    native.close(client)
    t.equal(native.replyAndReceive(server, block, 0, 0, OUT, 100, 1000, -1), 0, 'the other end is gone')
    native.close(server)
    native.close(client)
  })

  t.test('ioctl', async (t) => {
    const FS_IOC_GETFLAGS = 0x80086601
    const FIONREAD = 0x541b
    const dir = folder(t)
    t.equal(native.ioctl(dir.fd, FS_IOC_GETFLAGS, block, OUT, 8), 0)
    t.equal(native.ioctl(dir.fd, FS_IOC_GETFLAGS, block, OUT, 7), -EFAULT, 'less room than the request encodes')
    t.equal(native.ioctlValue(dir.fd, FS_IOC_GETFLAGS, 1), -EFAULT, 'a number is no address')

    native.socketPair()
    const [left, right] = [result.low, result.high]
    native.write(left, block, 0, 11)
    t.equal(native.ioctl(right, FIONREAD, block, OUT, 4), 0)
    t.equal(block.i32[OUT / 4], 11)
    const FIOCLEX = 0x5451
    t.equal(native.ioctlValue(right, FIOCLEX, 0), 0)
    native.close(left)
    native.close(right)
  })
})

t.test('pollers', async (t) => {
  t.test('call back when readable, until closed', async (t) => {
    native.socketPair()
    const [left, right] = [result.low, result.high]
    let poller!: native.Poller
    const readable = new Promise<number>((resolve) => { poller = native.pollReadable(right, resolve) })
    native.write(left, block, text('x'), 1)
    t.equal(await readable, 0)
    poller.unref().ref().close()
    poller.close()
    native.close(left)
    native.close(right)
  })

  t.test('run what a callback awaits', async (t) => {
    native.socketPair()
    const [left, right] = [result.low, result.high]
    const order: string[] = []
    native.write(left, block, 0, 1)
    await new Promise<void>((resolve) => {
      const poller = native.pollReadable(right, () => {
        native.read(right, block, OUT, 1)
        void Promise.resolve().then(() => order.push('microtask'))
        setImmediate(() => { order.push('immediate'); resolve() })
        poller.close()
      })
    })
    t.strictSame(order, ['microtask', 'immediate'])
    native.close(left)
    native.close(right)
  })

  t.test('see a hang-up', async (t) => {
    native.socketPair()
    const [left, right] = [result.low, result.high]
    await new Promise<void>((resolve) => {
      const poller = native.pollReadable(right, () => { poller.close(); resolve() })
      native.close(left)
    })
    t.equal(native.read(right, block, OUT, 1), 0)
    native.close(right)
  })

  t.test('refuse what cannot be polled', async (t) => {
    const dir = folder(t)
    t.throws(() => native.pollReadable(dir.fd, () => {}), { code: 'EPERM' })
    t.throws(() => native.pollReadable(9999, () => {}), { code: 'EBADF' })
  })

  t.test('an exception in a callback reaches the thread like any other', async (t) => {
    const worker = inWorker(`
      native.socketPair()
      const poller = native.pollReadable(result.low, () => { throw new Error('from the callback') })
      native.write(result.high, new Block(new ArrayBuffer(8)), 0, 1)`)
    const error = await new Promise((resolve) => worker.once('error', resolve))
    t.match(error, { message: 'from the callback' })
  })

  t.test('one that is unref\'d lets the process end, one that is open does not', async (t) => {
    const run = (then: string) => spawnSync(process.execPath, ['--input-type=module', '-e', `
      const native = await import(${JSON.stringify(new URL('../src/native.js', import.meta.url).href)})
      native.socketPair()
      const poller = native.pollReadable(native.result.low, () => {})
      ${then}`], { encoding: 'utf8', timeout: 10000 })
    t.equal(run('poller.unref()').status, 0)
    t.equal(run('poller.close()').status, 0)
    t.equal(run('setTimeout(() => process.exit(3), 50).unref(); setTimeout(() => {}, 100)').status, 3)
  })
})

t.test('threads', async (t) => {
  t.test('threadId', async (t) => {
    t.equal(native.threadId(), process.pid)
    const worker = inWorker('parentPort.postMessage(native.threadId())')
    const tid = await message<number>(worker)
    t.ok(tid > 0)
    t.not(tid, process.pid)
    await exit(worker)
  })

  t.test('signalThread interrupts a blocked read', async (t) => {
    const worker = inWorker(`
      native.socketPair()
      parentPort.postMessage(native.threadId())
      parentPort.postMessage(native.read(result.low, new Block(new ArrayBuffer(8)), 0, 8))`)
    const tid = await message<number>(worker)
    const outcome = message<number>(worker)
    const again = setInterval(() => native.signalThread(tid), 5)
    t.equal(await outcome, -EINTR)
    clearInterval(again)
    await exit(worker)
    t.equal(native.signalThread(tid), -os.errno.ESRCH, 'and says when the thread is gone')
  })

  t.test('affinity', async (t) => {
    const cpus = native.cpuList()
    t.ok(cpus.length > 0)
    const cpu = cpus[cpus.length - 1]
    const worker = inWorker(`
      const set = native.setAffinity(workerData)
      parentPort.postMessage([set, native.getCpu(), native.cpuList(), native.setAffinity(8191), native.setAffinity(-1)])`, cpu)
    t.strictSame(await message(worker), [0, cpu, [cpu], -EINVAL, -EINVAL])
    t.strictSame(native.cpuList(), cpus, 'other threads keep theirs')
    await exit(worker)
  })

  t.test('sleepMicroseconds', async (t) => {
    const start = process.hrtime.bigint()
    t.equal(native.sleepMicroseconds(20000), 0)
    t.ok(process.hrtime.bigint() - start >= 20000000n)
    t.equal(native.sleepMicroseconds(-1), -EINVAL)
  })

  t.test('unshareFs gives a thread its own umask', asRoot, async (t) => {
    const worker = inWorker(`
      const unshared = native.unshareFs()
      parentPort.postMessage([unshared, fs.readlinkSync('/proc/thread-self/cwd')])`)
    t.strictSame(await message(worker), [0, process.cwd()])
    await exit(worker)
  })

  t.test('file limits only rise', async (t) => {
    const now = native.fileLimit()
    t.ok(now > 0)
    t.equal(native.raiseFileLimit(1), now)
    t.equal(native.raiseFileLimit(now), now)
    const raised = native.raiseFileLimit(2 ** 31 - 1)
    t.ok(raised >= now)
    t.equal(native.fileLimit(), raised)
    t.equal(native.raiseFileLimit(-1), -EINVAL)
  })

  t.test('closeOnExecFrom', async (t) => {
    const FIONCLEX = 0x5450
    const fds = [fs.openSync('/dev/null', 'r'), fs.openSync('/dev/null', 'r')]
    const flags = () => fds.map((fd) => {
      const octal = /flags:\s+(\d+)/.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? ''
      return (parseInt(octal, 8) & c.O_CLOEXEC) !== 0
    })
    for (const fd of fds) native.ioctlValue(fd, FIONCLEX, 0)
    t.strictSame(flags(), [false, false])
    t.equal(native.closeOnExecFrom(Math.max(...fds)), 0)
    t.strictSame(flags(), fds.map((fd) => fd === Math.max(...fds)))
    for (const fd of fds) fs.closeSync(fd)
  })

  t.test('a dropped capability stays dropped, in its thread alone', asRoot, async (t) => {
    const dir = folder(t)
    t.equal(native.effectiveCapabilities(), 0)
    const all = result.low
    t.ok(all & 1 << c.CAP_FSETID)
    const worker = inWorker(`
      const block = new Block(new ArrayBuffer(64))
      block.u8.set(Buffer.from('made'))
      const dropped = [native.dropCapability(c.CAP_FSETID), native.dropCapability(c.CAP_DAC_OVERRIDE)]
      const caps = () => (native.effectiveCapabilities(), [result.low, result.high])
      const before = caps()
      native.mkdirat(workerData, block, 0, 0o755, { uid: 1234, gid: 1234, umask: -1, groups: null, groupCount: 0 })
      parentPort.postMessage([dropped, before, caps()])`, dir.fd)
    const [dropped, before, after] = await message<number[][]>(worker)
    t.strictSame(dropped, [0, 0])
    t.equal(before[0], (all & ~(1 << c.CAP_FSETID | 1 << c.CAP_DAC_OVERRIDE)) >>> 0)
    t.strictSame(after, before, 'also after a call as someone else')
    native.effectiveCapabilities()
    t.equal(result.low, all)
    t.equal(fs.statSync(`${dir.path}/made`).uid, 1234)
    await exit(worker)
  })
})

t.test('opening', async (t) => {
  t.test('openat, reopen, dup, close', async (t) => {
    const dir = folder(t)
    const fd = native.openat(dir.fd, block, text('file'), c.O_RDWR | c.O_CREAT | c.O_EXCL, 0o640, caller(0, 0, 0o022))
    t.ok(fd >= 0)
    t.equal(native.openat(dir.fd, block, text('file'), c.O_RDWR | c.O_CREAT | c.O_EXCL, 0o640, null), -EEXIST)
    t.equal(native.pwrite(fd, block, text('abc'), 3, 0, 0), 3)

    const path = handle(t, `${dir.path}/file`)
    t.equal(native.pread(path, block, OUT, 3, 0, 0), -EBADF, 'an O_PATH descriptor reads nothing')
    const again = native.reopen(path, c.O_RDONLY | c.O_NOFOLLOW)
    t.equal(native.pread(again, block, OUT, 3, 0, 0), 3)
    const copy = native.dup(again)
    t.equal(native.close(again), 0)
    t.equal(native.pread(copy, block, OUT, 3, 1, 0), 2)
    t.equal(output(2), 'bc')
    t.match(fs.readFileSync(`/proc/self/fdinfo/${copy}`, 'utf8'), /flags:\s+02/, 'close-on-exec')
    native.close(copy)
    native.close(fd)

    t.equal(native.reopen(9999, 0), -EBADF)
    t.equal(native.reopen(-1, 0), -EBADF)
    t.equal(native.dup(9999), -EBADF)
    t.equal(native.close(9999), -EBADF)
    fs.symlinkSync('file', `${dir.path}/link`)
    t.equal(native.reopen(handle(t, `${dir.path}/link`), 0), -ELOOP)
    fs.unlinkSync(`${dir.path}/file`)
    const unlinked = native.reopen(path, c.O_RDONLY)
    t.ok(unlinked >= 0, 'a file without a name can be reopened')
    native.close(unlinked)
  })

  t.test('openat2 stays beneath', async (t) => {
    const dir = folder(t)
    fs.writeFileSync(`${dir.path}/file`, '')
    const fd = native.openat2(dir.fd, block, text('file'), c.O_RDONLY, 0, c.RESOLVE_BENEATH)
    t.ok(fd >= 0)
    native.close(fd)
    t.equal(native.openat2(dir.fd, block, text('../x'), c.O_RDONLY, 0, c.RESOLVE_BENEATH), -os.errno.EXDEV)
    t.equal(native.openat2(dir.fd, block, text('file'), c.O_RDONLY, 0o600, 0), -EINVAL)
  })
})

t.test('attributes', async (t) => {
  /** Offsets in struct statx. */
  const MODE = OUT + 28
  const view = () => new DataView(block.buffer, 0)

  t.test('statx and fstatx fill a struct statx', async (t) => {
    const dir = folder(t)
    fs.writeFileSync(`${dir.path}/file`, 'abcde', { mode: 0o604 })
    const expected = fs.statSync(`${dir.path}/file`, { bigint: true })
    const check = (status: number) => {
      t.equal(status, 0)
      t.equal(view().getUint16(MODE, true), Number(expected.mode))
      t.equal(view().getBigUint64(OUT + 32, true), expected.ino)
      t.equal(view().getBigUint64(OUT + 40, true), 5n)
    }
    check(native.statx(dir.fd, block, text('file'), 0, c.STATX_BASIC_STATS, block, OUT))
    check(native.fstatx(handle(t, `${dir.path}/file`), 0, c.STATX_BASIC_STATS, block, OUT))
    t.equal(native.statx(dir.fd, block, text('none'), 0, c.STATX_BASIC_STATS, block, OUT), -ENOENT)
    t.equal(native.fstatx(dir.fd, 0, 0, block, 65536 - 255), -EFAULT)
    t.equal(native.fstatx(c.AT_FDCWD, 0, 0, block, OUT), -EBADF, 'no descriptor is not the working directory')
  })

  t.test('an O_PATH descriptor suffices to change a file', asRoot, async (t) => {
    const dir = folder(t)
    const name = `${dir.path}/file`
    fs.writeFileSync(name, 'abcde')
    const fd = handle(t, name)
    t.equal(native.fchmod(fd, 0o751), 0)
    t.equal(fs.statSync(name).mode & 0o7777, 0o751)
    t.equal(native.fchown(fd, 1000, 1001), 0)
    t.equal(native.fchown(fd, -1, 1002), 0)
    t.match(fs.statSync(name), { uid: 1000, gid: 1002 })
    t.equal(native.truncate(fd, 3, 1), 0)
    t.equal(fs.statSync(name).size, 2 ** 32 + 3)

    // 1960-01-01, before the epoch, and 2200-01-01, beyond 32 bits.
    const [early, late] = [-315619200, 7258118400]
    t.equal(native.utimens(fd, early, -1, 5e8, late % 2 ** 32, 1, 123), 0)
    t.match(fs.statSync(name, { bigint: true }), {
      atimeNs: BigInt(early) * 10n ** 9n + 500000000n, mtimeNs: BigInt(late) * 10n ** 9n + 123n,
    })
    t.equal(native.utimens(fd, 0, 0, c.UTIME_OMIT, 0, 0, c.UTIME_NOW), 0)
    t.equal(fs.statSync(name, { bigint: true }).atimeNs, BigInt(early) * 10n ** 9n + 500000000n)
    t.ok(Math.abs(fs.statSync(name).mtimeMs - Date.now()) < 5000)

    for (const bad of [-1, 9999, c.AT_FDCWD]) {
      t.equal(native.fchmod(bad, 0), -EBADF)
      t.equal(native.fchown(bad, 0, 0), -EBADF)
      t.equal(native.truncate(bad, 0, 0), -EBADF)
      t.equal(native.utimens(bad, 0, 0, 0, 0, 0, 0), -EBADF)
      t.equal(native.faccess(bad, 0, null), -EBADF)
      t.equal(native.handleOf(bad, 0, block, OUT, 136), -EBADF)
      t.equal(native.readlinkFd(bad, block, OUT, 8), -EBADF)
      t.equal(native.linkFd(bad, dir.fd, block, text('x'), null), -EBADF)
    }
  })

  t.test('a symbolic link is changed itself', asRoot, async (t) => {
    const dir = folder(t)
    fs.writeFileSync(`${dir.path}/file`, '')
    fs.symlinkSync('file', `${dir.path}/link`)
    const fd = handle(t, `${dir.path}/link`)
    t.equal(native.fchmod(fd, 0o600), -EOPNOTSUPP)
    t.equal(native.fchown(fd, 5, 6), 0)
    t.equal(native.utimens(fd, 77, 0, 0, 78, 0, 0), 0)
    t.match(fs.lstatSync(`${dir.path}/link`), { uid: 5, gid: 6, mtimeMs: 78000 })
    t.match(fs.statSync(`${dir.path}/file`), { uid: 0, gid: 0 })
    t.not(native.truncate(fd, 0, 0), 0)
  })

  t.test('faccessat2 and faccess answer for the caller', asRoot, async (t) => {
    const dir = folder(t)
    fs.writeFileSync(`${dir.path}/file`, '')
    fs.chownSync(`${dir.path}/file`, 1234, 99)
    fs.chmodSync(`${dir.path}/file`, 0o640)
    const fd = handle(t, `${dir.path}/file`)
    const may = (mode: number, as: native.Caller | null) => {
      const status = native.faccess(fd, mode, as)
      t.equal(native.faccessat2(dir.fd, block, text('file'), mode, 0, as), status)
      return status
    }
    t.equal(may(c.R_OK | c.W_OK, null), 0)
    t.equal(may(c.R_OK | c.W_OK, caller(1234)), 0)
    t.equal(may(c.R_OK, caller(5, 5)), -EACCES)
    t.equal(may(c.R_OK, caller(5, 5, -1, [7, 99])), 0, 'by a supplementary group')
    t.equal(may(c.W_OK, caller(5, 99)), -EACCES)
    t.equal(may(c.X_OK, null), -EACCES, 'root too needs an execute bit')
  })

  t.test('fstatfs fills a fuse_kstatfs', async (t) => {
    const dir = folder(t)
    block.u8.fill(0xff, OUT, OUT + 96)
    t.equal(native.fstatfs(handle(t, dir.path), block, OUT), 0)
    const expected = fs.statfsSync(dir.path, { bigint: true })
    t.equal(view().getBigUint64(OUT, true), expected.blocks)
    t.equal(view().getBigUint64(OUT + 24, true), expected.files)
    t.equal(view().getUint32(OUT + 40, true), Number(expected.bsize))
    t.equal(view().getUint32(OUT + 44, true), 255)
    t.ok(block.u8.subarray(OUT + 52, OUT + 80).every((byte) => byte === 0))
    t.equal(block.u8[OUT + 80], 0xff)
    t.equal(native.fstatfs(-1, block, OUT), -EBADF)
  })
})

t.test('handles', async (t) => {
  t.test('find a file again without its name', asRoot, async (t) => {
    const dir = folder(t)
    fs.writeFileSync(`${dir.path}/file`, 'found')
    t.equal(native.nameToHandle(dir.fd, block, text('file'), 0, block, OUT, 136), 0)
    const bytes = block.u32[OUT / 4]
    const mountId = result.value
    t.ok(bytes > 0 && bytes <= 128)
    t.ok(fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n').some((line) => line.startsWith(`${mountId} `)))
    const first = Buffer.from(block.u8.slice(OUT, OUT + 8 + bytes))
    t.equal(native.handleOf(handle(t, `${dir.path}/file`), 0, block, OUT, 136), 0)
    t.ok(first.equals(block.u8.subarray(OUT, OUT + 8 + bytes)))

    fs.renameSync(`${dir.path}/file`, `${dir.path}/elsewhere`)
    const fd = native.openByHandle(dir.fd, block, OUT, c.O_RDONLY)
    t.ok(fd >= 0)
    t.equal(native.pread(fd, block, OUT + 1024, 100, 0, 0), 5)
    native.close(fd)
    fs.unlinkSync(`${dir.path}/elsewhere`)
  })

  t.test('stay in their bounds', asRoot, async (t) => {
    const dir = folder(t)
    t.equal(native.handleOf(dir.fd, 0, block, OUT, 8), -EOVERFLOW)
    const needed = block.u32[OUT / 4]
    t.ok(needed > 0, 'the size needed is told')
    t.equal(native.handleOf(dir.fd, 0, block, OUT, 8 + needed), 0)
    t.equal(native.handleOf(dir.fd, 0, block, OUT, 7), -EOVERFLOW)
    t.equal(native.handleOf(dir.fd, 0, block, 65536 - 8, 136), -EFAULT)

    block.u32[OUT / 4] = 129
    t.equal(native.openByHandle(dir.fd, block, OUT, 0), -EINVAL)
    const small = new Block(new ArrayBuffer(16))
    small.u32[0] = 9
    t.equal(native.openByHandle(dir.fd, small, 0, 0), -EFAULT, 'a handle that says it is longer than its block')
  })
})

t.test('names', async (t) => {
  t.test('mkdirat, mknodat, symlinkat, linkat, renameat2, unlinkat, readlinkat', asRoot, async (t) => {
    const dir = folder(t)
    const at = (name: string) => join(dir.path, name)
    t.equal(native.mkdirat(dir.fd, block, text('sub'), 0o777, caller(0, 0, 0o027)), 0)
    t.equal(fs.statSync(at('sub')).mode & 0o7777, 0o750)
    t.equal(native.mkdirat(dir.fd, block, text('sub'), 0o777, null), -EEXIST)

    const device = 1 << 8 | 3 // /dev/null in the kernel's encoding
    t.equal(native.mknodat(dir.fd, block, text('null'), c.S_IFCHR | 0o600, device, null), 0)
    t.equal(fs.statSync(at('null')).rdev, fs.statSync('/dev/null').rdev)
    t.equal(native.mknodat(dir.fd, block, text('far'), c.S_IFCHR | 0o600, (300 << 8 | 5 | 1 << 20) >>> 0, null), 0)
    t.equal(native.mknodat(dir.fd, block, text('pipe'), c.S_IFIFO | 0o600, 0, caller(1234)), 0)
    t.equal(native.mknodat(dir.fd, block, text('no'), c.S_IFCHR | 0o600, device, caller(1234)), -EPERM)

    t.equal(native.symlinkat(block, text('the target'), dir.fd, block, text('link'), caller(1234)), 0)
    t.equal(native.readlinkat(dir.fd, block, text('link'), block, OUT, 100), 10)
    t.equal(output(10), 'the target')
    t.equal(native.readlinkFd(handle(t, at('link')), block, OUT, 3), 3)
    t.equal(native.readlinkat(dir.fd, block, text('sub'), block, OUT, 100), -EINVAL)

    fs.writeFileSync(at('file'), 'x')
    t.equal(native.linkat(dir.fd, block, text('file'), dir.fd, block, text('second'), 0, null), 0)
    t.equal(fs.statSync(at('file')).nlink, 2)
    t.equal(native.renameat2(dir.fd, block, text('second'), dir.fd, block, text('sub'), c.RENAME_NOREPLACE, null), -EEXIST)
    t.equal(native.renameat2(dir.fd, block, text('second'), dir.fd, block, text('link'), c.RENAME_EXCHANGE, null), 0)
    t.ok(fs.lstatSync(at('second')).isSymbolicLink())
    t.equal(native.unlinkat(dir.fd, block, text('second'), 0, null), 0)
    t.equal(native.unlinkat(dir.fd, block, text('sub'), 0, null), -EISDIR)
    t.equal(native.unlinkat(dir.fd, block, text('sub'), c.AT_REMOVEDIR, null), 0)
    t.strictSame(fs.readdirSync(dir.path).sort(), ['far', 'file', 'link', 'null', 'pipe'])
  })

  t.test('linkFd names what is open', asRoot, async (t) => {
    const dir = folder(t)
    fs.writeFileSync(`${dir.path}/file`, '')
    fs.chmodSync(`${dir.path}/file`, 0o666)
    fs.symlinkSync('nowhere', `${dir.path}/link`)
    const file = handle(t, `${dir.path}/file`)
    t.equal(native.linkFd(file, dir.fd, block, text('by root'), null), 0)
    t.equal(native.linkFd(file, dir.fd, block, text('by user'), caller(1234)), 0, 'without CAP_DAC_READ_SEARCH')
    t.equal(fs.statSync(`${dir.path}/file`).nlink, 3)
    const link = handle(t, `${dir.path}/link`)
    fs.lchownSync(`${dir.path}/link`, 1234, 1234)
    t.equal(native.linkFd(link, dir.fd, block, text('link too'), null), 0)
    t.equal(native.linkFd(link, dir.fd, block, text('link by user'), caller(1234)), 0)
    t.equal(fs.readlinkSync(`${dir.path}/link by user`), 'nowhere')
    t.equal(native.linkFd(file, dir.fd, block, text('no/where'), null), -ENOENT)
    t.equal(native.linkFd(9999, dir.fd, block, text('x'), null), -EBADF)

    const unnamed = native.openat(dir.fd, block, text('.'), c.O_TMPFILE | c.O_RDWR, 0o600, null)
    t.equal(native.linkFd(unnamed, dir.fd, block, text('named'), null), 0)
    native.close(unnamed)
  })
})

t.test('data', async (t) => {
  function file(test: Test, content = ''): number {
    const path = test.testdir({ file: content }) + '/file'
    const fd = fs.openSync(path, 'r+')
    test.teardown(() => fs.closeSync(fd))
    return fd
  }

  t.test('positions beyond 32 bits', async (t) => {
    const fd = file(t)
    t.equal(native.pwrite(fd, block, text('far'), 3, 16, 2), 3)
    t.equal(fs.fstatSync(fd).size, 2 * 2 ** 32 + 19)
    t.equal(native.pread(fd, block, OUT, 100, 16, 2), 3)
    t.equal(output(3), 'far')
    t.equal(native.lseek(fd, 0, 0, c.SEEK_END), 0)
    t.strictSame([result.low, result.high, result.value], [19, 2, 2 * 2 ** 32 + 19])
    t.equal(native.lseek(fd, 0, 0, c.SEEK_DATA), 0)
    t.equal(result.high, 2)
    t.equal(native.lseek(fd, 0, 1000, c.SEEK_DATA), -os.errno.ENXIO)
    t.equal(native.lseek(fd, 0xfffffff0, 0xfffffff, c.SEEK_SET), -EINVAL)
    t.equal(native.ftruncate(fd, 5, 1), 0)
    t.equal(fs.fstatSync(fd).size, 2 ** 32 + 5)
  })

  t.test('fallocate', async (t) => {
    const fd = file(t, 'x'.repeat(12288))
    t.equal(native.fallocate(fd, 0, 0, 0, 16384, 0), 0)
    t.equal(fs.fstatSync(fd).size, 16384)
    t.equal(native.fallocate(fd, c.FALLOC_FL_PUNCH_HOLE | c.FALLOC_FL_KEEP_SIZE, 4096, 0, 4096, 0), 0)
    t.equal(native.pread(fd, block, OUT, 2, 4095, 0), 2)
    t.equal(output(2), 'x\0')
  })

  t.test('copyFileRange', async (t) => {
    const from = file(t, 'hello world')
    const to = fs.openSync(t.testdirName + '/copy', 'w+')
    t.equal(native.copyFileRange(from, 6, 0, to, 2, 1, 100, 0), 0)
    t.equal(result.value, 5)
    t.equal(native.pread(to, block, OUT, 100, 2, 1), 5)
    t.equal(output(5), 'world')
    t.equal(native.copyFileRange(-1, 0, 0, to, 0, 0, 1, 0), -EBADF)
    fs.closeSync(to)
  })

  t.test('getdents64', async (t) => {
    const path = t.testdir({ one: '', two: '', sub: {} })
    const fd = fs.openSync(path, 'r')
    const length = native.getdents64(fd, block, OUT, 4096)
    const names: Record<string, number> = {}
    const view = new DataView(block.buffer)
    for (let at = OUT; at < OUT + length; at += view.getUint16(at + 16, true)) {
      const end = block.u8.indexOf(0, at + 19)
      names[Buffer.from(block.buffer, at + 19, end - at - 19).toString()] = block.u8[at + 18]
    }
    t.strictSame(names, { '.': c.DT_DIR, '..': c.DT_DIR, one: c.DT_REG, two: c.DT_REG, sub: c.DT_DIR })
    t.equal(native.getdents64(fd, block, OUT, 4096), 0)
    fs.closeSync(fd)
  })

  t.test('fsync, fdatasync, syncfs', async (t) => {
    const fd = file(t, 'x')
    t.equal(native.fsync(fd), 0)
    t.equal(native.fdatasync(fd), 0)
    const shm = fs.openSync('/dev/shm', 'r')
    t.equal(native.syncfs(shm), 0)
    fs.closeSync(shm)
    t.equal(native.fsync(-1), -EBADF)
  })
})

t.test('extended attributes', async (t) => {
  for (const kind of ['O_PATH', 'open'] as const) {
    t.test(`of an ${kind} descriptor`, asRoot, async (t) => {
      const dir = folder(t)
      fs.writeFileSync(`${dir.path}/file`, '')
      const fd = kind === 'O_PATH' ? handle(t, `${dir.path}/file`) : fs.openSync(`${dir.path}/file`, 'r')
      const name = 'user.colour'
      t.equal(native.getxattr(fd, block, text(name), block, OUT, 100), -ENODATA)
      t.equal(native.setxattr(fd, block, text(name), block, text('green'), 5, c.XATTR_CREATE, null), 0)
      t.equal(native.setxattr(fd, block, text(name), block, text('green'), 5, c.XATTR_CREATE, null), -EEXIST)
      t.equal(native.getxattr(fd, block, text(name), block, OUT, 0), 5)
      t.equal(native.getxattr(fd, block, text(name), block, OUT, 4), -ERANGE)
      t.equal(native.getxattr(fd, block, text(name), block, OUT, 100), 5)
      t.equal(output(5), 'green')
      t.equal(native.listxattr(fd, block, OUT, 0), name.length + 1)
      t.equal(native.listxattr(fd, block, OUT, 100), name.length + 1)
      t.equal(output(name.length + 1), `${name}\0`)
      t.equal(native.setxattr(fd, block, text(name), block, 0, 0, 0, caller(1234)), -EACCES)
      t.equal(native.removexattr(fd, block, text(name), caller(1234)), -EACCES)
      t.equal(native.removexattr(fd, block, text(name), null), 0)
      t.equal(native.listxattr(fd, block, OUT, 100), 0)
      t.equal(native.getxattr(9999, block, text(name), block, OUT, 100), -EBADF)
      t.equal(native.getxattr(fd, block, text(name), block, OUT, 65536), -EFAULT)
      if (kind === 'open') fs.closeSync(fd)
    })
  }

  t.test('of a symbolic link, not of its target', asRoot, async (t) => {
    const dir = folder(t)
    fs.writeFileSync(`${dir.path}/file`, '')
    fs.symlinkSync('file', `${dir.path}/link`)
    const link = handle(t, `${dir.path}/link`)
    const file = handle(t, `${dir.path}/file`)
    t.equal(native.setxattr(link, block, text('trusted.efuse'), block, text('L'), 1, 0, null), 0)
    t.equal(native.getxattr(file, block, text('trusted.efuse'), block, OUT, 8), -ENODATA)
    t.equal(native.getxattr(link, block, text('trusted.efuse'), block, OUT, 8), 1)
    t.equal(native.setxattr(link, block, text('user.efuse'), block, text('L'), 1, 0, null), -EPERM, 'as the kernel has it')
  })
})

t.test('locks', async (t) => {
  const START = OUT / 4
  const lock = (start: bigint, end: bigint, type: number) => {
    const view = new DataView(block.buffer, OUT)
    view.setBigUint64(0, start, true)
    view.setBigUint64(8, end, true)
    view.setUint32(16, type, true)
    view.setUint32(20, 0, true)
  }
  const MAX = 2n ** 63n - 1n

  t.test('flock', async (t) => {
    const path = t.testdir({ file: '' }) + '/file'
    const [one, two] = [fs.openSync(path, 'r+'), fs.openSync(path, 'r+')]
    t.equal(native.flock(one, c.LOCK_EX), 0)
    t.equal(native.flock(two, c.LOCK_SH | c.LOCK_NB), -EAGAIN)
    t.equal(native.flock(one, c.LOCK_UN), 0)
    t.equal(native.flock(two, c.LOCK_SH | c.LOCK_NB), 0)
    fs.closeSync(one)
    fs.closeSync(two)
  })

  t.test('fcntlLock', async (t) => {
    const path = t.testdir({ file: '' }) + '/file'
    const [one, two] = [fs.openSync(path, 'r+'), fs.openSync(path, 'r+')]
    lock(100n, MAX, c.F_WRLCK)
    t.equal(native.fcntlLock(one, c.F_OFD_SETLK, block, OUT), 0)
    lock(0n, 99n, c.F_WRLCK)
    t.equal(native.fcntlLock(two, c.F_OFD_SETLK, block, OUT), 0, 'end is inclusive')
    lock(100n, 100n, c.F_RDLCK)
    t.equal(native.fcntlLock(two, c.F_OFD_SETLK, block, OUT), -EAGAIN)
    t.equal(native.fcntlLock(two, c.F_OFD_GETLK, block, OUT), 0)
    t.strictSame([...block.u32.subarray(START, START + 6)], [100, 0, 0xffffffff, 0x7fffffff, c.F_WRLCK, 0xffffffff])
    lock(100n, MAX, c.F_UNLCK)
    t.equal(native.fcntlLock(one, c.F_OFD_SETLK, block, OUT), 0)
    lock(100n, 100n, c.F_RDLCK)
    t.equal(native.fcntlLock(two, c.F_OFD_SETLKW, block, OUT), 0)
    lock(2n, 1n, c.F_RDLCK)
    t.equal(native.fcntlLock(two, c.F_OFD_SETLK, block, OUT), -EINVAL)
    lock(2n ** 63n, 2n ** 64n - 1n, c.F_RDLCK)
    t.equal(native.fcntlLock(two, c.F_OFD_SETLK, block, OUT), -EINVAL)
    t.equal(native.fcntlLock(two, 1, block, OUT), -EINVAL, 'only locks')
    t.equal(native.fcntlLock(two, c.F_OFD_SETLK, block, 65536 - 16), -EFAULT)
    fs.closeSync(one)
    fs.closeSync(two)
  })
})

t.test('callers', asRoot, async (t) => {
  const own = credentials()

  t.test('own what they create, under their umask, and the thread is itself again', async (t) => {
    const dir = folder(t)
    const as = caller(1234, 1235, 0o077, [7, 8])
    const fd = native.openat(dir.fd, block, text('file'), c.O_CREAT | c.O_WRONLY, 0o666, as)
    t.ok(fd >= 0)
    native.close(fd)
    t.equal(credentials(), own)
    t.equal(native.mkdirat(dir.fd, block, text('dir'), 0o777, as), 0)
    t.equal(native.mknodat(dir.fd, block, text('pipe'), c.S_IFIFO | 0o666, 0, as), 0)
    t.equal(native.symlinkat(block, text('x'), dir.fd, block, text('link'), as), 0)
    t.match(fs.statSync(`${dir.path}/file`), { uid: 1234, gid: 1235, mode: c.S_IFREG | 0o600 })
    t.match(fs.statSync(`${dir.path}/dir`), { uid: 1234, gid: 1235, mode: c.S_IFDIR | 0o700 })
    t.match(fs.statSync(`${dir.path}/pipe`), { uid: 1234, gid: 1235, mode: c.S_IFIFO | 0o600 })
    t.match(fs.lstatSync(`${dir.path}/link`), { uid: 1234, gid: 1235 })
    t.equal(credentials(), own)
    t.equal(native.mkdirat(dir.fd, block, text('mine'), 0o777, caller(1234)), 0)
    t.equal(fs.statSync(`${dir.path}/mine`).mode & 0o777, 0o777 & ~process.umask(), 'umask -1 is the process\'s')
  })

  t.test('are refused what is not theirs, and the thread is itself again', async (t) => {
    const dir = folder(t)
    fs.chmodSync(dir.path, 0o755)
    fs.writeFileSync(`${dir.path}/secret`, 'secret', { mode: 0o600 })
    const as = caller(1234, 1234, 0, [5])
    const secret = handle(t, `${dir.path}/secret`)
    t.equal(native.mkdirat(dir.fd, block, text('no'), 0o777, as), -EACCES)
    t.equal(native.openat(dir.fd, block, text('secret'), c.O_RDONLY, 0, as), -EACCES)
    t.equal(native.openat2(dir.fd, block, text('secret'), c.O_RDONLY, 0, 0, as), -EACCES)
    t.equal(native.reopen(secret, c.O_RDONLY, as), -EACCES)
    t.equal(native.truncate(secret, 0, 0, as), -EACCES)
    t.equal(native.fchmod(secret, 0o777, as), -EPERM)
    t.equal(native.fchown(secret, 1234, -1, as), -EPERM)
    t.equal(native.utimens(secret, 0, 0, 0, 0, 0, 0, as), -EPERM)
    t.equal(native.unlinkat(dir.fd, block, text('secret'), 0, as), -EACCES)
    t.equal(native.renameat2(dir.fd, block, text('secret'), dir.fd, block, text('x'), 0, as), -EACCES)
    t.equal(native.linkat(dir.fd, block, text('secret'), dir.fd, block, text('x'), 0, as), -EPERM)
    t.equal(credentials(), own)
    t.equal(fs.readFileSync(`${dir.path}/secret`, 'utf8'), 'secret')
  })

  t.test('that cannot be are an error, and nothing is done', async (t) => {
    const dir = folder(t)
    for (const as of [caller(-1), caller(5, -1), { ...caller(5), groups: new Uint32Array(2), groupCount: 3 },
      { ...caller(5), groups: new Uint32Array(2), groupCount: -1 },
      { ...caller(5), groups: new Uint32Array(70000), groupCount: 65537 }]) {
      t.ok([-EPERM, -EINVAL].includes(native.mkdirat(dir.fd, block, text('no'), 0o777, as)))
      t.equal(credentials(), own)
    }
    t.strictSame(fs.readdirSync(dir.path), [])
  })

  t.test('whose rights are checked already own what the server may create', async (t) => {
    const dir = folder(t)
    fs.chmodSync(dir.path, 0o700)
    const as = { ...caller(1234, 1235, 0o022), allowed: true }
    t.equal(native.mkdirat(dir.fd, block, text('dir'), 0o777, as), 0)
    t.match(fs.statSync(`${dir.path}/dir`), { uid: 1234, gid: 1235, mode: c.S_IFDIR | 0o755 })
    t.equal(native.mkdirat(dir.fd, block, text('dir'), 0o777, as), -EEXIST)
    t.equal(credentials(), own)
    t.equal(native.mkdirat(dir.fd, block, text('no'), 0o777, caller(1234)), -EACCES, 'the next call is checked')

    fs.chownSync(dir.path, 0, 50)
    fs.chmodSync(dir.path, 0o2700)
    const fd = native.openat(dir.fd, block, text('file'), c.O_CREAT | c.O_RDWR, 0o2775, as)
    t.equal(fs.fstatSync(fd).gid, 50)
    t.equal(fs.fstatSync(fd).mode & c.S_ISGID, 0, 'sgid of a group that is not the caller\'s does not stay')
    native.close(fd)
    t.equal(credentials(), own)
  })

  t.test('with as many groups as there can be', async (t) => {
    const dir = folder(t)
    fs.chownSync(dir.path, 0, 70000)
    fs.chmodSync(dir.path, 0o770)
    const groups = Array.from({ length: 65536 }, (_, i) => 70000 + 65535 - i)
    t.equal(native.mkdirat(dir.fd, block, text('yes'), 0o777, caller(5, 5, 0, groups)), 0)
    t.equal(native.mkdirat(dir.fd, block, text('no'), 0o777, caller(5, 5, 0, groups.slice(0, -1))), -EACCES)
    t.equal(credentials(), own)
  })

  t.test('of an earlier call do not leak into a later one', async (t) => {
    const dir = folder(t)
    const big = new Block(new ArrayBuffer(8))
    big.u8.fill(0x61)
    t.equal(native.mkdirat(dir.fd, big, 0, 0o777, caller(1234)), -EFAULT)
    const fd = native.openat(dir.fd, block, text('file'), c.O_RDWR | c.O_CREAT, 0o4755, null, true)
    fs.chmodSync(`${dir.path}/file`, 0o4777)
    native.ftruncate(fd, 0, 0, true)
    fs.chmodSync(`${dir.path}/file`, 0o4777)
    t.equal(native.ftruncate(fd, 5, 0), 0)
    t.equal(fs.statSync(`${dir.path}/file`).uid, 0)
    t.equal(fs.statSync(`${dir.path}/file`).mode & 0o7777, 0o4777)
    native.close(fd)
  })

  t.test('of two threads at once never mix', async (t) => {
    const dir = folder(t)
    const code = `
      // The umask is shared by threads until each has its own.
      native.unshareFs()
      const block = new Block(new ArrayBuffer(64))
      const { uid, mask, fd } = workerData
      const as = { uid, gid: uid + 1, umask: mask, groups: Uint32Array.of(uid + 2), groupCount: 1 }
      const statx = new Block(new ArrayBuffer(256))
      let wrong = 0
      block.u8.set(Buffer.from('made-by-' + uid))
      for (let i = 0; i < 3000; i++) {
        if (native.mkdirat(fd, block, 0, 0o777, as) !== 0) wrong++
        native.statx(fd, block, 0, 0, c.STATX_BASIC_STATS, statx, 0)
        if (statx.u32[5] !== uid || statx.u32[6] !== uid + 1 || (statx.u16[14] & 0o777) !== (0o777 & ~mask)) wrong++
        if (native.unlinkat(fd, block, 0, c.AT_REMOVEDIR, as) !== 0) wrong++
      }
      parentPort.postMessage(wrong)`
    const workers = [inWorker(code, { uid: 2000, mask: 0o077, fd: dir.fd }), inWorker(code, { uid: 3000, mask: 0o002, fd: dir.fd })]
    t.strictSame(await Promise.all(workers.map((worker) => message(worker))), [0, 0])
    await Promise.all(workers.map(exit))
    t.equal(credentials(), own)
  })

  t.test('do not inherit the server\'s groups', async (t) => {
    const dir = folder(t)
    fs.chownSync(dir.path, 0, 4321)
    fs.chmodSync(dir.path, 0o770)
    const run = spawnSync(process.execPath, ['--input-type=module', '-e', `
      process.setgroups([4321])
      const native = await import(${JSON.stringify(new URL('../src/native.js', import.meta.url).href)})
      const { Block } = await import(${JSON.stringify(new URL('../src/protocol/struct.js', import.meta.url).href)})
      const block = new Block(new ArrayBuffer(${dir.path.length} + 16 & ~7))
      block.u8.set(Buffer.from(${JSON.stringify(dir.path)} + '/x'))
      const make = () => native.mkdirat(-100, block, 0, 0o777, { uid: 9, gid: 9, umask: 0, groups: null, groupCount: 0 })
      process.exit(make() === -${EACCES} && process.getgroups().includes(4321) ? 0 : 1)`], { encoding: 'utf8' })
    t.equal(run.status, 0, run.stderr)
  })
})

t.test('killPriv', asRoot, async (t) => {
  const own = credentials()
  const calls: Record<string, (fd: number, kill: boolean) => number> = {
    pwrite: (fd, kill) => native.pwrite(fd, block, text('x'), 1, 0, 0, null, kill),
    ftruncate: (fd, kill) => native.ftruncate(fd, 1, 0, kill),
    truncate: (fd, kill) => native.truncate(fd, 2, 0, null, kill),
    fallocate: (fd, kill) => native.fallocate(fd, 0, 0, 0, 100, 0, kill),
    'reopen with O_TRUNC': (fd, kill) => native.close(native.reopen(fd, c.O_RDWR | c.O_TRUNC, null, kill)),
    'openat with O_TRUNC': (fd, kill) =>
      native.close(native.openat(c.AT_FDCWD, block, text(`/proc/self/fd/${fd}`), c.O_RDWR | c.O_TRUNC, 0, null, kill)),
  }
  for (const [name, call] of Object.entries(calls)) {
    t.test(`${name} clears suid and sgid`, async (t) => {
      const path = t.testdir({ file: 'content' }) + '/file'
      const fd = fs.openSync(path, 'r+')
      fs.chmodSync(path, 0o6775)
      t.ok(call(fd, false) >= 0)
      t.equal(fs.statSync(path).mode & 0o7777, 0o6775)
      t.ok(call(fd, true) >= 0)
      t.equal(fs.statSync(path).mode & 0o7777, 0o775)
      t.equal(credentials(), own)
      fs.closeSync(fd)
    })
  }

  t.test('also in a caller\'s name', async (t) => {
    const path = t.testdir({ file: 'content' }) + '/file'
    const fd = fs.openSync(path, 'r+')
    for (const as of [caller(0), caller(1234), caller(0, 5, -1, [6])]) {
      fs.chmodSync(path, 0o6777)
      t.equal(native.pwrite(fd, block, text('x'), 1, 0, 0, as, true), 1)
      t.equal(fs.statSync(path).mode & 0o7777, 0o777)
      t.equal(credentials(), own)
    }
    fs.closeSync(fd)
  })
})

t.test('mounts', asRoot, async (t) => {
  t.test('mount, mountSetAttr, openTreeClone, makePrivate, umount2', async (t) => {
    const dir = t.testdir({ mnt: {} })
    const mnt = `${dir}/mnt`
    t.equal(native.mount('efuse-test', mnt, 'tmpfs', c.MS_NOSUID | c.MS_NODEV, 'size=1m'), 0)
    t.teardown(() => native.umount2(mnt, c.MNT_DETACH))
    const options = () => fs.readFileSync('/proc/self/mounts', 'utf8').split('\n').find((line) => line.includes(mnt)) ?? ''
    t.match(options(), /^efuse-test .* tmpfs rw,nosuid,nodev,.*size=1024k/)

    const root = fs.openSync(mnt, 'r')
    t.equal(native.mountSetAttr(root, c.MOUNT_ATTR_RDONLY | c.MOUNT_ATTR_NOATIME, c.MOUNT_ATTR__ATIME, false), 0)
    t.match(options(), /tmpfs ro,.*noatime/)
    t.equal(native.mountSetAttr(root, 0, c.MOUNT_ATTR_RDONLY, false), 0)
    fs.closeSync(root)

    fs.writeFileSync(`${mnt}/file`, 'inside')
    const tree = native.openTreeClone(mnt, true)
    t.ok(tree >= 0)
    t.equal(native.makePrivate(tree, true), 0)
    t.equal(native.makePrivate(-1, true), -EBADF)
    t.equal(native.umount2(mnt, c.MNT_DETACH), 0)
    t.notOk(options())
    const fd = native.openat(tree, block, text('file'), c.O_RDONLY, 0, null)
    t.ok(fd >= 0, 'the clone stays')
    native.close(fd)
    native.close(tree)
  })

  t.test('errors', async (t) => {
    const mnt = t.testdir({ mnt: {} }) + '/mnt'
    t.equal(native.mount('x', mnt, 'no-such-type', 0, ''), -os.errno.ENODEV)
    t.equal(native.mount('x', mnt, 'tmpfs', 0, 'x'.repeat(65536)), -EINVAL, 'options that the kernel would cut off')
    t.equal(native.mount('x\0y', mnt, 'tmpfs', 0, ''), -EINVAL)
    t.equal(native.umount2(mnt, 0), -EINVAL)
    t.equal(native.openTreeClone('/no/such', false), -ENOENT)
  })
})

t.test('receiveFd', async (t) => {
  native.socketPair()
  const [left, right] = [result.low, result.high]
  // python3, which the addon's build needs anyway, sends a descriptor; Node can't.
  const sender = (fds: string) => spawnSync('python3', ['-c',
    `import socket, array; s = socket.socket(fileno=3); r = open('/dev/null');
s.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', ${fds}))])`],
    { stdio: ['ignore', 'ignore', 'inherit', left] })
  t.equal(sender('[r.fileno()]').status, 0)
  const fd = native.receiveFd(right)
  t.ok(fd >= 0)
  t.equal(fs.readlinkSync(`/proc/self/fd/${fd}`), '/dev/null')
  t.match(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'), /flags:\s+02/)
  native.close(fd)

  const open = () => fs.readdirSync('/proc/self/fd').length
  const before = open()
  sender('[r.fileno()] * 3')
  native.close(native.receiveFd(right))
  t.equal(open(), before, 'more than one: the others are closed')

  native.write(left, block, 0, 1)
  t.equal(native.receiveFd(right), -ENOMSG)
  native.close(left)
  t.equal(native.receiveFd(right), -ENOMSG)
  t.equal(native.receiveFd(-1), -EBADF)
  native.close(right)
})

t.test('constants', async (t) => {
  t.test('agree with Node\'s', async (t) => {
    let compared = 0
    for (const [name, value] of Object.entries(fs.constants)) {
      if (!(name in c)) continue
      t.equal(c[name as native.ConstantName], value, name)
      compared++
    }
    t.ok(compared > 25)
  })

  t.test('are all there', async (t) => {
    t.equal(Object.keys(c).length, 157)
    for (const value of Object.values(c)) t.type(value, 'number')
    t.equal(c.O_LARGEFILE, process.arch === 'arm64' ? 0o400000 : 0o100000)
    t.ok(Object.isFrozen(c))
  })
})

t.test('lifetime', async (t) => {
  t.test('a million calls leave memory flat', asRoot, async (t) => {
    const dir = folder(t)
    const fd = handle(t, dir.path)
    const as = caller(1234, 1234, 0, [1, 2])
    const call = (count: number) => {
      for (let i = 0; i < count; i++) {
        native.fstatx(fd, 0, c.STATX_BASIC_STATS, block, OUT)
        if (i % 100 === 0) native.faccess(fd, c.R_OK, as)
      }
    }
    call(100000)
    const before = process.memoryUsage.rss()
    call(1000000)
    t.ok(process.memoryUsage.rss() - before < 8 << 20)
  })

  t.test('blocks come and go', async (t) => {
    for (let i = 0; i < 1000; i++) native.release(native.allocate(1 << 20))
    const before = process.memoryUsage.rss()
    for (let i = 0; i < 20000; i++) {
      const memory = native.allocate(1 << 20)
      memory.u8[0] = 1
      native.release(memory)
      native.register(new Block(new ArrayBuffer(64)))
      if (i % 1000 === 0) await new Promise(setImmediate)
    }
    t.ok(process.memoryUsage.rss() - before < 64 << 20)
  })

  t.test('workers load and leave', async (t) => {
    const run = async () => {
      const worker = inWorker(`
        const memory = native.allocate(1 << 20), other = new Block(new ArrayBuffer(4096))
        memory.u8.fill(1)
        native.register(other)
        native.socketPair()
        native.pollReadable(result.low, () => {})
        native.pollReadable(result.high, () => {}).close()
        native.close(result.high)
        parentPort.postMessage(native.fstatx(0, 0, 0, memory, 0))`)
      t.equal(await message(worker), 0)
      await worker.terminate()
    }
    for (let i = 0; i < 10; i++) await run()
    const mappings = () => fs.readFileSync('/proc/self/maps', 'utf8').split('\n').length
    const before = mappings()
    for (let i = 0; i < 50; i++) await run()
    t.ok(mappings() - before < 50, 'and unmap what they had')
  })

  t.test('random arguments never crash', async (t) => {
    const run = spawnSync(process.execPath, ['--input-type=module', '-e', `
      const native = await import(${JSON.stringify(new URL('../src/native.js', import.meta.url).href)})
      const { Block } = await import(${JSON.stringify(new URL('../src/protocol/struct.js', import.meta.url).href)})
      const seed = ${JSON.stringify(randomBytes(4).toString('hex'))}
      let state = parseInt(seed, 16) >>> 0
      const random = () => (state = Math.imul(state, 1664525) + 1013904223 >>> 0)
      console.error('seed', seed)
      // Names of what must not be done to this process, or waits.
      const skip = new Set(['mount', 'umount2', 'openTreeClone', 'openDevice', 'close', 'closeOnExecFrom', 'sleepMicroseconds',
        'signalThread', 'setAffinity', 'dropCapability', 'unshareFs', 'pollReadable', 'mapDevice', 'allocate', 'Poller',
        'register', 'release', 'result', 'constants', 'cpuList', 'socketPair', 'raiseFileLimit', 'mapReadOnly',
        'bpfRefusal', 'bpfCommandTable', 'bpfMapOpen'])
      const memory = native.allocate(8192), gone = native.allocate(4096), plain = new Block(new ArrayBuffer(64))
      native.release(gone)
      const fds = [-1, -100, 9999]
      const numbers = [0, 1, 8, 63, 64, 4095, 4096, 8191, 8192, 8193, -1, -8, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 40, NaN]
      for (const [name, call] of Object.entries(native)) {
        if (skip.has(name) || typeof call !== 'function') continue
        const parameters = /\\(([^)]*)\\)/.exec(call.toString())[1].split(',').map((one) => one.trim().split(' ')[0])
        for (let i = 0; i < 500; i++) {
          const value = call(...parameters.map((parameter, index) => {
            if (/block/i.test(parameter)) return [memory, gone, plain][random() % 3]
            if (parameter === 'as') return null
            if (/fd/i.test(parameter)) return fds[random() % fds.length]
            return numbers[random() % numbers.length]
          }))
          if (!Number.isInteger(value)) throw new Error(name + ' returned ' + value)
        }
      }`], { encoding: 'utf8', cwd: t.testdir({}) })
    t.equal(run.status, 0, `${run.stderr} ${run.signal}`)
  })
})

t.test('io_uring: a ring is set up, entries are checked against their blocks, an empty submission returns', (t) => {
  const params = new Block(new ArrayBuffer(128))
  t.equal(native.uringSetup(4, params, 16), -os.errno.EFAULT, 'the parameters must lie in the block')
  const ring = native.uringSetup(4, params, 0)
  if (ring === -os.errno.EPERM || ring === -os.errno.ENOSYS) {
    t.comment('io_uring is forbidden here')
    return t.end()
  }
  t.ok(ring > 0)
  const file = native.openDevice('/dev/null')
  t.equal(native.uringRegisterFile(ring, file), 0)
  t.equal(native.uringEnter(ring, 0, 0, 0), 0)
  const queue = native.mapDevice(ring, 0x10000000, 0, 4 * 64, true) // one page
  const memory = native.allocate(8192)
  t.equal(native.uringPlaceBuffers(queue, 0, 0, memory, 4096, 288, 4096 + 288, 1000), 0)
  t.equal(queue.u32[6], 2, 'two ranges')
  t.not(queue.u32[4] + queue.u32[5], 0, 'at an address')
  for (const wrong of [
    () => native.uringPlaceBuffers(queue, 4096 - 8, 0, memory, 0, 8, 8, 8),
    () => native.uringPlaceBuffers(queue, 0, 8192 - 16, memory, 0, 8, 8, 8),
    () => native.uringPlaceBuffers(queue, 0, 0, memory, 0, 9000, 8, 8),
    () => native.uringPlaceBuffers(queue, 0, 0, memory, 0, 8, 8, -1),
    () => native.uringPlaceBuffers(queue, 0, 0, memory, -8, 8, 8, 8),
    () => native.uringPlaceRange(queue, 4096 - 8, 72, memory, 0, 8),
    () => native.uringPlaceRange(queue, 0, 120, memory, 0, 8),
    () => native.uringPlaceRange(queue, 0, -4, memory, 0, 8),
    () => native.uringPlaceRange(queue, 0, 72, memory, 4096, 4097),
    () => native.uringRegisterBuffers(ring, 1, memory, 4096, 4097),
  ]) t.equal(wrong(), -os.errno.EFAULT)
  t.equal(native.uringPlaceRange(queue, 128, 72, memory, 4096, 4096), 0)
  t.equal(queue.u32[(128 + 80) / 4], 4096, 'a length behind an address')
  t.equal(native.uringRegisterBuffers(ring, 0, memory, 0, 4096), -os.errno.EINVAL)
  t.equal(native.uringRegisterBuffers(ring, 3, memory, 0, 8192), 0)
  t.equal(native.uringRegisterBuffers(ring, 1, memory, 0, 8192), -os.errno.EBUSY, 'a ring has one table')
  const index = native.uringRegisterRing(ring)
  t.ok(index >= 0)
  t.equal(native.uringEnter(index, 0, 0, 16), 0, 'the ring is known by its index')
  native.release(queue)
  native.release(memory)
  native.close(file)
  native.close(ring)
  t.end()
})

t.test('discardInside gives back whole pages of JavaScript\'s memory, and nothing around them', (t) => {
  const shared = new Block(new SharedArrayBuffer(1 << 20))
  shared.u8.fill(7)
  t.equal(native.discardInside(shared, 10_000, 100_000), 0)
  t.equal(shared.u8[9_999], 7)
  t.equal(shared.u8[110_000], 7)
  t.equal(shared.u8[60_000], 0)
  t.equal(native.discardInside(shared, 200_000, 100), 0, 'less than a page: nothing happens')
  t.equal(shared.u8[200_050], 7)
  t.equal(native.discardInside(shared, 1 << 20, 1), -os.errno.EFAULT)
  t.end()
})

t.test('uncountInside takes memory out of what the kernel has promised', (t) => {
  /** KiB of private mappings that fork(2) would have to promise anew. */
  const counted = (): number => {
    const mappings = fs.readFileSync('/proc/self/smaps', 'utf8').matchAll(/^Size: +(\d+) kB$[^]*?^VmFlags: (.*)$/gm)
    return [...mappings].filter(([, , flags]) => / ac( |$)/.test(flags)).reduce((sum, [, size]) => sum + Number(size), 0)
  }
  const before = counted()
  const shared = new Block(new SharedArrayBuffer(256 << 20))
  t.ok(counted() - before >= 256 << 10, 'as V8 makes it')
  t.equal(native.uncountInside(shared, 0, 256 << 20), 0)
  t.ok(counted() - before < 16 << 10, 'afterwards')
  shared.u8[100 << 20] = 7
  t.equal(shared.u8[100 << 20], 7)
  t.equal(native.uncountInside(shared, (256 << 20) - 4, 4), 0, 'less than a page: nothing happens')
  t.equal(native.uncountInside(shared, 256 << 20, 1), -os.errno.EFAULT)
  t.end()
})
