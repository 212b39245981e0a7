// SPDX-License-Identifier: MIT
/**
 * The tests and suites of mounts, which pass on the kernel's own FUSE, on efuse mounts in a guest: with no program, with
 * programs that pass in all hooks, and with those attached and detached every 10 ms. The module then unloads, and the
 * guest's kernel has nothing to complain about.
 *
 * The ci share has something of each kind, in minutes. The full one is everything, in hours, each piece in a guest of its
 * own: what has passed is remembered outside the repository, as long as nothing that decides about it has changed, so
 * that a run goes on where one before was ended. Left out are a run of npm and a download, as guests have no network,
 * and ordinary users' mounts, which are made by fusermount3 and so never of type efuse.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { chroot, kernel, ROOT, share, testInGuest } from './lab.js'

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
  ['programs that come and go', 'fsx', suite('fsx', '--way=without passthrough', '--share=small')],
  ['programs that come and go', 'SQLite and a compiler', suite('work', '--user=root', '--share=small')],
]

// The full share ------------------------------------------------------------------------------------

/** What decides whether any piece passes. */
const COMMON = [
  'src', 'native-min', 'kernel', 'bpf/efuse.h', 'bpf/test/efuse_pass.bpf.c', 'lab', 'test/kernel/guest/attach.c',
  'test/kernel/guest/attached.ts', 'test/kernel/guest/run-tests.sh', 'efuse.js', 'package-lock.json',
]
const RECORDS = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'efuse', 'kernel-full')

function contents(path: string): string[] {
  const full = join(ROOT, path)
  if (!statSync(full).isDirectory()) return [path, readFileSync(full, 'latin1')]
  return readdirSync(full).filter((name) => name !== 'build').sort().flatMap((name) => contents(join(path, name)))
}

function hash(...parts: string[]): string {
  const sum = createHash('sha256')
  for (const part of parts) sum.update(`${part.length}:`).update(part)
  return sum.digest('hex')
}

async function runEverything(): Promise<void> {
  const { stdout: version } = await chroot('cat', '/etc/efuse-lab-kernel')
  const common = hash(kernel, version, process.version, ...COMMON.flatMap(contents))
  const runs = Object.entries(everything).flatMap(([name, piece]) =>
    (Object.keys(MODES) as Mode[]).map((mode) => ({ title: `${name}, ${mode}`, command: MODES[mode](piece.command), piece })))
  mkdirSync(RECORDS, { recursive: true })
  for (const [index, { title, command, piece }] of runs.entries()) {
    const where = `${index + 1} of ${runs.length}: ${title}`
    const record = join(RECORDS, hash(common, command, ...piece.sources.flatMap(contents)).slice(0, 32))
    if (existsSync(record)) {
      process.stderr.write(`kernel: ${where}: passed ${readFileSync(record, 'utf8').trim()}\n`)
      t.pass(`${title}: passed before`)
      continue
    }
    process.stderr.write(`kernel: ${where} ...\n`)
    const started = Date.now()
    const passed = await testInGuest(t, { [title]: command }, { seconds: 7200 })
    const seconds = Math.round((Date.now() - started) / 1000)
    process.stderr.write(`kernel: ${where}: ${passed ? 'passed' : 'FAILED'} in ${seconds} s\n`)
    if (passed) writeFileSync(record, `${new Date().toISOString()} in ${seconds} s: ${title}\n`)
  }
}

/** Done in the lab's root, where compilers are not emulated; they get to the guest as part of dist. */
async function compilePrograms(): Promise<void> {
  const folder = 'dist/test/kernel/guest/programs'
  const { status, stderr } = await chroot('bash', '-ec', `mkdir -p ${folder}
    compile() { cc -std=gnu17 -O1 -Wall -Wextra -Werror -o "${folder}/$@"; }
    compile attach test/kernel/guest/attach.c
    compile fsx test/suites/fsx/fsx.c
    compile posix test/suites/posix/*.c`)
  if (status !== 0) throw new Error(stderr)
}

await compilePrograms()
if (share === 'full') await runEverything()
else {
  const programs = some.map(([mode, name, { command }]) => [`${name}, ${mode}`, MODES[mode](command)])
  await testInGuest(t, Object.fromEntries(programs), { seconds: kernel === 'debug' ? 7200 : 1500 })
}
