// SPDX-License-Identifier: MIT
/** In the guest: what must be refused, and what must do no harm: programs, their owners' ends, hostile servers. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { BpfError, BpfObject } from '../../../src/bpf/index.js'
import { BaseFileSystem, S_IFDIR, S_IFREG, type FileSystem } from '../../../src/index.js'
import { attach, fixture, full, holders, moduleFree, OBJECTS, sh, sleep, token, until } from './hooks-support.js'

t.setTimeout(0)

/** What the verifier, or the module, says to each program of bpf/test/refused/. */
const REFUSALS: Readonly<Record<string, RegExp>> = {
  efuse_answer_in_begin: /calling kernel function bpf_efuse_reply_size is not allowed/,
  efuse_answer_in_reply: /calling kernel function bpf_efuse_reply_data is not allowed/,
  efuse_argument_as_buffer: /cannot write|rdonly_mem/,
  efuse_argument_overflow: /invalid access to memory/,
  efuse_argument_write: /cannot write|rdonly_mem/,
  efuse_backing_in_lookup: /calling kernel function bpf_efuse_backing_size is not allowed/,
  efuse_context_overflow: /beyond struct efuse_ctx/,
  efuse_context_write: /only read is supported/,
  efuse_endless: /infinite loop|too large|too complex|too many/,
  efuse_foreign_call: /calling kernel function scx_bpf_nr_cpu_ids is not allowed|scx_bpf_nr_cpu_ids/,
  efuse_forged_context: /efuse_ctx/,
  efuse_from_tracing: /calling kernel function bpf_efuse_reply_size is not allowed/,
  efuse_name_overflow: /invalid (indirect|write|read|access)/,
  efuse_no_context: /NULL/i,
  efuse_scratch_overflow: /invalid access to memory/,
  efuse_sleepable_hook: /attach to unsupported member|EINVAL/,
  efuse_sleeping_call: /sleepable/,
  efuse_tail_call: /cannot use helper bpf_tail_call|unknown func bpf_tail_call/,
  efuse_unchecked_pointer: /invalid mem access '(rdonly_)?mem_or_null'/,
}

await t.test('programs that must be refused', async (t) => {
  const files = readdirSync(join(OBJECTS, 'refused')).filter((name) => name.endsWith('.bpf.o')).map((name) => basename(name, '.bpf.o'))
  t.strictSame(files.sort(), Object.keys(REFUSALS).sort())
  for (const [name, message] of Object.entries(REFUSALS)) {
    const object = await BpfObject.open(join(OBJECTS, 'refused', `${name}.bpf.o`))
    try {
      object.load()
      t.fail(`${name} was loaded`)
    } catch (error) {
      const { log, message: short } = error as BpfError
      t.match(`${short}\n${log}`, message, name)
    } finally {
      object.close()
    }
  }
})

const OWNER = fileURLToPath(new URL('hooks-owner.js', import.meta.url))

/** A process that attaches a program. @returns what it says, and itself */
async function owner(prefix: string[], name: string, value: bigint): Promise<{ child: ChildProcess; said: string }> {
  const [command, ...args] = [...prefix, process.execPath, OWNER, name, String(value)]
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [said] = await once(createInterface({ input: child.stdout! }), 'line') as [string]
  return { child, said }
}

await t.test('who may attach', async (t) => {
  const f = await fixture(t)
  const other = await fixture(t)
  const nobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups']
  // ESRCH where the kernel lets everybody load something, but not see a module's types: so the debug kernel.
  t.match((await owner(nobody, 'efuse_pass', f.token())).said, /^(EPERM|ESRCH)$/,
    'a token without the right to load programs is worth nothing')
  const attached = await attach('efuse_pass', other.token())
  t.ok(holders(other.control).every(Boolean))
  t.notOk(holders(f.control).some(Boolean), "one mount's token is of no use for another")
  attached.close()
  const device = openSync('/dev/efuse', 'r+')
  t.throws(() => token(device), { code: 'EPERM' }, 'a device that serves no mount has none')
  closeSync(device)
  t.notOk((await sh('setpriv --reuid 65534 --regid 65534 --clear-groups cat < /dev/null 3<> /dev/efuse; '
    + 'exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -c ": <> /dev/efuse"')).ok, 'users can not open the device')
})

