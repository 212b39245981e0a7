// SPDX-License-Identifier: MIT
/**
 * The servers that eFuse is measured against, built in the user's cache folder, never installed
 * over the system; keyed by version, so that a second run finds them ready.
 *
 * - libfuse's own examples passthrough_hp and passthrough_ll, from the source package of Debian's
 *   newest suite, with its liburing, so that FUSE over io_uring is in;
 * - the maintained binding of libfuse 2 for Node, from npm.
 *
 * What building needs (meson, ninja, libnuma and libfuse 2) is this machine's own Debian's, and is
 * installed when we are root.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cacheFolder, DebianSuites } from '#debian-source'

/** Where everything that the benchmarks build is kept. */
export const CACHE = cacheFolder('bench')

const BINDING = '@cocalc/fuse-native'
const BINDING_VERSION = '2.4.3'
const BUILD_TIMEOUT_MS = 900_000

export type RivalName = 'libfuse' | 'binding'

export interface Rival {
  name: RivalName
  version: string
  folder: string
}

/** What became of a rival: it is there, or why it is not. */
export type RivalOutcome = Rival | { name: RivalName; absent: string }

/**
 * Finds or builds a rival.
 * @param mayBuild false: only one that is there already counts
 */
export function rival(name: RivalName, mayBuild: boolean, log: (text: string) => void): RivalOutcome {
  try {
    const found = name === 'libfuse' ? newest('libfuse-') : ready(join(CACHE, `fuse-native-${BINDING_VERSION}`))
    if (found !== null) return { name, ...found }
    if (!mayBuild) return { name, absent: 'it has not been built: a full run does that' }
    log(`building ${name}; a second run finds it ready`)
    return { name, ...(name === 'libfuse' ? buildLibfuse() : buildBinding()) }
  } catch (error) {
    return { name, absent: reason(error) }
  }
}

function reason(error: unknown): string {
  const { message, stderr } = error as Error & { stderr?: string | Buffer }
  const said = String(stderr ?? '').trim().split('\n').slice(-4).join(' | ')
  return said === '' ? message : `${message.split('\n')[0]}: ${said}`
}

/** A folder counts when its last step, a file with the version, is there. */
function ready(folder: string): { version: string; folder: string } | null {
  const stamp = join(folder, 'VERSION')
  return existsSync(stamp) ? { version: readFileSync(stamp, 'utf8').trim(), folder } : null
}

function newest(prefix: string): { version: string; folder: string } | null {
  if (!existsSync(CACHE)) return null
  const folders = readdirSync(CACHE).filter((name) => name.startsWith(prefix))
    .sort(new Intl.Collator('en', { numeric: true }).compare).reverse()
  for (const name of folders) {
    const found = ready(join(CACHE, name))
    if (found !== null) return found
  }
  return null
}

function run(command: string, args: string[], cwd: string, environment: NodeJS.ProcessEnv = {}): string {
  return execFileSync(command, args, {
    cwd, env: { ...process.env, ...environment }, encoding: 'utf8', timeout: BUILD_TIMEOUT_MS,
    stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 64 << 20,
  })
}

/** Debian packages that must be there. @throws when they are not and can't be installed */
function need(packages: readonly string[]): void {
  const missing = packages.filter((name) => {
    try {
      return !run('dpkg-query', ['-W', '-f', '${Status}', name], '/').includes('install ok installed')
    } catch {
      return true
    }
  })
  if (missing.length === 0) return
  if (process.getuid?.() !== 0) throw new Error(`install these packages first: ${missing.join(' ')}`)
  run('apt-get', ['-q', 'update'], '/')
  // Without recommendations: libfuse2 would bring a fusermount that displaces fuse3's.
  run('apt-get', ['-q', '-y', '--no-install-recommends', 'install', ...missing], '/',
    { DEBIAN_FRONTEND: 'noninteractive' })
}

function buildLibfuse(): { version: string; folder: string } {
  need(['meson', 'ninja-build', 'pkg-config', 'libnuma-dev', 'g++', 'make', 'dpkg-dev'])
  mkdirSync(CACHE, { recursive: true })
  const packages = new DebianSuites(join(CACHE, 'apt'), ['sid'], 'deb-src')
  try {
    const version = packages.newestSource('fuse3')
    const folder = join(CACHE, `libfuse-${version}`)
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    const ringSource = join(folder, 'liburing-source')
    const ring = join(folder, 'liburing')
    // Debian's own liburing binary wants newer kernel headers than this Debian has; its source looks for itself.
    packages.unpackSource('liburing', packages.newestSource('liburing'), ringSource)
    run('./configure', [`--prefix=${ring}`], ringSource)
    run('make', ['-s', '-C', 'src'], ringSource)
    run('make', ['-s', 'install'], ringSource)
    const source = join(folder, 'source')
    packages.unpackSource('fuse3', version, source)
    const build = join(folder, 'build')
    const configured = run('meson', ['setup', build, source, '--buildtype=release', '-Dutils=false', '-Dtests=false',
      '-Duseroot=false', '--default-library=static'], folder, { PKG_CONFIG_PATH: join(ring, 'lib', 'pkgconfig') })
    if (!/liburing linking and SQE128 support.*YES/.test(configured)) {
      throw new Error('libfuse was configured without io_uring')
    }
    run('ninja', ['-C', build, 'example/passthrough_hp', 'example/passthrough_ll'], folder)
    rmSync(ringSource, { recursive: true, force: true })
    writeFileSync(join(folder, 'VERSION'), `${version}\n`)
    return { version, folder }
  } finally {
    packages.close()
  }
}

function buildBinding(): { version: string; folder: string } {
  need(['libfuse2', 'libfuse-dev', 'pkg-config', 'g++', 'make', 'python3'])
  const folder = join(CACHE, `fuse-native-${BINDING_VERSION}`)
  const building = `${folder}.building`
  rmSync(building, { recursive: true, force: true })
  mkdirSync(building, { recursive: true })
  // npm 11 runs a dependency's install script, which compiles, only for packages named here.
  writeFileSync(join(building, 'package.json'), JSON.stringify({ private: true, allowScripts: { [BINDING]: true } }))
  run('npm', ['install', '--no-audit', '--no-fund', '--foreground-scripts', `${BINDING}@${BINDING_VERSION}`], building)
  // Loading it tells whether the script has run.
  run(process.execPath, ['-e', `require(${JSON.stringify(BINDING)})`], building)
  writeFileSync(join(building, 'VERSION'), `${BINDING} ${BINDING_VERSION}\n`)
  rmSync(folder, { recursive: true, force: true })
  renameSync(building, folder)
  return { version: `${BINDING} ${BINDING_VERSION}`, folder }
}

/** The compiled client. Built anew when its source is newer. */
export function buildClient(source: string): string {
  mkdirSync(CACHE, { recursive: true })
  const program = join(CACHE, 'client')
  const stamp = `${program}.c`
  const text = readFileSync(source, 'utf8')
  if (existsSync(program) && existsSync(stamp) && readFileSync(stamp, 'utf8') === text) return program
  const building = `${program}.${process.pid}`
  run('cc', ['-O2', '-Wall', '-Wextra', '-o', building, source], CACHE)
  renameSync(building, program)
  writeFileSync(stamp, text)
  return program
}
