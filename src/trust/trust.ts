import { printableName, TRUST_LEVELS, type TrustLevel } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { Emit } from '../events.ts'
import type { Statement, Store } from '../store/index.ts'
import { keyFromPeerId } from '../wire/index.ts'
import {
  DAY_MS,
  EVIDENCE,
  type EvidenceKind,
  FLUSH_DELAY_MS,
  FORGET_SHARE,
  MAX_GOOD_PER_DAY,
  MAX_PEERS,
  MAX_REASON_LENGTH,
  WEIGHTS
} from './constants.ts'
import type { PeerTrust, Standing, Trust, TrustInit, TrustReport } from './index.ts'
import {
  type Change,
  deleteEntry,
  type Entry,
  loadEntries,
  newEntry,
  saveEntry,
  type Tally,
  withChange
} from './ledger.ts'
import { decayed, type Evidence, judge, lowerBound } from './model.ts'
import { reasonOf } from './report.ts'

export { trustMigrations } from './ledger.ts'

type Listener = Parameters<Trust['onChange']>[0]

const STRANGER: Standing = { level: 'unknown' }

export async function createTrust(init: TrustInit): Promise<Trust> {
  return new PeerLedger(init)
}

class PeerLedger implements Trust {
  readonly #store: Store
  readonly #emit: Emit
  readonly #clock: () => number
  readonly #entries: Map<string, Entry>
  readonly #aliases = new Map<string, string>()
  readonly #listeners = new Set<Listener>()
  /** Peers to write; true: with their changes. */
  readonly #dirty = new Map<string, boolean>()
  readonly #forgotten = new Set<string>()
  /** Writes go one after another, or an older state could be written over a newer one. */
  #writing: Promise<unknown> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined

