// SPDX-License-Identifier: MIT
/** In the guest: what hooks do. Slots, answers, files that programs open; begin and reply. */
import { existsSync } from 'node:fs'
import t from 'tap'
import { HookProgram } from '../../../src/bpf/hooks.js'
import { BaseFileSystem } from '../../../src/index.js'
import { OPERATION_BY_OPCODE } from '../../../src/protocol/operations.js'
import { attach, dropCaches, fixture, full, holders, HOOKS, moduleFree, objectPath, quiet, sh, until } from './hooks-support.js'

t.setTimeout(0)

await t.test('slots and tokens', async (t) => {
  const f = await fixture(t)
  t.notOk(holders(f.control).some(Boolean), 'all hooks are free')
  const used = f.token()
  const first = await attach('efuse_pass', used)
  t.ok(holders(f.control).every((name) => name === 'pass'), 'one attachment has taken all of them')
  t.equal(holders(f.control).length, HOOKS.length)
  const { ok, errors } = await sh('cmp "$1/file" "$1.copy" && ls "$1" && stat "$1/file" && echo new > "$1/new"', f.at)
  t.ok(ok, `programs that pass ${errors}`)
  await t.rejects(attach('efuse_synthetic', f.token()), { code: 'EBUSY' }, 'a taken hook')
  await t.rejects(attach('efuse_io', used), { code: 'EACCES' }, 'a token that was used')
  await t.rejects(attach('efuse_io', 12345n), { code: 'EACCES' }, 'a token that nobody gave')
  await t.rejects(attach('efuse_io', 0n), { code: 'EACCES' }, 'none')
  const tokens = Array.from({ length: 17 }, () => f.token())
  first.close()
  await t.rejects(attach('efuse_io', tokens[0]), { code: 'EACCES' }, 'a connection has sixteen tokens, the newest')
  t.notOk(holders(f.control).some(Boolean), 'detached with its owner')
  const second = await attach('efuse_open', tokens[1])
  await t.rejects(attach('efuse_synthetic', f.token()), { code: 'EBUSY' }, 'open is taken')
  const beside = await attach('efuse_io', f.token())
  t.strictSame(new Set(holders(f.control)), new Set(['', 'opener', 'io']), 'two side by side')
  second.close()
  beside.close()
})

await t.test('a file that the server does not know', async (t) => {
  const f = await fixture(t)
  const { object } = await attach('efuse_synthetic', f.token())
  await quiet(f)
  const kinds = ['FUSE_OPEN', 'FUSE_READ', 'FUSE_FLUSH', 'FUSE_RELEASE', 'FUSE_STATX']
  const before = kinds.map(f.count)
  const expected = Buffer.from(Array.from({ length: 10_000 }, (_, index) => index & 255))
  const path = `${f.at}/synthetic`
  const bytes = ({ output }: { output: string }) => Buffer.from(output, 'latin1')
  t.equal((await sh('stat -c %s "$1"', path)).output.trim(), '10000', 'GETATTR')
  t.ok(bytes(await sh('cat "$1"', path)).equals(expected), 'buffered reads')
  t.ok(bytes(await sh('dd if="$1" iflag=direct bs=4096 status=none', path)).equals(expected), 'direct reads')
  t.equal((await sh('dd if="$1" bs=1 skip=9990 status=none | wc -c', path)).output.trim(), '10', 'the end')
  await quiet(f)
  t.strictSame(kinds.map(f.count), before, 'nothing of it has reached the server')
  t.ok(object.globals.get('answered') > 5n, 'the programs have answered')
  t.notOk((await sh('echo x > "$1"', path)).ok, 'it can not be written to')
  object.close()
  t.notOk((await sh('cat "$1"', path)).ok, 'gone with its programs')
  t.ok((await sh('cmp "$1/file" "$1.copy"', f.at)).ok, 'the server goes on')
})

await t.test('what programs are told of inodes and callers', async (t) => {
  const [HELD, OPEN_TO_WRITE] = [1, 2]
  const f = await fixture(t)
  const { object } = await attach('efuse_about', f.token())
  const ask = async (command = 'stat "$1/file"'): Promise<{ known: number; who: bigint }> => {
    const before = Number(object.globals.get('times'))
    const { ok, errors } = await sh(command, f.at)
    t.ok(ok && Number(object.globals.get('times')) > before, `${command}${errors}`)
    return { known: Number(object.globals.get('known')), who: BigInt(object.globals.get('who') as bigint) }
  }
  const root = await ask()
  t.equal(root.known, HELD)
  t.not(root.who, 0n)
  t.equal((await ask('exec 3>> "$1/file"; stat "$1/file"')).known, HELD | OPEN_TO_WRITE, 'somebody has it open for writing')
  t.equal((await ask('exec 3< "$1/file"; stat "$1/file"')).known, HELD, 'or for reading')
  object.globals.set('wanted', 0x123456789n)
  t.equal((await ask()).known, 0, 'an inode that is not held')
  object.globals.set('wanted', 0n)
  t.equal((await ask()).who, root.who, 'the same caller')
  object.close()
})

