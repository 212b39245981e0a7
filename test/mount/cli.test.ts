// SPDX-License-Identifier: MIT
/** The command line as scripts see it: exit statuses, what is printed where, and what is left behind. */
import { existsSync, readFileSync, readlinkSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { efuse, exit, PATIENCE, place, processesOf, procMounts, ROOT, run, said, skip, startEfuse, TYPE } from './support.js'

if (skip) t.plan(0, skip)

t.setTimeout(180_000 * PATIENCE)

const ONE_LINE = /^efuse: .+\n$/

t.test('mount returns when the mount answers, umount when the server has exited', async (t) => {
  const { source, mountpoint } = place(t)
  writeFileSync(join(source, 'file'), 'text')

  const mounted = await efuse('mount', source, mountpoint)
  t.strictSame(mounted, { status: 0, stdout: '', stderr: '' })
  t.strictSame(procMounts(mountpoint)?.type, TYPE)
  t.equal(procMounts(mountpoint)?.device, source)
  t.equal(readFileSync(join(mountpoint, 'file'), 'utf8'), 'text')

  t.strictSame(await efuse('umount', mountpoint), { status: 0, stdout: '', stderr: '' })
  t.equal(procMounts(mountpoint), null)
  t.strictSame(processesOf(mountpoint), [])
})

t.test('a background server has a session of its own, cwd /, no terminal and no inherited descriptor', async (t) => {
  const { directory, mountpoint } = place(t)
  const inherited = join(directory, 'inherited')
  writeFileSync(inherited, '')
  const result = await run('sh', ['-c', `exec 7<${inherited}; exec node ${ROOT}/efuse.js mount source mountpoint`],
    { cwd: directory })
  t.equal(result.status, 0)
  const [pid, ...others] = processesOf('efuse.js mount source mountpoint')
  t.strictSame(others, [])
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /s, '').split(' ')
  t.equal(Number(fields[3]), pid, 'leads its session')
  t.equal(fields[4], '0', 'has no terminal')
  t.equal(readlinkSync(`/proc/${pid}/cwd`), '/')
  for (const thread of readdirSync(`/proc/${pid}/task`)) t.equal(readlinkSync(`/proc/${pid}/task/${thread}/cwd`), '/')
  const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
  t.notOk(open.includes(inherited))
  for (const fd of [0, 1, 2]) t.equal(readlinkSync(`/proc/${pid}/fd/${fd}`), '/dev/null')
  t.equal((await efuse('umount', mountpoint)).status, 0)
  t.strictSame(processesOf('efuse.js mount source mountpoint'), [])
})

t.test('-f stays in the foreground, logs to stderr and unmounts when told to end', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const { source, mountpoint } = place(t)
    const server = startEfuse(['mount', source, mountpoint, '-f'])
    await said(server.stderr!, /serving/)
    t.ok(procMounts(mountpoint))
    server.kill(signal)
    t.equal(await exit(server), 0, signal)
    t.equal(procMounts(mountpoint), null)
  }
})

t.test('efuse SOURCE MOUNTPOINT -o ... is a mount, too', async (t) => {
  const { source, mountpoint } = place(t)
  t.equal((await efuse(source, mountpoint, '-o', 'ro,fsname=as mount.fuse calls us')).status, 0)
  t.equal(procMounts(mountpoint)?.device, 'as\\040mount.fuse\\040calls\\040us')
  t.equal((await efuse('umount', mountpoint)).status, 0)
})

t.test('wrong usage is exit 2', async (t) => {
  const { source, mountpoint } = place(t)
  for (const args of [
    [], ['no-such-command'], ['mount'], ['mount', source], ['mount', source, mountpoint, 'more'],
    ['mount', source, mountpoint, '-o', 'no_such_option'], ['mount', source, mountpoint, '-o', 'attr_timeout=soon'],
    ['mount', source, mountpoint, '-o', 'fd=3'], ['mount', source, mountpoint, '-o', 'allow_other=1'],
    ['mount', source, mountpoint, '--no-such-option'], ['mount', source, mountpoint, '--type', 'ext4'],
    ['mount', source, mountpoint, '--workers', '0'], ['mount', source, mountpoint, '--accel', 'everything'],
    ['mount', source, mountpoint, '--fs', 'ext4'], ['umount'], ['stat'], ['list', 'more'],
  ]) {
    const { status, stdout, stderr } = await efuse(...args)
    t.equal(status, 2, args.join(' '))
    t.equal(stdout, '')
    t.not(stderr, '')
  }
  t.equal(procMounts(mountpoint), null)
})

