// SPDX-License-Identifier: MIT
/** MemFS, request by request, against a kernel in memory. */
import { constants as fsConstants } from 'node:fs'
import t, { type Test } from 'tap'
import { MemFS, type MemFSOptions } from '../src/fs/memfs/index.js'
import {
  FATTR_GID, FATTR_KILL_SUIDGID, FATTR_MTIME, FATTR_MTIME_NOW, FATTR_SIZE, FATTR_UID, FUSE_OPEN_KILL_SUIDGID,
  FUSE_SETXATTR_ACL_KILL_SGID, FUSE_WRITE_KILL_SUIDGID, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK,
} from '../src/protocol/constants.js'
import { isErrno, ScriptedKernel, type KernelDirent, type Wide } from '../src/testing/index.js'
import type { ErrnoName } from '../src/fs/errors.js'

const ROOT = 1
const PAGE = 4096
const { O_EXCL, O_RDWR, O_TRUNC } = fsConstants

const RENAME_NOREPLACE = 1
const RENAME_EXCHANGE = 2
const RENAME_WHITEOUT = 4
const KEEP_SIZE = 1
const PUNCH_HOLE = 2
const COLLAPSE_RANGE = 8
const ZERO_RANGE = 16
const SEEK_DATA = 3
const SEEK_HOLE = 4
const XATTR_CREATE = 1
const XATTR_REPLACE = 2

const bytes = (text: string) => new TextEncoder().encode(text)
const text = (data: Uint8Array) => new TextDecoder().decode(data)

async function start(options: MemFSOptions = {}) {
  const memfs = new MemFS({ maxBytes: 1 << 20, maxInodes: 100, uid: 0, gid: 0, ...options })
  const kernel = await ScriptedKernel.start(memfs)
  return { memfs, kernel, paths: kernel.paths }
}

/** Expects a request to fail with an errno. */
async function fails(t: Test, attempt: Promise<unknown>, code: ErrnoName, what: string): Promise<void> {
  try {
    await attempt
    t.fail(`${what}: succeeded instead of ${code}`)
  } catch (error) {
    t.ok(isErrno(error, code), `${what}: ${code}`, isErrno(error, code) ? {} : { error })
  }
}

/** Says where contents differ first: a listing of thousands of bytes would help nobody. */
function sameBytes(t: Test, actual: Uint8Array, expected: Uint8Array, what: string): void {
  const differs = expected.findIndex((byte, index) => actual[index] !== byte)
  t.same({ length: actual.length, differs }, { length: expected.length, differs: -1 }, what)
}

/** An access list's attribute: [tag, permissions, id]... */
function acl(...entries: [tag: number, permissions: number, id?: number][]): Uint8Array {
  const value = new DataView(new ArrayBuffer(4 + entries.length * 8))
  value.setUint32(0, 2, true)
  entries.forEach(([tag, permissions, id = 0xffffffff], index) => {
    value.setUint16(4 + index * 8, tag, true)
    value.setUint16(6 + index * 8, permissions, true)
    value.setUint32(8 + index * 8, id, true)
  })
  return new Uint8Array(value.buffer)
}
const USER_OBJ = 1
const USER = 2
const GROUP_OBJ = 4
const MASK = 16
const OTHER = 32
const ACCESS = 'system.posix_acl_access'
const DEFAULT = 'system.posix_acl_default'

t.test('asks for what it honours', async (t) => {
  const { kernel } = await start()
  const { negotiation } = kernel.dispatcher
  t.ok(negotiation.has('FUSE_POSIX_ACL'), 'access lists, and with them default_permissions')
  t.ok(negotiation.has('FUSE_DONT_MASK'))
  t.ok(negotiation.has('FUSE_HANDLE_KILLPRIV_V2'))
  t.ok(negotiation.has('FUSE_ATOMIC_O_TRUNC'))
  t.ok(negotiation.has('FUSE_EXPORT_SUPPORT'))
})

t.test('the root directory has the mode and owner of the options', async (t) => {
  const { kernel } = await start({ uid: 5, gid: 6, mode: 0o1777 })
  t.match(await kernel.getattr(ROOT), { mode: S_IFDIR | 0o1777, uid: 5, gid: 6, nlink: 2, ino: 1 })
  t.throws(() => new MemFS({ maxInodes: 0 }), { message: /maxInodes/ })
  t.throws(() => new MemFS({ maxBytes: NaN }), { message: /maxBytes/ })
})

