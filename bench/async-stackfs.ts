// SPDX-License-Identifier: MIT
/** StackFS as an asynchronous file system: what a server costs whose handlers await on the event loop. */
import type { FileSystem } from '../src/fs/filesystem.js'
import { StackFS } from '../src/fs/stackfs/index.js'
import type { FactoryOptions } from '../src/mount/filesystems.js'

export default ({ source }: FactoryOptions): FileSystem => {
  const stack: FileSystem = new StackFS({ source, directIo: true })
  const awaiting: FileSystem = {
    synchronous: false,
    async getattr(request, reply) {
      await null
      return stack.getattr!.call(this, request, reply)
    },
    async read(request, reply) {
      await null
      return stack.read!.call(this, request, reply)
    },
  }
  return Object.assign(Object.create(stack) as FileSystem, awaiting)
}
