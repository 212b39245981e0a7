// SPDX-License-Identifier: MIT
/**
 * In the guest: a MemFS on an efuse mount, served by this process, and BPF programs on its connection. What uses the
 * mount runs in processes of its own.
 */
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { getSystemErrorName, promisify } from 'node:util'
import t, { type Test } from 'tap'
import { BpfObject } from '../../../src/bpf/index.js'
import { MemFS, mount, type Mount } from '../../../src/index.js'
import * as native from '../../../src/native.js'

t.setTimeout(0)

const OBJECTS = fileURLToPath(new URL('../../../bpf/test', import.meta.url))
/** Objects of bpf/test/, and what their struct efuse_ops is called. */
const OPS = {
  efuse_pass: 'pass', efuse_synthetic: 'synthetic', efuse_open: 'opener', efuse_io: 'io', efuse_adversary: 'adversary',
}
type ObjectName = keyof typeof OPS

// Of kernel/src/efuse_uapi.h.
const EFUSE_IOC_TOKEN = 0x8008ef01
const EFUSE_IOC_CONTROL = 0xef02
const EFUSE_IOC_INFO = 0x8208ef04
const INFO_BYTES = 8 + 32 * 16

const run = promisify(execFile)

interface Result {
  ok: boolean
  output: string
}

/** A shell command of another process. */
async function sh(command: string): Promise<Result> {
  try {
    const { stdout } = await run('sh', ['-c', command], { encoding: 'latin1', maxBuffer: 1 << 24 })
    return { ok: true, output: stdout }
  } catch (error) {
    return { ok: false, output: String((error as { stderr?: string }).stderr) }
  }
}

/** This process's descriptor of the device that serves the newest mount. */
function deviceDescriptor(): number {
  const found = readdirSync('/proc/self/fd').map(Number).filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === '/dev/efuse'
    } catch {
      return false
    }
  })
  return Math.max(...found)
}

interface Fixture {
  mounted: Mount
  /** The mountpoint. */
  at: string
  /** A control descriptor. */
  control: number
}

async function fixture(t: Test): Promise<Fixture> {
  const at = mkdtempSync('/tmp/efuse-hooks-')
  const mounted = await mount(new MemFS(), at, { type: 'efuse', entryTimeout: 0, attrTimeout: 0 })
  const control = native.ioctlValue(deviceDescriptor(), EFUSE_IOC_CONTROL, 0)
  t.ok(control >= 0, 'the device hands out a control descriptor')
  t.teardown(async () => {
    native.close(control)
    await mounted.unmount({ lazy: true }).catch(() => {})
  })
  await sh(`head -c 100000 /dev/urandom > ${at}/file; cp ${at}/file ${at}.copy`)
  return { mounted, at, control }
}

function token(control: number): bigint {
  const block = native.allocate(8)
  const result = native.ioctl(control, EFUSE_IOC_TOKEN, block, 0, 8)
  if (result < 0) throw Object.assign(new Error('no token'), { code: getSystemErrorName(result) })
  return new DataView(block.buffer).getBigUint64(0, true)
}

/** Who holds which hook, in the order of struct efuse_ops. */
function holders(control: number): string[] {
  const block = native.allocate(INFO_BYTES)
  native.ioctl(control, EFUSE_IOC_INFO, block, 0, INFO_BYTES)
  const bytes = Buffer.from(block.buffer, 0, INFO_BYTES)
  return Array.from({ length: bytes.readUInt32LE(4) }, (_, hook) =>
    bytes.toString('latin1', 8 + hook * 16, 24 + hook * 16).replace(/\0.*/s, ''))
}

/** Loads an object for a connection, and attaches it: until it is closed. */
async function attach(name: ObjectName, value: bigint): Promise<BpfObject> {
  const object = await BpfObject.open(join(OBJECTS, `${name}.bpf.o`))
  try {
    object.structOps(OPS[name]).fields.set('token', value)
    object.load()
    object.structOps(OPS[name]).attach()
    return object
  } catch (error) {
    object.close()
    throw error
  }
}

const count = ({ mounted }: Fixture, operation: string): number => Number(mounted.stats().operations[operation]?.count ?? 0)

await t.test('slots and tokens', async (t) => {
  const f = await fixture(t)
  t.notOk(holders(f.control).some(Boolean), 'all hooks are free')
  const used = token(f.control)
  const first = await attach('efuse_pass', used)
  t.ok(holders(f.control).every((name) => name === 'pass'), 'one attachment has taken all of them')
  t.ok((await sh(`cmp ${f.at}/file ${f.at}.copy && ls ${f.at} && stat ${f.at}/file && echo new > ${f.at}/new`)).ok, 'programs that pass')
  await t.rejects(attach('efuse_synthetic', token(f.control)), { code: 'EBUSY' }, 'a taken hook')
  await t.rejects(attach('efuse_io', used), { code: 'EACCES' }, 'a token that was used')
  await t.rejects(attach('efuse_io', 12345n), { code: 'EACCES' }, 'a token that nobody gave')
  await t.rejects(attach('efuse_io', 0n), { code: 'EACCES' }, 'none')
  first.close()
  t.notOk(holders(f.control).some(Boolean), 'detached with its owner')
  const second = await attach('efuse_open', token(f.control))
  await t.rejects(attach('efuse_synthetic', token(f.control)), { code: 'EBUSY' }, 'open is taken')
  const beside = await attach('efuse_io', token(f.control))
  t.strictSame(new Set(holders(f.control)), new Set(['', 'opener', 'io']), 'two side by side')
  second.close()
  beside.close()
})

