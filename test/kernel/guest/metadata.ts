// SPDX-License-Identifier: MIT
/**
 * In the guest: mounts whose metadata the kernel answers. What uses them runs in processes of its own; the servers are
 * this process's.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import t, { type Test } from 'tap'
import { metadataMemory, type MetadataOptions } from '../../../src/bpf/metadata-cache.js'
import { MemFS, mount, StackFS, type FileSystem, type InProcessOptions, type Mount } from '../../../src/index.js'
import { efuse, place } from '../../mount/support.js'
import type { EntryReply, LookupRequest } from '../../../src/index.js'
import { enough, sh } from './hooks-support.js'

t.setTimeout(0)

const { values } = parseArgs({
  options: {
    operations: { type: 'string', default: '20000' }, part: { type: 'string', default: 'answers' },
    only: { type: 'string', default: '' }, piece: { type: 'string', default: '0' }, files: { type: 'string', default: '1600' },
  },
})
const OPERATIONS = Number(values.operations)
/** Of the tree that is looked through. */
const FILES = Number(values.files)
const ONLY = new RegExp(values.only)

/** A test of one part: `answers`, `command`, `memory`, or `coherence`; with --only, if that fits its name. */
async function test(part: string, name: string, body: (t: Test) => Promise<void>): Promise<void> {
  if (part === values.part && ONLY.test(name)) await t.test(name, body)
}

interface Fixture {
  mounted: Mount
  /** The mountpoint. */
  at: string
  /** What it shows; for MemFS nothing. */
  source: string
}

/** All time-outs are 0: whatever is not asked of the server was answered by the programs. */
const NO_TIMEOUTS: InProcessOptions = { type: 'efuse', entryTimeout: 0, attrTimeout: 0, negativeTimeout: 0 }
const ONE_SECOND: InProcessOptions = { entryTimeout: 1, attrTimeout: 1, negativeTimeout: 1 }

for (const program of ['check', 'changes', 'times']) {
  const made = await sh(`gcc -O1 -o /tmp/metadata-${program} test/kernel/guest/metadata-${program}.c`)
  if (!made.ok) t.bailout(made.errors)
}

async function fixture(
  t: Test, metadata: MetadataOptions, options: InProcessOptions = {},
  serve: (source: string) => FileSystem = (source) => new StackFS({ source, passthrough: false }),
): Promise<Fixture> {
  const folder = mkdtempSync('/var/tmp/efuse-metadata-')
  const [at, source] = [`${folder}/mount`, `${folder}/source`]
  mkdirSync(at)
  mkdirSync(source)
  await sh(`chmod 755 ${folder}`)
  const mounted = await mount(serve(source), at, {
    ...NO_TIMEOUTS, allowOther: true, accelerate: { metadata: { settle: 0, source, ...metadata } }, ...options,
  })
  t.teardown(() => mounted.unmount({ lazy: true }).catch(() => {}))
  return { mounted, at, source }
}

/** Of StackFS, which answers all alike. */
const EXCLUSIVE: MetadataOptions = { coherence: 'exclusive', perCaller: false, operations: { open: true, opendir: true } }

const requests = ({ mounted }: Fixture, operation: string): number => Number(mounted.stats().operations[operation]?.count ?? 0)
const allHits = ({ mounted }: Fixture): number =>
  Object.values(mounted.stats().kernel.answered).reduce((sum, { count }) => sum + Number(count), 0)
const hits = ({ mounted }: Fixture, operation: string): number => Number(mounted.stats().kernel.answered[operation]?.count ?? 0)

