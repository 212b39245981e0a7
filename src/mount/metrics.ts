// SPDX-License-Identifier: MIT
/**
 * `--metrics`: what a mount has been asked, for Prometheus, at http://127.0.0.1:PORT/metrics.
 *
 * Served from the main thread, which has nothing else to do. Figures are read when they are asked for. Names follow
 * https://prometheus.io/docs/practices/naming/ : base units, `_total` for what only grows.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import type { Counter, Gauge, Metric, Registry } from 'prom-client'
import type { RingLoad } from '../bpf/balance.js'
import { TIMED_EVERY } from '../fs/counters.js'
import { BUCKET_BOUNDS } from '../fs/latency.js'
import type { KernelLoad, ServerLoad, Times } from './load.js'
import { MountError } from './mountpoint.js'
import type { MountReport } from './report.js'

export interface MetricsAddress {
  /** A name or an address; loopback unless said otherwise. */
  host: string
  /** 0: any that is free. */
  port: number
}

/** Where the figures come from. */
export interface MetricsSources {
  report(): MountReport
  server(): ServerLoad
  /** What the monitor in the kernel says; null where there is none. */
  kernel(): KernelLoad | null
}

const DEFAULT_HOST = '127.0.0.1'
const PATH = '/metrics'
/** Every fourth of our buckets begins at a power of two, which is as fine as Prometheus needs it: 1 us to 17 s. */
const BOUNDS = BUCKET_BOUNDS.map((_, bucket) => bucket).filter((bucket) => bucket % 4 === 0 && bucket >= 8 && bucket <= 104)

/** @param text `PORT`, `HOST:PORT` or `[ADDRESS]:PORT` @returns null when it is none of these */
export function parseMetricsAddress(text: string): MetricsAddress | null {
  const match = /^(?:(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):)?(\d{1,5})$/.exec(text)
  if (match === null || Number(match[3]) > 65535) return null
  return { host: match[1] ?? match[2] ?? DEFAULT_HOST, port: Number(match[3]) }
}

/** The endpoint of one mount. */
export class Metrics {
  private constructor(private readonly server: Server, host: string) {
    const { port } = server.address() as AddressInfo
    this.url = `http://${host.includes(':') ? `[${host}]` : host}:${port}${PATH}`
  }

  readonly url: string

  /** @throws MountError when nothing can listen there */
  static async open({ host, port }: MetricsAddress, sources: MetricsSources): Promise<Metrics> {
    const registry = await registryOf(sources)
    const server = createServer((request, response) => void answer(registry, request, response))
    server.listen(port, host)
    try {
      await once(server, 'listening')
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      throw new MountError(`--metrics can't listen on ${host} port ${port}: ${code}`, code)
    }
    return new Metrics(server, host)
  }

  close(): void {
    this.server.close()
    this.server.closeAllConnections()
  }
}

async function answer(registry: Registry, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? '/').split('?')[0]
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { Allow: 'GET, HEAD' }).end()
  } else if (path === PATH) {
    const text = await registry.metrics()
    response.writeHead(200, { 'Content-Type': registry.contentType }).end(request.method === 'HEAD' ? undefined : text)
  } else {
    response.writeHead(path === '/' ? 200 : 404, { 'Content-Type': 'text/plain' }).end(`see ${PATH}\n`)
  }
}

