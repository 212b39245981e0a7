// SPDX-License-Identifier: MIT
/**
 * MemFS against a model of a file system that is too simple to be wrong: random requests, the same
 * answer from both, the same tree afterwards, and nothing left over at the end.
 *
 * MEMFS_SEED and MEMFS_STEPS choose another run; a failure names its seed and step.
 */
import t from 'tap'
import { MemFS } from '../src/fs/memfs/index.js'
import { FuseError } from '../src/fs/errors.js'
import { S_IFDIR, S_IFMT, S_IFREG } from '../src/protocol/constants.js'
import { ScriptedKernel } from '../src/testing/index.js'

const SEED = Number(process.env.MEMFS_SEED ?? 20261122)
const STEPS = Number(process.env.MEMFS_STEPS ?? 20_000)
const MAX_INODES = 60
const MOST_BYTES = 40_000
const RENAME_NOREPLACE = 1
const RENAME_EXCHANGE = 2

/** Mulberry32: small, and the same everywhere. */
function generator(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

interface ModelFile {
  kind: 'file'
  id: number
  bytes: Uint8Array
  links: number
}
interface ModelDirectory {
  kind: 'directory'
  id: number
  names: Map<string, ModelNode>
}
type ModelNode = ModelFile | ModelDirectory

function fail(code: 'EEXIST' | 'EINVAL' | 'EISDIR' | 'ENOENT' | 'ENOSPC' | 'ENOTDIR' | 'ENOTEMPTY' | 'EPERM'): never {
  throw new FuseError(code)
}

/** A tree of maps; paths are short and always valid but for what they name. */
class Model {
  readonly root: ModelDirectory = { kind: 'directory', id: 1, names: new Map() }
  private nextId = 2

  at(path: string): ModelNode {
    let node: ModelNode = this.root
    for (const name of path.split('/').filter(Boolean)) {
      if (node.kind !== 'directory') fail('ENOTDIR')
      node = node.names.get(name) ?? fail('ENOENT')
    }
    return node
  }

  private parent(path: string): ModelNode {
    return this.at(path.slice(0, path.lastIndexOf('/')))
  }

  private slot(path: string): { names: Map<string, ModelNode>; name: string } {
    const cut = path.lastIndexOf('/')
    const parent = this.parent(path)
    if (parent.kind !== 'directory') fail('ENOTDIR')
    return { names: parent.names, name: path.slice(cut + 1) }
  }

  nodes(node: ModelNode = this.root, all = new Set<ModelNode>()): Set<ModelNode> {
    all.add(node)
    if (node.kind === 'directory') for (const child of node.names.values()) this.nodes(child, all)
    return all
  }

  private full(): boolean {
    return this.nodes().size >= MAX_INODES
  }

  mkdir(path: string): void {
    const { names, name } = this.slot(path)
    if (names.has(name)) fail('EEXIST')
    if (this.full()) fail('ENOSPC')
    names.set(name, { kind: 'directory', id: this.nextId++, names: new Map() })
  }

  mknod(path: string): void {
    const { names, name } = this.slot(path)
    if (names.has(name)) fail('EEXIST')
    if (this.full()) fail('ENOSPC')
    names.set(name, { kind: 'file', id: this.nextId++, bytes: new Uint8Array(0), links: 1 })
  }

  file(path: string): ModelFile {
    const node = this.at(path)
    return node.kind === 'file' ? node : fail('EISDIR')
  }

  write(path: string, offset: number, data: Uint8Array): void {
    const file = this.file(path)
    if (data.length > 0 && offset + data.length > file.bytes.length) this.resize(file, offset + data.length)
    file.bytes.set(data, data.length > 0 ? offset : 0)
  }

  truncate(path: string, size: number): void {
    this.resize(this.file(path), size)
  }

  private resize(file: ModelFile, size: number): void {
    const bytes = new Uint8Array(size)
    bytes.set(file.bytes.subarray(0, size))
    file.bytes = bytes
  }

  punch(path: string, offset: number, length: number): void {
    this.file(path).bytes.fill(0, offset, offset + length)
  }

  zero(path: string, offset: number, length: number): void {
    const file = this.file(path)
    if (offset + length > file.bytes.length) this.resize(file, offset + length)
    file.bytes.fill(0, offset, offset + length)
  }

  copy(from: string, offset: number, to: string, target: number, length: number): void {
    const source = this.at(from)
    const destination = this.at(to)
    if (source.kind !== 'file' || destination.kind !== 'file') fail('EINVAL')
    if (source === destination && offset < target + length && target < offset + length) fail('EINVAL')
    const data = source.bytes.slice(offset, offset + length)
    if (data.length > 0) this.write(to, target, data)
  }

  link(from: string, path: string): void {
    const node = this.at(from)
    this.parent(path)
    if (node.kind === 'directory') fail('EPERM')
    const { names, name } = this.slot(path)
    if (names.has(name)) fail('EEXIST')
    names.set(name, node)
    node.links++
  }

  unlink(path: string): void {
    const { names, name } = this.slot(path)
    const node = names.get(name) ?? fail('ENOENT')
    if (node.kind === 'directory') fail('EISDIR')
    names.delete(name)
    node.links--
  }

  rmdir(path: string): void {
    const { names, name } = this.slot(path)
    const node = names.get(name) ?? fail('ENOENT')
    if (node.kind !== 'directory') fail('ENOTDIR')
    if (node.names.size > 0) fail('ENOTEMPTY')
    names.delete(name)
  }

  rename(from: string, to: string, flags: number): void {
    // Both paths are looked up before anything is asked of them.
    this.parent(from)
    this.parent(to)
    const source = this.slot(from)
    const target = this.slot(to)
    const moved = source.names.get(source.name) ?? fail('ENOENT')
    const there = target.names.get(target.name)
    const isBelow = (top: ModelNode, names: Map<string, ModelNode>) =>
      [...this.nodes(top)].some((node) => node.kind === 'directory' && node.names === names)
    if (isBelow(moved, target.names)) fail('EINVAL')
    if (flags === RENAME_EXCHANGE) {
      if (there === undefined) fail('ENOENT')
      if (isBelow(there, source.names)) fail('EINVAL')
      source.names.set(source.name, there)
      target.names.set(target.name, moved)
      return
    }
    if (there !== undefined) {
      if (flags === RENAME_NOREPLACE) fail('EEXIST')
      if (there === moved) return
      if (moved.kind === 'directory' && there.kind !== 'directory') fail('ENOTDIR')
      if (moved.kind !== 'directory' && there.kind === 'directory') fail('EISDIR')
      if (there.kind === 'directory' && there.names.size > 0) fail('ENOTEMPTY')
      if (there.kind === 'file') there.links--
    }
    source.names.delete(source.name)
    target.names.set(target.name, moved)
  }
}

type Step = [what: string, real: () => Promise<unknown>, model: () => unknown]

t.test(`seed ${SEED}, ${STEPS} steps`, async (t) => {
  const random = generator(SEED)
  const memfs = new MemFS({ maxBytes: 1 << 26, maxInodes: MAX_INODES, uid: 0, gid: 0 })
  const kernel = await ScriptedKernel.start(memfs)
  const { paths } = kernel
  const model = new Model()

  const name = () => 'abcde'[random(5)]
  const somePath = () => `/${Array.from({ length: 1 + random(3) }, name).join('/')}`
  const existing = (kind: ModelNode['kind']): string => {
    const found: string[] = []
    const walk = (node: ModelNode, path: string) => {
      if (node.kind === kind && path !== '') found.push(path)
      if (node.kind === 'directory') for (const [child, below] of node.names) walk(below, `${path}/${child}`)
    }
    walk(model.root, '')
    return found.length > 0 && random(10) > 0 ? found[random(found.length)] : somePath()
  }
  const randomBytes = () => Uint8Array.from({ length: random(9000) }, () => 1 + random(255))
  const split = (path: string) => {
    const cut = path.lastIndexOf('/')
    return { parent: path.slice(0, cut), name: path.slice(cut + 1) }
  }

  const steps: (() => Step)[] = [
    () => { const path = somePath(); return [`mkdir ${path}`, () => paths.mkdir(path), () => model.mkdir(path)] },
    () => {
      const path = somePath()
      const real = async () => kernel.mknod(await paths.resolve(split(path).parent), split(path).name, S_IFREG | 0o644)
      return [`mknod ${path}`, real, () => model.mknod(path)]
    },
    () => {
      const path = existing('file'), offset = random(MOST_BYTES), data = randomBytes()
      const real = async () => kernel.write(await paths.resolve(path), 0, offset, data)
      return [`write ${path} ${offset}+${data.length}`, real, () => model.write(path, offset, data)]
    },
    () => {
      const path = existing('file'), size = random(MOST_BYTES)
      return [`truncate ${path} ${size}`, () => paths.truncate(path, size), () => model.truncate(path, size)]
    },
    () => {
      const path = existing('file'), offset = random(MOST_BYTES), length = 1 + random(MOST_BYTES)
      const real = async () => kernel.fallocate(await paths.resolve(path), 0, offset, length, 3)
      return [`punch ${path} ${offset}+${length}`, real, () => model.punch(path, offset, length)]
    },
    () => {
      const path = existing('file'), offset = random(MOST_BYTES), length = 1 + random(9000)
      const real = async () => kernel.fallocate(await paths.resolve(path), 0, offset, length, 16)
      return [`zero ${path} ${offset}+${length}`, real, () => model.zero(path, offset, length)]
    },
    () => {
      const from = existing('file'), to = existing('file')
      const [offset, target, length] = [random(MOST_BYTES), random(MOST_BYTES), 1 + random(9000)]
      const real = async () => {
        const source = { nodeid: await paths.resolve(from), fh: 0, offset }
        return kernel.copyFileRange(source, { nodeid: await paths.resolve(to), fh: 0, offset: target }, length)
      }
      const expected = () => model.copy(from, offset, to, target, length)
      return [`copy ${from} ${offset}+${length} ${to} ${target}`, real, expected]
    },
    () => {
      const from = existing('file'), to = somePath()
      return [`link ${from} ${to}`, () => paths.link(from, to), () => model.link(from, to)]
    },
    () => {
      const path = existing('file')
      return [`unlink ${path}`, () => paths.unlink(path), () => model.unlink(path)]
    },
    () => {
      const path = existing('directory')
      return [`rmdir ${path}`, () => paths.rmdir(path), () => model.rmdir(path)]
    },
    () => {
      const from = existing(random(2) ? 'file' : 'directory')
      const to = random(2) ? somePath() : existing(random(2) ? 'file' : 'directory')
      const flags = [0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE][random(5)]
      return [`rename ${from} ${to} ${flags}`, () => paths.rename(from, to, flags), () => model.rename(from, to, flags)]
    },
  ]

  const outcome = async (act: () => unknown): Promise<string> => {
    try {
      await act()
      return 'done'
    } catch (error) {
      if (error instanceof FuseError) return error.code
      throw error
    }
  }

  /** The whole tree as text, with the contents' first difference in plain sight. */
  const describeModel = (node: ModelNode, path = ''): string[] => {
    if (node.kind === 'file') return [`${path} ${node.links} ${Buffer.from(node.bytes).toString('base64')}`]
    const children = [...node.names].sort(([a], [b]) => (a < b ? -1 : 1))
    const subdirectories = children.filter(([, child]) => child.kind === 'directory').length
    const described = children.flatMap(([child, below]) => describeModel(below, `${path}/${child}`))
    return [`${path}/ ${2 + subdirectories}`, ...described]
  }
  const describeReal = async (path = ''): Promise<string[]> => {
    const { mode, nlink, size } = await paths.stat(path)
    if ((mode & S_IFMT) !== S_IFDIR) {
      const content = Buffer.from(await paths.readFile(path))
      if (content.length !== size) throw new Error(`${path}: ${size} bytes by stat, ${content.length} read`)
      return [`${path} ${nlink} ${content.toString('base64')}`]
    }
    const below: string[] = []
    for (const child of await paths.readdir(path)) below.push(...await describeReal(`${path}/${child}`))
    return [`${path}/ ${nlink}`, ...below]
  }

  let succeeded = 0
  for (let step = 0; step < STEPS; step++) {
    const [what, real, expected] = steps[random(steps.length)]()
    const want = await outcome(expected)
    const got = await outcome(real)
    if (got !== want) return t.fail(`step ${step}: ${what}: ${got}, and it should be ${want}`)
    if (want === 'done') succeeded++
    // Orphans that the kernel still knows count as inodes: as it does under pressure, it forgets.
    await kernel.forgetAll()
    if (memfs.usage.inodes !== model.nodes().size) {
      return t.fail(`step ${step}: ${what}: ${memfs.usage.inodes} inodes, and there should be ${model.nodes().size}`)
    }
    if (step % 500 === 0 || step === STEPS - 1) {
      const [is, should] = [await describeReal(), describeModel(model.root)]
      if (is.join('\n') !== should.join('\n')) return t.same(is, should, `the tree after step ${step}: ${what}`)
    }
  }
  t.ok(succeeded > STEPS / 4, `enough of the steps do something: ${succeeded}`)
  await paths.empty('/')
  await kernel.forgetAll()
  t.same(memfs.usage, { bytes: 0, inodes: 1 }, 'nothing is left')
  t.equal(kernel.openCount, 0)
})
