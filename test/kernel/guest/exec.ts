// SPDX-License-Identifier: MIT
/** In the guest: how `efuse exec` runs its program, and how that ends. */
import type { ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { efuse, exit, place, processesOf, procMounts, ROOT, run, startEfuse } from '../../mount/support.js'
import { answers, until } from './wait.js'

t.setTimeout(0)

/** Where acceleration is not what it is about: loading it takes seconds in a guest. */
const PLAIN = ['--accel', 'off']
const HELLO = '/examples/hello'
const TALLY = join(ROOT, 'dist/bpf/test/efuse_tally.bpf.o')

interface Started {
  child: ChildProcess
  mountpoint: string
  directory: string
}

async function started(t: Test, options: readonly string[], command: readonly string[]): Promise<Started> {
  const { mountpoint, directory } = place(t)
  const child = startEfuse(['exec', mountpoint, ...options, '--', ...command])
  t.teardown(() => child.kill('SIGKILL'))
  t.ok(await answers(mountpoint, child), command.join(' '))
  return { child, mountpoint, directory }
}

/** Processes of the program that serves, without the one of `efuse exec`. */
function serving(name: string): number[] {
  return processesOf(name).filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith(name))
}

await t.test('the program\'s exit status is the command\'s', async (t) => {
  const { mountpoint, directory } = place(t)
  t.equal((await efuse('exec', mountpoint, '--', 'sh', '-c', 'exit 7', '{}')).status, 7)
  t.equal((await efuse('exec', mountpoint, ...PLAIN, '--', 'sh', '-c', 'exit 0', '{}')).status, 0)
  t.equal((await efuse('exec', mountpoint, ...PLAIN, '--', 'sh', '-c', 'kill -9 $$', '{}')).status, 137, 'killed')
  const told = join(directory, 'told')
  const tell = `echo "$@" > ${told}; readlink $1 >> ${told}`
  t.equal((await efuse('exec', mountpoint, ...PLAIN, '--', 'sh', '-c', tell, 'sh', mountpoint)).status, 0)
  t.equal(readFileSync(told, 'utf8'), '/dev/fd/3\n/dev/efuse\n', 'it has the device in place of MOUNTPOINT')
  const absent = await efuse('exec', mountpoint, ...PLAIN, '--', join(directory, 'absent'), '{}')
  t.equal(absent.status, 1)
  t.match(absent.stderr, /^efuse: the program .* is not found: [^\n]+\n$/)
  t.equal(procMounts(mountpoint), null)
})

await t.test('signals reach the program', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1'] as const) {
    const { mountpoint, directory } = place(t)
    const ready = join(directory, 'ready')
    const child = startEfuse(['exec', mountpoint, ...PLAIN, '--', 'sh', '-c',
      `trap 'exit 42' ${signal.slice(3)}; : > ${ready}; while :; do sleep 0.1; done`, '{}'])
    t.ok(await until(() => existsSync(ready)))
    child.kill(signal)
    t.equal(await exit(child), 42, signal)
    t.equal(procMounts(mountpoint), null, 'unmounted')
  }
})

await t.test('a program that is killed takes its mount with it', async (t) => {
  const { child, mountpoint } = await started(t, PLAIN, [HELLO, '-f', '{}'])
  const [pid] = serving(HELLO)
  process.kill(pid, 'SIGSTOP')
  const waiting = run('cat', [join(mountpoint, 'hello')])
  t.ok(await until(() => /fuse|request_wait/.test(readFileSync(`/proc/${processesOf(join(mountpoint, 'hello'))[0]}/wchan`, 'latin1'))),
    'somebody waits for an answer')
  process.kill(pid, 'SIGKILL')
  t.equal(await exit(child), 137)
  t.not((await waiting).status, 0, 'who waited got an error')
  t.equal(procMounts(mountpoint), null)
})

