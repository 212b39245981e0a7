// SPDX-License-Identifier: MIT
/** efuse.ko's hooks in a guest: slots and tokens, answers, opens, what must be refused, what must not do harm. */
import t from 'tap'
import { testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

await testInGuest(t, { hooks: 'node dist/test/kernel/guest/hooks.js' }, { seconds: 600, cpus: 2 })
