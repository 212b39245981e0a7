// SPDX-License-Identifier: MIT
/**
 * In the guest: programs that were written for libfuse 3, unmodified, under `efuse exec`. Each serves with no program on
 * its hooks, then with one that counts; then it is unmounted, and ends.
 */
import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { attach, list } from '../../../src/cli/bpf.js'
import { umount } from '../../../src/cli/umount.js'
import type { AttachmentReport } from '../../../src/mount/hooks.js'
import { exit, place, procMounts, ROOT, run, startEfuse } from '../../mount/support.js'
import { answers } from './wait.js'

t.setTimeout(0)

const TALLY = join(ROOT, 'dist/bpf/test/efuse_tally.bpf.o')
const EXAMPLES = '/examples'
const SSH_PORT = 2222
/** One of each kind, where there is little time. */
const FEW = ['hello', 'passthrough_hp', 'bindfs', 'sshfs']

interface Served {
  /** PROGRAM and ARGS. */
  command: string[]
  /** What one does with it, by a shell, in its mountpoint. */
  work: string
}

/** Everyday changes; the shell ends at the first that fails. */
const CHANGES = `
  mkdir d
  cp -r ${ROOT}/LICENSES d/copy
  diff -r ${ROOT}/LICENSES d/copy
  head -c 300000 /dev/urandom > d/data
  cat d/data > d/again
  cmp d/data d/again
  mv d/again d/moved
  ln -s moved d/link
  cmp d/link d/data
  truncate -s 1000 d/moved
  [ $(stat -c %s d/moved) = 1000 ]
  chmod 600 d/moved
  [ $(stat -c %a d/moved) = 600 ]
  touch -d '2001-02-03 04:05:06 UTC' d/moved
  [ $(stat -c %Y d/moved) = 981173106 ]
  ls -lR d > /dev/null
  rm -r d
  [ ! -e d ]`
const READS_SOURCE = '[ "$(cat known)" = "from the source" ]'

/** @param source a directory with the file `known` */
const programs = (source: string): Record<string, Served> => ({
  hello: { command: [`${EXAMPLES}/hello`, '-f', '{}'], work: 'ls -l; [ "$(cat hello)" = "Hello World!" ]' },
  hello_ll: { command: [`${EXAMPLES}/hello_ll`, '-f', '{}'], work: 'ls -l; [ "$(cat hello)" = "Hello World!" ]' },
  passthrough: {
    command: [`${EXAMPLES}/passthrough`, '-f', '-o', `modules=subdir,subdir=${source}`, '{}'],
    work: `${READS_SOURCE}\n${CHANGES}`,
  },
  passthrough_fh: {
    command: [`${EXAMPLES}/passthrough_fh`, '-f', '-o', `modules=subdir,subdir=${source}`, '{}'],
    work: `${READS_SOURCE}\n${CHANGES}`,
  },
  passthrough_ll: {
    command: [`${EXAMPLES}/passthrough_ll`, '-f', '-o', `source=${source}`, '{}'], work: `${READS_SOURCE}\n${CHANGES}`,
  },
  passthrough_hp: {
    command: [`${EXAMPLES}/passthrough_hp`, '--foreground', source, '{}'], work: `${READS_SOURCE}\n${CHANGES}`,
  },
  bindfs: { command: ['bindfs', '-f', source, '{}'], work: `${READS_SOURCE}\n${CHANGES}` },
  sshfs: {
    command: ['sshfs', '-f', '-p', String(SSH_PORT), '-o', 'IdentityFile=/root/key,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null',
      `root@127.0.0.1:${source}`, '{}'],
    work: `${READS_SOURCE}\n${CHANGES}`,
  },
})

/** A server for sshfs, with a key for root. */
function startSshd(): void {
  mkdirSync('/run/sshd', { recursive: true })
  mkdirSync('/root/.ssh', { recursive: true, mode: 0o700 })
  execFileSync('sh', ['-c', `
    ip link set lo up
    ssh-keygen -q -t ed25519 -N '' -f /root/key
    ssh-keygen -q -t ed25519 -N '' -f /root/host-key`])
  appendFileSync('/root/.ssh/authorized_keys', readFileSync('/root/key.pub'), { mode: 0o600 })
  execFileSync('/usr/sbin/sshd', ['-p', String(SSH_PORT), '-h', '/root/host-key', '-o', 'UsePAM=no', '-o', 'PermitRootLogin=yes',
    '-o', 'StrictModes=no', '-o', 'Subsystem=sftp internal-sftp'])
}

async function serve(t: Test, { command, work }: Served, source: string, mountpoint: string): Promise<void> {
  const child = startEfuse(['exec', mountpoint, '--accel', 'off', '--', ...command])
  let said = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => { said += text })
  if (!await answers(mountpoint, child)) {
    child.kill('SIGKILL')
    t.fail('it does not answer', { said })
    return
  }
  t.match(procMounts(mountpoint), { type: 'efuse', device: command[0].split('/').at(-1) })
  const doWork = () => run('bash', ['-c', `set -ex; cd ${mountpoint}; ${work}`], { cwd: source })
  t.match(await doWork(), { status: 0 }, 'works')
  // In this process: starting Node takes seconds here.
  t.equal(await attach(mountpoint, TALLY, { replace: false, set: [], verbose: true }), 'attached tally: begin, reply\n')
  t.match(await doWork(), { status: 0 }, 'works with a program that counts')
  const [{ counters }] = JSON.parse(await list(mountpoint, true)) as AttachmentReport[]
  t.ok(counters.begun > 3 && counters.replied > 3, `which has counted ${counters.begun} requests, ${counters.replied} replies`)
  await umount(mountpoint, false)
  t.equal(await exit(child), 0, 'the program has ended', { said })
  t.equal(procMounts(mountpoint), null)
}

startSshd()
for (const name of process.argv.includes('full') ? Object.keys(programs('')) : FEW) {
  await t.test(name, async (t) => {
    const { source, mountpoint } = place(t)
    writeFileSync(join(source, 'known'), 'from the source\n')
    await serve(t, programs(source)[name], source, mountpoint)
  })
}
execFileSync('pkill', ['-x', 'sshd'])
