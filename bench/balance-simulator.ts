// SPDX-License-Identifier: MIT
/**
 * A model of rings on more CPUs than we have: which ring takes a request is decided by the very code that runs in the
 * kernel (bpf/balance_policy.h, as WebAssembly); what happens then is simulated event by event.
 *
 * Each CPU does one thing at a time, in the order in which it is asked: a client's part of a request (making it, taking its
 * answer) or its ring's server's. A server that has nothing to do sleeps. What others ask of it costs as the measured
 * costs say: a wake-up on another CPU, and a request's data in another CPU's or node's cache.
 */
import { readFileSync } from 'node:fs'

const MODEL = new URL('../bpf/test/models/balance.wasm', import.meta.url)

interface Model {
  reset(policy: number, rings: number, nodeSize: number, wake: number, remote: number, far: number, service: number, affinity: number): void
  choose(cpu: number, background: number, previous: number, random: number, turn: number): number
  answered(ring: number, ns: number): void
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
  /** Simulated nanoseconds. */
  duration: number
  seed?: number
}

export interface Outcome {
  /** Most requests that a ring had at once. */
  longestQueue: number
  /** Nanoseconds that requests waited before they were served: of synchronous and background ones. */
  queueing: { p50: number; p99: number }
  sync: { perSecond: number; p50: number; p99: number }
  background: { perSecond: number }
  verdicts: Record<Verdict, number>
  /** Requests that were served, ring by ring. */
  served: number[]
}

interface Job {
  ns: number
  then: (at: number) => void
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
  model.reset(POLICIES.indexOf(setting.policy), cpus, nodeSize < cpus ? nodeSize : 0,
    costs.wake, costs.remote, costs.far, costs.service, costs.remote)

  // CPUs: one thing at a time.
  const jobs: Job[][] = Array.from({ length: cpus }, () => [])
  const running: boolean[] = new Array<boolean>(cpus).fill(false)
  const next = (cpu: number, at: number): void => {
    const job = jobs[cpu].shift()
    running[cpu] = job !== undefined
    if (job === undefined) return
    agenda.add(at + job.ns, (end) => {
      job.then(end)
      next(cpu, end)
    })
  }
  const ask = (cpu: number, at: number, ns: number, then: Job['then']): void => {
    jobs[cpu].push({ ns, then })
    if (!running[cpu]) next(cpu, at)
  }

  const outcome: Outcome = {
    longestQueue: 0,
    queueing: { p50: 0, p99: 0 },
    sync: { perSecond: 0, p50: 0, p99: 0 },
    background: { perSecond: 0 },
    verdicts: { 'stayed': 0, 'spread': 0, 'spilled': 0, 'followed': 0, 'no-ring': 0 },
    served: new Array<number>(cpus).fill(0),
  }
  const warm = duration / 10
  const waits: number[] = []
  const latencies: number[] = []
  let background = 0
  const turns: number[] = new Array<number>(cpus).fill(0)

  for (const client of clients) {
    let previous = 0
    const request = (began: number): void => ask(client.cpu, began, costs.submit, (given) => {
      const choice = model.choose(client.cpu, client.background ? 1 : 0, previous, (random() * 4294967296) >>> 0, turns[client.cpu]++)
      const ring = choice & 0xffff
      outcome.verdicts[VERDICTS[choice >>> 16]]++
      outcome.longestQueue = Math.max(outcome.longestQueue, given > warm ? model.depth(ring) : 0)
      if (client.background) previous = ring + 1
      const elsewhere = ring !== client.cpu
      const sameNode = Math.floor(ring / nodeSize) === Math.floor(client.cpu / nodeSize)
      const distance = elsewhere ? (sameNode ? costs.remote : costs.far) : 0
      const asleep = model.depth(ring) === 1 && !running[ring]
      model.set_state(ring, BUSY)
      const service = costs.service * (random() < 0.01 ? 2 : 0.95 + 0.1 * random()) + distance
      agenda.add(given + (elsewhere && asleep ? costs.wake : 0), (there) => ask(ring, there, service, (end) => {
        model.answered(ring, Math.round(service))
        outcome.served[ring]++
        if (model.depth(ring) === 0) model.set_state(ring, ASLEEP)
        if (end > warm) waits.push(end - service - given)
        const wake = elsewhere && !running[client.cpu] ? costs.wake : 0
        agenda.add(end + wake, (woken) => ask(client.cpu, woken, costs.complete, (done) => {
          if (done > warm) {
            if (client.background) background++
            else latencies.push(done - began)
          }
          const pause = client.think * 2 * random()
          if (pause > 0) agenda.add(done + pause, request)
          else request(done)
        }))
      }))
    })
    // Not all of them at the same moment.
    for (let i = 0; i < client.depth; i++) agenda.add(random() * 10_000, request)
  }
  agenda.run(duration)

  const seconds = (duration - warm) / 1e9
  outcome.sync = { perSecond: latencies.length / seconds, p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) }
  outcome.background.perSecond = background / seconds
  outcome.queueing = { p50: quantile(waits, 0.5), p99: quantile(waits, 0.99) }
  return outcome
}

/** One CPU reads deeply and asynchronously, the others lightly and one by one. */
export function skewed(cpus: number): Client[] {
  return Array.from({ length: cpus }, (_, cpu): Client => cpu === 0
    ? { cpu, depth: 32, background: true, think: 0 }
    : { cpu, depth: 1, background: false, think: 50_000 })
}

/** All CPUs alike. */
export function uniform(cpus: number, client: Omit<Client, 'cpu'>): Client[] {
  return Array.from({ length: cpus }, (_, cpu) => ({ cpu, ...client }))
}
