// SPDX-License-Identifier: MIT
/**
 * Whole-path operations over a ScriptedKernel: what open(2), readdir(3) and the like become,
 * fall-backs of the kernel for requests that a file system does not serve included.
 */
import { S_IFDIR, S_IFMT, S_IFREG } from '../protocol/constants.js'
import { FuseError } from '../fs/errors.js'
import { isErrno, type KernelAttr, type KernelDirent, type KernelEntry, type ScriptedKernel, type Wide } from './scripted-kernel.js'

const O_WRONLY = 1
const O_RDWR = 2
const UTF8 = new TextEncoder()

/** What the kernel makes of ENOSYS in requests that it can do without. */
async function orWithout<T>(attempt: Promise<T>, instead: () => T | Promise<T>): Promise<T> {
  try {
    return await attempt
  } catch (error) {
    if (isErrno(error, 'ENOSYS')) return instead()
    throw error
  }
}

export class Paths {
  constructor(private readonly kernel: ScriptedKernel) {}

  /** The nodeid of a path. Symbolic links are not followed. */
  async resolve(path: string): Promise<Wide> {
    let nodeid: Wide = 1
    for (const name of split(path)) nodeid = (await this.find(nodeid, name)).nodeid
    return nodeid
  }

  private async find(parent: Wide, name: string): Promise<KernelEntry> {
    const entry = await this.kernel.lookup(parent, name)
    if (entry.nodeid === 0) throw new FuseError('ENOENT')
    return entry
  }

  private async parent(path: string): Promise<{ parent: Wide; name: string }> {
    const names = split(path)
    const name = names.pop()
    if (name === undefined) throw new FuseError('EBUSY', 'the root has no name')
    return { parent: await this.resolve(names.join('/')), name }
  }

  async exists(path: string): Promise<boolean> {
    try {
      await this.resolve(path)
      return true
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return false
      throw error
    }
  }

  async stat(path: string): Promise<KernelAttr> {
    return this.kernel.getattr(await this.resolve(path))
  }

  /** Opens with the kernel's own open where the file system has none. */
  async withOpen<T>(nodeid: Wide, flags: number, use: (fh: Wide) => Promise<T>): Promise<T> {
    const { kernel } = this
    let served = true
    const { fh } = await orWithout(kernel.open(nodeid, flags), () => {
      served = false
      return { fh: 0, openFlags: 0, backingId: 0 }
    })
    try {
      const result = await use(fh)
      await orWithout(kernel.flush(nodeid, fh), () => {})
      return result
    } finally {
      if (served) await orWithout(kernel.release(nodeid, fh, flags), () => {})
    }
  }

  /** @param chunk bytes per FUSE_READ */
  async readFile(path: string, chunk = 65536): Promise<Uint8Array> {
    const nodeid = await this.resolve(path)
    return this.withOpen(nodeid, 0, async (fh) => {
      const { size } = await this.kernel.getattr(nodeid)
      const parts: Uint8Array[] = []
      for (let offset = 0; ;) {
        const part = await this.kernel.read(nodeid, fh, offset, chunk)
        parts.push(part)
        offset += part.length
        if (part.length < chunk) return Buffer.concat(parts)
        if (offset > size) throw new FuseError('EIO', `a file of ${size} bytes has more than ${offset}`)
      }
    })
  }

  async readText(path: string): Promise<string> {
    return new TextDecoder().decode(await this.readFile(path))
  }

  /** Makes or replaces a file. */
  async writeFile(path: string, content: string | Uint8Array, mode = 0o644): Promise<Wide> {
    const data = typeof content === 'string' ? UTF8.encode(content) : content
    const { kernel } = this
    const { parent, name } = await this.parent(path)
    const existing = await this.find(parent, name).catch((error) => {
      if (isErrno(error, 'ENOENT')) return null
      throw error
    })
    if (existing !== null) {
      return this.withOpen(existing.nodeid, O_WRONLY, async (fh) => {
        await kernel.setattr(existing.nodeid, { size: 0 })
        await this.writeAll(existing.nodeid, fh, data)
        return existing.nodeid
      })
    }
    let created
    try {
      created = await kernel.create(parent, name, mode, O_RDWR)
    } catch (error) {
      if (!isErrno(error, 'ENOSYS')) throw error
      const { nodeid } = await kernel.mknod(parent, name, S_IFREG | mode)
      return this.withOpen(nodeid, O_RDWR, async (fh) => {
        await this.writeAll(nodeid, fh, data)
        return nodeid
      })
    }
    const { entry: { nodeid }, open: { fh } } = created
    try {
      await this.writeAll(nodeid, fh, data)
      await orWithout(kernel.flush(nodeid, fh), () => {})
    } finally {
      await orWithout(kernel.release(nodeid, fh, O_RDWR), () => {})
    }
    return nodeid
  }

