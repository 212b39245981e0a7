// SPDX-License-Identifier: MIT
/**
 * Metadata answered by efuse.ko's programs, in a guest of 4 CPUs: what is answered, to whom, and never stale.
 *
 * The ci share asks for what is answered, and does three modes of the coherence checker for a short while. The full one
 * does a million operations in each mode, in pieces that are remembered: ended and started again, it goes on with what is
 * left. It goes round the modes, so that all have had the same when it is ended. It also has the POSIX matrix on programs
 * of others, the command line, and memory.
 */
import t from 'tap'
import { examples, share, testInGuest } from './lab.js'
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
  const sources = ['test/kernel/guest/metadata.ts', 'test/kernel/guest/metadata-check.c']
  const pieces = Array.from({ length: ROUNDS }, (_, round) => MODES.map((mode): Run => ({
    title: `${mode}, operations from ${round * PIECE} on`,
    // The time is what chance begins with; the number tells the pieces apart.
    command: `${program} --part coherence --only '${mode}' --operations ${PIECE} --piece ${round}`,
    sources,
  }))).flat()
  const others: Run[] = [
    { title: 'answers', command: `${program} --part answers`, sources },
    { title: 'the command line', command: `${program} --part command`, sources },
    { title: 'memory with 20,000 files', command: `${program} --part memory --files 20000`, sources },
    { title: 'delays of watched', command: `${program} --part coherence --only 'watched: how'`, sources },
    { title: 'the checker without programs', command: `${program} --part coherence --only 'without programs'`, sources },
    {
      title: 'POSIX matrix on programs of others', command: 'node dist/test/kernel/guest/metadata-posix.js',
      sources: ['test/kernel/guest/metadata-posix.ts', 'test/suites/posix'],
    },
  ]
  await runRemembered(t, [...others, ...pieces], ['src', 'kernel', 'bpf/efuse.h', 'bpf/metadata.h', 'bpf/metadata.bpf.c'],
    ({ title, command }) => testInGuest(t, { [title]: command },
      { seconds: 7200, cpus: 4, options: ['--file', `${examples()}:/examples`] }))
} else {
  await testInGuest(t, {
    answers: `${program} --part answers`,
    coherence: `${program} --part coherence --only '^(exclusive, with|shared: what|watched: what)' --operations 600`,
  }, { seconds: 2400, cpus: 4 })
}
