// SPDX-License-Identifier: MIT
import t from 'tap'
import { Adaptive } from '../src/rings/adaptive.js'

/** Asks a thousand and more times. @returns how often it was done, and how often in vain */
function play(adaptive: Adaptive, times: number, goesWell: (time: number) => boolean): { done: number, inVain: number } {
  let done = 0
  let inVain = 0
  for (let time = 0; time < times; time++) {
    if (!adaptive.on) {
      adaptive.passed()
      continue
    }
    done++
    if (goesWell(time)) {
      adaptive.succeeded()
    } else {
      adaptive.failed()
      inVain++
    }
  }
  return { done, inVain }
}

t.test('what always pays is always done', async (t) => {
  t.equal(play(new Adaptive(true), 10_000, () => true).done, 10_000)
})

t.test('what is not possible is never done', async (t) => {
  t.equal(play(new Adaptive(false), 100_000, () => true).done, 0)
})

t.test('what never pays is hardly ever done', async (t) => {
  const { done } = play(new Adaptive(true), 100_000, () => false)
  t.ok(done <= 40, `${done} times`)
})

t.test('what fails now and then goes on, and half the time does not', async (t) => {
  t.ok(play(new Adaptive(true), 100_000, (time) => time % 20 !== 19).done > 95_000)
  const { inVain } = play(new Adaptive(true), 100_000, (time) => time % 2 === 0)
  t.ok(inVain < 1000, `${inVain} in vain`)
})

t.test('it is found out when it begins to pay', async (t) => {
  const adaptive = new Adaptive(true)
  play(adaptive, 100_000, () => false)
  const { done } = play(adaptive, 20_000, () => true)
  t.ok(done > 10_000, `${done} of 20,000`)
})
