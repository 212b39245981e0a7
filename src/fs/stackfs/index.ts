// SPDX-License-Identifier: MIT
/**
 * StackFS: a directory of the machine, served through FUSE, behaving as the directory itself does.
 *
 * The kernel checks permissions (StackFS takes FUSE_POSIX_ACL, which makes it), the server then
 * acts as root, and creates in the caller's name. Everything is done through descriptors: an O_PATH
 * descriptor of the inode, or of the directory and one name in it. No path is ever put together, so
 * neither a symbolic link nor `..` leads out of the source.
 *
 * All handlers are synchronous and fill their replies in place.
 */
import { readFileSync } from 'node:fs'
import { constants as os } from 'node:os'
import * as native from '../../native.js'
import {
  FATTR_ATIME, FATTR_ATIME_NOW, FATTR_CTIME, FATTR_FH,
  FATTR_GID, FATTR_KILL_SUIDGID, FATTR_LOCKOWNER, FATTR_MODE, FATTR_MTIME, FATTR_MTIME_NOW, FATTR_SIZE, FATTR_UID,
  FOPEN_DIRECT_IO, FOPEN_IO_URING_ZERO_COPY, FOPEN_KEEP_CACHE, FOPEN_PARALLEL_DIRECT_WRITES, FOPEN_PASSTHROUGH,
  FUSE_FSYNC_FDATASYNC, FUSE_GETATTR_FH, FUSE_OPEN_KILL_SUIDGID, FUSE_SETXATTR_ACL_KILL_SGID, FUSE_WRITE_CACHE,
  FUSE_WRITE_KILL_SUIDGID, S_IFDIR, S_IFMT, S_IFREG, S_ISGID, S_ISUID,
} from '../../protocol/constants.js'
import { EFUSE_CAN_ATTR, EFUSE_CAN_NO_HANDLE, EFUSE_FH_NONE_HALF } from '../../protocol/efuse-module.js'
import type {
  AttrReply, CreateReply, DataReply, DirectoryReply, EmptyReply, EntryReply, IoctlReply, LseekReply, OpenReply,
  StatfsReply, StatxReply, WriteReply, XattrReply, CopiedReply,
} from '../../protocol/reply.js'
import type {
  CopyFileRangeRequest, CreateRequest, FallocateRequest, ForgetRequest, FsyncRequest, GetattrRequest, GetxattrRequest,
  IoctlRequest, LinkRequest, ListxattrRequest, LookupRequest, LseekRequest, MkdirRequest, MknodRequest, OpenRequest,
  ReaddirRequest, ReadlinkRequest, ReadRequest, ReleaseRequest, RemovexattrRequest, RenameRequest, Request,
  RmdirRequest, SetattrRequest, SetxattrRequest, StatfsRequest, StatxRequest, SymlinkRequest, SyncfsRequest,
  TmpfileRequest, UnlinkRequest, WriteRequest,
} from '../../protocol/request.js'
import { Block } from '../../protocol/struct.js'
import type { BackingFiles, Connection, FileSystem } from '../filesystem.js'
import {
  handleFromNodeid, identify, isInodeAndGeneration, STX_ATIME, STX_BLKSIZE, STX_BLOCKS, STX_CTIME, STX_DEV_MAJOR,
  STX_DEV_MINOR, STX_GID, STX_INO, STX_MNT_ID, STX_MODE_HALF, STX_MTIME, STX_NLINK, STX_RDEV_MAJOR, STX_RDEV_MINOR,
  STX_SIZE, STX_UID, writeHandle,
} from './identity.js'
import { HAZARDS_PER_WORKER, InodeTable, newIdentity, NO_DESCRIPTOR, NO_ENTRY } from './inode-table.js'
import { closeStackFS, OPEN_FILE_WORDS, prepareStackFS, STACKFS_CAN, type StackFSOptions, type StackFSShared } from './shared.js'

export { closeStackFS, prepareStackFS, type StackFSOptions, type StackFSShared } from './shared.js'

const {
  EACCES, EBADF, EINVAL, ELOOP, EMFILE, ENFILE, ENODATA, ENOENT, ENOMEM, ENOTTY, EOPNOTSUPP, ESTALE,
} = os.errno
const {
  O_PATH, O_NOFOLLOW, O_RDONLY, O_WRONLY, O_RDWR, O_ACCMODE, O_APPEND, O_TRUNC, O_SYNC, O_DSYNC, O_NOATIME, O_CREAT,
  O_EXCL, O_DIRECTORY, O_NONBLOCK, O_TMPFILE, AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT, AT_REMOVEDIR,
  AT_STATX_DONT_SYNC, AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS, STATX_BTIME, STATX_MNT_ID, STATX_MODE, RENAME_EXCHANGE,
  RENAME_NOREPLACE, UTIME_NOW, UTIME_OMIT, SEEK_SET,
} = native.constants

/** Of the flags that a caller opened with, those that the source's file is opened with too. */
const OPEN_FLAGS = O_ACCMODE | O_APPEND | O_TRUNC | O_SYNC | O_DSYNC | O_NOATIME
const STATX_MASK = STATX_BASIC_STATS | STATX_BTIME
const ROOT_ID = 1

/** How often, and how long each time, a call waits for descriptors that others are about to close. */
const MOST_WAITS = 50
const WAIT_MICROSECONDS = 2000
/** How often a handle is tried of which it is said that there is no memory, and how long apart. */
const MOST_TRIES = 50
const TRY_MICROSECONDS = 1000

// Where things lie in a worker's scratch memory, bytes
const STAT = 0
const HANDLE = 256
const HANDLE_CAPACITY = 136
const NAME = 512
const DOT = 776
const DOT_DOT = 784
const IOCTL = 1024
const IOCTL_BYTES = 256
const DIRENTS = 4096
const DIRENTS_BYTES = 256 * 1024
/** The longest struct linux_dirent64. */
const LONGEST_DIRENT = 280

// Word offsets in the record of an open file
const STATE = 0
const POSITION_LOW = 1
const POSITION_HIGH = 2
// Bits of STATE
const IS_OPEN = 1
const IS_APPEND = 2
/** Rights of a file that is bound to an inode. */
const BIND_READ = 1
const BIND_WRITE = 2
/** A directory whose descriptor stands at POSITION. */
const AT_POSITION = 4
/** The kernel reads and writes it itself. */
const IS_PASSED_THROUGH = 8

/** ioctls that act on the file alone and whose argument is a plain struct: ioctl_iflags(2) and its kin. */
const FS_IOC_GETFLAGS = 0x80086601
const FS_IOC_SETFLAGS = 0x40086602
const FS_IOC_GETVERSION = 0x80087601
const FS_IOC_FSGETXATTR = 0x801c581f
const FS_IOC_FSSETXATTR = 0x401c5820
const FORWARDED_IOCTLS = new Set([
  FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_GETVERSION, FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR,
])

const S_IXGRP = 0o010

const TRUSTED_PREFIX = Buffer.from('trusted.')
const ACL_PREFIX = Buffer.from('system.posix_acl_')

/** A fuse_open_out in place. */
type OpenOut = OpenReply['out'] | CreateReply['open']

/** The caller in whose name a request creates; one object per worker, refilled. */
interface MutableCaller {
  uid: number
  gid: number
  umask: number
  groups: Uint32Array
  groupCount: number
  /** The kernel has checked permissions. */
  readonly allowed: true
}

export interface StackFSWorkerOptions {
  /** From `prepareStackFS`: given to all workers of one mount. */
  shared: StackFSShared
  /** The worker's number, from 0. One that replaces a dead worker takes its number. */
  worker?: number
}

