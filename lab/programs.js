// SPDX-License-Identifier: MIT
/** The suites and checkers of test/ that are written in C, compiled in the root: in guests compilers are emulated. */
import { dirname, join } from 'node:path'
import { cached, progress } from './cache.js'
import { inRoot } from './chroot.js'
import { contents } from './command.js'
import { repository } from './image.js'
import { root } from './root.js'

const GUEST = 'test/kernel/guest'
/** Name → its sources, files or folders. */
const PROGRAMS = {
  posix: 'test/suites/posix',
  fsx: 'test/suites/fsx',
  ...Object.fromEntries(['attach', 'data-check', 'data-leak', 'metadata-check'].map((name) => [name, `${GUEST}/${name}.c`])),
}

const compile = ['set -e', ...Object.entries(PROGRAMS).map(([name, source]) =>
  `cc -std=gnu17 -O1 -Wall -Wextra -Werror -o /out/${name} ${source.endsWith('.c') ? source : `${source}/*.c`}`)].join('\n')

/** Compiles them, or finds them in the cache. @returns {Promise<string>} the folder of programs */
export async function programs() {
  const { path } = await root()
  const inputs = [dirname(path), compile, ...Object.values(PROGRAMS).flatMap((source) => contents(join(repository, source)))]
  return cached('programs', inputs, async (folder) => {
    progress('compiling the suites')
    const output = { text: '' }
    if (await inRoot(path, ['sh', '-c', compile], { binds: [[folder, '/out']], output }) !== 0) {
      throw new Error(`the suites can't be compiled:\n${output.text.trimEnd()}`)
    }
  })
}
