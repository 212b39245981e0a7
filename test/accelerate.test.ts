// SPDX-License-Identifier: MIT
/** What `--accel`, `accelerate` and `efuse exec`'s arguments mean. */
import t from 'tap'
import { placeMountpoint } from '../src/cli/exec.js'
import { Accelerators, checkWishes, parseAccel, wishesOf } from '../src/mount/accelerate.js'

t.test('--accel is auto, off, or names', async (t) => {
  t.strictSame(parseAccel('auto'), { metadata: 'auto', data: 'auto', balance: 'auto' })
  t.strictSame(parseAccel('off'), { metadata: 'off', data: 'off', balance: 'off' })
  t.strictSame(parseAccel('balance,metadata'), { metadata: 'on', data: 'off', balance: 'on' })
  for (const wrong of ['', 'everything', 'auto,data', 'metadata,', 'toString']) t.equal(parseAccel(wrong), null, `"${wrong}"`)
})

t.test('accelerate: nothing unless asked for', async (t) => {
  t.strictSame(wishesOf(), { metadata: 'off', data: 'off', balance: 'off' })
  t.strictSame(wishesOf('auto'), { metadata: 'auto', data: 'auto', balance: 'auto' })
  t.strictSame(wishesOf({ metadata: true, data: 'auto', balance: false }), { metadata: 'on', data: 'auto', balance: 'off' })
  t.throws(() => wishesOf({ speed: true } as never), TypeError)
  t.throws(() => wishesOf('fast' as never), TypeError)
})

t.test('on a mount of type fuse', async (t) => {
  t.throws(() => checkWishes(wishesOf({ metadata: true }), 'fuse'), /metadata is not to be had: .*--accel auto/, 'demanded: an error')
  t.doesNotThrow(() => checkWishes(wishesOf('auto'), 'fuse'), 'auto: none')
  const none = await Accelerators.load(wishesOf('auto'), null, { options: {}, agreement: null, server: 'memfs', uring: false })
  t.equal(none.summary, 'off')
  for (const [name, { state, why }] of Object.entries(none.report())) {
    t.equal(state, 'off', name)
    t.match(why, /no \w+\.bpf\.o|efuse/, `${name}: ${why}`)
  }
})

t.test('where exec puts the device', async (t) => {
  t.strictSame(placeMountpoint(['-f', 'host:', '{}'], '/mnt'), ['-f', 'host:', '/dev/fd/3'])
  t.strictSame(placeMountpoint(['--at={}', '{}'], '/mnt'), ['--at=/dev/fd/3', '/dev/fd/3'], 'wherever there is a {}')
  t.strictSame(placeMountpoint(['/srv', '/mnt', '-o', 'x=/mnt'], '/mnt'), ['/srv', '/dev/fd/3', '-o', 'x=/mnt'])
  t.strictSame(placeMountpoint(['/mnt/', '../mnt'], '/mnt').slice(0, 1), ['/dev/fd/3'], 'another spelling of the path')
  t.strictSame(placeMountpoint(['/mnt', '{}'], '/mnt'), ['/mnt', '/dev/fd/3'], 'with a {} the path stays')
  t.throws(() => placeMountpoint(['-f', 'host:'], '/mnt'), /write \{\}/)
  t.throws(() => placeMountpoint([], '/'), /write \{\}/)
})
