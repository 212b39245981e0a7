// SPDX-License-Identifier: MIT
/** mount(): a file system of this very process, from its birth to its end. */
import { existsSync, promises as fs } from 'node:fs'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { MemFS } from '../../src/fs/memfs/index.js'
import type * as request from '../../src/protocol/request.js'
import { mount, type Mount } from '../../src/mount/mount.js'
import { maxPagesLimit } from '../../src/mount/settings.js'
import { Texts } from './filesystem.js'
import { PATIENCE, place, procMounts, run, skip, startScript, TYPE } from './support.js'

if (skip) t.plan(0, skip)

t.setTimeout(120_000 * PATIENCE)

t.test('a file system is there when mount() resolves, and gone when unmount() does', async (t) => {
  const { mountpoint } = place(t)
  const texts = new Texts({ hello: 'world\n' })

  const mounted = await mount(texts, mountpoint)
  t.equal(mounted.mountpoint, mountpoint)
  t.equal(procMounts(mountpoint)?.type, TYPE)
  t.equal(await fs.readFile(join(mountpoint, 'hello'), 'utf8'), 'world\n')
  t.strictSame(await fs.readdir(mountpoint), ['hello'])
  await t.rejects(fs.readFile(join(mountpoint, 'absent')), { code: 'ENOENT' })
  t.match(mounted.stats(), { mountpoint, type: TYPE, workers: 1, operations: { FUSE_INIT: { count: 1, errors: 0 } } })

  await mounted.unmount()
  t.equal(procMounts(mountpoint), null)
  t.equal(await mounted.closed, 'unmounted')
  t.ok(texts.destroyed)
})

t.test('a mount can be disposed of', async (t) => {
  const { mountpoint } = place(t)
  const mounted = await mount(new Texts({}), mountpoint)
  await mounted[Symbol.asyncDispose]()
  t.equal(procMounts(mountpoint), null)
})

t.test('a mount that has ended keeps neither its file system nor its buffers', async (t) => {
  const { mountpoint } = place(t)
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const make = async (): Promise<[Mount, WeakRef<MemFS>]> => {
    const fileSystem = new MemFS()
    return [await mount(fileSystem, mountpoint), new WeakRef(fileSystem)]
  }
  const [mounted, fileSystem] = await make()
  await fs.readdir(mountpoint)
  await mounted.unmount()
  // Timers and closed descriptors let go of it in turns of their own.
  for (let turn = 0; turn < 100 && fileSystem.deref(); turn++) {
    await sleep(20)
    collect()
  }
  t.equal(fileSystem.deref(), undefined)
  t.match(mounted.stats(), { mountpoint, operations: { FUSE_INIT: { count: 1 } } }, 'it still tells what it did')
})

t.test('a file can be mounted on, for a file system whose root is one', async (t) => {
  const { directory } = place(t)
  const target = join(directory, 'mountpoint-file')
  writeFileSync(target, 'below')
  class OneFile extends Texts {
    override content() {
      return Buffer.from('above')
    }
    override attr() {
      return { mode: 0o100644, size: 5 }
    }
  }
  const mounted = await mount(new OneFile({}), target)
  t.equal(await fs.readFile(target, 'utf8'), 'above')
  await mounted.unmount()
  t.equal(await fs.readFile(target, 'utf8'), 'below')
})

t.test('mountpoints are found through links, relative paths and trailing slashes', async (t) => {
  const { directory, mountpoint } = place(t)
  await fs.symlink('mountpoint', join(directory, 'link'))
  const before = process.cwd()
  process.chdir(directory)
  t.teardown(() => process.chdir(before))
  for (const path of ['link', 'link/', './mountpoint//', `${directory}/./link`, '../' + directory.split('/').at(-1) + '/mountpoint']) {
    const mounted = await mount(new Texts({}), path)
    t.equal(mounted.mountpoint, mountpoint, path)
    t.ok(procMounts(mountpoint), path)
    await mounted.unmount()
  }
})

