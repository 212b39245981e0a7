// SPDX-License-Identifier: MIT
/** Two runs beside each other: do they agree within the spread that they state themselves? */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Report, Row } from './summary.js'
import type { Spread } from './statistics.js'

export interface Difference {
  row: Pick<Row, 'where' | 'suite' | 'load' | 'system' | 'side'>
  figure: string
  one: Spread
  other: Spread
  /** How far the medians lie apart, and how far they may: parts of the first. */
  apart: number
  allowed: number
}

export interface Comparison {
  /** Figures that both have. */
  compared: number
  /** Those that lie farther apart than is stated, the farthest first. */
  differing: Difference[]
  /** How many rows only one of them has. */
  alone: number
}

/** Reports state whole percents. */
const STATED = 0.01

const FIGURES: { [name: string]: (row: Row) => Spread } = {
  'op/s': (row) => row.perSecond, 'p50': (row) => row.p50Ns, 'p99': (row) => row.p99Ns,
}

const id = ({ where, suite, load, system, side }: Row): string => JSON.stringify([where, suite, load, system, side])

/** Half of what lies between the slowest and the fastest round: the ± of the tables. */
const half = ({ median, min, max }: Spread): number => Math.max((max - min) / 2, STATED * median)

/** Figures agree when their medians lie no farther apart than the rounds of both, added, reach from them. */
export function compare(one: Report, other: Report): Comparison {
  const others = new Map(other.rows.map((row) => [id(row), row]))
  const both = one.rows.filter((row) => others.has(id(row)))
  const all = both.flatMap((row) => Object.entries(FIGURES).map(([figure, of]): Difference => {
    const [a, b] = [of(row), of(others.get(id(row))!)]
    const { where, suite, load, system, side } = row
    return {
      row: { where, suite, load, system, side }, figure, one: a, other: b,
      apart: Math.abs(a.median - b.median) / a.median, allowed: (half(a) + half(b)) / a.median,
    }
  })).filter(({ one: { median } }) => median > 0)
  return {
    compared: all.length,
    differing: all.filter(({ apart, allowed }) => apart > allowed).sort((a, b) => b.apart - a.apart),
    alone: one.rows.length + other.rows.length - 2 * both.length,
  }
}

/** @returns as text, for a terminal or a document */
export function comparison({ compared, differing, alone }: Comparison): string {
  const percent = (part: number): string => `${(part * 100).toFixed(1)} %`
  return [
    `${compared - differing.length} of ${compared} figures agree within the spread that both state` +
      (alone === 0 ? '.' : `; ${alone} rows are in one of the reports only.`),
    ...differing.length === 0 ? [] : ['', '| load | system | figure | apart | stated |', '|---|---|---|---|---|'],
    ...differing.map(({ row: { where, suite, load, system, side }, figure, apart, allowed }) =>
      `| ${where}, ${suite}: ${load}, ${side} | ${system} | ${figure} | ${percent(apart)} | ${percent(allowed)} |`),
  ].join('\n')
}

/** @throws Error where a folder has no report */
export function readReport(folder: string): Report {
  const path = join(folder, 'report.json')
  if (!existsSync(path)) throw new Error(`there is no report in ${folder}: a run that is complete leaves one`)
  return JSON.parse(readFileSync(path, 'utf8')) as Report
}
