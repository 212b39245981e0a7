// SPDX-License-Identifier: MIT
/**
 * Data read and written by efuse.ko's programs, in a guest of 4 CPUs: what is answered, and never a wrong byte.
 *
 * The full share takes hours, each piece in a guest of its own; ended and started again, it goes on with what is left.
 */
import t from 'tap'
import { share, testInGuest } from './lab.js'
import { runRemembered, type Run } from './records.js'

// Each guest has its own limit.
t.setTimeout(0)

const program = 'node dist/test/kernel/guest/data.js'

/** Expressions that fit the tests' names. */
const COHERENCE = [
  'a cache that thrashes', ', adaptive', ', cache', 'the server writes', ', direct', '^files that only the server has',
  'with metadata answered', '^files that the kernel caches', 'attached and detached',
]
const BOUNDS = ['reads never show', 'a hundred times', 'leave nothing behind']

if (share === 'full') {
  const sources = ['test/kernel/guest/data.ts', 'test/kernel/guest/data-check.c', 'test/kernel/guest/data-leak.c']
  const piece = (title: string, args: string): Run => ({ title, command: `${program} --full --part ${args}`, sources })
  const pieces = [
    piece('answers', 'answers'),
    piece('files that only a server has', 'served'),
    ...COHERENCE.map((name) => piece(name, `coherence --operations 200000 --only '${name}'`)),
    ...BOUNDS.map((name) => piece(name, `bounds --operations 100000 --files 1000000 --only '${name}'`)),
  ]
  await runRemembered(t, pieces, ['src', 'native-min', 'kernel', 'bpf'],
    ({ title, command }) => testInGuest(t, { [title]: command }, { seconds: 14_400, cpus: 4 }))
} else {
  await testInGuest(t, {
    answers: `${program} --part answers`,
    served: `${program} --part served`,
    coherence: `${program} --part coherence --operations 500`,
  }, { seconds: 2400, cpus: 4 })
}
