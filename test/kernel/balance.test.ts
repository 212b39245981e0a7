// SPDX-License-Identifier: MIT
/**
 * Rings chosen by programs, in a guest: each policy, policies that change under load, CPUs that come and go, fewer rings. In
 * the full share on 2, 4 and 8 CPUs, and there also one CPU that reads deeply, compared with the simulator.
 */
import t from 'tap'
import { share, testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

const balance = 'node dist/test/kernel/guest/balance.js'
if (share === 'full') {
  for (const cpus of [4, 2, 8]) {
    await testInGuest(t, { [`${cpus} CPUs`]: `${balance} --share=full` }, { seconds: 2400, cpus })
    await testInGuest(t, { [`one of ${cpus} CPUs reads deeply`]: 'node dist/test/kernel/guest/balance-skew.js' },
      { seconds: 2400, cpus, options: ['--icount'] })
  }
} else {
  await testInGuest(t, { '4 CPUs': balance }, { seconds: 2400, cpus: 4 })
}
