// SPDX-License-Identifier: MIT
/**
 * The bytes of one regular file: a sparse table from the file's pages to those of a PageStore.
 *
 * A page that is not in the table is a hole and reads as zeros. Bytes behind the end of the file
 * are zero in every page that there is, so growing a file never has to clear anything.
 */
import { PAGE_SIZE, type PageStore } from './pages.js'

/** Pages that one leaf of the table covers: 2 MiB of the file. */
const LEAF_PAGES = 512
const SMALLEST_LEAF = 8

export class Content {
  /** Bytes. */
  size = 0
  /** Pages that are not holes. */
  pages = 0
  /** Leaves by number; a slot holds a page's number plus one, 0 is a hole. Short leaves grow. */
  private readonly leaves = new Map<number, Int32Array>()

  constructor(private readonly store: PageStore) {}

  /**
   * Copies bytes out.
   * @param target where they go, from `at` on
   * @returns how many: fewer than `length` at the end of the file
   */
  read(offset: number, length: number, target: Uint8Array, at: number): number {
    const { store } = this
    const count = Math.max(0, Math.min(length, this.size - offset))
    let index = Math.floor(offset / PAGE_SIZE)
    let within = offset % PAGE_SIZE
    let done = 0
    while (done < count) {
      const page = this.pageAt(index++)
      let run = Math.min(PAGE_SIZE - within, count - done)
      if (page < 0) {
        target.fill(0, at + done, at + done + run)
      } else {
        let last = page
        while (done + run < count) {
          const next = this.pageAt(index)
          if (next < 0 || !store.areNeighbours(last, next)) break
          run = Math.min(run + PAGE_SIZE, count - done)
          last = next
          index++
        }
        const start = store.offsetOf(page) + within
        target.set(store.bytesOf(page).subarray(start, start + run), at + done)
      }
      done += run
      within = 0
    }
    return count
  }

  /**
   * Copies bytes in and grows the file as needed.
   * @returns how many: fewer than `length` when the store is full
   */
  write(offset: number, length: number, source: Uint8Array, at: number): number {
    const { store } = this
    let done = 0
    while (done < length) {
      const position = offset + done
      const within = position % PAGE_SIZE
      const index = (position - within) / PAGE_SIZE
      const run = Math.min(PAGE_SIZE - within, length - done)
      let page = this.pageAt(index)
      if (page < 0) {
        page = store.allocate(run < PAGE_SIZE)
        if (page < 0) break
        this.setPage(index, page)
      }
      store.bytesOf(page).set(source.subarray(at + done, at + done + run), store.offsetOf(page) + within)
      done += run
    }
    if (done > 0 && offset + done > this.size) this.size = offset + done
    return done
  }

  /** Cuts the file off or lets it grow by a hole. */
  truncate(size: number): void {
    if (size < this.size) {
      this.punch(size, Math.ceil(this.size / PAGE_SIZE) * PAGE_SIZE - size)
      this.freeFrom(Math.ceil(size / PAGE_SIZE))
    }
    this.size = size
  }

  /** Frees everything. */
  clear(): void {
    this.freeFrom(0)
    this.size = 0
  }

  /** Makes a range read as zeros; whole pages of it become holes. */
  punch(offset: number, length: number): void {
    const end = offset + length
    const firstWhole = Math.ceil(offset / PAGE_SIZE)
    const endWhole = Math.floor(end / PAGE_SIZE)
    if (firstWhole >= endWhole) {
      this.zero(offset, length)
      return
    }
    this.zero(offset, firstWhole * PAGE_SIZE - offset)
    this.zero(endWhole * PAGE_SIZE, end - endWhole * PAGE_SIZE)
    this.freeRange(firstWhole, endWhole)
  }

  /** Makes a range read as zeros in the pages that there are; holes stay. */
  zero(offset: number, length: number): void {
    const { store } = this
    for (let done = 0; done < length;) {
      const within = (offset + done) % PAGE_SIZE
      const run = Math.min(PAGE_SIZE - within, length - done)
      const page = this.pageAt(Math.floor((offset + done) / PAGE_SIZE))
      if (page >= 0) {
        const start = store.offsetOf(page) + within
        store.bytesOf(page).fill(0, start, start + run)
      }
      done += run
    }
  }

