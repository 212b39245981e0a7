// SPDX-License-Identifier: MIT
/**
 * The report's pictures, by Vega-Lite: SVG, and PNG by resvg. Both are loaded here and nowhere else, as nothing but the
 * report needs them.
 */
import type { TopLevelSpec } from 'vega-lite'
import { png } from './png.js'
import { SYSTEMS, type Where } from './systems.js'
import type { Report, Row } from './summary.js'

export interface Plot {
  /** A file's name without its ending. */
  name: string
  suite: string
  where: Where
  title: string
  spec: TopLevelSpec
}

export interface Drawn {
  plot: Plot
  svg: string
  png: Uint8Array
}

/** Okabe and Ito's colours and three of Paul Tol's, which people with any colour vision tell apart. Shapes and dashes say the same. */
const LOOKS: { [system: string]: [colour: string, shape: string, dash: number[]] } = {
  'ext4': ['#888888', 'circle', [1, 0]],
  'fuse': ['#D55E00', 'square', [6, 3]],
  'libfuse': ['#E69F00', 'triangle-up', [1, 0]],
  'libfuse-uring': ['#CC79A7', 'triangle-down', [6, 3]],
  'efuse-server': ['#56B4E9', 'diamond', [1, 0]],
  'efuse': ['#0072B2', 'cross', [1, 0]],
  'efuse-uring': ['#009E73', 'triangle-right', [6, 3]],
  'efuse-module': ['#F0B6D5', 'triangle-right', [8, 2]],
  'efuse-metadata': ['#882255', 'triangle-left', [2, 2]],
  'efuse-data': ['#332288', 'circle', [8, 2, 2, 2]],
}
const FONT = 'DejaVu Sans, Verdana, sans-serif'
const WIDTH = 1100
const MIB = 1 << 20
const LOGARITHMIC = { type: 'quantitative', title: 'microseconds (logarithmic)', axis: { format: ',~r', tickCount: 4 } }

/** What a picture shows of each row. */
interface Metric {
  name: string
  /** With its unit. */
  axis: string
  /** Of numbers on the axis, as d3 has it. */
  format?: string
  of(row: Row): { value: number; min: number; max: number } | null
}

const scaled = (found: { median: number; min: number; max: number } | null, by: number): ReturnType<Metric['of']> =>
  found === null ? null : { value: found.median / by, min: found.min / by, max: found.max / by }

const RATE: Metric = { name: 'rate', axis: 'operations per second', of: (row) => scaled(row.perSecond, 1) }
const THROUGHPUT: Metric = { name: 'throughput', axis: 'MiB per second', of: (row) => scaled(row.bytesPerSecond, MIB) }
const TIME: Metric = { name: 'time', axis: 'milliseconds', of: (row) => scaled(row.p50Ns, 1e6) }
const REQUESTS: Metric = {
  name: 'requests', format: '~g', axis: 'requests to user space per operation',
  of: ({ requests }) => requests === null ? null : { value: requests, min: requests, max: requests },
}

const OF: { [where in Where]: string } = { native: "this machine's kernel", lab: 'the lab, in instruction-time' }

