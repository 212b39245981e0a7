// SPDX-License-Identifier: MIT
/**
 * In the guest: locks that a request takes on its way to the server and back, and that other CPUs take, too.
 *
 * A process on each CPU makes requests, for files of its own, that only the server can answer. Meanwhile each lock taken by
 * whomever is counted, by its address and its CPU: kprobes on the kernel's lock functions, with hist triggers. A lock is
 * shared if two CPUs or more take it, on requests' way, for at least one in ten of their requests. No time is measured: emulated
 * CPUs contend otherwise than real ones, but they take the same locks.
 *
 * Where the kernel keeps statistics of its own (CONFIG_LOCK_STAT; it is started with lockdep.lock_stat=0) these are used in
 * place of probes: of each class of locks, how often one was taken that another CPU had before (Documentation/locking/lockstat.rst).
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { moduleFree, sh } from './hooks-support.js'

t.setTimeout(0)

/** Everything, in place of what CI has time for. */
const full = process.argv.includes('--share=full')
const TRACING = '/sys/kernel/tracing'
const SOURCE = '/tmp/locks-source'
/** Two mounts of it. */
const OVER_RINGS = '/tmp/locks-rings'
const OVER_DEVICE = '/tmp/locks-device'
const FUNCTIONS = [
  '_raw_spin_lock', '_raw_spin_lock_irq', '_raw_spin_lock_irqsave', '_raw_spin_lock_bh', '_raw_read_lock', '_raw_write_lock',
  'mutex_lock', 'down_read', 'down_write',
]
const cpus = Number((await sh('getconf _NPROCESSORS_CONF')).output)

/** What each CPU's process does with a file of its own: in each round so many requests. */
interface Load { program: string; rounds: number; requests: number }

/** Requests that somebody waits for. */
const SYNCHRONOUS: Load = {
  program: `
import os, sys
path, rounds = sys.argv[1], int(sys.argv[2])
for i in range(rounds):
    os.statvfs(path)
    os.readlink(path + '.link')
    try: os.getxattr(path, 'user.none')
    except OSError: pass
`,
  rounds: full ? 100 : 30,
  requests: 3,
}

/** Requests that nobody waits for one by one: read-ahead. */
const BACKGROUND: Load = {
  program: `
import os, sys
path, rounds = sys.argv[1], int(sys.argv[2])
file = os.open(path, os.O_RDONLY)
for i in range(rounds):
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.pread(file, 1, 0)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
    while os.read(file, 65536): pass
    os.lseek(file, 0, os.SEEK_SET)
`,
  rounds: full ? 30 : 15,
  requests: 4,
}
const BYTES = 4 * 131072

const parameter = '/sys/module/efuse/parameters/enable_uring'
const before = readFileSync(parameter, 'ascii')
writeFileSync(parameter, '1')
t.teardown(() => writeFileSync(parameter, before))
await sh(`mkdir ${SOURCE} ${OVER_RINGS} ${OVER_DEVICE}; cd ${SOURCE}; for cpu in $(seq 0 ${cpus - 1}); do
  mkdir $cpu; head -c ${BYTES} /dev/urandom > $cpu/file; ln -s file $cpu/file.link; done`)
await sh(`mountpoint -q ${TRACING} || mount -t tracefs tracefs ${TRACING}`)

const eventFile = (function_: string, file: string): string => `${TRACING}/events/efuse/lock_${function_}/${file}`

async function mounted(at: string, ...options: string[]): Promise<void> {
  const { ok, errors } = await sh('node efuse.js mount "$@"', SOURCE, at, '--type', 'efuse', '--passthrough', 'off', ...options)
  if (!ok) t.bailout(errors)
  t.teardown(() => sh(`umount -l ${at}`))
}

// From then on each lock that anybody takes costs: the mounts are made before.
await mounted(OVER_RINGS, '--rings', 'uring', '--accel', 'balance')
if (full) await mounted(OVER_DEVICE, '--rings', 'dev')

