// SPDX-License-Identifier: MIT
/**
 * Serving a mount from worker threads, as the command line does: one worker per CPU where the file
 * system allows, each on a clone of the device descriptor.
 *
 * This, the main thread, serves nothing: it stays free for signals, replaces workers that die, and
 * ends everything when the mount is gone. None of the ways to end may hang: whoever still waits in
 * the mount when it must end gets an error.
 */
import { getSystemErrorName } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { Worker } from 'node:worker_threads'
import type { DataOptions } from '../bpf/data-cache.js'
import type { Coherence } from '../bpf/metadata-cache.js'
import type { Monitor } from '../bpf/monitor.js'
import { OperationCounters } from '../fs/counters.js'
import { NotifierOver } from '../fs/notifier.js'
import { STACKFS_CAN } from '../fs/stackfs/shared.js'
import * as native from '../native.js'
import { FUSE_DEV_IOC_CLONE } from '../protocol/constants.js'
import { Negotiation, type Agreement } from '../protocol/init.js'
import { Block } from '../protocol/struct.js'
import { Standby } from '../rings/standby.js'
import { queueCount, queuesOnline } from '../rings/uring.js'
import { Accelerators, checkWishes, type Wishes } from './accelerate.js'
import { attach, type Attachment } from './attach.js'
import { openControl, type Control } from './control.js'
import { atExit } from './exit.js'
import { keepAccessTimes, type FileSystemSource } from './filesystems.js'
import type { Hooks } from './hooks.js'
import { deviceOf, kernelTypeOf, kernelTypeOfMount } from './kernel-type.js'
import { mounts } from './mountinfo.js'
import { requestsIn, type ServerLoad } from './load.js'
import { Metrics, type MetricsAddress } from './metrics.js'
import { MountError } from './mountpoint.js'
import type { MountOptions } from './options.js'
import { accelReport, kernelReport, operationReports, type MountReport } from './report.js'
import { notificationSender } from './serving.js'
import { watchOf, type SourceWatch } from './source-watch.js'
import { WorkerStates, type FromWorker, type Rings, type ToWorker, type WorkerSetup } from './worker-protocol.js'

export interface ServeOptions {
  /** Shown in /proc/mounts unless `fsname` says otherwise. */
  source: string
  mountpoint: string
  fileSystem: FileSystemSource
  options: MountOptions
  /** How many workers; default: one per CPU that this process may use, or one. */
  workers?: number
  /** The channel to the kernel; default `auto`. With `uring` it is an error when there is none. */
  rings?: Rings
  /** Whether it is an error when the kernel does not take files for passthrough. */
  demandPassthrough?: boolean
  /** Which accelerators are to be loaded. */
  accelerate: Wishes
  /** Who else changes the source; default `shared`. */
  coherence?: Coherence
  /** Of the data accelerator. */
  data?: DataOptions
  /** Where metrics are to be served; default: nowhere. */
  metrics?: MetricsAddress
  /** Seconds that kernel and file system may take to begin; default 30. */
  initTimeout?: number
  /** Seconds that users of the mount get when a signal ends it; default 10. */
  grace?: number
  log: (message: string) => void
}

/** A mount that works. */
export interface Served {
  readonly mountpoint: string
  /** Resolves when all is over. @returns the exit status: 0, or 1 when the file system died */
  readonly ended: Promise<number>
}

const DEFAULT_INIT_TIMEOUT = 30
const DEFAULT_GRACE = 10
/** A worker that dies more often than so many times in so many milliseconds is not replaced. */
const MOST_RESTARTS = 5
const RESTART_WINDOW = 10_000
/** How long `destroy` may take when the mount is gone, milliseconds. */
const DESTROY_TIMEOUT = 5000
/** How long a thread may take to leave the kernel when the process exits, milliseconds. */
const LEAVE_TIMEOUT = 2000
const LEAVE_STEP_MICROSECONDS = 200
/** How often it is looked which CPUs are there, milliseconds. */
const FOLLOW_INTERVAL = 1000
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Mounts and serves. @returns when the kernel has been answered FUSE_INIT. @throws MountError */
export async function serve(options: ServeOptions): Promise<Served> {
  // This process does little else than what lies on a request's way, which is many small functions in several
  // rooms: compiled into one another they save 2 % of a getattr.
  setFlagsFromString('--max-inlined-bytecode-size-cumulative=5000')
  setFlagsFromString('--max-inlined-bytecode-size=1200')
  const supervisor = new Supervisor(options)
  await supervisor.begin()
  return supervisor
}

