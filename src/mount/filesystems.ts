// SPDX-License-Identifier: MIT
/** Which file system a mount serves, said in a way that can be sent to workers; and its making. */
import type { FileSystem } from '../fs/filesystem.js'
import type { StackFSShared } from '../fs/stackfs/index.js'
import * as native from '../native.js'

/** What a file system module exports. */
export interface FileSystemModule {
  /** Makes the file system; called once in each worker. */
  default: (options: FactoryOptions) => FileSystem | Promise<FileSystem>
  /** Says that several instances serve the same tree coherently: one worker per CPU. */
  concurrency?: 'shared'
}

/** What a module's factory is told. */
export interface FactoryOptions {
  /** SOURCE as it was given on the command line. */
  source: string
  /** Absolute. */
  mountpoint: string
}

export type FileSystemSource =
  | { kind: 'stackfs'; shared: StackFSShared }
  | { kind: 'memfs' }
  | { kind: 'module'; url: string; options: FactoryOptions }

export interface LoadedFileSystem {
  fileSystem: FileSystem
  /** Whether several workers may serve it. */
  shared: boolean
}

/** @param worker the worker's number, from 0 */
export async function loadFileSystem(source: FileSystemSource, worker: number): Promise<LoadedFileSystem> {
  switch (source.kind) {
    case 'stackfs': {
      const { StackFS } = await import('../fs/stackfs/index.js')
      return { fileSystem: new StackFS({ shared: source.shared, worker }), shared: true }
    }
    case 'memfs': {
      const { MemFS } = await import('../fs/memfs/index.js')
      return { fileSystem: new MemFS(), shared: false }
    }
    case 'module': {
      const module = (await import(source.url)) as Partial<FileSystemModule>
      if (typeof module.default !== 'function') {
        throw new TypeError('the module does not export a factory: export default (options) => fileSystem')
      }
      return { fileSystem: await module.default(source.options), shared: module.concurrency === 'shared' }
    }
  }
}

const {
  MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_RELATIME, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_NODIRATIME,
} = native.constants

/**
 * Has the server's own reading touch times of access as the mount's flags say. The kernel leaves these
 * times to the server, whose reads would change them: StackFS sees the source through a private copy
 * of its mount, which takes flags of its own.
 * @param options what mountinfo shows of the mount: `rw,noatime,...`
 */
export function keepAccessTimes(source: FileSystemSource, options: string): void {
  if (source.kind !== 'stackfs' || source.shared.tree < 0) return
  const words = options.split(',')
  const when = words.includes('noatime') ? MOUNT_ATTR_NOATIME
    : words.includes('relatime') ? MOUNT_ATTR_RELATIME : MOUNT_ATTR_STRICTATIME
  const directories = words.includes('nodiratime') ? MOUNT_ATTR_NODIRATIME : 0
  native.mountSetAttr(source.shared.tree, when | directories, MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME, true)
}