t.test('a failure is exit 1 and one line that says what, and what to do', async (t) => {
  const { directory, source, mountpoint } = place(t)
  writeFileSync(join(directory, 'broken.mjs'), 'throw new Error("broken module")')
  writeFileSync(join(directory, 'nothing.mjs'), 'export const nothing = 1')
  const withoutModule = [[['mount', source, mountpoint, '--type', 'efuse'], /efuse kernel load.*--type auto/]] as const
  for (const [args, line] of [
    ...TYPE === 'fuse' ? withoutModule : [],
    [['mount', join(directory, 'absent'), mountpoint], /does not exist/],
    [['mount', source, join(directory, 'absent')], /create it first/],
    [['mount', 'memory', mountpoint, '--fs', 'memfs', '--passthrough', 'on'], /--passthrough auto/],
    [['mount', source, mountpoint, '--accel', 'metadata,data', '--passthrough', 'off'], /--accel auto/],
    [['mount', source, mountpoint, '--fs', join(directory, 'absent.mjs')], /does not exist/],
    [['mount', source, mountpoint, '--fs', join(directory, 'broken.mjs')], /broken module/],
    [['mount', source, mountpoint, '--fs', join(directory, 'nothing.mjs')], /factory/],
    [['umount', mountpoint], /not mounted/],
    [['umount', '/proc'], /not by FUSE/],
    [['stat', mountpoint], /not mounted/],
  ] as const) {
    const { status, stdout, stderr } = await efuse(...args)
    t.equal(status, 1, args.join(' '))
    t.equal(stdout, '')
    t.match(stderr, ONE_LINE)
    t.match(stderr, line)
  }
  t.equal(procMounts(mountpoint), null)
  t.strictSame(processesOf(directory), [])
})

t.test('a live mount at MOUNTPOINT is an error', async (t) => {
  const { source, mountpoint } = place(t)
  t.equal((await efuse('mount', source, mountpoint)).status, 0)
  const again = await efuse('mount', source, mountpoint)
  t.equal(again.status, 1)
  t.match(again.stderr, /mounted already/)
  t.equal((await efuse('umount', mountpoint)).status, 0)
})

t.test('SOURCE may contain MOUNTPOINT, lie under it, or be it', async (t) => {
  const { directory, mountpoint } = place(t)
  writeFileSync(join(mountpoint, 'below'), 'seen through the mount')
  // Whatever is listed, nobody ever comes into the mount through the mount.
  t.equal((await efuse('mount', directory, mountpoint)).status, 0)
  t.equal((await run('timeout', ['10', 'cat', join(mountpoint, 'mountpoint/below')])).stdout, 'seen through the mount')
  t.equal((await run('timeout', ['20', 'find', mountpoint])).status, 0)
  t.equal((await efuse('umount', mountpoint)).status, 0)

  t.equal((await efuse('mount', mountpoint, mountpoint)).status, 0)
  t.equal((await run('timeout', ['10', 'cat', join(mountpoint, 'below')])).stdout, 'seen through the mount')
  t.equal((await efuse('umount', mountpoint)).status, 0)

  t.equal((await efuse('mount', mountpoint, directory)).status, 0)
  t.equal((await run('timeout', ['10', 'cat', join(directory, 'below')])).stdout, 'seen through the mount')
  t.equal((await efuse('umount', directory)).status, 0)
})

t.test('list and stat tell of mounts', async (t) => {
  const { source, mountpoint } = place(t)
  t.equal((await efuse('mount', source, mountpoint)).status, 0)
  await run('mkdir', Array.from({ length: 20 }, (_, i) => join(mountpoint, `d${i}`)))

  const listed = JSON.parse((await efuse('list', '--json')).stdout) as { mountpoint: string }[]
  t.match(listed.find((one) => one.mountpoint === mountpoint), { source, type: TYPE, workers: Number, pid: Number })
  t.match((await efuse('list')).stdout, mountpoint)

  const report = JSON.parse((await efuse('stat', mountpoint, '--json')).stdout) as Record<string, unknown>
  t.match(report, {
    mountpoint, type: TYPE, rings: /^(dev|uring)$/, workers: Number, passthrough: /^(on|off)$/,
    accel: TYPE === 'efuse' ? String : 'off',
    operations: { FUSE_MKDIR: { count: 20, errors: 0 }, FUSE_INIT: { count: 1 } },
    kernel: { protocol: /^7\.\d+$/ },
  })
  t.match((await efuse('stat', mountpoint)).stdout, /FUSE_MKDIR +20 +0/)

  const socket = `/run/efuse/0-${(report.kernel as { connection: number }).connection}.sock`
  t.equal((await run('stat', ['-c', '%a %F', socket])).stdout, '600 socket\n')
  t.equal((await efuse('umount', mountpoint)).status, 0)
  t.notOk(existsSync(socket))
})

