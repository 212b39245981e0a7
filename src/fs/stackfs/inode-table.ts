// SPDX-License-Identifier: MIT
/**
 * The inodes that the kernel knows, in memory that all workers of a mount share.
 *
 * Each entry has the inode's nodeid, its identity on the source (device, inode number, and a file
 * handle where the source has such), its look-up count, and, while it is in use, an O_PATH
 * descriptor. Descriptors are few and inodes many: when there are too many of the former, those
 * not used lately are closed, and opened again by handle or by name when needed.
 *
 * The table is cut into shards by a hash of the nodeid. Within a shard entries hang in hash chains;
 * the chains' array doubles as the shard fills. All of a shard is guarded by its lock. Memory is
 * reserved for the largest table at once and touched only as entries come.
 *
 * A descriptor may be closed only when nobody is using it. Each worker therefore publishes the
 * entries that its present request uses ("hazards"); closing skips those. FORGET needs no such
 * care: the kernel sends it when no request on the inode is left. A worker also publishes the few
 * entries that it used last ("recent"), and finds those again without taking a lock.
 *
 * A worker that dies inside a critical section leaves its lock taken; `recover` releases it and
 * rebuilds the shard's chains from the entries, which are marked used before they are linked and
 * free before they are unlinked.
 */
import { lock, unlock } from './shared-lock.js'

const SHARDS = 64
const SHARD_WORDS = 16
// Words of a shard's header
const LOCK = 0
const MASK = 1
const USED = 2
const FREE_HEAD = 3
const HIGH_WATER = 4
const CLOCK_HAND = 5

const MAX_WORKERS = 1024
/** Descriptors that one request may use at once: rename's two parents and the inode it replaces, and spares. */
export const HAZARDS_PER_WORKER = 4
/** Entries that a worker finds without a lock, by the low bits of their nodeids; a power of two. */
const RECENT_PER_WORKER = 16
const PUBLISHED_PER_WORKER = HAZARDS_PER_WORKER + RECENT_PER_WORKER
const MAX_DEVICES = 255

const HEADER_WORDS = 16
const OPEN_COUNT = 0
const DEVICE_LOCK = 1
const DEVICE_COUNT = 2
const EVICTION_SHARD = 3
/** One more than the largest worker number so far: no hazards lie beyond. */
const WORKERS = 4

// Words of an entry
const ENTRY_WORDS = 26
const NEXT = 0
const ID_LOW = 1
const ID_HIGH = 2
const INO_LOW = 3
const INO_HIGH = 4
const DEVICE = 5
const FLAGS = 6
const FD = 7
const LOOKUPS_LOW = 8
const LOOKUPS_HIGH = 9
const HANDLE_BYTES = 10
const HANDLE_TYPE = 11
const HANDLE = 12
const PARENT_LOW = 20
const PARENT_HIGH = 21
const GENERATION = 22
const BACKING_ID = 23
const BACKING_USERS = 24

/** Longest file handle that an entry keeps, bytes; inodes with longer ones are reached by name. */
export const MAX_HANDLE_BYTES = 32
/** Bytes kept per name, NUL included. */
const NAME_BYTES = 256

// Bits of FLAGS
const IN_USE = 1
/** Used since the clock hand last passed. */
const REFERENCED = 2
/** Its descriptor must not be closed: nothing else leads to the inode (no name, no handle). */
const PINNED = 4
/** NAME, PARENT_LOW and PARENT_HIGH say where it was last seen. */
const NAMED = 8

const NONE = -1
const MIN_BUCKETS = 16
/** A shard that has become empty gives its memory back when so many entries of it had been used. */
const WORTH_GIVING_BACK = 256

/** What `fdOf` returns when the entry is there but has no descriptor, and when it is not there. */
export const NO_DESCRIPTOR = -1
export const NO_ENTRY = -2

/** The shared memory of a table; pass it to every worker. */
export interface InodeTableMemory {
  readonly words: SharedArrayBuffer
  /** Names of entries, for sources without usable handles; null where there are. */
  readonly names: SharedArrayBuffer | null
  readonly capacity: number
  /** Descriptors that may be open before some are closed. */
  readonly maxOpen: number
}

