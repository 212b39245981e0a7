// SPDX-License-Identifier: MIT
/**
 * System calls that Node lacks, or that must be one step: the only file that knows the addon
 * (`native-min`). Everything else in eFuse calls these functions.
 *
 * Conventions, true of every function unless its comment says otherwise:
 *
 * - The result is a number: >= 0 is the system call's own result, < 0 is `-errno`. Nothing is
 *   thrown and nothing is allocated. Errno numbers and names are in `os.constants.errno`.
 * - Memory is `(block, offset, length)`, in bytes; a path or an extended attribute's name is
 *   `(block, offset)` of its first byte and ends with a NUL inside the block. Whatever does not lie
 *   wholly inside its block, a negative offset or length, and a block that was released or whose
 *   ArrayBuffer was detached give -EFAULT, and nothing is done. No address is ever seen here.
 * - A 64-bit value is two numbers, its `low` and `high` 32 bits; the sign of either is immaterial.
 *   A 64-bit result is left in `result` until the next call of this thread.
 * - `as` names whose file access it is (see `Caller`); null is the server itself, with the umask
 *   of the process.
 * - `killPriv` makes the kernel clear suid, sgid and file capabilities as it would for an
 *   unprivileged writer: FUSE asks for that with FUSE_WRITE_KILL_SUIDGID, FUSE_OPEN_KILL_SUIDGID
 *   and FATTR_KILL_SUIDGID. It drops CAP_FSETID from this thread for the length of the call.
 * - Descriptors are created close-on-exec.
 *
 * Arguments travel through a typed array that the addon reads ("registers"): such a call costs
 * about what an empty native call does, where seven numbers as JavaScript arguments cost several
 * times that.
 */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { getSystemErrorName } from 'node:util'
import { Block } from './protocol/struct.js'

/**
 * On whose behalf a call accesses files: the thread's file-system uid and gid, its supplementary
 * groups and umask are set, the call made, and all of them restored, within one native call. If
 * they can't be set nothing is done and the error is returned (-EPERM without CAP_SETUID and
 * CAP_SETGID). Capabilities follow the uid, as credentials(7) describes for fsuid: root's right to
 * override file permissions is absent while another uid is in force.
 *
 * The thread's own credentials are read when this module is loaded: do not change them afterwards
 * (`process.setuid()` and its like).
 */
export interface Caller {
  readonly uid: number
  readonly gid: number
  /** Applied by calls that create; -1 leaves the process's umask in force. */
  readonly umask: number
  /** Supplementary groups; null when they are unknown, and then the caller has none. */
  readonly groups: Uint32Array | null
  /** How many of `groups` count, at most 65,536. */
  readonly groupCount: number
  /**
   * Whether the caller's permissions have been checked already, as the kernel does for mounts with
   * `default_permissions`: then the ids decide who owns what is created, and the server's own
   * capabilities what is allowed (CAP_FSETID excepted). The caller may have groups and capabilities
   * of which the server knows nothing.
   */
  readonly allowed?: boolean
}

/** Values from the C headers this machine's addon was compiled with: several differ between x86-64 and arm64. */
export type ConstantName =
  | `O_${'RDONLY' | 'WRONLY' | 'RDWR' | 'ACCMODE' | 'CREAT' | 'EXCL' | 'NOCTTY' | 'TRUNC' | 'APPEND' | 'NONBLOCK'
    | 'DSYNC' | 'SYNC' | 'DIRECT' | 'LARGEFILE' | 'DIRECTORY' | 'NOFOLLOW' | 'NOATIME' | 'CLOEXEC' | 'PATH' | 'TMPFILE'}`
  | `AT_${'FDCWD' | 'SYMLINK_NOFOLLOW' | 'SYMLINK_FOLLOW' | 'REMOVEDIR' | 'EACCESS' | 'EMPTY_PATH' | 'NO_AUTOMOUNT'
    | 'STATX_SYNC_AS_STAT' | 'STATX_FORCE_SYNC' | 'STATX_DONT_SYNC' | 'RECURSIVE' | 'HANDLE_FID'
    | 'HANDLE_MNT_ID_UNIQUE'}`
  | `STATX_${'TYPE' | 'MODE' | 'NLINK' | 'UID' | 'GID' | 'ATIME' | 'MTIME' | 'CTIME' | 'INO' | 'SIZE' | 'BLOCKS'
    | 'BASIC_STATS' | 'BTIME' | 'MNT_ID' | 'DIOALIGN' | 'MNT_ID_UNIQUE'}`
  | `RENAME_${'NOREPLACE' | 'EXCHANGE' | 'WHITEOUT'}`
  | `RESOLVE_${'NO_XDEV' | 'NO_MAGICLINKS' | 'NO_SYMLINKS' | 'BENEATH' | 'IN_ROOT' | 'CACHED'}`
  | `S_${'IFMT' | 'IFREG' | 'IFDIR' | 'IFLNK' | 'IFCHR' | 'IFBLK' | 'IFIFO' | 'IFSOCK' | 'ISUID' | 'ISGID' | 'ISVTX'}`
  | `DT_${'UNKNOWN' | 'REG' | 'DIR' | 'LNK' | 'CHR' | 'BLK' | 'FIFO' | 'SOCK'}`
  | `${'F' | 'R' | 'W' | 'X'}_OK`
  | `SEEK_${'SET' | 'CUR' | 'END' | 'DATA' | 'HOLE'}`
  | `FALLOC_FL_${'KEEP_SIZE' | 'PUNCH_HOLE' | 'COLLAPSE_RANGE' | 'ZERO_RANGE' | 'INSERT_RANGE' | 'UNSHARE_RANGE'}`
  | `UTIME_${'NOW' | 'OMIT'}`
  | `XATTR_${'CREATE' | 'REPLACE'}`
  | `LOCK_${'SH' | 'EX' | 'NB' | 'UN'}`
  | `F_${'OFD_GETLK' | 'OFD_SETLK' | 'OFD_SETLKW' | 'RDLCK' | 'WRLCK' | 'UNLCK'}`
  | `MS_${'RDONLY' | 'NOSUID' | 'NODEV' | 'NOEXEC' | 'SYNCHRONOUS' | 'REMOUNT' | 'MANDLOCK' | 'DIRSYNC' | 'NOSYMFOLLOW'
    | 'NOATIME' | 'NODIRATIME' | 'BIND' | 'MOVE' | 'REC' | 'SILENT' | 'POSIXACL' | 'UNBINDABLE' | 'PRIVATE' | 'SLAVE'
    | 'SHARED' | 'RELATIME' | 'I_VERSION' | 'STRICTATIME' | 'LAZYTIME'}`
  | `MNT_${'FORCE' | 'DETACH' | 'EXPIRE'}`
  | 'UMOUNT_NOFOLLOW'
  | `MOUNT_ATTR_${'RDONLY' | 'NOSUID' | 'NODEV' | 'NOEXEC' | '_ATIME' | 'RELATIME' | 'NOATIME' | 'STRICTATIME'
    | 'NODIRATIME' | 'NOSYMFOLLOW'}`
  | `CAP_${'CHOWN' | 'DAC_OVERRIDE' | 'DAC_READ_SEARCH' | 'FOWNER' | 'FSETID' | 'SETGID' | 'SETUID' | 'MKNOD'
    | 'SYS_ADMIN' | 'SYS_RESOURCE' | 'SETFCAP' | 'PERFMON' | 'BPF'}`

