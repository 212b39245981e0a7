// SPDX-License-Identifier: MIT
/**
 * bpf(2) with pointers that are offsets: the addon's table against the kernel's header, and for every pointer of every
 * command that what lies outside the memory is refused before the kernel sees it.
 */
import { test, type Test } from 'tap'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { BpfMap, BpfObject } from '../../src/bpf/index.js'
import * as native from '../../src/native.js'
import type { BpfCommandRow } from '../../src/native.js'
import { Block } from '../../src/protocol/struct.js'
import { objectPath, unavailable } from './objects.js'

const skip = unavailable()
const { EFAULT, E2BIG, EINVAL, EOPNOTSUPP, EBADF } = constants.errno
const table = native.bpfCommandTable()
/** The rows of commands, of kinds of links, of kinds of information. */
const commands = table.filter((row) => row.struct === 'union bpf_attr' && !row.name.startsWith('BPF_TRACE_'))
const links = table.filter((row) => row.name.startsWith('BPF_TRACE_'))
const infos = table.filter((row) => row.struct !== 'union bpf_attr')
/** `Extent` in native-min/bpf_commands.h. */
const enum Extent { Items, Output, Records, String, Strings, Key, Value, NextKey, Keys, Values, Cursor, Info, FdArray }
const LINK_CREATE = 28
const GET_INFO = 15
const ATTR = 8
const ATTR_BYTES = 200
const MEMORY = 64 << 10

/** The last field of each command, by which the kernel tells what it does not know. */
const lastFields: Record<string, string> = {
  BPF_MAP_CREATE: 'excl_prog_hash_size',
  BPF_MAP_LOOKUP_ELEM: 'flags',
  BPF_MAP_UPDATE_ELEM: 'flags',
  BPF_MAP_DELETE_ELEM: 'flags',
  BPF_MAP_GET_NEXT_KEY: 'flags',
  BPF_PROG_LOAD: 'keyring_id',
  BPF_OBJ_PIN: 'path_fd',
  BPF_OBJ_GET: 'path_fd',
  BPF_PROG_ATTACH: 'expected_revision',
  BPF_PROG_DETACH: 'expected_revision',
  BPF_PROG_TEST_RUN: 'test.batch_size',
  BPF_PROG_GET_NEXT_ID: 'fd_by_id_token_fd',
  BPF_MAP_GET_NEXT_ID: 'fd_by_id_token_fd',
  BPF_PROG_GET_FD_BY_ID: 'fd_by_id_token_fd',
  BPF_MAP_GET_FD_BY_ID: 'fd_by_id_token_fd',
  BPF_OBJ_GET_INFO_BY_FD: 'info.info',
  BPF_PROG_QUERY: 'query.revision',
  BPF_RAW_TRACEPOINT_OPEN: 'raw_tracepoint.cookie',
  BPF_BTF_LOAD: 'btf_token_fd',
  BPF_BTF_GET_FD_BY_ID: 'fd_by_id_token_fd',
  BPF_TASK_FD_QUERY: 'task_fd_query.probe_addr',
  BPF_MAP_LOOKUP_AND_DELETE_ELEM: 'flags',
  BPF_MAP_FREEZE: 'map_fd',
  BPF_BTF_GET_NEXT_ID: 'fd_by_id_token_fd',
  BPF_MAP_LOOKUP_BATCH: 'batch.flags',
  BPF_MAP_LOOKUP_AND_DELETE_BATCH: 'batch.flags',
  BPF_MAP_UPDATE_BATCH: 'batch.flags',
  BPF_MAP_DELETE_BATCH: 'batch.flags',
  BPF_LINK_CREATE: 'link_create.uprobe_multi.pid',
  BPF_LINK_UPDATE: 'link_update.old_map_fd',
  BPF_LINK_GET_FD_BY_ID: 'fd_by_id_token_fd',
  BPF_LINK_GET_NEXT_ID: 'fd_by_id_token_fd',
  BPF_ENABLE_STATS: 'enable_stats.type',
  BPF_ITER_CREATE: 'iter_create.flags',
  BPF_LINK_DETACH: 'link_detach.link_fd',
  BPF_PROG_BIND_MAP: 'prog_bind_map.flags',
  BPF_TOKEN_CREATE: 'token_create.bpffs_fd',
  BPF_PROG_STREAM_READ_BY_FD: 'prog_stream_read.prog_fd',
  BPF_PROG_ASSOC_STRUCT_OPS: 'prog_assoc_struct_ops.flags',
  BPF_TRACE_ITER: 'link_create.iter_info_len',
  BPF_TRACE_KPROBE_MULTI: 'link_create.kprobe_multi.cookies',
  BPF_TRACE_UPROBE_MULTI: 'link_create.uprobe_multi.pid',
  BPF_TRACE_KPROBE_SESSION: 'link_create.kprobe_multi.cookies',
  BPF_TRACE_UPROBE_SESSION: 'link_create.uprobe_multi.pid',
}

