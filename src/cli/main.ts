// SPDX-License-Identifier: MIT
/** The command line: `efuse COMMAND ...`, or `efuse SOURCE MOUNTPOINT -o ...` as mount(8) calls it. */
import { release } from 'node:os'
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import type { BenchOptions } from '../../bench/bench.js'
import type { AttachArguments } from './bpf.js'
import type { ExecArguments } from './exec.js'
import { EXIT_USAGE, Failure } from './failure.js'
import type { BuildOptions } from './kernel.js'
import type { MountArguments } from './mount.js'

/** Not for people: mount(8)'s helper calls itself that. */
const HELPER = 'mount.fuse.efuse'
const EXIT_FAILED = 1

function workers(value: string): number | 'auto' {
  if (value === 'auto') return value
  if (!/^[1-9]\d{0,2}$/.test(value)) throw new InvalidArgumentError('It is "auto" or a number from 1 to 999.')
  return Number(value)
}

function seconds(value: string): number {
  const number = Number(value)
  if (!(number >= 0.1 && number <= 3600)) throw new InvalidArgumentError('It is a number of seconds from 0.1 to 3600.')
  return number
}

function benchSeconds(value: string): number {
  const number = Number(value)
  if (!(number >= 0.02 && number <= 600)) throw new InvalidArgumentError('It is a number of seconds from 0.02 to 600.')
  return number
}

function rounds(value: string): number {
  if (!/^[1-9]\d?$/.test(value)) throw new InvalidArgumentError('It is a number from 1 to 99.')
  return Number(value)
}

function again(value: string, previous: string[]): string[] {
  return [...previous, value]
}

