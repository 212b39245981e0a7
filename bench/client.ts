// SPDX-License-Identifier: MIT
/** One run of the client against one mount, with the server's account before and after. */
import { execFileSync, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { busyNs, cpuCount, load, type Load } from './machine.js'
import { account, cost, type ProcessAccount, type ProcessCost } from './process-cost.js'
import type { Server } from './server.js'

/** What a client does. */
export interface Operation {
  op: 'getattr' | 'stat' | 'read' | 'write' | 'open' | 'create' | 'readdir' | 'fileserver' | 'webserver' | 'varmail'
  bytes?: number
  sequential?: boolean
  processes?: number
  /** CPUs that processes are spread over; default: anywhere. */
  cpus?: readonly number[]
}

export interface Duration {
  seconds: number
  warmup: number
}

/** What the client printed. */
interface ClientReport {
  count: number
  elapsedNs: number
  minNs: number
  p50Ns: number
  p90Ns: number
  p99Ns: number
  p999Ns: number
  maxNs: number
  meanNs: number
  clockNs: number
  clientCpuNs: number
  voluntarySwitches: number
  involuntarySwitches: number
  /** Operations whose outcome was looked at closely: before and after the measured ones. */
  verified: number
  error: string | null
}

/** One cell of the results: one variant, one operation, one round. */
export interface Cell extends ClientReport {
  perSecond: number
  server: ProcessCost | null
  /** The server's CPU time per operation, nanoseconds. */
  serverCpuNs: number | null
  /** The part of all CPU time that neither client nor server used. */
  foreignShare: number
  load: Load
}

const SLACK_MS = 30_000

export class Client {
  constructor(private readonly program: string) {}

  prepare(directory: string): void {
    execFileSync(this.program, ['--prepare', directory], { timeout: 120_000 })
  }

  private args(server: Server, { op, bytes, sequential, processes = 1, cpus }: Operation): string[] {
    return [
      '--op', op, '--dir', server.directory, '--processes', String(processes),
      ...(bytes === undefined ? [] : ['--bytes', String(bytes)]),
      ...(sequential ? ['--sequential'] : []),
      ...(cpus === undefined ? [] : ['--cpus', cpus.join(',')]),
    ]
  }

  /**
   * @param before words before the command
   * @throws Error when the client can't be run, or hangs
   */
  async measure(
    server: Server, operation: Operation, { seconds, warmup }: Duration, before: readonly string[] = [],
  ): Promise<Cell> {
    const [program, ...args] = [
      ...before, this.program, ...this.args(server, operation), '--seconds', String(seconds), '--warmup', String(warmup), '--handshake',
    ]
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    const timer = setTimeout(() => child.kill('SIGKILL'), (seconds + warmup) * 1000 + SLACK_MS)
    let complaint = ''
    child.stderr.on('data', (text: Buffer) => { complaint += text.toString() })
    // It may end without having listened.
    child.stdin.on('error', () => {})
    const accountNow = (): ProcessAccount | null => server.pid === null ? null : account(server.pid)
    const atReady = { account: accountNow(), busy: 0, time: 0, load: load() }
    const atDone = { account: atReady.account, busy: 0, time: 0 }
    let report: ClientReport | null = null
    for await (const line of createInterface(child.stdout)) {
      if (line === 'ready') {
        atReady.load = load()
        atReady.busy = busyNs()
        atReady.time = performance.now()
        atReady.account = accountNow()
        child.stdin.write('g')
      } else if (line === 'done') {
        atDone.account = accountNow()
        atDone.busy = busyNs()
        atDone.time = performance.now()
        child.stdin.write('g')
      } else {
        report = JSON.parse(line) as ClientReport
      }
    }
    clearTimeout(timer)
    if (report === null) {
      throw new Error(complaint.trim() || `the client gave no answer (${child.signalCode ?? child.exitCode})`)
    }
    const serverCost = cost(atReady.account, atDone.account)
    const wall = (atDone.time - atReady.time) * 1e6
    const foreign = atDone.busy - atReady.busy - report.clientCpuNs - (serverCost?.cpuNs ?? 0)
    return {
      ...report,
      perSecond: report.elapsedNs > 0 ? report.count / report.elapsedNs * 1e9 : 0,
      server: serverCost,
      serverCpuNs: serverCost === null || report.count === 0 ? null : serverCost.cpuNs / report.count,
      foreignShare: Math.max(0, foreign / (wall * cpuCount())),
      load: atReady.load,
    }
  }

  /** Does one operation: whether the mount answers. @returns milliseconds that the answer took */
  probe(directory: string, timeout: number): number {
    const begin = performance.now()
    execFileSync(this.program, ['--op', 'stat', '--dir', directory, '--count', '1', '--warmup', '0'],
      { timeout, killSignal: 'SIGKILL' })
    return performance.now() - begin
  }

  /**
   * Requests per operation, counted by the kernel's tracepoint on this mount's connection alone.
   * @returns null where perf or the tracepoint is not there
   */
  requestsPerOperation(server: Server, operation: Operation, count: number): number | null {
    if (server.connection === null) return null
    const counted = (operations: number): number | null => {
      try {
        const text = execFileSync('sh', [
          '-c', 'exec perf stat "$@" 2>&1 >/dev/null', 'sh',
          '-a', '-x', ',', '-e', 'fuse:fuse_request_send', '--filter', `connection == ${server.connection}`, '--',
          this.program, ...this.args(server, { ...operation, processes: 1 }),
          '--count', String(operations), '--warmup', '0',
        ], { encoding: 'utf8', timeout: SLACK_MS, killSignal: 'SIGKILL' })
        const found = /^(\d+),[^\n]*fuse_request_send/m.exec(text)
        return found === null ? null : Number(found[1])
      } catch {
        return null
      }
    }
    // What opening and verifying cost is in both.
    const few = counted(1)
    const many = counted(1 + count)
    return few === null || many === null ? null : (many - few) / count
  }
}
