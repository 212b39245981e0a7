// SPDX-License-Identifier: MIT
/**
 * A served mount: started, waited for, and ended whatever happens. Nothing here touches the mount
 * itself: a server that hangs must not take the driver with it.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { CONNECTIONS, provideKernelFiles } from './kernel-files.js'
import type { Place, Variant } from './variants.js'

const START_TIMEOUT_MS = 20_000
const END_TIMEOUT_MS = 5000
const UMOUNT_TIMEOUT_MS = 5000
const POLL_MS = 5

/** All that run, for the driver's last resort. */
const running = new Set<Server>()

/** The mount at a path, as the kernel lists it. @returns the minor device number, which is the connection's; or null */
export function connectionAt(mountpoint: string): number | null {
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const fields = line.split(' ')
    if (fields[4] === mountpoint) return Number(fields[2].split(':')[1])
  }
  return null
}

export class Server {
  /** Null for a variant without a server. */
  readonly pid: number | null
  readonly connection: number | null
  /** How long it took until the mount was there, milliseconds. */
  readonly mountedMs: number

  private constructor(
    readonly variant: Variant, readonly directory: string, readonly command: string[] | null,
    private readonly child: ChildProcess | null, mountedMs: number,
  ) {
    this.pid = child?.pid ?? null
    this.connection = child === null ? null : connectionAt(directory)
    this.mountedMs = mountedMs
  }

  /**
   * @param cpu the client's, for variants beside it
   * @throws Error with what the server said when it does not mount
   */
  static async start(variant: Variant, place: Place, cpu: number): Promise<Server> {
    const command = variant.command(place)
    if (command === null) return new Server(variant, place.source, null, null, 0)
    if (variant.besideClient) command.unshift('taskset', '-c', String(cpu))
    mkdirSync(place.mountpoint, { recursive: true })
    const begin = performance.now()
    const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    const hear = (text: Buffer): void => { said = (said + text.toString()).slice(-4000) }
    child.stdout!.on('data', hear)
    child.stderr!.on('data', hear)
    let failure: Error | null = null
    child.on('error', (error) => { failure = error })
    while (connectionAt(place.mountpoint) === null) {
      if (failure === null && child.exitCode === null && child.signalCode === null) {
        if (performance.now() - begin < START_TIMEOUT_MS) {
          await sleep(POLL_MS)
          continue
        }
        child.kill('SIGKILL')
        failure = new Error(`not mounted after ${START_TIMEOUT_MS / 1000} s`)
      }
      const last = said.trim().split('\n').at(-1)
      throw failure ?? new Error(last || `it ended with status ${child.exitCode ?? child.signalCode}`)
    }
    const server = new Server(variant, place.mountpoint, command, child, performance.now() - begin)
    running.add(server)
    return server
  }

  get alive(): boolean {
    return this.child === null || (this.child.exitCode === null && this.child.signalCode === null)
  }

  /** Unmounts and waits for the server's end; more and more forcefully. */
  async stop(): Promise<void> {
    const { child } = this
    if (child === null || !running.has(this)) return
    const exited = this.alive ? once(child, 'exit') : Promise.resolve()
    umount(this.directory, false)
    await Promise.race([exited, sleep(END_TIMEOUT_MS, undefined, { ref: false })])
    if (this.alive || connectionAt(this.directory) !== null) this.endNow()
    await Promise.race([exited, sleep(END_TIMEOUT_MS, undefined, { ref: false })])
    running.delete(this)
  }

  /** Ends it without waiting for anybody. */
  endNow(): void {
    abort(this.connection)
    if (this.alive) this.child?.kill('SIGKILL')
    while (connectionAt(this.directory) !== null && umount(this.directory, true)) { /* one upon another */ }
    running.delete(this)
  }
}

/** For exits that wait for nothing. */
export function endAllNow(): void {
  for (const server of [...running]) server.endNow()
}

function umount(mountpoint: string, lazy: boolean): boolean {
  if (connectionAt(mountpoint) === null) return true
  try {
    execFileSync('umount', [...(lazy ? ['-l'] : []), mountpoint],
      { timeout: UMOUNT_TIMEOUT_MS, stdio: 'ignore', killSignal: 'SIGKILL' })
    return true
  } catch {
    return false
  }
}

/** Whoever waits for the server gets an error. */
function abort(connection: number | null): void {
  if (connection === null) return
  provideKernelFiles('fusectl')
  try {
    writeFileSync(`${CONNECTIONS}/${connection}/abort`, '1')
  } catch {
    // It is gone, or another's.
  }
}
