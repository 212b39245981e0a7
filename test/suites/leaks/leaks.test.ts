// SPDX-License-Identifier: MIT
/**
 * A server that has seen a million names looks like one that has seen a few: memory and open files flat,
 * everything forgotten that the kernel forgot, and nothing left after umount.
 */
import { closeSync, openSync, readdirSync, readFileSync, unlinkSync, writeFileSync, lstatSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { needRoot, patience, share, standOn, target } from '../ground.js'

// Every step has its own limit; the file as a whole has none.
t.setTimeout(0)

needRoot()
const NAMES = { small: 3000, ci: 30_000, full: 1_000_000 }[share]!
/** What a garbage-collected server may vary by, whatever it served. */
const SLACK_KIB = 24 * 1024

interface Footprint {
  rssKib: number
  files: number
  threads: number
}

function footprint(pid: number): Footprint {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)![1])
  return { rssKib: field('VmRSS'), files: readdirSync(`/proc/${pid}/fd`).length, threads: field('Threads') }
}

/**
 * Makes the kernel forget all it may, and returns what the server is left with: a recently used name needs more
 * than one call, and FORGETs come later than it returns. So: until it has no effect any more.
 */
async function forgetAll(pid: number): Promise<Footprint> {
  let last = footprint(pid)
  for (let calm = 0; calm < 5;) {
    writeFileSync('/proc/sys/vm/drop_caches', '2')
    await setTimeout(200)
    const now = footprint(pid)
    calm = now.files < last.files ? 0 : calm + 1
    last = now
  }
  return last
}

function createAndDelete(directory: string, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    const path = join(directory, `file.${i}`)
    closeSync(openSync(path, 'wx'))
    unlinkSync(path)
  }
}

function lookUpMissing(directory: string, from: number, to: number): void {
  for (let i = from; i < to; i++) lstatSync(join(directory, `missing.${i}`), { throwIfNoEntry: false })
}

/** Names that exist: each look-up gives the kernel a reference that only a FORGET takes back. */
function lookUpPresent(source: string, directory: string, from: number, to: number): void {
  for (let i = from; i < to; i++) writeFileSync(join(source, `present.${i}`), '')
  for (let i = from; i < to; i++) lstatSync(join(directory, `present.${i}`))
  for (let i = from; i < to; i++) unlinkSync(join(source, `present.${i}`))
}

t.test('many names leave no trace', { timeout: 7_200_000 * patience }, async (t) => {
  if (target !== undefined) return void t.pass('a plain directory has no server to leak')
  // Entries that time out at once: what the client then sees is always the source as it is.
  const ground = await standOn(t, { options: 'allow_other,default_permissions,entry_timeout=0' })
  const { directory, pid } = ground
  const source = ground.source!
  const round = (from: number, to: number): void => {
    createAndDelete(directory, from, to)
    lookUpMissing(directory, from, to)
    // In batches, so that the source never holds a million files.
    for (let i = from; i < to; i += 10_000) lookUpPresent(source, directory, i, Math.min(i + 10_000, to))
  }
  // Caches of the server (compiled code, table growth) fill during the first rounds.
  const warmUp = Math.min(NAMES / 3, 20_000)
  round(0, warmUp)
  round(warmUp, 2 * warmUp)
  const before = await forgetAll(pid!)
  round(2 * warmUp, 2 * warmUp + NAMES)
  const after = await forgetAll(pid!)
  t.comment(JSON.stringify({ before, after }))
  const held = `${before.files}, then ${after.files}`
  t.ok(after.files <= before.files + 16, `the server holds no more files open than before: ${held}`)
  t.equal(after.threads, before.threads, 'and runs as many threads')
  t.ok(after.rssKib <= before.rssKib + SLACK_KIB, `its memory stays: ${before.rssKib} KiB, then ${after.rssKib} KiB`)
  const { operations } = await ground.report()
  const count = (name: string): number => operations[name]?.count ?? 0
  t.ok(count('FUSE_CREATE') >= NAMES, 'the creates reached the server')
  t.ok(count('FUSE_LOOKUP') >= 2 * NAMES, 'the look-ups reached the server')
  t.ok(count('FUSE_FORGET') + count('FUSE_BATCH_FORGET') > 0, 'the kernel forgot')
  t.same(readdirSync(source), [], 'nothing is left in the source')
  await ground.leave()
})
