// SPDX-License-Identifier: MIT
/**
 * efuse.ko's hooks in a guest: slots and tokens, answers, opens, backing files and rings, begin and reply; what must be
 * refused, and what must do no harm.
 */
import t from 'tap'
import { share, testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

await testInGuest(t, {
  hooks: `node dist/test/kernel/guest/hooks.js ${share}`,
  io: 'node dist/test/kernel/guest/hooks-io.js',
  safety: `node dist/test/kernel/guest/hooks-safety.js ${share}`,
}, { seconds: 2400, cpus: 2 })