/** The header that belongs to the libbpf that is built. */
async function header(): Promise<{ folder: string; text: string }> {
  const script = new URL('../../../scripts/build-libbpf.js', import.meta.url)
  const { libbpfSource } = await import(script.href) as { libbpfSource(): { folder: string } }
  const folder = join(libbpfSource().folder, 'include/uapi')
  return { folder, text: readFileSync(join(folder, 'linux/bpf.h'), 'utf8') }
}

test('the table is the kernel\'s', async (t) => {
  const { folder, text } = await header()
  const offset = (type: string, field: string) => `offsetof(${type}, ${field})`
  const checks = table.flatMap(({ name, struct, number, end, pointers }) => {
    const fields = pointers.map((pointer) => [offset(struct, pointer.name), pointer.at, `${name}: ${pointer.name}`])
    const last = lastFields[name]
    const ends = last === undefined
      ? [[`sizeof(${struct})`, end, `${name}: size`]]
      : [[`${offset(struct, last)} + sizeof(((${struct} *)0)->${last})`, end, `${name}: end`]]
    const numbers = struct === 'union bpf_attr' ? [[name, number, name]] : []
    return [...fields, ...ends, ...numbers]
  })
  const source = join(t.testdir({}), 'table.c')
  writeFileSync(source, ['#include <stddef.h>', '#include <linux/bpf.h>',
    ...checks.map(([is, wanted, what]) => `_Static_assert(${is} == ${wanted}, "${what}");`), ''].join('\n'))
  try {
    execFileSync('cc', ['-fsyntax-only', '-I', folder, source], { encoding: 'utf8', stdio: 'pipe' })
    t.pass(`${checks.length} offsets, ends and numbers`)
  } catch (error) {
    t.fail((error as { stderr: string }).stderr)
  }

  const body = (start: RegExp) => text.slice(text.search(start)).split(/^}/m)[0]
  const known = new Set(commands.map(({ name }) => name))
  const all = [...body(/^enum bpf_cmd \{/m).matchAll(/^\t(BPF_\w+),/gm)].map(([, name]) => name)
  t.strictSame(all.filter((name) => !known.has(name)), [], 'no command of libbpf\'s header is missing')

  const pointers = new Set(table.flatMap((row) => row.pointers.map(({ name }) => name.split('.').at(-1))))
  for (const struct of ['union bpf_attr', 'struct bpf_prog_info', 'struct bpf_map_info', 'struct bpf_btf_info',
    'struct bpf_link_info']) {
    const wide = [...body(new RegExp(`^${struct} \\{`, 'm')).matchAll(/__aligned_u64\s+(\w+)/g)].map(([, name]) => name)
    // One is a number; the names that a perf event's link has lie at one place.
    const numbers = new Set(['cookie', 'file_name', 'tp_name'])
    const missing = wide.filter((name) => !pointers.has(name) && !numbers.has(name))
    t.strictSame(missing, [], `no pointer of ${struct} is missing`)
  }
})