interface Member {
  readonly index: number
  readonly thread: Worker
  /** The CPU that it stays on; -1: any. */
  readonly cpu: number
  /** Its device descriptor; -1 before it serves. */
  fd: number
  /** Its io_uring ring; -1 when it has none. */
  ring: number
  /** It has said that its ring ended. */
  done: boolean
}

class Supervisor implements Served {
  mountpoint: string
  readonly ended: Promise<number>
  private resolveEnded!: (status: number) => void
  private readonly cpus = native.cpuList()
  private readonly states: WorkerStates
  private readonly stateMemory: SharedArrayBuffer
  private readonly standby: SharedArrayBuffer
  private readonly counters: OperationCounters[] = []
  private readonly members = new Map<number, Member>()
  private readonly restarts: number[] = []
  private attachment: Attachment | null = null
  private control: Control | null = null
  private metrics: Metrics | null = null
  private monitor: Monitor | null = null
  private hooks: Hooks | null = null
  private watch: SourceWatch | undefined
  private accelerators: Accelerators | null = null
  private agreement: Agreement | null = null
  private shared = false
  private workers: number
  private readonly mostMembers: number
  private ending = false
  private status = 0
  private forgetExit: () => void = () => {}
  private readonly onSignal = (signal: NodeJS.Signals): void => void this.signalled(signal)
  private signals = 0

  constructor(private readonly options: ServeOptions) {
    this.mountpoint = options.mountpoint
    this.ended = new Promise((resolve) => { this.resolveEnded = resolve })
    this.workers = options.workers ?? this.cpus.length
    // One more than serve: over io_uring one reads the device beside.
    this.mostMembers = Math.max(this.workers, this.queues) + 1
    this.stateMemory = WorkerStates.allocate(this.mostMembers)
    this.states = new WorkerStates(this.stateMemory)
    this.standby = Standby.allocate(this.mostMembers)
  }

  async begin(): Promise<void> {
    const { options } = this
    this.forgetExit = atExit(() => this.endNow())
    for (const signal of SIGNALS) process.on(signal, this.onSignal)
    try {
      checkWishes(options.accelerate, kernelTypeOf(options.options))
      // The file system opens its source before anything is mounted: it may lie under the mountpoint.
      if (options.accelerate.metadata !== 'off' && options.fileSystem.kind === 'stackfs') {
        this.watch = watchOf({ coherence: options.coherence, source: options.fileSystem.shared.options.source })
      }
      const first = this.start(0)
      const loaded = await this.first(first, 'loaded', 'the file system has not been made')
      this.shared = loaded.shared
      if (!this.shared) this.workers = 1
      this.attachment = await attach(options.mountpoint, options.source, options.options)
      this.mountpoint = this.attachment.mountpoint
      // Unless asked for, the source's own way is kept.
      if (/\b(no|nodir|strict)atime\b/.test((options.options.flags ?? []).join())) this.remounted()
      const initialized = this.first(first, 'initialized', 'the kernel or the file system has not begun')
      this.give(first)
      this.agreement = (await initialized).agreement
      this.checkDemands(this.agreement)
      await this.accelerate()
      this.control = await openControl(this.attachment.entry.device, {
        report: () => this.report(),
        load: () => this.load(),
        server: { pid: process.pid, exits: true },
        abort: () => void this.abort(),
        remounted: () => this.remounted(),
        hooks: this.hooks,
        policy: this.hooks === null ? undefined : (wish) => this.accelerators!.choosePolicy(this.hooks!, wish),
      })
      if (options.metrics !== undefined) {
        this.metrics = await this.openMetrics(options.metrics)
      }
      // Over io_uring those that serve queues come beside the first one, which reads the device.
      if (this.shared && this.overUring) this.divideQueues()
      const members = this.queuesOf.length || this.workers
      for (let index = 1; index < members; index++) this.start(index)
      if (this.hooks !== null && this.queuesOf.length > 0 && options.workers === undefined) {
        this.following = setInterval(() => void this.followCpus(), FOLLOW_INTERVAL)
      }
    } catch (error) {
      await this.abort()
      throw error
    }
  }

