// SPDX-License-Identifier: MIT
/**
 * Generic behaviour of a file system, checked through a kernel in memory: what POSIX and the FUSE
 * protocol promise to every caller, whatever the file system stores and where.
 */
import type { FileSystem, MaybePromise } from '../fs/filesystem.js'
import { FuseError, type ErrnoName } from '../fs/errors.js'
import { S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from '../protocol/constants.js'
import { isErrno, ScriptedKernel, type ScriptedKernelOptions, type Wide } from './scripted-kernel.js'

export interface CheckResult {
  readonly name: string
  readonly outcome: 'passed' | 'failed' | 'skipped'
  /** Why it failed, or what the file system lacks. */
  readonly reason?: string
  readonly error?: unknown
}

export interface SuiteOptions {
  /** Told of each check as it ends. */
  report?: (result: CheckResult) => void
  kernel?: ScriptedKernelOptions
  /**
   * How many inodes the file system holds in memory. With it, each check also proves that nothing
   * is left of what it removed and forgot.
   */
  liveInodes?: (fileSystem: FileSystem) => number
  /** Only checks whose name matches. */
  only?: RegExp
}

type Method = keyof FileSystem
/** A method, or several of which one will do. */
type Need = Method | readonly Method[]

interface Check {
  readonly name: string
  readonly needs: readonly Need[]
  run(kernel: ScriptedKernel): Promise<void>
}

/** A promise that was not kept. */
class Broken extends Error {
  override readonly name = 'Broken'
}

function expect(condition: boolean, promise: string): void {
  if (!condition) throw new Broken(promise)
}

function same<T>(actual: T, expected: T, what: string): void {
  if (actual !== expected) throw new Broken(`${what} is ${show(actual)}, not ${show(expected)}`)
}

function show(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}

function sameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  same(actual.length, expected.length, `the length of ${what}`)
  const at = actual.findIndex((byte, index) => byte !== expected[index])
  if (at >= 0) throw new Broken(`byte ${at} of ${what} is ${actual[at]}, not ${expected[at]}`)
}

async function fails(errnos: ErrnoName | readonly ErrnoName[], attempt: Promise<unknown>, what: string): Promise<void> {
  const allowed = typeof errnos === 'string' ? [errnos] : errnos
  let error: unknown
  try {
    await attempt
  } catch (thrown) {
    error = thrown
  }
  if (error instanceof FuseError && error.code === 'ENOSYS') throw error
  if (error === undefined) throw new Broken(`${what} succeeds, where ${allowed.join(' or ')} is due`)
  if (!allowed.some((errno) => isErrno(error, errno))) throw new Broken(`${what} fails with ${String(error)}, not ${allowed.join(' or ')}`)
}

const UTF8 = new TextEncoder()
const ROOT = 1
const CREATION: Need = ['create', 'mknod']
const FILES: readonly Need[] = ['lookup', 'getattr', CREATION, 'write', 'read']

/** Bytes that differ at every offset and in every file. */
function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + (index >>> 8) * 17 + seed) & 0xff)
}

const checks: Check[] = []
function check(name: string, needs: readonly Need[], run: (kernel: ScriptedKernel) => Promise<void>): void {
  checks.push({ name, needs, run })
}

check('the root is a directory', ['getattr'], async (kernel) => {
  const attr = await kernel.getattr(ROOT)
  same(attr.mode & S_IFMT, S_IFDIR, 'its type')
  expect(attr.nlink >= 1, 'it has links')
})

check('a name that is not there: ENOENT, or an entry of nodeid 0', ['lookup'], async (kernel) => {
  await fails('ENOENT', kernel.path('/no such name'), 'lookup')
})

check('two look-ups of a name find one inode', FILES, async (kernel) => {
  await kernel.paths.writeFile('/f', 'x')
  const first = await kernel.lookup(ROOT, 'f')
  const second = await kernel.lookup(ROOT, 'f')
  same(second.nodeid, first.nodeid, 'the second nodeid')
  same(second.generation, first.generation, 'the second generation')
  const attr = await kernel.getattr(first.nodeid)
  for (const field of ['ino', 'mode', 'size', 'nlink', 'uid', 'gid'] as const) same(attr[field], first.attr[field], `getattr's ${field}`)
})