export class StackFS implements FileSystem {
  readonly synchronous = true
  readonly can = STACKFS_CAN
  private readonly shared: StackFSShared
  private readonly table: InodeTable
  private readonly openFiles: Int32Array
  /** Whether nobody else uses `shared`. */
  private readonly alone: boolean
  private readonly identity = newIdentity()
  private readonly scratch = native.allocate(DIRENTS + DIRENTS_BYTES)
  private readonly caller: MutableCaller = {
    uid: 0, gid: 0, umask: 0, groups: new Uint32Array(1), groupCount: 0, allowed: true,
  }
  private readonly knownMounts: Set<number> | null
  private readonly tableBlock: Block | null
  private readonly namesBlock: Block | null
  private writeback = false
  /** Takes files for passthrough; null when that is not in use. */
  private backing: BackingFiles | null = null
  private fopenFlags: number
  /** Whether files are bound to inodes only, for programs. */
  private bound = false
  /** Of files that the kernel has taken. */
  private fopenPassed = FOPEN_PASSTHROUGH

  /** @param options a source to serve alone, or the shared part that several workers serve together */
  constructor(options: StackFSOptions | StackFSWorkerOptions) {
    const { shared, worker = 0 } = 'shared' in options ? options : { shared: prepareStackFS(options) }
    this.shared = shared
    this.table = new InodeTable(shared.table, worker)
    this.tableBlock = reachable(shared.table.words)
    this.namesBlock = shared.table.names && reachable(shared.table.names)
    this.table.recover(worker)
    this.table.giveBack = (memory, offset, length) => {
      const block = memory === shared.table.words ? this.tableBlock : this.namesBlock
      // Beyond 2 GiB the addon does not reach: such a table keeps what it has touched.
      if (block !== null) native.discardInside(block, offset, length)
    }
    this.openFiles = new Int32Array(shared.openFiles)
    this.alone = !('shared' in options)
    this.knownMounts = shared.knownMounts && new Set(shared.knownMounts)
    this.fopenFlags = (shared.options.directIo ? FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES : 0)
      | (shared.options.keepCache ? FOPEN_KEEP_CACHE : 0)
    const { u8 } = this.scratch
    u8[DOT] = 0x2e
    u8[DOT_DOT] = u8[DOT_DOT + 1] = 0x2e
  }

  init(connection: Connection): void {
    connection.want('FUSE_ATOMIC_O_TRUNC')
    connection.want('FUSE_EXPORT_SUPPORT')
    connection.want('FUSE_DONT_MASK')
    connection.want('FUSE_POSIX_ACL')
    connection.want('FUSE_HANDLE_KILLPRIV_V2')
    connection.want('FUSE_CACHE_SYMLINKS')
    this.writeback = connection.has('FUSE_WRITEBACK_CACHE')
    if (connection.zeroCopy) this.fopenFlags |= FOPEN_IO_URING_ZERO_COPY
    const { passthrough = true, directIo } = this.shared.options
    // The kernel takes passthrough without the writeback cache only.
    const wanted = typeof passthrough === 'string' || (passthrough && !directIo)
    if (wanted && !this.writeback && connection.backing && connection.want('FUSE_PASSTHROUGH')) {
      connection.maxStackDepth = 1
      this.bound = passthrough === 'bound'
      this.fopenPassed = passthrough === 'hooked'
        ? FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES
        : FOPEN_PASSTHROUGH
      this.backing = connection.backing
    }
  }

  destroy(): void {
    native.release(this.scratch)
    if (this.alone) closeStackFS(this.shared)
  }

  // Inodes -----------------------------------------------------------------------------------------

  lookup(request: LookupRequest, reply: EntryReply): number | void {
    const dir = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    const kind = nameKind(request.block, request.nameOffset, request.nameLength)
    if (kind === SLASHED) return -EINVAL
    if (kind === SELF) return this.lookupSelf(request, reply)
    if (dir < 0) return dir
    if (kind === PARENT) return this.lookupParent(request, reply, dir)
    const found = this.enterName(request, dir, request.block, request.nameOffset, request.nameLength)
    if (found < 0) {
      const { negativeSeconds, negativeNanoseconds } = request.exchange.validity
      if (found !== -ENOENT || (negativeSeconds === 0 && negativeNanoseconds === 0)) return found
      return reply.setNegative()
    }
    this.fillEntry(reply.block, reply.offset)
  }

  forget(request: ForgetRequest): void {
    const fd = this.table.forget(
      request.nodeid_low, request.nodeid_high, request.nlookup_low, request.nlookup_high,
    )
    if (fd >= 0) native.close(fd)
  }

  getattr(request: GetattrRequest, reply: AttrReply): number | void {
    let fd = request.getattr_flags & FUSE_GETATTR_FH ? this.openFile(request.fh_low, request.fh_high) : -1
    if (fd < 0) fd = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    if (fd < 0) return fd
    const done = native.fstatx(fd, AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS, this.scratch, STAT)
    if (done < 0) return done
    this.fillAttr(reply.block, reply.offset + 16)
  }

  statx(request: StatxRequest, reply: StatxReply): number | void {
    let fd = request.getattr_flags & FUSE_GETATTR_FH ? this.openFile(request.fh_low, request.fh_high) : -1
    if (fd < 0) fd = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    if (fd < 0) return fd
    const done = native.fstatx(fd, AT_STATX_SYNC_AS_STAT, STATX_MASK, this.scratch, STAT)
    if (done < 0) return done
    const { out } = reply
    const { validity } = request.exchange
    out.attr_valid = validity.attrSeconds
    out.attr_valid_nsec = validity.attrNanoseconds
    // struct fuse_statx is struct statx, up to the device numbers; what follows is none of the kernel's.
    const from = this.scratch.u32
    const to = reply.block.u32
    const word = out.stat.offset >>> 2
    for (let i = 0; i < STX_MNT_ID; i++) to[word + i] = from[(STAT >>> 2) + i]
    to[word] &= STATX_MASK
  }

  setattr(request: SetattrRequest, reply: AttrReply): number | void {
    const { valid } = request
    const fd = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    if (fd < 0) return fd
    let done = 0
    if (valid & FATTR_MODE) done = native.fchmod(fd, request.mode & 0o7777)
    // chown(-1, -1) changes nothing but the time of change and the privileges it takes away: it
    // comes with nothing to set, as does a change of data that the kernel makes itself.
    const bare = (valid & ~(FATTR_FH | FATTR_LOCKOWNER | FATTR_KILL_SUIDGID | FATTR_CTIME)) === 0
    if (done >= 0 && valid & (FATTR_UID | FATTR_GID)) {
      const as = this.changer(request, fd)
      done = native.fchown(fd, valid & FATTR_UID ? request.uid : -1, valid & FATTR_GID ? request.gid : -1, as)
    } else if (bare && !(valid & FATTR_CTIME)) {
      done = native.fchown(fd, -1, -1, this.changer(request, fd))
    }
    if (done >= 0 && valid & FATTR_SIZE) done = this.truncate(fd, request)
    if (done >= 0 && valid & (FATTR_ATIME | FATTR_MTIME)) {
      done = native.utimens(
        fd,
        request.atime_low, request.atime_high, timeArgument(valid, FATTR_ATIME, FATTR_ATIME_NOW, request.atimensec),
        request.mtime_low, request.mtime_high, timeArgument(valid, FATTR_MTIME, FATTR_MTIME_NOW, request.mtimensec),
      )
    }
    if (done < 0) return done
    done = native.fstatx(fd, AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS, this.scratch, STAT)
    if (done < 0) return done
    this.fillAttr(reply.block, reply.offset + 16)
  }

  readlink(request: ReadlinkRequest, reply: DataReply): number | void {
    const fd = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    if (fd < 0) return fd
    const length = native.readlinkFd(fd, reply.block, reply.offset, reply.capacity)
    if (length < 0) return length
    reply.length = length
  }

  // Names ------------------------------------------------------------------------------------------

  symlink(request: SymlinkRequest, reply: EntryReply): number | void {
    const dir = this.parentFor(request)
    if (dir < 0) return dir
    const { block } = request
    const as = this.callerOf(request, 0)
    const made = native.symlinkat(block, request.name2Offset, dir, block, request.nameOffset, as)
    return made < 0 ? made : this.entered(request, reply, dir)
  }

