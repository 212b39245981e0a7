// SPDX-License-Identifier: MIT
/**
 * The names in one directory, found by name and listed from any place.
 *
 * Each entry gets a number of its own when it is made, the cookie that a listing goes on from.
 * Numbers only grow and are never used twice, so a listing in progress neither skips nor repeats
 * an entry that was there all the time, whatever is made and removed meanwhile.
 */

/** Cookies of `.` and `..`, which are not stored. */
export const DOT = 1
export const DOT_DOT = 2

/** One name. `T` is what it stands for. */
export interface DirectoryEntry<T> {
  readonly name: string
  readonly cookie: number
  /** Null once the name is removed. */
  target: T | null
}

export class Directory<T> {
  /** The cookie that the next entry gets. */
  nextCookie = DOT_DOT + 1
  private readonly byName = new Map<string, DirectoryEntry<T>>()
  /** In the order of their cookies; those that were removed stay until there are many. */
  private inOrder: DirectoryEntry<T>[] = []

  get count(): number {
    return this.byName.size
  }

  get(name: string): T | undefined {
    return this.byName.get(name)?.target ?? undefined
  }

  /** Gives a name that is not there to `target`. */
  add(name: string, target: T): void {
    const entry: DirectoryEntry<T> = { name, cookie: this.nextCookie++, target }
    this.byName.set(name, entry)
    this.inOrder.push(entry)
  }

  /** Gives a name that is there to another target; its place in listings stays. */
  replace(name: string, target: T): void {
    this.byName.get(name)!.target = target
  }

  remove(name: string): void {
    this.byName.get(name)!.target = null
    this.byName.delete(name)
    if (this.inOrder.length > 64 && this.inOrder.length > 2 * this.byName.size) {
      this.inOrder = this.inOrder.filter((entry) => entry.target !== null)
    }
  }

  /** Calls `visit` for each entry whose cookie is above `cookie`, in order, until it returns false. */
  list(cookie: number, visit: (entry: DirectoryEntry<T>, target: T) => boolean): void {
    const entries = this.inOrder
    for (let index = this.indexAfter(cookie); index < entries.length; index++) {
      const { target } = entries[index]
      if (target !== null && !visit(entries[index], target)) return
    }
  }

  /** Index of the first entry whose cookie is above `cookie`. */
  private indexAfter(cookie: number): number {
    let low = 0
    let high = this.inOrder.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.inOrder[middle].cookie > cookie) high = middle
      else low = middle + 1
    }
    return low
  }
}
