// SPDX-License-Identifier: MIT
/** `efuse`: write a file system, or take one of ours, and mount it. */
export { BaseFileSystem } from './fs/base.js'
export { errnoOf, FuseError, type ErrnoName } from './fs/errors.js'
export type {
  Answer, BackingFiles, Connection, Created, FileSystem, MaybePromise, Notifier,
} from './fs/filesystem.js'
export { MemFS, type MemFSOptions } from './fs/memfs/index.js'
export { StackFS, type StackFSOptions } from './fs/stackfs/index.js'
export { mount, type InProcessOptions, type Mount } from './mount/mount.js'
export {
  S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, S_ISGID, S_ISUID, S_ISVTX,
} from './protocol/constants.js'
export type * from './protocol/reply.js'
export type * from './protocol/request.js'
