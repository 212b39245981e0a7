// SPDX-License-Identifier: MIT
/** How commands end when they can't do what was asked: one line that says what, and what to do. */

export class Failure extends Error {
  override readonly name: string = 'Failure'
  constructor(message: string, readonly status = 1) {
    super(message)
  }
}

export const EXIT_USAGE = 2

/** The command line itself makes no sense: exit status 2. */
export class WrongUsage extends Failure {
  override readonly name = 'WrongUsage'
  constructor(message: string) {
    super(message, EXIT_USAGE)
  }
}
