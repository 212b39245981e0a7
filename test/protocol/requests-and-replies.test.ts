// SPDX-License-Identifier: MIT
/** Requests read in place and replies written in place: field by field, and where they lie. */
import t from 'tap'
import {
  Block, Exchange, FuseOpcode, NO_VALIDITY, OUT_HEADER_SIZE, REPLY_AREA_SIZE, S_IFDIR, S_IFLNK, S_IFREG, checkOutcome, replyOf,
  requestOf, splitTime, splitTimeout, structs, type AttrReply, type Attr, type DataReply, type Dialect, type DirectoryReply,
  type EntryReply, type FuseOpcodeName, type IoctlReply, type Reply, type Request, type SetattrRequest, type XattrReply,
} from '../../src/protocol/index.js'
import { bytes, decode, parseDirectory } from '../../src/testing/index.js'

const { u32, u64, i64, cstring, join, zeros } = bytes
const NEWEST: Dialect = { minor: 46, setxattrExt: true }
const DATA_AREA = 8192
const HEADER = DATA_AREA - 80

/** A parsed request in memory that was dirty before. */
function receive(
  operation: FuseOpcodeName, body: Uint8Array, extensions: Uint8Array = zeros(0), length = 65536,
): { exchange: Exchange; request: Request & Record<string, any> } {
  const block = new Block(new ArrayBuffer(length))
  block.u8.fill(0xa5)
  const exchange = new Exchange(block, 0, DATA_AREA)
  const message = join([
    u32(40 + body.length + extensions.length), u32(FuseOpcode[operation]), u64(2n), u64(9n), u32(1), u32(2), u32(3),
    bytes.u16(extensions.length / 8), bytes.u16(0), body, extensions,
  ])
  block.u8.set(message, HEADER)
  const error = exchange.parse(HEADER, message.length, NEWEST)
  if (error !== 0) throw new Error(`refused: ${error}`)
  return { exchange, request: requestOf(exchange) as Request & Record<string, any> }
}

function payloadOf(exchange: Exchange): Uint8Array {
  return exchange.block.u8.slice(exchange.reply, exchange.reply + exchange.replyLength)
}

t.test('a 64-bit field is a number where that is exact, and two halves always', async (t) => {
  for (const value of [0n, 1n, 0xffffffffn, 0x100000000n, 0x20000000000000n - 1n]) {
    const { request } = receive('FUSE_FORGET', u64(value))
    t.equal(request.nlookup, Number(value))
    t.equal(request.nlookup_high * 2 ** 32 + request.nlookup_low, Number(value))
  }
  const { request } = receive('FUSE_FORGET', u64(0xffffffff_00000001n))
  t.equal(request.nlookup_low, 1)
  t.equal(request.nlookup_high, 0xffffffff)
})

t.test('writing a 64-bit field', async (t) => {
  const { exchange } = receive('FUSE_GETATTR', zeros(16))
  const { out } = replyOf(exchange) as AttrReply
  for (const value of [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 63]) {
    out.attr.size = value
    t.equal(decode(structs.fuse_attr_out, payloadOf(exchange), 0).attr.size, BigInt(value))
    t.equal(out.attr.size, value)
  }
  for (const seconds of [-1, -2, -(2 ** 31), -(2 ** 32), -(2 ** 32) - 1, -(2 ** 40), 2 ** 40]) {
    out.attr.mtime = seconds
    t.equal(decode(structs.fuse_attr_out, payloadOf(exchange), 0).attr.mtime, BigInt(seconds))
    t.equal(out.attr.mtime, seconds)
  }
})

t.test('times', async (t) => {
  const cases: [Parameters<typeof splitTime>[0], number, number][] = [
    [0, 0, 0],
    [1500, 1, 500_000_000],
    [-1, -1, 999_000_000],
    [-1000, -1, 0],
    [-0.5, -1, 999_500_000],
    [new Date('1969-12-31T23:59:58.250Z'), -2, 250_000_000],
    [1n, 0, 1],
    [-1n, -1, 999_999_999],
    [-1_000_000_000n, -1, 0],
    [9_000_000_000_000_000_000_000n, 9_000_000_000_000, 0],
  ]
  for (const [time, seconds, nanoseconds] of cases) t.same(splitTime(time), { seconds, nanoseconds }, String(time))
})

