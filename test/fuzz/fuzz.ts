// SPDX-License-Identifier: MIT
/**
 * The fuzzer: feeds random and damaged requests to a Dispatcher over a file system that answers
 * anything, and over MemFS. It fails when a request throws out of the dispatcher or is never
 * answered, when a reply is one that the kernel would refuse, when anything is written outside the
 * reply's place, or when a reply shows what the memory held before.
 *
 *   node fuzz.js [--seconds 20] [--seed N] [--rounds N] [--only random|memfs] [--crashes FOLDER]
 *
 * Round R of seed S always does the same: a failure names both, and `--seed S+R --rounds 1` repeats it.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { FuseOpcode } from '../../src/protocol/constants.js'
import { type Exchange, IN_HEADER_SIZE, OUT_HEADER_SIZE, REPLY_AREA_SIZE } from '../../src/protocol/exchange.js'
import { MemFS } from '../../src/fs/memfs/index.js'
import type { FileSystem } from '../../src/fs/filesystem.js'
import { malformedVectors, requestVectors } from '../../src/testing/vectors.js'
import { ProtocolViolation, ScriptedKernel } from '../../src/testing/index.js'
import { POISON, Random } from './random.js'
import { randomFileSystem } from './random-file-system.js'
import { Known, makeRequest, mutate } from './requests.js'

const ROUND_REQUESTS = 1024
const MAX_PAGES = 4
/** Longer than this no answer may take, seconds. */
const PATIENCE = 20

interface Subject {
  readonly name: 'random' | 'memfs'
  make(random: Random): FileSystem
  /** Opcodes that would end the subject. */
  readonly without: ReadonlySet<number>
  /** Broken content rules that are not the subject's fault. */
  readonly excused: RegExp
}

/** What follows from creating names that a kernel never sends: '', '.', '..', and those with a slash. */
const IMPOSSIBLE_NAMES = /a name with a slash|a name of 0 bytes|"\." and "\.\."/

const SUBJECTS: readonly Subject[] = [
  { name: 'random', make: randomFileSystem, without: new Set(), excused: /^/ },
  {
    name: 'memfs',
    make: () => new MemFS({ maxBytes: 1 << 20, maxInodes: 1000 }),
    without: new Set([FuseOpcode.FUSE_DESTROY]),
    excused: IMPOSSIBLE_NAMES,
  },
]

/** Why a round failed, and on what. */
class Failure extends Error {
  constructor(readonly why: unknown, readonly message_: Uint8Array | null) {
    super(String(why instanceof Error ? why.stack : why))
  }
}

/** The damage that a handler's run could have done to memory around its reply. */
function checkMemory(exchange: Exchange, message: Uint8Array, blank: Uint8Array): void {
  const { u8 } = exchange.block
  const untouched = (start: number, end: number) => {
    if (start < end && Buffer.compare(u8.subarray(start, end), blank.subarray(start, end)) !== 0) {
      const at = u8.subarray(start, end).findIndex((byte) => byte !== POISON) + start
      throw new Error(`byte ${at} was written; request at ${exchange.header}, ${message.length} bytes, `
        + `reply at ${exchange.reply}, ${exchange.replyLength} bytes`)
    }
  }
  const { header } = exchange
  const end = header + message.length
  const answered = message.length >= IN_HEADER_SIZE && exchange.operation?.reply !== 'none'
  const bulk = exchange.replyCapacity !== REPLY_AREA_SIZE - OUT_HEADER_SIZE
  const dataStart = bulk ? exchange.block.length - exchange.replyCapacity : exchange.block.length
  const failed = exchange.error !== 0
  const replyEnd = exchange.reply + exchange.replyLength
  // Between the two areas nobody has business.
  untouched(REPLY_AREA_SIZE, header)
  if (!answered) untouched(0, REPLY_AREA_SIZE)
  else if (!bulk) untouched(failed ? REPLY_AREA_SIZE : replyEnd, REPLY_AREA_SIZE)
  else if (!failed) untouched(0, REPLY_AREA_SIZE)
  untouched(end, bulk ? dataStart - OUT_HEADER_SIZE : exchange.block.length)
  if (answered && bulk && !failed) {
    // A handler may have filled the room that it was offered and then answered less.
    const { capacity } = exchange.replies[exchange.opcode] as { capacity: number }
    untouched(Math.max(end, replyEnd, exchange.reply + capacity), exchange.block.length)
  }
  const untilReply = (bulk && !failed ? exchange.reply - OUT_HEADER_SIZE : dataStart) - header
  const kept = Math.min(message.length, untilReply)
  if (Buffer.compare(u8.subarray(header, header + kept), message.subarray(0, kept)) !== 0) throw new Error('the request was written over')
}

const LEAK = Buffer.alloc(4, POISON)

async function round(seed: number, subject: Subject, corpus: readonly Uint8Array[]): Promise<number> {
  const random = new Random(seed)
  const known = new Known()
  const messages = new Map<object, Uint8Array>()
  let current: Uint8Array = new Uint8Array(0)
  let blank: Uint8Array = new Uint8Array(0)
  const kernel = await ScriptedKernel.start(subject.make(random), {
    maxPages: MAX_PAGES,
    minor: random.pick([31, 33, 36, 40, 46]),
    onPrepare(block) {
      if (blank.length !== block.length) blank = new Uint8Array(block.length).fill(POISON)
      block.u8.set(blank)
      messages.set(block, current)
    },
    onAnswered(exchange) {
      const message = messages.get(exchange.block)!
      if (message.length > 0) checkMemory(exchange, message, blank)
    },
  })
  let count = 0
  while (count < ROUND_REQUESTS) {
    const batch: { message: Uint8Array; reply: Promise<Uint8Array> }[] = []
    for (let i = 1 + random.below(48); i > 0; i--) {
      let message = random.chance(0.8) ? makeRequest(random, known, subject.without) : random.pick(corpus)
      if (random.chance(0.3)) message = mutate(random, message)
      message = message.slice(0, 3 * 4096)
      if (message.length >= 8 && subject.without.has(new DataView(message.buffer).getUint32(4, true))) continue
      current = message
      const reply = kernel.deliver(message)
      // Looked at in turn, below; until then a failure is not unhandled.
      reply.catch(() => {})
      batch.push({ message, reply })
      count++
    }
    current = new Uint8Array(0)
    await settle(batch, subject, known)
  }
  if (kernel.inFlightCount !== 0 || kernel.dispatcher.pendingCount !== 0) throw new Failure('requests are left unanswered', null)
  return count
}