await test('answers', 'what was asked once is answered in the kernel', async (t) => {
  const f = await fixture(t, EXCLUSIVE)
  t.equal(f.mounted.stats().accel, 'metadata')
  await sh(`cd ${f.source}; mkdir dir; echo text > dir/file; ln -s target dir/link; setfattr -n user.there -v value dir/file`)
  const uses: readonly [string, string, readonly string[]][] = [
    ['a name and its attributes', `ls -ld ${f.at}/dir/file`, ['FUSE_LOOKUP', 'FUSE_GETATTR']],
    ['with its time of birth', `stat ${f.at}/dir/file`, ['FUSE_STATX']],
    ['a name that does not exist', `test ! -e ${f.at}/dir/absent`, ['FUSE_LOOKUP']],
    ['a link', `readlink ${f.at}/dir/link`, ['FUSE_READLINK']],
    ['an attribute', `getfattr --only-values -n user.there ${f.at}/dir/file`, ['FUSE_GETXATTR']],
    ['an attribute that does not exist', `! getfattr -n user.absent ${f.at}/dir/file`, ['FUSE_GETXATTR']],
    ['opening and closing', `: < ${f.at}/dir/file`, ['FUSE_OPEN', 'FUSE_RELEASE', 'FUSE_FLUSH']],
    ['reading again', `cat ${f.at}/dir/file`, ['FUSE_OPEN', 'FUSE_READ']],
    ['a directory', `ls ${f.at}/dir`, ['FUSE_OPENDIR', 'FUSE_READDIR', 'FUSE_READDIRPLUS', 'FUSE_RELEASEDIR']],
  ]
  for (const [what, command, operations] of uses) {
    await sh(`for time in 1 2 3; do ${command}; done`)
    const before = operations.map((name) => requests(f, name))
    const [answered] = operations
    const hitsBefore = hits(f, answered)
    const { ok, errors } = await sh(command)
    t.ok(ok, `${what}: ${errors}`)
    t.strictSame(operations.map((name) => requests(f, name)), before, `${what}: the server is not asked`)
    // The kernel keeps links' targets in its page cache, too.
    if (answered !== 'FUSE_READLINK') t.ok(hits(f, answered) > hitsBefore, `${what}: and that is counted`)
  }
})

await test('answers', 'every change shows at once, and nothing else changes', async (t) => {
  for (const [what, options, stack] of [
    ['no time-outs', {}, { passthrough: false }],
    ['the kernel\'s own caches beside', { entryTimeout: 1, attrTimeout: 1, negativeTimeout: 1 }, { passthrough: false }],
    ['passthrough', {}, {}],
  ] as const) {
    const f = await fixture(t, EXCLUSIVE, options, (source) => new StackFS({ source, ...stack }))
    const { ok, output, errors } = await sh(`/tmp/metadata-changes ${f.at} ${f.source} ${'attrTimeout' in options ? '' : 'uncached'}`)
    t.ok(ok, `${what}: ${output}${errors}`)
    t.ok(hits(f, 'FUSE_LOOKUP') > 100, `${what}: ${hits(f, 'FUSE_LOOKUP')} look-ups were answered`)
  }
})

await test('answers', 'times of access move with reading', async (t) => {
  for (const [what, stack] of [['the server reads', { passthrough: false }], ['passthrough', {}]] as const) {
    for (const coherence of ['exclusive', 'shared'] as const) {
      // Reading data that the kernel has kept would move nothing.
      const f = await fixture(t, { ...EXCLUSIVE, coherence, keepData: false }, ONE_SECOND, (source) => new StackFS({ source, ...stack }))
      await sh(`echo text > ${f.at}/file`)
      const { ok, output, errors } = await sh(`/tmp/metadata-times ${f.at}/file 1000`)
      t.ok(ok, `${what}, ${coherence}: ${output}${errors}`)
    }
  }
})

