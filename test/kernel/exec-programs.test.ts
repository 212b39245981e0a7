// SPDX-License-Identifier: MIT
/** libfuse's example file systems, bindfs and sshfs under `efuse exec` in a guest: unmodified, on efuse mounts. */
import t from 'tap'
import { examples, share, testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

await testInGuest(t, { 'programs of libfuse': `node dist/test/kernel/guest/programs.js --share ${share}` },
  { seconds: 2400, cpus: 2, options: ['--file', `${examples()}:/examples`] })
