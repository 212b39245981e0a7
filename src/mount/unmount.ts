// SPDX-License-Identifier: MIT
/** Unmounting: umount2(2) where we may, fusermount3 otherwise; never on a thread that serves the mount. */
import { constants as os } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { Worker } from 'node:worker_threads'
import * as native from '../native.js'
import { FusermountError, fusermountUnmount } from './fusermount.js'

const { EPERM, EBUSY, EINVAL } = os.errno
const { MNT_DETACH, MNT_FORCE, UMOUNT_NOFOLLOW } = native.constants

export interface UnmountOptions {
  /** Takes it out of sight at once, and ends it when its last user is gone. */
  lazy?: boolean
  /** Aborts the connection first: who waits for an answer gets an error. */
  force?: boolean
}

/** What umount(2) refused. */
export class UnmountError extends Error {
  override readonly name = 'UnmountError'
  constructor(message: string, readonly code: string) {
    super(message)
  }
}

export function unmountFlags({ lazy, force }: UnmountOptions): number {
  return UMOUNT_NOFOLLOW | (lazy || force ? MNT_DETACH : 0) | (force ? MNT_FORCE : 0)
}

/**
 * Unmounts what is topmost at a mountpoint.
 *
 * umount(2) writes the file system's dirty pages out first and waits for the server to take them:
 * it runs on a thread of its own, as this one may be the server.
 * @throws UnmountError; `code` EBUSY: it is in use
 */
export async function unmount(mountpoint: string, options: UnmountOptions = {}): Promise<void> {
  const errno = await umountElsewhere(mountpoint, unmountFlags(options))
  if (errno === 0) return
  if (errno === -EPERM) {
    try {
      return await fusermountUnmount(mountpoint, options.lazy === true || options.force === true)
    } catch (error) {
      if (!(error instanceof FusermountError)) throw error
      const busy = /busy/i.test(error.message)
      throw busy ? busyError(mountpoint) : new UnmountError(error.message, 'EPERM')
    }
  }
  if (errno === -EBUSY) throw busyError(mountpoint)
  if (errno === -EINVAL) throw new UnmountError(`${mountpoint} is not mounted`, 'EINVAL')
  const code = getSystemErrorName(errno)
  throw new UnmountError(`${mountpoint} can't be unmounted: ${code}`, code)
}

function busyError(mountpoint: string): UnmountError {
  return new UnmountError(
    `${mountpoint} is in use: end what uses it ("fuser -vm ${mountpoint}" tells), or unmount with --force`, 'EBUSY')
}

function umountElsewhere(mountpoint: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./unmount-thread.js', import.meta.url), {
      workerData: { mountpoint, flags },
      // The program's own may be such that no worker starts (--input-type).
      execArgv: [],
    })
    let answer: number | undefined
    worker.once('message', (errno: number) => { answer = errno })
    worker.once('error', reject)
    worker.once('exit', () => answer === undefined ? reject(new Error('the unmounting thread ended')) : resolve(answer))
  })
}