  private async writeAll(nodeid: Wide, fh: Wide, data: Uint8Array): Promise<void> {
    const most = this.kernel.dispatcher.negotiation.maxWrite
    for (let at = 0; at < data.length;) {
      const written = await this.kernel.write(nodeid, fh, at, data.subarray(at, at + most))
      if (written === 0) throw new FuseError('EIO', 'a write of nothing')
      at += written
    }
  }

  /** The names in a directory, sorted, without `.` and `..`. */
  async readdir(path: string): Promise<string[]> {
    const listed = await this.list(await this.resolve(path))
    return listed.map(({ name }) => name).filter((name) => name !== '.' && name !== '..').sort()
  }

  /**
   * Every record of a directory, in order, `.` and `..` included.
   * @param size bytes per request
   */
  async list(nodeid: Wide, size = 4096, plus = false): Promise<KernelDirent[]> {
    const { kernel } = this
    let served = true
    const { fh } = await orWithout(kernel.opendir(nodeid), () => {
      served = false
      return { fh: 0, openFlags: 0, backingId: 0 }
    })
    try {
      const all: KernelDirent[] = []
      const seen = new Set<Wide>()
      for (let offset: Wide = 0; ;) {
        const part: KernelDirent[] = plus
          ? await kernel.readdirplus(nodeid, fh, offset, size)
          : await kernel.readdir(nodeid, fh, offset, size)
        if (part.length === 0) return all
        all.push(...part)
        offset = part[part.length - 1].off
        if (seen.has(offset)) throw new FuseError('ELOOP', `the listing comes back to offset ${offset}`)
        seen.add(offset)
      }
    } finally {
      if (served) await orWithout(kernel.releasedir(nodeid, fh), () => {})
    }
  }

  async mkdir(path: string, mode = 0o755): Promise<Wide> {
    const { parent, name } = await this.parent(path)
    return (await this.kernel.mkdir(parent, name, mode)).nodeid
  }

  async unlink(path: string): Promise<void> {
    const { parent, name } = await this.parent(path)
    await this.kernel.unlink(parent, name)
  }

  async rmdir(path: string): Promise<void> {
    const { parent, name } = await this.parent(path)
    await this.kernel.rmdir(parent, name)
  }

  async rename(from: string, to: string, flags = 0): Promise<void> {
    const source = await this.parent(from)
    const target = await this.parent(to)
    await this.kernel.rename(source.parent, source.name, target.parent, target.name, flags)
  }

  async link(existing: string, path: string): Promise<Wide> {
    const nodeid = await this.resolve(existing)
    const { parent, name } = await this.parent(path)
    return (await this.kernel.link(nodeid, parent, name)).nodeid
  }

  async symlink(target: string, path: string): Promise<Wide> {
    const { parent, name } = await this.parent(path)
    return (await this.kernel.symlink(parent, name, target)).nodeid
  }

  async readlink(path: string): Promise<string> {
    return this.kernel.readlink(await this.resolve(path))
  }

  async truncate(path: string, size: number): Promise<void> {
    await this.kernel.setattr(await this.resolve(path), { size })
  }

  /** Removes all that is in a directory. */
  async empty(path: string): Promise<void> {
    await this.emptyDirectory(await this.resolve(path))
  }

  private async emptyDirectory(directory: Wide): Promise<void> {
    // By bytes: names need not be valid UTF-8.
    for (const { name, nameBytes } of await this.list(directory)) {
      if (name === '.' || name === '..') continue
      const { nodeid, attr } = await this.kernel.lookup(directory, nameBytes)
      if ((attr.mode & S_IFMT) === S_IFDIR) {
        await this.emptyDirectory(nodeid)
        await this.kernel.rmdir(directory, nameBytes)
      } else {
        await this.kernel.unlink(directory, nameBytes)
      }
    }
  }
}

function split(path: string): string[] {
  return path.split('/').filter((name) => name !== '')
}
