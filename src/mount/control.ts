// SPDX-License-Identifier: MIT
/**
 * The control socket of a mount: how `efuse list`, `stat` and `umount` reach its server.
 *
 * A Unix socket named after the file system's device number, which is unique on the machine, for
 * the server's own user only. One JSON object a line each way: `{"command": "report"}` is answered
 * by `{"result": ...}` or `{"error": "...", "code": "..."}`. A connection that stays open ends with the server.
 */
import { chmodSync, lstatSync, mkdirSync, readdirSync, unlinkSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { once } from 'node:events'
import type { Policy } from '../bpf/balance.js'
import type { Handover, Hooks } from './hooks.js'
import type { ServerLoad } from './load.js'
import type { MountReport, ProgramReport } from './report.js'

/** How long a server may take to answer, milliseconds. */
const ANSWER_TIMEOUT = 3000
const LONGEST_LINE = 1 << 20

/** Who serves a mount. */
export interface ServerIdentity {
  pid: number
  /** Whether the process ends when the mount does: one made by `efuse mount` does. */
  exits: boolean
  /** The program that serves a mount of `efuse exec`; its pid is that of the process beside it. */
  program?: string
}

/** What a mount's control socket can be asked for. */
export interface ControlCommands {
  report(): MountReport | ProgramReport
  /** All counters, for who watches them change; another program's server tells none. */
  load?(): ServerLoad
  server: ServerIdentity
  /** Ends the server without delay: who uses the mount gets errors. */
  abort?(): void
  /** A remount has changed the mount's flags. */
  remounted?(): void
  /** Another way of choosing rings. */
  policy?(wish: { policy: Policy } | Omit<Handover, 'link'>): Promise<void>
  /** The programs on the mount; null where its type takes none. */
  hooks: Hooks | null
}

/** The directory of this user's sockets; made if need be, and only used when it is the user's own. */
export function controlDirectory(create: boolean): string | null {
  const uid = process.geteuid!()
  for (const path of directoriesOf(uid)) {
    try {
      if (create) {
        try {
          mkdirSync(path, { mode: 0o700 })
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
        }
      }
      const status = lstatSync(path)
      // In /tmp somebody else could have been first.
      if (status.isDirectory() && status.uid === uid && (status.mode & 0o022) === 0) return path
    } catch {
      continue
    }
  }
  return null
}

function directoriesOf(uid: number): string[] {
  if (uid === 0) return ['/run/efuse', '/tmp/efuse-0']
  const runtime = process.env.XDG_RUNTIME_DIR
  return [...(runtime?.startsWith('/') ? [`${runtime}/efuse`] : []), `/run/user/${uid}/efuse`, `/tmp/efuse-${uid}`]
}

/** Every directory that sockets may be in which this user could use: root looks at everybody's. */
function searchedDirectories(): string[] {
  const uid = process.geteuid!()
  const paths = new Set(directoriesOf(uid))
  paths.add('/run/efuse')
  if (uid === 0) {
    for (const user of entriesOf('/run/user')) paths.add(`/run/user/${user}/efuse`)
    for (const name of entriesOf('/tmp')) if (/^efuse-\d+$/.test(name)) paths.add(`/tmp/${name}`)
  }
  return [...paths]
}

function entriesOf(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function nameOf(device: string): string {
  return `${device.replace(':', '-')}.sock`
}

export class Control {
  constructor(
    private readonly server: Server,
    private readonly path: string,
    private readonly connections: Set<Socket>,
  ) {}

  async close(): Promise<void> {
    for (const connection of this.connections) connection.destroy()
    this.server.close()
    this.remove()
  }

  /** For a process that is ending. */
  closeNow(): void {
    this.remove()
  }

  private remove(): void {
    try {
      unlinkSync(this.path)
    } catch {
      // Gone already.
    }
  }
}

/** @returns null where there is no directory for it: the mount works all the same */
export async function openControl(device: string, commands: ControlCommands): Promise<Control | null> {
  const directory = controlDirectory(true)
  if (directory === null) return null
  const path = `${directory}/${nameOf(device)}`
  try {
    // The device number is ours alone: a socket of its name was left by a server that died.
    unlinkSync(path)
  } catch {
    // None was.
  }
  const connections = new Set<Socket>()
  const server = createServer((connection) => {
    connections.add(connection)
    connection.unref()
    connection.on('error', () => connection.destroy())
    connection.on('close', () => connections.delete(connection))
    answer(connection, commands)
  })
  try {
    server.listen(path)
    await once(server, 'listening')
    chmodSync(path, 0o600)
  } catch {
    return null
  }
  server.unref()
  return new Control(server, path, connections)
}

function answer(connection: Socket, commands: ControlCommands): void {
  let text = ''
  connection.setEncoding('utf8')
  connection.on('data', (part: string) => {
    text += part
    if (text.length > LONGEST_LINE) {
      connection.destroy()
      return
    }
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const line = text.slice(0, end)
      text = text.slice(end + 1)
      void reply(line, commands).then((message) => connection.write(`${JSON.stringify(message)}\n`))
    }
  })
}

async function reply(line: string, commands: ControlCommands): Promise<object> {
  try {
    const { command, ...parameters } = JSON.parse(line) as { command?: unknown }
    switch (command) {
      case 'report':
        return { result: commands.report() }
      case 'load':
        if (commands.load === undefined) return { error: 'another program serves this mount', code: 'ENOTSUP' }
        return { result: commands.load() }
      case 'server':
        return { result: commands.server }
      case 'abort':
        if (commands.abort === undefined) return { error: 'this server does not end on demand' }
        setImmediate(commands.abort)
        return { result: null }
      case 'remounted':
        commands.remounted?.()
        return { result: null }
      case 'hooks':
        return { result: hooksOf(commands).list() }
      case 'token':
        return { result: String(hooksOf(commands).token()) }
      case 'adopt':
        hooksOf(commands).adopt(parameters as unknown as Handover)
        return { result: null }
      case 'policy':
        if (commands.policy === undefined) return { error: 'this mount has no rings to choose from', code: 'ENOTSUP' }
        await commands.policy(parameters as unknown as { policy: Policy } | Handover)
        return { result: null }
      case 'detach':
        return { result: hooksOf(commands).detach((parameters as { name?: string }).name) }
      default:
        return { error: `unknown command ${JSON.stringify(command)}` }
    }
  } catch (error) {
    return { error: (error as Error).message, code: (error as NodeJS.ErrnoException).code }
  }
}

function hooksOf({ hooks }: ControlCommands): Hooks {
  if (hooks === null) throw new Error('this mount is not of type efuse: it takes no programs')
  return hooks
}

/** A connection to a mount's server. */
export class ControlClient {
  private readonly lines: AsyncIterator<string>
  /** Resolves when the server has closed the connection. */
  readonly closed: Promise<void>

  private constructor(private readonly socket: Socket) {
    this.closed = new Promise((resolve) => { socket.once('close', () => resolve()) })
    this.lines = createInterface({ input: socket, crlfDelay: Infinity })[Symbol.asyncIterator]()
  }

  static async connectTo(path: string): Promise<ControlClient> {
    const socket = connect(path)
    await once(socket, 'connect')
    socket.on('error', () => socket.destroy())
    return new ControlClient(socket)
  }

  /** @throws Error with the server's `code`, if any */
  async ask<T>(command: string, parameters: object = {}): Promise<T> {
    this.socket.write(`${JSON.stringify({ command, ...parameters })}\n`)
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('the server does not answer')), ANSWER_TIMEOUT)
    })
    try {
      const { value, done } = await Promise.race([this.lines.next(), timeout])
      if (done) throw new Error('the server has closed the connection')
      const message = JSON.parse(value) as { result?: T; error?: string; code?: string }
      if (message.error !== undefined) throw Object.assign(new Error(message.error), { code: message.code })
      return message.result as T
    } finally {
      clearTimeout(timer)
    }
  }

  close(): void {
    this.socket.destroy()
  }
}

export type Found = { client: ControlClient } | { refused: true } | null

/** Finds a mount's server. `refused`: there is one, of another user. */
export async function findServer(device: string): Promise<Found> {
  let refused = false
  for (const directory of searchedDirectories()) {
    const path = `${directory}/${nameOf(device)}`
    try {
      return { client: await ControlClient.connectTo(path) }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EACCES') refused = true
      if (code === 'ECONNREFUSED') removeStale(path)
    }
  }
  return refused ? { refused } : null
}

/** The servers that this user may ask, each with its device number. */
export async function allServers(): Promise<{ device: string; client: ControlClient }[]> {
  const found: { device: string; client: ControlClient }[] = []
  for (const directory of searchedDirectories()) {
    for (const name of entriesOf(directory)) {
      const match = /^(\d+)-(\d+)\.sock$/.exec(name)
      if (match === null) continue
      const path = `${directory}/${name}`
      try {
        found.push({ device: `${match[1]}:${match[2]}`, client: await ControlClient.connectTo(path) })
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') removeStale(path)
      }
    }
  }
  return found
}

/** A socket whose server died without a word. */
function removeStale(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // Somebody else's, or gone.
  }
}
