// SPDX-License-Identifier: MIT
/** Rings chosen by programs, in a guest: each policy, policies that change under load, CPUs that come and go, fewer rings. */
import t from 'tap'
import { share, testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

for (const cpus of share === 'full' ? [2, 4, 8] : [4]) {
  await testInGuest(t, { [`${cpus} CPUs`]: 'node dist/test/kernel/guest/balance.js' }, { seconds: 1200, cpus })
}
