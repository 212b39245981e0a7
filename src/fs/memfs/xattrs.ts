// SPDX-License-Identifier: MIT
/**
 * The extended attributes of a MemFS: names, limits and the access lists among them, which are
 * tied to the mode.
 */
import { constants } from 'node:os'
import { S_ISGID } from '../../protocol/constants.js'
import * as acl from './acl.js'
import type { Inode } from './inode.js'

const { E2BIG, EACCES, EEXIST, EINVAL, ENODATA, ENOSPC, EOPNOTSUPP, ERANGE } = constants.errno

// setxattr(2) and xattr(7)
const XATTR_CREATE = 1
const XATTR_REPLACE = 2
const XATTR_NAME_MAX = 255
const XATTR_SIZE_MAX = 65536
/** Bytes of names and values that one inode may have: they are not counted as file data. */
const XATTR_TOTAL_MAX = 65536 + 4096
const NAMESPACES = ['user.', 'trusted.', 'security.']
const PERMISSIONS = 0o777

function isAcl(name: string): boolean {
  return name === acl.ACL_ACCESS || name === acl.ACL_DEFAULT
}

/** @returns 0, or a negated errno for a name that no attribute can have */
function checkName(inode: Inode, name: string): number {
  if (isAcl(name)) return inode.isSymlink ? -EOPNOTSUPP : 0
  const namespace = NAMESPACES.find((prefix) => name.startsWith(prefix))
  if (namespace === undefined) return -EOPNOTSUPP
  if (name === namespace) return -EINVAL
  return name.length > XATTR_NAME_MAX ? -ERANGE : 0
}

/** @returns the value, or a negated errno */
export function getXattr(inode: Inode, name: string): Uint8Array | number {
  const bad = checkName(inode, name)
  return bad !== 0 ? bad : inode.xattrs?.get(name) ?? -ENODATA
}

/**
 * @param value copied
 * @param killSgid whether an access list takes the set-group-id bit away (FUSE_SETXATTR_ACL_KILL_SGID)
 * @returns 0, or a negated errno
 */
export function setXattr(inode: Inode, name: string, value: Uint8Array, flags: number, killSgid: boolean): number {
  const bad = checkName(inode, name)
  if (bad !== 0) return bad
  if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) !== 0) return -EINVAL
  if (value.length > XATTR_SIZE_MAX) return -E2BIG
  const present = inode.xattrs?.has(name) ?? false
  if (present && (flags & XATTR_CREATE) !== 0) return -EEXIST
  if (!present && (flags & XATTR_REPLACE) !== 0) return -ENODATA
  if (isAcl(name)) return setAcl(inode, name, value, killSgid)
  return store(inode, name, value)
}

function setAcl(inode: Inode, name: string, value: Uint8Array, killSgid: boolean): number {
  if (name === acl.ACL_DEFAULT && !inode.isDirectory) return -EACCES
  const list = acl.parseAcl(value)
  if (list === null) return -EINVAL
  if (list.length === 0) {
    inode.xattrs?.delete(name)
    return 0
  }
  if (name === acl.ACL_DEFAULT) return store(inode, name, value)
  if (acl.isMinimal(list)) {
    inode.xattrs?.delete(name)
  } else {
    const failed = store(inode, name, value)
    if (failed !== 0) return failed
  }
  inode.mode = (inode.mode & ~PERMISSIONS) | acl.permissionsOf(list)
  if (killSgid) inode.mode &= ~S_ISGID
  return 0
}

function store(inode: Inode, name: string, value: Uint8Array): number {
  const xattrs = (inode.xattrs ??= new Map())
  let total = name.length + value.length
  for (const [other, { length }] of xattrs) {
    if (other !== name) total += other.length + length
  }
  if (total > XATTR_TOTAL_MAX) return -ENOSPC
  xattrs.set(name, value.slice())
  return 0
}

/** @returns 0, or a negated errno */
export function removeXattr(inode: Inode, name: string): number {
  const bad = checkName(inode, name)
  if (bad !== 0) return bad
  // A list that is not there is as good as removed: setfacl(1) relies on it.
  return inode.xattrs?.delete(name) || isAcl(name) ? 0 : -ENODATA
}

/** @param privileged whether the caller may see `trusted.` attributes */
export function listXattrs(inode: Inode, privileged: boolean): string[] {
  if (inode.xattrs === null) return []
  return [...inode.xattrs.keys()].filter((name) => privileged || !name.startsWith('trusted.'))
}

/** chmod(2): the new permissions show in the access list. */
export function chmodXattrs(inode: Inode): void {
  const value = inode.xattrs?.get(acl.ACL_ACCESS)
  if (value === undefined) return
  const list = acl.parseAcl(value)!
  acl.changeMode(list, inode.mode)
  inode.xattrs!.set(acl.ACL_ACCESS, acl.encodeAcl(list))
}

/** Gives a new inode the permissions and access lists that its parent's default list, or else the umask, leaves it. */
export function inheritMode(parent: Inode, inode: Inode, umask: number): void {
  const value = inode.isSymlink ? undefined : parent.xattrs?.get(acl.ACL_DEFAULT)
  if (value === undefined) {
    if (!inode.isSymlink) inode.mode &= ~(umask & PERMISSIONS)
    return
  }
  const list = acl.inherit(acl.parseAcl(value)!, inode.mode)
  inode.mode = (inode.mode & ~PERMISSIONS) | acl.permissionsOf(list)
  const xattrs = new Map<string, Uint8Array>()
  if (!acl.isMinimal(list)) xattrs.set(acl.ACL_ACCESS, acl.encodeAcl(list))
  if (inode.isDirectory) xattrs.set(acl.ACL_DEFAULT, value)
  if (xattrs.size > 0) inode.xattrs = xattrs
}
