// SPDX-License-Identifier: MIT
/** Numbers out of numbers: what a series of rounds says. */

/** What a series of values shows: robust against a few that were disturbed. */
export interface Spread {
  median: number
  min: number
  max: number
  /** Median of the distances from the median. */
  mad: number
  /** How many values there were. */
  count: number
}

/** @throws RangeError for an empty series */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('an empty series has no median')
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** @throws RangeError for an empty series */
export function spread(values: readonly number[]): Spread {
  const middle = median(values)
  return {
    median: middle,
    min: Math.min(...values),
    max: Math.max(...values),
    mad: median(values.map((value) => Math.abs(value - middle))),
    count: values.length,
  }
}

/**
 * The ratio of each round. Two variants are compared within a round only, where the machine was
 * in about the same state for both; a round that lacks either value does not count.
 */
export function ratios(
  subject: readonly (number | null)[], rival: readonly (number | null)[],
): number[] {
  const found: number[] = []
  for (let round = 0; round < Math.min(subject.length, rival.length); round++) {
    const above = subject[round]
    const below = rival[round]
    if (above === null || below === null || !(below > 0)) continue
    found.push(above / below)
  }
  return found
}

/** The order in which a round runs its variants: there and back (A B, B A, ...), so that none is always the first. */
export function orderOfRound<T>(variants: readonly T[], round: number): T[] {
  return round % 2 === 0 ? [...variants] : [...variants].reverse()
}

/** Whether a value keeps to a target. */
export function meets(value: number, sense: 'atMost' | 'atLeast', target: number): boolean {
  return sense === 'atMost' ? value <= target : value >= target
}