/** All pictures of a report; those that would show nothing are left out. */
export function plots(report: Report): Plot[] {
  return (['native', 'lab'] as const).flatMap((where) => report.suites.flatMap((suite) => halves(suite.loads).flatMap((half) => {
    const rows = report.rows.filter((row) => row.where === where && row.suite === suite.name && row.load.endsWith(half ?? ''))
    const commands = new Set(suite.loads.filter(({ tool }) => tool === 'command').map(({ name }) => name))
    const fio = new Set(suite.loads.filter(({ tool }) => tool === 'fio').map(({ name }) => name))
    const calls = rows.filter(({ load }) => !commands.has(load))
    const jobs = rows.filter(({ load }) => fio.has(load))
    const plot = (name: string, what: string, spec: TopLevelSpec | null): Plot[] => spec === null ? [] : [{
      name: [where, suite.name, name, ...half === null ? [] : [half]].join('-'), suite: suite.name, where,
      title: `${what}${half === null ? '' : `, ${HALVES[half]}`} (${OF[where]})`, spec,
    }]
    return [
      ...plot('rate', 'Operations per second: more is better; lines from the slowest to the fastest round', bars(report, calls, RATE)),
      ...plot('throughput', 'Throughput: more is better', bars(report, jobs, THROUGHPUT)),
      ...plot('latency', 'Time of one operation: left is better', latencies(report, calls)),
      ...plot('commands', 'Commands: shorter is better', bars(report, rows.filter(({ load }) => commands.has(load)), TIME)),
      ...plot('requests', 'Requests that reached user space: fewer is better', suite.name === 'multi-core' ? null
        // Counted of a whole load, its reads and writes together.
        : bars(report, rows.filter(({ system, side }) => system !== 'ext4' && side !== 'write'), REQUESTS, loadTitle)),
      ...plot('scaling', 'Operations per second by jobs', suite.name === 'multi-core' ? scaling(report, jobs) : null),
      ...plot('decisions', "How the data accelerator's reads went, round after round", decisions(report, jobs)),
      ...plot('cdf', 'Share of operations that took no longer', cdf(report, jobs)),
    ]
  })))
}

/** A picture of more loads than this is two. */
const LOADS_AT_ONCE = 16
const HALVES = { buffered: 'buffered', direct: 'with O_DIRECT' }

/** @returns how names of loads end that share a picture; null: all */
function halves(loads: readonly { name: string }[]): (keyof typeof HALVES | null)[] {
  return loads.length > LOADS_AT_ONCE ? ['buffered', 'direct'] : [null]
}

function sort(report: Report, rows: readonly Row[]): string[] {
  const there = new Set(rows.map(({ system }) => system))
  return SYSTEMS.map(({ name }) => name).filter((name) => there.has(name)).map((name) => report.systems[name])
}

function loadTitle(report: Report, { suite, load }: Row): string {
  return report.suites.find(({ name }) => name === suite)!.loads.find(({ name }) => name === load)!.title
}

function panel(report: Report, row: Row): string {
  const { suite, load, side } = row
  const title = loadTitle(report, row)
  const both = report.rows.some((row) => row.suite === suite && row.load === load && row.side !== side)
  return both ? `${title}: ${side}s` : title
}

function look(report: Report, rows: readonly Row[], index: 0 | 1 | 2): { domain: string[]; range: never[] } {
  const there = new Set(rows.map(({ system }) => system))
  const names = SYSTEMS.map(({ name }) => name).filter((name) => there.has(name))
  return { domain: names.map((name) => report.systems[name]), range: names.map((name) => LOOKS[name][index] as never) }
}

/** Facets side by side, as many as fit. */
function facets(
  rows: readonly Row[], report: Report, columns: number, inner: object, values: object[], title = panel,
): TopLevelSpec {
  const width = Math.floor(WIDTH / columns) - 60
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'white',
    data: { values },
    facet: { field: 'panel', type: 'nominal', title: null, sort: [...new Set(rows.map((row) => title(report, row)))],
      header: { labelFontSize: 10.5, labelFontWeight: 'bold', labelLimit: 0 } },
    columns,
    spec: { width, ...inner },
    config: {
      font: FONT,
      axis: { labelFontSize: 10, titleFontSize: 11, titleFontWeight: 'normal', labelLimit: 0, gridColor: '#e5e5e5' },
      legend: { labelFontSize: 11, titleFontSize: 11, orient: 'top', columns: 4, labelLimit: 0, symbolSize: 90 },
      view: { stroke: '#cccccc' },
    },
  } as TopLevelSpec
}