  /**
   * Fills the holes of a range with pages of zeros.
   * @returns false when the store has not enough: nothing has changed then
   */
  reserve(offset: number, length: number): boolean {
    const first = Math.floor(offset / PAGE_SIZE)
    const end = Math.ceil((offset + length) / PAGE_SIZE)
    const room = this.store.limit - this.store.used
    if (end - first > room + this.pages) return false
    let missing = 0
    for (let index = first; index < end; index++) {
      if (this.pageAt(index) < 0) missing++
    }
    if (missing > room) return false
    for (let index = first; missing > 0; index++) {
      if (this.pageAt(index) >= 0) continue
      this.setPage(index, this.store.allocate(true))
      missing--
    }
    return true
  }

  /** The first byte from `offset` on that is not in a hole, or -1. */
  nextData(offset: number): number {
    const from = Math.floor(offset / PAGE_SIZE)
    const page = this.firstPage(from)
    if (page === from) return offset
    const found = page * PAGE_SIZE
    return page >= 0 && found < this.size ? found : -1
  }

  /** The first byte from `offset` on that is in a hole; the end of the file counts as one. */
  nextHole(offset: number): number {
    let index = Math.floor(offset / PAGE_SIZE)
    if (this.pageAt(index) < 0) return offset
    while (index * PAGE_SIZE < this.size && this.pageAt(index) >= 0) index++
    return Math.min(index * PAGE_SIZE, this.size)
  }

  /** The store's page for a page of the file, or -1: a hole. */
  private pageAt(index: number): number {
    const leaf = this.leaves.get(Math.floor(index / LEAF_PAGES))
    if (leaf === undefined) return -1
    const slot = index % LEAF_PAGES
    return slot < leaf.length ? leaf[slot] - 1 : -1
  }

  private setPage(index: number, page: number): void {
    const number = Math.floor(index / LEAF_PAGES)
    const slot = index % LEAF_PAGES
    let leaf = this.leaves.get(number)
    if (leaf === undefined || slot >= leaf.length) {
      let length = leaf?.length ?? SMALLEST_LEAF
      while (length <= slot) length *= 4
      const grown = new Int32Array(Math.min(length, LEAF_PAGES))
      if (leaf !== undefined) grown.set(leaf)
      this.leaves.set(number, grown)
      leaf = grown
    }
    leaf[slot] = page + 1
    this.pages++
  }

  /** The first page from `from` on that is not a hole, or -1. */
  private firstPage(from: number): number {
    const firstLeaf = Math.floor(from / LEAF_PAGES)
    const inLeaf = (number: number): number => {
      const leaf = this.leaves.get(number)!
      for (let slot = number === firstLeaf ? from % LEAF_PAGES : 0; slot < leaf.length; slot++) {
        if (leaf[slot] !== 0) return number * LEAF_PAGES + slot
      }
      return -1
    }
    // Leaves are few where the file is large: looking at all of them beats walking over a hole of terabytes.
    for (const number of [...this.leaves.keys()].filter((leaf) => leaf >= firstLeaf).sort((a, b) => a - b)) {
      const found = inLeaf(number)
      if (found >= 0) return found
    }
    return -1
  }

  private freeFrom(first: number): void {
    this.freeRange(first, Infinity)
  }

  /** Frees the pages from `first` up to, not including, `end`. */
  private freeRange(first: number, end: number): void {
    const firstLeaf = Math.floor(first / LEAF_PAGES)
    const endLeaf = Math.ceil(end / LEAF_PAGES)
    const free = (number: number) => {
      const leaf = this.leaves.get(number)
      if (leaf === undefined) return
      const base = number * LEAF_PAGES
      // Backwards, so that the store hands the pages out again in ascending order.
      for (let slot = Math.min(leaf.length, end - base) - 1; slot >= Math.max(0, first - base); slot--) {
        if (leaf[slot] === 0) continue
        this.store.free(leaf[slot] - 1)
        leaf[slot] = 0
        this.pages--
      }
      if (first <= base && end >= base + leaf.length) this.leaves.delete(number)
    }
    if (endLeaf - firstLeaf < this.leaves.size) {
      for (let number = firstLeaf; number < endLeaf; number++) free(number)
    } else {
      for (const number of [...this.leaves.keys()]) {
        if (number >= firstLeaf && number < endLeaf) free(number)
      }
    }
  }
}
