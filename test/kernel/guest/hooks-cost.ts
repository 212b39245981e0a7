// SPDX-License-Identifier: MIT
/**
 * In a guest in instruction-time: prints what a GETATTR round trip costs, in nanoseconds, through built-in FUSE, through
 * efuse.ko, and there with all hooks filled by programs that count and pass. One JSON object. Argument: getattr-cost, compiled.
 */
import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { attach } from './hooks-support.js'

const PROGRAM = process.argv[2]
const AT = '/tmp/cost'
const ROUNDS = 3

async function measure(type: 'fuse' | 'efuse', programs: string[] = []): Promise<number> {
  const child = spawn(PROGRAM, [type, AT], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ended = new Promise((resolve) => { child.once('exit', resolve) })
  const next = async (): Promise<string> => String((await lines.next()).value)
  const attached = []
  if (type === 'efuse') {
    const token = BigInt(await next())
    for (const name of programs) attached.push(await attach(name, token))
    child.stdin.write('go\n')
  }
  const median = Number(await next())
  await ended
  for (const program of attached) program.close()
  return median
}

const best = { fuse: Infinity, efuse: Infinity, pass: Infinity }
mkdirSync(AT, { recursive: true })
for (let round = 0; round < ROUNDS; round++) {
  best.fuse = Math.min(best.fuse, await measure('fuse'))
  best.efuse = Math.min(best.efuse, await measure('efuse'))
  best.pass = Math.min(best.pass, await measure('efuse', ['efuse_pass']))
}
console.log(JSON.stringify(best))
process.exit()
