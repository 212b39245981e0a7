// SPDX-License-Identifier: MIT
/** The guest's disks and kernel. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cached } from './cache.js'
import { run } from './command.js'
import { root } from './root.js'

export const repository = fileURLToPath(new URL('..', import.meta.url))

/** Room on the root disk for what tests write, beyond what is on it. The image is sparse, and used as a snapshot. */
const FREE = '8G'

/** An ext4 image with what is in a folder. */
async function image(folder, file, size) {
  // Without a journal: nobody will see this disk after a crash.
  await run('mke2fs', ['-q', '-F', '-t', 'ext4', '-O', '^has_journal', '-E', 'root_owner=0:0', '-d', folder, file, size])
}

/** The root as a disk. */
export async function rootDisk() {
  const { path } = await root()
  const folder = await cached('disk', [dirname(path), FREE], (folder) => image(path, join(folder, 'disk'), FREE))
  return join(folder, 'disk')
}

/** This Node and this repository's dependencies, as a disk. */
export async function nodeDisk() {
  const lock = readFileSync(join(repository, 'package-lock.json'), 'utf8')
  const { size, mtimeMs } = statSync(process.execPath)
  const inputs = [lock, process.version, process.execPath, String(size), String(mtimeMs)]
  const folder = await cached('node', inputs, async (folder) => {
    const tree = join(folder, 'tree')
    mkdirSync(join(tree, 'bin'), { recursive: true })
    await run('cp', ['-L', process.execPath, join(tree, 'bin/node')])
    await run('cp', ['-a', join(repository, 'node_modules'), tree])
    const megabytes = Number((await run('du', ['-sm', tree])).split('\t')[0])
    await image(tree, join(folder, 'disk'), `${Math.ceil(megabytes * 1.3) + 32}M`)
    await run('rm', ['-rf', tree])
  })
  return join(folder, 'disk')
}

/** The release kernel, its modules that the guest needs to find its root disk, and busybox to load them. */
export async function releaseKernel() {
  const { path, kernel } = await root()
  const modules = join(path, 'lib/modules', kernel)
  const block = readdirSync(join(modules, 'kernel/drivers/block')).find((name) => name.startsWith('virtio_blk.ko'))
  const file = join(modules, 'kernel/drivers/block', block)
  const module = block.endsWith('.xz') ? execFileSync('xz', ['-dc', file], { maxBuffer: 64 << 20 }) : readFileSync(file)
  return {
    version: kernel,
    image: join(modules, 'vmlinuz'),
    modules: { 'modules/virtio_blk.ko': module },
    busybox: join(path, 'usr/bin/busybox'),
  }
}

/** What of the repository goes to the guest, where it lies at /efuse. */
const PARTS = [
  'efuse.js', 'package.json', 'package-lock.json', 'LICENSES', 'bpf', 'dist', 'examples', 'kernel', 'native-min', 'sbin',
  'scripts', 'src', 'test',
]

/**
 * The archive that makes one run: the repository as it is now, the job, and files given to it.
 *
 * @param {string} file where to write it
 * @param {string} staging a folder whose content goes to the guest's /
 * @param {[host: string, guest: string][]} files host paths and absolute guest paths
 */
export async function jobArchive(file, staging, files) {
  const parts = PARTS.filter((name) => existsSync(join(repository, name)))
  const owner = ['--owner=0', '--group=0']
  await run('tar', [
    '-cf', file, ...owner, '-C', repository, '--exclude=native-min/build/Release', '--exclude=native-min/build/node_gyp_bins',
    '--transform=s,^,efuse/,S', ...parts,
  ])
  await run('tar', ['-rf', file, ...owner, '-C', staging, '.'])
  for (const [host, guest] of files) {
    const inside = guest.replace(/^\/+/, '')
    const name = basename(host)
    const rename = `--transform=s,^${escaped(name)},${inside.replace(/[,\\&]/g, '\\$&')},S`
    await run('tar', ['-rf', file, ...owner, '-C', dirname(host), rename, '--', name])
  }
}

function escaped(text) {
  return text.replace(/[,.*[\]^$\\/]/g, '\\$&')
}
