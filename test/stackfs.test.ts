// SPDX-License-Identifier: MIT
/**
 * StackFS without a mount: a scripted kernel asks what a real one would, and what none should. Each
 * test runs twice: with inodes found again by file handle, as root has it, and by name, as ordinary
 * users have it.
 */
import { execFileSync, spawn } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import * as native from '../src/native.js'
import { EFUSE_CAN_ATTR, EFUSE_CAN_NO_HANDLE } from '../src/protocol/efuse-module.js'
import { StackFS, prepareStackFS } from '../src/fs/stackfs/index.js'
import { ScriptedKernel } from '../src/testing/index.js'
import type { StackFSOptions } from '../src/fs/stackfs/index.js'

const asRoot = process.geteuid!() === 0
const { CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN, O_RDWR, O_CREAT, O_EXCL, O_APPEND, O_TRUNC } = native.constants

interface Ground {
  source: string
  kernel: ScriptedKernel
  /** Ends the service and says how many descriptors were left over. */
  end(): Promise<number>
}

const openDescriptors = () => fs.readdirSync('/proc/self/fd').length

async function serve(
  options: Partial<StackFSOptions> = {}, fill: (source: string) => void = () => {},
): Promise<Ground> {
  const source = fs.mkdtempSync(join(tmpdir(), 'efuse-stackfs-'))
  fill(source)
  const before = openDescriptors()
  const kernel = new ScriptedKernel(new StackFS({ source, ...options }))
  await kernel.init()
  return {
    source,
    kernel,
    async end() {
      await kernel.shutdown()
      await kernel.dispatcher.destroy()
      const left = openDescriptors() - before
      fs.rmSync(source, { recursive: true, force: true })
      return left
    },
  }
}

