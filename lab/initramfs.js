// SPDX-License-Identifier: MIT
/**
 * The guest's first file system: busybox, the modules that the root disk needs, and the two scripts that start the
 * guest. Written here as a cpio archive ("newc", Documentation/driver-api/early-userspace/buffer-format.rst).
 */
import { readFileSync } from 'node:fs'

const DIRECTORY = 0o040755
const PROGRAM = 0o100755

function entry(number, name, mode, data = Buffer.alloc(0)) {
  // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), length of the name, check sum
  const fields = [number, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length + 1, 0]
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`
  return Buffer.concat([padded(Buffer.from(`${header}${name}\0`)), padded(data)])
}

function padded(data) {
  return Buffer.concat([data, Buffer.alloc((4 - data.length % 4) % 4)])
}

/**
 * @param {Record<string, string | Buffer>} programs name in the archive → the file's path on the host, or its content
 * @returns {Buffer} the archive, uncompressed
 */
export function initramfs(programs) {
  const folders = new Set()
  for (const name of Object.keys(programs)) {
    name.split('/').slice(0, -1).forEach((_, depth, parts) => folders.add(parts.slice(0, depth + 1).join('/')))
  }
  let number = 1
  return Buffer.concat([
    ...[...folders].map((name) => entry(number++, name, DIRECTORY)),
    ...Object.entries(programs).map(([name, content]) =>
      entry(number++, name, PROGRAM, typeof content === 'string' ? readFileSync(content) : content)),
    entry(0, 'TRAILER!!!', 0),
  ])
}
