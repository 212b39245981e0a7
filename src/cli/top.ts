// SPDX-License-Identifier: MIT
/** `efuse top`: the load of a mount, or of all, as it is now, on the whole terminal, which is given back as it was. */
import { createElement } from 'react'
import { fuseMountAt } from './umount.js'
import { Failure } from './failure.js'
import { LoadSource } from './top-source.js'

/** Mounts that are watched at a time: those that are there, and some that may come. */
const SPARE_CONNECTIONS = 8
const ALTERNATE_SCREEN = '\x1b[?1049h\x1b[H'
/** Cleared before: terminals that were resized meanwhile have been seen to keep lines of it. */
const MAIN_SCREEN = '\x1b[2J\x1b[H\x1b[?1049l'
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export interface TopArguments {
  all: boolean
  /** Seconds. */
  interval: number
}

export async function top(path: string | undefined, { all, interval }: TopArguments): Promise<void> {
  const entry = path === undefined || all ? null : fuseMountAt(path)
  if (!process.stdin.isTTY || !process.stdout.isTTY) {
    throw new Failure('top needs a terminal: "efuse stat MOUNTPOINT --json" is for programs')
  }
  // In continuous integration Ink takes for granted that nobody looks, and draws nothing until the end.
  process.env.CI = 'false'
  const { render } = await import('ink')
  const { Top } = await import('./top-screen.js')
  const source = await LoadSource.open((entry === null ? LoadSource.mounts().length : 1) + SPARE_CONNECTIONS)
  let reason: string | null = null
  const app = { unmount: (): void => {} }
  const onSignal = (): void => app.unmount()
  for (const signal of SIGNALS) process.on(signal, onSignal)
  process.stdout.write(ALTERNATE_SCREEN)
  try {
    const { unmount, waitUntilExit } = render(createElement(Top, {
      source, entry, interval, unicode: isUnicode(), onEnd: (why) => { reason = why },
    }), { exitOnCtrlC: false, patchConsole: false })
    app.unmount = unmount
    await waitUntilExit()
  } finally {
    process.stdout.write(MAIN_SCREEN)
    source.close()
    for (const signal of SIGNALS) process.off(signal, onSignal)
  }
  if (reason !== null) process.stdout.write(`${reason as string}\n`)
}

/** Whether the locale is UTF-8's. locale(7) */
function isUnicode(): boolean {
  const { LC_ALL, LC_CTYPE, LANG, TERM } = process.env
  return TERM !== 'linux' && /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '')
}