check('a new file is empty, regular, and has the mode it was given', ['lookup', 'getattr', CREATION], async (kernel) => {
  await kernel.paths.writeFile('/new', '', 0o640)
  const attr = await kernel.paths.stat('/new')
  same(attr.mode, S_IFREG | 0o640, 'the mode')
  same(attr.size, 0, 'the size')
  same(attr.nlink, 1, 'the number of links')
})

check('a new file belongs to its maker', ['lookup', 'getattr', 'create'], async (kernel) => {
  const { entry, open } = await kernel.create(ROOT, 'mine', 0o600, 2, { uid: 1234, gid: 5678 })
  await released(kernel, entry.nodeid, open.fh)
  const attr = await kernel.getattr(entry.nodeid)
  same(attr.uid, 1234, 'the uid')
  same(attr.gid, 5678, 'the gid')
})

check('what is written is read', FILES, async (kernel) => {
  const data = pattern(10_000, 1)
  await kernel.paths.writeFile('/f', data)
  sameBytes(await kernel.paths.readFile('/f'), data, 'the file')
  sameBytes(await kernel.paths.readFile('/f', 1000), data, 'the file, read in pieces')
  same((await kernel.paths.stat('/f')).size, data.length, 'the size')
})

check('writes in the middle, at the end and beyond it', FILES, async (kernel) => {
  const nodeid = await kernel.paths.writeFile('/f', pattern(100, 1))
  const expected = new Uint8Array(9010)
  expected.set(pattern(100, 1))
  expected.set(pattern(20, 2), 50)
  expected.set(pattern(10, 3), 100)
  expected.set(pattern(10, 4), 9000)
  await kernel.paths.withOpen(nodeid, 2, async (fh) => {
    same(await kernel.write(nodeid, fh, 50, pattern(20, 2)), 20, 'what write says')
    await kernel.write(nodeid, fh, 100, pattern(10, 3))
    await kernel.write(nodeid, fh, 9000, pattern(10, 4))
  })
  sameBytes(await kernel.paths.readFile('/f'), expected, 'the file, its hole included,')
})

check('a read at the end is short, beyond it empty', FILES, async (kernel) => {
  const nodeid = await kernel.paths.writeFile('/f', pattern(100, 1))
  await kernel.paths.withOpen(nodeid, 0, async (fh) => {
    same((await kernel.read(nodeid, fh, 90, 4096)).length, 10, 'a read over the end')
    same((await kernel.read(nodeid, fh, 100, 4096)).length, 0, 'a read at the end')
    same((await kernel.read(nodeid, fh, 2 ** 40, 4096)).length, 0, 'a read far beyond it')
  })
})

check('the largest write that was agreed on', FILES, async (kernel) => {
  const { maxWrite } = kernel.dispatcher.negotiation
  const data = pattern(maxWrite, 9)
  const nodeid = await kernel.paths.writeFile('/big', '')
  await kernel.paths.withOpen(nodeid, 2, async (fh) => {
    same(await kernel.write(nodeid, fh, 0, data), maxWrite, 'what write says')
    sameBytes(await kernel.read(nodeid, fh, 0, maxWrite), data, 'the file')
  })
})

check('truncation shortens; extension reads as zeros', [...FILES, 'setattr'], async (kernel) => {
  await kernel.paths.writeFile('/f', pattern(6000, 1))
  await kernel.paths.truncate('/f', 4100)
  same((await kernel.paths.stat('/f')).size, 4100, 'the size')
  await kernel.paths.truncate('/f', 9000)
  const expected = new Uint8Array(9000)
  expected.set(pattern(6000, 1).subarray(0, 4100))
  sameBytes(await kernel.paths.readFile('/f'), expected, 'the file')
})

check('modes and owners are set', [...FILES, 'setattr'], async (kernel) => {
  const nodeid = await kernel.paths.writeFile('/f', '')
  same((await kernel.setattr(nodeid, { mode: S_IFREG | 0o741 })).mode, S_IFREG | 0o741, 'the mode')
  const attr = await kernel.setattr(nodeid, { uid: 77, gid: 88 })
  same(attr.uid, 77, 'the uid')
  same(attr.gid, 88, 'the gid')
  same((await kernel.setattr(nodeid, { uid: 99 })).gid, 88, 'the gid, when only the uid is set,')
})

