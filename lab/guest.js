// SPDX-License-Identifier: MIT
/**
 * One run of a guest under QEMU: boots, runs the job, brings back output, files and exit status, and judges what its
 * kernel said. QEMU emulates (TCG): KVM hangs inside many virtual machines. All channels to the guest are
 * socket pairs of this process, so nothing of a run is left when it is over, however it ends.
 */
import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { complaint } from './complaint.js'

/**
 * Seconds until start.sh has begun; a busy host may take several times what an idle one does (4 s, and 70 with the debug
 * kernel).
 */
const BOOT_SECONDS = 300

const COMMAND_LINE = [
  'console=ttyS0', 'loglevel=7', 'root=/dev/ram0', 'rdinit=/init',
  // A panic ends QEMU at once, as it runs with -no-reboot.
  'panic=-1', 'oops=panic',
  // Spares the guest the cost of what protects nobody here.
  'mitigations=off',
  // A kernel with LOCK_STAT keeps no statistics until a test asks for them: it would for every lock from its start on.
  'lockdep.lock_stat=0',
  // The emulated time-stamp counter is the host's, and by far the cheapest clock.
  'tsc=reliable',
  // A busy host may leave the guest without a CPU for a while: only what stands still for long is stuck.
  'watchdog_thresh=60', 'rcupdate.rcu_cpu_stall_timeout=120', 'sysctl.kernel.hung_task_timeout_secs=90',
]

/** It ends with this process, whatever ends that. */
const UNDER_US = ['--pdeathsig', 'KILL']

/**
 * All that QEMU has, but for five-level page tables, which only make page walks longer, and MWAIT, in which an idle CPU would take
 * its turn where there are several: QEMU halts none by it.
 */
const EVERYTHING = 'max,la57=off,monitor=off'

/**
 * What the kernel and Node need, and checks of who reads whose memory: wide registers are dear to emulate, a process starts
 * a fifth faster without.
 */
const LITTLE = 'Nehalem,+rdtscp,+invtsc,+smap,+smep'

/** In instruction-time, runs must be equal to the last instruction: so must addresses. */
const REPEATABLE = ['nokaslr', 'norandmaps']

/**
 * @typedef {object} Outcome
 * @property {number | null} status the job's exit status; null when the guest ended without telling it
 * @property {boolean} timedOut
 * @property {boolean} started whether the guest's start-up came as far as to run the job
 * @property {string} console all that the kernel said
 * @property {string | null} complaint what the kernel complained about, with some lines around it
 * @property {string} qemu what QEMU itself had to say
 */

/**
 * @param {object} settings
 * @param {string[]} settings.qemu the emulator's command
 * @param {string} settings.kernel bzImage
 * @param {string} settings.initramfs
 * @param {string[]} settings.disks images; none of them is changed
 * @param {number} settings.cpus
 * @param {number} settings.memory MiB
 * @param {boolean} settings.icount instruction-time: a nanosecond is an instruction, on one CPU
 * @param {number} settings.seconds after which the guest is ended
 * @param {string | null} settings.collect folder for the files that come back
 * @param {NodeJS.WritableStream} settings.output
 * @param {NodeJS.WritableStream} settings.errors
 * @returns {Promise<Outcome>}
 */
