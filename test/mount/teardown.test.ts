// SPDX-License-Identifier: MIT
/** However a mount ends, nobody is left waiting in it, and nothing of it is left. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, promises as fs, readdirSync, readFileSync, readSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { FuseError } from '../../src/fs/errors.js'
import { mount } from '../../src/mount/mount.js'
import { Texts } from './filesystem.js'
import {
  efuse, exit, PATIENCE, place, processesOf, procMounts, ROOT, run, said, skip, startEfuse, startScript, type Result,
} from './support.js'

if (skip) t.plan(0, skip)

t.setTimeout(240_000 * PATIENCE)

/** Mounts in a process of its own, which then does as `then` says. `m` is the mount. */
async function mountedScript(mountpoint: string, then: string, options = ''): Promise<ChildProcess> {
  const url = (path: string): string => JSON.stringify(pathToFileURL(join(ROOT, 'dist', path)).href)
  const script = startScript(`
    import { mount } from ${url('src/mount/mount.js')}
    import { Texts } from ${url('test/mount/filesystem.js')}
    const m = await mount(new Texts({ file: 'text' }), ${JSON.stringify(mountpoint)}, ${JSON.stringify(options)})
    process.once('message', () => { process.disconnect(); ${then} })
    process.send('ready')`)
  await once(script, 'message')
  return script
}

