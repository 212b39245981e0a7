// SPDX-License-Identifier: MIT
/**
 * The lab's Debian: a Debian 13 root with the newest 7.x kernel of trixie-backports, what builds efuse.ko and
 * eBPF programs for it, and what the tests use. It is the chroot in which things are built and, as a disk
 * image, the guest's root file system.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { machineSource } from '../scripts/debian-source.js'
import { provide } from '../scripts/requirements.js'
import { cached, progress } from './cache.js'
import { run } from './command.js'

const SUITES = ['trixie', 'trixie-backports']
const FLAVOUR = 'cloud-amd64'

/** Builds the module, the programs and the debug kernel. */
const toBuild = [
  'gcc', 'g++', 'make', 'clang-19', 'llvm-19', 'lld-19', 'pahole', 'libelf-dev', 'bpftool/trixie-backports', 'xz-utils',
  'patch', 'bc', 'bison', 'flex', 'libssl-dev', 'kmod', 'pkgconf',
]
/** Used in the guest: by its start-up, and by the tests and suites. */
const inGuest = [
  'busybox-static', 'iproute2', 'procps', 'psmisc', 'mount', 'e2fsprogs', 'strace', 'attr', 'acl', 'fio', 'sqlite3',
  'git', 'rsync', 'python3', 'fuse3', 'libfuse3-dev', 'stress-ng', 'bindfs', 'sshfs', 'openssh-server',
]

/**
 * Installs the kernel without the package that would make an initramfs for it, and without its signature: the
 * guest brings its own initramfs.
 */
const installKernel = `set -e
name=$(chroot "$1" apt-cache show linux-image-${FLAVOUR}/${SUITES[1]} | sed -n 's/^Depends:.*linux-image-\\([^ ,]*\\).*/\\1/p' | head -n 1)
series=$(echo "$name" | cut -d. -f1,2)
chroot "$1" apt-get install --yes --no-install-recommends linux-binary-$name linux-modules-$name linux-headers-$name \\
  linux-source-$series
echo $name > "$1/etc/efuse-lab-kernel"
chroot "$1" apt-get clean
rm -rf "$1"/var/lib/apt/lists/*
`

/** What nobody reads in a guest. */
const excluded = ['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/locale/*', '/usr/share/info/*']

/** Lines of a sources.list: the suites, by the machine's own mirror and keys. */
export function sources() {
  const { uri, signedBy } = machineSource()
  const options = signedBy?.startsWith('/') ? `[signed-by=${signedBy}] ` : ''
  return SUITES.map((suite) => `deb ${options}${uri} ${suite} main\n`).join('')
}

/** The machine's own settings of apt that downloads depend on: proxies above all. */
export function downloadOptions() {
  return execFileSync('apt-config', ['dump'], { encoding: 'utf8' }).split('\n')
    .filter((line) => /^Acquire::https?::(Proxy|CAInfo|Verify)/i.test(line))
    .map((line) => line.replace(/;$/, ''))
}

/** Makes the root, or finds it in the cache. @returns {Promise<{ path: string, kernel: string }>} */
export async function root() {
  const packages = [...toBuild, ...inGuest]
  const folder = await cached('root', [...SUITES, FLAVOUR, ...packages, ...excluded, installKernel], async (folder) => {
    if (!provide('lab')) throw new Error('the lab needs the programs named above')
    progress(`making a Debian 13 root with ${packages.length} packages; about two minutes`)
    const options = ['APT::Install-Recommends "false"', ...downloadOptions()]
    // What mmdebstrap mounts in the root, /proc and /sys among it, is gone when it ends, however it ends.
    await run('unshare', [
      '--mount', '--propagation', 'private', 'mmdebstrap', '--mode=root', '--variant=apt',
      ...options.map((option) => `--aptopt=${option}`),
      ...excluded.map((path) => `--dpkgopt=path-exclude=${path}`),
      `--include=${packages.join(',')}`,
      `--customize-hook=${installKernel}`,
      SUITES[0], join(folder, 'tree'), '-',
    ], {
      input: sources(),
      line: (line) => { if (/^I: /.test(line)) progress(line.slice(3)) },
    })
  })
  const path = join(folder, 'tree')
  return { path, kernel: readFileSync(join(path, 'etc/efuse-lab-kernel'), 'utf8').trim() }
}