t.test('files', async (t) => {
  t.test('are written and read back, across pages and in small pieces', async (t) => {
    const { kernel, paths } = await start()
    const content = Uint8Array.from({ length: 3 * PAGE + 17 }, (_, index) => (index * 7) & 255)
    const nodeid = await paths.writeFile('/f', content)
    sameBytes(t, await paths.readFile('/f'), content, 'in one piece')
    sameBytes(t, await paths.readFile('/f', 1000), content, 'in pieces')
    t.same(await kernel.read(nodeid, 0, PAGE - 3, 7), content.subarray(PAGE - 3, PAGE + 4))
    t.match(await kernel.getattr(nodeid), { size: content.length, blocks: 4 * 8, nlink: 1 })
    t.equal((await kernel.read(nodeid, 0, content.length + 5, 10)).length, 0, 'nothing behind the end')
  })

  t.test('are sparse: a write far out takes one page and leaves zeros', async (t) => {
    const { kernel, paths, memfs } = await start()
    const nodeid = await paths.writeFile('/f', 'a')
    await kernel.write(nodeid, 0, 2 ** 40, bytes('z'))
    t.equal(memfs.usage.bytes, 2 * PAGE)
    t.equal((await kernel.getattr(nodeid)).size, 2 ** 40 + 1)
    t.same(await kernel.read(nodeid, 0, 2 ** 40 - 4, 10), Uint8Array.of(0, 0, 0, 0, 122))
    t.equal(await kernel.lseek(nodeid, 0, 0, SEEK_DATA), 0)
    t.equal(await kernel.lseek(nodeid, 0, 0, SEEK_HOLE), PAGE)
    t.equal(await kernel.lseek(nodeid, 0, PAGE, SEEK_DATA), 2 ** 40)
    t.equal(await kernel.lseek(nodeid, 0, 2 ** 40, SEEK_HOLE), 2 ** 40 + 1, 'the end is a hole')
    await fails(t, kernel.lseek(nodeid, 0, 2 ** 40 + 1, SEEK_DATA), 'ENXIO', 'behind the end')
    await fails(t, kernel.lseek(nodeid, 0, 0, 2), 'EINVAL', 'a whence that the kernel never sends')
  })

  t.test('come back as zeros where they were cut off', async (t) => {
    const { kernel, paths, memfs } = await start()
    const nodeid = await paths.writeFile('/f', new Uint8Array(2 * PAGE).fill(1))
    await kernel.setattr(nodeid, { size: 10 })
    t.equal(memfs.usage.bytes, PAGE)
    await kernel.setattr(nodeid, { size: PAGE + 1 })
    const expected = new Uint8Array(PAGE + 1)
    expected.fill(1, 0, 10)
    sameBytes(t, await paths.readFile('/f'), expected, 'zeros behind the cut')
  })

  t.test('have a largest size', async (t) => {
    const { kernel, paths } = await start()
    const nodeid = await paths.writeFile('/f', '')
    const most = 2 ** 44
    t.equal(await kernel.write(nodeid, 0, most - 2, bytes('abcd')), 2, 'written up to it')
    await fails(t, kernel.write(nodeid, 0, most, bytes('a')), 'EFBIG', 'write')
    await fails(t, kernel.setattr(nodeid, { size: most + 1 }), 'EFBIG', 'truncate')
    await fails(t, kernel.fallocate(nodeid, 0, most, 1), 'EFBIG', 'fallocate')
  })

  t.test('fill the file system and no more', async (t) => {
    const { kernel, paths, memfs } = await start({ maxBytes: 4 * PAGE })
    const nodeid = await paths.writeFile('/f', new Uint8Array(3 * PAGE))
    t.equal(await kernel.write(nodeid, 0, 3 * PAGE, new Uint8Array(2 * PAGE)), PAGE, 'as much as fits')
    await fails(t, kernel.write(nodeid, 0, 4 * PAGE, bytes('x')), 'ENOSPC', 'a page too many')
    t.equal(await kernel.write(nodeid, 0, 100, bytes('x')), 1, 'what is there can be written over')
    const { blocks, bfree, bavail, bsize } = await kernel.statfs()
    t.same({ blocks, bfree, bavail, bsize }, { blocks: 4n, bfree: 0n, bavail: 0n, bsize: 4096n })
    await paths.unlink('/f')
    await kernel.forgetAll()
    t.equal(memfs.usage.bytes, 0)
    await paths.writeFile('/g', new Uint8Array(4 * PAGE))
  })

  t.test('are there until the last name, look-up and open file are gone', async (t) => {
    const { kernel, paths, memfs } = await start()
    const nodeid = await paths.writeFile('/f', 'content')
    const { fh } = await kernel.open(nodeid, O_RDWR)
    await paths.unlink('/f')
    t.match(await kernel.getattr(nodeid), { nlink: 0 })
    t.equal(text(await kernel.read(nodeid, fh, 0, 100)), 'content')
    await kernel.write(nodeid, fh, 0, bytes('CON'))
    t.equal(text(await kernel.read(nodeid, fh, 0, 100)), 'CONtent')
    await kernel.forget(nodeid)
    t.equal(memfs.usage.inodes, 2, 'still open')
    await kernel.release(nodeid, fh)
    t.equal(memfs.usage.inodes, 1)
    t.equal(memfs.usage.bytes, 0)
    await fails(t, kernel.getattr(nodeid), 'ESTALE', 'a freed inode')
  })

  t.test('O_TRUNC empties them as they are opened', async (t) => {
    const { kernel, paths } = await start()
    const nodeid = await paths.writeFile('/f', 'content', 0o4755)
    await kernel.open(nodeid, O_RDWR | O_TRUNC)
    t.match(await kernel.getattr(nodeid), { size: 0, blocks: 0, mode: S_IFREG | 0o4755 })
    await kernel.call('FUSE_OPEN', nodeid, { flags: O_RDWR | O_TRUNC, open_flags: FUSE_OPEN_KILL_SUIDGID })
    t.match(await kernel.getattr(nodeid), { mode: S_IFREG | 0o755 })
  })

  t.test('create opens what is there already, or says so', async (t) => {
    const { kernel, paths } = await start()
    const nodeid = await paths.writeFile('/f', 'content')
    t.equal((await kernel.create(ROOT, 'f')).entry.nodeid, nodeid)
    t.equal(await paths.readText('/f'), 'content')
    await kernel.create(ROOT, 'f', 0o644, O_RDWR | O_TRUNC)
    t.equal(await paths.readText('/f'), '')
    await fails(t, kernel.create(ROOT, 'f', 0o644, O_RDWR | O_EXCL), 'EEXIST', 'O_EXCL')
    await paths.mkdir('/d')
    await fails(t, kernel.create(ROOT, 'd'), 'EISDIR', 'a directory')
  })

  t.test('without a name (O_TMPFILE) can be given one', async (t) => {
    const { kernel, paths, memfs } = await start()
    const { entry: { nodeid, attr }, open } = await kernel.tmpfile(ROOT)
    t.match(attr, { nlink: 0, mode: S_IFREG | 0o600 })
    await kernel.write(nodeid, open.fh, 0, bytes('content'))
    t.same(await paths.readdir('/'), [])
    t.match((await kernel.link(nodeid, ROOT, 'f')).attr, { nlink: 1 })
    await kernel.release(nodeid, open.fh)
    t.equal(await paths.readText('/f'), 'content')
    const nameless = await kernel.tmpfile(ROOT)
    await kernel.release(nameless.entry.nodeid, nameless.open.fh)
    await kernel.forget(nameless.entry.nodeid)
    t.equal(memfs.usage.inodes, 2, 'and is gone when it was not')
  })
})

t.test('fallocate', async (t) => {
  t.test('reserves space, and counts it', async (t) => {
    const { kernel, paths, memfs } = await start({ maxBytes: 8 * PAGE })
    const nodeid = await paths.writeFile('/f', 'a')
    await kernel.fallocate(nodeid, 0, 0, 4 * PAGE, KEEP_SIZE)
    t.match(await kernel.getattr(nodeid), { size: 1, blocks: 32 })
    await kernel.fallocate(nodeid, 0, PAGE, PAGE)
    t.match(await kernel.getattr(nodeid), { size: 2 * PAGE, blocks: 32 })
    await fails(t, kernel.fallocate(nodeid, 0, 0, 9 * PAGE), 'ENOSPC', 'more than there is')
    t.equal(memfs.usage.bytes, 4 * PAGE, 'and then nothing was taken')
    await fails(t, kernel.fallocate(nodeid, 0, 0, 2 ** 43), 'ENOSPC', 'far more than there is')
    await kernel.setattr(nodeid, { size: 2 })
    t.equal(memfs.usage.bytes, PAGE, 'truncate gives back what was reserved behind the end')
  })

  t.test('punches holes', async (t) => {
    const { kernel, paths, memfs } = await start()
    const content = new Uint8Array(4 * PAGE).fill(1)
    const nodeid = await paths.writeFile('/f', content)
    await kernel.fallocate(nodeid, 0, 100, 3 * PAGE, PUNCH_HOLE | KEEP_SIZE)
    content.fill(0, 100, 100 + 3 * PAGE)
    sameBytes(t, await paths.readFile('/f'), content, 'read as zeros')
    t.equal(memfs.usage.bytes, 2 * PAGE, 'whole pages are freed')
    t.equal(await kernel.lseek(nodeid, 0, 0, SEEK_HOLE), PAGE)
    t.equal(await kernel.lseek(nodeid, 0, PAGE, SEEK_DATA), 3 * PAGE)
    await kernel.fallocate(nodeid, 0, 10, 20, PUNCH_HOLE | KEEP_SIZE)
    content.fill(0, 10, 30)
    sameBytes(t, await paths.readFile('/f'), content, 'within a page')
    await kernel.fallocate(nodeid, 0, 2 * PAGE, 2 ** 43, PUNCH_HOLE | KEEP_SIZE)
    t.match(await kernel.getattr(nodeid), { size: 4 * PAGE }, 'beyond the end')
  })

  t.test('zeroes ranges, and refuses what it does not do', async (t) => {
    const { kernel, paths, memfs } = await start()
    const content = new Uint8Array(2 * PAGE).fill(1)
    const nodeid = await paths.writeFile('/f', content)
    await kernel.fallocate(nodeid, 0, 100, PAGE, ZERO_RANGE)
    sameBytes(t, await paths.readFile('/f'), content.fill(0, 100, 100 + PAGE), 'read as zeros')
    t.equal(memfs.usage.bytes, 2 * PAGE, 'which stay reserved')
    await kernel.fallocate(nodeid, 0, 2 * PAGE, PAGE, ZERO_RANGE | KEEP_SIZE)
    t.match(await kernel.getattr(nodeid), { size: 2 * PAGE, blocks: 24 })
    await kernel.fallocate(nodeid, 0, 2 * PAGE, PAGE, ZERO_RANGE)
    t.match(await kernel.getattr(nodeid), { size: 3 * PAGE })
    await fails(t, kernel.fallocate(nodeid, 0, 0, PAGE, COLLAPSE_RANGE), 'EOPNOTSUPP', 'collapse')
    await fails(t, kernel.fallocate(nodeid, 0, 0, 0), 'EINVAL', 'nothing')
    await fails(t, kernel.fallocate(ROOT, 0, 0, 1), 'EISDIR', 'a directory')
  })
})

