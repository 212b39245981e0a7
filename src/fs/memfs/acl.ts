// SPDX-License-Identifier: MIT
/**
 * POSIX access control lists as posix_acl(5) and acl(5) define them, in the form that the kernel
 * carries in the `system.posix_acl_*` attributes: checked, tied to the mode, inherited.
 */

export const ACL_ACCESS = 'system.posix_acl_access'
export const ACL_DEFAULT = 'system.posix_acl_default'

// Entry tags of posix_acl_xattr_entry
const ACL_USER_OBJ = 0x01
const ACL_USER = 0x02
const ACL_GROUP_OBJ = 0x04
const ACL_GROUP = 0x08
const ACL_MASK = 0x10
const ACL_OTHER = 0x20

const VERSION = 2
const HEADER_SIZE = 4
const ENTRY_SIZE = 8

interface AclEntry {
  tag: number
  /** Three bits, as in a mode. */
  permissions: number
  /** uid or gid; of no meaning for the tags without one. */
  id: number
}

export type Acl = AclEntry[]

/** Parses an attribute's value. @returns null when it is not a valid list; empty: no list at all */
export function parseAcl(value: Uint8Array): Acl | null {
  const bytes = new DataView(value.buffer, value.byteOffset, value.byteLength)
  if (value.length < HEADER_SIZE || (value.length - HEADER_SIZE) % ENTRY_SIZE !== 0) return null
  if (bytes.getUint32(0, true) !== VERSION) return null
  const acl: Acl = []
  for (let at = HEADER_SIZE; at < value.length; at += ENTRY_SIZE) {
    acl.push({
      tag: bytes.getUint16(at, true), permissions: bytes.getUint16(at + 2, true), id: bytes.getUint32(at + 4, true),
    })
  }
  return acl.length === 0 || isValid(acl) ? acl : null
}

export function encodeAcl(acl: Acl): Uint8Array {
  const value = new Uint8Array(HEADER_SIZE + acl.length * ENTRY_SIZE)
  const bytes = new DataView(value.buffer)
  bytes.setUint32(0, VERSION, true)
  acl.forEach(({ tag, permissions, id }, index) => {
    const at = HEADER_SIZE + index * ENTRY_SIZE
    bytes.setUint16(at, tag, true)
    bytes.setUint16(at + 2, permissions, true)
    bytes.setUint32(at + 4, id, true)
  })
  return value
}

/** Tags must ascend, the three that make a mode must be there once, and named entries need a mask. */
function isValid(acl: Acl): boolean {
  let last = 0
  let named = false
  const seen = new Map<number, number>()
  for (const { tag, permissions } of acl) {
    if (tag < last || permissions > 7) return false
    last = tag
    seen.set(tag, (seen.get(tag) ?? 0) + 1)
    if (tag === ACL_USER || tag === ACL_GROUP) named = true
    else if (![ACL_USER_OBJ, ACL_GROUP_OBJ, ACL_MASK, ACL_OTHER].includes(tag)) return false
    else if (seen.get(tag)! > 1) return false
  }
  return seen.has(ACL_USER_OBJ) && seen.has(ACL_GROUP_OBJ) && seen.has(ACL_OTHER) && (!named || seen.has(ACL_MASK))
}

function find(acl: Acl, tag: number): AclEntry | undefined {
  return acl.find((entry) => entry.tag === tag)
}

/** The entry that the group bits of a mode stand for: the mask where there is one. */
function groupClass(acl: Acl): AclEntry {
  return find(acl, ACL_MASK) ?? find(acl, ACL_GROUP_OBJ)!
}

/** Whether a list says no more than nine permission bits can. */
export function isMinimal(acl: Acl): boolean {
  return acl.every(({ tag }) => tag === ACL_USER_OBJ || tag === ACL_GROUP_OBJ || tag === ACL_OTHER)
}

/** The nine permission bits that a list stands for. */
export function permissionsOf(acl: Acl): number {
  return (find(acl, ACL_USER_OBJ)!.permissions << 6) | (groupClass(acl).permissions << 3)
    | find(acl, ACL_OTHER)!.permissions
}

/** What chmod(2) does to a list: it sets owner, others, and the mask or else the owning group. */
export function changeMode(acl: Acl, mode: number): void {
  find(acl, ACL_USER_OBJ)!.permissions = (mode >>> 6) & 7
  groupClass(acl).permissions = (mode >>> 3) & 7
  find(acl, ACL_OTHER)!.permissions = mode & 7
}

/**
 * The access list of a new inode in a directory with a default list: what the creator's mode does
 * not grant is taken away. The umask plays no part.
 * @param mode as the creator asked for
 */
export function inherit(defaults: Acl, mode: number): Acl {
  const acl = defaults.map((entry) => ({ ...entry }))
  changeMode(acl, permissionsOf(acl) & mode)
  return acl
}