function bars(report: Report, rows: readonly Row[], metric: Metric, title = panel): TopLevelSpec | null {
  const values = rows.flatMap((row) => {
    const found = metric.of(row)
    if (found === null) return []
    const { value, min, max } = found
    return [{ panel: title(report, row), system: report.systems[row.system], value, ...min < max ? { min, max } : {} }]
  })
  if (values.length === 0) return null
  const y = { field: 'system', type: 'nominal', title: null, sort: sort(report, rows) }
  const layers = facets(rows, report, 3, {
    height: { step: 17 },
    layer: [
      { mark: { type: 'bar', height: { band: 0.75 } }, encoding: {
        y, x: { field: 'value', type: 'quantitative', title: metric.axis, axis: { format: metric.format ?? '~s', tickCount: 4 } },
        color: { field: 'system', type: 'nominal', legend: null, scale: look(report, rows, 0) },
      } },
      { mark: { type: 'rule', strokeWidth: 3.5, color: '#ffffff' },
        encoding: { y, x: { field: 'min', type: 'quantitative' }, x2: { field: 'max' } } },
      { mark: { type: 'rule', strokeWidth: 1.5, color: '#000000' },
        encoding: { y, x: { field: 'min', type: 'quantitative' }, x2: { field: 'max' } } },
      { mark: { type: 'tick', thickness: 1.5, size: 7, color: '#000000' }, encoding: { y, x: { field: 'min', type: 'quantitative' } } },
      { mark: { type: 'tick', thickness: 1.5, size: 7, color: '#000000' }, encoding: { y, x: { field: 'max', type: 'quantitative' } } },
    ],
  }, values, title)
  return { ...layers, resolve: { scale: { x: 'independent' } } } as TopLevelSpec
}

function latencies(report: Report, rows: readonly Row[]): TopLevelSpec | null {
  const values = rows.flatMap((row) => ([['p50', row.p50Ns], ['p99', row.p99Ns], ['p99.9', row.p999Ns]] as const)
    .map(([quantile, { median }]) => ({
      panel: panel(report, row), system: report.systems[row.system], quantile, us: median / 1000,
    }))).filter(({ us }) => us > 0)
  if (values.length === 0) return null
  const y = { field: 'system', type: 'nominal', title: null, sort: sort(report, rows) }
  const x = { field: 'us', ...LOGARITHMIC, scale: { type: 'log' } }
  const quantiles = ['p50', 'p99', 'p99.9']
  const layers = facets(rows, report, 3, {
    height: { step: 17 },
    layer: [
      { mark: { type: 'line', strokeWidth: 1, color: '#999999' }, encoding: { y, x, detail: { field: 'system' } } },
      { mark: { type: 'point', filled: true, size: 55, opacity: 1 }, encoding: {
        y, x,
        color: { field: 'quantile', title: null, scale: { domain: quantiles, range: ['#0072B2', '#E69F00', '#D55E00'] } },
        shape: { field: 'quantile', title: null, scale: { domain: quantiles, range: ['circle', 'diamond', 'triangle-up'] } },
      } },
    ],
  }, values)
  return { ...layers, resolve: { scale: { x: 'independent' } } } as TopLevelSpec
}

function cdf(report: Report, rows: readonly Row[]): TopLevelSpec | null {
  const values = rows.flatMap((row) => row.distribution.map(([percent, ns]) => ({
    panel: panel(report, row), system: report.systems[row.system], percent, us: ns / 1000,
  }))).filter(({ us }) => us > 0)
  if (values.length === 0) return null
  const layers = facets(rows, report, 3, {
    height: 150,
    mark: { type: 'line', strokeWidth: 1.6, interpolate: 'monotone' },
    encoding: {
      x: { field: 'us', ...LOGARITHMIC, scale: { type: 'log', nice: false } },
      y: { field: 'percent', type: 'quantitative', title: '% of operations' },
      ...series(report, rows),
      order: { field: 'percent', type: 'quantitative' },
    },
  }, values)
  return { ...layers, resolve: { scale: { x: 'independent' } } } as TopLevelSpec
}