check('times are set, before 1970 and after 2038 too', [...FILES, 'setattr'], async (kernel) => {
  const nodeid = await kernel.paths.writeFile('/f', '')
  const granularity = BigInt(kernel.dispatcher.negotiation.timeGranularity)
  const rounded = (time: bigint) => time - (((time % granularity) + granularity) % granularity)
  for (const time of [1_600_000_000_123_456_789n, -1_500_000_000n, 4_000_000_000_000_000_001n, 0n]) {
    const attr = await kernel.setattr(nodeid, { atime: time, mtime: time + 5n })
    same(attr.atime, rounded(time), 'the atime')
    same(attr.mtime, rounded(time + 5n), 'the mtime')
    same((await kernel.getattr(nodeid)).mtime, rounded(time + 5n), 'the mtime, asked for later,')
  }
})

check('making what is there: EEXIST', [...FILES, 'mkdir'], async (kernel) => {
  await kernel.paths.writeFile('/f', '')
  await fails('EEXIST', kernel.mkdir(ROOT, 'f'), 'mkdir')
  if (kernel.fileSystem.mknod) await fails('EEXIST', kernel.mknod(ROOT, 'f', S_IFREG | 0o644), 'mknod')
  if (kernel.fileSystem.symlink) await fails('EEXIST', kernel.symlink(ROOT, 'f', 'x'), 'symlink')
  // O_CREAT | O_EXCL | O_RDWR
  if (kernel.fileSystem.create) await fails('EEXIST', kernel.create(ROOT, 'f', 0o644, 0o302), 'create')
})

check('directories are made and removed, when empty', [...FILES, 'mkdir', 'rmdir', 'unlink'], async (kernel) => {
  const nodeid = await kernel.paths.mkdir('/d', 0o751)
  same((await kernel.getattr(nodeid)).mode, S_IFDIR | 0o751, 'the mode')
  await kernel.paths.writeFile('/d/f', 'x')
  await fails(['ENOTEMPTY', 'EEXIST'], kernel.rmdir(ROOT, 'd'), 'rmdir of a directory with a file')
  await kernel.paths.unlink('/d/f')
  await kernel.paths.rmdir('/d')
  await fails('ENOENT', kernel.path('/d'), 'lookup of what was removed')
  await fails('ENOENT', kernel.rmdir(ROOT, 'd'), 'rmdir of what is not there')
})

check('unlink removes a name', [...FILES, 'unlink'], async (kernel) => {
  await kernel.paths.writeFile('/f', 'x')
  await kernel.paths.unlink('/f')
  await fails('ENOENT', kernel.path('/f'), 'lookup of what was removed')
  await fails('ENOENT', kernel.unlink(ROOT, 'f'), 'unlink of what is not there')
})

check('an open file outlives its name', [...FILES, 'unlink'], async (kernel) => {
  const data = pattern(5000, 5)
  const nodeid = await kernel.paths.writeFile('/f', data)
  await kernel.paths.withOpen(nodeid, 2, async (fh) => {
    await kernel.paths.unlink('/f')
    sameBytes(await kernel.read(nodeid, fh, 0, 8192), data, 'the file')
    await kernel.write(nodeid, fh, 5000, pattern(10, 6))
    const attr = await kernel.getattr(nodeid, fh)
    same(attr.size, 5010, 'the size')
    same(attr.nlink, 0, 'the number of links')
  })
})

check('a file of the same name is another file', [...FILES, 'unlink'], async (kernel) => {
  const first = await kernel.paths.writeFile('/f', 'first')
  await kernel.paths.withOpen(first, 0, async (fh) => {
    await kernel.paths.unlink('/f')
    const second = await kernel.paths.writeFile('/f', 'second')
    expect(second !== first, 'a nodeid that is in use is not given out again')
    same(Buffer.from(await kernel.read(first, fh, 0, 100)).toString(), 'first', 'the old file')
  })
  same(await kernel.paths.readText('/f'), 'second', 'the new file')
})

check('rename moves an inode, within a directory and between two', [...FILES, 'mkdir', 'rename'], async (kernel) => {
  const nodeid = await kernel.paths.writeFile('/a', 'content')
  await kernel.paths.rename('/a', '/b')
  await fails('ENOENT', kernel.path('/a'), 'lookup of the old name')
  same(await kernel.path('/b'), nodeid, 'the nodeid')
  await kernel.paths.mkdir('/d')
  await kernel.paths.rename('/b', '/d/c')
  same(await kernel.path('/d/c'), nodeid, 'the nodeid')
  same(await kernel.paths.readText('/d/c'), 'content', 'the content')
  await fails('ENOENT', kernel.rename(ROOT, 'none', ROOT, 'other'), 'rename of what is not there')
})

