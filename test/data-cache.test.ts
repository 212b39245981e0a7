// SPDX-License-Identifier: MIT
/** What `--data` means, what memory it takes, and to which mounts the data accelerator is of no use. */
import t from 'tap'
import { accelerators } from '../src/bpf/accelerators.js'
import { DataCache, dataMemory, parseDataOptions } from '../src/bpf/data-cache.js'
import type { Agreement } from '../src/protocol/init.js'

t.test('--data', async (t) => {
  t.strictSame(parseDataOptions('policy=direct:memory=16M:limit=8K:files=cached:writes=off'),
    { policy: 'direct', memory: 16 << 20, limit: 8192, files: 'cached', writes: false })
  t.strictSame(parseDataOptions('round=1024:probes=16'), { round: 1024, probes: 16 })
  for (const wrong of ['', 'policy', 'policy=best', 'memory=1K', 'memory=5G', 'memory=-1', 'limit=64K', 'probes=1', 'round=16:probes=9',
    'speed=1', 'writes=maybe', 'files=none']) {
    t.throws(() => parseDataOptions(wrong), RangeError, `"${wrong}"`)
  }
})

t.test('memory: nearly what was asked for, and never more', async (t) => {
  for (const memory of [1 << 20, 3_000_000, 64 << 20, 1 << 30, 2 ** 32]) {
    const taken = dataMemory({ memory })
    t.ok(taken <= memory && taken > 0.95 * memory, `${taken} of ${memory}`)
  }
})

t.test('of use where files are opened for it', async (t) => {
  const { unfit } = accelerators.find(({ name }) => name === 'data')!
  const context = { token: () => 0n, control: -1, options: {}, server: 'stackfs', uring: false } as const
  const agreed = { flags: 0, flags2: 1 << 5 } as Agreement
  t.equal(unfit!({ ...context, agreement: agreed, hooked: true }), null)
  t.equal(unfit!({ ...context, agreement: agreed }), null, 'who serves knows')
  t.match(unfit!({ ...context, agreement: agreed, hooked: false }), /passthrough/)
})

t.test('of servers that give the kernel no files, where it is demanded and nobody else changes theirs', async (t) => {
  const { unfit } = accelerators.find(({ name }) => name === 'data')!
  const context = { token: () => 0n, control: -1, options: {}, server: 'stackfs', uring: false } as const
  for (const agreement of [{ flags: 0, flags2: 0 } as Agreement, null]) {
    const exclusive = { coherence: 'exclusive' } as const
    t.match(unfit!({ ...context, agreement, data: exclusive }), /demand it by --accel data/)
    t.match(unfit!({ ...context, agreement, demanded: true }), /FUSE_PASSTHROUGH.*--coherence exclusive/)
    t.match(unfit!({ ...context, agreement, demanded: true, data: { coherence: 'shared' } }), /--coherence exclusive/)
    t.equal(unfit!({ ...context, agreement, demanded: true, data: exclusive }), null)
    t.equal(unfit!({ ...context, agreement, demanded: true, server: 'memfs' }), null, 'MemFS\'s are nowhere else')
  }
  await t.rejects(DataCache.load({ ...context, agreement: null }), RangeError, 'whoever loads it')
})