  constructor({ store, emit, clock = Date.now }: TrustInit) {
    this.#store = store
    this.#emit = emit
    this.#clock = clock
    this.#entries = loadEntries(store)
    for (const { alias, peer } of this.#entries.values()) if (alias !== undefined) this.#aliases.set(alias, peer)
  }

  /** Bound: it is handed on as a function. */
  readonly of = (peer: string): Standing => {
    const entry = this.#entries.get(peer)
    return entry === undefined ? STRANGER : standingOf(entry)
  }

  named(alias: string): string | undefined {
    return this.#aliases.get(alias)
  }

  note(peer: string, kind: EvidenceKind): void {
    const entry = this.#entries.get(peer) ?? this.#admit(peer)
    if (entry === undefined) return
    const now = this.#clock()
    const tally = (entry.tallies[kind] ??= { count: 0, weight: 0, at: now })
    tally.count++
    this.#touch(peer, false)
    if (kind === 'call:completed' && !countsToday(entry, now)) return
    addTo(tally, WEIGHTS[kind], now)
    // Most calls are of peers that no further good call moves
    if (kind === 'call:completed' && (entry.level !== 'unknown' || entry.setBy === 'owner')) return
    this.#reconsider(entry, now)
  }

  async set(
    nameOrPeer: string,
    { level, alias, reason }: { level?: TrustLevel; alias?: string; reason?: string }
  ): Promise<TrustReport> {
    const peer = this.#peerOf(nameOrPeer)
    if (level !== undefined && !TRUST_LEVELS.includes(level)) {
      throw new MeshError('INVALID_ARGUMENT', `no trust level: ${level}`, {
        hint: `levels are ${TRUST_LEVELS.join(', ')}`
      })
    }
    if (alias !== undefined && alias !== '') checkAlias(alias)
    if (reason !== undefined) checkReason(reason)
    await this.#inTurn(() => this.#set(peer, { level, alias, reason }))
    return this.why(peer)
  }

  list(): readonly PeerTrust[] {
    const now = this.#clock()
    return [...this.#entries.values()]
      .map((entry) => describe(entry, now))
      .sort((a, b) => rank(b.level) - rank(a.level) || (a.peer < b.peer ? -1 : 1))
  }

  why(nameOrPeer: string): TrustReport {
    const peer = this.#peerOf(nameOrPeer)
    const entry = this.#entries.get(peer) ?? newEntry(peer)
    const now = this.#clock()
    const evidence = EVIDENCE.flatMap((kind) => {
      const tally = entry.tallies[kind]
      return tally === undefined ? [] : [{ kind, count: tally.count, weight: weightOf(tally, now) }]
    })
    return { ...describe(entry, now), reason: reasonOf(entry), evidence, changes: entry.changes }
  }

  onChange(listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    await this.#inTurn(() => this.#flush())
  }

  async #set(
    peer: string,
    { level, alias, reason }: { level: TrustLevel | undefined; alias: string | undefined; reason: string | undefined }
  ): Promise<void> {
    const holder = alias === undefined ? undefined : this.#aliases.get(alias)
    if (holder !== undefined && holder !== peer) {
      throw new MeshError('ALREADY_EXISTS', `another peer is called ${alias}`, { hint: `it is ${holder}` })
    }
    const old = this.#entries.get(peer) ?? newEntry(peer)
    const now = this.#clock()
    const { next, change } = owned(old, { level, alias, reason, now })
    const leftover = this.#forgotten.has(peer) ? deleteEntry(peer) : []
    await this.#store.write([...leftover, ...saveEntry(next, change !== undefined)])
    // Notes taken meanwhile are in the live entry, which the next flush writes
    const live = this.#entries.get(peer) ?? old
    const before = standingOf(live)
    const {
      level: nowLevel,
      alias: nowAlias,
      setBy,
      since
    } = level === undefined ? { ...live, alias: next.alias } : next
    if (live.alias !== undefined) this.#aliases.delete(live.alias)
    if (nowAlias !== undefined) this.#aliases.set(nowAlias, peer)
    Object.assign(live, { level: nowLevel, alias: nowAlias, setBy, since })
    if (change !== undefined) live.changes = withChange(live.changes, change)
    this.#entries.set(peer, live)
    this.#forgotten.delete(peer)
    if (change !== undefined && this.#dirty.has(peer)) this.#dirty.set(peer, true)
    this.#tell(live, before, change)
  }

  #reconsider(entry: Entry, now: number): void {
    const evidence = evidenceOf(entry, now)
    const to = judge({ level: entry.level, isHeld: entry.setBy === 'owner' }, evidence)
    if (to === undefined) return
    const before = standingOf(entry)
    const share = lowerBound(evidence.good, evidence.bad).toFixed(2)
    const weights = `good ${evidence.good.toFixed(1)}, bad ${evidence.bad.toFixed(1)}`
    const reason = `at least ${share} of its interactions are good with 90 % certainty (${weights})`
    const change: Change = { at: new Date(now).toISOString(), from: entry.level, to, by: 'evidence', reason }
    Object.assign(entry, { level: to, setBy: 'evidence', since: now })
    entry.changes = withChange(entry.changes, change)
    this.#touch(entry.peer, true)
    this.#tell(entry, before, change)
  }

  #tell(entry: Entry, before: Standing, change: Change | undefined): void {
    const { peer, level, alias } = entry
    if (before.level === level && before.alias === alias) return
    for (const listener of this.#listeners) {
      try {
        listener(peer, standingOf(entry), before)
      } catch {
        // What one listener fails at keeps no other from cutting a blocked peer off
      }
    }
    if (change === undefined || before.level === level) return
    this.#emit('trust:changed', { peer, from: before.level, to: level, by: change.by, reason: change.reason })
  }

  /** @returns undefined for what is no PeerId, or when the owner has spoken of more peers than are remembered */
  #admit(peer: string): Entry | undefined {
    if (!isPeerId(peer)) return undefined
    if (this.#entries.size >= MAX_PEERS) this.#forgetSome()
    if (this.#entries.size >= MAX_PEERS) return undefined
    const entry = newEntry(peer)
    this.#entries.set(peer, entry)
    return entry
  }

  #forgetSome(): void {
    const now = this.#clock()
    const strangers = [...this.#entries.values()]
      .filter(({ setBy, alias }) => setBy !== 'owner' && alias === undefined)
      .map((entry) => ({ entry, ...describe(entry, now) }))
      .sort((a, b) => rank(a.level) - rank(b.level) || a.interactions - b.interactions)
    for (const { peer } of strangers.slice(0, Math.ceil(MAX_PEERS * FORGET_SHARE))) {
      this.#entries.delete(peer)
      this.#dirty.delete(peer)
      this.#forgotten.add(peer)
    }
  }

  #touch(peer: string, withChanges: boolean): void {
    if (withChanges || !this.#dirty.has(peer)) this.#dirty.set(peer, withChanges)
    this.#timer ??= setTimeout(() => void this.#inTurn(() => this.#flush()).catch(() => {}), FLUSH_DELAY_MS).unref()
  }

  /** What the disk refuses stays to be written the next time. */
  async #flush(): Promise<void> {
    this.#timer = undefined
    const dirty = new Map(this.#dirty)
    const forgotten = [...this.#forgotten]
    this.#dirty.clear()
    this.#forgotten.clear()
    const statements: Statement[] = forgotten.flatMap(deleteEntry)
    for (const [peer, withChanges] of dirty) {
      const entry = this.#entries.get(peer)
      if (entry !== undefined) statements.push(...saveEntry(entry, withChanges))
    }
    if (statements.length === 0) return
    try {
      await this.#store.write(statements)
    } catch (err) {
      for (const peer of forgotten) this.#forgotten.add(peer)
      for (const [peer, withChanges] of dirty) this.#dirty.set(peer, withChanges || this.#dirty.get(peer) === true)
      throw err
    }
  }

  #inTurn<T>(write: () => Promise<T>): Promise<T> {
    const done = this.#writing.then(write)
    this.#writing = done.catch(() => {})
    return done
  }

  #peerOf(nameOrPeer: string): string {
    const peer = this.#aliases.get(nameOrPeer) ?? nameOrPeer
    if (isPeerId(peer)) return peer
    throw new MeshError('INVALID_ARGUMENT', `neither a PeerId nor an alias: ${nameOrPeer.slice(0, 80)}`, {
      hint: 'pryx-mesh trust list shows the aliases, pryx-mesh peers the PeerIds'
    })
  }
}