  /** Opens the mount's hooks, where its type has them, and loads the accelerators. */
  private async accelerate(): Promise<void> {
    const { accelerate, options, fileSystem } = this.options
    const { entry, fd } = this.attachment!
    const passthrough = fileSystem.kind === 'stackfs' ? fileSystem.shared.options.passthrough ?? true : false
    if (kernelTypeOfMount(entry.type) === 'efuse') {
      this.hooks = (await import('./hooks.js')).Hooks.of(fd)
      this.chooseQueues(this.hooks)
    }
    this.accelerators = await Accelerators.load(accelerate, this.hooks, {
      options, agreement: this.agreement, server: fileSystem.kind, can: fileSystem.kind === 'stackfs' ? STACKFS_CAN : 0,
      uring: this.overUring, rings: this.queues,
      metadata: { coherence: this.options.coherence }, data: { coherence: this.options.coherence, ...this.options.data },
      hooked: passthrough === false ? undefined : typeof passthrough === 'string',
      watch: this.watch, notify: new NotifierOver(notificationSender(fd)),
    })
  }

  private get overUring(): boolean {
    return this.agreement !== null && Negotiation.from(this.agreement).has('FUSE_OVER_IO_URING')
  }

  private get passesThrough(): boolean {
    return this.agreement !== null && Negotiation.from(this.agreement).has('FUSE_PASSTHROUGH')
  }

  // Queues -----------------------------------------------------------------------------------------

  /** How many io_uring queues are served: one for each CPU that is there, where the kernel lets us say so. */
  private queues = queueCount()
  /** Those of each worker, by its index; the first one has none: it reads the device. Empty where there are no queues. */
  private readonly queuesOf: (readonly number[])[] = []

  private chooseQueues(hooks: Hooks): void {
    const online = queuesOnline()
    if (this.shared && this.overUring && online < this.queues && hooks.setQueues(online)) this.queues = online
  }

  /** Each worker gets its queues, turn by turn: no more workers than there are queues, which may be fewer than CPUs. */
  private divideQueues(): void {
    const servers = Math.min(this.workers, this.queues)
    for (let index = 1; index <= servers; index++) {
      const mine: number[] = []
      for (let queue = index - 1; queue < this.queues; queue += servers) mine.push(queue)
      this.queuesOf[index] = mine
    }
  }

  private following: NodeJS.Timeout | undefined
  private growing = false

  /** CPUs that come while the mount is used get queues, each with a worker of its own; those of CPUs that have left rest. */
  private async followCpus(): Promise<void> {
    const wanted = queuesOnline()
    if (wanted === this.queues || this.growing || this.ending) return
    this.growing = true
    try {
      for (let queue = Math.max(...this.queuesOf.flat()) + 1; queue < wanted; queue++) {
        const index = this.queuesOf.length
        this.queuesOf[index] = [queue]
        await this.first(this.start(index), 'registered', `no worker serves queue ${queue}`)
      }
      if (!this.hooks!.setQueues(wanted)) throw new MountError('the kernel refuses')
      this.queues = wanted
      this.accelerators?.balance?.grow(wanted)
      this.growing = false
    } catch (error) {
      // Not tried again: requests of such CPUs go to the queues that there are.
      if (!this.ending) this.options.log(`still ${this.queues} rings for ${wanted} CPUs: ${(error as Error).message}`)
    }
  }

