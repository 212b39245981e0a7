// SPDX-License-Identifier: MIT
/**
 * What is mounted where, from /proc/self/mountinfo: reading it never asks a file system anything,
 * so it answers even where one hangs. proc_pid_mountinfo(5)
 */
import { readFileSync } from 'node:fs'

export interface MountEntry {
  /** Unique among the mounts of this namespace, until it is unmounted. */
  readonly id: number
  readonly parentId: number
  /** `major:minor` of the file system: unique on this machine while it lives. */
  readonly device: string
  /** What of the file system is mounted: `/` unless this is a bind mount. */
  readonly root: string
  readonly mountpoint: string
  /** Of this mount: `rw,nosuid,noatime`... */
  readonly mountOptions: string
  /** `fuse`, `fuse.NAME`, `ext4`... */
  readonly type: string
  readonly source: string
  /** Of the file system: `rw,user_id=0,...` */
  readonly superOptions: string
}

/** Undoes the escapes of space, tab, newline, backslash and `#`: a backslash and three octal digits. */
export function unescape(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))
}

/** Parses the text of a mountinfo file, in the order of mounting. */
export function parseMountinfo(text: string): MountEntry[] {
  const entries: MountEntry[] = []
  for (const line of text.split('\n')) {
    if (line === '') continue
    const fields = line.split(' ')
    // Optional fields, of which there may be any number, end with a lone hyphen.
    const separator = fields.indexOf('-', 6)
    if (separator < 0) continue
    entries.push({
      id: Number(fields[0]),
      parentId: Number(fields[1]),
      device: fields[2],
      root: unescape(fields[3]),
      mountpoint: unescape(fields[4]),
      mountOptions: fields[5],
      type: unescape(fields[separator + 1]),
      source: unescape(fields[separator + 2]),
      superOptions: fields[separator + 3] ?? '',
    })
  }
  return entries
}

/** Every mount that this process sees. */
export function mounts(): MountEntry[] {
  return parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8'))
}

/** The mount that a path which is a mountpoint leads to, the topmost where several lie over one another. */
export function mountAt(mountpoint: string, entries: readonly MountEntry[] = mounts()): MountEntry | undefined {
  return entries.findLast((entry) => entry.mountpoint === mountpoint)
}

/** Whether a type is a FUSE file system's: `fuse`, `fuse.NAME`, `fuseblk`, or ours. */
export function isFuse(type: string): boolean {
  return type === 'fuse' || type.startsWith('fuse.') || type === 'fuseblk' || type === 'efuse' || type.startsWith('efuse.')
}
