// SPDX-License-Identifier: MIT
/**
 * `efuse/testing`: the conformance kit. Checks struct layouts against a C compiler, FUSE code
 * against byte vectors, and file systems against a kernel in memory. No root, no mount, no native
 * code; docs/conformance.md tells how to use it.
 */
export * from './decode.js'
export * from './layouts.js'
export * from './paths.js'
export * from './reply-rules.js'
export * from './scripted-kernel.js'
export * from './suite.js'
export * from './vector-check.js'
export * from './vector-subject.js'
export * from './vectors.js'
export * as bytes from './bytes.js'
