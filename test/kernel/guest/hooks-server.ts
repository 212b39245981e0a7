// SPDX-License-Identifier: MIT
/**
 * In the guest, a process of its own: `hooks-server.js MOUNTPOINT OBJECT...` serves a MemFS on an efuse mount with
 * programs of bpf/test/ attached, and says "ready" with its process number. On each line that it reads it detaches them
 * and attaches them anew. Ends when it is killed, or when it is unmounted.
 */
import { createInterface } from 'node:readline'
import type { HookProgram } from '../../../src/bpf/hooks.js'
import { MemFS, mount } from '../../../src/index.js'
import { attach, controlOf, deviceDescriptor, token } from './hooks-support.js'

const [mountpoint, ...names] = process.argv.slice(2)
const mounted = await mount(new MemFS(), mountpoint, { type: 'efuse', entryTimeout: 0, attrTimeout: 0, exitHook: false })
const control = controlOf(deviceDescriptor())

async function attachAll(): Promise<HookProgram[]> {
  const programs: HookProgram[] = []
  for (const name of names) programs.push(await attach(name, token(control)))
  return programs
}

let programs = await attachAll()
console.log(`ready ${process.pid}`)
createInterface({ input: process.stdin }).on('line', async () => {
  for (const program of programs) program.close()
  // The connection may have ended.
  programs = await attachAll().catch(() => [])
})
await mounted.closed
process.exit()
