// SPDX-License-Identifier: MIT
/**
 * In the guest: mounts whose data the kernel reads and writes. What uses them runs in processes of its own; the servers
 * are this process's.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import t, { type Test } from 'tap'
import { DATA_POLICIES, type DataCache, type DataCounts, type DataOptions, type DataPolicy } from '../../../src/bpf/data-cache.js'
import { MemFS, mount, StackFS, type InProcessOptions, type Mount } from '../../../src/index.js'
import type { Agreement } from '../../../src/protocol/init.js'
import { enough, moduleFree, sh, until } from './hooks-support.js'

t.setTimeout(0)

const { values } = parseArgs({
  options: {
    operations: { type: 'string', default: '1000' }, part: { type: 'string', default: 'answers' },
    full: { type: 'boolean', default: false }, files: { type: 'string', default: '1000' }, only: { type: 'string', default: '' },
  },
})
const OPERATIONS = Number(values.operations)
const FILES = Number(values.files)
const FULL = values.full
const ONLY = new RegExp(values.only)
/** Compiled where compilers are not emulated: lab/programs.js. */
const PROGRAMS = '/efuse/dist/test/kernel/guest/programs'

/** A test of one part: `answers`, `served`, `coherence` or `bounds`; with --only, if that fits its name. */
async function test(part: string, name: string, body: (t: Test) => Promise<void>): Promise<void> {
  if (part === values.part && ONLY.test(name)) await t.test(name, body)
}

interface Fixture {
  mounted: Mount
  /** The mountpoint. */
  at: string
  /** What it shows. */
  source: string
  data: DataCache
}

/** @param options null: nothing is loaded */
async function fixture(
  t: Test, options: DataOptions | null = {}, more: InProcessOptions = {},
  accelerate: InProcessOptions['accelerate'] = options === null ? 'off' : { data: { memory: 4 << 20, ...options } },
  passthrough: 'hooked' | 'bound' = 'hooked',
): Promise<Fixture> {
  const folder = mkdtempSync('/var/tmp/efuse-data-')
  const [at, source] = [`${folder}/mount`, `${folder}/source`]
  mkdirSync(at)
  mkdirSync(source)
  await sh(`chmod 755 ${folder}`)
  const mounted = await mount(new StackFS({ source, passthrough, maxInodes: 1 << 16 }), at, {
    type: 'efuse', allowOther: true, entryTimeout: 0, attrTimeout: 0, ...more, accelerate,
  })
  t.teardown(() => mounted.unmount({ lazy: true }).catch(() => {}))
  const { data } = (mounted as unknown as { accelerators: { data: DataCache } }).accelerators
  return { mounted, at, source, data }
}

const requests = ({ mounted }: Fixture, operation: string): number => Number(mounted.stats().operations[operation]?.count ?? 0)

async function works(t: Test, command: string, what: string): Promise<string> {
  const { ok, output, errors } = await sh(`set -e; ${command}`)
  t.ok(ok, `${what}${ok ? '' : `: ${output}${errors}`}`)
  return output
}

/** What happened in the kernel during something. */
async function during(f: Fixture, action: () => Promise<unknown>): Promise<DataCounts> {
  const before = f.data.counts()
  await action()
  const after = f.data.counts()
  return Object.fromEntries(Object.entries(after).map(([name, value]) =>
    [name, value - before[name as keyof DataCounts]])) as unknown as DataCounts
}

