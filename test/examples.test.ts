// SPDX-License-Identifier: MIT
/** Every example, mounted as its users run it, and looked at by other processes. */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** Nothing here takes as long; it ends what hangs. */
const PATIENCE = 20_000 * Number(process.env.EFUSE_TEST_PATIENCE ?? 1)

function canMount(): boolean {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
    return process.getuid!() === 0
  } catch {
    return false
  }
}

interface Example {
  readonly mountpoint: string
  /** Runs a shell command in the mounted directory. @returns what it wrote */
  shell(command: string): Promise<string>
  /** Ends the example by a signal, and checks that it leaves no mount. */
  end(signal?: NodeJS.Signals): Promise<void>
  /** The lines that it wrote, once it has ended by itself. */
  readonly lines: Promise<string[]>
}

async function mounted(mountpoint: string): Promise<boolean> {
  return (await readFile('/proc/self/mountinfo', 'utf8')).includes(` ${mountpoint} `)
}

/** Starts an example and waits until it says that it is mounted. */
async function start(
  t: Test, name: string, args = (mountpoint: string): string[] => [mountpoint],
): Promise<Example> {
  const mountpoint = await mkdtemp(join(tmpdir(), 'efuse-example-'))
  const child: ChildProcess = spawn(process.execPath, [join('examples', name), ...args(mountpoint)], {
    cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'close')
  const lines: string[] = []
  const reader = createInterface(child.stdout!)
  reader.on('line', (line) => lines.push(line))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
    if (await mounted(mountpoint)) await run('umount', ['-l', mountpoint], { timeout: PATIENCE })
    await rm(mountpoint, { recursive: true, force: true })
  })
  await Promise.race([once(reader, 'line'), exited.then(([code]) => { throw new Error(`${name} ended with ${code}`) })])
  return {
    mountpoint,
    shell: async (command) => (await run('sh', ['-c', command], { cwd: mountpoint, timeout: PATIENCE })).stdout,
    end: async (signal = 'SIGINT') => {
      child.kill(signal)
      await exited
      t.notOk(await mounted(mountpoint), 'it leaves no mount')
    },
    lines: exited.then(() => lines),
  }
}

const options = { skip: canMount() ? false : 'needs root and /dev/fuse' }

t.test('hello.js: one file', options, async (t) => {
  const { shell, end } = await start(t, 'hello.js')
  t.equal(await shell('cat hello'), 'Hello, world!\n')
  t.equal(await shell('ls -a'), '.\n..\nhello\n')
  t.equal(await shell('stat -c "%a %s %F" hello'), '444 14 regular file\n')
  t.equal(await shell('dd if=hello bs=1 skip=7 count=5 2>/dev/null'), 'world')
  await t.rejects(shell('cat goodbye'), /No such file/)
  await t.rejects(shell('echo x > hello'), /Read-only/)
  await end()
})

t.test('memfs.js: files come, go and are counted', options, async (t) => {
  const { shell, end } = await start(t, 'memfs.js')
  t.equal(await shell('mkdir -p a/b && echo text > a/b/c && ln a/b/c d && ln -s a e && cat e/b/c d'), 'text\ntext\n')
  t.equal(await shell('stat -f -c "%b %c" .'), `${64 * 256} 10000\n`)
  await t.rejects(shell('head -c 70000000 /dev/zero > big'), /No space left/)
  await shell('rm big')
  await end('SIGTERM')
})

t.test('memfs.js: umount(8) ends it, and the tree is still there', options, async (t) => {
  const { shell, mountpoint, lines } = await start(t, 'memfs.js')
  await shell('echo text > file')
  await run('umount', [mountpoint], { timeout: PATIENCE })
  t.equal((await lines).at(-1), 'unmounted, holding 2 inodes and 4096 bytes')
})

t.test('sleepy.js: many wait at once, and each can be interrupted', options, async (t) => {
  const { shell, end } = await start(t, 'sleepy.js')
  t.equal(await shell('cat 10'), 'slept 10 ms\n')
  const readers = await shell('for n in $(seq 1 50); do cat 300 & done; wait')
  t.equal(readers, 'slept 300 ms\n'.repeat(50))
  // timeout(1) says 124 when it had to interrupt: the read did not stand in its way.
  t.equal(await shell('timeout -s INT 0.2 cat forever; echo $?'), '124\n')
  await t.rejects(shell('cat never'), /No such file/)
  t.equal(await shell('cat 10'), 'slept 10 ms\n', 'and it goes on')
  await end()
})

t.test('json.js: a document as a tree', options, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'efuse-example-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const document = join(directory, 'document.json')
  await writeFile(document, JSON.stringify({
    name: 'efuse', list: ['a', 'b'], deep: { er: { still: true } }, 'a/b': null, long: 'x'.repeat(300_000),
  }))
  const { shell, end } = await start(t, 'json.js', (mountpoint) => [document, mountpoint])
  t.equal(await shell('cat name list/1 deep/er/still'), 'efuse\nb\ntrue\n')
  t.equal(await shell('ls'), 'a\u2215b\ndeep\nlist\nlong\nname\n')
  t.equal(await shell('find . | sort'),
    './a\u2215b\n./deep\n./deep/er\n./deep/er/still\n./list\n./list/0\n./list/1\n./long\n./name\n'.replace(/^/, '.\n'))
  t.equal(await shell('wc -c < long'), '300001\n')
  await end()
})

t.test('clock.js: readers with warm caches see each change', options, async (t) => {
  const { mountpoint, shell, end } = await start(t, 'clock.js', (mountpoint) => [mountpoint, '50'])
  t.same(await readdir(mountpoint), ['clock'])
  // Attributes and data may be kept for ever: what is read changes only because the kernel is told.
  const changes = await shell(`
    last=
    seen=0
    while [ $seen -lt 5 ]; do
      now=$(cat clock)
      if [ "$now" != "$last" ]; then seen=$((seen + 1)); echo "$now"; fi
      last=$now
    done`)
  const times = changes.trim().split('\n').map((line) => Date.parse(line))
  t.equal(times.length, 5)
  t.same(times, [...times].sort((a, b) => a - b))
  await end()
})

t.test('the README and the guide show hello.js as it is', async (t) => {
  const example = await readFile(join(ROOT, 'examples/hello.js'), 'utf8')
  const shown = example.replace(/^.*SPDX.*\n/, '')
  for (const document of ['README.md', 'docs/filesystem-api.md']) {
    t.match(await readFile(join(ROOT, document), 'utf8'), shown, document)
  }
})