t.test('copyFileRange', async (t) => {
  const { kernel, paths } = await start()
  const from = await paths.writeFile('/from', 'hello world')
  const to = await paths.writeFile('/to', '')
  t.equal(await kernel.copyFileRange({ nodeid: from, fh: 0, offset: 6 }, { nodeid: to, fh: 0, offset: 2 }, 100), 5)
  t.equal(await paths.readText('/to'), '\0\0world')
  t.equal(await kernel.copyFileRange({ nodeid: from, fh: 0, offset: 50 }, { nodeid: to, fh: 0, offset: 0 }, 5), 0)
  t.equal(await kernel.copyFileRange({ nodeid: from, fh: 0, offset: 0 }, { nodeid: from, fh: 0, offset: 20 }, 5), 5)
  t.equal(await paths.readText('/from'), 'hello world\0\0\0\0\0\0\0\0\0hello')
  await fails(t, kernel.copyFileRange({ nodeid: from, fh: 0, offset: 0 }, { nodeid: from, fh: 0, offset: 3 }, 5),
    'EINVAL', 'onto itself')
  await fails(t, kernel.copyFileRange({ nodeid: from, fh: 0, offset: 0 }, { nodeid: to, fh: 0, offset: 2 ** 44 }, 5),
    'EFBIG', 'behind the largest size')
  const values = { off_in: 0, nodeid_out: to, off_out: 0, len: 3 }
  await kernel.call('FUSE_COPY_FILE_RANGE', from, values)
  t.equal(await paths.readText('/to'), 'helorld', 'the older request does the same')
})

t.test('names', async (t) => {
  t.test('of any bytes come back as they were', async (t) => {
    const { kernel, paths } = await start()
    const names = [Uint8Array.of(0xff, 0xfe, 0x80), bytes('grün'), Uint8Array.of(0xc3, 0xbc), Uint8Array.of(0xfc)]
    for (const name of names) await kernel.create(ROOT, name)
    for (const name of names) t.ok((await kernel.lookup(ROOT, name)).nodeid, 'is found')
    const listed = (await paths.list(ROOT)).slice(2)
    t.same(listed.map(({ nameBytes }) => nameBytes), names)
  })

  t.test('are up to 255 bytes long', async (t) => {
    const { kernel } = await start()
    const long = 'x'.repeat(255)
    const { nodeid } = await kernel.mkdir(ROOT, long)
    t.equal((await kernel.lookup(ROOT, long)).nodeid, nodeid)
    const tooLong = `${long}x`
    await fails(t, kernel.lookup(ROOT, tooLong), 'ENAMETOOLONG', 'lookup')
    await fails(t, kernel.mkdir(ROOT, tooLong), 'ENAMETOOLONG', 'mkdir')
    await fails(t, kernel.create(ROOT, tooLong), 'ENAMETOOLONG', 'create')
    await fails(t, kernel.symlink(ROOT, tooLong, 'x'), 'ENAMETOOLONG', 'symlink')
    await fails(t, kernel.rename(ROOT, long, ROOT, tooLong), 'ENAMETOOLONG', 'rename')
    await fails(t, kernel.unlink(ROOT, tooLong), 'ENAMETOOLONG', 'unlink')
    const { nodeid: file } = (await kernel.create(ROOT, 'f')).entry
    await fails(t, kernel.link(file, ROOT, tooLong), 'ENAMETOOLONG', 'link')
  })

  t.test('that no kernel sends are refused', async (t) => {
    const { kernel } = await start()
    const { nodeid } = (await kernel.create(ROOT, 'f')).entry
    for (const name of ['', '.', '..', 'a/b']) {
      await fails(t, kernel.mkdir(ROOT, name), 'EINVAL', `mkdir "${name}"`)
      await fails(t, kernel.link(nodeid, ROOT, name), 'EINVAL', `link "${name}"`)
      await fails(t, kernel.rename(ROOT, 'f', ROOT, name), 'EINVAL', `rename to "${name}"`)
    }
    t.same((await kernel.paths.readdir('/')), ['f'])
  })

  t.test('that are not there are answered so that the kernel can remember', async (t) => {
    const memfs = new MemFS()
    const validity = {
      entrySeconds: 1, entryNanoseconds: 0, attrSeconds: 2, attrNanoseconds: 0,
      negativeSeconds: 3, negativeNanoseconds: 0,
    }
    const kernel = await ScriptedKernel.start(memfs, { dispatch: { validity } })
    t.match(await kernel.lookup(ROOT, 'nothing'), { nodeid: 0, entryTimeout: 3 })
    t.match(await kernel.mkdir(ROOT, 'd'), { entryTimeout: 1, attrTimeout: 2 })
  })

  t.test('"." and ".." lead where an exported file system wants', async (t) => {
    const { kernel, paths } = await start()
    const parent = await paths.mkdir('/d')
    const child = await paths.mkdir('/d/e')
    const file = await paths.writeFile('/d/f', 'x')
    t.equal((await kernel.lookup(child, '..')).nodeid, parent)
    t.equal((await kernel.lookup(parent, '..')).nodeid, ROOT)
    t.equal((await kernel.lookup(file, '.')).nodeid, file, 'of a file, too')
    await fails(t, kernel.lookup(file, '..'), 'ENOTDIR', 'a file has no ".."')
    await kernel.forgetAll()
    t.equal((await kernel.lookup(child, '.')).nodeid, child, 'forgotten, but there')
    t.equal((await kernel.lookup(child, '.')).generation, (await kernel.lookup(parent, '.')).generation)
    await fails(t, kernel.lookup(4711, '.'), 'ESTALE', 'never there')
  })

  t.test('are never given a nodeid that was used before', async (t) => {
    const { kernel, paths } = await start()
    const seen = new Set<Wide>()
    for (let round = 0; round < 50; round++) {
      seen.add(await paths.writeFile('/f', 'x'))
      await paths.unlink('/f')
      await kernel.forgetAll()
    }
    t.equal(seen.size, 50)
  })
})

