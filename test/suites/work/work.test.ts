// SPDX-License-Identifier: MIT
/**
 * Real work on StackFS mounts: as root on root's mount, and as an ordinary user on a mount that this user made
 * through fusermount3. Each script stands alone: `test/suites/work/tree.sh DIRECTORY` works on any directory.
 */
import { chownSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  argument, demand, environmentOf, needRoot, only, ordinaryUser, packageFor, patience, share, standOn, target, temporaryDirectory,
  type GroundOptions, type User,
} from '../ground.js'

// Every step has its own limit; the file as a whole has none.
t.setTimeout(0)

needRoot()

interface Work {
  script: string
  /** Seconds it may take, in each share. */
  seconds: [ci: number, full: number]
  /** It looks behind the mount, so it needs one. */
  mountOnly?: boolean
  ground?: GroundOptions
  /** Other ways to serve that it is to be done on too, as root: name → mount options. */
  modes?: Readonly<Record<string, string>>
}

/** How data may go between a file's users and the server, besides passthrough, the default where root serves. */
const DATA_MODES = {
  'through the server': 'allow_other,default_permissions,passthrough=off',
  'over io_uring': 'allow_other,default_permissions,rings=uring,passthrough=off',
  'past the page cache, over io_uring': 'allow_other,default_permissions,rings=uring,direct_io',
  'written back': 'allow_other,default_permissions,writeback_cache',
}

const works: Work[] = share === 'small' && only === '' ? [{ script: 'sample', seconds: [180, 180] }] : [
  { script: 'tree', seconds: [180, 3600] },
  { script: 'git', seconds: [180, 1800] },
  { script: 'npm', seconds: [300, 900] },
  { script: 'sqlite', seconds: [180, 1800], modes: { 'over io_uring': DATA_MODES['over io_uring'] } },
  { script: 'build', seconds: [240, 900] },
  { script: 'fio', seconds: [180, 3600], modes: DATA_MODES },
  { script: 'stress', seconds: [120, 1800] },
  { script: 'escape', seconds: [120, 900], mountOnly: true },
  { script: 'many-inodes', seconds: [120, 1800], ground: { openFiles: 256 } },
]

/** Downloads, kept from run to run outside the repository. */
const downloads = process.env.EFUSE_SUITES_CACHE ?? '/var/cache/efuse-suites'

async function perform(work: Work, user: User | undefined, mode?: string): Promise<void> {
  const who = user?.name ?? 'root'
  const seconds = work.seconds[share === 'full' ? 1 : 0]
  const timeout = (seconds + 120) * 1000 * patience
  await t.test(`${work.script} as ${who}${mode === undefined ? '' : `, ${mode}`}`, { timeout }, async (t) => {
    if (target !== undefined && work.mountOnly) return void t.pass('looks behind a mount, and this is none')
    const options = mode === undefined ? undefined : work.modes![mode]
    const ground = await standOn(t, { ...work.ground, user, ...(options && { options }) })
    const own = temporaryDirectory(t, user)
    const env = {
      ...environmentOf(user, own),
      WORK: join(own, 'work'),
      CACHE: join(downloads, who),
      BEHIND: ground.source,
    }
    for (const path of [env.WORK, env.CACHE]) {
      mkdirSync(path, { recursive: true })
      if (user !== undefined) chownSync(path, user.uid, user.gid)
    }
    const script = join(await packageFor(user), 'test/suites/work', `${work.script}.sh`)
    try {
      await demand('bash', [script, ground.directory, share], { user, env, seconds })
      t.pass(`${work.script} is clean`)
    } catch (error) {
      t.fail(`${work.script} is clean`, { said: (error as Error).message.split('\n') })
    }
    await ground.leave()
  })
}

const whose = argument('user')
for (const user of [undefined, ordinaryUser]) {
  if (whose !== undefined && whose !== (user?.name ?? 'root')) continue
  for (const work of works) {
    if (!work.script.includes(only)) continue
    await perform(work, user)
    if (user !== undefined || target !== undefined) continue
    for (const mode of Object.keys(work.modes ?? {})) await perform(work, user, mode)
  }
}