t.test('time-outs', async (t) => {
  t.same(splitTimeout(1.5), { seconds: 1, nanoseconds: 500_000_000 })
  t.same(splitTimeout(0), { seconds: 0, nanoseconds: 0 })
  t.same(splitTimeout(-5), { seconds: 0, nanoseconds: 0 })
  t.same(splitTimeout(NaN), { seconds: 0, nanoseconds: 0 })
  t.same(splitTimeout(Infinity), { seconds: 0x7fffffff, nanoseconds: 0 })
})

t.test('setattr: the new owner and the caller are two', async (t) => {
  const body = structs.fuse_setattr_in.encode({ valid: 6, uid: 77, gid: 88, atime: -3, atimensec: 4 })
  const { request } = receive('FUSE_SETATTR', body)
  const setattr = request as SetattrRequest
  t.match([setattr.uid, setattr.gid, setattr.callerUid, setattr.callerGid, setattr.pid], [77, 88, 1, 2, 3])
  t.equal(setattr.atime, -3)
})

t.test('a rename without flags has none', async (t) => {
  const { request } = receive('FUSE_RENAME', join([u64(5n), cstring('a'), cstring('b')]))
  t.match([request.flags, request.newdir, request.name, request.name2], [0, 5, 'a', 'b'])
})

t.test('names keep bytes that are not UTF-8', async (t) => {
  const { request } = receive('FUSE_LOOKUP', Uint8Array.of(0xff, 0x61, 0))
  t.same([...request.nameBytes], [0xff, 0x61])
  t.equal(request.name, '\ufffda')
  t.equal(request.block.u8[request.nameOffset + request.nameLength], 0, 'NUL-terminated in place')
})

t.test('extensions behind names of every length', async (t) => {
  for (let length = 1; length <= 16; length++) {
    const name = 'n'.repeat(length)
    const label = 'l'.repeat(length)
    const context = join([u32(label.length), u32(0), cstring('security.x'), bytes.text(label)])
    const padded = join([context, zeros((8 - (context.length % 8)) % 8)])
    const extensions = join([
      u32(8 + padded.length), u32(1), padded,
      u32(16), u32(32), u32(1), u32(1000 + length),
    ])
    const { request } = receive('FUSE_MKDIR', join([u32(0), u32(0), cstring(name)]), extensions)
    t.equal(request.name, name)
    t.equal(request.supplementaryGroup, 1000 + length)
    t.same(request.securityContexts, new Map([['security.x', bytes.text(label)]]))
  }
})

t.test('extensions that are malformed are left out', async (t) => {
  const of = (extensions: Uint8Array) => receive('FUSE_MKDIR', join([u32(0), u32(0), cstring('d')]), extensions).request
  t.equal(of(zeros(0)).supplementaryGroup, -1, 'none')
  t.equal(of(join([u32(0), u32(32), zeros(8)])).supplementaryGroup, -1, 'of size 0')
  t.equal(of(join([u32(64), u32(32), u32(1), u32(5)])).supplementaryGroup, -1, 'longer than there is')
  t.equal(of(join([u32(16), u32(32), u32(0), u32(5)])).supplementaryGroup, -1, 'of no group')
  t.equal(of(join([u32(16), u32(33), u32(1), u32(5)])).supplementaryGroup, -1, 'of an unknown type')
  t.equal(of(join([u32(24), u32(1), u32(999), u32(0), cstring('a'), zeros(6)])).securityContexts.size, 0, 'a label past the end')
  t.equal(of(join([u32(24), u32(1), u32(0), u32(0), bytes.text('nonul...')])).securityContexts.size, 0, 'a name without its NUL')
})

t.test('a reply of a fixed size lies in the reply area, zeroed, whatever was there', async (t) => {
  const { exchange } = receive('FUSE_LOOKUP', cstring('a'))
  const reply = replyOf(exchange)
  t.equal(reply.offset, OUT_HEADER_SIZE)
  t.same(payloadOf(exchange), zeros(128))
  t.equal(exchange.block.u8[OUT_HEADER_SIZE + 128], 0xa5, 'and not a byte more')
})

