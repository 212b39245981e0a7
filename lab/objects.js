// SPDX-License-Identifier: MIT
/** The eBPF objects, built in the lab's root: with the compiler and the headers of the Debian that they run on. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { cacheFolder } from '../scripts/debian-source.js'
import { libbpfSource } from '../scripts/build-libbpf.js'
import { cached, progress } from './cache.js'
import { inRoot, REPOSITORY } from './chroot.js'
import { contents } from './command.js'
import { repository } from './image.js'
import { root } from './root.js'

const builder = 'scripts/build-bpf.js'

/** Builds them, or finds them in the cache. @returns {Promise<string>} a folder in the shape of dist/bpf */
export async function objects() {
  const { path } = await root()
  const { version } = libbpfSource()
  const builders = [builder, 'scripts/build-libbpf.js'].map((name) => readFileSync(join(repository, name), 'utf8'))
  const inputs = [dirname(path), version, ...builders, ...contents(join(repository, 'bpf'))]
  return cached('objects', inputs, async (folder) => {
    progress('building the eBPF objects')
    const output = { text: '' }
    const binds = [[folder, '/out'], [dirname(process.execPath), '/node'], [cacheFolder('libbpf'), '/root/.cache/efuse/libbpf']]
    const status = await inRoot(path, ['/node/node', join(REPOSITORY, builder), '--objects', '/out'], { binds, output })
    if (status !== 0) throw new Error(`the eBPF objects can't be built:\n${output.text.trimEnd()}`)
  })
}
