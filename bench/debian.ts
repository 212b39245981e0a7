// SPDX-License-Identifier: MIT
/**
 * Source packages of Debian's newest suite, by a private configuration of apt that is derived from
 * the machine's own sources (mirror and keys). The system's packages and apt's state stay untouched.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const SUITE = 'sid'
const TIMEOUT_MS = 300_000

interface Source {
  uri: string
  suites: string[]
  signedBy?: string
}

/** The machine's own source of Debian's main archive. */
function machineSource(): Source {
  const files = ['/etc/apt/sources.list', ...list('/etc/apt/sources.list.d')].filter((file) => existsSync(file))
  const candidates = files.filter((file) => /\.(list|sources)$/.test(file))
    .flatMap((file) => file.endsWith('.sources') ? deb822(file) : oneLine(file))
  const codename = /VERSION_CODENAME=(\w+)/.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
  // Security and backports archives may lie elsewhere; the main one has the plain suite.
  const found = candidates.find(({ suites }) => codename !== undefined && suites.includes(codename)) ?? candidates[0]
  if (found === undefined) throw new Error('this machine has no Debian sources')
  return found
}

function list(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).sort().map((name) => join(directory, name)) : []
}

function deb822(file: string): Source[] {
  return readFileSync(file, 'utf8').split(/\n\s*\n/).flatMap((stanza) => {
    const text = stanza.replace(/^#.*\n?/gm, '')
    const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'mi').exec(text)?.[1].trim()
    const uri = field('URIs')?.split(/\s+/)[0]
    if (uri === undefined || !field('Types')?.includes('deb') || field('Enabled') === 'no') return []
    return [{ uri, suites: field('Suites')?.split(/\s+/) ?? [], signedBy: field('Signed-By') }]
  })
}

function oneLine(file: string): Source[] {
  return [...readFileSync(file, 'utf8').matchAll(/^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)/gm)]
    .map(([, options, uri, suite]) => ({ uri, suites: [suite], signedBy: /signed-by=(\S+)/.exec(options ?? '')?.[1] }))
}

/** Source packages, in a folder of their own that is removed by `close`. */
export class SourcePackages {
  private readonly environment: NodeJS.ProcessEnv

  /** @param folder is made, and emptied first */
  constructor(private readonly folder: string) {
    const { uri, signedBy } = machineSource()
    rmSync(folder, { recursive: true, force: true })
    for (const name of ['lists/partial', 'archives/partial', 'parts']) {
      mkdirSync(join(folder, name), { recursive: true })
    }
    const options = signedBy?.startsWith('/') ? `[signed-by=${signedBy}] ` : ''
    writeFileSync(join(folder, 'sources.list'), `deb-src ${options}${uri} ${SUITE} main\n`)
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
    this.environment = { ...process.env, APT_CONFIG: join(folder, 'apt.conf') }
    this.run('apt-get', 'update')
  }

  /** The newest version that the suite has. */
  version(name: string): string {
    const version = /^Version: (\S+)$/m.exec(this.run('apt-cache', 'showsrc', name))?.[1]
    if (version === undefined) throw new Error(`${SUITE} has no source package ${name}`)
    return version
  }

  /** Downloads a source package and unpacks its upstream part (Debian's patches left out) into `target`. */
  unpack(name: string, version: string, target: string): void {
    this.run('apt-get', 'source', '--download-only', `${name}=${version}`)
    const archive = readdirSync(this.folder)
      .find((file) => file.startsWith(`${name}_`) && /\.orig\.tar\.[a-z0-9]+$/.test(file))
    if (archive === undefined) throw new Error(`the source package ${name} has no upstream archive`)
    rmSync(target, { recursive: true, force: true })
    mkdirSync(target, { recursive: true })
    execFileSync('tar', ['-xf', join(this.folder, archive), '-C', target, '--strip-components=1'],
      { timeout: TIMEOUT_MS })
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }

  private run(command: string, ...args: string[]): string {
    return execFileSync(command, ['-q', ...args], {
      cwd: this.folder, env: this.environment, encoding: 'utf8', timeout: TIMEOUT_MS, stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 64 << 20,
    })
  }
}
