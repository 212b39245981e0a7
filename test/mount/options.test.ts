// SPDX-License-Identifier: MIT
/** Mount options: what /proc/mounts shows of each, and what each does. */
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseOptions, splitOptions } from '../../src/mount/options.js'
import { parseMountinfo } from '../../src/mount/mountinfo.js'
import { efuse, PATIENCE, place, processesOf, procMounts, ROOT, run, skip, TYPE } from './support.js'

t.setTimeout(180_000 * PATIENCE)

t.test('option strings become typed options', async (t) => {
  t.strictSame(splitOptions('a,b=c\\,d,,e\\\\f'), ['a', 'b=c,d', 'e\\f'])
  t.strictSame(parseOptions('allow_other,attr_timeout=0.5,entry_timeout=.25', 'max_read=65536,max_pages=64,umask=022,uid=7'), {
    allowOther: true, attrTimeout: 0.5, entryTimeout: 0.25, maxRead: 65536, maxWrite: 64 * 4096, umask: 0o22, uid: 7,
  })
  t.strictSame(parseOptions('busy_poll=0'), { busyPoll: 0 })
  t.strictSame(parseOptions('io_uring,io_uring_q_depth=32'), { uringDepth: 32, command: { rings: 'uring' } })
  t.strictSame(parseOptions('ro,noatime,nosuid'), { flags: ['ro', 'noatime', 'nosuid'] })
  t.strictSame(parseOptions('x-systemd.automount,_netdev,nofail,user,users,auto,noauto,defaults,comment=a'), {})
  t.strictSame(parseOptions('remount,fd=3,user_id=0,rw'), { remount: true, flags: ['rw'] })
  for (const wrong of ['nonsense', 'attr_timeout', 'attr_timeout=', 'attr_timeout=-1', 'uid=root', 'umask=9', 'ro=1',
    'allow_other=yes', 'rootmode=40000', 'io_uring_q_depth=0', 'io_uring_q_depth=1025', 'io_uring=1',
    'busy_poll=', 'busy_poll=-1', 'busy_poll=10001', 'constructor', 'toString=1']) {
    t.throws(() => parseOptions(wrong), { name: 'OptionError' }, wrong)
  }
})

t.test('mountinfo is understood, escapes and optional fields included', async (t) => {
  const [plain, strange] = parseMountinfo(
    '36 35 0:45 / /mnt rw,noatime - fuse.x src rw,user_id=0\n'
    + '37 36 0:46 /sub /mnt/a\\040b\\134\\011 ro shared:1 master:2 propagate_from:3 - fuse a\\012b rw\n')
  t.match(plain, { id: 36, parentId: 35, device: '0:45', mountpoint: '/mnt', type: 'fuse.x', source: 'src' })
  t.match(strange, { root: '/sub', mountpoint: '/mnt/a b\\\t', type: 'fuse', source: 'a\nb', mountOptions: 'ro' })
})

