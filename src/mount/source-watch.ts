// SPDX-License-Identifier: MIT
/**
 * Tells which inodes and names of StackFS's source others change (`--coherence watched`): fanotify(7) on the source's
 * whole file system. Needs CAP_SYS_ADMIN, and a file system whose file handles are inode number and generation, as
 * ext4's are: from these come StackFS's nodeids.
 *
 * What this process does itself is not told: its changes come from requests. Not seen at all are writes to memory that a
 * file is mapped to, reading (times of access), changes made on other machines, and other file systems below the source.
 */
import { closeSync, constants as fsConstants, openSync } from 'node:fs'
import { getSystemErrorName } from 'node:util'
import * as native from '../native.js'
import type { Block } from '../protocol/struct.js'
import { MountError } from './mountpoint.js'

const FAN_CLOEXEC = 0x1
const FAN_NONBLOCK = 0x2
const FAN_UNLIMITED_QUEUE = 0x10
/** Events name the inode, its directory and the name there: FAN_REPORT_FID, _DIR_FID, _NAME, _TARGET_FID (Linux 5.17). */
const FAN_REPORT_ALL = 0x200 | 0x400 | 0x800 | 0x1000
const FAN_MARK_ADD = 0x1
const FAN_MARK_FILESYSTEM = 0x100
/** FAN_MODIFY, _ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _DELETE_SELF; FAN_ONDIR: of directories, too. */
const EVENTS = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x40000000
const FAN_Q_OVERFLOW = 0x4000

/** Information records of an event, by what they tell: an inode; a directory and a name in it; a directory. */
const INFO_FID = 1
const INFO_DFID_NAME = 2
const INFO_DFID = 3

/** FILEID_INO32_GEN of linux/exportfs.h */
const FILEID_INO32_GEN = 1
const ROOT = 1n
const BUFFER = 256 << 10

/** What others have changed, since it was told last. */
export interface SourceChanges {
  /** Some have been lost: anything may have changed. */
  all: boolean
  nodeids: Set<bigint>
  names: { parent: bigint; name: Buffer }[]
}

export class SourceWatch {
  private closed = false
  private poller: native.Poller | null = null
  private readonly events: Block = native.allocate(BUFFER)

  private constructor(private readonly group: number, private readonly root: bigint) {}

  /**
   * Begins to watch; nothing is lost from here on. Before the file system is mounted: its mountpoint may be the source.
   * @throws MountError saying what is missing
   */
  static open(source: string): SourceWatch {
    const refuse = (why: string, error: number): MountError => {
      const name = error < 0 ? ` (${getSystemErrorName(error)})` : ''
      return new MountError(`--coherence watched is not to be had for ${source}: ${why}${name}; use --coherence shared`)
    }
    const fd = openSync(source, fsConstants.O_RDONLY)
    try {
      const handle = native.allocate(4096)
      const found = native.handleOf(fd, 0, handle, 0, 128)
      const words = handle.u32.slice(0, 4)
      native.release(handle)
      if (found < 0 || words[0] !== 8 || words[1] !== FILEID_INO32_GEN) {
        throw refuse('its file system\'s handles are not inode number and generation', Math.min(found, 0))
      }
      const group = native.fanotifyInit(FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE | FAN_REPORT_ALL, fsConstants.O_RDONLY)
      if (group < 0) throw refuse('fanotify needs CAP_SYS_ADMIN and Linux 5.17', group)
      const marked = native.fanotifyMark(group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, EVENTS, fd)
      if (marked < 0) {
        native.close(group)
        throw refuse('its file system can\'t be watched', marked)
      }
      return new SourceWatch(group, nodeidOf(words[2], words[3]))
    } finally {
      closeSync(fd)
    }
  }

  /** Calls back when something has changed, with all that is known by then. Does not keep the process alive. */
  start(changed: (changes: SourceChanges) => void): void {
    this.poller = native.pollReadable(this.group, () => {
      for (;;) {
        const length = native.read(this.group, this.events, 0, BUFFER)
        if (length <= 0) return
        changed(this.parse(length))
      }
    })
    this.poller.unref()
  }

  /** struct fanotify_event_metadata, each followed by its information records. */
  private parse(length: number): SourceChanges {
    const { u8, u16, u32, i32 } = this.events
    const changes: SourceChanges = { all: false, nodeids: new Set(), names: [] }
    for (let event = 0; event < length; event += u32[event >>> 2]) {
      if ((u32[(event + 8) >>> 2] & FAN_Q_OVERFLOW) !== 0) changes.all = true
      if (i32[(event + 20) >>> 2] === process.pid) continue
      const end = event + u32[event >>> 2]
      for (let info = event + u16[(event + 6) >>> 1]; info < end; info += u16[(info + 2) >>> 1]) {
        const type = u8[info]
        if (type !== INFO_FID && type !== INFO_DFID_NAME && type !== INFO_DFID) continue
        // header, fsid, then struct file_handle
        const handle = (info + 12) >>> 2
        if (u32[handle] !== 8 || u32[handle + 1] !== FILEID_INO32_GEN) {
          changes.all = true
          continue
        }
        const found = nodeidOf(u32[handle + 2], u32[handle + 3])
        const nodeid = found === this.root ? ROOT : found
        changes.nodeids.add(nodeid)
        if (type !== INFO_DFID_NAME) continue
        const start = info + 20 + u32[handle]
        const name = Buffer.from(u8.subarray(start, u8.indexOf(0, start)))
        // "." is the directory itself
        if (name.length > 0 && !name.equals(DOT)) changes.names.push({ parent: nodeid, name })
      }
    }
    return changes
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.poller?.close()
    native.close(this.group)
    native.release(this.events)
  }
}

/** Begins to watch, if that is what the metadata accelerator is to do. @throws MountError saying what is missing */
export function watchOf({ coherence, source }: { coherence?: string; source?: string }): SourceWatch | undefined {
  if (coherence !== 'watched') return undefined
  if (source === undefined) throw new TypeError('coherence: watched needs the source that is to be watched')
  return SourceWatch.open(source)
}

const DOT = Buffer.from('.')

function nodeidOf(inode: number, generation: number): bigint {
  return BigInt(inode) | BigInt(generation) << 32n
}
