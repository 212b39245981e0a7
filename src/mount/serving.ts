// SPDX-License-Identifier: MIT
/** One file system on one device descriptor in one thread: dispatcher, ring and notifier joined. */
import { write } from 'node:fs'
import { availableParallelism } from 'node:os'
import type { FileSystem } from '../fs/filesystem.js'
import { Dispatcher, type DispatchOptions } from '../fs/dispatch.js'
import { NotifierOver } from '../fs/notifier.js'
import * as native from '../native.js'
import { Block } from '../protocol/struct.js'
import { FuseNotifyCode } from '../protocol/constants.js'
import type { Negotiation } from '../protocol/init.js'
import { OPERATION_BY_OPCODE } from '../protocol/operations.js'
import { BUSY_POLL, DeviceRing } from '../rings/device.js'
import { queueCount, queueDepth, UringRing, type PartsServer, type RingStates } from '../rings/uring.js'
import { getSystemErrorName } from 'node:util'
import { backingFiles } from './backing.js'
import type { MountOptions } from './options.js'
import { withOverrides } from './override.js'
import { maxWriteOf, newNegotiation, prepareNegotiation, validityOf } from './settings.js'

export interface ServingOptions extends Pick<DispatchOptions, 'counters' | 'onForeignInterrupt'> {
  options: MountOptions
  /** Made by another worker; otherwise FUSE_INIT comes here. */
  negotiation?: Negotiation
  /** Asks the kernel for FUSE over io_uring. */
  uring?: boolean
  /** Whether this thread's event loop serves nothing else that could not wait for a moment. */
  ownLoop?: boolean
  /** Becomes other than 0 when this thread is to stop. */
  stop?: Int32Array
  /** The first number of this thread's `retrieve`s. */
  firstUnique?: number
  /** The answer to another worker's `retrieve`. */
  onForeignNotifyReply?: (unique: number, data: Uint8Array) => void
  /** Something that a log should hold. */
  log: (message: string) => void
}

export class Serving {
  readonly dispatcher: Dispatcher
  readonly ring: DeviceRing
  readonly notifier: NotifierOver
  private readonly server: PartsServer
  private uringRing: UringRing | null = null

  constructor(private readonly fd: number, readonly fileSystem: FileSystem, private readonly serving: ServingOptions) {
    const { options, log, onForeignNotifyReply } = serving
    const negotiation = serving.negotiation ?? newNegotiation(options)
    this.notifier = new NotifierOver(notificationSender(fd), serving.firstUnique)
    this.dispatcher = new Dispatcher(fileSystem, {
      validity: validityOf(options),
      counters: serving.counters,
      negotiation,
      prepare: (agreed) => {
        prepareNegotiation(agreed, options)
        if (serving.uring) {
          agreed.want('FUSE_OVER_IO_URING')
          agreed.want('FUSE_HAS_IO_URING_BUFPOOL')
        }
      },
      notifier: this.notifier,
      backing: backingFiles(fd),
      zeroCopy: options.uringZeroCopy,
      onNotifyReply: (request) => {
        if (this.notifier.takeReply(request) || onForeignNotifyReply === undefined) return
        const { exchange } = request
        const unique = exchange.uniqueLow + exchange.uniqueHigh * 4294967296
        onForeignNotifyReply(unique, new Uint8Array(request.data.subarray(0, request.size)))
      },
      onForeignInterrupt: serving.onForeignInterrupt,
      onHandlerError: (error, operation) => {
        log(`${operation} failed: ${error instanceof Error ? error.stack ?? error.message : String(error)}`)
      },
    })
    this.server = withOverrides(this.dispatcher, options)
    this.ring = new DeviceRing(fd, this.server, {
      maxTransfer: this.maxTransfer,
      stop: serving.stop,
      ownLoop: serving.ownLoop,
      busyPoll: this.busyPoll,
      onRejected: (errno, opcode) => {
        const name = OPERATION_BY_OPCODE[opcode]?.name ?? `opcode ${opcode}`
        log(`the kernel refused a reply to ${name} (${errno}); answered EIO instead`)
      },
    })
  }

  private get busyPoll(): number {
    return this.serving.options.busyPoll ?? (availableParallelism() > 1 ? BUSY_POLL : 0)
  }

  private get maxTransfer(): number {
    return Math.max(maxWriteOf(this.serving.options), this.dispatcher.negotiation.maxWrite)
  }

  /**
   * Makes an io_uring ring that serves some of the kernel's queues beside, or instead of, the device.
   * @throws UringUnavailableError
   */
  openUring(queues: readonly number[], blocking: boolean, states?: RingStates): UringRing {
    const { maxTransfer } = this
    const { negotiation } = this.dispatcher
    const ring = new UringRing(this.fd, queues, this.server, {
      depth: queueDepth(queueCount(), maxTransfer, this.serving.options.uringDepth),
      blocking,
      maxTransfer,
      poolBuffer: negotiation.has('FUSE_HAS_IO_URING_BUFPOOL') ? negotiation.poolBuffer : 0,
      zeroCopy: this.serving.options.uringZeroCopy === true,
      states,
      busyPoll: this.busyPoll,
      stop: this.serving.stop,
    })
    this.uringRing = ring
    return ring
  }

  /** The connection is gone: nobody waits for answers any more. */
  async end(): Promise<void> {
    this.notifier.abandon()
    this.dispatcher.abandon()
    this.ring.close()
    this.uringRing?.close()
    await this.dispatcher.destroy()
  }
}

/** Notifications that take no lock which the server's own answer may hold. */
const NEVER_WAITS: ReadonlySet<number> = new Set([
  FuseNotifyCode.FUSE_NOTIFY_POLL, FuseNotifyCode.FUSE_NOTIFY_RESEND, FuseNotifyCode.FUSE_NOTIFY_INC_EPOCH,
])

/**
 * Writes notifications to the device from libuv's thread pool, as the kernel may keep the writer
 * waiting for a page or a directory that waits for this server's answer. One at a time: the pool is
 * small, and the file system's own I/O, which those answers may need, uses it too.
 */
export function notificationSender(fd: number): (bytes: Uint8Array) => Promise<void> {
  let last: Promise<void> = Promise.resolve()
  return (bytes) => {
    const code = new DataView(bytes.buffer, bytes.byteOffset).getInt32(4, true)
    if (NEVER_WAITS.has(code)) {
      const buffer = new ArrayBuffer((bytes.length + 7) & ~7)
      new Uint8Array(buffer).set(bytes)
      const written = native.write(fd, new Block(buffer), 0, bytes.length)
      if (written >= 0) return Promise.resolve()
      const code = getSystemErrorName(written)
      return Promise.reject(Object.assign(new Error(`notification: ${code}`), { code, errno: written }))
    }
    const sent = last.then(() => new Promise<void>((resolve, reject) => {
      write(fd, bytes, 0, bytes.length, null, (error) => error ? reject(error) : resolve())
    }))
    last = sent.catch(() => {})
    return sent
  }
}
