import { MeshError } from '../errors.ts'
import type { Emit } from '../events.ts'
import type { Identity } from '../identity/index.ts'
import type { Migrations, Store } from '../store/index.ts'
import {
  DIALLED_IN,
  MAX_AGENTS,
  MAX_DIALLED_IN,
  MAX_PEER_RECORDS,
  MAX_RECORD_BYTES,
  MAX_RENEWALS,
  RECORD_RENEW_MS,
  RECORD_TTL_MS,
  RECORD_TYPE
} from './constants.ts'
import type { AgentDefinition, AgentDescription, RefusedCapability, Registry } from './index.ts'
import { type AgentRecord, agentDefinition, type Query, type SignedRecord } from './messages.ts'
import { type CheckSchema, makeOffer, type Offer } from './offer.ts'
import { compileQuery, matchRecord } from './query.ts'

/** The registry's tables; the numbers outlive their agents, so that one added again doesn't look rolled back. */
export const registryMigrations: Migrations = {
  room: 'registry',
  steps: [
    `CREATE TABLE agent (name TEXT PRIMARY KEY, definition TEXT NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE record_seq (agent TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;`
  ]
}

export interface RegistryComponents {
  /** Opened with {@link registryMigrations}. */
  readonly store: Store
  readonly identity: Identity
  /** Judges the JSON Schemas of capabilities. */
  readonly checkSchema: CheckSchema
  /** Milliseconds since the epoch; default `Date.now`. */
  readonly clock?: () => number
  /** Told of `agent:added`, `agent:updated` and `agent:removed`; default nobody. */
  readonly emit?: Emit
}

export interface RegistryInit {
  /** Credential methods that records name; default `noise`. */
  readonly auth?: readonly string[]
  /** Protocol name to versions, as records name them; default none. */
  readonly protocols?: Readonly<Record<string, readonly string[]>>
  /** Agents that may have dialled in, 0 to MAX_PEER_RECORDS − MAX_AGENTS; default {@link MAX_DIALLED_IN}. */
  readonly maxDialledIn?: number
}

interface Entry {
  definition: AgentDefinition
  /** Stands for the last request to publish; undefined once withdrawn. A record that is ready too late finds another here. */
  wanted: symbol | undefined
  current: { readonly offer: Offer; readonly signed: SignedRecord; readonly expiresAtMs: number } | undefined
  /** A record was signed since it was added, or since this process started. */
  isKnown: boolean
}

/**
 * Opens the registry of a node's own agents.
 *
 * @throws {MeshError} INVALID_CONFIG when a stored definition can't be read
 */
export function createRegistry(components: RegistryComponents, init: RegistryInit = {}): Registry {
  return new StoredRegistry(components, init)
}

class StoredRegistry implements Registry {
  readonly #components: Required<RegistryComponents>
  readonly #init: Required<RegistryInit>
  readonly #entries: Map<string, Entry>
  readonly #seqs: Map<string, number>

