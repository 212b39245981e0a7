// SPDX-License-Identifier: MIT
// A file system in memory with room for 64 MiB and 10,000 files.
//
//   node examples/memfs.js MOUNTPOINT
//
// MemFS is complete: build on it, run a database in it. Only the kernel changes it, so the kernel
// may keep names and attributes for as long as it likes, and does most of the work itself.
import { MemFS, mount } from 'efuse'

const memory = new MemFS({ maxBytes: 64 * 1024 * 1024, maxInodes: 10_000, mode: 0o1777 })
const mounted = await mount(memory, process.argv[2], {
  fsname: 'memory', entryTimeout: 3600, attrTimeout: 3600, negativeTimeout: 3600,
})
console.log(`64 MiB at ${mounted.mountpoint}; umount it or press Ctrl-C to end`)

// The tree outlives its mount: look at what was left in it.
await mounted.closed
const { bytes, inodes } = memory.usage
console.log(`unmounted, holding ${inodes} inodes and ${bytes} bytes`)