async function settle(
  batch: readonly { message: Uint8Array; reply: Promise<Uint8Array> }[], subject: Subject, known: Known,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const patience = new Promise<'late'>((resolve) => { timer = setTimeout(resolve, PATIENCE * 1000, 'late') })
  for (const { message, reply } of batch) {
    const result = await Promise.race([reply, patience]).catch((error: unknown) => {
      if (error instanceof ProtocolViolation && error.kind === 'content' && subject.excused.test(error.rule)) return null
      throw new Failure(error, message)
    })
    if (result === 'late') throw new Failure(`no answer within ${PATIENCE} seconds`, message)
    if (result === null) continue
    if (Buffer.from(result.buffer, result.byteOffset, result.length).includes(LEAK)) {
      throw new Failure(`the reply shows what memory held before: ${Buffer.from(result).toString('hex')}`, message)
    }
    learn(message, result, known)
  }
  clearTimeout(timer)
}

/** Remembers nodeids and handles that a reply gave out. */
function learn(message: Uint8Array, reply: Uint8Array, known: Known): void {
  const view = new DataView(reply.buffer, reply.byteOffset, reply.length)
  if (reply.length < 32 || view.getInt32(4, true) !== 0) return
  const opcode = new DataView(message.buffer, message.byteOffset).getUint32(4, true)
  const ENTRIES: readonly number[] = [
    FuseOpcode.FUSE_LOOKUP, FuseOpcode.FUSE_MKNOD, FuseOpcode.FUSE_MKDIR, FuseOpcode.FUSE_SYMLINK, FuseOpcode.FUSE_CREATE,
    FuseOpcode.FUSE_TMPFILE,
  ]
  if (ENTRIES.includes(opcode)) known.add(known.nodeids, view.getBigUint64(16, true))
  if (opcode === FuseOpcode.FUSE_OPEN || opcode === FuseOpcode.FUSE_OPENDIR) known.add(known.handles, view.getBigUint64(16, true))
  if (opcode === FuseOpcode.FUSE_CREATE && reply.length === 160) known.add(known.handles, view.getBigUint64(144, true))
}

/** The kept requests: one a file, hexadecimal, `#` begins a comment. */
function readCorpus(): Uint8Array[] {
  // From dist/test/fuzz back to the sources, where the corpus is.
  const folder = fileURLToPath(new URL('../../../test/fuzz/corpus/', import.meta.url))
  const kept = readdirSync(folder).filter((name) => name.endsWith('.hex')).map((name) => {
    const text = readFileSync(join(folder, name), 'utf8').replace(/#.*/g, '').replace(/\s+/g, '')
    return Uint8Array.from(Buffer.from(text, 'hex'))
  })
  return [...kept, ...requestVectors.map(({ request }) => request), ...malformedVectors.map(({ request }) => request)]
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '20' },
      seed: { type: 'string' },
      rounds: { type: 'string' },
      only: { type: 'string' },
      crashes: { type: 'string', default: 'build/fuzz-crashes' },
    },
  })
  const seed = Number(values.seed ?? Date.now() % 1_000_000_000)
  const rounds = values.rounds === undefined ? Infinity : Number(values.rounds)
  const until = Date.now() + Number(values.seconds) * 1000
  const subjects = SUBJECTS.filter(({ name }) => values.only === undefined || values.only === name)
  const corpus = readCorpus()
  console.log(`fuzz: seed ${seed}, ${corpus.length} kept requests, ${subjects.map(({ name }) => name).join(' and ')}`)

  const fail = (error: unknown, at: number, subject: Subject) => {
    const input = error instanceof Failure ? error.message_ : null
    const hex = input === null ? '' : Buffer.from(input).toString('hex')
    console.error(`fuzz: FAILED over ${subject.name}; repeat with --seed ${at} --rounds 1 --only ${subject.name}`)
    console.error(error instanceof Error ? error.stack : error)
    if (hex) console.error(`input: ${hex}`)
    mkdirSync(values.crashes, { recursive: true })
    const file = join(values.crashes, `${subject.name}-${at}.hex`)
    writeFileSync(file, `# seed ${at}, over ${subject.name}\n# ${String(error).split('\n')[0]}\n${hex}\n`)
    console.error(`saved: ${file}`)
    process.exit(1)
  }

  let requests = 0
  let done = 0
  let subject = subjects[0]
  const stray = (error: unknown) => fail(error, seed + done, subject)
  process.on('uncaughtException', stray)
  process.on('unhandledRejection', stray)
  while (done < rounds && (Date.now() < until || rounds !== Infinity)) {
    for (subject of subjects) {
      try {
        requests += await round(seed + done, subject, corpus)
      } catch (error) {
        fail(error, seed + done, subject)
      }
    }
    done++
  }
  console.log(`fuzz: ${requests} requests in ${done} rounds, no failure`)
}

await main()
