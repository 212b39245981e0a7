// SPDX-License-Identifier: MIT
/**
 * One worker of a mount: serves requests from its own device descriptor on its own thread.
 *
 * For a synchronous file system it blocks in the kernel between requests, and sees neither messages
 * nor timers then; only while an answer is awaited after all (an asynchronous `init`) it runs its
 * event loop. For others it always does.
 *
 * Over io_uring, workers that serve queues are joined by one that reads the device, where FORGET and
 * INTERRUPT still come; a file system with a single worker has both on its event loop.
 */
import { constants } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { RING_WORDS, RingState, STATE_WORD } from '../bpf/ring-states.js'
import { OperationCounters } from '../fs/counters.js'
import * as native from '../native.js'
import { Negotiation } from '../protocol/init.js'
import type { RingEnd } from '../rings/device.js'
import { Standby } from '../rings/standby.js'
import { queueCount, UringUnavailableError, type UringRing, type RingStates } from '../rings/uring.js'
import { loadFileSystem } from './filesystems.js'
import { Serving } from './serving.js'
import { WorkerStates, type FromWorker, type ToWorker, type WorkerSetup } from './worker-protocol.js'

/** Workers' retrieves are numbered apart, so that an answer read by another worker finds its way. */
const UNIQUES_PER_WORKER = 2 ** 40

const setup = workerData as WorkerSetup
const port = parentPort!
const states = new WorkerStates(setup.states)

function tell(message: FromWorker): void {
  port.postMessage(message)
}

// A caller's umask must not show in other threads.
native.unshareFs()

const { fileSystem, shared } = await loadFileSystem(setup.source, setup.index)
/** Over io_uring the device has one reader anyway. */
const standby = shared && setup.queues === null ? new Standby(setup.standby, setup.index) : null
let serving: Serving | null = null

port.on('message', (message: ToWorker) => {
  switch (message.type) {
    case 'serve':
      void serve(message.fd, message.agreement && Negotiation.from(message.agreement))
      return
    case 'interrupt':
      serving?.dispatcher.interrupt(message.unique)
      return
    case 'retrieved':
      serving?.notifier.deliver(message.unique, message.data)
      return
    case 'stop':
      void finish('stopped')
  }
})
tell({ type: 'loaded', shared })

async function serve(fd: number, negotiation: Negotiation | undefined): Promise<void> {
  serving = new Serving(fd, fileSystem, {
    options: setup.options,
    negotiation,
    counters: new OperationCounters(setup.counters),
    ownLoop: true,
    stop: states.stop,
    uring: setup.rings === 'uring' || (setup.rings === 'auto' && shared && fileSystem.synchronous === true),
    firstUnique: setup.index * UNIQUES_PER_WORKER + 1,
    onForeignInterrupt: (unique) => tell({ type: 'interrupt', unique }),
    onForeignNotifyReply: (unique, data) => tell({ type: 'retrieved', unique, data }),
    log: (message) => tell({ type: 'log', message }),
  })
  const { dispatcher, ring } = serving
  if (negotiation !== undefined) {
    await dispatcher.adopt()
    if (setup.cpu >= 0) native.setAffinity(setup.cpu)
    if (setup.queues !== null && serveQueues(setup.queues, fileSystem.synchronous === true)) return
    if (!fileSystem.synchronous) return ring.runInEventLoop(finish)
    return block()
  }
  ring.runInEventLoop(finish)
  try {
    await dispatcher.initialized
  } catch (error) {
    tell({ type: 'failed', message: error instanceof Error ? error.message : String(error) })
    return
  }
  tell({ type: 'initialized', agreement: dispatcher.negotiation.agree() })
  if (!dispatcher.negotiation.has('FUSE_OVER_IO_URING')) {
    if (setup.cpu >= 0) native.setAffinity(setup.cpu)
  } else if (!shared) {
    serveQueues(Array.from({ length: queueCount() }, (_, queue) => queue), false)
    return
  }
  if (fileSystem.synchronous) whenAnswered(block)
}

/**
 * Serves queues of FUSE over io_uring.
 * @param alone whether nothing else goes on in this thread, which then blocks
 * @returns false when the kernel can't do it: requests keep coming from the device
 */
function serveQueues(queues: readonly number[], alone: boolean): boolean {
  let uring: UringRing
  try {
    uring = serving!.openUring(queues, alone, alone ? statesOf(queues) : undefined)
    tell({ type: 'ring', fd: uring.fd })
    uring.register()
    tell({ type: 'registered' })
  } catch (error) {
    if (!(error instanceof UringUnavailableError)) throw error
    if (error.errno === constants.errno.ENOTCONN || error.errno === constants.errno.ECONNABORTED) {
      void finish('unmounted')
      return true
    }
    tell({ type: 'log', message: `io_uring can't be used, serving over /dev/fuse: ${error.message}` })
    return false
  }
  if (!alone) {
    uring.runInEventLoop(finish)
    return true
  }
  states.enter(setup.index, native.threadId())
  const end = uring.runBlocking()
  states.leave(setup.index)
  if (end === 'pending') uring.runInEventLoop(finish)
  else void finish(end)
  return true
}

/** Where the kernel's programs look what this thread, which serves these queues, does. */
function statesOf(queues: readonly number[]): RingStates | undefined {
  if (setup.ringStates === null) return undefined
  try {
    const { u32 } = native.mapDevice(setup.ringStates, 0, 0, (Math.max(...queues) + 1) * RING_WORDS * 4, false)
    return {
      words: u32, at: queues.map((queue) => queue * RING_WORDS + STATE_WORD),
      busy: RingState.Busy, polling: RingState.Polling, asleep: RingState.Asleep,
    }
  } catch {
    // It has been detached just now.
    return undefined
  }
}

/** Serves from the event loop until no answer is awaited. */
function whenAnswered(then: () => void): void {
  const { ring, dispatcher } = serving!
  const leave = () => {
    ring.onAnswered = null
    // The answer may be on its way still in the microtask that told us.
    setImmediate(() => {
      if (dispatcher.pendingCount > 0) return whenAnswered(then)
      if (finishing) return
      ring.leave()
      then()
    })
  }
  if (dispatcher.pendingCount === 0) leave()
  else ring.onAnswered = leave
}

function block(): void {
  const { ring } = serving!
  states.enter(setup.index, native.threadId())
  const end = ring.runBlocking(standby)
  states.leave(setup.index)
  if (end !== 'pending') return void finish(end)
  ring.runInEventLoop(finish)
  whenAnswered(block)
}

let finishing = false
async function finish(end: RingEnd): Promise<void> {
  if (finishing) return
  finishing = true
  try {
    await serving?.end()
  } finally {
    tell({ type: 'ended', end })
    port.close()
  }
}
