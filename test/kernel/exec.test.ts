// SPDX-License-Identifier: MIT
/** `efuse exec` in a guest: libfuse's example file systems, bindfs and sshfs, unmodified, on efuse mounts. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { ROOT, testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

const examples = execFileSync(process.execPath, [join(ROOT, 'lab/examples.js')], { encoding: 'utf8', timeout: 600_000 }).trim()

await testInGuest(t, {
  'programs of libfuse': 'node dist/test/kernel/guest/programs.js',
  'exec': 'node dist/test/kernel/guest/exec.js',
}, { seconds: 840, cpus: 2, options: ['--file', `${examples}:/examples`] })
