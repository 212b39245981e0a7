// SPDX-License-Identifier: MIT
/** What a mount's main thread and its workers say to each other. */
import type { Agreement } from '../protocol/init.js'
import type { RingEnd } from '../rings/device.js'
import type { FileSystemSource } from './filesystems.js'
import type { MountOptions } from './options.js'

/** A mount's channel to the kernel: /dev/fuse, FUSE over io_uring, or whichever suits. */
export type Rings = 'auto' | 'dev' | 'uring'

export interface WorkerSetup {
  /** From 0. */
  index: number
  /** The CPU to stay on; -1: any. */
  cpu: number
  /** Which channel to the kernel is asked for: `auto` takes io_uring where that pays. */
  rings: Rings
  /** For Standby: which of the workers reads the device. */
  standby: SharedArrayBuffer
  /** The io_uring queues to serve; null: requests are read from the device. */
  queues: readonly number[] | null
  /** A map that tells who chooses a queue what its server does (src/bpf/balance.ts); null: nobody wants to know. */
  ringStates: number | null
  source: FileSystemSource
  options: MountOptions
  /** See WorkerStates. */
  states: SharedArrayBuffer
  /** For OperationCounters. */
  counters: SharedArrayBuffer
}

export type ToWorker =
  /** Begin: `fd` is this worker's own; without an agreement FUSE_INIT is still to come. */
  | { type: 'serve'; fd: number; agreement?: Agreement }
  /** Another worker has read an interrupt that may be for a request here. */
  | { type: 'interrupt'; unique: number }
  /** Another worker has read the answer to a retrieve that may have been made here. */
  | { type: 'retrieved'; unique: number; data: Uint8Array }
  /** Leave the event loop and end. */
  | { type: 'stop' }

export type FromWorker =
  | { type: 'loaded'; shared: boolean }
  | { type: 'initialized'; agreement: Agreement }
  /** The worker's io_uring ring, which somebody must close if it dies. */
  | { type: 'ring'; fd: number }
  /** The worker's queues are known to the kernel. */
  | { type: 'registered' }
  | { type: 'failed'; message: string }
  | { type: 'interrupt'; unique: number }
  | { type: 'retrieved'; unique: number; data: Uint8Array }
  | { type: 'log'; message: string }
  | { type: 'ended'; end: RingEnd }

/** Words that all threads of a mount see. */
export class WorkerStates {
  /** Becomes 1 when everybody is to stop. */
  readonly stop: Int32Array
  private readonly blocked: Int32Array
  private readonly threads: Int32Array

  static allocate(workers: number): SharedArrayBuffer {
    return new SharedArrayBuffer(4 + workers * 8)
  }

  constructor(memory: SharedArrayBuffer) {
    const workers = (memory.byteLength - 4) / 8
    this.stop = new Int32Array(memory, 0, 1)
    this.blocked = new Int32Array(memory, 4, workers)
    this.threads = new Int32Array(memory, 4 + workers * 4, workers)
  }

  /** A worker is about to block in the kernel, where only a signal to its thread reaches it. */
  enter(index: number, thread: number): void {
    this.threads[index] = thread
    Atomics.store(this.blocked, index, 1)
  }

  leave(index: number): void {
    Atomics.store(this.blocked, index, 0)
  }

  /** The thread id of a worker that blocks; 0 when it does not. */
  blockedThread(index: number): number {
    return Atomics.load(this.blocked, index) === 1 ? this.threads[index] : 0
  }
}
