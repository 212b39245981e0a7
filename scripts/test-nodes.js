// SPDX-License-Identifier: MIT
/**
 * `npm run test:nodes [VERSION...]`: the unit and mount tests on each Node that is supported, by npm's own
 * packages of Node's binaries, kept in a cache outside the repository. The addon is the same for all (N-API).
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const versions = process.argv.length > 2 ? process.argv.slice(2) : ['20', '22', '24']
const architecture = process.arch === 'arm64' ? 'arm64' : 'x64'
// Root's tests act as ordinary users too, who can't look into root's home.
const own = process.getuid() === 0 ? '/var/cache' : process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')
const cache = process.env.EFUSE_CACHE ?? join(own, 'efuse-nodes')

/** The binary of a major version, fetched if need be. */
function binary(version) {
  const name = `node-linux-${architecture}`
  const folder = join(cache, version)
  const path = join(folder, 'node_modules', name, 'bin/node')
  if (!existsSync(path)) {
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'package.json'), '{"private": true}\n')
    const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', `${name}@${version}`]
    const installed = spawnSync('npm', args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
    if (installed.status !== 0) throw new Error(`Node ${version} can't be fetched`)
  }
  return path
}

let failed = 0
for (const version of versions) {
  const node = binary(version)
  const runs = spawnSync(node, ['--version'], { encoding: 'utf8' })
  console.log(`Node ${runs.stdout.trim()}`)
  const script = fileURLToPath(new URL('test.js', import.meta.url))
  // Its own folder first on the path: what tests start by the name `node` is this one too.
  const PATH = `${join(node, '..')}:${process.env.PATH}`
  const env = { ...process.env, PATH }
  const tested = spawnSync(node, [script, 'unit', 'mount', '--node', node], { stdio: 'inherit', env })
  if (tested.status !== 0) failed++
}
process.exitCode = failed === 0 ? 0 : 1
