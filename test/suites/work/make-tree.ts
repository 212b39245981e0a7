// SPDX-License-Identifier: MIT
/**
 * `node make-tree.js DIR FILES`: a tree as people have them. Many small files and some larger ones, empty,
 * sparse and executable ones, hard links, symlinks, deep paths, odd names, old times; always the same.
 */
import { createHash } from 'node:crypto'
import {
  chmodSync, closeSync, ftruncateSync, linkSync, lutimesSync, mkdirSync, openSync, symlinkSync, utimesSync,
  writeFileSync, writeSync,
} from 'node:fs'
import { join } from 'node:path'

const [root, count] = [process.argv[2], Number(process.argv[3])]
const FILES_PER_DIRECTORY = 50
const names = ['plain', 'with space', 'ümläut', 'new\nline', '-dash', 'UPPER', 'quote\'s', 'x'.repeat(200)]

/** Bytes that follow from the number alone. */
function bytes(n: number, length: number): Buffer {
  const block = createHash('sha512').update(String(n)).digest()
  return Buffer.alloc(length, block)
}

mkdirSync(root, { recursive: true })
let directory = root
let previous = ''
for (let i = 0; i < count; i++) {
  if (i % FILES_PER_DIRECTORY === 0) {
    const n = i / FILES_PER_DIRECTORY
    // Directories of one to six levels.
    const parts = Array.from({ length: 1 + n % 6 }, (_, level) => `d${Math.floor(n / 3 ** (5 - level))}`)
    directory = join(root, ...parts)
    mkdirSync(directory, { recursive: true })
  }
  const path = join(directory, `${i}.${names[i % names.length]}`)
  const kind = i % 40
  if (kind === 0) symlinkSync(previous === '' ? 'nowhere' : previous, path)
  else if (kind === 1) symlinkSync('../dangling/link', path)
  else if (kind === 2 && previous !== '') linkSync(previous, path)
  else if (kind === 3) {
    const fd = openSync(path, 'wx')
    writeSync(fd, bytes(i, 100), 0, 100, 500_000)
    ftruncateSync(fd, 1_000_000)
    closeSync(fd)
  } else {
    const length = kind === 4 ? 0 : kind === 5 ? 200_000 : (i * 37) % 5000
    writeFileSync(path, bytes(i, length))
    if (kind === 6) chmodSync(path, 0o755)
    if (kind === 7) chmodSync(path, 0o440)
    previous = path
  }
  const time = 1_000_000_000 + i * 7.001
  if (kind > 2) utimesSync(path, time, time)
  else if (kind < 2) lutimesSync(path, time, time)
}
