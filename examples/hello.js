// SPDX-License-Identifier: MIT
import { BaseFileSystem, mount, S_IFDIR, S_IFREG } from 'efuse'

const content = 'Hello, world!\n'
const root = { mode: S_IFDIR | 0o755 }
const hello = { mode: S_IFREG | 0o444, size: content.length }

class Hello extends BaseFileSystem {
  lookup({ name }) {
    return name === 'hello' ? { nodeid: 2, attr: hello } : null
  }
  getattr({ nodeid }) {
    return nodeid === 1 ? root : hello
  }
  readdir() {
    return [{ name: '.', ...root }, { name: '..', ...root }, { name: 'hello', ...hello, ino: 2 }]
  }
  read({ offset, size }) {
    return content.slice(offset, offset + size)
  }
}

const { mountpoint } = await mount(new Hello(), process.argv[2], { readOnly: true })
console.log(`try: cat ${mountpoint}/hello`)
