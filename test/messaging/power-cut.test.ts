import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { createRandom } from '../../scripts/sim/random.ts'
import { loadIdentity } from '../../src/identity/index.ts'

const CHILD = fileURLToPath(new URL('./crash-child.ts', import.meta.url))
const ROUNDS = Number(process.env['MESH_POWER_ROUNDS'] ?? 10)
const SEED = Number(process.env['MESH_POWER_SEED'] ?? Date.now() % 1_000_000)
const IMAGE_MIB = 96

describe('a node whose power fails', () => {
  const why = whySkipped()
  beforeAll(() => {
    if (why !== undefined) process.stderr.write(`power cuts are not tested: ${why}\n`)
  })

  it.skipIf(why !== undefined)(
    `has every message that was acknowledged, over ${ROUNDS} cuts of both sides, seed ${SEED}`,
    async () => {
      const disk = createDisk()
      const random = createRandom(SEED)
      const [from, to] = [await loadIdentity(key(disk.mount, 'from')), await loadIdentity(key(disk.mount, 'to'))]
      const ids = { from: from.id, to: to.id }
      const acked: string[] = []
      for (let round = 1; round <= ROUNDS; round += 1) {
        const pair = await startPair(disk.mount, ids, { first: round * 1_000_000, onAcked: (line) => acked.push(line) })
        const before = acked.length
        // Not before there is something to lose
        await expect.poll(() => acked.length, { timeout: 20_000, interval: 10 }).toBeGreaterThan(before)
        await sleep(50 + random.next() * 400)
        await disk.cutPower(() => pair.kill())
        const db = new DatabaseSync(join(disk.mount, 'from.db'))
        expect(db.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' })
        const there = new Set(
          db
            .prepare('SELECT id FROM message_out')
            .all()
            .map(({ id }) => id)
        )
        db.close()
        expect(acked.filter((line) => !there.has(line.split(' ')[2] ?? ''))).toEqual([])
      }
      await expectHandled(disk.mount, ids, acked)
    },
    60_000 + ROUNDS * 6_000
  )
})

/** All that was acknowledged is handled in the end, once, in the order of its sender. */
async function expectHandled(folder: string, ids: Ids, acked: readonly string[]): Promise<void> {
  const pair = await startPair(folder, ids)
  const waiting = (): unknown => {
    const db = new DatabaseSync(join(folder, 'to.db'), { readOnly: true })
    const row = db.prepare("SELECT count(*) AS n FROM message_in WHERE state IN ('accepted', 'delivered')").get()
    db.close()
    return row?.['n']
  }
  await expect.poll(pair.queued, { timeout: 60_000, interval: 50 }).toBe(0)
  await expect.poll(waiting, { timeout: 60_000, interval: 50 }).toBe(0)
  await pair.kill()
  const db = new DatabaseSync(join(folder, 'to.db'))
  onTestFinished(() => db.close())
  const rows = db.prepare("SELECT key, value FROM message_state WHERE agent = 'counter'").all()
  const counts = new Map(rows.map(({ key: name, value }) => [String(name), value]))
  const missing = acked.filter((line) => {
    const [agent, n] = line.split(' ')
    return !counts.has(`count ${ids.from}/${agent} ${n}`)
  })
  expect(missing).toEqual([])
  expect([...counts].filter(([name, value]) => name.startsWith('count ') && value !== '1')).toEqual([])
  expect([...counts].filter(([name]) => name.startsWith('disorder '))).toEqual([])
}

interface Ids {
  readonly from: string
  readonly to: string
}

/** Sender and receiver on the same disk. Without `first` nothing new is sent. */
async function startPair(
  folder: string,
  ids: Ids,
  { first, onAcked }: { readonly first?: number; readonly onAcked?: (line: string) => void } = {}
) {
  let queued = Number.POSITIVE_INFINITY
  const begin = (name: 'from' | 'to') => {
    const peer = name === 'from' ? ids.to : ids.from
    const args = [CHILD, folder, name, peer, ...(name === 'from' && first !== undefined ? [String(first)] : [])]
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'pryx-mesh-compile-cache') }
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const ready = Promise.withResolvers<void>()
    const lines = createInterface({ input: child.stdout }).on('line', (line) => {
      const [what = '', ...rest] = line.split(' ')
      if (what === 'ready') ready.resolve()
      if (what === 'acked') onAcked?.(rest.join(' '))
      if (what === 'queued' && name === 'from') queued = Number(rest[0])
    })
    return { child, ready: ready.promise, ended: once(lines, 'close') }
  }
  const running = [begin('from'), begin('to')]
  await Promise.all(running.map(({ ready }) => ready))
  return {
    queued: () => queued,
    /** Both at once; resolves when they are gone and everything they said is read. */
    async kill() {
      const gone = running.map(({ child, ended }) => Promise.all([exited(child), ended]))
      for (const { child } of running) child.kill('SIGKILL')
      await Promise.all(gone)
    }
  }
}

function exited(child: ChildProcess): Promise<unknown> {
  return child.exitCode === null && child.signalCode === null ? once(child, 'exit') : Promise.resolve()
}

const key = (folder: string, name: string) => ({ path: join(folder, `${name}.key`) })

/**
 * An ext4 file system in a file. After {@link cutPower} it has what had reached the file by then: what lay in the page cache
 * of the file system is gone, as after a power cut, and its journal is replayed.
 */
function createDisk() {
  const folder = mkdtempSync(join(tmpdir(), 'pm-'))
  const mount = join(folder, 'm')
  mkdirSync(mount)
  let generation = 0
  const image = (): string => join(folder, `${generation}.img`)
  run('truncate', '-s', `${IMAGE_MIB}M`, image())
  run('mkfs.ext4', '-q', '-F', image())
  run('mount', '-o', 'loop', image(), mount)
  // The keys are no part of the test
  let isMounted = true
  onTestFinished(() => {
    if (isMounted) run('umount', '--lazy', mount)
    rmSync(folder, { recursive: true, force: true })
  })
  return {
    mount,
    async cutPower(kill: () => Promise<void>) {
      const last = image()
      generation += 1
      const killed = kill()
      // At once: each moment more gives the kernel time to write what nobody has asked it to
      run('cp', '--sparse=always', last, image())
      await killed
      run('umount', mount)
      isMounted = false
      rmSync(last)
      run('mount', '-o', 'loop', image(), mount)
      isMounted = true
    }
  }
}

function run(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
}

function whySkipped(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'mounting an image needs root on Linux'
  try {
    run('mkfs.ext4', '-V')
    run('losetup', '--find')
    return undefined
  } catch {
    return 'there is no mkfs.ext4 or no loop device here'
  }
}