await t.test('a file that the server does not know', async (t) => {
  const f = await fixture(t)
  const object = await attach('efuse_synthetic', token(f.control))
  const kinds = ['FUSE_OPEN', 'FUSE_READ', 'FUSE_FLUSH', 'FUSE_RELEASE']
  const before = kinds.map((name) => count(f, name))
  const expected = Buffer.from(Array.from({ length: 10_000 }, (_, index) => index & 255))
  const path = `${f.at}/synthetic`
  t.equal((await sh(`stat -c %s ${path}`)).output.trim(), '10000', 'GETATTR')
  t.ok(Buffer.from((await sh(`cat ${path}`)).output, 'latin1').equals(expected), 'buffered reads')
  t.ok(Buffer.from((await sh(`dd if=${path} iflag=direct bs=4096 status=none`)).output, 'latin1').equals(expected), 'direct reads')
  t.equal((await sh(`dd if=${path} bs=1 skip=9990 status=none | wc -c`)).output.trim(), '10', 'the end')
  await sleep(200)
  t.strictSame(kinds.map((name) => count(f, name)), before, 'nothing of it has reached the server')
  t.ok(object.globals.get('answered') > 5n, 'the programs have answered')
  t.notOk((await sh(`echo x > ${path}`)).ok, 'it can not be written to')
  object.close()
  t.notOk((await sh(`cat ${path}`)).ok, 'gone with its programs')
  t.ok((await sh(`cmp ${f.at}/file ${f.at}.copy`)).ok, 'the server goes on')
})

await t.test('files that programs open', async (t) => {
  const f = await fixture(t)
  const object = await attach('efuse_open', token(f.control))
  const [opens, flushes, releases] = ['FUSE_OPEN', 'FUSE_FLUSH', 'FUSE_RELEASE'].map((name) => count(f, name))
  t.ok((await sh(`for i in 1 2 3 4 5 6 7 8 9 10; do : < ${f.at}/file; done`)).ok, 'opened and closed ten times')
  await sleep(200)
  t.strictSame([count(f, 'FUSE_OPEN'), count(f, 'FUSE_FLUSH'), count(f, 'FUSE_RELEASE')], [opens, flushes, releases],
    'the server has not heard of it')
  await sh('echo 3 > /proc/sys/vm/drop_caches')
  t.ok((await sh(`cmp ${f.at}/file ${f.at}.copy`)).ok, 'a file that is read')
  await sleep(200)
  t.ok(count(f, 'FUSE_OPEN') === opens + 1 && count(f, 'FUSE_RELEASE') === releases + 1, 'is opened late and released there')
  t.ok((await sh(`ls ${f.at} | grep -q file`)).ok, 'directories, too')
  t.ok((await sh(`flock ${f.at}/file true; echo more >> ${f.at}/other && cat ${f.at}/other`)).ok, 'locks; writing')
  object.close()
})

await t.test('what must be refused', async (t) => {
  const f = await fixture(t)
  for (const file of readdirSync(join(OBJECTS, 'refused')).filter((name) => name.endsWith('.bpf.o'))) {
    const object = await BpfObject.open(join(OBJECTS, 'refused', file))
    t.throws(() => object.load(), basename(file, '.bpf.o'))
    object.close()
  }
  t.notOk(holders(f.control).some(Boolean))
})

await t.test('accepted, and wrong in everything', async (t) => {
  const f = await fixture(t)
  const object = await attach('efuse_adversary', token(f.control))
  const MODES = 20
  for (let mode = 0; mode < MODES; mode++) {
    object.globals.set('mode', mode)
    await sh(`echo 3 > /proc/sys/vm/drop_caches; stat ${f.at}/file; cat ${f.at}/file; ls -l ${f.at};
      dd if=${f.at}/file iflag=direct bs=64k count=1; echo ${mode} > ${f.at}/written`)
  }
  t.ok(object.globals.get('refused') > 20n, `${object.globals.get('refused')} calls were refused`)
  object.close()
  await sh('echo 3 > /proc/sys/vm/drop_caches')
  t.ok((await sh(`cmp ${f.at}/file ${f.at}.copy`)).ok, 'nothing is lost')
})

await t.test('attached and detached while requests fly', async (t) => {
  const f = await fixture(t)
  let going = true
  const load = Array.from({ length: 3 }, async (_, index) => {
    let rounds = 0
    for (; going; rounds++) {
      const { ok, output } = await sh(`cmp ${f.at}/file ${f.at}.copy && ls -l ${f.at} && echo ${rounds} > ${f.at}/w${index}`)
      if (!ok) throw new Error(output)
    }
    return rounds
  })
  for (let round = 0; round < 20; round++) {
    const attached = await attach((['efuse_pass', 'efuse_open', 'efuse_synthetic'] as const)[round % 3], token(f.control))
    await sleep(10)
    attached.close()
  }
  going = false
  t.ok((await Promise.all(load)).every((rounds) => rounds > 0), 'every answer was right')
})

await t.test('a connection ends', async (t) => {
  const f = await fixture(t)
  const [left, attached] = [token(f.control), await attach('efuse_pass', token(f.control))]
  await f.mounted.unmount()
  await t.rejects(async () => token(f.control), { code: 'ENOTCONN' }, 'its control descriptor says so')
  await t.rejects(attach('efuse_io', left), { code: 'EACCES' }, 'its tokens are gone')
  t.doesNotThrow(() => attached.close(), 'who is attached can detach')
})

// Programs are freed some time after they were detached, and hold the module until then.
for (let tries = 0; tries < 100 && existsSync('/sys/module/efuse') && readFileSync('/sys/module/efuse/refcnt', 'utf8') !== '0\n'; tries++) {
  await sleep(100)
}
