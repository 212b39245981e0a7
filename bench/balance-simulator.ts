// SPDX-License-Identifier: MIT
/**
 * A model of rings on more CPUs than we have: which ring takes a request is decided by the very code that runs in the
 * kernel (bpf/balance_policy.h, as WebAssembly); what happens then is simulated event by event.
 *
 * Each CPU does one thing at a time: a client's part of a request (making it, taking its answer) or its ring's server's, each
 * in the order in which it is asked; where both have something to do they get as much time, by turns. A server takes some of the
 * requests that it finds, and answers them together; one that has nothing to do sleeps. What others ask of it costs as the measured
 * costs say: a wake-up on another CPU, and a request's data in another CPU's or node's cache.
 */
import { readFileSync } from 'node:fs'

const MODEL = new URL('../bpf/test/models/balance.wasm', import.meta.url)

interface Model {
  reset(policy: number, rings: number, nodeSize: number, wake: number, remote: number, far: number, service: number, affinity: number): void
  choose(cpu: number, background: number, previous: number, random: number, turn: number, now: number): number
  /** Times in nanoseconds. */
  answered(ring: number, given: number, now: number): void
  set_state(ring: number, state: number): void
  set_online(ring: number, online: number): void
  depth(ring: number): number
  service(ring: number): number
  max_background(rings: number, service: number, delay: number, least: number, most: number): number
}

export const model = new WebAssembly.Instance(await WebAssembly.compile(readFileSync(MODEL))).exports as unknown as Model

/** By their numbers in bpf/balance_policy.h. */
export const POLICIES = ['local', 'round-robin', 'least-loaded', 'adaptive'] as const
export type Policy = (typeof POLICIES)[number]
export const VERDICTS = ['stayed', 'spread', 'spilled', 'followed', 'no-ring'] as const
export type Verdict = (typeof VERDICTS)[number]
const BUSY = 0
const ASLEEP = 2

/** Nanoseconds. The defaults are of two CPUs of a virtual machine, where a 4K read over a ring takes 6 us. */
export interface Costs {
  /** A client's system call, up to the ring. */
  submit: number
  /** A client's way back. */
  complete: number
  /** What the server needs for a request: nearly all within 5 %, one in a hundred twice as much. */
  service: number
  /** Waking a sleeping server, or client, on another CPU. */
  wake: number
  /** More service time for a request from another CPU of the node, and of another node. */
  remote: number
  far: number
}

export const COSTS: Costs = { submit: 1500, complete: 1000, service: 3500, wake: 5000, remote: 300, far: 900 }

export interface Client {
  cpu: number
  /** Requests that it has under way; 1: it waits for each answer. */
  depth: number
  /** Nobody waits for a particular one: asynchronous reads, read-ahead, write-back. */
  background: boolean
  /** Nanoseconds between an answer and the next request; each time 0 to twice that. */
  think: number
}

export interface Setting {
  policy: Policy
  cpus: number
  /** CPUs of a node; default: all. */
  nodeSize?: number
  clients: readonly Client[]
  costs?: Partial<Costs>
  /** What the policy takes for the costs; default: what they are. */
  knobs?: Partial<Costs>
  /**
   * CPUs that can run at a time, where they are emulated and take turns; default: all. Each then runs until it has nothing to
   * do, or its slice is over, in the middle of what it does.
   */
  cores?: number
  /**
   * Nanoseconds; or `timers`, as QEMU does it with -icount, on one core: it goes from the first CPU to the last, again and again,
   * and each may use an equal part of what was left, when it began with the first, until the next timer, a client's or the
   * kernel's tick.
   */
  slice?: number | 'timers'
  /**
   * For how long a thread of a CPU keeps it, nanoseconds, while another one of its threads waits there: Linux lets a thread run for
   * its slice before who has been woken meanwhile gets the CPU. Default: 0: they get as much time, request by request.
   */
  turn?: number
  /** Simulated nanoseconds. */
  duration: number
  /** From when on requests are counted, nanoseconds; default: a tenth of the duration. */
  warm?: number
  seed?: number
}

