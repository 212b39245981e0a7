// SPDX-License-Identifier: MIT
/**
 * `efuse bpf attach|detach|list|policy`: people's own programs on the hooks of a mount of type efuse.
 *
 * This process loads the program, so that the kernel judges its caller's right to do so; the mount's server gives the
 * token before, and holds the link afterwards (src/mount/hooks.ts). Each command returns what it has to say.
 */
import { existsSync } from 'node:fs'
import { userInfo } from 'node:os'
import { resolve } from 'node:path'
import { POLICIES } from '../bpf/balance.js'
import { BpfError } from '../bpf/error.js'
import { HookProgram, type HookName } from '../bpf/hooks.js'
import { HeldLink, idOf } from '../bpf/ids.js'
import type { BpfVariables } from '../bpf/variables.js'
import { findServer, type ControlClient } from '../mount/control.js'
import type { AttachmentReport, Handover } from '../mount/hooks.js'
import { kernelTypeOfMount } from '../mount/kernel-type.js'
import type { MountReport } from '../mount/report.js'
import { Failure, WrongUsage } from './failure.js'
import { table } from './table.js'
import { fuseMountAt } from './umount.js'

/** Name of the balance accelerator's attachment. */
const BALANCE = 'balance'

export interface AttachArguments {
  /** Takes the place of what is attached under the same name. */
  replace: boolean
  /** Knobs, `NAME=VALUE`. */
  set: string[]
  /** The whole log of a load that failed goes to stderr. */
  verbose: boolean
}

export async function attach(mountpoint: string, path: string, args: AttachArguments): Promise<string> {
  using server = await serverOf(mountpoint)
  const program = await open(path)
  try {
    setKnobs(program.object.knobs, args.set)
    const attached = await server.client.ask<AttachmentReport[]>('hooks')
    const same = attached.find(({ name }) => name === program.name)
    if (same !== undefined && !args.replace) {
      throw new Failure(`"${program.name}" is attached to ${mountpoint} already: use --replace, or detach it first`)
    }
    checkSlots(mountpoint, program, attached)
    const link = await load(mountpoint, server.client, program, same, args.verbose)
    const handover: Handover = {
      link: idOf(link.fd), name: program.name, owner: userInfo().username, object: resolve(path), counters: program.counters(),
    }
    await server.client.ask('adopt', handover)
    return `${same === undefined ? 'attached' : 'replaced'} ${program.name}: ${program.hooks.join(', ')}\n`
  } finally {
    program.close()
  }
}

async function open(path: string): Promise<HookProgram> {
  if (!existsSync(path)) throw new Failure(`${path} does not exist: name a compiled object, such as hide.bpf.o`)
  try {
    return await HookProgram.open(path)
  } catch (error) {
    throw new Failure(`${path} can't be attached: ${(error as Error).message}`)
  }
}

async function load(
  mountpoint: string, client: ControlClient, program: HookProgram, same: AttachmentReport | undefined, verbose: boolean,
): Promise<{ readonly fd: number }> {
  try {
    if (same === undefined) return program.attach(BigInt(await client.ask<string>('token')))
    if (same.link === null) throw new Failure(`"${same.name}" was attached by another program, which alone can replace it`)
    return program.replace(HeldLink.byId(same.link))
  } catch (error) {
    if (!(error instanceof BpfError)) throw error
    if (verbose) process.stderr.write(`${error.log.trimEnd()}\n`)
    if (error.code === 'EBUSY') {
      // Somebody was faster.
      checkSlots(mountpoint, program, await client.ask<AttachmentReport[]>('hooks'))
    }
    throw new Failure(`${program.object.name} can't be attached to ${mountpoint}: ${error.message}`
      + (verbose || error.log === '' ? '' : ' (--verbose shows the whole log)'))
  }
}

/** @throws Failure when somebody else has a hook that the program fills */
function checkSlots(mountpoint: string, program: HookProgram, attached: readonly AttachmentReport[]): void {
  const taken = attached.filter(({ name }) => name !== program.name).flatMap(({ name, hooks }) =>
    hooks.filter((hook) => program.hooks.includes(hook)).map((hook): [HookName, string] => [hook, name]))
  if (taken.length === 0) return
  const [hook, holder] = taken[0]
  const more = taken.length > 1 ? ` (and ${taken.slice(1).map(([other, name]) => `${other} by "${name}"`).join(', ')})` : ''
  throw new Failure(`the hook ${hook} is taken by "${holder}"${more}: detach it first with `
    + `"efuse bpf detach ${mountpoint} ${holder}"`)
}

/** Sets knobs, `const volatile` variables, from text. @throws WrongUsage */
function setKnobs(knobs: BpfVariables, settings: readonly string[]): void {
  for (const setting of settings) {
    const [, name, value] = /^([^=]+)=(.*)$/s.exec(setting) ?? []
    if (name === undefined) throw new WrongUsage(`--set ${setting}: it is NAME=VALUE`)
    if (!knobs.has(name)) throw new WrongUsage(`--set ${name}: the program's knobs are ${knobs.names.join(', ') || 'none'}`)
    try {
      knobs.set(name, valueLike(knobs.get(name), value))
    } catch (error) {
      throw new WrongUsage(`--set ${name}=${value}: ${(error as Error).message}`)
    }
  }
}

