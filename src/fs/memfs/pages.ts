// SPDX-License-Identifier: MIT
/**
 * The memory that file contents live in: pages of 4 KiB, carved from slabs of 1 MiB.
 *
 * One Uint8Array per page would cost the garbage collector more than the files; one per file would
 * have to be reallocated as it grows. Pages that are taken one after the other are neighbours, so
 * that a read is mostly one copy. A slab whose last page is freed is given back.
 */

export const PAGE_SIZE = 4096
const PAGES_PER_SLAB = 256
const SLAB_SIZE = PAGE_SIZE * PAGES_PER_SLAB

interface Slab {
  readonly index: number
  readonly bytes: Uint8Array
  /** Pages from here on have never been used: they are zero. */
  fresh: number
  /** Pages below `fresh` that are free, as a stack of numbers within the slab. */
  readonly recycled: number[]
}

function freeIn(slab: Slab): number {
  return PAGES_PER_SLAB - slab.fresh + slab.recycled.length
}

export class PageStore {
  /** Pages in use. */
  used = 0
  private readonly slabs: (Slab | undefined)[] = []
  /** Slabs that have a free page; pages are taken from the last one. */
  private readonly available: Slab[] = []
  /** Places in `slabs` whose slab was given back. */
  private readonly vacant: number[] = []

  /** @param limit pages that may be in use at once */
  constructor(readonly limit: number) {}

  /**
   * Takes a page.
   * @param zeroed whether its bytes must be zero; otherwise they may be anything
   * @returns its number, or -1: the limit is reached
   */
  allocate(zeroed: boolean): number {
    if (this.used >= this.limit) return -1
    const { available } = this
    const slab = available.length > 0 ? available[available.length - 1] : this.addSlab()
    let page: number
    if (slab.recycled.length > 0) {
      page = slab.recycled.pop()!
      if (zeroed) slab.bytes.fill(0, page * PAGE_SIZE, (page + 1) * PAGE_SIZE)
    } else {
      page = slab.fresh++
    }
    if (freeIn(slab) === 0) available.pop()
    this.used++
    return slab.index * PAGES_PER_SLAB + page
  }

  free(page: number): void {
    const slab = this.slabs[Math.floor(page / PAGES_PER_SLAB)]!
    if (freeIn(slab) === 0) this.available.push(slab)
    slab.recycled.push(page % PAGES_PER_SLAB)
    this.used--
    // The last one available stays, so that a file made and removed over and over costs no slab each time.
    if (freeIn(slab) === PAGES_PER_SLAB && this.available.length > 1) this.removeSlab(slab)
  }

  /** The slab that a page lies in: see `offsetOf`. */
  bytesOf(page: number): Uint8Array {
    return this.slabs[Math.floor(page / PAGES_PER_SLAB)]!.bytes
  }

  /** Where a page begins in `bytesOf`. */
  offsetOf(page: number): number {
    return (page % PAGES_PER_SLAB) * PAGE_SIZE
  }

  /** Whether `next` lies right behind `page`. */
  areNeighbours(page: number, next: number): boolean {
    return next === page + 1 && next % PAGES_PER_SLAB !== 0
  }

  private addSlab(): Slab {
    const index = this.vacant.pop() ?? this.slabs.length
    const slab: Slab = { index, bytes: new Uint8Array(SLAB_SIZE), fresh: 0, recycled: [] }
    this.slabs[index] = slab
    this.available.push(slab)
    return slab
  }

  private removeSlab(slab: Slab): void {
    this.slabs[slab.index] = undefined
    this.vacant.push(slab.index)
    this.available.splice(this.available.lastIndexOf(slab), 1)
  }
}