/** What identifies an inode on the source. Reused from call to call. */
export interface Identity {
  nodeidLow: number
  nodeidHigh: number
  inoLow: number
  inoHigh: number
  /** Index into the table's devices. */
  device: number
  generation: number
  handleBytes: number
  handleType: number
  /** The handle's bytes as words, zero padded. */
  readonly handle: Int32Array
}

export function newIdentity(): Identity {
  return {
    nodeidLow: 0, nodeidHigh: 0, inoLow: 0, inoHigh: 0, device: 0, generation: 0,
    handleBytes: 0, handleType: 0, handle: new Int32Array(MAX_HANDLE_BYTES / 4),
  }
}

function hash(low: number, high: number): number {
  let h = Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1)
  h ^= h >>> 15
  h = Math.imul(h, 0x2c1b3c6d)
  return (h ^ (h >>> 13)) >>> 0
}

export class InodeTable {
  /**
   * Gives memory back that holds nothing any more: called with a buffer of the table and a range of it,
   * bytes, which may be zeroed or left as it is. The shard is locked.
   */
  giveBack: (memory: SharedArrayBuffer, offset: number, length: number) => void = () => {}
  private readonly words: Int32Array
  private readonly names: Uint8Array | null
  private readonly perShard: number
  private readonly devices: number
  private readonly hazards: number
  private readonly shards: number
  private readonly buckets: number
  private readonly entries: number
  private readonly owner: number
  private readonly myHazards: number
  private readonly myRecent: number

  /**
   * Reserves a table's memory.
   * @param capacity most inodes that it can hold, rounded up to a power of two
   * @param named whether to keep names
   * @param allocate gives zeroed memory, of which only a small part may ever be used
   */
  static reserve(
    capacity: number, maxOpen: number, named: boolean, allocate = (bytes: number) => new SharedArrayBuffer(bytes),
  ): InodeTableMemory {
    const perShard = 2 ** Math.ceil(Math.log2(Math.max(capacity, SHARDS * MIN_BUCKETS) / SHARDS))
    const total = perShard * SHARDS
    const words = InodeTable.fixedWords() + total + total * ENTRY_WORDS
    const memory: InodeTableMemory = {
      words: allocate(words * 4),
      names: named ? allocate(total * NAME_BYTES) : null,
      capacity: total,
      maxOpen,
    }
    new InodeTable(memory, 0).format()
    return memory
  }

  private static fixedWords(): number {
    return HEADER_WORDS + (MAX_DEVICES + 1) * 4 + MAX_WORKERS * PUBLISHED_PER_WORKER + SHARDS * SHARD_WORDS
  }

  /** @param worker the worker's number, from 0; a worker that replaces a dead one takes its number */
  constructor(private readonly memory: InodeTableMemory, worker: number) {
    if (worker >= MAX_WORKERS) throw new RangeError(`at most ${MAX_WORKERS} workers`)
    this.words = new Int32Array(memory.words)
    this.names = memory.names && new Uint8Array(memory.names)
    this.perShard = memory.capacity / SHARDS
    this.devices = HEADER_WORDS
    this.hazards = this.devices + (MAX_DEVICES + 1) * 4
    this.shards = this.hazards + MAX_WORKERS * PUBLISHED_PER_WORKER
    this.buckets = this.shards + SHARDS * SHARD_WORDS
    this.entries = this.buckets + memory.capacity
    this.owner = worker + 1
    this.myHazards = this.hazards + worker * PUBLISHED_PER_WORKER
    this.myRecent = this.myHazards + HAZARDS_PER_WORKER
    for (let known = this.words[WORKERS]; known <= worker;) {
      known = Atomics.compareExchange(this.words, WORKERS, known, worker + 1)
    }
  }

  private format(): void {
    for (let shard = 0; shard < SHARDS; shard++) {
      const head = this.shards + shard * SHARD_WORDS
      this.words[head + MASK] = MIN_BUCKETS - 1
      this.words[head + FREE_HEAD] = NONE
      const first = this.buckets + shard * this.perShard
      this.words.fill(NONE, first, first + MIN_BUCKETS)
    }
  }

  /** Inodes in the table. */
  get size(): number {
    let total = 0
    for (let shard = 0; shard < SHARDS; shard++) total += this.words[this.shards + shard * SHARD_WORDS + USED]
    return total
  }