await test('answers', 'who may not is refused, whoever asked before', async (t) => {
  const f = await fixture(t, EXCLUSIVE)
  const as = (id: number, groups: string, command: string): string =>
    `setpriv --reuid ${id} --regid ${id} ${groups} ${command} > /dev/null 2>&1 && echo yes || echo no`
  const [alone, member] = ['--clear-groups', '--groups 2000']
  await sh(`cd ${f.source}; mkdir closed; echo secret > closed/file; chmod 700 closed
    echo private > mine; chown 1000 mine; chmod 600 mine
    mkdir group; echo g > group/file; chgrp 2000 group; chmod 750 group; setfattr -n user.x -v secret mine; ln -s /etc closed/link`)
  const tries: readonly [string, string][] = [
    ['no', as(1001, alone, `stat ${f.at}/closed/file`)],
    ['no', as(1001, alone, `cat ${f.at}/group/file`)],
    ['no', as(1001, alone, `ls ${f.at}/closed`)],
    ['no', as(1001, alone, `readlink ${f.at}/closed/link`)],
    ['no', as(1001, alone, `cat ${f.at}/mine`)],
    ['no', as(1001, alone, `getfattr --only-values -n user.x ${f.at}/mine`)],
    ['yes', as(1000, alone, `cat ${f.at}/mine`)],
    ['yes', as(1001, member, `cat ${f.at}/group/file`)],
  ]
  for (let time = 0; time < 2; time++) {
    const { output } = await sh(`cd ${f.at}; cat closed/file mine group/file > /dev/null; ls -l closed group > /dev/null;
      readlink closed/link > /dev/null; getfattr -d mine > /dev/null; cd /; ${tries.map(([, command]) => command).join('; ')}`)
    t.strictSame(output.trim().split('\n'), tries.map(([answer]) => answer), tries.map(([, command]) => command).join('; '))
  }
  const opened = as(1001, alone, `cat ${f.at}/closed/file`)
  const { output } = await sh(`chmod 755 ${f.at}/closed; ${opened}; chmod 700 ${f.at}/closed; ${opened}`)
  t.equal(output, 'yes\nno\n', 'opened, and closed again')
})

/** A server that checks permissions itself: names that begin with "secret" are root's, and those of group 2000. */
class Guarded extends MemFS {
  guarded = true
  override lookup(request: LookupRequest, reply: EntryReply): number | void {
    const name = Buffer.from(request.block.u8.subarray(request.nameOffset, request.nameOffset + request.nameLength)).toString()
    if (this.guarded && name.startsWith('secret') && request.uid !== 0 && request.gid !== 2000) return -13
    return super.lookup(request, reply)
  }
}

await test('answers', 'a server that checks permissions itself', async (t) => {
  const f = await fixture(t, { ...EXCLUSIVE, perCaller: undefined }, { defaultPermissions: false }, () => new Guarded())
  const as = (id: number, gid: number): string =>
    `setpriv --reuid ${id} --regid ${gid} --clear-groups cat ${f.at}/secret > /dev/null 2>&1 && echo yes || echo no`
  await sh(`echo secret > ${f.at}/secret; echo open > ${f.at}/open`)
  for (let time = 0; time < 2; time++) {
    const { output } = await sh([[0, 0], [1000, 1000], [1000, 2000], [1000, 1001]].map(([id, gid]) => as(id, gid)).join('; '))
    t.equal(output, 'yes\nno\nyes\nno\n', 'root; another; the same with the group; without')
  }
  await sh(`stat -c %s ${f.at}/open`)
  const before = requests(f, 'FUSE_LOOKUP')
  t.ok((await sh(`ls -l ${f.at}/open`)).ok)
  t.equal(requests(f, 'FUSE_LOOKUP'), before, 'who has asked before is answered')
  await sh(`setpriv --reuid 1000 --regid 1000 --clear-groups ls -l ${f.at}/open`)
  t.ok(requests(f, 'FUSE_LOOKUP') > before, 'another asks the server')
})