/** Memory with an empty attr. */
function memory() {
  const block = new Block(new ArrayBuffer(MEMORY))
  const view = new DataView(block.buffer)
  return {
    block,
    view,
    call: (command: number, size = ATTR_BYTES) => ({
      result: native.bpf(command, block, ATTR, size),
      refusal: native.bpfRefusal(),
    }),
    word: (at: number, value: number) => view.setUint32(ATTR + at, value, true),
    pointer: (at: number, value: number | bigint) => view.setBigUint64(ATTR + at, BigInt(value), true),
  }
}

type Memory = ReturnType<typeof memory>

/** Makes the lengths that belong to a pointer `items`, where they are fields. */
function lengths(m: Memory, pointer: BpfCommandRow['pointers'][number], items: number, map: number): void {
  const { extent, count, unit } = pointer
  if (extent === Extent.Key || extent === Extent.Value || extent === Extent.NextKey || extent === Extent.Cursor) {
    m.word(count, map)
  } else if (extent === Extent.Keys || extent === Extent.Values) {
    m.word(count, map)
    m.word(unit, items)
  } else if (extent === Extent.Records) {
    m.word(count, items)
    m.word(unit, 8)
  } else if (extent !== Extent.String) {
    m.word(count, items)
  }
}

function refused(
  t: Test, what: string, { result, refusal }: ReturnType<Memory['call']>, errno: number, match: string,
): void {
  t.equal(result, -errno, `${what}: ${refusal || 'the kernel\'s answer'}`)
  t.match(refusal, match, `${what}: it says why`)
}

test('every pointer is checked', { skip }, async (t) => {
  using map = BpfMap.create({ type: 'hash', keySize: 16, valueSize: 64, maxEntries: 4 })
  for (const row of [...commands, ...links]) {
    const isLink = links.includes(row)
    for (const pointer of row.pointers) {
      for (const [what, at] of [
        ['behind the end', MEMORY],
        ['over the end', MEMORY - 3],
        ['far outside', 0x7fffffff],
        ['negative', 0xfffffff0],
        ['beyond 32 bits', 2n ** 32n + 64n],
        ['beyond 63 bits', 2n ** 64n - 8n],
      ] as const) {
        const m = memory()
        // Strings that begin inside have no end.
        m.block.u8.fill(1, MEMORY - 8)
        lengths(m, pointer, 4, map.fd)
        if (isLink) m.word(8, row.number)
        m.pointer(pointer.at, at)
        const before = m.block.u8.slice()
        const answer = m.call(isLink ? LINK_CREATE : row.number)
        refused(t, `${row.name}, ${pointer.name} ${what}`, answer, EFAULT, pointer.name)
        t.ok(Buffer.from(before).equals(m.block.u8), 'nothing was written')
      }
    }
  }
  t.end()
})

test('lengths are checked', { skip }, async (t) => {
  using map = BpfMap.create({ type: 'percpu_hash', keySize: 16, valueSize: 64, maxEntries: 4 })
  for (const row of [...commands, ...links]) {
    const isLink = links.includes(row)
    for (const pointer of row.pointers) {
      if (pointer.extent === Extent.String) continue
      // Inside, but with a length that is not, up to the largest.
      for (const items of [MEMORY, 0xffffffff]) {
        const sized = [Extent.Key, Extent.Value, Extent.NextKey, Extent.Cursor].includes(pointer.extent)
        const m = memory()
        lengths(m, pointer, items, map.fd)
        if (isLink) m.word(8, row.number)
        m.pointer(pointer.at, sized ? MEMORY - 8 : 512)
        // A cursor of 16 bytes, a key of 16 and a value of at least 64 do not fit into 8.
        const answer = m.call(isLink ? LINK_CREATE : row.number)
        refused(t, `${row.name}, ${pointer.name}, ${items} items`, answer, EFAULT, pointer.name)
        if (sized) break
      }
    }
  }
  t.end()
})