check('rename replaces what is there', [...FILES, 'rename'], async (kernel) => {
  const winner = await kernel.paths.writeFile('/a', 'winner')
  const loser = await kernel.paths.writeFile('/b', 'loser')
  await kernel.paths.withOpen(loser, 0, async (fh) => {
    await kernel.paths.rename('/a', '/b')
    same(await kernel.path('/b'), winner, 'the nodeid')
    same(Buffer.from(await kernel.read(loser, fh, 0, 100)).toString(), 'loser', 'the open file that was replaced')
    same((await kernel.getattr(loser, fh)).nlink, 0, 'its number of links')
  })
  same(await kernel.paths.readText('/b'), 'winner', 'the content')
  await fails('ENOENT', kernel.path('/a'), 'lookup of the old name')
})

check('rename of directories', [...FILES, 'mkdir', 'rename'], async (kernel) => {
  await kernel.paths.mkdir('/a')
  await kernel.paths.writeFile('/a/f', 'x')
  await kernel.paths.mkdir('/empty')
  await kernel.paths.rename('/a', '/empty')
  same(await kernel.paths.readText('/empty/f'), 'x', 'what was in it')
  await kernel.paths.mkdir('/b')
  await fails(['ENOTEMPTY', 'EEXIST'], kernel.rename(ROOT, 'b', ROOT, 'empty'), 'rename over a directory with a file')
  await kernel.paths.writeFile('/f', 'x')
  await fails('EISDIR', kernel.rename(ROOT, 'f', ROOT, 'b'), 'rename of a file over a directory')
  await fails('ENOTDIR', kernel.rename(ROOT, 'b', ROOT, 'f'), 'rename of a directory over a file')
})

check('RENAME_NOREPLACE', [...FILES, 'rename'], async (kernel) => {
  await kernel.paths.writeFile('/a', 'a')
  await kernel.paths.writeFile('/b', 'b')
  await fails('EEXIST', orUnsupported(kernel.rename(ROOT, 'a', ROOT, 'b', 1)), 'rename over a file')
  await kernel.rename(ROOT, 'a', ROOT, 'c', 1)
  same(await kernel.paths.readText('/c'), 'a', 'the content')
})

check('RENAME_EXCHANGE', [...FILES, 'rename'], async (kernel) => {
  await kernel.paths.writeFile('/a', 'a')
  await kernel.paths.writeFile('/b', 'b')
  await orUnsupported(kernel.rename(ROOT, 'a', ROOT, 'b', 2))
  same(await kernel.paths.readText('/a'), 'b', 'the first')
  same(await kernel.paths.readText('/b'), 'a', 'the second')
  await fails('ENOENT', kernel.rename(ROOT, 'a', ROOT, 'none', 2), 'an exchange with what is not there')
})

check('hard links are one inode', [...FILES, 'link', 'unlink'], async (kernel) => {
  const nodeid = await kernel.paths.writeFile('/a', 'one')
  same(await kernel.paths.link('/a', '/b'), nodeid, 'the nodeid')
  same((await kernel.paths.stat('/a')).nlink, 2, 'the number of links')
  await kernel.paths.writeFile('/b', 'two')
  same(await kernel.paths.readText('/a'), 'two', 'the content under the other name')
  await fails('EEXIST', kernel.link(nodeid, ROOT, 'b'), 'a link to a name that is taken')
  await kernel.paths.unlink('/a')
  same((await kernel.paths.stat('/b')).nlink, 1, 'the number of links')
})

check('symbolic links keep their target', ['lookup', 'getattr', 'symlink', 'readlink'], async (kernel) => {
  for (const target of ['x', '../not/there', 'ü'.repeat(100), 'y'.repeat(4000)]) {
    const name = `link${target.length}`
    const entry = await kernel.symlink(ROOT, name, target)
    same(entry.attr.mode & S_IFMT, S_IFLNK, 'the type')
    same(entry.attr.size, UTF8.encode(target).length, 'the size')
    same(await kernel.paths.readlink(`/${name}`), target, 'the target')
  }
})

check('special files have the type they were given', ['lookup', 'getattr', 'mknod'], async (kernel) => {
  const entry = await kernel.mknod(ROOT, 'fifo', S_IFIFO | 0o600)
  same((await kernel.getattr(entry.nodeid)).mode, S_IFIFO | 0o600, 'the mode')
})