await t.test('an attachment ends with its owner', async (t) => {
  const f = await fixture(t)
  const { child, said } = await owner([], 'efuse_pass', f.token())
  t.equal(said, 'attached')
  t.ok(holders(f.control).every(Boolean))
  child.kill('SIGKILL')
  t.ok(await until(() => !holders(f.control).some(Boolean)), 'killed: all hooks are free')
  t.ok((await sh('cmp "$1/file" "$1.copy"', f.at)).ok)
  const next = await attach('efuse_pass', f.token())
  next.close()
})

/** In the order of efuse_adversary.bpf.c. */
const MODES = [
  'WRONG_SIZE', 'WRONG_TYPE', 'NO_TYPE', 'HUGE_SIZE', 'WRONG_NSEC', 'WRONG_NODEID', 'WRONG_GENERATION', 'TWICE', 'WRONG_REQUEST',
  'PASS_AFTER_REPLY', 'ERROR_AFTER_REPLY', 'RETURN_ENOSYS', 'RETURN_RESTART', 'RETURN_LARGE', 'DONE_WITHOUT_REPLY',
  'HUGE_REPLY', 'GAPS', 'SUBMOUNT', 'BAD_NAMES', 'LOOPS', 'AROUND', 'AROUND_ELSEWHERE',
]

await t.test('programs that are wrong in everything', async (t) => {
  const f = await fixture(t)
  await sh('ln -s target "$1/link"; setfattr -n user.a -v b "$1/file"', f.at)
  const nodeids = (await sh('stat -c %i "$1/file" "$1/link"', f.at)).output.trim().split('\n').map(Number)
  const forget = () => Promise.all(nodeids.map((nodeid) => f.mounted.notify.invalInode(nodeid)))
  const { object } = await attach('efuse_adversary', f.token())
  const global = (name: string) => Number(object.globals.get(name))
  for (const [mode, name] of MODES.entries()) {
    await forget()
    object.globals.set('mode', mode)
    const before = global('refused')
    const size = (await sh('stat -c %s "$1/file"', f.at)).output.trim()
    if (!['ERROR_AFTER_REPLY', 'HUGE_REPLY', 'GAPS'].includes(name)) t.equal(size, '100000', `${name}: the server's size`)
    const work = await sh(`cat "$1/file"; ls -l "$1"; stat -f "$1"; readlink "$1/link"; getfattr -d "$1/file"; test -w "$1/file"
      dd if="$1/file" iflag=direct bs=64k count=1; echo $2 > "$1/written"; mv "$1/written" "$1/moved"; true`, f.at, String(mode))
    t.ok(work.ok, `${name}: ${global('refused') - before} calls were refused`)
    if (name === 'GAPS') {
      const gaps = Buffer.alloc(3010)
      gaps[2999] = 0x78
      for (const flag of ['skip_bytes', 'direct']) {
        await forget()
        const { output } = await sh('dd if="$1/file" iflag=$2 bs=64k count=1 status=none', f.at, flag)
        const bytes = Buffer.from(output, 'latin1')
        t.ok(bytes.subarray(0, 3010).equals(gaps), `no byte that nobody has written, ${flag}: ${bytes.length} bytes`)
        t.ok(bytes.subarray(3010).every((byte) => byte === 0), 'nor behind them')
      }
    }
    if (name.startsWith('AROUND')) {
      for (const flags of ['skip_bytes', 'direct']) {
        await forget()
        const { output } = await sh('dd if="$1/file" iflag=$2 bs=12k status=none | cmp - "$1.copy"', f.at, flags)
        t.equal(output, '', `${name}: the caller gets what was asked for, ${flags}`)
      }
    }
    if (name === 'HUGE_REPLY') {
      await forget()
      t.equal((await sh('readlink -n "$1/link"', f.at)).output, 'x'.repeat(4095), 'the longest link, and no byte more')
    }
    // What was cut short is asked for again.
    object.globals.set('mode', MODES.length)
    await sh('truncate -s 100000 "$1/file"; cp "$1.copy" "$1/file"', f.at)
  }
  t.ok(global('refused') > 60, `${global('refused')} calls were refused, ${global('accepted')} were not`)
  object.close()
  await forget()
  t.ok((await sh('cmp "$1/file" "$1.copy"', f.at)).ok, 'nothing is lost')
  t.equal((await sh('readlink "$1/link"; getfattr --only-values -n user.a --absolute-names "$1/file"', f.at)).output, 'target\nb')
})

