// SPDX-License-Identifier: MIT
/**
 * Runs the tests: `node scripts/test.js [PART...] [--share ci|full] [--node PATH] [--kernel release|debug]`; without
 * parts, all of them. `--kernel` is the one that the lab's guests boot.
 *
 * Each test file is a program that prints TAP; its last comment tells how many assertions it made. A file that
 * ends without it, with another exit status than 0, or after its time is a failure of its own. What skips itself
 * is one too where CI=true: a part that can't run there has not passed. The last line is `N passed, N failed`.
 */
import { spawn } from 'node:child_process'
import { createWriteStream, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { provide } from './requirements.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const tests = join(root, 'dist/test')
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    share: { type: 'string', default: 'ci' },
    node: { type: 'string', default: process.execPath },
    kernel: { type: 'string', default: 'release' },
  },
})
const { share, node, kernel } = values
const strict = process.env.CI === 'true'

/** Compiled test files of these folders and their folders. */
function files(folder, { deep = true } = {}) {
  const path = join(tests, folder)
  if (!existsSync(path)) return []
  return readdirSync(path, { withFileTypes: true, recursive: deep })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.js'))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort()
}

const minutes = (n) => n * 60_000
const mounting = (path) => /examples|mounted/.test(path)
const testFile = (path, limit) => ({ name: relative(tests, path), command: [node, path, '--share', share], limit })
const soak = share === 'full'
/** How much slower than usual this machine is; the tests in guests ask, too. */
const patience = Number(process.env.EFUSE_TEST_PATIENCE ?? 1)

/** libbpf and BPF objects, which `npm ci` does not build. */
const buildBpf = { name: 'build:bpf', command: [node, join(root, 'scripts/build-bpf.js')], limit: minutes(15), tap: false }

/** In the order in which they run. `jobs`: how many files of a part run at once; mounts are judged one by one. */
const parts = {
  lint: {
    jobs: 1,
    steps: () => [
      { name: 'lint', command: [node, join(root, 'scripts/lint.js')], limit: minutes(5), tap: false },
    ],
  },
  unit: {
    jobs: 2,
    steps: () => [
      ...files('', { deep: false }).filter((path) => !mounting(path)), ...files('protocol'), ...files('fuzz'),
    ].map((path) => testFile(path, minutes(10))),
  },
  fuzz: {
    jobs: 1,
    steps: () => {
      const seconds = soak ? 600 : 20
      const command = [node, join(tests, 'fuzz/fuzz.js'), '--seconds', String(seconds)]
      return [{ name: `fuzz, ${seconds} seconds`, command, limit: minutes(5) + seconds * 1000, tap: false }]
    },
  },
  bpf: {
    jobs: 1,
    steps: () => [buildBpf, ...files('bpf').map((path) => testFile(path, soak ? minutes(120) : minutes(10)))],
  },
  mount: {
    jobs: 1,
    steps: () => [...files('mount'), ...files('', { deep: false }).filter(mounting)]
      .map((path) => testFile(path, minutes(10))),
  },
  monitor: {
    jobs: 1,
    steps: () => [buildBpf, ...files('monitor').map((path) => testFile(path, minutes(10)))],
  },
  bench: {
    jobs: 1,
    steps: () => files('bench').map((path) => testFile(path, minutes(10))),
  },
  suites: {
    jobs: 1,
    steps: () => files('suites').map((path) => testFile(path, soak ? minutes(600) : minutes(15))),
  },
  kernel: {
    // A guest keeps about one CPU busy.
    jobs: 2,
    steps: () => {
      const debug = kernel === 'debug'
      const lab = {
        name: 'lab', command: [node, join(root, 'lab/make.js'), ...debug ? ['--debug'] : []],
        limit: minutes((debug ? 240 : 20) * patience), tap: false,
      }
      // Without it there is nothing to run the others in. What lies deeper runs in the guest.
      return [{ ...lab, needed: true }, ...files('kernel', { deep: false }).map((path) => {
        const step = testFile(path, soak || debug ? minutes(2880) : minutes(45 * patience))
        return { ...step, command: [...step.command, '--kernel', kernel] }
      })]
    },
  },
}

mkdirSync(join(root, '.tap'), { recursive: true })
const log = createWriteStream(join(root, '.tap/test.log'))
const total = { passed: 0, failed: 0 }

