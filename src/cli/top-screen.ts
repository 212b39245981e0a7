// SPDX-License-Identifier: MIT
/**
 * The screen of `efuse top`, drawn with Ink: lines of spans, cut to the terminal's size.
 *
 * It keeps one line free at the bottom: Ink clears the whole screen when it is filled, which flickers.
 */
import { Box, Text, useApp, useInput, useStdout } from 'ink'
import { createElement as h, useEffect, useReducer, useRef, useState, type ReactElement } from 'react'
import type { MountEntry } from '../mount/mountinfo.js'
import {
  shortNumber, shortTime, sorted, sparkline, viewOf, type MountView, type OperationRow, type SortKey,
} from './top-model.js'
import { LoadSource, type Sample } from './top-source.js'

export interface TopOptions {
  source: LoadSource
  /** The mount to show; null: all that are there. */
  entry: MountEntry | null
  /** Seconds between two looks. */
  interval: number
  /** Whether the terminal knows more than ASCII. */
  unicode: boolean
  /** Told why it ends when nobody asked it to. */
  onEnd: (reason: string) => void
}

interface Style {
  bold?: boolean
  dim?: boolean
  color?: string
  inverse?: boolean
}
interface Span extends Style { text: string }
type Line = readonly Span[]

/** The first look after the start comes sooner: nobody likes an empty screen. */
const FIRST_INTERVAL = 400
const LEAST_COLUMNS = 60
const LEAST_ROWS = 14
/** A request that takes longer is worth a line of its own, nanoseconds. */
const LONG = 1e9
const HISTORY = 200
const FULL_WIDTH = 80

interface Column {
  key: SortKey
  title: string
  width: number
  text: (row: OperationRow) => string
  alarm?: (row: OperationRow) => boolean
}

const COLUMNS: readonly Column[] = [
  { key: 'requests', title: 'REQ/S', width: 7, text: (row) => shortNumber(row.requests) },
  { key: 'errors', title: 'ERR/S', width: 7, text: (row) => shortNumber(row.errors), alarm: (row) => row.errors > 0 },
  { key: 'bytesIn', title: 'IN/S', width: 7, text: (row) => shortNumber(row.bytesIn) },
  { key: 'bytesOut', title: 'OUT/S', width: 7, text: (row) => shortNumber(row.bytesOut) },
  { key: 'mean', title: 'MEAN', width: 7, text: (row) => shortTime(row.mean) },
  { key: 'p50', title: 'P50', width: 7, text: (row) => shortTime(row.p50) },
  { key: 'p99', title: 'P99', width: 7, text: (row) => shortTime(row.p99) },
  { key: 'service', title: 'SERVICE', width: 8, text: (row) => shortTime(row.service) },
  { key: 'total', title: 'TOTAL', width: 7, text: (row) => shortNumber(row.total) },
]
const KEYS: readonly SortKey[] = ['name', ...COLUMNS.map(({ key }) => key)]

