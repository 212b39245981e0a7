// SPDX-License-Identifier: MIT
/**
 * What has passed of a share that takes hours: remembered outside the repository, as long as nothing that decides about it has
 * changed, so that a run goes on where one before was ended.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
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
 * Runs what has not passed before, one after another, and says on the console where it is.
 * @param common what decides whether any of them passes: files and folders
 * @param perform runs one; says whether it passed
 */
export async function runRemembered<R extends Run>(
  t: Test, runs: readonly R[], common: readonly string[], perform: (run: R) => Promise<boolean>,
): Promise<void> {
  const { stdout: version } = await chroot('cat', '/etc/efuse-lab-kernel')
  const all = hash(kernel, version, process.version, ...common.flatMap(contents))
  mkdirSync(RECORDS, { recursive: true })
  for (const [index, run] of runs.entries()) {
    const { title, command, sources } = run
    const where = `${index + 1} of ${runs.length}: ${title}`
    const record = join(RECORDS, hash(all, command, ...sources.flatMap(contents)).slice(0, 32))
    if (existsSync(record)) {
      process.stderr.write(`kernel: ${where}: passed ${readFileSync(record, 'utf8').trim()}\n`)
      t.pass(`${title}: passed before`)
      continue
    }
    process.stderr.write(`kernel: ${where} ...\n`)
    const started = Date.now()
    const passed = await perform(run)
    const seconds = Math.round((Date.now() - started) / 1000)
    process.stderr.write(`kernel: ${where}: ${passed ? 'passed' : 'FAILED'} in ${seconds} s\n`)
    if (passed) writeFileSync(record, `${new Date().toISOString()} in ${seconds} s: ${title}\n`)
  }
}
