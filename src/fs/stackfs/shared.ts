// SPDX-License-Identifier: MIT
/**
 * What the workers of one StackFS mount share: the source tree's root, the inode table, and what
 * is known of open files. Made once, before the mount, by `prepareStackFS`.
 */
import { readFileSync } from 'node:fs'
import { constants as os } from 'node:os'
import * as native from '../../native.js'
import { EFUSE_CAN_ATTR, EFUSE_CAN_NO_HANDLE } from '../../protocol/efuse-module.js'
import { Block } from '../../protocol/struct.js'
import { InodeTable, type InodeTableMemory } from './inode-table.js'

const { O_PATH, O_RDONLY, O_DIRECTORY, CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, CAP_SETUID, CAP_SETGID } = native.constants

/** What StackFS can do beside FUSE: efuse.ko asks for it. */
export const STACKFS_CAN = EFUSE_CAN_ATTR | EFUSE_CAN_NO_HANDLE

/** Words kept per open file: its flags, and where a directory's descriptor stands. */
export const OPEN_FILE_WORDS = 4
/** Descriptors beyond this are refused as open files; the kernel hands out the lowest first. */
const MOST_OPEN_FILES = 4 * 1024 * 1024
const MOST_CACHED_DESCRIPTORS = 32768

export interface StackFSOptions {
  /** The directory (or file) to serve. */
  source: string
  /** Most inodes that the kernel may know at a time; memory for them is reserved, not used. Default 4,194,304. */
  maxInodes?: number
  /** Most descriptors kept open for inodes not in use; default: a quarter of the file limit, at most 32,768. */
  maxCachedDescriptors?: number
  /** Every file is opened with FOPEN_DIRECT_IO: the kernel caches no data. */
  directIo?: boolean
  /**
   * Hand files to the kernel, which then reads and writes them itself, where it can. Default true. `hooked`: it maps
   * them itself, but reads and writes come here, unless programs of efuse.ko answer them (the data accelerator).
   * `bound`: they are cached by the kernel as ever; such programs may answer what it has not cached.
   */
  passthrough?: boolean | 'hooked' | 'bound'
  /** Cached data outlives a file's closing (FOPEN_KEEP_CACHE): only for sources that nobody else changes. */
  keepCache?: boolean
}

export interface StackFSShared {
  readonly options: StackFSOptions
  /** The source's root: an O_PATH descriptor, and one that opens file handles (or -1). */
  readonly root: number
  readonly rootForHandles: number
  /** Keeps the private copy of the source's mounts alive; -1 when there is none. */
  readonly tree: number
  readonly rootDevice: { readonly major: number; readonly minor: number }
  readonly rootInode: { readonly low: number; readonly high: number }
  /** Inodes are found again by file handle; otherwise by name. */
  readonly byHandle: boolean
  /** Files can be created in the caller's name. */
  readonly asCaller: boolean
  /** Mounts that were there before ours; null when the private copy makes the question moot. */
  readonly knownMounts: readonly number[] | null
  readonly table: InodeTableMemory
  readonly openFiles: SharedArrayBuffer
}

function check(value: number, what: string): number {
  if (value >= 0) return value
  const code = Object.entries(os.errno).find(([, errno]) => errno === -value)?.[0] ?? String(-value)
  throw Object.assign(new Error(`${what}: ${code}`), { code, errno: value })
}

/** @param bit one of the first 32 capabilities */
function hasCapability(bit: number): boolean {
  return native.effectiveCapabilities() >= 0 && ((native.result.low >>> bit) & 1) === 1
}

function cString(text: string): Block {
  const bytes = Buffer.from(`${text}\0`)
  const block = new Block(new ArrayBuffer((bytes.length + 7) & ~7))
  block.u8.set(bytes)
  return block
}

/** Ids of the mounts in this namespace: the first column of proc_pid_mountinfo(5). */
function mountIds(): number[] {
  return readFileSync('/proc/self/mountinfo', 'utf8').trimEnd().split('\n').map((line) => Number.parseInt(line, 10))
}

/**
 * Opens the source and reserves the shared tables. Call it before mounting: the source may contain
 * the mountpoint, and must be seen as it was without it.
 * @throws Error with `code` when the source can't be opened
 */
