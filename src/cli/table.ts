// SPDX-License-Identifier: MIT
/** Text in columns: numbers to the right, the rest to the left. */

export type Cell = string | number

export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const lines: (readonly Cell[])[] = head.length > 0 ? [head, ...rows] : [...rows]
  const columns = Math.max(0, ...lines.map((line) => line.length))
  const widths = Array.from({ length: columns }, (_, column) => {
    return Math.max(...lines.map((line) => String(line[column] ?? '').length))
  })
  const isNumber = widths.map((_, column) => head.length > 0 && rows.length > 0
    && rows.every((row) => typeof row[column] === 'number'))
  return lines.map((line) => line.map((cell, column) => {
    return isNumber[column] ? String(cell).padStart(widths[column]) : String(cell).padEnd(widths[column])
  }).join('  ').trimEnd()).join('\n')
}
