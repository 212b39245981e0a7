// SPDX-License-Identifier: MIT
/** Mounts that end in all ways, at any moment, under load on four CPUs, with programs attached. */
import t from 'tap'
import { kernel, share, testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

const seconds = share === 'full' ? 1800 : kernel === 'debug' ? 600 : 90
const seed = share === 'full' ? Date.now() % 100_000 : 1
await testInGuest(t, { teardown: `node dist/test/kernel/guest/hooks-teardown.js ${seconds} ${seed}` }, {
  seconds: seconds * 2 + 700, cpus: 4,
})
