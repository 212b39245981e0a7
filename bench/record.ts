// SPDX-License-Identifier: MIT
/**
 * What a run has found so far: a file of JSON lines, so that one that was interrupted goes on where it was. The first
 * line says what the others were measured with; entries of another machine or other settings don't mix.
 */
import { appendFileSync, closeSync, mkdirSync, openSync, readFileSync, truncateSync } from 'node:fs'
import { dirname } from 'node:path'
import { lockAlone } from './alone.js'
import type { Counted, Entry, Key, Line, Measured } from './measured.js'

const VERSION = 1

function id({ where, suite, load, system }: Key, round: number): string {
  return JSON.stringify([where, suite, load, system, round])
}

export class RunRecord {
  readonly entries: Entry[] = []
  private readonly known = new Set<string>()
  /** When each part of it was started. */
  readonly started: string[] = []
  /** What the lab's guest said of itself. */
  guest: { [name: string]: string } | null = null

  private constructor(private readonly write: (line: string) => void, private readonly file: number | null = null) {}

  /**
   * Opens a record, or starts it. It is ours until this process ends.
   * @param settings what makes figures comparable
   * @throws Error when the record was made with other settings, or another process writes it
   */
  static open(path: string, settings: unknown): RunRecord {
    mkdirSync(dirname(path), { recursive: true })
    const first = JSON.stringify({ version: VERSION, settings })
    const file = openSync(path, 'a')
    if (!lockAlone(file)) throw new Error(`another efuse bench writes ${path}`)
    const record = new RunRecord((line) => appendFileSync(file, `${line}\n`), file)
    const text = readFileSync(path, 'utf8')
    if (text !== '') {
      // The last line may have been cut off.
      const whole = text.slice(0, text.lastIndexOf('\n') + 1)
      const [head, ...lines] = whole.split('\n').slice(0, -1)
      if (head !== first) {
        throw new Error(`${path} was begun with other settings, another version or another kernel: ` +
          'remove it, or give another --out')
      }
      truncateSync(path, Buffer.byteLength(whole))
      for (const line of lines) record.read(JSON.parse(line) as Line)
    } else {
      record.write(first)
    }
    const now = new Date().toISOString()
    record.started.push(now)
    record.write(JSON.stringify({ started: now }))
    return record
  }

  /**
   * A record that no file keeps.
   * @param known rounds that count as done
   * @param write takes each line that is added
   */
  static inMemory(known: readonly (Key & { round: number })[] = [], write: (line: string) => void = () => {}): RunRecord {
    const record = new RunRecord(write)
    for (const one of known) record.known.add(id(one, one.round))
    return record
  }

  /** Lets others write it. */
  close(): void {
    if (this.file !== null) closeSync(this.file)
  }

  private read(line: Line): void {
    // What failed or was absent is tried again.
    if ('started' in line) this.started.push(line.started)
    else if ('guest' in line) this.guest = line.guest
    else if (line.round >= -1) this.keep(line)
  }

  /** Takes over a line of another record: of a guest's. */
  take(line: Line): void {
    if ('guest' in line) {
      this.guest = line.guest
      this.write(JSON.stringify(line))
    } else if (!('started' in line)) {
      this.add(line)
    }
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
    this.write(JSON.stringify(entry))
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
