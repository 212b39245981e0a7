// SPDX-License-Identifier: MIT
/**
 * The load of FUSE mounts, any program's, as the kernel sees it: bpf/monitor.bpf.c loaded, steered and read.
 *
 * Requests are always counted. Timing them takes a second program, which costs three times as much as counting: it
 * is attached all the time while requests are few, and for a twentieth of each second while they are many. Percentiles
 * then come from the requests of that twentieth.
 */
import { existsSync, readFileSync } from 'node:fs'
import { OPERATION_BY_OPCODE } from '../protocol/operations.js'
import type { CpuLoad, Flight, KernelLoad, MakerLoad, OperationLoad } from '../mount/load.js'
import { connectionOf } from '../mount/load.js'
import { BpfError } from './error.js'
import { bundledObject } from './libbpf.js'
import type { BpfMap } from './map.js'
import { BpfObject } from './object.js'
import { probeBpf } from './probe.js'
import type { BpfLink } from './program.js'

export interface MonitorOptions {
  /** Mounts that can be watched at a time; each takes 62 KB for each CPU. Default 8. */
  connections?: number
  /** Requests under way that can be timed at a time, 52 bytes each; a power of two. Default 4096. */
  flights?: number
  /** Threads that are told apart on each CPU, 66 bytes each; a power of two. Default 256. */
  makers?: number
  /** Whether requests are timed: `auto` decides by how many they are. Default `auto`. */
  timing?: 'auto' | 'all' | 'none'
}

/** Why this kernel, or our rights, allow no monitor. The message says what to do. */
export class MonitorUnavailableError extends Error {
  override readonly name = 'MonitorUnavailableError'
}

/** How the maps' 64-bit numbers are read: addresses of requests and times of day exactly. */
const WIDE = { operations: 'number', makers: 'number', connections: 'number', flights: 'bigint', watched: 'bigint' } as const
/** There where efuse.ko is loaded. */
const EFUSE_TYPES = '/sys/kernel/btf/efuse'

// bpf/monitor.h
const OPCODES = 64
const WATCH_PROBES = 4
const WATCHED = 256
const FLIGHT_WAYS = 4
const MAKER_WAYS = 4

/** Requests a second from which on they are timed for a part of the time only, and below which always again. */
const MANY = 10_000
const FEW = 7_000
const TICK = 1000
/** How long they are timed in each tick, milliseconds. */
const WINDOW = 50
/** An older request's thread is looked for: it may have been killed. Milliseconds. */
const SUSPICIOUS_AGE = 200

interface OperationValue {
  requests: number
  errors: number
  bytes_in: number
  bytes_out: number
  timed: number
  nanoseconds: number
  interrupted: number
  buckets: number[]
}

interface FlightsValue {
  requests: bigint[]
  flights: {
    since: bigint
    nodeid: bigint
    place: number
    opcode: number
    process: number
    thread: number
    background: number
  }[]
}

interface MakersValue {
  makers: {
    thread: number
    place: number
    requests: number
    bytes: number
    nanoseconds: number
    process: number
    command: string
  }[]
}

interface ConnectionValue {
  background: number
  active: number
  max_background: number
  forgets: number
  untimed: number
  forgets_seen: number
}

export class Monitor {
  private readonly operations: BpfMap<number, OperationValue[]>
  private readonly flights: BpfMap<number, FlightsValue>
  private readonly makers: BpfMap<number, MakersValue[]>
  private readonly connections: BpfMap<number, ConnectionValue>
  private readonly watched: BpfMap<number, { device: number; place: number }>
  /** Device → place. */
  private readonly places = new Map<string, number>()
  private readonly processes = new Map<number, { process: number; command: string }>()
  private timer: NodeJS.Timeout | null = null
  private pause: NodeJS.Timeout | null = null
  private sending: BpfLink[] = []
  private many = false
  private last = { requests: 0, at: 0 }

