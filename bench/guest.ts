// SPDX-License-Identifier: MIT
/**
 * The lab's side of `efuse bench`: does in a guest what the plan file says, and prints the record's lines as they come.
 * `node dist/bench/guest.js PLAN`
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeSync } from 'node:fs'
import { release } from 'node:os'
import { join } from 'node:path'
import { Client } from './client.js'
import type { GuestPlan } from './lab.js'
import { loadSuites } from './loads.js'
import { RunRecord } from './record.js'
import { buildClient } from './rivals.js'
import { runSuite } from './session.js'
import { endAllNow } from './server.js'
import { system } from './systems.js'
import { ROOT } from './variants.js'

const [planFile] = process.argv.slice(2)
const plan = JSON.parse(readFileSync(planFile, 'utf8')) as GuestPlan
const write = (line: string): void => void writeSync(1, `${line}\n`)
const said = (program: string, ...args: string[]): string => execFileSync(program, args, { encoding: 'utf8' }).trim()
write(JSON.stringify({ guest: {
  kernel: release(), fio: said('fio', '--version').replace(/^fio-/, ''),
  libfuse: said('dpkg-query', '--show', '--showformat=${Version}', 'libfuse3-dev'),
} }))
// A RAM disk: how long another one takes says nothing where time is counted in instructions.
const workspace = '/var/tmp/efuse-bench'
mkdirSync(workspace)
said('modprobe', 'brd', 'rd_nr=1', `rd_size=${plan.diskMib * 1024}`)
said('mkfs.ext4', '-q', '/dev/ram0')
said('mount', '/dev/ram0', workspace)
process.on('exit', endAllNow)
const suite = loadSuites(1).find(({ name }) => name === plan.suite)!
await runSuite(suite, suite.loads.filter(({ name }) => plan.loads.includes(name)), {
  where: 'lab',
  workspace,
  systems: plan.systems.map(system),
  cpus: 1,
  rounds: plan.rounds,
  seconds: plan.seconds,
  large: plan.large,
  files: plan.files,
  rival: () => plan.libfuse,
  client: new Client(buildClient(join(ROOT, 'bench', 'client.c'))),
  record: RunRecord.inMemory(plan.known, write),
  log: (text) => process.stderr.write(`${text}\n`),
})
process.exit(0)
