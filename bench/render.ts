// SPDX-License-Identifier: MIT
/**
 * Writes a report anew from its JSON, as this version of the benchmarks writes it:
 *
 *   node dist/bench/render.js REPORT FOLDER         JSON, Markdown, pictures and page into FOLDER, from REPORT/report.json
 *   node dist/bench/render.js --docs FOLDER         the same of the runs in docs/results
 *   node dist/bench/render.js --docs                docs/results.md and its pictures from the runs in docs/results
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readReport } from './compare.js'
import { markdown, writeReport } from './page.js'
import { draw, plots } from './plots.js'
import { judged, published } from './published.js'
import { ROOT } from './variants.js'

const DOCS = join(ROOT, 'docs')
const FOLDER = 'results'

const [first, out] = process.argv.slice(2)
if (first === '--docs' && out === undefined) {
  const report = published(ROOT)
  const drawn = await draw(plots(report))
  if (typeof drawn === 'string') throw new Error(drawn)
  rmSync(join(DOCS, FOLDER, 'pictures'), { recursive: true, force: true })
  mkdirSync(join(DOCS, FOLDER, 'pictures'))
  for (const { plot, png } of drawn) writeFileSync(join(DOCS, FOLDER, 'pictures', `${plot.name}.png`), png)
  writeFileSync(join(DOCS, 'results.md'), markdown(report, drawn.map(({ plot }) => plot), `${FOLDER}/pictures`, 'png'))
} else {
  mkdirSync(out, { recursive: true })
  for (const line of await writeReport(first === '--docs' ? published(ROOT) : judged(readReport(first)), out)) console.log(line)
}