for (const policy of FULL ? DATA_POLICIES : ['cache', 'adaptive'] as const) {
  await test('answers', `${policy}: reads and writes of all kinds`, async (t) => {
    const f = await fixture(t, { policy })
    await sh('cd $1; head -c 300001 /dev/urandom > file; cp file ../copy; printf small > small; : > empty', f.source)
    const served = ['FUSE_READ', 'FUSE_WRITE'].map((name) => requests(f, name))
    const counts = await during(f, async () => {
      await works(t, `cd ${f.at}; cmp file ../copy; cmp file ../copy; [ "$(cat small)" = small ]; [ -z "$(cat empty)" ]`, 'reads')
      await works(t, `cd ${f.at}; for time in 1 2 3; do dd if=file iflag=direct bs=4096 status=none | cmp - ../copy
        dd if=file bs=1000 status=none | cmp - ../copy; dd if=file bs=70000 status=none | cmp - ../copy; done`, 'of all sizes')
      await works(t, `cd ${f.at}; tail -c 2 ../copy > ../tail; tail -c 2 file | cmp - ../tail
        [ -z "$(dd if=file bs=1 skip=300001 count=10 status=none)" ]; [ -z "$(dd if=file bs=4096 skip=1000 count=1 status=none)" ]`,
      'at the end, and beyond')
      await works(t, `cd ${f.at}; printf XY | dd of=file bs=1 seek=5000 conv=notrunc status=none
        printf XY | dd of=../copy bs=1 seek=5000 conv=notrunc status=none; cmp file ../copy; cmp ${f.source}/file ../copy`,
      'what is written is read')
      await works(t, `cd ${f.at}; echo more >> file; echo more >> ../copy; cmp file ../copy
        [ $(stat -c %s file) = $(stat -c %s ../copy) ]`, 'appended')
      await works(t, `cd ${f.at}; truncate -s 6000 file; truncate -s 6000 ../copy; cmp file ../copy
        truncate -s 20000 file; truncate -s 20000 ../copy; cmp file ../copy`, 'shorter and longer: holes are zero')
      await works(t, `cd ${f.source}; printf behind | dd of=file bs=1 seek=100 conv=notrunc status=none; cmp file ${f.at}/file
        cp file ../copy`, 'changes behind the mount are seen at once')
      await works(t, `cp ${f.at}/file ${f.at}/other; cmp ${f.at}/other ../copy 2> /dev/null || cmp ${f.source}/other ${f.source}/file`,
        'copied')
    })
    t.comment(JSON.stringify(counts))
    if (policy as DataPolicy === 'off') {
      t.equal(counts.cached + counts.direct + counts.written, 0)
    } else {
      t.strictSame(['FUSE_READ', 'FUSE_WRITE'].map((name) => requests(f, name)), served, 'all without the server')
      // What pays in an emulator is chance: adaptive may leave the cache alone.
      t.ok(policy !== 'cache' || counts.hits > 100, `${counts.hits} blocks from the cache`)
      t.ok(policy as DataPolicy !== 'direct' || counts.cached + counts.hits === 0)
      t.ok(counts.written >= 3, `${counts.written} writes`)
      const { kernel } = f.mounted.stats()
      t.equal(Number(kernel.answered.FUSE_READ.count), f.data.counts().cached + f.data.counts().direct, 'and that is reported')
    }
  })
}


/** Whether a command does the same there as in the source: what it prints, and its status. */
async function same(t: Test, f: Fixture, what: string, command: string): Promise<void> {
  const [there, here] = await Promise.all([f.at, f.source].map(async (folder, number) => {
    const { output } = await sh(`mkdir -p $1/d${number}; cd $1/d${number}; exec 2>&1; ${command}; echo status $?`, folder)
    return output
  }))
  t.equal(there, here, what)
}

