// SPDX-License-Identifier: MIT
/**
 * A file system that serves every method with an answer of any kind: right and wrong values,
 * replies filled in place, errnos, throws of anything, promises of all these, foreign thenables.
 */
import { constants } from 'node:os'
import type { FileSystem } from '../../src/fs/filesystem.js'
import { FuseError } from '../../src/fs/errors.js'
import type { Random } from './random.js'

const METHODS: readonly (keyof FileSystem)[] = [
  'lookup', 'forget', 'getattr', 'setattr', 'statx', 'readlink', 'symlink', 'mknod', 'mkdir', 'unlink', 'rmdir', 'rename',
  'link', 'open', 'read', 'write', 'statfs', 'release', 'fsync', 'setxattr', 'getxattr', 'listxattr', 'removexattr', 'flush',
  'opendir', 'readdir', 'readdirplus', 'releasedir', 'fsyncdir', 'getlk', 'setlk', 'setlkw', 'access', 'create', 'tmpfile',
  'bmap', 'ioctl', 'poll', 'fallocate', 'lseek', 'copyFileRange', 'copyFileRange64', 'syncfs', 'setupmapping', 'removemapping',
]

const ODD_NUMBERS = [NaN, Infinity, -Infinity, -0, 0.5, -0.5, 1e308, -1e308, 2 ** 53, 2 ** 64, -1, -2, -511, -512, -513, 1e20]

export function randomFileSystem(random: Random): FileSystem {
  const fileSystem: Record<string, unknown> = {}
  for (const method of METHODS) {
    // Some methods are missing, as in life.
    if (random.chance(0.1)) continue
    fileSystem[method] = (request: object, reply: object) => answer(random, request, reply)
  }
  return fileSystem as FileSystem
}

/** One answer, given at once or later. */
function answer(random: Random, request: object, reply: object): unknown {
  if (random.chance(0.3)) touch(random, request)
  const give = () => (random.chance(0.25) ? fill(random, reply) : random.chance(0.15) ? fail(random) : value(random, 0))
  switch (random.below(8)) {
    case 0: return Promise.resolve().then(give)
    case 1: return new Promise((resolve, reject) => {
      setImmediate(() => {
        try {
          resolve(give())
        } catch (error) {
          reject(error)
        }
      })
    })
    case 2: return thenable(random, give)
    case 3: return Promise.reject(thing(random))
    default: return give()
  }
}

/** Reads what a request has, as a handler would. */
function touch(random: Random, request: object): void {
  const properties = [
    'name', 'nameBytes', 'name2', 'name2Bytes', 'data', 'signal', 'supplementaryGroup', 'securityContexts', 'fh', 'offset', 'size',
    'uid', 'gid', 'pid', 'nodeid', 'flags', 'lk', 'valid',
  ]
  for (let i = random.below(6); i > 0; i--) void (request as Record<string, unknown>)[random.pick(properties)]
}

function thenable(random: Random, give: () => unknown): unknown {
  switch (random.below(4)) {
    case 0: return { then(resolve: (value: unknown) => void) { resolve(give()); resolve(give()) } }
    case 1: return { then() { throw thing(random) } }
    case 2: return { get then() { throw thing(random) } }
    default: return { then(_: unknown, reject: (error: unknown) => void) { reject(thing(random)); throw thing(random) } }
  }
}

/** Something to throw. */
function thing(random: Random): unknown {
  switch (random.below(9)) {
    case 0: return undefined
    case 1: return null
    case 2: return random.u32()
    case 3: return 'a string'
    case 4: return { get code() { throw new Error('no code') } }
    case 5: return { errno: random.pick(ODD_NUMBERS), code: 'constructor' }
    case 6: return Object.assign(new Error('system'), { code: random.pick(Object.keys(constants.errno)) })
    case 7: return new FuseError('ENOENT')
    default: return new TypeError('a bug')
  }
}

function fail(random: Random): never {
  throw thing(random)
}

function number(random: Random): unknown {
  switch (random.below(5)) {
    case 0: return random.pick(ODD_NUMBERS)
    case 1: return random.u64()
    case 2: return -random.below(600)
    default: return random.u32()
  }
}

