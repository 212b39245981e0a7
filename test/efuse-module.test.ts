// SPDX-License-Identifier: MIT
/**
 * What is said twice about efuse.ko is said alike: the structs and calls of bpf/efuse.h for authors of programs and of
 * kernel/src for the kernel, the numbers that TypeScript uses, and the lines that kernel/README counts.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { HOOKS } from '../src/bpf/hooks.js'
import * as uapi from '../src/protocol/efuse-module.js'

const text = (path: string): string => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8')
/** Without comments, in one line, with user space's names of types. */
const plain = (path: string): string => text(path).replace(/\/\*.*?\*\//gs, '')
  .replace(/\b([us])(8|16|32|64)\b/g, '__$1$2').replace(/\bbool\b/g, '_Bool')
  .replaceAll('EFUSE_NAME_LEN', '16').replaceAll('EFUSE_NOTE_WORDS', '4')
  .replace(/\s+/g, ' ')

const header = plain('bpf/efuse.h')
const module = plain('kernel/src/efuse_bpf.h')
const kfuncs = plain('kernel/src/efuse_kfunc.c')

/** The members of a struct, one after the other. */
function members(source: string, name: string): string[] {
  return new RegExp(`struct ${name} \\{ (.*?) \\};`).exec(source)![1].split(';').map((member) => member.trim()).filter(Boolean)
}

/** Functions by name, with the types of their result and arguments. */
function functions(source: string, pattern: RegExp): Record<string, string> {
  return Object.fromEntries([...source.matchAll(pattern)].map(([, result, name, args]) =>
    [name, `${result.trim()} (${args.split(',').map((arg) => arg.trim().replace(/\w+$/, '').trim()).join(', ')})`]))
}

t.test('bpf/efuse.h and the module declare the same', async (t) => {
  for (const name of ['efuse_ctx', 'efuse_ops']) {
    t.ok(members(module, name).length > 10)
    t.strictSame(members(header, name), members(module, name), `struct ${name}`)
  }
  const defined = functions(kfuncs, /__bpf_kfunc ([^;()]*?)(bpf_efuse_\w+)\(([^)]*)\)/g)
  t.ok(Object.keys(defined).length > 15)
  t.strictSame(functions(header, /extern ([^;()]*?)(bpf_efuse_\w+)\(([^)]*)\) __ksym/g), defined, 'calls')
  t.strictSame([...kfuncs.matchAll(/BTF_ID_FLAGS\(func, (\w+)/g)].map(([, name]) => name).sort(), Object.keys(defined).sort(),
    'all of which are registered')
  for (const name of ['EFUSE_PASS', 'EFUSE_DONE', 'EFUSE_SYNTHETIC_BASE']) {
    const value = (path: string) => new RegExp(`#define ${name} (.*)`).exec(text(path))?.[1]
    t.ok(value('bpf/efuse.h'))
    t.equal(value('bpf/efuse.h'), value('kernel/src/efuse_bpf.h'), name)
  }
})

t.test('TypeScript knows the same hooks and ioctls', async (t) => {
  t.strictSame(members(module, 'efuse_ops').flatMap((member) => /\(\*(\w+)\)/.exec(member)?.[1] ?? []), HOOKS)
  const enumerated = /enum efuse_hook \{(.*?)\};/s.exec(text('kernel/src/efuse_i.h'))![1].match(/EFUSE_[A-Z_]+(?=,)/g)!
  t.strictSame(enumerated.slice(0, HOOKS.length).map((name) => name.replace('EFUSE_', '').toLowerCase()), HOOKS)
  const sizes: Record<string, number> = { __u64: 8, 'struct efuse_bind': 16, 'struct efuse_info': 8 + 32 * 16 }
  const numbers = Object.fromEntries([...text('kernel/src/efuse_uapi.h')
    .matchAll(/#define (EFUSE_IOC_\w+)\s+_IO([RW]?)\(EFUSE_IOC_MAGIC, (\d+)(?:, (.*?))?\)/g)]
    .map(([, name, direction, number, type]) =>
      [name, ({ R: 2, W: 1 }[direction] ?? 0) * 2 ** 30 + ((type ? sizes[type] : 0) << 16) + 0xef00 + Number(number)]))
  t.equal(Object.keys(numbers).length, 7)
  t.strictSame(Object.fromEntries(Object.entries(uapi).filter(([name]) => name in numbers)), numbers)
})

t.test('kernel/README counts the lines of the patches', async (t) => {
  const readme = text('kernel/README.md')
  const series = text('kernel/patches/series').trim().split('\n')
  const files = readdirSync(fileURLToPath(new URL('../../kernel/patches', import.meta.url)))
  t.strictSame(files.filter((name) => name.endsWith('.patch')).sort(), series)
  const total = { out: 0, in: 0 }
  for (const name of series) {
    const lines = text(`kernel/patches/${name}`).split('\n').filter((line) => !/^(---|\+\+\+) /.test(line))
    const counts = { out: lines.filter((line) => line.startsWith('-')).length, in: lines.filter((line) => line.startsWith('+')).length }
    t.match(readme, `| ${name.slice(0, 4)} | ${counts.out} | ${counts.in} |`, name)
    total.out += counts.out
    total.in += counts.in
  }
  t.match(readme, `That is ${total.out} lines of fs/fuse that change, and ${total.in} `)
  t.match(text('docs/design.md'), `${total.out} lines of it changed, ${total.in} in place of them or new`)
})
