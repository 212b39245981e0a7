// SPDX-License-Identifier: MIT
/**
 * `efuse exec` in a guest: libfuse's example file systems, bindfs and sshfs, unmodified, on efuse mounts. The examples
 * come with Debian's libfuse3-dev; they are compiled in the lab's root, which is faster than the guest.
 */
import { spawnSync } from 'node:child_process'
import { join, relative } from 'node:path'
import t from 'tap'
import { ROOT, temporary, testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

const EXAMPLES = '/usr/share/doc/libfuse3-dev/examples'
const folder = temporary(t, join(ROOT, 'build'))
const inside = `/efuse/${relative(ROOT, folder)}`
const compile = `set -e
  for name in hello hello_ll null passthrough passthrough_fh passthrough_ll; do
    cc -O1 -w -o ${inside}/$name ${EXAMPLES}/$name.c $(pkgconf --cflags --libs fuse3)
  done
  c++ -O1 -w -o ${inside}/passthrough_hp ${EXAMPLES}/passthrough_hp.cc $(pkgconf --cflags --libs fuse3)`
const compiled = spawnSync(join(ROOT, 'lab/chroot'), ['sh', '-c', compile], { encoding: 'utf8', timeout: 600_000 })
t.equal(compiled.status, 0, "libfuse's examples compile", { said: compiled.stderr.split('\n').slice(-20) })

await testInGuest(t, {
  'programs of libfuse': 'node dist/test/kernel/guest/programs.js',
  'exec': 'node dist/test/kernel/guest/exec.js',
}, { seconds: 840, cpus: 2, options: ['--file', `${folder}:/examples`] })