  /** Descriptors that the table holds open. */
  get openCount(): number {
    return Atomics.load(this.words, OPEN_COUNT)
  }

  get tooManyOpen(): boolean {
    return this.openCount > this.memory.maxOpen
  }

  // Devices of the source tree -------------------------------------------------------------------

  /**
   * The index of a device, entered when new; 0 is the root's, -1 when there are too many.
   * @param firstSeen called for a new device: returns a descriptor that opens handles on it, or -1
   */
  deviceIndex(major: number, minor: number, firstSeen: () => number): number {
    const { words, devices } = this
    const known = Atomics.load(words, DEVICE_COUNT)
    for (let i = 0; i < known; i++) {
      if (words[devices + i * 4] === major && words[devices + i * 4 + 1] === minor) return i
    }
    lock(words, DEVICE_LOCK, this.owner)
    try {
      const count = words[DEVICE_COUNT]
      for (let i = known; i < count; i++) {
        if (words[devices + i * 4] === major && words[devices + i * 4 + 1] === minor) return i
      }
      if (count >= MAX_DEVICES) return -1
      const at = devices + count * 4
      words[at] = major
      words[at + 1] = minor
      words[at + 2] = firstSeen()
      Atomics.store(words, DEVICE_COUNT, count + 1)
      return count
    } finally {
      unlock(words, DEVICE_LOCK)
    }
  }

  /** The descriptor that opens handles on a device, or -1. */
  handleDescriptor(device: number): number {
    return this.words[this.devices + device * 4 + 2]
  }

  /** Gives a device the descriptor that it lacked. @returns false when it has one by now */
  setHandleDescriptor(device: number, fd: number): boolean {
    return Atomics.compareExchange(this.words, this.devices + device * 4 + 2, -1, fd) === -1
  }

  /** All descriptors that open handles. */
  * handleDescriptors(): Iterable<number> {
    for (let i = 0; i < this.words[DEVICE_COUNT]; i++) {
      const fd = this.handleDescriptor(i)
      if (fd >= 0) yield fd
    }
  }

  // Look-ups ---------------------------------------------------------------------------------------

  /**
   * Counts one look-up of an inode, entering it when it is new. When its nodeid is taken by another
   * inode (a hash of 64 bits: hardly ever) the identity's nodeid is changed to a free one.
   * @returns the entry, or -1 when the table is full
   */
  lookUp(identity: Identity): number {
    const { words } = this
    for (;;) {
      const h = hash(identity.nodeidLow, identity.nodeidHigh)
      const shard = h % SHARDS
      const head = this.shards + shard * SHARD_WORDS
      lock(words, head + LOCK, this.owner)
      try {
        let entry = this.find(shard, h, identity.nodeidLow, identity.nodeidHigh)
        if (entry === NONE) {
          entry = this.insert(shard, h, identity)
          if (entry === NONE) return NONE
        } else if (!this.matches(entry, identity)) {
          // Taken: try the next nodeid, in another shard perhaps.
          identity.nodeidLow = (identity.nodeidLow + 0x9e3779b1) | 0
          if (identity.nodeidLow >>> 0 < 2) identity.nodeidLow = 2
          continue
        }
        const at = this.at(entry)
        words[at + LOOKUPS_LOW] = (words[at + LOOKUPS_LOW] + 1) | 0
        if (words[at + LOOKUPS_LOW] === 0) words[at + LOOKUPS_HIGH]++
        return entry
      } finally {
        unlock(words, head + LOCK)
      }
    }
  }

  /** Whether a nodeid is in the table. */
  has(low: number, high: number): boolean {
    return this.locked(low, high, () => true, false)
  }

  /**
   * Takes back look-ups.
   * @returns the descriptor to close when none is left and there is one, otherwise -1
   */
  forget(low: number, high: number, countLow: number, countHigh: number): number {
    const { words } = this
    const h = hash(low, high)
    const shard = h % SHARDS
    const head = this.shards + shard * SHARD_WORDS
    lock(words, head + LOCK, this.owner)
    try {
      const entry = this.find(shard, h, low, high)
      if (entry === NONE) return -1
      const at = this.at(entry)
      const left = (words[at + LOOKUPS_LOW] >>> 0) + words[at + LOOKUPS_HIGH] * 4294967296
        - (countLow >>> 0) - (countHigh >>> 0) * 4294967296
      if (left > 0) {
        words[at + LOOKUPS_LOW] = left % 4294967296
        words[at + LOOKUPS_HIGH] = Math.floor(left / 4294967296)
        return -1
      }
      const fd = words[at + FD] - 1
      if (fd >= 0) {
        words[at + FD] = 0
        Atomics.sub(words, OPEN_COUNT, 1)
      }
      this.remove(shard, h, entry)
      return fd
    } finally {
      unlock(words, head + LOCK)
    }
  }

