#!/usr/bin/env node
// SPDX-License-Identifier: MIT
/**
 * Gets the newest `linux/fuse.h` that Debian has, for the layout checks, and prints its path.
 *
 * It is unpacked from linux-libc-dev of Debian's newest suites into a folder of its own, uninstalled. A copy that
 * is less than a week old is used again.
 *
 *   node scripts/fetch-uapi.js [--refresh]
 */
import { existsSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { cacheFolder, DebianSuites } from './debian-source.js'

// experimental has release candidates of kernels, and sid the newest release.
const SUITES = ['experimental', 'sid']
const PACKAGE = 'linux-libc-dev'
const MAX_AGE_MS = 7 * 24 * 3600 * 1000

const folder = cacheFolder('uapi')
const headers = join(folder, 'usr', 'include', 'linux')

function fetch() {
  const packages = new DebianSuites(cacheFolder('uapi-apt'), SUITES, 'deb')
  try {
    const fresh = `${folder}.${process.pid}`
    packages.unpackBinary(PACKAGE, packages.newestBinary(PACKAGE), fresh)
    rmSync(folder, { recursive: true, force: true })
    // The package's own folder has the package's age.
    utimesSync(fresh, new Date(), new Date())
    renameSync(fresh, folder)
  } finally {
    packages.close()
  }
}

const known = existsSync(headers) && Date.now() - statSync(folder).mtimeMs < MAX_AGE_MS
if (!known || process.argv.includes('--refresh')) fetch()
console.log(join(headers, 'fuse.h'))
