// SPDX-License-Identifier: MIT
/**
 * What has passed of a share that takes hours: remembered outside the repository, as long as nothing that decides about it has
 * changed, so that a run goes on where one before was ended.
 */
import { createHash } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { lockAlone } from '../../bench/alone.js'
import { chroot, kernel, ROOT } from './lab.js'

const RECORDS = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'efuse', 'kernel-full')

export interface Run {
  title: string
  command: string
  /** What of the repository it is made of, besides what all are: files and folders. */
  sources: readonly string[]
}

function contents(path: string): string[] {
  const full = join(ROOT, path)
  if (!statSync(full).isDirectory()) return [path, readFileSync(full, 'latin1')]
  return readdirSync(full).filter((name) => name !== 'build').sort().flatMap((name) => contents(join(path, name)))
}

function hash(...parts: string[]): string {
  const sum = createHash('sha256')
  for (const part of parts) sum.update(`${part.length}:`).update(part)
  return sum.digest('hex')
}

/**
 * Runs what has not passed before, one after another, and says on the console where it is. Several processes may do so at once:
 * each takes what no other has at that time, and waits for it at the end.
 * @param common what decides whether any of them passes: files and folders
 * @param perform runs one; says whether it passed
 */
export async function runRemembered<R extends Run>(
  t: Test, runs: readonly R[], common: readonly string[], perform: (run: R) => Promise<boolean>,
): Promise<void> {
  const { stdout: version } = await chroot('cat', '/etc/efuse-lab-kernel')
  const all = hash(kernel, version, process.version, ...common.flatMap(contents))
  mkdirSync(RECORDS, { recursive: true })
  const say = (run: R, text: string): void => {
    process.stderr.write(`kernel: ${runs.indexOf(run) + 1} of ${runs.length}: ${run.title}${text}\n`)
  }
  let left = [...runs]
  while (left.length > 0) {
    const others: R[] = []
    for (const run of left) {
      const record = join(RECORDS, hash(all, run.command, ...run.sources.flatMap(contents)).slice(0, 32))
      if (existsSync(record)) {
        say(run, `: passed ${readFileSync(record, 'utf8').trim()}`)
        t.pass(`${run.title}: passed before`)
        continue
      }
      const claim = openSync(`${record}.claim`, 'a')
      try {
        if (!lockAlone(claim)) {
          others.push(run)
          continue
        }
        say(run, ' ...')
        const started = Date.now()
        const passed = await perform(run)
        const seconds = Math.round((Date.now() - started) / 1000)
        say(run, `: ${passed ? 'passed' : 'FAILED'} in ${seconds} s`)
        if (passed) writeFileSync(record, `${new Date().toISOString()} in ${seconds} s: ${run.title}\n`)
        rmSync(`${record}.claim`)
      } finally {
        closeSync(claim)
      }
    }
    left = others
    if (left.length > 0) await sleep(10_000)
  }
}
