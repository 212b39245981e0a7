// SPDX-License-Identifier: MIT
/**
 * In the guest: the POSIX matrix on programs that know nothing of eFuse, under `efuse exec`, with the kernel answering
 * metadata for them and without. They fail some of it; what passes and what fails must be the same. A word as argument
 * chooses among the matrix's tests (`posix --only`).
 */
import t, { type Test } from 'tap'
import { efuse, exit, place, run, startEfuse } from '../../mount/support.js'
import { answers } from './wait.js'

t.setTimeout(0)

const [ONLY = ''] = process.argv.slice(2)
const POSIX = `${process.env.EFUSE_SUITES_PROGRAMS}/posix`

const PROGRAMS: Readonly<Record<string, (source: string) => string[]>> = {
  passthrough_ll: (source) => ['/examples/passthrough_ll', '-f', '-o', `source=${source}`, '{}'],
  bindfs: (source) => ['bindfs', '-f', source, '{}'],
}

/** What each assertion says → how it went, in the order of the times it was made. */
type Results = Map<string, string>

async function results(t: Test, program: (source: string) => string[], accel: string): Promise<Results> {
  const { mountpoint, source } = place(t)
  const child = startEfuse([
    'exec', mountpoint, '-o', 'allow_other,default_permissions', '--accel', accel, '--coherence', 'exclusive', '--', ...program(source),
  ])
  t.teardown(() => child.kill('SIGKILL'))
  t.ok(await answers(mountpoint, child), `${accel}: mounted`)
  const { stdout } = await run('timeout', ['3000', POSIX, '--target', mountpoint, '--only', ONLY])
  if (accel !== 'off') {
    const { kernel } = JSON.parse((await efuse('stat', mountpoint, '--json')).stdout)
    t.ok(Number(kernel.answered.FUSE_LOOKUP?.count ?? 0) > 0, `${JSON.stringify(kernel.answered)}`)
  }
  t.match(await efuse('umount', mountpoint), { status: 0 })
  await exit(child)
  t.match(stdout, /^1\.\.\d+$/m, `${accel}: ran to its end`)
  const all: Results = new Map()
  for (const [, not, line] of stdout.matchAll(/^(not )?ok \d+ - (.*)$/gm)) {
    // How stale bindfs' numbers are depends on the time.
    const said = line.replace(/: [^:]* instead of .*$/, '')
    all.set(said, `${all.get(said) ?? ''}${not === undefined ? '+' : '-'}`)
  }
  return all
}

for (const [name, program] of Object.entries(PROGRAMS)) {
  await t.test(name, async (t) => {
    const plain = await results(t, program, 'off')
    const accelerated = await results(t, program, 'metadata')
    const failing = [...plain.values()].filter((went) => went.includes('-')).length
    t.comment(`${plain.size} different assertions, ${failing} of which fail`)
    t.ok(plain.size > 100)
    const differing = [...new Set([...plain.keys(), ...accelerated.keys()])]
      .filter((said) => plain.get(said) !== accelerated.get(said))
      .map((said) => `${said}: ${plain.get(said) ?? 'not made'} without, ${accelerated.get(said) ?? 'not made'} with`)
    t.strictSame(differing, [])
  })
}
