// SPDX-License-Identifier: MIT
/**
 * From a file of the source to the nodeid that the kernel knows it by.
 *
 * A nodeid must outlive FORGET: exported handles (name_to_handle_at on the mount, NFS) come back
 * with it after everything here has been forgotten. On the root's file system, where file handles
 * consist of inode number and generation as ext4's and XFS's do, the nodeid is just that pair, and
 * the handle can be made from it. Elsewhere it is a hash of device, inode number and generation.
 */
import type { Block } from '../../protocol/struct.js'
import { MAX_HANDLE_BYTES, type Identity } from './inode-table.js'

// Word offsets into struct statx
export const STX_MASK = 0
export const STX_BLKSIZE = 1
export const STX_NLINK = 4
export const STX_UID = 5
export const STX_GID = 6
/** Half-word offset. */
export const STX_MODE_HALF = 14
export const STX_INO = 8
export const STX_SIZE = 10
export const STX_BLOCKS = 12
export const STX_ATIME = 16
export const STX_BTIME = 20
export const STX_CTIME = 24
export const STX_MTIME = 28
export const STX_RDEV_MAJOR = 32
export const STX_RDEV_MINOR = 33
export const STX_DEV_MAJOR = 34
export const STX_DEV_MINOR = 35
export const STX_MNT_ID = 36
/** sizeof(struct statx) */
export const STATX_SIZE = 256

/** FILEID_INO32_GEN of linux/exportfs.h: 32 bits of inode number, 32 of generation. */
const FILEID_INO32_GEN = 1
const FILEID_INO32_GEN_BYTES = 8

/** Mixes two words into one that depends on every bit of both. */
function mix(a: number, b: number): number {
  let h = Math.imul(a ^ (b >>> 16), 0x85ebca6b) ^ Math.imul(b, 0xc2b2ae35)
  h ^= h >>> 13
  h = Math.imul(h, 0x27d4eb2f)
  return h ^ (h >>> 15)
}

/** Whether the handle at `offset` is of the kind whose nodeid needs no table, and belongs to the inode that `stat` tells of. */
export function isInodeAndGeneration(block: Block, stat: number, handle: number): boolean {
  const { u32 } = block
  const h = handle >>> 2
  const s = stat >>> 2
  return u32[h] === FILEID_INO32_GEN_BYTES && u32[h + 1] === FILEID_INO32_GEN
    && u32[h + 2] === u32[s + STX_INO] && u32[s + STX_INO + 1] === 0
}

/**
 * Works out an inode's identity.
 * @param stat offset of its struct statx in `block`
 * @param handle offset of its struct file_handle, or -1 when it has none
 * @param device its device's index; 0 is the root's
 */
export function identify(identity: Identity, block: Block, stat: number, handle: number, device: number): void {
  const { u32, i32 } = block
  const s = stat >>> 2
  const h = handle >>> 2
  identity.inoLow = u32[s + STX_INO]
  identity.inoHigh = u32[s + STX_INO + 1]
  identity.device = device
  identity.handle.fill(0)
  const bytes = handle < 0 ? 0 : u32[h]
  if (bytes === 0 || bytes > MAX_HANDLE_BYTES) {
    identity.handleBytes = 0
    identity.handleType = 0
    // The time of birth tells an inode from the next one of the same number.
    identity.generation = mix(u32[s + STX_BTIME], u32[s + STX_BTIME + 2])
  } else {
    identity.handleBytes = bytes
    identity.handleType = i32[h + 1]
    const words = (bytes + 3) >>> 2
    const rest = bytes & 3
    for (let i = 0; i < words; i++) identity.handle[i] = i32[h + 2 + i]
    if (rest !== 0) identity.handle[words - 1] &= (1 << (rest * 8)) - 1
    if (device === 0 && isInodeAndGeneration(block, stat, handle)) {
      identity.generation = identity.handle[1]
      identity.nodeidLow = identity.inoLow
      identity.nodeidHigh = identity.generation
      // 0 and 1 are not to be had: no inode, and the root.
      if (identity.nodeidHigh !== 0 || identity.nodeidLow > 1) return
    } else {
      let generation = identity.handleType
      for (let i = 0; i < words; i++) generation = mix(generation, identity.handle[i])
      identity.generation = generation
    }
  }
  const low = mix(mix(identity.inoLow, identity.inoHigh), identity.generation)
  identity.nodeidLow = low >>> 0 < 2 ? 2 : low
  identity.nodeidHigh = mix(low, mix(device, identity.inoLow))
}

/**
 * Makes the file handle that an inode-and-generation nodeid stands for.
 * @param handle offset where the struct file_handle goes
 */
export function handleFromNodeid(block: Block, handle: number, low: number, high: number): void {
  const h = handle >>> 2
  block.u32[h] = FILEID_INO32_GEN_BYTES
  block.u32[h + 1] = FILEID_INO32_GEN
  block.u32[h + 2] = low
  block.u32[h + 3] = high
}

/** Writes an identity's file handle as a struct file_handle. */
export function writeHandle(identity: Identity, block: Block, handle: number): void {
  const h = handle >>> 2
  block.u32[h] = identity.handleBytes
  block.i32[h + 1] = identity.handleType
  for (let i = 0; i < identity.handle.length; i++) block.i32[h + 2 + i] = identity.handle[i]
}
