// SPDX-License-Identifier: MIT
/** What the lab takes for a complaint of the guest's kernel, and what it does not. */
import t from 'tap'

// Plain JavaScript, which is not compiled to where this is.
const { complaint } = await import(new URL('../../../lab/complaint.js', import.meta.url).href) as
  typeof import('../../lab/complaint.js')

const CLEAN = `
[    0.000000] Linux version 7.3.4 (debian-kernel@lists.debian.org)
[    0.120000] Warning: unable to open an initial console.
[    1.300000] RAS: Correctable Errors collector initialized.
[   10.138328] efuse: loading out-of-tree module taints kernel.
[   10.138626] efuse: module verification failed: signature and/or required key missing - tainting kernel
[   10.300000] rcu: Hierarchical RCU implementation.
[   10.318268] efuse: init (API version 7.46)
[   11.000000] kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)
`

t.test('an ordinary log is clean', async (t) => {
  t.equal(complaint(CLEAN), null)
  t.equal(complaint(''), null)
})

t.test('what the kernel prints when something is wrong', async (t) => {
  for (const line of [
    'Kernel panic - not syncing: Fatal exception',
    'BUG: kernel NULL pointer dereference, address: 0000000000000000',
    'kernel BUG at fs/fuse/dev.c:300!',
    'Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP',
    'WARNING: CPU: 1 PID: 233 at fs/fuse/dev.c:300 fuse_request_end+0x12/0x30 [efuse]',
    'WARNING: fs/efuse/dev.c:300 at fuse_request_end+0x12/0x30 [efuse], CPU#1: cat/233',
    'INFO: task cat:233 blocked for more than 90 seconds.',
    'rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:',
    'watchdog: BUG: soft lockup - CPU#1 stuck for 134s! [node:200]',
    'WARNING: possible circular locking dependency detected',
    'WARNING: possible recursive locking detected',
    'WARNING: suspicious RCU usage',
    'WARNING: inconsistent lock state',
    'BUG: KASAN: slab-use-after-free in fuse_dev_do_read+0x100/0x200 [efuse]',
    'BUG: sleeping function called from invalid context at mm/slab.h:300',
    'kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)',
    'UBSAN: array-index-out-of-bounds in fs/efuse/dir.c:20:3',
    'refcount_t: underflow; use-after-free.',
    'VFS: Busy inodes after unmount of 0:42 (efuse)',
    'Slab cache still has objects',
  ]) {
    const found = complaint(`${CLEAN}[   12.000000] ${line}\n[   12.000001] the next line\n`)
    t.match(found, line, line)
    t.match(found, 'the next line', 'with what follows')
  }
  t.match(complaint('unreferenced object 0xffff888004c3f000 (size 512):\n  comm "mount", pid 100\n'), 'comm "mount"')
})

t.test('what is known of the kernel itself is none, and hides no other', async (t) => {
  const first = '[  439.962384] WARNING: kernel/time/hrtimer.c:1098 at hrtimer_forward+0x7b/0xc0, CPU#6: node/236\n'
  const trace = '[  444.311227]  <IRQ>\n[  444.311805]  dl_task_timer+0x35b/0x8b0\n'
  const other = '[  450.000000] BUG: KASAN: slab-use-after-free in fuse_dev_do_read+0x100/0x200 [efuse]\n'
  t.equal(complaint(CLEAN + first + trace), null)
  t.match(complaint(CLEAN + first), 'hrtimer_forward', 'the same from elsewhere')
  t.match(complaint(CLEAN + first + trace + other), 'KASAN')
})
