// SPDX-License-Identifier: MIT
/**
 * Mount options: as typed values for programs, and as the `-o a,b=c` strings of mount(8) and libfuse.
 */

/** mount(8)'s options that are flags of every file system. The later of two that contradict each other counts. */
export const GENERIC_FLAGS = [
  'ro', 'rw', 'suid', 'nosuid', 'dev', 'nodev', 'exec', 'noexec', 'sync', 'async', 'dirsync', 'nodirsync',
  'atime', 'noatime', 'diratime', 'nodiratime', 'relatime', 'norelatime', 'strictatime', 'nostrictatime',
  'lazytime', 'nolazytime', 'symfollow', 'nosymfollow', 'mand', 'nomand', 'iversion', 'noiversion', 'silent', 'loud',
] as const
export type GenericFlag = (typeof GENERIC_FLAGS)[number]

/** Options of a mount. Times are seconds, fractions allowed; sizes are bytes. */
export interface MountOptions {
  /** Nothing can be written; the same as the flag `ro`. */
  readOnly?: boolean
  /** mount(8)'s generic flags, in order. As root, `suid` and `dev` are on unless said otherwise. */
  flags?: readonly GenericFlag[]
  /** Others than the user who mounts may use the mount. */
  allowOther?: boolean
  /**
   * The kernel checks permissions by mode, owner and ACL before it asks. Default: true, because a
   * handler that answers later can't borrow its caller's rights; say false if yours checks them itself.
   */
  defaultPermissions?: boolean
  /** What /proc/mounts shows as the device. */
  fsname?: string
  /** The kernel's file system: its own `fuse`, or the module `efuse`; `auto` takes efuse where it is loaded (default). */
  type?: 'auto' | 'fuse' | 'efuse'
  /** What /proc/mounts shows as the type behind `fuse.` or `efuse.`; default: nothing. */
  subtype?: string
  /** How long the kernel may keep attributes; default 1. Replies may say otherwise. */
  attrTimeout?: number
  /** How long the kernel may keep names; default 1. */
  entryTimeout?: number
  /** How long the kernel may remember that a name does not exist; default 0. */
  negativeTimeout?: number
  /** Every file's data goes past the kernel's cache. */
  directIo?: boolean
  /** What the kernel has cached of a file's data stays when it is opened again. */
  kernelCache?: boolean
  /** As kernelCache, as long as modification time and size have not changed. */
  autoCache?: boolean
  /** Writes gather in the kernel's cache and come later, in large pieces. */
  writebackCache?: boolean
  /** Bytes of the largest read; default: as large as the largest write. */
  maxRead?: number
  /** Bytes of the largest write: up to 256 pages, or what `fs.fuse.max_pages_limit` says. */
  maxWrite?: number
  /**
   * Requests that one CPU may have with the server at a time over io_uring, 1 to 1024. Default: 8, or as many
   * as fit in 512 MiB of buffers where there are very many CPUs.
   */
  uringDepth?: number
  /**
   * Data go between StackFS's files and the callers' pages without passing through the server, over io_uring, as root,
   * and Linux 7.3. For large direct reads and writes where passthrough is not to be had; small ones get dearer.
   */
  uringZeroCopy?: boolean
  /**
   * For how long a worker that waits for requests looks for the next one before it sleeps, while that pays, microseconds;
   * 0: not at all. Default: 20, and 0 where there is one CPU only.
   */
  busyPoll?: number
  /** The mount goes away when its server dies, however it dies. */
  autoUnmount?: boolean
  /** Every file seems to belong to this user. */
  uid?: number
  /** Every file seems to belong to this group. */
  gid?: number
  /** Permission bits that every file seems to lack. */
  umask?: number
}

/** What was said in an option string: the mount's options and, with `remount`, that nothing is to be mounted. */
export interface ParsedOptions extends MountOptions {
  remount?: boolean
  /** With `remount`: only this mount's flags change, not the file system's. */
  bind?: boolean
  /** Those that the server's own command line has too: `type=`, `rings=`, ... */
  command?: Record<string, string>
}

/** An option that nobody knows, or whose value makes no sense: wrong usage. */
export class OptionError extends Error {
  override readonly name = 'OptionError'
}

type Kind = 'flag' | 'text' | 'seconds' | 'bytes' | 'pages' | 'entries' | 'microseconds' | 'id' | 'octal'

/** libfuse's options, by the names of its manual page. */
const KNOWN: Readonly<Record<string, readonly [keyof MountOptions, Kind]>> = {
  allow_other: ['allowOther', 'flag'],
  default_permissions: ['defaultPermissions', 'flag'],
  fsname: ['fsname', 'text'],
  subtype: ['subtype', 'text'],
  attr_timeout: ['attrTimeout', 'seconds'],
  entry_timeout: ['entryTimeout', 'seconds'],
  negative_timeout: ['negativeTimeout', 'seconds'],
  direct_io: ['directIo', 'flag'],
  kernel_cache: ['kernelCache', 'flag'],
  auto_cache: ['autoCache', 'flag'],
  writeback_cache: ['writebackCache', 'flag'],
  max_read: ['maxRead', 'bytes'],
  max_write: ['maxWrite', 'bytes'],
  max_pages: ['maxWrite', 'pages'],
  io_uring_zero_copy: ['uringZeroCopy', 'flag'],
  io_uring_q_depth: ['uringDepth', 'entries'],
  busy_poll: ['busyPoll', 'microseconds'],
  auto_unmount: ['autoUnmount', 'flag'],
  uid: ['uid', 'id'],
  gid: ['gid', 'id'],
  umask: ['umask', 'octal'],
}

