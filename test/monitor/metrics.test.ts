// SPDX-License-Identifier: MIT
/** `--metrics`: what Prometheus would read, by the parser of its own Python client. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmdirSync, statSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { parseMetricsAddress } from '../../src/mount/metrics.js'
import { procMounts, skip } from '../mount/support.js'
import { efuse, mountStackFs, ordinaryUser, place, ROOT, run, runClient, UNCACHED } from './support.js'

t.setTimeout(120_000)

interface Family {
  type: string
  help: string
  samples: { name: string; labels: Record<string, string>; value: number }[]
}

/** By the prometheus_client of the distribution's Python, which fails for what is no valid exposition. */
function parse(text: string): Map<string, Family> {
  const program = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families
print(json.dumps([[f.name, { 'type': f.type, 'help': f.documentation,
  'samples': [{ 'name': s.name, 'labels': s.labels, 'value': s.value } for s in f.samples] }]
  for f in text_string_to_metric_families(sys.stdin.read())]))`
  return new Map(JSON.parse(execFileSync('/usr/bin/python3', ['-c', program], { input: text, encoding: 'utf8' })) as [string, Family][])
}

interface Response { status: number; type: string; text: string }

function get(url: string, method = 'GET'): Promise<Response> {
  return new Promise((resolve, reject) => {
    request(url, { method }, async (response) => {
      let text = ''
      for await (const part of response) text += String(part)
      resolve({ status: response.statusCode!, type: response.headers['content-type'] ?? '', text })
    }).on('error', reject).end()
  })
}

async function urlOf(mountpoint: string): Promise<string> {
  return (JSON.parse((await efuse('stat', mountpoint, '--json')).stdout) as { metrics: string }).metrics
}

function valueOf(family: Family | undefined, labels: Record<string, string> = {}): number | undefined {
  return family?.samples.find((sample) => {
    return Object.entries(labels).every(([name, value]) => sample.labels[name] === value)
  })?.value
}

t.test('an address is a port, or a host and a port', async (t) => {
  t.strictSame(parseMetricsAddress('9100'), { host: '127.0.0.1', port: 9100 })
  t.strictSame(parseMetricsAddress('0.0.0.0:0'), { host: '0.0.0.0', port: 0 })
  t.strictSame(parseMetricsAddress('[::1]:9100'), { host: '::1', port: 9100 })
  for (const wrong of ['', 'x', '65536', ':1', 'a b:1', '::1:1', '-1', '1:2:3']) t.equal(parseMetricsAddress(wrong), null, wrong)
})

t.test('metrics are valid, and say what was asked', { skip }, async (t) => {
  const at = await mountStackFs(t, '--metrics', '0', '--passthrough', 'off')
  const url = await urlOf(at.mountpoint)
  t.match(url, /^http:\/\/127\.0\.0\.1:\d+\/metrics$/)
  await runClient(at.mountpoint, `
    for (let i = 0; i < 130; i++) fs.mkdirSync(at + '/d' + i)
    for (let i = 0; i < 3; i++) try { fs.rmdirSync(at + '/absent') } catch {}
    fs.writeFileSync(at + '/f', Buffer.alloc(10000))`)
  const { status, type, text } = await get(url)
  t.equal(status, 200)
  t.match(type, /^text\/plain; version=0\.0\.4/)
  const metrics = parse(text)

  for (const [name, { type, help, samples }] of metrics) {
    t.not(help, '', `${name} has a help text`)
    t.match(name, /^(efuse|process)_[a-z_]+$/)
    if (type === 'counter') t.ok(samples.every((sample) => sample.name.endsWith('_total')), name)
    if (name !== 'efuse_mount_info') t.notMatch(name, /_(ms|ns|us|milliseconds)$/, 'base units')
  }
  t.match(metrics.get('efuse_mount_info'), {
    type: 'gauge', samples: [{ value: 1, labels: { mountpoint: at.mountpoint, source: at.source, type: 'fuse', observer: 'kernel' } }],
  })
  const requests = metrics.get('efuse_requests')
  t.equal(requests?.type, 'counter')
  t.equal(valueOf(requests, { operation: 'FUSE_MKDIR' }), 130)
  t.equal(valueOf(metrics.get('efuse_request_errors'), { operation: 'FUSE_LOOKUP' })! >= 3, true)
  t.equal(valueOf(metrics.get('efuse_received_bytes'), { operation: 'FUSE_WRITE' }), 10_000)
  t.ok(metrics.get('efuse_worker_requests')!.samples.length >= 1)
  t.equal(metrics.get('efuse_worker_requests')!.samples.reduce((sum, { value }) => sum + value, 0),
    requests!.samples.reduce((sum, { value }) => sum + value, 0), 'workers have done it all')
  t.type(valueOf(metrics.get('efuse_requests_waiting')), 'number')

  for (const name of ['efuse_service_seconds', 'efuse_request_seconds']) {
    const family = metrics.get(name)
    t.equal(family?.type, 'histogram')
    const of = (part: string) => family!.samples.filter((sample) => {
      return sample.name === `${name}_${part}` && sample.labels.operation === 'FUSE_MKDIR'
    })
    const buckets = of('bucket')
    t.ok(buckets.every(({ value }, i) => i === 0 || value >= buckets[i - 1].value), 'buckets add up')
    t.equal(buckets.at(-1)!.labels.le, '+Inf')
    t.equal(buckets.at(-1)!.value, of('count')[0].value)
    const bounds = buckets.slice(0, -1).map(({ labels }) => Number(labels.le))
    t.strictSame(bounds, [...bounds].sort((a, b) => a - b))
    const mean = of('sum')[0].value / of('count')[0].value
    t.ok(mean > 1e-6 && mean < 1, `a MKDIR takes ${mean} s`)
  }
  t.equal(metrics.get('efuse_request_seconds')!.samples.find(({ name, labels }) => {
    return name.endsWith('_count') && labels.operation === 'FUSE_MKDIR'
  })!.value, 130, 'the kernel timed each of them')

  const again = parse((await get(url)).text)
  t.equal(valueOf(again.get('efuse_requests'), { operation: 'FUSE_MKDIR' }), 130, 'reading changes nothing')
  mkdirSync(join(at.mountpoint, 'more'))
  rmdirSync(join(at.mountpoint, 'more'))
  t.equal(valueOf(parse((await get(url)).text).get('efuse_requests'), { operation: 'FUSE_MKDIR' }), 131)
})

t.test('nothing else is served, to nobody else, and no longer than the mount', { skip }, async (t) => {
  const at = await mountStackFs(t, '--metrics', '0')
  const url = await urlOf(at.mountpoint)
  const { port, origin } = new URL(url)
  t.match(await get(`${origin}/`), { status: 200, text: /\/metrics/ })
  t.match(await get(`${origin}/etc/passwd`), { status: 404 })
  t.match(await get(url, 'POST'), { status: 405 })
  t.match(await get(url, 'HEAD'), { status: 200, text: '' })
  const listening = readFileSync('/proc/net/tcp', 'ascii').split('\n').map((line) => line.trim().split(/ +/))
    .filter(([, local, , state]) => state === '0A' && local.endsWith(`:${Number(port).toString(16).toUpperCase().padStart(4, '0')}`))
  t.strictSame(listening.map(([, local]) => local.split(':')[0]), ['0100007F'], 'loopback only')
  t.match((await efuse('stat', at.mountpoint)).stdout, url)

  const second = place(t)
  const refused = await efuse('mount', second.source, second.mountpoint, '--metrics', port)
  t.equal(refused.status, 1)
  t.match(refused.stderr, /^efuse: --metrics can't listen on 127\.0\.0\.1 port \d+: EADDRINUSE\n$/)
  t.equal(procMounts(second.mountpoint), null)
  t.match(await efuse('mount', second.source, second.mountpoint, '--metrics', 'here'), { status: 2 })
  t.equal((await efuse('mount', second.source, second.mountpoint, '-o', 'metrics=0')).status, 0, 'fstab can ask for it, too')
  t.match(await urlOf(second.mountpoint), /^http:/)

  t.strictSame(await efuse('umount', at.mountpoint), { status: 0, stdout: '', stderr: '' })
  await t.rejects(get(url), { code: 'ECONNREFUSED' })
})

t.test('without eBPF there is the server\'s own account, and it says so', { skip }, async (t) => {
  const at = place(t)
  const [setpriv, ...user] = ordinaryUser(t, at)
  const asUser = (...args: string[]) => run(setpriv, [...user, ...args])
  const cli = [process.execPath, join(ROOT, 'efuse.js')]
  t.strictSame(await asUser(...cli, 'mount', at.source, at.mountpoint, '-o', UNCACHED, '--metrics', '0'),
    { status: 0, stdout: '', stderr: '' })
  t.equal((await asUser('mkdir', join(at.mountpoint, 'd'))).status, 0)
  const { stdout } = await asUser(...cli, 'stat', at.mountpoint, '--json')
  const metrics = parse((await get((JSON.parse(stdout) as { metrics: string }).metrics)).text)
  t.equal(metrics.get('efuse_mount_info')!.samples[0].labels.observer, 'server')
  t.equal(valueOf(metrics.get('efuse_requests'), { operation: 'FUSE_MKDIR' }), 1)
  t.notOk(metrics.has('efuse_request_seconds'))
  t.equal((await asUser(...cli, 'umount', at.mountpoint)).status, 0)
  t.ok(statSync(join(at.source, 'd')).isDirectory())
})