  /** @throws MountError when something that was demanded was not agreed on */
  private checkDemands(agreement: Agreement): void {
    const agreed = Negotiation.from(agreement)
    if (this.options.rings === 'uring' && !agreed.has('FUSE_OVER_IO_URING')) {
      throw new MountError(
        'this kernel does not offer FUSE over io_uring: run "efuse doctor --fix" as root, or use --rings auto')
    }
    if (this.options.demandPassthrough && !agreed.has('FUSE_PASSTHROUGH')) {
      throw new MountError('this kernel, or our privilege, does not allow passthrough: use --passthrough auto')
    }
  }

  // Workers ----------------------------------------------------------------------------------------

  private start(index: number): Member {
    const { options } = this
    // More may have come.
    const cpus = this.queuesOf[index] === undefined ? this.cpus : native.cpuList()
    const counters = (this.counters[index] ??= new OperationCounters())
    const queues = this.queuesOf[index] ?? null
    // A queue's requests are made on its CPU; who serves several had better stay free. The worker that
    // reads the device goes where the scheduler puts it: near whoever makes the requests.
    const device = index === 0 && (this.agreement === null || this.shared) ? -1 : cpus[index % cpus.length]
    const cpu = queues === null ? device : queues.length === 1 ? queues[0] : -1
    const setup: WorkerSetup = {
      index,
      cpu: this.mostMembers > 2 && cpus.includes(cpu) ? cpu : -1,
      rings: options.rings ?? 'auto',
      queues,
      ringStates: this.accelerators?.balance?.rings ?? null,
      standby: this.standby,
      source: options.fileSystem,
      options: options.options,
      states: this.stateMemory,
      counters: counters.memory,
    }
    const thread = new Worker(new URL('./worker.js', import.meta.url), { workerData: setup })
    const member: Member = { index, thread, cpu: setup.cpu, fd: -1, ring: -1, done: false }
    this.members.set(index, member)
    thread.on('message', (message: FromWorker) => this.heard(member, message))
    thread.on('error', (error) => {
      options.log(`worker ${index} died: ${error instanceof Error ? error.stack ?? error.message : String(error)}`)
    })
    thread.on('exit', () => this.exited(member))
    return member
  }

  /** Waits for a worker's message, its end, or the time-out. */
  private first<T extends FromWorker['type']>(
    member: Member, type: T, complaint: string,
  ): Promise<Extract<FromWorker, { type: T }>> {
    const { initTimeout = DEFAULT_INIT_TIMEOUT } = this.options
    return new Promise((resolve, reject) => {
      const onMessage = (message: FromWorker): void => {
        if (message.type === type) settle(() => resolve(message as Extract<FromWorker, { type: T }>))
        else if (message.type === 'failed') settle(() => reject(new MountError(message.message)))
        else if (message.type === 'ended') settle(() => reject(new MountError('unmounted before it was ready')))
      }
      const onError = (error: unknown): void => {
        settle(() => reject(new MountError(error instanceof Error ? error.message : String(error))))
      }
      const onExit = (): void => settle(() => reject(new MountError('the file system ended its worker')))
      const timer = setTimeout(() => {
        settle(() => reject(new MountError(`${complaint} within ${initTimeout} s`, 'ETIMEDOUT')))
      }, initTimeout * 1000)
      const settle = (how: () => void): void => {
        clearTimeout(timer)
        member.thread.off('message', onMessage).off('error', onError).off('exit', onExit)
        how()
      }
      member.thread.on('message', onMessage).on('error', onError).on('exit', onExit)
    })
  }

  /** Gives a worker its descriptor. */
  private give(member: Member): void {
    member.fd = this.cloneDevice()
    this.tell(member, { type: 'serve', fd: member.fd, agreement: this.agreement ?? undefined })
  }

  /** A further descriptor of the connection, with a queue of its own: when it is closed, its requests fail at once. */
  private cloneDevice(): number {
    const fd = native.openDevice(deviceOf(kernelTypeOfMount(this.attachment!.entry.type)))
    // fusermount3 may open what we may not: then all workers use its one queue.
    if (fd < 0) return native.dup(this.attachment!.fd)
    const argument = new Block(new ArrayBuffer(8))
    argument.u32[0] = this.attachment!.fd
    const cloned = native.ioctl(fd, FUSE_DEV_IOC_CLONE, argument, 0, 4)
    if (cloned < 0) {
      native.close(fd)
      throw new MountError(`the FUSE device can't be cloned: ${getSystemErrorName(cloned)}`)
    }
    return fd
  }

