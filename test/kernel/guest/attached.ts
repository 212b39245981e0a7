// SPDX-License-Identifier: MIT
/**
 * In a guest, runs a command while every efuse mount has programs in all hooks, which count and pass:
 * `attached.js always COMMAND`, or attached and detached again every so many milliseconds: `attached.js 10 COMMAND`; then
 * a part of the hooks at a time, as one attachment takes longer than that in emulation.
 * Its exit status is the command's, unless no program was attached or none was ever called.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { HOOKS } from '../../../src/bpf/hooks.js'
import { bytes } from '../../../src/bpf/codec.js'
import { BpfObject } from '../../../src/bpf/index.js'

const [period, command] = process.argv.slice(2)
const path = (from: string): string => fileURLToPath(new URL(from, import.meta.url))

const object = (await BpfObject.open(path('../../../bpf/test/efuse_pass.bpf.o'))).load()
const descriptors = [object.map('pass', { value: bytes('value', 256) }).fd, ...HOOKS.map((hook) => object.program(`pass_${hook}`).fd)]
const parts = period === 'always' ? '1' : '4'
const attacher = spawn(path('programs/attach'), [period, parts], { stdio: ['pipe', 'pipe', 'inherit', ...descriptors] })
const attacherEnds = once(attacher, 'close') as Promise<[number | null]>
const report = text(attacher.stdout!)

const running = spawn('bash', ['-c', command], { stdio: 'inherit' })
let [status] = await once(running, 'close') as [number | null]

attacher.stdin!.end()
const [attacherStatus] = await attacherEnds
const [connections, attachments, time] = (await report).split(' ').map(Number)
const calls = object.globals.get<bigint>('calls')
object.close()
console.log(`# programs were attached ${attachments} times to ${connections} connections in ${time} ms, and called ${calls} times`)
if (attacherStatus !== 0 || !(attachments > 0) || calls === 0n) status ||= 1
process.exitCode = status ?? 1
