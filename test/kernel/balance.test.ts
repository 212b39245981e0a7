// SPDX-License-Identifier: MIT
/**
 * Rings chosen by programs, in a guest: each policy, policies that change under load, CPUs that come and go, fewer rings;
 * and one CPU that reads deeply, compared with the simulator.
 */
import t from 'tap'
import { share, testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

for (const cpus of share === 'full' ? [2, 4, 8] : [4]) {
  await testInGuest(t, {
    [`${cpus} CPUs`]: 'node dist/test/kernel/guest/balance.js',
    'one of them reads deeply': 'node dist/test/kernel/guest/balance-skew.js',
  }, { seconds: 2400, cpus })
}
