// SPDX-License-Identifier: MIT
/** The module's own files in the kernel's style: checkpatch.pl of the kernel that it is built for, in the lab's root. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { ROOT } from './lab.js'

t.setTimeout(600_000)

/** What it says that can't be otherwise: kernel/README tells why. */
const MEANT = /ENOSYS means 'invalid syscall nr'|EXPORT_SYMBOL|Prefer using the BIT macro|Macros with complex values/

const command = `set -e
cd /tmp && tar -xf /usr/src/linux-source-*.tar.xz --strip-components=1 --wildcards '*/scripts/checkpatch.pl' '*/scripts/spelling.txt' \
  '*/scripts/const_structs.checkpatch'
scripts/checkpatch.pl --strict --no-tree --no-summary --terse --show-types --max-line-length=120 --file /efuse/kernel/src/*.[ch] || true
echo checked`

t.test('checkpatch', async (t) => {
  const { stdout } = await promisify(execFile)(join(ROOT, 'lab/chroot'), ['sh', '-c', command], { maxBuffer: 1 << 24 })
  t.match(stdout, /^checked$/m)
  t.strictSame(stdout.split('\n').filter((line) => /(ERROR|WARNING|CHECK):/.test(line) && !MEANT.test(line)), [])
})