/** Options of the `mount` command that fstab can say too. */
const COMMAND_OPTIONS = new Set(['fs', 'type', 'rings', 'workers', 'passthrough', 'accel', 'data', 'coherence', 'metrics'])

/** For mount(8), systemd and the like; nothing to a server. */
const IGNORED = new Set(['_netdev', 'nofail', 'user', 'users', 'nouser', 'nousers', 'owner', 'group', 'auto', 'noauto',
  'defaults', 'relabel', 'big_writes', 'nonempty'])
const IGNORED_PREFIX = /^(x-|X-|comment=|helper=|uhelper=|user=|context=|fscontext=|defcontext=|rootcontext=)/
/** What /proc/mounts shows of a mount and mount(8) hands back on a remount. */
const SHOWN_BY_KERNEL = /^(fd|rootmode|user_id|group_id|blksize)=/

const PAGE_SIZE = 4096
const GENERIC = new Set<string>(GENERIC_FLAGS)

/** Splits at commas that no backslash precedes, and takes the backslashes away. */
export function splitOptions(text: string): string[] {
  const parts: string[] = []
  let part = ''
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '\\' && at + 1 < text.length) part += text[++at]
    else if (text[at] === ',') {
      parts.push(part)
      part = ''
    } else part += text[at]
  }
  parts.push(part)
  return parts.filter((option) => option !== '')
}

/** The reverse for one value: what fusermount3 splits must not be split where we have a comma. */
export function escapeOption(value: string): string {
  return value.replace(/[\\,]/g, '\\$&')
}

/** @throws OptionError for options that nobody knows */
export function parseOptions(...texts: readonly string[]): ParsedOptions {
  const options: ParsedOptions = {}
  const flags: GenericFlag[] = []
  const command: Record<string, string> = {}
  let sawKernelOption: string | undefined
  for (const option of texts.flatMap(splitOptions)) {
    const equals = option.indexOf('=')
    const name = equals < 0 ? option : option.slice(0, equals)
    const value = equals < 0 ? undefined : option.slice(equals + 1)
    const known = Object.hasOwn(KNOWN, name) ? KNOWN[name] : undefined
    if (known !== undefined) {
      const [key, kind] = known
      ;(options as Record<string, unknown>)[key] = parseValue(name, kind, value)
    } else if (value === undefined && GENERIC.has(name)) {
      flags.push(name as GenericFlag)
    } else if (option === 'io_uring') {
      command.rings = 'uring'
    } else if (option === 'remount') {
      options.remount = true
    } else if (option === 'bind') {
      options.bind = true
    } else if (value !== undefined && COMMAND_OPTIONS.has(name)) {
      command[name] = value
    } else if (SHOWN_BY_KERNEL.test(option)) {
      sawKernelOption ??= name
    } else if (!IGNORED.has(option) && !IGNORED_PREFIX.test(option)) {
      throw new OptionError(`unknown mount option "${option}"`)
    }
  }
  if (options.bind && !options.remount) throw new OptionError('mount option "bind" goes with "remount" only')
  if (sawKernelOption !== undefined && !options.remount) {
    throw new OptionError(`mount option "${sawKernelOption}" is the kernel's own: leave it out`)
  }
  if (flags.length > 0) options.flags = flags
  if (Object.keys(command).length > 0) options.command = command
  return options
}

function parseValue(name: string, kind: Kind, value: string | undefined): unknown {
  if (kind === 'flag') {
    if (value !== undefined) throw new OptionError(`mount option "${name}" takes no value`)
    return true
  }
  if (value === undefined || value === '') throw new OptionError(`mount option "${name}" needs a value: ${name}=...`)
  switch (kind) {
    case 'text':
      return value
    case 'seconds':
      return number(name, value, /^\d*\.?\d+$|^\d+\.$/, Number, 'seconds')
    case 'bytes':
      return number(name, value, /^\d+$/, Number, 'bytes')
    case 'pages':
      return number(name, value, /^\d+$/, Number, 'pages') * PAGE_SIZE
    case 'entries':
      return number(name, value, /^[1-9]\d*$/, Number, 'a number from 1 to 1024', 1024)
    case 'microseconds':
      return number(name, value, /^\d+$/, Number, 'microseconds, up to 10000', 10_000)
    case 'id':
      return number(name, value, /^\d+$/, Number, 'a numeric id', 0xfffffffe)
    case 'octal':
      return number(name, value, /^[0-7]+$/, (digits) => parseInt(digits, 8), 'octal permission bits', 0o777)
  }
}

function number(
  name: string, value: string, pattern: RegExp, parse: (value: string) => number, what: string,
  largest = Number.MAX_SAFE_INTEGER,
): number {
  const parsed = parse(value)
  if (!pattern.test(value) || !(parsed <= largest)) {
    throw new OptionError(`mount option "${name}" takes ${what}, not "${value}"`)
  }
  return parsed
}
