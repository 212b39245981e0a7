// SPDX-License-Identifier: MIT
/** In the guest: `efuse bpf attach|detach|list` on mounts of `efuse mount`, and who may use it. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { MemFS, mount } from '../../../src/index.js'
import type { AttachmentReport } from '../../../src/mount/hooks.js'
import { attach, detach, list } from '../../../src/cli/bpf.js'
import { umount } from '../../../src/cli/umount.js'
import { efuse, place, ROOT, run, type Place, type Result } from '../../mount/support.js'
import { until } from './wait.js'

t.setTimeout(0)

const OBJECTS = join(ROOT, 'dist/bpf')
const HIDE = join(OBJECTS, 'examples/efuse_hide.bpf.o')
const COUNT = join(OBJECTS, 'examples/efuse_count.bpf.o')
const PASS = join(OBJECTS, 'test/efuse_pass.bpf.o')
const TALLY = join(OBJECTS, 'test/efuse_tally.bpf.o')
const SUCCESSOR = join(OBJECTS, 'test/efuse_tally_lookups.bpf.o')
const REFUSED = join(OBJECTS, 'test/refused/efuse_endless.bpf.o')
const NOT_OURS = join(OBJECTS, 'test/maps.bpf.o')
const ONE_LINE = /^efuse: [^\n]+\n$/
const NOBODY = 65534

/** A mount with no accelerators on its hooks, and no caches in front of them. */
async function mounted(t: Test): Promise<Place> {
  const at = place(t)
  writeFileSync(join(at.source, 'plain'), 'plain')
  writeFileSync(join(at.source, 'one.secret'), 'secret')
  const options = 'allow_other,entry_timeout=0,attr_timeout=0'
  t.match(await efuse('mount', at.source, at.mountpoint, '--type', 'efuse', '--accel', 'off', '-o', options), { status: 0, stderr: '' })
  return at
}

/** `efuse bpf ...`, in this process: starting Node takes seconds here. The first test has the command itself. */
async function bpf(command: 'attach' | 'detach' | 'list', mountpoint: string, ...words: string[]): Promise<Result> {
  const given = (name: string): string[] => words.filter((_, index) => words[index - 1] === name)
  const [operand] = words
  try {
    const stdout = command === 'attach'
      ? await attach(mountpoint, operand, { replace: words.includes('--replace'), set: given('--set'), verbose: false })
      : command === 'detach' ? await detach(mountpoint, operand) : await list(mountpoint, operand === '--json')
    return { status: 0, stdout, stderr: '' }
  } catch (error) {
    const { message, status = 1 } = error as Error & { status?: number }
    return { status, stdout: '', stderr: `efuse: ${message}\n` }
  }
}

async function listed(mountpoint: string): Promise<AttachmentReport[]> {
  return JSON.parse((await bpf('list', mountpoint, '--json')).stdout)
}

function refused(t: Test, { status, stdout, stderr }: Result, why: RegExp, expected = 1): void {
  t.equal(status, expected, String(why))
  t.equal(stdout, '')
  if (expected === 1) t.match(stderr, ONE_LINE)
  t.match(stderr, why)
}

/** How often the module is used: by links, mounts and programs. */
async function released(): Promise<boolean> {
  return until(async () => (await run('cat', ['/sys/module/efuse/refcnt'])).stdout === '0\n')
}