export function Top({ source, entry, interval, unicode, onEnd }: TopOptions): ReactElement {
  const { exit } = useApp()
  const { columns, rows } = useTerminalSize()
  const before = useRef(new Map<number, Sample>())
  const history = useRef(new Map<number, number[]>())
  const [views, setViews] = useState<ReadonlyMap<number, MountView>>(new Map())
  const [key, setKey] = useState<SortKey>('requests')
  const [reverse, toggleReverse] = useReducer((value: boolean) => !value, false)
  const [paused, togglePause] = useReducer((value: boolean) => !value, false)
  const [chosen, setChosen] = useState<number | null>(entry?.id ?? null)
  /** A mount, not a row: others come and go above it. */
  const [marked, setMarked] = useState<number | null>(null)
  const stopped = useRef(false)
  stopped.current = paused

  useEffect(() => {
    let timer: NodeJS.Timeout | undefined
    let over = false
    let wait = FIRST_INTERVAL
    const look = async (): Promise<void> => {
      if (!stopped.current) {
        const present = LoadSource.mounts()
        const entries = entry === null ? present : present.filter(({ id }) => id === entry.id)
        if (entry !== null && entries.length === 0) {
          onEnd(`${entry.mountpoint} is not mounted any more`)
          exit()
          return
        }
        const samples = await source.sample(entries)
        if (over) return
        setViews(new Map(samples.map((sample) => {
          const { id } = sample.entry
          const view = viewOf(sample, before.current.get(id) ?? null)
          const past = history.current.get(id) ?? []
          if (before.current.has(id)) past.push(view.total.requests)
          history.current.set(id, past.slice(-HISTORY))
          return [id, view]
        })))
        before.current = new Map(samples.map((sample) => [sample.entry.id, sample]))
      }
      if (over) return
      timer = setTimeout(() => void look().catch(failed), wait)
      wait = interval * 1000
    }
    const failed = (error: unknown): void => exit(error instanceof Error ? error : new Error(String(error)))
    void look().catch(failed)
    return () => {
      over = true
      clearTimeout(timer)
    }
  }, [])

  const list = [...views]
  const shown = chosen === null ? undefined : views.get(chosen)
  const cursor = Math.max(0, list.findIndex(([id]) => id === marked))
  const mark = (row: number): void => setMarked(list[Math.min(Math.max(0, row), list.length - 1)]?.[0] ?? null)
  useInput((input, pressed) => {
    const step = (by: number): void => setKey(KEYS[(KEYS.indexOf(key) + by + KEYS.length) % KEYS.length])
    if (input === 'q' || (pressed.ctrl && input === 'c')) exit()
    else if (pressed.leftArrow || input === '<') step(-1)
    else if (pressed.rightArrow || input === '>') step(1)
    else if (input === 'r') toggleReverse()
    else if (input === 'p') togglePause()
    else if (pressed.upArrow) mark(cursor - 1)
    else if (pressed.downArrow) mark(cursor + 1)
    else if (pressed.return && entry === null && shown === undefined) setChosen(list[cursor]?.[0] ?? null)
    else if ((pressed.escape || pressed.backspace) && entry === null) setChosen(null)
  })

  if (columns < LEAST_COLUMNS || rows < LEAST_ROWS) {
    return h(Text, null, `the terminal is too small: ${columns}x${rows}, at least ${LEAST_COLUMNS}x${LEAST_ROWS}`)
  }
  const height = rows - 1
  const lines = shown !== undefined
    ? mountLines(shown, { columns, height: height - 1, key, reverse, unicode, refused: source.refused,
      history: history.current.get(chosen!) ?? [] })
    : listLines(list.map(([, view]) => view), { columns, height: height - 1, cursor, unicode, refused: source.refused })
  const keys: [string, string][] = [
    ['q', 'quit'],
    ...(shown === undefined
      ? [['up down', 'choose'], ['enter', 'look at it']] as [string, string][]
      : [['left right', 'sort by'], ['r', 'reverse'], ...(entry === null ? [['esc', 'all mounts']] as [string, string][] : [])] as
        [string, string][]),
    ['p', paused ? 'go on' : 'pause'],
  ]
  const footer: Line = keys.flatMap(([name, what]) => [
    { text: ` ${name} `, inverse: true }, { text: ` ${what}  ` },
  ]).concat(paused ? [{ text: 'PAUSED', bold: true, color: 'yellow' } as Span] : [])
  while (lines.length < height - 1) lines.push([])
  return h(Box, { flexDirection: 'column', width: columns, height },
    ...[...lines.slice(0, height - 1), footer].map((line, index) => lineElement(line, index)))
}

function lineElement(line: Line, index: number): ReactElement {
  if (line.length === 0) return h(Text, { key: index }, ' ')
  return h(Text, { key: index, wrap: 'truncate' },
    ...line.map(({ text, dim, ...style }, span) => h(Text, { key: span, dimColor: dim ?? false, ...style }, text)))
}

function useTerminalSize(): { columns: number; rows: number } {
  const { stdout } = useStdout()
  const [size, setSize] = useState({ columns: stdout.columns, rows: stdout.rows })
  useEffect(() => {
    const resized = (): void => setSize({ columns: stdout.columns, rows: stdout.rows })
    stdout.on('resize', resized)
    return () => { stdout.off('resize', resized) }
  }, [stdout])
  return size
}