t.test('hard links', async (t) => {
  const { kernel, paths } = await start()
  const nodeid = await paths.writeFile('/f', 'content')
  await paths.mkdir('/d')
  t.equal(await paths.link('/f', '/d/g'), nodeid)
  t.match(await paths.stat('/f'), { nlink: 2 })
  await paths.unlink('/f')
  t.match(await paths.stat('/d/g'), { nlink: 1 })
  t.equal(await paths.readText('/d/g'), 'content')
  await fails(t, paths.link('/d/g', '/d'), 'EEXIST', 'a name that is there')
  await fails(t, paths.link('/d', '/e'), 'EPERM', 'a directory')
  const d = await paths.resolve('/d')
  await paths.unlink('/d/g')
  await paths.rmdir('/d')
  await fails(t, kernel.link(nodeid, d, 'x'), 'ENOENT', 'into a directory that is gone')
})

t.test('symbolic links', async (t) => {
  const { kernel, paths } = await start()
  await paths.symlink('to/where', '/l')
  t.equal(await paths.readlink('/l'), 'to/where')
  t.match(await paths.stat('/l'), { size: 8, mode: 0o120777 })
  await fails(t, kernel.symlink(ROOT, 'm', 'x'.repeat(4096)), 'ENAMETOOLONG', 'a target that is too long')
  await fails(t, kernel.readlink(ROOT), 'EINVAL', 'of something else')
  const link = await paths.resolve('/l')
  await fails(t, kernel.setxattr(link, ACCESS, acl([USER_OBJ, 7])), 'EOPNOTSUPP', 'no access lists')
})

t.test('special files keep type, device and mode', async (t) => {
  const { kernel } = await start()
  const rdev = (0x12 & 0xff) | (0xabc << 8) | (0x34500 << 12)
  for (const [name, type] of Object.entries({ fifo: S_IFIFO, socket: S_IFSOCK, char: S_IFCHR, block: S_IFBLK })) {
    const { attr } = await kernel.mknod(ROOT, name, type | 0o640, rdev >>> 0)
    const isDevice = type === S_IFCHR || type === S_IFBLK
    t.match(attr, { mode: type | 0o640, rdev: isDevice ? rdev >>> 0 : 0, size: 0 }, name)
  }
  const { nodeid } = await kernel.lookup(ROOT, 'block')
  t.match(await kernel.statx(nodeid, 0x7ff), { rdev_major: 0xabcn, rdev_minor: 0x34512n })
  t.match((await kernel.mknod(ROOT, 'plain', 0o644)).attr, { mode: S_IFREG | 0o644 }, 'no type means a regular file')
  await fails(t, kernel.mknod(ROOT, 'd', S_IFDIR | 0o755), 'EINVAL', 'directories are made by mkdir')
  await fails(t, kernel.read(nodeid, 0, 0, 1), 'EINVAL', 'their data is not here')
})

t.test('directories', async (t) => {
  t.test('count their subdirectories and refuse to go while they are not empty', async (t) => {
    const { paths, kernel } = await start()
    await paths.mkdir('/d')
    await paths.mkdir('/d/e')
    await paths.writeFile('/d/e/f', '')
    t.match(await paths.stat('/'), { nlink: 3 })
    t.match(await paths.stat('/d'), { nlink: 3 })
    t.match(await paths.stat('/d/e'), { nlink: 2 })
    await fails(t, paths.rmdir('/d/e'), 'ENOTEMPTY', 'rmdir')
    await fails(t, paths.rmdir('/d/e/f'), 'ENOTDIR', 'rmdir of a file')
    await fails(t, paths.unlink('/d/e'), 'EISDIR', 'unlink of a directory')
    await fails(t, paths.rmdir('/d/nothing'), 'ENOENT', 'rmdir of nothing')
    await fails(t, kernel.lookup(await paths.resolve('/d/e/f'), 'x'), 'ENOTDIR', 'a file has no names')
    await paths.unlink('/d/e/f')
    const e = await paths.resolve('/d/e')
    await paths.rmdir('/d/e')
    t.match(await paths.stat('/d'), { nlink: 2 })
    t.match(await kernel.getattr(e), { nlink: 0 })
    await fails(t, kernel.mkdir(e, 'x'), 'ENOENT', 'a name in a directory that is gone')
    await fails(t, kernel.lookup(e, '..'), 'ENOENT', 'and it leads nowhere')
    await fails(t, kernel.lookup(e, '.'), 'ESTALE', 'and its handle is stale')
    t.same(await paths.list(e), [], 'and lists nothing')
  })

  t.test('are listed in pieces of any size, with and without inodes', async (t) => {
    const { kernel, paths, memfs } = await start({ maxInodes: 1000 })
    const expected = Array.from({ length: 300 }, (_, index) => `name-${index}`)
    for (const name of expected) await kernel.mknod(ROOT, name, S_IFREG)
    await kernel.forgetAll()
    for (const size of [200, 1000, 4096, 65536]) {
      for (const plus of [false, true]) {
        const records = await paths.list(ROOT, size, plus)
        t.same(records.map(({ name }) => name), ['.', '..', ...expected], `${size} bytes a request, plus: ${plus}`)
      }
    }
    const [dot, , first] = await paths.list(ROOT, 4096, true)
    t.equal(dot.entry, undefined, '"." is no look-up')
    t.match(first, { entry: { attr: { mode: S_IFREG } }, type: S_IFREG })
    t.equal(memfs.references(Number(first.ino))?.lookups, 5, 'each listing with inodes counted')
  })

  t.test('neither skip nor repeat what was there all the time while names come and go', async (t) => {
    const { kernel } = await start({ maxInodes: 2000 })
    const stable = Array.from({ length: 100 }, (_, index) => `stable-${index}`)
    for (const [index, name] of stable.entries()) {
      await kernel.mknod(ROOT, `early-${index}`, S_IFREG)
      await kernel.mknod(ROOT, name, S_IFREG)
    }
    const { fh } = await kernel.opendir(ROOT)
    const seen: string[] = []
    let early = 0
    let late = 0
    for (let offset: Wide = 0; ;) {
      const part: KernelDirent[] = await kernel.readdir(ROOT, fh, offset, 300)
      if (part.length === 0) break
      seen.push(...part.map(({ name }) => name))
      offset = part[part.length - 1].off
      for (let n = 0; n < 8 && early < 100; n++) await kernel.unlink(ROOT, `early-${early++}`)
      for (let n = 0; n < 5; n++) await kernel.mknod(ROOT, `late-${late++}`, S_IFREG)
      await kernel.rename(ROOT, 'stable-7', ROOT, 'moving')
      await kernel.rename(ROOT, 'moving', ROOT, 'stable-7')
    }
    const others = stable.filter((name) => name !== 'stable-7')
    t.same(seen.filter((name) => others.includes(name)), others)
    t.notOk(seen.some((name) => name.startsWith('late')), 'a listing ends although names are made as fast as it reads')
    const again = await kernel.readdir(ROOT, fh, 0, 65536)
    t.ok(again.some(({ name }) => name === 'late-0'), 'rewound, it lists them')
    await kernel.releasedir(ROOT, fh)
  })

  t.test('go on from any place that they gave out, even when that entry is gone', async (t) => {
    const { kernel } = await start()
    for (const name of ['a', 'b', 'c', 'd']) await kernel.mknod(ROOT, name, S_IFREG)
    const { fh } = await kernel.opendir(ROOT)
    const records = await kernel.readdir(ROOT, fh)
    const atB = records.find(({ name }) => name === 'b')!
    await kernel.unlink(ROOT, 'b')
    t.same((await kernel.readdir(ROOT, fh, atB.off)).map(({ name }) => name), ['c', 'd'])
    await fails(t, kernel.opendir((await kernel.lookup(ROOT, 'a')).nodeid), 'ENOTDIR', 'a file has no listing')
  })
})

