// SPDX-License-Identifier: MIT
/**
 * Packages of Debian's newer suites, sources and binaries, for building and measuring against.
 *
 * apt runs with a private configuration, derived from the machine's own sources (mirror and keyring) with the
 * suites replaced: the system's packages and apt's own state stay untouched, and apt verifies what it fetches
 * as always (the archive's signature, then each file's hash).
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

const TIMEOUT_MS = 300_000

/** Where eFuse keeps what it has fetched: a folder of one user, outside any repository. */
export function cacheFolder(...names) {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'efuse', ...names)
}

/** The machine's own source of Debian's main archive. */
export function machineSource() {
  const files = ['/etc/apt/sources.list', ...list('/etc/apt/sources.list.d')].filter((file) => existsSync(file))
  const candidates = files.filter((file) => /\.(list|sources)$/.test(file))
    .flatMap((file) => file.endsWith('.sources') ? deb822(file) : oneLine(file))
  const codename = /VERSION_CODENAME=(\w+)/.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
  // Security and backports archives may lie elsewhere; the main one has the plain suite.
  const found = candidates.find(({ suites }) => codename !== undefined && suites.includes(codename)) ?? candidates[0]
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
    const uri = field('URIs')?.split(/\s+/)[0]
    if (uri === undefined || !field('Types')?.includes('deb') || field('Enabled') === 'no') return []
    return [{ uri, suites: field('Suites')?.split(/\s+/) ?? [], signedBy: field('Signed-By') }]
  })
}

function oneLine(file) {
  return [...readFileSync(file, 'utf8').matchAll(/^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)/gm)]
    .map(([, options, uri, suite]) => ({ uri, suites: [suite], signedBy: /signed-by=(\S+)/.exec(options ?? '')?.[1] }))
}

/** The packages of some suites. What it fetches lies in its folder, which `close` removes. */
export class DebianSuites {
  #folder
  #suites
  #environment

  constructor(folder, suites, type) {
    const { uri, signedBy } = machineSource()
    this.#folder = folder
    this.#suites = suites.join(' and ')
    rmSync(folder, { recursive: true, force: true })
    for (const name of ['lists/partial', 'archives/partial', 'parts']) {
      mkdirSync(join(folder, name), { recursive: true })
    }
    const options = signedBy?.startsWith('/') ? `[signed-by=${signedBy}] ` : ''
    const lines = suites.map((suite) => `${type} ${options}${uri} ${suite} main\n`)
    writeFileSync(join(folder, 'sources.list'), lines.join(''))
    writeFileSync(join(folder, 'status'), '')
    writeFileSync(join(folder, 'apt.conf'), [
      `Dir::Etc::SourceList "${join(folder, 'sources.list')}";`,
      `Dir::Etc::SourceParts "${join(folder, 'parts')}";`,
      'Dir::Etc::Preferences "/dev/null";',
      'Dir::Etc::PreferencesParts "/dev/null";',
      `Dir::State::Lists "${join(folder, 'lists')}";`,
      `Dir::State::status "${join(folder, 'status')}";`,
      `Dir::Cache "${folder}";`,
      'Acquire::Languages "none";',
      'Acquire::Retries "3";',
      // Root's apt would otherwise hand the work to a user that can't write here.
      'APT::Sandbox::User "root";',
      '',
    ].join('\n'))
    this.#environment = { ...process.env, APT_CONFIG: join(folder, 'apt.conf') }
    this.#run('apt-get', 'update')
  }

  newestSource(name, series = '') {
    const versions = [...this.#run('apt-cache', 'showsrc', name).matchAll(/^Version: (\S+)$/gm)].map(([, v]) => v)
    const wanted = versions.filter((version) => version.replace(/^\d+:/, '').startsWith(series))
    return this.#newest(name, wanted.length > 0 ? wanted : versions)
  }

  newestBinary(name) {
    // Lines of "package | version | archive".
    const lines = this.#run('apt-cache', 'madison', name).split('\n').filter((line) => line.includes('|'))
    return this.#newest(name, lines.map((line) => line.split('|')[1].trim()))
  }

  #newest(name, versions) {
    if (versions.length === 0) throw new Error(`${this.#suites} have no package ${name}`)
    const newer = (a, b) => {
      try {
        execFileSync('dpkg', ['--compare-versions', a, 'gt', b])
        return true
      } catch {
        return false
      }
    }
    return versions.reduce((best, version) => newer(version, best) ? version : best)
  }

  unpackSource(name, version, target) {
    // The distribution's own files are not needed, and not always there any more.
    this.#run('apt-get', 'source', '--download-only', '--tar-only', `${name}=${version}`)
    const archive = readdirSync(this.#folder)
      .find((file) => file.startsWith(`${name}_`) && /\.orig\.tar\.[a-z0-9]+$/.test(file))
    if (archive === undefined) throw new Error(`the source package ${name} has no upstream archive`)
    this.#empty(target)
    const from = join(this.#folder, archive)
    execFileSync('tar', ['-xf', from, '-C', target, '--strip-components=1'], { timeout: TIMEOUT_MS })
  }

  unpackBinary(name, version, target) {
    this.#run('apt-get', 'download', `${name}=${version}`)
    const archive = readdirSync(this.#folder).find((file) => file.startsWith(`${name}_`) && file.endsWith('.deb'))
    this.#empty(target)
    execFileSync('dpkg-deb', ['-x', join(this.#folder, archive), target], { timeout: TIMEOUT_MS })
  }

  #empty(target) {
    rmSync(target, { recursive: true, force: true })
    mkdirSync(target, { recursive: true })
  }

  close() {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #run(command, ...args) {
    return execFileSync(command, ['-q', ...args], {
      cwd: this.#folder,
      env: this.#environment,
      encoding: 'utf8',
      timeout: TIMEOUT_MS,
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 64 << 20,
    })
  }
}