test('what is not known is refused', { skip }, async (t) => {
  const unknown = Math.max(...commands.map(({ number }) => number)) + 1
  for (const command of [unknown, 1000, 1 << 16, -1]) {
    refused(t, `command ${command}`, memory().call(command), EOPNOTSUPP, 'not known')
  }
  for (const { name, number, end } of commands) {
    const m = memory()
    m.view.setUint8(ATTR + end, 1)
    refused(t, `${name}: a field behind its last`, m.call(number), E2BIG, 'not known')
  }
  const m = memory()
  m.word(8, 59)
  refused(t, 'a link of a newer kind', m.call(LINK_CREATE), EOPNOTSUPP, 'attach type 59')
  refused(t, 'a longer attr', memory().call(0, 300), E2BIG, 'not known')

  const { block } = memory()
  for (const [offset, size] of [[MEMORY - 8, 16], [-8, 16], [0, MEMORY + 1]]) {
    t.equal(native.bpf(0, block, offset, size), -EFAULT, `attr at ${offset}, ${size} bytes`)
    t.match(native.bpfRefusal(), 'bpf_attr lies outside')
  }
  const output = memory()
  output.pointer(24, 512)
  refused(t, 'output without a length', output.call(10), EINVAL, 'test.data_out has no length')
  t.end()
})

test('an array of descriptors ends where the program says', { skip }, (t) => {
  const load = (code: number, source: number, off: number, imm: number, at: number) => {
    const m = memory()
    m.word(0, 5)
    m.word(4, 1)
    m.pointer(8, 512)
    m.view.setUint8(512, code)
    m.view.setUint8(513, source << 4)
    m.view.setInt16(514, off, true)
    m.view.setInt32(516, imm, true)
    m.pointer(120, at)
    return m.call(5)
  }
  // A call of a module's function, and a map's address by its index.
  refused(t, 'function in module 3', load(0x85, 2, 3, 1, MEMORY - 12), EFAULT, 'fd_array')
  t.equal(load(0x85, 2, 2, 1, MEMORY - 12).refusal, '', 'in module 2, which still fits')
  refused(t, 'map 100', load(0x18, 5, 0, 100, MEMORY - 400), EFAULT, 'fd_array')
  refused(t, 'value in map 2^31', load(0x18, 6, 0, -0x80000000, 512), EFAULT, 'fd_array')
  t.equal(load(0xb7, 0, 0, 0, MEMORY).refusal, '', 'no descriptors')
  t.end()
})

test('a list of names is a list of pointers', { skip }, (t) => {
  const m = memory()
  const multi = links.find(({ name }) => name === 'BPF_TRACE_KPROBE_MULTI')!
  m.word(8, multi.number)
  m.word(20, 2)
  m.pointer(24, 512)
  m.view.setBigUint64(512, 600n, true)
  m.view.setBigUint64(520, BigInt(MEMORY - 4), true)
  m.block.u8.fill(1, MEMORY - 4)
  refused(t, 'the second does not end', m.call(LINK_CREATE), EFAULT, 'kprobe_multi.syms')
  m.view.setBigUint64(520, 700n, true)
  t.equal(m.call(LINK_CREATE).refusal, '')
  t.equal(m.view.getBigUint64(512, true), 600n, 'they are as they were')
  t.end()
})