  constructor(components: RegistryComponents, init: RegistryInit) {
    this.#components = { clock: Date.now, emit: () => {}, ...components }
    this.#init = { auth: ['noise'], protocols: {}, maxDialledIn: MAX_DIALLED_IN, ...init }
    const { maxDialledIn } = this.#init
    if (!Number.isInteger(maxDialledIn) || maxDialledIn < 0 || maxDialledIn > MAX_PEER_RECORDS - MAX_AGENTS)
      throw new MeshError(
        'INVALID_ARGUMENT',
        `agents that dial in are limited to 0 to ${MAX_PEER_RECORDS - MAX_AGENTS}`
      )
    const { store } = components
    const definitions = store.all('SELECT definition FROM agent').map((row) => loaded(row['definition']))
    this.#entries = new Map(definitions.map((definition) => [definition.name, newEntry(definition)]))
    this.#seqs = new Map(
      store.all('SELECT agent, seq FROM record_seq').map(({ agent, seq }) => [String(agent), Number(seq)])
    )
  }

  definitions(): readonly AgentDefinition[] {
    return this.#sorted().map(({ definition }) => definition)
  }

  definition(name: string): AgentDefinition | undefined {
    return this.#entries.get(name)?.definition
  }

  async define(definition: AgentDefinition): Promise<void> {
    const valid = checked(definition)
    const { name } = valid
    if (!this.#entries.has(name)) this.#ensureRoom(valid.driver)
    // Functions don't outlive the process; what was stored under the name is theirs no longer.
    const sql =
      valid.driver === 'function'
        ? 'DELETE FROM agent WHERE name = ?1'
        : 'INSERT INTO agent VALUES (?1, ?2) ON CONFLICT DO UPDATE SET definition = excluded.definition'
    const params = valid.driver === 'function' ? [name] : [name, asJson(valid)]
    await this.#components.store.write([{ sql, params }])
    const entry = this.#entries.get(name)
    if (entry === undefined) this.#entries.set(name, newEntry(valid))
    else entry.definition = valid
  }

  async remove(name: string): Promise<AgentDefinition | undefined> {
    const entry = this.#entries.get(name)
    if (entry === undefined) return undefined
    await this.#components.store.write([{ sql: 'DELETE FROM agent WHERE name = ?', params: [name] }])
    this.#entries.delete(name)
    retract(entry)
    if (entry.isKnown) this.#components.emit('agent:removed', { agent: `${this.#components.identity.id}/${name}` })
    return entry.definition
  }

  async publish(name: string, description: AgentDescription): Promise<SignedRecord> {
    const entry = this.#entries.get(name)
    if (entry === undefined) throw new MeshError('NOT_FOUND', `this node has no agent ${name}`)
    const { checkSchema, identity, clock } = this.#components
    const context = { ...this.#init, peer: identity.id, checkSchema }
    return this.#want(entry, async (isWanted) => {
      const offer = await makeOffer(entry.definition, description, context)
      const { current } = entry
      if (current?.offer.text !== offer.text || isDue(current.signed, clock()))
        return this.#sign(entry, offer, isWanted)
      if (isWanted()) entry.current = { ...current, offer }
      return current.signed
    })
  }

  withdraw(name: string): void {
    const entry = this.#entries.get(name)
    if (entry !== undefined) retract(entry)
  }

  refused(name: string): readonly RefusedCapability[] {
    return this.#entries.get(name)?.current?.offer.refused ?? []
  }

  record(name: string): SignedRecord | undefined {
    const current = this.#entries.get(name)?.current
    return current !== undefined && current.expiresAtMs > this.#components.clock() ? current.signed : undefined
  }

  records(query: Query): readonly SignedRecord[] {
    const compiled = compileQuery(query)
    return this.#sorted().flatMap(({ definition }) => {
      const signed = this.record(definition.name)
      return signed !== undefined && matchRecord(signed.record, compiled).length > 0 ? [signed] : []
    })
  }

  async renew(): Promise<readonly string[]> {
    const now = this.#components.clock()
    const due = [...this.#entries.values()]
      .flatMap((entry) =>
        entry.current !== undefined && isDue(entry.current.signed, now) ? [{ entry, ...entry.current }] : []
      )
      .sort((a, b) => a.expiresAtMs - b.expiresAtMs)
      .slice(0, MAX_RENEWALS)
    await Promise.all(
      due.map(({ entry, offer }) => this.#want(entry, (isWanted) => this.#sign(entry, offer, isWanted)))
    )
    return due.map(({ entry }) => entry.definition.name)
  }

  /** @throws {MeshError} BUSY */
  #ensureRoom(driver: string): void {
    const isGuest = driver === DIALLED_IN
    const most = isGuest ? this.#init.maxDialledIn : MAX_AGENTS
    const count = this.#entries.values().filter(({ definition }) => (definition.driver === DIALLED_IN) === isGuest)
    if (Iterator.from(count).reduce((sum) => sum + 1, 0) < most) return
    const which = isGuest ? 'agents that dial in, those that are away too' : 'agents'
    throw new MeshError('BUSY', `this node has at most ${most} ${which}`, { hint: 'remove one first' })
  }

  /** Runs what makes a record; when that fails, what was wanted before is wanted again. */
  async #want<T>(entry: Entry, make: (isWanted: () => boolean) => Promise<T>): Promise<T> {
    const before = entry.wanted
    const wanted = Symbol(entry.definition.name)
    entry.wanted = wanted
    try {
      return await make(() => entry.wanted === wanted)
    } catch (err) {
      if (entry.wanted === wanted) entry.wanted = before
      throw err
    }
  }

  async #sign(entry: Entry, offer: Offer, isWanted: () => boolean): Promise<SignedRecord> {
    const signed = await this.#makeRecord(offer)
    const isNewest = signed.record.seq > (entry.current?.signed.record.seq ?? 0)
    if (isWanted() && isNewest) this.#setCurrent(entry, offer, signed)
    return signed
  }

  /** Signs an offer under the next number; the number is on disk before anybody sees the record. */
  async #makeRecord(offer: Offer): Promise<SignedRecord> {
    const { identity, store, clock } = this.#components
    const { name } = offer.content
    const now = clock()
    // The time as well, so that it grows even when the database is lost.
    const seq = Math.max((this.#seqs.get(name) ?? 0) + 1, now)
    this.#seqs.set(name, seq)
    const record: AgentRecord = {
      ...offer.content,
      seq,
      issuedAt: new Date(now).toISOString(),
      expiresAt: new Date(now + RECORD_TTL_MS).toISOString()
    }
    const jws = await identity.sign(RECORD_TYPE, record)
    if (jws.length > MAX_RECORD_BYTES) throw tooLarge(record, jws.length)
    const sql = 'INSERT INTO record_seq VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)'
    await store.write([{ sql, params: [name, seq] }])
    return { jws, record }
  }

  #setCurrent(entry: Entry, offer: Offer, signed: SignedRecord): void {
    const { id, seq, expiresAt } = signed.record
    entry.current = { offer, signed, expiresAtMs: Date.parse(expiresAt) }
    this.#components.emit(entry.isKnown ? 'agent:updated' : 'agent:added', { agent: id, seq })
    entry.isKnown = true
  }

  #sorted(): Entry[] {
    return [...this.#entries.values()].sort((a, b) => (a.definition.name < b.definition.name ? -1 : 1))
  }
}

