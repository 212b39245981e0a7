// SPDX-License-Identifier: MIT
/**
 * The mount itself: a device descriptor, attached to a mountpoint by mount(2), or by fusermount3
 * where the kernel wants a privilege that we lack. And its undoing.
 */
import { spawn } from 'node:child_process'
import { constants as os } from 'node:os'
import { getSystemErrorName } from 'node:util'
import * as native from '../native.js'
import { S_IFMT } from '../protocol/constants.js'
import { mountFlags } from './flags.js'
import { FusermountError, fusermount, fusermountUnmountSync, userAllowOther } from './fusermount.js'
import { deviceOf, kernelTypeOf, type KernelType } from './kernel-type.js'
import { mountAt, mounts, type MountEntry } from './mountinfo.js'
import { MountError, prepareMountpoint, type Mountpoint } from './mountpoint.js'
import { escapeOption, type MountOptions } from './options.js'
import { unmount, unmountFlags, type UnmountOptions } from './unmount.js'

const { EPERM, EACCES, ENOENT, ENODEV } = os.errno
const {
  MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_SYNCHRONOUS, MS_DIRSYNC, MS_NOATIME, MS_NODIRATIME,
} = native.constants

/** What brings a kernel file system that is not there. */
const HOW_TO_LOAD: Readonly<Record<KernelType, string>> = {
  fuse: 'load the kernel module with "modprobe fuse"',
  efuse: 'load the efuse kernel module with "efuse kernel load", or use --type auto',
}

/** The flags that fusermount3 knows, by its words. */
const FUSERMOUNT_FLAGS: readonly (readonly [number, string])[] = [
  [MS_RDONLY, 'ro'], [MS_NOSUID, 'nosuid'], [MS_NODEV, 'nodev'], [MS_NOEXEC, 'noexec'], [MS_SYNCHRONOUS, 'sync'],
  [MS_DIRSYNC, 'dirsync'], [MS_NOATIME, 'noatime'], [MS_NODIRATIME, 'nodiratime'],
]

/** A mount that exists, and its device descriptor. */
export class Attachment {
  private attached = true

  constructor(
    readonly fd: number,
    readonly mountpoint: string,
    /** As mountinfo shows it. */
    readonly entry: MountEntry,
    private readonly watcher: Watcher | null,
  ) {}

  /** Whether it is still what one finds at the mountpoint. */
  get isThere(): boolean {
    return this.attached && mounts().some((entry) => entry.id === this.entry.id && entry.device === this.entry.device)
  }

  /** Whether it is the topmost at its mountpoint: what umount(2) would undo. */
  private get isTopmost(): boolean {
    const there = mountAt(this.mountpoint)
    return there?.id === this.entry.id && there.device === this.entry.device
  }

  /**
   * Unmounts, if nobody has done so.
   * @throws UnmountError; MountError when something else was mounted over it
   */
  async detach(options: UnmountOptions = {}): Promise<void> {
    if (!this.isThere) return
    if (!this.isTopmost) {
      throw new MountError(`something else is mounted over ${this.mountpoint}: unmount that first`, 'EBUSY')
    }
    await unmount(this.mountpoint, options)
    this.attached = false
  }

  /**
   * For a process that is ending: aborts the connection and takes the mount out of sight at once.
   * Nobody may be reading the descriptor any more.
   */
  detachNow(): void {
    try {
      if (!this.isThere || !this.isTopmost) return
      this.attached = false
      const errno = native.umount2(this.mountpoint, unmountFlags({ force: true }))
      if (errno === -EPERM) {
        // Its last pages would wait for us: a dead connection writes none.
        this.closeDevice()
        fusermountUnmountSync(this.mountpoint)
      }
    } catch {
      // There is nobody left to tell, and the connection ends with the process.
    }
  }

  /** Leaves the device to others who have it: when they close it, the connection ends. */
  handOver(): void {
    this.closeDevice()
  }

  /** Closes what was kept for the mount. */
  release(): void {
    this.closeDevice()
    this.watcher?.close()
  }

  private deviceClosed = false
  private closeDevice(): void {
    if (this.deviceClosed) return
    this.deviceClosed = true
    native.close(this.fd)
  }
}

/**
 * Mounts.
 * @param source what /proc/mounts shows as the device unless `fsname` says otherwise
 * @throws MountError
 */
export async function attach(path: string, source: string, options: MountOptions): Promise<Attachment> {
  const mountpoint = await prepareMountpoint(path)
  const device = options.fsname ?? source
  const flags = mountFlags(options)
  const fd = mountDirectly(mountpoint, device, flags, options)
    ?? await mountByFusermount(mountpoint, device, flags, options)
  const entry = mountAt(mountpoint.path)
  if (entry === undefined) {
    native.close(fd)
    throw new MountError(`${path} was unmounted while it was being mounted`, 'EINVAL')
  }
  return new Attachment(fd, mountpoint.path, entry, options.autoUnmount ? watch(entry) : null)
}