test('information with pointers of its own', { skip }, async (t) => {
  using object = await BpfObject.open(objectPath('tracing'))
  object.load()
  const raw = object.program('on_raw_call').attach()
  const iterator = object.program('list_tasks').attach()
  const tracepoint = object.program('on_tracepoint').attach()
  const btf = memory()
  btf.word(0, 1)
  const { result: btfFd } = btf.call(19)
  t.ok(btfFd >= 0, 'the kernel\'s types')
  t.teardown(() => native.bpfClose(btfFd))
  const links = {
    'raw_tracepoint.tp_name': raw.fd,
    'iter.target_name': iterator.fd,
    'perf_event.kprobe.func_name': tracepoint.fd,
  }
  const fds: Record<string, number> = {
    'struct bpf_prog_info': object.program('on_call').fd,
    'struct bpf_map_info': object.map('.data').fd,
    'struct bpf_btf_info': btfFd,
  }
  const INFO = 512
  const get = (fd: number, length: number, prepare: (m: Memory) => void = () => {}) => {
    const m = memory()
    m.word(0, fd)
    m.word(4, length)
    m.pointer(8, INFO)
    prepare(m)
    return { ...m.call(GET_INFO, 16), m }
  }
  const word = (m: Memory, at: number, value: number) => m.view.setUint32(INFO + at, value, true)
  const pointer = (m: Memory, at: number, value: number) => m.view.setBigUint64(INFO + at, BigInt(value), true)

  for (const row of infos) {
    for (const field of row.pointers) {
      const fd = row.name === 'struct bpf_link_info' ? links[field.name as keyof typeof links] : fds[row.name]
      // Links of many probes can't be made on every kernel.
      if (fd === undefined) continue
      const answer = get(fd, row.end, (m) => {
        word(m, field.count, MEMORY)
        if (field.extent === Extent.Records) word(m, field.unit, 8)
        pointer(m, field.at, 4096)
      })
      refused(t, `${row.name}.${field.name}`, answer, EFAULT, field.name)
      t.equal(answer.m.view.getBigUint64(INFO + field.at, true), 4096n, 'the pointer is as it was')
    }
  }

  const program = get(fds['struct bpf_prog_info'], 232, (m) => {
    word(m, 52, 8)
    pointer(m, 56, 4096)
    word(m, 20, 1024)
    pointer(m, 32, 8192)
  })
  t.equal(program.result, 0, program.refusal)
  const { view, block } = program.m
  t.equal(Buffer.from(block.buffer, INFO + 64, 7).toString(), 'on_call')
  const maps = view.getUint32(INFO + 52, true)
  t.ok(maps >= 3, `${maps} maps`)
  t.ok(view.getUint32(4096 + 4 * (maps - 1), true) > 0, 'whose numbers are there')
  t.ok(view.getUint8(8192) !== 0, 'and its instructions')
  t.equal(view.getBigUint64(INFO + 56, true), 4096n, 'no address is to be seen')
  t.equal(view.getBigUint64(ATTR + 8, true), BigInt(INFO))

  const named = get(raw.fd, 64, (m) => {
    pointer(m, 16, 4096)
    word(m, 24, 64)
  })
  t.equal(named.result, 0)
  t.equal(Buffer.from(named.m.block.buffer, 4096, 9).toString(), 'sys_enter')
  const kernel = get(btfFd, 32, (m) => {
    pointer(m, 16, 4096)
    word(m, 24, 64)
  })
  t.equal(Buffer.from(kernel.m.block.buffer, 4096, 7).toString(), 'vmlinux')

  t.equal(get(1 << 20, 64).result, -EBADF)
  refused(t, 'a descriptor of something else', get(0, 64), EINVAL, 'nothing of BPF\'s')
  refused(t, 'longer than is known', get(fds['struct bpf_map_info'], 200, (m) => word(m, 196, 1)), E2BIG, 'longer')
})

test('a struct_ops program is not run with an address', { skip }, async (t) => {
  using object = await BpfObject.open(objectPath('congestion'))
  object.load()
  const m = memory()
  m.word(0, object.program('count_init').fd)
  m.word(40, 8)
  m.pointer(48, 512)
  m.view.setBigUint64(512, 4096n, true)
  refused(t, 'test run', m.call(10), EOPNOTSUPP, 'holds an address')
})

test('perf events of unknown kinds', { skip }, (t) => {
  const { block, view } = memory()
  view.setUint32(8, 4, true)
  view.setUint32(12, 112, true)
  t.equal(native.perfEventOpen(block, 8, -1, 0, -1, 0), -EOPNOTSUPP)
  t.match(native.bpfRefusal(), 'events of type 4')
  view.setUint32(12, MEMORY, true)
  t.equal(native.perfEventOpen(block, 8, -1, 0, -1, 0), -EFAULT)
  view.setUint32(12, 8, true)
  t.equal(native.perfEventOpen(block, 8, -1, 0, -1, 0), -E2BIG)
  t.end()
})
