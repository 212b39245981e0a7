// SPDX-License-Identifier: MIT
/** MemFS on a mount: what programs do with files, compared with the same done elsewhere. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'

const run = promisify(execFile)
const INDEX = new URL('../src/index.js', import.meta.url).href
const SOURCES = fileURLToPath(new URL('../../src', import.meta.url))
/** Nothing here takes as long; it ends what hangs. */
const PATIENCE = 60_000 * Number(process.env.EFUSE_TEST_PATIENCE ?? 1)

function canMount(): boolean {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
    return process.getuid!() === 0
  } catch {
    return false
  }
}

/** The server, in a process of its own: a line on its standard input asks what is in use. */
const SERVER = `
  import { createInterface } from 'node:readline'
  import { mount, MemFS } from '${INDEX}'
  const memory = new MemFS({ maxBytes: 64 << 20, maxInodes: 5000, mode: 0o1777 })
  const mounted = await mount(memory, process.argv[1], { allowOther: true, ...JSON.parse(process.argv[2]) })
  console.log('mounted')
  createInterface(process.stdin).on('line', () => console.log(JSON.stringify(memory.usage)))
  await mounted.closed
  console.log(JSON.stringify(memory.usage))
  process.exit()
`

interface Mounted {
  readonly directory: string
  /** Runs a shell script in the mount, and stops it at the first failure. @returns what it wrote */
  shell(script: string): Promise<string>
  usage(): Promise<{ bytes: number; inodes: number }>
  /** Unmounts. @returns what is still in use when the server has ended */
  unmount(): Promise<{ bytes: number; inodes: number }>
}

async function start(t: Test, options: object = {}): Promise<Mounted> {
  const directory = await mkdtemp(join(tmpdir(), 'efuse-memfs-'))
  const child = spawn(process.execPath, ['--input-type=module', '-e', SERVER, directory, JSON.stringify(options)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const exited = once(child, 'close')
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const line = async () => {
    const { value, done } = await lines.next()
    if (done) throw new Error('the server has ended')
    return value
  }
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
    if ((await readFile('/proc/self/mountinfo', 'utf8')).includes(` ${directory} `)) {
      await run('umount', ['-l', directory], { timeout: PATIENCE })
    }
    await rm(directory, { recursive: true, force: true })
  })
  t.equal(await line(), 'mounted')
  return {
    directory,
    shell: async (script) =>
      (await run('sh', ['-e', '-c', script], { cwd: directory, timeout: PATIENCE, maxBuffer: 1 << 24 })).stdout,
    usage: async () => {
      child.stdin.write('usage\n')
      return JSON.parse(await line())
    },
    unmount: async () => {
      await run('umount', [directory], { timeout: PATIENCE })
      return JSON.parse(await line())
    },
  }
}

const options = { skip: canMount() ? false : 'needs root and /dev/fuse' }

t.test('a tree is copied, compared, packed, moved and removed', options, async (t) => {
  const { shell, unmount } = await start(t)
  await shell(`cp -a '${SOURCES}' copy && diff -r '${SOURCES}' copy`)
  t.equal(await shell(`cd copy && find . -printf '%p %y %m %s %T@\\n' | grep -v ' d ' | sort`),
    (await run('sh', ['-c', `cd '${SOURCES}' && find . -printf '%p %y %m %s %T@\\n' | grep -v ' d ' | sort`])).stdout,
    'names, types, modes, sizes and times are those of the original')
  await shell('tar cf tree.tar copy && mkdir unpacked && tar xf tree.tar -C unpacked && diff -r copy unpacked/copy')
  await shell('mv copy unpacked/moved && diff -r unpacked/copy unpacked/moved && rm -r unpacked tree.tar')
  t.equal(await shell('ls -A'), '')
  t.same(await unmount(), { bytes: 0, inodes: 1 }, 'nothing is left')
})

t.test('links, special files and holes are as they should be', options, async (t) => {
  const { shell } = await start(t)
  t.equal(await shell(`
    echo text > f; ln f g; ln -s f l; mkfifo p; mknod c c 1 3
    stat -c '%n %F %h %t:%T' f g l p c; cat l; cat c`), [
    'f regular file 2 0:0', 'g regular file 2 0:0', 'l symbolic link 1 0:0', 'p fifo 1 0:0',
    'c character special file 1 1:3', 'text', '',
  ].join('\n'), 'device files work: root mounts with dev')
  t.equal(await shell(`
    truncate -s 1G s; echo end >> s; stat -c '%s %b' s; tail -c 4 s
    fallocate -p -o 1G -l 4096 s; stat -c %b s`), '1073741828 8\nend\n0\n')
  t.equal(await shell('rm f; cat g; stat -c %h g'), 'text\n1\n')
})

t.test('what is removed stays as long as it is open, and no longer', options, async (t) => {
  const { shell, usage } = await start(t)
  const before = await usage()
  t.equal(await shell(`
    head -c 1000000 /dev/zero > big
    exec 3< big
    rm big
    stat -f -c '%f' . > free
    wc -c <&3`), '1000000\n')
  const left = (64 << 20) / 4096 - Math.ceil(1_000_000 / 4096)
  t.equal(await shell('cat free; rm free'), `${left}\n`, 'it takes its room until then')
  await shell('mkdir d; touch d/f; rm -r d; sync -f .')
  t.same(await usage(), before)
})

t.test('limits are errors that programs know', options, async (t) => {
  const { shell } = await start(t)
  await t.rejects(shell('head -c 70000000 /dev/zero > big'), /No space left on device/)
  await shell('rm big')
  await t.rejects(shell('seq 1 6000 | xargs touch'), /No space left on device/)
  t.equal(await shell('ls -A | wc -l'), '4999\n')
})

t.test('rights are checked, by modes and by access lists', options, async (t) => {
  const { shell } = await start(t)
  const as = (command: string) => `setpriv --reuid 12345 --regid 12345 --clear-groups sh -c '${command}'`
  await shell('mkdir -m 700 private; echo secret > private/f; mkdir -m 1777 shared; echo mine > shared/f')
  await t.rejects(shell(as('cat private/f')), /Permission denied/)
  await t.rejects(shell(as('rm -f shared/f')), /Operation not permitted/)
  t.equal(await shell(`${as('echo his > shared/g; umask 027; mkdir shared/d')}; stat -c '%u %g %a' shared/g shared/d`),
    '12345 12345 644\n12345 12345 750\n')
  await shell('cp /bin/cat shared/cat; chown 12345 shared/cat; chmod 4755 shared/cat')
  t.equal(await shell(`${as('echo >> shared/cat')}; stat -c %a shared/cat`), '755\n', 'a write takes suid away')
})

t.test('with a writeback cache it is the same tree', options, async (t) => {
  const { shell, unmount } = await start(t, { writebackCache: true })
  await shell(`cp -a '${SOURCES}' copy && sync -f . && diff -r '${SOURCES}' copy`)
  t.equal(await shell(`
    for n in $(seq 1 2000); do echo line $n; done > many
    while read -r line; do echo "$line"; done < many > again
    cmp many again
    cp --sparse=always many sparse; cmp many sparse; wc -l < sparse`), '2000\n')
  await shell('rm -r *')
  t.same(await unmount(), { bytes: 0, inodes: 1 })
})
