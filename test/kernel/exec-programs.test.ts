// SPDX-License-Identifier: MIT
/** libfuse's example file systems, bindfs and sshfs under `efuse exec` in a guest: unmodified, on efuse mounts. */
import t from 'tap'
import { examples, share, testInGuest } from './lab.js'

// Each guest has its own limit. V8's second compiler of WebAssembly has aborted once in emulation (Node 20).
t.setTimeout(0)

await testInGuest(t, { 'programs of libfuse': `node --liftoff-only dist/test/kernel/guest/programs.js --share ${share}` },
  { seconds: 1500, cpus: 2, options: ['--file', `${examples()}:/examples`] })
