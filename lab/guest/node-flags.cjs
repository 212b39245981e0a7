// SPDX-License-Identifier: MIT
/**
 * Loaded by every Node in a guest of several emulated CPUs (NODE_OPTIONS, which takes no flags of V8): WebAssembly is
 * compiled once, by V8's first compiler. With the second one a thread changes code that others run, and QEMU 7.2 (11.1 less often) lets
 * them run what was there before now and then: 21 of 23 runs that compiled libbpf crashed, in ever other ways.
 */
require('node:v8').setFlagsFromString('--no-wasm-tier-up')
require('node:v8').setFlagsFromString('--no-wasm-dynamic-tiering')
require('node:v8').setFlagsFromString('--no-wasm-lazy-compilation')
