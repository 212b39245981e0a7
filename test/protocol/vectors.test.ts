// SPDX-License-Identifier: MIT
/** The byte vectors: complete, and eFuse's protocol code conforms to them. */
import t from 'tap'
import { FuseNotifyCode, OPERATIONS } from '../../src/protocol/index.js'
import {
  checkReply, checkVectors, efuseSubject, HEADER, malformedVectors, notificationVectors, replyVectors, requestVectors,
  unansweredOperations, type VectorSubject,
} from '../../src/testing/index.js'

t.test('every operation has vectors, both ways', async (t) => {
  for (const { name, reply } of OPERATIONS) {
    t.ok(requestVectors.some(({ operation }) => operation === name), `${name}: a request`)
    if (reply === 'none') t.ok(unansweredOperations.includes(name), `${name}: no reply`)
    else t.ok(replyVectors.some(({ operation }) => operation === name), `${name}: a reply`)
  }
  for (const name of Object.keys(FuseNotifyCode)) {
    t.ok(notificationVectors.some(({ code }) => code === name), name)
  }
})

t.test('eFuse conforms', async (t) => {
  t.same(checkVectors(efuseSubject), [])
})

t.test('reply vectors are replies that the kernel takes', async (t) => {
  for (const { operation, name, request, reply } of replyVectors) {
    const sent = {
      opcode: new DataView(request.buffer, request.byteOffset).getUint32(4, true),
      unique: HEADER.unique, nodeid: HEADER.nodeid, body: request.subarray(40),
    }
    t.doesNotThrow(() => checkReply(sent, reply), `${operation}, ${name}`)
  }
})

t.test('a subject that is wrong is told where', async (t) => {
  const wrong: VectorSubject = {
    parse(request, dialect) {
      const parsed = efuseSubject.parse(request, dialect)
      return 'errno' in parsed ? { errno: parsed.errno && 5 } : { ...parsed, pid: 0 }
    },
    encodeReply: () => new Uint8Array(16),
  }
  const failures = checkVectors(wrong)
  t.match(failures.find(({ vector }) => vector === 'FUSE_LOOKUP, a name'), { problem: 'pid: 0, expected 4242' })
  t.match(failures.find(({ vector }) => vector.startsWith('malformed: FUSE_LOOKUP without a NUL')), { problem: 'errno 5, expected 22' })
  t.equal(failures.filter(({ vector }) => vector.includes(' reply, ')).length, replyVectors.length)
  t.ok(malformedVectors.length > 50)
})

t.test('a subject that throws is one that fails', async (t) => {
  const failures = checkVectors({ parse() { throw new Error('unfinished') } })
  t.equal(failures.length, requestVectors.length + malformedVectors.length)
  t.match(failures[0].problem, /unfinished/)
})
