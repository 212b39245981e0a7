// SPDX-License-Identifier: MIT
/** Whether a caller is in a group: FUSE tells one of his groups, his supplementary ones are in /proc. */
import { readFileSync } from 'node:fs'
import type { Request } from '../../protocol/request.js'

/** As the kernel's in_group_or_capable, of the capable knowing only root. */
export function isInGroup({ callerUid, callerGid, pid }: Request, group: number): boolean {
  if (callerUid === 0 || callerGid === group) return true
  try {
    const groups = /^Groups:(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? ''
    return groups.trim().split(/\s+/).includes(String(group))
  } catch {
    // Gone, or of another pid namespace: then he has no right to what only the group may keep.
    return false
  }
}