/** Of a class of locks: how often they were taken, and how often by another CPU than before. */
interface Class { name: string; bounces: number; taken: number }

const STATISTICS = '/proc/lock_stat'
const kept = existsSync(STATISTICS)

/** Classes of fs/fuse and io_uring, by the names that lockdep gives them. */
const OURS = /^&(fiq->|fpq->|fch->|fc->|fi->|queue->|ring->|req->|ctx->|tctx->)/

/** What the kernel's statistics say of classes on requests' way, in a window as short as the load. */
async function statistics(load: () => Promise<void>): Promise<Class[]> {
  writeFileSync(STATISTICS, '0')
  writeFileSync('/proc/sys/kernel/lock_stat', '1')
  await load()
  writeFileSync('/proc/sys/kernel/lock_stat', '0')
  // class name: con-bounces contentions waittime-min -max -total -avg acq-bounces acquisitions ...
  const line = /^\s*(\S.*?):((?:\s+[\d.]+){8})/gm
  return [...readFileSync(STATISTICS, 'latin1').matchAll(line)].map(([, name, numbers]) => {
    const [bounces, taken] = numbers.trim().split(/\s+/).slice(6).map(Number)
    return { name, bounces, taken }
  }).filter(({ name }) => OURS.test(name))
}

// They stay until the guest ends: taking a probe from the very function that the kernel locks with while it does so ends it.
if (!kept) {
  writeFileSync(`${TRACING}/kprobe_events`, FUNCTIONS.map((name) => `p:efuse/lock_${name} ${name} lock=%di:x64`).join('\n'))
}
const TAKINGS = 'hist:keys=lock.hex,common_cpu,common_stacktrace:size=32768'

/** Added, as a file of triggers that is opened anew has none. */
function counting(how: 'pause' | 'clear' | 'continue'): void {
  for (const name of FUNCTIONS) appendFileSync(eventFile(name, 'trigger'), `${TAKINGS}:${how}`)
}
if (!kept) counting('pause')

interface Lock {
  /** How often each CPU has taken it. */
  counts: number[]
  /** Functions and their callers, with how often. */
  takers: Map<string, number>
}

/**
 * On a request's way: in fs/fuse, or in the ring that its worker waits at; but not what an interrupt does meanwhile, or RCU,
 * when one of its readers has been preempted.
 */
const onTheWay = (frames: readonly string[]): boolean =>
  frames.some((name) => /^(e?fuse|__?io|io)_/.test(name)) && !frames.some((name) => /sysvec|softirq|^rcu_/.test(name))

/** The locks that were taken on requests' way. */
function takings(): Lock[] {
  const locks = new Map<string, Lock>()
  for (const name of FUNCTIONS) {
    const text = readFileSync(eventFile(name, 'hist'), 'latin1')
    if (!/Dropped: 0\s*$/.test(text)) throw new Error(`${name}: more of them than there is room for`)
    const entry = /\{ lock: +([0-9a-f]+), common_cpu: +(\d+), common_stacktrace:\n([^}]*)\} hitcount: +(\d+)/g
    for (const [, address, cpu, trace, count] of text.matchAll(entry)) {
      const frames = trace.split('\n').map((line) => line.trim().replace(/\+0x.*/, ''))
      if (!onTheWay(frames)) continue
      if (!locks.has(address)) locks.set(address, { counts: Array.from({ length: cpus }, () => 0), takers: new Map() })
      const { counts, takers } = locks.get(address)!
      counts[Number(cpu)] += Number(count)
      // Above the function itself are the probe's own.
      const stack = frames.slice(frames.indexOf(name), frames.indexOf(name) + 6).join(' < ')
      takers.set(stack, (takers.get(stack) ?? 0) + Number(count))
    }
  }
  return [...locks.values()]
}

const SHARE = 10