  private tell(member: Member, message: ToWorker): void {
    member.thread.postMessage(message)
  }

  private heard(member: Member, message: FromWorker): void {
    switch (message.type) {
      case 'loaded':
        if (this.agreement !== null && !this.ending) this.give(member)
        return
      case 'interrupt':
      case 'retrieved':
        for (const other of this.members.values()) {
          // A blocked worker hears nothing, and awaits nothing.
          if (other !== member && this.states.blockedThread(other.index) === 0) this.tell(other, message)
        }
        return
      case 'ring':
        member.ring = message.fd
        return
      case 'log':
        this.options.log(message.message)
        return
      case 'ended':
        member.done = true
        void member.thread.terminate()
        // The connection is gone for all of them; those that stand by would not notice.
        if (message.end !== 'stopped') this.stopAll()
    }
  }

  private exited(member: Member): void {
    if (member.fd >= 0) native.close(member.fd)
    member.fd = -1
    // One that ended in order has closed its ring itself.
    const hadRing = member.ring >= 0 && !member.done
    if (hadRing) native.close(member.ring)
    member.ring = -1
    this.states.leave(member.index)
    if (this.members.get(member.index) === member) this.members.delete(member.index)
    if (this.ending || member.done) {
      if (this.members.size === 0) void this.finish()
      return
    }
    if (this.agreement === null) return
    if (member.index === 0) Standby.readerLost(this.standby)
    if (hadRing) {
      // The kernel never gives up on requests that it has put into a ring: they would hang.
      this.options.log(`worker ${member.index} died with its ring: aborting`)
      this.status = 1
      void this.abort()
      return
    }
    if (this.shared && this.mayRestart()) {
      this.options.log(`worker ${member.index} is replaced`)
      this.start(member.index)
      return
    }
    if (this.members.size > 0) return
    this.options.log('no worker is left: unmounting')
    this.status = 1
    void this.abort()
  }

  private mayRestart(): boolean {
    const now = performance.now()
    while (this.restarts.length > 0 && this.restarts[0] < now - RESTART_WINDOW) this.restarts.shift()
    this.restarts.push(now)
    return this.restarts.length <= MOST_RESTARTS
  }

  // Ending -----------------------------------------------------------------------------------------

  /** The first signal unmounts and lets users finish; the next one does not wait. */
  private async signalled(signal: NodeJS.Signals): Promise<void> {
    this.signals++
    if (this.signals > 1 || this.attachment === null) return this.abort()
    const { grace = DEFAULT_GRACE, log } = this.options
    log(`${signal}: unmounting ${this.mountpoint}`)
    const timer = setTimeout(() => {
      log(`still in use after ${grace} s: aborting`)
      void this.abort()
    }, grace * 1000)
    void this.ended.then(() => clearTimeout(timer))
    try {
      await this.attachment.detach({ lazy: true })
    } catch (error) {
      log((error as Error).message)
      await this.abort()
    }
  }

  /** Ends at once: the connection is aborted, whoever waits in the mount gets an error. */
  private async abort(): Promise<void> {
    if (this.ending) return
    this.ending = true
    // Detaching first, while there is a server: afterwards it would be a dead mount for a moment.
    await this.attachment?.detach({ force: true }).catch((error: Error) => this.options.log(error.message))
    this.stopAll()
    for (const member of this.members.values()) this.tell(member, { type: 'stop' })
    const signalling = setInterval(() => this.wake(), 10)
    const timers = [
      setTimeout(() => {
        for (const member of this.members.values()) void member.thread.terminate()
      }, DESTROY_TIMEOUT),
      setTimeout(() => void this.finish(), DESTROY_TIMEOUT + LEAVE_TIMEOUT),
    ]
    this.wake()
    if (this.members.size === 0) void this.finish()
    await this.ended
    clearInterval(signalling)
    for (const timer of timers) clearTimeout(timer)
  }

