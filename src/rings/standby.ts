// SPDX-License-Identifier: MIT
/**
 * Who reads the device, when several workers could.
 *
 * The kernel wakes the worker that has waited longest, so with several of them waiting the requests of
 * one client go round all CPUs, and a wake-up on another CPU costs several times what serving it does.
 * So one worker, the reader, takes all requests, and the others stand by. They look at it now and
 * then: one that is still busy with the same request as the last time (a slow disk) is helped
 * out. A helper that sees the reader reading again stands by again. Where nothing happens, they sleep until
 * the reader's next request, so that an idle mount wakes nobody.
 *
 * All of this is in a few words of shared memory. A missed look costs a little time, nothing else.
 */
/** Whether any of those who stand by sleeps, and the reader's next request is to wake them. */
const ASLEEP = 0
const FIRST_WORKER = 1
const WORDS_PER_WORKER = 2
/** Of a worker's words. */
const COUNT = 0
const STATE = 1

const READER_COUNT = FIRST_WORKER + COUNT
const READER_STATE = FIRST_WORKER + STATE

const AWAY = 0
const READING = 1
const SERVING = 2

/** The first look after a request, milliseconds; each look that finds nothing to do doubles the time to the next. */
const FIRST_LOOK = 1
const LAST_LOOK = 32
/** How long a worker sleeps that nobody wakes, milliseconds. */
const SLEEP = 1000

/** One worker's part in it. */
export class Standby {
  private readonly words: Int32Array
  private readonly mine: number
  static allocate(workers: number): SharedArrayBuffer {
    return new SharedArrayBuffer((FIRST_WORKER + workers * WORDS_PER_WORKER) * 4)
  }

  /** @param index from 0; worker 0 is the reader */
  constructor(memory: SharedArrayBuffer, private readonly index: number) {
    this.words = new Int32Array(memory)
    this.mine = FIRST_WORKER + index * WORDS_PER_WORKER
    // A new reader leaves its dead predecessor's state: others read until it does.
    if (index !== 0) this.words[this.mine + STATE] = AWAY
  }

  /** The reader died: others read, until its successor does, or for good. */
  static readerLost(memory: SharedArrayBuffer): void {
    const words = new Int32Array(memory)
    Atomics.store(words, READER_STATE, SERVING)
    wake(words)
  }

  /** Whether this worker is to read the next request, or to stand by. */
  get mayRead(): boolean {
    return this.index === 0 || Atomics.load(this.words, READER_STATE) === SERVING
  }

  /** This worker waits for a request from now on. */
  reading(): void {
    Atomics.store(this.words, this.mine + STATE, READING)
  }

  /** This worker has taken a request. */
  serving(): void {
    const { words, mine } = this
    words[mine + COUNT]++
    Atomics.store(words, mine + STATE, SERVING)
    if (this.index === 0 && Atomics.load(words, ASLEEP) !== 0) wake(words)
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
      if (pause > LAST_LOOK) {
        // Said first, looked at afterwards: a request that comes in between wakes this worker, or is seen.
        Atomics.store(words, ASLEEP, 1)
        if (Atomics.load(words, READER_STATE) === READING) Atomics.wait(words, ASLEEP, 1, SLEEP)
      } else {
        // Nobody else changes this word: this is a pause.
        Atomics.wait(words, mine + STATE, AWAY, pause)
      }
      const count = Atomics.load(words, READER_COUNT)
      const serving = Atomics.load(words, READER_STATE) === SERVING
      if (serving && count === last) {
        Atomics.store(words, mine + STATE, READING)
        Atomics.notify(words, mine + STATE)
        return
      }
      if (serving || count !== last) pause = FIRST_LOOK
      else if (pause <= LAST_LOOK) pause *= 2
      last = count
    }
  }

  /** Wakes all who stand by, after `stop` was set. */
  static wakeAll(memory: SharedArrayBuffer): void {
    const words = new Int32Array(memory)
    for (let i = 0; i < words.length; i++) Atomics.notify(words, i)
  }
}

/** Wakes those who sleep until the reader's next request. */
function wake(words: Int32Array): void {
  Atomics.store(words, ASLEEP, 0)
  Atomics.notify(words, ASLEEP)
}
