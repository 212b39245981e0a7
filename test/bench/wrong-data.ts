// SPDX-License-Identifier: MIT
/** A directory whose files come back with one bit wrong in each read: what a measurement must not be fooled by. */
import type { FileSystem } from '../../src/fs/filesystem.js'
import { StackFS } from '../../src/fs/stackfs/index.js'
import type { FactoryOptions } from '../../src/mount/filesystems.js'

export default ({ source }: FactoryOptions): FileSystem => {
  const stack: FileSystem = new StackFS({ source, passthrough: false })
  const wrong: FileSystem = {
    read(request, reply) {
      const count = stack.read!.call(stack, request, reply)
      reply.block.u8[reply.offset + 8] ^= 1
      return count
    },
  }
  return Object.assign(Object.create(stack) as FileSystem, wrong)
}
