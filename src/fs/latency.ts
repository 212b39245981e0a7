// SPDX-License-Identifier: MIT
/**
 * Times in buckets: four per power of two, from 256 ns to 68 s, as bpf/monitor.h has them.
 *
 * A bucket is a seventh to a quarter of its lower bound wide; that is how exact a percentile is. The first bucket
 * holds all that is shorter, too, and the last all that is longer.
 */
const FIRST_SHIFT = 8
const LAST_SHIFT = 35
export const BUCKETS = (LAST_SHIFT - FIRST_SHIFT + 1) * 4

/** Where each bucket begins, nanoseconds; one more for the end of the last. */
export const BUCKET_BOUNDS: readonly number[] = Array.from({ length: BUCKETS + 1 }, (_, bucket) => {
  return (4 + bucket % 4) * 2 ** (Math.floor(bucket / 4) + FIRST_SHIFT - 2)
})

/** The bucket of a time in nanoseconds. */
export function bucketOf(nanoseconds: number): number {
  if (nanoseconds < BUCKET_BOUNDS[1]) return 0
  if (nanoseconds >= BUCKET_BOUNDS[BUCKETS]) return BUCKETS - 1
  const shift = Math.floor(Math.log2(nanoseconds))
  return (shift - FIRST_SHIFT) * 4 + Math.floor(nanoseconds / 2 ** (shift - 2)) - 4
}

/**
 * The time that a share of the requests stayed below, nanoseconds; within its bucket by linear interpolation.
 * @param share 0.5 for the median
 * @returns null when there are none
 */
export function percentile(buckets: ArrayLike<number>, share: number): number | null {
  let total = 0
  for (let bucket = 0; bucket < buckets.length; bucket++) total += buckets[bucket]
  if (total === 0) return null
  const wanted = share * total
  let below = 0
  for (let bucket = 0; bucket < buckets.length; bucket++) {
    const here = buckets[bucket]
    if (here === 0 || below + here < wanted) {
      below += here
      continue
    }
    const from = BUCKET_BOUNDS[bucket]
    return from + (BUCKET_BOUNDS[bucket + 1] - from) * ((wanted - below) / here)
  }
  return BUCKET_BOUNDS[buckets.length]
}
