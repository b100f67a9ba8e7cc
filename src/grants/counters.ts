import { MeshError } from '../errors.ts'
import type { Row, Statement, Store } from '../store/index.ts'
import type { GrantChain, GrantLink } from './chain.ts'
import { MAX_COUNTED_PER_GRANT, WRITE_USE_EVERY_MS } from './constants.ts'

/** Uses of one link, counted by the owner of the resource. */
export interface Counter {
  /** Of an own grant its id; of a passed-on one the hash of its text, as its id may be made up to be that of another. */
  readonly id: string
  /** The id of the own grant that it came from. */
  readonly root: string
  readonly uses: number | undefined
  /** Milliseconds since 1970. */
  readonly expiresAt: number | undefined
  used: number
  /** Milliseconds since 1970. */
  lastUsedAt: number | undefined
  /** Uses that are being written just now. */
  taking: number
  /** Uses that are in memory only, and when the last were written; unset for what isn't kept on disk at all. */
  unwritten: { count: number; writtenAt: number } | undefined
}

export function newCounter(
  { id, root }: Pick<Counter, 'id' | 'root'>,
  { uses, expiresAt }: Pick<GrantLink, 'uses' | 'expiresAt'>,
  isKept: boolean
): Counter {
  const unwritten = isKept ? { count: 0, writtenAt: 0 } : undefined
  return { id, root, uses, expiresAt, used: 0, lastUsedAt: undefined, taking: 0, unwritten }
}

export function isUsedUp({ uses, used, taking }: Counter): boolean {
  return uses !== undefined && used + taking >= uses
}

/** The counters of all links that this node counts. */
export class Counters {
  readonly #store: Store
  readonly #clock: () => number
  readonly #counters: Map<string, Counter>

