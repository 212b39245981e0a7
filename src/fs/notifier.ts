// SPDX-License-Identifier: MIT
/**
 * The Notifier that a served mount gives its file system: encodes each notification and hands the
 * bytes to whoever can write them to the device.
 *
 * Writing must not happen on a thread that the kernel may be waiting for: an invalidation takes
 * the inode's locks, and whoever holds them may wait for an answer of this very server.
 */
import { FUSE_EXPIRE_ONLY } from '../protocol/constants.js'
import * as notify from '../protocol/notify.js'
import type { NotifyReplyRequest } from '../protocol/request.js'
import { FuseError } from './errors.js'
import type { Notifier } from './filesystem.js'

type Wide = notify.Wide

interface Retrieval {
  resolve(data: Uint8Array): void
  reject(error: unknown): void
}

const TWO_32 = 4294967296

export class NotifierOver implements Notifier {
  private readonly retrievals = new Map<number, Retrieval>()

  /**
   * @param send writes one message to the device, off-thread; rejects with the kernel's errno
   *   (ENOENT: the kernel does not know the inode or name, and so has nothing to drop)
   * @param nextUnique first `notify_unique` of a retrieve. Workers of one mount need ranges of
   *   their own, as the answer may reach another of them: see `deliver`.
   */
  constructor(
    private readonly send: (bytes: Uint8Array) => Promise<void>,
    private nextUnique = 1,
  ) {}

  invalInode(nodeid: Wide, offset: Wide = 0, length: Wide = 0): Promise<void> {
    return this.tell(() => notify.encodeNotifyInvalInode(nodeid, offset, length))
  }

  invalEntry(parent: Wide, name: string | Uint8Array, expireOnly = false): Promise<void> {
    return this.tell(() => notify.encodeNotifyInvalEntry(parent, name, expireOnly ? FUSE_EXPIRE_ONLY : 0))
  }

  delete(parent: Wide, child: Wide, name: string | Uint8Array): Promise<void> {
    return this.tell(() => notify.encodeNotifyDelete(parent, child, name))
  }

  store(nodeid: Wide, offset: Wide, data: Uint8Array): Promise<void> {
    return this.tell(() => notify.encodeNotifyStore(nodeid, offset, data))
  }

  retrieve(nodeid: Wide, offset: Wide, size: number): Promise<Uint8Array> {
    const unique = this.nextUnique++
    return new Promise((resolve, reject) => {
      // Known before it is sent: the answer may come before `send` says that the message was taken.
      this.retrievals.set(unique, { resolve, reject })
      this.tell(() => notify.encodeNotifyRetrieve(unique, nodeid, offset, size)).catch((error) => {
        this.retrievals.delete(unique)
        reject(error)
      })
    })
  }

  poll(kh: Wide): Promise<void> {
    return this.tell(() => notify.encodeNotifyPoll(kh))
  }

  resend(): Promise<void> {
    return this.tell(notify.encodeNotifyResend)
  }

  incEpoch(): Promise<void> {
    return this.tell(notify.encodeNotifyIncEpoch)
  }

  prune(nodeids: readonly Wide[]): Promise<void> {
    return this.tell(() => notify.encodeNotifyPrune(nodeids))
  }

  /** Retrieves that wait for their answer. */
  get pendingCount(): number {
    return this.retrievals.size
  }

  /** For the dispatcher's `onNotifyReply`. @returns whether the retrieve was made here */
  takeReply(request: NotifyReplyRequest): boolean {
    const { exchange } = request
    return this.deliver(exchange.uniqueLow + exchange.uniqueHigh * TWO_32, request.data.subarray(0, request.size))
  }

  /** Completes a retrieve whose answer came to any worker. @param data is copied */
  deliver(unique: number, data: Uint8Array): boolean {
    const retrieval = this.retrievals.get(unique)
    if (retrieval === undefined) return false
    this.retrievals.delete(unique)
    retrieval.resolve(new Uint8Array(data))
    return true
  }

  /** Fails the retrieves that wait: the connection is gone. */
  abandon(): void {
    for (const { reject } of this.retrievals.values()) reject(new FuseError('ENOTCONN'))
    this.retrievals.clear()
  }

  /** An argument that can't be encoded fails the promise, like all that goes wrong here. */
  private async tell(encode: () => Uint8Array): Promise<void> {
    await this.send(encode())
  }
}