  mknod(request: MknodRequest, reply: EntryReply): number | void {
    const dir = this.parentFor(request)
    if (dir < 0) return dir
    const as = this.callerOf(request, request.umask)
    const made = native.mknodat(dir, request.block, request.nameOffset, request.mode, request.rdev, as)
    return made < 0 ? made : this.entered(request, reply, dir)
  }

  mkdir(request: MkdirRequest, reply: EntryReply): number | void {
    const dir = this.parentFor(request)
    if (dir < 0) return dir
    const as = this.callerOf(request, request.umask)
    const made = native.mkdirat(dir, request.block, request.nameOffset, request.mode, as)
    return made < 0 ? made : this.entered(request, reply, dir)
  }

  unlink(request: UnlinkRequest, _reply: EmptyReply): number | void {
    return this.removeName(request, 0)
  }

  rmdir(request: RmdirRequest, _reply: EmptyReply): number | void {
    return this.removeName(request, AT_REMOVEDIR)
  }

  rename(request: RenameRequest, _reply: EmptyReply): number | void {
    const { block, flags } = request
    const dir = this.parentFor(request)
    if (dir < 0) return dir
    if (nameKind(block, request.name2Offset, request.name2Length) !== ORDINARY) return -EINVAL
    const newDir = this.resolve(request.newdir_low, request.newdir_high, 1)
    if (newDir < 0) return newDir
    // Who is replaced loses a name.
    const victim = flags & (RENAME_EXCHANGE | RENAME_NOREPLACE) ? -1 : this.holdVictim(newDir, block, request.name2Offset)
    const done = native.renameat2(dir, block, request.nameOffset, newDir, block, request.name2Offset, flags, null)
    if (victim >= 0) this.releaseVictim(victim, done >= 0)
    if (done < 0) return done
    if (!this.shared.byHandle) {
      this.renamed(newDir, block, request.name2Offset, request.name2Length, request.newdir_low, request.newdir_high)
      if (flags & RENAME_EXCHANGE) {
        this.renamed(dir, block, request.nameOffset, request.nameLength, request.nodeid_low, request.nodeid_high)
      }
    }
  }

  link(request: LinkRequest, reply: EntryReply): number | void {
    const dir = this.parentFor(request)
    if (dir < 0) return dir
    const fd = this.resolve(request.oldnodeid_low, request.oldnodeid_high, 1)
    if (fd < 0) return fd
    const done = native.linkFd(fd, dir, request.block, request.nameOffset, null)
    if (done < 0) return done
    const entered = this.entered(request, reply, dir)
    if (entered === undefined && this.shared.byHandle) {
      this.table.setPinned(request.oldnodeid_low, request.oldnodeid_high, false)
    }
    return entered
  }

  // Open files ---------------------------------------------------------------------------------------

  open(request: OpenRequest, reply: OpenReply): number | void {
    const path = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    if (path < 0) return path
    const flags = this.sourceFlags(request.flags)
    const killPriv = (request.open_flags & FUSE_OPEN_KILL_SUIDGID) !== 0
    const as = killPriv ? this.changer(request, path) : null
    let fd = this.reopen(path, flags, as)
    // The writeback cache reads what it fills up with writes: nice to have, when we may.
    if (fd === -EACCES && flags !== (request.flags & OPEN_FLAGS)) fd = this.reopen(path, request.flags & OPEN_FLAGS, as)
    if (fd < 0) return fd
    if (this.withoutHandle(request, reply.out, fd)) return
    const failed = this.keepOpen(fd, flags)
    if (failed < 0) return failed
    this.fillOpen(reply.out, fd, request.nodeid_low, request.nodeid_high, request.flags)
  }

  create(request: CreateRequest, reply: CreateReply): number | void {
    const dir = this.parentFor(request)
    if (dir < 0) return dir
    const as = this.callerOf(request, request.umask)
    const flags = this.sourceFlags(request.flags)
    const exclusive = request.flags & O_EXCL
    // A file that somebody made behind our back meanwhile is opened: never through a symbolic link,
    // and never waiting for the other end of a fifo.
    const fd = this.openat(
      dir, request.block, request.nameOffset, flags | O_CREAT | exclusive | O_NOFOLLOW | O_NONBLOCK,
      request.mode & 0o7777, as, (request.open_flags & FUSE_OPEN_KILL_SUIDGID) !== 0,
    )
    if (fd === -ELOOP) return -ESTALE
    if (fd < 0) return fd
    return this.opened(request, reply, dir, fd, flags)
  }

  tmpfile(request: TmpfileRequest, reply: CreateReply): number | void {
    const dir = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    if (dir < 0) return dir
    const as = this.callerOf(request, request.umask)
    const flags = this.sourceFlags(request.flags)
    const exclusive = request.flags & O_EXCL
    // A directory's own O_PATH descriptor and "." : O_TMPFILE wants a path.
    const fd = this.openat(dir, this.scratch, DOT, flags | O_TMPFILE | exclusive, request.mode & 0o7777, as, false)
    if (fd < 0) return fd
    return this.opened(request, reply, -1, fd, flags)
  }

  read(request: ReadRequest, reply: DataReply): number | void {
    const brief = hasNoHandle(request)
    const fd = brief ? this.openBriefly(request, O_RDONLY) : this.openFile(request.fh_low, request.fh_high)
    if (fd < 0) return fd
    const { exchange } = request
    if (exchange.zeroCopy) return exchange.transfer(fd, request.offset_low, request.offset_high, request.size)
    const count = native.pread(fd, reply.block, reply.offset, reply.capacity, request.offset_low, request.offset_high)
    if (brief) native.close(fd)
    if (count < 0) return count
    reply.length = count
  }

  write(request: WriteRequest, reply: WriteReply): number | void {
    const { block, dataOffset, size, write_flags } = request
    const brief = hasNoHandle(request)
    const fh = brief ? this.openBriefly(request, O_WRONLY | this.writeFlags(request)) : this.openFile(request.fh_low, request.fh_high)
    if (fh < 0) return fh
    let fd = fh
    // Pages written back (mmap) go where they belong, but the kernel picks any open file for them,
    // and on one opened with O_APPEND pwrite(2) appends whatever the offset.
    const stray = !brief && (write_flags & FUSE_WRITE_CACHE) !== 0
      && (this.openFiles[fh * OPEN_FILE_WORDS + STATE] & IS_APPEND) !== 0
    if (stray) {
      fd = this.reopen(fh, O_WRONLY)
      if (fd < 0) return fd
    }
    const as = (write_flags & FUSE_WRITE_KILL_SUIDGID) !== 0 ? this.changer(request, fd) : null
    const { exchange } = request
    if (exchange.zeroCopy) {
      // The ring writes with the server's rights, which leave suid and sgid in place.
      const cleared = as === null ? 0 : native.fchown(fd, -1, -1, as)
      if (cleared < 0) return cleared
      return exchange.transfer(fd, request.offset_low, request.offset_high, size)
    }
    const count = native.pwrite(
      fd, block, dataOffset, size, request.offset_low, request.offset_high, as, as !== null,
    )
    const known = count >= 0 && (request.wants & EFUSE_CAN_ATTR) !== 0
      && native.fstatx(fd, AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS, this.scratch, STAT) >= 0
    if (stray || brief) native.close(fd)
    if (count < 0) return count
    reply.out.size = count
    if (known) this.fillAttr(reply.block, reply.addAttributes())
  }

  release(request: ReleaseRequest, _reply: EmptyReply): number | void {
    if (hasNoHandle(request)) return
    const fd = this.openFile(request.fh_low, request.fh_high)
    if (fd < 0) return fd
    const at = fd * OPEN_FILE_WORDS + STATE
    const { backing } = this
    if (this.openFiles[at] & IS_PASSED_THROUGH && backing !== null) {
      const { nodeid_low, nodeid_high } = request
      this.table.leaveBacking(nodeid_low, nodeid_high, (id) => {
        if (this.bound) backing.bind(nodeid_low, nodeid_high, 0, 0)
        backing.close(id)
      })
    }
    this.openFiles[at] = 0
    native.close(fd)
  }