/** The entry after the owner's word. */
function owned(
  old: Entry,
  {
    level,
    alias,
    reason,
    now
  }: { level: TrustLevel | undefined; alias: string | undefined; reason: string | undefined; now: number }
): { next: Entry; change: Change | undefined } {
  const named: Entry = { ...old, alias: alias === undefined ? old.alias : alias || undefined }
  if (level === undefined) return { next: named, change: undefined }
  const since = level === old.level ? (old.since ?? now) : now
  const next: Entry = { ...named, level, setBy: 'owner', since }
  if (level === old.level && old.setBy === 'owner' && reason === undefined) return { next, change: undefined }
  const at = new Date(now).toISOString()
  const change: Change = { at, from: old.level, to: level, by: 'owner', reason: reason ?? 'the owner said so' }
  return { next: { ...next, changes: withChange(old.changes, change) }, change }
}

function standingOf({ level, alias }: Entry): Standing {
  return alias === undefined ? { level } : { level, alias }
}

function describe(entry: Entry, now: number): PeerTrust {
  const { peer, setBy, since } = entry
  const { good, bad } = evidenceOf(entry, now)
  return {
    peer,
    ...standingOf(entry),
    setBy,
    ...(since === undefined ? {} : { since: new Date(since).toISOString() }),
    score: lowerBound(good, bad),
    interactions: good + bad
  }
}

function evidenceOf({ tallies, counted, first, last }: Entry, now: number): Evidence {
  let bad = 0
  for (const kind of EVIDENCE) {
    const tally = tallies[kind]
    if (tally !== undefined && kind !== 'call:completed') bad += weightOf(tally, now)
  }
  const completed = tallies['call:completed']
  return { good: completed === undefined ? 0 : weightOf(completed, now), bad, counted, ageMs: last - first }
}

function weightOf({ weight, at }: Tally, now: number): number {
  return decayed(weight, now - at)
}

function addTo(tally: Tally, weight: number, now: number): void {
  tally.weight = weightOf(tally, now) + weight
  tally.at = now
}

/** Counts a good interaction, unless the day has had enough of them. */
function countsToday(entry: Entry, now: number): boolean {
  const day = Math.floor(now / DAY_MS)
  if (entry.day !== day) {
    entry.day = day
    entry.countedToday = 0
  }
  if (entry.countedToday >= MAX_GOOD_PER_DAY) return false
  entry.countedToday++
  entry.counted++
  if (entry.counted === 1) entry.first = now
  entry.last = now
  return true
}

function rank(level: TrustLevel): number {
  return TRUST_LEVELS.indexOf(level)
}

function isPeerId(text: string): boolean {
  // Callers at an edge have other names, for which nothing is to be decoded
  if (!text.startsWith('12D3KooW')) return false
  try {
    keyFromPeerId(text)
    return true
  } catch {
    return false
  }
}

function checkAlias(alias: string): void {
  if (printableName(alias, '') === alias && !isPeerId(alias)) return
  throw new MeshError('INVALID_ARGUMENT', 'an alias has 1 to 64 printable characters and is no PeerId')
}

function checkReason(reason: string): void {
  if (reason.length > 0 && reason.length <= MAX_REASON_LENGTH && !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(reason))
    return
  throw new MeshError('INVALID_ARGUMENT', `a reason has 1 to ${MAX_REASON_LENGTH} printable characters`)
}
