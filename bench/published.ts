// SPDX-License-Identifier: MIT
/** The report of docs/results.md: of the runs whose reports are committed. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { readReport } from './compare.js'
import { joined, verdicts, type Report } from './summary.js'

/** One folder of docs/results for each run. */
const RUNS = ['native', 'lab']

export function published(root: string): Report {
  const folders = RUNS.map((name) => join(root, 'docs', 'results', name))
  return joined(folders.filter((path) => existsSync(path)).map((path) => judged(readReport(path))))
}

/** As this version of the benchmarks judges what was measured. */
export function judged(report: Report): Report {
  return { ...report, verdicts: verdicts(report.rows, report.environment) }
}