  fsync(request: FsyncRequest, _reply: EmptyReply): number | void {
    const fd = this.openFile(request.fh_low, request.fh_high)
    if (fd < 0) return fd
    return failure(request.fsync_flags & FUSE_FSYNC_FDATASYNC ? native.fdatasync(fd) : native.fsync(fd))
  }

  fallocate(request: FallocateRequest, _reply: EmptyReply): number | void {
    const fd = this.openFile(request.fh_low, request.fh_high)
    if (fd < 0) return fd
    return failure(native.fallocate(
      fd, request.mode, request.offset_low, request.offset_high, request.length_low, request.length_high,
    ))
  }

  lseek(request: LseekRequest, reply: LseekReply): number | void {
    const fd = this.openFile(request.fh_low, request.fh_high)
    if (fd < 0) return fd
    const done = native.lseek(fd, request.offset_low, request.offset_high, request.whence)
    if (done < 0) return done
    reply.out.offset_low = native.result.low
    reply.out.offset_high = native.result.high
  }

  copyFileRange(request: CopyFileRangeRequest, reply: WriteReply): number | void {
    const done = this.copyRange(request)
    if (done < 0) return done
    reply.out.size = native.result.low
  }

  copyFileRange64(request: CopyFileRangeRequest, reply: CopiedReply): number | void {
    const done = this.copyRange(request)
    if (done < 0) return done
    reply.out.bytes_copied_low = native.result.low
    reply.out.bytes_copied_high = native.result.high
  }

  ioctl(request: IoctlRequest, reply: IoctlReply): number | void {
    const { cmd, in_size, out_size } = request
    if (!FORWARDED_IOCTLS.has(cmd) || in_size > IOCTL_BYTES || out_size > IOCTL_BYTES) return -ENOTTY
    const fd = this.openFile(request.fh_low, request.fh_high)
    if (fd < 0) return fd
    const { u8 } = this.scratch
    u8.fill(0, IOCTL, IOCTL + IOCTL_BYTES)
    u8.set(request.block.u8.subarray(request.dataOffset, request.dataOffset + in_size), IOCTL)
    const done = native.ioctl(fd, cmd, this.scratch, IOCTL, IOCTL_BYTES)
    if (done < 0) return done
    reply.out.result = done
    reply.write(u8.subarray(IOCTL, IOCTL + out_size))
  }

  // Directories ----------------------------------------------------------------------------------------

  opendir(request: OpenRequest, reply: OpenReply): number | void {
    const path = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    if (path < 0) return path
    const fd = this.reopen(path, O_RDONLY | O_DIRECTORY | (request.flags & O_NOATIME))
    if (fd < 0) return fd
    const failed = this.keepOpen(fd, 0)
    if (failed < 0) return failed
    reply.out.fh_low = fd
  }

  readdir(request: ReaddirRequest, reply: DirectoryReply): number | void {
    return this.list(request, reply)
  }

  readdirplus(request: ReaddirRequest, reply: DirectoryReply): number | void {
    return this.list(request, reply)
  }

  releasedir(request: ReleaseRequest, reply: EmptyReply): number | void {
    return this.release(request, reply)
  }

  fsyncdir(request: FsyncRequest, reply: EmptyReply): number | void {
    return this.fsync(request, reply)
  }

  // The file system and extended attributes ----------------------------------------------------------------

  statfs(request: StatfsRequest, reply: StatfsReply): number | void {
    const fd = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    if (fd < 0) return fd
    return failure(native.fstatfs(fd, reply.block, reply.offset))
  }

  syncfs(request: SyncfsRequest, _reply: EmptyReply): number | void {
    const fd = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    if (fd < 0) return fd
    // syncfs(2) wants a descriptor that is really open.
    const open = this.reopen(fd, O_RDONLY)
    if (open < 0) return open
    const done = native.syncfs(open)
    native.close(open)
    return failure(done)
  }

  getxattr(request: GetxattrRequest, reply: XattrReply): number | void {
    const fd = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    if (fd < 0) return fd
    const { block, nameOffset, nameLength } = request
    const size = native.getxattr(fd, block, nameOffset, reply.block, reply.offset, reply.capacity)
    // Where the source knows no ACLs, no file has one: any other answer would fail every access.
    if (size === -EOPNOTSUPP && startsWith(block.u8, nameOffset, nameLength, ACL_PREFIX)) return -ENODATA
    if (size < 0) return size
    if (reply.sizeOnly) reply.setSize(size)
    else reply.length = size
  }

  listxattr(request: ListxattrRequest, reply: XattrReply): number | void {
    const fd = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    if (fd < 0) return fd
    const { scratch } = this
    const listed = native.listxattr(fd, scratch, DIRENTS, DIRENTS_BYTES)
    if (listed < 0) return listed
    const size = request.uid === 0 ? listed : dropTrusted(scratch.u8, DIRENTS, listed)
    if (reply.sizeOnly) return reply.setSize(size)
    if (size > reply.capacity) return -os.errno.ERANGE
    reply.write(scratch.u8.subarray(DIRENTS, DIRENTS + size))
  }

  setxattr(request: SetxattrRequest, _reply: EmptyReply): number | void {
    const fd = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    if (fd < 0) return fd
    const { block } = request
    const done = native.setxattr(
      fd, block, request.nameOffset, block, request.dataOffset, request.size, request.flags, null,
    )
    if (done < 0) return done
    if (request.exchange.argsSize > 8 && request.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) return this.clearSgid(fd)
  }

  removexattr(request: RemovexattrRequest, _reply: EmptyReply): number | void {
    const fd = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    if (fd < 0) return fd
    return failure(native.removexattr(fd, request.block, request.nameOffset, null))
  }

  // From nodeids to descriptors -------------------------------------------------------------------------

  /**
   * An O_PATH descriptor of an inode that the kernel knows, good for the length of this request.
   * @param hazard distinct for inodes that the request uses at the same time
   * @returns a descriptor or -errno
   */
  private resolve(low: number, high: number, hazard: number): number {
    if (low === ROOT_ID && high === 0) return this.shared.root
    const fd = this.table.fdOf(low, high, hazard, this.identity)
    if (fd >= 0) return fd
    return fd === NO_ENTRY ? -ESTALE : this.openAgain(low, high, hazard)
  }

  /** Opens an inode whose descriptor was closed, or that never had one; `identity` says which. */
  private openAgain(low: number, high: number, hazard: number): number {
    const { identity, table } = this
    const mount = identity.handleBytes > 0 ? table.handleDescriptor(identity.device) : -1
    let fd: number
    if (this.shared.byHandle && mount >= 0) {
      writeHandle(identity, this.scratch, HANDLE)
      fd = this.openHandle(mount)
    } else {
      fd = this.openByName(low, high, hazard)
    }
    return fd < 0 ? fd : this.install(low, high, fd, hazard, false)
  }

  private openHandle(mount: number): number {
    // ext4 says ENOMEM of an inode whose number is just being given to another, in microseconds: then it has gone.
    for (let tries = 0; ; tries++) {
      let fd: number
      do {
        fd = native.openByHandle(mount, this.scratch, HANDLE, O_PATH | O_NOFOLLOW)
      } while (this.madeRoom(fd))
      if (fd !== -ENOMEM || tries === MOST_TRIES) return fd
      native.sleepMicroseconds(TRY_MICROSECONDS)
    }
  }

