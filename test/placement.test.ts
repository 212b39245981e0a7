// SPDX-License-Identifier: MIT
/** Whom the reader of the device follows, and when it lets go. */
import t from 'tap'
import * as native from '../src/native.js'
import { FuseOpcode, FUSE_WRITE_CACHE } from '../src/protocol/constants.js'
import type { Exchange } from '../src/protocol/exchange.js'
import { Block } from '../src/protocol/struct.js'
import * as s from '../src/protocol/structs.js'
import { Placement } from '../src/rings/placement.js'

/** Many requests: more than are looked at together. */
const MANY = 1000

interface Asked {
  tid: number
  opcode?: keyof typeof FuseOpcode
  size?: number
  flags?: number
  writeFlags?: number
}

/** A placement that is told of requests, where callers are, and what became of it. */
function ground(options: { direct?: boolean; cpus?: number[]; whereIs?: (tid: number) => number } = {}) {
  const moves: number[] = []
  const { direct = false, cpus = [0, 1, 2, 3], whereIs = (tid: number) => tid % 10 } = options
  const placement = new Placement(cpus, direct, whereIs, (cpu) => { moves.push(cpu) })
  const block = new Block(new ArrayBuffer(256))
  const ask = ({ tid, opcode = 'FUSE_GETATTR', size = 0, flags = 0, writeFlags = 0 }: Asked): void => {
    block.u8.fill(0)
    s.fuse_in_header.at(block, 0).pid = tid
    if (opcode === 'FUSE_READ') block.u8.set(s.fuse_read_in.encode({ size, flags }), 40)
    if (opcode === 'FUSE_WRITE') block.u8.set(s.fuse_write_in.encode({ size, flags, write_flags: writeFlags }), 40)
    placement.served({ block, header: 0, args: 40, opcode: FuseOpcode[opcode] } as unknown as Exchange)
  }
  const askMany = (...requests: Asked[]): void => {
    for (let i = 0; i < MANY; i++) ask(requests[i % requests.length])
  }
  return { moves, askMany }
}

t.test('one who waits for each answer is followed, once', (t) => {
  const { moves, askMany } = ground()
  askMany({ tid: 42 })
  t.same(moves, [2])
  askMany({ tid: 42, opcode: 'FUSE_LOOKUP' }, { tid: 42, opcode: 'FUSE_WRITE', size: 1 << 20 }, { tid: 0 })
  t.same(moves, [2], 'and stays so, whatever it asks; the kernel\'s own requests do not count')
  t.end()
})

t.test('a caller that was moved is followed there', (t) => {
  let at = 1
  const { moves, askMany } = ground({ whereIs: () => at })
  askMany({ tid: 7 })
  at = 3
  askMany({ tid: 7 })
  askMany({ tid: 7 })
  t.same(moves, [1, 3])
  t.end()
})

t.test('of several callers none is followed', (t) => {
  const { moves, askMany } = ground()
  askMany({ tid: 41 })
  askMany({ tid: 41 }, { tid: 42 })
  t.same(moves, [1, -1], 'it lets go')
  askMany({ tid: 41 }, { tid: 42 })
  t.same(moves, [1, -1], 'once')
  askMany({ tid: 42 })
  t.same(moves, [1, -1, 2])
  t.end()
})

t.test('one that reads ahead or whose pages are written back is not followed', (t) => {
  const { O_DIRECT } = native.constants
  const large = { tid: 42, opcode: 'FUSE_READ', size: 131072 } as const
  for (const [what, request, direct, followed] of [
    ['readahead', large, false, false],
    ['reads opened with O_DIRECT', { ...large, flags: O_DIRECT }, false, true],
    ['reads on a mount with direct_io', large, true, true],
    ['single pages', { ...large, size: 4096 }, false, true],
    ['pages written back', { tid: 42, opcode: 'FUSE_WRITE', writeFlags: FUSE_WRITE_CACHE }, false, false],
  ] as const) {
    const { moves, askMany } = ground({ direct })
    askMany(request)
    t.same(moves, followed ? [2] : [], what)
  }
  t.end()
})

t.test('not beyond the CPUs that the thread may use, nor after one that can\'t be seen', (t) => {
  const { moves, askMany } = ground({ cpus: [0, 1] })
  askMany({ tid: 42 })
  t.same(moves, [])
  const unseen = ground({ whereIs: () => -1 })
  unseen.askMany({ tid: 42 })
  t.same(unseen.moves, [])
  t.end()
})
