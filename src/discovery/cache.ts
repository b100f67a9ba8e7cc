import { LRUCache } from 'lru-cache'
import type { Emit } from '../events.ts'
import { compileGlob } from '../policy/glob.ts'
import { MAX_PEER_RECORDS } from '../registry/constants.ts'
import type { AgentRecord, Capability, Query, SignedRecord } from '../registry/messages.ts'
import { MAX_CACHED_BYTES, MAX_CACHED_RECORDS, MAX_FLOOR_PEERS, MAX_PEER_BYTES, MAX_PEER_FLOORS } from './constants.ts'
import type { FindSource } from './index.ts'
import type { Refusal } from './refusals.ts'

/** Capabilities of a record that a query is after; none when the record doesn't match. */
export type Match = (record: AgentRecord) => readonly Capability[]

/** A record came into view, was replaced, or (`after` unset) went. */
export interface RecordChange {
  readonly agent: string
  readonly before?: SignedRecord
  readonly after?: SignedRecord
  readonly source: FindSource
}

/** Verified records of other nodes, bounded in every direction. */
export interface RecordCache {
  readonly size: number
  /** Takes a record that `peer` gave and whose signature holds. @returns the object that is now in the cache, or why not */
  accept(peer: string, signed: SignedRecord, source: FindSource): SignedRecord | Refusal
  /** Drops the record and refuses it from now on, unless a newer one is here. */
  withdraw(agent: string, seq: number): void
  /** Drops the record of an owner who is gone; the same one may come back. */
  forget(agent: string): void
  get(agent: string): SignedRecord | undefined
  /** True when a record of this seq would be refused, a newer one having been seen or this one withdrawn. */
  isOutdated(agent: string, seq: number): boolean
  /** When its owner last gave the record, in milliseconds of the clock. */
  verifiedAt(agent: string): number | undefined
  ofPeer(peer: string): readonly SignedRecord[]
  /** Unexpired records by the agent's short name. */
  named(name: string): readonly SignedRecord[]
  /** Unexpired records that may match, far fewer than all when the query allows it. */
  candidates(query: Query): Iterable<SignedRecord>
  all(): Iterable<SignedRecord>
  /** Drops what has expired. */
  expire(): void
  /** @returns how to stop listening */
  onChange(listener: (change: RecordChange) => void): () => void
}

export interface CacheComponents {
  readonly emit: Emit
  readonly now: () => number
}

interface Entry {
  readonly signed: SignedRecord
  readonly peer: string
  readonly expiresAt: number
  verifiedAt: number
}

export function peerOf(agent: string): string {
  return agent.slice(0, agent.indexOf('/'))
}

export function nameOf(agent: string): string {
  return agent.slice(agent.indexOf('/') + 1)
}

export function createCache(components: CacheComponents): RecordCache {
  return new Cache(components)
}

class Cache implements RecordCache {
  readonly #emit: Emit
  readonly #now: () => number
  readonly #listeners = new Set<(change: RecordChange) => void>()
  readonly #entries: LRUCache<string, Entry>
  /** By peer and agent name, the lowest seq that is still taken. */
  readonly #floors = new LRUCache<string, Map<string, number>>({ max: MAX_FLOOR_PEERS })
  readonly #byPeer = new Index()
  /** JWS bytes of each peer's records. */
  readonly #bytes = new Map<string, number>()
  readonly #byAgent = new Index()
  readonly #byCapability = new Index()
  readonly #byTag = new Index()