function suite(t: Test, byHandle: boolean): void {
  t.test('files without handles, and attributes behind a write, where efuse.ko wants them', async (t) => {
    const { kernel, source, end } = await serve({ passthrough: false })
    const none = 0xffffffffffffffffn
    const { entry, open } = await kernel.create(1, 'f', 0o600, O_RDWR | O_CREAT, { wants: EFUSE_CAN_NO_HANDLE })
    t.equal(open.fh, none)
    const write = async (text: string, offset: number, flags = 0): Promise<number[]> => {
      const answer = Buffer.from(await kernel.call('FUSE_WRITE', entry.nodeid, { fh: none, offset, size: text.length, flags }, [],
        Buffer.from(text), { wants: EFUSE_CAN_ATTR }))
      // fuse_write_out, and fuse_attr_out: 16 bytes of time-outs, inode number, size
      return [answer.length, answer.readUInt32LE(0), Number(answer.readBigUInt64LE(8 + 16 + 8))]
    }
    t.strictSame(await write('hello', 0), [8 + 104, 5, 5])
    t.strictSame(await write('!', 0, O_APPEND), [8 + 104, 1, 6], 'appended')
    t.equal(Buffer.from(await kernel.read(entry.nodeid, none, 0, 100)).toString(), 'hello!')
    t.ok((await kernel.readdir(1, none)).some(({ name }) => String(name) === 'f'))
    const emptied = await kernel.open(entry.nodeid, O_RDWR | O_TRUNC, { wants: EFUSE_CAN_NO_HANDLE })
    t.equal(emptied.fh, none)
    t.equal(fs.statSync(join(source, 'f')).size, 0)
    await kernel.unlink(1, 'f')
    t.strictSame(await write('gone', 0), [8 + 104, 4, 4], 'a file without a name')
    await kernel.release(entry.nodeid, none)
    t.equal((await kernel.open(entry.nodeid, O_RDWR)).fh === none, false, 'only where it is wanted')
    t.equal((await kernel.call('FUSE_WRITE', entry.nodeid, { fh: none, size: 1 }, [], Buffer.from('x'))).length, 8)
    await end()
  })

  t.test('a tree is what it is on the source', async (t) => {
    const { kernel, source, end } = await serve()
    await kernel.paths.mkdir('/d')
    await kernel.paths.writeFile('/d/f', Buffer.from('hello'))
    t.equal(fs.readFileSync(join(source, 'd/f'), 'utf8'), 'hello')
    const attr = await kernel.getattr(await kernel.path('/d/f'))
    const stat = fs.statSync(join(source, 'd/f'), { bigint: true })
    t.equal(BigInt(attr.ino), stat.ino)
    t.equal(attr.mtime, stat.mtimeNs)
    t.equal(attr.size, 5)
    t.same((await kernel.paths.readdir('/d')).map(String).filter((name) => !name.startsWith('.')), ['f'])
    t.equal(await end(), 0, 'nothing stays open')
  })

  t.test('names that could lead elsewhere are refused', async (t) => {
    const { kernel, end } = await serve({}, (source) => fs.mkdirSync(join(source, 'd')))
    const dir = await kernel.path('/d')
    const inside = await kernel.create(dir, 'f', 0o644, O_RDWR | O_CREAT | O_EXCL)
    for (const name of ['../escaped', 'a/b', '.', '..', '']) {
      const tries: Record<string, () => Promise<unknown>> = {
        mkdir: () => kernel.mkdir(dir, name),
        mknod: () => kernel.mknod(dir, name, 0o100644),
        symlink: () => kernel.symlink(dir, name, 'x'),
        create: () => kernel.create(dir, name, 0o644, O_RDWR | O_CREAT),
        unlink: () => kernel.unlink(dir, name),
        rmdir: () => kernel.rmdir(dir, name),
        link: () => kernel.link(inside.entry.nodeid, dir, name),
        'rename from': () => kernel.rename(dir, name, dir, 'y'),
        'rename to': () => kernel.rename(dir, 'f', dir, name),
      }
      for (const [what, attempt] of Object.entries(tries)) {
        await t.rejects(attempt() as Promise<void>, { code: 'EINVAL' }, `${what} ${JSON.stringify(name)}`)
      }
    }
    await t.rejects(kernel.lookup(dir, '../d'), { code: 'EINVAL' })
    await kernel.release(inside.entry.nodeid, inside.open.fh)
    t.equal(await end(), 0)
  })

  t.test('a file handle or nodeid that was not given out is refused', async (t) => {
    const { kernel, end } = await serve({}, (source) => fs.writeFileSync(join(source, 'f'), 'x'))
    const node = await kernel.path('/f')
    for (const fh of [0, 1, 2, 17, 100000, 2 ** 31, 2 ** 40]) {
      await t.rejects(kernel.read(node, fh, 0, 10), { code: 'EBADF' })
      await t.rejects(kernel.write(node, fh, 0, Buffer.from('y')), { code: 'EBADF' })
      await t.rejects(kernel.release(node, fh), { code: 'EBADF' })
    }
    for (const forged of [2, 12345, 2 ** 40]) await t.rejects(kernel.getattr(forged), { code: 'ESTALE' })
    t.equal(await end(), 0)
  })

  t.test('a symbolic link put in the way is not followed', async (t) => {
    const outside = fs.mkdtempSync(join(tmpdir(), 'efuse-outside-'))
    fs.writeFileSync(join(outside, 'secret'), 'secret')
    const { kernel, end } = await serve({}, (source) => {
      fs.symlinkSync(join(outside, 'secret'), join(source, 'link'))
      fs.symlinkSync(outside, join(source, 'dirlink'))
    })
    const link = await kernel.lookup(1, 'link')
    t.equal(link.attr.mode & 0o170000, 0o120000, 'a look-up finds the link itself')
    t.equal(await kernel.readlink(link.nodeid), join(outside, 'secret'))
    await t.rejects(kernel.create(1, 'link', 0o644, O_RDWR | O_CREAT), { code: 'ESTALE' })
    await t.rejects(kernel.open(link.nodeid, O_RDWR), 'the link can not be opened')
    const dirlink = await kernel.lookup(1, 'dirlink')
    await t.rejects(kernel.lookup(dirlink.nodeid, 'secret'), { code: 'ENOTDIR' })
    await t.rejects(kernel.opendir(dirlink.nodeid))
    t.equal(fs.readFileSync(join(outside, 'secret'), 'utf8'), 'secret')
    fs.rmSync(outside, { recursive: true })
    t.equal(await end(), 0)
  })

  t.test('far more inodes than descriptors', async (t) => {
    const count = 500
    const { kernel, source, end } = await serve({ maxCachedDescriptors: 16 }, (source) => {
      for (let d = 0; d < 5; d++) {
        fs.mkdirSync(join(source, `d${d}`))
        for (let i = 0; i < count / 5; i++) fs.writeFileSync(join(source, `d${d}`, `f${i}`), `${d} ${i}`)
      }
    })
    const nodes: [number | bigint, string][] = []
    for (let d = 0; d < 5; d++) {
      for (let i = 0; i < count / 5; i++) nodes.push([await kernel.path(`/d${d}/f${i}`), join(source, `d${d}`, `f${i}`)])
    }
    t.ok(openDescriptors() < 120, `${openDescriptors()} descriptors for ${count} inodes`)
    for (const [node, path] of nodes) {
      const { ino } = await kernel.getattr(node)
      if (BigInt(ino) !== fs.statSync(path, { bigint: true }).ino) t.fail(`${path} is another inode`)
    }
    fs.renameSync(join(source, 'd0'), join(source, 'd0'))
    await kernel.rename(1, 'd0', await kernel.path('/d1'), 'moved')
    for (const [node] of nodes.slice(0, count / 5)) await kernel.getattr(node)
    t.pass('inodes are found under a directory that was renamed')
    t.equal(await end(), 0)
  })

  t.test('an inode without a name lives on while the kernel has it', async (t) => {
    const { kernel, source, end } = await serve({ maxCachedDescriptors: 4 }, (source) => {
      for (let i = 0; i < 50; i++) fs.writeFileSync(join(source, `f${i}`), `content ${i}`)
      fs.mkdirSync(join(source, 'dir'))
      fs.writeFileSync(join(source, 'two'), '')
      fs.linkSync(join(source, 'two'), join(source, 'names'))
    })
    const gone = await kernel.lookup(1, 'f0')
    const replaced = await kernel.lookup(1, 'f1')
    const dir = await kernel.lookup(1, 'dir')
    const linked = await kernel.lookup(1, 'two')
    await kernel.unlink(1, 'f0')
    await kernel.rename(1, 'f2', 1, 'f1')
    await kernel.rmdir(1, 'dir')
    await kernel.unlink(1, 'two')
    await kernel.unlink(1, 'names')
    for (let i = 3; i < 50; i++) await kernel.getattr((await kernel.lookup(1, `f${i}`)).nodeid)
    for (const { nodeid } of [gone, replaced, dir, linked]) t.equal((await kernel.getattr(nodeid)).nlink, 0)
    const open = await kernel.open(gone.nodeid, O_RDWR)
    t.equal(Buffer.from(await kernel.read(gone.nodeid, open.fh, 0, 100)).toString(), 'content 0')
    await kernel.release(gone.nodeid, open.fh)
    t.notOk(fs.existsSync(join(source, 'f0')))
    t.equal(await end(), 0)
  })

  t.test('what was replaced behind our back is not taken for what it was', async (t) => {
    const { kernel, source, end } = await serve({ maxCachedDescriptors: 0 }, (source) => {
      for (const name of ['f', 'a', 'b', 'c']) fs.writeFileSync(join(source, name), 'old')
    })
    const old = await kernel.lookup(1, 'f')
    for (const name of ['a', 'b', 'c', 'a', 'b', 'c']) await kernel.getattr((await kernel.lookup(1, name)).nodeid)
    fs.writeFileSync(join(source, 'new'), 'new')
    fs.renameSync(join(source, 'new'), join(source, 'f'))
    const attr = await kernel.getattr(old.nodeid).catch((error) => error)
    t.ok(attr.code === 'ESTALE' || attr.nlink === 0, 'the old inode, or none')
    const now = await kernel.lookup(1, 'f')
    t.not(`${now.nodeid} ${now.generation}`, `${old.nodeid} ${old.generation}`)
    t.equal(await end(), 0)
  })

  t.test('listings are complete in the smallest pieces, and while names come and go', async (t) => {
    const { kernel, source, end } = await serve({}, (source) => {
      for (let i = 0; i < 400; i++) fs.writeFileSync(join(source, `name-${i}`), '')
    })
    const dir = await kernel.opendir(1)
    for (const plus of [false, true]) {
      const seen = new Map<string, number>()
      let offset: number | bigint = 0
      for (let turn = 0; ; turn++) {
        const some: { name: string; off: number | bigint }[] = plus
          ? await kernel.readdirplus(1, dir.fh, offset, 600)
          : await kernel.readdir(1, dir.fh, offset, 300)
        if (some.length === 0) break
        for (const { name } of some) seen.set(name, (seen.get(name) ?? 0) + 1)
        offset = some.at(-1)!.off
        if (turn === 20) fs.rmSync(join(source, 'name-399'), { force: true })
        if (turn === 30) fs.writeFileSync(join(source, `fresh-${plus}`), '')
      }
      for (let i = 0; i < 399; i++) if (seen.get(`name-${i}`) !== 1) t.fail(`name-${i} seen ${seen.get(`name-${i}`)} times`)
      t.pass(`${seen.size} names, plus: ${plus}`)
    }
    await kernel.releasedir(1, dir.fh)
    t.equal(await end(), 0)
  })

  t.test('creating goes in the name of the caller, with umask and group', { skip: !asRoot && 'needs root' }, async (t) => {
    const { kernel, source, end } = await serve({}, (source) => {
      fs.mkdirSync(join(source, 'd'))
      fs.chownSync(join(source, 'd'), 0, 555)
      fs.chmodSync(join(source, 'd'), 0o770)
    })
    const dir = await kernel.path('/d')
    const caller = { uid: 1234, gid: 4321, group: 555 }
    await kernel.mkdir(dir, 'made', 0o777, caller)
    const made = fs.statSync(join(source, 'd/made'))
    t.same([made.uid, made.gid], [1234, 4321])
    const { open, entry } = await kernel.create(dir, 'file', 0o666, O_RDWR | O_CREAT, caller)
    const file = fs.statSync(join(source, 'd/file'))
    t.same([file.uid, file.gid], [1234, 4321])
    await kernel.symlink(dir, 'link', 'file', caller)
    t.equal(fs.lstatSync(join(source, 'd/link')).uid, 1234)
    await kernel.release(entry.nodeid, open.fh)
    fs.writeFileSync(join(source, 'mine'), '')
    t.equal(fs.statSync(join(source, 'mine')).uid, 0, 'and the thread is itself again')
    t.equal(await end(), 0)
  })

  t.test('other file systems below the source', { skip: !asRoot && 'needs root' }, async (t) => {
    const mounts: string[] = []
    const tmpfs = (at: string) => {
      execFileSync('mount', ['-t', 'tmpfs', 'none', at])
      mounts.push(at)
    }
    t.teardown(() => { for (const at of mounts) execFileSync('umount', ['-l', at]) })
    const { kernel, source, end } = await serve({}, (source) => {
      for (const name of ['before', 'after']) fs.mkdirSync(join(source, name))
      fs.writeFileSync(join(source, 'after', 'underneath'), '')
      tmpfs(join(source, 'before'))
      fs.writeFileSync(join(source, 'before', 'f'), 'on tmpfs')
    })
    t.equal(Buffer.from(await kernel.paths.readFile('/before/f')).toString(), 'on tmpfs')
    const inodeOf = async (path: string) => String((await kernel.getattr(await kernel.path(path))).ino)
    const inodes = new Set(await Promise.all(['/', '/before', '/before/f', '/after'].map(inodeOf)))
    t.equal(inodes.size, 4, 'inode numbers differ although the file systems may share some')
    tmpfs(join(source, 'after'))
    if (byHandle) {
      t.ok(await kernel.path('/after/underneath'), 'a later mount is not seen')
    } else {
      await t.rejects(kernel.lookup(1, 'after'), { code: 'ELOOP' }, 'a later mount, ours perhaps, is not entered')
    }
    await kernel.shutdown()
    await kernel.dispatcher.destroy()
    for (const at of mounts.splice(0)) execFileSync('umount', ['-l', at])
    await end()
  })

  if (byHandle) t.test('exported handles come back after everything was forgotten', async (t) => {
    const { kernel, end } = await serve({}, (source) => {
      fs.mkdirSync(join(source, 'd'))
      fs.writeFileSync(join(source, 'd/f'), 'x')
    })
    const file = await kernel.lookup(await kernel.path('/d'), 'f')
    const dir = await kernel.lookup(1, 'd')
    await kernel.forgetAll()
    const again = await kernel.lookup(file.nodeid, '.')
    t.same([again.nodeid, again.generation], [file.nodeid, file.generation])
    await kernel.lookup(dir.nodeid, '.')
    await kernel.unlink(dir.nodeid, 'f')
    await kernel.forgetAll()
    await t.rejects(kernel.lookup(file.nodeid, '.'), { code: 'ESTALE' })
    await t.rejects(kernel.lookup(file.nodeid, '.', { uid: 1000 }), { code: 'ESTALE' })
    t.equal(await end(), 0)
  })

  if (byHandle) t.test('an inode whose number is just being given to another has gone', async (t) => {
    const { kernel, source, end } = await serve({ maxCachedDescriptors: 0 })
    const others = ['a', 'b'].map((name) => spawn(process.execPath, ['-e', `const fs = require('fs')
      for (;;) {
        fs.symlinkSync('.', '${name}.new')
        fs.renameSync('${name}.new', '${name}')
      }`], { cwd: source, stdio: 'ignore' }))
    while (!fs.existsSync(join(source, 'a'))) await sleep(10)
    const codes: Record<string, number> = {}
    for (const until = Date.now() + 4000; Date.now() < until;) {
      const { nodeid, attr } = await kernel.lookup(1, 'a')
      // Looking up opens nothing, so nothing keeps the inode.
      while (BigInt(fs.lstatSync(join(source, 'a')).ino) === BigInt(attr.ino)) await sleep(1)
      for (let time = 0; time < 200; time++) {
        const code = await kernel.readlink(nodeid).then(() => 'found', (error) => String(error.code))
        codes[code] = (codes[code] ?? 0) + 1
      }
      await kernel.forgetAll()
    }
    t.ok(codes.ESTALE > 0)
    t.equal(codes.ENOMEM, undefined, JSON.stringify(codes))
    const ended = others.map((other) => new Promise((done) => other.once('exit', done)))
    for (const other of others) other.kill('SIGKILL')
    await Promise.all(ended)
    t.equal(await end(), 0)
  })

  t.test('a source that is not there is an error at once', async (t) => {
    t.throws(() => prepareStackFS({ source: '/nonexistent/source' }), { code: 'ENOENT' })
  })
}

t.test('inodes by file handle', { skip: !asRoot && 'needs root' }, async (t) => {
  suite(t, true)
})
t.test('inodes by name', async (t) => {
  // For good, in this thread: what an ordinary user lacks.
  native.dropCapability(CAP_DAC_READ_SEARCH)
  native.dropCapability(CAP_SYS_ADMIN)
  suite(t, false)
})
