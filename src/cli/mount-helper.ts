// SPDX-License-Identifier: MIT
/**
 * mount(8)'s side: `mount.fuse.efuse SOURCE MOUNTPOINT [-sfnvN] [-t TYPE] [-o options]`, called for
 * `mount -t fuse.efuse` and for fstab. Exit statuses are those of mount(8): 0, 1 for wrong usage,
 * 32 for a mount that failed.
 */
import { getSystemErrorName } from 'node:util'
import { findServer } from '../mount/control.js'
import { mountFlags } from '../mount/flags.js'
import { OptionError, parseOptions, splitOptions, type ParsedOptions } from '../mount/options.js'
import * as native from '../native.js'
import { Failure, WrongUsage } from './failure.js'
import { mount } from './mount-background.js'
import { fuseMountAt } from './umount.js'

const EXIT_USAGE = 1
const EXIT_MOUNT_FAILED = 32

interface Invocation {
  source: string
  mountpoint: string
  options: string[]
  /** -s: options that nobody knows are no error. */
  sloppy: boolean
  /** -f: everything but the mounting. */
  fake: boolean
}

export async function mountHelper(args: readonly string[]): Promise<void> {
  try {
    const invocation = parse(args)
    const options = knownOptions(invocation)
    if (invocation.fake) return
    if (options.remount) return await remount(invocation, options)
    const { source, mountpoint } = invocation
    await mount(source, mountpoint, {
      foreground: false, options: invocation.options, fs: 'stackfs', type: 'auto', rings: 'auto', workers: 'auto',
      passthrough: 'auto', accel: 'auto', coherence: 'shared',
    })
  } catch (error) {
    const usage = error instanceof WrongUsage || error instanceof OptionError
    throw new Failure((error as Error).message, usage ? EXIT_USAGE : EXIT_MOUNT_FAILED)
  }
}

function parse(args: readonly string[]): Invocation {
  const operands: string[] = []
  const options: string[] = []
  let letters = ''
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]
    if (!arg.startsWith('-') || arg === '-') {
      operands.push(arg)
      continue
    }
    const flags = /^-([sfnvN]*)([ot]?)(.*)$/s.exec(arg)
    if (flags === null || (flags[2] === '' && flags[3] !== '')) throw new WrongUsage(`unknown option ${arg}`)
    letters += flags[1]
    if (flags[2] === '') {
      // -N names a namespace, which mount(8) has entered already.
      if (flags[1].endsWith('N')) at++
      continue
    }
    const value = flags[3] !== '' ? flags[3] : args[++at]
    if (value === undefined) throw new WrongUsage(`${arg} needs a value`)
    if (flags[2] === 'o') options.push(value)
  }
  if (operands.length !== 2) throw new WrongUsage('usage: mount.fuse.efuse SOURCE MOUNTPOINT [-sfnvN] [-o options]')
  const [source, mountpoint] = operands
  return { source, mountpoint, options, sloppy: letters.includes('s'), fake: letters.includes('f') }
}

/** Checks the options; when sloppy, drops those that are not known. */
function knownOptions(invocation: Invocation): ParsedOptions {
  if (invocation.sloppy) {
    invocation.options = invocation.options.flatMap(splitOptions).filter((option) => {
      try {
        parseOptions('remount', escapeCommas(option))
        return true
      } catch {
        return false
      }
    }).map(escapeCommas)
  }
  return parseOptions(...invocation.options)
}

function escapeCommas(option: string): string {
  return option.replace(/[\\,]/g, '\\$&')
}

/** Changes the flags of a mount that is there. Its server goes on, and is told. */
async function remount({ source, mountpoint }: Invocation, options: ParsedOptions): Promise<void> {
  const { MS_REMOUNT, MS_BIND } = native.constants
  const flags = mountFlags(options) | MS_REMOUNT | (options.bind ? MS_BIND : 0)
  const entry = fuseMountAt(mountpoint)
  const errno = native.mount(source, entry.mountpoint, 'fuse', flags, '')
  if (errno < 0) throw new Failure(`remounting ${mountpoint} failed: ${getSystemErrorName(errno)}`)
  const found = await findServer(entry.device)
  if (found === null || 'refused' in found) return
  await found.client.ask('remounted').catch(() => {})
  found.client.close()
}
