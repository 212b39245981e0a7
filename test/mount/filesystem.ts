// SPDX-License-Identifier: MIT
/** A small read-only file system for the mount tests: a directory of texts, each answered when the test likes. */
import type { FileSystem } from '../../src/fs/filesystem.js'
import { FuseError } from '../../src/fs/errors.js'
import { S_IFDIR, S_IFREG } from '../../src/protocol/constants.js'
import type { Attr } from '../../src/protocol/reply.js'
import type * as request from '../../src/protocol/request.js'

/** Files by name; nodeids are 2, 3, ... in that order. */
export class Texts implements FileSystem {
  private readonly names: string[]
  destroyed = false

  constructor(readonly files: Record<string, string>) {
    this.names = Object.keys(files)
  }

  nodeid(name: string): number {
    return this.names.indexOf(name) + 2
  }
  content(nodeid: number): Buffer {
    return Buffer.from(this.files[this.names[nodeid - 2]])
  }
  attr(nodeid: number): Attr {
    if (nodeid === 1) return { mode: S_IFDIR | 0o755 }
    return { mode: S_IFREG | 0o644, size: this.content(nodeid).length }
  }
  destroy(): void {
    this.destroyed = true
  }
  lookup({ name }: request.LookupRequest) {
    if (!this.names.includes(name)) return null
    const nodeid = this.nodeid(name)
    return { nodeid, attr: this.attr(nodeid) }
  }
  getattr({ nodeid }: request.GetattrRequest) {
    return this.attr(nodeid)
  }
  readdir(_request: request.ReaddirRequest) {
    return [
      { name: '.', ino: 1, mode: S_IFDIR }, { name: '..', ino: 1, mode: S_IFDIR },
      ...this.names.map((name) => ({ name, ino: this.nodeid(name), mode: S_IFREG })),
    ]
  }
  open({ flags }: request.OpenRequest) {
    if ((flags & 3) !== 0) throw new FuseError('EROFS')
    return {}
  }
  read({ nodeid, offset, size }: request.ReadRequest): Uint8Array | Promise<Uint8Array> {
    return this.content(nodeid).subarray(offset, offset + size)
  }
}