/** A native function that finds its arguments in the registers and leaves its result in register 0. */
type RegisterCall = () => void

/** The calls in the addon's tables; `native-min/README.md` says why each is there. */
type RegisterCallName =
  | 'noop' | 'discard' | 'discardInside' | 'uncountInside'
  | 'read' | 'write' | 'replyAndReceive' | 'ioctl' | 'ioctlValue' | 'setNonBlocking'
  | 'pollClose' | 'pollRef' | 'pollUnref' | 'pollPause' | 'pollResume'
  | 'threadId' | 'signalThread' | 'setAffinity' | 'getCpu' | 'unshareFs' | 'sleepMicroseconds'
  | 'dropCapability' | 'effectiveCapabilities' | 'raiseFileLimit' | 'fileLimit' | 'closeOnExecFrom'
  | 'openat' | 'openat2' | 'reopen' | 'close' | 'dup' | 'statx' | 'fstatx'
  | 'nameToHandle' | 'handleOf' | 'openByHandle'
  | 'mkdirat' | 'mknodat' | 'symlinkat' | 'linkat' | 'linkFd' | 'renameat2' | 'unlinkat'
  | 'readlinkat' | 'readlinkFd' | 'faccessat2' | 'faccess' | 'fchmod' | 'fchown' | 'utimens'
  | 'truncate' | 'ftruncate' | 'pread' | 'pwrite' | 'lseek' | 'fallocate' | 'copyFileRange' | 'getdents64'
  | 'fsync' | 'fdatasync' | 'syncfs' | 'fstatfs'
  | 'getxattr' | 'listxattr' | 'setxattr' | 'removexattr' | 'flock' | 'fcntlLock'
  | 'makePrivate' | 'mountSetAttr' | 'fanotifyInit' | 'fanotifyMark' | 'receiveFd' | 'socketPair'
  | 'bpf' | 'bpfClose' | 'bpfDuplicate' | 'bpfReplace' | 'bpfPlaceholder' | 'perfEventOpen'
  | 'bpfMapOpen' | 'bpfMapClose' | 'bpfMapElement'
  | 'uringSetup' | 'uringEnter' | 'uringRegisterRing' | 'uringRegisterFile' | 'uringPlaceBuffers'
  | 'uringRegisterBuffers' | 'uringPlaceRange'

type Addon = Record<RegisterCallName, RegisterCall> & {
  readonly registers: Int32Array
  readonly groups: Uint32Array
  readonly constants: Readonly<Record<ConstantName, number>>
  allocate(bytes: number, lasting: boolean): { id: number; buffer: ArrayBuffer } | number
  mapDevice(fd: number, offsetLow: number, offsetHigh: number, length: number, populate: boolean):
    { id: number; buffer: ArrayBuffer } | number
  mapReadOnly(fd: number, offset: number, length: number): { id: number; buffer: ArrayBuffer } | number
  bpfRefusal(): string
  bpfCommandTable(): BpfCommandRow[]
  register(bytes: Uint8Array): number
  release(id: number, buffer: ArrayBufferLike): void
  pollStart(fd: number, callback: (status: number) => void): number
  openDevice(path: string): number
  cpuList(): number[] | number
  mount(source: string, target: string, type: string, flags: number, data: string): number
  umount2(target: string, flags: number): number
  openTreeClone(path: string, recursive: boolean): number
}

function load(): Addon {
  const path = fileURLToPath(new URL('../../native-min/build/efuse_native.node', import.meta.url))
  try {
    // A copy: V8 keeps an object that native code filled as a hash table, 8 ns slower on each call.
    return { ...createRequire(import.meta.url)(path) } as Addon
  } catch (cause) {
    throw new Error(`eFuse's native addon can't be loaded (${path}): run "npm run build:native"`, { cause })
  }
}

const addon = load()
export const constants = addon.constants

// The layout of the registers; native-min/thread.h has its other half. Arguments begin at 1.
const registers = addon.registers
const groups = addon.groups
const RESULT = 0
const LOW = 16
const HIGH = 17
const AS = 18
const UID = 19
const GID = 20
const UMASK = 21
const GROUP_COUNT = 22
const KILL_PRIV = 23
const ALLOWED = 24

const NO_SUCH_BLOCK = -1

/** What the last call of this thread left besides its result; each function says what that is. */
export const result = {
  /** Low 32 bits of a 64-bit result, unsigned. */
  get low(): number { return registers[LOW] >>> 0 },
  /** High 32 bits of a 64-bit result, unsigned. */
  get high(): number { return registers[HIGH] >>> 0 },
  /** The 64-bit result, exact up to 2^53. */
  get value(): number { return (registers[LOW] >>> 0) + (registers[HIGH] >>> 0) * 4294967296 },
  /** What `replyAndReceive`'s write returned: bytes, -errno, or 0 when there was no reply. */
  get write(): number { return registers[LOW] },
  /** When the request of `replyAndReceive` was there: 1 at once, more: so many looks later, 0 after sleep, or never. */
  get looks(): number { return registers[HIGH] },
}

/** A detached buffer's views have length 0: the cheapest way to notice, on each use. */
function idOf(block: Block): number {
  const id = block.nativeId
  return id !== 0 && block.u8.length !== 0 ? id : firstUse(block)
}

function firstUse(block: Block): number {
  if (block.u8.length === 0) return NO_SUCH_BLOCK
  register(block)
  return block.nativeId
}

function setCaller(as: Caller | null): void {
  if (as === null) {
    registers[AS] = 0
    return
  }
  registers[AS] = 1
  registers[UID] = as.uid
  registers[GID] = as.gid
  registers[UMASK] = as.umask
  registers[ALLOWED] = as.allowed === true ? 1 : 0
  const list = as.groups
  if (list === null) {
    registers[GROUP_COUNT] = 0
    return
  }
  const count = as.groupCount
  // A count beyond the list must not become group 0; the addon refuses a negative one.
  registers[GROUP_COUNT] = count <= list.length ? count : -1
  for (let i = 0; i < count && i < list.length; i++) groups[i] = list[i]
}

function systemError(errno: number, syscall: string): NodeJS.ErrnoException {
  const code = getSystemErrorName(errno)
  return Object.assign(new Error(`${syscall}: ${code}`), { errno, code, syscall })
}

// Memory -----------------------------------------------------------------------------------------

function mapped(answer: { id: number; buffer: ArrayBuffer } | number): Block {
  if (typeof answer === 'number') throw systemError(answer, 'mmap')
  const block = new Block(answer.buffer)
  block.nativeId = answer.id
  return block
}

/**
 * Anonymous memory: page-aligned, zeroed, given out page by page when first touched and not
 * counted against the machine's overcommit limit before. It is unmapped by `release`, or when
 * nothing refers to its ArrayBuffer. mmap(2).
 *
 * @param bytes 1 to 2^31 - 4096, rounded up to whole pages
 * @param lasting true: only `release` unmaps it. For what the kernel writes to by itself: memory of a thread that dies may
 *   belong to somebody else before the kernel has heard of it
 * @throws Error with `code` and `errno`
 */
export function allocate(bytes: number, lasting = false): Block {
  return mapped(addon.allocate(bytes, lasting))
}

/**
 * Maps memory shared with a device or a ring (`MAP_SHARED`, read and write), as io_uring's rings
 * are. Not for ordinary files: one that is truncated while mapped makes JavaScript crash (SIGBUS).
 * Unmapped as by `allocate`; the descriptor may be closed before. mmap(2).
 *
 * @param length bytes, 1 to 2^31 - 4096, rounded up to whole pages
 * @param populate true to fault all pages in now
 * @throws Error with `code` and `errno`
 */
