// SPDX-License-Identifier: MIT
/** `lab/run [OPTIONS] SCRIPT [ARGUMENT...]`: the command line. */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { provide } from '../scripts/requirements.js'
import { progress } from './cache.js'
import { run } from './command.js'
import { debugKernel } from './debug-kernel.js'
import { boot, bootInteractively } from './guest.js'
import { jobArchive, nodeDisk, releaseKernel, rootDisk } from './image.js'
import { initramfs } from './initramfs.js'
import { efuseModule } from './module.js'
import { objects } from './objects.js'
import { programs } from './programs.js'
import { qemu } from './qemu.js'

const help = `lab/run [OPTIONS] SCRIPT [ARGUMENT...]     runs SCRIPT in a guest, in /efuse (this repository)
lab/run [OPTIONS] -c COMMAND               runs a shell command
lab/run [OPTIONS] --shell                  a root shell on the guest's console; Ctrl-A x ends it

  --cpus N                 CPUs, 2 by default; with --icount 1
  --memory MB              2048 by default
  --icount                 measure in instruction-time: every instruction takes a nanosecond, one CPU runs at a time
  --kernel release|debug   Debian's kernel, or the one with KASAN, lockdep and kmemleak
  --without-module         for runs that need no efuse.ko: it is not built
  --file HOST:GUEST        gives a file or folder to the guest; may be repeated
  --collect GUEST:HOST     brings a file or folder of the guest back into a folder; may be repeated
  --env NAME=VALUE         sets a variable of SCRIPT's environment; may be repeated
  --console FILE           keeps what the guest's kernel says (dmesg)
  --timeout SECONDS        600 by default

Exit status: that of SCRIPT; or 123: the guest's kernel complained (panic, oops, WARN, hung task, lock or memory
error); 124: the time was over; 125: the lab failed: no guest could be made or started.
`
const KERNEL_COMPLAINED = 123
const TIME_OVER = 124
const LAB_FAILED = 125

const options = {
  cpus: { type: 'string' },
  memory: { type: 'string', default: '2048' },
  icount: { type: 'boolean', default: false },
  kernel: { type: 'string', default: 'release' },
  'without-module': { type: 'boolean', default: false },
  file: { type: 'string', multiple: true, default: [] },
  collect: { type: 'string', multiple: true, default: [] },
  env: { type: 'string', multiple: true, default: [] },
  console: { type: 'string' },
  timeout: { type: 'string', default: '600' },
  command: { type: 'string', short: 'c' },
  shell: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
}

class Usage extends Error {}

/** Options up to the script; what follows is the script's. */
function parse(args) {
  const { tokens } = parseArgs({ args, options, allowPositionals: true, strict: false, tokens: true })
  const script = tokens.find(({ kind }) => kind === 'positional')
  const own = script === undefined ? args : args.slice(0, script.index)
  const { values } = parseArgs({ args: own, options })
  const words = script === undefined ? [] : args.slice(script.index)
  const given = [values.command !== undefined, values.shell, words.length > 0].filter(Boolean).length
  if (given !== 1) throw new Usage('one of SCRIPT, -c and --shell is needed')
  return { ...values, words }
}

function number(name, text, low, high) {
  const value = Number(text)
  if (!Number.isInteger(value) || value < low || value > high) throw new Usage(`--${name} ${text}: ${low} to ${high}`)
  return value
}

/** `A:B`, of which the last colon parts. */
function pair(name, text) {
  const at = text.lastIndexOf(':')
  if (at < 1 || at === text.length - 1) throw new Usage(`--${name} ${text}: it is FROM:TO`)
  return [text.slice(0, at), text.slice(at + 1)]
}

const quoted = (word) => `'${word.replaceAll("'", "'\\''")}'`

/** What start.sh runs. */
function job({ words, command, env, icount }) {
  const lines = ['#!/bin/bash']
  if (!icount) lines.push('export NODE_OPTIONS=--require=/run/lab/node-flags.cjs')
  for (const setting of env) {
    const at = setting.indexOf('=')
    if (at < 1) throw new Usage(`--env ${setting}: it is NAME=VALUE`)
    lines.push(`export ${setting.slice(0, at)}=${quoted(setting.slice(at + 1))}`)
  }
  const run = command === undefined ? ['/run/lab/script', ...words.slice(1)] : ['bash', '-c', command]
  lines.push(`exec ${run.map(quoted).join(' ')}`, '')
  return lines.join('\n')
}

export async function main(args) {
  // So that what was made for this run is removed.
  for (const [signal, number] of [['SIGINT', 2], ['SIGTERM', 15], ['SIGHUP', 1]]) {
    // On, not once: a second signal would end this while it removes.
    process.on(signal, () => process.exit(128 + number))
  }
  try {
    if (args.includes('--help')) {
      process.stdout.write(help)
      return 0
    }
    return await runGuest(parse(args))
  } catch (error) {
    const usage = error instanceof Usage || error.code?.startsWith('ERR_PARSE_ARGS')
    process.stderr.write(`lab/run: ${error.message}\n${usage ? help : ''}`)
    return usage ? 2 : LAB_FAILED
  }
}

