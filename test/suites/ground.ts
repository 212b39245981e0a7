// SPDX-License-Identifier: MIT
/**
 * The ground a suite stands on: a StackFS mount made for it and torn down after it, or any directory given
 * with `--target=DIR`, ext4 for instance, which is the reference that every suite passes.
 *
 * The server is always a process of its own, and every command that touches it runs under a time limit: a
 * mount that hangs fails its test instead of hanging it.
 */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

/** Where package.json is, seen from dist/test/suites. */
export const packageRoot = resolve(dirname(fileURLToPath(import.meta.url)), '../../..')
const command = join(packageRoot, 'efuse.js')

/** `--name=value` or `--name value` of this test's command line. */
export function argument(name: string): string | undefined {
  const prefix = `--${name}=`
  const joined = process.argv.find((word) => word.startsWith(prefix))
  if (joined !== undefined) return joined.slice(prefix.length)
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? undefined : process.argv[at + 1]
}

export const target = argument('target')
/** `ci`: what a change must pass, in minutes; `full`: everything, in hours; `small`: for guests, which are emulated. */
export const share = argument('share') ?? 'ci'
if (!['small', 'ci', 'full'].includes(share)) throw new Error(`--share=${share}: it is small, ci or full`)
/** Names of the parts to run, of a suite that has several; empty: all. */
export const only = argument('only') ?? ''
const way = argument('way')
/** How much slower than usual this machine may be. */
export const patience = Number(process.env.EFUSE_TEST_PATIENCE ?? 1)

/** Of the ways to mount that a suite has, those whose names begin with `--way=`; all without it. */
export function ways(all: Readonly<Record<string, string>>): [name: string, options: string][] {
  const chosen = Object.entries(all).filter(([name]) => way === undefined || name.startsWith(way))
  if (chosen.length === 0) throw new Error(`--way=${way}: there are ${Object.keys(all).join('; ')}`)
  return chosen
}

/** Somebody who is not root: an account that every Debian has. */
export const ordinaryUser = { name: 'nobody', uid: 65534, gid: 65534 }
export type User = typeof ordinaryUser

export interface Outcome {
  status: number | null
  stdout: string
  stderr: string
}

export interface RunOptions {
  user?: User
  cwd?: string
  env?: NodeJS.ProcessEnv
  /** Seconds, after which the command and its children are ended; more where patience is asked for. */
  seconds?: number
}