async function everywhere(t: Test, at: string, program: string, rounds: number): Promise<void> {
  const run = (cpu: number) => sh(`taskset -c ${cpu} python3 -c "$1" ${at}/${cpu}/file ${rounds}`, program)
  for (const { ok, errors } of await Promise.all(Array.from({ length: cpus }, (_, cpu) => run(cpu)))) t.ok(ok, errors)
}

/** Locks that at least two CPUs take for one in ten of their requests. */
async function shared(t: Test, at: string, what: string, { program, rounds, requests }: Load): Promise<Lock[]> {
  await everywhere(t, at, program, 2)
  counting('clear')
  counting('continue')
  await everywhere(t, at, program, rounds)
  counting('pause')
  const locks = takings()
  const found = locks.filter(({ counts }) => counts.filter((count) => count >= rounds * requests / SHARE).length > 1)
  t.comment(`${what}: ${locks.length} locks, ${found.length} of them shared; ${rounds * requests} requests on each CPU, and some`)
  return found
}

/** Who takes them, with how often. */
function tell(t: Test, locks: readonly Lock[]): void {
  const all = new Map<string, number>()
  for (const [taker, count] of locks.flatMap(({ takers }) => [...takers])) all.set(taker, (all.get(taker) ?? 0) + count)
  for (const [taker, count] of [...all].sort((a, b) => b[1] - a[1]).slice(0, 20)) t.comment(`  ${count} x ${taker}`)
}

const takenBy = (name: string) => ({ takers }: Lock): boolean => [...takers.keys()].some((stack) => stack.includes(` < ${name} < `))

await t.test('as the kernel counts', { skip: !kept && 'it keeps no statistics of locks' }, async (t) => {
  const { program, rounds, requests } = SYNCHRONOUS
  const bounced = async (at: string): Promise<Class[]> => {
    await everywhere(t, at, program, 2)
    const classes = await statistics(() => everywhere(t, at, program, rounds))
    for (const { name, bounces, taken } of classes) t.comment(`  ${name}: ${taken} takings, ${bounces} of them another CPU's before`)
    return classes.filter(({ bounces }) => bounces >= cpus * rounds * requests / SHARE)
  }
  t.strictSame(await bounced(OVER_RINGS), [], 'over rings no lock goes from CPU to CPU')
  if (full) t.ok((await bounced(OVER_DEVICE)).length > 0, 'without rings some do')
})

await t.test('rings', { skip: kept && 'the kernel counts' }, async (t) => {
  const locks = await shared(t, OVER_RINGS, 'synchronous', SYNCHRONOUS)
  tell(t, locks)
  // Arguments lie on the caller's stack, which is vmalloc'ed: hardened usercopy looks their area up, in one of a few trees.
  const ours = locks.filter(({ takers }) => ![...takers.keys()].every((stack) => /find_vmap_area < __check_object_size/.test(stack)))
  t.strictSame(ours, [], 'no lock that another CPU takes')
  // A request has a lock of its own, at an address that other requests had before; it is taken for each page that is copied.
  const background = (await shared(t, OVER_RINGS, 'background', BACKGROUND))
    .filter((lock) => !takenBy('fuse_copy_fill')(lock) && !takenBy('fuse_request_end')(lock))
  tell(t, background)
  t.ok(background.some((lock) => takenBy('fuse_uring_req_end')(lock) && takenBy('fuse_uring_queue_bq_req')(lock)),
    'background requests share the count of them, and rings that are not their own')
})

await t.test('without rings', { skip: kept ? 'the kernel counts' : !full && 'in the full share' }, async (t) => {
  const locks = await shared(t, OVER_DEVICE, 'synchronous', SYNCHRONOUS)
  tell(t, locks)
  t.ok(locks.length > 0, 'here there are such: they are found')
})

await t.test('the module is free then', async (t) => {
  for (const at of full ? [OVER_RINGS, OVER_DEVICE] : [OVER_RINGS]) t.ok((await sh('umount "$1"', at)).ok)
  t.ok(await moduleFree())
})