/** Any value: often of the right shape, with anything in it. */
function value(random: Random, depth: number): unknown {
  const shape = random.below(depth > 3 ? 8 : 16)
  switch (shape) {
    case 0: return undefined
    case 1: return null
    case 2: return random.chance(0.5)
    case 3: return Symbol('answer')
    case 4: return random.pick(['', 'name', 'a/b', 'x'.repeat(5000), '\0', '\ud800'])
    case 5: return random.bytes(random.below(6000))
    case 6:
    case 7: return number(random)
    case 8: return random.pick([[], [value(random, depth + 1)], ['user.a', 'user.b'], [1, 2, 3], new Float64Array(3), { length: -5 }])
    case 9: return Array.from({ length: random.below(40) }, () => dirent(random, depth))
    case 10: return attr(random, depth)
    case 11: return entry(random, depth)
    case 12: return { entry: entry(random, depth), open: value(random, depth + 1) }
    case 13: return { fh: number(random), openFlags: number(random), result: number(random), data: value(random, depth + 1) }
    case 14: return { type: number(random), start: number(random), end: number(random), blocks: number(random), bfree: number(random) }
    default: return new Proxy({}, { get() { throw thing(random) } })
  }
}

function attr(random: Random, depth: number): unknown {
  const time = () => random.pick([0, -1.5, NaN, 1e18, new Date(NaN), new Date(-1), -1n, (1n << 70n), undefined])
  return {
    mode: random.chance(0.6) ? random.pick([0o100644, 0o040755, 0o120777, 0o010600]) : value(random, depth + 1),
    size: random.chance(0.5) ? random.u32() : number(random),
    nlink: number(random), uid: number(random), atime: time(), mtime: time(), ctime: time(),
    blocks: random.chance(0.5) ? undefined : number(random),
  }
}

function entry(random: Random, depth: number): unknown {
  return {
    nodeid: random.chance(0.5) ? random.below(20) : number(random),
    generation: number(random),
    attr: random.chance(0.9) ? attr(random, depth) : value(random, depth + 1),
    entryTimeout: random.pick([undefined, 1, 0.5, -1, NaN, Infinity, 1e300]),
  }
}

function dirent(random: Random, depth: number): unknown {
  return {
    name: random.chance(0.8) ? random.pick(['a', 'b.c', '.', '..', 'é', 'x'.repeat(255)]) : value(random, depth + 1),
    offset: random.chance(0.3) ? number(random) : undefined,
    ino: random.chance(0.3) ? number(random) : undefined,
    mode: random.u32(),
    entry: random.chance(0.5) ? entry(random, depth) : undefined,
  }
}

/** Writes into the reply object, within the room that it says it has, then may claim any length. */
function fill(random: Random, reply: object): void {
  const target = reply as Record<string, any>
  for (const name of ['entry', 'open', 'out', 'dirent']) {
    const view = target[name]
    if (typeof view !== 'object' || (name === 'dirent') || (name === 'entry' && target.dirent !== undefined)) continue
    const fields = Object.keys(Object.getPrototypeOf(view)).filter((field) => typeof view[field] === 'number')
    for (let i = random.below(5); i > 0; i--) {
      view[random.pick(fields)] = Number(random.chance(0.2) ? random.pick(ODD_NUMBERS) : random.u32())
    }
  }
  if (typeof target.next === 'function') {
    const { u8 } = target.block
    for (let i = random.below(30); i > 0; i--) {
      const name = random.bytes(1 + random.below(300)).map((byte) => (byte === 0 || byte === 0x2f ? 0x61 : byte))
      if (!target.next(name.length)) break
      target.dirent.off = random.u32()
      u8.set(name, target.nameOffset)
    }
  } else if (typeof target.write === 'function') {
    target.write(random.bytes(random.below(5000)))
    if (random.chance(0.1)) target.length = random.pick([-1, NaN, 2 ** 31, 2 ** 40, 1.5, Infinity])
    if (typeof target.setSize === 'function' && target.sizeOnly) target.setSize(random.u32())
  } else if (random.chance(0.3)) {
    target.setNegative?.()
  }
}