t.test('rename', async (t) => {
  t.test('moves and replaces', async (t) => {
    const { paths, kernel, memfs } = await start()
    await paths.mkdir('/d')
    const a = await paths.writeFile('/a', 'A')
    const b = await paths.writeFile('/d/b', 'B')
    await paths.rename('/a', '/d/b')
    t.equal(await paths.resolve('/d/b'), a)
    t.notOk(await paths.exists('/a'))
    await kernel.forget(b)
    t.equal(memfs.references(Number(b)), undefined, 'the replaced file is gone')
  })

  t.test('of directories keeps ".." and link counts right', async (t) => {
    const { paths, kernel } = await start()
    await paths.mkdir('/from')
    await paths.mkdir('/to')
    const moved = await paths.mkdir('/from/d')
    await paths.mkdir('/to/d')
    await paths.rename('/from/d', '/to/d')
    t.match(await paths.stat('/from'), { nlink: 2 })
    t.match(await paths.stat('/to'), { nlink: 3 }, 'an empty directory was replaced')
    t.equal((await kernel.lookup(moved, '..')).nodeid, await paths.resolve('/to'))
  })

  t.test('refuses what cannot be', async (t) => {
    const { paths, kernel } = await start()
    await paths.mkdir('/d')
    await paths.mkdir('/d/e')
    await paths.mkdir('/empty')
    await paths.writeFile('/f', '')
    await fails(t, paths.rename('/nothing', '/x'), 'ENOENT', 'nothing')
    await fails(t, paths.rename('/f', '/empty'), 'EISDIR', 'a file over a directory')
    await fails(t, paths.rename('/empty', '/f'), 'ENOTDIR', 'a directory over a file')
    await fails(t, paths.rename('/empty', '/d'), 'ENOTEMPTY', 'over a directory that is not empty')
    await fails(t, paths.rename('/d', '/d/e/x'), 'EINVAL', 'into itself')
    await fails(t, paths.rename('/d', '/d/e'), 'EINVAL', 'onto its own child')
    await fails(t, paths.rename('/d/e', '/d'), 'ENOTEMPTY', 'onto its own parent')
    await fails(t, paths.rename('/f', '/empty', RENAME_NOREPLACE), 'EEXIST', 'NOREPLACE')
    await fails(t, paths.rename('/f', '/x', RENAME_EXCHANGE), 'ENOENT', 'EXCHANGE with nothing')
    await fails(t, paths.rename('/empty', '/d/e', RENAME_EXCHANGE | RENAME_NOREPLACE), 'EINVAL', 'both flags')
    await fails(t, paths.rename('/d/e', '/d', RENAME_EXCHANGE), 'EINVAL', 'EXCHANGE with an ancestor')
    await fails(t, paths.rename('/f', '/x', 64), 'EINVAL', 'an unknown flag')
    await fails(t, kernel.rename(await paths.resolve('/f'), 'x', ROOT, 'y'), 'ENOTDIR', 'from a file')
    t.same(await paths.readdir('/'), ['d', 'empty', 'f'])
  })

  t.test('between two names of one file does nothing', async (t) => {
    const { paths } = await start()
    await paths.writeFile('/a', '')
    await paths.link('/a', '/b')
    await paths.rename('/a', '/b')
    t.same(await paths.readdir('/'), ['a', 'b'])
  })

  t.test('RENAME_EXCHANGE swaps, directories and files alike', async (t) => {
    const { paths, kernel } = await start()
    const d = await paths.mkdir('/d')
    await paths.mkdir('/x')
    const f = await paths.writeFile('/x/f', '')
    await paths.rename('/d', '/x/f', RENAME_EXCHANGE)
    t.equal(await paths.resolve('/d'), f)
    t.equal(await paths.resolve('/x/f'), d)
    t.match(await paths.stat('/'), { nlink: 3 })
    t.match(await paths.stat('/x'), { nlink: 3 })
    t.equal((await kernel.lookup(d, '..')).nodeid, await paths.resolve('/x'))
  })

  t.test('RENAME_WHITEOUT leaves a whiteout', async (t) => {
    const { paths } = await start()
    await paths.writeFile('/f', 'x')
    await paths.rename('/f', '/g', RENAME_WHITEOUT)
    t.match(await paths.stat('/f'), { mode: S_IFCHR, rdev: 0, nlink: 1 })
    t.equal(await paths.readText('/g'), 'x')
  })
})

t.test('ownership and modes', async (t) => {
  t.test('the caller owns what it makes, the umask is applied here', async (t) => {
    const { kernel } = await start()
    const caller = { uid: 1000, gid: 100 }
    const created = await kernel.create(ROOT, 'f', 0o666, O_RDWR, caller)
    t.match(created.entry.attr, { uid: 1000, gid: 100, mode: S_IFREG | 0o644 })
    t.match((await kernel.mkdir(ROOT, 'd', 0o777, caller)).attr, { uid: 1000, gid: 100, mode: S_IFDIR | 0o755 })
    t.match((await kernel.symlink(ROOT, 'l', 'x', caller)).attr, { uid: 1000, mode: 0o120777 })
  })

  t.test('a setgid directory gives its group away, and itself to directories', async (t) => {
    const { kernel } = await start({ gid: 7, mode: 0o2775 })
    const caller = { uid: 1000, gid: 100 }
    t.match((await kernel.mkdir(ROOT, 'd', 0o755, caller)).attr, { gid: 7, mode: S_IFDIR | 0o2755 })
    t.match((await kernel.create(ROOT, 'f', 0o644, O_RDWR, caller)).entry.attr, { gid: 7, mode: S_IFREG | 0o644 })
    t.match((await kernel.tmpfile(ROOT, 0o600, O_RDWR, caller)).entry.attr, { gid: 7 })
  })

  t.test('suid and sgid are cleared where the kernel asks for it', async (t) => {
    const { kernel, paths } = await start()
    const f = await paths.writeFile('/f', 'xxxx')
    const reset = async (mode = 0o6755) => {
      await kernel.setattr(f, { mode })
      await kernel.setxattr(f, 'security.capability', bytes('caps'))
    }
    const expectCleared = async (what: string) => {
      t.match(await kernel.getattr(f), { mode: S_IFREG | 0o755 }, what)
      await fails(t, kernel.getxattr(f, 'security.capability'), 'ENODATA', `${what}: capabilities`)
    }
    await reset()
    await kernel.write(f, 0, 0, bytes('y'))
    t.match(await kernel.getattr(f), { mode: S_IFREG | 0o6755 }, 'not by a privileged write')
    await kernel.call('FUSE_WRITE', f, { size: 1, write_flags: FUSE_WRITE_KILL_SUIDGID }, [], bytes('y'))
    await expectCleared('write')
    await reset()
    await kernel.call('FUSE_SETATTR', f, { valid: FATTR_SIZE | FATTR_KILL_SUIDGID, size: 1 })
    await expectCleared('truncate')
    await reset()
    await kernel.call('FUSE_SETATTR', f, { valid: FATTR_UID | FATTR_GID | FATTR_KILL_SUIDGID, uid: 3, gid: 4 })
    t.match(await kernel.getattr(f), { uid: 3, gid: 4 })
    await expectCleared('chown')
    await reset()
    await kernel.fallocate(f, 0, 0, 10, 0, { uid: 1000 })
    await expectCleared('fallocate')
    await reset(0o2745)
    await kernel.call('FUSE_SETATTR', f, { valid: FATTR_UID | FATTR_KILL_SUIDGID, uid: 3 })
    t.match(await kernel.getattr(f), { mode: S_IFREG | 0o2745 }, 'root keeps sgid without group execution')
    const write = (caller: object) =>
      kernel.call('FUSE_WRITE', f, { size: 1, write_flags: FUSE_WRITE_KILL_SUIDGID }, [], bytes('y'), caller)
    await write({ uid: 3, gid: 4 })
    t.match(await kernel.getattr(f), { mode: S_IFREG | 0o2745 }, 'so does one of the group')
    await write({ uid: 3, gid: 5 })
    t.match(await kernel.getattr(f), { mode: S_IFREG | 0o745 }, 'but nobody else')
    await reset()
    await kernel.call('FUSE_SETATTR', f, { valid: 0 })
    await expectCleared('a change of nothing, chown(-1, -1)')
  })
})

