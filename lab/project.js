// SPDX-License-Identifier: MIT
/** A C project with a configure script, zlib's source package: something to compile. As a command, prints its folder. */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DebianSuites } from '../scripts/debian-source.js'
import { cached, progress } from './cache.js'
import { installed } from './examples.js'
import { root } from './root.js'

const SOURCE = 'zlib'
const PACKAGE = 'zlib1g'

/** Unpacks it, or finds it in the cache. @returns {Promise<string>} its folder */
export async function project() {
  const { path } = await root()
  // of the binary package: without the number of a rebuild
  const version = installed(path, PACKAGE).replace(/\+b\d+$/, '')
  const folder = await cached('project', [dirname(path), version], async (folder) => {
    progress(`unpacking ${SOURCE} ${version}`)
    const packages = new DebianSuites(join(folder, 'apt'), ['trixie'], 'deb-src')
    try {
      packages.unpackSource(SOURCE, version, join(folder, SOURCE))
    } finally {
      packages.close()
    }
  })
  return join(folder, SOURCE)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(await project())