await test('answers', 'as on the source\'s own file system', async (t) => {
  for (const policy of FULL ? ['cache', 'direct', 'adaptive'] as const : ['cache'] as const) {
    const f = await fixture(t, { policy })
    const served = requests(f, 'FUSE_WRITE')
    await same(t, f, 'suid and sgid bits go when another writes',
      'echo x > s; chmod 6777 s; setpriv --reuid 1000 --regid 1000 --clear-groups sh -c "echo more >> s"; stat -c %a s; cat s')
    await same(t, f, 'and stay when root does', 'echo x > s2; chmod 6777 s2; echo more >> s2; stat -c %a s2; cat s2')
    await same(t, f, 'limits', 'ulimit -f 8; trap "" XFSZ; head -c 10000 /dev/zero > limited; stat -c %s limited')
    await same(t, f, 'holes', 'dd if=/dev/zero of=hole bs=1 count=1 seek=1000000 status=none; stat -c "%s %b" hole; cksum hole')
    await same(t, f, 'times', `echo a > times; touch -d 2001-01-01 times; cat times; echo b >> times
      [ $(stat -c %Y times) -gt 1000000000 ] && [ $(stat -c %Z times) -gt 1000000000 ]; echo $?`)
    await same(t, f, 'reading only', `echo secret > r; chmod 444 r
      setpriv --reuid 1000 --regid 1000 --clear-groups sh -c 'cat r; echo x >> r'; cat r`)
    await same(t, f, 'writing only', `echo secret > w; exec 3> w; read line <&3; echo $?; python3 -c "
import os
fd = os.open('w', os.O_WRONLY)
try: os.pread(fd, 10, 0)
except OSError as error: print(error)"`)
    await same(t, f, 'not allowed', 'echo secret > p; chmod 600 p; cat p; setpriv --reuid 1000 --regid 1000 --clear-groups cat p')
    await same(t, f, 'sendfile, splice, and vectors', `python3 -c "
import os, mmap
fd = os.open('v', os.O_RDWR | os.O_CREAT)
print(os.pwritev(fd, [b'a' * 5000, b'b' * 5000, b'c'], 100))
parts = [bytearray(3), bytearray(6000), bytearray(9000)]
print(os.preadv(fd, parts, 99), parts[0], parts[2][:3000].count(b'b'), parts[2][3000:].count(0))
out = os.open('out', os.O_RDWR | os.O_CREAT)
print(os.sendfile(out, fd, 0, 100000), os.pread(out, 200000, 0) == os.pread(fd, 200000, 0))
os.pwrite(fd, b'later', 1000)
r, w = os.pipe()
print(os.splice(fd, w, 2000, offset_src=0), os.read(r, 2000)[995:1010])
m = mmap.mmap(fd, 8192)
m[1000:1005] = b'mappd'
print(os.pread(fd, 10, 998), os.pread(fd, 5, 20000))
print(os.copy_file_range(fd, out, 4096, 0, 50000), os.pread(out, 2, 50100))
try: os.preadv(fd, [memoryview(m)[0:4096]], 0)
except Exception as error: print(error)
print(m[100:110])
os.ftruncate(fd, 10); print(os.pread(fd, 100, 5))
"`)
    t.equal(requests(f, 'FUSE_WRITE'), served, 'and nothing was left to the server')
    await works(t, `cd ${f.at}; cp -r /efuse/bpf code; diff -r /efuse/bpf code; mkdir -p run
      ${FULL ? 'gcc -O1 -o checker /efuse/test/kernel/guest/data-check.c' : `cp ${PROGRAMS}/data-check checker`}
      ./checker run run 1 200 1`, 'a program is copied, or compiled, and run')
    if ((await sh('command -v fio')).ok) {
      for (const [engine, direct] of ([['psync', 0], ['libaio', 1], ['mmap', 0], ['psync', 1]] as const).slice(0, FULL ? 4 : 1)) {
        await works(t, `cd ${f.at}; fio --name=${engine}${direct} --ioengine=${engine} --direct=${direct} --rw=randrw `
          + `--size=${FULL ? 8 : 1}m --bs=4k --iodepth=4 --verify=crc32c --verify_fatal=1 --minimal > /dev/null`,
        `fio --verify, ${engine}, direct=${direct}`)
      }
    }
    if ((await sh('command -v sqlite3')).ok) {
      t.equal(await works(t, `cd ${f.at}; sqlite3 db 'create table a (n integer primary key, t text);
        with recursive c(n) as (select 1 union all select n + 1 from c where n < 2000) insert into a select n, hex(randomblob(50)) from c;
        update a set t = "x" where n % 3 = 0; pragma integrity_check; select count(*) from a where t = "x";'`, 'SQLite'), 'ok\n666\n')
    }
  }
})

