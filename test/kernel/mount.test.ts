// SPDX-License-Identifier: MIT
/**
 * StackFS and MemFS on efuse mounts, in a guest: the tests that pass on the kernel's own FUSE, with no program attached.
 * The module then unloads, and the guest's kernel has nothing to complain about.
 */
import t from 'tap'
import { share, testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

const file = (name: string, ...args: string[]): string => `node dist/test/${name}.test.js ${args.join(' ')}`

/** What asks most of the kernel's side. The command line's own tests start dozens of processes, each for seconds here. */
const essential = {
  'life cycle': file('mount/lifecycle'),
  'notifications': file('mount/notify'),
  'rings': file('mount/rings'),
  'memfs': file('memfs-mounted'),
}
const others = {
  'command line': file('mount/cli'),
  'options': file('mount/options'),
  'teardown': file('mount/teardown'),
  'examples': file('examples'),
}

await testInGuest(t, share === 'full' ? { ...essential, ...others } : essential, { seconds: share === 'full' ? 7200 : 900 })
