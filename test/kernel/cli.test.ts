// SPDX-License-Identifier: MIT
/** `efuse bpf` in a guest: attaching, replacing, listing and detaching people's own programs, and who may. */
import t from 'tap'
import { testInGuest } from './lab.js'

// Each guest has its own limit.
t.setTimeout(0)

await testInGuest(t, { 'efuse bpf': 'node dist/test/kernel/guest/bpf-command.js' }, { seconds: 2400, cpus: 2 })
