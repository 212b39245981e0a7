// SPDX-License-Identifier: MIT
/** What efuse.ko costs a GETATTR round trip, in instruction-time: a nanosecond is an instruction. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { kernel, lab, ROOT } from './lab.js'

t.setTimeout(900_000)

// The debug kernel's own checks are most of what there is to measure.
if (kernel === 'release') t.test('hooks cost little', async (t) => {
  // Compiled here: in the guest, in instruction-time, that would take minutes.
  await promisify(execFile)(join(ROOT, 'lab/chroot'),
    ['gcc', '-O2', '-Wall', '-Werror', '-o', '/efuse/dist/test/kernel/getattr-cost', 'test/kernel/guest/getattr-cost.c'])
  const { status, stdout, stderr } = await lab('--icount', '--timeout', '800', '-c', 'insmod /lib/modules/$(uname -r)/updates/efuse.ko'
    + ' && node dist/test/kernel/guest/hooks-cost.js dist/test/kernel/getattr-cost')
  t.equal(status, 0, stderr)
  const { fuse, efuse, pass } = JSON.parse(stdout) as Record<string, number>
  t.comment(`built-in FUSE ${fuse} ns, efuse.ko ${efuse}, with all hooks passing ${pass}`)
  t.ok(efuse <= fuse * 1.02, `without programs ${((efuse / fuse - 1) * 100).toFixed(1)} %: at most 2`)
  t.ok(pass <= fuse * 1.04, `with all hooks filled ${((pass / fuse - 1) * 100).toFixed(1)} %: at most 4`)
})
else t.pass('a matter of the release kernel')
