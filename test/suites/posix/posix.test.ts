// SPDX-License-Identifier: MIT
/** The POSIX matrix on a StackFS mount, with the kernel's caches at work and with none. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { compile, needRoot, only, packageRoot, patience, standOn, target, ways } from '../ground.js'

// Every step has its own limit; the file as a whole has none.
t.setTimeout(0)

needRoot()
const folder = 'test/suites/posix'
const sources = readdirSync(join(packageRoot, folder)).filter((name) => name.endsWith('.c'))
const program = await compile(t, 'posix', sources.map((name) => join(folder, name)))

const mounts: Record<string, string> = target !== undefined ? { target: '' } : {
  'default time-outs': 'allow_other,default_permissions',
  'time-outs of 0, no passthrough': 'allow_other,default_permissions,attr_timeout=0,entry_timeout=0,passthrough=off',
  'over io_uring': 'allow_other,default_permissions,rings=uring,passthrough=off',
}

for (const [name, options] of ways(mounts)) {
  await t.test(name, { timeout: 600_000 * patience }, async (t) => {
    const ground = await standOn(t, { options })
    const command = [String(400 * patience), program, '--target', ground.directory, '--only', only]
    await t.spawn('timeout', ['-k', '5', ...command], { timeout: 420_000 * patience }, name)
    await ground.leave()
  })
}
