// SPDX-License-Identifier: MIT
/**
 * Another program's file system on efuse.ko: an unmodified libfuse 3 program, which is given the mounted device as
 * `/dev/fd/3` in place of a mountpoint. This process mounts, starts the program, and stays beside it.
 *
 * It keeps a control descriptor, for hooks, and not the device: when the program and all that it has started are gone,
 * the kernel ends the connection, and who waits in the mount gets an error. Then this process takes the mount away.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { constants as os } from 'node:os'
import { basename } from 'node:path'
import type { Readable } from 'node:stream'
import type { Coherence } from '../bpf/metadata-cache.js'
import { Accelerators, checkWishes, type Wishes } from './accelerate.js'
import { attach, type Attachment } from './attach.js'
import { openControl, type Control } from './control.js'
import { atExit } from './exit.js'
import type { Hooks } from './hooks.js'
import { MountError } from './mountpoint.js'
import type { MountOptions } from './options.js'
import { programReport, type ProgramReport } from './report.js'

export interface ExecOptions {
  mountpoint: string
  program: string
  /** With DEVICE_PATH in place of the mountpoint. */
  args: readonly string[]
  options: MountOptions
  accelerate: Wishes
  /** Who else changes what the program serves; default `shared`. */
  coherence?: Coherence
  log: (message: string) => void
}

/** What the program is told to mount on: the device, its descriptor 3. */
export const DEVICE_PATH = '/dev/fd/3'
/** The program's descriptor that nobody writes to: its other end sees when all of its holders are gone. */
const LIFELINE = 4

/** Passed on to the program. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const
/** Those that a terminal sends to the program as well. */
const FROM_TERMINAL: readonly string[] = ['SIGINT', 'SIGQUIT']
/** How long a program may take to notice that its mount was aborted, milliseconds. */
const ABORT_TIMEOUT = 5000

/**
 * Mounts, runs the program until it and what it has left in the background have ended, and unmounts.
 * @returns the program's exit status; 128 and the signal's number when one has killed it
 * @throws MountError
 */
export async function exec(options: ExecOptions): Promise<number> {
  checkWishes(options.accelerate, 'efuse')
  const attachment = await attach(options.mountpoint, basename(options.program), {
    // Programs check permissions themselves unless told otherwise.
    defaultPermissions: false, ...options.options, type: 'efuse',
  })
  const run = new ProgramRun(options, attachment)
  try {
    await run.begin()
  } catch (error) {
    await run.end(true)
    throw error
  }
  return run.ended
}

class ProgramRun {
  readonly ended: Promise<number>
  private resolveEnded!: (status: number) => void
  private child: ChildProcess | null = null
  /** Ends when the last process ends that has the program's descriptors. */
  private lifeline: Readable | null = null
  /** The program's, once that has ended. */
  private status: number | null = null
  private hooks: Hooks | null = null
  private accelerators: Accelerators | null = null
  private control: Control | null = null
  private signals = 0
  private readonly forgetExit: () => void
  private readonly onSignal = (signal: NodeJS.Signals): void => this.signalled(signal)

  constructor(private readonly options: ExecOptions, private readonly attachment: Attachment) {
    this.ended = new Promise((resolve) => { this.resolveEnded = resolve })
    this.forgetExit = atExit(() => {
      this.attachment.detachNow()
      this.control?.closeNow()
    })
    for (const signal of SIGNALS) process.on(signal, this.onSignal)
  }

  async begin(): Promise<void> {
    const { options, attachment } = this
    this.hooks = (await import('./hooks.js')).Hooks.of(attachment.fd)
    // Hooks are asked from FUSE_INIT on, so nothing is missed and nothing comes too early.
    this.accelerators = await Accelerators.load(options.accelerate, this.hooks, {
      options: options.options, agreement: null, server: 'program', uring: false,
      metadata: { coherence: options.coherence }, data: { coherence: options.coherence },
    })
    this.control = await openControl(attachment.entry.device, {
      report: () => this.report(),
      server: { pid: process.pid, exits: true, program: options.program },
      abort: () => void this.abort(),
      hooks: this.hooks,
    })
    await this.start()
  }

  private async start(): Promise<void> {
    const { program, args } = this.options
    const child = spawn(program, args, { stdio: ['inherit', 'inherit', 'inherit', this.attachment.fd, 'pipe'] })
    // Whatever becomes of the program, the device must not be ours any more when it ends.
    this.attachment.handOver()
    const error = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
      child.once('spawn', () => resolve(null)).once('error', resolve)
    })
    if (error !== null) {
      throw new MountError(error.code === 'ENOENT' ? `the program ${program} is not found: install it, or give its path`
        : `the program ${program} can't be run: ${error.code}`, error.code)
    }
    this.child = child
    child.once('exit', (code, signal) => {
      this.status = code ?? 128 + os.signals[signal!]
      // One that was killed, or has failed, has not gone into the background, whatever its children hold.
      if (this.status !== 0) void this.end(true)
    })
    this.lifeline = child.stdio[LIFELINE] as Readable
    this.lifeline.on('error', () => {}).resume().once('close', () => {
      if (child.exitCode !== null || child.signalCode !== null) void this.end(false)
      // A program that closes what it does not know lives on without it.
      else child.once('exit', () => void this.end(false))
    })
  }

  private signalled(signal: NodeJS.Signals): void {
    if (this.child !== null && this.status === null) {
      if (!(FROM_TERMINAL.includes(signal) && inForeground())) this.child.kill(signal)
      return
    }
    // What it has left in the background ends with the mount.
    this.signals++
    if (this.signals > 1) void this.abort()
    else this.attachment.detach({ lazy: true }).catch((error: Error) => this.options.log(error.message))
  }

  /** Ends the connection: who waits in the mount gets an error, and the program reads ENODEV. */
  private async abort(): Promise<void> {
    await this.attachment.detach({ force: true }).catch((error: Error) => this.options.log(error.message))
    setTimeout(() => this.child?.kill('SIGKILL'), ABORT_TIMEOUT).unref()
  }

  private ending = false
  /** @param force who still uses the mount gets errors, even if part of the program lives on */
  async end(force: boolean): Promise<void> {
    if (this.ending) return
    this.ending = true
    this.attachment.handOver()
    // A dead mount would stay, where every access fails.
    await this.attachment.detach(force ? { force } : { lazy: true }).catch((error: Error) => this.options.log(error.message))
    this.attachment.release()
    await this.control?.close()
    this.accelerators?.close()
    this.hooks?.close()
    // Who still has the other end, a child that the program has left, is not waited for.
    this.lifeline?.destroy()
    this.forgetExit()
    for (const signal of SIGNALS) process.off(signal, this.onSignal)
    this.resolveEnded(this.status ?? 1)
  }

  private report(): ProgramReport {
    const { attachment, options } = this
    return programReport(attachment.entry, [options.program, ...options.args], this.child?.pid ?? null, this.accelerators)
  }
}

/** Whether a terminal's signals come to this process, and so to its children as well. */
function inForeground(): boolean {
  const stat = readFileSync('/proc/self/stat', 'latin1')
  // The command in parentheses may contain anything.
  const [, , group, , terminal, foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return terminal !== '0' && group === foreground
}
