// SPDX-License-Identifier: MIT
/** `efuse top` as people see it: in a terminal, with keys, resizing, and a terminal that is as before in the end. */
import { join } from 'node:path'
import type { ChildProcess } from 'node:child_process'
import t, { type Test } from 'tap'
import { sorted, shortNumber, shortTime, sparkline, viewOf, type OperationRow } from '../../src/cli/top-model.js'
import type { Sample } from '../../src/cli/top-source.js'
import { processesOf, skip } from '../mount/support.js'
import {
  efuse, mountAt, mountBindfs, mountStackFs, ordinaryUser, place, ROOT, run, startClient, UNCACHED, type Mounted,
} from './support.js'
import { Terminal } from './terminal.js'

t.setTimeout(500_000)

const TOP = `${process.execPath} ${join(ROOT, 'efuse.js')} top`

/** Somebody who works in a mount until the test is over. */
function busy(t: Test, { mountpoint }: Mounted): ChildProcess {
  const client = startClient(mountpoint, `
    for (;;) {
      for (let i = 0; i < 20; i++) fs.readdirSync(at)
      try { fs.rmdirSync(at + '/absent') } catch {}
      fs.mkdirSync(at + '/d')
      fs.rmdirSync(at + '/d')
      await new Promise((resolve) => setTimeout(resolve, 5))
    }`)
  t.teardown(() => { client.kill('SIGKILL') })
  return client
}

/** The rows of the table of operations: first word and the rest. */
function operations(screen: string): string[][] {
  const lines = screen.split('\n')
  const head = lines.findIndex((line) => line.startsWith('OPERATION'))
  const rows: string[][] = []
  for (const line of lines.slice(head + 1)) {
    if (!/^[A-Z][A-Z0-9_]+ /.test(line)) break
    rows.push(line.trim().split(/ +/))
  }
  return rows
}

/** Ends top in some way, and checks that nothing of it is left on the terminal. */
async function restored(t: Test, terminal: Terminal, end: () => unknown): Promise<string> {
  await end()
  const screen = await terminal.shows(/status=\d+/)
  t.match(screen, /before/, 'what was there is there again')
  t.notMatch(screen, /OPERATION|MOUNTPOINT/)
  t.strictSame(terminal.state, { alternate: false, cursor: true })
  terminal.type('clear; stty -a | grep -ow -e "-*icanon" -e "-*echo"; echo settled')
  t.match(await terminal.shows(/^settled$/m), /^icanon\necho\n/m, 'the terminal edits lines and echoes')
  return screen
}

function start(terminal: Terminal, arguments_: string): void {
  terminal.type(`echo before; ${TOP} ${arguments_}; echo status=$?`)
}

t.test('rates, percentiles and shares are made of two samples', async (t) => {
  const entry = {
    id: 1, parentId: 0, device: '0:9', root: '/', mountpoint: '/mnt', mountOptions: [], type: 'fuse', source: 'here', superOptions: [],
  } as unknown as Sample['entry']
  const times = (timed: number) => {
    return { timed, nanoseconds: timed * 1000, buckets: Array.from({ length: 112 }, (_, i) => i === 7 ? timed : 0) }
  }
  const sample = (at: number, requests: number): Sample => ({
    entry, at, waiting: 2,
    server: {
      rings: 'uring', answered: { FUSE_LOOKUP: { count: requests } }, forgotten: 0, forgetBacklog: 0, pending: 1,
      operations: {
        FUSE_LOOKUP: { count: requests, errors: 0, bytesIn: 0, bytesOut: 0, service: { ...times(2), nanoseconds: requests } },
      },
      workers: [{ index: 0, cpu: 1, serves: 'queues', requests, errors: 0, forgotten: 0, forgetBacklog: 0, pending: 1 }],
      balance: {
        policy: 'adaptive', maxBackground: 64, verdicts: { stayed: requests, spread: 0, spilled: 0, followed: 0, none: 0 },
        rings: [{
          given: requests, guests: requests / 10, depth: 3, most: 9, serviceNs: 5000, waitNs: 700, state: 'busy', online: true, node: 0,
        }],
      },
    },
    kernel: {
      operations: { FUSE_LOOKUP: { requests, errors: requests / 10, bytesIn: requests * 8, bytesOut: 0, times: times(requests) } },
      cpus: [{ cpu: 1, requests, errors: 0, timed: requests, nanoseconds: requests * 1000 }],
      makers: [{ process: 7, command: 'cat', requests, bytes: requests * 8, nanoseconds: requests * 1000 }],
      flights: [], interrupted: 0, background: 3, maxBackground: 64, forgets: 5, timing: 'all',
    },
  })
  const view = viewOf(sample(3000, 1500), sample(1000, 500))
  t.match(view, {
    mountpoint: '/mnt', observer: 'kernel', rings: 'uring', waiting: 2, background: 3, forgets: 5, pending: 1,
    total: { requests: 500, errors: 50, bytesIn: 4000, mean: 1000, hits: 0.5 },
    cpus: [{ cpu: 1, requests: 500, mean: 1000 }],
    workers: [{ index: 0, cpu: 1, requests: 500, pending: 1 }],
    makers: [{ process: 7, command: 'cat', requests: 500, bytes: 4000, mean: 1000 }],
    policy: 'adaptive', chosen: [{ ring: 0, requests: 500, guests: 50, depth: 3, wait: 700, service: 5000, state: 'busy' }],
  })
  t.ok(view.total.p50! >= 896 && view.total.p50! <= 1024)
  t.equal(viewOf(sample(1000, 500), null).total.requests, 0, 'one sample has no rates')
  const own = viewOf({ ...sample(3000, 1500), kernel: null }, { ...sample(1000, 500), kernel: null })
  t.match(own, { observer: 'server', total: { requests: 500, mean: null, p99: null }, cpus: [], makers: [] })
  t.equal(viewOf({ ...sample(3000, 1500), kernel: null }, sample(1000, 500)).total.requests, 0, 'another observer has no past')
})

