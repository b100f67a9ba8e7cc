import { MeshError } from '../errors.ts'
import type { Row, SqlValue, Statement, Store } from '../store/index.ts'
import { DENIAL_HOLDS_MS, MAX_KEPT, MAX_OPEN, MAX_OPEN_PER_PEER, MAX_TIMER_MS } from './constants.ts'
import { newId } from './granting.ts'
import type { Answer, PermissionRequest } from './index.ts'
import { type Answered, INSERT, insertParams, type NewRequest, readRow } from './rows.ts'

/** What is known of an open request without reading. */
export interface Open {
  readonly id: string
  readonly peer: string
  readonly deadline: number
}

interface Entry extends Open {
  readonly subject: string
  /** Resolves when it is on disk. */
  saved: Promise<unknown>
}

/** How a request ends. */
export interface Ending {
  readonly state: Exclude<PermissionRequest['state'], 'pending'>
  readonly by?: NonNullable<PermissionRequest['answeredBy']>
  readonly reason?: string
  readonly answer?: Answer
}

export interface BookInit {
  readonly store: Store
  readonly clock: () => number
  /** Told of each request whose deadline has passed, once it is written. */
  readonly onExpired: (open: Open) => void
}

/** All requests: the open ones counted in memory, everything on disk. */
export class Book {
  readonly #store: Store
  readonly #clock: () => number
  readonly #onExpired: (open: Open) => void
  readonly #open = new Map<string, Entry>()
  readonly #bySubject = new Map<string, Entry>()
  readonly #perPeer = new Map<string, number>()
  #timer: NodeJS.Timeout | undefined
  /** When the timer rings. */
  #next = Number.POSITIVE_INFINITY
  #isStopped = false

