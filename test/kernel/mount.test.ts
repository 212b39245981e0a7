// SPDX-License-Identifier: MIT
/**
 * The tests and suites of mounts, which pass on the kernel's own FUSE, on efuse mounts in a guest: with no program, with
 * programs that pass in all hooks, with metadata answered in the kernel (of the suites nobody else changes the source:
 * exclusive), and with the programs that pass attached and detached every 10 ms. The module then unloads, and the
 * guest's kernel has nothing to complain about.
 *
 * The ci share has something of each kind, in minutes. The full one is everything, in hours, each piece in a guest of its
 * own: what has passed is remembered outside the repository, as long as nothing that decides about it has changed, so
 * that a run goes on where one before was ended. Left out are a run of npm and a download, as guests have no network,
 * and ordinary users' mounts, which are made by fusermount3 and so never of type efuse.
 */
import t from 'tap'
import { share, testInGuest } from './lab.js'
import { runRemembered } from './records.js'

// Each guest has its own limit.
t.setTimeout(0)

interface Piece {
  command: string
  /** What of the repository it is made of, besides what all are. */
  sources: string[]
}

const MOUNT_TESTS = ['test/mount', 'test/memfs-mounted.test.ts', 'test/examples.test.ts', 'examples']
const file = (name: string): Piece => ({ command: `node dist/test/${name}.test.js`, sources: MOUNT_TESTS })
const suite = (name: string, ...args: string[]): Piece => ({
  command: ['node', `dist/test/suites/${name}/${name}.test.js`, ...args.map((word) => `'${word}'`)].join(' '),
  sources: ['test/suites/ground.ts', `test/suites/${name}`],
})
const work = (script: string, ...args: string[]): Piece => suite('work', `--only=${script}`, '--user=root', ...args)

const MODES = {
  'no program': (command: string) => command,
  'programs that pass': (command: string) => `node dist/test/kernel/guest/attached.js always ${quoted(command)}`,
  'metadata answered': (command: string) => `EFUSE_TEST_ACCEL=metadata EFUSE_TEST_COHERENCE=exclusive ${command}`,
  'programs that come and go': (command: string) => `node dist/test/kernel/guest/attached.js 10 ${quoted(command)}`,
}
type Mode = keyof typeof MODES

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`
}

const everything: Readonly<Record<string, Piece>> = {
  'life cycle': file('mount/lifecycle'),
  'notifications': file('mount/notify'),
  'rings': file('mount/rings'),
  'memfs': file('memfs-mounted'),
  'teardown': file('mount/teardown'),
  'options': file('mount/options'),
  'command line': file('mount/cli'),
  'examples': file('examples'),
  ...Object.fromEntries(['default', 'time-outs of 0', 'over io_uring'].map((way) => [`posix, ${way}`, suite('posix', `--way=${way}`)])),
  ...Object.fromEntries(['default', 'without passthrough', 'over io_uring', 'write-back', 'time-outs of 0', 'page cache']
    .map((way) => [`fsx, ${way}`, suite('fsx', `--way=${way}`)])),
  ...Object.fromEntries(['tree', 'git', 'sqlite', 'fio', 'stress', 'escape', 'many-inodes'].map((script) => [script, work(script)])),
  'build': work('build', '--share=small'),
  'leaks': suite('leaks'),
}

/** Of each kind something, and something in each mode: each of these takes a minute. */
const some: [Mode, string, Piece][] = [
  ['no program', 'notifications', everything.notifications],
  ['programs that pass', 'posix: attributes', suite('posix', '--way=default', '--only=attributes')],
  ['metadata answered', 'posix: open', suite('posix', '--way=default', '--only=open')],
  ['programs that come and go', 'fsx', suite('fsx', '--way=without passthrough', '--share=small')],
  ['programs that come and go', 'SQLite and a compiler', suite('work', '--user=root', '--share=small')],
]

// The full share ------------------------------------------------------------------------------------

/** What decides whether any piece passes. */
const COMMON = [
  'src', 'native-min', 'kernel', 'bpf/efuse.h', 'bpf/test/efuse_pass.bpf.c', 'lab', 'test/kernel/guest/attach.c',
  'test/kernel/guest/attached.ts', 'test/kernel/guest/run-tests.sh', 'efuse.js', 'package-lock.json',
]
async function runEverything(): Promise<void> {
  const runs = Object.entries(everything).flatMap(([name, { command, sources }]) => (Object.keys(MODES) as Mode[])
    .map((mode) => ({ title: `${name}, ${mode}`, command: MODES[mode](command), sources })))
  await runRemembered(t, runs, COMMON, ({ title, command }) => testInGuest(t, { [title]: command }, { seconds: 7200 }))
}

if (share === 'full') await runEverything()
else {
  const programs = some.map(([mode, name, { command }]) => [`${name}, ${mode}`, MODES[mode](command)])
  await testInGuest(t, Object.fromEntries(programs), { seconds: 2400 })
}
