// SPDX-License-Identifier: MIT
/**
 * Builds libbpf as WebAssembly, when what it is made of has changed: `npm run build:bpf`.
 *
 * The source is Debian's source package, fetched once into the user's cache; compiler, linker and C library are
 * Debian's too (clang-19, lld-19, wasi-libc, binaryen). What results is dist/bpf/libbpf.wasm, and beside it
 * libbpf.json, which says what it was made from. The same inputs give the same bytes.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cacheFolder, DebianSuites } from './debian-source.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const own = join(root, 'libbpf-wasm')
const output = join(root, 'dist/bpf')
/** The version that this is written for; a newer one is taken when no suite has it any more. */
const SERIES = '1.7.'
/** Suites that have had it, newest first. */
const SUITES = ['sid', 'forky']
const CLANG = 'clang-19'
const WASI = '/usr/include/wasm32-wasi'
const LIBRARIES = '/usr/lib/wasm32-wasi'
const STACK_BYTES = 1 << 20
/** A ten-fold of what the largest kernel's types take. */
const MEMORY_BYTES = 1 << 30
/** Networks, static linking: not for us. */
const LEFT_OUT = new Set(['netlink.c', 'nlattr.c', 'linker.c'])

/** libbpf's source: the folder it is unpacked in and its version. */
export function libbpfSource() {
  const folder = cacheFolder('libbpf')
  const known = join(folder, 'version')
  if (!existsSync(known)) {
    const suites = new DebianSuites(cacheFolder('libbpf-apt'), SUITES, 'deb-src')
    try {
      const version = suites.newestSource('libbpf', SERIES)
      const unpacked = `${folder}.${process.pid}`
      suites.unpackSource('libbpf', version, unpacked)
      writeFileSync(join(unpacked, 'version'), version)
      rmSync(folder, { recursive: true, force: true })
      renameSync(unpacked, folder)
    } finally {
      suites.close()
    }
  }
  return { folder, version: readFileSync(known, 'utf8') }
}

export function run(command, args, options = {}) {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...options })
  } catch (error) {
    if (error.code === 'ENOENT') throw new Error(`${command} is not installed; scripts/requirements.js has the list`)
    throw new Error(`${command} failed:\n${error.stderr}`)
  }
}

/** The kernel's headers and <elf.h> without the rest of the machine's C library. */
export function stageHeaders(folder) {
  const multiarch = readdirSync('/usr/include').map((name) => join('/usr/include', name, 'asm'))
    .find((path) => existsSync(join(path, 'types.h')))
  const headers = {
    linux: '/usr/include/linux',
    'asm-generic': '/usr/include/asm-generic',
    asm: multiarch,
    'elf.h': '/usr/include/elf.h',
  }
  mkdirSync(folder)
  for (const [name, target] of Object.entries(headers)) {
    if (target === undefined || !existsSync(target)) throw new Error(`no ${name}: install linux-libc-dev, libc6-dev`)
    symlinkSync(target, join(folder, name))
  }
}

