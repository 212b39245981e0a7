// SPDX-License-Identifier: MIT
/**
 * Requests spread over a mount's rings by their load: bpf/balance.bpf.c, loaded for one mount of type efuse that is
 * served over io_uring. docs/balance.md tells what the policies do.
 */
import { randomInt } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import * as native from '../native.js'
import { EFUSE_IOC_BACKGROUND } from '../protocol/efuse-module.js'
import type { Block } from '../protocol/struct.js'
import { parseCpuList, queueCount } from '../rings/uring.js'
import type { AcceleratorContext, Attachment } from './accelerators.js'
import { HookProgram } from './hooks.js'
import { bundledObject } from './libbpf.js'
import type { BpfMap } from './map.js'
import type { BpfLink } from './program.js'
import { RING_STATES, RING_WORDS, RingState, RingWord } from './ring-states.js'

/** By their numbers in bpf/balance_policy.h. */
export const POLICIES = ['local', 'round-robin', 'least-loaded', 'adaptive'] as const
export type Policy = (typeof POLICIES)[number]

/** What became of requests: enum balance_verdict. */
export const VERDICTS = ['stayed', 'spread', 'spilled', 'followed', 'none'] as const
export type Verdict = (typeof VERDICTS)[number]

/** One ring so far. */
export interface RingLoad {
  /** Requests that it was given, and those of them that came from other CPUs than its own. */
  given: number
  guests: number
  /** Under way, and most that were at once since the policy was chosen. */
  depth: number
  most: number
  /** Nanoseconds that a request takes there lately; 0: not known. */
  serviceNs: number
  /** Nanoseconds that a request lately waits there for those before it. */
  waitNs: number
  state: (typeof RING_STATES)[number]
  /** Its CPU is there. */
  online: boolean
  node: number
}

export interface BalanceReport {
  /** Or `program`: another one chooses, whose counters `efuse bpf list` shows; then nothing is counted here. */
  policy: Policy | 'program'
  rings: RingLoad[]
  /** Choices, by what became of them. */
  verdicts: Record<Verdict, number>
  /** How many background requests may be under way; null where that is left alone. */
  maxBackground: number | null
}

/** Nanoseconds that background requests may wait for those before them. */
const BACKGROUND_DELAY = 1_000_000
/** How many there may be at least, where the server has not said it: FUSE's own default. */
const LEAST_BACKGROUND = 12
const MOST_BACKGROUND = 1024
/** How often it is looked which CPUs are there, and how fast rings are, milliseconds. */
const LOOK = 1000

function cpuList(path: string): number[] | null {
  try {
    return parseCpuList(readFileSync(`/sys/devices/system/${path}`, 'ascii'))
  } catch {
    return null
  }
}

/** Each CPU's node. A machine without nodes has one. */
function nodes(cpus: number): number[] {
  const found = new Array<number>(cpus).fill(0)
  let names: string[] = []
  try {
    names = readdirSync('/sys/devices/system/node').filter((name) => /^node\d+$/.test(name))
  } catch {
    // One node.
  }
  for (const name of names) {
    for (const cpu of cpuList(`node/${name}/cpulist`) ?? []) if (cpu < cpus) found[cpu] = Number(name.slice(4))
  }
  return found
}

/** How many rings each node has, if they are equally many and follow each other; else 0. */
export function nodeSize(nodeOf: readonly number[]): number {
  const size = nodeOf.findIndex((node) => node !== nodeOf[0])
  if (size <= 0) return 0
  const regular = nodeOf.every((node, ring) => node === nodeOf[ring - ring % size])
    && new Set(nodeOf).size === Math.ceil(nodeOf.length / size)
  return regular ? size : 0
}

export class Balancer implements Attachment {
  private policy: Policy | 'program'
  private closed = false
  private readonly memory: Block
  private readonly counts: BpfMap<number, { turn: number; verdicts: number[] }[]>
  private readonly looking: NodeJS.Timeout
  private maxBackground: number | null = null

  private constructor(
    readonly program: HookProgram,
    public link: BpfLink,
    policy: Policy,
    private nr: number,
    private readonly control: number,
    private readonly leastBackground: number,
  ) {
    this.policy = policy
    this.memory = program.object.map('rings').memory()
    this.counts = program.object.map('counts', { wide: 'number' })
    this.looking = setInterval(() => this.look(), LOOK)
    this.looking.unref()
  }