await t.test('attached, listed, detached', async (t) => {
  const { mountpoint } = await mounted(t)
  const secret = join(mountpoint, 'one.secret')
  t.match(await efuse('bpf', 'list', mountpoint), { status: 0, stdout: '' }, 'nothing at first')
  t.equal((await run('setpriv', [`--reuid=${NOBODY}`, '--clear-groups', 'cat', secret])).stdout, 'secret')

  t.match(await efuse('bpf', 'attach', mountpoint, HIDE), { status: 0, stdout: 'attached hide: lookup\n', stderr: '' })
  t.not((await run('setpriv', [`--reuid=${NOBODY}`, '--clear-groups', 'cat', secret])).status, 0, 'hidden')
  t.equal((await run('cat', [secret])).stdout, 'secret', 'but not from its owner')
  const [report] = await listed(mountpoint)
  t.match(report, { name: 'hide', hooks: ['lookup'], owner: 'root', object: HIDE, link: Number })
  t.ok(Math.abs(Date.parse(report.since!) - Date.now()) < 60_000, 'since when')
  t.ok(report.counters.hidden > 0, `it counts: ${report.counters.hidden}`)
  t.match((await efuse('bpf', 'list', mountpoint)).stdout, /^NAME .*\nhide +lookup +root +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +hidden=\d+\n$/)

  t.match(await bpf('attach', mountpoint, COUNT), { status: 0, stdout: 'attached count: begin, reply\n' }, 'another beside it')
  t.strictSame((await listed(mountpoint)).map(({ name }) => name).sort(), ['count', 'hide'])
  t.match(await bpf('detach', mountpoint, 'hide'), { status: 0, stdout: 'detached hide\n' })
  t.equal((await run('setpriv', [`--reuid=${NOBODY}`, '--clear-groups', 'cat', secret])).stdout, 'secret', 'no longer hidden')
  t.match(await bpf('detach', mountpoint, COUNT), { status: 0, stdout: 'detached count\n' }, 'by its object')

  t.match(await bpf('attach', mountpoint, HIDE, '--set', 'suffix=lain', '--set', 'owner=4242'), { status: 0 }, 'with knobs')
  t.not((await run('cat', [join(mountpoint, 'plain')])).status, 0)
  t.match(await bpf('attach', mountpoint, TALLY), { status: 0 })
  t.match(await bpf('detach', mountpoint), { status: 0, stdout: /^detached \w+\ndetached \w+\n$/ }, 'all')
  t.strictSame(await listed(mountpoint), [])
  await umount(mountpoint, false)
})

