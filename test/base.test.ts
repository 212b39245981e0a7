// SPDX-License-Identifier: MIT
/** BaseFileSystem: what a file system of a few methods answers to everything else. */
import { constants } from 'node:fs'
import t from 'tap'
import { BaseFileSystem, FuseError, S_IFDIR, S_IFREG } from '../src/index.js'
import { ScriptedKernel } from '../src/testing/index.js'

const ROOT = 1
const { O_RDONLY, O_RDWR, O_WRONLY } = constants

/** One file, as a newcomer would write it. */
class OneFile extends BaseFileSystem {
  override lookup({ name }: { name: string }) {
    if (name !== 'file') throw new FuseError('ENOENT')
    return { nodeid: 2, attr: { mode: S_IFREG | 0o444, size: 4 } }
  }
  override getattr({ nodeid }: { nodeid: number }) {
    return nodeid === 2 ? { mode: S_IFREG | 0o444, size: 4 } : { mode: S_IFDIR | 0o755 }
  }
  read() {
    return 'text'
  }
}

class Writable extends OneFile {
  write({ size }: { size: number }) {
    return size
  }
}

async function answers(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt
    return 'done'
  } catch (error) {
    if (error instanceof FuseError) return error.code
    throw error
  }
}

t.test('alone it is an empty directory that nobody can write to', async (t) => {
  const kernel = await ScriptedKernel.start(new BaseFileSystem())
  t.match(await kernel.getattr(ROOT), { mode: S_IFDIR | 0o755, nlink: 2 })
  t.same(await kernel.paths.readdir('/'), [])
  t.equal(await answers(kernel.lookup(ROOT, 'x')), 'ENOENT')
  t.equal(await answers(kernel.getattr(2)), 'ENOENT')
  t.equal(await answers(kernel.readlink(ROOT)), 'EINVAL')
  t.equal(await answers(kernel.statfs()), 'done', 'df(1) works')
})

t.test('what changes things is refused as the kernel refuses it where there is no such operation', async (t) => {
  const kernel = await ScriptedKernel.start(new BaseFileSystem())
  for (const attempt of [
    kernel.mknod(ROOT, 'x', S_IFREG), kernel.mkdir(ROOT, 'x'), kernel.symlink(ROOT, 'x', 'y'),
    kernel.link(2, ROOT, 'x'), kernel.unlink(ROOT, 'x'), kernel.rmdir(ROOT, 'x'), kernel.rename(ROOT, 'x', ROOT, 'y'),
    kernel.setattr(ROOT, { mode: 0o700 }),
  ]) t.equal(await answers(attempt), 'EPERM')
  t.equal(await answers(kernel.paths.writeFile('/x', 'text')), 'EPERM', 'by way of mknod, as there is no create')
})

t.test('what the kernel does better by itself is left to it', async (t) => {
  const kernel = await ScriptedKernel.start(new BaseFileSystem())
  for (const attempt of [
    kernel.flush(ROOT, 0), kernel.fsync(ROOT, 0), kernel.access(ROOT, 4), kernel.getxattr(ROOT, 'user.x'),
    kernel.listxattr(ROOT), kernel.lseek(ROOT, 0, 0, 3), kernel.create(ROOT, 'x'), kernel.tmpfile(ROOT),
    kernel.getlk(ROOT, 0, 0, { type: 0 }), kernel.readdirplus(ROOT, 0), kernel.statx(ROOT, 1), kernel.poll(ROOT, 0, 1),
  ]) t.equal(await answers(attempt), 'ENOSYS')
  t.notOk(kernel.dispatcher.negotiation.has('FUSE_DO_READDIRPLUS'), 'and not promised')
  t.notOk(kernel.dispatcher.negotiation.has('FUSE_POSIX_LOCKS'))
})

t.test('files open for reading; for writing only where there is a write', async (t) => {
  const reading = await ScriptedKernel.start(new OneFile())
  t.equal(await reading.paths.readText('/file'), 'text')
  t.equal(await answers(reading.open(2, O_RDONLY)), 'done')
  t.equal(await answers(reading.open(2, O_WRONLY)), 'EROFS')
  t.equal(await answers(reading.open(2, O_RDWR)), 'EROFS')
  const writing = await ScriptedKernel.start(new Writable())
  t.equal(await answers(writing.open(2, O_RDWR)), 'done')
  t.equal(await writing.write(2, 0, 0, new Uint8Array(3)), 3)
})

t.test('a listing that keeps nothing open needs no handle', async (t) => {
  const kernel = await ScriptedKernel.start(new BaseFileSystem())
  t.match(await kernel.opendir(ROOT), { fh: 0, openFlags: 0 })
  t.equal(await answers(kernel.releasedir(ROOT, 0)), 'done')
})