  /** Opens an inode where it was last seen, and makes sure that it is still the one. */
  private openByName(low: number, high: number, hazard: number): number {
    const { table, scratch } = this
    const { inoLow, inoHigh, generation } = this.identity
    const place = table.nameOf(low, high, scratch.u8, NAME)
    if (place === null) return -ESTALE
    // The parent's descriptor is needed only to open this one: two hazards serve any depth.
    const parentHazard = hazard === HAZARDS_PER_WORKER - 1 ? HAZARDS_PER_WORKER - 2 : HAZARDS_PER_WORKER - 1
    const name = scratch.u8.slice(NAME, NAME + 256)
    const dir = this.resolve(place.parentLow, place.parentHigh, parentHazard)
    if (dir < 0) return dir
    scratch.u8.set(name, NAME)
    const fd = this.openat(dir, scratch, NAME, O_PATH | O_NOFOLLOW, 0, null, false)
    if (fd < 0) return fd === -ENOENT ? -ESTALE : fd
    const failed = this.identifyOpen(fd)
    const { identity } = this
    if (failed >= 0 && identity.inoLow === inoLow >>> 0 && identity.inoHigh === inoHigh >>> 0
      && identity.generation >>> 0 === generation >>> 0) return fd
    native.close(fd)
    return -ESTALE
  }

  /** Gives an inode its descriptor, closing ours when another worker's came first. */
  private install(low: number, high: number, fd: number, hazard: number, pinned: boolean): number {
    const kept = this.table.install(low, high, fd, hazard, pinned)
    if (kept !== fd) native.close(fd)
    if (kept === NO_ENTRY) return -ESTALE
    if (this.table.tooManyOpen) this.table.evict(64, native.close)
    return kept
  }

  /** How often the present call has waited for room. */
  private waits = 0

  /**
   * After a call that may have failed for want of descriptors: closes some, or waits a little, as the
   * kernel tells of closed files late, and perhaps another worker.
   * @returns whether to try again
   */
  private madeRoom(fd: number): boolean {
    if (fd !== -EMFILE && fd !== -ENFILE) {
      this.waits = 0
      return false
    }
    const before = this.table.openCount
    this.table.evict(256, native.close)
    if (this.table.openCount < before) return true
    if (this.alone || this.waits === MOST_WAITS) {
      this.waits = 0
      return false
    }
    this.waits++
    native.sleepMicroseconds(WAIT_MICROSECONDS)
    return true
  }

  private openat(
    dir: number, block: Block, path: number, flags: number, mode: number, as: MutableCaller | null, killPriv: boolean,
  ): number {
    let fd: number
    do {
      fd = native.openat(dir, block, path, flags, mode, as, killPriv)
    } while (this.madeRoom(fd))
    return fd
  }

  /** @param changer whose opening takes suid and sgid away (O_TRUNC), or null */
  private reopen(fd: number, flags: number, changer: MutableCaller | null = null): number {
    let open: number
    do {
      open = native.reopen(fd, flags, changer, changer !== null)
    } while (this.madeRoom(open))
    return open
  }

  // From names to nodeids --------------------------------------------------------------------------------

  /** The directory that a request names something in. @returns a descriptor or -errno */
  private parentFor(request: Request & { readonly nameOffset: number; readonly nameLength: number }): number {
    if (nameKind(request.block, request.nameOffset, request.nameLength) !== ORDINARY) return -EINVAL
    return this.resolve(request.nodeid_low, request.nodeid_high, 0)
  }

  /**
   * Looks a name up and counts the look-up: leaves the inode's attributes in the scratch memory and
   * who it is in `identity`.
   * @returns 0 or -errno
   */
  private enterName(request: Request, dir: number, block: Block, name: number, length: number): number {
    if (this.shared.byHandle) {
      const failed = this.identifyName(dir, block, name)
      if (failed === 0) return this.count()
      if (failed < 0) return failed
    }
    const fd = this.openat(dir, block, name, O_PATH | O_NOFOLLOW, 0, null, false)
    if (fd < 0) return fd
    const done = this.enterOpen(fd)
    if (done >= 0 && !this.shared.byHandle) {
      const { nodeidLow, nodeidHigh } = this.identity
      this.table.setName(nodeidLow, nodeidHigh, request.nodeid_low, request.nodeid_high, block.u8, name, length)
    }
    return done
  }

  /**
   * Finds out who a name is without opening it: two system calls, the look-up's common case.
   * @returns 0; 1 when it takes an open descriptor to be sure; -errno
   */
  private identifyName(dir: number, block: Block, name: number): number {
    const { scratch } = this
    // Between the two calls the name may come to mean another inode: then the numbers differ.
    for (let attempt = 0; attempt < 3; attempt++) {
      const done = native.statx(dir, block, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_MASK, scratch, STAT)
      if (done < 0) return done
      if (!this.isOnRootDevice()) return 1
      if (this.isRoot()) return 1
      if (native.nameToHandle(dir, block, name, 0, scratch, HANDLE, HANDLE_CAPACITY) < 0) continue
      if (!isInodeAndGeneration(scratch, STAT, HANDLE)) continue
      identify(this.identity, scratch, STAT, HANDLE, 0)
      return 0
    }
    return 1
  }

  /** Finds out who an O_PATH or open descriptor is. @returns 0 or -errno */
  private identifyOpen(fd: number): number {
    const { scratch, knownMounts } = this
    if (knownMounts !== null) {
      // Asking our own mount for its root's attributes would be asking ourselves: look before.
      const peeked = native.fstatx(fd, AT_STATX_DONT_SYNC, STATX_MNT_ID, scratch, STAT)
      if (peeked < 0) return peeked
      if (!knownMounts.has(scratch.u32[STX_MNT_ID])) return -ELOOP
    }
    const done = native.fstatx(fd, AT_STATX_SYNC_AS_STAT, STATX_MASK, scratch, STAT)
    if (done < 0) return done
    const handle = native.handleOf(fd, 0, scratch, HANDLE, HANDLE_CAPACITY) < 0 ? -1 : HANDLE
    const device = this.isOnRootDevice() ? 0 : this.deviceOf(fd)
    if (device < 0) return -ENFILE
    identify(this.identity, scratch, STAT, handle, device)
    return 0
  }

  /** The index of the device that an inode on another file system than the root's is on. */
  private deviceOf(fd: number): number {
    const { scratch, table, shared } = this
    const { u32 } = scratch
    const isDirectory = (scratch.u16[STX_MODE_HALF] & S_IFMT) === S_IFDIR
    const open = () => shared.byHandle && isDirectory ? native.reopen(fd, O_RDONLY | O_DIRECTORY) : -1
    const device = table.deviceIndex(u32[STX_DEV_MAJOR], u32[STX_DEV_MINOR], () => Math.max(-1, open()))
    if (device >= 0 && isDirectory && shared.byHandle && table.handleDescriptor(device) < 0) {
      const forHandles = open()
      if (forHandles >= 0 && !table.setHandleDescriptor(device, forHandles)) native.close(forHandles)
    }
    return device
  }

  /** Counts a look-up of the inode behind a new O_PATH descriptor, which becomes the inode's or is closed. */
  private enterOpen(fd: number): number {
    const failed = this.identifyOpen(fd)
    if (failed < 0 || this.isRoot()) {
      native.close(fd)
      return failed
    }
    const counted = this.count()
    if (counted < 0) {
      native.close(fd)
      return counted
    }
    const { nodeidLow, nodeidHigh } = this.identity
    const kept = this.install(nodeidLow, nodeidHigh, fd, 2, false)
    return kept < 0 ? kept : 0
  }

  /** Counts a look-up of the inode in `identity`. */
  private count(): number {
    return this.table.lookUp(this.identity) < 0 ? -ENFILE : 0
  }

  private isOnRootDevice(): boolean {
    const { u32 } = this.scratch
    const { rootDevice } = this.shared
    return u32[STX_DEV_MAJOR] === rootDevice.major && u32[STX_DEV_MINOR] === rootDevice.minor
  }

  /** Whether the attributes in the scratch memory are the root's: its nodeid is 1 under any name. */
  private isRoot(): boolean {
    const { u32 } = this.scratch
    const { rootInode } = this.shared
    if (u32[STX_INO] !== rootInode.low || u32[STX_INO + 1] !== rootInode.high || !this.isOnRootDevice()) return false
    this.identity.nodeidLow = ROOT_ID
    this.identity.nodeidHigh = 0
    this.identity.generation = 0
    this.identity.device = 0
    return true
  }

