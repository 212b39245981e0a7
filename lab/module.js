// SPDX-License-Identifier: MIT
/** efuse.ko, built in the lab's root for one of its kernels. */
import { dirname, join } from 'node:path'
import { cached, progress } from './cache.js'
import { inRoot } from './chroot.js'
import { contents, run } from './command.js'
import { repository } from './image.js'
import { root } from './root.js'

/**
 * Builds the module, or finds it in the cache.
 *
 * @param {{ version: string, build?: string }} kernel `build`: the folder it was built in, where it is not Debian's
 * @returns {Promise<string>} the path of efuse.ko
 */
export async function efuseModule({ version, build }) {
  const { path } = await root()
  const source = join(repository, 'kernel')
  const inputs = [dirname(path), version, build ?? '', ...contents(source)]
  const folder = await cached('module', inputs, async (folder) => {
    progress(`building efuse.ko for ${version}`)
    const output = { text: '' }
    const binds = [[folder, '/out'], [source, '/source']]
    const command = ['make', '-s', '-j2', '-C', '/source', `KVER=${version}`, 'OUT=/out']
    if (build !== undefined) {
      binds.push([build, '/kernel'])
      command.push('KDIR=/kernel')
    }
    const status = await inRoot(path, command, { binds, cwd: '/', output })
    if (status !== 0) throw new Error(`efuse.ko can't be built:\n${output.text.trimEnd()}`)
    await run('find', [folder, '-mindepth', '1', '-maxdepth', '1', '!', '-name', 'efuse.ko', '-exec', 'rm', '-rf', '{}', '+'])
  })
  return join(folder, 'efuse.ko')
}