t.test('what can not be mounted on is an error that says why', async (t) => {
  const { directory, mountpoint } = place(t)
  await t.rejects(mount(new Texts({}), join(directory, 'absent')), { code: 'ENOENT', message: /create it first/ })
  await fs.symlink('loop', join(directory, 'loop'))
  await t.rejects(mount(new Texts({}), join(directory, 'loop')), { code: 'ELOOP' })
  await t.rejects(mount(new Texts({}), '/dev/null'), { message: /neither a directory nor a file/ })
  await t.rejects(mount(new Texts({}), mountpoint, 'no_such_option'), { name: 'OptionError' })
  const mounted = await mount(new Texts({}), mountpoint)
  await t.rejects(mount(new Texts({}), mountpoint), { code: 'EBUSY', message: /mounted already/ })
  await mounted.unmount()
})

t.test('an init() that fails or never settles fails the mount, and leaves none behind', async (t) => {
  const { mountpoint } = place(t)
  class Failing extends Texts {
    init(): void {
      throw new Error('out of order')
    }
  }
  class Hanging extends Texts {
    init(): Promise<void> {
      return new Promise(() => {})
    }
  }
  await t.rejects(mount(new Failing({}), mountpoint, { onError: () => {} }), { message: /out of order/ })
  t.equal(procMounts(mountpoint), null)
  await t.rejects(mount(new Hanging({}), mountpoint, { initTimeout: 0.2 }), { code: 'ETIMEDOUT', message: /init\(\)/ })
  t.equal(procMounts(mountpoint), null)
})

t.test('an asynchronous init() is waited for', async (t) => {
  const { mountpoint } = place(t)
  class Slow extends Texts {
    async init(): Promise<void> {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  const mounted = await mount(new Slow({ a: '1' }), mountpoint)
  t.equal(await fs.readFile(join(mountpoint, 'a'), 'utf8'), '1')
  await mounted.unmount()
})

t.test('hundreds of requests wait for their answers at the same time', async (t) => {
  const { mountpoint } = place(t)
  const inFlight = 300
  const waiting: (() => void)[] = []
  let allArrived!: () => void
  const arrived = new Promise<void>((resolve) => { allArrived = resolve })
  class Slow extends Texts {
    override async read({ nodeid, offset, size }: request.ReadRequest): Promise<Uint8Array> {
      const content = this.content(nodeid).subarray(offset, offset + size)
      await new Promise<void>((resolve) => {
        waiting.push(resolve)
        if (waiting.length === inFlight) allArrived()
      })
      return content
    }
  }
  const files = Object.fromEntries(Array.from({ length: inFlight }, (_, i) => [`f${i}`, `content of ${i}`]))
  const mounted = await mount(new Slow(files), mountpoint, { directIo: true })
  // Readers in another process, as this one's thread pool has but a few.
  const readers = run('sh', ['-c',
    `cd ${mountpoint}; i=0; while [ $i -lt ${inFlight} ]; do cat f$i > ../out.$i & i=$((i + 1)); done; wait`])
  await arrived
  t.equal(waiting.length, inFlight)
  // Answered in another order than asked; the next read, at the end of the file, waits again.
  const answering = setInterval(() => waiting.splice(0).reverse().forEach((answer) => answer()), 5)
  await readers
  clearInterval(answering)
  for (let i = 0; i < inFlight; i++) {
    const text = await fs.readFile(join(mountpoint, '..', `out.${i}`), 'utf8')
    if (text !== `content of ${i}`) t.fail(`file ${i} reads "${text}"`)
  }
  await mounted.unmount()
})

t.test('an interrupted caller fires the signal of its request', async (t) => {
  const { mountpoint } = place(t)
  let started!: () => void
  const reading = new Promise<void>((resolve) => { started = resolve })
  let aborted!: () => void
  const interrupted = new Promise<void>((resolve) => { aborted = resolve })
  class Waiting extends Texts {
    override read({ signal }: request.ReadRequest): Promise<Uint8Array> {
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          aborted()
          reject(Object.assign(new Error('interrupted'), { code: 'EINTR' }))
        })
        started()
      })
    }
  }
  const mounted = await mount(new Waiting({ slow: 'x' }), mountpoint, { directIo: true })
  const reader = startScript(`process.send(1); process.disconnect()
    const { spawn } = await import('node:child_process')
    // Before cat reads: the signal comes as soon as it does.
    process.on('SIGTERM', () => cat.kill('SIGINT'))
    const cat = spawn('cat', [${JSON.stringify(join(mountpoint, 'slow'))}])
    cat.on('exit', (code, signal) => process.exit(signal === 'SIGINT' ? 7 : 8))`)
  await reading
  reader.kill('SIGTERM')
  await interrupted
  const [status] = await new Promise<[number | null]>((resolve) => { reader.once('exit', (code) => resolve([code])) })
  t.equal(status, 7, 'the reader died of its signal')
  await mounted.unmount()
})

