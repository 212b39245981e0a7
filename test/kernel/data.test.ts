// SPDX-License-Identifier: MIT
/** Data read and written by efuse.ko's programs, in a guest of 4 CPUs: what is answered, and never a wrong byte. */
import t from 'tap'
import { share, testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

const full = share === 'full'
const program = `node dist/test/kernel/guest/data.js${full ? ' --full' : ''}`

await testInGuest(t, {
  answers: `${program} --part answers`,
  served: `${program} --part served`,
  coherence: `${program} --part coherence --operations ${full ? 200_000 : 500}`,
  ...full ? { bounds: `${program} --part bounds --operations 100000 --files 1000000` } : {},
}, { seconds: full ? 14_400 : 2400, cpus: 4 })