t.test('times', async (t) => {
  const old = 1_000_000_000_000_000_001n
  const all = { atime: old, mtime: old }
  const now = () => BigInt(Date.now()) * 1_000_000n

  t.test('are kept to the nanosecond, before 1970 too', async (t) => {
    const { kernel, paths } = await start()
    const f = await paths.writeFile('/f', '')
    const before = -1_500_000_000n
    const attr = await kernel.setattr(f, { atime: before, mtime: old })
    t.same([attr.atime, attr.mtime], [before, old])
    const stat = await kernel.statx(f, 0xfff)
    t.same([stat.atime.tv_sec, stat.atime.tv_nsec], [-2n, 500_000_000n])
    t.ok(stat.btime.tv_sec > 1_600_000_000n, 'and the birth time')
    t.equal(stat.mask, 0xfffn)
  })

  t.test('"now" is the server\'s clock', async (t) => {
    const { kernel, paths } = await start()
    const f = await paths.writeFile('/f', '')
    await kernel.setattr(f, all)
    const before = now()
    const attr = await kernel.setattr(f, { atime: 'now', mtime: 'now' })
    t.ok(attr.atime >= before && attr.mtime >= before && attr.ctime >= before)
  })

  /** Which times of a path a request brings up to date. */
  const touched = async (kernel: ScriptedKernel, path: string, act: () => Promise<unknown>): Promise<string> => {
    const nodeid = await kernel.path(path)
    await kernel.call('FUSE_SETATTR', nodeid, { valid: 0x430, atime: 10, mtime: 20, ctime: 30 })
    await act()
    const { atime, mtime, ctime } = await kernel.getattr(nodeid)
    return [atime !== 10_000_000_000n && 'a', mtime !== 20_000_000_000n && 'm', ctime !== 30_000_000_000n && 'c']
      .filter(Boolean).join('')
  }

  t.test('change as on ext4', async (t) => {
    const { kernel, paths } = await start()
    await paths.mkdir('/d')
    await paths.mkdir('/d2')
    const f = await paths.writeFile('/d/f', 'content')
    const d = await kernel.path('/d')
    const expect = async (path: string, what: string, times: string, act: () => Promise<unknown>) =>
      t.equal(await touched(kernel, path, act), times, `${what}: ${path} ${times || 'nothing'}`)
    await expect('/d/f', 'read', 'a', () => kernel.read(f, 0, 0, 10))
    await expect('/d/f', 'write', 'mc', () => kernel.write(f, 0, 0, bytes('x')))
    await expect('/d/f', 'write of nothing', '', () => kernel.write(f, 0, 0, bytes('')))
    await expect('/d/f', 'truncate', 'mc', () => kernel.setattr(f, { size: 3 }))
    await expect('/d/f', 'truncate to the same size', 'mc', () => kernel.setattr(f, { size: 3 }))
    await expect('/d/f', 'O_TRUNC', 'mc', () => kernel.open(f, O_RDWR | O_TRUNC))
    await expect('/d/f', 'fallocate', 'mc', () => kernel.fallocate(f, 0, 0, 10))
    await expect('/d/f', 'chmod', 'c', () => kernel.setattr(f, { mode: 0o600 }))
    await expect('/d/f', 'chown', 'c', () => kernel.setattr(f, { uid: 0 }))
    await expect('/d/f', 'utimes', 'mc', () => kernel.call('FUSE_SETATTR', f, { valid: FATTR_MTIME | FATTR_MTIME_NOW }))
    await expect('/d/f', 'setxattr', 'c', () => kernel.setxattr(f, 'user.x', bytes('x')))
    await expect('/d/f', 'removexattr', 'c', () => kernel.removexattr(f, 'user.x'))
    await expect('/d/f', 'link', 'c', () => paths.link('/d/f', '/d/g'))
    await expect('/d/f', 'unlink of another name', 'c', () => paths.unlink('/d/g'))
    await expect('/d/f', 'rename', 'c', () => paths.rename('/d/f', '/d/h'))
    await expect('/d/h', 'look-up', '', () => kernel.lookup(d, 'h'))
    await expect('/d', 'create', 'mc', () => kernel.create(d, 'new'))
    await expect('/d', 'mkdir', 'mc', () => paths.mkdir('/d/e'))
    await expect('/d', 'rmdir', 'mc', () => paths.rmdir('/d/e'))
    await expect('/d', 'unlink', 'mc', () => paths.unlink('/d/new'))
    await expect('/d', 'rename away', 'mc', () => paths.rename('/d/h', '/d2/h'))
    await expect('/d2', 'rename here', 'mc', () => paths.rename('/d2/h', '/d2/i'))
    await expect('/d2', 'link', 'mc', () => paths.link('/d2/i', '/d2/j'))
    await expect('/d2', 'readdir', 'a', () => paths.list(2 + 1))
    await paths.symlink('x', '/l')
    await expect('/l', 'readlink', 'a', () => paths.readlink('/l'))
  })

  t.test('of access are noted once, as with relatime', async (t) => {
    const { kernel, paths } = await start()
    const f = await paths.writeFile('/f', 'x')
    const atime = now() - 3_600_000_000_000n
    await kernel.call('FUSE_SETATTR', f, { valid: 0x430, atime: atime / 1_000_000_000n, mtime: 1, ctime: 1 })
    await kernel.read(f, 0, 0, 1)
    t.equal((await kernel.getattr(f)).atime / 1_000_000_000n, atime / 1_000_000_000n,
      'this one is later than mtime and ctime, and of today')
  })
})