// One mount --------------------------------------------------------------------------------------

interface MountLayout {
  columns: number
  height: number
  key: SortKey
  reverse: boolean
  unicode: boolean
  refused: string | null
  history: readonly number[]
}

function mountLines(view: MountView, layout: MountLayout): Line[] {
  const { columns, height, unicode, refused, history } = layout
  const head = headLines(view, { columns, unicode, refused, history })
  const side = sideBySide(cpuLines(view, unicode), workerLines(view), Math.floor(columns / 2))
  const makers = makerLines(view)
  const old = view.flights.filter(({ age }) => age > LONG)
  const flights = old.slice(0, 3).map(({ operation, nodeid, process, age }): Line => [
    { text: `${operation.replace('FUSE_', '')} `, bold: true, color: 'red' },
    { text: `under way for ${shortTime(age)}, inode ${nodeid}, ` },
    { text: process === 0 ? 'in the background' : `process ${process}` },
  ])
  // The table of operations gets what the others leave, and at least a third.
  const least = Math.min(view.operations.length + 1, Math.max(4, Math.floor((height - head.length) / 3)))
  let room = height - head.length - least - 1
  const take = (block: Line[], atLeast: number): Line[] => {
    if (block.length < 2 || room < atLeast + 1) return []
    const taken = block.slice(0, room - 1)
    room -= taken.length + 1
    return [[], ...taken]
  }
  const below: Line[] = []
  if (flights.length > 0 && room > flights.length) {
    below.push([], ...flights)
    room -= flights.length + 1
  }
  below.push(...take(side.slice(0, Math.max(3, Math.floor(height / 4))), 2))
  below.push(...take(ringLines(view).slice(0, Math.max(3, Math.floor(height / 4))), 2))
  below.push(...take(makers.slice(0, Math.max(4, Math.floor(height / 4))), 2))
  return [...head, [], ...operationLines(view, layout, height - head.length - 1 - below.length), ...below]
}

function headLines(view: MountView, { columns, unicode, refused, history }: {
  columns: number; unicode: boolean; refused: string | null; history: readonly number[]
}): Line[] {
  const { total } = view
  const dash = unicode ? ' · ' : ' - '
  const observer = view.observer === 'kernel'
    ? `eBPF${dash}${view.timing === 'all' ? 'every request timed' : 'a twentieth of them timed'}`
    : view.observer === 'server' ? `no eBPF${dash}the server's own account` : 'nothing known'
  const channel = view.rings === null ? [] : [view.rings === 'uring' ? 'io_uring' : '/dev/fuse',
    `${view.workers.length} worker${view.workers.length === 1 ? '' : 's'}`]
  const first = justified(`efuse top  ${view.mountpoint}`, observer, columns)
  const rate = [
    { text: shortNumber(total.requests).padStart(6), bold: true }, { text: ' req/s  ' },
    { text: shortNumber(total.errors).padStart(5), bold: true, color: total.errors > 0 ? 'red' : undefined },
    { text: ' err/s  ' },
    { text: shortNumber(total.bytesIn).padStart(5), bold: true }, { text: ' in/s  ' },
    { text: shortNumber(total.bytesOut).padStart(5), bold: true }, { text: ' out/s  ' },
  ]
  const used = rate.reduce((length, { text }) => length + text.length, 0)
  const underWay = view.waiting ?? view.flights.length
  const facts = [
    `${underWay} under way`,
    ...(view.background ? [`${view.background} of ${view.maxBackground} background`] : []),
    ...(view.pending ? [`${view.pending} awaited`] : []),
    ...(view.forgets > 0 ? [`${shortNumber(view.forgets)} forgets`] : []),
    ...(view.interrupted > 0 ? [`${shortNumber(view.interrupted)} interrupted`] : []),
  ]
  const lines: Line[] = [
    [{ text: first.left, bold: true, color: 'cyan' }, { text: first.right, dim: true }],
    [{ text: [view.source, view.type, ...channel].join(dash), dim: true }],
    [...rate, { text: sparkline(history, Math.max(0, columns - used), unicode), color: 'green' }],
    [
      { text: '  p50 ' }, { text: shortTime(total.p50).padEnd(7), bold: true },
      { text: 'p99 ' }, { text: shortTime(total.p99).padEnd(7), bold: true },
      ...(total.service === null ? [] : [
        { text: 'service ' }, { text: shortTime(total.service).padEnd(7), bold: true },
        ...(total.queued === null ? [] : [{ text: 'queued ' }, { text: shortTime(total.queued).padEnd(7), bold: true }]),
      ]),
      { text: facts.join(dash), dim: true },
    ],
  ]
  if (refused !== null) lines.push([{ text: refused, color: 'yellow' }])
  return lines
}

