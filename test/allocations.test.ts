// SPDX-License-Identifier: MIT
/**
 * The synchronous path allocates nothing: an allocation profile of StackFS answering requests, as the rings
 * hand them over, a million of each kind in the full share. A string decoded, an object, a closure or a
 * promise for each request would be tens of bytes a request.
 */
import * as fs from 'node:fs'
import { Session, type HeapProfiler } from 'node:inspector'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { StackFS } from '../src/fs/stackfs/index.js'
import * as native from '../src/native.js'
import { FuseOpcode } from '../src/protocol/constants.js'
import { Exchange, IN_HEADER_SIZE, Outcome } from '../src/protocol/exchange.js'
import { Block } from '../src/protocol/struct.js'
import * as s from '../src/protocol/structs.js'
import { ScriptedKernel } from '../src/testing/index.js'

const FULL = process.argv[process.argv.indexOf('--share') + 1] === 'full'
const REQUESTS = FULL ? 1_000_000 : 200_000
/** Listings are long: what counts are their entries. */
const ENTRIES = 50
const WARM_UP = 200_000
/**
 * Bytes per request, or per entry of a listing. One request in 61 is timed, and the clock's readings are numbers
 * that take memory: half a byte a request.
 */
const MOST_BYTES = 1

// A ring entry as UringRing lays it out: headers, arguments, small replies, payload.
const ARGS = 128
const SMALL_REPLIES = 1024
const PAYLOAD = 4096
const TRANSFER = 128 * 1024

interface Kind {
  opcode: number
  nodeid: bigint
  args?: Uint8Array
  payload?: Uint8Array
  /** Of how many things a request is made up: entries of a listing. */
  parts?: number
  error?: number
}

const cstring = (text: string) => Buffer.from(`${text}\0`)

/** Bytes allocated while `work` ran, garbage included, by function. */
async function profile(work: () => void): Promise<{ total: number; worst: string }> {
  const session = new Session()
  session.connect()
  const post = <T>(method: string, params?: object) => new Promise<T>((resolve, reject) => {
    session.post(method, params, (error, result) => error ? reject(error) : resolve(result as T))
  })
  await post('HeapProfiler.startSampling', {
    samplingInterval: 256, includeObjectsCollectedByMajorGC: true, includeObjectsCollectedByMinorGC: true,
  })
  work()
  const { profile } = await post<{ profile: HeapProfiler.SamplingHeapProfile }>('HeapProfiler.stopSampling')
  session.disconnect()
  const bySite = new Map<string, number>()
  const visit = ({ callFrame, selfSize, children }: HeapProfiler.SamplingHeapProfileNode) => {
    const site = `${callFrame.functionName || '(anonymous)'} ${callFrame.url.split('/').pop()}:${callFrame.lineNumber + 1}`
    // The profiler's own calls are no part of the work.
    if (!callFrame.url.startsWith('node:')) bySite.set(site, (bySite.get(site) ?? 0) + selfSize)
    children.forEach(visit)
  }
  visit(profile.head)
  const sites = [...bySite].filter(([, size]) => size > 0).sort((a, b) => b[1] - a[1])
  return {
    total: sites.reduce((sum, [, size]) => sum + size, 0),
    worst: sites.slice(0, 3).map(([site, size]) => `${site}: ${size} bytes`).join('; '),
  }
}

t.test('requests are answered without allocating', async (t) => {
  const source = fs.mkdtempSync(join(tmpdir(), 'efuse-allocations-'))
  fs.writeFileSync(join(source, 'data'), Buffer.alloc(TRANSFER * 2))
  fs.mkdirSync(join(source, 'dir'))
  for (let i = 0; i < ENTRIES; i++) fs.writeFileSync(join(source, 'dir', `entry-number-${i}`), '')
  const kernel = new ScriptedKernel(new StackFS({ source }))
  await kernel.init()
  const file = await kernel.lookup(1, 'data')
  const dir = await kernel.lookup(1, 'dir')
  const handle = Number((await kernel.open(file.nodeid, native.constants.O_RDWR)).fh)
  const listing = Number((await kernel.opendir(dir.nodeid)).fh)
  const dispatcher = kernel.dispatcher
  const block = native.allocate(PAYLOAD + TRANSFER)
  const exchange = new Exchange(block, SMALL_REPLIES, PAYLOAD)
  const fileId = BigInt(file.nodeid)
  const dirId = BigInt(dir.nodeid)
  const read = (fh: number, size: number) => s.fuse_read_in.encode({ fh, offset: 0, size })

  const kinds: Record<string, Kind> = {
    'getattr': { opcode: FuseOpcode.FUSE_GETATTR, nodeid: fileId, args: s.fuse_getattr_in.encode() },
    'lookup': { opcode: FuseOpcode.FUSE_LOOKUP, nodeid: 1n, payload: cstring('data') },
    'lookup of a name that is not there': {
      opcode: FuseOpcode.FUSE_LOOKUP, nodeid: 1n, payload: cstring('nothing'), error: -2,
    },
    'read, 4 KiB': { opcode: FuseOpcode.FUSE_READ, nodeid: fileId, args: read(handle, 4096) },
    'read, 128 KiB': { opcode: FuseOpcode.FUSE_READ, nodeid: fileId, args: read(handle, TRANSFER), parts: 8 },
    'write, 4 KiB': {
      opcode: FuseOpcode.FUSE_WRITE,
      nodeid: fileId,
      args: s.fuse_write_in.encode({ fh: handle, offset: 0, size: 4096 }),
      payload: new Uint8Array(4096),
    },
    'readdirplus': {
      opcode: FuseOpcode.FUSE_READDIRPLUS, nodeid: dirId, args: read(listing, 32768), parts: ENTRIES,
    },
    'readdir': { opcode: FuseOpcode.FUSE_READDIR, nodeid: dirId, args: read(listing, 32768), parts: ENTRIES },
  }
  const header = s.fuse_in_header.at(new Block(block.buffer), 0)
  for (const [name, { opcode, nodeid, args, payload, parts = 1, error = 0 }] of Object.entries(kinds)) {
    block.u8.fill(0, 0, PAYLOAD)
    header.opcode = opcode
    header.unique = 2
    header.nodeid_low = Number(nodeid & 0xffffffffn)
    header.nodeid_high = Number(nodeid >> 32n)
    if (args) block.u8.set(args, ARGS)
    const length = payload?.length ?? 0
    const serve = (times: number) => {
      let ready = true
      for (let i = 0; i < times; i++) {
        // A write's data stay; replies go where names are, and these must be there again.
        if (payload !== undefined) for (let b = 0; b < 8; b++) block.u8[PAYLOAD + b] = payload[b]
        header.len = IN_HEADER_SIZE
        ready = dispatcher.receiveParts(exchange, 0, ARGS, PAYLOAD, length) === Outcome.Ready && ready
      }
      return ready && exchange.error === error
    }
    t.ok(serve(Math.ceil(WARM_UP / parts)), `${name}: is answered`)
    const requests = Math.ceil(REQUESTS / parts)
    let answered = false
    const { total, worst } = await profile(() => { answered = serve(requests) })
    t.ok(answered, `${name}: ${requests} requests are answered`)
    t.comment(`${name}: ${(total / requests).toFixed(4)} bytes a request`)
    t.ok(total / requests / parts < MOST_BYTES, `${name}: allocates next to nothing (${total} bytes; ${worst})`)
  }
  await kernel.shutdown()
  await dispatcher.destroy()
  native.release(block)
  fs.rmSync(source, { recursive: true })
})