  private constructor(
    /** For mounts of the kernel's own FUSE, whose maps all use, and for those of efuse.ko where that is loaded. */
    private readonly objects: readonly BpfObject[],
    private readonly limit: number,
    private readonly timing: 'auto' | 'all' | 'none',
  ) {
    const [object] = objects
    this.operations = object.map('operations', { wide: WIDE.operations })
    this.flights = object.map('flights', { wide: WIDE.flights })
    this.makers = object.map('makers', { wide: WIDE.makers })
    this.connections = object.map('connections', { wide: WIDE.connections })
    this.watched = object.map('watched', { wide: WIDE.watched })
  }

  /**
   * Loads the monitor and begins; nothing is counted before `watch`. `close` it.
   * @throws MonitorUnavailableError
   */
  static async open(options: MonitorOptions = {}): Promise<Monitor> {
    const { connections = 8, flights = 4096, makers = 256, timing = 'auto' } = options
    const objects: BpfObject[] = []
    try {
      const sizes = {
        operations: connections * OPCODES, connections, flights: flights / FLIGHT_WAYS, makers: makers / MAKER_WAYS,
        watched: WATCHED,
      }
      for (const name of existsSync(EFUSE_TYPES) ? ['monitor', 'monitor_efuse'] : ['monitor']) {
        const object = await BpfObject.open(bundledObject(name), { name: 'efuse_monitor' })
        objects.push(object)
        for (const [map, size] of Object.entries(sizes)) {
          if (object === objects[0]) object.settings(map).maxEntries = size
          else object.settings(map).reuse(objects[0].map(map, { wide: WIDE[map as keyof typeof WIDE] }))
        }
        object.knobs.set('flights_mask', sizes.flights - 1)
        object.knobs.set('makers_mask', sizes.makers - 1)
        object.knobs.set('watched_mask', sizes.watched - 1)
        object.load()
        // Ends first: a beginning whose end nobody saw would stay.
        object.program('request_end').attach()
      }
      const monitor = new Monitor(objects, connections, timing)
      monitor.begin()
      return monitor
    } catch (error) {
      for (const object of objects) object.close()
      throw unavailable(error)
    }
  }

  private begin(): void {
    if (this.timing === 'none') return
    this.time(true)
    if (this.timing === 'all') return
    this.last = { requests: 0, at: performance.now() }
    this.timer = setInterval(() => this.tick(), TICK)
    this.timer.unref()
  }

  private time(on: boolean): void {
    if (!on) {
      for (const link of this.sending) link.close()
      this.sending = []
    } else if (this.sending.length === 0) {
      this.sending = this.objects.map((object) => object.program('request_send').attach())
    }
  }

  private tick(): void {
    const requests = this.totalRequests()
    const at = performance.now()
    const rate = (requests - this.last.requests) / (at - this.last.at) * 1000
    this.last = { requests, at }
    this.many = rate > (this.many ? FEW : MANY)
    this.time(true)
    if (!this.many) return
    this.pause = setTimeout(() => { if (this.many) this.time(false) }, WINDOW)
    this.pause.unref()
  }

  /** Of all that are watched; only the first word of each counter is looked at. */
  private totalRequests(): number {
    let total = 0
    const stride = Math.ceil(this.operations.valueSize / 8) * 8
    for (const place of this.places.values()) {
      for (let opcode = 0; opcode < OPCODES; opcode++) {
        const bytes = this.operations.peekBytes(place * OPCODES + opcode)!
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
        for (let at = 0; at < bytes.length; at += stride) total += Number(view.getBigUint64(at, true))
      }
    }
    return total
  }

