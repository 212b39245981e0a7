// SPDX-License-Identifier: MIT
/** Data read and written by efuse.ko's programs, in a guest of 4 CPUs: what is answered, and never a wrong byte. */
import t from 'tap'
import { share, testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

const operations = share === 'full' ? 200_000 : 3000

const program = 'node dist/test/kernel/guest/data.js'

await testInGuest(t, {
  answers: `${program} --part answers`,
  coherence: `${program} --part coherence --operations ${operations}`,
}, { seconds: share === 'full' ? 14_400 : 1500, cpus: 4 })