if (skip) {
  t.comment(skip)
} else {
  t.test('/proc/mounts shows what was asked for', async (t) => {
    const { source, mountpoint } = place(t)
    for (const [options, expected] of [
      ['', { device: source, type: TYPE, has: ['rw', 'relatime', 'user_id=0', 'group_id=0'], lacks: ['nosuid', 'nodev', 'allow_other'] }],
      ['ro,nosuid,nodev,noexec,sync,dirsync,noatime,nodiratime', { device: source, type: TYPE,
        has: ['ro', 'nosuid', 'nodev', 'noexec', 'sync', 'dirsync', 'noatime', 'nodiratime'], lacks: ['relatime'] }],
      ['strictatime,lazytime', { device: source, type: TYPE, has: ['lazytime'], lacks: ['relatime', 'noatime'] }],
      ['allow_other,default_permissions,max_read=65536', { device: source, type: TYPE,
        has: ['allow_other', 'default_permissions', 'max_read=65536'], lacks: [] }],
      ['fsname=a\\,name,subtype=sub', { device: 'a,name', type: `${TYPE}.sub`, has: [], lacks: [] }],
      ['nosuid,suid,ro,rw', { device: source, type: TYPE, has: ['rw'], lacks: ['nosuid', 'ro'] }],
      ['auto_unmount,writeback_cache,kernel_cache,attr_timeout=0,negative_timeout=1.5,x-anything,nofail', {
        device: source, type: TYPE, has: ['rw'], lacks: [] }],
    ] as const) {
      const mounted = await efuse('mount', source, mountpoint, ...(options === '' ? [] : ['-o', options]))
      t.strictSame(mounted, { status: 0, stdout: '', stderr: '' }, options)
      const shown = procMounts(mountpoint)!
      t.match({ device: shown.device, type: shown.type }, { device: expected.device, type: expected.type }, options)
      for (const option of expected.has) t.ok(shown.options.includes(option), `${options} shows ${option}`)
      for (const option of expected.lacks) t.notOk(shown.options.includes(option), `${options} does not show ${option}`)
      t.equal((await efuse('umount', mountpoint)).status, 0)
    }
  })

  t.test('uid, gid and umask are what every file seems to have', async (t) => {
    const { source, mountpoint } = place(t)
    writeFileSync(join(source, 'file'), '', { mode: 0o600 })
    t.equal((await efuse('mount', source, mountpoint, '-o', 'uid=1234,gid=4321,umask=027')).status, 0)
    for (const path of ['.', 'file']) {
      const { uid, gid, mode } = statSync(join(mountpoint, path))
      t.strictSame({ uid, gid, mode: mode & 0o7777 }, { uid: 1234, gid: 4321, mode: 0o750 })
    }
    t.match((await run('ls', ['-ln', mountpoint])).stdout, /-rwxr-x--- 1 1234 4321/, 'in listings, too')
    t.equal((await efuse('umount', mountpoint)).status, 0)
  })

  t.test('ro refuses to write', async (t) => {
    const { source, mountpoint } = place(t)
    t.equal((await efuse('mount', source, mountpoint, '-o', 'ro')).status, 0)
    t.throws(() => writeFileSync(join(mountpoint, 'file'), ''), { code: 'EROFS' })
    t.equal((await efuse('umount', mountpoint)).status, 0)
  })

  t.test('noatime is true of the source, too', async (t) => {
    const { source, mountpoint } = place(t)
    writeFileSync(join(source, 'file'), 'text')
    const old = new Date('2001-01-01')
    const atimeAfterReading = async (options: string): Promise<number> => {
      utimesSync(join(source, 'file'), old, new Date())
      t.equal((await efuse('mount', source, mountpoint, '-o', options)).status, 0)
      t.equal(readFileSync(join(mountpoint, 'file'), 'utf8'), 'text')
      t.equal((await efuse('umount', mountpoint)).status, 0)
      return statSync(join(source, 'file')).atimeMs
    }
    t.equal(await atimeAfterReading('noatime'), old.getTime())
    t.not(await atimeAfterReading('strictatime'), old.getTime())
  })

  t.test('time-outs are how long the kernel does not ask', async (t) => {
    const { source, mountpoint } = place(t)
    writeFileSync(join(source, 'file'), '')
    const asked = async (options: string): Promise<number> => {
      t.equal((await efuse('mount', source, mountpoint, '-o', options)).status, 0)
      for (let i = 0; i < 10; i++) statSync(join(mountpoint, 'file'))
      const { operations } = JSON.parse((await efuse('stat', mountpoint, '--json')).stdout) as
        { operations: Record<string, { count: number }> }
      t.equal((await efuse('umount', mountpoint)).status, 0)
      return (operations.FUSE_LOOKUP?.count ?? 0) + (operations.FUSE_GETATTR?.count ?? 0)
    }
    t.ok(await asked('attr_timeout=0,entry_timeout=0') >= 10)
    t.ok(await asked('attr_timeout=600,entry_timeout=600') < 10)
  })

  t.test('ordinary users mount through fusermount3', async (t) => {
    const { directory, source, mountpoint } = place(t)
    const uid = 65534
    for (const path of [directory, source, mountpoint]) chownSync(path, uid, uid)
    writeFileSync(join(source, 'file'), 'text')
    // The device may be root's alone on this machine: the user sees one that is not, in a namespace of its own.
    const device = join(directory, 'fuse')
    execFileSync('mknod', ['-m', '666', device, 'c', '10', '229'])
    chmodSync(device, 0o666)
    const runtime = join(directory, 'runtime')
    mkdirSync(runtime, { mode: 0o700 })
    chownSync(runtime, uid, uid)
    const script = join(directory, 'script.sh')
    const asUser = async (commands: string): Promise<string> => {
      writeFileSync(script, `set -x; efuse='${process.execPath} ${ROOT}/efuse.js'; cd ${directory}; ${commands}`)
      const { stdout, stderr } = await run('unshare', ['-m', 'sh', '-c',
        `mount --bind ${device} /dev/fuse && exec setpriv --reuid ${uid} --regid ${uid} --clear-groups `
        + `env XDG_RUNTIME_DIR=${runtime} HOME=${directory} sh ${script}`])
      t.comment(stderr)
      return stdout
    }
    const out = await asUser(`
      $efuse mount source mountpoint -o noatime,fsname=mine; echo mount $?
      grep " ${mountpoint} " /proc/mounts
      cat mountpoint/file; echo
      ls -l ${runtime}/efuse | grep -c 'srw-------'
      $efuse stat mountpoint --json | grep -c '"FUSE_INIT":'
      (cd mountpoint; $efuse umount ${mountpoint} 2>&1; echo busy $?)
      $efuse umount mountpoint; echo umount $?
      $efuse mount source mountpoint -o allow_other 2>&1; echo allow_other $?
      $efuse mount source mountpoint -f -o auto_unmount & server=$!
      until grep -q " ${mountpoint} " /proc/mounts; do sleep 0.05; done
      cat mountpoint/file > /dev/null
      kill -9 $server
      while grep -q " ${mountpoint} " /proc/mounts; do sleep 0.05; done
      echo auto_unmount done
      $efuse mount source mountpoint -f & server=$!
      until grep -q " ${mountpoint} " /proc/mounts; do sleep 0.05; done
      cat mountpoint/file > /dev/null
      kill $server; wait $server; echo TERM $?
      $efuse mount source mountpoint -f & server=$!
      until grep -q " ${mountpoint} " /proc/mounts; do sleep 0.05; done
      cat mountpoint/file > /dev/null
      kill -9 $server; wait $server
      $efuse mount source mountpoint; echo over dead $?
      cat mountpoint/file; echo
      $efuse umount mountpoint --force; echo force $?
      grep -c " ${mountpoint} " /proc/mounts`)
    const allowed = existsSync('/etc/fuse.conf') && /^user_allow_other/m.test(readFileSync('/etc/fuse.conf', 'utf8'))
    const lines = out.trim().split('\n')
    t.match(lines[0], 'mount 0')
    t.match(lines[1], new RegExp(`^mine ${mountpoint} fuse rw,nosuid,nodev,noatime,user_id=${uid},group_id=${uid}`))
    t.match(lines[2], 'text')
    t.equal(lines[3], '1', 'a control socket of its own')
    t.equal(lines[4], '1')
    t.match(out, /in use.*--force\nbusy 1\numount 0/)
    if (!allowed) t.match(out, /user_allow_other.*\nallow_other 1/)
    t.match(out, /auto_unmount done\nTERM 0\nover dead 0\ntext\nforce 0\n0\n$/)
    t.strictSame(processesOf(directory), [])
    rmSync(device)
  })
}
