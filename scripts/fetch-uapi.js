#!/usr/bin/env node
// SPDX-License-Identifier: MIT
/**
 * Gets the newest `linux/fuse.h` that Debian has, for the layout checks, and prints its path.
 *
 * It is unpacked from linux-libc-dev of Debian's newest suites into a folder of its own
 * ($XDG_CACHE_HOME/efuse/uapi). The system's packages and apt's state stay untouched: apt runs
 * with a private configuration, made from the machine's own sources (mirror and keys) with the
 * suites replaced. A copy that is less than a week old is used again.
 *
 *   node scripts/fetch-uapi.js [--refresh]
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

// experimental has release candidates of kernels, and sid the newest release.
const SUITES = ['experimental', 'sid']
const PACKAGE = 'linux-libc-dev'
const MAX_AGE_MS = 7 * 24 * 3600 * 1000

const folder = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'efuse', 'uapi')
const header = join(folder, 'unpacked', 'usr', 'include', 'linux', 'fuse.h')

/** The machine's first source of Debian's main archive: mirror and keyring. */
function machineSource() {
  const sources = ['/etc/apt/sources.list', ...list('/etc/apt/sources.list.d')].filter((file) => existsSync(file))
  const candidates = sources.flatMap((file) => (file.endsWith('.sources') ? deb822(file) : oneLine(file)))
  // Security and backports archives may lie elsewhere; the main one has the plain suite.
  const codename = /VERSION_CODENAME=(\w+)/.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
  const found = candidates.find(({ suites }) => suites.includes(codename)) ?? candidates[0]
  if (found === undefined) throw new Error('this machine has no Debian sources')
  return found
}

function list(directory) {
  return existsSync(directory) ? readdirSync(directory).sort().map((name) => join(directory, name)) : []
}

function deb822(file) {
  return readFileSync(file, 'utf8').split(/\n\s*\n/).flatMap((stanza) => {
    const text = stanza.replace(/^#.*\n?/gm, '')
    const field = (name) => new RegExp(`^${name}:\\s*(.*)$`, 'mi').exec(text)?.[1].trim()
    if (!field('Types')?.includes('deb') || field('Enabled') === 'no') return []
    return [{ uri: field('URIs').split(/\s+/)[0], suites: field('Suites').split(/\s+/), signedBy: field('Signed-By') }]
  })
}

function oneLine(file) {
  return [...readFileSync(file, 'utf8').matchAll(/^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)/gm)].map(([, options, uri, suite]) => ({
    uri, suites: [suite], signedBy: /signed-by=(\S+)/.exec(options ?? '')?.[1],
  }))
}

function fetch() {
  const { uri, signedBy } = machineSource()
  rmSync(folder, { recursive: true, force: true })
  for (const name of ['lists/partial', 'archives/partial', 'sources.list.d', 'unpacked']) mkdirSync(join(folder, name), { recursive: true })
  const options = signedBy?.startsWith('/') ? `[signed-by=${signedBy}] ` : ''
  writeFileSync(join(folder, 'sources.list'), SUITES.map((suite) => `deb ${options}${uri} ${suite} main\n`).join(''))
  writeFileSync(join(folder, 'status'), '')
  writeFileSync(join(folder, 'apt.conf'), [
    `Dir::Etc::SourceList "${join(folder, 'sources.list')}";`,
    `Dir::Etc::SourceParts "${join(folder, 'sources.list.d')}";`,
    'Dir::Etc::Preferences "/dev/null";',
    'Dir::Etc::PreferencesParts "/dev/null";',
    `Dir::State::Lists "${join(folder, 'lists')}";`,
    `Dir::State::status "${join(folder, 'status')}";`,
    `Dir::Cache "${folder}";`,
    `Dir::Cache::archives "${join(folder, 'archives')}";`,
    'Acquire::Languages "none";',
    'Acquire::Retries "3";',
    // Root's apt would otherwise hand the work to a user that can't write here.
    'APT::Sandbox::User "root";',
    '',
  ].join('\n'))
  const apt = (command, ...rest) => execFileSync(command, ['-q', ...rest], {
    cwd: folder, env: { ...process.env, APT_CONFIG: join(folder, 'apt.conf') }, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'],
  })
  apt('apt-get', 'update')
  // "package | version | source" lines; the first is the newest.
  const version = apt('apt-cache', 'madison', PACKAGE).split('\n')[0].split('|')[1].trim()
  apt('apt-get', 'download', `${PACKAGE}=${version}`)
  const archive = readdirSync(folder).find((name) => name.startsWith(PACKAGE) && name.endsWith('.deb'))
  execFileSync('dpkg-deb', ['-x', join(folder, archive), join(folder, 'unpacked')])
  for (const name of ['lists', 'archives', archive]) rmSync(join(folder, name), { recursive: true })
}

const fresh = existsSync(header) && Date.now() - statSync(join(folder, 'apt.conf')).mtimeMs < MAX_AGE_MS
if (!fresh || process.argv.includes('--refresh')) fetch()
console.log(header)
