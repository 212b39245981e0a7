// SPDX-License-Identifier: MIT
/** A terminal that tests can type into and look at: a shell in tmux, with a server of its own. */
import { execFileSync } from 'node:child_process'
import type { Test } from 'tap'
import { until } from './support.js'

export class Terminal {
  private static count = 0
  private readonly socket = `efuse-test-${process.pid}-${Terminal.count++}`

  constructor(t: Test, columns = 80, rows = 24) {
    this.tmux('new-session', '-d', '-x', String(columns), '-y', String(rows), 'env', 'LANG=C.UTF-8', 'PS1=$ ', 'sh')
    t.teardown(() => { this.tmux('kill-server') })
  }

  private tmux(...args: string[]): string {
    // Not the user's own configuration.
    return execFileSync('tmux', ['-f', '/dev/null', '-L', this.socket, ...args], { encoding: 'utf8', timeout: 60_000 })
  }

  /** Types text and Enter. */
  type(text: string): void {
    this.tmux('send-keys', '-l', text)
    this.tmux('send-keys', 'Enter')
  }

  /** Presses keys, by tmux's names. */
  press(...keys: string[]): void {
    this.tmux('send-keys', ...keys)
  }

  resize(columns: number, rows: number): void {
    this.tmux('resize-window', '-x', String(columns), '-y', String(rows))
  }

  /** What is on the screen. */
  get screen(): string {
    return this.tmux('capture-pane', '-p')
  }

  get lines(): string[] {
    return this.screen.replace(/\n$/, '').split('\n')
  }

  /** Whether the screen is the one that full-screen programs use, and whether the cursor shows. */
  get state(): { alternate: boolean; cursor: boolean } {
    const [alternate, cursor] = this.tmux('display-message', '-p', '#{alternate_on} #{cursor_flag}').trim().split(' ')
    return { alternate: alternate === '1', cursor: cursor === '1' }
  }

  /** Waits until the screen looks so. @returns it */
  async shows(what: RegExp | ((screen: string) => boolean)): Promise<string> {
    let screen = ''
    await until(() => {
      screen = this.screen
      return what instanceof RegExp ? what.test(screen) : what(screen)
    }, 100)
    return screen
  }
}
