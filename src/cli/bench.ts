// SPDX-License-Identifier: MIT
/** `efuse bench`: measures eFuse, plain FUSE and ext4 on this machine, and writes a page about it. */
import { bench, WrongBenchUsage, type BenchOptions } from '../../bench/bench.js'
import { Failure, WrongUsage } from './failure.js'

export async function benchCommand(options: BenchOptions): Promise<void> {
  let status
  try {
    status = await bench(options)
  } catch (error) {
    const { message } = error as Error
    throw error instanceof WrongBenchUsage ? new WrongUsage(message) : new Failure(message)
  }
  // Servers that could not be ended must not keep us here.
  process.exit(status)
}