  /**
   * Begins to count a mount's requests, from 0.
   * @param device `major:minor`, as in /proc/self/mountinfo
   * @throws RangeError when as many are watched as there is room for
   */
  watch(device: string): void {
    if (this.places.has(device)) return
    const taken = new Set(this.places.values())
    const place = Array.from({ length: this.limit }, (_, index) => index).find((index) => !taken.has(index))
    const number = connectionOf(device)
    const key = this.probes(number).find((at) => this.watched.get(at)!.place === 0)
    if (place === undefined || key === undefined) throw new RangeError(`no room to watch more than ${taken.size} mounts`)
    this.clear(place)
    this.watched.set(key, { device: number, place: place + 1 })
    this.places.set(device, place)
  }

  unwatch(device: string): void {
    if (!this.places.delete(device)) return
    const number = connectionOf(device)
    for (const at of this.probes(number)) {
      const entry = this.watched.get(at)!
      if (entry.place !== 0 && entry.device === number) this.watched.set(at, { device: 0, place: 0 })
    }
  }

  get devices(): string[] {
    return [...this.places.keys()]
  }

  private probes(number: number): number[] {
    return Array.from({ length: WATCH_PROBES }, (_, probe) => (number + probe) & (WATCHED - 1))
  }

  /** What a former connection has left of a place. */
  private clear(place: number): void {
    const none: OperationValue = {
      requests: 0, errors: 0, bytes_in: 0, bytes_out: 0, timed: 0, nanoseconds: 0, interrupted: 0, buckets: [],
    }
    for (let opcode = 0; opcode < OPCODES; opcode++) {
      const key = place * OPCODES + opcode
      const cpus = this.operations.get(key)!
      if (cpus.every(({ requests, interrupted }) => requests === 0 && interrupted === 0)) continue
      this.operations.set(key, cpus.map(({ buckets, ...rest }) => ({ ...rest, ...none, buckets: buckets.map(() => 0) })))
    }
    this.connections.set(place, {
      background: 0, active: 0, max_background: 0, forgets: 0, untimed: 0, forgets_seen: 0,
    })
  }

  /**
   * What a mount has been asked since `watch`.
   * @throws RangeError when it is not watched
   */
  read(device: string): KernelLoad {
    const place = this.places.get(device)
    if (place === undefined) throw new RangeError(`${device} is not watched`)
    const operations: Record<string, OperationLoad> = {}
    const cpus: CpuLoad[] = []
    let interrupted = 0
    for (let opcode = 0; opcode < OPCODES; opcode++) {
      const values = this.operations.get(place * OPCODES + opcode)!
      if (values.every((one) => one.requests === 0 && one.interrupted === 0)) continue
      const sum = (of: (one: OperationValue) => number) => values.reduce((total, one) => total + of(one), 0)
      interrupted += sum((one) => one.interrupted)
      values.forEach(({ requests, errors, timed, nanoseconds }, cpu) => {
        const load = (cpus[cpu] ??= { cpu, requests: 0, errors: 0, timed: 0, nanoseconds: 0 })
        load.requests += requests
        load.errors += errors
        load.timed += timed
        load.nanoseconds += nanoseconds
      })
      operations[operationName(opcode)] = {
        requests: sum((one) => one.requests),
        errors: sum((one) => one.errors),
        bytesIn: sum((one) => one.bytes_in),
        bytesOut: sum((one) => one.bytes_out),
        times: {
          timed: sum((one) => one.timed),
          nanoseconds: sum((one) => one.nanoseconds),
          buckets: values[0].buckets.map((_, bucket) => sum((one) => one.buckets[bucket])),
        },
      }
    }
    const { flights, abandoned } = this.readFlights(place)
    const connection = this.connections.get(place)!
    return {
      operations,
      cpus: cpus.filter(({ requests }) => requests > 0),
      makers: this.readMakers(place),
      flights,
      interrupted: interrupted + abandoned,
      background: connection.background,
      maxBackground: connection.max_background,
      forgets: connection.forgets,
      timing: this.timing === 'all' || (this.timing === 'auto' && !this.many) ? 'all' : 'some',
    }
  }

