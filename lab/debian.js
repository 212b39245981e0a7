// SPDX-License-Identifier: MIT
/**
 * Where Debian comes from on this machine: the mirror and the keys of its own sources, for other suites than its own.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

function list(directory) {
  return existsSync(directory) ? readdirSync(directory).sort().map((name) => join(directory, name)) : []
}

/** deb822 style: stanzas of fields. */
function stanzas(file) {
  return readFileSync(file, 'utf8').split(/\n\s*\n/).flatMap((stanza) => {
    const text = stanza.replace(/^#.*\n?/gm, '')
    const field = (name) => new RegExp(`^${name}:\\s*(.*)$`, 'mi').exec(text)?.[1].trim()
    const uri = field('URIs')?.split(/\s+/)[0]
    if (uri === undefined || !field('Types')?.includes('deb') || field('Enabled') === 'no') return []
    return [{ uri, suites: field('Suites')?.split(/\s+/) ?? [], signedBy: field('Signed-By') }]
  })
}

/** The older style: a line each. */
function lines(file) {
  return [...readFileSync(file, 'utf8').matchAll(/^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)/gm)]
    .map(([, options, uri, suite]) => ({ uri, suites: [suite], signedBy: /signed-by=(\S+)/.exec(options ?? '')?.[1] }))
}

/**
 * Lines of a sources.list for suites of Debian's main archive, by the machine's own mirror and keys.
 *
 * @param {string[]} suites such as `trixie-backports`
 */
export function sources(suites) {
  const files = ['/etc/apt/sources.list', ...list('/etc/apt/sources.list.d')].filter((file) => existsSync(file))
  const candidates = files.filter((file) => /\.(list|sources)$/.test(file))
    .flatMap((file) => file.endsWith('.sources') ? stanzas(file) : lines(file))
  const codename = /VERSION_CODENAME=(\w+)/.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
  // Security and backports archives may lie elsewhere; the main one has the plain suite.
  const found = candidates.find(({ suites }) => suites.includes(codename)) ?? candidates[0]
  if (found === undefined) throw new Error('this machine has no Debian sources')
  const options = found.signedBy?.startsWith('/') ? `[signed-by=${found.signedBy}] ` : ''
  return suites.map((suite) => `deb ${options}${found.uri} ${suite} main`)
}

/** The machine's own settings of apt that downloads depend on: proxies above all. */
export function downloadOptions() {
  return execFileSync('apt-config', ['dump'], { encoding: 'utf8' }).split('\n')
    .filter((line) => /^Acquire::https?::(Proxy|CAInfo|Verify)/i.test(line))
}
