// SPDX-License-Identifier: MIT
/**
 * Writes a report anew from its JSON, as this version of the benchmarks writes it:
 *
 *   node dist/bench/render.js REPORT.json FOLDER    JSON, Markdown, pictures and page into FOLDER
 *   node dist/bench/render.js --docs                docs/results.md and its pictures from docs/results/report.json
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { markdown, writeReport } from './page.js'
import { draw, plots } from './plots.js'
import type { Report } from './summary.js'
import { ROOT } from './variants.js'

const DOCS = join(ROOT, 'docs')
const FOLDER = 'results'

const [first, out] = process.argv.slice(2)
if (first === '--docs') {
  const report = read(join(DOCS, FOLDER, 'report.json'))
  const drawn = await draw(plots(report))
  if (typeof drawn === 'string') throw new Error(drawn)
  rmSync(join(DOCS, FOLDER, 'pictures'), { recursive: true, force: true })
  mkdirSync(join(DOCS, FOLDER, 'pictures'))
  for (const { plot, png } of drawn) writeFileSync(join(DOCS, FOLDER, 'pictures', `${plot.name}.png`), png)
  writeFileSync(join(DOCS, 'results.md'), markdown(report, drawn.map(({ plot }) => plot), `${FOLDER}/pictures`, 'png'))
} else {
  mkdirSync(out, { recursive: true })
  for (const line of await writeReport(read(first), out)) console.log(line)
}

function read(path: string): Report {
  return JSON.parse(readFileSync(path, 'utf8')) as Report
}
