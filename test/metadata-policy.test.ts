// SPDX-License-Identifier: MIT
/** The rules of bpf/metadata.h, compiled for the host. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { metadataMemory } from '../src/bpf/metadata-cache.js'

const source = fileURLToPath(new URL('../../test/metadata-policy.c', import.meta.url))

t.test('what changes what, how long it lives, and what stands', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'efuse-policy-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const program = join(folder, 'policy')
  execFileSync('cc', ['-O1', '-Wall', '-Wextra', '-Wno-sign-compare', '-Wno-unused-function', '-o', program, source])
  const { status, stdout } = spawnSync(program, { encoding: 'utf8' })
  t.equal(stdout, '')
  t.equal(status, 0)
})

t.test('memory is what was asked for', async (t) => {
  t.ok(metadataMemory() < 32 << 20, `${metadataMemory()} bytes by default`)
  const room = { entries: 8, attributes: 8, xattrs: 8, links: 8, rights: 8, opens: 8 }
  t.equal(metadataMemory(room), 8 * (152 + 136 + 144 + 256 + 48 + 64) + 1024 * 16)
  t.equal(metadataMemory({ ...room, entries: 9 }), metadataMemory({ ...room, entries: 16 }), 'rounded up')
  t.throws(() => metadataMemory({ entries: 0 }), RangeError)
  t.throws(() => metadataMemory({ links: 1.5 }), RangeError)
})