async function runGuest(values) {
  const { words, shell, collect } = values
  const settings = {
    cpus: number('cpus', values.cpus ?? (values.icount ? '1' : '2'), 1, 16),
    memory: number('memory', values.memory, 256, 8192),
    seconds: number('timeout', values.timeout, 1, 1_000_000),
    icount: values.icount,
  }
  if (!['release', 'debug'].includes(values.kernel)) throw new Usage(`--kernel ${values.kernel}: release or debug`)
  const files = values.file.map((text) => pair('file', text)).map(([host, guest]) => [resolve(host), guest])
  const wanted = collect.map((text) => pair('collect', text))
  for (const [path] of [...files, ...words.slice(0, 1).map((script) => [script])]) {
    if (!existsSync(path)) throw new Usage(`${path} does not exist`)
  }
  const text = job(values)
  if (words.length > 0 && !statSync(words[0]).isFile()) throw new Usage(`${words[0]} is no file`)

  if (!provide('lab')) throw new Error('it needs the programs named above')
  const disks = [await rootDisk(), await nodeDisk()]
  const kernel = values.kernel === 'debug' ? await debugKernel() : await releaseKernel()
  if (!values['without-module']) {
    files.push([await efuseModule(kernel), `/lib/modules/${kernel.version}/updates/efuse.ko`])
    files.push([await objects(), '/efuse/dist/bpf'], [await programs(), '/efuse/dist/test/kernel/guest/programs'])
  }
  const folder = mkdtempSync('/var/tmp/efuse-lab-run-')
  const clean = () => rmSync(folder, { recursive: true, force: true })
  process.once('exit', clean)
  try {
    const staging = join(folder, 'staging')
    mkdirSync(join(staging, 'run/lab'), { recursive: true })
    writeFileSync(join(staging, 'run/lab/job'), text, { mode: 0o755 })
    writeFileSync(join(staging, 'run/lab/collect'), wanted.map(([guest]) => `${guest.replace(/^\/+/, '')}\n`).join(''))
    copyFileSync(new URL('guest/node-flags.cjs', import.meta.url), join(staging, 'run/lab/node-flags.cjs'))
    if (words.length > 0) copyFileSync(words[0], join(staging, 'run/lab/script'))
    if (shell) writeFileSync(join(staging, 'run/lab/shell'), '')
    await run('chmod', ['-R', 'u+rwX,go+rX', staging])
    const archive = join(folder, 'job.tar')
    await jobArchive(archive, staging, files)
    const memoryDisk = join(folder, 'initramfs')
    writeFileSync(memoryDisk, initramfs({
      'bin/busybox': kernel.busybox,
      init: fileURLToPath(new URL('guest/early.sh', import.meta.url)),
      'start.sh': fileURLToPath(new URL('guest/start.sh', import.meta.url)),
      ...kernel.modules,
    }))
    Object.assign(settings, { qemu: await qemu(), kernel: kernel.image, initramfs: memoryDisk, disks: [...disks, archive] })
    if (shell) return await bootInteractively(settings)
    const unpacked = wanted.length > 0 ? join(folder, 'files') : null
    const start = () => boot({ ...settings, collect: unpacked, output: process.stdout, errors: process.stderr })
    let outcome = await start()
    for (let again = 0; again < 2 && brokenByEmulator(outcome); again++) {
      progress('the emulator has broken the guest while it booted: once more')
      outcome = await start()
    }
    if (values.console !== undefined) writeFileSync(values.console, outcome.console)
    for (const [guest, host] of wanted) await bring(join(unpacked, guest), host, guest)
    return judge(outcome, settings)
  } finally {
    process.off('exit', clean)
    clean()
  }
}

/**
 * QEMU may run a breakpoint that a kernel has put into its own code for a moment after it was taken out again
 * (7.2: about one boot in fifty on several CPUs). Before the script has begun nothing of ours can have been the reason.
 */
function brokenByEmulator({ started, console }) {
  return !started && /Oops: int3/.test(console)
}

async function bring(path, host, guest) {
  if (!existsSync(path)) {
    progress(`the guest left no ${guest}`)
    return
  }
  mkdirSync(host, { recursive: true })
  await run('cp', ['-a', path, host])
}

/** The exit status, with a reason on stderr unless it is the script's own. */
function judge({ status, timedOut, started, console, complaint, qemu }, { seconds }) {
  const last = () => console.trimEnd().split(/\r?\n/).slice(-20).join('\n')
  if (complaint !== null) {
    process.stderr.write(`lab/run: the guest's kernel complained:\n${complaint}\n`)
    return KERNEL_COMPLAINED
  }
  if (timedOut && started) {
    process.stderr.write(`lab/run: ended after ${seconds} s; the guest's last messages:\n${last()}\n`)
    return TIME_OVER
  }
  if (status === null) {
    const what = started ? 'ended before its script did' : 'did not start'
    process.stderr.write(`lab/run: the guest ${what}; its last messages:\n${last()}\n${qemu}`)
    return LAB_FAILED
  }
  return status
}
