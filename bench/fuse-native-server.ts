// SPDX-License-Identifier: MIT
/**
 * A directory served through the Node binding of libfuse 2, as its README says to write a server:
 * handlers that call back, on top of node:fs.
 *
 *   node fuse-native-server.js FOLDER SOURCE MOUNTPOINT [--sync]
 *
 * FOLDER is where the binding was installed. With --sync the handlers use fs's synchronous calls and
 * call back at once, which spares the thread pool.
 */
import * as fs from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const [folder, source, mountpoint, mode] = process.argv.slice(2)
const Fuse = createRequire(join(folder, 'package.json'))('@cocalc/fuse-native')

type Callback = (error: number, ...values: unknown[]) => void
type Done = (error: NodeJS.ErrnoException | null, ...values: any[]) => void

const at = (path: string): string => source + path
/** node:fs's callback to the binding's, whose first value is a negated errno or the result. */
const to = (callback: Callback): Done =>
  (error, ...values) => error === null || error === undefined ? callback(0, ...values) : callback(error.errno ?? -5)
const counted = (callback: Callback): Done => (error, count) => callback(error ? error.errno ?? -5 : count)

const asynchronous = {
  getattr: (path: string, callback: Callback) => fs.lstat(at(path), to(callback)),
  fgetattr: (_path: string, fd: number, callback: Callback) => fs.fstat(fd, to(callback)),
  readdir: (path: string, callback: Callback) => fs.readdir(at(path), to(callback)),
  open: (path: string, flags: number, callback: Callback) => fs.open(at(path), flags, to(callback)),
  read: (_path: string, fd: number, buffer: Buffer, length: number, position: number, callback: Callback) =>
    fs.read(fd, buffer, 0, length, position, counted(callback)),
  write: (_path: string, fd: number, buffer: Buffer, length: number, position: number, callback: Callback) =>
    fs.write(fd, buffer, 0, length, position, counted(callback)),
  release: (_path: string, fd: number, callback: Callback) => fs.close(fd, to(callback)),
  create: (path: string, permissions: number, callback: Callback) =>
    fs.open(at(path), 'wx+', permissions, to(callback)),
  unlink: (path: string, callback: Callback) => fs.unlink(at(path), to(callback)),
  truncate: (path: string, size: number, callback: Callback) => fs.truncate(at(path), size, to(callback)),
  ftruncate: (_path: string, fd: number, size: number, callback: Callback) => fs.ftruncate(fd, size, to(callback)),
}

/** The same with the synchronous call that lies under each. */
function answered(call: () => unknown, callback: Callback): void {
  let value: unknown
  try {
    value = call()
  } catch (error) {
    return callback((error as NodeJS.ErrnoException).errno ?? -5)
  }
  callback(0, value)
}
const synchronous: typeof asynchronous = {
  getattr: (path, callback) => answered(() => fs.lstatSync(at(path)), callback),
  fgetattr: (_path, fd, callback) => answered(() => fs.fstatSync(fd), callback),
  readdir: (path, callback) => answered(() => fs.readdirSync(at(path)), callback),
  open: (path, flags, callback) => answered(() => fs.openSync(at(path), flags), callback),
  read: (_path, fd, buffer, length, position, callback) => callback(fs.readSync(fd, buffer, 0, length, position)),
  write: (_path, fd, buffer, length, position, callback) => callback(fs.writeSync(fd, buffer, 0, length, position)),
  release: (_path, fd, callback) => answered(() => fs.closeSync(fd), callback),
  create: (path, permissions, callback) => answered(() => fs.openSync(at(path), 'wx+', permissions), callback),
  unlink: (path, callback) => answered(() => fs.unlinkSync(at(path)), callback),
  truncate: (path, size, callback) => answered(() => fs.truncateSync(at(path), size), callback),
  ftruncate: (_path, fd, size, callback) => answered(() => fs.ftruncateSync(fd, size), callback),
}

const fuse = new Fuse(mountpoint, mode === '--sync' ? synchronous : asynchronous, {
  // The binding has no option for direct I/O and takes a time-out of 0 for none given: libfuse gets both this way.
  fsname: 'fuse-native,direct_io',
  entryTimeout: '0',
  attrTimeout: '0',
})
fuse.mount((error: Error | null) => {
  if (error) throw error
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => fuse.unmount(() => process.exit(0)))
}
