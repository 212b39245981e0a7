// SPDX-License-Identifier: MIT
/**
 * In the guest: `hooks-teardown.js SECONDS [SEED]` ends mounts in each way at least once, at any moment, while all CPUs make requests and
 * programs answer them: the server killed, the mount taken out of sight, the connection aborted, programs detached,
 * and somebody trying to remove the module all the while. After each, nothing of it may be left.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { moduleFree, sh, sleep } from './hooks-support.js'

t.setTimeout(0)

const [seconds, seed = '1'] = process.argv.slice(2)
const SERVER = fileURLToPath(new URL('hooks-server.js', import.meta.url))
const MODULE = `/lib/modules/${(await sh('uname -r')).output.trim()}/updates/efuse.ko`
const AT = '/tmp/teardown'
/** Which programs are attached: they fill different hooks. */
const SETS = [['efuse_pass'], ['efuse_open', 'efuse_io', 'efuse_watch'], ['efuse_synthetic', 'efuse_watch'], ['efuse_adversary']]

let state = Number(seed) >>> 0 || 1
/** The same numbers for the same seed (xorshift). */
function random(below: number): number {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return (state >>> 0) % below
}

/** Requests of many kinds, for ever; whatever happens to them. */
const LOAD = `cd "$1" || exit; n=0
while :; do
  n=$((n + 1)); f=$2-$n
  head -c 200000 /dev/zero > $f; cat $f > /dev/null; dd if=$f of=/dev/null iflag=direct bs=64k; ls -l; stat synthetic $f
  cat synthetic > /dev/null; ln -s x $f.l; mv $f $f.m; mkdir $f.d; rm -rf $f*; echo 2 > /proc/sys/vm/drop_caches
done > /dev/null 2>&1`

interface Running {
  server: ChildProcess
  pid: number
}

async function serve(names: string[]): Promise<Running> {
  const server = spawn(process.execPath, [SERVER, AT, ...names], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(server, 'exit').then(() => { throw new Error('the server has ended before it served') })
  ended.catch(() => {})
  const [said] = await Promise.race([once(createInterface({ input: server.stdout! }), 'line') as Promise<[string]>, ended])
  return { server, pid: Number(said.split(' ')[1]) }
}

/** Aborts the connection, by its number below /sys/fs/efuse/connections. */
async function abort(): Promise<void> {
  const number = /^\S+ \S+ \d+:(\d+) \S+ \/tmp\/teardown /m.exec(readFileSync('/proc/self/mountinfo', 'utf8'))![1]
  const { ok, errors } = await sh(`cd /sys/fs/efuse && mount -t efusectl none connections && echo 1 > connections/${number}/abort
    status=$?; umount connections; exit $status`)
  if (!ok) throw new Error(errors)
}

const ends: Record<string, (running: Running) => Promise<unknown>> = {
  'server killed': async ({ server }) => server.kill('SIGKILL'),
  'out of sight, then killed': async ({ server }) => {
    await sh(`umount -l ${AT}`)
    await sleep(random(300))
    server.kill('SIGKILL')
  },
  'out of sight': () => sh(`umount -l ${AT}`),
  'unmounted by force': () => sh(`umount -f ${AT}`),
  aborted: abort,
  'detached and attached, then killed': async ({ server }) => {
    for (let i = random(4); i >= 0; i--) {
      server.stdin!.write('again\n')
      await sleep(random(400))
    }
    server.kill('SIGKILL')
  },
  'aborted while programs come and go': async ({ server }) => {
    server.stdin!.write('again\n'.repeat(3))
    await sleep(random(300))
    await abort()
  },
}

mkdirSync(AT, { recursive: true })
const deadline = Date.now() + Number(seconds) * 1000
for (let round = 0; round < Object.keys(ends).length || Date.now() < deadline; round++) {
  const names = SETS[random(SETS.length)]
  const [how, end] = Object.entries(ends)[round % Object.keys(ends).length]
  await t.test(`${round}: ${names.join(' ')}: ${how}`, async (t) => {
    const running = await serve(names)
    const load = Array.from({ length: availableParallelism() }, (_, cpu) =>
      spawn('taskset', ['-c', String(cpu), 'setsid', 'sh', '-c', LOAD, 'load', AT, String(cpu)], { stdio: 'ignore', detached: true }))
    // Most of the time it is in use, and that is what rmmod says.
    const remover = spawn('sh', ['-c', 'while :; do rmmod efuse 2> /dev/null; sleep .01; done'], { stdio: 'ignore' })
    await sleep(200 + random(1500))
    await end(running)
    await sleep(random(500))
    for (const child of load) child.kill('SIGKILL')
    await sh(`pkill -KILL -f '^sh -c cd .*load ${AT}'; umount -l ${AT}`)
    running.server.kill('SIGKILL')
    if (running.server.exitCode === null && running.server.signalCode === null) await once(running.server, 'exit')
    await sh(`umount -l ${AT}`)
    t.ok(await moduleFree(), 'nothing of it is left')
    remover.kill('SIGKILL')
    await sh('while pkill -KILL -x rmmod; do sleep .1; done')
    if (round % 4 === 3 || !existsSync('/sys/module/efuse')) {
      const { errors } = await sh('! test -e /sys/module/efuse || rmmod efuse')
      t.notOk(existsSync('/sys/module/efuse'), `the module unloads ${errors}`)
      t.notOk(existsSync('/sys/kernel/slab/efuse_inode'), 'with its caches')
      const again = await sh(`insmod ${MODULE}`)
      t.ok(again.ok, `and loads ${again.errors}`)
    }
  })
}