export function mapDevice(fd: number, offsetLow: number, offsetHigh: number, length: number, populate: boolean): Block {
  return mapped(addon.mapDevice(fd, offsetLow, offsetHigh, length, populate))
}

/**
 * Maps memory that the kernel alone writes, such as a BPF ring buffer's records. Writing to it from JavaScript
 * ends the process (SIGSEGV): whoever calls this must not hand the block on. Otherwise as `mapDevice`.
 *
 * @param offset bytes, a multiple of the page size
 * @throws Error with `code` and `errno`
 */
export function mapReadOnly(fd: number, offset: number, length: number): Block {
  return mapped(addon.mapReadOnly(fd, offset, length))
}

/**
 * Makes an ordinary (or shared) ArrayBuffer's block known to the addon; the other functions do so
 * themselves on first use. The registration ends when the block is collected, and holds nothing
 * alive. Detaching the buffer (transfer to a worker) is noticed on the next use: -EFAULT.
 *
 * @throws RangeError when the buffer is empty, longer than 2^31 - 1 bytes, or resizable
 */
export function register(block: Block): void {
  if (block.nativeId !== 0) return
  const buffer = block.buffer as { resizable?: boolean; growable?: boolean }
  const id = buffer.resizable || buffer.growable ? 0 : addon.register(block.u8)
  if (id <= 0) throw new RangeError('a block must be of fixed size, 1 to 2^31 - 1 bytes')
  block.nativeId = id
}

/**
 * Ends the use of a block by this module: afterwards every call with it gives -EFAULT. Memory from
 * `allocate` and `mapDevice` is unmapped at once and its ArrayBuffer detached.
 */
export function release(block: Block): void {
  if (block.nativeId > 0 && block.u8.length !== 0) addon.release(block.nativeId, block.buffer)
  block.nativeId = NO_SUCH_BLOCK
}

/**
 * Gives pages back to the kernel; they read as zeros afterwards (`MADV_DONTNEED`). madvise(2).
 * Only for blocks from `allocate`: -EINVAL for others.
 *
 * @param offset a multiple of the page size, else -EINVAL
 * @param length bytes; whole pages are given back, the last one included
 */
export function discard(block: Block, offset: number, length: number): number {
  registers[1] = idOf(block)
  registers[2] = offset
  registers[3] = length
  addon.discard()
  return registers[RESULT]
}

/**
 * Gives the pages that lie wholly inside a range back to the kernel; they read as zeros afterwards, the
 * rest of the range stays. For large ArrayBuffers and SharedArrayBuffers made by JavaScript, whose memory
 * is private and anonymous. madvise(2), `MADV_DONTNEED`
 */
export function discardInside(block: Block, offset: number, length: number): number {
  registers[1] = idOf(block)
  registers[2] = offset
  registers[3] = length
  addon.discardInside()
  return registers[RESULT]
}

/**
 * Has the kernel no longer count the pages that lie wholly inside a range against the machine's overcommit limit; they
 * read as zeros afterwards. For large SharedArrayBuffers, just made and hardly used in full: V8 frees them late, and
 * once those that lie side by side are larger than the machine's memory, fork(2) fails. mmap(2), `MAP_NORESERVE`
 */
export function uncountInside(block: Block, offset: number, length: number): number {
  registers[1] = idOf(block)
  registers[2] = offset
  registers[3] = length
  addon.uncountInside()
  return registers[RESULT]
}

// The device -------------------------------------------------------------------------------------

/** Does nothing, natively: the floor under the cost of every call here. */
export function noop(): number {
  addon.noop()
  return registers[RESULT]
}

/** Opens a device such as /dev/fuse, `O_RDWR | O_CLOEXEC`. open(2). @returns a descriptor or -errno */
export function openDevice(path: string): number {
  return addon.openDevice(path)
}

/**
 * read(2). Blocks this thread as the descriptor does: `signalThread` makes it return -EINTR.
 * From /dev/fuse: -ENODEV once unmounted, -ECONNABORTED once aborted (older kernels: -ENODEV),
 * -ENOENT when the request was taken back, -EAGAIN when non-blocking and nothing is there.
 */
export function read(fd: number, block: Block, offset: number, length: number): number {
  registers[1] = fd
  registers[2] = idOf(block)
  registers[3] = offset
  registers[4] = length
  addon.read()
  return registers[RESULT]
}

/** write(2). To /dev/fuse: -ENOENT when nobody waits for the reply any more. */
export function write(fd: number, block: Block, offset: number, length: number): number {
  registers[1] = fd
  registers[2] = idOf(block)
  registers[3] = offset
  registers[4] = length
  addon.write()
  return registers[RESULT]
}

/**
 * Writes a reply (if `replyLength` > 0), then reads the next request, in one native call. The read
 * is tried whatever became of the write: a reply that nobody waits for is not an error of the
 * connection. Both ranges are checked before either happens.
 *
 * After -EINTR or -EAGAIN the reply has been delivered: go on with `replyLength` 0.
 *
 * With `busy` or `patience` the descriptor is to be O_NONBLOCK. When it has nothing to read, the call looks again for a
 * while and then sleeps; without, it is one read(2), which sleeps or not as the descriptor has it.
 *
 * @param busy nanoseconds to look, below 2^31
 * @param patience microseconds to sleep at most; -1 with `busy`: until there is something
 * @returns what read(2) returned; what write(2) returned is in `result.write`, how often it looked before there was
 *   a request in `result.looks`
 */
export function replyAndReceive(
  fd: number, block: Block, replyOffset: number, replyLength: number, requestOffset: number, requestCapacity: number,
  busy = 0, patience = 0,
): number {
  registers[1] = fd
  registers[2] = idOf(block)
  registers[3] = replyOffset
  registers[4] = replyLength
  registers[5] = requestOffset
  registers[6] = requestCapacity
  registers[7] = busy
  registers[8] = patience
  addon.replyAndReceive()
  return registers[RESULT]
}

/**
 * ioctl(2) with a pointer argument.
 *
 * @param request when it encodes a direction and a size (`_IOR`, `_IOW`, `_IOWR`), a size above
 *   `length` gives -EFAULT. Older requests encode none: then `length` is the caller's word. Requests
 *   whose struct holds further pointers can't be made.
 * @param length bytes that the kernel may read or write at `offset`
 */
export function ioctl(fd: number, request: number, block: Block, offset: number, length: number): number {
  registers[1] = fd
  registers[2] = request
  registers[3] = idOf(block)
  registers[4] = offset
  registers[5] = length
  addon.ioctl()
  return registers[RESULT]
}

/**
 * ioctl(2) with an integer argument. A request that encodes a direction takes a pointer: -EFAULT.
 *
 * @param value 32 bits, unsigned
 */
export function ioctlValue(fd: number, request: number, value: number): number {
  registers[1] = fd
  registers[2] = request
  registers[3] = value
  addon.ioctlValue()
  return registers[RESULT]
}

/** Sets or clears O_NONBLOCK, which belongs to the open file and so to all duplicates. fcntl(2). */
export function setNonBlocking(fd: number, on: boolean): number {
  registers[1] = fd
  registers[2] = on ? 1 : 0
  addon.setNonBlocking()
  return registers[RESULT]
}

