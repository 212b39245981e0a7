// SPDX-License-Identifier: MIT
/** Metadata answered by efuse.ko's programs, in a guest of 4 CPUs: what is answered, to whom, and never stale. */
import t from 'tap'
import { share, testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

const operations = share === 'full' ? 1_000_000 : 6000

const program = 'node dist/test/kernel/guest/metadata.js'

await testInGuest(t, {
  answers: `${program} --part answers`,
  coherence: `${program} --part coherence --operations ${operations}`,
}, { seconds: share === 'full' ? 14_400 : 1500, cpus: 4 })
