// SPDX-License-Identifier: MIT
/** Which locks requests on rings take that other CPUs take, too, in a guest of 4 CPUs. */
import t from 'tap'
import { share, testInGuest } from './lab.js'

// The guest has its own limit.
t.setTimeout(0)

await testInGuest(t, { locks: `node dist/test/kernel/guest/locks.js --share=${share}` }, { seconds: 2400, cpus: 4 })
