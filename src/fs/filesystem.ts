// SPDX-License-Identifier: MIT
/**
 * The interface that a file system implements: inodes by number, one optional method per request.
 *
 * Each method gets the request and a reply. It answers in one of four ways:
 *
 * - returns a value (`return { mode: S_IFREG | 0o644, size: 5 }`): the pleasant way;
 * - fills the reply in place and returns nothing: the fast way, which allocates nothing;
 * - returns a negated errno (`return -constants.errno.ENOENT`) or throws a FuseError: an error;
 * - returns a promise of one of these: answered when it settles. Request and reply stay valid
 *   until then, and `request.signal` fires when the caller is interrupted.
 *
 * A method that is not there answers ENOSYS; the kernel then often stops asking (each method's
 * comment says what that means). Extend BaseFileSystem for defaults that suit most.
 *
 * Inodes are known by nodeids that the file system chooses, any number but 0; the root is 1. Each
 * entry that lookup, mknod, mkdir, symlink, link, create, tmpfile or readdirplus gives out counts
 * as one look-up of its nodeid; the nodeid must stay good until `forget` has taken all back.
 */
import type { FuseInitFlagName } from '../protocol/constants.js'
import type * as reply from '../protocol/reply.js'
import type * as request from '../protocol/request.js'

export type MaybePromise<T> = T | Promise<T>

/** A value, a negated errno, nothing (the reply has been filled), or a promise of these. */
export type Answer<T = never> = MaybePromise<T | number | void>

/** What kernel and server agreed on when the mount began. */
export interface Connection {
  /** The protocol's minor version in use: the smaller of kernel's and ours. */
  readonly minor: number
  /** Whether the kernel offers a capability. */
  offers(flag: FuseInitFlagName): boolean
  /** Asks for a capability that the file system honours. @returns whether the kernel offers it */
  want(flag: FuseInitFlagName): boolean
  /** Declines a capability that would be taken otherwise. */
  refuse(flag: FuseInitFlagName): void
  /** Whether a capability is in use: offered and wanted. */
  has(flag: FuseInitFlagName): boolean
  /** Largest write, bytes; a file system may lower it in `init`. */
  maxWrite: number
  /** Largest read-ahead, bytes; may be lowered in `init`. */
  maxReadahead: number
  /** Asynchronous requests that the kernel keeps in flight; may be changed in `init`. */
  maxBackground: number
  /** Granularity of times, nanoseconds, a power of ten; default 1. */
  timeGranularity: number
  /** How deep file systems are stacked at this mount with passthrough: 1 over an ordinary one, 2 at most; 0: no passthrough. */
  maxStackDepth: number
  /** The messages that the server may send the kernel; set once the mount is live. */
  readonly notify: Notifier
  /** Hands files to the kernel for passthrough; null where there is no kernel to take them. */
  readonly backing: BackingFiles | null
  /**
   * Whether to open files with FOPEN_IO_URING_ZERO_COPY. Reads and writes of such a file whose request says
   * `exchange.zeroCopy` have no bytes in them: `exchange.transfer` names the file that they come from or go to.
   */
  readonly zeroCopy: boolean
}

/**
 * Files that the kernel reads and writes by itself (FUSE_PASSTHROUGH, Linux 6.9): a reply to open or
 * create with FOPEN_PASSTHROUGH and a backing id in `backing_id` sends no further read or write here.
 * All opens of an inode at one time must name the same id. Needs CAP_SYS_ADMIN.
 */
export interface BackingFiles {
  /**
   * @param fd an open file; it may be closed afterwards
   * @returns its backing id, 1 or more, or a negated errno: ELOOP when it lies on a file system stacked too high
   */
  open(fd: number): number
  /** The id is not used by later opens; files that are open keep theirs. @returns 0 or a negated errno */
  close(id: number): number
  /**
   * Binds a file to an inode that the kernel holds, for programs that read and write it (efuse.ko; docs/hooks.md).
   * @param id 0: none any more
   * @param rights 1 to read, 2 to write, or both; 0 with id 0
   * @returns 0 or a negated errno: ENOTTY where it is not to be had
   */
  bind(nodeidLow: number, nodeidHigh: number, id: number, rights: number): number
}