/** Waits until something is so that nobody tells. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10))
}

t.test('a program that ends takes its mounts along, and keeps its exit status', async (t) => {
  for (const [then, status] of [
    ['process.exit(3)', 3],
    ['throw new Error("uncaught")', 1],
    ['Promise.reject(new Error("unhandled"))', 1],
    ['m.unref()', 0],
    ['process.kill(process.pid, "SIGINT")', 'SIGINT'],
    ['process.kill(process.pid, "SIGTERM")', 'SIGTERM'],
    ['process.kill(process.pid, "SIGHUP")', 'SIGHUP'],
    ['process.on("SIGTERM", () => process.exit(5)); process.kill(process.pid, "SIGTERM")', 5],
    ['process.on("SIGTERM", () => m.unmount().then(() => process.exitCode = 6)); process.kill(process.pid, "SIGTERM")', 6],
  ] as const) {
    const { mountpoint } = place(t)
    const script = await mountedScript(mountpoint, then)
    t.ok(procMounts(mountpoint))
    script.send('go')
    const complaint = text(script.stderr!)
    t.equal(await exit(script), status, `${then} ${status === 1 ? '' : await complaint}`)
    t.equal(procMounts(mountpoint), null)
  }
})

t.test('who waits in the mount of a program that ends gets an error', async (t) => {
  const { mountpoint } = place(t)
  const script = startScript(`
    import { mount } from ${JSON.stringify(pathToFileURL(join(ROOT, 'dist/src/mount/mount.js')).href)}
    await mount({
      getattr: () => ({ mode: 0o40755 }),
      lookup: () => new Promise(() => { setTimeout(() => process.exit(0), 50) }),
    }, ${JSON.stringify(mountpoint)})
    process.send('ready')`)
  await once(script, 'message')
  const { status, stderr } = await run('stat', [join(mountpoint, 'never answered')])
  t.equal(status, 1)
  t.match(stderr, /connect|abort/i)
  t.equal(await exit(script), 0)
  t.equal(procMounts(mountpoint), null)
})

t.test('a handler that throws is EIO to its caller, and a line in the log', async (t) => {
  const { mountpoint } = place(t)
  const log: string[] = []
  class Throwing extends Texts {
    override read(): Uint8Array {
      throw new TypeError('a bug')
    }
    override open({ nodeid }: { nodeid: number }): never | Record<string, never> {
      if (nodeid === this.nodeid('refused')) throw new FuseError('EACCES')
      return {}
    }
  }
  const mounted = await mount(new Throwing({ file: 'text', refused: '' }), mountpoint, { onError: (line) => log.push(line) })
  await t.rejects(fs.readFile(join(mountpoint, 'file')), { code: 'EIO' })
  await t.rejects(fs.readFile(join(mountpoint, 'refused')), { code: 'EACCES' })
  t.ok(log.length >= 1)
  t.match(log[0], /FUSE_READ failed.*a bug/s)
  await mounted.unmount()
})

t.test('a mount in use is not unmounted, unless it is forced', async (t) => {
  const { mountpoint } = place(t)
  let asked!: () => void
  const reading = new Promise<void>((resolve) => { asked = resolve })
  class Silent extends Texts {
    override read(): Promise<Uint8Array> {
      asked()
      return new Promise(() => {})
    }
  }
  const mounted = await mount(new Silent({ file: 'text' }), mountpoint)
  const reader = run('cat', [join(mountpoint, 'file')])
  await reading
  await t.rejects(mounted.unmount(), { code: 'EBUSY', message: /in use/ })
  t.ok(procMounts(mountpoint))
  await mounted.unmount({ force: true })
  t.equal(procMounts(mountpoint), null)
  t.equal((await reader).status, 1)
  await mounted.closed
})

t.test('a mount that is unmounted lazily serves on until its last user is gone', async (t) => {
  const { mountpoint } = place(t)
  const mounted = await mount(new Texts({ file: 'text' }), mountpoint, { directIo: true })
  const user = await fs.open(join(mountpoint, 'file'))
  await mounted.unmount({ lazy: true })
  t.equal(procMounts(mountpoint), null)
  t.equal((await user.read(Buffer.alloc(4), 0, 4, 0)).bytesRead, 4)
  await user.close()
  t.equal(await mounted.closed, 'unmounted')
})

t.test('umount by others ends the mount', async (t) => {
  const { mountpoint } = place(t)
  const mounted = await mount(new Texts({}), mountpoint)
  t.equal((await run('umount', [mountpoint])).status, 0)
  t.equal(await mounted.closed, 'unmounted')
})

t.test('many mounts leave no descriptor behind', async (t) => {
  const { mountpoint } = place(t)
  const cycle = async (): Promise<void> => {
    const mounted = await mount(new Texts({ a: 'a' }), mountpoint)
    await fs.readFile(join(mountpoint, 'a'))
    await mounted.unmount()
  }
  await cycle()
  const before = readdirSync('/proc/self/fd').length
  for (let i = 0; i < 10; i++) await cycle()
  t.equal(readdirSync('/proc/self/fd').length, before)
})

/** The errno's name that a call fails with; undefined when it does not. */
function codeOf(call: () => unknown): string | undefined {
  try {
    call()
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
}

// The command line's server ----------------------------------------------------------------------

t.test('a dead mount is replaced by a new one, and can be unmounted', async (t) => {
  const { source, mountpoint } = place(t)
  const killServer = async (): Promise<void> => {
    for (const pid of processesOf(mountpoint)) process.kill(pid, 'SIGKILL')
    await until(() => processesOf(mountpoint).length === 0)
  }
  t.equal((await efuse('mount', source, mountpoint)).status, 0)
  await killServer()
  // Whoever asks while the connection is being torn down is told ECONNABORTED.
  await until(() => codeOf(() => statfsSync(mountpoint)) === 'ENOTCONN')
  t.equal((await efuse('mount', source, mountpoint)).status, 0)
  t.strictSame(readdirSync(mountpoint), [])
  await killServer()
  t.equal((await efuse('umount', mountpoint)).status, 0)
  t.equal(procMounts(mountpoint), null)
})

t.test('with auto_unmount nothing is left even of a server that was killed', async (t) => {
  const { source, mountpoint } = place(t)
  const server = startEfuse(['mount', source, mountpoint, '-f', '-o', 'auto_unmount'])
  await said(server.stderr!, /serving/)
  server.kill('SIGKILL')
  await exit(server)
  await until(() => procMounts(mountpoint) === null)
  t.pass('unmounted')
  await until(() => processesOf(mountpoint).length === 0)

  t.equal((await efuse('mount', source, mountpoint, '-o', 'auto_unmount')).status, 0)
  t.equal((await efuse('umount', mountpoint)).status, 0)
  await until(() => processesOf(mountpoint).length === 0)
})

t.test('efuse umount of a mount in use fails, and says how to force it', async (t) => {
  const { source, mountpoint } = place(t)
  writeFileSync(join(source, 'file'), 'text')
  t.equal((await efuse('mount', source, mountpoint)).status, 0)
  const user = openSync(join(mountpoint, 'file'), 'r')
  const refused = await efuse('umount', mountpoint)
  t.equal(refused.status, 1)
  t.match(refused.stderr, /in use.*--force/)
  t.ok(procMounts(mountpoint))
  t.equal((await efuse('umount', mountpoint, '--force')).status, 0)
  t.equal(procMounts(mountpoint), null)
  t.strictSame(processesOf(mountpoint), [])
  closeSync(user)
})

t.test('umount(8) ends the server, which exits 0', async (t) => {
  const { source, mountpoint } = place(t)
  const server = startEfuse(['mount', source, mountpoint, '-f'])
  await said(server.stderr!, /serving/)
  t.equal((await run('umount', [mountpoint])).status, 0)
  t.equal(await exit(server), 0)
})

t.test('a signalled server serves its last users, a second signal ends it at once', async (t) => {
  const { source, mountpoint } = place(t)
  writeFileSync(join(source, 'file'), 'text')
  const start = async (): Promise<{ server: ChildProcess; user: number }> => {
    const server = startEfuse(['mount', source, mountpoint, '-f', '-o', 'direct_io'])
    await said(server.stderr!, /serving/)
    const user = openSync(join(mountpoint, 'file'), 'r')
    server.kill('SIGTERM')
    await until(() => procMounts(mountpoint) === null)
    return { server, user }
  }
  const first = await start()
  t.equal(readSync(first.user, Buffer.alloc(4), 0, 4, 0), 4)
  closeSync(first.user)
  t.equal(await exit(first.server), 0)

  const second = await start()
  second.server.kill('SIGTERM')
  t.equal(await exit(second.server), 0)
  t.throws(() => readSync(second.user, Buffer.alloc(4), 0, 4, 0))
  t.throws(() => closeSync(second.user), 'there is nobody to flush to')
})

/** A module whose files do strange things when they are looked up. */
const STRANGE = `
  import { isMainThread } from 'node:worker_threads'
  const root = { mode: 0o40755 }
  export default () => ({
    getattr: () => root,
    lookup({ name }) {
      if (name === 'exit') process.exit(1)
      if (name === 'crash') setImmediate(() => { throw new Error('crashed') })
      if (name === 'reject') Promise.reject(new Error('rejected'))
      if (name === 'loop') for (;;);
      if (name === 'fill') { const all = []; for (;;) all.push(new Array(1e6).fill(name)) }
      if (name === 'never' || name === 'crash' || name === 'reject') return new Promise(() => {})
      return { nodeid: 2, attr: root }
    },
  })`

async function statOf(mountpoint: string, name: string): Promise<Result> {
  return run('stat', ['-c', '%n', join(mountpoint, name)])
}

t.test('a worker that dies fails its own requests, and is replaced', async (t) => {
  const { directory, mountpoint } = place(t)
  const module = join(directory, 'strange.mjs')
  writeFileSync(module, `${STRANGE}\nexport const concurrency = 'shared'`)
  const server = startEfuse(['mount', 'x', mountpoint, '-f', '--fs', module, '--workers', '2', '-o', 'attr_timeout=0,entry_timeout=0'])
  await said(server.stderr!, /serving/)
  for (const name of ['crash', 'exit', 'reject']) {
    t.equal((await statOf(mountpoint, name)).status, 1, name)
    await said(server.stderr!, /is replaced/)
    t.equal((await statOf(mountpoint, 'fine')).status, 0, `after ${name}`)
  }
  t.match(JSON.parse((await efuse('stat', mountpoint, '--json')).stdout), { workers: 2 })
  t.equal((await efuse('umount', mountpoint)).status, 0)
  t.equal(await exit(server), 0)
})

t.test('a file system whose only worker dies is unmounted, and the server exits 1', async (t) => {
  for (const name of ['crash', 'exit', 'reject', 'fill']) {
    const { directory, mountpoint } = place(t)
    const module = join(directory, 'strange.mjs')
    writeFileSync(module, STRANGE)
    const server = startEfuse(['mount', 'x', mountpoint, '-f', '--fs', module], { memory: 64 })
    await said(server.stderr!, /serving/)
    t.equal((await statOf(mountpoint, name)).status, 1, name)
    t.equal(await exit(server), 1)
    t.equal(procMounts(mountpoint), null)
  }
})

t.test('a handler that never answers, or never returns, does not keep the server', async (t) => {
  for (const name of ['never', 'loop']) {
    for (const end of ['umount --force', 'signals'] as const) {
      const { directory, mountpoint } = place(t)
      const module = join(directory, 'strange.mjs')
      writeFileSync(module, STRANGE)
      const server = startEfuse(['mount', 'x', mountpoint, '-f', '--fs', module])
      await said(server.stderr!, /serving/)
      const waiting = spawn('stat', [join(mountpoint, name)], { stdio: 'ignore' })
      // Nobody tells when it waits: its system call does.
      await until(() => /fuse|request_wait/.test(readFileSync(`/proc/${waiting.pid}/wchan`, 'latin1'))
        || /^(4|262|332) /.test(syscallOf(waiting.pid!)))
      if (end === 'signals') {
        server.kill('SIGTERM')
        await until(() => procMounts(mountpoint) === null)
        server.kill('SIGTERM')
      } else {
        t.equal((await efuse('umount', mountpoint, '--force')).status, 0)
      }
      t.equal(await exit(waiting), 1)
      t.equal(await exit(server), 0, `${name}: ${end}`)
      t.equal(procMounts(mountpoint), null)
    }
  }
})

function syscallOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/syscall`, 'latin1')
  } catch {
    return ''
  }
}
