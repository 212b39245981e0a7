// SPDX-License-Identifier: MIT
/** lab/run: what it brings back from a guest, and what it makes of guests that go wrong. */
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { lab, temporary } from './lab.js'

t.setTimeout(600_000)

/** None of these needs efuse.ko. */
const plain = ['--without-module', '--timeout', '120']

t.test('a script runs in the guest, and its output, files and exit status come back', async (t) => {
  const folder = temporary(t)
  const script = join(folder, 'script.sh')
  mkdirSync(join(folder, 'given'))
  writeFileSync(join(folder, 'given/one'), 'brought along')
  writeFileSync(script, `#!/bin/bash
    echo "arguments: $*"; echo "variable: $GREETING"; echo "cpus: $(nproc)"; echo "in: $PWD"
    echo "node: $(node -p 'process.version + " " + (6 * 7)')"
    echo "given: $(cat /var/tmp/given/one)"
    echo "an error" >&2
    mkdir /var/tmp/made; head -c 3000000 /dev/zero > /var/tmp/made/large; ln -s large /var/tmp/made/link
    exit 42
  `, { mode: 0o755 })
  const { status, stdout, stderr } = await lab(...plain, '--cpus', '3', '--env', "GREETING=it's me",
    '--file', `${folder}/given:/var/tmp/given`, '--collect', `/var/tmp/made:${folder}/back`, '--collect', `/no/such:${folder}/back`,
    '--console', join(folder, 'console'), script, 'a b', '--cpus', 'c')
  t.equal(status, 42)
  t.equal(stdout, [
    'arguments: a b --cpus c', "variable: it's me", 'cpus: 3', 'in: /efuse', `node: ${process.version} 42`,
    'given: brought along', '',
  ].join('\n'))
  t.match(stderr, /^an error$/m)
  t.match(stderr, /left no \/no\/such/)
  t.strictSame(readdirSync(join(folder, 'back/made')).sort(), ['large', 'link'])
  t.equal(readFileSync(join(folder, 'back/made/link')).length, 3_000_000)
  t.match(readFileSync(join(folder, 'console'), 'utf8'), /Linux version 7\./)
})

t.test('in instruction-time two runs take the same time', async (t) => {
  // The median of many: the start-up's own threads run beside the first ones.
  const program = 'const { hrtime } = process; const times = []; let x = 0; for (let n = 0; n < 501; n++) { '
    + 'const begin = hrtime.bigint(); for (let i = 0; i < 1000; i++) x += i; times.push(Number(hrtime.bigint() - begin)) } '
    + 'console.log(times.sort((a, b) => a - b)[250])'
  const times: number[] = []
  for (let run = 0; run < 2; run++) {
    const { status, stdout } = await lab(...plain, '--icount', '-c', `nproc; node --jitless -e '${program}'`)
    t.equal(status, 0)
    const [cpus, time] = stdout.trim().split('\n').map(Number)
    t.equal(cpus, 1)
    times.push(time)
  }
  t.ok(Math.abs(times[0] - times[1]) / times[0] < 0.02, `${times.join(' and ')} ns`)
})

t.test('a guest that takes too long is ended', async (t) => {
  const { status, stdout, stderr } = await lab(...plain, '--timeout', '30', '-c', 'echo begun; sleep 1000')
  t.equal(status, 124)
  t.equal(stdout, 'begun\n')
  t.match(stderr, /ended after 30 s/)
})

t.test('what the kernel complains about fails the run, whatever the script says', async (t) => {
  const { status, stderr } = await lab(...plain, '-c',
    'echo "<4>WARNING: CPU: 0 PID: 1 at fs/fuse/dev.c:1 made_up+0x1/0x2" > /dev/kmsg; exit 0')
  t.equal(status, 123)
  t.match(stderr, /complained:\n.*made_up/s)
})

t.test('a panic ends the run at once', async (t) => {
  const { status, stderr } = await lab(...plain, '-c', 'echo c > /proc/sysrq-trigger; sleep 1000')
  t.equal(status, 123)
  t.match(stderr, /sysrq triggered crash/i)
})

t.test('a guest that ends without its script has failed', async (t) => {
  const { status, stderr } = await lab(...plain, '-c', 'busybox poweroff -f; sleep 1000')
  t.equal(status, 125)
  t.match(stderr, /ended before its script did/)
})

t.test('wrong usage', async (t) => {
  for (const args of [[], ['--cpus', 'many', '-c', 'true'], ['/no/such/script'], ['--no-such-option', '-c', 'true'],
    ['--file', 'nowhere', '-c', 'true'], ['-c', 'true', '--shell'], ['--env', '=x', '-c', 'true']]) {
    const { status, stderr } = await lab(...args)
    t.equal(status, 2, args.join(' '))
    t.match(stderr, /^lab\/run: /)
  }
})
