// SPDX-License-Identifier: MIT
/** Struct tables and constants are those of `linux/fuse.h`: the newest that Debian has, and this system's. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { FUSE_KERNEL_MINOR_VERSION } from '../../src/protocol/index.js'
import { checkLayouts } from '../../src/testing/index.js'

const run = promisify(execFile)
const SYSTEM_HEADER = '/usr/include/linux/fuse.h'
const COMPILERS = ['cc', 'clang']

const installed: string[] = []
for (const compiler of COMPILERS) {
  await run(compiler, ['--version']).then(() => installed.push(compiler), () => {})
}

/** The newest header, or null where this machine can't get it. */
async function newestHeader(): Promise<string | null> {
  const script = fileURLToPath(new URL('../../../scripts/fetch-uapi.js', import.meta.url))
  try {
    return (await run(process.execPath, [script], { timeout: 240_000 })).stdout.trim()
  } catch (error) {
    t.comment(`the newest header can't be had: ${String((error as Error).message).split('\n')[0]}`)
    return null
  }
}

const newest = await newestHeader()
const system = existsSync(SYSTEM_HEADER) ? SYSTEM_HEADER : null
const lacking = installed.length === 0 ? 'there is no C compiler' : newest === null && system === null ? 'there is no header' : false

t.test('a header and a compiler are there', { skip: process.env.CI ? false : lacking }, async (t) => {
  t.notOk(lacking, 'CI must be able to check layouts')
})

t.test('the newest header', { skip: newest === null || installed.length === 0 ? 'not available here' : false }, async (t) => {
  for (const compiler of installed) {
    const report = await checkLayouts(newest!, compiler)
    t.same(report.differences, [], `${compiler}: ${report.compared} values agree with 7.${report.minor}`)
    t.same(report.unknown, [], `${compiler}: nothing in it is unknown here`)
    if (report.minor >= FUSE_KERNEL_MINOR_VERSION) t.same(report.absent, [], `${compiler}: nothing here is unknown to it`)
  }
})

t.test('this system\'s header', { skip: system === null || installed.length === 0 ? 'not available here' : false }, async (t) => {
  const report = await checkLayouts(system!, installed[0])
  t.same(report.differences, [], `${report.compared} values agree with 7.${report.minor}`)
  t.ok(report.compared > 500)
})

t.test('a header that differs is caught', { skip: installed.length === 0 ? 'no compiler' : false }, async (t) => {
  const folder = await mkdtemp(`${t.testdir()}/header-`)
  const header = `${folder}/fuse.h`
  await writeFile(header, `
#include <stdint.h>
#define FUSE_KERNEL_VERSION 7
#define FUSE_KERNEL_MINOR_VERSION 99
#define FATTR_MODE (1 << 5) /* FATTR_UID is a name in a comment */
#define FATTR_FROM_THE_FUTURE (1 << 30)
enum fuse_opcode { FUSE_LOOKUP = 1, FUSE_FORGET = 3 };
struct fuse_forget_in { uint32_t nlookup; };
struct fuse_access_in { uint32_t padding; uint32_t mask; };
struct fuse_init_in { uint32_t major; uint32_t minor; uint32_t max_readahead; uint32_t flags; };
struct fuse_novel { int x; };
`)
  const report = await checkLayouts(header, installed[0])
  t.same(report.differences.toSorted(), [
    'FATTR_MODE: 1 here, 32 in the header',
    'FUSE_FORGET: 2 here, 3 in the header',
    'offset of struct fuse_access_in.mask: 0 here, 4 in the header',
    'offset of struct fuse_access_in.padding: 4 here, 0 in the header',
    'size of struct fuse_forget_in.nlookup: 8 here, 4 in the header',
    'size of struct fuse_forget_in: 8 here, 4 in the header',
  ])
  t.match(report.absent, new Set(['FATTR_UID', 'struct fuse_attr', 'struct fuse_init_in.flags2']))
  t.same(report.unknown, ['struct fuse_novel', 'FATTR_FROM_THE_FUTURE', 'FUSE_KERNEL_MINOR_VERSION'])
})
