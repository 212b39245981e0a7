// SPDX-License-Identifier: MIT
/**
 * Something that pays while it nearly always succeeds, and costs when it does not: done as long as about 8 of 9 times go
 * well, and otherwise tried again after a while.
 */

/** What a failure takes away; a success gives 1. */
const PRICE = 8
/** What a long row of successes is worth at most: after as many failures it is over. */
const MOST_CREDIT = 4 * PRICE
/** What a trial begins with. */
const TRIAL = 2 * PRICE
/** Occasions that pass after a trial that failed; each further one doubles them. */
const FIRST_REST = 128
const LAST_REST = 8192

export class Adaptive {
  private credit: number
  private rest = FIRST_REST
  private resting = 0

  /** @param possible false: never */
  constructor(private readonly possible: boolean) {
    this.credit = possible ? TRIAL : 0
  }

  /** Whether to do it on the next occasion. */
  get on(): boolean {
    return this.credit > 0
  }

  /** It was on, and went well. */
  succeeded(): void {
    if (this.credit < MOST_CREDIT) this.credit++
    else this.rest = FIRST_REST
  }

  /** It was on, and was in vain. */
  failed(): void {
    this.credit -= PRICE
    if (this.credit > 0) return
    this.credit = 0
    this.resting = this.rest
    this.rest = Math.min(2 * this.rest, LAST_REST)
  }

  /** It was off: an occasion passed. */
  passed(): void {
    if (this.possible && --this.resting <= 0) this.credit = TRIAL
  }
}