  private stopAll(): void {
    Atomics.store(this.states.stop, 0, 1)
    Standby.wakeAll(this.standby)
  }

  /** Interrupts the workers that block in the kernel, which then see that they are to stop. */
  private wake(): boolean {
    let blocked = false
    for (let index = 0; index < this.mostMembers; index++) {
      const thread = this.states.blockedThread(index)
      if (thread === 0) continue
      blocked = true
      native.signalThread(thread)
    }
    return blocked
  }

  private finished = false
  private async finish(): Promise<void> {
    if (this.finished) return
    this.finished = true
    this.ending = true
    clearInterval(this.following)
    // An aborted connection leaves its mount behind, where every access fails.
    await this.attachment?.detach({ lazy: true }).catch((error: Error) => this.options.log(error.message))
    this.attachment?.release()
    await this.control?.close()
    this.metrics?.close()
    this.monitor?.close()
    this.accelerators?.close()
    this.watch?.close()
    this.hooks?.close()
    // A thread that hangs in the kernel is left to the exit of the process, which knows a last resort.
    if (this.members.size === 0) this.forgetExit()
    for (const signal of SIGNALS) process.off(signal, this.onSignal)
    this.resolveEnded(this.status)
  }

  /** The process is exiting, which waits for all threads: none may stay in the kernel. */
  private endNow(): void {
    this.stopAll()
    const deadline = performance.now() + LEAVE_TIMEOUT
    while (this.wake() && performance.now() < deadline) native.sleepMicroseconds(LEAVE_STEP_MICROSECONDS)
    for (const member of this.members.values()) {
      if (member.fd >= 0) native.close(member.fd)
      member.fd = -1
    }
    this.attachment?.detachNow()
    this.control?.closeNow()
    if (this.wake()) {
      // A thread that hangs in the kernel for another reason would keep the process for ever.
      process.kill(process.pid, 'SIGKILL')
    }
  }

  private async openMetrics(address: MetricsAddress): Promise<Metrics> {
    const { device } = this.attachment!.entry
    const { Monitor } = await import('../bpf/monitor.js')
    try {
      this.monitor = await Monitor.open({ connections: 1 })
      this.monitor.watch(device)
    } catch (error) {
      this.options.log(`metrics tell the server's own account: ${(error as Error).message}`)
    }
    return Metrics.open(address, {
      report: () => this.report(),
      server: () => this.load(),
      kernel: () => this.monitor?.read(device) ?? null,
    })
  }

  /** The mount's flags have changed. */
  private remounted(): void {
    const entry = mounts().find(({ id }) => id === this.attachment!.entry.id)
    if (entry !== undefined) keepAccessTimes(this.options.fileSystem, entry.mountOptions)
  }

  // Report -----------------------------------------------------------------------------------------

  private report(): MountReport {
    const { entry } = this.attachment!
    return {
      mountpoint: this.mountpoint,
      source: entry.source,
      type: entry.type,
      rings: this.overUring ? 'uring' : 'dev',
      workers: this.members.size,
      passthrough: this.passesThrough ? 'on' : 'off',
      ...accelReport(this.accelerators),
      operations: operationReports(this.counters),
      metrics: this.metrics?.url ?? null,
      server: OperationCounters.totalGauges(this.counters),
      kernel: kernelReport(entry.device, this.agreement!, this.accelerators),
    }
  }

  private load(): ServerLoad {
    return {
      rings: this.overUring ? 'uring' : 'dev',
      answered: this.accelerators?.answered() ?? {},
      balance: this.accelerators?.balance?.report() ?? null,
      operations: OperationCounters.total(this.counters),
      ...OperationCounters.totalGauges(this.counters),
      workers: [...this.members.values()].map(({ index, cpu }) => ({
        index,
        cpu,
        serves: this.queuesOf[index] === undefined ? 'device' : 'queues',
        ...requestsIn(OperationCounters.total([this.counters[index]])),
        ...this.counters[index].gauges,
      })),
    }
  }
}