/** Runs one step to its end and counts what it asserted. @returns whether it passed */
function perform({ name, command, limit, tap = true }) {
  const started = Date.now()
  return new Promise((resolve) => {
    const child = spawn(command[0], command.slice(1), {
      cwd: root,
      // A group of its own, so that all it started can be ended with it.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TAP_TIMEOUT: String(limit / 1000), FORCE_COLOR: '0' },
    })
    let timedOut = false
    const end = (signal) => {
      try {
        process.kill(-child.pid, signal)
      } catch {
        // It has just ended.
      }
    }
    const clock = setTimeout(() => {
      timedOut = true
      end('SIGTERM')
      setTimeout(() => end('SIGKILL'), 30_000).unref()
    }, limit)
    const failures = []
    let summary = null
    let skipped = 0
    let diagnosis = 0
    const tail = []
    const read = (line) => {
      log.write(`${line}\n`)
      // What takes minutes says where it is.
      if (/^(lab|kernel): /.test(line)) console.log(`  ${line}`)
      tail.push(line)
      if (tail.length > 30) tail.shift()
      const counts = /^# \{ total: (\d+), pass: (\d+)(?:, fail: (\d+))?/.exec(line)
      if (counts) summary = { passed: Number(counts[2]), failed: Number(counts[3] ?? 0) }
      if (/^\s*ok \d+.*# SKIP/i.test(line)) {
        skipped++
        if (strict) failures.push(line.trim())
      }
      // A failed assertion and the start of what TAP says about it; a failed parent says nothing new.
      if (/^\s*not ok /.test(line) && !/# (TODO|SKIP)/i.test(line)) {
        failures.push(line.trim())
        diagnosis = 25
      } else if (diagnosis > 0) {
        diagnosis = /^\s*\.\.\.$/.test(line) ? 0 : diagnosis - 1
        if (diagnosis > 0) failures.push(line)
      }
    }
    for (const stream of [child.stdout, child.stderr]) {
      let rest = ''
      stream.setEncoding('utf8').on('data', (text) => {
        const lines = (rest + text).split('\n')
        rest = lines.pop()
        lines.forEach(read)
      }).on('end', () => { if (rest) read(rest) })
    }
    child.on('error', (error) => resolve(finish(1, error.message)))
    child.on('close', (status, signal) => resolve(finish(status, signal)))

    function finish(status, signal) {
      clearTimeout(clock)
      end('SIGKILL')
      const counted = tap ? summary ?? { passed: 0, failed: 1 } : { passed: status === 0 ? 1 : 0, failed: 0 }
      if (strict) counted.failed += skipped
      // Whatever else went wrong is one failure.
      if ((status !== 0 || timedOut) && counted.failed === 0) counted.failed = 1
      total.passed += counted.passed
      total.failed += counted.failed
      const seconds = ((Date.now() - started) / 1000).toFixed(1)
      const notes = [
        timedOut ? 'took too long' : status === 0 ? '' : `ended with ${status ?? signal}`,
        tap && summary === null ? 'without a summary' : '',
        skipped > 0 ? `${skipped} skipped` : '',
      ].filter(Boolean).join(', ')
      const verdict = counted.failed === 0 ? 'ok    ' : 'FAILED'
      const { passed, failed } = counted
      console.log(`${verdict} ${name}: ${passed} passed, ${failed} failed, ${seconds} s ${notes}`.trimEnd())
      if (counted.failed > 0) console.log((failures.length > 0 ? failures.slice(0, 200) : tail).join('\n'))
      return counted.failed === 0
    }
  })
}

async function runPart(name) {
  const { jobs, steps } = parts[name]
  const queue = steps()
  if (queue.length === 0) {
    console.log(`FAILED ${name}: nothing to run; has it been compiled?`)
    total.failed++
  }
  // What the others need comes before them.
  while (queue[0]?.needed) {
    const step = queue.shift()
    if (await perform(step)) continue
    console.log(`FAILED ${name}: the rest of it, ${queue.length} files, can't run without ${step.name}`)
    total.failed++
    return
  }
  const worker = async () => {
    for (let step = queue.shift(); step !== undefined; step = queue.shift()) await perform(step)
  }
  await Promise.all(Array.from({ length: jobs }, worker))
}

const wanted = positionals.length > 0 ? positionals : Object.keys(parts)
for (const name of wanted) {
  if (!(name in parts)) {
    console.error(`no such part: ${name}; there are ${Object.keys(parts).join(', ')}`)
    process.exit(2)
  }
}
if (provide()) {
  for (const name of wanted) await runPart(name)
} else {
  total.failed++
}
console.log(`${total.passed} passed, ${total.failed} failed`)
process.exitCode = total.failed === 0 ? 0 : 1