await t.test('a program in the background is waited for', async (t) => {
  const { child, mountpoint } = await started(t, ['-o', 'allow_other,fsname=greeting,noatime'], [HELLO, '{}'])
  t.equal((await run('cat', [join(mountpoint, 'hello')])).stdout, 'Hello World!\n')
  t.match(procMounts(mountpoint), { device: 'greeting', options: ['rw', 'noatime'] })
  t.ok(procMounts(mountpoint)!.options.includes('allow_other'))
  t.notOk(procMounts(mountpoint)!.options.includes('default_permissions'), 'the program checks permissions')
  t.equal(child.exitCode, null, 'while it serves')
  const listed = JSON.parse((await efuse('list', '--json')).stdout)
  t.match(listed, [{ mountpoint, source: 'greeting', type: 'efuse', pid: child.pid }])
  t.match(await efuse('umount', mountpoint), { status: 0, stderr: '' })
  t.equal(await exit(child), 0)
  t.strictSame(serving(HELLO), [])

  const again = await started(t, PLAIN, [HELLO, '{}'])
  t.equal((await run('cat', [join(again.mountpoint, 'hello')])).stdout, 'Hello World!\n')
  again.child.kill('SIGTERM')
  t.equal(await exit(again.child), 0, 'SIGTERM unmounts')
  t.equal(procMounts(again.mountpoint), null)
  t.ok(await until(() => serving(HELLO).length === 0), 'and the program ends')
})

await t.test('stat tells what the kernel saw', async (t) => {
  const { child, mountpoint } = await started(t, PLAIN, [HELLO, '-f', '{}'])
  const enough = `${mountpoint}.enough`
  const load = run('sh', ['-c', `until [ -e ${enough} ]; do cat ${mountpoint}/hello; sleep 0.1; done`])
  const report = JSON.parse((await efuse('stat', mountpoint, '--json', '--seconds', '3')).stdout)
  t.match(report, {
    mountpoint, type: 'efuse', observer: 'kernel', program: [HELLO, '-f', '/dev/fd/3'], pid: Number, accel: 'off',
    accelerators: { metadata: { state: 'off', why: 'not asked for' } }, operations: { FUSE_OPEN: { errors: 0 } },
  })
  t.ok(report.operations.FUSE_OPEN.count > 0)
  writeFileSync(enough, '')
  await load
  t.match((await efuse('stat', mountpoint)).stdout, new RegExp(`${HELLO} -f`))
  t.match(await efuse('umount', mountpoint, '--force'), { status: 0 })
  t.equal(await exit(child), 0)
})

await t.test('the command itself is killed', async (t) => {
  const { child, mountpoint } = await started(t, PLAIN, [HELLO, '-f', '{}'])
  t.match(await efuse('bpf', 'attach', mountpoint, TALLY), { status: 0 })
  child.kill('SIGKILL')
  await exit(child)
  t.equal((await run('cat', [join(mountpoint, 'hello')])).stdout, 'Hello World!\n', 'the program serves on')
  t.match(await efuse('bpf', 'list', mountpoint), { status: 1, stderr: /no eFuse server/ })
  t.match(await efuse('umount', mountpoint), { status: 0 })
  t.ok(await until(() => serving(HELLO).length === 0), 'until it is unmounted')

  const tied = await started(t, [...PLAIN, '-o', 'auto_unmount'], [HELLO, '-f', '{}'])
  tied.child.kill('SIGKILL')
  t.ok(await until(() => procMounts(tied.mountpoint) === null), 'with auto_unmount the mount goes')
  t.ok(await until(() => serving(HELLO).length === 0), 'and the program')
})

await t.test('what is demanded and not there', async (t) => {
  const { mountpoint, directory } = place(t)
  mkdirSync(join(directory, 'more'))
  writeFileSync(join(directory, 'more/file'), '')
  t.match(await efuse('exec', join(directory, 'nowhere'), '--', HELLO, '{}'), { status: 1, stderr: /create it first/ })
  if (!existsSync(join(ROOT, 'dist/bpf/balance.bpf.o'))) {
    const refused = await efuse('exec', mountpoint, '--accel', 'balance', '--', 'touch', join(directory, 'started'), '{}')
    t.match(refused, { status: 1, stderr: /--accel balance is not to be had/ })
  }
  t.notOk(existsSync(join(directory, 'started')), 'nothing is started')
  t.equal(procMounts(mountpoint), null)
})
