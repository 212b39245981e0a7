// SPDX-License-Identifier: MIT
/** fsx on StackFS mounts: several at once on one mount, with each cache policy. */
import t from 'tap'
import { compile, patience, run, share, standOn, target, ways } from '../ground.js'

// Every step has its own limit; the file as a whole has none.
t.setTimeout(0)

const program = await compile(t, 'fsx', ['test/suites/fsx/fsx.c'])
const operations = { small: 400, ci: 8000, full: 200_000 }[share]!
// Any number will do; the same one repeats the same run. A soak goes where no run has been before.
const start = share !== 'full' ? 1 : Math.floor(Date.now() / 1000)

const mounts: Record<string, string> = target !== undefined ? { target: '' } : {
  'default options': 'allow_other,default_permissions',
  'without passthrough': 'allow_other,default_permissions,passthrough=off',
  'over io_uring': 'allow_other,default_permissions,rings=uring,passthrough=off',
  'write-back cache': 'allow_other,default_permissions,writeback_cache',
  'time-outs of 0': 'allow_other,default_permissions,attr_timeout=0,entry_timeout=0',
  'page cache kept over opens': 'allow_other,default_permissions,kernel_cache',
}

for (const [index, [name, options]] of ways(mounts).entries()) {
  await t.test(name, { timeout: 7_200_000 * patience }, async (t) => {
    const ground = await standOn(t, { options })
    const seeds = [0, 1, 2].map((n) => start + index * 3 + n)
    await Promise.all(seeds.map(async (seed) => {
      const args = ['--target', ground.directory, '--seed', String(seed), '--ops', String(operations)]
      const { status, stdout, stderr } = await run(program, args, { seconds: share === 'full' ? 6000 : 300 })
      t.equal(status, 0, `seed ${seed}: ${operations} operations agree with the model`, { stdout, stderr })
    }))
    await ground.leave()
  })
}
