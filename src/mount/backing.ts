// SPDX-License-Identifier: MIT
/** Files for passthrough, handed to the kernel through the device descriptor. */
import type { BackingFiles } from '../fs/filesystem.js'
import * as native from '../native.js'
import { FUSE_DEV_IOC_BACKING_CLOSE, FUSE_DEV_IOC_BACKING_OPEN } from '../protocol/constants.js'
import { EFUSE_IOC_BIND } from '../protocol/efuse-module.js'
import { Block } from '../protocol/struct.js'
import { fuse_backing_map } from '../protocol/structs.js'

/** @param device the connection's descriptor or a clone of it: ids are good on all of them */
export function backingFiles(device: number): BackingFiles {
  const block = new Block(new ArrayBuffer(fuse_backing_map.size))
  const map = fuse_backing_map.at(block, 0)
  return {
    open(fd) {
      block.u32.fill(0)
      map.fd = fd
      return native.ioctl(device, FUSE_DEV_IOC_BACKING_OPEN, block, 0, fuse_backing_map.size)
    },
    bind(nodeidLow, nodeidHigh, id, rights) {
      block.u32[0] = nodeidLow
      block.u32[1] = nodeidHigh
      block.u32[2] = id
      block.u32[3] = rights
      return native.ioctl(device, EFUSE_IOC_BIND, block, 0, 16)
    },
    close(id) {
      block.u32[0] = id
      return native.ioctl(device, FUSE_DEV_IOC_BACKING_CLOSE, block, 0, 4)
    },
  }
}
