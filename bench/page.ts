// SPDX-License-Identifier: MIT
/** The report as files: JSON, Markdown, pictures, and one page that needs nothing else. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadSuites } from './loads.js'
import { draw, plots, type Drawn, type Plot } from './plots.js'
import { LAB_SHARE, type Environment, type Report, type Row, type Verdict } from './summary.js'
import type { Spread } from './statistics.js'
import type { Where } from './systems.js'

type Table = { head: string[]; rows: string[][] }
/** What a report says, before it is Markdown or HTML. */
type Part =
  | { heading: string; level: 2 | 3 }
  | { text: string }
  | { list: string[] }
  | { table: Table }
  | { picture: string; title: string }

const PLACES: { [where in Where]: string } = {
  native: "On the machine's own kernel",
  lab: 'In the lab, in instruction-time',
}

/** Others may use so much of the CPUs, and the figures are still those of what was measured. */
const BUSY = 0.05

function number(value: number): string {
  if (value === 0) return '0'
  const size = Math.abs(value)
  return size >= 1000 ? Math.round(value).toLocaleString('en') : Number(value.toPrecision(3)).toString()
}

const us = (ns: number | null | undefined): string => ns === null || ns === undefined ? '-' : number(ns / 1000)
const plain = (value: number | null): string => value === null ? '-' : number(value)
const mib = (bytes: number): string => number(bytes / (1 << 20))
/** Half of what lies between the slowest and the fastest round, of the median. */
const around = ({ median, min, max }: Spread): string => median === 0 ? '' : ` ±${((max - min) / 2 / median * 100).toFixed(0)} %`
const times = (ratio: Spread | null | undefined): string => ratio === null || ratio === undefined ? '-' : `${ratio.median.toFixed(2)}x`

function suiteTable(report: Report, rows: readonly Row[]): Table {
  return {
    head: ['load', 'system', 'op/s', 'MiB/s', 'p50 us', 'p99 us', 'p99.9 us', 'deviation us', 'CPU us/op', 'switches/op',
      'requests/op', 'server reads/op', 'in kernel/op', 'disk reads/op', 'op/s to plain FUSE', 'op/s to ext4'],
    rows: rows.map((row) => [
      row.side === 'operation' ? row.load : `${row.load}, ${row.side}s`, report.systems[row.system],
      `${number(row.perSecond.median)}${around(row.perSecond)}`, row.bytesPerSecond === null ? '-' : mib(row.bytesPerSecond.median),
      us(row.p50Ns.median), us(row.p99Ns.median), us(row.p999Ns.median), us(row.deviationNs?.median), us(row.cpuNs),
      plain(row.switches), plain(row.requests), plain(row.serverReads), plain(row.answered), plain(row.diskReads),
      times(row.toFuse?.perSecond), times(row.toExt4?.perSecond),
    ]),
  }
}

function verdictTable(report: Report, verdicts: readonly Verdict[]): Table {
  return {
    head: ['load', "eFuse's best mode", 'op/s to plain FUSE', 'p50', 'p99', 'deviation', 'op/s to ext4', 'missed'],
    rows: verdicts.map(({ load, side, system, row: { toFuse, toExt4 }, misses }) => [
      `${load}, ${side}s`, report.systems[system], times(toFuse?.perSecond), times(toFuse?.p50), times(toFuse?.p99),
      times(toFuse?.deviation), times(toExt4?.perSecond), misses.length === 0 ? 'nothing' : misses.join(', '),
    ]),
  }
}

