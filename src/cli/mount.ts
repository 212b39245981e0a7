// SPDX-License-Identifier: MIT
/** The server of `efuse mount`: the process itself in the foreground, otherwise one that mount-background.ts starts. */
import { existsSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseDataOptions, type DataOptions } from '../bpf/data-cache.js'
import type { Coherence } from '../bpf/metadata-cache.js'
import { checkWishes, parseAccel } from '../mount/accelerate.js'
import type { FileSystemSource } from '../mount/filesystems.js'
import { kernelTypeOf } from '../mount/kernel-type.js'
import { parseMetricsAddress } from '../mount/metrics.js'
import { prepareMountpoint } from '../mount/mountpoint.js'
import { OptionError, parseOptions, type ParsedOptions } from '../mount/options.js'
import { serve, type Served } from '../mount/serve.js'
import { maxWriteOf } from '../mount/settings.js'
import { Failure, WrongUsage } from './failure.js'
import { parent } from './mount-background.js'

export interface MountArguments {
  foreground: boolean
  options: string[]
  fs: string
  type: 'auto' | 'fuse' | 'efuse'
  rings: 'auto' | 'dev' | 'uring'
  workers: number | 'auto'
  passthrough: 'auto' | 'on' | 'off'
  accel: string
  data?: string
  coherence: 'shared' | 'watched' | 'exclusive'
  metrics?: string
}

/** Mounts and serves until the end of the mount, which ends the process. */
export async function mountCommand(source: string, mountpoint: string, args: MountArguments): Promise<void> {
  const report = parent()
  // Whoever started us in the background has given up: so do we.
  const orphaned = (): void => process.exit(1)
  if (report !== null) process.once('disconnect', orphaned)
  try {
    const options = parse(args)
    demand(args)
    options.type = args.type
    maxWriteOf(options)
    const served = await run(source, mountpoint, args, options, report !== null)
    if (report !== null) {
      process.off('disconnect', orphaned)
      await report({ ready: true })
      process.disconnect()
    } else {
      process.stderr.write(`efuse: serving ${source} at ${served.mountpoint}\n`)
    }
    process.exit(await served.ended)
  } catch (error) {
    if (report === null) throw error
    process.off('disconnect', orphaned)
    await report({ error: (error as Error).message, status: error instanceof Failure ? error.status : 1 })
    process.exit(1)
  }
}

function parse(args: MountArguments): ParsedOptions {
  let options: ParsedOptions
  try {
    options = parseOptions(...args.options)
  } catch (error) {
    if (error instanceof OptionError) throw new WrongUsage(error.message)
    throw error
  }
  if (options.remount) throw new WrongUsage('a remount starts no server: use mount(8), "mount -o remount,..."')
  // fstab has no other place for them.
  for (const [name, value] of Object.entries(options.command ?? {})) {
    if (name === 'workers') {
      if (value !== 'auto' && !/^[1-9]\d{0,2}$/.test(value)) throw new WrongUsage(`workers=${value}: "auto" or a number`)
      args.workers = value === 'auto' ? 'auto' : Number(value)
    } else {
      Object.assign(args, { [name]: value })
    }
  }
  return options
}

/** Rungs of the ladder that were demanded and are not there. */
function demand(args: MountArguments): void {
  const oneOf = (name: string, value: string, allowed: readonly string[]): void => {
    if (!allowed.includes(value)) throw new WrongUsage(`--${name} ${value}: it is one of ${allowed.join(', ')}`)
  }
  oneOf('type', args.type, ['auto', 'fuse', 'efuse'])
  oneOf('rings', args.rings, ['auto', 'dev', 'uring'])
  oneOf('passthrough', args.passthrough, ['auto', 'on', 'off'])
  oneOf('coherence', args.coherence, ['shared', 'watched', 'exclusive'])
  const wishes = parseAccel(args.accel)
  if (wishes === null) throw new WrongUsage(`--accel ${args.accel}: it is auto, off, or any of metadata,data,balance`)
  dataOptions(args)
  checkWishes(wishes, kernelTypeOf(args))
  if (args.coherence === 'watched' && args.fs !== 'stackfs') throw new WrongUsage('--coherence watched: it is for --fs stackfs')
  if (args.metrics !== undefined && parseMetricsAddress(args.metrics) === null) {
    throw new WrongUsage(`--metrics ${args.metrics}: it is PORT or HOST:PORT`)
  }
}

/** @throws WrongUsage */
function dataOptions({ data }: MountArguments): DataOptions {
  try {
    return data === undefined ? {} : parseDataOptions(data)
  } catch (error) {
    throw new WrongUsage((error as Error).message)
  }
}

async function run(
  source: string, mountpoint: string, args: MountArguments, options: ParsedOptions, background: boolean,
): Promise<Served> {
  // Whoever read our log may end before we do.
  process.stderr.on('error', () => {})
  const where = resolve(mountpoint)
  await prepareMountpoint(where)
  const fileSystem = await fileSystemOf(source, where, args, options)
  if (background) process.chdir('/')
  return serve({
    source,
    mountpoint: where,
    fileSystem,
    options,
    workers: args.workers === 'auto' ? undefined : args.workers,
    rings: args.rings,
    demandPassthrough: args.passthrough === 'on',
    accelerate: parseAccel(args.accel)!,
    data: dataOptions(args),
    coherence: args.coherence as Coherence,
    metrics: args.metrics === undefined ? undefined : parseMetricsAddress(args.metrics)!,
    log: (message) => process.stderr.write(`efuse: ${message}\n`),
  })
}

async function fileSystemOf(
  source: string, mountpoint: string, args: MountArguments, options: ParsedOptions,
): Promise<FileSystemSource> {
  const { fs } = args
  if (fs === 'memfs') return { kind: 'memfs' }
  // Demanded, it takes the place of passthrough.
  const hooked = parseAccel(args.accel)!.data !== 'on' || args.passthrough !== 'auto' ? null
    : dataOptions(args).files === 'cached' ? 'bound' : 'hooked'
  if (fs === 'stackfs') return stackfs(source, options, hooked ?? args.passthrough !== 'off')
  if (!fs.startsWith('.') && !isAbsolute(fs)) {
    throw new WrongUsage(`--fs ${fs}: it is stackfs, memfs or a module's path (./mod.js)`)
  }
  const path = resolve(fs)
  if (!existsSync(path)) throw new Failure(`the file system module ${fs} does not exist`)
  return { kind: 'module', url: pathToFileURL(path).href, options: { source, mountpoint } }
}

async function stackfs(
  source: string, options: ParsedOptions, passthrough: boolean | 'hooked' | 'bound',
): Promise<FileSystemSource> {
  const { prepareStackFS } = await import('../fs/stackfs/index.js')
  try {
    const shared = prepareStackFS({
      source: resolve(source),
      directIo: options.directIo,
      keepCache: options.kernelCache,
      passthrough,
    })
    return { kind: 'stackfs', shared }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') throw new Failure(`SOURCE ${source} does not exist: create it, or name another`)
    if (code === undefined) throw error
    throw new Failure(`SOURCE ${source} can't be opened: ${code}`)
  }
}
