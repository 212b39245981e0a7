// SPDX-License-Identifier: MIT
/** Commands that the lab runs on the host, to their end, and what they depend on. */
import { spawn } from 'node:child_process'
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { basename, join, relative } from 'node:path'

/**
 * Runs a command and returns what it printed.
 *
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, input?: string, line?: (text: string) => void }} options
 *   `line`: called with each line of output as it comes
 * @throws {Error} with the end of its output, when it fails
 */
export function run(command, args, { cwd, env, input, line } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env: env ?? process.env, stdio: ['pipe', 'pipe', 'pipe'] })
    let all = ''
    let stdout = ''
    const read = (stream, output) => {
      let rest = ''
      stream.setEncoding('utf8').on('data', (text) => {
        all += text
        if (output) stdout += text
        const lines = (rest + text).split('\n')
        rest = lines.pop()
        if (line) lines.forEach(line)
      })
    }
    read(child.stdout, true)
    read(child.stderr, false)
    child.on('error', reject)
    child.on('close', (status, signal) => {
      if (status === 0) return resolve(stdout)
      const end = all.trimEnd().split('\n').slice(-40).join('\n')
      reject(new Error(`${command} ended with ${status ?? signal}:\n${end}`))
    })
    child.stdin.on('error', () => {}) // It may end without reading.
    child.stdin.end(input)
  })
}

/** Names and contents of all files below a folder, in order; or of one file. */
export function contents(folder) {
  if (statSync(folder).isFile()) return [basename(folder), readFileSync(folder, 'utf8')]
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort()
    .flatMap((path) => [relative(folder, path), readFileSync(path, 'utf8')])
}