t.test('modules of one\'s own are served', async (t) => {
  const { directory, mountpoint } = place(t)
  writeFileSync(join(directory, 'one.mjs'), `export default ({ source }) => ({
    getattr({ nodeid }) { return nodeid === 1 ? { mode: 0o40755 } : { mode: 0o100444, size: source.length } },
    lookup({ name }) { return name === 'source' ? { nodeid: 2, attr: { mode: 0o100444, size: source.length } } : null },
    async readdir() { return [{ name: 'source', ino: 2, mode: 0o100444 }] },
    async read({ offset, size }) { return Buffer.from(source).subarray(offset, offset + size) },
  })`)
  t.equal((await efuse('mount', 'any text', mountpoint, '--fs', join(directory, 'one.mjs'))).status, 0)
  t.equal(procMounts(mountpoint)?.device, 'any\\040text')
  t.equal(readFileSync(join(mountpoint, 'source'), 'utf8'), 'any text')
  t.strictSame(readdirSync(mountpoint), ['source'])
  t.match(JSON.parse((await efuse('stat', mountpoint, '--json')).stdout), { workers: 1 })
  t.equal((await efuse('umount', mountpoint)).status, 0)

  t.equal((await efuse('mount', 'memory', mountpoint, '--fs', 'memfs')).status, 0)
  writeFileSync(join(mountpoint, 'file'), 'in memory')
  t.equal(readFileSync(join(mountpoint, 'file'), 'utf8'), 'in memory')
  t.equal((await efuse('umount', mountpoint)).status, 0)
})

t.test('doctor says what there is and what is missing', async (t) => {
  const { status, stdout } = await efuse('doctor', '--json')
  t.equal(status, 0)
  const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: { name: string; ok: boolean; advice?: string }[] }
  t.ok(ok)
  for (const name of ['kernel', '/dev/fuse', 'a mount', 'fusermount3', 'FUSE over io_uring', 'passthrough']) {
    t.ok(checks.some((check) => check.name === name), name)
  }
  t.ok(checks.every((check) => check.ok || check.advice), 'what is missing comes with advice')
  t.match((await efuse('doctor')).stdout, /^ok +a mount +works/m)
})

t.test('mount(8) mounts type fuse.efuse, remounts it, and sees its failures', async (t) => {
  const { directory, source, mountpoint } = place(t)
  const helper = '/sbin/mount.fuse.efuse'
  const before = existsSync(helper) ? readFileSync(helper) : null
  t.teardown(() => before === null ? rmSync(helper, { force: true }) : writeFileSync(helper, before))
  const enableUring = '/sys/module/fuse/parameters/enable_uring'
  const uringBefore = existsSync(enableUring) ? readFileSync(enableUring, 'ascii').trim() : null
  t.equal((await efuse('doctor', '--fix')).status, 0)
  if (uringBefore !== null) writeFileSync(enableUring, uringBefore)
  writeFileSync(join(source, 'file'), 'text')

  t.equal((await run('mount', ['-t', 'fuse.efuse', '-o', 'noatime,x-test,nofail', source, mountpoint])).status, 0)
  t.match(procMounts(mountpoint), { device: source, type: TYPE })
  t.ok(procMounts(mountpoint)?.options.includes('noatime'))

  const servers = processesOf(mountpoint)
  t.equal((await run('mount', ['-t', 'fuse.efuse', '-o', 'remount,ro', source, mountpoint])).status, 0)
  t.ok(procMounts(mountpoint)?.options.includes('ro'))
  t.strictSame(processesOf(mountpoint), servers, 'no server was started')
  const remountedWith = async (flag: string): Promise<number> => {
    t.equal((await run('mount', ['-t', 'fuse.efuse', '-o', `remount,rw,${flag}`, source, mountpoint])).status, 0)
    utimesSync(join(source, 'file'), new Date('2001-01-01'), new Date())
    readFileSync(join(mountpoint, 'file'))
    return statSync(join(source, 'file')).atime.getFullYear()
  }
  t.equal(await remountedWith('noatime'), 2001, 'the server has heard of the new flags')
  t.not(await remountedWith('strictatime'), 2001)
  t.ok(procMounts(mountpoint)?.options.includes('rw'))
  t.equal((await run('umount', [mountpoint])).status, 0)

  const fstab = join(directory, 'fstab')
  writeFileSync(fstab, `${source} ${mountpoint} fuse.efuse noauto,nosuid,fsname=from-fstab 0 0\n`)
  t.equal((await run('mount', ['-T', fstab, mountpoint])).status, 0)
  t.equal(procMounts(mountpoint)?.device, 'from-fstab')
  t.equal((await run('umount', [mountpoint])).status, 0)

  t.equal((await run(helper, [source, mountpoint, '-o', 'no_such_option'])).status, 1)
  t.equal((await run(helper, [source])).status, 1)
  t.equal((await run(helper, [join(directory, 'absent'), mountpoint])).status, 32)
  t.equal((await run(helper, [source, mountpoint, '-f', '-n', '-v', '-o', 'rw'])).status, 0)
  t.equal(procMounts(mountpoint), null, '-f mounts nothing')
  t.equal((await run(helper, [source, mountpoint, '-sn', '-t', 'fuse.efuse', '-o', 'rw,no_such_option'])).status, 0)
  t.ok(procMounts(mountpoint), '-s takes what it knows')
  t.equal((await efuse('umount', mountpoint)).status, 0)
})