check('names of any bytes, up to 255', [...FILES, 'readdir'], async (kernel) => {
  const names = [
    Uint8Array.of(0xff, 0xfe), Uint8Array.of(0xc3, 0xa9), Uint8Array.of(0x65, 0xcc, 0x81), UTF8.encode('\ufeffbom'),
    UTF8.encode(' '), UTF8.encode('...'), UTF8.encode('n'.repeat(255)), Uint8Array.of(0x0a), Uint8Array.of(0xff, 0xfd),
  ]
  const made = new Set<Wide>()
  for (const name of names) {
    const { nodeid } = kernel.fileSystem.mknod
      ? await kernel.mknod(ROOT, name, S_IFREG | 0o644)
      : await kernel.create(ROOT, name).then(async ({ entry, open }) => {
        await released(kernel, entry.nodeid, open.fh)
        return entry
      })
    same((await kernel.lookup(ROOT, name)).nodeid, nodeid, 'the nodeid')
    made.add(nodeid)
  }
  same(made.size, names.length, 'the number of files')
  const key = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
  const listed = new Set((await kernel.paths.list(ROOT)).map(({ nameBytes }) => key(nameBytes)))
  for (const name of names) expect(listed.has(key(name)), `${key(name)} is listed`)
  await fails('ENAMETOOLONG', kernel.create(ROOT, 'n'.repeat(256)), 'a name of 256 bytes')
})

/** Makes files in a directory and returns their names. */
async function populate(kernel: ScriptedKernel, directory: string, count: number): Promise<string[]> {
  await kernel.paths.mkdir(directory)
  const names = Array.from({ length: count }, (_, index) => `file-${index}${'x'.repeat(index % 23)}`)
  for (const name of names) await kernel.paths.writeFile(`${directory}/${name}`, '')
  return names
}

function sameNames(actual: readonly string[], expected: readonly string[], what: string): void {
  const files = actual.filter((name) => name !== '.' && name !== '..').toSorted()
  const due = expected.toSorted()
  const twice = files.find((name, index) => files[index + 1] === name)
  expect(twice === undefined, `${what}: ${show(twice)} is listed once`)
  const missing = due.find((name) => !files.includes(name))
  expect(missing === undefined, `${what}: ${show(missing)} is listed`)
  const surplus = files.find((name) => !due.includes(name))
  expect(surplus === undefined, `${what}: ${show(surplus)} is not listed`)
}

const LISTING: readonly Need[] = ['lookup', 'getattr', CREATION, 'mkdir', 'readdir']

check('a listing is complete, whatever the buffer', LISTING, async (kernel) => {
  const names = await populate(kernel, '/d', 200)
  const nodeid = await kernel.path('/d')
  for (const size of [65536, 4096, 1000, 72]) {
    const listed = await kernel.paths.list(nodeid, size)
    sameNames(listed.map(({ name }) => name), names, `${size} bytes at a time`)
    const dots = listed.filter(({ name }) => name === '.' || name === '..').map(({ name }) => name)
    expect(new Set(dots).size === dots.length, '"." and ".." are listed once')
  }
})

check('a listing goes on from every offset', LISTING, async (kernel) => {
  await populate(kernel, '/d', 60)
  const nodeid = await kernel.path('/d')
  const all = await kernel.paths.list(nodeid)
  const opened = await kernel.opendir(nodeid).catch((error) => {
    if (isErrno(error, 'ENOSYS')) return null
    throw error
  })
  const fh = opened?.fh ?? 0
  // Backwards, so that no cursor of the file system happens to be right.
  for (let index = all.length - 1; index >= 0; index--) {
    const rest = await kernel.readdir(nodeid, fh, all[index].off, 65536)
    same(rest.map(({ name }) => name).join(), all.slice(index + 1).map(({ name }) => name).join(), `what follows ${show(all[index].name)}`)
  }
  same((await kernel.readdir(nodeid, fh, 0, 65536)).length, all.length, 'the number of names after a rewind')
  if (opened) await kernel.releasedir(nodeid, fh).catch(ignoreMissing)
})