t.test('rows are sorted by any column', async (t) => {
  const row = (name: string, requests: number, p99: number | null) => ({ name, requests, p99 }) as OperationRow
  const rows = [row('B', 1, null), row('A', 1, 5), row('C', 3, 4)]
  const names = (...by: [Parameters<typeof sorted>[1], boolean]) => sorted(rows, ...by).map(({ name }) => name).join('')
  t.equal(names('requests', false), 'CAB')
  t.equal(names('requests', true), 'BAC')
  t.equal(names('name', false), 'ABC')
  t.equal(names('p99', false), 'ACB')
})

t.test('figures are short', async (t) => {
  t.strictSame([0, 0.25, 9.94, 12.3, 9999, 10_000, 123_456, 999_949, 2.5e6, 1e12].map(shortNumber),
    ['0', '0.3', '9.9', '12', '9999', '10.0k', '123k', '1.00M', '2.50M', '1.00T'])
  t.strictSame([null, 0, 999, 1000, 15_250, 1e6, 99.96e6, 1e9, 4e12].map(shortTime),
    ['-', '0ns', '999ns', '1.0us', '15.3us', '1.0ms', '100ms', '1.0s', '4000s'])
  t.equal(sparkline([0, 1, 8], 5, true), '   ▁█'.replace('▁', '▂'))
  t.equal(sparkline([1, 2, 3], 2, false).length, 2)
})

t.test('a mount under load, sorted by keys, at any size', { skip }, async (t) => {
  const at = await mountStackFs(t)
  busy(t, at)
  const terminal = new Terminal(t)
  start(terminal, at.mountpoint)
  const screen = await terminal.shows(/REQ\/S▼[^]*READDIRPLUS +[1-9]/)
  t.match(screen, `efuse top  ${at.mountpoint}`)
  t.match(screen, /eBPF · every request timed|eBPF · a twentieth of them timed/)
  t.match(screen, /\/dev\/fuse · \d workers?/)
  t.match(screen, /p50 +[\d.]+[mu]s +p99 +[\d.]+[mu]s/)
  t.match(screen, /^CPU +REQ\/S +MEAN/m)
  t.match(screen, /^PROCESS +COMMAND/m)
  t.match(screen, / node +/, 'the client is shown by name')
  t.match(screen, /^ +q +quit/m)
  t.equal(terminal.lines.length, 24)
  t.ok(terminal.lines.every((line) => line.length <= 80))
  const rates = (text: string): number[] => operations(text).map(([, requests]) => {
    return Number.parseFloat(requests) * (requests.endsWith('k') ? 1000 : 1)
  })
  t.strictSame(rates(screen), [...rates(screen)].sort((a, b) => b - a), 'the busiest first')

  terminal.press('r')
  const reversed = await terminal.shows(/REQ\/S▲/)
  t.strictSame(rates(reversed), [...rates(reversed)].sort((a, b) => a - b))
  terminal.press('r')
  terminal.press('Right')
  const byErrors = await terminal.shows(/ERR\/S▼/)
  t.equal(operations(byErrors)[0][0], 'LOOKUP', 'names that are not there are errors')
  terminal.press('Left')
  terminal.press('Left')
  const byName = await terminal.shows(/OPERATION▼/)
  const names = operations(byName).map(([name]) => name)
  t.strictSame(names, [...names].sort())

  terminal.press('p')
  await terminal.shows(/PAUSED/)
  terminal.press('p')
  await terminal.shows((text) => !text.includes('PAUSED'))

  terminal.resize(120, 40)
  const large = await terminal.shows((text) => text.trimEnd().split('\n').length === 39 && /^WORKER|WORKER +CPU/m.test(text))
  t.ok(operations(large).length >= operations(byName).length)
  t.match(large, /TOTAL/)
  terminal.resize(70, 16)
  const small = await terminal.shows((text) => /OPERATION/.test(text) && !/TOTAL/.test(text) && /quit/.test(text))
  t.ok(small.split('\n').every((line) => line.length <= 70))
  terminal.resize(40, 10)
  await terminal.shows(/too small/)
  terminal.resize(80, 24)
  await terminal.shows(/OPERATION[^]*quit/)

  const ended = await restored(t, terminal, () => terminal.press('q'))
  t.match(ended, /status=0/)
})

