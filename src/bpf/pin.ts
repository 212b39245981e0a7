// SPDX-License-Identifier: MIT
/** Names in a BPF file system, by which programs, maps and links outlive their process. */
import { unlinkSync } from 'node:fs'
import * as native from '../native.js'
import { Block } from '../protocol/struct.js'
import { BpfError } from './error.js'

const BPF_OBJ_PIN = 6
const BPF_OBJ_GET = 7
const ATTR = 8
const ATTR_BYTES = 16
const PATH = ATTR + ATTR_BYTES

function request(command: number, path: string, fd: number): number {
  const name = Buffer.from(`${path}\0`)
  const block = new Block(new ArrayBuffer(Math.ceil((PATH + name.length) / 8) * 8))
  block.u8.set(name, PATH)
  block.u32[ATTR / 4] = PATH
  block.u32[ATTR / 4 + 2] = fd
  return native.bpf(command, block, ATTR, ATTR_BYTES)
}

/** Pins what a descriptor refers to. BPF_OBJ_PIN. @throws BpfError */
export function pinObject(path: string, fd: number, what: string): void {
  const result = request(BPF_OBJ_PIN, path, fd)
  if (result < 0) throw new BpfError(`${what}: pin ${path}`, result, native.bpfRefusal())
}

/** A descriptor of what is pinned. BPF_OBJ_GET. @throws BpfError */
export function getObject(path: string): number {
  const result = request(BPF_OBJ_GET, path, 0)
  if (result < 0) throw new BpfError(`open ${path}`, result, native.bpfRefusal())
  return result
}

/** Removes a pin; what it kept goes when nothing else does. */
export function unpin(path: string): void {
  unlinkSync(path)
}
