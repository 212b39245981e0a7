// SPDX-License-Identifier: MIT
/**
 * The struct tables and constants of src/protocol against a C compiler and a `linux/fuse.h`: a C
 * program is generated that prints what the compiler makes of the header, and its output compared.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import * as constants from '../protocol/constants.js'
import type { FieldLayout, Struct } from '../protocol/struct.js'
import * as structs from '../protocol/structs.js'

const run = promisify(execFile)

export interface LayoutReport {
  /** The protocol minor that the header describes. */
  readonly minor: number
  /** Where tables and header disagree. Empty: they conform. */
  readonly differences: readonly string[]
  /** What the tables have and the header lacks: the header is older. */
  readonly absent: readonly string[]
  /** What the header has and the tables lack: the header is newer. */
  readonly unknown: readonly string[]
  /** How many values were compared. */
  readonly compared: number
}

/** Fields that are parts of a nested struct in C, and one of our own in the table. */
const MEMBER: Readonly<Record<string, string>> = {
  'fuse_uring_cmd_req.bufpool_uaddr': 'bufpool.uaddr',
  'fuse_uring_cmd_req.bufpool_len': 'bufpool.len',
  'fuse_uring_cmd_req.bufpool_reserved': 'bufpool.reserved',
}

/** Ours alone: no header has them under these names. */
const OWN = new Set(['FUSE_OLDEST_MINOR_VERSION', 'FUSE_COMPAT_INIT_IN_SIZE'])

/** Room left for later fields: its size shrinks as they come, so it only compares between equals. */
const PLACEHOLDER = /^(unused\d*|padding|spare|dummy\d*|reserved|__\w+)$/

/** What the header has that concerns no table: macros for sizes, protocols before 7.31, former names, end marks. */
const NOT_OURS = new RegExp(`^(${[
  '_LINUX_FUSE_H', 'FUSE_COMPAT_\\w+', 'FUSE_REC_ALIGN', 'FUSE_NAME_OFFSET\\w*', 'FUSE_DIRENT\\w+', 'CUSE_\\w+',
  'FUSE_DEV_IOC_MAGIC', 'FUSE_REMOVEMAPPING_MAX_ENTRY', '\\w+_BSWAP_RESERVED', 'FUSE_INIT_RESERVED',
  'FUSE_NOTIFY_CODE_MAX', 'FUSE_DIRECT_IO_RELAX', 'FUSE_WRITE_KILL_PRIV',
].join('|')})$`)

const STRUCTS = Object.values(structs) as readonly Struct<any>[]

/** One value to compare: a name for people, an expression for the compiler, what we say. */
interface Comparison {
  readonly label: string
  readonly expression: string
  readonly ours: bigint
}

/**
 * Compares every struct and constant.
 * @param header path of a `linux/fuse.h`
 * @param compiler a C compiler whose programs run here
 * @throws when there is no such header, or the compiler fails
 */
