// SPDX-License-Identifier: MIT
/** What of BPF this kernel offers, told without loading any program. */
import { existsSync, readFileSync } from 'node:fs'

export interface BpfOffer {
  /** Type information of the kernel, which relocatable programs need. */
  btf: boolean
  /** Whether programs are compiled; false: interpreted, or unknown. */
  jit: boolean
  /** Whether users without CAP_BPF may load anything at all. */
  unprivileged: boolean
  /** The tracepoints `fuse_request_send` and `fuse_request_end`. */
  fuseTracepoints: boolean
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim()
  } catch {
    return ''
  }
}

export function probeBpf(): BpfOffer {
  const tracing = ['/sys/kernel/tracing', '/sys/kernel/debug/tracing']
  return {
    btf: existsSync('/sys/kernel/btf/vmlinux'),
    jit: /^[12]$/.test(read('/proc/sys/net/core/bpf_jit_enable')),
    unprivileged: read('/proc/sys/kernel/unprivileged_bpf_disabled') === '0',
    fuseTracepoints: tracing.some((path) => existsSync(`${path}/events/fuse/fuse_request_send`))
      || /__tracepoint_fuse_request_send$/m.test(read('/proc/kallsyms')),
  }
}
