// SPDX-License-Identifier: MIT
/**
 * MemFS: a complete file system in memory, to embed, to test with, and to read as an example of
 * every operation.
 *
 * It behaves as ext4 does, within limits on bytes and inodes. Rights are the kernel's business: it
 * asks for FUSE_POSIX_ACL, with which the kernel checks modes and access lists itself (as the mount
 * option `default_permissions` says too, for kernels without it). Nodeids are inode numbers and are
 * never used twice. Replies are filled in place; nothing here is asynchronous.
 *
 * Names are kept as strings of one character a byte (latin1), so that any name comes back as it
 * was given, valid UTF-8 or not.
 */
import { constants as fsConstants } from 'node:fs'
import { constants, totalmem } from 'node:os'
import type { Block } from '../../protocol/struct.js'
import type * as reply from '../../protocol/reply.js'
import type * as request from '../../protocol/request.js'
import {
  FATTR_ATIME, FATTR_ATIME_NOW, FATTR_CTIME, FATTR_GID, FATTR_KILL_SUIDGID, FATTR_MODE, FATTR_MTIME, FATTR_MTIME_NOW,
  FATTR_SIZE, FATTR_UID, FOPEN_KEEP_CACHE, FUSE_OPEN_KILL_SUIDGID, FUSE_ROOT_ID,
  FUSE_SETXATTR_ACL_KILL_SGID, FUSE_WRITE_KILL_SUIDGID, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG,
  S_IFSOCK, S_ISGID,
} from '../../protocol/constants.js'
import type { Connection, FileSystem } from '../filesystem.js'
import { Content } from './content.js'
import { Directory, DOT, DOT_DOT } from './directory.js'
import { isInGroup } from './groups.js'
import { Inode } from './inode.js'
import { PAGE_SIZE, PageStore } from './pages.js'
import { chmodXattrs, getXattr, inheritMode, listXattrs, removeXattr, setXattr } from './xattrs.js'

const {
  EEXIST, EFBIG, EINVAL, EISDIR, ENAMETOOLONG, ENODEV, ENOENT, ENOSPC, ENOTDIR, ENOTEMPTY, ENXIO, EOPNOTSUPP, EPERM,
  ERANGE, ESTALE,
} = constants.errno
const { O_EXCL, O_TRUNC } = fsConstants

const NAME_MAX = 255
const PERMISSION_BITS = 0o7777
/** As large as ext4 lets a file be, bytes. */
const MAX_FILE_SIZE = 2 ** 44
/** One copy of more would keep everybody else waiting; the caller asks again for the rest. */
const MAX_COPY = 16 * 1024 * 1024
const COPY_STEP = 128 * 1024

// rename(2)
const RENAME_NOREPLACE = 1
const RENAME_EXCHANGE = 2
const RENAME_WHITEOUT = 4
// fallocate(2)
const FALLOC_FL_KEEP_SIZE = 0x01
const FALLOC_FL_PUNCH_HOLE = 0x02
const FALLOC_FL_ZERO_RANGE = 0x10
// lseek(2)
const SEEK_DATA = 3
const SEEK_HOLE = 4

const MADE_BY_MKNOD: ReadonlySet<number> = new Set([S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK])

export interface MemFSOptions {
  /** Bytes of file contents, in pages of 4096; default: half of the machine's memory. */
  maxBytes?: number
  /** Files, directories and all others together; default: one for every 8 KiB of memory. */
  maxInodes?: number
  /** The root directory's owner; default: that of this process. */
  uid?: number
  gid?: number
  /** The root directory's permission bits; default 0o755. */
  mode?: number
}

/** A directory that is open. */
interface OpenDirectory {
  readonly inode: Inode
  /** Entries from this cookie on were made after the listing began, and are left to the next one. */
  end: number
}

type EntryView = reply.EntryReply['entry']

export class MemFS implements FileSystem {
  readonly synchronous = true

