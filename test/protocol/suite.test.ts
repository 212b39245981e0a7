// SPDX-License-Identifier: MIT
/** The conformance suite: MemFS passes all of it, and file systems with a fault fail the check that is about it. */
import t from 'tap'
import type { FileSystem } from '../../src/fs/filesystem.js'
import { BaseFileSystem } from '../../src/fs/base.js'
import { MemFS } from '../../src/fs/memfs/index.js'
import { S_IFREG } from '../../src/protocol/index.js'
import { conformanceSuite, type CheckResult } from '../../src/testing/index.js'

const outcomes = (results: readonly CheckResult[], outcome: CheckResult['outcome']) => (
  results.filter((result) => result.outcome === outcome).map(({ name }) => name)
)

t.test('MemFS', async (t) => {
  const results = await conformanceSuite(() => new MemFS(), {
    report: ({ name, outcome, reason }) => t.equal(outcome, 'passed', reason ? `${name}: ${reason}` : name),
  })
  t.ok(results.length > 35)
})

t.test('MemFS, whose answers come later', async (t) => {
  const later = () => {
    const memory = new MemFS()
    return new Proxy(memory, {
      get(target, name) {
        const method = Reflect.get(target, name)
        if (typeof method !== 'function' || ['forget', 'init', 'destroy'].includes(String(name))) return method
        return async (...args: unknown[]) => {
          await new Promise(setImmediate)
          return method.apply(target, args)
        }
      },
    }) as FileSystem
  }
  const results = await conformanceSuite(later)
  t.same(outcomes(results, 'failed'), [])
  t.same(outcomes(results, 'skipped'), [])
})

t.test('a file system that has nothing: what it lacks is skipped, with a reason', async (t) => {
  const results = await conformanceSuite(() => new BaseFileSystem())
  t.same(outcomes(results, 'failed'), [])
  const passed = outcomes(results, 'passed')
  t.ok(passed.includes('the root is a directory'))
  t.ok(passed.includes('a name that is not there: ENOENT, or an entry of nodeid 0'))
  t.match(results.find(({ name }) => name === 'what is written is read'), { outcome: 'skipped', reason: /^no .*write/ })
})

/** A MemFS with one method changed. */
function faulty<M extends keyof FileSystem>(method: M, change: (original: NonNullable<FileSystem[M]>) => NonNullable<FileSystem[M]>) {
  return () => {
    const memory = new MemFS() as FileSystem
    const original = (memory[method] as Function).bind(memory) as NonNullable<FileSystem[M]>
    return Object.assign(memory, { [method]: change(original) })
  }
}

const faults: [string, () => FileSystem, RegExp][] = [
  ['a write that says too little', faulty('write', (write) => (request, reply) => {
    const result = write(request, reply)
    reply.out.size -= 1
    return result
  }), /what is written is read|writes in the middle/],
  ['a read that goes over the end', faulty('read', (read) => (request, reply) => {
    const result = read(request, reply)
    reply.length = reply.capacity
    return result
  }), /a read at the end/],
  ['a lookup that answers anything', faulty('lookup', () => () => ({ nodeid: 77, attr: { mode: S_IFREG } })), /a name that is not there/],
  ['a listing that drops its last record', faulty('readdir', (readdir) => (request, reply) => {
    const result = readdir(request, reply)
    if (reply.length > 32 && request.offset === 0) reply.length -= 32
    return result
  }), /a listing|names of any bytes/],
  ['a rename that keeps the old name', faulty('rename', () => () => {}), /rename moves an inode/],
  ['an unlink that does nothing', faulty('unlink', () => () => {}), /unlink removes a name/],
  ['a getxattr without ERANGE', faulty('getxattr', () => (_request, reply) => {
    if (reply.sizeOnly) reply.setSize(300)
    else reply.write(new Uint8Array(300))
  }), /ERANGE/],
  ['a forget that is not heard', faulty('forget', () => () => {}), /./],
  ['a mode that loses its type', faulty('getattr', (getattr) => (request, reply) => {
    const result = getattr(request, reply)
    reply.out.attr.mode &= 0o7777
    return result
  }), /the root is a directory/],
]

for (const [fault, make, check] of faults) {
  t.test(`found: ${fault}`, async (t) => {
    const live = (fileSystem: FileSystem) => (fileSystem as unknown as { inodes: Map<number, unknown> }).inodes.size
    const failed = outcomes(await conformanceSuite(make, { liveInodes: live }), 'failed')
    t.ok(failed.some((name) => check.test(name)), failed.join('; '))
  })
}