check('a listing survives the removal of what it has listed', [...LISTING, 'unlink'], async (kernel) => {
  const names = await populate(kernel, '/d', 120)
  const nodeid = await kernel.path('/d')
  const opened = await kernel.opendir(nodeid).catch((error) => {
    if (isErrno(error, 'ENOSYS')) return null
    throw error
  })
  const fh = opened?.fh ?? 0
  const listed: string[] = []
  for (let offset: Wide = 0; ;) {
    const part = await kernel.readdir(nodeid, fh, offset, 400)
    if (part.length === 0) break
    offset = part[part.length - 1].off
    for (const { name } of part) {
      if (name === '.' || name === '..') continue
      listed.push(name)
      await kernel.unlink(nodeid, name)
    }
  }
  sameNames(listed, names, 'rm -r')
  if (opened) await kernel.releasedir(nodeid, fh).catch(ignoreMissing)
  same((await kernel.paths.list(nodeid)).filter(({ name }) => name !== '.' && name !== '..').length, 0, 'the number of names left')
})

check('listed types and inode numbers are those of the inodes', [...LISTING, 'symlink'], async (kernel) => {
  await kernel.paths.mkdir('/d')
  await kernel.paths.writeFile('/f', '')
  await kernel.paths.symlink('x', '/l')
  for (const { name, type, ino } of await kernel.paths.list(ROOT)) {
    if (name === '.' || name === '..') continue
    const attr = await kernel.paths.stat(`/${name}`)
    // DT_UNKNOWN and no inode number are allowed.
    if (type !== 0) same(type, attr.mode & S_IFMT, `the type of ${show(name)}`)
    if (ino !== 0 && ino !== 0xffffffff) same(ino, attr.ino, `the inode number of ${show(name)}`)
  }
})

check('readdirplus gives the entries that lookup gives', [...LISTING, 'readdirplus'], async (kernel) => {
  const names = await populate(kernel, '/d', 50)
  const nodeid = await kernel.path('/d')
  for (const size of [65536, 1024, 400]) {
    const listed = await kernel.paths.list(nodeid, size, true)
    sameNames(listed.map(({ name }) => name), names, `${size} bytes at a time`)
    for (const { name, entry } of listed) {
      if (entry === undefined) continue
      const found = await kernel.lookup(nodeid, name)
      same(entry.nodeid, found.nodeid, `the nodeid of ${show(name)}`)
      same(entry.generation, found.generation, `the generation of ${show(name)}`)
      same(entry.attr.mode, found.attr.mode, `the mode of ${show(name)}`)
    }
  }
})

check('extended attributes: value, size, ERANGE, ENODATA', [...FILES, 'setxattr', 'getxattr'], async (kernel) => {
  const nodeid = await kernel.paths.writeFile('/f', '')
  const value = pattern(300, 7)
  await orUnsupported(kernel.setxattr(nodeid, 'user.a', value))
  same(await kernel.getxattrSize(nodeid, 'user.a'), 300, 'the size')
  sameBytes(await kernel.getxattr(nodeid, 'user.a', 300), value, 'the value')
  sameBytes(await kernel.getxattr(nodeid, 'user.a', 65536), value, 'the value')
  await fails('ERANGE', kernel.getxattr(nodeid, 'user.a', 299), 'getxattr into too small a buffer')
  await fails('ENODATA', kernel.getxattr(nodeid, 'user.none'), 'getxattr of what is not there')
  await fails('ENODATA', kernel.getxattrSize(nodeid, 'user.none'), 'getxattr of what is not there, for its size,')
  await kernel.setxattr(nodeid, 'user.empty', new Uint8Array(0))
  same(await kernel.getxattrSize(nodeid, 'user.empty'), 0, 'the size of an empty value')
})

check('extended attributes: XATTR_CREATE and XATTR_REPLACE', [...FILES, 'setxattr', 'getxattr'], async (kernel) => {
  const nodeid = await kernel.paths.writeFile('/f', '')
  await fails('ENODATA', orUnsupported(kernel.setxattr(nodeid, 'user.a', UTF8.encode('1'), 2)), 'XATTR_REPLACE of what is not there')
  await kernel.setxattr(nodeid, 'user.a', UTF8.encode('2'), 1)
  await fails('EEXIST', kernel.setxattr(nodeid, 'user.a', UTF8.encode('3'), 1), 'XATTR_CREATE of what is there')
  await kernel.setxattr(nodeid, 'user.a', UTF8.encode('longer'), 2)
  same(Buffer.from(await kernel.getxattr(nodeid, 'user.a')).toString(), 'longer', 'the value')
})

