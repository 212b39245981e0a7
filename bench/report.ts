// SPDX-License-Identifier: MIT
/** Results as rows with verdicts, and as Markdown. */
import type { Cell } from './client.js'
import type { Load, Machine } from './machine.js'
import type { RivalOutcome } from './rivals.js'
import type { Startup } from './startup.js'
import { median, meets, ratios, spread, type Spread } from './statistics.js'
import { STARTUP, type Metric, type Row, type Suite } from './targets.js'

export interface MeasurementResult {
  /** Cells by variant, then round; null where a run failed, with the reason in `failures`. */
  cells: Record<string, (Cell | null)[]>
  /** Requests per operation by variant, counted by the kernel. */
  requests: Record<string, number | null>
}

export interface SuiteResult {
  name: string
  title: string
  variants: Record<string, { command: string[] | null; absent?: string }>
  measurements: Record<string, MeasurementResult>
  rows: RowResult[]
}

export interface RowResult extends Row {
  /** Per-round ratios, subject to rival; null where a side is missing. */
  ratio: Spread | null
  /** Medians of the two sides: nanoseconds, or operations per second, or (gain) a ratio. */
  values: [number, number] | null
  met: boolean | null
}

export interface Results {
  when: string
  options: Record<string, unknown>
  machine: Machine
  load: { before: Load; after: Load; foreignShare: Spread | null }
  rivals: RivalOutcome[]
  /** Whether the figures may be quoted; otherwise why not. */
  final: boolean
  caveats: string[]
  failures: string[]
  suites: SuiteResult[]
  startup: Startup | null
}

function value(metric: Metric, cell: Cell): number | null {
  switch (metric) {
    case 'p50': return cell.p50Ns
    case 'p99': return cell.p99Ns
    case 'p999': return cell.p999Ns
    case 'cpu': return cell.serverCpuNs
    case 'throughput':
    case 'gain': return cell.perSecond
  }
}

/** The values of a row's side, by round. */
function series(suite: SuiteResult, row: Row, variant: string): (number | null)[] {
  const of = (measurement: string): (number | null)[] =>
    (suite.measurements[measurement]?.cells[variant] ?? [])
      .map((cell) => cell === null ? null : value(row.metric, cell))
  const values = of(row.measurement)
  if (row.over === undefined) return values
  const base = of(row.over)
  return values.map((many, round) => {
    const one = base[round] ?? null
    return many === null || one === null || one === 0 ? null : many / one
  })
}

export function judge(suite: SuiteResult, rows: Suite['rows']): RowResult[] {
  return rows.map((row) => {
    const subject = series(suite, row, row.subject)
    const rival = series(suite, row, row.rival)
    const found = ratios(subject, rival)
    if (found.length === 0) return { ...row, ratio: null, values: null, met: null }
    const ratio = spread(found)
    const present = (values: (number | null)[]): number => median(values.filter((one): one is number => one !== null))
    return {
      ...row,
      ratio,
      values: [present(subject), present(rival)],
      met: row.target === null ? null : meets(ratio.median, row.sense, row.target),
    }
  })
}

export function markdown(results: Results): string {
  const { machine: host, load: { before, after, foreignShare } } = results
  const others = foreignShare === null ? 'an unknown share' :
    `${percent(foreignShare.median)} of the CPUs (at most ${percent(foreignShare.max)})`
  const reasons = [...results.failures, ...results.caveats].join('; ')
  const lines = [
    `# eFuse benchmarks, ${results.when}`,
    '',
    `${host.cpu}, ${host.cpus} CPUs, Linux ${host.kernel}, Node ${host.node}, eFuse ${host.commit}.`,
    `Load ${before.average1.toFixed(2)} before, ${after.average1.toFixed(2)} after; others meanwhile used ${others}.`,
    ...results.rivals.map((rival) =>
      `Rival ${rival.name}${'absent' in rival ? ` is absent: ${rival.absent}` : `: ${rival.version}`}`),
    '',
    results.final ? 'These results are final.' : `**These results are not final**: ${reasons}.`,
  ]
  for (const suite of results.suites) lines.push('', ...suiteTable(suite))
  if (results.startup !== null) lines.push('', ...startupTable(results.startup))
  return lines.join('\n')
}