t.test('a bulk reply lies in the data area, or behind the request where that reaches into it', async (t) => {
  const read = receive('FUSE_READ', structs.fuse_read_in.encode({ size: 4096 })).exchange
  const reply = replyOf(read) as DataReply
  t.equal(reply.offset, DATA_AREA)
  t.equal(reply.capacity, 4096)
  for (const length of [1, 24, 25, 200, 255]) {
    const { exchange } = receive('FUSE_GETXATTR', join([u32(100), u32(0), cstring('x'.repeat(length))]))
    const { offset } = replyOf(exchange)
    const end = HEADER + 40 + 8 + length + 1
    t.equal(offset % 8, 0)
    t.ok(end <= DATA_AREA ? offset === DATA_AREA : offset - OUT_HEADER_SIZE >= end, `a name of ${length} bytes`)
  }
})

t.test('an error has a place even where the request fills the block', async (t) => {
  const input = zeros(65536 - DATA_AREA)
  const body = join([structs.fuse_ioctl_in.encode({ in_size: input.length, out_size: 8 }), input])
  const { exchange } = receive('FUSE_IOCTL', body)
  replyOf(exchange)
  checkOutcome(exchange)
  t.equal(exchange.error, -5, 'there is no room for an answer: EIO')
  t.equal(exchange.writeOutHeader(), OUT_HEADER_SIZE)
  t.equal(exchange.reply, OUT_HEADER_SIZE, 'in the reply area')
})

t.test('outcomes that a kernel refuses become EIO', async (t) => {
  const outcome = (change: (exchange: Exchange) => void) => {
    const { exchange } = receive('FUSE_READ', structs.fuse_read_in.encode({ size: 100 }))
    replyOf(exchange)
    change(exchange)
    checkOutcome(exchange)
    return exchange.error
  }
  t.equal(outcome(() => {}), 0)
  t.equal(outcome((exchange) => { exchange.error = -2 }), -2)
  for (const error of [1, -512, -1000, NaN, -1.5, Infinity, -Infinity]) {
    t.equal(outcome((exchange) => { exchange.error = error }), -5, `error ${error}`)
  }
  for (const length of [-1, NaN, 1.5, 1e9, Infinity]) {
    t.equal(outcome((exchange) => { exchange.replyLength = length }), -5, `${length} bytes`)
  }
})

t.test('attributes: defaults', async (t) => {
  const encode = (attr: Attr) => {
    const { exchange } = receive('FUSE_GETATTR', zeros(16))
    ;(replyOf(exchange) as AttrReply).encode(attr)
    return decode(structs.fuse_attr_out, payloadOf(exchange), 0).attr
  }
  t.match(encode({ mode: S_IFREG | 0o644, size: 513 }), { ino: 9n, nlink: 1n, blocks: 2n, blksize: 4096n, size: 513n })
  t.match(encode({ mode: S_IFDIR | 0o755 }), { nlink: 2n, size: 0n })
  t.match(encode({ mode: S_IFLNK, ino: 2n ** 63n, blocks: 0, nlink: 0 }), { ino: 2n ** 63n, blocks: 0n, nlink: 0n })
})

t.test('attributes that no kernel believes are refused with a reason', async (t) => {
  const { exchange } = receive('FUSE_GETATTR', zeros(16))
  const reply = replyOf(exchange) as AttrReply
  t.throws(() => reply.encode({ mode: 0o644 }), /no file type/)
  t.throws(() => reply.encode({ mode: S_IFREG, size: -1 }), RangeError)
  t.throws(() => reply.encode({ mode: S_IFREG, size: 2n ** 63n }), RangeError)
  t.throws(() => reply.encode({ mode: S_IFREG, size: NaN }), RangeError)
})

t.test('a negative entry', async (t) => {
  const { exchange } = receive('FUSE_LOOKUP', cstring('none'))
  exchange.validity = { ...NO_VALIDITY, negativeSeconds: 5, entrySeconds: 1 }
  ;(replyOf(exchange) as EntryReply).encode(null)
  t.match(decode(structs.fuse_entry_out, payloadOf(exchange), 0), { nodeid: 0n, entry_valid: 5n })
})