check('extended attributes: list and removal', [...FILES, 'setxattr', 'listxattr', 'removexattr'], async (kernel) => {
  const nodeid = await kernel.paths.writeFile('/f', '')
  const user = async () => (await kernel.listxattr(nodeid)).filter((name) => name.startsWith('user.')).toSorted().join()
  same(await user(), '', 'the list')
  await orUnsupported(kernel.setxattr(nodeid, 'user.b', UTF8.encode('1')))
  await kernel.setxattr(nodeid, 'user.a', UTF8.encode('2'))
  same(await user(), 'user.a,user.b', 'the list')
  const size = await kernel.listxattrSize(nodeid)
  same((await kernel.listxattr(nodeid, size)).length >= 2, true, 'a list in a buffer of its size')
  await fails('ERANGE', kernel.listxattr(nodeid, size - 1), 'listxattr into too small a buffer')
  await kernel.removexattr(nodeid, 'user.b')
  same(await user(), 'user.a', 'the list')
  await fails('ENODATA', kernel.removexattr(nodeid, 'user.b'), 'removexattr of what is not there')
})

check('statfs is plausible', ['statfs'], async (kernel) => {
  const { blocks, bfree, bavail, bsize, namelen } = await kernel.statfs()
  expect(bsize > 0n, 'blocks have a size')
  expect(bfree <= blocks, 'no more is free than there is')
  expect(bavail <= bfree, 'no more is available than is free')
  expect(namelen > 0n, 'names have a length')
})

check('fallocate', [...FILES, 'fallocate'], async (kernel) => {
  const data = pattern(8192, 3)
  const nodeid = await kernel.paths.writeFile('/f', data)
  await kernel.paths.withOpen(nodeid, 2, async (fh) => {
    await orUnsupported(kernel.fallocate(nodeid, fh, 0, 20_000, 0))
    same((await kernel.getattr(nodeid, fh)).size, 20_000, 'the size')
    await orUnsupported(kernel.fallocate(nodeid, fh, 0, 50_000, 1))
    same((await kernel.getattr(nodeid, fh)).size, 20_000, 'the size, with FALLOC_FL_KEEP_SIZE,')
    await orUnsupported(kernel.fallocate(nodeid, fh, 1000, 3000, 3))
  })
  const expected = new Uint8Array(20_000)
  expected.set(data)
  expected.fill(0, 1000, 4000)
  sameBytes(await kernel.paths.readFile('/f'), expected, 'the file')
})

check('SEEK_DATA and SEEK_HOLE', [...FILES, 'lseek'], async (kernel) => {
  const SEEK_DATA = 3
  const SEEK_HOLE = 4
  const nodeid = await kernel.paths.writeFile('/f', pattern(5000, 1))
  await kernel.paths.withOpen(nodeid, 0, async (fh) => {
    same(await orUnsupported(kernel.lseek(nodeid, fh, 100, SEEK_DATA)), 100, 'the data from 100 on')
    same(await kernel.lseek(nodeid, fh, 0, SEEK_HOLE), 5000, 'the hole at the end')
    await fails('ENXIO', kernel.lseek(nodeid, fh, 5000, SEEK_DATA), 'a search behind the end')
  })
})

check('copy_file_range', [...FILES, 'copyFileRange'], async (kernel) => {
  const source = pattern(9000, 1)
  const from = await kernel.paths.writeFile('/from', source)
  const to = await kernel.paths.writeFile('/to', pattern(100, 2))
  await kernel.paths.withOpen(from, 0, (fh) => kernel.paths.withOpen(to, 2, async (target) => {
    for (let done = 0; done < 8000;) {
      const copied = Number(await orUnsupported(kernel.copyFileRange(
        { nodeid: from, fh, offset: 500 + done }, { nodeid: to, fh: target, offset: 50 + done }, 8000 - done,
      )))
      expect(copied > 0, 'a copy makes progress')
      done += copied
    }
    same(Number(await kernel.copyFileRange({ nodeid: from, fh, offset: 9000 }, { nodeid: to, fh: target, offset: 0 }, 10)), 0,
      'what is copied from the end')
  }))
  const expected = new Uint8Array(8050)
  expected.set(pattern(100, 2))
  expected.set(source.subarray(500, 8500), 50)
  sameBytes(await kernel.paths.readFile('/to'), expected, 'the target')
})

check('O_TMPFILE: a file without a name, until it is linked', [...FILES, 'tmpfile', 'link'], async (kernel) => {
  const { entry: { nodeid, attr }, open: { fh } } = await orUnsupported(kernel.tmpfile(ROOT))
  same(attr.nlink, 0, 'the number of links')
  await kernel.write(nodeid, fh, 0, UTF8.encode('kept'))
  same((await kernel.link(nodeid, ROOT, 'kept')).nodeid, nodeid, 'the nodeid')
  await released(kernel, nodeid, fh)
  same(await kernel.paths.readText('/kept'), 'kept', 'the content')
  same((await kernel.getattr(nodeid)).nlink, 1, 'the number of links')
})