  /** @throws BpfError */
  static async load(context: AcceleratorContext, policy: Policy = 'adaptive'): Promise<Balancer> {
    const most = queueCount()
    const program = await HookProgram.open(bundledObject('balance'), { name: 'balance', variable: variableOf(policy) })
    try {
      const { object } = program
      const nodeOf = nodes(most)
      object.settings('rings').maxEntries = most
      object.knobs.set({ most_rings: most, node_size: nodeSize(nodeOf) })
      // What another's program has noted on a request must not look like ours.
      object.globals.set('epoch', randomInt(1, 2 ** 32 - 1))
      const link = program.attach(context.token())
      const balancer = new Balancer(
        program, link, policy, context.rings!, context.control, context.agreement?.maxBackground ?? LEAST_BACKGROUND)
      const { u32 } = balancer.memory
      for (let ring = 0; ring < most; ring++) {
        u32[ring * RING_WORDS + RingWord.State] = RingState.Asleep
        u32[ring * RING_WORDS + RingWord.Node] = nodeOf[ring]
      }
      // From now on rings are online, and chosen.
      balancer.look()
      return balancer
    } catch (error) {
      program.close()
      throw error
    }
  }

  /** A descriptor of the rings' map, for the threads that serve them: they write their state there. */
  get rings(): number {
    return this.program.object.map('rings').fd
  }

  /** Another policy, in the place of the one that is at work, or of another's program. @throws BpfError */
  choose(policy: Policy): void {
    if (this.policy === 'program') {
      // While we were away requests have gone unseen: what they left would stay. No program of ours runs now.
      const { globals } = this.program.object
      globals.set('epoch', (globals.get<number>('epoch') % 0xffffffff) + 1)
      const { u32 } = this.memory
      for (let at = 0; at < this.nr * RING_WORDS; at += RING_WORDS) u32[at + RingWord.Answered] = u32[at + RingWord.Given]
    }
    this.link = this.program.object.structOps(variableOf(policy)).replace(this.link)
    this.policy = policy
    for (let at = 0; at < this.nr * RING_WORDS; at += RING_WORDS) this.memory.u32[at + RingWord.Most] = 0
  }

  /** More rings are served now. The kernel has been told. */
  grow(rings: number): void {
    this.nr = Math.max(this.nr, rings)
    this.look()
  }

  /** Another's program has taken our place on the link. */
  replaced(): void {
    this.policy = 'program'
  }

  /** What changes by itself: which CPUs are there, and how many background requests are good. */
  private look(): void {
    const { u32 } = this.memory
    const online = cpuList('cpu/online') ?? []
    // CPUs that have no ring of their own share the others'.
    const theirs = online.length > 0 && online.every((cpu) => cpu < this.nr)
    for (let ring = 0; ring < this.nr; ring++) {
      // Where there are fewer rings than CPUs, each is of several.
      u32[ring * RING_WORDS + RingWord.Online] = Number(!theirs || online.includes(ring))
    }
    if (this.policy === 'program') return
    const known = Array.from({ length: this.nr }, (_, ring) => u32[ring * RING_WORDS + RingWord.Service]).filter((ns) => ns > 0)
    if (known.length === 0) return
    const service = known.reduce((sum, ns) => sum + ns, 0) / known.length
    const question = Uint32Array.of(this.nr, service, BACKGROUND_DELAY, this.leastBackground, MOST_BACKGROUND)
    const max = this.program.object.program('balance_background').run({ context: new Uint8Array(question.buffer) }).value
    // Not for every little change.
    const now = this.maxBackground
    if (now !== null && Math.abs(max - now) * 8 < now) return
    if (native.ioctlValue(this.control, EFUSE_IOC_BACKGROUND, max) === 0) this.maxBackground = max
  }

  report(): BalanceReport {
    const { u32 } = this.memory
    const sum = new Array<number>(VERDICTS.length).fill(0)
    for (const { verdicts } of this.counts.get(0) ?? []) verdicts.forEach((count, n) => { sum[n] += count })
    return {
      policy: this.policy,
      rings: Array.from({ length: this.nr }, (_, ring) => {
        const word = (n: number): number => u32[ring * RING_WORDS + n]
        return {
          given: word(RingWord.Given),
          guests: word(RingWord.Guests),
          depth: Math.max(0, (word(RingWord.Given) - word(RingWord.Answered)) | 0),
          most: word(RingWord.Most), serviceNs: word(RingWord.Service), waitNs: word(RingWord.Wait),
          state: RING_STATES[word(RingWord.State)] ?? 'busy',
          online: word(RingWord.Online) === 1, node: word(RingWord.Node),
        }
      }),
      verdicts: Object.fromEntries(VERDICTS.map((verdict, n) => [verdict, sum[n]])) as Record<Verdict, number>,
      maxBackground: this.maxBackground,
    }
  }

  /** Nothing is answered here. */
  answered(): Record<string, number> {
    return {}
  }

  counters(): Record<string, number> {
    return this.closed ? {} : { ...this.report().verdicts }
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    clearInterval(this.looking)
    this.program.close()
  }
}

/** The struct efuse_ops that is a policy. */
function variableOf(policy: Policy): string {
  return policy.replace('-', '_')
}
