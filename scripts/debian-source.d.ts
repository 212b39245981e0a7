// SPDX-License-Identifier: MIT
/** Types of debian-source.js, for what is compiled. */

/** A folder below eFuse's own in the user's cache ($XDG_CACHE_HOME/efuse). */
export function cacheFolder(...names: string[]): string

/** The machine's own source of Debian's main archive: mirror, suites, and the keyring's path where it is named. */
export function machineSource(): { uri: string, suites: string[], signedBy?: string }

/** The packages of some of Debian's suites, fetched and verified by apt with a private configuration. */
export class DebianSuites {
  /**
   * Fetches the suites' lists.
   *
   * @param folder is made, and emptied first; `close` removes it
   * @param suites such as `sid`
   * @param type `deb-src` for source packages, `deb` for binary ones
   * @throws Error when the machine has no Debian sources, or apt fails
   */
  constructor(folder: string, suites: readonly string[], type: 'deb' | 'deb-src')

  /**
   * The newest version of a source package that the suites have.
   *
   * @param series such as `1.7.`: versions that start so are preferred to newer ones
   */
  newestSource(name: string, series?: string): string

  /** The newest version of a binary package that the suites have. */
  newestBinary(name: string): string

  /** Downloads a source package and unpacks its upstream part (Debian's patches left out) into `target`. */
  unpackSource(name: string, version: string, target: string): void

  /** Downloads a binary package and unpacks it, uninstalled, into `target`. */
  unpackBinary(name: string, version: string, target: string): void

  close(): void
}