/** Tells the kernel of changes that did not come through it. Each resolves when the kernel has taken it. */
export interface Notifier {
  /** Drops an inode's cached attributes and a range of its data (`length` 0: to the end; `offset` -1: attributes only). */
  invalInode(nodeid: number | bigint, offset?: number, length?: number): Promise<void>
  /** Drops a cached name; `expireOnly` keeps it until it is looked at again. */
  invalEntry(parent: number | bigint, name: string | Uint8Array, expireOnly?: boolean): Promise<void>
  /** Says that a name is gone: like invalEntry, and watchers (inotify) are told. */
  delete(parent: number | bigint, child: number | bigint, name: string | Uint8Array): Promise<void>
  /** Puts data into the kernel's cache of a file. */
  store(nodeid: number | bigint, offset: number, data: Uint8Array): Promise<void>
  /** Reads what the kernel's cache of a file has; may be less than asked for. */
  retrieve(nodeid: number | bigint, offset: number, size: number): Promise<Uint8Array>
  /** Wakes pollers of a `poll` that asked for it (FUSE_POLL_SCHEDULE_NOTIFY). @param kh from the poll request */
  poll(kh: number): Promise<void>
  /** Has the kernel send all unanswered requests again. */
  resend(): Promise<void>
  /** Makes every cached name be looked up again when next used. */
  incEpoch(): Promise<void>
  /** Asks the kernel to forget inodes that nobody uses. */
  prune(nodeids: readonly (number | bigint)[]): Promise<void>
}

/** What `create` and `tmpfile` return. */
export interface Created {
  entry: reply.Entry
  open?: reply.Open
}

export interface FileSystem {
  /**
   * True for a file system that never returns promises and starts no timers: its worker may block
   * in the kernel between requests instead of running an event loop.
   */
  readonly synchronous?: boolean

  /** What it can do beside FUSE on mounts of type efuse: EFUSE_CAN_... of src/protocol/efuse-module.ts. Default: nothing. */
  readonly can?: number

  /** Called before the first request, in each worker: ask for capabilities here. */
  init?(connection: Connection): MaybePromise<void>
  /** Called once after the last request, in each worker. */
  destroy?(): MaybePromise<void>

