// SPDX-License-Identifier: MIT
/**
 * `npm run lint`: types (tsc), and what tsc does not see of our own rules: a licence line first in each source,
 * lines of bearable length, no trailing white space, no paths of one machine, no registry's address.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
/** The aim is 120; nothing may pass this. */
const LONGEST = 140
const sources = /\.(ts|js|mjs|cc|c|h|gyp|sh)$|Makefile$|\.fio$/
/** Test data and text that is not ours. */
const foreign = /^(node_modules|dist|LICENSES)\/|corpus\/|package-lock\.json$/
const forbidden = [
  [/\/work\/(main|shared)\b/, 'a path of one machine'],
  [/https?:\/\/(registry|deb|ftp|mirrors?)\./, "a package registry's address"],
]

/** What git tracks or would track. */
const options = ['ls-files', '--cached', '--others', '--exclude-standard']
const listed = spawnSync('git', options, { cwd: root, encoding: 'utf8' })
const problems = []
for (const name of listed.stdout.split('\n').filter((name) => name !== '' && !foreign.test(name))) {
  let text
  try {
    text = readFileSync(join(root, name), 'utf8')
  } catch {
    continue // deleted, not yet committed
  }
  const lines = text.split('\n')
  const source = sources.test(name)
  if (source) {
    const first = lines[0].startsWith('#!') ? lines[1] : lines[0]
    if (!/^(\/\/|#|\/\*) SPDX-License-Identifier: \S/.test(first ?? '')) problems.push(`${name}:1: no SPDX line first`)
    if (!text.endsWith('\n') && text !== '') problems.push(`${name}: no newline at the end`)
  }
  lines.forEach((line, index) => {
    const place = `${name}:${index + 1}`
    // A test of this rule must be able to name what it forbids.
    for (const [pattern, what] of forbidden) {
      if (pattern.test(line) && name !== 'scripts/lint.js') problems.push(`${place}: ${what}`)
    }
    if (!source) return
    if ([...line].length > LONGEST) problems.push(`${place}: ${[...line].length} characters; at most ${LONGEST}`)
    if (/[ \t]$/.test(line)) problems.push(`${place}: white space at the end`)
  })
}
if (listed.status !== 0) problems.push('git can not list the files')

const types = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '--noEmit', '-p', root], {
  encoding: 'utf8',
})
process.stdout.write(types.stdout ?? '')
problems.forEach((problem) => console.log(problem))
process.exitCode = types.status === 0 && problems.length === 0 ? 0 : 1
