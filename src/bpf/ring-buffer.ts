// SPDX-License-Identifier: MIT
/**
 * Records that programs send (BPF_MAP_TYPE_RINGBUF), in order over all CPUs. The ring's memory is read where it lies;
 * waiting is done by the event loop, and only while somebody wants a record.
 */
import * as native from '../native.js'
import type { Poller } from '../native.js'
import type { Block } from '../protocol/struct.js'
import type { Codec } from './codec.js'
import { BpfError } from './error.js'

/** The kernel's page; positions have one each. */
const PAGE = 4096
const HEADER = 8
const BUSY = 0x80000000
const DISCARDED = 0x40000000

/**
 * The consumer of a ring. A ring has one at a time: two would steal each other's records.
 *
 *     for await (const event of ring) ...
 *
 * The process may end while nobody waits.
 */
export class RingBuffer<T = Uint8Array> implements AsyncIterable<T> {
  readonly name: string
  readonly #codec: Codec<T>
  readonly #consumer: Block
  readonly #position: BigUint64Array
  readonly #records: Block
  readonly #produced: BigUint64Array
  readonly #view: DataView
  readonly #mask: number
  readonly #poller: Poller
  /** Resolves when there may be something to read. */
  #wake: (() => void) | null = null
  #closed = false

  /** @param fd of the map, which must stay open. @param size its max_entries: bytes, a power of two */
  constructor(name: string, fd: number, size: number, codec: Codec<T>) {
    this.name = name
    this.#codec = codec
    try {
      this.#consumer = native.mapDevice(fd, 0, 0, PAGE, false)
      // The records follow themselves, so that one that passes the end lies in one piece.
      this.#records = native.mapReadOnly(fd, PAGE, PAGE + 2 * size)
      this.#poller = native.pollReadable(fd, () => this.#ready()).pause().unref()
    } catch (error) {
      throw new BpfError(`ring buffer ${name}`, (error as NodeJS.ErrnoException).errno ?? 5)
    }
    this.#position = new BigUint64Array(this.#consumer.buffer, 0, 1)
    this.#produced = new BigUint64Array(this.#records.buffer, 0, 1)
    this.#view = new DataView(this.#records.buffer, PAGE)
    this.#mask = size - 1
  }

  /** Bytes that wait, headers included. */
  get available(): number {
    return this.#closed ? 0 : Number(Atomics.load(this.#produced, 0) - Atomics.load(this.#position, 0))
  }

  /**
   * Consumes what is there, at most `limit` records, without waiting.
   *
   * @param consume is given each record, decoded
   * @returns how many there were
   */
  drain(consume: (record: T) => void, limit = Infinity): number {
    let count = 0
    while (count < limit) {
      const record = this.#take()
      if (record === NONE) break
      count++
      consume(record as T)
    }
    return count
  }

  #take(): T | typeof NONE {
    while (!this.#closed) {
      const position = Atomics.load(this.#position, 0)
      if (position === Atomics.load(this.#produced, 0)) return NONE
      const at = Number(position & BigInt(this.#mask))
      // The kernel clears the busy bit when the record is complete: with release, so it is read before all else.
      const header = Atomics.load(this.#records.u32, (PAGE + at) / 4)
      if ((header & BUSY) !== 0) return NONE
      const length = header & ~(BUSY | DISCARDED)
      const next = position + BigInt(Math.ceil((length + HEADER) / 8) * 8)
      if ((header & DISCARDED) !== 0) {
        Atomics.store(this.#position, 0, next)
        continue
      }
      try {
        return this.#decode(at + HEADER, length)
      } finally {
        // After it was read: the kernel may overwrite it from here on.
        Atomics.store(this.#position, 0, next)
      }
    }
    return NONE
  }

  #decode(at: number, length: number): T {
    const { size, name } = this.#codec
    if (size > length) throw new RangeError(`ring buffer ${this.name}: a record of ${length} bytes is no ${name}`)
    if (size !== 0) return this.#codec.read(this.#view, at)
    return this.#records.u8.slice(PAGE + at, PAGE + at + length) as T
  }

  #ready(): void {
    this.#poller.pause().unref()
    const wake = this.#wake
    this.#wake = null
    wake?.()
  }

  /** Resolves when a record may be there; while it waits, the process stays alive. */
  #wait(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#wake !== null) throw new Error(`ring buffer ${this.name} is being waited for already`)
      const abort = () => {
        this.#poller.pause().unref()
        this.#wake = null
        reject(signal!.reason)
      }
      this.#wake = () => {
        signal?.removeEventListener('abort', abort)
        resolve()
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#poller.ref().resume()
    })
  }

  /** Records as they come, until the ring is closed or the signal fires. @throws the signal's reason */
  async *records(signal?: AbortSignal): AsyncGenerator<T, void, undefined> {
    while (!this.#closed) {
      signal?.throwIfAborted()
      const record = this.#take()
      if (record === NONE) await this.#wait(signal)
      else yield record
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    return this.records()
  }

  /** Ends the consumption; iterations end. Records that were not consumed stay for the next consumer. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#poller.close()
    native.release(this.#consumer)
    native.release(this.#records)
    const wake = this.#wake
    this.#wake = null
    wake?.()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

const NONE = Symbol('no record')
