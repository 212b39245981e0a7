// SPDX-License-Identifier: MIT
/**
 * The inodes of a MemFS and the names that they have: making, linking, renaming, removing, and
 * freeing what nobody needs any more. Link counts, times and `..` are kept as ext4 keeps them.
 *
 * Methods answer a negated errno when they can't; they have changed nothing then.
 */
import { constants } from 'node:os'
import { FUSE_ROOT_ID, S_IFCHR, S_IFDIR, S_ISGID } from '../../protocol/constants.js'
import { Content } from './content.js'
import { Directory } from './directory.js'
import { Inode, type Moment } from './inode.js'
import type { PageStore } from './pages.js'
import { inheritMode } from './xattrs.js'

const { EEXIST, EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOSPC, ENOTDIR, ENOTEMPTY, EPERM, ESTALE } = constants.errno

/** Bytes of a name. */
export const NAME_MAX = 255

// rename(2)
const RENAME_NOREPLACE = 1
const RENAME_EXCHANGE = 2
const RENAME_WHITEOUT = 4

/** Whose a new inode is. */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

export class Tree {
  readonly inodes = new Map<number, Inode>()
  readonly root: Inode
  private nextNodeid = FUSE_ROOT_ID
  private readonly moment: Moment = { seconds: 0, nanoseconds: 0 }

  /**
   * @param store where the contents of files go
   * @param maxInodes inodes that there may be at once, the root included
   * @param mode the root's permission bits
   */
  constructor(private readonly store: PageStore, readonly maxInodes: number, mode: number, owner: Owner) {
    this.root = this.newInode(S_IFDIR | mode)
    this.root.uid = owner.uid
    this.root.gid = owner.gid
    this.root.parent = this.root
  }

  /** The time, in an object that is used again. Milliseconds are finer than the ticks that ext4 stamps with. */
  now(): Moment {
    const now = Date.now()
    this.moment.seconds = Math.floor(now / 1000)
    this.moment.nanoseconds = (now % 1000) * 1_000_000
    return this.moment
  }

  /** The directory in which something is to change. */
  directory(nodeid: number): Inode | number {
    const inode = this.inodes.get(nodeid)
    if (inode === undefined) return -ESTALE
    if (inode.directory === null) return -ENOTDIR
    return inode.nlink === 0 ? -ENOENT : inode
  }

  /** Makes an inode under a name. @param mode type and permission bits */
  make(parent: Inode, name: string, mode: number, owner: Owner, umask: number): Inode | number {
    const refused = refuseName(parent, name)
    if (refused !== 0) return refused
    const inode = this.makeNameless(parent, mode, owner, umask)
    if (typeof inode === 'number') return inode
    parent.directory!.add(name, inode)
    parent.modified(this.moment)
    if (inode.isDirectory) {
      inode.parent = parent
      inode.nlink = 2
      parent.nlink++
    } else {
      inode.nlink = 1
    }
    return inode
  }

  /** Makes an inode as it would be in a directory, with no name yet. @param mode type and permission bits */
  makeNameless(parent: Inode, mode: number, owner: Owner, umask: number): Inode | number {
    if (this.inodes.size >= this.maxInodes) return -ENOSPC
    const inode = this.newInode(mode)
    inode.nlink = 0
    inode.uid = owner.uid
    inode.gid = owner.gid
    if ((parent.mode & S_ISGID) !== 0) {
      inode.gid = parent.gid
      if (inode.isDirectory) inode.mode |= S_ISGID
    }
    inheritMode(parent, inode, umask)
    return inode
  }

  /** Gives an inode another name. @returns 0 */
  link(inode: Inode, parent: Inode, name: string): number {
    if (inode.isDirectory) return -EPERM
    const refused = refuseName(parent, name)
    if (refused !== 0) return refused
    parent.directory!.add(name, inode)
    parent.modified(this.now())
    inode.nlink++
    inode.changed(this.moment)
    return 0
  }