t.test('signals and Ctrl-C end it in order', { skip }, async (t) => {
  const at = await mountBindfs(t)
  for (const end of ['C-c', 'SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    const terminal = new Terminal(t)
    start(terminal, at.mountpoint)
    await terminal.shows(/OPERATION[^]*quit/)
    const screen = await restored(t, terminal, () => {
      if (end === 'C-c') return terminal.press('C-c')
      // Not the shell that has it on its command line.
      for (const pid of processesOf(`efuse.js top ${at.mountpoint}`)) process.kill(pid, end)
    })
    t.match(screen, /status=0/, end)
  }
})

t.test('it ends when its mount is gone', { skip }, async (t) => {
  const at = await mountStackFs(t)
  const terminal = new Terminal(t, 100, 30)
  start(terminal, at.mountpoint)
  await terminal.shows(/OPERATION[^]*quit/)
  const screen = await restored(t, terminal, async () => {
    t.equal((await efuse('umount', at.mountpoint)).status, 0)
  })
  t.match(screen.replace(/\n/g, ''), /is not mounted any more/)
  t.match(screen, /status=0/)
})

t.test('all mounts: one is chosen, and left again', { skip }, async (t) => {
  const [one, other] = [await mountStackFs(t), await mountBindfs(t)]
  busy(t, other)
  const terminal = new Terminal(t, 130, 40)
  start(terminal, '--all')
  const screen = await terminal.shows((text) => text.includes(one.mountpoint) && text.includes(other.mountpoint))
  t.match(screen, /\d+ FUSE mounts/)
  // Others may mount and unmount meanwhile: the mark stays where it is.
  await terminal.shows((text) => {
    if (text.includes(`> ${other.mountpoint} `)) return true
    terminal.press('Down')
    return false
  })
  terminal.press('Enter')
  const inside = await terminal.shows(new RegExp(`efuse top  ${other.mountpoint}[^]*MKDIR +[1-9]`))
  t.match(inside, /PROCESS/)
  t.notMatch(inside, /WORKER/, 'bindfs does not tell of its threads')
  terminal.press('Escape')
  await terminal.shows(/FUSE mounts[^]*MOUNTPOINT/)
  await restored(t, terminal, () => terminal.press('q'))
})

t.test('without eBPF the server\'s own account is shown, and says so', { skip }, async (t) => {
  const at = place(t)
  const user = ordinaryUser(t, at)
  const mounted = await run(user[0], [...user.slice(1), process.execPath, join(ROOT, 'efuse.js'),
    'mount', at.source, at.mountpoint, '-o', UNCACHED])
  t.strictSame(mounted, { status: 0, stdout: '', stderr: '' })
  const client = await run(user[0], [...user.slice(1), 'mkdir', join(at.mountpoint, 'a'), join(at.mountpoint, 'b')])
  t.equal(client.status, 0)
  const terminal = new Terminal(t, 110, 30)
  terminal.type(`echo before; ${user.join(' ')} ${TOP} ${at.mountpoint}; echo status=$?`)
  const screen = await terminal.shows(/MKDIR/)
  t.match(screen, /no eBPF · the server's own account/)
  t.match(screen, /eBPF is not permitted: it takes root/)
  t.match(operations(screen).find(([name]) => name === 'MKDIR')!.at(-1), '2', 'since the mount began')
  t.match(screen, /WORKER/)
  await restored(t, terminal, () => terminal.press('q'))
  const report = await run(user[0], [...user.slice(1), process.execPath, join(ROOT, 'efuse.js'), 'stat', at.mountpoint, '--json'])
  t.match(JSON.parse(report.stdout), { operations: { FUSE_MKDIR: { count: 2, errors: 0 } } })
})

t.test('it wants a terminal, and a mount', { skip }, async (t) => {
  const at = await mountStackFs(t)
  const piped = await efuse('top', at.mountpoint)
  t.equal(piped.status, 1)
  t.match(piped.stderr, /^efuse: top needs a terminal: .*stat.*\n$/)
  t.match(await efuse('top', at.source), { status: 1, stderr: /not mounted/ })
  t.match(await efuse('top', at.mountpoint, '--interval', '0'), { status: 2 })
  t.ok(mountAt(at.mountpoint))
})
