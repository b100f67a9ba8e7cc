import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { loadIdentity } from '../../src/identity/index.ts'

const CHILD = fileURLToPath(new URL('./crash-child.ts', import.meta.url))
/** A hundred take a minute; few for every run of the tests at home. */
const ROUNDS = Number(process.env['MESH_CRASH_ROUNDS'] ?? (process.env['CI'] ? 100 : 20))
const SEED = Number(process.env['MESH_CRASH_SEED'] ?? Date.now() % 1_000_000)

/** mulberry32, so that a seed repeats the choices. */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

interface Running {
  readonly child: ChildProcess
  readonly ready: Promise<unknown>
}

it(`loses nothing, handles everything once and in order over ${ROUNDS} kills of either side, seed ${SEED}`, {
  timeout: 60_000 + ROUNDS * 4_000
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mesh-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const random = createRandom(SEED)
  const [from, to] = await Promise.all(
    ['from', 'to'].map((name) => loadIdentity({ path: join(folder, `${name}.key`) }))
  )
  if (from === undefined || to === undefined) throw new Error('no keys')
  const acked: string[] = []
  let queued = Number.POSITIVE_INFINITY
  const begin = (name: 'from' | 'to', first?: number): Running => {
    const peer = name === 'from' ? to.id : from.id
    const args = [CHILD, folder, name, peer, ...(first === undefined ? [] : [String(first)])]
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'pryx-mesh-compile-cache') }
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const { promise, resolve } = Promise.withResolvers<unknown>()
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [what = '', agent = '', n = ''] = line.split(' ')
      if (what === 'ready') resolve(undefined)
      if (what === 'acked') acked.push(`${from.id}/${agent} ${n}`)
      if (what === 'queued' && name === 'from') queued = Number(agent)
    })
    return { child, ready: promise }
  }
  const kill = async ({ child }: Running): Promise<void> => {
    if (child.exitCode !== null) throw new Error(`a node ended by itself with ${child.exitCode}`)
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }

  let sender = begin('from', 1_000_000)
  let receiver = begin('to')
  await Promise.all([sender.ready, receiver.ready])
  for (let round = 2; round < ROUNDS + 2; round += 1) {
    await sleep(20 + random() * 200)
    const victims = random()
    // Mostly one: a start is what a round costs
    const [killsSender, killsReceiver] = [victims < 0.55, victims > 0.45]
    await Promise.all([killsSender && kill(sender), killsReceiver && kill(receiver)])
    if (killsSender) sender = begin('from', round * 1_000_000)
    if (killsReceiver) receiver = begin('to')
    await Promise.all([sender.ready, receiver.ready])
  }
  await kill(sender)
  sender = begin('from')
  await expect.poll(() => queued, { timeout: 60_000, interval: 50 }).toBe(0)
  const open = (name: string) => new DatabaseSync(join(folder, `${name}.db`), { readOnly: true })
  const waiting = () => {
    const [to, from] = [open('to'), open('from')]
    const row = to.prepare("SELECT count(*) AS count FROM message_in WHERE state IN ('accepted', 'delivered')").get()
    const untold = from
      .prepare("SELECT count(*) AS count FROM message_out WHERE state IN ('accepted', 'delivered')")
      .get()
    to.close()
    from.close()
    return [row?.['count'], untold?.['count']]
  }
  await expect.poll(waiting, { timeout: 60_000, interval: 50 }).toEqual([0, 0])
  await Promise.all([kill(sender), kill(receiver)])

  const db = open('to')
  onTestFinished(() => db.close())
  const rows = db.prepare("SELECT key, value FROM message_state WHERE agent = 'counter'").all()
  const counts = new Map(
    rows.filter(({ key }) => String(key).startsWith('count ')).map(({ key, value }) => [String(key).slice(6), value])
  )
  // An attempt that ends with the process counts, so with bad luck five kills bury a message: that is no loss
  const dead = db
    .prepare(
      `SELECT envelope, tries, (SELECT count(*) FROM message_event WHERE message = id AND what = 'attempt') AS attempts
       FROM message_in WHERE dead_at IS NOT NULL`
    )
    .all()
    .map(({ envelope, tries, attempts }) => ({
      ...(JSON.parse(String(envelope)) as { id: string; from: string; body: { n: number } }),
      tries,
      attempts
    }))
  const buried = new Set(dead.map(({ from: sender, body }) => `${sender} ${body.n}`))
  const stateOf = (each: string): unknown => {
    const [sender = '', n = ''] = each.split(' ')
    const row = db
      .prepare(
        "SELECT state, tries, reason FROM message_in WHERE envelope LIKE ? AND json_extract(envelope, '$.from') = ?"
      )
      .get(`%"n":${n},%`, sender)
    return { each, ...row }
  }
  expect(acked.length).toBeGreaterThan(ROUNDS)
  // Each that was buried had its five attempts, four of them on record before the last, and its sender has been told of it and of no other
  expect(dead.filter(({ tries, attempts }) => tries !== 5 || Number(attempts) < 4)).toEqual([])
  const sent = open('from')
  onTestFinished(() => sent.close())
  const failed = sent.prepare("SELECT id FROM message_out WHERE state NOT IN ('processed')").all()
  expect(failed.map(({ id }) => String(id)).toSorted()).toEqual(dead.map(({ id }) => id).toSorted())
  expect(acked.filter((each) => !counts.has(each) && !buried.has(each)).map(stateOf)).toEqual([])
  expect([...counts].filter(([each, value]) => value !== '1' || buried.has(each))).toEqual([])
  expect(rows.filter(({ key }) => String(key).startsWith('disorder '))).toEqual([])
})
