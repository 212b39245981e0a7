// SPDX-License-Identifier: MIT
/**
 * In the guest, a process of its own: `hooks-owner.js OBJECT TOKEN` attaches a program of bpf/test/ and keeps it until it is
 * killed. Says "attached", or the error's code.
 */
import { attach } from './hooks-support.js'

const [name, token] = process.argv.slice(2)
try {
  await attach(name, BigInt(token))
  console.log('attached')
  setInterval(() => {}, 1 << 30)
} catch (error) {
  console.log((error as NodeJS.ErrnoException).code ?? String(error))
}
