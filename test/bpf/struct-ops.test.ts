// SPDX-License-Identifier: MIT
/** A kernel interface filled with programs: TCP congestion control, over a loopback connection. */
import { test, type Test } from 'tap'
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { BpfObject } from '../../src/bpf/index.js'
import { HeldLink, idOf, mapById } from '../../src/bpf/ids.js'
import { objectPath, unavailable } from './objects.js'

const skip = unavailable()
const SENT = 1 << 20

/** Sends a mebibyte over loopback under a congestion control. @returns its name, as the socket has it */
function transfer(name: string): string {
  return execFileSync('python3', ['-c', `
import socket, threading
listener = socket.create_server(('127.0.0.1', 0))
def receive():
    connection = listener.accept()[0]
    while connection.recv(65536): pass
thread = threading.Thread(target=receive)
thread.start()
sender = socket.socket()
sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b'${name}')
sender.connect(listener.getsockname())
sender.sendall(bytes(${SENT}))
print(sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b'\\0').decode())
sender.close()
thread.join()
`], { encoding: 'utf8', timeout: 60_000 }).trim()
}

/** Whether the kernel knows a congestion control. */
function known(name: string): boolean {
  return readFileSync('/proc/sys/net/ipv4/tcp_available_congestion_control', 'utf8').trim().split(' ').includes(name)
}

async function loaded(t: Test, prepare: (object: BpfObject) => void = () => {}): Promise<BpfObject> {
  const object = await BpfObject.open(objectPath('congestion'))
  t.teardown(() => object.close())
  prepare(object)
  return object.load()
}

test('a struct_ops is loaded, attached, used, detached', { skip }, async (t) => {
  const object = await loaded(t)
  t.equal(known('efuse_test'), false, 'loading attaches nothing')
  const link = object.structOps('counting').attach()
  t.equal(known('efuse_test'), true)
  t.throws(() => object.structOps('other').attach(), { code: 'EEXIST' }, 'its name is taken')
  t.equal(transfer('efuse_test'), 'efuse_test')
  t.equal(object.globals.get('opened'), 1n, 'its programs were called')
  t.ok(object.globals.get<bigint>('acknowledged') > 10n, 'for what was acknowledged')
  link.close()
  t.equal(known('efuse_test'), false)
  t.throws(() => object.structOps('nothing'), { code: 'ENOENT' })
  t.throws(() => object.structOps('.bss'), { code: 'EINVAL' })
})

test('its scalar members can be set', { skip }, async (t) => {
  const object = await loaded(t, (object) => {
    const { fields } = object.structOps('counting')
    t.equal(fields.get('name'), 'efuse_test')
    fields.set('name', 'efuse_other')
    t.equal(fields.get('name'), 'efuse_other')
  })
  t.throws(() => object.structOps('counting').fields.set('name', 'late'), { code: 'EPERM' })
  object.structOps('counting').attach()
  t.equal(known('efuse_other'), true)
  t.equal(transfer('efuse_other'), 'efuse_other')
  object.close()
  t.equal(known('efuse_other'), false, 'closing the object detaches')
})

test('another object takes the place of one that is attached', { skip }, async (t) => {
  const before = await loaded(t)
  const after = await loaded(t)
  const link = before.structOps('counting').attach()
  const next = after.structOps('other').replace(link)
  t.equal(link.closed, true)
  t.equal(known('efuse_test'), true)
  before.close()
  t.equal(known('efuse_test'), true, 'it no longer needs the first one')
  transfer('efuse_test')
  t.ok(after.globals.get<bigint>('replaced_acknowledged') > 10n)
  const again = after.structOps('counting').replace(next)
  transfer('efuse_test')
  t.ok(after.globals.get<bigint>('acknowledged') > 10n, 'within one object too')
  again.close()
  t.equal(known('efuse_test'), false)
})

test('a link and a map are opened by their numbers, and outlive who made them', { skip }, async (t) => {
  const object = await loaded(t)
  const link = object.structOps('counting').attach()
  const [linkId, mapId] = [idOf(link.fd), idOf(object.map('.bss').fd)]
  const held = HeldLink.byId(linkId)
  t.equal(idOf(held.fd), linkId)
  const opened = object.counters('.bss').find(({ name }) => name === 'opened')!
  t.match(opened, { size: 8, offset: Number })
  t.notOk(object.counters('.bss').some(({ size }) => size > 8))
  using map = mapById(mapId)
  object.close()
  t.equal(known('efuse_test'), true, 'still attached')
  transfer('efuse_test')
  const bytes = map.peekBytes(0)!
  t.equal(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(opened.offset, true), 1n, 'its counters can be read')
  held.detach()
  t.equal(known('efuse_test'), false)
  held.close()
  t.throws(() => HeldLink.byId(linkId), { code: 'ENOENT' })

  const again = await loaded(t)
  const attached = again.structOps('counting').attach()
  const other = HeldLink.byId(idOf(attached.fd))
  other.detach()
  t.equal(known('efuse_test'), false, 'detached, although its maker still has the link')
})

test('one without a link is detached all the same', { skip }, async (t) => {
  const object = await loaded(t)
  const link = object.structOps('linkless').attach()
  t.equal(known('efuse_linkless'), true)
  link.close()
  t.equal(known('efuse_linkless'), false)
})

test('a process that ends leaves nothing attached', { skip }, (t) => {
  const run = (name: string, end: string) => spawnSync(process.execPath, ['--input-type=module', '-e', `
    import { BpfObject } from ${JSON.stringify(new URL('../../src/bpf/index.js', import.meta.url).href)}
    const object = await BpfObject.open(${JSON.stringify(objectPath('congestion'))})
    object.load()
    object.structOps('${name}').attach()
    console.log('attached')
    ${end}
  `], { encoding: 'utf8', timeout: 60_000 })
  for (const [name, end] of [
    ['linkless', ''],
    ['linkless', 'process.exit(3)'],
    ['counting', ''],
    ['counting', 'process.kill(process.pid, "SIGKILL")'],
  ]) {
    const { stdout, stderr } = run(name, end)
    t.equal(stdout, 'attached\n', stderr)
    t.equal(known(name === 'linkless' ? 'efuse_linkless' : 'efuse_test'), false, `${name}, ${end || 'by itself'}`)
  }
  t.end()
})