  constructor({ emit, now }: CacheComponents) {
    this.#emit = emit
    this.#now = now
    this.#entries = new LRUCache({
      max: MAX_CACHED_RECORDS,
      maxSize: MAX_CACHED_BYTES,
      sizeCalculation: ({ signed }) => signed.jws.length,
      dispose: (entry, agent, reason) => {
        this.#reindex(agent, entry, 'remove')
        // Out for want of room: the same record may come back, an older one may not.
        if (reason === 'evict') this.#raiseFloor(agent, entry.signed.record.seq)
      }
    })
  }

  get size(): number {
    return this.#entries.size
  }

  accept(peer: string, signed: SignedRecord, source: FindSource): SignedRecord | Refusal {
    const { id, seq, expiresAt } = signed.record
    if (peerOf(id) !== peer) return 'wrong-owner'
    const entry: Entry = { signed, peer, expiresAt: Date.parse(expiresAt), verifiedAt: this.#now() }
    if (entry.expiresAt <= entry.verifiedAt) return 'expired'

    const current = this.#entries.peek(id)
    if (current?.signed.jws === signed.jws) {
      current.verifiedAt = entry.verifiedAt
      return current.signed
    }
    if (seq < this.#floor(id) || (current !== undefined && seq <= current.signed.record.seq)) return 'rolled-back'
    if (!this.#hasRoom(entry, current)) return 'too-many'

    this.#entries.set(id, entry)
    this.#reindex(id, entry, 'add')
    this.#changed({ agent: id, ...(current && { before: current.signed }), after: signed, source })
    return signed
  }

  withdraw(agent: string, seq: number): void {
    const current = this.#entries.peek(agent)
    if (current !== undefined && current.signed.record.seq > seq) return
    this.#raiseFloor(agent, seq + 1)
    this.#remove(agent)
  }

  forget(agent: string): void {
    const current = this.#entries.peek(agent)
    if (current !== undefined) this.#raiseFloor(agent, current.signed.record.seq)
    this.#remove(agent)
  }

  get(agent: string): SignedRecord | undefined {
    const entry = this.#entries.get(agent)
    return entry === undefined || entry.expiresAt <= this.#now() ? undefined : entry.signed
  }

  isOutdated(agent: string, seq: number): boolean {
    return seq < this.#floor(agent) || seq < (this.#entries.peek(agent)?.signed.record.seq ?? 0)
  }

  verifiedAt(agent: string): number | undefined {
    return this.#entries.peek(agent)?.verifiedAt
  }

  ofPeer(peer: string): readonly SignedRecord[] {
    return this.#byPeer.get(peer).flatMap((agent) => this.#entries.peek(agent)?.signed ?? [])
  }

  named(name: string): readonly SignedRecord[] {
    return this.#byAgent.get(name).flatMap((agent) => this.get(agent) ?? [])
  }

  *candidates(query: Query): Iterable<SignedRecord> {
    const now = this.#now()
    for (const agent of this.#narrow(query)) {
      const entry = this.#entries.peek(agent)
      if (entry !== undefined && entry.expiresAt > now) yield entry.signed
    }
  }

  *all(): Iterable<SignedRecord> {
    const now = this.#now()
    for (const entry of this.#entries.values()) if (entry.expiresAt > now) yield entry.signed
  }

  expire(): void {
    const now = this.#now()
    const expired = [...this.#entries.entries()].filter(([, entry]) => entry.expiresAt <= now)
    for (const [agent] of expired) this.forget(agent)
  }

  onChange(listener: (change: RecordChange) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Ids of the agents that may match, from the index that leaves the fewest. */
  #narrow(query: Query): Iterable<string> {
    if (query.id !== undefined) return [query.id]
    if (query.agent !== undefined) return this.#byAgent.get(query.agent)
    const [tag] = query.tags ?? []
    if (query.name !== undefined && query.name !== '*') {
      if (!query.name.includes('*')) return this.#byCapability.get(query.name)
      if (tag === undefined) return this.#byCapability.getMatching(compileGlob(query.name))
    }
    if (tag !== undefined) return this.#byTag.get(tag)
    return [...this.#entries.keys()]
  }

  #hasRoom(entry: Entry, current: Entry | undefined): boolean {
    const { peer, signed } = entry
    const count = this.#byPeer.count(peer) - (current === undefined ? 0 : 1)
    const bytes = (this.#bytes.get(peer) ?? 0) - (current?.signed.jws.length ?? 0) + signed.jws.length
    return count < MAX_PEER_RECORDS && bytes <= MAX_PEER_BYTES
  }

  #remove(agent: string): void {
    const entry = this.#entries.peek(agent)
    if (entry === undefined) return
    this.#entries.delete(agent)
    this.#changed({ agent, before: entry.signed, source: 'cache' })
  }

  #floor(agent: string): number {
    return this.#floors.get(peerOf(agent))?.get(nameOf(agent)) ?? 0
  }

  #raiseFloor(agent: string, seq: number): void {
    const peer = peerOf(agent)
    const name = nameOf(agent)
    const floors = this.#floors.get(peer) ?? new Map<string, number>()
    const floor = Math.max(seq, floors.get(name) ?? 0)
    floors.delete(name)
    floors.set(name, floor)
    const [oldest] = floors.keys()
    if (floors.size > MAX_PEER_FLOORS && oldest !== undefined) floors.delete(oldest)
    this.#floors.set(peer, floors)
  }

  #reindex(agent: string, { signed: { jws, record }, peer }: Entry, how: 'add' | 'remove'): void {
    this.#byPeer[how](peer, agent)
    const bytes = (this.#bytes.get(peer) ?? 0) + (how === 'add' ? jws.length : -jws.length)
    if (bytes > 0) this.#bytes.set(peer, bytes)
    else this.#bytes.delete(peer)
    this.#byAgent[how](record.name, agent)
    for (const { name } of record.capabilities) this.#byCapability[how](name, agent)
    for (const tag of tagsOf(record)) this.#byTag[how](tag, agent)
  }

  #changed(change: RecordChange): void {
    emitCapabilities(this.#emit, change)
    for (const listener of this.#listeners) listener(change)
  }
}

/** Tells of each capability that the change concerns; a renewal concerns none. */
function emitCapabilities(emit: Emit, { agent, before, after }: RecordChange): void {
  const old = new Map(before?.record.capabilities.map((capability) => [keyOf(capability), capability]))
  for (const capability of after?.record.capabilities ?? []) {
    const was = old.get(keyOf(capability))
    old.delete(keyOf(capability))
    if (was?.digest === capability.digest || after === undefined) continue
    const { seq, expiresAt } = after.record
    const detail = { agent, capability: refOf(capability), record: { seq, expiresAt } }
    emit(was === undefined ? 'capability:found' : 'capability:changed', detail)
  }
  for (const capability of old.values()) emit('capability:gone', { agent, capability: refOf(capability) })
}

/** What makes two capabilities of one agent the same, whatever their version. */
export function keyOf({ kind, name }: Capability): string {
  return `${kind} ${name}`
}

function refOf({ kind, name, version }: Capability) {
  return { kind, name, version }
}

function tagsOf(record: AgentRecord): ReadonlySet<string> {
  return new Set([...record.tags, ...record.capabilities.flatMap(({ tags }) => tags)])
}

/** Agent ids by a property of their records. */
class Index {
  readonly #ids = new Map<string, Set<string>>()

  add(key: string, id: string): void {
    const ids = this.#ids.get(key)
    if (ids === undefined) this.#ids.set(key, new Set([id]))
    else ids.add(id)
  }

  remove(key: string, id: string): void {
    const ids = this.#ids.get(key)
    if (ids?.delete(id) === true && ids.size === 0) this.#ids.delete(key)
  }

  count(key: string): number {
    return this.#ids.get(key)?.size ?? 0
  }

  get(key: string): readonly string[] {
    return [...(this.#ids.get(key) ?? [])]
  }

  getMatching(matches: (key: string) => boolean): Iterable<string> {
    const found = new Set<string>()
    for (const [key, ids] of this.#ids) if (matches(key)) for (const id of ids) found.add(id)
    return found
  }
}