/** Nothing but a root, whose access nobody restricts: without ACCESS requests a hook for them would never be asked. */
class Root extends BaseFileSystem {
  access(): number {
    return 0
  }
}

await t.test('each request hook answers', async (t) => {
  const f = await fixture(t, { fileSystem: new Root(), options: { defaultPermissions: false } })
  const { object } = await attach('efuse_tree', f.token())
  const at = `${f.at}/tree`
  const said = async (command: string) => (await sh(command, at)).output.trim()
  t.equal(await said('stat -c "%F %n" "$1" "$1/data" "$1/link"'),
    `directory ${at}\nregular file ${at}/data\nsymbolic link ${at}/link`, 'lookup, getattr')
  t.equal(await said('cat "$1/data"'), 'written by a program', 'open, read, flush')
  t.equal(await said('ls "$1"'), 'data\nlink', 'opendir, readdir')
  t.equal(await said('ls -a --sort=none "$1" | wc -l'), '2', 'exactly what it lists')
  t.equal(await said('readlink "$1/link"; cat "$1/link"'), 'data\nwritten by a program', 'readlink')
  t.equal(await said('getfattr --absolute-names -n user.bpf --only-values "$1/data"'), 'of a program', 'getxattr')
  t.notOk((await sh('getfattr -n user.other "$1/data"', at)).ok, 'an error')
  t.equal(await said('python3 -c "import os, sys; print(os.access(sys.argv[1], os.R_OK), os.access(sys.argv[1], os.W_OK))" "$1/data"'),
    'True False', 'access')
  t.equal(await said('stat -f -c %b "$1"'), '4242', 'statfs')
  t.notOk((await sh('cat "$1/none"', at)).ok, 'a name that is not there')
  const answers = object.globals.get<bigint[]>('answers')
  t.strictSame(HOOKS.slice(0, 12).filter((_, hook) => answers[hook] === 0n), [], 'all of them were asked')
  t.ok(object.globals.get('reads') > 0n)
  for (const name of ['FUSE_READLINK', 'FUSE_GETXATTR', 'FUSE_STATFS', 'FUSE_READ']) {
    t.equal(f.count(name), 0, `the server has seen no ${name}`)
  }
  t.notOk((await sh('touch "$1/new" || mkdir "$1/new" || ln "$1/data" "$1/other" || mv "$1/data" "$1/.."', at)).ok,
    'what the programs do not answer fails')
  object.close()
})

/** What BPF has counted at both ends, by the names of operations. */
function counted(program: Pick<HookProgram, 'object'>, what: 'begun' | 'replied'): Record<string, number> {
  const counts = program.object.globals.get<bigint[]>(what)
  return Object.fromEntries(counts.map((count, opcode) => [OPERATION_BY_OPCODE[opcode]?.name ?? String(opcode), Number(count)] as const)
    .filter(([name, count]) => count > 0 && !/FORGET/.test(name)))
}

function difference(after: Record<string, number>, before: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)] as const)
    .filter(([, count]) => count > 0))
}

/** Work with requests of many kinds, some of which nobody waits for, and some of which fail. */
const WORK = `set -e; cd "$1"; mkdir d; for i in 1 2 3 4 5; do echo $i > d/$i; done; ln -s target d/link; readlink d/link
  mv d/1 d/moved; ln d/2 d/hard; setfattr -n user.a -v b d/2; getfattr -d d/2; ls -l d; stat d/none || true
  cat file > /dev/null; dd if=file of=/dev/null iflag=direct bs=32k status=none; dd if=/dev/zero of=d/big bs=1M count=2 status=none
  truncate -s 5 d/big; chmod 600 d/big; sync d/big; flock d/big true; fallocate -l 100000 d/big; df . ; rm -r d`

await t.test('begin and reply see all that goes to the server', async (t) => {
  const f = await fixture(t)
  await quiet(f)
  const before = f.counts()
  const program = await attach('efuse_watch', f.token())
  for (let round = 0; round < (full ? 3 : 1); round++) {
    await dropCaches()
    const { ok, errors } = await sh(WORK, f.at)
    t.ok(ok, errors)
  }
  await sh('head -c 4096 "$1/file" > /dev/null; stat "$1/file"; printf 12345678 > "$1/first"; mv "$1/first" "$1/second"', f.at)
  await quiet(f)
  const sent = difference(f.counts(), before)
  t.ok(Object.keys(sent).length > 15, `${Object.keys(sent).length} kinds`)
  t.strictSame(counted(program, 'begun'), sent, 'begin has seen as many as the server')
  t.strictSame(counted(program, 'replied'), sent, 'so has reply')
  const value = (name: string) => program.object.globals.get<any>(name)
  t.equal(value('strange'), 0n, 'scratch bytes have come with each of them')
  t.ok(value('failed').some((count: bigint) => count > 0n), 'errors')
  t.strictSame([value('name'), value('name2')], ['first', 'second'], 'names')
  t.equal(Buffer.from(value('write_data')).toString(), '12345678', 'data on its way')
  t.equal(BigInt((await sh('stat -c %i "$1/second"', f.at)).output.trim()), value('create_nodeid'), "CREATE's entry")
  t.equal(value('create_reply_size'), 16)
  t.ok(value('getattr_size') > 0n)
  await sh('rm "$1/second"', f.at)
  await dropCaches()
  t.ok(await until(() => value('begun')[2] > 0n), 'begin sees what is forgotten')
  t.equal(value('replied')[2], 0n, 'to which there is no reply')
  program.close()
})

