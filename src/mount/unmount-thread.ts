// SPDX-License-Identifier: MIT
/** The thread on which `unmount` waits for umount(2). */
import { parentPort, workerData } from 'node:worker_threads'
import { umount2 } from '../native.js'

const { mountpoint, flags } = workerData as { mountpoint: string; flags: number }
parentPort!.postMessage(umount2(mountpoint, flags))
