// SPDX-License-Identifier: MIT
/**
 * Locks in shared memory, for critical sections of a few dozen instructions.
 *
 * A lock word holds 0 or its owner's number, so that what a dead worker held can be found and
 * released. Waiters spin briefly, then sleep for a moment: on few CPUs the owner may not be running.
 */
const SPINS = 64
const NAP_MILLISECONDS = 1

/** @param owner 1 or more, unique among the workers */
export function lock(words: Int32Array, index: number, owner: number): void {
  let spins = 0
  for (;;) {
    const holder = Atomics.compareExchange(words, index, 0, owner)
    if (holder === 0) return
    if (++spins > SPINS) Atomics.wait(words, index, holder, NAP_MILLISECONDS)
  }
}

export function unlock(words: Int32Array, index: number): void {
  Atomics.store(words, index, 0)
}
