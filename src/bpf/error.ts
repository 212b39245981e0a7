// SPDX-License-Identifier: MIT
/** What goes wrong with BPF: the kernel's errno or libbpf's, and what both have said about it. */
import { constants } from 'node:os'

const NAMES = new Map(Object.entries(constants.errno).map(([name, errno]) => [errno as number, name]))
// Kernel-internal numbers that bpf(2) lets out, and aliases that os.constants spells otherwise.
NAMES.set(524, 'ENOTSUPP')
NAMES.set(11, 'EAGAIN')
NAMES.set(95, 'EOPNOTSUPP')

/** libbpf's own errors, from 4000 on, in the order of its `enum libbpf_errno`. */
const LIBBPF_ERRORS = ['LIBELF', 'FORMAT', 'KVERSION', 'ENDIAN', 'INTERNAL', 'RELOC', 'LOAD', 'VERIFY', 'PROG2BIG',
  'KVER', 'PROGTYPE', 'WRNGPID', 'INVSEQ', 'NLPARSE']
const LIBBPF_FIRST = 4000

export function errorName(errno: number): string {
  const own = LIBBPF_ERRORS[errno - LIBBPF_FIRST]
  return own !== undefined ? `LIBBPF_ERRNO__${own}` : NAMES.get(errno) ?? `E${errno}`
}

/** A failed BPF call. */
export class BpfError extends Error {
  /** The errno's name, such as `EPERM`; `LIBBPF_ERRNO__FORMAT` and the like are libbpf's own. */
  readonly code: string
  /** Positive. */
  readonly errno: number
  /**
   * What libbpf and the kernel's verifier said, in full; empty if nothing. The message has its last line that
   * tells something.
   */
  readonly log: string

  /**
   * @param what was being done
   * @param errno of either sign
   * @param log what was printed meanwhile
   * @param warnings the part of it to look for the reason in
   */
  constructor(what: string, errno: number, log = '', warnings = log) {
    const positive = Math.abs(errno)
    const name = errorName(positive)
    const telling = reason(warnings)
    super(`${what}: ${name}${telling === '' ? '' : `: ${telling}`}`)
    this.name = 'BpfError'
    this.code = name
    this.errno = positive
    this.log = log
  }
}

/** The line of a log that says why: the verifier's last before its statistics, or else libbpf's first complaint. */
function reason(log: string): string {
  const lines = log.split('\n').map((line) => line.trim()).filter((line) => line !== '')
  const end = lines.findIndex((line) => line.includes('END PROG LOAD LOG'))
  if (end > 0) {
    const said = lines.slice(0, end)
      .filter((line) => !/^(processed \d+ insns|verification time|stack depth|arg#|-- )/.test(line))
    return said.at(-1) ?? ''
  }
  return (lines[0] ?? '').replace(/^libbpf: /, '')
}