  /** Finds `name` in the directory `nodeid`. ENOENT or null: no such name (null may be cached). */
  lookup?(request: request.LookupRequest, reply: reply.EntryReply): Answer<reply.Entry | null>
  /** The kernel drops `nlookup` look-ups of an inode. Never answered; must not be asynchronous. */
  forget?(request: request.ForgetRequest): void
  /** stat(2). With FUSE_GETATTR_FH in `getattr_flags`, `fh` is an open file. */
  getattr?(request: request.GetattrRequest, reply: reply.AttrReply): Answer<reply.Attr>
  /** chmod, chown, truncate, utimes: `valid` says which (FATTR_*). Answers the new attributes. */
  setattr?(request: request.SetattrRequest, reply: reply.AttrReply): Answer<reply.Attr>
  /** statx(2)'s extra fields (birth time); ENOSYS: the kernel makes do with getattr. */
  statx?(request: request.StatxRequest, reply: reply.StatxReply): Answer
  /** A symbolic link's target. */
  readlink?(request: request.ReadlinkRequest, reply: reply.DataReply): Answer<reply.Bytes>
  /** Makes the symbolic link `name` to `name2`. */
  symlink?(request: request.SymlinkRequest, reply: reply.EntryReply): Answer<reply.Entry>
  /** Makes a regular file, fifo, socket or device. */
  mknod?(request: request.MknodRequest, reply: reply.EntryReply): Answer<reply.Entry>
  mkdir?(request: request.MkdirRequest, reply: reply.EntryReply): Answer<reply.Entry>
  /** Removes a name; the inode lives on while it is open, linked or looked up. */
  unlink?(request: request.UnlinkRequest, reply: reply.EmptyReply): Answer
  rmdir?(request: request.RmdirRequest, reply: reply.EmptyReply): Answer
  /** Serves FUSE_RENAME (`flags` 0) and FUSE_RENAME2 (RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT). */
  rename?(request: request.RenameRequest, reply: reply.EmptyReply): Answer
  /** Gives the inode `oldnodeid` another name. */
  link?(request: request.LinkRequest, reply: reply.EntryReply): Answer<reply.Entry>
  /** Opens a file; O_CREAT, O_EXCL and O_NOCTTY are never among `flags`. ENOSYS: the kernel opens by itself from then on. */
  open?(request: request.OpenRequest, reply: reply.OpenReply): Answer<reply.Open>
  /** Fewer bytes than `size` mean the end of the file. */
  read?(request: request.ReadRequest, reply: reply.DataReply): Answer<reply.Bytes>
  /** Answers how many bytes were written. */
  write?(request: request.WriteRequest, reply: reply.WriteReply): Answer<number>
  statfs?(request: request.StatfsRequest, reply: reply.StatfsReply): Answer<reply.Statfs>
  /** The last user of an open file is gone; the answer goes to nobody. */
  release?(request: request.ReleaseRequest, reply: reply.EmptyReply): Answer
  fsync?(request: request.FsyncRequest, reply: reply.EmptyReply): Answer
  setxattr?(request: request.SetxattrRequest, reply: reply.EmptyReply): Answer
  /** ENODATA: no such attribute. ENOSYS: the kernel never asks again, for any. */
  getxattr?(request: request.GetxattrRequest, reply: reply.XattrReply): Answer<reply.Bytes>
  listxattr?(request: request.ListxattrRequest, reply: reply.XattrReply): Answer<reply.Bytes | readonly string[]>
  removexattr?(request: request.RemovexattrRequest, reply: reply.EmptyReply): Answer
  /** A file descriptor is closed: the last chance to tell its user of an error. ENOSYS: not asked again. */
  flush?(request: request.FlushRequest, reply: reply.EmptyReply): Answer
  opendir?(request: request.OpenRequest, reply: reply.OpenReply): Answer<reply.Open>
  /** Lists a directory from `offset` on. Without `readdirplus` the kernel asks for plain listings only. */
  readdir?(request: request.ReaddirRequest, reply: reply.DirectoryReply): Answer<readonly reply.Dirent[]>
  /** As readdir, with inodes: entries given out count as look-ups (never for `.` and `..`). */
  readdirplus?(request: request.ReaddirRequest, reply: reply.DirectoryReply): Answer<readonly reply.Dirent[]>
  releasedir?(request: request.ReleaseRequest, reply: reply.EmptyReply): Answer
  fsyncdir?(request: request.FsyncRequest, reply: reply.EmptyReply): Answer
  /** Tests for a POSIX lock. With getlk and setlk present, locks are no longer the kernel's own. */
  getlk?(request: request.LockRequest, reply: reply.LockReply): Answer<reply.FileLock>
  /** Sets or clears a lock without waiting: EAGAIN when taken. FUSE_LK_FLOCK in `lk_flags`: flock(2). */
  setlk?(request: request.LockRequest, reply: reply.EmptyReply): Answer
  /** As setlk, waiting until the lock is free or `signal` fires. */
  setlkw?(request: request.LockRequest, reply: reply.EmptyReply): Answer
  /** access(2); not asked under `default_permissions`. ENOSYS: everything is allowed from then on. */
  access?(request: request.AccessRequest, reply: reply.EmptyReply): Answer
  /** Makes and opens a file in one step. ENOSYS: the kernel uses mknod and open. */
  create?(request: request.CreateRequest, reply: reply.CreateReply): Answer<Created>
  /** O_TMPFILE: an open file without a name in the directory `nodeid`. */
  tmpfile?(request: request.TmpfileRequest, reply: reply.CreateReply): Answer<Created>
  bmap?(request: request.BmapRequest, reply: reply.BmapReply): Answer<number>
  ioctl?(request: request.IoctlRequest, reply: reply.IoctlReply): Answer<reply.Ioctl | number>
  /** Answers POLL* bits; with FUSE_POLL_SCHEDULE_NOTIFY, promises a `notify.poll(kh)` on change. */
  poll?(request: request.PollRequest, reply: reply.PollReply): Answer<number>
  fallocate?(request: request.FallocateRequest, reply: reply.EmptyReply): Answer
  /** SEEK_DATA and SEEK_HOLE. ENOSYS: the kernel takes the whole file for data. */
  lseek?(request: request.LseekRequest, reply: reply.LseekReply): Answer<number | bigint>
  /** Serves FUSE_COPY_FILE_RANGE. Answers bytes copied. EXDEV or EOPNOTSUPP: the kernel copies by reading and writing. */
  copyFileRange?(request: request.CopyFileRangeRequest, reply: reply.WriteReply): Answer<number>
  /** As copyFileRange, for more than 4 GiB at once. ENOSYS: the kernel falls back to copyFileRange. */
  copyFileRange64?(request: request.CopyFileRangeRequest, reply: reply.CopiedReply): Answer<number>
  /** syncfs(2) and sync(2): only asked of privileged mounts. */
  syncfs?(request: request.SyncfsRequest, reply: reply.EmptyReply): Answer
  /** DAX windows; only virtio-fs kernels ask. */
  setupmapping?(request: request.SetupmappingRequest, reply: reply.EmptyReply): Answer
  removemapping?(request: request.RemovemappingRequest, reply: reply.EmptyReply): Answer
}
