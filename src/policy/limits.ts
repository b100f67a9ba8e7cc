import type { Caller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { Migrations, Statement, Store } from '../store/index.ts'
import { CONCURRENCY_RETRY_MS, COUNTER_SWEEP_MS, LASTING_WINDOW_MS, MAX_COUNTERS } from './constants.ts'
import type { Reservation } from './index.ts'
import type { Rule } from './messages.ts'
import { millionths, type Rate, readRate } from './quantities.ts'

export const policyMigrations: Migrations = {
  room: 'policy',
  steps: [
    `CREATE TABLE policy_counter (
      id TEXT PRIMARY KEY,
      used REAL NOT NULL,
      started_at INTEGER NOT NULL,
      window_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID`
  ]
}

/** What has been used since the window began, with its first use. */
interface Counter {
  readonly startedAt: number
  readonly windowMs: number
  used: number
}

type Kind = 'calls' | 'bytes' | 'cost'

/** One quantity of a rule, for one caller or for all. */
interface Quantity {
  readonly key: string
  readonly kind: Kind
  readonly rule: string
  readonly rate: Rate
}

interface Slot {
  readonly key: string
  readonly rule: string
  readonly max: number
}

export interface LimitsInit {
  readonly store: Store | undefined
  readonly clock: () => number
  readonly onLimit: (caller: Caller, rule: string) => void
}

export interface Limits {
  /** @throws {MeshError} LIMIT_EXCEEDED, IO */
  take(rules: readonly Rule[], caller: Caller, bytes: number): Reservation | Promise<Reservation>
  /** How far the limits of a rule are used by this caller. */
  usage(rule: Rule, caller: Caller): readonly string[]
  /** Resolves when everything is on disk. */
  stop(): Promise<void>
}

export function openLimits(init: LimitsInit): Limits {
  return new CountedLimits(init)
}

/** Memory decides, at once, so that nothing is spent twice; the disk follows, and is waited for where it matters. */
class CountedLimits implements Limits {
  readonly #init: LimitsInit
  readonly #counters = new Map<string, Counter>()
  readonly #running = new Map<string, number>()
  readonly #dirty = new Set<string>()
  #sweptAt = Number.NEGATIVE_INFINITY
  #writing: Promise<void> = Promise.resolve()
  #nextWrite: Promise<void> | undefined

  constructor(init: LimitsInit) {
    this.#init = init
    const rows =
      init.store?.all(
        'SELECT id, used, started_at, window_ms FROM policy_counter WHERE started_at + window_ms > ? LIMIT ?',
        [init.clock(), MAX_COUNTERS]
      ) ?? []
    for (const { id, used, started_at, window_ms } of rows) {
      this.#counters.set(String(id), { used: Number(used), startedAt: Number(started_at), windowMs: Number(window_ms) })
    }
  }

  take(rules: readonly Rule[], caller: Caller, bytes: number): Reservation | Promise<Reservation> {
    const now = this.#init.clock()
    const quantities = rules.flatMap((rule) => quantitiesOf(rule, caller))
    const slots = rules.flatMap((rule) => slotsOf(rule, caller))
    const amounts: Readonly<Record<Kind, number>> = { calls: 1, bytes, cost: 0 }
    for (const { rule, key, max } of slots) {
      if ((this.#running.get(key) ?? 0) >= max) this.#refuse(caller, rule, 'concurrent', CONCURRENCY_RETRY_MS)
    }
    for (const { key, kind, rule, rate } of quantities) {
      const counter = this.#at(key, now)
      const used = counter?.used ?? 0
      const until = counter === undefined ? rate.windowMs : counter.startedAt + counter.windowMs - now
      if (used >= rate.max || used + amounts[kind] > rate.max) this.#refuse(caller, rule, kind, until)
    }
    this.#makeRoom(quantities, caller, now)
    for (const { key } of slots) this.#running.set(key, (this.#running.get(key) ?? 0) + 1)
    const taken = quantities.map((quantity) => ({
      quantity,
      counter: this.#add(quantity, amounts[quantity.kind], now),
      amount: amounts[quantity.kind]
    }))
    const reservation = this.#reservation(taken, slots)
    if (this.#init.store === undefined || !quantities.some(({ rate }) => isLasting(rate.windowMs))) return reservation
    return this.#persist().then(
      () => reservation,
      (err: unknown) => {
        reservation.cancel()
        throw err
      }
    )
  }

  usage(rule: Rule, caller: Caller): readonly string[] {
    const now = this.#init.clock()
    const scale = (kind: Kind, amount: number) => (kind === 'cost' ? amount / 1e6 : amount)
    const windows = quantitiesOf(rule, caller).map(({ key, kind, rate }) => {
      const counter = this.#at(key, now)
      const used = `${kind} ${scale(kind, counter?.used ?? 0)} of ${scale(kind, rate.max)}`
      return counter === undefined
        ? used
        : `${used} until ${new Date(counter.startedAt + counter.windowMs).toISOString()}`
    })
    const slots = slotsOf(rule, caller).map(({ key, max }) => `concurrent ${this.#running.get(key) ?? 0} of ${max}`)
    return [...windows, ...slots]
  }

  async stop(): Promise<void> {
    // What the disk refuses at the end is as lost as in a crash; the calls themselves are over
    if (this.#dirty.size > 0) await this.#persist().catch(() => {})
    await this.#writing.catch(() => {})
  }

  #reservation(
    taken: readonly { quantity: Quantity; counter: Counter; amount: number }[],
    slots: readonly Slot[]
  ): Reservation {
    let isOpen = true
    const close = (): boolean => {
      if (!isOpen) return false
      isOpen = false
      for (const { key } of slots) {
        const running = (this.#running.get(key) ?? 1) - 1
        if (running > 0) this.#running.set(key, running)
        else this.#running.delete(key)
      }
      return true
    }
    return {
      settle: ({ bytes = 0, cost = 0 }) => {
        if (!close()) return
        const now = this.#init.clock()
        const amounts: Readonly<Record<Kind, number>> = { calls: 0, bytes: atLeastNone(bytes), cost: toUnits(cost) }
        for (const { quantity } of taken) {
          if (amounts[quantity.kind] > 0) this.#add(quantity, amounts[quantity.kind], now)
        }
        this.#persistSoon()
      },
      cancel: () => {
        if (!close()) return
        for (const { quantity, counter, amount } of taken) {
          counter.used = Math.max(0, counter.used - amount)
          if (this.#counters.get(quantity.key) === counter) this.#touch(quantity.key, counter)
        }
        this.#persistSoon()
      }
    }
  }

  #at(key: string, now: number): Counter | undefined {
    const counter = this.#counters.get(key)
    return counter === undefined || counter.startedAt + counter.windowMs <= now ? undefined : counter
  }

  #add({ key, rate }: Quantity, amount: number, now: number): Counter {
    const counter = this.#at(key, now) ?? { used: 0, startedAt: now, windowMs: rate.windowMs }
    counter.used += amount
    this.#counters.set(key, counter)
    this.#touch(key, counter)
    return counter
  }

  #touch(key: string, { windowMs }: Counter): void {
    if (this.#init.store !== undefined && isLasting(windowMs)) this.#dirty.add(key)
  }

  #makeRoom(quantities: readonly Quantity[], caller: Caller, now: number): void {
    const isFull = () =>
      this.#counters.size + quantities.filter(({ key }) => !this.#counters.has(key)).length > MAX_COUNTERS
    if (isFull() && now - this.#sweptAt >= COUNTER_SWEEP_MS) {
      this.#sweptAt = now
      for (const key of this.#counters.keys()) if (this.#at(key, now) === undefined) this.#counters.delete(key)
    }
    const [first] = quantities
    if (first !== undefined && isFull()) this.#refuse(caller, first.rule, first.kind, LASTING_WINDOW_MS)
  }

  #refuse(caller: Caller, rule: string, limit: Kind | 'concurrent', retryAfterMs: number): never {
    this.#init.onLimit(caller, rule)
    throw new MeshError('LIMIT_EXCEEDED', `the limit ${limit} of rule ${rule} is used up`, {
      data: { rule, limit, retryAfterMs: Math.max(1, Math.ceil(retryAfterMs)) }
    })
  }

  #persistSoon(): void {
    // What the disk refuses stays dirty, and the next write tries it again
    if (this.#dirty.size > 0) this.#persist().catch(() => {})
  }

  /** Everything that is dirty when the write begins shares it. */
  #persist(): Promise<void> {
    this.#nextWrite ??= this.#writing
      .catch(() => {})
      .then(() => {
        this.#nextWrite = undefined
        this.#writing = this.#write()
        return this.#writing
      })
    return this.#nextWrite
  }

  async #write(): Promise<void> {
    const { store, clock } = this.#init
    const keys = [...this.#dirty]
    this.#dirty.clear()
    const statements = keys.flatMap((key): Statement[] => {
      const counter = this.#counters.get(key)
      return counter === undefined ? [] : [upsert(key, counter)]
    })
    try {
      await store?.write([
        { sql: 'DELETE FROM policy_counter WHERE started_at + window_ms <= ?', params: [clock()] },
        ...statements
      ])
    } catch (err) {
      for (const key of keys) this.#dirty.add(key)
      throw err
    }
  }
}

function upsert(key: string, { used, startedAt, windowMs }: Counter): Statement {
  return {
    sql: 'INSERT OR REPLACE INTO policy_counter (id, used, started_at, window_ms) VALUES (?, ?, ?, ?)',
    params: [key, used, startedAt, windowMs]
  }
}

const isLasting = (windowMs: number): boolean => windowMs >= LASTING_WINDOW_MS
const atLeastNone = (amount: number): number => (amount > 0 ? amount : 0)
const toUnits = (cost: number): number => millionths(atLeastNone(cost))

const RATES = [
  ['calls', 'count'],
  ['bytes', 'bytes'],
  ['cost', 'decimal']
] as const

/** The window is part of the key: a rule with another one counts anew. No part of it but the last may have a space. */
function quantitiesOf({ id, limit = {} }: Rule, caller: Caller): Quantity[] {
  return RATES.flatMap(([kind, unit]) => {
    const text = limit[kind]
    if (text === undefined) return []
    const rate = readRate(text, unit)
    return [{ key: `${id} ${kind} ${rate.windowMs} ${subjectOf(limit, caller)}`, kind, rule: id, rate }]
  })
}

function slotsOf({ id, limit = {} }: Rule, caller: Caller): Slot[] {
  return limit.concurrent === undefined
    ? []
    : [{ key: `${id} ${subjectOf(limit, caller)}`, rule: id, max: limit.concurrent }]
}

function subjectOf({ per }: { readonly per?: 'caller' | 'rule' }, { peer }: Caller): string {
  return per === 'rule' ? '*' : peer
}
