import { MeshError } from '../errors.ts'
import type { Capability, CapabilityKind } from '../registry/messages.ts'
import type { Migrations, Row, Store } from '../store/index.ts'
import { canonicalJson } from '../wire/index.ts'
import { MAX_PINS } from './constants.ts'
import { diffDefinitions } from './diff.ts'
import type { Pin, Pins, PinsInit, ShortName } from './index.ts'
import { ShortNames } from './short-names.ts'

export const pinsMigrations: Migrations = {
  room: 'tools',
  steps: [
    `CREATE TABLE pin (
       agent TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
       version TEXT NOT NULL, digest TEXT NOT NULL, definition TEXT NOT NULL, pinned_at TEXT NOT NULL,
       new_version TEXT, new_digest TEXT, new_definition TEXT, suspended_at TEXT,
       PRIMARY KEY (agent, kind, name)
     ) STRICT, WITHOUT ROWID;`,
    'CREATE TABLE short_name (text TEXT PRIMARY KEY, agent TEXT NOT NULL, at TEXT NOT NULL) STRICT, WITHOUT ROWID;'
  ]
}

/**
 * Opens the pins of a store.
 *
 * @throws {MeshError} IO
 */
export async function createPins(init: PinsInit): Promise<Pins> {
  return new StoredPins(init)
}

class StoredPins implements Pins {
  readonly #store: Store
  readonly #emit: PinsInit['emit']
  readonly #clock: () => number
  readonly #pins: Map<string, Pin>
  readonly #names: ShortNames
  /** The last change that was asked for: each looks at what the one before has left. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor({ store, emit, clock = Date.now }: PinsInit) {
    this.#store = store
    this.#emit = emit
    this.#clock = clock
    this.#names = new ShortNames(store)
    this.#pins = new Map(
      store
        .all(SELECT)
        .map(loaded)
        .map((pin) => [keyOf(pin.agent, pin), pin])
    )
  }

  check(agent: string, capability: Capability): Promise<void> | undefined {
    const pin = this.#pins.get(keyOf(agent, capability))
    if (pin !== undefined && pin.suspended === undefined && pin.digest === capability.digest) return undefined
    return this.#inTurn(() => this.#settle(agent, capability))
  }

  checkName(text: string, agent: string): Promise<void> | undefined {
    return this.#names.settle(text, agent, this.#now())
  }

  names(): readonly ShortName[] {
    return this.#names.list()
  }

  all(): Iterable<Pin> {
    return this.#pins.values()
  }

  list(agent?: string): readonly Pin[] {
    return [...this.#pins.values()].filter((pin) => agent === undefined || pin.agent === agent).sort(inOrder)
  }

  approve(agent: string, name?: string): Promise<readonly Pin[]> {
    return this.#inTurn(async () => {
      const suspended = this.#named(agent, name).filter((pin) => pin.suspended !== undefined)
      if (suspended.length === 0) {
        throw new MeshError(
          'NOT_FOUND',
          `nothing of ${agent}${name === undefined ? '' : ` called ${name}`} is suspended`,
          {
            hint: 'pryx-mesh pins list shows what is'
          }
        )
      }
      const pinnedAt = this.#now()
      await this.#store.write([{ sql: APPROVE, params: [pinnedAt, agent, name ?? null, name ?? null] }])
      return suspended.map(({ suspended: now, ...pin }) => {
        return this.#keep({ ...pin, version: now?.version ?? '', digest: now?.digest ?? '', pinnedAt })
      })
    })
  }

  forget(agent: string, name?: string): Promise<number> {
    return this.#inTurn(async () => {
      const forgotten = this.#named(agent, name)
      await this.#store.write([{ sql: FORGET, params: [agent, name ?? null, name ?? null] }])
      for (const pin of forgotten) this.#pins.delete(keyOf(agent, pin))
      if (name === undefined) await this.#names.forget(agent)
      return forgotten.length
    })
  }

  /** Pins what is new, ends or starts a suspension, and refuses what is suspended. */
  async #settle(agent: string, capability: Capability): Promise<void> {
    const pin = this.#pins.get(keyOf(agent, capability))
    if (pin === undefined) return this.#pin(agent, capability)
    if (pin.digest === capability.digest) return this.#resume(pin)
    const isKnown = pin.suspended?.digest === capability.digest
    throw changed(isKnown ? pin : await this.#suspend(pin, capability))
  }