async function registryOf(sources: MetricsSources): Promise<Registry> {
  const { Counter, Gauge, Registry } = (await import('prom-client')).default
  const registry = new Registry()
  /** Of one answer: asked for by the first metric of a scrape, and forgotten when the scrape is over. */
  let scrape: { report: MountReport; server: ServerLoad; kernel: KernelLoad | null } | null = null
  const figures = () => {
    if (scrape === null) {
      scrape = { report: sources.report(), server: sources.server(), kernel: sources.kernel() }
      setImmediate(() => { scrape = null })
    }
    return scrape
  }
  type Figures = ReturnType<typeof figures>
  type Values = readonly (readonly [labels: Record<string, string | number>, value: number])[]
  const add = (kind: typeof Counter | typeof Gauge, name: string, help: string, labelNames: string[],
    values: (of: Figures) => Values): void => {
    new kind({
      name, help, labelNames, registers: [registry],
      collect(this: Counter | Gauge) {
        this.reset()
        for (const [labels, value] of values(figures())) this.inc(labels, value)
      },
    })
  }
  const counter = add.bind(null, Counter)
  const gauge = add.bind(null, Gauge)
  const perOperation = (of: Figures, field: 'count' | 'errors' | 'bytesIn' | 'bytesOut'): Values => {
    return Object.entries(of.report.operations).map(([operation, counts]) => [{ operation }, counts[field]])
  }

  gauge('efuse_mount_info', 'How the mount is served. observer: "kernel" when an eBPF monitor times requests as well.',
    ['mountpoint', 'source', 'type', 'rings', 'passthrough', 'accel', 'observer'], ({ report, kernel }) => {
      const { mountpoint, source, type, rings, passthrough, accel } = report
      return [[{ mountpoint, source, type, rings, passthrough, accel, observer: kernel === null ? 'server' : 'kernel' }, 1]]
    })
  counter('efuse_requests_total', 'Requests that the server answered or, where no answer is due, took.',
    ['operation'], (of) => perOperation(of, 'count'))
  counter('efuse_kernel_answers_total', 'Requests that programs in the kernel answered: the server never saw them.',
    ['operation'], ({ report }) => Object.entries(report.kernel.answered).map(([operation, { count }]) => [{ operation }, count]))
  counter('efuse_request_errors_total', 'Requests that the server answered with an error.',
    ['operation'], (of) => perOperation(of, 'errors'))
  counter('efuse_received_bytes_total', 'Data that came with requests.',
    ['operation'], (of) => perOperation(of, 'bytesIn'))
  counter('efuse_sent_bytes_total', 'Bytes of answers, without headers.',
    ['operation'], (of) => perOperation(of, 'bytesOut'))
  counter('efuse_worker_requests_total', 'Requests by worker.', ['worker', 'cpu', 'serves'],
    ({ server }) => server.workers.map(({ index, cpu, serves, requests }) => {
      return [{ worker: index, cpu: cpu < 0 ? 'any' : cpu, serves }, requests]
    }))
  const data = ({ report: { kernel } }: Figures, of: (counts: NonNullable<typeof kernel.data>) => Values): Values => {
    return kernel.data === null ? [] : of(kernel.data)
  }
  counter('efuse_data_requests_total', 'Reads and writes that the kernel answered, by the way they went.', ['path'],
    (of) => data(of, (one) => [[{ path: 'cache' }, one.cached], [{ path: 'direct' }, one.direct], [{ path: 'write' }, one.written]]))
  counter('efuse_data_bytes_total', 'Their bytes.', ['path'], (of) => data(of, (one) => [
    [{ path: 'cache' }, one.cached_bytes], [{ path: 'direct' }, one.direct_bytes], [{ path: 'write' }, one.written_bytes],
  ]))
  counter('efuse_data_blocks_total', 'Blocks that the cache was asked for.', ['found'],
    (of) => data(of, (one) => [[{ found: 'yes' }, one.hits], [{ found: 'no' }, one.misses]]))
  counter('efuse_data_decisions_total', 'Decisions of the scheduler that were of this kind.', ['kind'], (of) => data(of, (one) => [
    [{ kind: 'probe' }, one.probes], [{ kind: 'timed' }, one.timed],
    [{ kind: 'mispredicted' }, one.mispredicted], [{ kind: 'drifted' }, one.drifted],
  ]))
  gauge('efuse_data_memory_bytes', 'Kernel memory of the data accelerator.', [], (of) => data(of, (one) => [[{}, one.memory]]))
  const rings = ({ report: { kernel } }: Figures, value: (ring: RingLoad) => number): Values => {
    return (kernel.balance?.rings ?? []).map((ring, number) => [{ ring: number }, value(ring)])
  }
  counter('efuse_ring_requests_total', 'Requests that a ring was given.', ['ring'], (of) => rings(of, ({ given }) => given))
  counter('efuse_ring_foreign_requests_total', 'Those of them that came from other CPUs than its own.', ['ring'],
    (of) => rings(of, ({ guests }) => guests))
  gauge('efuse_ring_depth', 'Requests that wait in a ring or are with its server.', ['ring'], (of) => rings(of, ({ depth }) => depth))
  gauge('efuse_ring_service_seconds', 'What a request lately took in a ring.', ['ring'],
    (of) => rings(of, ({ serviceNs }) => serviceNs / 1e9))
  gauge('efuse_ring_wait_seconds', 'What a request lately waited in a ring for those before it.', ['ring'],
    (of) => rings(of, ({ waitNs }) => waitNs / 1e9))
  counter('efuse_balance_decisions_total', 'Choices of a ring, by what became of them.', ['kind'],
    ({ report: { kernel } }) => Object.entries(kernel.balance?.verdicts ?? {}).map(([kind, count]) => [{ kind }, count]))
  // Others than root and the user who mounted may not know.
  if (sources.report().kernel.waiting !== null) {
    gauge('efuse_requests_waiting', 'Requests that wait for the server or are with it.', [],
      ({ report: { kernel } }) => [[{}, kernel.waiting ?? 0]])
  }
  gauge('efuse_requests_pending', 'Requests whose answers the server awaits.', [], ({ server }) => [[{}, server.pending]])
  counter('efuse_forgotten_inodes_total', 'Inodes that the kernel has forgotten.', [],
    ({ server }) => [[{}, server.forgotten]])
  gauge('efuse_forget_backlog', 'Inodes whose forgetting had gathered in the kernel when it was last told.', [],
    ({ server }) => [[{}, server.forgetBacklog]])
  counter('process_cpu_seconds_total', 'CPU time of the server, user and system.', [], () => {
    const { user, system } = process.cpuUsage()
    return [[{}, (user + system) / 1e6]]
  })
  gauge('process_resident_memory_bytes', 'Memory of the server.', [], () => [[{}, process.memoryUsage.rss()]])
  gauge('process_start_time_seconds', 'When the server was started, seconds since 1970.', [],
    () => [[{}, Date.now() / 1000 - process.uptime()]])

  registry.registerMetric(new Histogram('efuse_service_seconds',
    `How long the server had requests in hand; one in ${TIMED_EVERY} is timed.`,
    () => Object.entries(figures().server.operations).map(([operation, { service }]) => [operation, service])) as unknown as Metric)
  if (sources.kernel() === null) return registry
  registry.registerMetric(new Histogram('efuse_request_seconds',
    'How long requests took, from when the kernel gave them to the server until their answer was there.',
    () => Object.entries(figures().kernel?.operations ?? {}).map(([operation, { times }]) => [operation, times]),
  ) as unknown as Metric)
  gauge('efuse_background_requests', 'Background requests in the kernel, as of when the last one ended.', [],
    ({ kernel }) => [[{}, kernel?.background ?? 0]])
  counter('efuse_requests_interrupted_total', 'Requests that a killed process took back before the server had them.', [],
    ({ kernel }) => [[{}, kernel?.interrupted ?? 0]])
  return registry
}