// The event loop ---------------------------------------------------------------------------------

/** A descriptor watched by this thread's event loop, until `close`; a worker's end closes it too. */
export class Poller {
  readonly #id: number

  /** Use `pollReadable`. */
  constructor(id: number) {
    this.#id = id
  }

  /** Stops watching; the callback is not called again. Close the poller before its descriptor. */
  close(): void {
    this.#call(addon.pollClose)
  }

  /** Lets the event loop stay alive for this poller (it does from the start). */
  ref(): this {
    return this.#call(addon.pollRef)
  }

  /** Lets the event loop end although this poller is open. */
  unref(): this {
    return this.#call(addon.pollUnref)
  }

  /** No callbacks until `resume`; the descriptor stays watched. */
  pause(): this {
    return this.#call(addon.pollPause)
  }

  /** Callbacks again, at once if there is something to read. */
  resume(): this {
    return this.#call(addon.pollResume)
  }

  #call(native: RegisterCall): this {
    registers[1] = this.#id
    native()
    return this
  }
}

/**
 * Calls back whenever a descriptor is readable or hung up (level-triggered: read until -EAGAIN or
 * it comes again). Sets O_NONBLOCK on it, as libuv's uv_poll does.
 *
 * @param callback `status` is 0, or -EBADF when the descriptor reports an error (a FUSE connection
 *   that ended does): polling has stopped then, and a read tells why
 * @throws Error with `code` and `errno`: EPERM for files that can't be polled, EEXIST when this loop
 *   watches the descriptor already
 */
export function pollReadable(fd: number, callback: (status: number) => void): Poller {
  const id = addon.pollStart(fd, callback)
  if (id < 0) throw systemError(id, 'uv_poll')
  return new Poller(id)
}

// Threads and process ----------------------------------------------------------------------------

/** gettid(2) */
export function threadId(): number {
  addon.threadId()
  return registers[RESULT]
}

/**
 * Makes a system call that another thread of this process blocks in return -EINTR: sends a
 * real-time signal whose handler does nothing. A thread that has not blocked yet misses it, so
 * repeat until the thread says that it has seen what you want it to see. tgkill(2).
 */
export function signalThread(tid: number): number {
  registers[1] = tid
  addon.signalThread()
  return registers[RESULT]
}

/** Pins the calling thread to one CPU. sched_setaffinity(2) */
export function setAffinity(cpu: number): number {
  registers[1] = cpu
  addon.setAffinity()
  return registers[RESULT]
}

/** The CPU the calling thread runs on now. sched_getcpu(3) */
export function getCpu(): number {
  addon.getCpu()
  return registers[RESULT]
}

/** The CPUs that the calling thread may use, ascending. sched_getaffinity(2). @throws Error with `code` */
export function cpuList(): number[] {
  const cpus = addon.cpuList()
  if (typeof cpus === 'number') throw systemError(cpus, 'sched_getaffinity')
  return cpus
}

/**
 * Gives the calling thread its own working directory, root and umask (`CLONE_FS`), so that a
 * caller's umask does not show in other threads. Once per worker. unshare(2)
 */
export function unshareFs(): number {
  addon.unshareFs()
  return registers[RESULT]
}

/** Blocks the thread, up to 2^31 - 1 us; -EINTR when a signal ends it early. clock_nanosleep(2) */
export function sleepMicroseconds(microseconds: number): number {
  registers[1] = microseconds
  addon.sleepMicroseconds()
  return registers[RESULT]
}

/**
 * Removes a capability (`constants.CAP_*`) from the calling thread's effective set, for good:
 * calls made `as` someone else do not bring it back. capset(2)
 */
export function dropCapability(capability: number): number {
  registers[1] = capability
  addon.dropCapability()
  return registers[RESULT]
}

/** The calling thread's effective capabilities, bit n for capability n, in `result`. capget(2) */
export function effectiveCapabilities(): number {
  addon.effectiveCapabilities()
  return registers[RESULT]
}

/**
 * Raises the limit on open descriptors to `limit`, the hard limit with it where that is allowed
 * (CAP_SYS_RESOURCE, fs.nr_open); otherwise as far as the hard limit. Never lowers it. prlimit(2)
 *
 * @returns the soft limit now in force (at most 2^31 - 1), or -errno
 */
export function raiseFileLimit(limit: number): number {
  registers[1] = limit
  addon.raiseFileLimit()
  return registers[RESULT]
}

/** The soft limit on open descriptors, at most 2^31 - 1. prlimit(2) */
export function fileLimit(): number {
  addon.fileLimit()
  return registers[RESULT]
}

/** Marks every descriptor from `fd` up close-on-exec. close_range(2), Linux 5.11: else -ENOSYS or -EINVAL */
export function closeOnExecFrom(fd: number): number {
  registers[1] = fd
  addon.closeOnExecFrom()
  return registers[RESULT]
}

// Files: opening ---------------------------------------------------------------------------------

/** openat(2), with O_CLOEXEC and O_NOCTTY. @param mode of a new file, before the umask. @returns a descriptor */
export function openat(
  dirfd: number, block: Block, path: number, flags: number, mode: number, as: Caller | null, killPriv = false,
): number {
  registers[1] = dirfd
  registers[2] = idOf(block)
  registers[3] = path
  registers[4] = flags
  registers[5] = mode
  registers[KILL_PRIV] = killPriv ? 1 : 0
  setCaller(as)
  addon.openat()
  return registers[RESULT]
}

/**
 * openat2(2), with O_CLOEXEC and O_NOCTTY. Unknown flags and a mode without O_CREAT give -EINVAL.
 *
 * @param resolve `constants.RESOLVE_*`
 */
export function openat2(
  dirfd: number, block: Block, path: number, flags: number, mode: number, resolve: number, as: Caller | null = null,
): number {
  registers[1] = dirfd
  registers[2] = idOf(block)
  registers[3] = path
  registers[4] = flags
  registers[5] = mode
  registers[6] = resolve
  setCaller(as)
  addon.openat2()
  return registers[RESULT]
}

/**
 * Opens anew the file behind a descriptor, which may be an O_PATH one, through /proc/self/fd.
 * O_NOFOLLOW and O_CREAT in `flags` are ignored: no name is looked up. A symbolic link gives
 * -ELOOP, a bad descriptor -EBADF. open(2), proc_pid_fd(5)
 */
export function reopen(fd: number, flags: number, as: Caller | null = null, killPriv = false): number {
  registers[1] = fd
  registers[2] = flags
  registers[KILL_PRIV] = killPriv ? 1 : 0
  setCaller(as)
  addon.reopen()
  return registers[RESULT]
}

/** close(2). The descriptor is gone whatever the result. */
export function close(fd: number): number {
  registers[1] = fd
  addon.close()
  return registers[RESULT]
}

/** A second descriptor of the same open file (`F_DUPFD_CLOEXEC`). fcntl(2) */
export function dup(fd: number): number {
  registers[1] = fd
  addon.dup()
  return registers[RESULT]
}

// Files: attributes ------------------------------------------------------------------------------

/**
 * statx(2): writes a `struct statx`, 256 bytes.
 *
 * @param flags `constants.AT_*`; the path may be empty with AT_EMPTY_PATH
 * @param mask `constants.STATX_*`
 */
