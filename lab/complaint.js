// SPDX-License-Identifier: MIT
/**
 * What in a kernel's messages means that something is wrong with the kernel or a module: the run has failed,
 * whatever its programs say. The texts are those that the kernel's own code prints (lib/bug.c, kernel/panic.c,
 * kernel/hung_task.c, kernel/rcu/tree_stall.h, kernel/locking/lockdep.c, mm/kasan/report.c, mm/kmemleak.c, ...).
 */
const complaints = [
  /Kernel panic - not syncing/,
  /\bBUG: /,
  /kernel BUG at /,
  /\bOops: /,
  /\bWARNING: (CPU: \d+ PID: \d+|[^ ]+:\d+ at )/,
  /general protection fault/i,
  /Unable to handle kernel/,
  /unable to handle page fault/,
  /INFO: task .* blocked for more than/,
  /INFO: rcu_\w+ (self-)?detected (expedited )?stalls?/,
  /rcu: .* stall/i,
  /watchdog: BUG: soft lockup/,
  /WARNING: (possible|inconsistent|bad|suspicious|held|lock|Nested)/,
  /INFO: (possible|trying to register|suspicious|lockdep)/,
  /DEBUG_LOCKS_WARN_ON/,
  /kmemleak: [1-9]\d* new suspected memory leaks/,
  /^unreferenced object 0x/,
  /UBSAN: /,
  /refcount_t: /,
  /list_(add|del) corruption/,
  /VFS: Busy inodes after unmount/,
  /Objects remaining (in|on) /,
  /Slab cache still has objects|kmem_cache_destroy .*objects/,
  /[Dd]ouble (free|fault)/,
  /scheduling while atomic/,
  /sleeping function called from invalid context/,
  /module .*: .*\b(taints|tainting) kernel: .*(oops|warn)/i,
  /Out of memory: Killed/,
  /EXT4-fs error/,
]

/**
 * What is the kernel's own and has nothing to do with efuse.ko: the first line, and another that must follow it.
 * - The scheduler's fair server has its timer moved on that is already running again, on a machine whose CPUs are taken away
 *   for long (seen once: a guest of 8 CPUs with three others on 2): dl_task_timer() in kernel/sched/deadline.c, in an interrupt.
 */
const known = [
  [/\bWARNING: kernel\/time\/hrtimer\.c:\d+ at hrtimer_forward\+/, /\] {2}dl_task_timer\+/],
]
const TRACE = 30

const BEFORE = 2
const AFTER = 40

/**
 * The first complaint in a console's text, with lines around it; null when there is none.
 *
 * @param {string} text
 */
export function complaint(text) {
  const lines = text.split(/\r?\n/)
  const isKnown = (/** @type {number} */ at) => known.some(([first, follows]) =>
    first.test(lines[at]) && lines.slice(at, at + TRACE).some((line) => follows.test(line)))
  const at = lines.findIndex((line, index) => complaints.some((pattern) => pattern.test(line)) && !isKnown(index))
  if (at < 0) return null
  return lines.slice(Math.max(0, at - BEFORE), at + AFTER).join('\n').trimEnd()
}