  /**
   * LOOKUP of ".": an inode by its nodeid alone, as exported handles have it. The kernel need not know
   * the inode, so that a FORGET of it may be on its way: the table's descriptor is the second choice.
   */
  private lookupSelf(request: LookupRequest, reply: EntryReply): number | void {
    const low = request.nodeid_low
    const high = request.nodeid_high
    if (!this.enterHandle(request, low, high)) {
      const known = this.resolve(low, high, 0)
      if (known < 0) return known
      const fd = this.reopen(known, O_PATH | O_NOFOLLOW)
      if (fd < 0) return fd
      const failed = this.enterOpen(fd)
      if (failed < 0) return failed
      if (!this.isIdentity(low, high)) {
        this.uncount()
        return -ESTALE
      }
    }
    this.fillEntry(reply.block, reply.offset)
  }

  /** Looks up the inode that a nodeid is the file handle of. @returns whether there is one, and the caller may see it */
  private enterHandle(request: LookupRequest, low: number, high: number): boolean {
    if (!this.shared.byHandle || (low === ROOT_ID && high === 0)) return false
    // Who is not root learns of inodes through names only.
    if (request.callerUid !== 0 && !this.table.has(low, high)) return false
    handleFromNodeid(this.scratch, HANDLE, low, high)
    const fd = this.openHandle(this.shared.rootForHandles)
    if (fd < 0 || this.enterOpen(fd) < 0) return false
    if (this.isIdentity(low, high)) return true
    this.uncount()
    return false
  }

  private isIdentity(low: number, high: number): boolean {
    return this.identity.nodeidLow >>> 0 === low && this.identity.nodeidHigh >>> 0 === high
  }

  /** LOOKUP of "..": the parent of a directory that an exported handle led to. */
  private lookupParent(request: LookupRequest, reply: EntryReply, dir: number): number | void {
    const atRoot = request.nodeid_low === ROOT_ID && request.nodeid_high === 0
    const name = atRoot ? DOT : DOT_DOT
    const parent = this.openat(dir, this.scratch, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, null, false)
    if (parent < 0) return parent
    if (!this.isInsideSource(parent)) {
      native.close(parent)
      return -ESTALE
    }
    const failed = this.enterOpen(parent)
    if (failed < 0) return failed
    this.fillEntry(reply.block, reply.offset)
  }

  /** Whether climbing from a directory leads to the source's root: it may have been moved out of it. */
  private isInsideSource(directory: number): boolean {
    let at = native.dup(directory)
    for (let low = -1, high = -1; at >= 0;) {
      const done = native.fstatx(at, AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS, this.scratch, STAT)
      const { u32 } = this.scratch
      if (done >= 0 && this.isRoot()) {
        native.close(at)
        return true
      }
      // A directory that is its own parent is the file system's root.
      const stuck = done < 0 || (u32[STX_INO] === low && u32[STX_INO + 1] === high)
      low = u32[STX_INO]
      high = u32[STX_INO + 1]
      const up = stuck ? -1 : native.openat(at, this.scratch, DOT_DOT, O_PATH | O_DIRECTORY, 0, null)
      native.close(at)
      at = up
    }
    return false
  }

  private uncount(): void {
    const { nodeidLow, nodeidHigh } = this.identity
    if (nodeidLow === ROOT_ID && nodeidHigh === 0) return
    const fd = this.table.forget(nodeidLow, nodeidHigh, 1, 0)
    if (fd >= 0) native.close(fd)
  }

  // Creating and removing ------------------------------------------------------------------------------------

  /** The caller's identity, for what is created in its name. */
  private callerOf(request: Request, umask: number): MutableCaller {
    const { caller } = this
    caller.umask = umask & 0o777
    if (this.shared.asCaller) {
      caller.uid = request.callerUid
      caller.gid = request.callerGid
      const group = request.supplementaryGroup
      caller.groupCount = group >= 0 ? 1 : 0
      caller.groups[0] = group
    } else {
      caller.uid = process.geteuid!()
      caller.gid = process.getegid!()
    }
    return caller
  }

  /** After something was made under the request's name: its entry. */
  private entered(
    request: Request & { readonly nameOffset: number; readonly nameLength: number }, reply: EntryReply, dir: number,
  ): number | void {
    const done = this.enterName(request, dir, request.block, request.nameOffset, request.nameLength)
    if (done < 0) return done
    this.fillEntry(reply.block, reply.offset)
  }

  /**
   * After a file was made and opened: its entry and the open file.
   * @param dir the directory that the request's name is in, or -1 when the file has no name
   */
  private opened(request: CreateRequest, reply: CreateReply, dir: number, fd: number, flags: number): number | void {
    const { scratch, table, identity, shared } = this
    let failed = this.identifyOpen(fd)
    // Somebody put another kind of file under the name: let the kernel look again.
    if (failed >= 0 && (scratch.u16[STX_MODE_HALF] & S_IFMT) !== S_IFREG) failed = -ESTALE
    if (failed >= 0) failed = this.count()
    if (failed < 0) {
      native.close(fd)
      return failed
    }
    const { nodeidLow, nodeidHigh } = identity
    this.fillEntry(reply.block, reply.offset)
    if (dir < 0 || !shared.byHandle || identity.handleBytes === 0) {
      const path = this.reopen(fd, O_PATH)
      failed = path < 0 ? path : this.install(nodeidLow, nodeidHigh, path, 2, dir < 0)
    }
    const brief = failed >= 0 && this.withoutHandle(request, reply.open, fd)
    if (failed < 0) native.close(fd)
    else if (!brief) failed = this.keepOpen(fd, flags)
    if (failed < 0) {
      identity.nodeidLow = nodeidLow
      identity.nodeidHigh = nodeidHigh
      this.uncount()
      return failed
    }
    if (dir >= 0 && !shared.byHandle) {
      table.setName(
        nodeidLow, nodeidHigh, request.nodeid_low, request.nodeid_high, request.block.u8, request.nameOffset,
        request.nameLength,
      )
    }
    if (!brief) this.fillOpen(reply.open, fd, nodeidLow, nodeidHigh, request.flags)
  }

  private removeName(request: UnlinkRequest | RmdirRequest, flags: number): number | void {
    const dir = this.parentFor(request)
    if (dir < 0) return dir
    const victim = this.holdVictim(dir, request.block, request.nameOffset)
    const done = native.unlinkat(dir, request.block, request.nameOffset, flags, null)
    if (victim >= 0) this.releaseVictim(victim, done >= 0)
    return failure(done)
  }

  private victimLow = 0
  private victimHigh = 0
  /** The name that is to go is its last, as far as can be known before. */
  private victimIsDoomed = false
  /** Its descriptor could have been closed until now. */
  private pinnedVictim = false

  /**
   * Before a name goes: makes sure that its inode, if the kernel knows it, has a descriptor that
   * stays. Once it has no name, nothing else might lead to it.
   * @returns the descriptor, or -1 when there is nothing to hold
   */
  private holdVictim(dir: number, block: Block, name: number): number {
    const { shared, table, identity, scratch } = this
    let known = shared.byHandle ? this.identifyName(dir, block, name) : 1
    if (known > 0) {
      const fd = this.openat(dir, block, name, O_PATH | O_NOFOLLOW, 0, null, false)
      if (fd < 0) return -1
      known = this.identifyOpen(fd)
      native.close(fd)
    }
    if (known < 0 || this.isRoot()) return -1
    this.victimLow = identity.nodeidLow
    this.victimHigh = identity.nodeidHigh
    this.victimIsDoomed = scratch.u32[STX_NLINK] <= 1 || (scratch.u16[STX_MODE_HALF] & S_IFMT) === S_IFDIR
    const fd = table.fdOf(this.victimLow, this.victimHigh, 2, identity)
    if (fd === NO_ENTRY) return -1
    const held = fd === NO_DESCRIPTOR ? this.openAgain(this.victimLow, this.victimHigh, 2) : fd
    if (held < 0) return -1
    this.pinnedVictim = (this.victimIsDoomed || !shared.byHandle)
      && !table.setPinned(this.victimLow, this.victimHigh, true)
    return held
  }