export interface Outcome {
  /** Most requests that a ring had at once; and that each had. */
  longestQueue: number
  longest: number[]
  /** Nanoseconds that requests waited before they were served: of synchronous and background ones. */
  queueing: { p50: number; p99: number }
  sync: { perSecond: number; p50: number; p99: number }
  /** `own`: the share that stayed with the rings of their CPUs; `shares`: what each ring got of all. */
  background: { perSecond: number; own: number; shares: number[] }
  verdicts: Record<Verdict, number>
  /** Requests that were served, ring by ring. */
  served: number[]
}

/** Of a host that runs emulated CPUs as its threads. */
const SLICE = 3e6
/** Of the kernel, with 250 a second. */
const TICK = 4e6
/** What is left until a timer is not divided any further. */
const SHORTEST_SLICE = 1000

/** Requests that a server can have at a time, by default: it answers all that it has found together. */
const ENTRIES = 8

interface Job {
  /** Called when it begins. @returns nanoseconds */
  length: () => number
  then: (at: number) => void
  /** Nanoseconds that it still takes; before it has begun: undefined. */
  left?: number
}

const CLIENT = 0
const SERVER = 1

/** What one kind of threads has to do on a CPU, and the time that it has had. */
class Queue {
  readonly jobs: Job[] = []
  used = 0
}

/** A request that has reached its ring. */
interface Request {
  asked: number
  service: number
  answered: (at: number) => void
}

/** Events in the order of their times. */
class Agenda {
  private readonly times: number[] = []
  private readonly actions: ((at: number) => void)[] = []

  add(time: number, action: (at: number) => void): void {
    const { times, actions } = this
    let at = times.length
    times.push(time)
    actions.push(action)
    while (at > 0) {
      const above = (at - 1) >> 1
      if (times[above] <= time) break
      times[at] = times[above]
      actions[at] = actions[above]
      at = above
    }
    times[at] = time
    actions[at] = action
  }