function justified(left: string, right: string, width: number): { left: string; right: string } {
  const space = width - left.length - right.length
  if (space >= 2) return { left: left + ' '.repeat(space), right }
  return { left: left.length > width - 1 ? left.slice(0, width - 1) : left, right: '' }
}

function operationLines(view: MountView, { columns, key, reverse, unicode }: MountLayout, height: number): Line[] {
  const hits: Column[] = view.operations.some((row) => row.hits !== null)
    ? [{ key: 'total', title: 'HITS', width: 6, text: (row) => row.hits === null ? '-' : `${Math.round(row.hits * 100)}%` }]
    : []
  const wanted = [...COLUMNS, ...hits]
  const nameWidth = (fitting: readonly Column[]) => columns - fitting.reduce((sum, { width }) => sum + width, 0)
  // The least telling ones go first where the screen is narrow.
  const order: SortKey[] = ['total', 'bytesIn', 'bytesOut', 'mean']
  let fitting = wanted
  for (const narrow of order) {
    if (nameWidth(fitting) >= 16) break
    fitting = fitting.filter((column) => column.key !== narrow || column.title === 'HITS')
  }
  const room = Math.min(nameWidth(fitting), 20)
  const arrow = unicode ? (reverse ? '▲' : '▼') : (reverse ? '^' : 'v')
  const title = (text: string, active: boolean): Span => ({ text, bold: true, inverse: active })
  const head: Line = [
    title(`OPERATION${key === 'name' ? arrow : ''}`.padEnd(room), key === 'name'),
    ...fitting.map((column) => {
      const active = column.key === key && column.title !== 'HITS'
      return title(`${column.title}${active ? arrow : ''}`.padStart(column.width), active)
    }),
  ]
  const rows = sorted(view.operations, key, reverse)
  const fits = rows.length <= height - 1 ? rows.length : Math.max(0, height - 2)
  const lines: Line[] = rows.slice(0, fits).map((row) => {
    const quiet = row.requests === 0
    return [
      { text: row.name.replace('FUSE_', '').slice(0, room - 1).padEnd(room), bold: !quiet, dim: quiet },
      ...fitting.map((column): Span => {
        const alarm = column.alarm?.(row) ?? false
        return { text: column.text(row).padStart(column.width), dim: quiet, color: alarm ? 'red' : undefined }
      }),
    ]
  })
  if (rows.length > fits) lines.push([{ text: `${rows.length - fits} more`, dim: true }])
  if (rows.length === 0) lines.push([{ text: 'no requests yet', dim: true }])
  return [head, ...lines]
}

function cpuLines({ cpus }: MountView, unicode: boolean): Line[] {
  if (cpus.length === 0) return []
  const highest = Math.max(...cpus.map(({ requests }) => requests), 1e-9)
  const bar = 12
  return [
    [{ text: 'CPU   REQ/S    MEAN', bold: true }],
    ...cpus.map(({ cpu, requests, mean }): Line => [
      { text: `${String(cpu).padStart(3)} ${shortNumber(requests).padStart(7)} ${shortTime(mean).padStart(7)}  ` },
      { text: (unicode ? '█' : '#').repeat(Math.round(requests / highest * bar)).padEnd(bar), color: 'green' },
    ]),
  ]
}