/** Text as a value of the type that another has. */
function valueLike(model: unknown, text: string): string | bigint | boolean {
  if (typeof model === 'string') return text
  if (typeof model === 'boolean') return text === 'true' || text === '1'
  if (typeof model === 'bigint' || typeof model === 'number') return BigInt(text)
  throw new TypeError('only numbers, text and yes or no can be set')
}

/** @param what a name, or the object that was attached; without it: all */
export async function detach(mountpoint: string, what?: string): Promise<string> {
  using server = await serverOf(mountpoint)
  const name = what === undefined ? undefined : await nameOf(what, await server.client.ask<AttachmentReport[]>('hooks'))
  const names = await server.client.ask<string[]>('detach', { name })
  return names.map((one) => `detached ${one}\n`).join('')
}

/** Which attachment is meant by a name or by an object's path. */
async function nameOf(what: string, attached: readonly AttachmentReport[]): Promise<string> {
  if (attached.some(({ name }) => name === what)) return what
  const path = resolve(what)
  const byPath = attached.find(({ object }) => object === path)
  if (byPath !== undefined) return byPath.name
  if (!existsSync(path)) return what
  using program = await open(path)
  return program.name
}

export async function list(mountpoint: string, json: boolean): Promise<string> {
  using server = await serverOf(mountpoint)
  const attached = await server.client.ask<AttachmentReport[]>('hooks')
  if (json) return `${JSON.stringify(attached, null, 2)}\n`
  if (attached.length === 0) return ''
  return `${table(['NAME', 'HOOKS', 'OWNER', 'SINCE', 'COUNTERS'], attached.map(
    ({ name, hooks, owner, since, counters }) => [
      name, hooks.join(','), owner ?? 'another program', since === null ? '-' : localTime(since),
      Object.entries(counters).map(([counter, value]) => `${counter}=${value}`).join(' '),
    ]))}\n`
}

function localTime(iso: string): string {
  const time = new Date(iso)
  return new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace('T', ' ')
}

/**
 * Chooses how requests are spread over rings, or says how they are.
 * @param wish a policy's name, or an object whose program has the hook select_queue
 */
export async function policy(mountpoint: string, wish?: string): Promise<string> {
  using server = await serverOf(mountpoint)
  const { client } = server
  if (wish === undefined) {
    const { kernel, accelerators } = await client.ask<MountReport>('report')
    if (kernel.balance === null) throw new Failure(`${mountpoint} is not balanced: ${accelerators.balance.why}`)
    return `${kernel.balance.policy}\n`
  }
  if ((POLICIES as readonly string[]).includes(wish)) {
    await client.ask('policy', { policy: wish })
    return `policy: ${wish}\n`
  }
  if (!wish.endsWith('.o')) throw new WrongUsage(`policy ${wish}: it is one of ${POLICIES.join(', ')}, or a compiled object`)
  const program = await open(wish)
  try {
    if (!program.hooks.includes('select_queue')) throw new Failure(`${wish} has no select_queue, which chooses the ring`)
    const attached = await client.ask<AttachmentReport[]>('hooks')
    const balance = attached.find(({ name }) => name === BALANCE)
    if (balance?.link == null) {
      throw new Failure(`${mountpoint} is not balanced: mount it with --rings uring --accel balance, or attach `
        + `the program with "efuse bpf attach ${mountpoint} ${wish}"`)
    }
    // In its place, it has its name: that is how one policy after the other is the same attachment.
    program.rename(BALANCE)
    await load(mountpoint, client, program, balance, false)
    const handover: Omit<Handover, 'link'> = {
      name: BALANCE, owner: userInfo().username, object: resolve(wish), counters: program.counters(),
    }
    await client.ask('policy', handover)
    return `policy: ${program.name} of ${wish}\n`
  } finally {
    program.close()
  }
}

/** The server of an efuse mount. @throws Failure */
async function serverOf(mountpoint: string): Promise<{ client: ControlClient } & Disposable> {
  const entry = fuseMountAt(mountpoint)
  if (kernelTypeOfMount(entry.type) !== 'efuse') {
    throw new Failure(`${mountpoint} is of type ${entry.type}, which takes no programs: mount it with --type efuse `
      + '("efuse kernel load" brings that)')
  }
  const found = await findServer(entry.device)
  if (found === null) {
    throw new Failure(`${mountpoint} has no eFuse server that could attach programs: start its program with "efuse exec"`)
  }
  if ('refused' in found) throw new Failure(`${mountpoint} is another user's: ask as that user, or as root`)
  const { client } = found
  return { client, [Symbol.dispose]: () => client.close() }
}