await t.test('attached and detached while requests fly', async (t) => {
  const f = await fixture(t)
  let going = true
  const load = Array.from({ length: 3 }, async (_, index) => {
    let rounds = 0
    for (; going; rounds++) {
      const { ok, errors } = await sh('cmp "$1/file" "$1.copy" && ls -l "$1" && echo > "$1/w$2"', f.at, String(index))
      if (!ok) throw new Error(errors)
    }
    return rounds
  })
  for (let round = 0; round < (full ? 30 : 9); round++) {
    const attached = await attach(['efuse_pass', 'efuse_open', 'efuse_synthetic'][round % 3], f.token())
    await sleep(10)
    attached.close()
  }
  going = false
  t.ok((await Promise.all(load)).every((rounds) => rounds > 0), 'every answer was right')
})

/** Gives out file handles that look like the module's own. */
class Mimic extends BaseFileSystem {
  private next = 0

  override lookup({ name }: { name: string }): any {
    return name === 'file' ? { nodeid: 2, attr: { mode: S_IFREG | 0o666, size: 4096 } } : null
  }
  override getattr({ nodeid }: { nodeid: number }): any {
    return nodeid === 1 ? { mode: S_IFDIR | 0o755 } : { mode: S_IFREG | 0o666, size: 4096 }
  }
  override open(): any {
    return { fh: (0xef5en << 48n) + BigInt(1 + this.next++ % 8), openFlags: 1 }
  }
  read({ size }: { size: number }): any {
    return new Uint8Array(size)
  }
  write({ size }: { size: number }): any {
    return size
  }
}

await t.test('a server whose handles look like those of files that programs have opened', async (t) => {
  const f = await fixture(t, { fileSystem: new Mimic() as FileSystem })
  const { object } = await attach('efuse_open', f.token())
  const users = Array.from({ length: 4 }, () => sh(`for i in $(seq ${full ? 100 : 20}); do
      exec 3< "$1/file" 4<> "$1/file"; head -c 10 <&3; head -c 10 <&4; exec 4<&-; exec 3<&-
    done > /dev/null`, f.at))
  await Promise.all(users)
  t.ok(object.globals.get('opened') > 0n, 'loses files, and nothing worse')
  object.close()
  t.ok((await sh('head -c 10 "$1/file" | wc -c', f.at)).ok)
})

/** Has no open, so that the kernel stops asking for it. */
const withoutOpen: FileSystem = {
  lookup: ({ name }) => name === 'file' ? { nodeid: 2, attr: { mode: S_IFREG | 0o666, size: 10 } } : null,
  getattr: ({ nodeid }) => nodeid === 1 ? { mode: S_IFDIR | 0o755 } : { mode: S_IFREG | 0o666, size: 10 },
  read: () => '0123456789',
  write: ({ size }) => size,
}

await t.test('a server without OPEN, and a file that it does not know', async (t) => {
  const f = await fixture(t, { fileSystem: withoutOpen, options: { writebackCache: true } })
  t.equal((await sh('cat "$1/file"', f.at)).output, '0123456789')
  const { object } = await attach('efuse_synthetic', f.token())
  // Opened for writing without anybody being asked: what is written must come to an end all the same.
  const { ok } = await sh('timeout 30 dd if=/dev/zero of="$1/synthetic" conv=notrunc bs=100 count=1 status=none; test $? != 124', f.at)
  t.ok(ok, 'pages that are written back to nobody end')
  t.ok((await sh('timeout 30 cat "$1/file"', f.at)).ok, 'the server goes on')
  object.close()
})

await t.test('a connection ends', async (t) => {
  const f = await fixture(t)
  const [left, attached] = [f.token(), await attach('efuse_pass', f.token())]
  await f.mounted.unmount()
  await until(() => {
    try {
      holders(f.control)
      return false
    } catch {
      return true
    }
  })
  t.throws(() => token(f.control), { code: 'ENOTCONN' }, 'its control descriptor says so')
  t.throws(() => holders(f.control), { code: 'ENOTCONN' })
  await t.rejects(attach('efuse_io', left), { code: 'EACCES' }, 'its tokens are gone')
  t.doesNotThrow(() => attached.close(), 'who is attached can detach')
})

await t.test('nothing holds the module', async (t) => void t.ok(await moduleFree()))