  /** After the name went, or did not. */
  private releaseVictim(fd: number, gone: boolean): void {
    const { scratch, table, shared } = this
    if (!gone) {
      if (this.pinnedVictim) table.setPinned(this.victimLow, this.victimHigh, false)
      return
    }
    if (this.victimIsDoomed || !shared.byHandle) return
    // It had other names before: another worker may have removed those at the same time.
    if (native.fstatx(fd, AT_STATX_DONT_SYNC, STATX_BASIC_STATS, scratch, STAT) < 0) return
    if (scratch.u32[STX_NLINK] === 0) table.setPinned(this.victimLow, this.victimHigh, true)
  }

  /** After a rename, without handles: where the inode is now. */
  private renamed(
    dir: number, block: Block, name: number, length: number, parentLow: number, parentHigh: number,
  ): void {
    const fd = this.openat(dir, block, name, O_PATH | O_NOFOLLOW, 0, null, false)
    if (fd < 0) return
    if (this.identifyOpen(fd) >= 0) {
      this.table.setName(
        this.identity.nodeidLow, this.identity.nodeidHigh, parentLow, parentHigh, block.u8, name, length,
      )
    }
    native.close(fd)
  }

  // Open files' records -------------------------------------------------------------------------------------------

  /** The descriptor that a file handle is: only one that we gave out. */
  private openFile(low: number, high: number): number {
    const at = low * OPEN_FILE_WORDS
    if (high !== 0 || at >= this.openFiles.length) return -EBADF
    return this.openFiles[at + STATE] === 0 ? -EBADF : low
  }

  private keepOpen(fd: number, flags: number): number {
    const at = fd * OPEN_FILE_WORDS
    if (at >= this.openFiles.length) {
      native.close(fd)
      return -ENFILE
    }
    this.openFiles[at + STATE] = IS_OPEN | AT_POSITION | (flags & O_APPEND ? IS_APPEND : 0)
    this.openFiles[at + POSITION_LOW] = 0
    this.openFiles[at + POSITION_HIGH] = 0
    return 0
  }

  /**
   * After a file was opened: leaves it without a handle, if the kernel wants none, and closes it. Only plain files: what the
   * kernel reads and writes itself, or the ring, stays open.
   */
  private withoutHandle(request: Request, out: OpenOut, fd: number): boolean {
    if ((request.wants & EFUSE_CAN_NO_HANDLE) === 0 || this.backing !== null) return false
    if (this.fopenFlags & FOPEN_IO_URING_ZERO_COPY) return false
    native.close(fd)
    out.fh_low = out.fh_high = EFUSE_FH_NONE_HALF
    out.open_flags = this.fopenFlags
    return true
  }

  /** Opens what a request is about that has no handle. @returns a descriptor, to be closed, or -errno */
  private openBriefly(request: Request, flags: number): number {
    const path = this.resolve(request.nodeid_low, request.nodeid_high, 0)
    return path < 0 ? path : this.reopen(path, flags)
  }

  /** How a file is opened for a write without a handle, beside for writing: to append, it goes to the file's end. */
  private writeFlags(request: WriteRequest): number {
    return this.writeback || request.write_flags & FUSE_WRITE_CACHE ? 0 : request.flags & (O_APPEND | O_SYNC | O_DSYNC)
  }

  /**
   * How the source's file is opened. O_DIRECT is left to the kernel's side: its alignment rules would
   * bite when pages of the same file are written back.
   */
  private sourceFlags(flags: number): number {
    let kept = flags & OPEN_FLAGS
    if (this.writeback) {
      // The cache reads the rest of pages that are written in part, and places appended data itself.
      kept &= ~O_APPEND
      if ((kept & O_ACCMODE) === O_WRONLY) kept = (kept & ~O_ACCMODE) | O_RDWR
    }
    return kept
  }

  private truncate(fd: number, request: SetattrRequest): number {
    const as = (request.valid & FATTR_KILL_SUIDGID) !== 0 ? this.changer(request, fd) : null
    if (as === null && request.valid & FATTR_FH) {
      const open = this.openFile(request.fh_low, request.fh_high)
      if (open >= 0) return native.ftruncate(open, request.size_low, request.size_high)
    }
    return native.truncate(fd, request.size_low, request.size_high, as, as !== null)
  }

  /**
   * In whose name a file's data is changed, where that decides whether suid and sgid go; null where
   * there is neither. Without group execution sgid stays for members of the group: only then all the
   * caller's groups count, and only then they are asked for. Linux: setattr_should_drop_sgid()
   */
  private changer(request: Request, fd: number): MutableCaller | null {
    const { scratch } = this
    if (native.fstatx(fd, AT_STATX_DONT_SYNC, STATX_MODE, scratch, STAT) < 0) return null
    const mode = scratch.u16[STX_MODE_HALF]
    if ((mode & (S_ISUID | S_ISGID)) === 0) return null
    const as = this.callerOf(request, 0)
    if (this.shared.asCaller && (mode & S_ISGID) !== 0 && (mode & S_IXGRP) === 0) {
      const groups = groupsOf(request.pid)
      if (as.groups.length < groups.length) as.groups = new Uint32Array(groups.length)
      as.groups.set(groups)
      as.groupCount = groups.length
    }
    return as
  }

  private copyRange(request: CopyFileRangeRequest): number {
    const from = this.openFile(request.fh_in_low, request.fh_in_high)
    const to = this.openFile(request.fh_out_low, request.fh_out_high)
    if (from < 0 || to < 0) return -EBADF
    return native.copyFileRange(
      from, request.off_in_low, request.off_in_high, to, request.off_out_low, request.off_out_high,
      request.len_low, request.len_high,
    )
  }

  private clearSgid(fd: number): number | void {
    const { scratch } = this
    const done = native.fstatx(fd, AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS, scratch, STAT)
    if (done < 0) return done
    const mode = scratch.u16[STX_MODE_HALF] & 0o7777
    return mode & S_ISGID ? failure(native.fchmod(fd, mode & ~S_ISGID)) : undefined
  }

  /** Fills a listing from the source's own, entry by entry, with its own 64-bit cookies. */
  private list(request: ReaddirRequest, reply: DirectoryReply): number | void {
    if (!hasNoHandle(request)) return this.listOpen(request, reply, this.openFile(request.fh_low, request.fh_high))
    const fd = this.openBriefly(request, O_RDONLY | O_DIRECTORY)
    if (fd < 0) return fd
    const failed = this.keepOpen(fd, 0)
    if (failed < 0) return failed
    const done = this.listOpen(request, reply, fd)
    this.openFiles[fd * OPEN_FILE_WORDS + STATE] = 0
    native.close(fd)
    return done
  }

  private listOpen(request: ReaddirRequest, reply: DirectoryReply, fd: number): number | void {
    if (fd < 0) return fd
    const { scratch, openFiles } = this
    const at = fd * OPEN_FILE_WORDS
    const stands = (openFiles[at + STATE] & AT_POSITION) !== 0
      && openFiles[at + POSITION_LOW] === (request.offset_low | 0)
      && openFiles[at + POSITION_HIGH] === (request.offset_high | 0)
    if (!stands) {
      const done = native.lseek(fd, request.offset_low, request.offset_high, SEEK_SET)
      if (done < 0) return done
    }
    const { plus } = reply
    // As many entries as will fit, roughly: those read in vain must be read again.
    const wish = Math.max(LONGEST_DIRENT, Math.min(DIRENTS_BYTES, plus ? reply.capacity / 5 : reply.capacity * 0.75)) & ~7
    const length = native.getdents64(fd, scratch, DIRENTS, wish)
    if (length < 0) return length
    let record = DIRENTS
    const end = DIRENTS + length
    while (record < end) {
      const next = this.listOne(fd, request, reply, record, plus)
      if (next < 0) break
      openFiles[at + POSITION_LOW] = scratch.i32[(record >>> 2) + 2]
      openFiles[at + POSITION_HIGH] = scratch.i32[(record >>> 2) + 3]
      record = next
    }
    if (record === DIRENTS && length > 0) return -EINVAL
    if (record >= end) openFiles[at + STATE] |= AT_POSITION
    else openFiles[at + STATE] &= ~AT_POSITION
    if (length === 0 && !stands) {
      openFiles[at + POSITION_LOW] = request.offset_low
      openFiles[at + POSITION_HIGH] = request.offset_high
    }
  }

