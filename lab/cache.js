// SPDX-License-Identifier: MIT
/**
 * Things that take minutes to make are kept outside the repository, in $XDG_CACHE_HOME/efuse/lab, each in a folder
 * named by a hash of what it was made from. A folder appears by renaming, when it is complete; who wants what another
 * process is just making waits for it.
 */
import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, renameSync, statSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { cacheFolder } from '../scripts/debian-source.js'

const cache = cacheFolder('lab')

/** Folders that nobody has used for this long are removed when another of their kind is made. */
const KEPT_MS = 3 * 24 * 3600 * 1000

/** Says on stderr what the lab is doing: its steps take from seconds to minutes. */
export function progress(message) {
  process.stderr.write(`lab: ${message}\n`)
}

function hash(...inputs) {
  const sum = createHash('sha256')
  for (const input of inputs) sum.update(String(Buffer.byteLength(input))).update(':').update(input)
  return sum.digest('hex').slice(0, 16)
}

/** Waits for a lock that ends with this process, whatever ends it. @returns what releases it */
async function lock(file) {
  const holder = spawn('flock', [file, 'sh', '-c', 'echo held; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  await new Promise((resolve, reject) => {
    holder.on('error', reject)
    holder.on('exit', (status) => reject(new Error(`flock ${file} ended with ${status}`)))
    holder.stdout.once('data', resolve)
  })
  return () => holder.stdin.end()
}

/** Removes a folder, and nothing of what may be mounted in it. */
function remove(folder) {
  execFileSync('rm', ['-rf', '--one-file-system', folder])
}

/**
 * A folder of the cache, made now unless it is there.
 *
 * @param {string} kind what it is; one word
 * @param {string[]} inputs all that decides what is in it
 * @param {(folder: string) => Promise<void>} make fills an empty folder
 * @returns {Promise<string>} its path
 */
export async function cached(kind, inputs, make) {
  const name = `${kind}-${hash(...inputs)}`
  const folder = join(cache, name)
  if (use(folder)) return folder
  mkdirSync(cache, { recursive: true })
  const release = await lock(join(cache, `${kind}.lock`))
  try {
    if (use(folder)) return folder
    // Under the lock, what is unfinished was left by somebody who was ended.
    for (const left of readdirSync(cache)) {
      const path = join(cache, left)
      if (!left.startsWith(`${kind}-`)) continue
      if (left.endsWith('.unfinished') || Date.now() - statSync(path).mtimeMs > KEPT_MS) {
        remove(path)
      }
    }
    const unfinished = `${folder}.unfinished`
    mkdirSync(unfinished)
    const started = Date.now()
    try {
      await make(unfinished)
    } catch (error) {
      remove(unfinished)
      throw error
    }
    renameSync(unfinished, folder)
    progress(`${kind}: made in ${Math.round((Date.now() - started) / 1000)} s`)
    return folder
  } finally {
    release()
  }
}

/** Whether it is there; if so it counts as used now. */
function use(folder) {
  if (!existsSync(folder)) return false
  const now = new Date()
  utimesSync(folder, now, now)
  return true
}
