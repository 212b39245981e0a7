// SPDX-License-Identifier: MIT
/**
 * The debug kernel: linux-source of the release kernel's series with lab/debug.config, in which KASAN, lockdep,
 * PROVE_RCU and kmemleak watch efuse.ko. Modules are built against the tree that it was built in.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cached, progress } from './cache.js'
import { inRoot } from './chroot.js'
import { root } from './root.js'

const config = fileURLToPath(new URL('debug.config', import.meta.url))

/** Leaves what a module's build needs. */
const build = `set -e
series=$(cut -d. -f1,2 /etc/efuse-lab-kernel)
tar -xf /usr/src/linux-source-$series.tar.xz --strip-components=1
cp /lab/debug.config debug.config
make -s KCONFIG_ALLCONFIG=debug.config allnoconfig
grep '^CONFIG' debug.config | while read -r option; do
  grep -qxF "$option" .config || { echo "$option could not be set: $(grep "\${option%%=*}[= ]" .config)" >&2; exit 1; }
done
make -s "-j$1" bzImage modules
make -s kernelrelease > /kernel/release
cp arch/x86/boot/bzImage /kernel/bzImage
find . -name '*.o' ! -path './scripts/*' ! -path './tools/*' -delete
find . -name '.*.cmd' -delete
rm -rf Documentation drivers/gpu drivers/net sound
`

/** Builds it, or finds it in the cache; half an hour. */
export async function debugKernel() {
  const { path, kernel } = await root()
  const text = readFileSync(config, 'utf8')
  const folder = await cached('debug', [kernel, text, build], async (folder) => {
    progress('building the debug kernel; from a quarter of an hour up')
    const output = { text: '' }
    const command = ['sh', '-c', `mkdir -p /kernel/tree && cd /kernel/tree && ${build}`, 'build', String(availableParallelism())]
    const binds = [[folder, '/kernel'], [dirname(config), '/lab']]
    const status = await inRoot(path, ['nice', '-n', '10', ...command], { binds, cwd: '/', output })
    writeFileSync(join(folder, 'log'), output.text)
    if (status !== 0) throw new Error(`the debug kernel can't be built:\n${output.text.trimEnd().split('\n').slice(-40).join('\n')}`)
  })
  return {
    version: readFileSync(join(folder, 'release'), 'utf8').trim(),
    image: join(folder, 'bzImage'),
    modules: {},
    busybox: join(path, 'usr/bin/busybox'),
    build: join(folder, 'tree'),
  }
}
