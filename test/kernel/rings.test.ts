// SPDX-License-Identifier: MIT
/**
 * File-system suites over io_uring rings that programs choose: each policy, and policies that change every ten milliseconds
 * while CPUs go offline and come back. On 1, 2, 4 and 8 CPUs in the full share, which remembers what has passed.
 */
import t from 'tap'
import { share, testInGuest } from './lab.js'
import { runRemembered } from './records.js'

// Each guest has its own limit.
t.setTimeout(0)

const steered = (mode: string, command: string): string =>
  `EFUSE_TEST_ACCEL=balance node dist/test/kernel/guest/steered.js ${mode} "node dist/test/suites/${command}"`

if (share === 'full') {
  const suites = {
    'posix': 'posix/posix.test.js \'--way=over io_uring\'',
    'fsx': 'fsx/fsx.test.js \'--way=over io_uring\' --share=small',
  }
  const runs = [4, 2, 8, 1].flatMap((cpus) => ['changing', 'adaptive', 'local', 'round-robin', 'least-loaded'].flatMap((mode) =>
    Object.entries(suites).map(([name, command]) => ({
      title: `${name}, ${mode}, ${cpus} CPUs`, cpus, command: `${steered(mode, command)} # ${cpus} CPUs`,
      sources: ['test/suites/ground.ts', `test/suites/${name}`],
    }))))
  await runRemembered(t, runs, ['src', 'native-min', 'kernel', 'bpf', 'lab', 'test/kernel/guest/steered.ts'],
    ({ title, command, cpus }) => testInGuest(t, { [title]: command }, { seconds: 7200, cpus }))
} else {
  const command = steered('changing', 'posix/posix.test.js \'--way=over io_uring\' --only=attributes')
  await testInGuest(t, { 'posix: attributes': command }, { seconds: 2400, cpus: 4 })
}
