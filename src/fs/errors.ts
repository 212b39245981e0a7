// SPDX-License-Identifier: MIT
/** The error that a file system throws, and what other errors become. */
import { constants } from 'node:os'

export type ErrnoName = keyof typeof constants.errno

const errnoByName = constants.errno as Record<string, number>

/** An answer other than success: `throw new FuseError('ENOENT')`. */
export class FuseError extends Error {
  override readonly name = 'FuseError'
  /** The errno's name, as in errno(3). */
  readonly code: ErrnoName
  /** The errno's number on this machine, positive. */
  readonly errno: number

  constructor(code: ErrnoName, message: string = code) {
    super(message)
    this.code = code
    this.errno = errnoByName[code]
  }
}

/**
 * The errno of anything that was thrown, positive: that of a FuseError or of Node's own system
 * errors (`error.code`), EINTR for an AbortError, EIO for the rest.
 */
export function errnoOf(error: unknown): number {
  if (typeof error === 'object' && error !== null) {
    const { code, errno, name } = propertiesOf(error)
    if (typeof code === 'string' && errnoByName[code] !== undefined) return errnoByName[code]
    if (typeof errno === 'number' && Number.isInteger(errno)) {
      const positive = Math.abs(errno)
      if (positive > 0 && positive < 512) return positive
    }
    if (name === 'AbortError') return constants.errno.EINTR
  }
  return constants.errno.EIO
}

/** Whatever a handler throws may also throw when it is looked at. */
function propertiesOf(error: object): { code?: unknown; errno?: unknown; name?: unknown } {
  try {
    const { code, errno, name } = error as { code?: unknown; errno?: unknown; name?: unknown }
    return { code, errno, name }
  } catch {
    return {}
  }
}