export function statx(
  dirfd: number, block: Block, path: number, flags: number, mask: number, outBlock: Block, outOffset: number,
): number {
  registers[1] = dirfd
  registers[2] = idOf(block)
  registers[3] = path
  registers[4] = flags
  registers[5] = mask
  registers[6] = idOf(outBlock)
  registers[7] = outOffset
  addon.statx()
  return registers[RESULT]
}

/**
 * statx(2) of the file behind a descriptor, which may be an O_PATH one (AT_EMPTY_PATH is added to `flags`). Basic
 * statistics alone, without flags, come from fstat(2), which is cheaper: then nothing behind `stx_dev_minor` is written.
 */
export function fstatx(fd: number, flags: number, mask: number, outBlock: Block, outOffset: number): number {
  registers[1] = fd
  registers[2] = flags
  registers[3] = mask
  registers[4] = idOf(outBlock)
  registers[5] = outOffset
  addon.fstatx()
  return registers[RESULT]
}

/**
 * access(2)'s question, asked for `as` (with effective credentials: AT_EACCESS is added). faccessat2(2)
 *
 * @param mode `constants.R_OK | W_OK | X_OK`, or F_OK
 */
export function faccessat2(
  dirfd: number, block: Block, path: number, mode: number, flags: number, as: Caller | null,
): number {
  registers[1] = dirfd
  registers[2] = idOf(block)
  registers[3] = path
  registers[4] = mode
  registers[5] = flags
  setCaller(as)
  addon.faccessat2()
  return registers[RESULT]
}

/** `faccessat2` of the file behind a descriptor, which may be an O_PATH one. */
export function faccess(fd: number, mode: number, as: Caller | null): number {
  registers[1] = fd
  registers[2] = mode
  setCaller(as)
  addon.faccess()
  return registers[RESULT]
}

/**
 * Changes the mode of the file behind a descriptor, which may be an O_PATH one. A symbolic link
 * has none: -EOPNOTSUPP. fchmodat2(2); before Linux 6.6, chmod(2) of /proc/self/fd
 */
export function fchmod(fd: number, mode: number, as: Caller | null = null): number {
  registers[1] = fd
  registers[2] = mode
  setCaller(as)
  addon.fchmod()
  return registers[RESULT]
}

/**
 * Changes owner and group of the file (a symbolic link too) behind a descriptor, which may be an
 * O_PATH one; -1 leaves an id as it is. fchownat(2)
 */
export function fchown(fd: number, uid: number, gid: number, as: Caller | null = null): number {
  registers[1] = fd
  registers[2] = uid
  registers[3] = gid
  setCaller(as)
  addon.fchown()
  return registers[RESULT]
}

/**
 * Sets access and modification time of the file (a symbolic link too) behind a descriptor, which
 * may be an O_PATH one. Times are signed 64-bit seconds and nanoseconds; `constants.UTIME_NOW` and
 * `UTIME_OMIT` as nanoseconds mean the present and leave as it is. utimensat(2), Linux 5.8
 */
export function utimens(
  fd: number,
  atimeLow: number, atimeHigh: number, atimeNsec: number,
  mtimeLow: number, mtimeHigh: number, mtimeNsec: number,
  as: Caller | null = null,
): number {
  registers[1] = fd
  registers[2] = atimeLow
  registers[3] = atimeHigh
  registers[4] = atimeNsec
  registers[5] = mtimeLow
  registers[6] = mtimeHigh
  registers[7] = mtimeNsec
  setCaller(as)
  addon.utimens()
  return registers[RESULT]
}

/** Sets the size of the file behind a descriptor, which may be an O_PATH one, checking `as`'s right to write. truncate(2) */
export function truncate(fd: number, low: number, high: number, as: Caller | null = null, killPriv = false): number {
  registers[1] = fd
  registers[2] = low
  registers[3] = high
  registers[KILL_PRIV] = killPriv ? 1 : 0
  setCaller(as)
  addon.truncate()
  return registers[RESULT]
}

/** Sets the size of a file open for writing. ftruncate(2) */
export function ftruncate(fd: number, low: number, high: number, killPriv = false): number {
  registers[1] = fd
  registers[2] = low
  registers[3] = high
  registers[KILL_PRIV] = killPriv ? 1 : 0
  addon.ftruncate()
  return registers[RESULT]
}

/**
 * Writes the statistics of the file system that a descriptor (O_PATH too) is on, as a
 * `struct fuse_kstatfs`: 80 bytes, the padding zeroed. fstatfs(2)
 */
export function fstatfs(fd: number, outBlock: Block, outOffset: number): number {
  registers[1] = fd
  registers[2] = idOf(outBlock)
  registers[3] = outOffset
  addon.fstatfs()
  return registers[RESULT]
}

// Files: handles ---------------------------------------------------------------------------------

/**
 * Writes a `struct file_handle` (u32 handle_bytes, i32 handle_type, the handle) that finds the file
 * again without its name. name_to_handle_at(2)
 *
 * The mount id is left in `result`: 32 bits, or 64 with AT_HANDLE_MNT_ID_UNIQUE (Linux 6.12).
 *
 * @param capacity bytes at `outOffset`, the 8 of the header included; 136 always suffice. When too
 *   few: -EOVERFLOW, and handle_bytes says how many the handle takes
 */
export function nameToHandle(
  dirfd: number, block: Block, path: number, flags: number, outBlock: Block, outOffset: number, capacity: number,
): number {
  registers[1] = dirfd
  registers[2] = idOf(block)
  registers[3] = path
  registers[4] = flags
  registers[5] = idOf(outBlock)
  registers[6] = outOffset
  registers[7] = capacity
  addon.nameToHandle()
  return registers[RESULT]
}

/** `nameToHandle` of the file behind a descriptor, which may be an O_PATH one (AT_EMPTY_PATH is added to `flags`). */
export function handleOf(fd: number, flags: number, outBlock: Block, outOffset: number, capacity: number): number {
  registers[1] = fd
  registers[2] = flags
  registers[3] = idOf(outBlock)
  registers[4] = outOffset
  registers[5] = capacity
  addon.handleOf()
  return registers[RESULT]
}

/**
 * Opens the file that a `struct file_handle` names; -ESTALE when it is gone. Needs
 * CAP_DAC_READ_SEARCH. open_by_handle_at(2)
 *
 * @param mountFd any descriptor on the handle's file system, not an O_PATH one
 */
export function openByHandle(mountFd: number, block: Block, offset: number, flags: number): number {
  registers[1] = mountFd
  registers[2] = idOf(block)
  registers[3] = offset
  registers[4] = flags
  addon.openByHandle()
  return registers[RESULT]
}

// Files: names -----------------------------------------------------------------------------------

/** mkdirat(2). @param mode before the umask */
export function mkdirat(dirfd: number, block: Block, path: number, mode: number, as: Caller | null): number {
  registers[1] = dirfd
  registers[2] = idOf(block)
  registers[3] = path
  registers[4] = mode
  setCaller(as)
  addon.mkdirat()
  return registers[RESULT]
}

/**
 * mknodat(2).
 *
 * @param mode type and permissions, before the umask. Devices need CAP_MKNOD, which a caller who
 *   is not root lacks
 * @param device in the kernel's 32-bit encoding, as fuse_mknod_in.rdev is
 */
export function mknodat(
  dirfd: number, block: Block, path: number, mode: number, device: number, as: Caller | null,
): number {
  registers[1] = dirfd
  registers[2] = idOf(block)
  registers[3] = path
  registers[4] = mode
  registers[5] = device
  setCaller(as)
  addon.mknodat()
  return registers[RESULT]
}

