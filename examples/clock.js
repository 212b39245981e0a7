// SPDX-License-Identifier: MIT
// A file that changes by itself, which the kernel may cache nevertheless.
//
//   node examples/clock.js MOUNTPOINT [MILLISECONDS]
//   watch -n 0.1 cat MOUNTPOINT/clock
//
// The kernel is told to keep attributes for ever and data across opens, so nearly all reads are
// answered without us. It learns of a change because we tell it: `notify.invalInode` drops what it
// has of one inode. That costs one message for each change instead of one request for each look.
import { BaseFileSystem, mount, S_IFDIR, S_IFREG } from 'efuse'
import { FOPEN_KEEP_CACHE } from 'efuse/protocol'

const CLOCK = 2

class Clock extends BaseFileSystem {
  #text = ''
  #changed = new Date()
  #notify

  init(connection) {
    this.#notify = connection.notify
  }

  async tick() {
    this.#changed = new Date()
    this.#text = `${this.#changed.toISOString()}\n`
    try {
      await this.#notify.invalInode(CLOCK)
    } catch (error) {
      // ENOENT: nobody has looked yet, so the kernel had nothing to drop.
      if (error.code !== 'ENOENT') throw error
    }
  }

  #attr(nodeid) {
    return nodeid === CLOCK
      ? { mode: S_IFREG | 0o444, size: this.#text.length, mtime: this.#changed, ctime: this.#changed }
      : { mode: S_IFDIR | 0o555 }
  }

  lookup({ name }) {
    return name === 'clock' ? { nodeid: CLOCK, attr: this.#attr(CLOCK) } : null
  }
  getattr({ nodeid }) {
    return this.#attr(nodeid)
  }
  readdir() {
    return [{ name: 'clock', ino: CLOCK, mode: S_IFREG }]
  }
  open() {
    return { openFlags: FOPEN_KEEP_CACHE }
  }
  read({ offset, size }) {
    return this.#text.slice(offset, offset + size)
  }
}

const clock = new Clock()
const mounted = await mount(clock, process.argv[2], { readOnly: true, entryTimeout: Infinity, attrTimeout: Infinity })
await clock.tick()
const timer = setInterval(() => clock.tick(), Number(process.argv[3] ?? 1000))
console.log(`try: watch -n 0.1 cat ${mounted.mountpoint}/clock`)
await mounted.closed
clearInterval(timer)