function workerLines({ workers }: MountView): Line[] {
  if (workers.length === 0) return []
  return [
    [{ text: 'WORKER  CPU  SERVES       REQ/S AWAITED', bold: true }],
    ...workers.map(({ index, cpu, serves, requests, pending }): Line => [{
      text: `${String(index).padStart(6)}  ${(cpu < 0 ? 'any' : String(cpu)).padStart(3)}  `
        + `${(serves === 'device' ? '/dev/fuse' : 'io_uring').padEnd(9)}  ${shortNumber(requests).padStart(6)} `
        + `${String(pending).padStart(7)}`,
    }]),
  ]
}

function ringLines({ policy, chosen }: MountView): Line[] {
  if (chosen.length === 0) return []
  return [
    [{ text: 'RING   REQ/S OTHERS DEPTH    WAIT    EACH STATE', bold: true }, { text: `    policy ${policy}` }],
    ...chosen.map(({ ring, requests, guests, depth, wait, service, state }): Line => [{
      text: `${String(ring).padStart(4)} ${shortNumber(requests).padStart(7)} ${shortNumber(guests).padStart(6)} `
        + `${String(depth).padStart(5)} ${shortTime(wait).padStart(7)} ${shortTime(service).padStart(7)} ${state}`,
    }]),
  ]
}

function makerLines({ makers }: MountView): Line[] {
  if (makers.length === 0) return []
  return [
    [{ text: 'PROCESS  COMMAND            REQ/S BYTES/S    MEAN', bold: true }],
    ...makers.map(({ process, command, requests, bytes, mean }): Line => [{
      text: `${String(process).padStart(7)}  ${printable(command || '?').slice(0, 16).padEnd(16)} `
        + `${shortNumber(requests).padStart(7)} ${shortNumber(bytes).padStart(7)} ${shortTime(mean).padStart(7)}`,
    }]),
  ]
}

/** A process names itself as it likes: nothing of that may steer the terminal. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?')
}

function sideBySide(left: Line[], right: Line[], width: number): Line[] {
  if (left.length === 0 || right.length === 0) return left.length === 0 ? right : left
  const length = (line: Line) => line.reduce((sum, { text }) => sum + text.length, 0)
  return Array.from({ length: Math.max(left.length, right.length) }, (_, index) => {
    const here = left[index] ?? []
    return [...here, { text: ' '.repeat(Math.max(1, width - length(here))) }, ...(right[index] ?? [])]
  })
}

// All mounts -------------------------------------------------------------------------------------

function listLines(views: readonly MountView[], { columns, height, cursor, unicode, refused }: {
  columns: number; height: number; cursor: number; unicode: boolean; refused: string | null
}): Line[] {
  const width = Math.max(16, columns - (FULL_WIDTH - 22))
  const lines: Line[] = [
    [{ text: 'efuse top  ', bold: true, color: 'cyan' },
      { text: `${views.length} FUSE mount${views.length === 1 ? '' : 's'}`, dim: true }],
    ...(refused === null ? [] : [[{ text: refused, color: 'yellow' }]]),
    [],
    [{ text: `  ${'MOUNTPOINT'.padEnd(width)} ${'TYPE'.padEnd(13)}${'REQ/S'.padStart(7)}${'ERR/S'.padStart(7)}`
      + `${'P50'.padStart(7)}${'P99'.padStart(7)}${'UNDER WAY'.padStart(11)}`, bold: true }],
  ]
  const room = height - lines.length
  const from = Math.max(0, Math.min(cursor - room + 1, views.length - room))
  views.slice(from, from + room).forEach(({ mountpoint, type, total, waiting, flights }, index) => {
    const name = mountpoint.length > width ? `${unicode ? '…' : '~'}${mountpoint.slice(-(width - 1))}` : mountpoint
    lines.push([{
      text: `${from + index === cursor ? '>' : ' '} ${name.padEnd(width)} ${type.slice(0, 12).padEnd(13)}`
        + `${shortNumber(total.requests).padStart(7)}`
        + `${shortNumber(total.errors).padStart(7)}${shortTime(total.p50).padStart(7)}${shortTime(total.p99).padStart(7)}`
        + `${String(waiting ?? flights.length).padStart(11)}`,
      inverse: from + index === cursor,
    }])
  })
  if (views.length === 0) lines.push([{ text: 'nothing is mounted by FUSE', dim: true }])
  return lines
}