function suiteTable(suite: SuiteResult): string[] {
  const lines = [`## ${suite.name}: ${suite.title}`, '']
  for (const [name, { absent }] of Object.entries(suite.variants)) {
    if (absent !== undefined) lines.push(`${name} is absent: ${absent}`, '')
  }
  lines.push('| measurement | metric | eFuse | rival | ratio (min..max, MAD) | target | met |')
  lines.push('|---|---|---|---|---|---|---|')
  for (const row of suite.rows) {
    const target = row.target === null ? '-' : `${row.sense === 'atMost' ? '≤' : '≥'} ${row.target.toFixed(2)}`
    const what = `| ${row.measurement} | ${row.metric}`
    if (row.ratio === null || row.values === null) {
      lines.push(`${what} | ${row.subject}: - | ${row.rival}: - | - | ${target} | absent |`)
      continue
    }
    const { median: middle, min, max, mad } = row.ratio
    const [own, other] = row.values.map((one) => show(row.metric, one))
    const met = row.met === null ? '-' : row.met ? 'yes' : '**no**'
    lines.push(`${what} | ${row.subject}: ${own} | ${row.rival}: ${other} | ` +
      `${middle.toFixed(2)} (${min.toFixed(2)}..${max.toFixed(2)}, ${mad.toFixed(2)}) | ${target} | ${met} |`)
  }
  lines.push('', ...detailTable(suite))
  return lines
}

/** Every variant of a suite, with what explains its figures. */
function detailTable(suite: SuiteResult): string[] {
  const lines = [
    '| measurement | variant | p50 us | p99 us | p999 us | op/s | server CPU us/op | switches/op | requests/op |',
    '|---|---|---|---|---|---|---|---|---|',
  ]
  for (const [name, { cells, requests }] of Object.entries(suite.measurements)) {
    for (const [variant, rounds] of Object.entries(cells)) {
      const good = rounds.filter((cell): cell is Cell => cell !== null)
      if (good.length === 0) continue
      const middle = (of: (cell: Cell) => number | null): number | null => {
        const values = good.map(of).filter((one): one is number => one !== null)
        return values.length === 0 ? null : median(values)
      }
      const us = (ns: number | null): string => ns === null ? '-' : (ns / 1000).toFixed(2)
      const switches = middle(({ server, count }) =>
        server === null || count === 0 ? null : (server.voluntarySwitches + server.involuntarySwitches) / count)
      const fields = [
        name, variant,
        us(middle((cell) => cell.p50Ns)), us(middle((cell) => cell.p99Ns)), us(middle((cell) => cell.p999Ns)),
        Math.round(middle((cell) => cell.perSecond)!), us(middle((cell) => cell.serverCpuNs)),
        switches?.toFixed(2) ?? '-', requests[variant]?.toFixed(2) ?? '-',
      ]
      lines.push(`| ${fields.join(' | ')} |`)
    }
  }
  return lines
}

function startupTable({ mountToAnswerMs, rivalMs, workerBytes }: Startup): string[] {
  const line = (what: string, unit: string, found: Spread | null, target: number | null, scale = 1): string => {
    const aim = target === null ? '-' : `≤ ${target} ${unit}`
    if (found === null) return `| ${what} | - | ${aim} | absent |`
    const [middle, min, max] = [found.median, found.min, found.max].map((one) => one / scale)
    const met = target === null ? '-' : meets(middle, 'atMost', target) ? 'yes' : '**no**'
    return `| ${what} | ${middle.toFixed(1)} ${unit} (${min.toFixed(1)}..${max.toFixed(1)}) | ${aim} | ${met} |`
  }
  const mib = 1 << 20
  return [`## ${STARTUP.name}: ${STARTUP.title}`, '', '| what | measured | target | met |', '|---|---|---|---|',
    line('`efuse mount` to first answer', 'ms', mountToAnswerMs, STARTUP.mountToAnswerMs),
    line('passthrough_hp to first answer', 'ms', rivalMs, null),
    line('each further worker', 'MiB', workerBytes, STARTUP.workerBytes / mib, mib)]
}

function show(metric: Metric, one: number): string {
  if (metric === 'gain') return `${one.toFixed(2)}x`
  if (metric === 'throughput') return `${Math.round(one)}/s`
  return `${(one / 1000).toFixed(2)} us`
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`
}