/** Compiles and links in a folder of its own. @returns the path of the finished module */
function compile(folder, source) {
  // Relative names: the result must not depend on where it was built.
  symlinkSync(source, join(folder, 'libbpf'))
  symlinkSync(own, join(folder, 'own'))
  stageHeaders(join(folder, 'headers'))
  const target = ['--target=wasm32-wasi', '-Oz']
  const include = ['-nostdlibinc', '-isystem', WASI,
    '-Iown/include', '-Ilibbpf/src', '-Ilibbpf/include', '-Ilibbpf/include/uapi', '-idirafter', 'headers',
    '-include', 'own/compat.h', '-D_GNU_SOURCE', '-D_LARGEFILE64_SOURCE']
  const upstream = readdirSync(join(source, 'src')).filter((name) => name.endsWith('.c') && !LEFT_OUT.has(name)).sort()
  const objects = []
  const cc = (file, ...flags) => {
    const object = `${basename(file, '.c')}.o`
    run(CLANG, [...target, ...include, ...flags, '-c', file, '-o', object], { cwd: folder })
    objects.push(object)
  }
  for (const name of upstream) cc(`libbpf/src/${name}`, '-w')
  for (const name of readdirSync(own).filter((name) => name.endsWith('.c')).sort()) {
    cc(`own/${name}`, '-Wall', '-Wextra', '-Werror', '-Wno-macro-redefined', '-Wno-sign-compare')
  }
  const exported = readFileSync(join(own, 'exports.txt'), 'utf8').split('\n').filter((line) => /^\w/.test(line))
  const builtins = run(CLANG, ['--target=wasm32-wasi', '--print-libgcc-file-name']).trim()
  run('wasm-ld-19', ['--no-entry', '--gc-sections', '--strip-all', '-z', `stack-size=${STACK_BYTES}`, '--stack-first',
    `--max-memory=${MEMORY_BYTES}`,
    ...exported.map((name) => `--export=${name}`), `${LIBRARIES}/crt1-reactor.o`, ...objects, `-L${LIBRARIES}`, '-lc',
    builtins, '-o', 'linked.wasm'], { cwd: folder })
  // Debian 13's wasi-libc copies by one instruction.
  const features = ['--enable-sign-ext', '--enable-mutable-globals', '--enable-bulk-memory']
  run('wasm-opt', ['-Oz', ...features, '--strip-producers', 'linked.wasm', '-o', 'libbpf.wasm'], { cwd: folder })
  return join(folder, 'libbpf.wasm')
}

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex')

/** Everything of ours that the result depends on. */
function ownSources() {
  const files = readdirSync(own, { recursive: true }).filter((name) => /\.(c|h|txt)$/.test(name)).sort()
  const parts = files.flatMap((name) => [name, readFileSync(join(own, name))])
  return sha256(...parts, readFileSync(fileURLToPath(import.meta.url)))
}

export const packageVersion = (name) => run('dpkg-query', ['-W', '-f', '${Version}', name])

/** What a build is made from. */
function inputs(version) {
  return {
    libbpf: version,
    clang: packageVersion(CLANG),
    lld: packageVersion('lld-19'),
    wasiLibc: packageVersion('wasi-libc'),
    compilerRt: packageVersion('libclang-rt-19-dev-wasm32'),
    binaryen: packageVersion('binaryen'),
    linuxHeaders: packageVersion('linux-libc-dev'),
    sources: ownSources(),
  }
}

/** The licences of all that is linked in, which a copy of it must come with. */
function licences(source) {
  const texts = {
    'libbpf (used under the BSD-2-Clause licence)': join(source, 'LICENSE.BSD-2-Clause'),
    'wasi-libc': '/usr/share/doc/wasi-libc/copyright',
    'compiler-rt': '/usr/share/doc/libclang-rt-19-dev-wasm32/copyright',
  }
  const section = ([name, path]) => `${name}\n${'='.repeat(name.length)}\n\n${readFileSync(path, 'utf8')}`
  return Object.entries(texts).map(section).join('\n')
}

/** Builds unless there is a module from the same inputs. `force`: in any case. @returns what it was made from */
export function buildLibbpf({ force = false, folder = output } = {}) {
  const { folder: source, version } = libbpfSource()
  const module = join(folder, 'libbpf.wasm')
  const record = join(folder, 'libbpf.json')
  const made = inputs(version)
  if (!force && existsSync(module) && existsSync(record)) {
    const { sha256: _, ...before } = JSON.parse(readFileSync(record, 'utf8'))
    if (JSON.stringify(before) === JSON.stringify(made)) return made
  }
  const work = mkdtempSync(join(tmpdir(), 'efuse-libbpf-'))
  try {
    const built = compile(work, source)
    mkdirSync(folder, { recursive: true })
    // By renaming: somebody may be reading the old one.
    copyFileSync(built, `${module}.new`)
    renameSync(`${module}.new`, module)
    writeFileSync(join(folder, 'libbpf.LICENSE'), licences(source))
    writeFileSync(record, `${JSON.stringify({ ...made, sha256: sha256(readFileSync(module)) }, null, 2)}\n`)
    return made
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}