  private readonly store: PageStore
  private readonly maxInodes: number
  private readonly inodes = new Map<number, Inode>()
  private readonly root: Inode
  private nextNodeid = FUSE_ROOT_ID
  /** Tells this instance's handles (NFS) from those of one before it that had the same nodeids. */
  private readonly generation = Math.floor(Date.now() / 1000)
  private readonly openDirectories = new Map<number, OpenDirectory>()
  private nextHandle = 1
  /** Now, as of the last `tick`. */
  private seconds = 0
  private nanoseconds = 0
  /** Blocks as Buffers, whose latin1 conversions are the quickest there are. */
  private readonly buffers = new WeakMap<Block, Buffer>()
  private readonly copyBuffer = new Uint8Array(COPY_STEP)

  constructor(options: MemFSOptions = {}) {
    const maxBytes = options.maxBytes ?? totalmem() / 2
    this.maxInodes = Math.floor(options.maxInodes ?? totalmem() / 8192)
    if (!(maxBytes >= 0)) throw new RangeError('maxBytes must be a number of bytes')
    if (!(this.maxInodes >= 1)) throw new RangeError('maxInodes must be at least 1: the root directory is one')
    this.store = new PageStore(Math.floor(maxBytes / PAGE_SIZE))
    this.tick()
    this.root = this.newInode(S_IFDIR | ((options.mode ?? 0o755) & PERMISSION_BITS))
    this.root.uid = options.uid ?? process.getuid!()
    this.root.gid = options.gid ?? process.getgid!()
    this.root.parent = this.root
  }

  /** What is in use: bytes of pages, and inodes, unlinked ones that are still open or looked up included. */
  get usage(): { bytes: number; inodes: number } {
    return { bytes: this.store.used * PAGE_SIZE, inodes: this.inodes.size }
  }

  /** Who needs an inode: names, look-ups of the kernel, open files. Undefined once it is freed. */
  references(nodeid: number): { links: number; lookups: number; opens: number } | undefined {
    const inode = this.inodes.get(nodeid)
    return inode && { links: inode.nlink, lookups: inode.lookups, opens: inode.opens }
  }

  init(connection: Connection): void {
    connection.want('FUSE_POSIX_ACL')
    connection.want('FUSE_DONT_MASK')
    connection.want('FUSE_HANDLE_KILLPRIV_V2')
    connection.want('FUSE_ATOMIC_O_TRUNC')
    connection.want('FUSE_EXPORT_SUPPORT')
    connection.want('FUSE_CACHE_SYMLINKS')
    connection.want('FUSE_SECURITY_CTX')
    // Every change comes through the kernel: an mtime that it did not expect is only that of its own write.
    connection.refuse('FUSE_AUTO_INVAL_DATA')
  }

  /** The kernel is gone and has forgotten everything; the tree stays, for another mount. */
  destroy(): void {
    this.openDirectories.clear()
    for (const inode of this.inodes.values()) {
      inode.lookups = 0
      inode.opens = 0
      this.freeIfGone(inode)
    }
  }

  // Look-ups and attributes

  lookup(request: request.LookupRequest, reply: reply.EntryReply): number | void {
    const parent = this.inodes.get(request.nodeid)
    if (parent === undefined) return -ESTALE
    if (request.nameLength > NAME_MAX) return -ENAMETOOLONG
    const name = this.text(request.block, request.nameOffset, request.nameLength)
    // A file handle (of an NFS server, say) is looked up so, whatever it is of: FUSE_EXPORT_SUPPORT.
    if (name === '.') return parent.nlink === 0 ? -ESTALE : this.give(reply.entry, parent)
    if (parent.directory === null) return -ENOTDIR
    // A directory that was removed leads nowhere: what it lay in may be gone as well.
    if (name === '..') return parent.nlink === 0 ? -ENOENT : this.give(reply.entry, parent.parent!)
    const inode = parent.directory.get(name)
    if (inode === undefined) return reply.setNegative()
    this.give(reply.entry, inode)
  }