  /** Runs what is due until a time. */
  run(until: number): void {
    const { times, actions } = this
    while (times.length > 0 && times[0] <= until) {
      const time = times[0]
      const action = actions[0]
      const lastTime = times.pop()!
      const lastAction = actions.pop()!
      const length = times.length
      if (length > 0) {
        let at = 0
        for (;;) {
          let below = 2 * at + 1
          if (below >= length) break
          if (below + 1 < length && times[below + 1] < times[below]) below++
          if (times[below] >= lastTime) break
          times[at] = times[below]
          actions[at] = actions[below]
          at = below
        }
        times[at] = lastTime
        actions[at] = lastAction
      }
      action(time)
    }
  }
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

export function quantile(values: number[], share: number): number {
  if (values.length === 0) return 0
  values.sort((a, b) => a - b)
  return values[Math.min(values.length - 1, Math.floor(values.length * share))]
}

export function simulate(setting: Setting): Outcome {
  const { cpus, clients, duration } = setting
  const costs = { ...COSTS, ...setting.costs }
  const nodeSize = setting.nodeSize ?? cpus
  const random = randomFrom(setting.seed ?? 1)
  const agenda = new Agenda()
  const knobs = { ...costs, ...setting.knobs }
  model.reset(POLICIES.indexOf(setting.policy), cpus, nodeSize < cpus ? nodeSize : 0,
    knobs.wake, knobs.remote, knobs.far, knobs.service, knobs.remote)

  // CPUs: one thing at a time, while they have a core, and clients and servers by turns.
  const { turn = 0 } = setting
  let cores = setting.cores ?? cpus
  const slice = cores < cpus ? setting.slice ?? SLICE : Infinity
  const queues = Array.from({ length: cpus }, () => [new Queue(), new Queue()])
  /** With something to do. */
  const running: boolean[] = new Array<boolean>(cpus).fill(false)
  const until: number[] = new Array<number>(cpus).fill(0)
  /** Who has a CPU, and since when. */
  const holder: (typeof CLIENT | typeof SERVER)[] = new Array<typeof CLIENT | typeof SERVER>(cpus).fill(CLIENT)
  const since: number[] = new Array<number>(cpus).fill(0)
  const waiting: number[] = []
  /** When clients' pauses end. */
  const pauses = new Set<number>()
  /** What each CPU may use until all have had their turn. */
  let budget = slice === 'timers' ? 0 : slice
  const beginPass = (at: number): void => {
    if (slice !== 'timers') return
    let timer = (Math.floor(at / TICK) + 1) * TICK
    for (const end of pauses) if (end > at && end < timer) timer = end
    budget = Math.max(SHORTEST_SLICE, (timer - at) / cpus)
  }
  /** @returns whose turn it is after a CPU's, of those that wait */
  const following = (cpu: number, at: number): number | undefined => {
    if (slice !== 'timers') return waiting.shift()
    waiting.sort((a, b) => a - b)
    const index = waiting.findIndex((other) => other > cpu)
    if (index >= 0) return waiting.splice(index, 1)[0]
    beginPass(at)
    return waiting.shift()
  }
  const run = (cpu: number, at: number): void => {
    until[cpu] = at + budget
    next(cpu, at)
  }
  const next = (cpu: number, at: number): void => {
    let queue = queues[cpu][holder[cpu]]
    const other = queues[cpu][1 - holder[cpu]]
    const busy = running[cpu] = queue.jobs.length + other.jobs.length > 0
    // Nobody waits for the CPU's core: another slice begins.
    if (waiting.length === 0 && at >= until[cpu]) {
      beginPass(at)
      until[cpu] = at + budget
    }
    if (busy && (waiting.length === 0 || at < until[cpu])) {
      const over = at >= since[cpu] + turn && other.used < queue.used
      if (queue.jobs.length === 0 || (over && other.jobs.length > 0)) {
        queue = other
        holder[cpu] = holder[cpu] === CLIENT ? SERVER : CLIENT
        since[cpu] = at
      }
      const job = queue.jobs.shift()!
      if (job.left === undefined) queue.used += job.left = job.length()
      const runs = Math.min(job.left, until[cpu] - at)
      job.left -= runs
      agenda.add(at + runs, (end) => {
        if (job.left === 0) job.then(end)
        else queue.jobs.unshift(job)
        next(cpu, end)
      })
      return
    }
    if (busy) waiting.push(cpu)
    const successor = following(cpu, at)
    if (successor === undefined) cores++
    else run(successor, at)
  }
  const ask = (cpu: number, who: typeof CLIENT | typeof SERVER, at: number, length: Job['length'], then: Job['then']): void => {
    const queue = queues[cpu][who]
    // Who has slept has no claim on the time before.
    if (queue.jobs.length === 0) queue.used = Math.max(queue.used, queues[cpu][1 - who].used)
    queue.jobs.push({ length, then })
    if (running[cpu]) return
    running[cpu] = true
    if (cores === 0) {
      waiting.push(cpu)
      return
    }
    cores--
    beginPass(at)
    run(cpu, at)
  }

  const outcome: Outcome = {
    longestQueue: 0,
    longest: new Array<number>(cpus).fill(0),
    queueing: { p50: 0, p99: 0 },
    sync: { perSecond: 0, p50: 0, p99: 0 },
    background: { perSecond: 0, own: 0, shares: [] },
    verdicts: { 'stayed': 0, 'spread': 0, 'spilled': 0, 'followed': 0, 'no-ring': 0 },
    served: new Array<number>(cpus).fill(0),
  }
  const { warm = duration / 10 } = setting
  const waits: number[] = []
  const latencies: number[] = []
  let background = 0
  const given = { background: new Array<number>(cpus).fill(0), own: 0 }
  const turns: number[] = new Array<number>(cpus).fill(0)

  const found: Request[][] = Array.from({ length: cpus }, () => [])
  const serving: boolean[] = new Array<boolean>(cpus).fill(false)
  const serve = (ring: number, at: number): void => {
    let batch: Request[]
    ask(ring, SERVER, at, () => {
      batch = found[ring].splice(0, ENTRIES)
      return batch.reduce((sum, { service }) => sum + service, 0)
    }, (end) => {
      for (const { asked, service, answered } of batch) {
        model.answered(ring, asked, end)
        outcome.served[ring]++
        if (end > warm) waits.push(end - service - asked)
        answered(end)
      }
      if (found[ring].length > 0) return serve(ring, end)
      serving[ring] = false
      model.set_state(ring, ASLEEP)
    })
  }

  for (const client of clients) {
    let previous = 0
    const request = (began: number): void => ask(client.cpu, CLIENT, began, () => costs.submit, (asked) => {
      const choice = model.choose(client.cpu, client.background ? 1 : 0, previous, (random() * 4294967296) >>> 0, turns[client.cpu]++,
        Math.round(asked) >>> 10)
      const ring = choice & 0xffff
      outcome.verdicts[VERDICTS[choice >>> 16]]++
      if (asked >= warm) outcome.longest[ring] = Math.max(outcome.longest[ring], model.depth(ring))
      if (client.background) {
        previous = ring + 1
        given.background[ring]++
        if (ring === client.cpu) given.own++
      }
      const elsewhere = ring !== client.cpu
      const sameNode = Math.floor(ring / nodeSize) === Math.floor(client.cpu / nodeSize)
      const distance = elsewhere ? (sameNode ? costs.remote : costs.far) : 0
      const asleep = model.depth(ring) === 1 && !running[ring]
      model.set_state(ring, BUSY)
      const service = costs.service * (random() < 0.01 ? 2 : 0.95 + 0.1 * random()) + distance
      const answered = (end: number): void => {
        const wake = elsewhere && !running[client.cpu] ? costs.wake : 0
        agenda.add(end + wake, (woken) => ask(client.cpu, CLIENT, woken, () => costs.complete, (done) => {
          if (done > warm) {
            if (client.background) background++
            else latencies.push(done - began)
          }
          const pause = client.think * 2 * random()
          if (pause === 0) return request(done)
          pauses.add(done + pause)
          agenda.add(done + pause, (over) => {
            pauses.delete(over)
            request(over)
          })
        }))
      }
      agenda.add(asked + (elsewhere && asleep ? costs.wake : 0), (there) => {
        found[ring].push({ asked, service, answered })
        if (serving[ring]) return
        serving[ring] = true
        serve(ring, there)
      })
    })
    // Not all of them at the same moment.
    for (let i = 0; i < client.depth; i++) agenda.add(random() * 10_000, request)
  }
  agenda.run(duration)

  const seconds = (duration - warm) / 1e9
  outcome.sync = { perSecond: latencies.length / seconds, p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) }
  const all = given.background.reduce((sum, count) => sum + count, 0)
  outcome.background = {
    perSecond: background / seconds, own: given.own / all, shares: given.background.map((count) => count / all),
  }
  outcome.longestQueue = Math.max(...outcome.longest)
  outcome.queueing = { p50: quantile(waits, 0.5), p99: quantile(waits, 0.99) }
  return outcome
}

/** One CPU reads deeply and asynchronously, the others lightly and one by one. */
export function skewed(cpus: number, think = 50_000): Client[] {
  return Array.from({ length: cpus }, (_, cpu): Client => cpu === 0
    ? { cpu, depth: 32, background: true, think: 0 }
    : { cpu, depth: 1, background: false, think })
}

/** What is measured in a guest in instruction-time, nanoseconds: of a read, and a thread's slice. */
export interface Emulated {
  caller: number
  service: number
  turn: number
}

/** Such a guest: all its CPUs share a core, none is farther from another. The policy takes for the costs what it does there. */
export function emulated({ caller, service, turn }: Emulated): Pick<Setting, 'cores' | 'slice' | 'turn' | 'costs' | 'knobs'> {
  const scale = caller / (COSTS.submit + COSTS.complete)
  return {
    cores: 1, slice: 'timers', turn, knobs: COSTS,
    costs: { service, submit: scale * COSTS.submit, complete: scale * COSTS.complete, remote: 0, far: 0 },
  }
}

/** All CPUs alike. */
export function uniform(cpus: number, client: Omit<Client, 'cpu'>): Client[] {
  return Array.from({ length: cpus }, (_, cpu) => ({ cpu, ...client }))
}