await test('answers', 'what the server says itself', async (t) => {
  const f = await fixture(t, EXCLUSIVE)
  const size = async (): Promise<string> => (await sh(`stat -c %s ${f.at}/file`)).output.trim()
  await sh(`echo 1 > ${f.source}/file`)
  for (let time = 0; time < 3; time++) await size()
  await sh(`echo 12 > ${f.source}/file`)
  t.equal(await size(), '2', 'exclusive: what others do in the source is not seen')
  const status = statSync(`${f.source}/file`, { bigint: true })
  // StackFS's nodeids are inode number and generation: see src/fs/stackfs/identity.ts
  const generation = BigInt((await sh(`lsattr -v ${f.source}/file`)).output.trim().split(/\s+/)[0])
  const nodeid = status.ino | generation << 32n
  await f.mounted.notify.invalInode(nodeid)
  t.equal(await size(), '3', 'a notification')
  await sh(`echo 123 > ${f.source}/file`)
  f.mounted.metadata!.invalidate(nodeid)
  t.equal(await size(), '4', 'invalidate()')
  await sh(`echo 1234 > ${f.source}/file`)
  f.mounted.metadata!.invalidateAll()
  t.equal(await size(), '5', 'invalidateAll()')
  t.notOk((await sh(`stat ${f.at}/late`)).ok)
  await sh(`echo > ${f.source}/late`)
  t.notOk((await sh(`stat ${f.at}/late`)).ok, 'a name that did not exist still does not')
  f.mounted.metadata!.invalidateEntry(1n, 'late')
  t.ok((await sh(`stat ${f.at}/late`)).ok, 'invalidateEntry()')
  await sh(`rm ${f.source}/late`)
  await f.mounted.notify.invalEntry(1, 'late')
  t.notOk((await sh(`stat ${f.at}/late`)).ok, 'a notification of a name')
})

await test('answers', 'the server tells what it knows', async (t) => {
  const f = await fixture(t, EXCLUSIVE)
  await sh(`echo text > ${f.source}/file; stat ${f.at}/file`)
  const { metadata } = f.mounted
  const status = statSync(`${f.source}/file`, { bigint: true })
  const generation = BigInt((await sh(`lsattr -v ${f.source}/file`)).output.trim().split(/\s+/)[0])
  const since = metadata!.now()
  const told = {
    nodeid: status.ino | generation << 32n,
    attributes: {
      ino: status.ino, size: 77n, blocks: 8n, atime: 1n, mtime: 2n, ctime: 3n, atimensec: 0, mtimensec: 0, ctimensec: 0,
      mode: Number(status.mode), nlink: 1, uid: 0, gid: 0, rdev: 0, blksize: 4096,
    },
  }
  t.equal(metadata!.prefill([told], since, 'forever'), 1)
  t.equal((await sh(`ls -l ${f.at}/file | cut -d ' ' -f 5`)).output.trim(), '77', 'and is believed')
  await sh(`chmod 600 ${f.at}/file`)
  t.equal(metadata!.prefill([told], since, 'forever'), 0, 'what has changed since is not')
  t.equal((await sh(`ls -l ${f.at}/file | cut -d ' ' -f 5`)).output.trim(), '5')
})

