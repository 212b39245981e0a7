// SPDX-License-Identifier: MIT
/** Objects that are wrong, by accident or on purpose: an error that can be read, nothing left open, no crash. */
import { test } from 'tap'
import { spawnSync } from 'node:child_process'
import { BpfError, BpfObject } from '../../src/bpf/index.js'
import { descriptors, objectBytes, objectPath, share, unavailable } from './objects.js'

const skip = unavailable()

/** Opens and loads an object. @returns why it failed, or null */
async function attempt(bytes: Uint8Array): Promise<unknown> {
  try {
    using object = await BpfObject.open(bytes, { name: 'hostile' })
    // What a user would look at before loading.
    for (const variables of [object.knobs, object.globals]) for (const name of variables.names) variables.get(name)
    object.load()
    for (const name of object.mapNames) object.map(name)
    return null
  } catch (error) {
    return error
  }
}

/** A failure that a user can make something of: ours, with a reason. TypeErrors are about types without values. */
function readable(error: unknown): boolean {
  if (error instanceof BpfError) return /^[A-Z]/.test(error.code) && error.message.length > 10
  return error instanceof TypeError && /type|BTF|not known/.test(error.message)
}

/** Numbers that are the same in each run. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = state + 0x6d2b79f5 | 0
    let mixed = Math.imul(state ^ state >>> 15, 1 | state)
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed
    return (mixed ^ mixed >>> 14) >>> 0
  }
}

test('what is no object', { skip }, async (t) => {
  await attempt(objectBytes('tracing'))
  const before = descriptors()
  const elf32 = objectBytes('tracing')
  elf32[4] = 1
  const cases: [string, Uint8Array, RegExp][] = [
    ['nothing', new Uint8Array(0), /hostile/],
    ['text', Buffer.from('#!/bin/sh\necho an object\n'.repeat(20)), /ELF/],
    ['a program of this machine', new Uint8Array(4096).fill(0x7f), /ELF/],
    ['32 bits', elf32, /64-bit/],
  ]
  for (const [what, bytes, message] of cases) {
    const error = await attempt(bytes)
    t.match(error, { name: 'BpfError', message }, what)
  }
  await t.rejects(BpfObject.open('/nonexistent.bpf.o'), { code: 'ENOENT' })
  t.equal(descriptors(), before, 'nothing is left open')
})

test('an object that ends early', { skip }, async (t) => {
  const whole = objectBytes('tracing')
  const before = descriptors()
  let failed = 0
  let lengths = 0
  const step = share === 'full' ? 1 : 97
  for (let length = 0; length < whole.length; length += step) {
    lengths++
    const error = await attempt(whole.slice(0, length))
    if (error !== null && readable(error)) failed++
    else t.fail(`${length} bytes: ${error}`)
  }
  t.equal(failed, lengths, `${lengths} lengths`)
  t.equal(descriptors(), before)
})

test('types that are wrong', { skip }, async (t) => {
  const before = descriptors()
  const whole = Buffer.from(objectBytes('tracing'))
  // BTF begins with a header: magic 0xeb9f, version, flags, length.
  const at = whole.indexOf(Buffer.from([0x9f, 0xeb, 1, 0, 24, 0, 0, 0]))
  t.ok(at > 0, 'the object has BTF')
  const damaged = (offset: number, ...bytes: number[]) => {
    const copy = new Uint8Array(whole)
    copy.set(bytes, at + offset)
    return copy
  }
  for (const [what, bytes] of [
    ['another magic', damaged(0, 0, 0)],
    ['a longer header', damaged(4, 0xff, 0xff)],
    ['types outside', damaged(8, 0xff, 0xff, 0xff, 0x7f)],
    ['strings outside', damaged(20, 0xff, 0xff, 0xff, 0x7f)],
    ['types of no kind', damaged(24 + 4, 0xff, 0xff, 0xff, 0xff)],
  ] as const) {
    const error = await attempt(bytes)
    t.ok(error !== null && readable(error), `${what}: ${error}`)
  }
  t.equal(descriptors(), before)
})

test('the verifier\'s refusal says why', { skip }, async (t) => {
  const before = descriptors()
  const expected: [string, string, object][] = [
    ['rejected', 'unchecked_pointer', { code: 'EACCES', message: /invalid mem access 'map_value_or_null'/ }],
    ['rejected', 'no_such_field', { message: /no_such_field|CO-RE|relocation/ }],
    ['unresolved', 'no_such_function', { message: /no_such_kernel_function/ }],
    ['rejected', 'no_such_tracepoint', { message: /no_such_tracepoint/ }],
  ]
  for (const [file, name, wanted] of expected) {
    using object = await BpfObject.open(objectPath(file))
    object.program(name).autoload = true
    try {
      object.load()
      t.fail(`${name} was loaded`)
    } catch (error) {
      t.match(error, { name: 'BpfError', ...wanted }, name)
      t.ok((error as BpfError).log.length > (error as BpfError).message.length / 2, 'the whole log is there')
      t.comment((error as BpfError).message)
    }
    t.throws(() => object.load(), { name: 'BpfError' }, 'it does not load a second time')
  }
  t.equal(descriptors(), before)
})

test('those who may not load anything are told so', { skip }, (t) => {
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', `
    import { BpfObject } from ${JSON.stringify(new URL('../../src/bpf/index.js', import.meta.url).href)}
    const object = await BpfObject.open(${JSON.stringify(objectPath('tracing'))})
    process.setgroups([])
    process.setgid(65534)
    process.setuid(65534)
    try { object.load() } catch (error) { console.log(error.code, error.message) }`], { encoding: 'utf8' })
  t.equal(run.stdout, 'EPERM load tracing: EPERM: it takes CAP_BPF and CAP_PERFMON, or root\n', run.stderr)
  t.end()
})

test('bits that flipped', { skip }, async (t) => {
  const next = random(20261122)
  const rounds = share === 'full' ? 20_000 : 400
  const before = descriptors()
  let loaded = 0
  let refused = 0
  for (let round = 0; round < rounds; round++) {
    const bytes = objectBytes(round % 2 === 0 ? 'tracing' : 'maps')
    const flips = 1 + next() % 8
    for (let i = 0; i < flips; i++) bytes[next() % bytes.length] ^= 1 << next() % 8
    const error = await attempt(bytes)
    if (error === null) loaded++
    else if (readable(error)) refused++
    else t.fail(`round ${round}: ${(error as Error)?.stack}`)
  }
  t.equal(loaded + refused, rounds, `${loaded} loaded nevertheless, ${refused} were refused`)
  t.ok(refused > rounds / 20)
  t.equal(descriptors(), before, 'nothing is left open')
  t.equal(await attempt(objectBytes('tracing')), null, 'a good one still loads')
})
