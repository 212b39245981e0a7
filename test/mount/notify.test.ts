// SPDX-License-Identifier: MIT
/** Notifications, as the kernel takes them: what it had cached, it asks for again; who waits, wakes. */
import { once } from 'node:events'
import { promises as fs } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { FOPEN_KEEP_CACHE } from '../../src/protocol/constants.js'
import type * as request from '../../src/protocol/request.js'
import { mount, type Mount } from '../../src/mount/mount.js'
import { Texts } from './filesystem.js'
import { exit, PATIENCE, place, ROOT, run, said, skip, startScript } from './support.js'

if (skip) t.plan(0, skip)

t.setTimeout(120_000 * PATIENCE)

/** Cached for ever, unless the kernel is told. */
const FOR_EVER = { attrTimeout: 3600, entryTimeout: 3600, negativeTimeout: 3600 }

class Cached extends Texts {
  reads = 0
  lookups = 0
  override open() {
    return { openFlags: FOPEN_KEEP_CACHE }
  }
  override lookup(request: request.LookupRequest) {
    this.lookups++
    return super.lookup(request)
  }
  override read(request: request.ReadRequest) {
    this.reads++
    return super.read(request)
  }
}

async function served(t: Test, texts: Texts): Promise<{ mounted: Mount; path: (name: string) => string }> {
  const { mountpoint } = place(t)
  const mounted = await mount(texts, mountpoint, FOR_EVER)
  t.teardown(() => mounted.unmount({ force: true }))
  return { mounted, path: (name) => join(mountpoint, name) }
}

t.test('invalInode drops data and attributes', async (t) => {
  const texts = new Cached({ file: 'old text' })
  const { mounted, path } = await served(t, texts)
  t.equal(await fs.readFile(path('file'), 'utf8'), 'old text')
  texts.files.file = 'new text'
  t.equal(await fs.readFile(path('file'), 'utf8'), 'old text', 'cached')
  await mounted.notify.invalInode(texts.nodeid('file'))
  t.equal(await fs.readFile(path('file'), 'utf8'), 'new text')
  await t.rejects(mounted.notify.invalInode(999), { code: 'ENOENT' }, 'the kernel does not know it')
})

t.test('invalEntry drops a name', async (t) => {
  const texts = new Cached({ file: 'text' })
  const { mounted, path } = await served(t, texts)
  await fs.stat(path('file'))
  await fs.stat(path('file'))
  t.equal(texts.lookups, 1, 'cached')
  await mounted.notify.invalEntry(1, 'file')
  await fs.stat(path('file'))
  t.equal(texts.lookups, 2)
  await mounted.notify.invalEntry(1, Buffer.from('file'), true)
  await fs.stat(path('file'))
  t.equal(texts.lookups, 3, 'expired')
})

// Of the parent directory's watchers, too, says the protocol; kernels since 5.3 tell only those of the file.
t.test('delete tells who watches the file', async (t) => {
  const texts = new Cached({ file: 'text' })
  const { mounted, path } = await served(t, texts)
  const watcher = startScript(`
    import { watch } from 'node:fs'
    const watching = watch(${JSON.stringify(path('file'))}, (event, name) => {
      console.log(event, name)
      watching.close()
      process.disconnect()
    })
    process.on('message', () => {})
    process.send('watching')`)
  await once(watcher, 'message')
  const child = texts.nodeid('file')
  const reported = said(watcher.stdout!, /rename file/)
  await mounted.notify.delete(1, child, 'file')
  t.match(await reported, /rename file/)
  t.equal(await exit(watcher), 0)
})

t.test('store puts data into the cache, retrieve gets it out', async (t) => {
  const texts = new Cached({ file: '-'.repeat(8192) })
  const { mounted, path } = await served(t, texts)
  await fs.stat(path('file'))
  const nodeid = texts.nodeid('file')
  await mounted.notify.store(nodeid, 0, Buffer.alloc(8192, 's'))
  t.equal(await fs.readFile(path('file'), 'utf8'), 's'.repeat(8192))
  t.equal(texts.reads, 0, 'nobody asked the file system')
  const retrieved = await mounted.notify.retrieve(nodeid, 4096, 100)
  t.equal(Buffer.from(retrieved).toString(), 's'.repeat(100))
})

t.test('poll wakes who waits for a file', async (t) => {
  const POLLIN = 1
  let wake: ((kh: number) => void) | null = null
  const asked = new Promise<number>((resolve) => { wake = resolve })
  let ready = false
  class Polled extends Texts {
    poll({ kh, flags }: request.PollRequest): number {
      if (flags & 1) wake!(kh)
      return ready ? POLLIN : 0
    }
  }
  const { mounted, path } = await served(t, new Polled({ file: 'text' }))
  const poller = startScript(`
    import { openSync } from 'node:fs'
    import { pollReadable } from ${JSON.stringify(pathToFileURL(join(ROOT, 'dist/src/native.js')).href)}
    const polling = pollReadable(openSync(${JSON.stringify(path('file'))}, 'r'), () => {
      polling.close()
      process.exit(9)
    })`)
  const kh = await asked
  ready = true
  await mounted.notify.poll(kh)
  t.equal(await exit(poller), 9)
})

t.test('incEpoch and resend are taken, where the kernel knows them', async (t) => {
  const texts = new Cached({ file: 'text' })
  const { mounted, path } = await served(t, texts)
  await fs.stat(path('file'))
  await mounted.notify.resend()
  try {
    await mounted.notify.incEpoch()
  } catch (error) {
    t.match(error, { code: 'EINVAL' }, 'an older kernel')
    return
  }
  await fs.stat(path('file'))
  t.equal(texts.lookups, 2, 'every name is looked up again')
})

t.test('requests that the kernel sends again are answered once more', async (t) => {
  const { mountpoint } = place(t)
  let arrivals = 0
  let release!: () => void
  const released = new Promise<void>((resolve) => { release = resolve })
  let both!: () => void
  const twice = new Promise<void>((resolve) => { both = resolve })
  class Slow extends Texts {
    override async read({ nodeid, offset, size }: request.ReadRequest): Promise<Uint8Array> {
      const content = this.content(nodeid).subarray(offset, offset + size)
      arrivals++
      if (arrivals === 1) setImmediate(() => void mounted.notify.resend())
      if (arrivals === 2) both()
      await released
      return content
    }
  }
  const mounted = await mount(new Slow({ file: 'text' }), mountpoint)
  const reading = run('cat', [join(mountpoint, 'file')])
  await twice
  release()
  t.strictSame(await reading, { status: 0, stdout: 'text', stderr: '' })
  await mounted.unmount()
})