await t.test('nothing passes by while programs are replaced', async (t) => {
  const f = await fixture(t)
  await quiet(f)
  const before = f.counts()
  const programs = [await attach('efuse_watch', f.token())]
  let going = true
  const load = Array.from({ length: 3 }, async (_, index) => {
    while (going) {
      const { ok, errors } = await sh('cmp "$1/file" "$1.copy" && ls -l "$1" && echo > "$1/$2"', f.at, String(index))
      if (!ok) throw new Error(errors)
    }
  })
  for (let round = 0; round < (full ? 15 : 5); round++) {
    const next = await HookProgram.open(objectPath('efuse_watch'))
    programs.push(Object.assign(next, { link: next.replace(programs.at(-1)!.link) }))
  }
  going = false
  await Promise.all(load)
  await quiet(f)
  const sent = difference(f.counts(), before)
  for (const end of ['begun', 'replied'] as const) {
    const sum: Record<string, number> = {}
    for (const program of programs) {
      for (const [name, count] of Object.entries(counted(program, end))) sum[name] = (sum[name] ?? 0) + count
    }
    t.strictSame(sum, sent, `${end}: each request was seen by one of them`)
  }
  t.equal(programs.slice(0, -1).filter((program) => program.object.globals.get('strange') !== 0n).length, 0,
    'and had its own scratch bytes')
  for (const program of programs) program.close()
  t.notOk(holders(f.control).some(Boolean))
})

await t.test('begin and reply are had by four at a time', async (t) => {
  const f = await fixture(t)
  await quiet(f)
  const before = f.counts()
  const watchers = [await attach('efuse_watch', f.token())]
  while (watchers.length < 4) watchers.push(await attach('efuse_watch', f.token()))
  await t.rejects(attach('efuse_watch', f.token()), { code: 'EBUSY' }, 'a fifth')
  const beside = await attach('efuse_io', f.token())
  t.ok((await sh(WORK, f.at)).ok)
  await quiet(f)
  const sent = difference(f.counts(), before)
  for (const watcher of watchers) {
    t.strictSame([counted(watcher, 'begun'), counted(watcher, 'replied')], [sent, sent], 'each sees every request')
    t.equal(watcher.object.globals.get('strange'), 0n, 'and has notes of its own')
  }
  watchers.shift()!.close()
  const late = await attach('efuse_watch', f.token())
  t.ok((await sh('stat "$1/file"', f.at)).ok, 'a place becomes free')
  for (const program of [...watchers, late, beside]) program.close()
  t.notOk(holders(f.control).some(Boolean))
})

await t.test('files that programs open', async (t) => {
  const f = await fixture(t)
  const { object } = await attach('efuse_open', f.token())
  await quiet(f)
  const kinds = ['FUSE_OPEN', 'FUSE_FLUSH', 'FUSE_RELEASE', 'FUSE_OPENDIR', 'FUSE_RELEASEDIR']
  const before = kinds.map(f.count)
  t.ok((await sh('for i in 1 2 3 4 5 6 7 8 9 10; do : < "$1/file"; done', f.at)).ok, 'opened and closed ten times')
  await quiet(f)
  t.strictSame(kinds.map(f.count), before, 'the server has not heard of it')
  await dropCaches()
  t.ok((await sh('cmp "$1/file" "$1.copy"', f.at)).ok, 'a file that is read')
  await quiet(f)
  t.strictSame([f.count('FUSE_OPEN'), f.count('FUSE_RELEASE')], [before[0] + 1, before[2] + 1], 'is opened late and released there')
  t.ok((await sh('ls "$1" | grep -q file', f.at)).ok, 'directories, too')
  t.ok((await sh('flock "$1/file" true; echo more >> "$1/other" && cat "$1/other"', f.at)).ok, 'locks; writing')
  const opens = f.count('FUSE_OPEN') - f.count('FUSE_RELEASE')
  await sh('exec 3< "$1/file" 4< "$1/file"; head -c 10 <&3', f.at)
  await quiet(f)
  t.equal(f.count('FUSE_OPEN') - f.count('FUSE_RELEASE'), opens, 'what was opened there is released there')
  const outlives = sh('exec 3< "$1/file"; touch "$1.open"; until [ -e "$1.gone" ]; do sleep 0.1; done; head -c 5 <&3 | wc -c', f.at)
  t.ok(await until(() => existsSync(`${f.at}.open`)))
  object.close()
  await dropCaches()
  await sh('touch "$1.gone"', f.at)
  t.equal((await outlives).output.trim(), '5', 'a file outlives the program that has opened it')
})

await t.test('nothing holds the module', async (t) => void t.ok(await moduleFree()))