/** What `efuse top` shows of a mount whose names are looked up all the time, once it shows shares. */
async function watching(t: Test, mountpoint: string): Promise<string> {
  const busy = spawn('bash', ['-c', 'while :; do ls -l "$1" > /dev/null; sleep 0.1; done', 'busy', mountpoint])
  const top = spawn('script', ['-qfc', `stty cols 120 rows 30; node efuse.js top ${mountpoint}`, '/dev/null'])
  t.teardown(() => { for (const one of [busy, top]) one.kill('SIGKILL') })
  let screen = ''
  top.stdout.setEncoding('utf8').on('data', (text: string) => {
    // Without what moves the cursor and colours the text.
    screen += text.replace(/\x1b\[[\d;?]*[A-Za-z]/g, ' ')
  })
  for (let tries = 0; tries < 600 && !/HITS[^]*LOOKUP[^\n]*%/.test(screen); tries++) await sleep(200)
  top.kill()
  busy.kill()
  return screen
}

/** Room for eight: one set. */
const SMALL: MetadataOptions = { entries: 8, attributes: 8, xattrs: 8, links: 8, rights: 8, opens: 8 }

await test('command', 'the command line: watched, and what stat and metrics tell', async (t) => {
  const { source, mountpoint } = place(t)
  const port = 9417
  const mounted = await efuse('mount', source, mountpoint, '--type', 'efuse', '--accel', 'metadata', '--coherence', 'watched',
    '--passthrough', 'off', '--metrics', String(port))
  t.equal(mounted.status, 0, mounted.stderr)
  await sh(`echo text > ${source}/file; for time in 1 2 3; do stat ${mountpoint}/file; stat ${mountpoint}/absent; sleep 1.1; done`)
  const report = JSON.parse((await efuse('stat', mountpoint, '--json')).stdout)
  t.equal(report.accel, 'metadata')
  const answered = Number(report.kernel.answered.FUSE_LOOKUP?.count ?? 0)
  t.ok(answered > 1, `stat --json: ${answered} look-ups were answered in the kernel`)
  await sh('ip link set lo up')
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  const counted = /^efuse_kernel_answers_total\{operation="FUSE_LOOKUP"\} (\d+)$/m.exec(metrics)?.[1]
  t.ok(Number(counted) >= answered, `metrics: ${counted}`)
  t.match(await watching(t, mountpoint), /LOOKUP[^\n]* [1-9]\d*%/, 'top: the share of look-ups that were answered')
  await sh(`echo longer text > ${source}/file; echo > ${source}/absent`)
  let seen = ''
  for (let tries = 0; tries < 300 && seen !== '12 1'; tries++) {
    seen = (await sh(`cd ${mountpoint}; echo $(stat -c %s file absent)`)).output.trim()
  }
  t.equal(seen, '12 1', 'what others do in the source is seen')
  t.equal((await sh(`cat ${mountpoint}/file`)).output, 'longer text\n', 'its data, too')
  t.equal((await efuse('umount', mountpoint)).status, 0)
})

async function coherent(t: Test, f: Fixture, what: string, { behind = 0, bound = 0, operations = OPERATIONS } = {}): Promise<void> {
  const seed = Date.now() % 100000
  const { ok, output, errors } = await sh(`/tmp/metadata-check ${f.at} ${f.source} 6 ${operations} ${seed} ${behind} ${bound}`)
  t.ok(ok, `${what}: ${output}${errors}`)
  t.comment(output.trim().split('\n').at(-1)!, JSON.stringify(f.mounted.metadata?.counts() ?? {}))
}

await test('coherence', 'exclusive', async (t) => {
  const f = await fixture(t, EXCLUSIVE)
  await coherent(t, f, 'no time-outs')
  t.ok(hits(f, 'FUSE_LOOKUP') > OPERATIONS / 10, `${hits(f, 'FUSE_LOOKUP')} look-ups were answered`)
})

await test('coherence', 'exclusive, with the kernel\'s own caches', async (t) => {
  await coherent(t, await fixture(t, EXCLUSIVE, ONE_SECOND), 'time-outs of 1 s')
})

await test('coherence', 'exclusive, maps that thrash', async (t) => {
  const f = await fixture(t, { ...EXCLUSIVE, ...SMALL })
  await coherent(t, f, 'room for eight')
  t.ok(f.mounted.metadata!.memory < 64 << 10, `${f.mounted.metadata!.memory} bytes`)
})

await test('coherence', 'exclusive, passthrough: the kernel writes files itself', async (t) => {
  await coherent(t, await fixture(t, EXCLUSIVE, {}, (source) => new StackFS({ source })), 'passthrough')
})

await test('coherence', 'exclusive, writeback cache', async (t) => {
  await coherent(t, await fixture(t, EXCLUSIVE, { writebackCache: true }), 'writeback')
})

/** Beside the second: a tick of the kernel's clock in each of the two caches. */
const SHARED = { behind: 50, bound: 1020 }

await test('coherence', 'shared: what happens behind the mount is seen within a second', async (t) => {
  const f = await fixture(t, { ...EXCLUSIVE, coherence: 'shared', operations: { opendir: true } }, ONE_SECOND)
  await coherent(t, f, 'shared', SHARED)
  // The kernel's own caches end at the same time, so that few names are left for the programs.
  t.ok(allHits(f) > OPERATIONS / 100, `${allHits(f)} requests were answered`)
})

await test('coherence', 'shared, maps that thrash', async (t) => {
  const metadata: MetadataOptions = { ...EXCLUSIVE, ...SMALL, coherence: 'shared', operations: { opendir: true } }
  await coherent(t, await fixture(t, metadata, ONE_SECOND), 'room for eight', SHARED)
})

await test('coherence', 'watched: what happens behind the mount is seen when fanotify tells', async (t) => {
  for (const [what, options, bound] of [['no time-outs', {}, 500], ['the kernel\'s own caches beside', ONE_SECOND, 1520]] as const) {
    const f = await fixture(t, { ...EXCLUSIVE, coherence: 'watched' }, options)
    await coherent(t, f, `watched, ${what}`, { behind: 50, bound })
    // The kernel's own caches leave few.
    const few = options === ONE_SECOND ? 1 : OPERATIONS / 100
    t.ok(allHits(f) >= few, `${what}: ${allHits(f)} requests were answered`)
    await f.mounted.unmount()
  }
})

await test('coherence', 'watched: how long it takes', async (t) => {
  const f = await fixture(t, { ...EXCLUSIVE, coherence: 'watched' })
  writeFileSync(`${f.source}/file`, '')
  // What this process does is not told: it is the server's.
  const times = OPERATIONS < 20_000 ? 15 : 51
  const { ok, output, errors } = await sh(`for size in $(seq ${times}); do
      stat -c %s ${f.at}/file > /dev/null; printf x >> ${f.source}/file; begin=$EPOCHREALTIME; tries=0
      while [ $(stat -c %s ${f.at}/file) != $size ] && [ $((tries += 1)) -lt 500 ]; do :; done
      end=$EPOCHREALTIME; echo $((\${end/./} - \${begin/./})) $tries
    done`)
  t.ok(ok, output + errors)
  const waited = output.trim().split('\n').map((line) => line.split(' ').map(Number))
  const delays = waited.map(([microseconds]) => microseconds / 1000).sort((a, b) => a - b)
  t.comment(`seen after ${delays[times >> 1]} ms, half of ${delays.length}; at most ${delays.at(-1)} ms; a look takes a part of that`)
  t.ok(waited.length === times && waited.every(([, tries]) => tries < 500), 'each is seen long before the minute is over')
})

await test('coherence', 'what the checker says of the same without programs', async (t) => {
  await coherent(t, await fixture(t, {}, { ...ONE_SECOND, accelerate: 'off' }), 'not accelerated', SHARED)
})

await test('coherence', 'attached and detached all the time', async (t) => {
  const folder = mkdtempSync('/var/tmp/efuse-metadata-')
  const [at, source] = [`${folder}/mount`, `${folder}/source`]
  mkdirSync(at)
  mkdirSync(source)
  const mounted = await mount(new StackFS({ source, passthrough: false }), at, NO_TIMEOUTS)
  t.teardown(() => mounted.unmount({ lazy: true }).catch(() => {}))
  const { Hooks } = await import('../../../src/mount/hooks.js')
  const { MetadataCache } = await import('../../../src/bpf/metadata-cache.js')
  const hooks = Hooks.of((mounted as unknown as { attachment: { fd: number } }).attachment.fd)
  // Loading takes seconds in a guest: a tenth of the operations takes longer than all of them without it.
  const check = `cd ${folder}; mkdir source/run$1
    /tmp/metadata-check mount/run$1 source/run$1 4 ${Math.ceil(OPERATIONS / 10)} ${Date.now() % 100000} 0 0`
  let rounds = 0
  let answered = 0
  const checked = enough(() => rounds > 5, check)
  let going = true
  void checked.then(() => { going = false })
  while (going) {
    const cache = await MetadataCache.load({
      token: () => hooks.token(), control: hooks.control, options: NO_TIMEOUTS, agreement: null, server: 'stackfs', uring: false,
      metadata: {},
    }, { ...EXCLUSIVE, settle: 0.05 })
    await sleep(100 + (rounds % 10) * 10)
    answered += cache.counters().answered
    cache.close()
    rounds++
  }
  const { ok, output, errors } = await checked
  t.ok(ok, output + errors)
  t.comment(`${rounds} times, ${answered} answers`)
  t.ok(answered > 0, `${rounds} times, ${answered} answers`)
  hooks.close()
})

/**
 * KiB of the kernel's memory that are in use and no cache's. Of slabs only what objects take: a slab with a few of them left is
 * as large as a full one, and which are left is chance.
 */
async function kernelMemory(): Promise<number> {
  // Slabs that CPUs keep for themselves would count as full.
  await sh('sync; echo 3 > /proc/sys/vm/drop_caches; for slab in /sys/kernel/slab/*/shrink; do echo 1 > $slab; done')
  const [, , ...slabs] = readFileSync('/proc/slabinfo', 'utf8').trim().split('\n').map((line) => line.split(/\s+/))
  const objects = slabs.reduce((sum, [, active, , size]) => sum + Number(active) * Number(size), 0)
  const meminfo = readFileSync('/proc/meminfo', 'utf8')
  return ['VmallocUsed', 'Percpu'].reduce((sum, what) => sum + Number(new RegExp(`^${what}:\\s+(\\d+)`, 'm').exec(meminfo)![1]),
    Math.round(objects / 1024))
}

await test('memory', 'memory stays within what was given, and goes', async (t) => {
  const each = 100
  const folders = Math.ceil(FILES / each)
  const room = Math.max(16, FILES / 100)
  const options = { ...EXCLUSIVE, entries: room, attributes: room }
  const folder = mkdtempSync('/var/tmp/efuse-metadata-')
  await sh(`mkdir ${folder}/source; cd ${folder}/source; for d in $(seq ${folders}); do mkdir $d; (cd $d; seq ${each} | xargs touch); done`)
  const after: number[] = []
  // What the first mounts make for all later ones is not their own.
  for (const time of ['a first time', 'once more', 'a third time']) {
    const at = `${folder}/${time}`
    mkdirSync(at)
    const mounted = await mount(new StackFS({ source: `${folder}/source`, passthrough: false }), at, {
      ...NO_TIMEOUTS, accelerate: { metadata: { settle: 0, ...options } },
    })
    const { ok, output } = await sh(`find '${at}' -ls | wc -l`)
    t.ok(ok && Number(output) === folders * (each + 1) + 1, `${time}: a tree of ${output.trim()}, 100 times the room`)
    t.equal(mounted.metadata!.memory, metadataMemory(options))
    const slab = Number(/^Slab:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))![1])
    await mounted.unmount()
    t.notOk(existsSync(`${at}/1`))
    let left = await kernelMemory()
    // Maps and inodes are freed by others, later.
    for (let tries = 0; tries < 20 && after.length > 0 && left > after[0]; tries++) {
      await sleep(500)
      left = await kernelMemory()
    }
    after.push(left)
    t.comment(`slab ${slab} KiB with ${FILES} files; the kernel's memory afterwards ${left} KiB`)
  }
  // What stays of files does so every time. An inode is a KiB.
  const more = after.slice(1).map((left, time) => left - after[time])
  t.ok(Math.min(...more) < 256 + FILES / 100, `${more.join(' and ')} KiB more after the second and the third time`)
})

// Programs are freed some time after they were detached, and hold the module until then.
for (let tries = 0; tries < 100 && existsSync('/sys/module/efuse') && readFileSync('/sys/module/efuse/refcnt', 'utf8') !== '0\n'; tries++) {
  await sleep(100)
}
