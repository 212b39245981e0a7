// SPDX-License-Identifier: MIT
/** What is built for BPF: the same each time, shipped built, and not needed for anything else. */
import { test } from 'tap'
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundledObject, libbpfBuild } from '../../src/bpf/index.js'

const root = fileURLToPath(new URL('../../../', import.meta.url))

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex')
}

test('libbpf says what it was built from', (t) => {
  const build = libbpfBuild()
  t.match(build.libbpf, /^1\.7\./)
  t.match(build.clang, /:19\./)
  t.equal(build.sha256, sha256(join(root, 'dist/bpf/libbpf.wasm')))
  t.match(readFileSync(join(root, 'dist/bpf/libbpf.LICENSE'), 'utf8'), /BSD-2-Clause[^]*wasi-libc/)
  t.end()
})

test('a second build gives the same bytes', async (t) => {
  const script = new URL('../../../scripts/build-libbpf.js', import.meta.url)
  const { buildLibbpf } = await import(script.href) as { buildLibbpf(how: { force: boolean; folder: string }): unknown }
  const folder = t.testdir({})
  buildLibbpf({ force: true, folder })
  t.equal(sha256(join(folder, 'libbpf.wasm')), libbpfBuild().sha256)
})

test('the package ships it', (t) => {
  const packed = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'],
  })
  const listed: unknown = JSON.parse(packed)
  const [{ files }] = Object.values(listed as Record<string, { files: { path: string }[] }>)
  const names = files.map(({ path }) => path)
  for (const name of ['libbpf.wasm', 'libbpf.json', 'libbpf.LICENSE']) t.ok(names.includes(`dist/bpf/${name}`), name)
  t.ok(names.includes('dist/src/bpf/index.js'))
  t.strictSame(names.filter((name) => /bpf\/test\//.test(name)), [], 'but not the tests\' objects')
  t.end()
})

test('without it everything else works', (t) => {
  t.throws(() => bundledObject('nothing'), { code: 'ENOENT', message: /npm run build:bpf/ })
  // A copy of what npm ci makes.
  const copy = t.testdir({})
  mkdirSync(join(copy, 'dist'))
  for (const name of ['dist/src', 'native-min/build/efuse_native.node', 'package.json']) {
    cpSync(join(root, name), join(copy, name), { recursive: true })
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  const run = (script: string) =>
    spawnSync(process.execPath, ['--input-type=module', '-e', script], { cwd: copy, encoding: 'utf8' })
  const plain = run(`import { MemFS } from 'efuse'; console.log(typeof MemFS)`)
  t.equal(plain.stdout, 'function\n', plain.stderr)
  const loading = run(`
    import { BpfObject } from 'efuse/bpf'
    for (let i = 0; i < 2; i++) {
      await BpfObject.open(new Uint8Array(8)).catch((error) => console.log(error.code, error.message))
    }`)
  t.match(loading.stdout, /^(ENOENT .*libbpf\.wasm.*npm run build:bpf.*\n){2}$/, loading.stderr)
  t.end()
})