  // Descriptors ------------------------------------------------------------------------------------

  /**
   * The descriptor of an inode, which stays open until this worker sets the same hazard again.
   * @param hazard 0 to HAZARDS_PER_WORKER - 1
   * @param identity receives the handle when there is no descriptor
   * @returns a descriptor, NO_DESCRIPTOR or NO_ENTRY
   */
  fdOf(low: number, high: number, hazard: number, identity: Identity): number {
    const { words } = this
    const recent = this.myRecent + (low & (RECENT_PER_WORKER - 1))
    const candidate = words[recent] - 1
    if (candidate >= 0) {
      // The descriptor first: an entry that was given to another inode had its new nodeid before its
      // new descriptor. While it is published here it loses its descriptor to a FORGET only.
      const at = this.at(candidate)
      const fd = Atomics.load(words, at + FD) - 1
      if (fd >= 0 && words[at + ID_LOW] === (low | 0) && words[at + ID_HIGH] === (high | 0)) {
        words[this.myHazards + hazard] = candidate + 1
        return fd
      }
    }
    const h = hash(low, high)
    const shard = h % SHARDS
    const lockWord = this.shards + shard * SHARD_WORDS + LOCK
    lock(words, lockWord, this.owner)
    const entry = this.find(shard, h, low, high)
    let fd = NO_ENTRY
    if (entry !== NONE) {
      const at = this.at(entry)
      fd = words[at + FD] - 1
      words[at + FLAGS] |= REFERENCED
      // Published before the lock is released: who closes looks at hazards while holding it.
      Atomics.store(words, this.myHazards + hazard, entry + 1)
      // What was there before may be in use under a hazard: that one is published already.
      Atomics.store(words, recent, entry + 1)
      if (fd < 0) this.readIdentity(at, identity)
    }
    unlock(words, lockWord)
    return fd
  }

  /**
   * Gives an inode a descriptor, unless another worker was faster.
   * @param pinned whether it must stay open
   * @returns the descriptor to use from now on: when it is not `fd`, close `fd`
   */
  install(low: number, high: number, fd: number, hazard: number, pinned: boolean): number {
    return this.locked(low, high, (at, entry) => {
      const { words } = this
      Atomics.store(words, this.myHazards + hazard, entry + 1)
      words[at + FLAGS] |= pinned ? REFERENCED | PINNED : REFERENCED
      const present = words[at + FD] - 1
      if (present >= 0) return present
      words[at + FD] = fd + 1
      Atomics.add(words, OPEN_COUNT, 1)
      return fd
    }, NO_ENTRY)
  }

  /**
   * Says whether an inode's descriptor must stay open, as it must when it has lost its last name.
   * @returns whether it had to before
   */
  setPinned(low: number, high: number, pinned: boolean): boolean {
    const { words } = this
    return this.locked(low, high, (at) => {
      const before = (words[at + FLAGS] & PINNED) !== 0
      if (pinned) words[at + FLAGS] |= PINNED
      else words[at + FLAGS] &= ~PINNED
      return before
    }, false)
  }

  /** This worker's request is over: nothing it used is needed any more. */
  clearHazards(): void {
    for (let i = 0; i < PUBLISHED_PER_WORKER; i++) Atomics.store(this.words, this.myHazards + i, 0)
  }

  /**
   * Takes descriptors that were not used lately from their entries.
   * @param wanted how many to take
   * @param close called with each, after it has left the table
   */
  evict(wanted: number, close: (fd: number) => void): void {
    let taken = 0
    for (let round = 0; round < SHARDS * 2 && taken < wanted; round++) {
      const shard = (Atomics.add(this.words, EVICTION_SHARD, 1) >>> 0) % SHARDS
      const fds = this.evictFromShard(shard, wanted - taken)
      for (const fd of fds) close(fd)
      taken += fds.length
    }
  }

