// SPDX-License-Identifier: MIT
/**
 * A simulator of reads through bpf/io_scheduler.h: a trace of blocks, a cache that forgets what was used least
 * recently, and what each path costs, with noise. The scheduler is the very code that runs in the kernel, as WebAssembly.
 */
import { readFileSync } from 'node:fs'

const MODEL = new URL('../../bpf/test/models/io_scheduler.wasm', import.meta.url)
const ONE = 65536
const BLOCK = 4096

interface Model {
  reset(round: number, probes: number, fixed: number, limit: number, sample: number): void
  next(): void
  changed(): void
  decide(size: number, block: number): number
  found(size: number, was: number): void
  observe(size: number, was: number, ns: number): void
  reuse(): number
  trust(sizeClass: number): number
  drifted(): number
  timed(): number
  mispredicted(): number
  bytes(): number
}

export const model = new WebAssembly.Instance(await WebAssembly.compile(readFileSync(MODEL))).exports as unknown as Model

export type Policy = 'adaptive' | 'cache' | 'direct'
export const LIMIT = 32768

/** Nanoseconds. Filling comes on top of reading directly. */
export interface Costs {
  hit: number
  direct: number
  fill: number
}

export interface Load {
  requests: number
  /** Blocks that the cache holds. */
  capacity: number
  /** The block of request `i`; `random` gives a number from 0 to 1. */
  block: (random: () => number, i: number) => number
  costs: (i: number) => Costs
  seed: number
  /** Bytes of a request; default: a block. */
  size?: number
  /** Whether the file is written to before request `i`: all its blocks are old then. Default: never. */
  changes?: (random: () => number, i: number) => boolean
  /** So many requests are for one file, then another begins; default: all. */
  each?: number
}

export interface Outcome {
  /** Nanoseconds per request. */
  mean: number
  /** The share of requests that took the cache's path. */
  cached: number
  reuse: number
  trust: number
  drifted: number
  /** Of the requests that were timed and are not probes, the share that took longer than the other path is expected to. */
  mispredicted: number
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

class LruCache {
  private readonly blocks = new Set<number>()
  constructor(private readonly capacity: number) {}

  /** @returns whether it was there; it is afterwards */
  use(block: number): boolean {
    const found = this.blocks.delete(block)
    this.blocks.add(block)
    if (this.blocks.size > this.capacity) this.blocks.delete(this.blocks.values().next().value!)
    return found
  }

  clear(): void {
    this.blocks.clear()
  }
}

export function simulate(policy: Policy, load: Load): Outcome {
  const { requests, capacity, size = BLOCK } = load
  const sample = 2 ** Math.max(0, Math.round(Math.log2(capacity / 256)))
  model.reset(256, policy === 'adaptive' ? 8 : 0, policy === 'direct' ? 1 : 0, LIMIT, sample)
  const cache = new LruCache(capacity)
  const random = randomFrom(load.seed)
  let sum = 0
  let cached = 0
  for (let i = 0; i < requests; i++) {
    if (i > 0 && i % (load.each ?? requests) === 0) model.next()
    if (load.changes?.(random, i)) {
      model.changed()
      cache.clear()
    }
    const block = load.block(random, i)
    const { hit, direct, fill } = load.costs(i)
    const decision = model.decide(size, block)
    let found = false
    let cost = direct
    if ((decision & 1) === 0) {
      cached++
      found = cache.use(block)
      model.found(size, found ? 1 : 0)
      cost = found ? hit : direct + fill
    }
    // Now and then somebody else gets the CPU.
    const ns = Math.round(cost * (random() < 0.002 ? 20 : 0.8 + 0.4 * random()))
    if (decision & 4) model.observe(size, found ? 1 : 0, ns)
    sum += ns
  }
  return {
    mean: sum / requests,
    cached: cached / requests,
    reuse: model.reuse() / ONE,
    trust: model.trust(0) / ONE,
    drifted: model.drifted(),
    mispredicted: model.mispredicted() / Math.max(1, model.timed()),
  }
}