export async function boot(settings) {
  const { collect, output, errors } = settings
  const ports = ['output', 'errors', 'files', 'status']
  const first = 4
  const args = [
    ...machine(settings),
    '-chardev', 'socket,id=console,fd=3', '-serial', 'chardev:console',
    '-device', 'virtio-serial-pci',
    ...ports.flatMap((name, index) => [
      '-chardev', `socket,id=${name},fd=${first + index}`, '-device', `virtserialport,chardev=${name},name=${name}`,
    ]),
  ]
  const child = spawn('setpriv', [...UNDER_US, ...settings.qemu, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', ...Array(1 + ports.length).fill('pipe')],
    // What the guest writes to its disks while it runs.
    env: { ...process.env, TMPDIR: '/var/tmp' },
  })
  const [console_, outputPort, errorsPort, filesPort, statusPort] = child.stdio.slice(3)
  const text = { console: '', qemu: '', status: '' }
  const into = (stream, name) => stream.setEncoding('utf8').on('data', (part) => { text[name] += part })
  into(console_, 'console')
  into(child.stdout, 'qemu')
  into(child.stderr, 'qemu')
  into(statusPort, 'status')
  outputPort.pipe(output, { end: false })
  errorsPort.pipe(errors, { end: false })
  const unpacked = collect === null ? discard(filesPort) : unpack(filesPort, collect)
  for (const stream of child.stdio.slice(3)) stream.on('error', () => {}) // Reset when QEMU is killed.

  const kill = () => child.kill('SIGKILL')
  let timedOut = false
  const limit = setTimeout(() => { timedOut = true; kill() }, settings.seconds * 1000)
  // A guest that never starts its job is not worth the whole limit.
  const start = setTimeout(() => {
    if (!text.status.includes('start')) kill()
  }, Math.min(BOOT_SECONDS, settings.seconds) * 1000)
  // It powers off by itself; should that hang, the job's result stands all the same.
  statusPort.on('data', () => {
    if (/^exit \d+$/m.test(text.status)) setTimeout(kill, 5000).unref()
  })
  try {
    await new Promise((resolve, reject) => {
      child.on('error', reject)
      child.on('close', resolve)
    })
    await unpacked
  } finally {
    clearTimeout(limit)
    clearTimeout(start)
  }
  const status = /^exit (\d+)$/m.exec(text.status)?.[1]
  return {
    status: status === undefined ? null : Number(status),
    timedOut: timedOut && status === undefined,
    started: text.status.includes('start'),
    console: text.console,
    complaint: complaint(text.console),
    qemu: text.qemu,
  }
}

/** Boots with the guest's console on this terminal. */
export function bootInteractively(settings) {
  const args = [...machine(settings), '-serial', 'mon:stdio']
  return new Promise((resolve, reject) => {
    const env = { ...process.env, TMPDIR: '/var/tmp' }
    spawn('setpriv', [...UNDER_US, ...settings.qemu, ...args], { stdio: 'inherit', env }).on('error', reject).on('close', resolve)
  })
}

function machine({ kernel, initramfs, disks, cpus, memory, icount }) {
  const commandLine = [...COMMAND_LINE, ...icount ? REPEATABLE : []].join(' ')
  return [
    '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-machine', 'q35', '-m', String(memory),
    '-cpu', icount ? EVERYTHING : LITTLE,
    ...icount
      ? ['-accel', 'tcg,thread=single', '-icount', 'shift=0,sleep=off', '-rtc', 'base=utc,clock=vm']
      : ['-accel', 'tcg,thread=multi'],
    '-smp', String(cpus),
    '-kernel', kernel, '-initrd', initramfs, '-append', commandLine,
    '-object', 'rng-random,id=rng,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=rng',
    '-snapshot',
    ...disks.flatMap((file, index) => [
      '-drive', `file=${file.replaceAll(',', ',,')},format=raw,if=none,id=disk${index},cache=unsafe`,
      '-device', `virtio-blk-pci,drive=disk${index}`,
    ]),
  ]
}

async function discard(stream) {
  stream.resume()
}

/** Unpacks the guest's archive while it comes. The guest may never send one. */
function unpack(stream, folder) {
  mkdirSync(folder, { recursive: true })
  return new Promise((resolve, reject) => {
    let tar = null
    let said = ''
    stream.on('data', (part) => {
      if (tar === null) {
        tar = spawn('tar', ['-xf', '-', '--no-same-owner', '-C', folder], { stdio: ['pipe', 'ignore', 'pipe'] })
        tar.stderr.setEncoding('utf8').on('data', (text) => { said += text })
        tar.stdin.on('error', () => {}) // It may see the archive's end before we do.
        tar.on('error', reject)
        tar.on('close', (status) => status === 0 ? resolve() : reject(new Error(`the guest's files: ${said}`)))
      }
      if (!tar.stdin.write(part)) {
        stream.pause()
        tar.stdin.once('drain', () => stream.resume())
      }
    })
    stream.on('close', () => tar === null ? resolve() : tar.stdin.end())
  })
}