t.test('timers and other I/O go on while requests pour in', async (t) => {
  const { mountpoint } = place(t)
  const mounted = await mount(new Texts({ a: 'x' }), mountpoint, { attrTimeout: 0 })
  let ticks = 0
  const ticking = setInterval(() => { ticks++ }, 1)
  await run('sh', ['-c', `cd ${mountpoint}; i=0; while [ $i -lt 3000 ]; do [ -e a ]; i=$((i + 1)); done`])
  clearInterval(ticking)
  t.ok(mounted.stats().operations.FUSE_GETATTR.count + mounted.stats().operations.FUSE_LOOKUP.count > 3000)
  t.ok(ticks > 10, `${ticks} ticks`)
  await mounted.unmount()
})

t.test('reads and writes of the largest size come in one piece', async (t) => {
  const { mountpoint, directory } = place(t)
  class Measured extends MemFS {
    largestRead = 0
    largestWrite = 0
    override read(request: request.ReadRequest, reply: Parameters<MemFS['read']>[1]) {
      this.largestRead = Math.max(this.largestRead, request.size)
      return super.read(request, reply)
    }
    override write(request: request.WriteRequest, reply: Parameters<MemFS['write']>[1]) {
      this.largestWrite = Math.max(this.largestWrite, request.size)
      return super.write(request, reply)
    }
  }
  const transfer = async (bytes: number, options: object): Promise<void> => {
    const memory = new Measured()
    const mounted = await mount(memory, mountpoint, { directIo: true, ...options })
    const pattern = Buffer.alloc(bytes, 'abcdefghijklmnopqrstuvwxyz0123456')
    await fs.writeFile(join(directory, 'pattern'), pattern)
    await run('dd', [`if=${directory}/pattern`, `of=${mountpoint}/f`, `bs=${bytes}`, 'count=1'])
    await run('dd', [`if=${mountpoint}/f`, `of=${directory}/back`, `bs=${bytes}`, 'count=1'])
    t.ok(pattern.equals(await fs.readFile(join(directory, 'back'))), `${bytes} bytes are the same afterwards`)
    t.equal(memory.largestWrite, bytes, 'largest write')
    t.equal(memory.largestRead, bytes, 'largest read')
    await mounted.unmount()
  }
  await transfer(1024 * 1024, {})

  const limit = `/proc/sys/fs/${TYPE}/max_pages_limit`
  if (!existsSync(limit)) return
  const before = maxPagesLimit({})
  await fs.writeFile(limit, '1024')
  t.teardown(() => fs.writeFile(limit, String(before)))
  await transfer(4 * 1024 * 1024, { maxWrite: 4 * 1024 * 1024 })
  await fs.writeFile(limit, String(before))
  await t.rejects(mount(new MemFS(), mountpoint, { maxWrite: 4 * 1024 * 1024 }), { message: /max_pages_limit/ })
})