/** @returns null when that is not for us to do */
function mountDirectly(
  mountpoint: Mountpoint, device: string, flags: number, options: MountOptions,
): number | null {
  const kernel = kernelTypeOf(options)
  if (process.geteuid!() !== 0) {
    if (kernel === 'efuse') throw new MountError('only root can mount the type efuse: use --type auto', 'EPERM')
    return null
  }
  const fd = openDevice(kernel)
  const data = [
    `fd=${fd}`,
    `rootmode=${(mountpoint.mode & S_IFMT).toString(8)}`,
    `user_id=${process.getuid!()}`,
    `group_id=${process.getgid!()}`,
    ...kernelOptions(options),
  ].join(',')
  const type = options.subtype === undefined ? kernel : `${kernel}.${options.subtype}`
  const errno = native.mount(device, mountpoint.path, type, flags, data)
  if (errno === 0) return fd
  native.close(fd)
  if (errno === -EPERM && options.type !== 'efuse') return null
  const code = getSystemErrorName(errno)
  if (errno === -ENODEV) throw new MountError(`this kernel does not know the type ${kernel}: ${HOW_TO_LOAD[kernel]}`, code)
  throw new MountError(`mounting on ${mountpoint.path} failed: ${code}`, code)
}

/** The options that the kernel's FUSE knows. */
function kernelOptions(options: MountOptions): string[] {
  return [
    ...(options.allowOther ? ['allow_other'] : []),
    ...(options.defaultPermissions !== false ? ['default_permissions'] : []),
    ...(options.maxRead === undefined ? [] : [`max_read=${options.maxRead}`]),
  ]
}

async function mountByFusermount(
  mountpoint: Mountpoint, device: string, flags: number, options: MountOptions,
): Promise<number> {
  if (options.allowOther && process.getuid!() !== 0 && !userAllowOther()) {
    throw new MountError(
      'allow_other is refused to ordinary users: have the line "user_allow_other" added to /etc/fuse.conf', 'EPERM')
  }
  const words = [
    ...FUSERMOUNT_FLAGS.filter(([bit]) => (flags & bit) !== 0).map(([, word]) => word),
    `fsname=${escapeOption(device)}`,
    ...(options.subtype === undefined ? [] : [`subtype=${escapeOption(options.subtype)}`]),
    ...kernelOptions(options),
  ]
  try {
    return await fusermount(mountpoint.path, words.join(','))
  } catch (error) {
    if (error instanceof FusermountError) throw new MountError(error.message, 'EPERM', { cause: error })
    throw error
  }
}

/** @throws MountError */
export function openDevice(type: KernelType): number {
  const device = deviceOf(type)
  const fd = native.openDevice(device)
  if (fd >= 0) return fd
  const code = getSystemErrorName(fd)
  if (fd === -ENOENT) throw new MountError(`${device} does not exist: ${HOW_TO_LOAD[type]}`, code)
  if (fd === -EACCES || fd === -EPERM) {
    throw new MountError(`${device} can't be opened (${code}): in a container, pass it in with --device ${device}`, code)
  }
  throw new MountError(`${device} can't be opened: ${code}`, code)
}

interface Watcher {
  close(): void
}

/**
 * auto_unmount: a shell that waits at the end of a pipe. However we die, the pipe closes, and what is
 * left of the mount is taken away, if it is still this one. Fusermount3 has the like, but gives up
 * when the descriptors of a dying server happen to be closed in the wrong order.
 */
function watch(entry: MountEntry): Watcher {
  const script = `
    trap '' HUP INT TERM
    read -r _
    while read -r id parent device _; do
      if [ "$id" = "$1" ] && [ "$device" = "$2" ]; then
        umount -l -c -- "$3" || umount -l -- "$3" || fusermount3 -u -z -- "$3" || fusermount -u -z -- "$3"
        break
      fi
    done < /proc/self/mountinfo`
  const child = spawn('/bin/sh', ['-c', script, 'efuse-auto-unmount', String(entry.id), entry.device, entry.mountpoint], {
    detached: true, cwd: '/', stdio: ['pipe', 'ignore', 'ignore'],
  })
  child.on('error', () => {})
  child.stdin!.on('error', () => {})
  child.unref()
  ;(child.stdin as unknown as { unref(): void }).unref()
  return { close: () => child.stdin!.end() }
}