/** symlinkat(2) */
export function symlinkat(
  targetBlock: Block, target: number, dirfd: number, block: Block, path: number, as: Caller | null,
): number {
  registers[1] = idOf(targetBlock)
  registers[2] = target
  registers[3] = dirfd
  registers[4] = idOf(block)
  registers[5] = path
  setCaller(as)
  addon.symlinkat()
  return registers[RESULT]
}

/** linkat(2) */
export function linkat(
  oldDirfd: number, oldBlock: Block, oldPath: number, newDirfd: number, newBlock: Block, newPath: number,
  flags: number, as: Caller | null,
): number {
  registers[1] = oldDirfd
  registers[2] = idOf(oldBlock)
  registers[3] = oldPath
  registers[4] = newDirfd
  registers[5] = idOf(newBlock)
  registers[6] = newPath
  registers[7] = flags
  setCaller(as)
  addon.linkat()
  return registers[RESULT]
}

/**
 * Gives the file (a symbolic link too) behind a descriptor, which may be an O_PATH one, a further
 * name. linkat(2) with AT_EMPTY_PATH, and where the caller lacks CAP_DAC_READ_SEARCH through
 * /proc/self/fd.
 */
export function linkFd(fd: number, newDirfd: number, block: Block, path: number, as: Caller | null): number {
  registers[1] = fd
  registers[2] = newDirfd
  registers[3] = idOf(block)
  registers[4] = path
  setCaller(as)
  addon.linkFd()
  return registers[RESULT]
}

/** renameat2(2). @param flags `constants.RENAME_*` */
export function renameat2(
  oldDirfd: number, oldBlock: Block, oldPath: number, newDirfd: number, newBlock: Block, newPath: number,
  flags: number, as: Caller | null,
): number {
  registers[1] = oldDirfd
  registers[2] = idOf(oldBlock)
  registers[3] = oldPath
  registers[4] = newDirfd
  registers[5] = idOf(newBlock)
  registers[6] = newPath
  registers[7] = flags
  setCaller(as)
  addon.renameat2()
  return registers[RESULT]
}

/** unlinkat(2). @param flags 0, or `constants.AT_REMOVEDIR` */
export function unlinkat(dirfd: number, block: Block, path: number, flags: number, as: Caller | null): number {
  registers[1] = dirfd
  registers[2] = idOf(block)
  registers[3] = path
  registers[4] = flags
  setCaller(as)
  addon.unlinkat()
  return registers[RESULT]
}

/** readlinkat(2). @returns the target's length; no NUL is written, and what exceeds `capacity` is cut off */
export function readlinkat(
  dirfd: number, block: Block, path: number, outBlock: Block, outOffset: number, capacity: number,
): number {
  registers[1] = dirfd
  registers[2] = idOf(block)
  registers[3] = path
  registers[4] = idOf(outBlock)
  registers[5] = outOffset
  registers[6] = capacity
  addon.readlinkat()
  return registers[RESULT]
}

/** `readlinkat` of the symbolic link behind an `O_PATH | O_NOFOLLOW` descriptor. */
export function readlinkFd(fd: number, outBlock: Block, outOffset: number, capacity: number): number {
  registers[1] = fd
  registers[2] = idOf(outBlock)
  registers[3] = outOffset
  registers[4] = capacity
  addon.readlinkFd()
  return registers[RESULT]
}

// Files: data ------------------------------------------------------------------------------------

/** pread(2). @param low of the position in the file. @param high of it */
export function pread(fd: number, block: Block, offset: number, length: number, low: number, high: number): number {
  registers[1] = fd
  registers[2] = idOf(block)
  registers[3] = offset
  registers[4] = length
  registers[5] = low
  registers[6] = high
  addon.pread()
  return registers[RESULT]
}

/** pwrite(2). @param low of the position in the file. @param high of it */
export function pwrite(
  fd: number, block: Block, offset: number, length: number, low: number, high: number,
  as: Caller | null = null, killPriv = false,
): number {
  registers[1] = fd
  registers[2] = idOf(block)
  registers[3] = offset
  registers[4] = length
  registers[5] = low
  registers[6] = high
  registers[KILL_PRIV] = killPriv ? 1 : 0
  setCaller(as)
  addon.pwrite()
  return registers[RESULT]
}

/** lseek(2), SEEK_DATA and SEEK_HOLE included. @returns 0 or -errno; the position is in `result` */
export function lseek(fd: number, low: number, high: number, whence: number): number {
  registers[1] = fd
  registers[2] = low
  registers[3] = high
  registers[4] = whence
  addon.lseek()
  return registers[RESULT]
}

/** fallocate(2). @param mode 0 or `constants.FALLOC_FL_*` */
export function fallocate(
  fd: number, mode: number, offsetLow: number, offsetHigh: number, lengthLow: number, lengthHigh: number,
  killPriv = false,
): number {
  registers[1] = fd
  registers[2] = mode
  registers[3] = offsetLow
  registers[4] = offsetHigh
  registers[5] = lengthLow
  registers[6] = lengthHigh
  registers[KILL_PRIV] = killPriv ? 1 : 0
  addon.fallocate()
  return registers[RESULT]
}

/**
 * copy_file_range(2); may copy less than asked for.
 *
 * @returns 0 or -errno; the number of bytes copied is in `result`
 */
export function copyFileRange(
  fdIn: number, offsetInLow: number, offsetInHigh: number,
  fdOut: number, offsetOutLow: number, offsetOutHigh: number,
  lengthLow: number, lengthHigh: number,
): number {
  registers[1] = fdIn
  registers[2] = offsetInLow
  registers[3] = offsetInHigh
  registers[4] = fdOut
  registers[5] = offsetOutLow
  registers[6] = offsetOutHigh
  registers[7] = lengthLow
  registers[8] = lengthHigh
  addon.copyFileRange()
  return registers[RESULT]
}

/** getdents64(2): writes `struct linux_dirent64`s. @returns bytes written, 0 at the end; -EINVAL when none fits */
export function getdents64(fd: number, block: Block, offset: number, length: number): number {
  registers[1] = fd
  registers[2] = idOf(block)
  registers[3] = offset
  registers[4] = length
  addon.getdents64()
  return registers[RESULT]
}

/** fsync(2) */
export function fsync(fd: number): number {
  registers[1] = fd
  addon.fsync()
  return registers[RESULT]
}

/** fdatasync(2) */
export function fdatasync(fd: number): number {
  registers[1] = fd
  addon.fdatasync()
  return registers[RESULT]
}

/** syncfs(2) */
export function syncfs(fd: number): number {
  registers[1] = fd
  addon.syncfs()
  return registers[RESULT]
}

// Files: extended attributes ---------------------------------------------------------------------

/**
 * Reads an extended attribute of the file (a symbolic link too) behind a descriptor, which may be
 * an O_PATH one. fgetxattr(2); for O_PATH descriptors getxattr(2) of /proc/self/fd
 *
 * @param capacity bytes at `valueOffset`; 0 asks for the size alone. When too few: -ERANGE
 * @returns the value's size
 */
export function getxattr(
  fd: number, block: Block, name: number, valueBlock: Block, valueOffset: number, capacity: number,
): number {
  registers[1] = fd
  registers[2] = idOf(block)
  registers[3] = name
  registers[4] = idOf(valueBlock)
  registers[5] = valueOffset
  registers[6] = capacity
  addon.getxattr()
  return registers[RESULT]
}

