// SPDX-License-Identifier: MIT
// A JSON document as a file system: objects and arrays are directories, all else is files.
//
//   node examples/json.js DOCUMENT.json MOUNTPOINT
//   cat MOUNTPOINT/dependencies/typescript
//
// How a tree that is known from the start becomes inodes: each value gets a number once, for good.
// What the kernel asks of a number is then a look-up in an array.
import { readFile, stat } from 'node:fs/promises'
import { BaseFileSystem, FuseError, mount, S_IFDIR, S_IFREG } from 'efuse'

class JsonFileSystem extends BaseFileSystem {
  // Nothing here waits for anything: a server with no more to do may sleep in the kernel.
  synchronous = true
  // Index: nodeid. There is no inode 0, and the root is 1.
  #inodes = [null]

  constructor(document, mtime) {
    super()
    this.mtime = mtime
    this.#add(document, 1)
  }

  #add(value, parent) {
    const nodeid = this.#inodes.length
    const inode = { nodeid, parent, children: null, content: null }
    this.#inodes.push(inode)
    if (typeof value === 'object' && value !== null) {
      // A slash can't be in a name; the division slash looks like one.
      inode.children = new Map(Object.entries(value).map(([key, child]) =>
        [key.replaceAll('/', '\u2215') || '(empty)', this.#add(child, nodeid)]))
      inode.attr = { mode: S_IFDIR | 0o555, nlink: 2, mtime: this.mtime }
    } else {
      inode.content = Buffer.from(`${value}\n`)
      inode.attr = { mode: S_IFREG | 0o444, size: inode.content.length, mtime: this.mtime }
    }
    return inode
  }

  lookup({ nodeid, name }) {
    const child = this.#inodes[nodeid].children?.get(name)
    if (child === undefined) throw new FuseError('ENOENT')
    return { nodeid: child.nodeid, attr: child.attr }
  }

  getattr({ nodeid }) {
    return this.#inodes[nodeid].attr
  }

  readdir({ nodeid }) {
    const { children, parent } = this.#inodes[nodeid]
    return [
      { name: '.', ino: nodeid, mode: S_IFDIR },
      { name: '..', ino: parent, mode: S_IFDIR },
      ...[...children].map(([name, child]) => ({ name, ino: child.nodeid, mode: child.attr.mode })),
    ]
  }

  read({ nodeid, offset, size }) {
    return this.#inodes[nodeid].content.subarray(offset, offset + size)
  }
}

const [document, mountpoint] = process.argv.slice(2)
const { mtime } = await stat(document)
const fileSystem = new JsonFileSystem(JSON.parse(await readFile(document, 'utf8')), mtime)
// It never changes: the kernel need not ask twice.
const mounted = await mount(fileSystem, mountpoint, {
  readOnly: true, entryTimeout: 3600, attrTimeout: 3600, kernelCache: true,
})
console.log(`try: ls -R ${mounted.mountpoint}`)