/** Runs a command to its end, whatever its exit status. */
export function run(program: string, args: string[], options: RunOptions = {}): Promise<Outcome> {
  const { user, cwd = '/', env, seconds = 60 } = options
  const words = ['timeout', '-k', '5', String(seconds * patience)]
  if (user !== undefined) words.push('setpriv', `--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups')
  words.push(program, ...args)
  return new Promise((resolve, reject) => {
    const child = spawn(words[0], words.slice(1), { cwd, env: env ?? process.env, stdio: ['ignore', 'pipe', 'pipe'] })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text })
    child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text })
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, stdout, stderr }))
  })
}

/** As run(), but a failure of the command is an error that shows what it said. */
export async function demand(program: string, args: string[], options: RunOptions = {}): Promise<string> {
  const outcome = await run(program, args, options)
  if (outcome.status !== 0) {
    const said = `${outcome.stdout}\n${outcome.stderr}`.trim().split('\n').slice(-40).join('\n')
    const why = outcome.status === 124 ? 'took too long' : `ended with ${outcome.status}`
    throw new Error(`${program} ${args.join(' ')} ${why}:\n${said}`)
  }
  return outcome.stdout
}

/** On a disk: the tests of sparse files, attributes and handles want a real file system. */
const temporaryPlace = process.env.EFUSE_SUITES_DIR ?? '/var/tmp'

/** A directory of this test's own, gone when it ends. */
export function temporaryDirectory(t: Test, user?: User): string {
  const path = mkdtempSync(join(temporaryPlace, 'suites-'))
  chmodSync(path, 0o755)
  if (user !== undefined) chownSync(path, user.uid, user.gid)
  t.teardown(() => {
    if (mountedBelow(path)) return
    // stress-ng ends its processes when time is up, wherever they are: a file may be left that can't be removed.
    spawnSync('chattr', ['-R', '-f', '-i', '-a', path])
    rmSync(path, { recursive: true, force: true })
  })
  return path
}

function mountedBelow(path: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'utf8').split('\n').some((line) => {
    const mountpoint = line.split(' ')[4]
    return mountpoint === path || mountpoint?.startsWith(`${path}/`)
  })
}

/**
 * Compiles C sources of this package into a program: the machine's own cc, or somebody before us, where that takes
 * minutes, and has put it into $EFUSE_SUITES_PROGRAMS.
 */
export async function compile(t: Test, name: string, sources: string[]): Promise<string> {
  const compiled = process.env.EFUSE_SUITES_PROGRAMS
  if (compiled !== undefined) return join(compiled, name)
  const program = join(temporaryDirectory(t), name)
  const paths = sources.map((source) => join(packageRoot, source))
  await demand('cc', ['-std=gnu17', '-O1', '-Wall', '-Wextra', '-Werror', '-o', program, ...paths], { seconds: 120 })
  return program
}

/** Ended, though init may not have collected it yet. */
function hasEnded(pid: number): boolean {
  try {
    return / [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/, ''))
  } catch {
    return true
  }
}

export interface GroundOptions {
  /** The mount's `-o`. */
  options?: string
  /** Whose mount it is; root's by default. */
  user?: User
  /** The server's limit of open files. */
  openFiles?: number
}

export interface Ground {
  /** Where to work. */
  directory: string
  /** The same directory behind the mount; undefined on a plain target. */
  source?: string
  /** The server's process; undefined on a plain target. */
  pid?: number
  /** The running mount's report (`efuse stat --json`). */
  report(): Promise<{ operations: Record<string, { count: number, errors: number }> }>
  /** Unmounts and checks that nothing is left; at the test's end it happens by itself. */
  leave(): Promise<void>
}

/**
 * Lets ordinary users open /dev/fuse, as udev does on a full system; a container's may be root's only.
 */
export function openDevice(t: Test): void {
  const { mode } = statSync('/dev/fuse')
  if ((mode & 0o006) === 0o006) return
  chmodSync('/dev/fuse', mode | 0o666)
  t.teardown(() => chmodSync('/dev/fuse', mode))
}

let readableCopy: string | undefined

/**
 * The package as this user can read it: an ordinary user can't when it lies in root's home, and gets a copy.
 */
export async function packageFor(user: User | undefined): Promise<string> {
  if (user === undefined || (await run('test', ['-r', command], { user })).status === 0) return packageRoot
  if (readableCopy !== undefined) return readableCopy
  const copy = mkdtempSync(join(temporaryPlace, 'suites-'))
  process.on('exit', () => rmSync(copy, { recursive: true, force: true }))
  const parts = ['efuse.js', 'package.json', 'package-lock.json', 'dist', 'native-min', 'node_modules', 'test/suites']
  await demand('cp', ['-a', '--parents', ...parts, copy], { cwd: packageRoot, seconds: 300 })
  await demand('chmod', ['-R', 'a+rX', copy])
  readableCopy = copy
  return copy
}

/** The environment of somebody's own shell: nothing of root's may leak into it. */
export function environmentOf(user: User | undefined, home: string): NodeJS.ProcessEnv {
  if (user === undefined) return { ...process.env, LC_ALL: 'C.UTF-8' }
  return { PATH: process.env.PATH, HOME: home, USER: user.name, LC_ALL: 'C.UTF-8', XDG_RUNTIME_DIR: home }
}

/** Makes the ground for one test. */
export async function standOn(t: Test, settings: GroundOptions = {}): Promise<Ground> {
  const { user, openFiles } = settings
  if (target !== undefined) {
    const directory = mkdtempSync(join(resolve(target), 'suite-'))
    chmodSync(directory, 0o755)
    if (user !== undefined) chownSync(directory, user.uid, user.gid)
    t.teardown(() => rmSync(directory, { recursive: true, force: true }))
    return { directory, report: async () => ({ operations: {} }), leave: async () => {} }
  }
  if (user !== undefined) openDevice(t)
  const base = temporaryDirectory(t, user)
  // Under different parents, so that ".." tells the client's way from the server's.
  const [behind, front] = [join(base, 'behind'), join(base, 'front')]
  const source = join(behind, 'source')
  const directory = join(front, 'mount')
  for (const path of [behind, front, source, directory]) {
    mkdirSync(path, { mode: 0o755 })
    if (user !== undefined) chownSync(path, user.uid, user.gid)
  }
  const efuse = join(await packageFor(user), 'efuse.js')
  const env = environmentOf(user, base)
  const options = settings.options ?? (user === undefined ? 'allow_other,default_permissions' : 'default_permissions')
  if (options.includes('rings=uring')) offerUring(t)
  const script = `${openFiles === undefined ? '' : `ulimit -n ${openFiles}; `}exec "$@"`
  let left = false
  const detach = (): void => {
    if (left) return
    spawnSync('timeout', ['-k', '5', '20', 'umount', '-l', directory], { stdio: 'ignore' })
  }
  // The harness may end this process by a signal; its mount must not stay.
  const ended = (): void => { detach(); process.exit(1) }
  process.once('SIGTERM', ended).once('SIGINT', ended)
  // On efuse mounts programs are attached by themselves.
  const { EFUSE_TEST_ACCEL = 'off', EFUSE_TEST_COHERENCE = 'shared' } = process.env
  const accel = kernelType === 'efuse' ? ['--accel', EFUSE_TEST_ACCEL, '--coherence', EFUSE_TEST_COHERENCE] : []
  await demand('bash', ['-c', script, 'mount', 'node', efuse, 'mount', source, directory, '-o', options, ...accel],
    { user, env, seconds: 60 })
  const listed = JSON.parse(await demand('node', [efuse, 'list', '--json'], { user, env })) as
    { mountpoint: string, pid: number }[]
  const pid = listed.find(({ mountpoint }) => mountpoint === directory)?.pid
  const leave = async (): Promise<void> => {
    if (left) return
    process.off('SIGTERM', ended).off('SIGINT', ended)
    const outcome = await run('node', [efuse, 'umount', directory], { user, env, seconds: 60 })
    const gone = !mountedBelow(directory)
    detach()
    left = true
    const over = pid === undefined || hasEnded(pid)
    if (!over) process.kill(pid, 'SIGKILL')
    t.equal(outcome.status, 0, `umount succeeds ${outcome.stderr}`)
    t.ok(gone, 'the mount is gone')
    t.ok(over, 'the server has ended')
  }
  // Registered last, so that it runs before the directories are removed.
  t.teardown(leave)
  return {
    directory,
    source,
    pid,
    report: async () => JSON.parse(await demand('node', [efuse, 'stat', directory, '--json'], { user, env })),
    leave,
  }
}

/** The module whose mounts these are: efuse where it is loaded, as in the lab. */
const kernelType = existsSync('/dev/efuse') ? 'efuse' : 'fuse'

/** The kernel offers FUSE over io_uring only when it is told to: until this test ends, unless it did before. */
function offerUring(t: Test): void {
  const parameter = `/sys/module/${kernelType}/parameters/enable_uring`
  const before = readFileSync(parameter, 'ascii')
  if (before.startsWith('Y')) return
  writeFileSync(parameter, '1')
  t.teardown(() => writeFileSync(parameter, before))
}

/** Skips nothing silently: what a suite needs and does not find is a failure. */
export function needRoot(): void {
  if (userInfo().uid !== 0) throw new Error('this suite acts as several users and must run as root')
}