  async #pin(agent: string, capability: Capability): Promise<void> {
    if (this.#pins.size >= MAX_PINS) {
      throw new MeshError('BUSY', `this node has ${MAX_PINS} remote capabilities pinned`, {
        hint: 'pryx-mesh pins forget AGENT makes room'
      })
    }
    const { kind, name, version, digest } = capability
    const pinnedAt = this.#now()
    const params = [agent, kind, name, version, digest, canonicalJson(capability), pinnedAt]
    await this.#store.write([{ sql: INSERT, params }])
    this.#keep({ agent, kind, name, version, digest, pinnedAt })
  }

  /** The owner went back to what was pinned. */
  async #resume({ suspended, ...pin }: Pin): Promise<void> {
    if (suspended === undefined) return
    await this.#store.write([{ sql: RESUME, params: [pin.agent, pin.kind, pin.name] }])
    this.#keep(pin)
  }

  async #suspend(pin: Pin, capability: Capability): Promise<Pin> {
    const { agent, kind, name } = pin
    const { version, digest } = capability
    const row = this.#store.get('SELECT definition FROM pin WHERE agent = ? AND kind = ? AND name = ?', [
      agent,
      kind,
      name
    ])
    const diff = diffDefinitions(JSON.parse(String(row?.['definition'])), capability)
    const since = this.#now()
    const params = [version, digest, canonicalJson(capability), since, agent, kind, name]
    await this.#store.write([{ sql: SUSPEND, params }])
    const suspended = this.#keep({ ...pin, suspended: { version, digest, since, diff } })
    this.#emit('definition:changed', { agent, kind, name })
    return suspended
  }

  #named(agent: string, name: string | undefined): readonly Pin[] {
    return this.list(agent).filter((pin) => name === undefined || pin.name === name)
  }

  #keep(pin: Pin): Pin {
    this.#pins.set(keyOf(pin.agent, pin), pin)
    return pin
  }

  #now(): string {
    return new Date(this.#clock()).toISOString()
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => {
      // whoever asked is told; the next one is not concerned
    })
    return result
  }
}

const SELECT = `
  SELECT agent, kind, name, version, digest, pinned_at, new_version, new_digest, new_definition, suspended_at,
    CASE WHEN new_digest IS NOT NULL THEN definition END AS definition
  FROM pin`
const INSERT =
  'INSERT INTO pin (agent, kind, name, version, digest, definition, pinned_at) VALUES (?, ?, ?, ?, ?, ?, ?)'
const SUSPEND = `
  UPDATE pin SET new_version = ?, new_digest = ?, new_definition = ?, suspended_at = ?
  WHERE agent = ? AND kind = ? AND name = ?`
const RESUME = `
  UPDATE pin SET new_version = NULL, new_digest = NULL, new_definition = NULL, suspended_at = NULL
  WHERE agent = ? AND kind = ? AND name = ?`
const APPROVE = `
  UPDATE pin SET version = new_version, digest = new_digest, definition = new_definition, pinned_at = ?,
    new_version = NULL, new_digest = NULL, new_definition = NULL, suspended_at = NULL
  WHERE agent = ? AND (? IS NULL OR name = ?) AND new_digest IS NOT NULL`
const FORGET = 'DELETE FROM pin WHERE agent = ? AND (? IS NULL OR name = ?)'

function loaded(row: Row): Pin {
  const text = (column: string) => String(row[column])
  const pin = {
    agent: text('agent'),
    // Written from a record that its schema has passed
    kind: text('kind') as CapabilityKind,
    name: text('name'),
    version: text('version'),
    digest: text('digest'),
    pinnedAt: text('pinned_at')
  }
  if (row['new_digest'] === null) return pin
  const diff = diffDefinitions(JSON.parse(text('definition')), JSON.parse(text('new_definition')))
  return {
    ...pin,
    suspended: { version: text('new_version'), digest: text('new_digest'), since: text('suspended_at'), diff }
  }
}

/** None of the three may have a space. */
function keyOf(agent: string, { kind, name }: { readonly kind: CapabilityKind; readonly name: string }): string {
  return `${agent} ${kind} ${name}`
}

function inOrder(a: Pin, b: Pin): number {
  const isSuspended = (pin: Pin) => (pin.suspended === undefined ? 1 : 0)
  return isSuspended(a) - isSuspended(b) || compare(a.agent, b.agent) || compare(a.name, b.name)
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}

function changed({ agent, kind, name, suspended }: Pin): MeshError {
  return new MeshError('DEFINITION_CHANGED', `${kind} ${name} of ${agent} is not what it was when it was approved`, {
    hint: `pryx-mesh pins show ${agent} ${name} tells what changed; pryx-mesh pins approve ${agent} ${name} accepts it`,
    data: { agent, kind, name, diff: suspended?.diff ?? [] }
  })
}