function newEntry(definition: AgentDefinition): Entry {
  return { definition, wanted: undefined, current: undefined, isKnown: false }
}

function retract(entry: Entry): void {
  entry.wanted = undefined
  entry.current = undefined
}

/** A record from the future is due as well: the clock has been set back, and others may refuse it. */
function isDue({ record }: SignedRecord, now: number): boolean {
  const ageMs = now - Date.parse(record.issuedAt)
  return ageMs >= RECORD_RENEW_MS || ageMs < 0
}

function checked(definition: unknown): AgentDefinition {
  const { success, data, error } = agentDefinition.safeParse(definition)
  if (!success) {
    const [issue] = error.issues
    throw new MeshError('INVALID_ARGUMENT', `the agent's ${issue?.path.join('.')} is not valid: ${issue?.message}`, {
      cause: error
    })
  }
  const { description, availability, ...others } = data
  return {
    ...others,
    ...(description === undefined ? {} : { description }),
    ...(availability === undefined ? {} : { availability })
  }
}

function loaded(row: unknown): AgentDefinition {
  try {
    return checked(JSON.parse(String(row)))
  } catch (err) {
    throw new MeshError('INVALID_CONFIG', 'the database has an agent that this version cannot read', {
      cause: err,
      hint: 'run the version that stored it, or start with another home'
    })
  }
}

function asJson(definition: AgentDefinition): string {
  try {
    return JSON.stringify(definition)
  } catch (err) {
    throw new MeshError('INVALID_ARGUMENT', `the config of ${definition.name} has no JSON form`, { cause: err })
  }
}

function tooLarge({ name, capabilities }: AgentRecord, bytes: number): MeshError {
  const sizes = capabilities.map((capability) => ({ name: capability.name, bytes: JSON.stringify(capability).length }))
  const largest = sizes.sort((a, b) => b.bytes - a.bytes).slice(0, 3)
  return new MeshError('TOO_LARGE', `the record of ${name} has ${bytes} bytes, ${MAX_RECORD_BYTES} are allowed`, {
    hint: `shorten its largest capabilities: ${largest.map((each) => `${each.name} (${each.bytes} bytes)`).join(', ')}`
  })
}
