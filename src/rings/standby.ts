// SPDX-License-Identifier: MIT
/**
 * Who reads the device, when several workers could.
 *
 * The kernel wakes the worker that has waited longest, so with several of them waiting the requests of
 * one client go round all CPUs, and a wake-up on another CPU costs several times what serving it does.
 * So one worker, the reader, takes all requests, and the others stand by. They look at it now and
 * then: one that is still busy with the same request as the last time (a slow disk) is helped
 * out. A helper that sees the reader reading again stands by again.
 *
 * All of this is in a few words of shared memory. A missed look costs a little time, nothing else.
 */
const COUNT = 0
const STATE = 1
const WORDS_PER_WORKER = 2

const AWAY = 0
const READING = 1
const SERVING = 2

/** The first look after a request, milliseconds; each look that finds nothing to do doubles the time to the next. */
const FIRST_LOOK = 1
const LAST_LOOK = 32
/** How long a worker sleeps whose turn comes after one that stands by itself, milliseconds. */
const SLEEP = 250

/** One worker's part in it. */
export class Standby {
  private readonly words: Int32Array
  private readonly mine: number
  static allocate(workers: number): SharedArrayBuffer {
    return new SharedArrayBuffer((1 + workers * WORDS_PER_WORKER) * 4)
  }

  /** @param index from 0; worker 0 is the reader */
  constructor(memory: SharedArrayBuffer, private readonly index: number) {
    this.words = new Int32Array(memory)
    this.mine = 1 + index * WORDS_PER_WORKER
    // A new reader leaves its dead predecessor's state: others read until it does.
    if (index !== 0) this.words[this.mine + STATE] = AWAY
  }

  /** The reader died: others read, until its successor does, or for good. */
  static readerLost(memory: SharedArrayBuffer): void {
    Atomics.store(new Int32Array(memory), 1 + STATE, SERVING)
  }

  /** Whether this worker is to read the next request, or to stand by. */
  get mayRead(): boolean {
    return this.index === 0 || Atomics.load(this.words, 1 + STATE) === SERVING
  }

  /** This worker waits for a request from now on. */
  reading(): void {
    Atomics.store(this.words, this.mine + STATE, READING)
  }

  /** This worker has taken a request. */
  serving(): void {
    this.words[this.mine + COUNT]++
    Atomics.store(this.words, this.mine + STATE, SERVING)
  }

  /**
   * Waits until the reader needs help. Only the first worker that stands by looks; the next one sleeps
   * until that one is busy too.
   * @param stop becomes other than 0 when everybody is to stop
   */
  wait(stop: Int32Array): void {
    const { words, mine } = this
    const before = mine - WORDS_PER_WORKER + STATE
    Atomics.store(words, mine + STATE, AWAY)
    let last = -1
    let pause = FIRST_LOOK
    while (stop[0] === 0) {
      if (this.index > 1 && Atomics.wait(words, before, AWAY, SLEEP) === 'timed-out') continue
      // Nobody ever changes word 0: this is a pause.
      Atomics.wait(words, 0, 0, pause)
      const count = Atomics.load(words, 1 + COUNT)
      const serving = Atomics.load(words, 1 + STATE) === SERVING
      if (serving && count === last) {
        Atomics.store(words, mine + STATE, READING)
        Atomics.notify(words, mine + STATE)
        return
      }
      pause = serving || count !== last ? FIRST_LOOK : Math.min(LAST_LOOK, pause * 2)
      last = count
    }
  }

  /** Wakes all who stand by, after `stop` was set. */
  static wakeAll(memory: SharedArrayBuffer): void {
    const words = new Int32Array(memory)
    for (let i = 0; i < words.length; i++) Atomics.notify(words, i)
  }
}
