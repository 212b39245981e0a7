// SPDX-License-Identifier: MIT
/** What the tests of BPF have in common: their objects, and whether this machine lets them load. */
import { readFileSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { isMainThread } from 'node:worker_threads'
import { provideKernelFiles } from '../../bench/kernel-files.js'
import { constants, effectiveCapabilities, result } from '../../src/native.js'

// libbpf looks for plain tracepoints' numbers there.
if (isMainThread) provideKernelFiles('tracefs')

/** Number of getppid(2), which `process.ppid` calls each time, on this thread, and nothing else here does. */
export const GETPPID = process.arch === 'arm64' ? 173 : 110

export function objectPath(name: string): string {
  return fileURLToPath(new URL(`../../bpf/test/${name}.bpf.o`, import.meta.url))
}

/** A copy of an object of bpf/test. */
export function objectBytes(name: string): Uint8Array {
  return new Uint8Array(readFileSync(objectPath(name)))
}

/** Why BPF can't be tested here; false when it can. */
export function unavailable(): string | false {
  effectiveCapabilities()
  const has = (capability: number) => capability < 32
    ? (result.low >>> capability & 1) === 1
    : (result.high >>> capability - 32 & 1) === 1
  if (!has(constants.CAP_SYS_ADMIN) && !(has(constants.CAP_BPF) && has(constants.CAP_PERFMON))) return 'needs CAP_BPF'
  return false
}

/** How many descriptors this process has. */
export function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

const at = process.argv.indexOf('--share')
/** How much of the long tests is run. */
export const share: 'ci' | 'full' = process.argv[at + 1] === 'full' && at > 0 ? 'full' : 'ci'
