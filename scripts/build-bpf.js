// SPDX-License-Identifier: MIT
/**
 * Builds all that runs in the kernel or loads it: libbpf as WebAssembly, and the BPF objects of bpf/ and bpf/test/
 * (`npm run build:bpf`). What has not changed is left alone. Everything goes to dist/bpf/.
 *
 * Objects are made for every kernel at once (CO-RE): they declare the few kernel types they use themselves, so
 * neither bpftool nor this kernel's types are needed to build them. Headers that can be reasoned about alone are also
 * compiled for the host, as WebAssembly, for tests and simulators (bpf/test/models/).
 *
 *   node scripts/build-bpf.js [--force]
 *   node scripts/build-bpf.js --objects FOLDER     the objects alone, there
 */
import { createHash } from 'node:crypto'
import {
  existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { buildLibbpf, libbpfSource, packageVersion, run, stageHeaders } from './build-libbpf.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const sources = join(root, 'bpf')
const dist = join(root, 'dist/bpf')
const CLANG = 'clang-19'
const FLAGS = ['--target=bpf', '-mcpu=v3', '-O2', '-g', '-ffreestanding', '-ferror-limit=3',
  '-Wall', '-Wextra', '-Werror', '-Wno-unused-parameter', '-Wno-sign-compare', '-Wno-missing-declarations']
/** By Node's names of architectures: what bpf_tracing.h and the kernel's headers call them. */
const ARCHITECTURES = { x64: 'x86', arm64: 'arm64' }

/** Paths below bpf/, of a kind. */
function files(pattern) {
  if (!existsSync(sources)) return []
  return readdirSync(sources, { recursive: true }).filter((name) => pattern.test(name)).sort()
}

/** What an object is made from: any header may be in it, and another source that it says. */
function fingerprint(name, tools) {
  const hash = createHash('sha256').update(JSON.stringify([FLAGS, tools, process.arch]))
  const included = [...readFileSync(join(sources, name), 'utf8').matchAll(/^#include "(.*\.c)"$/gm)]
    .map(([, path]) => join(dirname(name), path))
  for (const part of [name, ...included, ...files(/\.h$/)]) hash.update(part).update(readFileSync(join(sources, part)))
  return hash.digest('hex')
}

function compile(name, folder, output) {
  const target = join(output, name.replace(/\.c$/, '.o'))
  mkdirSync(dirname(target), { recursive: true })
  // Relative names, as they are in the object.
  const include = ['-nostdlibinc', '-Ibpf', '-Iinclude', '-Ilibbpf/include/uapi', '-idirafter', 'headers']
  const object = join(folder, 'object.o')
  const architecture = `-D__TARGET_ARCH_${ARCHITECTURES[process.arch] ?? process.arch}`
  run(CLANG, [...FLAGS, architecture, ...include, '-c', `bpf/${name}`, '-o', object], { cwd: folder })
  // BTF stays; of DWARF nobody has any use.
  run('llvm-strip-19', ['-g', object])
  writeFileSync(`${target}.new`, readFileSync(object))
  renameSync(`${target}.new`, target)
}

/** A plain header, made callable. */
function compileModel(name, folder, output) {
  const target = join(output, name.replace(/\.c$/, '.wasm'))
  mkdirSync(dirname(target), { recursive: true })
  run(CLANG, ['--target=wasm32', '-mbulk-memory', '-O2', '-ffreestanding', '-nostdlib', '-Wall', '-Wextra', '-Werror',
    '-c', `bpf/${name}`, '-o', 'model.o'], { cwd: folder })
  run('wasm-ld-19', ['--no-entry', '--strip-all', 'model.o', '-o', 'model.wasm'], { cwd: folder })
  writeFileSync(target, readFileSync(join(folder, 'model.wasm')))
}

/** Builds what is out of date. */
export function buildObjects({ force = false, folder: output = dist } = {}) {
  const { folder: libbpf, version } = libbpfSource()
  const tools = { libbpf: version, clang: packageVersion(CLANG) }
  const stampFile = join(output, 'objects.json')
  const before = existsSync(stampFile) ? JSON.parse(readFileSync(stampFile, 'utf8')) : {}
  const stamps = {}
  const failures = []
  const work = mkdtempSync(join(tmpdir(), 'efuse-bpf-'))
  try {
    symlinkSync(sources, join(work, 'bpf'))
    symlinkSync(libbpf, join(work, 'libbpf'))
    mkdirSync(join(work, 'include'))
    symlinkSync(join(libbpf, 'src'), join(work, 'include/bpf'))
    stageHeaders(join(work, 'headers'))
    for (const name of files(/\.bpf\.c$|^test\/models\/.*\.c$/)) {
      const model = !name.endsWith('.bpf.c')
      stamps[name] = fingerprint(name, tools)
      const made = join(output, name.replace(/\.c$/, model ? '.wasm' : '.o'))
      if (!force && before[name] === stamps[name] && existsSync(made)) continue
      try {
        if (model) compileModel(name, work, output)
        else compile(name, work, output)
      } catch (error) {
        failures.push(error.message)
        delete stamps[name]
        // What an earlier source has made must not be taken for this one's.
        rmSync(made, { force: true })
      }
    }
    mkdirSync(output, { recursive: true })
    writeFileSync(stampFile, `${JSON.stringify(stamps, null, 2)}\n`)
    if (failures.length > 0) throw new Error(failures.join('\n'))
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { force, objects } = parseArgs({ options: { force: { type: 'boolean' }, objects: { type: 'string' } } }).values
  try {
    if (objects === undefined) buildLibbpf({ force })
    buildObjects({ force, folder: objects })
  } catch (error) {
    console.error(`efuse: ${error.message}`)
    process.exitCode = 1
  }
}
