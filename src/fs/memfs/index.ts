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
  FATTR_SIZE, FATTR_UID, FOPEN_KEEP_CACHE, FUSE_OPEN_KILL_SUIDGID,
  FUSE_SETXATTR_ACL_KILL_SGID, FUSE_WRITE_KILL_SUIDGID, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG,
  S_IFSOCK,
} from '../../protocol/constants.js'
import type { Connection, FileSystem } from '../filesystem.js'
import { DOT, DOT_DOT } from './directory.js'
import { isInGroup } from './groups.js'
import type { Inode } from './inode.js'
import { PAGE_SIZE, PageStore } from './pages.js'
import { NAME_MAX, Tree } from './tree.js'
import { chmodXattrs, getXattr, listXattrs, removeXattr, setXattr } from './xattrs.js'

const {
  EEXIST, EFBIG, EINVAL, EISDIR, ENAMETOOLONG, ENODEV, ENOENT, ENOSPC, ENOTDIR, ENXIO, EOPNOTSUPP, ERANGE, ESTALE,
} = constants.errno
const { O_EXCL, O_TRUNC } = fsConstants

const PERMISSION_BITS = 0o7777
/** As large as ext4 lets a file be, bytes. */
const MAX_FILE_SIZE = 2 ** 44
/** One copy of more would keep everybody else waiting; the caller asks again for the rest. */
const MAX_COPY = 16 * 1024 * 1024
const COPY_STEP = 128 * 1024

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
  private readonly tree: Tree
  private readonly inodes: ReadonlyMap<number, Inode>
  /** Tells this instance's handles (NFS) from those of one before it that had the same nodeids. */
  private readonly generation = Math.floor(Date.now() / 1000)
  private readonly openDirectories = new Map<number, OpenDirectory>()
  private nextHandle = 1
  /** Blocks as Buffers, whose latin1 conversions are the quickest there are. */
  private readonly buffers = new WeakMap<Block, Buffer>()
  private readonly copyBuffer = new Uint8Array(COPY_STEP)

  constructor(options: MemFSOptions = {}) {
    const maxBytes = options.maxBytes ?? totalmem() / 2
    const maxInodes = Math.floor(options.maxInodes ?? totalmem() / 8192)
    if (!(maxBytes >= 0)) throw new RangeError('maxBytes must be a number of bytes')
    if (!(maxInodes >= 1)) throw new RangeError('maxInodes must be at least 1: the root directory is one')
    const { mode = 0o755, uid = process.getuid!(), gid = process.getgid!() } = options
    this.store = new PageStore(Math.floor(maxBytes / PAGE_SIZE))
    this.tree = new Tree(this.store, maxInodes, mode & PERMISSION_BITS, { uid, gid })
    this.inodes = this.tree.inodes
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
      this.tree.freeIfGone(inode)
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
    this.tree.freeIfGone(inode)
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
    const now = this.tree.now()
    if ((valid & FATTR_SIZE) !== 0) {
      if (inode.content === null) return inode.isDirectory ? -EISDIR : -EINVAL
      if (request.size > MAX_FILE_SIZE) return -EFBIG
      inode.content.truncate(request.size)
      inode.modified(now)
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
      const given = (valid & FATTR_ATIME_NOW) === 0
      inode.atime = given ? request.atime : now.seconds
      inode.atimensec = given ? request.atimensec : now.nanoseconds
    }
    if ((valid & FATTR_MTIME) !== 0) {
      const given = (valid & FATTR_MTIME_NOW) === 0
      inode.mtime = given ? request.mtime : now.seconds
      inode.mtimensec = given ? request.mtimensec : now.nanoseconds
    }
    // With a writeback cache the kernel keeps the times of files it writes to, and tells them here.
    inode.changed((valid & FATTR_CTIME) === 0 ? now : { seconds: request.ctime, nanoseconds: request.ctimensec })
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
    inode.accessed(this.tree.now())
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
    const parent = this.tree.directory(request.nodeid)
    if (typeof parent === 'number') return parent
    const mode = S_IFREG | (request.mode & PERMISSION_BITS)
    const inode = this.labelled(request, this.tree.makeNameless(parent, mode, request, request.umask))
    if (typeof inode === 'number') return inode
    inode.opens = 1
    reply.open.open_flags = FOPEN_KEEP_CACHE
    this.give(reply.entry, inode)
  }

  link(request: request.LinkRequest, reply: reply.EntryReply): number | void {
    const inode = this.inodes.get(request.oldnodeid)
    if (inode === undefined) return -ESTALE
    const parent = this.tree.directory(request.nodeid)
    if (typeof parent === 'number') return parent
    const failed = this.tree.link(inode, parent, this.text(request.block, request.nameOffset, request.nameLength))
    if (failed !== 0) return failed
    this.give(reply.entry, inode)
  }

  unlink(request: request.UnlinkRequest): number | void {
    return this.remove(request, false)
  }

  rmdir(request: request.RmdirRequest): number | void {
    return this.remove(request, true)
  }

  rename(request: request.RenameRequest): number | void {
    const { block } = request
    const from = this.tree.directory(request.nodeid)
    if (typeof from === 'number') return from
    const to = this.tree.directory(request.newdir)
    if (typeof to === 'number') return to
    const name = this.text(block, request.nameOffset, request.nameLength)
    const newName = this.text(block, request.name2Offset, request.name2Length)
    return this.tree.rename(from, name, to, newName, request.flags, request)
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
    this.tree.freeIfGone(inode)
  }

  read(request: request.ReadRequest, reply: reply.DataReply): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    if (inode.content === null) return inode.isDirectory ? -EISDIR : -EINVAL
    inode.accessed(this.tree.now())
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
    inode.modified(this.tree.now())
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
    inode.accessed(this.tree.now())
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
    inode.changed(this.tree.now())
  }

  removexattr(request: request.RemovexattrRequest): number | void {
    const inode = this.inodes.get(request.nodeid)
    if (inode === undefined) return -ESTALE
    const failed = removeXattr(inode, this.text(request.block, request.nameOffset, request.nameLength))
    if (failed !== 0) return failed
    inode.changed(this.tree.now())
  }

  statfs(_request: request.StatfsRequest, reply: reply.StatfsReply): void {
    const { st } = reply.out
    const { limit, used } = this.store
    st.blocks = limit
    st.bfree = st.bavail = limit - used
    st.files = this.tree.maxInodes
    st.ffree = this.tree.maxInodes - this.inodes.size
    st.bsize = st.frsize = PAGE_SIZE
    st.namelen = NAME_MAX
  }

  // What the methods above share

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
  private addRecord(
    reply: reply.DirectoryReply, name: string, inode: Inode, cookie: number, looksUp: boolean,
  ): boolean {
    if (!reply.next(name.length)) return false
    const { dirent } = reply
    dirent.ino = inode.nodeid
    dirent.off = cookie
    dirent.type = (inode.mode & S_IFMT) >>> 12
    this.bufferOf(reply.block).write(name, reply.nameOffset, 'latin1')
    if (looksUp && reply.plus) this.give(reply.entry, inode)
    return true
  }

  /** Makes what a request names. @param mode type and permission bits. @returns a negated errno when it can't */
  private make(request: request.Request & request.Named, mode: number, umask: number): Inode | number {
    const parent = this.tree.directory(request.nodeid)
    if (typeof parent === 'number') return parent
    const name = this.text(request.block, request.nameOffset, request.nameLength)
    return this.labelled(request, this.tree.make(parent, name, mode, request, umask))
  }

  /** Puts the security labels on a new inode that came with its creation (FUSE_SECURITY_CTX). */
  private labelled(request: request.Request, made: Inode | number): Inode | number {
    if (request.exchange.extensionsLength > 0 && typeof made !== 'number') {
      for (const [name, value] of request.securityContexts) setXattr(made, name, value, 0, false)
    }
    return made
  }

  private remove(request: request.Request & request.Named, wantsDirectory: boolean): number | void {
    const parent = this.tree.directory(request.nodeid)
    if (typeof parent === 'number') return parent
    const name = this.text(request.block, request.nameOffset, request.nameLength)
    return this.tree.remove(parent, name, wantsDirectory)
  }

  private truncateOnOpen(inode: Inode, request: request.OpenRequest | request.CreateRequest): void {
    if ((request.flags & O_TRUNC) === 0 || inode.content === null) return
    inode.content.truncate(0)
    inode.modified(this.tree.now())
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
    source.accessed(this.tree.now())
    return copied
  }

  /**
   * A file was changed by a request that, other than a write, does not say whether the caller may
   * keep the privileges on it; of the callers that may, root is the one we can tell.
   */
  private rewritten(inode: Inode, request: request.Request): void {
    inode.modified(this.tree.now())
    if (request.uid !== 0) this.killPrivileges(inode, request)
  }
}

export default (options: MemFSOptions = {}): MemFS => new MemFS(options)
