// SPDX-License-Identifier: MIT
/**
 * libfuse's example file systems, of the source package of the root's libfuse 3 and compiled there: programs to test
 * `efuse exec` with. As a command, it prints the folder that has them.
 */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DebianSuites } from '../scripts/debian-source.js'
import { cached, progress } from './cache.js'
import { inRoot } from './chroot.js'
import { run } from './command.js'
import { root } from './root.js'

const SOURCE = 'fuse3'
const PACKAGE = 'libfuse3-dev'
const NAMES = ['hello', 'hello_ll', 'passthrough', 'passthrough_fh', 'passthrough_ll', 'passthrough_hp']

const compile = `set -e
cd /out/source/example
for name in ${NAMES.join(' ')}; do
  case $(ls $name.*) in *.cc) compiler=g++;; *) compiler=gcc;; esac
  $compiler -O2 -w -DHAVE_UTIMENSAT -DHAVE_POSIX_FALLOCATE -DHAVE_SETXATTR -o /out/$name $name.c* $(pkgconf --cflags --libs fuse3)
done`

/** The version of a package that the root has. */
export function installed(path, name) {
  const status = readFileSync(join(path, 'var/lib/dpkg/status'), 'utf8')
  return new RegExp(`^Package: ${name}\\n(?:.+\\n)*?Version: (\\S+)`, 'm').exec(status)[1]
}

/** Compiles them, or finds them in the cache. @returns {Promise<string>} the folder of programs */
export async function examples() {
  const { path } = await root()
  const version = installed(path, PACKAGE)
  return cached('examples', [dirname(path), version, compile], async (folder) => {
    progress(`compiling the examples of libfuse ${version}`)
    const packages = new DebianSuites(join(folder, 'apt'), ['trixie'], 'deb-src')
    try {
      packages.unpackSource(SOURCE, version, join(folder, 'source'))
    } finally {
      packages.close()
    }
    const output = { text: '' }
    if (await inRoot(path, ['sh', '-c', compile], { binds: [[folder, '/out']], output }) !== 0) {
      throw new Error(`libfuse's examples can't be compiled:\n${output.text.trimEnd()}`)
    }
    await run('rm', ['-rf', join(folder, 'source')])
  })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(await examples())