export function prepareStackFS(options: StackFSOptions): StackFSShared {
  const path = cString(options.source)
  const { AT_FDCWD } = native.constants
  // A private copy of the mounts: neither our own mount nor any other one shows up in it later.
  let tree = hasCapability(CAP_SYS_ADMIN) ? native.openTreeClone(options.source, true) : -1
  if (tree >= 0 && native.makePrivate(tree, true) < 0) {
    native.close(tree)
    tree = -1
  }
  const empty = cString('.')
  const plain = check(native.openat(AT_FDCWD, path, 0, O_PATH, 0, null), options.source)
  const scratch = new Block(new ArrayBuffer(512))
  const { STATX_BASIC_STATS } = native.constants
  check(native.fstatx(plain, 0, STATX_BASIC_STATS, scratch, 0), options.source)
  const isDirectory = (scratch.u16[14] & 0o170000) === 0o040000
  let root = plain
  if (tree >= 0) {
    if (isDirectory) {
      const inTree = native.openat(tree, empty, 0, O_PATH | O_DIRECTORY, 0, null)
      if (inTree >= 0) {
        native.close(plain)
        root = inTree
      }
    } else {
      root = native.dup(tree)
      native.close(plain)
    }
  }
  let rootForHandles = isDirectory ? native.reopen(root, O_RDONLY | O_DIRECTORY) : -1
  const byHandle = rootForHandles >= 0 && hasCapability(CAP_DAC_READ_SEARCH) && canOpenByHandle(root, rootForHandles)
  if (!byHandle && rootForHandles >= 0) {
    native.close(rootForHandles)
    rootForHandles = -1
  }
  native.raiseFileLimit(1024 * 1024)
  const limit = native.fileLimit()
  const maxCached = options.maxCachedDescriptors ?? Math.min(limit >>> 2, MOST_CACHED_DESCRIPTORS)
  const openFiles = Math.min(limit, MOST_OPEN_FILES)
  const shared: StackFSShared = {
    options,
    root,
    rootForHandles,
    tree,
    rootDevice: { major: scratch.u32[34], minor: scratch.u32[35] },
    rootInode: { low: scratch.u32[8], high: scratch.u32[9] },
    byHandle,
    asCaller: hasCapability(CAP_SETUID) && hasCapability(CAP_SETGID),
    knownMounts: tree >= 0 ? null : mountIds(),
    table: InodeTable.reserve(options.maxInodes ?? 4 * 1024 * 1024, maxCached, !byHandle, sharedMemory),
    openFiles: sharedMemory(openFiles * OPEN_FILE_WORDS * 4),
  }
  new InodeTable(shared.table, 0).deviceIndex(shared.rootDevice.major, shared.rootDevice.minor, () => rootForHandles)
  return shared
}

/** Zeroed memory for all workers, much of which will never be touched. */
function sharedMemory(bytes: number): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(bytes)
  // Without it all works as well, as long as fork(2) is allowed to the process.
  native.uncountInside(new Block(memory), 0, bytes)
  return memory
}

function canOpenByHandle(root: number, rootForHandles: number): boolean {
  const scratch = new Block(new ArrayBuffer(256))
  if (native.handleOf(root, 0, scratch, 0, 136) < 0) return false
  const fd = native.openByHandle(rootForHandles, scratch, 0, O_PATH)
  if (fd < 0) return false
  native.close(fd)
  return true
}

/**
 * Closes what `prepareStackFS` opened and the table still holds: for whoever called it, when no worker is left.
 */
export function closeStackFS(shared: StackFSShared): void {
  const table = new InodeTable(shared.table, 0)
  for (const fd of table.takeAllDescriptors()) native.close(fd)
  for (const fd of table.handleDescriptors()) native.close(fd)
  const openFiles = new Int32Array(shared.openFiles)
  for (let fd = 0; fd * OPEN_FILE_WORDS < openFiles.length; fd++) {
    if (openFiles[fd * OPEN_FILE_WORDS] === 0) continue
    openFiles[fd * OPEN_FILE_WORDS] = 0
    native.close(fd)
  }
  native.close(shared.root)
  if (shared.tree >= 0) native.close(shared.tree)
}
