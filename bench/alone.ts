// SPDX-License-Identifier: MIT
/** Locks that say: only one of us. They go with the process, however it ends. */
import { flock } from '../src/native.js'

// flock(2)
const LOCK_EX = 2
const LOCK_NB = 4

/** @returns whether the open file is ours alone now, until it is closed */
export function lockAlone(file: number): boolean {
  return flock(file, LOCK_EX | LOCK_NB) >= 0
}
