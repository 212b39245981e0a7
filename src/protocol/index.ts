// SPDX-License-Identifier: MIT
/** `efuse/protocol`: the FUSE wire protocol, bytes to typed fields and back. No I/O. */
export * from './constants.js'
export * from './exchange.js'
export * from './init.js'
export * from './notify.js'
export * from './operations.js'
export * from './reply.js'
export * from './request.js'
export * from './struct.js'
export * as structs from './structs.js'
