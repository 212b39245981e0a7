// SPDX-License-Identifier: MIT
/** fio: runs a file of bench/jobs and reads what it printed. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { JobSettings } from './loads.js'
import type { Side, SideName } from './measured.js'
import { ROOT } from './variants.js'

/** Percentiles that are kept of each distribution; fio takes at most 20. */
const PERCENTILES = [1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99, 99.5, 99.9, 99.99]
const SLACK_MS = 120_000

interface FioDirection {
  total_ios: number
  iops: number
  bw_bytes: number
  lat_ns: { mean: number; stddev: number; percentile?: Record<string, number> }
}

interface FioJob {
  error: number
  read: FioDirection
  write: FioDirection
  /** Percent of the job's run time, which is milliseconds, of all jobs. */
  usr_cpu: number
  sys_cpu: number
  job_runtime: number
  ctx: number
}

export interface FioRun {
  sides: Partial<Record<SideName, Side>>
  operations: number
  cpuNs: number
  switches: number
}

/**
 * Runs a job to its end.
 * @param before words put before the command: taskset, perf
 * @throws Error with what fio said, when it fails or what it verified was wrong
 */
export function runFio(job: string, settings: JobSettings, before: readonly string[] = [], more: readonly string[] = []): FioRun {
  const folder = mkdtempSync(join(tmpdir(), 'efuse-fio-'))
  try {
    const output = join(folder, 'fio.json')
    const [program, ...args] = [...before, 'fio', '--output-format=json', `--output=${output}`, '--eta=never',
      '--lat_percentiles=1', '--clat_percentiles=0', `--percentile_list=${PERCENTILES.join(':')}`, ...more,
      join(ROOT, 'bench', 'jobs', `${job}.fio`)]
    try {
      execFileSync(program, args, {
        env: { ...process.env, ...settings }, cwd: folder, timeout: SLACK_MS, killSignal: 'SIGKILL',
        stdio: ['ignore', 'pipe', 'pipe'],
      })
    } catch (error) {
      const { stderr, message, signal } = error as Error & { stderr?: Buffer; signal?: string }
      const said = String(stderr ?? '').trim().split('\n').slice(0, 3).join(' | ')
      throw new Error(`fio ${job}: ${signal === 'SIGKILL' ? 'it hung' : said || message.split('\n')[0]}`)
    }
    return parseFio(readFileSync(output, 'utf8'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** @throws Error when a job of it failed */
export function parseFio(text: string): FioRun {
  // Warnings may stand before the object.
  const { jobs } = JSON.parse(text.slice(text.indexOf('{\n'))) as { jobs: FioJob[] }
  const [job] = jobs
  for (const { error } of jobs) if (error !== 0) throw new Error(`fio: error ${error}`)
  const sides: FioRun['sides'] = {}
  for (const name of ['read', 'write'] as const) {
    const { total_ios: count, iops, bw_bytes: bytes, lat_ns: latency } = job[name]
    if (count === 0) continue
    const distribution = Object.entries(latency.percentile ?? {})
      .map(([percent, ns]): [number, number] => [Number(percent), ns]).sort((a, b) => a[0] - b[0])
    const at = (percent: number): number => distribution.find(([one]) => one === percent)?.[1] ?? NaN
    sides[name] = {
      count, perSecond: iops, bytesPerSecond: bytes, p50Ns: at(50), p99Ns: at(99), p999Ns: at(99.9),
      meanNs: latency.mean, deviationNs: latency.stddev, distribution,
    }
  }
  return {
    sides,
    operations: job.read.total_ios + job.write.total_ios,
    cpuNs: (job.usr_cpu + job.sys_cpu) / 100 * job.job_runtime * 1e6,
    switches: job.ctx,
  }
}
