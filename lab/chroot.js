// SPDX-License-Identifier: MIT
/**
 * Commands in the lab's root: a compiler for the guest's kernel. The root itself stays as it was made; what a
 * command writes outside the folders that it is given vanishes with it.
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** Where the repository is seen inside. */
export const REPOSITORY = '/efuse'
const repository = fileURLToPath(new URL('..', import.meta.url))

/**
 * In a mount namespace of its own, which ends with the command: an overlay over the root, the folders that are
 * shared with the host, and /proc, without which objtool fails. The host's mounts are let go of: whoever unmounts one
 * meanwhile must not have to wait for us.
 */
const enter = `set -e
root=$1 work=$2; shift 2
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/overlay" "$work/root"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/overlay" "$work/root"
while [ "$1" != -- ]; do
  mkdir -p "$work/root$2"
  mount --bind "$1" "$work/root$2"
  shift 2
done
shift
mount -t proc proc "$work/root/proc"
mount --rbind /dev "$work/root/dev"
mkdir -p "$work/root/sys/kernel"
cd "$work/root"
mkdir -p .host
pivot_root . .host
exec chroot . sh -c 'umount -l /.host && exec "$@"' sh "$@"
`

/**
 * Runs a command in the root, with the repository at /efuse.
 *
 * @param {string} root
 * @param {string[]} command
 * @param {{ binds?: [host: string, inside: string][], cwd?: string, output?: { text: string } }} options
 *   `binds`: further folders of the host that it sees and may write to; `output`: gets what it prints, which otherwise
 *   goes to this process's own output
 * @returns {Promise<number>} its exit status
 */
export function inRoot(root, command, { binds = [], cwd = REPOSITORY, output } = {}) {
  const shared = [[repository, REPOSITORY], ...binds].flat()
  const words = ['sh', '-c', 'cd "$0" && exec "$@"', cwd, ...command]
  // Any folder does to mount a tmpfs on, as nobody else sees it.
  const args = ['--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', enter, 'enter', root, '/mnt', ...shared, '--', ...words]
  return new Promise((resolve, reject) => {
    const env = {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LC_ALL: 'C.UTF-8', TERM: process.env.TERM ?? 'dumb',
    }
    // It ends with this process, whatever ends that; and with it all that runs in its process namespace.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...args], {
      stdio: output === undefined ? 'inherit' : ['ignore', 'pipe', 'pipe'], env,
    })
    for (const stream of output === undefined ? [] : [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => { output.text += text })
    }
    child.on('error', reject)
    child.on('close', (status, signal) => resolve(signal === null ? status : 128))
  })
}