await test('answers', 'files that the kernel caches: what it has not', async (t) => {
  for (const policy of FULL ? ['cache', 'direct'] as const : ['cache'] as const) {
    const f = await fixture(t, { policy }, {}, undefined, 'bound')
    const served = requests(f, 'FUSE_READ')
    await sh('cd $1; head -c 300001 /dev/urandom > file; cp file ../copy', f.source)
    const cold = await during(f, () => works(t, `cmp ${f.at}/file ${f.source}/file`, 'cold'))
    t.ok(cold.direct + cold.cached > 0, `${cold.direct} direct reads, ${cold.cached} from the cache`)
    const [open, written] = [`${f.source}.open`, `${f.source}.written`]
    const holder = sh('exec 3< $1/file; touch $2; until [ -e $3 ]; do sleep 0.1; done; cmp $1/file $1/../copy', f.at, open, written)
    t.ok(await until(() => existsSync(open)))
    await works(t, `cat ${f.at}/file > /dev/null`, 'read again')
    const writes = requests(f, 'FUSE_WRITE')
    await works(t, `cd ${f.at}; printf XY | dd of=file bs=1 seek=5000 conv=notrunc status=none; echo more >> file
      printf XY | dd of=../copy bs=1 seek=5000 conv=notrunc status=none; echo more >> ../copy
      cmp file ../copy; cmp ../source/file ../copy; echo 3 > /proc/sys/vm/drop_caches; cmp file ../copy
      dd if=file iflag=direct bs=4096 status=none | cmp - ../copy; truncate -s 100000 file; truncate -s 100000 ../copy; cmp file ../copy`,
    'written')
    await sh('touch $1', written)
    t.ok((await holder).ok, 'a file that was open all the time')
    t.equal(requests(f, 'FUSE_READ'), served, 'no read reached the server')
    t.equal(requests(f, 'FUSE_WRITE'), writes, 'no write did')
  }
})

await test('answers', 'from the command line', async (t) => {
  await works(t, `mkdir -p /var/tmp/cli-source /var/tmp/cli; head -c 20000 /dev/urandom > /var/tmp/cli-source/file
    node efuse.js mount /var/tmp/cli-source /var/tmp/cli --type efuse --accel metadata,data --data policy=cache:memory=2M
    cmp /var/tmp/cli/file /var/tmp/cli-source/file; cmp /var/tmp/cli/file /var/tmp/cli-source/file`, 'mounted, and read twice')
  const { kernel, accel } = JSON.parse(await works(t, 'node efuse.js stat /var/tmp/cli --json', 'stat'))
  t.equal(accel, 'metadata,data')
  // The first read to memory that the caller has never touched goes the direct way, which can wait for it.
  t.ok(kernel.data.hits >= 3 && kernel.data.direct <= 4, JSON.stringify(kernel.data))
  t.ok(kernel.data.memory <= 2 << 20 && kernel.data.memory > 1 << 20, `${kernel.data.memory} bytes: no more than asked for`)
  t.match(await works(t, 'node efuse.js stat /var/tmp/cli; node efuse.js umount /var/tmp/cli', 'for people'), /\d% of blocks found/)
  const wrong = await sh('node efuse.js mount /var/tmp/cli-source /var/tmp/cli --accel data --data policy=best; echo $?')
  t.match(wrong.output, '2')
})

/** A mount of a file system that only the server has. */
async function served(
  t: Test, options: DataOptions = {}, more: InProcessOptions = {}, fileSystem: MemFS = new MemFS(),
): Promise<Fixture & { fileSystem: MemFS }> {
  const folder = mkdtempSync('/var/tmp/efuse-served-')
  const at = `${folder}/mount`
  mkdirSync(at)
  const mounted = await mount(fileSystem, at, {
    type: 'efuse', entryTimeout: 0, attrTimeout: 0, ...more,
    accelerate: { data: { coherence: 'exclusive', memory: 4 << 20, ...options } },
  })
  t.teardown(() => mounted.unmount({ lazy: true }).catch(() => {}))
  const { data } = (mounted as unknown as { accelerators: { data: DataCache } }).accelerators
  return { mounted, at, source: at, data, fileSystem }
}

/** A MemFS whose reads can be held back, after they have been done; it tells of each. */
function observed(): { fileSystem: MemFS; reads: { offset: number; size: number }[]; hold: (until: Promise<void> | null) => void } {
  const fileSystem = new MemFS()
  const reads: { offset: number; size: number }[] = []
  let held: Promise<void> | null = null
  const read = fileSystem.read.bind(fileSystem)
  Object.assign(fileSystem, {
    async read(...[request, reply]: Parameters<typeof read>) {
      const result = read(request, reply)
      reads.push({ offset: request.offset, size: request.size })
      await held
      return result
    },
  })
  return { fileSystem, reads, hold: (until) => { held = until } }
}

