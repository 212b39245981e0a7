// SPDX-License-Identifier: MIT
/**
 * In a guest, runs a command while every mount that eFuse serves has a policy: `steered.js POLICY COMMAND`, or another one
 * every ten milliseconds, with CPUs that go offline and come back: `steered.js changing COMMAND`. Its exit status is the
 * command's, unless no mount took a policy.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { POLICIES, type Policy } from '../../../src/bpf/balance.js'
import { allServers, type ControlClient } from '../../../src/mount/control.js'

const [mode, command] = process.argv.slice(2)
const CHANGE = 10
const SCAN = 500
const TURN = 300

const running = spawn('bash', ['-c', command], { stdio: 'inherit' })
const ended = once(running, 'close') as Promise<[number | null]>
let going = true
void ended.then(() => { going = false })

let mounts = 0
let choices = 0

/** Asks one server until it is gone, or has no rings to choose from. */
async function steer(client: ControlClient): Promise<void> {
  try {
    for (let n = 0; going; n++) {
      const policy = mode === 'changing' ? POLICIES[n % POLICIES.length] : mode as Policy
      await client.ask('policy', { policy })
      if (n === 0) mounts++
      choices++
      if (mode !== 'changing') return
      await sleep(CHANGE)
    }
  } catch {
    // It says so, or has ended.
  } finally {
    client.close()
  }
}

/** Takes each CPU but the first away for a while, one after another. */
async function turnCpus(): Promise<void> {
  const online = (cpu: number): string => `/sys/devices/system/cpu/cpu${cpu}/online`
  for (let cpu = 1; going; cpu = existsSync(online(cpu + 1)) ? cpu + 1 : 1) {
    if (!existsSync(online(cpu))) return
    writeFileSync(online(cpu), '0')
    await sleep(TURN)
    writeFileSync(online(cpu), '1')
    await sleep(TURN)
  }
}

const turning = mode === 'changing' ? turnCpus() : Promise.resolve()
const known = new Set<string>()
for (; going; await sleep(SCAN)) {
  const there = new Set<string>()
  for (const { device, client } of await allServers()) {
    there.add(device)
    if (known.has(device)) client.close()
    else void steer(client)
  }
  known.clear()
  for (const device of there) known.add(device)
}
await turning
const [status] = await ended
console.log(`# ${mounts} mounts were given a policy, ${choices} times`)
process.exitCode = mounts > 0 ? status ?? 1 : status || 1