export async function checkLayouts(header: string, compiler = 'cc'): Promise<LayoutReport> {
  const source = stripComments(await readFile(header, 'utf8'))
  const bodies = structBodies(source)
  const absent: string[] = []
  const comparisons: Comparison[] = []

  for (const struct of STRUCTS) {
    const body = bodies.get(struct.name)
    if (body === undefined) absent.push(`struct ${struct.name}`)
    else compareStruct(struct, body, comparisons, absent)
  }
  for (const { label, expression, ours, needs } of constantComparisons()) {
    if (needs === null || new RegExp(`\\b${needs}\\b`).test(source)) comparisons.push({ label, expression, ours })
    else absent.push(label)
  }

  const theirs = await evaluate(comparisons, header, compiler)
  const differences = comparisons.flatMap(({ label, ours }, index) => (
    theirs[index] === ours ? [] : [`${label}: ${ours} here, ${theirs[index]} in the header`]
  ))
  const minor = Number(/#define\s+FUSE_KERNEL_MINOR_VERSION\s+(\d+)/.exec(source)?.[1])
  return { minor, differences, absent, unknown: unknownNames(source, bodies), compared: comparisons.length }
}

function stripComments(source: string): string {
  return source.replace(/\/\*[^]*?\*\//g, ' ').replace(/\/\/.*/g, ' ')
}

/** The text between the braces of each struct, nested ones included. */
function structBodies(source: string): Map<string, string> {
  const bodies = new Map<string, string>()
  for (const match of source.matchAll(/^struct\s+(\w+)\s*\{/gm)) {
    let depth = 1
    let end = match.index + match[0].length
    for (; depth > 0 && end < source.length; end++) {
      if (source[end] === '{') depth++
      else if (source[end] === '}') depth--
    }
    bodies.set(match[1], source.slice(match.index + match[0].length, end - 1))
  }
  return bodies
}

function compareStruct(struct: Struct<any>, body: string, comparisons: Comparison[], absent: string[]): void {
  const type = `struct ${struct.name}`
  const members = struct.layout.map((field: FieldLayout) => ({
    field, member: MEMBER[`${struct.name}.${field.name}`] ?? field.name,
  }))
  const missing = members.filter(({ member }) => (
    !member.split('.').every((part) => new RegExp(`\\b${part}\\b`).test(body))
  ))
  for (const { field } of missing) absent.push(`${type}.${field.name}`)
  for (const { field, member } of members) {
    if (missing.some((one) => one.field === field)) continue
    if (missing.length > 0 && PLACEHOLDER.test(field.name)) continue
    const label = `${type}.${field.name}`
    comparisons.push({ label: `offset of ${label}`, expression: `offsetof(${type}, ${member})`, ours: BigInt(field.offset) })
    // A flexible array member has no size.
    if (field.size > 0) {
      comparisons.push({ label: `size of ${label}`, expression: `sizeof(((${type} *)0)->${member})`, ours: BigInt(field.size) })
    }
  }
  if (missing.length === 0) comparisons.push({ label: `size of ${type}`, expression: `sizeof(${type})`, ours: BigInt(struct.size) })
}

/** @returns `needs`: the name that the header must have; null: it comes from elsewhere */
function constantComparisons(): (Comparison & { needs: string | null })[] {
  const all: (Comparison & { needs: string | null })[] = []
  for (const [name, value] of Object.entries(constants)) {
    if (typeof value === 'object') {
      const isBit = name === 'FuseInitFlag'
      for (const [member, number] of Object.entries(value as Record<string, number>)) {
        all.push({ label: member, expression: member, ours: isBit ? 1n << BigInt(number) : BigInt(number), needs: member })
      }
    } else if (name === 'FUSE_KERNEL_MINOR_VERSION' || OWN.has(name)) {
      continue
    } else if (name === 'FUSE_UNIQUE_RESEND_HIGH') {
      all.push({ label: name, expression: 'FUSE_UNIQUE_RESEND >> 32', ours: BigInt(value), needs: 'FUSE_UNIQUE_RESEND' })
    } else {
      all.push({ label: name, expression: name, ours: BigInt(value as number), needs: name.startsWith('S_') ? null : name })
    }
  }
  return all
}

/** What the compiler makes of each expression. */
async function evaluate(comparisons: readonly Comparison[], header: string, compiler: string): Promise<bigint[]> {
  const folder = await mkdtemp(join(tmpdir(), 'efuse-layouts-'))
  try {
    const program = [
      '#include <stddef.h>',
      '#include <stdio.h>',
      '#include <sys/ioctl.h>',
      '#include <sys/stat.h>',
      `#include ${JSON.stringify(header)}`,
      'int main(void) {',
      ...comparisons.map(({ expression }) => `  printf("%llu\\n", (unsigned long long)(${expression}));`),
      '  return 0;',
      '}',
      '',
    ].join('\n')
    await writeFile(join(folder, 'layouts.c'), program)
    await run(compiler, ['-o', join(folder, 'layouts'), join(folder, 'layouts.c')])
    const { stdout } = await run(join(folder, 'layouts'), [])
    return stdout.trim().split('\n').map(BigInt)
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Structs, enumerators and flags of the header that the tables don't know. */
function unknownNames(source: string, bodies: ReadonlyMap<string, string>): string[] {
  const ours = new Set<string>(['FUSE_UNIQUE_RESEND'])
  for (const [name, value] of Object.entries(constants)) {
    ours.add(name)
    if (typeof value === 'object') for (const member of Object.keys(value)) ours.add(member)
  }
  const theirs = new Set<string>()
  for (const [, name] of source.matchAll(/^[ \t]*#define\s+(\w+)/gm)) theirs.add(name)
  for (const [, body] of source.matchAll(/^enum\s+\w+\s*\{([^}]*)\}/gm)) {
    for (const [, name] of body.matchAll(/(\w+)\s*(?:=[^,]*)?(?:,|$)/g)) theirs.add(name)
  }
  const names = [...theirs].filter((name) => !ours.has(name) && !NOT_OURS.test(name))
  const known = new Set(STRUCTS.map(({ name }) => name))
  const newer = Number(/#define\s+FUSE_KERNEL_MINOR_VERSION\s+(\d+)/.exec(source)?.[1]) > constants.FUSE_KERNEL_MINOR_VERSION
  return [
    ...[...bodies.keys()].filter((name) => !known.has(name)).map((name) => `struct ${name}`),
    ...names,
    ...(newer ? ['FUSE_KERNEL_MINOR_VERSION'] : []),
  ]
}
