// SPDX-License-Identifier: MIT
/** The module's own files in the kernel's style: checkpatch.pl of the kernel that it is built for, in the lab's root. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { ROOT } from './lab.js'

t.setTimeout(600_000)

/** What it says that can't be otherwise: kernel/README tells why. A blank line is missed behind FUSE_ARGS() alone. */
const MEANT = /ENOSYS means 'invalid syscall nr'|EXPORT_SYMBOL|BIT_MACRO|COMPLEX_MACRO/
const DECLARED = /(efuse_\w+\.c):(\d+): WARNING:LINE_SPACING/

const command = `set -e
cd /tmp && tar -xf /usr/src/linux-source-*.tar.xz --strip-components=1 --wildcards '*/scripts/checkpatch.pl' '*/scripts/spelling.txt' \
  '*/scripts/const_structs.checkpatch'
scripts/checkpatch.pl --strict --no-tree --no-summary --terse --show-types --max-line-length=120 --file /efuse/kernel/src/*.[ch] || true
echo checked`

t.test('checkpatch', async (t) => {
  const { stdout } = await promisify(execFile)(join(ROOT, 'lab/chroot'), ['sh', '-c', command], { maxBuffer: 1 << 24 })
  t.match(stdout, /^checked$/m)
  const declared = (line: string): boolean => {
    const [, file, number] = DECLARED.exec(line) ?? []
    return file !== undefined && readFileSync(join(ROOT, 'kernel/src', file), 'utf8').split('\n')[Number(number) - 1].includes('FUSE_ARGS(')
  }
  const said = stdout.split('\n').filter((line) => /(ERROR|WARNING|CHECK):/.test(line))
  t.strictSame(said.filter((line) => !MEANT.test(line) && !declared(line)), [])
})