  /** Empties the table of descriptors, whoever uses them: the mount is gone. */
  takeAllDescriptors(): number[] {
    const { words } = this
    const fds: number[] = []
    for (let shard = 0; shard < SHARDS; shard++) {
      const limit = words[this.shards + shard * SHARD_WORDS + HIGH_WATER]
      for (let i = 0; i < limit; i++) {
        const at = this.at(shard * this.perShard + i)
        if (words[at + FD] === 0) continue
        fds.push(words[at + FD] - 1)
        words[at + FD] = 0
        Atomics.sub(words, OPEN_COUNT, 1)
      }
    }
    return fds
  }

  private evictFromShard(shard: number, wanted: number): number[] {
    const { words } = this
    const head = this.shards + shard * SHARD_WORDS
    const fds: number[] = []
    lock(words, head + LOCK, this.owner)
    const limit = words[head + HIGH_WATER]
    let hand = words[head + CLOCK_HAND]
    // Once around at most: entries used since the last visit get a second chance.
    for (let seen = 0; seen < limit && fds.length < wanted; seen++, hand++) {
      if (hand >= limit) hand = 0
      const entry = shard * this.perShard + hand
      const at = this.at(entry)
      if (words[at + FD] === 0 || (words[at + FLAGS] & PINNED) !== 0) continue
      if ((words[at + FLAGS] & REFERENCED) !== 0) {
        words[at + FLAGS] &= ~REFERENCED
        continue
      }
      // Without a handle or a name the inode could not be found again.
      if (words[at + HANDLE_BYTES] === 0 && (words[at + FLAGS] & NAMED) === 0) continue
      if (this.isHazarded(entry)) continue
      fds.push(words[at + FD] - 1)
      words[at + FD] = 0
      Atomics.sub(words, OPEN_COUNT, 1)
    }
    words[head + CLOCK_HAND] = hand
    unlock(words, head + LOCK)
    return fds
  }

  private isHazarded(entry: number): boolean {
    const end = this.hazards + Atomics.load(this.words, WORKERS) * PUBLISHED_PER_WORKER
    for (let i = this.hazards; i < end; i++) {
      if (Atomics.load(this.words, i) === entry + 1) return true
    }
    return false
  }

  // Names, for sources without handles ---------------------------------------------------------------

  /** Remembers where an inode is. @param bytes holds the name at `offset`, `length` bytes */
  setName(low: number, high: number, parentLow: number, parentHigh: number, bytes: Uint8Array, offset: number, length: number): void {
    const { names, words } = this
    if (names === null || length >= NAME_BYTES) return
    this.locked(low, high, (at, entry) => {
      words[at + PARENT_LOW] = parentLow
      words[at + PARENT_HIGH] = parentHigh
      const to = entry * NAME_BYTES
      for (let i = 0; i < length; i++) names[to + i] = bytes[offset + i]
      names[to + length] = 0
      words[at + FLAGS] |= NAMED
      words[at + FLAGS] &= ~PINNED
    }, undefined)
  }

  /**
   * Where an inode was last seen.
   * @param bytes receives the NUL-terminated name at `offset`; room for 256 bytes
   * @returns its parent's nodeid, or null when its place is not known
   */
  nameOf(low: number, high: number, bytes: Uint8Array, offset: number): { parentLow: number; parentHigh: number } | null {
    const { names, words } = this
    if (names === null) return null
    return this.locked(low, high, (at, entry) => {
      if ((words[at + FLAGS] & NAMED) === 0) return null
      bytes.set(names.subarray(entry * NAME_BYTES, (entry + 1) * NAME_BYTES), offset)
      return { parentLow: words[at + PARENT_LOW], parentHigh: words[at + PARENT_HIGH] }
    }, null)
  }

  // Backing files --------------------------------------------------------------------------------------

  /**
   * The backing id for one more open of an inode: the one that its other opens have, or a new one.
   * @param open gives a new id, 1 or more, or a negated errno; called with the shard locked
   * @returns the id, or a negated errno
   */
  useBacking(low: number, high: number, open: () => number): number {
    const { words } = this
    return this.locked(low, high, (at) => {
      if (words[at + BACKING_USERS] === 0) {
        const id = open()
        if (id <= 0) return id
        words[at + BACKING_ID] = id
      }
      words[at + BACKING_USERS]++
      return words[at + BACKING_ID]
    }, NO_ENTRY)
  }

