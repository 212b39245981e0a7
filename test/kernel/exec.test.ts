// SPDX-License-Identifier: MIT
/** `efuse exec` in a guest: how it runs its program, and how that ends. */
import t from 'tap'
import { examples, testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

await testInGuest(t, { 'efuse exec': 'node dist/test/kernel/guest/exec.js' },
  { seconds: 2400, cpus: 2, options: ['--file', `${examples()}:/examples`] })