await test('served', 'files that only the server has, with direct_io', async (t) => {
  const { fileSystem, reads, hold } = observed()
  // Loading takes seconds in a guest: one for all that begins with new files.
  const direct = await served(t, {}, { directIo: true }, fileSystem)
  await t.test('only what is missing is asked for, and joined with what was there; small files as a whole', async (t) => {
    await works(t, `cd ${direct.at}; head -c 200000 /dev/urandom > ../copy; cp ../copy file; head -c 20000 ../copy > small
      cat > ../code <<'END'
import mmap, os
copy = open('../copy', 'rb').read()
memory = mmap.mmap(-1, 1 << 20)
def read(name, place, size):
    got = os.preadv(files[name], [memoryview(memory)[:size]], place)
    assert memory[:got] == copy[:20000 if name == 'small' else 200000][place:place + size], (name, place, size)
files = {name: os.open(name, os.O_RDWR | os.O_DIRECT) for name in ('small', 'file')}
read('small', 8192, 4096)
for place in range(0, 20000, 4096): read('small', place, 4096)
read('small', 0, 131072)
for place, size in (0, 4096), (8192, 8192), (4096, 100), (0, 32768), (8192, 32768), (40960, 20): read('file', place, size)
read('file', 0, 65536)
read('file', 0, 65536)
os.pwrite(files['file'], copy[9000:9003], 9000)
read('file', 0, 32768)
END
      python3 ../code`, 'read in parts')
    t.strictSame(reads, [
      { offset: 0, size: 20480 },
      { offset: 0, size: 4096 }, { offset: 8192, size: 8192 }, { offset: 4096, size: 4096 },
      { offset: 16384, size: 16384 }, { offset: 32768, size: 8192 }, { offset: 40960, size: 4096 },
      { offset: 0, size: 65536 }, { offset: 0, size: 65536 },
      { offset: 8192, size: 4096 },
    ], 'large reads are the server\'s; a write ends what it has written to alone')
  })

  await t.test('an answer that a change has overtaken is not kept', async (t) => {
    for (const [what, change] of [
      ['a write', 'printf new | dd of=file bs=1 conv=notrunc status=none'],
      ['a truncation', 'truncate -s 0 file; truncate -s 8192 file'],
      ['an open that truncates', 'printf new > file'],
      ['punching', 'fallocate -p -o 0 -l 4096 file'],
      ['a copy', 'python3 -c "import os; os.copy_file_range(os.open(\'other\', 0), os.open(\'file\', 1), 100)"'],
    ]) {
      await works(t, `cd ${direct.at}; head -c 8192 /dev/zero | tr '\\0' o > file; printf other > other`, 'old data')
      let release = (): void => {}
      hold(new Promise((resolve) => { release = resolve }))
      reads.length = 0
      const reading = sh(`dd if=${direct.at}/file iflag=direct bs=4096 count=1 status=none`)
      t.ok(await until(() => reads.length > 0), `a read is under way, ${what}`)
      hold(null)
      await works(t, `cd ${direct.at}; ${change}`, what)
      release()
      t.equal((await reading).output.slice(0, 2), 'oo', 'it finds what there was')
      const { output } = await sh(`dd if=${direct.at}/file iflag=direct bs=4096 count=1 status=none`)
      t.not(output.slice(0, 2), 'oo', 'the next one does not')
    }
  })

  await t.test('the server says that a file has changed', async (t) => {
    await works(t, `cd ${direct.at}; printf 'old data' > file; [ "$(cat file; cat file)" = 'old dataold data' ]`, 'old')
    const nodeid = Number((await sh('stat -c %i $1/file', direct.at)).output)
    const { inodes } = fileSystem as unknown as {
      inodes: Map<number, { content: { write(at: number, size: number, bytes: Uint8Array, offset: number): number } }>
    }
    inodes.get(nodeid)!.content.write(0, 3, Buffer.from('new'), 0)
    t.equal((await sh('cat $1/file', direct.at)).output, 'old data', 'it is exclusive: nobody looks')
    direct.mounted.notify.invalInode(nodeid)
    t.ok(await until(async () => (await sh('cat $1/file', direct.at)).output === 'new data'), 'new')
  })

  await t.test('what a reader does to its own memory meanwhile is nobody else\'s', async (t) => {
    const counts = await during(direct, () => works(t, `cd ${direct.at}; head -c 1048576 /dev/zero | tr '\\0' s > file; python3 -c "
import mmap, os, sys
memory = mmap.mmap(-1, 4096)
child = os.fork()
if child == 0:
    while True: memory[:] = b'x' * 4096
fd = os.open('file', os.O_RDONLY | os.O_DIRECT)
for block in range(256): os.preadv(fd, [memory], block * 4096)
os.kill(child, 9)
fd = os.open('file', os.O_RDONLY)
for block in range(256): assert os.pread(fd, 4096, block * 4096) == b's' * 4096, block
"`, 'read while it is written to'))
    t.ok(counts.hits > 200, JSON.stringify(counts))
  })
})