t.test('extended attributes', async (t) => {
  t.test('are set, listed, read and removed', async (t) => {
    const { kernel, paths } = await start()
    const f = await paths.writeFile('/f', '')
    await kernel.setxattr(f, 'user.a', bytes('value'))
    await kernel.setxattr(f, 'trusted.b', bytes(''))
    t.equal(text(await kernel.getxattr(f, 'user.a')), 'value')
    t.equal((await kernel.getxattr(f, 'trusted.b')).length, 0)
    t.equal(await kernel.getxattrSize(f, 'user.a'), 5)
    t.same(await kernel.listxattr(f), ['user.a', 'trusted.b'])
    t.equal(await kernel.listxattrSize(f), 'user.a'.length + 'trusted.b'.length + 2)
    t.same(await kernel.listxattr(f, 100, { uid: 1000 }), ['user.a'], 'trusted ones are for the privileged')
    await kernel.removexattr(f, 'user.a')
    await fails(t, kernel.getxattr(f, 'user.a'), 'ENODATA', 'get')
    await fails(t, kernel.removexattr(f, 'user.a'), 'ENODATA', 'remove')
    t.same(await kernel.listxattr(ROOT), [], 'none')
  })

  t.test('obey flags and limits', async (t) => {
    const { kernel, paths } = await start()
    const f = await paths.writeFile('/f', '')
    await fails(t, kernel.setxattr(f, 'user.a', bytes('x'), XATTR_REPLACE), 'ENODATA', 'REPLACE of none')
    await kernel.setxattr(f, 'user.a', bytes('xyz'), XATTR_CREATE)
    await fails(t, kernel.setxattr(f, 'user.a', bytes('x'), XATTR_CREATE), 'EEXIST', 'CREATE of one')
    await kernel.setxattr(f, 'user.a', bytes('xyz'), XATTR_REPLACE)
    await fails(t, kernel.setxattr(f, 'user.a', bytes('x'), 4), 'EINVAL', 'an unknown flag')
    await fails(t, kernel.getxattr(f, 'user.a', 2), 'ERANGE', 'too little room')
    await fails(t, kernel.listxattr(f, 3), 'ERANGE', 'too little room for the names')
    await fails(t, kernel.setxattr(f, 'other.a', bytes('x')), 'EOPNOTSUPP', 'no such namespace')
    await fails(t, kernel.setxattr(f, 'user.', bytes('x')), 'EINVAL', 'a namespace alone')
    await fails(t, kernel.setxattr(f, `user.${'x'.repeat(251)}`, bytes('x')), 'ERANGE', 'a name that is too long')
    await fails(t, kernel.setxattr(f, 'user.b', new Uint8Array(65537)), 'E2BIG', 'a value that is too long')
    const most = new Uint8Array(65536).fill(1)
    await kernel.setxattr(f, 'user.b', most)
    t.same(await kernel.getxattr(f, 'user.b'), most)
    await fails(t, kernel.setxattr(f, 'user.c', most), 'ENOSPC', 'more in all than one inode may have')
    await kernel.setxattr(f, 'user.b', bytes('small'))
    await kernel.setxattr(f, 'user.c', most)
  })

  t.test('security labels come with the creation', async (t) => {
    const { kernel } = await start()
    const caller = { securityContexts: { 'security.selinux': bytes('label') } }
    const { nodeid } = await kernel.mkdir(ROOT, 'd', 0o755, caller)
    t.equal(text(await kernel.getxattr(nodeid, 'security.selinux')), 'label')
  })
})

t.test('access lists', async (t) => {
  const named = acl([USER_OBJ, 7], [USER, 6, 1000], [GROUP_OBJ, 5], [MASK, 4], [OTHER, 1])

  t.test('show in the mode, and chmod shows in them', async (t) => {
    const { kernel, paths } = await start()
    const f = await paths.writeFile('/f', '', 0o600)
    await kernel.setxattr(f, ACCESS, named)
    t.match(await kernel.getattr(f), { mode: S_IFREG | 0o741 })
    t.same(await kernel.getxattr(f, ACCESS), named)
    await kernel.setattr(f, { mode: 0o670 })
    t.same(await kernel.getxattr(f, ACCESS), acl([USER_OBJ, 6], [USER, 6, 1000], [GROUP_OBJ, 5], [MASK, 7], [OTHER, 0]))
  })

  t.test('that say no more than a mode become one', async (t) => {
    const { kernel, paths } = await start()
    const f = await paths.writeFile('/f', '', 0o2755)
    await kernel.setxattr(f, ACCESS, acl([USER_OBJ, 6], [GROUP_OBJ, 5], [OTHER, 0]))
    t.match(await kernel.getattr(f), { mode: S_IFREG | 0o2650 })
    await fails(t, kernel.getxattr(f, ACCESS), 'ENODATA', 'no list is kept')
    await kernel.removexattr(f, ACCESS)
    const values = { size: named.length, setxattr_flags: FUSE_SETXATTR_ACL_KILL_SGID }
    await kernel.call('FUSE_SETXATTR', f, values, [ACCESS], named)
    t.match(await kernel.getattr(f), { mode: S_IFREG | 0o741 }, 'setgid goes when the kernel says so')
    await kernel.setxattr(f, ACCESS, acl())
    await fails(t, kernel.getxattr(f, ACCESS), 'ENODATA', 'an empty list removes it')
  })

  t.test('of a directory are inherited', async (t) => {
    const { kernel, paths } = await start()
    const d = await paths.mkdir('/d')
    const defaults = acl([USER_OBJ, 7], [USER, 7, 1000], [GROUP_OBJ, 5], [MASK, 7], [OTHER, 5])
    await kernel.setxattr(d, DEFAULT, defaults)
    const { nodeid: file, attr } = (await kernel.create(d, 'f', 0o640)).entry
    t.match(attr, { mode: S_IFREG | 0o640 }, 'the umask plays no part')
    t.same(await kernel.getxattr(file, ACCESS),
      acl([USER_OBJ, 6], [USER, 7, 1000], [GROUP_OBJ, 5], [MASK, 4], [OTHER, 0]))
    await fails(t, kernel.getxattr(file, DEFAULT), 'ENODATA', 'files have no default list')
    const { nodeid: sub, attr: subAttr } = await kernel.mkdir(d, 'sub', 0o777)
    t.match(subAttr, { mode: S_IFDIR | 0o775 })
    t.same(await kernel.getxattr(sub, DEFAULT), defaults)
    t.match((await kernel.symlink(d, 'l', 'x')).attr, { mode: 0o120777 })
    t.same(await kernel.listxattr(sub), [ACCESS, DEFAULT])
  })

  t.test('that are minimal defaults shape the mode alone', async (t) => {
    const { kernel, paths } = await start()
    const d = await paths.mkdir('/d')
    await kernel.setxattr(d, DEFAULT, acl([USER_OBJ, 6], [GROUP_OBJ, 6], [OTHER, 6]))
    const { nodeid, attr } = (await kernel.create(d, 'f', 0o777)).entry
    t.match(attr, { mode: S_IFREG | 0o666 })
    t.same(await kernel.listxattr(nodeid), [])
  })

  t.test('that are none are refused', async (t) => {
    const { kernel, paths } = await start()
    const f = await paths.writeFile('/f', '')
    const minimal = acl([USER_OBJ, 6], [GROUP_OBJ, 5], [OTHER, 0])
    await fails(t, kernel.setxattr(f, DEFAULT, minimal), 'EACCES', 'a default list of a file')
    const bad: Record<string, Uint8Array> = {
      'no owner': acl([GROUP_OBJ, 5], [OTHER, 0]),
      'two owners': acl([USER_OBJ, 5], [USER_OBJ, 5], [GROUP_OBJ, 5], [OTHER, 0]),
      'names without a mask': acl([USER_OBJ, 5], [USER, 5, 1], [GROUP_OBJ, 5], [OTHER, 0]),
      'out of order': acl([GROUP_OBJ, 5], [USER_OBJ, 5], [OTHER, 0]),
      'an unknown tag': acl([USER_OBJ, 5], [GROUP_OBJ, 5], [OTHER, 0], [64, 1]),
      'more than rwx': acl([USER_OBJ, 8], [GROUP_OBJ, 5], [OTHER, 0]),
      'cut off': minimal.subarray(0, 10),
      'another version': Uint8Array.of(3, 0, 0, 0),
    }
    for (const [what, value] of Object.entries(bad)) await fails(t, kernel.setxattr(f, ACCESS, value), 'EINVAL', what)
  })
})