  constructor({ store, clock, onExpired }: BookInit) {
    this.#store = store
    this.#clock = clock
    this.#onExpired = onExpired
    const rows = store.all("SELECT id, peer, subject, deadline FROM permission_request WHERE state = 'pending'")
    for (const row of rows) {
      this.#add({
        id: String(row.id),
        peer: String(row.peer),
        subject: String(row.subject),
        deadline: Number(row.deadline),
        saved: Promise.resolve()
      })
    }
  }

  get size(): number {
    return this.#open.size
  }

  get open(): Iterable<Open> {
    return this.#open.values()
  }

  /** Begins to watch deadlines. */
  start(): void {
    for (const { deadline } of this.#open.values()) this.#ringAt(deadline)
  }

  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
  }

  /**
   * Writes a question down, or counts it once more when it is open already; on disk when it resolves.
   *
   * @throws {MeshError} FORBIDDEN when the owner has denied it just now, BUSY, IO
   */
  async ask(asked: NewRequest): Promise<{ readonly open: Open; readonly isNew: boolean }> {
    const now = this.#clock()
    const known = this.#bySubject.get(asked.subject)
    if (known !== undefined && known.deadline > now) {
      await known.saved
      await this.#write('UPDATE permission_request SET times = times + 1 WHERE id = ?', [known.id])
      return { open: known, isNew: false }
    }
    if (known !== undefined) {
      await this.#expire(known)
      return this.ask(asked)
    }
    this.#checkDenied(asked.subject, now)
    this.#checkRoom(asked.peer)
    const id = newId()
    const saved = this.#store.write([{ sql: INSERT, params: insertParams(asked, id, now) }])
    const entry = { id, peer: asked.peer, subject: asked.subject, deadline: now + asked.ttlMs, saved }
    this.#add(entry)
    try {
      await saved
    } catch (err) {
      this.#forget(entry)
      throw err
    }
    this.#ringAt(entry.deadline)
    return { open: entry, isNew: true }
  }

  /** @throws {MeshError} FORBIDDEN when the owner has denied the same just now */
  #checkDenied(subject: string, now: number): void {
    const sql = `SELECT answered_at, reason FROM permission_request
                 WHERE answered_at > ? AND subject = ? AND state = 'denied' AND answered_by = 'owner'`
    const denial = this.#store.get(sql, [now - DENIAL_HOLDS_MS, subject])
    if (denial === undefined) return
    const until = new Date(Number(denial.answered_at) + DENIAL_HOLDS_MS).toISOString()
    throw new MeshError('FORBIDDEN', String(denial.reason), { hint: `it can be asked again from ${until} on` })
  }

  /** Ends an open request whose deadline is not over. @returns false when it isn't open any more */
  settle(id: string, ending: Ending): Promise<boolean> {
    return this.#end(id, ending, this.#clock())
  }

  /** The answer didn't become a grant: it is open again, unless its deadline is over. */
  async reopen(id: string): Promise<void> {
    const sql = `UPDATE permission_request SET state = 'pending', answer = NULL, answered_at = NULL, answered_by = NULL
                 WHERE id = ? AND state = 'allowed' AND grant_id IS NULL AND deadline > ?
                 AND NOT EXISTS (SELECT 1 FROM permission_request other
                                 WHERE other.state = 'pending' AND other.subject = permission_request.subject)`
    if (!(await this.#write(sql, [id, this.#clock()]))) return
    const row = this.#store.get('SELECT id, peer, subject, deadline FROM permission_request WHERE id = ?', [id])
    if (row === undefined) return
    const deadline = Number(row.deadline)
    this.#add({ id, peer: String(row.peer), subject: String(row.subject), deadline, saved: Promise.resolve() })
    this.#ringAt(deadline)
  }

  /** Ends an allowed request that got no grant. */
  async cancel(id: string, reason: string): Promise<void> {
    const sql = `UPDATE permission_request SET state = 'cancelled', reason = ?
                 WHERE id = ? AND state = 'allowed' AND grant_id IS NULL`
    await this.#write(sql, [reason, id])
  }

  /** @param also goes into the same transaction */
  async setGrant(id: string, grant: string, also: readonly Statement[]): Promise<void> {
    const sql = 'UPDATE permission_request SET grant_id = ? WHERE id = ?'
    await this.#store.write([{ sql, params: [grant, id] }, ...also])
  }

  isGrantTaken(grant: string): boolean {
    return this.#store.get('SELECT 1 FROM permission_request WHERE grant_id = ?', [grant]) !== undefined
  }

  /** Allowed, and then the process ended before there was a grant. */
  unfinished(): readonly Answered[] {
    return this.#store
      .all("SELECT * FROM permission_request WHERE state = 'allowed' AND grant_id IS NULL ORDER BY seq")
      .map((row) => ({ request: this.#read(row), answer: JSON.parse(String(row.answer)) as Answer })) // our own writing
  }

  get(id: string): PermissionRequest | undefined {
    const row = this.#store.get('SELECT * FROM permission_request WHERE id = ?', [id])
    return row && this.#read(row)
  }

  /** Pending first, oldest first; then the answered, latest first. */
  list({ state, peer }: { state?: PermissionRequest['state']; peer?: string } = {}): readonly PermissionRequest[] {
    const rows = (where: string, order: string, limit: number) =>
      this.#store.all(
        `SELECT * FROM permission_request WHERE ${where} ${peer === undefined ? '' : 'AND peer = ?'} ${order} LIMIT ${limit}`,
        peer === undefined ? [] : [peer]
      )
    const pending = rows("state = 'pending'", 'ORDER BY seq', MAX_OPEN)
    const answered = rows('answered_at IS NOT NULL', 'ORDER BY answered_at DESC, seq DESC', MAX_KEPT)
    const all = [...pending, ...answered].map((row) => this.#read(row))
    return state === undefined ? all : all.filter((request) => request.state === state)
  }

  #read(row: Row): PermissionRequest {
    return readRow(row, this.#clock())
  }

  /** @throws {MeshError} BUSY */
  #checkRoom(peer: string): void {
    const hint = 'wait until the owner has answered'
    if ((this.#perPeer.get(peer) ?? 0) >= MAX_OPEN_PER_PEER) {
      throw new MeshError('BUSY', `denied without asking: ${MAX_OPEN_PER_PEER} requests of this caller are open`, {
        hint
      })
    }
    if (this.#open.size < MAX_OPEN) return
    throw new MeshError('BUSY', `denied without asking: ${MAX_OPEN} requests are open`, { hint })
  }

  async #end(id: string, { state, by, reason, answer }: Ending, now: number): Promise<boolean> {
    const overdue = state === 'expired' ? '<=' : '>'
    const sql = `UPDATE permission_request SET state = ?, answered_at = ?, answered_by = ?, reason = ?, answer = ?
                 WHERE id = ? AND state = 'pending' AND deadline ${overdue} ?`
    const given = answer === undefined ? null : JSON.stringify(answer)
    const params = [state, now, by ?? null, reason ?? null, given, id, now]
    const [changed] = await this.#store.write([
      { sql, params },
      { sql: PRUNE, params: [MAX_KEPT] }
    ])
    if (changed !== 1) return false
    const entry = this.#open.get(id)
    if (entry !== undefined) this.#forget(entry)
    return true
  }

  async #expire(entry: Entry): Promise<void> {
    await entry.saved.catch(() => {}) // who asked is told; then there is nothing to expire
    const reason = `the owner did not answer until ${new Date(entry.deadline).toISOString()}; ask again, or ahead with pryx-mesh permission request`
    const isOver = await this.#end(entry.id, { state: 'expired', by: 'deadline', reason }, this.#clock())
    this.#forget(entry)
    if (isOver) this.#onExpired(entry)
  }

  /** One timer for all of them, at the next deadline. */
  #ringAt(deadline: number): void {
    if (this.#isStopped || deadline >= this.#next) return
    clearTimeout(this.#timer)
    this.#next = deadline
    const waitMs = Math.min(Math.max(deadline - this.#clock(), 0), MAX_TIMER_MS)
    this.#timer = setTimeout(() => void this.#ring(), waitMs).unref()
  }

  async #ring(): Promise<void> {
    this.#next = Number.POSITIVE_INFINITY
    const now = this.#clock()
    const over = [...this.#open.values()].filter(({ deadline }) => deadline <= now)
    const written = await Promise.allSettled(over.map((entry) => this.#expire(entry)))
    const isStuck = written.some(({ status }) => status === 'rejected')
    // What the disk refuses reads as expired all the same, and is tried again
    if (isStuck) this.#ringAt(this.#clock() + RETRY_MS)
    for (const { deadline } of this.#open.values()) if (deadline > now) this.#ringAt(deadline)
  }

  #add(entry: Entry): void {
    this.#open.set(entry.id, entry)
    this.#bySubject.set(entry.subject, entry)
    this.#perPeer.set(entry.peer, (this.#perPeer.get(entry.peer) ?? 0) + 1)
  }

  #forget(entry: Entry): void {
    if (!this.#open.delete(entry.id)) return
    if (this.#bySubject.get(entry.subject) === entry) this.#bySubject.delete(entry.subject)
    const left = (this.#perPeer.get(entry.peer) ?? 1) - 1
    if (left === 0) this.#perPeer.delete(entry.peer)
    else this.#perPeer.set(entry.peer, left)
  }

  async #write(sql: string, params: readonly SqlValue[]): Promise<boolean> {
    const [changed] = await this.#store.write([{ sql, params }])
    return changed === 1
  }
}

const RETRY_MS = 10_000

const PRUNE = `DELETE FROM permission_request WHERE seq IN
  (SELECT seq FROM permission_request WHERE answered_at IS NOT NULL ORDER BY answered_at DESC, seq DESC LIMIT -1 OFFSET ?)`