await t.test('what can\'t be attached', async (t) => {
  const { directory, mountpoint } = await mounted(t)
  t.match(await bpf('attach', mountpoint, HIDE), { status: 0 })
  refused(t, await bpf('attach', mountpoint, PASS),
    new RegExp(`the hook lookup is taken by "hide": .*efuse bpf detach ${mountpoint} hide`))
  refused(t, await bpf('attach', mountpoint, HIDE), /"hide" is attached .* already: use --replace/)
  refused(t, await bpf('attach', mountpoint, join(directory, 'absent.bpf.o')), /does not exist/)
  writeFileSync(join(directory, 'text.bpf.o'), 'no object')
  refused(t, await bpf('attach', mountpoint, join(directory, 'text.bpf.o')), /text.bpf.o can't be attached/)
  refused(t, await bpf('attach', mountpoint, NOT_OURS), /it has no struct efuse_ops/)
  refused(t, await bpf('detach', mountpoint, 'nothing'), /nothing named "nothing" is attached \(there is hide\)/)
  refused(t, await bpf('attach', mountpoint, TALLY, '--set', 'speed=9'), /knobs are/, 2)
  t.match(await bpf('detach', mountpoint), { status: 0 })
  refused(t, await bpf('attach', mountpoint, REFUSED), /can't be attached.*--verbose/)
  const { stderr } = await efuse('bpf', 'attach', mountpoint, REFUSED, '--verbose')
  t.ok(stderr.split('\n').length > 5, 'the verifier\'s log')
  t.strictSame(await listed(mountpoint), [], 'nothing is left of it')
  await umount(mountpoint, false)
})

await t.test('replaced while requests fly', async (t) => {
  const { mountpoint } = await mounted(t)
  t.match(await bpf('attach', mountpoint, TALLY, '--replace'), { status: 0, stdout: /^attached tally/ }, 'nothing to replace')
  const load = run('sh', ['-c', `cd ${mountpoint}; i=0; while [ ! -e stop ]; do cat plain > /dev/null || exit 1; done`])
  const [before] = await listed(mountpoint)
  t.match(await bpf('attach', mountpoint, SUCCESSOR, '--replace'), { status: 0, stdout: 'replaced tally: lookup, begin\n' })
  t.ok(await until(async () => (await listed(mountpoint))[0].counters.lookups > 0), 'the successor counts')
  const [after] = await listed(mountpoint)
  t.equal(after.link, before.link, 'in the same place')
  t.strictSame(after.hooks, ['lookup', 'begin'], 'on its own hooks')
  t.match(await bpf('attach', mountpoint, TALLY, '--replace'), { status: 0 }, 'and back')
  writeFileSync(join(mountpoint, 'stop'), '')
  t.equal((await load).status, 0, 'nobody got an error')
  t.match(await bpf('detach', mountpoint, 'tally'), { status: 0 })
  await umount(mountpoint, false)
})

await t.test('attachments end with the mount, and with its server', async (t) => {
  const one = await mounted(t)
  t.match(await bpf('attach', one.mountpoint, PASS), { status: 0 })
  await umount(one.mountpoint, false)
  t.ok(await released(), 'unmounted: nobody uses the module')

  const { mountpoint } = await mounted(t)
  t.match(await bpf('attach', mountpoint, PASS), { status: 0 })
  const [{ pid }] = JSON.parse((await efuse('list', '--json')).stdout) as { pid: number }[]
  process.kill(pid, 'SIGKILL')
  t.ok(await until(async () => (await run('timeout', ['10', 'ls', mountpoint])).status !== 0))
  refused(t, await bpf('list', mountpoint), /no eFuse server/)
  await umount(mountpoint, false)
  t.ok(await released(), 'killed: nobody uses the module')
})

await t.test('who may not', async (t) => {
  const { directory, mountpoint } = await mounted(t)
  const as = (script: string): Promise<Result> => run('setpriv', [`--reuid=${NOBODY}`, '--regid', String(NOBODY), '--clear-groups',
    '--inh-caps=-all', process.execPath, ...script === '' ? [] : ['--input-type=module', '-e', script]], { cwd: ROOT })
  for (const command of [['attach', mountpoint, TALLY], ['list', mountpoint], ['detach', mountpoint]]) {
    const result = await run('setpriv', [`--reuid=${NOBODY}`, '--regid', String(NOBODY), '--clear-groups', '--inh-caps=-all',
      process.execPath, join(ROOT, 'efuse.js'), 'bpf', ...command])
    refused(t, result, /another user's/)
  }
  // With a token of this very connection, which only its owner can have.
  const { findServer } = await import('../../../src/mount/control.js')
  const device = (await run('sh', ['-c', `awk '$5 == "${mountpoint}" { print $3 }' /proc/self/mountinfo`])).stdout.trim()
  const found = await findServer(device)
  const token = found !== null && 'client' in found ? await found.client.ask<string>('token') : ''
  t.match(token, /^\d+$/)
  const attempt = `import { HookProgram } from '${ROOT}/dist/src/bpf/hooks.js'
    const program = await HookProgram.open('${TALLY}')
    try { program.attach(${token}n); console.log('attached') } catch (error) { console.log(error.code) }`
  t.equal((await as(attempt)).stdout.trim(), 'EPERM', 'an unprivileged user may not load')
  await run('chmod', ['666', '/dev/efuse'])
  // Root of a user namespace can mount type efuse, and has its own connection's tokens; it may not load either.
  const own = join(directory, 'own')
  const inNamespace = `import { MemFS, mount } from '${ROOT}/dist/src/index.js'
    import { mkdirSync } from 'node:fs'
    import { HookProgram } from '${ROOT}/dist/src/bpf/hooks.js'
    mkdirSync('${own}')
    const mounted = await mount(new MemFS(), '${own}', { type: 'efuse', control: false })
    const program = await HookProgram.open('${TALLY}')
    try { program.attach(${token}n); console.log('attached') } catch (error) { console.log(error.code) }
    await mounted.unmount()`
  await run('chmod', ['777', directory])
  const elsewhere = await run('setpriv', [`--reuid=${NOBODY}`, '--regid', String(NOBODY), '--clear-groups', '--inh-caps=-all',
    'unshare', '--user', '--map-root-user', '--mount', process.execPath, '--input-type=module', '-e', inNamespace], { cwd: ROOT })
  t.equal(elsewhere.stdout.trim(), 'EPERM', `another mount's owner, ${elsewhere.stderr}`)
  t.strictSame(await listed(mountpoint), [], 'nothing is attached')
  if (found !== null && 'client' in found) found.client.close()
  await umount(mountpoint, false)
})

await t.test('a program\'s own mount', async (t) => {
  const { mountpoint } = place(t)
  const mounted = await mount(new MemFS(), mountpoint, { type: 'efuse' })
  t.match(await bpf('attach', mountpoint, TALLY), { status: 0 })
  await run('ls', [mountpoint])
  t.ok((await listed(mountpoint))[0].counters.begun > 0)
  t.match(mounted.stats(), { accel: 'off', accelerators: { metadata: { state: 'off', why: 'not asked for' } } })
  await mounted.unmount()
  t.ok(await released(), 'unmounted: nobody uses the module')
})
