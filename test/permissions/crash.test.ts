import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import type { ApiKeyInfo, Node, PermissionRequest } from '../../src/index.ts'
import { tempFolder } from '../temp.ts'

const CHILD = fileURLToPath(new URL('./crash-child.ts', import.meta.url))
const ROUNDS = Number(process.env['CRASH_ROUNDS'] ?? 6)
const SEED = Number(process.env['CRASH_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
/** Calls that the owner gives in each round, by a limit and by a grant. */
const MAX_CALLS = 10
/** Inputs that are asked about in each round. */
const ASKS = 3

/** A node's process, started again whenever it has been killed. */
class Process {
  peer = ''
  address = ''
  #child: ChildProcess | undefined
  #waiting = new Map<number, PromiseWithResolvers<unknown>>()
  #next = 1
  readonly #args: readonly string[]

  constructor(...args: string[]) {
    this.#args = args
    onTestFinished(() => this.kill())
  }

  async start(): Promise<void> {
    if (this.#child !== undefined) return
    const env = {
      ...process.env,
      CRASH_ROUNDS: String(ROUNDS),
      NODE_COMPILE_CACHE: join(tmpdir(), 'pryx-mesh-compile-cache')
    }
    const child = fork(CHILD, this.#args, { env, execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    const waiting = new Map<number, PromiseWithResolvers<unknown>>()
    const started = Promise.withResolvers<unknown>()
    waiting.set(0, started)
    child.on('message', ({ id, result, error }: { id: number; result?: unknown; error?: object }) => {
      const wait = waiting.get(id)
      waiting.delete(id)
      if (error === undefined) wait?.resolve(result)
      else wait?.reject(error)
    })
    child.on('exit', () => {
      for (const { reject } of waiting.values()) reject(killed())
      waiting.clear()
      if (this.#child === child) this.#child = undefined
    })
    child.on('error', () => {}) // sent to after its end
    this.#child = child
    this.#waiting = waiting
    Object.assign(this, await started.promise)
  }

  /** What the node's method gives, named as `room.method`; rejects with its error, or KILLED. */
  async ask<T = unknown>(path: string, ...args: readonly unknown[]): Promise<T> {
    if (this.#child?.connected !== true) throw killed()
    const id = this.#next++
    const wait = Promise.withResolvers<unknown>()
    this.#waiting.set(id, wait)
    this.#child.send({ id, path, args })
    return (await wait.promise) as T // the node's own type
  }

  kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    return this.gone()
  }

  async gone(): Promise<void> {
    const child = this.#child
    if (child !== undefined) await once(child, 'exit')
  }
}

/** What the owner has been asked and what it has said, as far as it was told. */
interface Known {
  /** PERMISSION_PENDING was answered: id by input. */
  readonly pending: Map<string, string>
  /** The owner's yes was sent. */
  readonly answered: Set<string>
  readonly revoked: Map<string, string>
}

function killed(): Error {
  return Object.assign(new Error('its process was killed'), { code: 'KILLED' })
}

function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    // mulberry32
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** The code of what fails; undefined when nothing does. */
function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (err: { code?: string }) => err.code ?? 'none'
  )
}

it('nodes that are killed at any moment ask once, grant once, pair once and never pass a limit', async () => {
  process.stderr.write(`CRASH_SEED=${SEED} CRASH_ROUNDS=${ROUNDS}\n`)
  const random = randomFrom(SEED)
  const folder = await tempFolder()
  const effects = join(folder, 'effects')
  const owner = new Process(join(folder, 'owner'), effects)
  const asker = new Process(join(folder, 'asker'))
  const stranger = new Process(join(folder, 'stranger'))
  await Promise.all([owner.start(), asker.start(), stranger.start()])
  // What is given by a limit or by a grant is not asked about when it is used up
  await owner.ask('policy.remove', ['known-calls'])
  await owner.ask('policy.put', [
    { id: 'once', effect: 'ask', who: asker.peer, act: '*', res: 'tool:fs/once' },
    { id: 'keyed', effect: 'allow', who: 'scope:crash', act: '*', res: 'tool:fs/keyed' }
  ])
  const known: Known = { pending: new Map(), answered: new Set(), revoked: new Map() }
  for (let round = 0; round < ROUNDS; round++) {
    const over = new AbortController()
    const diesInCall = random() < 0.5
    if (diesInCall) await owner.ask('dieAfter', Math.ceil(random() * MAX_CALLS))
    const token = await prepare(owner, asker, round)
    const flow = { owner, asker, random, known, over: over.signal }
    void Promise.allSettled([
      ...Array.from({ length: ASKS }, (_, n) => askOnce(flow, `${round}.${n}`)),
      useUp(flow, `few${round}`),
      useUp(flow, `limited${round}`),
      changeKeys(flow),
      pairUp(flow, token)
    ])
    if (diesInCall) await owner.gone()
    else await sleep(random() * 150)
    const victims = [[owner], [asker], [owner, asker]][Math.floor(random() * 3)] ?? []
    await Promise.all(victims.map((victim) => victim.kill()))
    over.abort()
    await Promise.all([owner.start(), asker.start()])
    await asker.ask('connect', owner.address)
    await checkOwner(owner, known)
    await checkPair({ owner, asker, stranger }, token)
    const rest = { ...flow, over: new AbortController().signal }
    await Promise.all([useUp(rest, `few${round}`), useUp(rest, `limited${round}`)])
  }
  const counts = await checkEnd({ owner, asker, known, effects })
  expect([...counts.keys()].some((what) => what.startsWith('once '))).toBe(true)
  expect([...counts].filter(([what, count]) => count > (what.startsWith('once ') ? 1 : MAX_CALLS))).toEqual([])
}, 120_000)

/** What the round is about. @returns an invite */
async function prepare(owner: Process, asker: Process, round: number): Promise<string> {
  await asker.ask('connect', owner.address)
  const limit = { calls: `${MAX_CALLS}/1h` }
  await owner.ask('policy.put', [
    { id: `limited${round}`, effect: 'allow', who: asker.peer, act: '*', res: `tool:fs/limited${round}`, limit }
  ])
  const terms = { holder: asker.peer, act: 'tool.call', res: `tool:fs/few${round}`, uses: MAX_CALLS }
  await owner.ask('grants.issue', terms)
  return (await owner.ask<{ token: string }>('pairing.invite')).token
}

type Granted = Awaited<ReturnType<Node['grants']['issue']>>
type Pair = Awaited<ReturnType<Node['pairing']['join']>>

interface Flow {
  readonly owner: Process
  readonly asker: Process
  readonly random: () => number
  readonly known: Known
  /** The round is over: what is still under way is not gone on with. */
  readonly over: AbortSignal
}

/** Asks, is allowed once, and then calls as often as it likes. */
async function askOnce({ owner, asker, random, known, over }: Flow, n: string): Promise<void> {
  const call = () => asker.ask('call', `${owner.peer}/fs`, 'once', { n })
  const id = await call().then(
    () => undefined,
    (err: { code: string; data?: { id: string } }) => (err.code === 'PERMISSION_PENDING' ? err.data?.id : undefined)
  )
  if (id === undefined) return
  known.pending.set(n, id)
  await sleep(random() * 40)
  // Some are left to the owner's next life
  if (random() < 0.3 || over.aborted) return
  known.answered.add(n)
  await owner.ask('permissions.allow', id, { remember: 'once' })
  await Promise.allSettled([call(), call(), call()])
}

/** Calls until there is nothing left of what was given. */
async function useUp({ owner, asker, random, over }: Flow, name: string): Promise<void> {
  for (let n = 0; !over.aborted; n++) {
    const code = await codeOf(asker.ask('call', `${owner.peer}/fs`, name, { n: String(n) }))
    if (code === 'FORBIDDEN' || code === 'LIMIT_EXCEEDED') return
    await sleep(random() * 10)
  }
}

async function changeKeys({ owner, random, known }: Flow): Promise<void> {
  const wanted = { name: 'crash', scopes: ['crash'] }
  const { key, info } = await owner.ask<{ key: string; info: ApiKeyInfo }>('keys.create', wanted)
  await sleep(random() * 30)
  if (random() < 0.5) {
    await owner.ask('keys.rotate', info.id, { overlapMs: 0 })
    known.revoked.set(key, 'rotated')
  } else {
    await owner.ask('keys.revoke', info.id)
    known.revoked.set(key, info.id)
  }
}

async function pairUp({ asker, random }: Flow, token: string): Promise<void> {
  await sleep(random() * 60)
  await asker.ask('pairing.join', token)
}

/** Nothing that was said is forgotten, and each yes has one grant. */
async function checkOwner(owner: Process, known: Known): Promise<void> {
  const grants = await owner.ask<Granted[]>('grants.list')
  for (const [n, id] of known.pending) {
    const request = await owner.ask<PermissionRequest | undefined>('permissions.get', id)
    const state = request?.state
    expect(known.answered.has(n) ? ['allowed', 'pending'] : ['pending']).toContain(state)
    const made = grants.filter(({ input }) => input === request?.input?.digest).map((grant) => grant.id)
    expect({ n, made }).toEqual({ n, made: state === 'allowed' ? [request?.grant] : [] })
    // The owner has time again; a yes that got lost is given anew
    if (state !== 'pending') continue
    known.answered.add(n)
    await owner.ask('permissions.allow', id, { remember: 'once' })
  }
  const keys = await owner.ask<ApiKeyInfo[]>('keys.list')
  const revoked = new Set(known.revoked.values())
  expect(keys.filter(({ id, state }) => revoked.has(id) && state !== 'revoked')).toEqual([])
}

/** Both have the pair or get it by the same token, which is good for nobody else; then they part for the next round. */
async function checkPair(
  { owner, asker, stranger }: Record<'owner' | 'asker' | 'stranger', Process>,
  token: string
): Promise<void> {
  const joined = await asker.ask<Pair>('pairing.join', token)
  const [mine] = await asker.ask<Pair[]>('pairing.pairs')
  const [theirs, ...others] = await owner.ask<Pair[]>('pairing.pairs')
  const same = ({ fingerprint, keyId, pairedAt }: Pair) => ({ fingerprint, keyId, pairedAt })
  expect(mine && same(mine)).toEqual(same(joined))
  expect(theirs && same(theirs)).toEqual(same(joined))
  expect(others).toEqual([])
  expect(await codeOf(stranger.ask('pairing.join', token))).toBe('UNAUTHENTICATED')
  await Promise.all([owner.ask('pairing.unpair', asker.peer), asker.ask('pairing.unpair', owner.peer)])
}

interface End {
  readonly owner: Process
  readonly asker: Process
  readonly known: Known
  readonly effects: string
}

/** @returns how often each thing was done */
async function checkEnd({ owner, asker, known, effects }: End): Promise<ReadonlyMap<string, number>> {
  const call = (name: string, n: string) => asker.ask('call', `${owner.peer}/fs`, name, { n })
  for (const n of known.pending.keys()) await Promise.allSettled([call('once', n), call('once', n)])
  const counts = new Map<string, number>()
  for (const line of readFileSync(effects, 'utf8').trim().split('\n')) {
    const what = line.startsWith('once ') ? line : line.slice(0, line.indexOf(' '))
    counts.set(what, (counts.get(what) ?? 0) + 1)
  }
  // A connection may present a few bad ones only
  for (const key of [...known.revoked.keys()].slice(-3)) {
    await asker.ask('keys.hold', owner.peer, key)
    expect(await codeOf(call('keyed', 'revoked'))).toBe('FORBIDDEN')
  }
  const good = await owner.ask<{ key: string }>('keys.create', { name: 'good', scopes: ['crash'] })
  await asker.ask('keys.hold', owner.peer, good.key)
  expect(await codeOf(call('keyed', 'good'))).toBe(undefined)
  return counts
}