for (const [what, more] of ([['direct_io', { directIo: true }], ['cached by the kernel', {}]] as const).slice(0, FULL ? 2 : 0)) {
  await test('served', `files that only the server has, ${what}: reads and writes of all kinds`, async (t) => {
    const f = await served(t, {}, more)
    await works(t, `cd ${f.at}; head -c 300001 /dev/urandom > ../copy; cp ../copy file; printf small > small; : > empty
      for time in ${FULL ? '1 2 3' : '1 2'}; do [ "$(cat small)" = small ]; [ -z "$(cat empty)" ]
        dd if=file bs=1000 status=none | cmp - ../copy; dd if=file bs=70000 status=none | cmp - ../copy
        dd if=file iflag=direct bs=4096 status=none | cmp - ../copy; dd if=file iflag=direct bs=32768 status=none | cmp - ../copy; done`,
    'reads of all sizes')
    await works(t, `cd ${f.at}; tail -c 2 ../copy > ../tail; tail -c 2 file | cmp - ../tail
      [ -z "$(dd if=file bs=1 skip=300001 count=10 status=none)" ]; [ -z "$(dd if=file bs=4096 skip=1000 count=1 status=none)" ]`,
    'at the end, and beyond')
    await works(t, `cd ${f.at}; for change in 'printf XY | dd of=$1 bs=1 seek=5000 conv=notrunc status=none' 'echo more >> $1' \
        'truncate -s 6000 $1' 'truncate -s 20000 $1' 'printf far | dd of=$1 bs=1 seek=50000 conv=notrunc status=none' \
        'fallocate -p -o 4096 -l 3000 $1' 'head -c 5000 /dev/zero | tr "\\0" e > $1'; do
        for name in file ../copy; do set -- $name; eval "$change"; done
        cmp file ../copy; dd if=file iflag=direct bs=8192 status=none | cmp - ../copy; done`, 'changes')
    const counts = f.data.counts()
    // What the kernel caches itself it reads ahead, in requests too large for the cache.
    t.ok(counts.cached > 5 && counts.filled > ('directIo' in more ? 50 : 5), JSON.stringify(counts))
  })
}

await test('served', 'O_DIRECT of files that the kernel caches otherwise', async (t) => {
  const f = await served(t)
  await works(t, `cd ${f.at}; head -c 200000 /dev/urandom > file; echo 1 > /proc/sys/vm/drop_caches
    for time in 1 2 3; do dd if=file iflag=direct bs=8192 skip=1 count=1 of=../part$time status=none; done; cmp ../part1 ../part3`, 'read')
  t.equal(requests(f, 'FUSE_READ'), 1)
})

await test('served', 'others may change the files: not to be had', async (t) => {
  await t.rejects(served(t, { coherence: 'shared' }), { message: /--coherence exclusive/ })
  await works(t, `mkdir -p /var/tmp/cli-mem; node efuse.js mount none /var/tmp/cli-mem --fs memfs --type efuse --accel data -o direct_io
    cd /var/tmp/cli-mem; echo hello > file; [ "$(cat file; cat file)" = "$(printf 'hello\\nhello')" ]`, 'MemFS\'s are its own')
  const { kernel } = JSON.parse(await works(t, 'node efuse.js stat /var/tmp/cli-mem --json', 'stat'))
  t.ok(kernel.data.cached > 0, JSON.stringify(kernel.data))
  await works(t, 'node efuse.js umount /var/tmp/cli-mem', 'unmounted')
})

async function coherent(t: Test, f: Fixture, what: string): Promise<void> {
  const { ok, output, errors } = await sh(`${PROGRAMS}/data-check ${f.at} ${f.source} 4 ${OPERATIONS} ${Date.now() % 100000}`)
  t.ok(ok, `${what}: ${output}${errors}`)
  t.comment(JSON.stringify(f.data.counts()))
}