  /** Requests under way; and how many were taken back, as their thread is no more. */
  private readFlights(place: number): { flights: Flight[]; abandoned: number } {
    const now = process.hrtime.bigint()
    const flights: Flight[] = []
    let abandoned = 0
    for (const set of this.flights.values()) {
      set.requests.forEach((request, way) => {
        const flight = set.flights[way]
        if (request === 0n || flight.place !== place) return
        const age = Number(now - flight.since)
        // Just claimed, and not filled yet.
        if (age < 0 || flight.since === 0n) return
        if (!flight.background && age > SUSPICIOUS_AGE * 1e6 && !isAlive(flight.thread)) {
          abandoned++
          return
        }
        flights.push({ operation: operationName(flight.opcode), nodeid: flight.nodeid, process: flight.process, age })
      })
    }
    return { flights: flights.sort((a, b) => b.age - a.age), abandoned }
  }

  private readMakers(place: number): MakerLoad[] {
    interface Thread extends MakerLoad { thread: number }
    const threads = new Map<number, Thread>()
    for (const cpus of this.makers.values()) {
      for (const { makers } of cpus) {
        for (const one of makers) {
          if (one.place !== place + 1) continue
          const { thread } = one
          const sum = threads.get(thread) ?? { thread, process: 0, command: '', requests: 0, bytes: 0, nanoseconds: 0 }
          sum.requests += one.requests
          sum.bytes += one.bytes
          sum.nanoseconds += one.nanoseconds
          if (one.process !== 0) {
            sum.process = one.process
            sum.command = one.command
          }
          threads.set(thread, sum)
        }
      }
    }
    const processes = new Map<number, MakerLoad>()
    for (const { thread, ...load } of threads.values()) {
      if (load.process === 0) Object.assign(load, this.processOf(thread))
      const sum = processes.get(load.process)
      if (sum === undefined) {
        processes.set(load.process, load)
      } else {
        sum.requests += load.requests
        sum.bytes += load.bytes
        sum.nanoseconds += load.nanoseconds
      }
    }
    for (const thread of this.processes.keys()) if (!threads.has(thread)) this.processes.delete(thread)
    return [...processes.values()].filter(({ requests }) => requests > 0).sort((a, b) => b.requests - a.requests)
  }

  /** The process of a thread that no program has seen itself. What ended before it was looked up stays unknown. */
  private processOf(thread: number): { process: number; command: string } {
    const known = this.processes.get(thread)
    if (known !== undefined) return known
    let found = { process: thread, command: thread === 0 ? '(kernel)' : '' }
    try {
      const status = readFileSync(`/proc/${thread}/status`, 'utf8')
      found = { process: Number(/^Tgid:\s*(\d+)/m.exec(status)![1]), command: /^Name:\t(.*)/m.exec(status)![1] }
    } catch {
      // It has ended.
    }
    this.processes.set(thread, found)
    return found
  }

  /** Detaches and unloads. */
  close(): void {
    if (this.timer !== null) clearInterval(this.timer)
    if (this.pause !== null) clearTimeout(this.pause)
    for (const object of this.objects) object.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

function operationName(opcode: number): string {
  return OPERATION_BY_OPCODE[opcode]?.name ?? (opcode === 0 ? 'other' : `opcode ${opcode}`)
}

function isAlive(thread: number): boolean {
  try {
    process.kill(thread, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function unavailable(error: unknown): Error {
  if (!(error instanceof BpfError)) return error as Error
  const { btf } = probeBpf()
  if (!btf) return new MonitorUnavailableError('this kernel has no type information (CONFIG_DEBUG_INFO_BTF)', { cause: error })
  if (error.code === 'EPERM' || error.code === 'EACCES') {
    return new MonitorUnavailableError('eBPF is not permitted: it takes root, or CAP_BPF and CAP_PERFMON', { cause: error })
  }
  return new MonitorUnavailableError(`eBPF can't be used: ${error.message}`, { cause: error })
}
