// SPDX-License-Identifier: MIT
/** `mount()`: a FileSystem object of this program, served from its event loop. */
import type { MetadataCache } from '../bpf/metadata-cache.js'
import { OperationCounters } from '../fs/counters.js'
import type { FileSystem, Notifier } from '../fs/filesystem.js'
import type { Negotiation } from '../protocol/init.js'
import type { RingEnd } from '../rings/device.js'
import { Accelerators, checkWishes, dataOptionsOf, metadataOptionsOf, wishesOf, type Acceleration } from './accelerate.js'
import { attach, type Attachment } from './attach.js'
import { openControl, type Control } from './control.js'
import { atExit } from './exit.js'
import type { Hooks } from './hooks.js'
import { kernelTypeOf, kernelTypeOfMount } from './kernel-type.js'
import { requestsIn, type ServerLoad } from './load.js'
import { MountError } from './mountpoint.js'
import { parseOptions, type MountOptions } from './options.js'
import { Serving } from './serving.js'
import { watchOf, type SourceWatch } from './source-watch.js'
import { accelReport, kernelReport, operationReports, type MountReport } from './report.js'
import type { UnmountOptions } from './unmount.js'

const DEFAULT_INIT_TIMEOUT = 30
/** How long `unmount` waits for the server's end: another mount namespace may keep the connection. Milliseconds. */
const CLOSE_TIMEOUT = 5000

export interface InProcessOptions extends MountOptions {
  /** Seconds that kernel and the file system's `init` may take; default 30. */
  initTimeout?: number
  /** Whether the mount keeps the process alive; default true. */
  ref?: boolean
  /** Takes the mount away when the process exits or is signalled; default true. */
  exitHook?: boolean
  /** Lets `efuse list`, `stat` and `umount` of the same user find this mount; default true. */
  control?: boolean
  /**
   * Programs in the kernel that answer requests, on mounts of type efuse: `'auto'`, or those that are named, `true`
   * being an error where one is not to be had. Default: none. See docs/hooks.md
   */
  accelerate?: Acceleration
  /** Hears of handlers that threw what is no answer (FuseError, errno). Default: written to stderr. */
  onError?: (message: string) => void
}

/** A mounted file system. */
export interface Mount extends AsyncDisposable {
  /** Absolute. */
  readonly mountpoint: string
  /** Resolves when the file system was unmounted, by whomever, its last user is gone and `destroy` is done. */
  readonly closed: Promise<'unmounted' | 'aborted'>
  /** The messages that tell the kernel of changes. */
  readonly notify: Notifier
  /** What the kernel answers itself, to be filled and emptied; null unless `accelerate` has brought it. */
  readonly metadata: MetadataCache | null
  /**
   * Unmounts, writing out what the kernel has cached.
   * @throws UnmountError; `code` EBUSY: it is in use, and stays mounted. `force` unmounts nevertheless:
   *   who uses it gets errors. `lazy` takes it out of sight and serves on until its last user is gone
   */
  unmount(options?: UnmountOptions): Promise<void>
  /** What happened so far. */
  stats(): MountReport
  /** Keeps the process alive while mounted (the default). */
  ref(): void
  /** Lets the process end while mounted; it is then unmounted. */
  unref(): void
}

/**
 * Mounts a file system and serves it from this thread's event loop.
 *
 * Never touch the mount synchronously (`fs.readFileSync`, `execSync`...) from the same thread: it
 * would wait for itself. `fs.promises` and child processes are fine.
 *
 * @param mountpoint an existing directory, or a file for a file system whose root is a file
 * @param options typed, or as text: `'ro,fsname=example'`
 * @returns when the kernel has been answered FUSE_INIT: the mount works
 * @throws MountError, OptionError
 */
export async function mount(
  fileSystem: FileSystem, mountpoint: string, options: InProcessOptions | string = {},
): Promise<Mount> {
  const parsed: InProcessOptions = typeof options === 'string' ? parseOptions(options) : options
  checkWishes(wishesOf(parsed.accelerate), kernelTypeOf(parsed))
  const watch = watchOf(metadataOptionsOf(parsed.accelerate))
  const attachment = await attach(mountpoint, 'efuse', parsed).catch((error) => {
    watch?.close()
    throw error
  })
  const mounted = new InProcessMount(fileSystem, attachment, parsed, watch)
  await mounted.begin()
  return mounted
}

class InProcessMount implements Mount {
  readonly mountpoint: string
  readonly closed: Promise<'unmounted' | 'aborted'>
  private resolveClosed!: (end: 'unmounted' | 'aborted') => void
  /** Gone when the mount has ended: who keeps the Mount does not keep its file system and buffers. */
  private serving: Serving | null
  private readonly negotiation: Negotiation
  readonly notify: Notifier
  /** What the file system can do beside FUSE. */
  private readonly can: number
  private readonly counters = new OperationCounters()
  private control: Control | null = null
  private hooks: Hooks | null = null
  private accelerators: Accelerators | null = null
  private forgetExit: () => void = () => {}
  private ended = false

