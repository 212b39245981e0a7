// SPDX-License-Identifier: MIT
/**
 * What happens to mounts when their process ends: they are taken away, so that nobody is left
 * waiting in them. This covers process.exit(), uncaught errors and, where the program has no
 * handler of its own, SIGINT, SIGTERM and SIGHUP.
 */

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Each takes one mount away, at once and without throwing. */
const endings = new Set<() => void>()

function onExit(): void {
  for (const end of endings) end()
  endings.clear()
}

/** A program with a handler of its own decides itself; its `process.exit` brings us in. */
function onSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return
  onExit()
  uninstall()
  // Dies as it would have without us, for whoever looks at the exit status.
  process.kill(process.pid, signal)
}

function install(): void {
  process.on('exit', onExit)
  for (const signal of SIGNALS) process.on(signal, onSignal)
}

function uninstall(): void {
  process.off('exit', onExit)
  for (const signal of SIGNALS) process.off(signal, onSignal)
}

/** Calls `end` when the process ends. @returns a function that takes this back */
export function atExit(end: () => void): () => void {
  if (endings.size === 0) install()
  endings.add(end)
  return () => {
    if (endings.delete(end) && endings.size === 0) uninstall()
  }
}
