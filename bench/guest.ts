// SPDX-License-Identifier: MIT
/** The lab's side of `efuse bench`: does in a guest what the plan file says. `node dist/bench/guest.js PLAN RECORD` */
import { mkdirSync, readFileSync } from 'node:fs'
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

const [planFile, recordFile] = process.argv.slice(2)
const plan = JSON.parse(readFileSync(planFile, 'utf8')) as GuestPlan
const workspace = '/var/tmp/efuse-bench'
mkdirSync(workspace)
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
  record: RunRecord.open(recordFile, null),
  log: (text) => process.stderr.write(`${text}\n`),
})
process.exit(0)