for (const [what, options] of ([
  ['a cache that thrashes', { policy: 'cache', memory: 1 << 20 }],
  ['adaptive', {}],
  ['cache', { policy: 'cache' }],
  ['the server writes', { policy: 'cache', writes: false }],
  ['direct', { policy: 'direct' }],
] as const).slice(0, FULL ? 5 : 2)) {
  await test('coherence', `random operations of several processes, ${what}: nothing stale, nothing wrong`, async (t) => {
    const f = await fixture(t, options)
    await coherent(t, f, what)
    const { hits, cached, written } = f.data.counts()
    const policy = 'policy' in options ? options.policy : 'adaptive'
    if (policy === 'adaptive') t.ok(cached > 0, `${cached} reads from the cache, taken in then or before`)
    else t.ok(policy === 'direct' ? hits === 0 : hits > OPERATIONS / 20, `${hits} hits`)
    t.ok('writes' in options ? written === 0 : written > OPERATIONS / 20, `${written} writes`)
  })
}

await test('coherence', 'files that only the server has', async (t) => {
  for (const more of ([{ directIo: true }, {}, { writebackCache: true }] as const).slice(0, FULL ? 3 : 1)) {
    const f = await served(t, {}, more)
    const { ok, output, errors } = await sh(`${PROGRAMS}/data-check ${f.at} ${f.at} 4 ${OPERATIONS} 7`)
    t.ok(ok, output + errors)
    t.comment(JSON.stringify(f.data.counts()))
    t.ok(f.data.counts().hits > OPERATIONS / 50, `${f.data.counts().hits} hits`)
  }
})

await test('coherence', 'with metadata answered in the kernel, too', async (t) => {
  const f = await fixture(t, null, {}, {
    data: { policy: 'cache', memory: 1 << 20 },
    metadata: { coherence: 'exclusive', perCaller: false, settle: 0, operations: { open: true, opendir: true } },
  })
  const { ok, output, errors } = await sh(`${PROGRAMS}/metadata-check ${f.at} ${f.source} 4 ${OPERATIONS} 99 0 0`)
  t.ok(ok, output + errors)
  t.equal(f.mounted.stats().accel, 'metadata,data')
  t.ok(f.data.counts().written > 0, `${f.data.counts().written} writes that no request told of`)
})

await test('coherence', 'files that the kernel caches', async (t) => {
  for (const policy of FULL ? ['cache', 'adaptive'] as const : ['adaptive'] as const) {
    const f = await fixture(t, { policy }, {}, undefined, 'bound')
    // Nothing behind the mount: what the kernel has cached is not looked after there.
    const { ok, output, errors } = await sh(`${PROGRAMS}/data-check ${f.at} ${f.at} 4 ${OPERATIONS} 5`)
    t.ok(ok, output + errors)
    t.ok(f.data.counts().written > 10, `${f.data.counts().written} writes`)
  }
})

await test('coherence', 'attached and detached all the time', async (t) => {
  const f = await fixture(t, null)
  const { Hooks } = await import('../../../src/mount/hooks.js')
  const { DataCache } = await import('../../../src/bpf/data-cache.js')
  const { attachment, negotiation } = f.mounted as unknown as { attachment: { fd: number }; negotiation: { agree(): Agreement } }
  const hooks = Hooks.of(attachment.fd)
  let rounds = 0
  let answered = 0
  const checked = enough(() => rounds > 2, `mkdir ${f.source}/run$1
    ${PROGRAMS}/data-check ${f.at}/run$1 ${f.source}/run$1 4 ${OPERATIONS} 77`)
  let going = true
  void checked.then(() => { going = false })
  // Loading takes seconds in a guest, in which this process serves nobody.
  while (going && rounds < Math.max(4, OPERATIONS / 100)) {
    const data = await DataCache.load({
      token: () => hooks.token(), control: hooks.control, options: {}, agreement: negotiation.agree(), server: 'stackfs', uring: false,
    }, { policy: rounds % 2 ? 'cache' : 'adaptive', memory: 1 << 20 })
    await sleep(100 + (rounds % 10) * 10)
    answered += data.counters().cached + data.counters().direct
    data.close()
    rounds++
  }
  const { ok, output, errors } = await checked
  t.ok(ok, output + errors)
  t.ok(answered > 0, `${rounds} times, ${answered} reads answered`)
  hooks.close()
})

