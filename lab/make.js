#!/usr/bin/env node
// SPDX-License-Identifier: MIT
/**
 * `npm run lab`: makes all that a guest is made of, as far as it is not there: QEMU, the root, its disk, Node's disk, efuse.ko,
 * the eBPF objects, the tests' C programs; and libbpf as WebAssembly, which goes to dist/bpf. lab/run makes what it lacks of
 * the others by itself; this says beforehand that it can.
 *
 *   node lab/make.js [--debug]     with the debug kernel, too
 */
import { buildLibbpf } from '../scripts/build-libbpf.js'
import { provide } from '../scripts/requirements.js'
import { progress } from './cache.js'
import { debugKernel } from './debug-kernel.js'
import { nodeDisk, releaseKernel, rootDisk } from './image.js'
import { efuseModule } from './module.js'
import { objects } from './objects.js'
import { programs } from './programs.js'
import { qemu } from './qemu.js'

/** @throws {Error} with all that has to be said */
async function make() {
  const started = Date.now()
  if (process.getuid() !== 0) throw new Error('it takes root: Debian is installed into a folder, with its own users and devices')
  if (!provide('lab') || !provide('bpf')) throw new Error('it needs the programs named above')
  const kernels = [await releaseKernel(), ...process.argv.includes('--debug') ? [await debugKernel()] : []]
  await qemu()
  await rootDisk()
  await nodeDisk()
  for (const kernel of kernels) await efuseModule(kernel)
  await objects()
  await programs()
  progress('building libbpf')
  buildLibbpf()
  progress(`ready for ${kernels.map(({ version }) => version).join(' and ')}, after ${Math.round((Date.now() - started) / 1000)} s`)
}

try {
  await make()
} catch (error) {
  process.stderr.write(`lab: ${error.message}\n`)
  process.exitCode = 1
}
