// SPDX-License-Identifier: MIT
/**
 * Metadata answered by efuse.ko's programs, in a guest of 4 CPUs: what is answered, to whom, and never stale.
 *
 * The ci share does each mode of the coherence checker for a short while. The full one does a million operations in each, in
 * pieces that are remembered: ended and started again, it goes on with what is left.
 */
import t from 'tap'
import { share, testInGuest } from './lab.js'
import { runRemembered, type Run } from './records.js'

// Each guest has its own limit.
t.setTimeout(0)

const program = 'node dist/test/kernel/guest/metadata.js'

/** The modes, as expressions that fit the tests' names. */
const MODES = [
  'exclusive$', 'exclusive, with', 'exclusive, maps', 'exclusive, passthrough', 'exclusive, writeback', 'shared: what', 'shared, maps',
  'watched: what', 'attached and detached',
]
const PIECE = 20_000
const ROUNDS = 1_000_000 / PIECE

if (share === 'full') {
  const pieces = Array.from({ length: ROUNDS }, (_, round) => MODES.map((mode): Run => ({
    title: `${mode}, operations from ${round * PIECE} on`,
    // The time is what chance begins with; the number tells the pieces apart.
    command: `${program} --part coherence --only '${mode}' --operations ${PIECE} --piece ${round}`,
    sources: ['test/kernel/guest/metadata.ts', 'test/kernel/guest/metadata-check.c'],
  }))).flat()
  await testInGuest(t, { answers: `${program} --part answers` }, { seconds: 2400, cpus: 4 })
  await runRemembered(t, pieces, ['src', 'kernel', 'bpf/efuse.h', 'bpf/metadata.h', 'bpf/metadata.bpf.c'],
    ({ title, command }) => testInGuest(t, { [title]: command }, { seconds: 3600, cpus: 4 }))
} else {
  await testInGuest(t, {
    answers: `${program} --part answers`,
    coherence: `${program} --part coherence --operations 1000`,
  }, { seconds: 2400, cpus: 4 })
}
