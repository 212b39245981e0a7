#!/usr/bin/env node
// SPDX-License-Identifier: MIT
/**
 * `npm run lab`: makes all that a guest is made of, as far as it is not in the cache: the root, its disk, Node's disk, and
 * efuse.ko. lab/run makes what it lacks by itself; this says beforehand that it can.
 *
 *   node lab/make.js [--debug]     with the debug kernel, too
 */
import { progress } from './cache.js'
import { debugKernel } from './debug-kernel.js'
import { nodeDisk, releaseKernel, rootDisk } from './image.js'
import { efuseModule } from './module.js'

const started = Date.now()
const kernels = [await releaseKernel(), ...process.argv.includes('--debug') ? [await debugKernel()] : []]
await rootDisk()
await nodeDisk()
for (const kernel of kernels) await efuseModule(kernel)
progress(`ready for ${kernels.map(({ version }) => version).join(' and ')}, after ${Math.round((Date.now() - started) / 1000)} s`)
