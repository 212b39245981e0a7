// SPDX-License-Identifier: MIT
/**
 * BaseFileSystem: what a file system need not write because one answer suits most.
 *
 * Methods that are missing here are missing on purpose. A method that is not there answers ENOSYS,
 * and for many requests that is the best answer there is, because the kernel then does the right
 * thing by itself and does not ask again:
 *
 * - `flush`, `fsync`, `fsyncdir`, `syncfs`: succeed, with nothing to do;
 * - `access`: not even asked for under `default_permissions`, which mounts have unless told otherwise;
 * - `getxattr`, `setxattr`, `listxattr`, `removexattr`: "not supported" (EOPNOTSUPP);
 * - `create`: the kernel calls `mknod` and `open` instead; `tmpfile`: EOPNOTSUPP;
 * - `lseek`: the whole file is data; `statx`: `getattr` has to do; `poll`: always ready;
 * - `copyFileRange`: copied by reading and writing; `fallocate`: EOPNOTSUPP;
 * - `getlk`, `setlk`, `setlkw`: the kernel keeps the locks of its own processes;
 * - `readdirplus`: plain listings; `ioctl`: ENOTTY; `forget`: nothing to be told; `statfs`: zeros.
 *
 * So write a method for what your file system does, and leave the rest alone.
 */
import { constants } from 'node:os'
import { FUSE_ROOT_ID, S_IFDIR } from '../protocol/constants.js'
import type * as reply from '../protocol/reply.js'
import type * as request from '../protocol/request.js'
import type { Answer, Connection, FileSystem, MaybePromise } from './filesystem.js'

const { EINVAL, ENOENT, EPERM, EROFS } = constants.errno

/** The O_ACCMODE bits of open(2)'s flags, the same on every Linux. */
const ACCESS_MODE = 3

/**
 * An empty, read-only file system: a root directory with nothing in it. Extend it and override
 * what yours has; `lookup`, `getattr`, `readdir` and `read` make one that can be looked at.
 */
export class BaseFileSystem implements FileSystem {
  /** See FileSystem.synchronous: set it if none of your methods returns a promise or uses timers. */
  readonly synchronous: boolean = false

  /** Asks for nothing: what the kernel and eFuse agree on by themselves suits most. */
  init(_connection: Connection): MaybePromise<void> {}

  /** There is nothing to end. */
  destroy(): MaybePromise<void> {}

  /** No such name. */
  lookup(_request: request.LookupRequest, _reply: reply.EntryReply): Answer<reply.Entry | null> {
    return -ENOENT
  }

  /** The root is a directory that anyone may read; no other inode exists. */
  getattr(request: request.GetattrRequest, _reply: reply.AttrReply): Answer<reply.Attr> {
    return request.nodeid === FUSE_ROOT_ID ? { mode: S_IFDIR | 0o755 } : -ENOENT
  }

  /**
   * Opens anything, with no handle (`fh` 0); for writing only if there is a `write` method.
   * It is here because without it the kernel would open by itself and keep what it has read of a
   * file until its mtime changes, which surprises those whose files have no true mtime.
   */
  open(request: request.OpenRequest, _reply: reply.OpenReply): Answer<reply.Open> {
    const writes = (request.flags & ACCESS_MODE) !== 0
    return writes && (this as FileSystem).write === undefined ? -EROFS : {}
  }

  /** Nothing is held by an open file. Here so that the statistics do not show an error for each close. */
  release(_request: request.ReleaseRequest, _reply: reply.EmptyReply): Answer {}

  /** As `open`, and for the same reason: otherwise the kernel would keep listings. */
  opendir(_request: request.OpenRequest, _reply: reply.OpenReply): Answer<reply.Open> {
    return {}
  }

  /** Nothing is held by an open directory. */
  releasedir(_request: request.ReleaseRequest, _reply: reply.EmptyReply): Answer {}

  /** An empty listing. */
  readdir(
    _request: request.ReaddirRequest, _reply: reply.DirectoryReply,
  ): Answer<readonly reply.Dirent[]> {
    return []
  }

  // What the kernel itself answers where a file system has no such operation: programs know
  // EPERM and EINVAL, and few know what to make of ENOSYS.

  /** Nothing has a target. */
  readlink(_request: request.ReadlinkRequest, _reply: reply.DataReply): Answer<reply.Bytes> {
    return -EINVAL
  }

  /** Attributes can't be changed. */
  setattr(_request: request.SetattrRequest, _reply: reply.AttrReply): Answer<reply.Attr> {
    return -EPERM
  }

  /** Nothing can be made; the same is true of the methods below. */
  mknod(_request: request.MknodRequest, _reply: reply.EntryReply): Answer<reply.Entry> {
    return -EPERM
  }

  mkdir(_request: request.MkdirRequest, _reply: reply.EntryReply): Answer<reply.Entry> {
    return -EPERM
  }

  symlink(_request: request.SymlinkRequest, _reply: reply.EntryReply): Answer<reply.Entry> {
    return -EPERM
  }

  link(_request: request.LinkRequest, _reply: reply.EntryReply): Answer<reply.Entry> {
    return -EPERM
  }

  unlink(_request: request.UnlinkRequest, _reply: reply.EmptyReply): Answer {
    return -EPERM
  }

  rmdir(_request: request.RmdirRequest, _reply: reply.EmptyReply): Answer {
    return -EPERM
  }

  rename(_request: request.RenameRequest, _reply: reply.EmptyReply): Answer {
    return -EPERM
  }
}
