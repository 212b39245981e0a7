// SPDX-License-Identifier: MIT
// Asynchronous answers, many at once, each of which its caller may interrupt.
//
//   node examples/sleepy.js MOUNTPOINT
//   cat MOUNTPOINT/500        answers after 500 milliseconds
//   cat MOUNTPOINT/forever    answers in 24 days: press Ctrl-C
//
// A method may return a promise: the kernel's request waits, and the others go on. When a caller is
// killed or interrupted, `request.signal` fires; whatever takes a signal then ends with an
// AbortError, which is answered as EINTR.
import { setTimeout as sleep } from 'node:timers/promises'
import { BaseFileSystem, FuseError, mount, S_IFDIR, S_IFREG } from 'efuse'

// As long as a timer can run, milliseconds.
const FOREVER = 2 ** 31 - 1
// The root is nodeid 1.
const FIRST = 2
const root = { mode: S_IFDIR | 0o555 }
// Its size is not known before it is read: /proc does the same, and `directIo` below makes it work.
const file = { mode: S_IFREG | 0o444, size: 0 }

class Sleepy extends BaseFileSystem {
  // A file's nodeid says how long it sleeps, so no table has to be kept: nodeid 502 is the file `500`.
  async lookup({ name }) {
    const milliseconds = name === 'forever' ? FOREVER : /^\d{1,7}$/.test(name) ? Number(name) : -1
    if (milliseconds < 0) throw new FuseError('ENOENT')
    return { nodeid: FIRST + milliseconds, attr: file }
  }

  async getattr({ nodeid }) {
    return nodeid === 1 ? root : file
  }

  readdir() {
    const names = ['10', '100', '1000', 'forever']
    return names.map((name) => ({ name, mode: S_IFREG }))
  }

  async read({ nodeid, offset, signal }) {
    if (offset > 0) return ''
    const milliseconds = nodeid - FIRST
    await sleep(milliseconds, undefined, { signal })
    return `slept ${milliseconds} ms\n`
  }
}

const { mountpoint } = await mount(new Sleepy(), process.argv[2], { directIo: true, readOnly: true })
console.log(`try: time cat ${mountpoint}/100 & time cat ${mountpoint}/1000`)
