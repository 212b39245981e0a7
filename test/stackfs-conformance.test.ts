// SPDX-License-Identifier: MIT
/** StackFS passes the conformance suite that every file system may be put to. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { StackFS } from '../src/fs/stackfs/index.js'
import { conformanceSuite } from '../src/testing/index.js'

t.test('each check over an empty directory of its own', async (t) => {
  const sources: string[] = []
  t.teardown(() => { for (const source of sources) rmSync(source, { recursive: true, force: true }) })
  const results = await conformanceSuite(() => {
    const source = mkdtempSync(join(tmpdir(), 'efuse-conformance-'))
    sources.push(source)
    return new StackFS({ source, maxInodes: 4096, maxCachedDescriptors: 8 })
  }, {
    report: ({ name, outcome, reason }) => t.not(outcome, 'failed', reason ? `${name}: ${reason}` : name),
  })
  t.same(results.filter(({ outcome }) => outcome === 'skipped').map(({ name }) => name).filter((name) => /lock/.test(name)).length,
    results.filter(({ outcome }) => outcome === 'skipped').length, 'only locks, the kernel\'s own business, are left out')
})
