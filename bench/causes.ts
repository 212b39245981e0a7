// SPDX-License-Identifier: MIT
/** Why an aim of the mission is missed, as far as it is known: what people found out, not what was measured. */
import type { SideName } from './measured.js'
import type { Where } from './systems.js'

interface Cause {
  /** Fits where all that is given fits. */
  where?: Where
  load?: RegExp
  side?: SideName
  miss?: RegExp
  text: string
}

const CAUSES: readonly Cause[] = []

/** @returns the first that fits, or that none is known */
export function causeOf(where: Where, load: string, side: SideName, misses: readonly string[]): string {
  return CAUSES.find((cause) => (cause.where ?? where) === where && (cause.side ?? side) === side &&
    (cause.load?.test(load) ?? true) && (cause.miss === undefined || misses.some((miss) => cause.miss!.test(miss))))
    ?.text ?? 'not known yet'
}