/** Bytes that this process's BPF maps take, as the kernel counts them. */
function mapBytes(): number {
  return readdirSync('/proc/self/fd').map((fd) => {
    try {
      return Number(/^memlock:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? 0)
    } catch {
      return 0
    }
  }).reduce((sum, bytes) => sum + bytes, 0)
}

/** Inodes of efuse mounts that the kernel holds, once it has let go of what nobody uses. */
async function inodes(): Promise<number> {
  await sh('sync; echo 2 > /proc/sys/vm/drop_caches; sleep 1')
  return Number(/^efuse_inode +(\d+)/m.exec(readFileSync('/proc/slabinfo', 'utf8'))?.[1] ?? 0)
}

await test('bounds', 'reads never show what is not their file\'s, nor change more memory than they answer', async (t) => {
  for (const options of [{ policy: 'cache', memory: 1 << 20 }, ...FULL ? [{}, { policy: 'direct' }] as const : []] as const) {
    const f = await fixture(t, options)
    const { ok, output, errors } = await sh(`${PROGRAMS}/data-leak ${f.at} ${OPERATIONS}`)
    t.ok(ok, output + errors)
    t.ok(f.data.counts().cached + f.data.counts().direct > 100)
  }
})

await test('bounds', 'a hundred times as much as there is room for', async (t) => {
  const f = await fixture(t, { policy: 'cache', memory: 1 << 20 })
  const before = mapBytes()
  await sh(`python3 -c "
with open('$1/large', 'wb') as file:
    for block in range(25600): file.write(block.to_bytes(8, 'little') * 512)
"`, f.source)
  const read = `python3 -c "
import os, random
fd = os.open('${f.at}/large', os.O_RDONLY)
random.seed(1)
for i in range(${FULL ? 200_000 : 8000}):
    block = random.randrange(25600)
    assert os.pread(fd, 4096, block * 4096) == block.to_bytes(8, 'little') * 512, block
    if i % 4 == 0: os.pread(fd, 4096, i % 64 * 4096)
"`
  const counts = await during(f, () => works(t, read, 'every block is its own'))
  t.ok(counts.filled > 1000, JSON.stringify(counts))
  t.ok(f.data.memory <= 1 << 20, `${f.data.memory} bytes`)
  t.equal(mapBytes(), before, 'the maps have not grown')
  t.ok(before < 1.2 * (1 << 20), `${before} bytes as the kernel counts them`)
})

await test('bounds', `${FILES} small files leave nothing behind`, async (t) => {
  const f = await fixture(t, { memory: 1 << 20 })
  const descriptors = (): number => readdirSync('/proc/self/fd').length
  const turn = (first: number): string => `python3 -c "
import os
os.chdir('${f.at}')
for start in range(0, ${FILES}, 1000):
    for i in range(start, min(start + 1000, ${FILES})):
        with open(f'f{i}', 'wb') as file: file.write((b'%d ' % i) * 100)
    for i in range(start, min(start + 1000, ${FILES})):
        with open(f'f{i}', 'rb') as file: assert file.read() == (b'%d ' % i) * 100
    for i in range(start, min(start + 1000, ${FILES})): os.unlink(f'f{i}')
" # ${first}`
  await works(t, turn(0).replaceAll(String(FILES), '100'), 'a few')
  const before = { maps: mapBytes(), inodes: await inodes(), descriptors: descriptors() }
  await works(t, turn(1), 'many')
  const after = { maps: mapBytes(), inodes: await inodes(), descriptors: descriptors() }
  t.equal(after.maps, before.maps)
  t.ok(after.inodes <= before.inodes + 64, `inodes: ${before.inodes}, ${after.inodes}`)
  t.ok(after.descriptors <= before.descriptors + 2, `descriptors: ${before.descriptors}, ${after.descriptors}`)
  t.comment(JSON.stringify([before, after, f.data.counts()]))
})

await t.test('nothing holds the module', async (t) => void t.ok(await moduleFree()))