  forget(request: request.ForgetRequest): void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return
    inode.lookups = Math.max(0, inode.lookups - request.nlookup)
    this.freeIfGone(inode)
  }

  getattr(request: request.GetattrRequest, reply: reply.AttrReply): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    inode.encode(reply.out.attr)
  }

  statx(request: request.StatxRequest, reply: reply.StatxReply): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    inode.encodeStatx(reply.out.stat)
  }

  setattr(request: request.SetattrRequest, reply: reply.AttrReply): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    const { valid } = request
    this.tick()
    const { seconds, nanoseconds } = this
    if ((valid & FATTR_SIZE) !== 0) {
      if (inode.content === null) return inode.isDirectory ? -EISDIR : -EINVAL
      if (request.size > MAX_FILE_SIZE) return -EFBIG
      inode.content.truncate(request.size)
      inode.modified(seconds, nanoseconds)
    }
    // Nothing at all (but the ctime, with a writeback cache) is what the kernel sends for chown(2) to
    // -1, -1, and before it changes a file's contents without a write: it has decided that privileges
    // go, and has no flag left to say so.
    const kills = (valid & ~FATTR_CTIME) === 0 || (valid & FATTR_KILL_SUIDGID) !== 0
    if (kills) this.killPrivileges(inode, request)
    if ((valid & FATTR_UID) !== 0) inode.uid = request.uid
    if ((valid & FATTR_GID) !== 0) inode.gid = request.gid
    if ((valid & FATTR_MODE) !== 0) {
      inode.mode = (inode.mode & S_IFMT) | (request.mode & PERMISSION_BITS)
      chmodXattrs(inode)
    }
    if ((valid & FATTR_ATIME) !== 0) {
      const now = (valid & FATTR_ATIME_NOW) !== 0
      inode.atime = now ? seconds : request.atime
      inode.atimensec = now ? nanoseconds : request.atimensec
    }
    if ((valid & FATTR_MTIME) !== 0) {
      const now = (valid & FATTR_MTIME_NOW) !== 0
      inode.mtime = now ? seconds : request.mtime
      inode.mtimensec = now ? nanoseconds : request.mtimensec
    }
    // With a writeback cache the kernel keeps the times of files it writes to, and tells them here.
    if ((valid & FATTR_CTIME) !== 0) inode.changed(request.ctime, request.ctimensec)
    else inode.changed(seconds, nanoseconds)
    inode.encode(reply.out.attr)
  }

  // Names

  mknod(request: request.MknodRequest, reply: reply.EntryReply): number | void {
    const type = (request.mode & S_IFMT) || S_IFREG
    if (!MADE_BY_MKNOD.has(type)) return -EINVAL
    const inode = this.make(request, type | (request.mode & PERMISSION_BITS), request.umask)
    if (typeof inode === 'number') return inode
    if (inode.isDevice) inode.rdev = request.rdev
    this.give(reply.entry, inode)
  }

  mkdir(request: request.MkdirRequest, reply: reply.EntryReply): number | void {
    const inode = this.make(request, S_IFDIR | (request.mode & PERMISSION_BITS), request.umask)
    if (typeof inode === 'number') return inode
    this.give(reply.entry, inode)
  }

  symlink(request: request.SymlinkRequest, reply: reply.EntryReply): number | void {
    if (request.name2Length >= PAGE_SIZE) return -ENAMETOOLONG
    const inode = this.make(request, S_IFLNK | 0o777, 0)
    if (typeof inode === 'number') return inode
    inode.target = request.name2Bytes.slice()
    this.give(reply.entry, inode)
  }

  readlink(request: request.ReadlinkRequest, reply: reply.DataReply): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    if (inode.target === null) return -EINVAL
    this.tick()
    inode.accessed(this.seconds, this.nanoseconds)
    reply.write(inode.target)
  }

  create(request: request.CreateRequest, reply: reply.CreateReply): number | void {
    const name = this.text(request.block, request.nameOffset, request.nameLength)
    const there = (request.flags & O_EXCL) === 0 ? this.inodes.get(request.nodeid)?.directory?.get(name) : undefined
    if (there !== undefined && !there.isRegular) return there.isDirectory ? -EISDIR : -EEXIST
    const inode = there ?? this.make(request, S_IFREG | (request.mode & PERMISSION_BITS), request.umask)
    if (typeof inode === 'number') return inode
    if (there !== undefined) this.truncateOnOpen(there, request)
    inode.opens++
    reply.open.open_flags = FOPEN_KEEP_CACHE
    this.give(reply.entry, inode)
  }

  tmpfile(request: request.TmpfileRequest, reply: reply.CreateReply): number | void {
    const parent = this.directoryOf(request.nodeid)
    if (typeof parent === 'number') return parent
    if (this.inodes.size >= this.maxInodes) return -ENOSPC
    this.tick()
    const inode = this.newChild(parent, S_IFREG | (request.mode & PERMISSION_BITS), request, request.umask)
    inode.nlink = 0
    inode.opens = 1
    reply.open.open_flags = FOPEN_KEEP_CACHE
    this.give(reply.entry, inode)
  }

  link(request: request.LinkRequest, reply: reply.EntryReply): number | void {
    const inode = this.inodes.get(request.oldnodeid)
    if (inode === undefined) return -ESTALE
    if (inode.isDirectory) return -EPERM
    const parent = this.directoryOf(request.nodeid)
    if (typeof parent === 'number') return parent
    if (request.nameLength > NAME_MAX) return -ENAMETOOLONG
    const name = this.text(request.block, request.nameOffset, request.nameLength)
    if (isImpossible(name)) return -EINVAL
    if (parent.directory!.get(name) !== undefined) return -EEXIST
    this.tick()
    parent.directory!.add(name, inode)
    parent.modified(this.seconds, this.nanoseconds)
    inode.nlink++
    inode.changed(this.seconds, this.nanoseconds)
    this.give(reply.entry, inode)
  }

  unlink(request: request.UnlinkRequest): number | void {
    return this.remove(request, false)
  }

  rmdir(request: request.RmdirRequest): number | void {
    return this.remove(request, true)
  }

  rename(request: request.RenameRequest): number | void {
    const { flags, block } = request
    const from = this.directoryOf(request.nodeid)
    if (typeof from === 'number') return from
    const to = this.directoryOf(request.newdir)
    if (typeof to === 'number') return to
    if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) !== 0) return -EINVAL
    const exchange = (flags & RENAME_EXCHANGE) !== 0
    if (exchange && flags !== RENAME_EXCHANGE) return -EINVAL
    if (request.nameLength > NAME_MAX || request.name2Length > NAME_MAX) return -ENAMETOOLONG
    const name = this.text(block, request.nameOffset, request.nameLength)
    const newName = this.text(block, request.name2Offset, request.name2Length)
    if (isImpossible(newName)) return -EINVAL
    const moved = from.directory!.get(name)
    if (moved === undefined) return -ENOENT
    const there = to.directory!.get(newName)
    if (contains(moved, to)) return -EINVAL
    if (exchange) {
      if (there === undefined) return -ENOENT
      if (contains(there, from)) return -EINVAL
      this.tick()
      this.exchange(from, name, moved, to, newName, there)
      return
    }
    if (there !== undefined) {
      if ((flags & RENAME_NOREPLACE) !== 0) return -EEXIST
      // Two names of one file: rename(2) does nothing.
      if (there === moved) return
      if (moved.isDirectory && !there.isDirectory) return -ENOTDIR
      if (!moved.isDirectory && there.isDirectory) return -EISDIR
      if (there.directory !== null && there.directory.count > 0) return -ENOTEMPTY
    }
    const whiteout = (flags & RENAME_WHITEOUT) !== 0
    if (whiteout && this.inodes.size >= this.maxInodes) return -ENOSPC
    this.tick()
    if (there === undefined) {
      to.directory!.add(newName, moved)
    } else {
      to.directory!.replace(newName, moved)
      this.unlinked(to, there)
    }
    if (whiteout) from.directory!.replace(name, this.newChild(from, S_IFCHR, request, 0))
    else from.directory!.remove(name)
    this.moved(moved, from, to)
  }

  // Open files

  open(request: request.OpenRequest, reply: reply.OpenReply): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    if (inode.isDirectory) return -EISDIR
    this.truncateOnOpen(inode, request)
    inode.opens++
    reply.out.open_flags = FOPEN_KEEP_CACHE
  }

  release(request: request.ReleaseRequest): void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return
    inode.opens = Math.max(0, inode.opens - 1)
    this.freeIfGone(inode)
  }

  read(request: request.ReadRequest, reply: reply.DataReply): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    if (inode.content === null) return inode.isDirectory ? -EISDIR : -EINVAL
    this.tick()
    inode.accessed(this.seconds, this.nanoseconds)
    reply.length = inode.content.read(request.offset, reply.capacity, reply.block.u8, reply.offset)
  }

  write(request: request.WriteRequest, reply: reply.WriteReply): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    const { content } = inode
    if (content === null) return inode.isDirectory ? -EISDIR : -EINVAL
    const { offset } = request
    if (request.size === 0) return
    const size = Math.min(request.size, MAX_FILE_SIZE - offset)
    if (size <= 0) return -EFBIG
    const written = content.write(offset, size, request.block.u8, request.dataOffset)
    if (written === 0) return -ENOSPC
    this.tick()
    inode.modified(this.seconds, this.nanoseconds)
    if ((request.write_flags & FUSE_WRITE_KILL_SUIDGID) !== 0) this.killPrivileges(inode, request)
    reply.out.size = written
  }

  fallocate(request: request.FallocateRequest): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    const { content } = inode
    if (content === null) return inode.isDirectory ? -EISDIR : -ENODEV
    const { offset, length, mode } = request
    const keepSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0
    if (length === 0) return -EINVAL
    if (offset + length > MAX_FILE_SIZE) return -EFBIG
    switch (mode & ~FALLOC_FL_KEEP_SIZE) {
      case 0:
        if (!content.reserve(offset, length)) return -ENOSPC
        break
      case FALLOC_FL_PUNCH_HOLE:
        if (!keepSize) return -EOPNOTSUPP
        content.punch(offset, length)
        break
      case FALLOC_FL_ZERO_RANGE:
        if (!content.reserve(offset, length)) return -ENOSPC
        content.zero(offset, length)
        break
      default:
        return -EOPNOTSUPP
    }
    if (!keepSize && offset + length > content.size) content.size = offset + length
    this.rewritten(inode, request)
  }

  lseek(request: request.LseekRequest, reply: reply.LseekReply): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    const { content } = inode
    const { offset, whence } = request
    if (content === null || (whence !== SEEK_DATA && whence !== SEEK_HOLE)) return -EINVAL
    if (offset >= content.size) return -ENXIO
    const found = whence === SEEK_DATA ? content.nextData(offset) : content.nextHole(offset)
    if (found < 0) return -ENXIO
    reply.out.offset = found
  }

  copyFileRange(request: request.CopyFileRangeRequest, reply: reply.WriteReply): number | void {
    const copied = this.copy(request)
    if (copied < 0) return copied
    reply.out.size = copied
  }

  copyFileRange64(request: request.CopyFileRangeRequest, reply: reply.CopiedReply): number | void {
    const copied = this.copy(request)
    if (copied < 0) return copied
    reply.out.bytes_copied = copied
  }

  // Directories

  opendir(request: request.OpenRequest, reply: reply.OpenReply): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    if (inode.directory === null) return -ENOTDIR
    inode.opens++
    this.openDirectories.set(this.nextHandle, { inode, end: inode.directory.nextCookie })
    reply.out.fh = this.nextHandle++
  }

  releasedir(request: request.ReleaseRequest): void {
    if (this.openDirectories.delete(request.fh)) this.release(request)
  }

  readdir(request: request.ReaddirRequest, reply: reply.DirectoryReply): number | void {
    const open = this.openDirectories.get(request.fh)
    const inode = open?.inode ?? this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    const { directory } = inode
    if (directory === null) return -ENOTDIR
    const { offset } = request
    this.tick()
    inode.accessed(this.seconds, this.nanoseconds)
    // A directory that is removed has no entries, not even these.
    if (inode.nlink === 0) return
    if (offset < DOT) {
      // rewinddir(3) begins a new listing, of all there is now.
      if (open !== undefined) open.end = directory.nextCookie
      if (!this.addRecord(reply, '.', inode, DOT, false)) return
    }
    if (offset < DOT_DOT && !this.addRecord(reply, '..', inode.parent!, DOT_DOT, false)) return
    const end = open?.end ?? directory.nextCookie
    directory.list(offset, (entry, target) =>
      entry.cookie < end && this.addRecord(reply, entry.name, target, entry.cookie, true))
  }

  readdirplus(request: request.ReaddirRequest, reply: reply.DirectoryReply): number | void {
    return this.readdir(request, reply)
  }

  // Extended attributes

  getxattr(request: request.GetxattrRequest, reply: reply.XattrReply): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    const value = getXattr(inode, this.text(request.block, request.nameOffset, request.nameLength))
    if (typeof value === 'number') return value
    if (reply.sizeOnly) reply.setSize(value.length)
    else if (reply.write(value) < value.length) return -ERANGE
  }

  listxattr(request: request.ListxattrRequest, reply: reply.XattrReply): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    const names = Buffer.from(listXattrs(inode, request.uid === 0).map((name) => `${name}\0`).join(''), 'latin1')
    if (reply.sizeOnly) reply.setSize(names.length)
    else if (reply.write(names) < names.length) return -ERANGE
  }

  setxattr(request: request.SetxattrRequest): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    const name = this.text(request.block, request.nameOffset, request.nameLength)
    // The short form that older kernels send has no such field.
    const killSgid = request.exchange.argsSize >= 16
      && (request.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) !== 0
    const failed = setXattr(inode, name, request.data.subarray(0, request.size), request.flags, killSgid)
    if (failed !== 0) return failed
    this.tick()
    inode.changed(this.seconds, this.nanoseconds)
  }

  removexattr(request: request.RemovexattrRequest): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    const failed = removeXattr(inode, this.text(request.block, request.nameOffset, request.nameLength))
    if (failed !== 0) return failed
    this.tick()
    inode.changed(this.seconds, this.nanoseconds)
  }

  statfs(_request: request.StatfsRequest, reply: reply.StatfsReply): void {
    const { st } = reply.out
    const { limit, used } = this.store
    st.blocks = limit
    st.bfree = st.bavail = limit - used
    st.files = this.maxInodes
    st.ffree = this.maxInodes - this.inodes.size
    st.bsize = st.frsize = PAGE_SIZE
    st.namelen = NAME_MAX
  }

  // What the methods above share

  /** Reads the clock; milliseconds are finer than the ticks that ext4 stamps its files with. */
  private tick(): void {
    const now = Date.now()
    this.seconds = Math.floor(now / 1000)
    this.nanoseconds = (now % 1000) * 1_000_000
  }

  private bufferOf(block: Block): Buffer {
    let buffer = this.buffers.get(block)
    if (buffer === undefined) {
      buffer = Buffer.from(block.buffer as ArrayBuffer)
      this.buffers.set(block, buffer)
    }
    return buffer
  }

  /** A string of one character for each byte. */
  private text(block: Block, offset: number, length: number): string {
    return this.bufferOf(block).toString('latin1', offset, offset + length)
  }

  /** Answers with an inode under a name: the kernel has looked it up once more. */
  private give(entry: EntryView, inode: Inode): void {
    inode.lookups++
    entry.nodeid = inode.nodeid
    entry.generation = this.generation
    inode.encode(entry.attr)
  }

  /** @returns whether the record fitted */
  private addRecord(reply: reply.DirectoryReply, name: string, inode: Inode, cookie: number, looksUp: boolean): boolean {
    if (!reply.next(name.length)) return false
    const { dirent } = reply
    dirent.ino = inode.nodeid
    dirent.off = cookie
    dirent.type = (inode.mode & S_IFMT) >>> 12
    this.bufferOf(reply.block).write(name, reply.nameOffset, 'latin1')
    if (looksUp && reply.plus) this.give(reply.entry, inode)
    return true
  }

  /** The directory that a request wants to change, or a negated errno. */
  private directoryOf(nodeid: number): Inode | number {
    const inode = this.inodes.get(nodeid)
    if (inode === undefined) return -ESTALE
    if (inode.directory === null) return -ENOTDIR
    return inode.nlink === 0 ? -ENOENT : inode
  }

  /** Makes what a request names, or answers a negated errno. @param mode type and permission bits */
  private make(
    request: request.Request & request.Named, mode: number, umask: number,
  ): Inode | number {
    const parent = this.directoryOf(request.nodeid)
    if (typeof parent === 'number') return parent
    if (request.nameLength > NAME_MAX) return -ENAMETOOLONG
    const name = this.text(request.block, request.nameOffset, request.nameLength)
    if (isImpossible(name)) return -EINVAL
    if (parent.directory!.get(name) !== undefined) return -EEXIST
    if (this.inodes.size >= this.maxInodes) return -ENOSPC
    this.tick()
    const inode = this.newChild(parent, mode, request, umask)
    parent.directory!.add(name, inode)
    parent.modified(this.seconds, this.nanoseconds)
    if (inode.isDirectory) {
      inode.parent = parent
      parent.nlink++
    }
    return inode
  }

  /** An inode with the ownership, mode and lists that its parent directory gives it; it has no name yet. */
  private newChild(parent: Inode, mode: number, request: request.Request, umask: number): Inode {
    const inode = this.newInode(mode)
    inode.uid = request.uid
    inode.gid = request.gid
    if ((parent.mode & S_ISGID) !== 0) {
      inode.gid = parent.gid
      if (inode.isDirectory) inode.mode |= S_ISGID
    }
    inheritMode(parent, inode, umask)
    if (request.exchange.extensionsLength > 0) {
      for (const [name, value] of request.securityContexts) setXattr(inode, name, value, 0, false)
    }
    return inode
  }

  private newInode(mode: number): Inode {
    const inode = new Inode(this.nextNodeid++, mode)
    inode.born(this.seconds, this.nanoseconds)
    if (inode.isDirectory) {
      inode.directory = new Directory()
      inode.nlink = 2
    } else if (inode.isRegular) {
      inode.content = new Content(this.store)
    }
    this.inodes.set(inode.nodeid, inode)
    return inode
  }

  private remove(request: request.Request & request.Named, wantsDirectory: boolean): number | void {
    const parent = this.directoryOf(request.nodeid)
    if (typeof parent === 'number') return parent
    if (request.nameLength > NAME_MAX) return -ENAMETOOLONG
    const name = this.text(request.block, request.nameOffset, request.nameLength)
    const inode = parent.directory!.get(name)
    if (inode === undefined) return -ENOENT
    if (wantsDirectory && !inode.isDirectory) return -ENOTDIR
    if (!wantsDirectory && inode.isDirectory) return -EISDIR
    if (inode.directory !== null && inode.directory.count > 0) return -ENOTEMPTY
    this.tick()
    parent.directory!.remove(name)
    parent.modified(this.seconds, this.nanoseconds)
    this.unlinked(parent, inode)
  }

  /** An inode has lost a name in `parent`. */
  private unlinked(parent: Inode, inode: Inode): void {
    if (inode.isDirectory) {
      inode.nlink = 0
      parent.nlink--
    } else {
      inode.nlink--
    }
    inode.changed(this.seconds, this.nanoseconds)
    this.freeIfGone(inode)
  }

  /** An inode's name has gone from one directory to another, or stayed in the same. */
  private moved(inode: Inode, from: Inode, to: Inode): void {
    from.modified(this.seconds, this.nanoseconds)
    to.modified(this.seconds, this.nanoseconds)
    inode.changed(this.seconds, this.nanoseconds)
    if (inode.isDirectory) {
      inode.parent = to
      from.nlink--
      to.nlink++
    }
  }

  private exchange(from: Inode, name: string, moved: Inode, to: Inode, newName: string, there: Inode): void {
    from.directory!.replace(name, there)
    to.directory!.replace(newName, moved)
    this.moved(moved, from, to)
    this.moved(there, to, from)
  }

  private freeIfGone(inode: Inode): void {
    if (!inode.isGone) return
    inode.content?.clear()
    this.inodes.delete(inode.nodeid)
  }

  private truncateOnOpen(inode: Inode, request: request.OpenRequest | request.CreateRequest): void {
    if ((request.flags & O_TRUNC) === 0 || inode.content === null) return
    this.tick()
    inode.content.truncate(0)
    inode.modified(this.seconds, this.nanoseconds)
    if ((request.open_flags & FUSE_OPEN_KILL_SUIDGID) !== 0) this.killPrivileges(inode, request)
  }

  private killPrivileges(inode: Inode, request: request.Request): void {
    inode.killPrivileges((group) => isInGroup(request, group))
  }

  /** @returns bytes copied, or a negated errno */
  private copy(request: request.CopyFileRangeRequest): number {
    const source = this.inodes.get(request.nodeid)
    const target = this.inodes.get(request.nodeid_out)
    if (source === undefined || target === undefined) return -ESTALE
    if (source.content === null || target.content === null) return -EINVAL
    const { off_in: from, off_out: to } = request
    if (request.flags !== 0) return -EINVAL
    const length = Math.min(request.len, MAX_COPY, MAX_FILE_SIZE - to)
    if (length < 0 || (length === 0 && request.len > 0)) return -EFBIG
    if (source === target && from < to + length && to < from + length) return -EINVAL
    let copied = 0
    while (copied < length) {
      const got = source.content.read(from + copied, Math.min(COPY_STEP, length - copied), this.copyBuffer, 0)
      if (got === 0) break
      const put = target.content.write(to + copied, got, this.copyBuffer, 0)
      copied += put
      if (put === 0 && copied === 0) return -ENOSPC
      if (put < got) break
    }
    if (copied === 0) return 0
    this.rewritten(target, request)
    source.accessed(this.seconds, this.nanoseconds)
    return copied
  }

  /**
   * A file was changed by a request that, other than a write, does not say whether the caller may
   * keep the privileges on it; of the callers that may, root is the one we can tell.
   */
  private rewritten(inode: Inode, request: request.Request): void {
    this.tick()
    inode.modified(this.seconds, this.nanoseconds)
    if (request.uid !== 0) this.killPrivileges(inode, request)
  }
}

/** Whether no kernel would ask for something of this name to be made. */
function isImpossible(name: string): boolean {
  return name === '' || name === '.' || name === '..' || name.includes('/')
}

/** Whether `directory` is `inode` or lies below it. */
function contains(inode: Inode, directory: Inode): boolean {
  if (!inode.isDirectory) return false
  for (let at = directory; ; at = at.parent!) {
    if (at === inode) return true
    if (at.parent === at || at.parent === null) return false
  }
}

export default (options: MemFSOptions = {}): MemFS => new MemFS(options)
