// SPDX-License-Identifier: MIT
/**
 * In a guest in instruction-time: how the data accelerator's policies fare where a file is now read over and over, now from
 * end to end, as a database is. Prints a line of JSON for each policy: what reads cost and how they went, chunk by chunk, for
 * bench/decisions.ts to draw. Arguments: data-phases, compiled; requests of a phase; phases.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { DataCache } from '../../../src/bpf/data-cache.js'
import { mount, StackFS } from '../../../src/index.js'

const [PROGRAM, REQUESTS = '20000', PHASES = '6'] = process.argv.slice(2)
const CHUNK = 500
const SOURCE = '/var/tmp/phases-source'
const AT = '/var/tmp/phases'

mkdirSync(SOURCE)
mkdirSync(AT)
// All of it is in memory: what differs is the cache.
execFileSync('sh', ['-c', `cd ${SOURCE}; head -c 256M /dev/zero > file; sync; cat file > /dev/null`])
for (const policy of ['cache', 'direct', 'adaptive'] as const) {
  const mounted = await mount(new StackFS({ source: SOURCE, passthrough: 'hooked' }), AT, {
    type: 'efuse', accelerate: { data: { policy, memory: 16 << 20 } },
  })
  const { data } = (mounted as unknown as { accelerators: { data: DataCache } }).accelerators
  const chunks: object[] = []
  let before = data.counts()
  const client = spawn(PROGRAM, [`${AT}/file`, '1024', REQUESTS, PHASES, String(CHUNK)], { stdio: ['pipe', 'pipe', 'inherit'] })
  for await (const line of createInterface({ input: client.stdout })) {
    const [phase, mean, median] = line.split(' ')
    const after = data.counts()
    const { cached, direct, probes, timed, mispredicted } = after
    chunks.push({
      phase, mean: Number(mean), median: Number(median), cached: cached - before.cached, direct: direct - before.direct,
      probes: probes - before.probes, timed: timed - before.timed, mispredicted: mispredicted - before.mispredicted,
    })
    before = after
    client.stdin.write('\n')
  }
  console.log(JSON.stringify({ policy, chunk: CHUNK, chunks }))
  await mounted.unmount()
}
process.exit()