/** Lists the names, each ended by a NUL, as `getxattr` reads a value. flistxattr(2) */
export function listxattr(fd: number, outBlock: Block, outOffset: number, capacity: number): number {
  registers[1] = fd
  registers[2] = idOf(outBlock)
  registers[3] = outOffset
  registers[4] = capacity
  addon.listxattr()
  return registers[RESULT]
}

/** Sets an extended attribute of a file as `getxattr` finds it. fsetxattr(2). @param flags 0 or `constants.XATTR_*` */
export function setxattr(
  fd: number, block: Block, name: number, valueBlock: Block, valueOffset: number, size: number,
  flags: number, as: Caller | null,
): number {
  registers[1] = fd
  registers[2] = idOf(block)
  registers[3] = name
  registers[4] = idOf(valueBlock)
  registers[5] = valueOffset
  registers[6] = size
  registers[7] = flags
  setCaller(as)
  addon.setxattr()
  return registers[RESULT]
}

/** Removes an extended attribute of a file as `getxattr` finds it. fremovexattr(2) */
export function removexattr(fd: number, block: Block, name: number, as: Caller | null): number {
  registers[1] = fd
  registers[2] = idOf(block)
  registers[3] = name
  setCaller(as)
  addon.removexattr()
  return registers[RESULT]
}

// Files: locks -----------------------------------------------------------------------------------

/** flock(2). @param operation `constants.LOCK_*`; without LOCK_NB it blocks the thread (`signalThread` ends that) */
export function flock(fd: number, operation: number): number {
  registers[1] = fd
  registers[2] = operation
  addon.flock()
  return registers[RESULT]
}

/**
 * Locks a range on behalf of the open file. fcntl(2), "open file description locks"
 *
 * @param command `constants.F_OFD_GETLK`, which rewrites the struct with the lock in the way or
 *   F_UNLCK; F_OFD_SETLK; F_OFD_SETLKW, which blocks the thread
 * @param offset of a `struct fuse_file_lock` (24 bytes: u64 start, u64 end, u32 type, u32 pid), end
 *   inclusive, 2^63 - 1 meaning the end of the file. The pid of an open file description's lock
 *   reads 0xffffffff
 */
export function fcntlLock(fd: number, command: number, block: Block, offset: number): number {
  registers[1] = fd
  registers[2] = command
  registers[3] = idOf(block)
  registers[4] = offset
  addon.fcntlLock()
  return registers[RESULT]
}

// Mounting ---------------------------------------------------------------------------------------

/** mount(2). @param flags `constants.MS_*` */
export function mount(source: string, target: string, type: string, flags: number, data: string): number {
  return addon.mount(source, target, type, flags, data)
}

/** umount2(2). @param flags `constants.MNT_*`, `constants.UMOUNT_NOFOLLOW` */
export function umount2(target: string, flags: number): number {
  return addon.umount2(target, flags)
}

/**
 * A detached copy of the mount at a path, seen through the descriptor returned alone: later mounts
 * over the path do not show in it. open_tree(2), Linux 5.2
 *
 * @param recursive true to copy the mounts below as well
 */
export function openTreeClone(path: string, recursive: boolean): number {
  return addon.openTreeClone(path, recursive)
}

/** Cuts a mount's propagation, so that mounts made elsewhere do not appear in it. mount_setattr(2), Linux 5.12 */
export function makePrivate(fd: number, recursive: boolean): number {
  registers[1] = fd
  registers[2] = recursive ? 1 : 0
  addon.makePrivate()
  return registers[RESULT]
}

/**
 * A group that is told of changes by `read`; needs CAP_SYS_ADMIN for marks on whole file systems. fanotify_init(2)
 *
 * @param flags FAN_CLOEXEC and so on, of linux/fanotify.h. @param eventFlags O_... of descriptors that events bring
 * @returns a descriptor or -errno
 */
export function fanotifyInit(flags: number, eventFlags: number): number {
  registers[1] = flags
  registers[2] = eventFlags
  addon.fanotifyInit()
  return registers[RESULT]
}

/**
 * Marks the file behind a descriptor, or its mount or file system. fanotify_mark(2)
 *
 * @param flags FAN_MARK_.... @param mask FAN_... events, the lower 32 bits. @param fd not an O_PATH one
 */
export function fanotifyMark(group: number, flags: number, mask: number, fd: number): number {
  registers[1] = group
  registers[2] = flags
  registers[3] = mask
  registers[4] = fd
  addon.fanotifyMark()
  return registers[RESULT]
}

/**
 * Changes the flags of the mount at a descriptor's root. mount_setattr(2), Linux 5.12
 *
 * @param set `constants.MOUNT_ATTR_*` to set. @param clear those to clear; to change how access
 *   times are kept, clear MOUNT_ATTR__ATIME and set one of RELATIME, NOATIME, STRICTATIME
 */
export function mountSetAttr(fd: number, set: number, clear: number, recursive: boolean): number {
  registers[1] = fd
  registers[2] = set
  registers[3] = clear
  registers[4] = recursive ? 1 : 0
  addon.mountSetAttr()
  return registers[RESULT]
}

/** Two connected Unix stream sockets, in `result.low` and `result.high`. socketpair(2) */
export function socketPair(): number {
  addon.socketPair()
  return registers[RESULT]
}

/**
 * Receives one descriptor over a Unix socket, as fusermount3 sends it; waits for it.
 *
 * @returns the descriptor; -ENOMSG when the other end closed or sent none. recvmsg(2), unix(7)
 */
export function receiveFd(socketFd: number): number {
  registers[1] = socketFd
  addon.receiveFd()
  return registers[RESULT]
}

// io_uring ---------------------------------------------------------------------------------------

/**
 * Makes a ring. Its queues are then mapped with `mapDevice`. io_uring_setup(2)
 *
 * @param offset of a `struct io_uring_params`, 120 bytes, in and out
 * @returns the ring's descriptor
 */
export function uringSetup(entries: number, block: Block, offset: number): number {
  registers[1] = entries
  registers[2] = idOf(block)
  registers[3] = offset
  addon.uringSetup()
  return registers[RESULT]
}

/** Submits entries and waits for completions; `signalThread` ends the wait with -EINTR. io_uring_enter(2). @returns entries submitted */
export function uringEnter(fd: number, toSubmit: number, minComplete: number, flags: number): number {
  registers[1] = fd
  registers[2] = toSubmit
  registers[3] = minComplete
  registers[4] = flags
  addon.uringEnter()
  return registers[RESULT]
}

/**
 * Makes the ring known to the calling thread by an index, which its `uringEnter` may take in place of the descriptor,
 * with IORING_ENTER_REGISTERED_RING: the kernel then need not look the file up. io_uring_register(2)
 * @returns the index
 */
export function uringRegisterRing(fd: number): number {
  registers[1] = fd
  addon.uringRegisterRing()
  return registers[RESULT]
}

/**
 * Gives a ring a table of buffers: number 0 is a range of a block, pinned from now on, the others are empty, for the
 * kernel to fill. io_uring_register(2), IORING_REGISTER_BUFFERS
 * @param count of the table, 1 to 16,384
 * @returns 0; -ENOMEM where the limit of pinned memory is lower, RLIMIT_MEMLOCK
 */
export function uringRegisterBuffers(fd: number, count: number, block: Block, offset: number, length: number): number {
  registers[1] = fd
  registers[2] = count
  registers[3] = idOf(block)
  registers[4] = offset
  registers[5] = length
  addon.uringRegisterBuffers()
  return registers[RESULT]
}

