// SPDX-License-Identifier: MIT
/** `efuse exec` and `efuse bpf` where there is no efuse.ko, or wrong usage; with it: test/kernel. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { efuse, PATIENCE, place, processesOf, procMounts, skip, TYPE } from './support.js'

if (skip) t.plan(0, skip)

t.setTimeout(120_000 * PATIENCE)

const ONE_LINE = /^efuse: [^\n]+\n$/

t.test('wrong usage is exit 2, and nothing is started', async (t) => {
  const { directory, mountpoint } = place(t)
  const touch = ['touch', join(directory, 'started')]
  for (const args of [
    ['exec'], ['exec', mountpoint], ['exec', mountpoint, '--', ...touch],
    ['exec', mountpoint, '-o', 'no_such_option', '--', ...touch, '{}'],
    ['exec', mountpoint, '-o', 'attr_timeout=1', '--', ...touch, '{}'], ['exec', mountpoint, '-o', 'workers=2', '--', ...touch, '{}'],
    ['exec', mountpoint, '--accel', 'everything', '--', ...touch, '{}'], ['exec', mountpoint, '--no-such-option', '--', ...touch, '{}'],
    ['bpf'], ['bpf', 'attach', mountpoint], ['bpf', 'list'], ['bpf', 'no-such-command', mountpoint],
  ]) {
    const { status, stdout, stderr } = await efuse(...args)
    t.equal(status, 2, args.join(' '))
    t.equal(stdout, '')
    t.not(stderr, '')
  }
  t.notOk(readdirSync(directory).includes('started'))
  t.equal(procMounts(mountpoint), null)
})

t.test('a mount of type fuse takes no programs', async (t) => {
  const { source, mountpoint } = place(t)
  t.equal((await efuse('mount', source, mountpoint, '--type', 'fuse')).status, 0)
  for (const args of [['list', mountpoint], ['attach', mountpoint, '/dev/null'], ['detach', mountpoint]]) {
    const { status, stderr } = await efuse('bpf', ...args)
    t.equal(status, 1, args.join(' '))
    t.match(stderr, ONE_LINE)
    t.match(stderr, /type fuse.*--type efuse/)
  }
  const report = JSON.parse((await efuse('stat', mountpoint, '--json')).stdout) as Record<string, unknown>
  t.match(report, { accel: 'off', accelerators: { metadata: { state: 'off', why: String }, balance: { state: 'off', why: String } } })
  t.match((await efuse('stat', mountpoint)).stdout, /accel metadata +off: /, 'and says why there are no accelerators')
  t.equal((await efuse('umount', mountpoint)).status, 0)
})

t.test('without efuse.ko', { skip: TYPE === 'efuse' ? 'it is loaded' : false }, async (t) => {
  const { directory, source, mountpoint } = place(t)
  const refused = await efuse('exec', mountpoint, '--', 'touch', join(directory, 'started'), '{}')
  t.equal(refused.status, 1)
  t.match(refused.stderr, ONE_LINE)
  t.match(refused.stderr, /efuse kernel build.*efuse kernel load/)
  t.notOk(readdirSync(directory).includes('started'))
  const demanded = await efuse('mount', source, mountpoint, '--accel', 'metadata')
  t.equal(demanded.status, 1)
  t.match(demanded.stderr, /--accel metadata is not to be had: .*--accel auto/)
  t.equal(procMounts(mountpoint), null)
  t.strictSame(processesOf(directory), [])

  const { checks } = JSON.parse((await efuse('doctor', '--json')).stdout) as { checks: { name: string; ok: boolean; advice: string }[] }
  const said = checks.filter(({ name }) => /accelerator/.test(name))
  t.strictSame(said.map(({ name }) => name), ['accelerator "metadata"', 'accelerator "data"', 'accelerator "balance"'])
  for (const { ok, advice } of said) t.match({ ok, advice }, { ok: false, advice: /bpf\.o|efuse kernel/ })
})