  constructor(store: Store, clock: () => number) {
    this.#store = store
    this.#clock = clock
    this.#counters = new Map(
      store
        .all('SELECT * FROM grant_counter')
        .map(readCounter)
        .map((counter) => [counter.id, counter])
    )
  }

  get(id: string): Counter | undefined {
    return this.#counters.get(id)
  }

  /** Knows the counter of a grant that is in the same write. */
  add(counter: Counter): Counter {
    this.#counters.set(counter.id, counter)
    return counter
  }

  /** Forgets what the store has forgotten. */
  drop(isDropped: (counter: Counter) => boolean): void {
    for (const counter of this.#counters.values()) if (isDropped(counter)) this.#counters.delete(counter.id)
  }

  /**
   * The counters of a chain that begins with a grant of this node's; made, and on disk, for links with a limit of their own.
   *
   * @throws {MeshError} BUSY at MAX_COUNTED_PER_GRANT, IO
   */
  async ofChain([root, ...others]: GrantChain): Promise<readonly Counter[]> {
    const limited = others.filter(({ uses }) => uses !== undefined)
    const missing = limited.filter(({ hash }) => !this.#counters.has(hash))
    if (missing.length > 0) await this.#insert(root.id, missing)
    return [root.id, ...limited.map(({ hash }) => hash)].flatMap((id) => this.#counters.get(id) ?? [])
  }

  async #insert(root: string, links: readonly GrantLink[]): Promise<void> {
    const now = this.#clock()
    await this.#store.write([
      { sql: 'DELETE FROM grant_counter WHERE root = ? AND expires_at <= ? AND id <> root', params: [root, now] },
      ...links.map(({ hash, uses = null, expiresAt = null }) => ({
        sql: `INSERT INTO grant_counter (id, root, uses, used, expires_at) SELECT ?, ?, ?, 0, ?
              WHERE (SELECT count(*) FROM grant_counter WHERE root = ?) <= ${MAX_COUNTED_PER_GRANT}
              ON CONFLICT (id) DO NOTHING`,
        params: [hash, root, uses, expiresAt, root]
      }))
    ])
    this.drop(({ id, root: from, expiresAt = Infinity }) => from === root && id !== root && expiresAt <= now)
    for (const link of links) {
      const { hash } = link
      if (this.#store.get('SELECT 1 FROM grant_counter WHERE id = ?', [hash]) === undefined) {
        throw new MeshError('BUSY', 'the grant was passed on too often, each time with a limit of its own')
      }
      if (!this.#counters.has(hash)) this.add(newCounter({ id: hash, root }, link, true))
    }
  }

  /**
   * Counts one use of each, or of none; on disk when it resolves where one of them has a limit.
   *
   * @returns false when one of them is used up
   * @throws {MeshError} IO, BUSY
   */
  async take(counters: readonly Counter[]): Promise<boolean> {
    if (counters.some(isUsedUp)) return false
    const now = this.#clock()
    const isWritten = counters.some(({ uses, unwritten }) => uses !== undefined && unwritten !== undefined)
    if (isWritten) {
      for (const counter of counters) counter.taking += 1
      try {
        const [changed] = await this.#store.write([takeOne(counters, now)])
        if (changed !== counters.length) return false
      } finally {
        for (const counter of counters) counter.taking -= 1
      }
    }
    for (const counter of counters) {
      counter.used += 1
      counter.lastUsedAt = now
      if (!isWritten) this.#writeLater(counter, 1)
    }
    return true
  }

  /** Gives one use of each back. @throws {MeshError} IO, BUSY */
  async giveBack(counters: readonly Counter[]): Promise<void> {
    const isWritten = counters.some(({ uses, unwritten }) => uses !== undefined && unwritten !== undefined)
    if (isWritten) await this.#store.write([giveOneBack(counters)])
    for (const counter of counters) {
      counter.used -= 1
      if (!isWritten) this.#writeLater(counter, -1)
    }
  }

  /** For counts that stop nobody: at most once in a while. */
  #writeLater({ id, lastUsedAt, unwritten }: Counter, uses: number): void {
    if (unwritten === undefined) return
    unwritten.count += uses
    const now = this.#clock()
    if (now - unwritten.writtenAt < WRITE_USE_EVERY_MS) return
    const { count, writtenAt } = unwritten
    Object.assign(unwritten, { count: 0, writtenAt: now })
    const sql = 'UPDATE grant_counter SET used = max(used + ?, 0), last_used_at = ? WHERE id = ?'
    this.#store.write([{ sql, params: [count, lastUsedAt ?? null, id] }]).catch(() => {
      // Told with the next use; the grant itself is on disk
      Object.assign(unwritten, { count: unwritten.count + count, writtenAt })
    })
  }
}

const THESE = 'id IN (SELECT value FROM json_each(?))'

/** One statement, so that either all have room for one more or none is counted. */
function takeOne(counters: readonly Counter[], now: number): Statement {
  const ids = JSON.stringify(counters.map(({ id }) => id))
  return {
    sql: `UPDATE grant_counter SET used = used + 1, last_used_at = ? WHERE ${THESE}
          AND ? = (SELECT count(*) FROM grant_counter WHERE ${THESE} AND (uses IS NULL OR used < uses))`,
    params: [now, ids, counters.length, ids]
  }
}

function giveOneBack(counters: readonly Counter[]): Statement {
  const sql = `UPDATE grant_counter SET used = max(used - 1, 0) WHERE ${THESE}`
  return { sql, params: [JSON.stringify(counters.map(({ id }) => id))] }
}

function readCounter(row: Row): Counter {
  return {
    id: String(row['id']),
    root: String(row['root']),
    uses: optional(row['uses']),
    expiresAt: optional(row['expires_at']),
    used: Number(row['used']),
    lastUsedAt: optional(row['last_used_at']),
    taking: 0,
    unwritten: { count: 0, writtenAt: 0 }
  }
}

function optional(value: unknown): number | undefined {
  return value === null || value === undefined ? undefined : Number(value)
}