  /** Adds the struct linux_dirent64 at `record`. @returns where the next one is, or -1 when the reply is full */
  private listOne(fd: number, request: ReaddirRequest, reply: DirectoryReply, record: number, plus: boolean): number {
    const { scratch } = this
    const { u8, u16, u32 } = scratch
    const name = record + 19
    let nameLength = 0
    while (u8[name + nameLength] !== 0) nameLength++
    if (!reply.next(nameLength)) return -1
    const word = record >>> 2
    const { dirent } = reply
    dirent.ino_low = u32[word]
    dirent.ino_high = u32[word + 1]
    dirent.off_low = u32[word + 2]
    dirent.off_high = u32[word + 3]
    dirent.type = u8[record + 18]
    const to = reply.block.u8
    for (let i = 0, offset = reply.nameOffset; i < nameLength; i++) to[offset + i] = u8[name + i]
    const length = u16[(record >>> 1) + 8]
    const dots = u8[name] === 0x2e && (nameLength === 1 || (nameLength === 2 && u8[name + 1] === 0x2e))
    // An entry that vanished meanwhile goes out without its inode: the kernel will look it up.
    if (plus && !dots && this.enterName(request, fd, scratch, name, nameLength) >= 0) {
      this.fillEntry(reply.block, reply.entry.offset)
    }
    return record + length
  }

  /** Answers an open: over to the kernel, where it takes the file, or to be read and written here. */
  private fillOpen(out: OpenOut, fd: number, nodeidLow: number, nodeidHigh: number, flags: number): void {
    out.fh_low = fd
    out.open_flags = this.fopenFlags
    // Pages that are written back through a file opened to append need another descriptor: see `write`.
    if (this.openFiles[fd * OPEN_FILE_WORDS + STATE] & IS_APPEND) out.open_flags &= ~FOPEN_IO_URING_ZERO_COPY
    const { backing } = this
    if (backing === null) return
    let first = false
    const id = this.table.useBacking(nodeidLow, nodeidHigh, () => {
      first = true
      return backing.open(fd)
    })
    if (id <= 0) return
    this.openFiles[fd * OPEN_FILE_WORDS + STATE] |= IS_PASSED_THROUGH
    if (this.bound) {
      // An inode that is being created is not known to the kernel yet: its first open is served here.
      const writes = (flags & O_ACCMODE) !== O_RDONLY
      if (writes || first) backing.bind(nodeidLow, nodeidHigh, id, writes ? BIND_READ | BIND_WRITE : BIND_READ)
      return
    }
    // The kernel's cache has no part in it, and no flag about that cache is allowed.
    out.open_flags = this.fopenPassed
    out.backing_id = id
  }

  // Filling replies in place ------------------------------------------------------------------------------------------

  /** Writes the inode in `identity` and the scratch memory's attributes into a fuse_entry_out. */
  private fillEntry(block: Block, offset: number): void {
    const { u32 } = block
    const word = offset >>> 2
    u32[word] = this.identity.nodeidLow
    u32[word + 1] = this.identity.nodeidHigh
    u32[word + 2] = this.identity.generation
    u32[word + 3] = 0
    this.fillAttr(block, offset + 40)
  }

  /** Turns the struct statx in the scratch memory into a fuse_attr. */
  private fillAttr(block: Block, offset: number): void {
    const to = block.u32
    const from = this.scratch.u32
    const word = offset >>> 2
    to[word] = from[STX_INO]
    // Inodes of different file systems may have the same number; behind one mount they must not.
    to[word + 1] = this.isOnRootDevice() ? from[STX_INO + 1] : (from[STX_INO + 1] ^ (from[STX_DEV_MINOR] << 20)) | 0x80000000
    to[word + 2] = from[STX_SIZE]
    to[word + 3] = from[STX_SIZE + 1]
    to[word + 4] = from[STX_BLOCKS]
    to[word + 5] = from[STX_BLOCKS + 1]
    to[word + 6] = from[STX_ATIME]
    to[word + 7] = from[STX_ATIME + 1]
    to[word + 8] = from[STX_MTIME]
    to[word + 9] = from[STX_MTIME + 1]
    to[word + 10] = from[STX_CTIME]
    to[word + 11] = from[STX_CTIME + 1]
    to[word + 12] = from[STX_ATIME + 2]
    to[word + 13] = from[STX_MTIME + 2]
    to[word + 14] = from[STX_CTIME + 2]
    to[word + 15] = this.scratch.u16[STX_MODE_HALF]
    to[word + 16] = from[STX_NLINK]
    to[word + 17] = from[STX_UID]
    to[word + 18] = from[STX_GID]
    const major = from[STX_RDEV_MAJOR]
    const minor = from[STX_RDEV_MINOR]
    to[word + 19] = (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)
    to[word + 20] = from[STX_BLKSIZE]
    to[word + 21] = 0
  }
}

/** Whether a request on an open file comes without its handle: see EFUSE_CAN_NO_HANDLE. */
function hasNoHandle(request: { readonly fh_low: number; readonly fh_high: number }): boolean {
  return request.fh_high === EFUSE_FH_NONE_HALF && request.fh_low === EFUSE_FH_NONE_HALF
}

const ORDINARY = 0
const SELF = 1
const PARENT = 2
const SLASHED = 3

/** What a name is: only ordinary ones may be made, removed or followed. Kernels send no others, but for "." and "..". */
function nameKind(block: Block, offset: number, length: number): number {
  const { u8 } = block
  for (let i = 0; i < length; i++) if (u8[offset + i] === 0x2f) return SLASHED
  if (length === 0) return SLASHED
  if (u8[offset] !== 0x2e || length > 2) return ORDINARY
  return length === 1 ? SELF : u8[offset + 1] === 0x2e ? PARENT : ORDINARY
}

/** A block over shared memory, if native calls can reach all of it. */
function reachable(memory: SharedArrayBuffer): Block | null {
  return memory.byteLength < 2 ** 31 ? new Block(memory) : null
}

/** A handler's answer from a system call's result: nothing, or the error. */
function failure(result: number): number | void {
  if (result < 0) return result
}

/** The supplementary groups of a thread; none when it can't be seen from here. proc_pid_status(5) */
function groupsOf(pid: number): number[] {
  try {
    const line = /^Groups:(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
    return line === null ? [] : line[1].split(/\s+/).filter(Boolean).map(Number)
  } catch {
    return []
  }
}

/** utimensat(2)'s nanoseconds for a time that may be set, be now, or stay. */
function timeArgument(valid: number, set: number, now: number, nanoseconds: number): number {
  if ((valid & set) === 0) return UTIME_OMIT
  return valid & now ? UTIME_NOW : nanoseconds
}

function startsWith(bytes: Uint8Array, offset: number, length: number, prefix: Uint8Array): boolean {
  if (length < prefix.length) return false
  for (let i = 0; i < prefix.length; i++) if (bytes[offset + i] !== prefix[i]) return false
  return true
}

/** Removes names that only root may know from a list of them, in place. @returns the new length */
function dropTrusted(bytes: Uint8Array, offset: number, length: number): number {
  let kept = offset
  for (let name = offset; name < offset + length;) {
    const end = bytes.indexOf(0, name) + 1
    if (!startsWith(bytes, name, end - name, TRUSTED_PREFIX)) {
      bytes.copyWithin(kept, name, end)
      kept += end - name
    }
    name = end
  }
  return kept - offset
}