/**
 * Writes a range's address (64 bits) and length (32 bits) into a submission entry of 128 bytes.
 * @param at where in the entry, bytes
 */
export function uringPlaceRange(
  queueBlock: Block, entryOffset: number, at: number, block: Block, offset: number, length: number,
): number {
  registers[1] = idOf(queueBlock)
  registers[2] = entryOffset
  registers[3] = at
  registers[4] = idOf(block)
  registers[5] = offset
  registers[6] = length
  addon.uringPlaceRange()
  return registers[RESULT]
}

/** Makes `file` the ring's registered file 0. io_uring_register(2) */
export function uringRegisterFile(fd: number, file: number): number {
  registers[1] = fd
  registers[2] = file
  addon.uringRegisterFile()
  return registers[RESULT]
}

/**
 * Points a submission queue entry at two ranges of a block, as FUSE_IO_URING_CMD_REGISTER wants
 * them: request headers and payload. The kernel keeps their addresses: neither block may be
 * released while the ring lives.
 *
 * @param entry offset of the entry in the mapped submission queue
 * @param array offset in `block` of 32 bytes for the array that the entry points at
 */
export function uringPlaceBuffers(
  queueBlock: Block, entry: number, array: number,
  block: Block, first: number, firstLength: number, second: number, secondLength: number,
): number {
  registers[1] = idOf(queueBlock)
  registers[2] = entry
  registers[3] = registers[5] = idOf(block)
  registers[4] = array
  registers[6] = first
  registers[7] = firstLength
  registers[8] = second
  registers[9] = secondLength
  addon.uringPlaceBuffers()
  return registers[RESULT]
}

// BPF --------------------------------------------------------------------------------------------

/** A row of the addon's table of bpf(2)'s commands, for its test. */
export interface BpfCommandRow {
  readonly name: string
  /** The C type that `end` and the pointers' offsets belong to. */
  readonly struct: string
  readonly number: number
  /** Whether it makes a descriptor. */
  readonly descriptor: boolean
  /** Bytes of the struct that are known. */
  readonly end: number
  /** `extent`, `count` and `unit` as in native-min/bpf_commands.h. */
  readonly pointers: readonly {
    readonly name: string
    readonly at: number
    readonly extent: number
    readonly count: number
    readonly unit: number
  }[]
}

/**
 * bpf(2) on memory of a block: `bpf_attr` lies in it, and what are pointers in the kernel's view are offsets
 * in the same block (u64; 0 is NULL). They are checked, with the lengths that belong to them, before the kernel
 * sees anything. Strings must end in the block; of maps the sizes are looked up.
 *
 * -EFAULT, -E2BIG, -EINVAL or -EOPNOTSUPP with a `bpfRefusal()`: a range outside the block, fields or a command
 * that this addon does not know; nothing was done. Descriptors that are made here end with the thread.
 *
 * @param offset of `union bpf_attr`. @param size of it, in bytes
 */
export function bpf(command: number, block: Block, offset: number, size: number): number {
  registers[1] = command
  registers[2] = idOf(block)
  registers[3] = offset
  registers[4] = size
  addon.bpf()
  return registers[RESULT]
}

/** Why the last `bpf` or `perfEventOpen` of this thread was not passed on to the kernel; empty if it was. */
export function bpfRefusal(): string {
  return addon.bpfRefusal()
}

/** The commands of bpf(2) that are passed on, and their pointers. */
export function bpfCommandTable(): readonly BpfCommandRow[] {
  return addon.bpfCommandTable()
}

/** Closes a descriptor, one of those that `bpf` and the next functions have made above all. close(2) */
export function bpfClose(fd: number): number {
  registers[1] = fd
  addon.bpfClose()
  return registers[RESULT]
}

/** Duplicates a descriptor to the lowest free one that is at least `minimum`. fcntl(2), F_DUPFD_CLOEXEC */
export function bpfDuplicate(fd: number, minimum: number): number {
  registers[1] = fd
  registers[2] = minimum
  addon.bpfDuplicate()
  return registers[RESULT]
}

/** Makes `replaced`, which must come from these functions (else -EBADF), a duplicate of `fd`. dup3(2) */
export function bpfReplace(fd: number, replaced: number): number {
  registers[1] = fd
  registers[2] = replaced
  addon.bpfReplace()
  return registers[RESULT]
}

/** A descriptor that only holds its number, until `bpfReplace`. */
export function bpfPlaceholder(): number {
  addon.bpfPlaceholder()
  return registers[RESULT]
}

/**
 * perf_event_open(2) for tracepoints, software events and probes; others: -EOPNOTSUPP.
 *
 * @param offset of a `struct perf_event_attr`; a probe's `config1` is the offset of a string in the block
 */
export function perfEventOpen(
  block: Block, offset: number, pid: number, cpu: number, group: number, flags: number,
): number {
  registers[1] = idOf(block)
  registers[2] = offset
  registers[3] = pid
  registers[4] = cpu
  registers[5] = group
  registers[6] = flags
  addon.perfEventOpen()
  return registers[RESULT]
}

/** A BPF map as the addon knows it. */
export interface BpfMapHandle {
  readonly handle: number
  /** `enum bpf_map_type` */
  readonly type: number
  /** Bytes. */
  readonly keySize: number
  /** Bytes, of one CPU's value in per-CPU maps. */
  readonly valueSize: number
  /** Bytes that a look-up writes: for per-CPU maps a value for each possible CPU, each in whole 8 bytes. */
  readonly wholeValueSize: number
  readonly maxEntries: number
  /** `BPF_F_*` */
  readonly flags: number
  /** A descriptor of the map that lives until `bpfMapClose`. */
  readonly fd: number
}

/**
 * Opens a map for `bpfMapElement`: a duplicate of its descriptor, and its sizes, so that no call asks for them.
 *
 * @throws Error with `code`: EBADF, EINVAL when it is no map's descriptor
 */
export function bpfMapOpen(fd: number): BpfMapHandle {
  registers[1] = fd
  addon.bpfMapOpen()
  const handle = registers[RESULT]
  if (handle < 0) throw systemError(handle, 'bpf')
  const value = (n: number) => registers[n] >>> 0
  return {
    handle,
    type: value(1),
    keySize: value(2),
    valueSize: value(3),
    maxEntries: value(4),
    flags: value(5),
    wholeValueSize: value(6),
    fd: value(7),
  }
}

/** Ends the use of a map, and closes its descriptor. */
export function bpfMapClose(handle: number): number {
  registers[1] = handle
  addon.bpfMapClose()
  return registers[RESULT]
}

/**
 * BPF_MAP_LOOKUP_ELEM (1), UPDATE (2), DELETE (3), GET_NEXT_KEY (4) and LOOKUP_AND_DELETE (21).
 *
 * @param key offset of the key in the block; 0 for none
 * @param value offset of the value, which is written by look-ups, or of the next key; 0 for none
 * @param flags `BPF_ANY` and others; low and high 32 bits
 */
export function bpfMapElement(
  command: number, handle: number, block: Block, key: number, value: number, flags = 0, flagsHigh = 0,
): number {
  registers[1] = command
  registers[2] = handle
  registers[3] = idOf(block)
  registers[4] = key
  registers[5] = value
  registers[6] = flags
  registers[7] = flagsHigh
  addon.bpfMapElement()
  return registers[RESULT]
}
