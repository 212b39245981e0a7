// SPDX-License-Identifier: MIT
/** `efuse exec MOUNTPOINT -- PROGRAM ARGS...`: an unmodified libfuse 3 program on a mount of type efuse. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseAccel } from '../mount/accelerate.js'
import { DEVICE_PATH, exec } from '../mount/exec.js'
import { deviceOf } from '../mount/kernel-type.js'
import { OptionError, parseOptions, type MountOptions } from '../mount/options.js'
import { Failure, WrongUsage } from './failure.js'

export interface ExecArguments {
  options: string[]
  accel: string
  coherence: string
}

const PLACEHOLDER = '{}'
/** What the kernel does for a mount; all other options are a server's to fulfil. */
const KERNEL_OPTIONS: readonly string[] = [
  'readOnly', 'flags', 'allowOther', 'defaultPermissions', 'fsname', 'subtype', 'maxRead', 'autoUnmount', 'type', 'command',
]

export async function execCommand(
  mountpoint: string, program: string, args: readonly string[], given: ExecArguments,
): Promise<void> {
  const { options, accel, coherence } = parse(given)
  const accelerate = parseAccel(accel)
  if (accelerate === null) throw new WrongUsage(`--accel ${accel}: it is auto, off, or any of metadata,data,balance`)
  if (coherence !== 'shared' && coherence !== 'exclusive') {
    throw new WrongUsage(`--coherence ${coherence}: here it is one of shared, exclusive`)
  }
  const placed = placeMountpoint(args, mountpoint)
  if (process.geteuid!() !== 0) throw new Failure('only root can mount the type efuse: run it with sudo')
  if (!existsSync(deviceOf('efuse'))) {
    throw new Failure('the efuse kernel module is not loaded: run "efuse kernel build" once, then "efuse kernel load"')
  }
  process.exitCode = await exec({
    mountpoint: resolve(mountpoint),
    program,
    args: placed,
    options,
    accelerate,
    coherence,
    log: (message) => process.stderr.write(`efuse: ${message}\n`),
  })
}

function parse(
  { options: texts, accel, coherence }: ExecArguments,
): { options: MountOptions; accel: string; coherence: string } {
  let options
  try {
    options = parseOptions(...texts)
  } catch (error) {
    if (error instanceof OptionError) throw new WrongUsage(error.message)
    throw error
  }
  if (options.remount) throw new WrongUsage('a remount starts no program: use mount(8), "mount -o remount,..."')
  const foreign = Object.keys(options).find((name) => !KERNEL_OPTIONS.includes(name))
  if (foreign !== undefined) {
    throw new WrongUsage(`-o ${texts.join(',')}: ${foreign} is the program's affair: give it to the program, behind "--"`)
  }
  const { command = {}, ...rest } = options
  for (const [name, value] of Object.entries(command)) {
    if (name !== 'accel' && name !== 'coherence' && !(name === 'type' && value === 'efuse')) {
      throw new WrongUsage(`-o ${name}=${value} means nothing to "efuse exec"`)
    }
  }
  return { options: rest, accel: command.accel ?? accel, coherence: command.coherence ?? coherence }
}

/**
 * Where the program takes its mountpoint, the device is put: wherever the arguments have `{}`, or else, where an
 * argument is the mountpoint.
 * @throws WrongUsage when that is nowhere
 */
export function placeMountpoint(args: readonly string[], mountpoint: string): string[] {
  if (args.some((arg) => arg.includes(PLACEHOLDER))) return args.map((arg) => arg.replaceAll(PLACEHOLDER, DEVICE_PATH))
  const path = resolve(mountpoint)
  if (!args.some((arg) => isPath(arg, path))) {
    throw new WrongUsage(`the program is not told where to mount: write ${PLACEHOLDER} or ${mountpoint} where it takes `
      + `its mountpoint, as in "efuse exec ${mountpoint} -- sshfs host: ${PLACEHOLDER}"`)
  }
  return args.map((arg) => isPath(arg, path) ? DEVICE_PATH : arg)
}

function isPath(arg: string, path: string): boolean {
  return arg !== '' && !arg.startsWith('-') && resolve(arg) === path
}
