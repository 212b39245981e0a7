// SPDX-License-Identifier: MIT
/**
 * The emulator: QEMU of trixie-backports, unpacked into the cache and run from there by its own loader. Debian 12's own
 * (7.2) lets one emulated CPU run code that another has just changed, which broke kernels and Node now and then, and takes
 * three times as long to start a process in the guest.
 */
import { join } from 'node:path'
import { provide } from '../scripts/requirements.js'
import { cached, progress } from './cache.js'
import { run } from './command.js'
import { downloadOptions, sources } from './root.js'

const PACKAGE = 'qemu-system-x86'
/** What it needs of the same suite comes from there, too. */
const FROM = 'APT::Default-Release "trixie-backports"'

/** @returns {Promise<string[]>} the command, without arguments */
export async function qemu() {
  const folder = await cached('qemu', [PACKAGE, FROM], async (folder) => {
    if (!provide('lab')) throw new Error('the lab needs the programs named above')
    progress('unpacking QEMU; about half a minute')
    await run('mmdebstrap', [
      '--mode=root', '--variant=extract',
      ...['APT::Install-Recommends "false"', FROM, ...downloadOptions()].map((option) => `--aptopt=${option}`),
      `--include=${PACKAGE}`, 'trixie', join(folder, 'tree'), '-',
    ], { input: sources() })
  })
  const path = (...names) => join(folder, 'tree/usr', ...names)
  return [
    path('lib64/ld-linux-x86-64.so.2'), '--library-path', path('lib/x86_64-linux-gnu'), path('bin/qemu-system-x86_64'),
    '-L', path('share/qemu'), '-L', path('share/seabios'),
  ]
}
