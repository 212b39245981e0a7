// SPDX-License-Identifier: MIT
/**
 * What the tests need of the machine beyond Node: programs, and the Debian packages that bring them. This list
 * is the only one.
 */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Program, or file that is no program → Debian package. */
const forBpf = {
  // libbpf as WebAssembly and BPF objects; by number, as `clang` is another one.
  'clang-19': 'clang-19',
  'wasm-ld-19': 'lld-19',
  'llvm-strip-19': 'llvm-19',
  'wasm-opt': 'binaryen',
  '/usr/lib/wasm32-wasi/libc.a': 'wasi-libc',
  '/usr/lib/llvm-19/lib/clang/19/lib/wasi/libclang_rt.builtins-wasm32.a': 'libclang-rt-19-dev-wasm32',
  '/usr/include/linux/bpf.h': 'linux-libc-dev',
  '/usr/include/elf.h': 'libc6-dev',
}

const forTests = {
  ...forBpf,
  cc: 'gcc',
  'g++': 'g++',
  clang: 'clang',
  make: 'make',
  python3: 'python3',
  fusermount3: 'fuse3',
  git: 'git',
  rsync: 'rsync',
  tar: 'tar',
  diff: 'diffutils',
  find: 'findutils',
  sqlite3: 'sqlite3',
  fio: 'fio',
  'stress-ng': 'stress-ng',
  setfacl: 'acl',
  setfattr: 'attr',
  setpriv: 'util-linux',
  mount: 'mount',
  ps: 'procps',
  flock: 'util-linux',
  // Watched, watched in, and parsed by: the monitor's tests.
  bindfs: 'bindfs',
  tmux: 'tmux',
  '/usr/lib/python3/dist-packages/prometheus_client/parser.py': 'python3-prometheus-client',
}

/** To make and run the lab's guests. */
const forLab = {
  mmdebstrap: 'mmdebstrap',
  mke2fs: 'e2fsprogs',
  xz: 'xz-utils',
  unshare: 'util-linux',
  // mmdebstrap's own, where it is as good as optional.
  '/usr/share/keyrings/debian-archive-keyring.gpg': 'debian-archive-keyring',
}

function found(program) {
  if (program.startsWith('/')) return existsSync(program)
  return (process.env.PATH ?? '').split(delimiter).concat('/usr/sbin', '/sbin').some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function missing(wanted) {
  return Object.entries(wanted).filter(([program]) => !found(program))
}

/**
 * Installs what is missing when root may; otherwise says what that is. Whether all is there in the end.
 *
 * @param {'tests' | 'lab' | 'bpf'} purpose what the programs are for
 */
export function provide(purpose = 'tests') {
  const wanted = { tests: forTests, lab: forLab, bpf: forBpf }[purpose]
  const lacking = missing(wanted)
  if (lacking.length === 0) return true
  const packages = [...new Set(lacking.map(([, name]) => name))]
  if (process.getuid() !== 0 || !found('apt-get')) {
    for (const [program, name] of lacking) console.error(`missing: ${program} (Debian package ${name})`)
    console.error(`install them: apt-get install ${packages.join(' ')}`)
    return false
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const apt = (...args) => spawnSync('apt-get', ['-q', '-y', ...args], { env, encoding: 'utf8' })
  const lists = '/var/lib/apt/lists'
  const install = ['install', '--no-install-recommends', ...packages]
  console.error(`installing ${packages.join(' ')}`)
  if (!existsSync(lists) || !readdirSync(lists).some((name) => name.includes('Packages'))) apt('update')
  let installed = apt(...install)
  if (installed.status !== 0) {
    apt('update')
    installed = apt(...install)
  }
  if (installed.status !== 0) console.error(`${installed.stdout}${installed.stderr}`)
  const left = missing(wanted)
  for (const [program, name] of left) console.error(`missing: ${program} (Debian package ${name})`)
  return left.length === 0
}
