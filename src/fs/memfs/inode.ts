// SPDX-License-Identifier: MIT
/** One inode of a MemFS: its attributes, what it holds, and who still needs it. */
import type { structs } from '../../protocol/index.js'
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_ISGID, S_ISUID } from '../../protocol/constants.js'
import type { Content } from './content.js'
import type { Directory } from './directory.js'
import { PAGE_SIZE } from './pages.js'

type AttrView = ReturnType<typeof structs.fuse_attr.view>
type StatxView = ReturnType<typeof structs.fuse_statx.view>

/** What a listing's size is reckoned by, bytes a name, as tmpfs does. */
const DIRENT_SIZE = 20
const SECTORS_PER_PAGE = PAGE_SIZE / 512
const S_IXGRP = 0o010
/** statx(2)'s STATX_BASIC_STATS and STATX_BTIME. */
const STATX_BASIC_STATS = 0x7ff
const STATX_BTIME = 0x800
/** relatime: an access time older than this is brought up to date whatever else, seconds. */
const RELATIME_SPAN = 24 * 3600

/** A point in time. */
export interface Moment {
  seconds: number
  nanoseconds: number
}

export class Inode {
  nlink = 1
  uid = 0
  gid = 0
  rdev = 0
  atime = 0
  atimensec = 0
  mtime = 0
  mtimensec = 0
  ctime = 0
  ctimensec = 0
  btime = 0
  btimensec = 0

  /** Look-ups that the kernel has not taken back. */
  lookups = 0
  /** Open files and directories. */
  opens = 0

  /** A regular file's bytes. */
  content: Content | null = null
  /** A directory's names, and where its `..` leads. */
  directory: Directory<Inode> | null = null
  parent: Inode | null = null
  /** A symbolic link's target. */
  target: Uint8Array | null = null
  /** Extended attributes; most inodes have none. */
  xattrs: Map<string, Uint8Array> | null = null

  constructor(readonly nodeid: number, public mode: number) {}

  get isDirectory(): boolean {
    return (this.mode & S_IFMT) === S_IFDIR
  }
  get isRegular(): boolean {
    return (this.mode & S_IFMT) === S_IFREG
  }
  get isSymlink(): boolean {
    return (this.mode & S_IFMT) === S_IFLNK
  }
  get isDevice(): boolean {
    return (this.mode & S_IFMT) === S_IFCHR || (this.mode & S_IFMT) === S_IFBLK
  }
  /** Whether nobody can reach it any more. */
  get isGone(): boolean {
    return this.nlink === 0 && this.lookups === 0 && this.opens === 0
  }
  get size(): number {
    if (this.content !== null) return this.content.size
    if (this.directory !== null) return this.directory.count * DIRENT_SIZE
    return this.target === null ? 0 : this.target.length
  }
  get blocks(): number {
    return this.content === null ? 0 : this.content.pages * SECTORS_PER_PAGE
  }

  /** Writes the attributes in place. */
  encode(view: AttrView): void {
    view.ino = this.nodeid
    view.size = this.size
    view.blocks = this.blocks
    view.atime = this.atime
    view.atimensec = this.atimensec
    view.mtime = this.mtime
    view.mtimensec = this.mtimensec
    view.ctime = this.ctime
    view.ctimensec = this.ctimensec
    view.mode = this.mode
    view.nlink = this.nlink
    view.uid = this.uid
    view.gid = this.gid
    view.rdev = this.rdev
    view.blksize = PAGE_SIZE
  }

  /** Writes the attributes in place as statx(2) has them, birth time included. */
  encodeStatx(view: StatxView): void {
    view.mask = STATX_BASIC_STATS | STATX_BTIME
    view.blksize = PAGE_SIZE
    view.nlink = this.nlink
    view.uid = this.uid
    view.gid = this.gid
    view.mode = this.mode
    view.ino = this.nodeid
    view.size = this.size
    view.blocks = this.blocks
    view.atime.tv_sec = this.atime
    view.atime.tv_nsec = this.atimensec
    view.btime.tv_sec = this.btime
    view.btime.tv_nsec = this.btimensec
    view.ctime.tv_sec = this.ctime
    view.ctime.tv_nsec = this.ctimensec
    view.mtime.tv_sec = this.mtime
    view.mtime.tv_nsec = this.mtimensec
    // The kernel's new_encode_dev: minor's low 8 bits, 12 bits of major, the rest of minor.
    view.rdev_major = (this.rdev >>> 8) & 0xfff
    view.rdev_minor = (this.rdev & 0xff) | ((this.rdev >>> 12) & 0xfff00)
  }

  /** The inode is new: all its times are now. */
  born({ seconds, nanoseconds }: Readonly<Moment>): void {
    this.atime = this.mtime = this.ctime = this.btime = seconds
    this.atimensec = this.mtimensec = this.ctimensec = this.btimensec = nanoseconds
  }

  /** Its attributes have changed. */
  changed({ seconds, nanoseconds }: Readonly<Moment>): void {
    this.ctime = seconds
    this.ctimensec = nanoseconds
  }

  /** What it holds has changed. */
  modified({ seconds, nanoseconds }: Readonly<Moment>): void {
    this.mtime = this.ctime = seconds
    this.mtimensec = this.ctimensec = nanoseconds
  }

  /** What it holds has been read. As with mount(8)'s relatime, that is noted once after each change and once a day. */
  accessed({ seconds, nanoseconds }: Readonly<Moment>): void {
    const { atime, atimensec } = this
    const afterModified = atime > this.mtime || (atime === this.mtime && atimensec > this.mtimensec)
    const afterChanged = atime > this.ctime || (atime === this.ctime && atimensec > this.ctimensec)
    if (afterModified && afterChanged && seconds - atime < RELATIME_SPAN) return
    this.atime = seconds
    this.atimensec = nanoseconds
  }

  /**
   * What becomes of privileges when an unprivileged caller changes a file: suid goes, sgid goes
   * unless it is without group execution and the caller in the group, and so do file capabilities.
   */
  killPrivileges(isInGroup: (gid: number) => boolean): void {
    if (this.isDirectory) return
    this.mode &= ~S_ISUID
    if ((this.mode & S_ISGID) !== 0 && ((this.mode & S_IXGRP) !== 0 || !isInGroup(this.gid))) this.mode &= ~S_ISGID
    this.xattrs?.delete('security.capability')
  }
}