  /** One open less. @param close called with the backing id when it was the last, the shard locked */
  leaveBacking(low: number, high: number, close: (id: number) => void): void {
    const { words } = this
    this.locked(low, high, (at) => {
      if (words[at + BACKING_USERS] === 0 || --words[at + BACKING_USERS] > 0) return
      close(words[at + BACKING_ID])
    }, undefined)
  }

  // Recovery -----------------------------------------------------------------------------------------

  /** Releases what a dead worker held. @param worker its number */
  recover(worker: number): void {
    const { words } = this
    const dead = worker + 1
    for (let i = 0; i < PUBLISHED_PER_WORKER; i++) {
      Atomics.store(words, this.hazards + worker * PUBLISHED_PER_WORKER + i, 0)
    }
    Atomics.compareExchange(words, DEVICE_LOCK, dead, 0)
    for (let shard = 0; shard < SHARDS; shard++) {
      const head = this.shards + shard * SHARD_WORDS
      if (Atomics.load(words, head + LOCK) !== dead) continue
      this.rebuild(shard)
      unlock(words, head + LOCK)
    }
  }

  private rebuild(shard: number): void {
    const { words } = this
    const head = this.shards + shard * SHARD_WORDS
    const first = this.buckets + shard * this.perShard
    const mask = words[head + MASK]
    words.fill(NONE, first, first + mask + 1)
    words[head + FREE_HEAD] = NONE
    let used = 0
    for (let i = 0; i < words[head + HIGH_WATER]; i++) {
      const entry = shard * this.perShard + i
      const at = this.at(entry)
      if ((words[at + FLAGS] & IN_USE) === 0) {
        words[at + NEXT] = words[head + FREE_HEAD]
        words[head + FREE_HEAD] = entry
      } else {
        const bucket = first + ((hash(words[at + ID_LOW], words[at + ID_HIGH]) >>> 6) & mask)
        words[at + NEXT] = words[bucket]
        words[bucket] = entry
        used++
      }
    }
    words[head + USED] = used
  }

  // Inside a shard, its lock held ------------------------------------------------------------------------

  private at(entry: number): number {
    return this.entries + entry * ENTRY_WORDS
  }

  private locked<T>(low: number, high: number, visit: (at: number, entry: number) => T, absent: T): T {
    const h = hash(low, high)
    const shard = h % SHARDS
    const lockWord = this.shards + shard * SHARD_WORDS + LOCK
    lock(this.words, lockWord, this.owner)
    try {
      const entry = this.find(shard, h, low, high)
      return entry === NONE ? absent : visit(this.at(entry), entry)
    } finally {
      unlock(this.words, lockWord)
    }
  }

  private find(shard: number, h: number, low: number, high: number): number {
    const { words } = this
    const mask = words[this.shards + shard * SHARD_WORDS + MASK]
    let entry = words[this.buckets + shard * this.perShard + ((h >>> 6) & mask)]
    while (entry !== NONE) {
      const at = this.at(entry)
      if (words[at + ID_LOW] === (low | 0) && words[at + ID_HIGH] === (high | 0)) return entry
      entry = words[at + NEXT]
    }
    return NONE
  }

  private matches(entry: number, identity: Identity): boolean {
    const { words } = this
    const at = this.at(entry)
    return words[at + INO_LOW] === (identity.inoLow | 0) && words[at + INO_HIGH] === (identity.inoHigh | 0)
      && words[at + DEVICE] === identity.device && words[at + GENERATION] === (identity.generation | 0)
  }

