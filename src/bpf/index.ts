// SPDX-License-Identifier: MIT
/** `efuse/bpf`: BPF objects loaded, attached and read from TypeScript. See docs/bpf.md. */
export { BpfError } from './error.js'
export { libbpfBuild, bundledObject, type LibbpfBuild } from './libbpf.js'
export { BpfObject, MapSettings, StructOps, type OpenOptions, type RecordOptions, type TypeOptions } from './object.js'
export { BpfMap, type BpfMapType, type MapCodecs, type MapDefinition, type UpdateMode } from './map.js'
export { BpfProgram, BpfLink, type AttachOptions, type RunResult } from './program.js'
export { RingBuffer } from './ring-buffer.js'
export { BpfVariables } from './variables.js'
export type { BpfValue, Codec, Wide } from './codec.js'
export { unpin } from './pin.js'
export { Monitor, MonitorUnavailableError, type MonitorOptions } from './monitor.js'
export { probeBpf, type BpfOffer } from './probe.js'
