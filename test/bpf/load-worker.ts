// SPDX-License-Identifier: MIT
/** A worker of lifecycle.test.ts: loads an object as often as it is told, or keeps one attached. */
import { parentPort, workerData } from 'node:worker_threads'
import { BpfObject } from '../../src/bpf/index.js'
import * as native from '../../src/native.js'
import { GETPPID, objectPath } from './objects.js'

/** What the worker is to do; it answers with how many calls its programs have seen, or `attached`. */
export type Order = { times: number } | { attach: string }

const order = workerData as Order
if ('times' in order) {
  let seen = 0
  for (let i = 0; i < order.times; i++) {
    using object = await BpfObject.open(objectPath('tracing'))
    object.knobs.set({ watched: native.threadId(), enabled: true, reported: GETPPID })
    object.load()
    const ring = object.ringBuffer('events')
    object.program('on_call').attach()
    for (let call = 0; call < 3; call++) void process.ppid
    seen += ring.drain(() => {})
  }
  parentPort!.postMessage(seen)
} else {
  const object = await BpfObject.open(objectPath('congestion'))
  object.load()
  object.structOps(order.attach).attach()
  parentPort!.postMessage('attached')
  setInterval(() => {}, 1000)
}