/** Commands are loaded when they run: one needs what another does without, such as the native addon. */
function build(): Command {
  const program = new Command('efuse')
    .description('FUSE file systems in TypeScript')
    .exitOverride()
    .showSuggestionAfterError(false)
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'efuse: ')) })
    .helpCommand(false)
    // What stands behind `--` is another program's.
    .enablePositionalOptions()

  program.command('mount', { isDefault: false })
    .description('serve SOURCE at MOUNTPOINT; returns when it answers')
    .argument('SOURCE', 'the directory to serve; for a module, whatever it takes')
    .argument('MOUNTPOINT', 'an existing directory or file')
    .option('-f, --foreground', 'stay in the foreground and log to stderr', false)
    .option('-o, --options <list>', 'mount options, as in fstab', again, [])
    .option('--fs <name>', 'stackfs, memfs or a module (./mod.js)', 'stackfs')
    .addOption(new Option('--type <type>', 'the kernel file system').choices(['auto', 'fuse', 'efuse']).default('auto'))
    .addOption(new Option('--rings <kind>', 'how requests come').choices(['auto', 'dev', 'uring']).default('auto'))
    .option('--workers <number>', 'threads that serve: auto is one per CPU', workers, 'auto')
    .addOption(new Option('--passthrough <use>', 'let the kernel read and write the files itself')
      .choices(['auto', 'on', 'off']).default('auto'))
    .option('--accel <kinds>', 'auto, off, or any of metadata,data,balance', 'auto')
    .option('--data <settings>', 'of --accel data: policy=adaptive|cache|direct|off:memory=64M:limit=32K')
    .addOption(new Option('--coherence <kind>', 'who else changes SOURCE')
      .choices(['shared', 'watched', 'exclusive']).default('shared'))
    .option('--metrics <[host:]port>', 'serve metrics for Prometheus, on 127.0.0.1 unless a host is given')
    .action(async (source: string, mountpoint: string, options: MountArguments) => {
      await (await import('./mount-background.js')).mount(source, mountpoint, options)
    })

  program.command('umount')
    .description('unmount; returns when the server has exited')
    .argument('MOUNTPOINT')
    .option('--force', 'even if it is in use: who uses it gets errors', false)
    .action(async (mountpoint: string, options: { force: boolean }) => {
      await (await import('./umount.js')).umount(mountpoint, options.force)
    })

  program.command('list')
    .description('the mounts that eFuse serves')
    .option('--json', 'as JSON', false)
    .action(async (options: { json: boolean }) => {
      await (await import('./inspect.js')).list(options.json)
    })

  program.command('stat')
    .description('how a mount is served, and what it was asked')
    .argument('MOUNTPOINT')
    .option('--json', 'as JSON', false)
    .option('--seconds <number>', 'how long to watch, where the server is another program', seconds, 1)
    .action(async (mountpoint: string, options: { json: boolean; seconds: number }) => {
      await (await import('./inspect.js')).stat(mountpoint, options)
    })

  program.command('top')
    .description('the load of any FUSE mount, live')
    .argument('[MOUNTPOINT]', 'without one: all of them')
    .option('--all', 'all FUSE mounts', false)
    .option('--interval <seconds>', 'between two looks', seconds, 1)
    .action(async (mountpoint: string | undefined, options: { all: boolean; interval: number }) => {
      await (await import('./top.js')).top(mountpoint, options)
    })

  program.command('doctor')
    .description('what this machine offers, what is missing and how to get it')
    .option('--json', 'as JSON', false)
    .option('--fix', 'mend what can be mended', false)
    .action(async (options: { json: boolean; fix: boolean }) => {
      await (await import('./doctor.js')).doctor(options)
    })

  program.command('exec')
    .description('run an unmodified libfuse 3 program on a mount of type efuse; {} or MOUNTPOINT in its arguments is where')
    .usage('[options] MOUNTPOINT -- PROGRAM ARGS...')
    .argument('MOUNTPOINT', 'an existing directory or file')
    .argument('PROGRAM', 'the program, in the foreground or not')
    .argument('[ARGS...]', "its arguments; {} or MOUNTPOINT stands where it takes its mountpoint")
    .option('-o, --options <list>', 'mount options that are the kernel\'s; others go to the program', again, [])
    .option('--accel <kinds>', 'auto, off, or any of metadata,data,balance', 'auto')
    .addOption(new Option('--coherence <kind>', 'who else changes what the program serves')
      .choices(['shared', 'exclusive']).default('shared'))
    .action(async (mountpoint: string, name: string, args: string[], options: ExecArguments) => {
      await (await import('./exec.js')).execCommand(mountpoint, name, args, options)
    })

  program.command('bench')
    .description('measure eFuse, plain FUSE and ext4 here, and write a page about it; run again, it goes on where it was')
    .option('--suite <names>', 'only these of single-core, multi-core, metadata, mixes, micro; comma between')
    .option('--out <folder>', 'where the report goes', 'efuse-bench')
    .addOption(new Option('--where <place>', "the machine's own kernel, or the lab's guest; auto: both, as needed")
      .choices(['auto', 'native', 'lab']).default('auto'))
    .option('--systems <names>', 'only these, comma between')
    .option('--only <texts>', 'only loads whose names contain one of these; comma between')
    .option('--rounds <number>', 'how often each system is measured', rounds, 5)
    .option('--seconds <number>', 'of each load on each system in each round', benchSeconds, 1)
    .option('--directory <folder>', 'where the data lie: on the file system that is served', '/var/tmp')
    .option('--compare <folder>', "measure nothing: does the report in --out agree with this folder's?")
    .option('--smoke', 'does the machinery work: small data, figures mean nothing', false)
    .action(async (options: BenchOptions) => {
      await (await import('./bench.js')).benchCommand(options)
    })

  const bpf = program.command('bpf').description('your own BPF programs on a mount of type efuse: attach|detach|list|policy')
  bpf.command('attach')
    .description('load an object and attach its hooks, until it is detached or unmounted')
    .argument('MOUNTPOINT')
    .argument('OBJECT', 'a compiled program with a struct efuse_ops, such as hide.bpf.o')
    .option('--replace', 'in place of what is attached under its name, in one step', false)
    .option('--set <name=value>', "sets one of the program's knobs", again, [])
    .option('--verbose', "show the verifier's whole log when it is refused", false)
    .action(async (mountpoint: string, object: string, options: AttachArguments) => {
      process.stdout.write(await (await import('./bpf.js')).attach(mountpoint, object, options))
    })
  bpf.command('detach')
    .description('detach by name, or all')
    .argument('MOUNTPOINT')
    .argument('[NAME]', "an attachment's name, or the object that was attached")
    .action(async (mountpoint: string, name: string | undefined) => {
      process.stdout.write(await (await import('./bpf.js')).detach(mountpoint, name))
    })
  bpf.command('list')
    .description('what is attached: hooks, owner, counters')
    .argument('MOUNTPOINT')
    .option('--json', 'as JSON', false)
    .action(async (mountpoint: string, options: { json: boolean }) => {
      process.stdout.write(await (await import('./bpf.js')).list(mountpoint, options.json))
    })
  bpf.command('policy')
    .description('how requests are spread over rings (--accel balance)')
    .argument('MOUNTPOINT')
    .argument('[POLICY]', 'local, round-robin, least-loaded, adaptive, or an object with select_queue; default: say which')
    .action(async (mountpoint: string, policy: string | undefined) => {
      process.stdout.write(await (await import('./bpf.js')).policy(mountpoint, policy))
    })

  const kernel = program.command('kernel').description('the kernel module efuse.ko: build|load|unload|status')
  kernel.command('build')
    .description('build it for a kernel, whose headers and source (linux-source) are installed')
    .option('--kernel <version>', 'by default the running one', release())
    .option('--source <path>', "the kernel's source, an archive or a folder, where it is not in Debian's place")
    .action(async (options: BuildOptions) => {
      (await import('./kernel.js')).build(options)
    })
  kernel.command('load')
    .description('load it, as built or as installed')
    .action(async () => {
      (await import('./kernel.js')).load()
    })
  kernel.command('unload')
    .description('unload it')
    .action(async () => {
      await (await import('./kernel.js')).unload()
    })
  kernel.command('status')
    .description('whether it is built, installed, loaded and used')
    .option('--json', 'as JSON', false)
    .action(async (options: { json: boolean }) => {
      (await import('./kernel.js')).status(options)
    })

  // Settings made on the program are taken over by commands that exist by then only in part.
  for (const command of [...program.commands, ...kernel.commands, ...bpf.commands]) command.copyInheritedSettings(program)
  return program
}

/** mount(8) and its like name no command: two operands come first. */
function withCommand(program: Command, args: string[]): string[] {
  const [first] = args
  const isCommand = program.commands.some((command) => command.name() === first)
  return first === undefined || isCommand || first.startsWith('-') ? args : ['mount', ...args]
}

async function main(): Promise<number> {
  const program = build()
  const args = process.argv.slice(2)
  try {
    if (args[0] === HELPER) await (await import('./mount-helper.js')).mountHelper(args.slice(1))
    else await program.parseAsync(withCommand(program, args), { from: 'user' })
    return typeof process.exitCode === 'number' ? process.exitCode : 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE
    const { message } = error as Error
    process.stderr.write(`efuse: ${message.split('\n')[0]}\n`)
    return error instanceof Failure ? error.status : EXIT_FAILED
  }
}

process.exitCode = await main()