/** A histogram that was counted elsewhere: prom-client's own takes one observation at a time. */
class Histogram {
  readonly type = 'histogram'
  readonly aggregator = 'sum'

  constructor(
    readonly name: string,
    readonly help: string,
    private readonly times: () => readonly (readonly [operation: string, times: Times])[],
  ) {}

  reset(): void {}

  get(): object {
    const { name, help, type, aggregator } = this
    const values: { labels: Record<string, string | number>; metricName: string; value: number }[] = []
    for (const [operation, { timed, nanoseconds, buckets }] of this.times()) {
      if (timed === 0) continue
      let below = 0
      let next = 0
      for (const bound of BOUNDS) {
        while (next < bound) below += buckets[next++]
        values.push({ labels: { operation, le: BUCKET_BOUNDS[bound] / 1e9 }, metricName: `${name}_bucket`, value: below })
      }
      // The buckets may have been read before the sum: what a histogram says of itself must agree.
      while (next < buckets.length) below += buckets[next++]
      values.push({ labels: { operation, le: '+Inf' }, metricName: `${name}_bucket`, value: below })
      values.push({ labels: { operation }, metricName: `${name}_sum`, value: nanoseconds / 1e9 })
      values.push({ labels: { operation }, metricName: `${name}_count`, value: below })
    }
    return { name, help, type, aggregator, values }
  }
}
