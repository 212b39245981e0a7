// SPDX-License-Identifier: MIT
/** What others change below a folder is told, by nodeid and name (`--coherence watched`). Needs fanotify and its privilege. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { MountError } from '../src/mount/mountpoint.js'
import { SourceWatch, watchOf } from '../src/mount/source-watch.js'

const folder = mkdtempSync('/var/tmp/efuse-watch-test-')
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

let watch: SourceWatch | undefined
let refused = ''
try {
  watch = SourceWatch.open(folder)
} catch (error) {
  if (!(error instanceof MountError)) throw error
  refused = error.message
}

await t.test('what another process changes', { skip: watch === undefined ? refused : false }, async (t) => {
  const names = new Map<string, bigint>()
  const inodes = new Set<bigint>()
  watch!.start((changes) => {
    for (const nodeid of changes.nodeids) inodes.add(nodeid & 0xffffffffn)
    for (const { parent, name } of changes.names) names.set(name.toString(), parent)
  })
  mkdirSync(join(folder, 'ours'))
  const changes = 'mkdir inner; echo text > made; ln made other; mv other moved; chmod 600 made; touch inner/below; rm inner/below'
  execFileSync('sh', ['-c', changes], { cwd: folder })
  const wanted = ['made', 'other', 'moved', 'inner', 'below']
  for (let tries = 0; tries < 500 && !wanted.every((name) => names.has(name)); tries++) await sleep(10)
  t.strictSame(wanted.filter((name) => names.has(name)), wanted, 'its names')
  t.equal(names.get('made'), 1n, 'in the root, whose nodeid is 1')
  const inner = statSync(join(folder, 'inner'), { bigint: true }).ino
  t.equal(names.get('below')! & 0xffffffffn, inner, 'and in the directories below')
  t.ok(inodes.has(statSync(join(folder, 'made'), { bigint: true }).ino), 'its inode')
  t.notOk(names.has('ours'), 'what this process does itself is not told')
  watch!.close()
  watch!.close()
  writeFileSync(join(folder, 'later'), '')
  t.notOk(names.has('later'))
})

await t.test('only when it is asked for', async (t) => {
  t.equal(watchOf({ coherence: 'shared', source: folder }), undefined)
  t.equal(watchOf({}), undefined)
  t.throws(() => watchOf({ coherence: 'watched' }), TypeError, 'it must be said what is to be watched')
  t.throws(() => SourceWatch.open('/proc'), MountError, 'handles of another kind')
})
