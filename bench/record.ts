// SPDX-License-Identifier: MIT
/**
 * What a run has found so far: a file of JSON lines, so that one that was interrupted goes on where it was. The first
 * line says what the others were measured with; entries of another machine or other settings don't mix.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, truncateSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Counted, Entry, Key, Measured } from './measured.js'

const VERSION = 1

function id({ where, suite, load, system }: Key, round: number): string {
  return JSON.stringify([where, suite, load, system, round])
}

export class RunRecord {
  readonly entries: Entry[] = []
  private readonly known = new Set<string>()
  /** When each part of it was started. */
  readonly started: string[] = []

  private constructor(private readonly path: string | null) {}

  /**
   * Opens a record, or starts it.
   * @param settings what makes figures comparable
   * @throws Error when the record was made with other settings
   */
  static open(path: string, settings: unknown): RunRecord {
    const record = new RunRecord(path)
    const first = JSON.stringify({ version: VERSION, settings })
    if (existsSync(path)) {
      const text = readFileSync(path, 'utf8')
      // The last line may have been cut off.
      const whole = text.slice(0, text.lastIndexOf('\n') + 1)
      const [head, ...lines] = whole.split('\n').slice(0, -1)
      if (head !== first) {
        throw new Error(`${path} was begun with other settings, another version or another kernel: ` +
          'remove it, or give another --out')
      }
      truncateSync(path, Buffer.byteLength(whole))
      for (const line of lines) record.read(JSON.parse(line) as Entry | { started: string })
    } else {
      mkdirSync(dirname(path), { recursive: true })
      appendFileSync(path, `${first}\n`)
    }
    const now = new Date().toISOString()
    record.started.push(now)
    appendFileSync(path, `${JSON.stringify({ started: now })}\n`)
    return record
  }

  /** A record that nobody keeps. */
  static inMemory(): RunRecord {
    return new RunRecord(null)
  }

  private read(entry: Entry | { started: string }): void {
    // What failed or was absent is tried again.
    if ('started' in entry) this.started.push(entry.started)
    else if (entry.round >= -1) this.keep(entry)
  }

  private keep(entry: Entry): void {
    this.known.add(id(entry, entry.round))
    this.entries.push(entry)
  }

  has(key: Key, round: number): boolean {
    return this.known.has(id(key, round))
  }

  add(entry: Entry): void {
    if (entry.round >= 0 && this.known.has(id(entry, entry.round))) return
    this.keep(entry)
    if (this.path !== null) appendFileSync(this.path, `${JSON.stringify(entry)}\n`)
  }

  get failures(): string[] {
    return this.entries.flatMap((entry) => 'failure' in entry
      ? [`${entry.where}, ${entry.suite}, ${entry.load}, ${entry.system}: ${entry.failure}`] : [])
  }

  /** Rounds of one load on one system; null where a round is missing. */
  rounds(key: Key): (Measured | null)[] {
    const found: (Measured | null)[] = []
    for (const entry of this.entries) {
      if ('measured' in entry && id(entry, 0) === id(key, 0)) found[entry.round] = entry.measured
    }
    return Array.from(found, (one) => one ?? null)
  }

  counted(key: Key): Counted | null {
    for (const entry of this.entries) if ('counted' in entry && id(entry, 0) === id(key, 0)) return entry.counted
    return null
  }

  /** All keys that have a round, in the order in which they came. */
  keys(): Key[] {
    const seen = new Map<string, Key>()
    for (const entry of this.entries) if ('measured' in entry) seen.set(id(entry, 0), entry)
    return [...seen.values()].map(({ where, suite, load, system }) => ({ where, suite, load, system }))
  }
}