check('many requests in flight', [...FILES, 'readdir'], async (kernel) => {
  const names = Array.from({ length: 100 }, (_, index) => `f${index}`)
  await Promise.all(names.map((name, index) => kernel.paths.writeFile(`/${name}`, pattern(3000, index))))
  const contents = await Promise.all(names.map((name) => kernel.paths.readFile(`/${name}`)))
  contents.forEach((content, index) => sameBytes(content, pattern(3000, index), names[index]))
  const listed = await kernel.paths.readdir('/')
  for (const name of names) expect(listed.includes(name), `${name} is listed`)
})

check('an inode is good until all its look-ups are forgotten', FILES, async (kernel) => {
  const nodeid = await kernel.paths.writeFile('/f', 'x')
  await kernel.lookup(ROOT, 'f')
  await kernel.lookup(ROOT, 'f')
  await kernel.forget(nodeid, kernel.lookupCount(nodeid) - 1n)
  same((await kernel.getattr(nodeid)).size, 1, 'the size')
  await kernel.forget(nodeid)
  same(await kernel.paths.readText('/f'), 'x', 'the content, looked up again,')
})

/** Of requests whose answer nobody needs. */
function ignoreMissing(error: unknown): void {
  if (!isErrno(error, 'ENOSYS')) throw error
}

async function released(kernel: ScriptedKernel, nodeid: Wide, fh: Wide): Promise<void> {
  await kernel.release(nodeid, fh).catch(ignoreMissing)
}

/** What a file system may do without, though it has the method. */
class Unsupported extends Error {}

async function orUnsupported<T>(attempt: Promise<T>): Promise<T> {
  try {
    return await attempt
  } catch (error) {
    if (isErrno(error, 'EOPNOTSUPP') || isErrno(error, 'EINVAL')) throw new Unsupported((error as FuseError).code)
    throw error
  }
}

function lacking(fileSystem: FileSystem, needs: readonly Need[]): string[] {
  return needs.flatMap((need) => {
    const methods: readonly Method[] = typeof need === 'string' ? [need] : need
    return methods.some((method) => typeof fileSystem[method] === 'function') ? [] : [methods.join(' or ')]
  })
}

/**
 * Runs every check, each over a file system of its own.
 * @param makeFileSystem makes an empty file system
 * @returns one result a check; none has failed: the file system conforms
 */
export async function conformanceSuite(
  makeFileSystem: () => MaybePromise<FileSystem>, options: SuiteOptions = {},
): Promise<CheckResult[]> {
  const results: CheckResult[] = []
  for (const one of checks) {
    if (options.only && !options.only.test(one.name)) continue
    const result = await runCheck(one, await makeFileSystem(), options)
    options.report?.(result)
    results.push(result)
  }
  return results
}

async function runCheck({ name, needs, run }: Check, fileSystem: FileSystem, options: SuiteOptions): Promise<CheckResult> {
  const missing = lacking(fileSystem, needs)
  if (missing.length > 0) return { name, outcome: 'skipped', reason: `no ${missing.join(', ')}` }
  try {
    const kernel = await ScriptedKernel.start(fileSystem, options.kernel)
    await run(kernel)
    same(kernel.inFlightCount, 0, 'the number of requests left without an answer')
    same(kernel.openCount, 0, 'the number of files left open')
    if (options.liveInodes && fileSystem.unlink && fileSystem.rmdir && fileSystem.readdir) {
      await kernel.paths.empty('/')
      await kernel.forgetAll()
      same(options.liveInodes(fileSystem), 1, 'the number of inodes when all are removed and forgotten')
    }
    await kernel.shutdown()
    return { name, outcome: 'passed' }
  } catch (error) {
    if (error instanceof Unsupported) return { name, outcome: 'skipped', reason: `answers ${error.message}` }
    // EPERM is what mkdir(2) and the like say of a file system that can't do such a thing.
    if (isErrno(error, 'ENOSYS') || isErrno(error, 'EROFS') || isErrno(error, 'EPERM')) {
      return { name, outcome: 'skipped', reason: `answers ${(error as FuseError).code}` }
    }
    return { name, outcome: 'failed', reason: String(error), error }
  }
}