  constructor(
    fileSystem: FileSystem,
    private readonly attachment: Attachment,
    private readonly options: InProcessOptions,
    private readonly watch: SourceWatch | undefined,
  ) {
    this.mountpoint = attachment.mountpoint
    this.closed = new Promise((resolve) => { this.resolveClosed = resolve })
    this.serving = new Serving(attachment.fd, fileSystem, {
      options,
      counters: this.counters,
      log: options.onError ?? ((message) => process.stderr.write(`efuse: ${message}\n`)),
    })
    this.negotiation = this.serving.dispatcher.negotiation
    this.notify = this.serving.notifier
    this.can = fileSystem.can ?? 0
  }

  get metadata(): MetadataCache | null {
    return this.accelerators?.metadata ?? null
  }

  async begin(): Promise<void> {
    const { attachment, options } = this
    if (options.exitHook !== false) this.forgetExit = atExit(() => this.endNow())
    const serving = this.serving!
    serving.ring.runInEventLoop((end) => void this.end(end))
    try {
      await this.initialized(serving)
      await this.accelerate()
      if (options.control !== false) {
        this.control = await openControl(attachment.entry.device, {
          report: () => this.stats(),
          load: () => this.load(),
          server: { pid: process.pid, exits: false },
          hooks: this.hooks,
        })
      }
    } catch (error) {
      await attachment.detach({ force: true }).catch(() => {})
      await this.end('aborted')
      throw error
    }
    if (options.ref === false) this.unref()
  }

  private async accelerate(): Promise<void> {
    const { entry, fd } = this.attachment
    if (kernelTypeOfMount(entry.type) === 'efuse') this.hooks = (await import('./hooks.js')).Hooks.of(fd)
    this.accelerators = await Accelerators.load(wishesOf(this.options.accelerate), this.hooks, {
      options: this.options, agreement: this.negotiation.agree(), server: 'embedded', uring: false,
      can: this.can,
      metadata: metadataOptionsOf(this.options.accelerate), data: dataOptionsOf(this.options.accelerate),
      watch: this.watch, notify: this.notify,
    })
  }

  private async initialized({ dispatcher }: Serving): Promise<void> {
    const { initTimeout = DEFAULT_INIT_TIMEOUT } = this.options
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new MountError(dispatcher.pendingCount > 0
          ? `the file system's init() has not settled within ${initTimeout} s`
          : `the kernel has not asked to begin within ${initTimeout} s`, 'ETIMEDOUT'))
      }, initTimeout * 1000)
    })
    const gone = this.closed.then(() => {
      throw new MountError(`${this.mountpoint} was unmounted before it was ready`, 'ENOTCONN')
    })
    gone.catch(() => {})
    try {
      await Promise.race([dispatcher.initialized, timeout, gone])
    } finally {
      clearTimeout(timer)
    }
  }

  private async end(end: RingEnd): Promise<void> {
    if (this.ended) return
    this.ended = true
    try {
      await this.serving?.end()
    } catch (error) {
      this.options.onError?.(`destroy() failed: ${String(error)}`)
    }
    this.forgetExit()
    // An aborted connection leaves its mount behind, where every access fails.
    await this.attachment.detach({ lazy: true }).catch(() => {})
    this.attachment.release()
    this.accelerators?.close()
    this.watch?.close()
    this.hooks?.close()
    this.serving = null
    await this.control?.close()
    this.resolveClosed(end === 'unmounted' ? 'unmounted' : 'aborted')
  }

  private endNow(): void {
    this.serving?.ring.leave()
    this.attachment.detachNow()
    this.control?.closeNow()
  }

  async unmount(options: UnmountOptions = {}): Promise<void> {
    if (!this.ended) await this.attachment.detach(options)
    if (options.lazy && !options.force) return
    let timer: NodeJS.Timeout | undefined
    await Promise.race([
      this.closed,
      new Promise((resolve) => { timer = setTimeout(resolve, CLOSE_TIMEOUT) }),
    ])
    clearTimeout(timer)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.ended) await this.unmount()
  }

  stats(): MountReport {
    const { entry, mountpoint } = this.attachment
    return {
      mountpoint,
      source: entry.source,
      type: entry.type,
      rings: 'dev',
      workers: 1,
      passthrough: 'off',
      ...accelReport(this.accelerators),
      operations: operationReports([this.counters]),
      metrics: null,
      server: this.counters.gauges,
      kernel: kernelReport(entry.device, this.negotiation, this.accelerators),
    }
  }

  private load(): ServerLoad {
    const operations = OperationCounters.total([this.counters])
    const { gauges } = this.counters
    return {
      rings: 'dev', answered: this.accelerators?.answered() ?? {}, operations, ...gauges,
      workers: [{ index: 0, cpu: -1, serves: 'device', ...requestsIn(operations), ...gauges }],
    }
  }

  ref(): void {
    this.serving?.ring.keepAlive(true)
  }

  unref(): void {
    this.serving?.ring.keepAlive(false)
  }
}
