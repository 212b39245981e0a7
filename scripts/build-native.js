// SPDX-License-Identifier: MIT
/**
 * Builds the native addon (native-min/) with node-gyp, when its sources have changed since the
 * last build: `npm run build:native`. Silent unless it fails; EFUSE_BUILD_VERBOSE=1 shows all.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('../native-min/', import.meta.url))
const addon = join(folder, 'build/efuse_native.node')
const stamp = join(folder, 'build/built-from')

/** What the binary depends on: sources, compiler, architecture. Not Node's version: N-API is stable. */
function fingerprint() {
  const hash = createHash('sha256')
  for (const name of readdirSync(folder).sort()) {
    if (/\.(cc|h|gyp)$/.test(name)) hash.update(name).update(readFileSync(join(folder, name)))
  }
  return hash.update(`${process.arch} ${process.env.CXX ?? ''} ${process.env.CXXFLAGS ?? ''}`).digest('hex')
}

/** npm names its node-gyp to the scripts it runs; without npm, look where it is installed. */
function nodeGyp() {
  const installed = join(dirname(process.execPath), '../lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js')
  const candidates = [process.env.npm_config_node_gyp, installed]
  const script = candidates.find((path) => path?.endsWith('.js') && existsSync(path))
  return script ? [process.execPath, script] : ['node-gyp']
}

/** Headers that were installed with this Node spare a download. */
function nodeDir() {
  const prefix = dirname(dirname(process.execPath))
  return existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : []
}

function fail(reason, output = '') {
  console.error(`${output}efuse: the native addon can't be built: ${reason}`)
  console.error('efuse: it needs g++ (or clang++), make and python3: "apt install g++ make python3" on Debian')
  process.exit(1)
}

function build() {
  const [command, ...first] = nodeGyp()
  const verbose = process.env.EFUSE_BUILD_VERBOSE === '1'
  const built = spawnSync(command, [...first, 'rebuild', '--jobs=max', '--directory', folder, ...nodeDir()], {
    cwd: folder,
    encoding: 'utf8',
    stdio: verbose ? 'inherit' : 'pipe',
  })
  if (built.error) fail(`${command}: ${built.error.message}`)
  if (built.status !== 0) fail(`node-gyp ended with status ${built.status}`, `${built.stdout ?? ''}${built.stderr ?? ''}`)
}

const sources = fingerprint()
if (!existsSync(addon) || !existsSync(stamp) || readFileSync(stamp, 'utf8') !== sources) {
  build()
  // By renaming: a process that has the old addon loaded keeps it.
  copyFileSync(join(folder, 'build/Release/efuse_native.node'), `${addon}.new`)
  renameSync(`${addon}.new`, addon)
  writeFileSync(stamp, sources)
}