  /** Takes a name away. @returns 0 */
  remove(parent: Inode, name: string, wantsDirectory: boolean): number {
    if (name.length > NAME_MAX) return -ENAMETOOLONG
    const inode = parent.directory!.get(name)
    if (inode === undefined) return -ENOENT
    if (wantsDirectory && !inode.isDirectory) return -ENOTDIR
    if (!wantsDirectory && inode.isDirectory) return -EISDIR
    if (inode.directory !== null && inode.directory.count > 0) return -ENOTEMPTY
    parent.directory!.remove(name)
    parent.modified(this.now())
    this.unlinked(parent, inode)
    return 0
  }

  /** rename(2). @param flags RENAME_*. @param owner of a whiteout. @returns 0 */
  rename(from: Inode, name: string, to: Inode, newName: string, flags: number, owner: Owner): number {
    if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) !== 0) return -EINVAL
    const exchange = (flags & RENAME_EXCHANGE) !== 0
    if (exchange && flags !== RENAME_EXCHANGE) return -EINVAL
    if (name.length > NAME_MAX || newName.length > NAME_MAX) return -ENAMETOOLONG
    if (isImpossible(newName)) return -EINVAL
    const moved = from.directory!.get(name)
    if (moved === undefined) return -ENOENT
    const there = to.directory!.get(newName)
    if (contains(moved, to)) return -EINVAL
    if (exchange) {
      if (there === undefined) return -ENOENT
      return contains(there, from) ? -EINVAL : this.exchange(from, name, moved, to, newName, there)
    }
    if (there !== undefined) {
      if ((flags & RENAME_NOREPLACE) !== 0) return -EEXIST
      // Two names of one file: rename(2) does nothing.
      if (there === moved) return 0
      if (moved.isDirectory && !there.isDirectory) return -ENOTDIR
      if (!moved.isDirectory && there.isDirectory) return -EISDIR
      if (there.directory !== null && there.directory.count > 0) return -ENOTEMPTY
    }
    let whiteout: Inode | null = null
    if ((flags & RENAME_WHITEOUT) !== 0) {
      const made = this.makeNameless(from, S_IFCHR, owner, 0)
      if (typeof made === 'number') return made
      made.nlink = 1
      whiteout = made
    }
    const now = this.now()
    if (there === undefined) {
      to.directory!.add(newName, moved)
    } else {
      to.directory!.replace(newName, moved)
      this.unlinked(to, there)
    }
    if (whiteout !== null) from.directory!.replace(name, whiteout)
    else from.directory!.remove(name)
    reparent(moved, from, to, now)
    return 0
  }

  /** Frees an inode that has no name, no look-up and no open file left. */
  freeIfGone(inode: Inode): void {
    if (!inode.isGone) return
    inode.content?.clear()
    this.inodes.delete(inode.nodeid)
  }

  private newInode(mode: number): Inode {
    const inode = new Inode(this.nextNodeid++, mode)
    inode.born(this.now())
    if (inode.isDirectory) {
      inode.directory = new Directory()
      inode.nlink = 2
    } else if (inode.isRegular) {
      inode.content = new Content(this.store)
    }
    this.inodes.set(inode.nodeid, inode)
    return inode
  }

  private exchange(from: Inode, name: string, moved: Inode, to: Inode, newName: string, there: Inode): number {
    const now = this.now()
    from.directory!.replace(name, there)
    to.directory!.replace(newName, moved)
    reparent(moved, from, to, now)
    reparent(there, to, from, now)
    return 0
  }

  /** An inode has lost a name in `parent`. */
  private unlinked(parent: Inode, inode: Inode): void {
    if (inode.isDirectory) {
      inode.nlink = 0
      parent.nlink--
    } else {
      inode.nlink--
    }
    inode.changed(this.moment)
    this.freeIfGone(inode)
  }
}

/** An inode's name has gone from one directory to another, or stayed in the same. */
function reparent(inode: Inode, from: Inode, to: Inode, now: Moment): void {
  from.modified(now)
  to.modified(now)
  inode.changed(now)
  if (inode.isDirectory) {
    inode.parent = to
    from.nlink--
    to.nlink++
  }
}

/** @returns 0, or why nothing of this name can be made in a directory */
function refuseName(parent: Inode, name: string): number {
  if (name.length > NAME_MAX) return -ENAMETOOLONG
  if (isImpossible(name)) return -EINVAL
  return parent.directory!.get(name) === undefined ? 0 : -EEXIST
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