t.test('bytes: as many as were asked for, at most', async (t) => {
  const { exchange } = receive('FUSE_READ', structs.fuse_read_in.encode({ size: 5 }))
  const reply = replyOf(exchange) as DataReply
  reply.encode('hello world')
  t.same(payloadOf(exchange), bytes.text('hello'))
  t.equal(reply.write('more'), 0)
  reply.encode(Buffer.from([1, 2]))
  t.same(payloadOf(exchange), Uint8Array.of(1, 2))
  for (const wrong of [null, 5, {}, { length: -5 }, [1, 2], new Uint32Array(1)]) {
    t.throws(() => reply.encode(wrong), TypeError)
  }
})

t.test('extended attributes: the value, its size, or ERANGE', async (t) => {
  const answer = (size: number, value: string) => {
    const { exchange } = receive('FUSE_GETXATTR', join([u32(size), u32(0), cstring('user.a')]))
    ;(replyOf(exchange) as XattrReply).encode(value)
    return { error: exchange.error, payload: payloadOf(exchange) }
  }
  t.same(answer(10, 'value'), { error: 0, payload: bytes.text('value') })
  t.same(answer(5, 'value'), { error: 0, payload: bytes.text('value') })
  t.same(answer(0, 'value'), { error: 0, payload: join([u32(5), u32(0)]) })
  t.same(answer(4, 'value'), { error: -34, payload: zeros(0) })
  const { exchange } = receive('FUSE_LISTXATTR', join([u32(0), u32(0)]))
  replyOf(exchange)
  t.same(payloadOf(exchange), zeros(8), 'a handler that says nothing says that there is nothing')
})

t.test('a listing ends where the next record would not fit', async (t) => {
  const names = ['.', '..', 'a', 'eight888', 'nine99999', 'x'.repeat(255)]
  for (const size of [0, 31, 32, 64, 100, 200, 4096]) {
    const { exchange } = receive('FUSE_READDIR', structs.fuse_read_in.encode({ size }))
    ;(replyOf(exchange) as DirectoryReply).encode(names.map((name) => ({ name })))
    const records = parseDirectory(payloadOf(exchange), false)
    t.ok(exchange.replyLength <= size)
    t.same(records.map(({ off }) => off), records.map((_, index) => BigInt(index + 1)), `${records.length} records in ${size} bytes`)
  }
})

t.test('a listing goes on from its offset', async (t) => {
  const { exchange } = receive('FUSE_READDIR', structs.fuse_read_in.encode({ size: 4096, offset: 2 }))
  ;(replyOf(exchange) as DirectoryReply).encode(['a', 'b', 'c', 'd'].map((name) => ({ name })))
  t.same(parseDirectory(payloadOf(exchange), false).map(({ nameBytes }) => Buffer.from(nameBytes).toString()), ['c', 'd'])
})

t.test('names that no kernel takes in a listing are refused with a reason', async (t) => {
  const { exchange } = receive('FUSE_READDIR', structs.fuse_read_in.encode({ size: 4096 }))
  const reply = replyOf(exchange) as DirectoryReply
  for (const name of ['', 'a/b', 'a\0b', 'x'.repeat(1025)]) t.throws(() => reply.encode([{ name }]), RangeError)
  t.throws(() => reply.encode([{} as never]), TypeError)
  t.same(payloadOf(exchange), zeros(0), 'and leave nothing behind')
})

t.test('an ioctl\'s answer', async (t) => {
  const body = structs.fuse_ioctl_in.encode({ out_size: 4 })
  const { exchange } = receive('FUSE_IOCTL', body)
  ;(replyOf(exchange) as IoctlReply).encode({ result: -1, data: Uint8Array.of(1, 2, 3, 4, 5) })
  t.same(payloadOf(exchange), join([i64(0xffffffffn), zeros(8), Uint8Array.of(1, 2, 3, 4)]))
})

t.test('the same objects serve request after request', async (t) => {
  const { exchange, request } = receive('FUSE_LOOKUP', cstring('a'))
  const reply: Reply = replyOf(exchange)
  exchange.parse(HEADER, 42, NEWEST)
  t.equal(requestOf(exchange), request)
  t.equal(replyOf(exchange), reply)
  t.ok(exchange.replyCapacity <= REPLY_AREA_SIZE)
})