const WAYS = [['maps in the kernel', 'cached', '#0072B2'], ['backing file, in the kernel', 'direct', '#E69F00'],
  ['server', 'passed', '#999999']] as const

function decisions(report: Report, rows: readonly Row[]): TopLevelSpec | null {
  const own = rows.filter((row) => row.decisions !== undefined)
  const values = own.flatMap((row) => row.decisions!.flatMap((one, round) => WAYS.map(([way, name], place) => ({
    panel: panel(report, row), round: round + 1, way, place, reads: one[name],
  }))))
  if (values.length === 0) return null
  const layers = facets(own, report, 3, {
    height: 110,
    mark: 'bar',
    encoding: {
      x: { field: 'round', type: 'ordinal', title: 'round', axis: { labelAngle: 0 } },
      y: { field: 'reads', type: 'quantitative', stack: 'normalize', title: 'share of reads', axis: { format: '%', tickCount: 4 } },
      order: { field: 'place', type: 'quantitative' },
      color: { field: 'way', type: 'nominal', title: null, scale: { domain: WAYS.map(([way]) => way), range: WAYS.map((way) => way[2]) } },
    },
  }, values)
  // One axis for all would stand below empty places of the last line, too.
  return { ...layers, resolve: { axis: { x: 'independent' } } } as TopLevelSpec
}

/** Names are `RW JOBSxDEPTH PLACES CACHE`. */
function scaling(report: Report, rows: readonly Row[]): TopLevelSpec | null {
  const shape = (row: Row): string => `${panel(report, row).replace(/, \d+ jobs?/, '')}`
  const values = rows.map((row) => ({
    panel: shape(row), system: report.systems[row.system], jobs: Number(/ (\d+)x/.exec(row.load)![1]),
    value: row.perSecond.median, min: row.perSecond.min, max: row.perSecond.max,
  }))
  if (values.length === 0) return null
  const x = { field: 'jobs', type: 'ordinal', title: 'jobs at once', axis: { labelAngle: 0 } }
  const y = { field: 'value', type: 'quantitative', title: 'operations per second', axis: { format: '~s', tickCount: 5 } }
  const layers = facets(rows, report, 3, {
    height: 180,
    layer: [
      { mark: { type: 'line', strokeWidth: 1.6 }, encoding: { x, y, ...series(report, rows) } },
      { mark: { type: 'point', filled: true, size: 45, opacity: 1 }, encoding: { x, y, ...series(report, rows) } },
    ],
  }, values) as TopLevelSpec & { facet: { sort?: unknown } }
  delete layers.facet.sort
  return { ...layers, resolve: { scale: { y: 'independent' }, axis: { x: 'independent' } } } as TopLevelSpec
}

function series(report: Report, rows: readonly Row[]): object {
  const of = (index: 0 | 1 | 2): object => ({ field: 'system', type: 'nominal', title: null, scale: look(report, rows, index) })
  return { color: of(0), shape: of(1), strokeDash: of(2) }
}

/**
 * Draws them.
 * @returns a reason instead, where the libraries for it are not installed
 */
export async function draw(all: readonly Plot[]): Promise<Drawn[] | string> {
  let libraries
  try {
    libraries = await Promise.all([import('vega'), import('vega-lite'), import('@resvg/resvg-js')])
  } catch {
    return 'no pictures: install vega, vega-lite and @resvg/resvg-js for them (npm install vega vega-lite @resvg/resvg-js)'
  }
  const [vega, vegaLite, { Resvg }] = libraries
  const drawn: Drawn[] = []
  for (const plot of all) {
    const view = new vega.View(vega.parse(vegaLite.compile(plot.spec).spec), { renderer: 'none' })
    const svg = await view.toSVG()
    view.finalize()
    const { pixels, width, height } = new Resvg(svg, { font: { defaultFontFamily: 'DejaVu Sans' } }).render()
    drawn.push({ plot, svg, png: png(pixels, width, height) })
  }
  return drawn
}