function parts(report: Report, pictures: readonly Plot[]): Part[] {
  const { environment: { machine: host, lab, moduleHere }, foreignShare } = report
  const runs = [report.environment, ...report.others ?? []]
  const places = (one: Environment): string => one.guest ? 'The lab' : "The machine's own kernel"
  const busy = foreignShare !== null && foreignShare.median > BUSY
  const found: Part[] = [
    ...(busy ? [{ text: `**These figures are not final**: the machine was busy with other work, which took ` +
      `${(foreignShare.median * 100).toFixed(0)} % of its CPU time. Look at each spread first; do not quote ratios.` }] : []),
    { heading: 'Where and how', level: 2 },
    { list: [
      ...runs.map((run) => `${runs.length > 1 ? `${places(run)}: ` : ''}${about(run)}`),
      ...(report.rows.some(({ where }) => where === 'native') ? [`Other work used ${foreignShare === null ? 'an unknown share'
        : `${(foreignShare.median * 100).toFixed(0)} % (at most ${(foreignShare.max * 100).toFixed(0)} %)`} of the CPUs while the ` +
        "machine's own kernel was measured."] : []),
      'Each system serves a copy of the same data from one ext4, all at the same time. Every round measures each of them once, ' +
        'in alternating order. The data fit into memory and are there (warm); figures are medians of the rounds, ± half of ' +
        'what lies between the slowest and the fastest. Ratios are medians of the ratios within each round.',
      'Before anything is measured, each system reads what was there, writes, reads that back, and the directory that it ' +
        'serves is read: in every size of block, buffered and with O_DIRECT. Wrong data, and there is no report.',
      'With O_DIRECT, ext4 and passthrough go to the disk, a RAM disk in the lab. Servers read and write through the page ' +
        'cache of what they serve, which is in memory: they may be faster than ext4 there.',
      'Names and attributes are kept by the kernel for as long as each system has it by default (libfuse\'s passthrough_hp a ' +
        'day, eFuse a second), but for the suites that say otherwise.',
      `The lab: ${runs.find(({ guest }) => guest)?.lab ?? lab}.`,
    ] },
    { heading: 'What is not measured here, and why', level: 2 },
    { list: [
      ...(host.cpus <= 4 ? [`More than ${host.cpus} CPUs: the machine has no more. How policies for rings compare on more is ` +
        'simulated: `node dist/bench/balance.js`.'] : []),
      'NVMe, bare metal: the machine is a virtual one, its disk another\'s. Data are in memory, so that it does not matter; ' +
        'O_DIRECT of ext4 alone reads the disk.',
      ...(moduleHere ? [] : ['efuse.ko at its own speed: this kernel takes no modules. The lab has it, and counts instructions: ' +
        'figures there compare with each other, not with those of the machine\'s own kernel, and say nothing about waiting, ' +
        'caches of the CPU, or CPUs that work at once.']),
      ...notInLab(report),
      ...report.absent.map(({ where, suite, system, why }) =>
        `${system} in ${suite} (${where === 'lab' ? 'the lab' : "the machine's own kernel"}): ${why}.`),
    ] },
  ]
  for (const where of ['native', 'lab'] as const) {
    const own = report.verdicts.filter((verdict) => verdict.where === where)
    if (own.length === 0) continue
    found.push(
      { heading: `The mission's three loads: ${where === 'native' ? "the machine's own kernel" : 'the lab'}`, level: 2 },
      { text: 'Aims: reads of up to 32K at 3 times the rate of plain FUSE or more; p50, p99 and standard deviation lower ' +
        '(below 1.00x) for reads and writes; buffered at least 0.80x of ext4, with O_DIRECT above it.' },
      { table: verdictTable(report, own) })
    const missed = own.filter(({ misses }) => misses.length > 0)
    if (missed.length > 0) {
      found.push({ text: 'What is missed, and why, as far as the figures show it:' },
        { list: missed.map(({ load, side, misses, cause }) => `**${load}, ${side}s** (${misses.join(', ')}): ${cause}.`) })
    }
  }
  for (const where of ['native', 'lab'] as const) {
    if (!report.rows.some((row) => row.where === where)) continue
    found.push({ heading: PLACES[where], level: 2 })
    for (const { name, title } of report.suites) {
      const rows = report.rows.filter((row) => row.where === where && row.suite === name)
      if (rows.length === 0) continue
      found.push({ heading: `${name}: ${title}`, level: 3 })
      for (const plot of pictures) {
        if (plot.where === where && plot.suite === name) found.push({ picture: plot.name, title: plot.title })
      }
      found.push({ table: suiteTable(report, inOrder(report, rows)) })
    }
  }
  return found
}

/** Loads that the lab could do and that nobody had it do, where it did some. */
function notInLab({ rows, environment }: Report): string[] {
  const done = new Set(rows.filter(({ where }) => where === 'lab').map(({ suite, load }) => `${suite}/${load}`))
  if (done.size === 0) return []
  const could = loadSuites(environment.machine.cpus).filter(({ where }) => where.includes('lab'))
    .map(({ name, loads }) => ({ name, loads: loads.filter(({ nativeOnly }) => nativeOnly !== true) }))
  const lacking = could.flatMap(({ name, loads }) => {
    const without = loads.filter((load) => !done.has(`${name}/${load.name}`)).length
    return without === 0 ? [] : [`${without} of ${loads.length} loads of ${name}`]
  })
  return lacking.length === 0 ? [] : [`In the lab: ${lacking.join(', ')}. ` +
    'The run was not asked for them, or was ended before: each takes minutes there.']
}

/** What a run was made with. */
function about({ machine: host, settings, versions, started, guest }: Environment): string {
  const named = (all: { [name: string]: string }): string => Object.entries(all).map(([name, version]) => `${name} ${version}`).join(', ')
  return `${host.cpu}, ${host.cpus} CPUs, ${number(host.memoryBytes / 2 ** 30)} GiB; Linux ${host.kernel}; Node ${host.node}; ` +
    `eFuse ${[host.commit, ...Object.keys(versions).length > 0 ? [named(versions)] : []].join('; ')}. ` +
    `${guest ? `In the guest: ${named(guest)}. ` : ''}` +
    `Begun ${started.join(', gone on ')}. ${settings.rounds} rounds, ${settings.seconds} s for each load on each system in each` +
    `${guest ? `; in the guest ${settings.seconds / LAB_SHARE} s of its time` : ''}.`
}