t.test('inodes', async (t) => {
  t.test('run out', async (t) => {
    const { kernel, paths } = await start({ maxInodes: 3 })
    await paths.writeFile('/a', '')
    await paths.mkdir('/b')
    await fails(t, kernel.create(ROOT, 'c'), 'ENOSPC', 'create')
    await fails(t, kernel.mkdir(ROOT, 'c'), 'ENOSPC', 'mkdir')
    await fails(t, kernel.tmpfile(ROOT), 'ENOSPC', 'tmpfile')
    await fails(t, kernel.rename(ROOT, 'a', ROOT, 'c', RENAME_WHITEOUT), 'ENOSPC', 'a whiteout')
    const { files, ffree, namelen } = await kernel.statfs()
    t.same({ files, ffree, namelen }, { files: 3n, ffree: 0n, namelen: 255n })
    await kernel.link(await paths.resolve('/a'), ROOT, 'c')
    t.match(await paths.stat('/c'), { nlink: 2 }, 'a link takes none')
  })

  t.test('are counted exactly: look-ups given out, taken back, and unlinked ones freed', async (t) => {
    const { kernel, paths, memfs } = await start()
    const f = Number(await paths.writeFile('/f', 'x'))
    t.match(memfs.references(f), { links: 1, lookups: 1, opens: 0 })
    for (let n = 0; n < 9; n++) await kernel.lookup(ROOT, 'f')
    t.equal(memfs.references(f)!.lookups, 10)
    await kernel.forget(f, 4)
    t.equal(memfs.references(f)!.lookups, 6)
    await kernel.batchForget([[f, 2], [f, 1]])
    t.equal(memfs.references(f)!.lookups, 3)
    await paths.link('/f', '/g')
    t.equal(BigInt(memfs.references(f)!.lookups), kernel.lookupCount(f), 'as the kernel counts')
    await kernel.unlink(ROOT, 'f')
    await kernel.unlink(ROOT, 'g')
    t.match(memfs.references(f), { links: 0 })
    await kernel.forget(f)
    t.equal(memfs.references(f), undefined)
    await kernel.call('FUSE_FORGET', f, { nlookup: 1 })
    t.same(memfs.usage, { bytes: 0, inodes: 1 }, 'one too many does no harm')
  })

  t.test('stay for the next mount when this one ends, and orphans do not', async (t) => {
    const { kernel, paths, memfs } = await start()
    await paths.writeFile('/f', 'stays')
    const orphan = await kernel.tmpfile(ROOT)
    await kernel.write(orphan.entry.nodeid, 0, 0, bytes('goes'))
    await kernel.call('FUSE_DESTROY', 0)
    t.same(memfs.usage, { bytes: PAGE, inodes: 2 })
    const next = await ScriptedKernel.start(memfs)
    t.equal(await next.paths.readText('/f'), 'stays')
  })

  t.test('that do not exist are stale to every request', async (t) => {
    const { kernel } = await start()
    const none = 4711
    for (const attempt of [
      kernel.lookup(none, 'x'), kernel.getattr(none), kernel.setattr(none, { mode: 0 }), kernel.statx(none, 0x7ff),
      kernel.readlink(none), kernel.symlink(none, 'x', 'y'), kernel.mknod(none, 'x', S_IFREG), kernel.mkdir(none, 'x'),
      kernel.unlink(none, 'x'), kernel.rmdir(none, 'x'), kernel.rename(none, 'x', ROOT, 'y'),
      kernel.rename(ROOT, 'x', none, 'y'), kernel.link(none, ROOT, 'x'), kernel.open(none), kernel.read(none, 0, 0, 1),
      kernel.write(none, 0, 0, bytes('x')), kernel.opendir(none), kernel.readdir(none, 0), kernel.create(none, 'x'),
      kernel.tmpfile(none), kernel.fallocate(none, 0, 0, 1), kernel.lseek(none, 0, 0, SEEK_DATA),
      kernel.getxattr(none, 'user.x'), kernel.listxattr(none), kernel.setxattr(none, 'user.x', bytes('x')),
      kernel.removexattr(none, 'user.x'),
      kernel.copyFileRange({ nodeid: none, fh: 0, offset: 0 }, { nodeid: none, fh: 0, offset: 0 }, 1),
    ]) await fails(t, attempt, 'ESTALE', 'a nodeid that was never given out')
  })
})

t.test('what is served to nobody is left to the kernel', async (t) => {
  const { kernel } = await start()
  for (const attempt of [kernel.flush(ROOT, 0), kernel.fsync(ROOT, 0), kernel.fsyncdir(ROOT, 0), kernel.access(ROOT, 4),
    kernel.syncfs(), kernel.getlk(ROOT, 0, 0, { type: 0 }), kernel.poll(ROOT, 0, 1)]) {
    await fails(t, attempt, 'ENOSYS', 'the kernel does without')
  }
})

t.test('with a writeback cache holes are not told: the kernel may have data for them', async (t) => {
  const kernel = await ScriptedKernel.start(new MemFS(), {
    dispatch: { prepare: (negotiation) => { negotiation.want('FUSE_WRITEBACK_CACHE') } },
  })
  const f = await kernel.paths.writeFile('/f', 'x')
  await fails(t, kernel.lseek(f, 0, 0, SEEK_HOLE), 'ENOSYS', 'lseek')
})

t.test('types of listed entries are those of the inodes', async (t) => {
  const { kernel, paths } = await start()
  await paths.mkdir('/d')
  await paths.symlink('x', '/l')
  await kernel.mknod(ROOT, 'p', S_IFIFO | 0o600)
  const types = Object.fromEntries((await paths.list(ROOT)).map(({ name, type }) => [name, type & S_IFMT]))
  t.match(types, { '.': S_IFDIR, '..': S_IFDIR, d: S_IFDIR, l: 0o120000, p: S_IFIFO })
})