  private insert(shard: number, h: number, identity: Identity): number {
    const { words } = this
    const head = this.shards + shard * SHARD_WORDS
    let entry = words[head + FREE_HEAD]
    if (entry !== NONE) {
      words[head + FREE_HEAD] = words[this.at(entry) + NEXT]
    } else {
      if (words[head + HIGH_WATER] >= this.perShard) return NONE
      entry = shard * this.perShard + words[head + HIGH_WATER]++
    }
    const at = this.at(entry)
    words[at + ID_LOW] = identity.nodeidLow
    words[at + ID_HIGH] = identity.nodeidHigh
    words[at + INO_LOW] = identity.inoLow
    words[at + INO_HIGH] = identity.inoHigh
    words[at + DEVICE] = identity.device
    words[at + GENERATION] = identity.generation
    words[at + FD] = 0
    words[at + LOOKUPS_LOW] = 0
    words[at + LOOKUPS_HIGH] = 0
    words[at + BACKING_ID] = 0
    words[at + BACKING_USERS] = 0
    words[at + HANDLE_BYTES] = identity.handleBytes
    words[at + HANDLE_TYPE] = identity.handleType
    for (let i = 0; i < identity.handle.length; i++) words[at + HANDLE + i] = identity.handle[i]
    words[at + FLAGS] = IN_USE
    const used = ++words[head + USED]
    if (used > words[head + MASK] && words[head + MASK] + 1 < this.perShard) this.doubleBuckets(shard)
    const bucket = this.buckets + shard * this.perShard + ((h >>> 6) & words[head + MASK])
    words[at + NEXT] = words[bucket]
    words[bucket] = entry
    return entry
  }

  private remove(shard: number, h: number, entry: number): void {
    const { words } = this
    const head = this.shards + shard * SHARD_WORDS
    const at = this.at(entry)
    words[at + FLAGS] = 0
    const bucket = this.buckets + shard * this.perShard + ((h >>> 6) & words[head + MASK])
    let link = bucket
    while (words[link] !== entry) link = this.at(words[link]) + NEXT
    words[link] = words[at + NEXT]
    words[at + NEXT] = words[head + FREE_HEAD]
    words[head + FREE_HEAD] = entry
    if (--words[head + USED] === 0 && words[head + HIGH_WATER] >= WORTH_GIVING_BACK) this.empty(shard)
  }

  /** Starts a shard without entries anew, as small as at first. */
  private empty(shard: number): void {
    const { words, memory, perShard } = this
    const head = this.shards + shard * SHARD_WORDS
    const first = this.buckets + shard * perShard
    const entries = words[head + HIGH_WATER]
    const buckets = words[head + MASK] + 1
    words[head + HIGH_WATER] = 0
    words[head + FREE_HEAD] = NONE
    words[head + CLOCK_HAND] = 0
    words[head + MASK] = MIN_BUCKETS - 1
    words.fill(NONE, first, first + MIN_BUCKETS)
    this.giveBack(memory.words, this.at(shard * perShard) * 4, entries * ENTRY_WORDS * 4)
    this.giveBack(memory.words, (first + MIN_BUCKETS) * 4, (buckets - MIN_BUCKETS) * 4)
    if (memory.names !== null) this.giveBack(memory.names, shard * perShard * NAME_BYTES, entries * NAME_BYTES)
  }

  /** Splits each chain in two: an entry of chain `b` stays or goes to chain `b + size`. */
  private doubleBuckets(shard: number): void {
    const { words } = this
    const head = this.shards + shard * SHARD_WORDS
    const size = words[head + MASK] + 1
    const first = this.buckets + shard * this.perShard
    words.fill(NONE, first + size, first + size * 2)
    words[head + MASK] = size * 2 - 1
    for (let b = 0; b < size; b++) {
      let entry = words[first + b]
      words[first + b] = NONE
      while (entry !== NONE) {
        const at = this.at(entry)
        const next = words[at + NEXT]
        const bucket = first + ((hash(words[at + ID_LOW], words[at + ID_HIGH]) >>> 6) & (size * 2 - 1))
        words[at + NEXT] = words[bucket]
        words[bucket] = entry
        entry = next
      }
    }
  }

  private readIdentity(at: number, identity: Identity): void {
    const { words } = this
    identity.nodeidLow = words[at + ID_LOW]
    identity.nodeidHigh = words[at + ID_HIGH]
    identity.inoLow = words[at + INO_LOW]
    identity.inoHigh = words[at + INO_HIGH]
    identity.device = words[at + DEVICE]
    identity.generation = words[at + GENERATION]
    identity.handleBytes = words[at + HANDLE_BYTES]
    identity.handleType = words[at + HANDLE_TYPE]
    for (let i = 0; i < identity.handle.length; i++) identity.handle[i] = words[at + HANDLE + i]
  }
}