/** By load, then side, then system, as their tables have them. */
function inOrder(report: Report, rows: readonly Row[]): Row[] {
  const systems = Object.keys(report.systems)
  const loads = report.suites.flatMap((suite) => suite.loads.map(({ name }) => `${suite.name}/${name}`))
  const place = (row: Row): number =>
    loads.indexOf(`${row.suite}/${row.load}`) * 1000 + (row.side === 'write' ? 100 : 0) + systems.indexOf(row.system)
  return [...rows].sort((a, b) => place(a) - place(b))
}

/** @param folder where pictures are, seen from the text */
export function markdown(report: Report, pictures: readonly Plot[], folder: string, ending: 'svg' | 'png' = 'svg'): string {
  const row = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  const lines = parts(report, pictures).map((part) => {
    if ('heading' in part) return `${'#'.repeat(part.level)} ${part.heading}`
    if ('text' in part) return part.text
    if ('list' in part) return part.list.map((one) => `* ${one}`).join('\n')
    if ('picture' in part) return `![${part.title}](${folder}/${part.picture}.${ending})`
    const { head, rows } = part.table
    return [row(head), `|${'---|'.repeat(head.length)}`, ...rows.map(row)].join('\n')
  })
  return ['# eFuse: what was measured', 'Generated by `efuse bench`; not edited by hand. [benchmarks.md](benchmarks.md) says ' +
    'what each figure means.', ...lines].join('\n\n') + '\n'
}

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;max-width:1160px;margin:2em auto;padding:0 1em;color:#1a1a1a;background:#fff}
h1,h2,h3{line-height:1.25}h2{margin-top:2em;border-bottom:1px solid #ccc}figure{margin:1.5em 0;overflow-x:auto}
figcaption{font-weight:600;margin-bottom:.4em}.table{overflow-x:auto}table{border-collapse:collapse;font-size:12.5px}
th,td{border:1px solid #ddd;padding:2px 7px;text-align:right;white-space:nowrap}th{background:#f3f3f3}
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2),.words th:last-child,.words td:last-child{text-align:left}
nav a{margin-right:1em}
svg{max-width:100%;height:auto}summary{cursor:pointer;font-weight:600;margin:.5em 0}`

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll(/`([^`]*)`/g, '<code>$1</code>')
    .replaceAll(/\*\*([^*]*)\*\*/g, '<b>$1</b>')

/** One page that names nothing outside itself. */
export function html(report: Report, pictures: readonly Drawn[]): string {
  const anchors: string[] = []
  const body = parts(report, pictures.map(({ plot }) => plot)).map((part) => {
    if ('heading' in part) {
      const id = `part-${anchors.length}`
      if (part.level === 2) anchors.push(`<a href="#${id}">${escaped(part.heading)}</a>`)
      return `<h${part.level}${part.level === 2 ? ` id="${id}"` : ''}>${escaped(part.heading)}</h${part.level}>`
    }
    if ('text' in part) return `<p>${escaped(part.text)}</p>`
    if ('list' in part) return `<ul>${part.list.map((one) => `<li>${escaped(one)}</li>`).join('')}</ul>`
    if ('picture' in part) {
      const { svg } = pictures.find(({ plot }) => plot.name === part.picture)!
      return `<figure><figcaption>${escaped(part.title)}</figcaption>${svg}</figure>`
    }
    const { head, rows } = part.table
    const words = head.includes('missed')
    const heads = head.map((cell) => `<th>${escaped(cell)}</th>`).join('')
    const table = `<div class="table${words ? ' words' : ''}"><table><thead><tr>${heads}</tr></thead><tbody>` +
      `${rows.map((cells) => `<tr>${cells.map((cell) => `<td>${escaped(cell)}</td>`).join('')}</tr>`).join('\n')}` +
      '</tbody></table></div>'
    return words ? table : `<details><summary>All figures</summary>${table}</details>`
  })
  return `<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">` +
    `<title>eFuse: what was measured</title><style>${STYLE}</style></head><body><h1>eFuse: what was measured</h1>` +
    `<nav>${anchors.join('')}</nav>${body.join('\n')}</body></html>\n`
}

/** Writes report.json, report.md, report.html and pictures. @returns what to tell */
export async function writeReport(report: Report, out: string): Promise<string[]> {
  writeFileSync(join(out, 'report.json'), `${JSON.stringify(report)}\n`)
  const drawn = await draw(plots(report))
  const pictures = typeof drawn === 'string' ? [] : drawn
  mkdirSync(join(out, 'pictures'), { recursive: true })
  for (const { plot, svg, png } of pictures) {
    writeFileSync(join(out, 'pictures', `${plot.name}.svg`), svg)
    writeFileSync(join(out, 'pictures', `${plot.name}.png`), png)
  }
  writeFileSync(join(out, 'report.md'), markdown(report, pictures.map(({ plot }) => plot), 'pictures'))
  writeFileSync(join(out, 'report.html'), html(report, pictures))
  return [...typeof drawn === 'string' ? [drawn] : [], `the report: ${join(out, 'report.html')}`]
}
