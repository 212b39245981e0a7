// SPDX-License-Identifier: MIT
/**
 * Draws how the data accelerator's scheduler decides over time: `node dist/bench/decisions.js LINES FOLDER` reads what
 * test/kernel/guest/data-phases.ts printed in a guest and writes data-phases.svg and data-phases.png.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TopLevelSpec } from 'vega-lite'
import { draw } from './plots.js'

interface Run {
  policy: string
  chunk: number
  chunks: { phase: 'hot' | 'cold'; mean: number; median: number; cached: number; timed: number; mispredicted: number }[]
}

const LOOKS: { [policy: string]: [colour: string, dash: number[]] } = {
  cache: ['#0072B2', [6, 3]], direct: ['#E69F00', [2, 2]], adaptive: ['#000000', [1, 0]],
}
const [lines, folder] = process.argv.slice(2)
const runs = readFileSync(lines, 'utf8').split('\n').filter((line) => line.includes('"policy"'))
  .map((line) => JSON.parse(line.slice(line.indexOf('{'))) as Run)
const adaptive = runs.find(({ policy }) => policy === 'adaptive')!

for (const { policy, chunks } of runs) {
  for (const measure of ['median', 'mean'] as const) {
    const of = (phase: string | null): number => {
      const some = chunks.filter((one) => phase === null || one.phase === phase)
      return Math.round(some.reduce((sum, one) => sum + one[measure], 0) / some.length)
    }
    console.log(`${policy}: chunks' ${measure}s: ${of(null)} ns, hot ${of('hot')}, cold ${of('cold')}`)
  }
}
const total = (name: 'timed' | 'mispredicted'): number => adaptive.chunks.reduce((sum, one) => sum + one[name], 0)
console.log(`adaptive: ${total('mispredicted')} mispredicted of ${total('timed')} timed`)

const x = (title: string | null): object => ({ field: 'request', type: 'quantitative', title, axis: { format: '~s', grid: false } })
const phases = {
  data: { values: adaptive.chunks.flatMap(({ phase }, i) => phase === 'cold'
    ? [{ from: i * adaptive.chunk, to: (i + 1) * adaptive.chunk }] : []) },
  mark: { type: 'rect', color: '#eeeeee' },
  encoding: { x: { field: 'from', type: 'quantitative' }, x2: { field: 'to' } },
}
const policies = runs.map(({ policy }) => policy)
const look = (index: 0 | 1): object => ({
  field: 'policy', type: 'nominal', title: 'policy', scale: { domain: policies, range: policies.map((one) => LOOKS[one][index]) },
})
const spec = {
  $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
  background: 'white',
  title: { text: 'Reads of 4 KiB of one file: over and over from 4 MiB (white), then never the same (grey)', fontSize: 12 },
  vconcat: [
    {
      width: 820, height: 200,
      layer: [phases, {
        data: { values: runs.flatMap(({ policy, chunk, chunks }) => chunks.map(({ median }, i) =>
          ({ policy, request: i * chunk + chunk / 2, median }))) },
        mark: { type: 'line', strokeWidth: 1.5 },
        encoding: {
          x: x(null),
          y: { field: 'median', type: 'quantitative', title: 'median of 500 reads, ns', scale: { zero: false } },
          color: look(0),
          strokeDash: look(1),
        },
      }],
    },
    {
      width: 820, height: 110,
      layer: [phases, {
        data: { values: adaptive.chunks.flatMap(({ cached, mispredicted, timed }, i) => [
          { request: (i + 0.5) * adaptive.chunk, what: 'asked the cache', share: cached / adaptive.chunk },
          { request: (i + 0.5) * adaptive.chunk, what: 'mispredicted', share: timed === 0 ? 0 : mispredicted / timed },
        ]) },
        mark: { type: 'line', strokeWidth: 1.5 },
        encoding: {
          x: x('reads'),
          y: { field: 'share', type: 'quantitative', title: 'share, adaptive', axis: { format: '%', tickCount: 4 } },
          color: {
            field: 'what', type: 'nominal', title: 'adaptive',
            scale: { domain: ['asked the cache', 'mispredicted'], range: ['#0072B2', '#D55E00'] },
          },
        },
      }],
    },
  ],
  resolve: { scale: { color: 'independent', strokeDash: 'independent' } },
  config: { font: 'DejaVu Sans, Verdana, sans-serif' },
} as unknown as TopLevelSpec

const drawn = await draw([{ name: 'data-phases', suite: 'data', where: 'lab', title: 'decisions', spec }])
if (typeof drawn === 'string') throw new Error(drawn)
for (const { plot, svg, png } of drawn) {
  writeFileSync(join(folder, `${plot.name}.svg`), svg)
  writeFileSync(join(folder, `${plot.name}.png`), png)
}
