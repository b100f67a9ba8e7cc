import { MeshError } from '../errors.ts'
import type { Identity } from '../identity/index.ts'
import type { Statement, Store } from '../store/index.ts'
import { verifyJws } from '../wire/index.ts'
import { type GrantLink, peerOf } from './chain.ts'
import { MAX_CLOCK_SKEW_MS, MAX_REVOCATIONS_BYTES, MAX_REVOKING_ISSUERS, REVOCATIONS_TYPE } from './constants.ts'
import { revocationsPayload } from './messages.ts'

interface Revoked {
  readonly seq: number
  readonly ids: ReadonlySet<string>
}

/** What one issuer has revoked, as its list says. */
interface RevocationList extends Revoked {
  /** PeerId. */
  readonly issuer: string
}

/** What other issuers have revoked, and this node's own list. */
export class Revocations {
  readonly #identity: Identity
  readonly #store: Store
  readonly #clock: () => number
  /** Oldest first. */
  readonly #lists: Map<string, Revoked>
  /** Of this node's own list. */
  #seq: number
  #signed: { readonly seq: number; readonly jws: string } | undefined

  constructor({ identity, store, clock }: { identity: Identity; store: Store; clock: () => number }) {
    this.#identity = identity
    this.#store = store
    this.#clock = clock
    const own = store.get('SELECT seq FROM grant_revocations WHERE issuer = ?', [identity.id])
    this.#seq = Number(own?.['seq'] ?? 1)
    const rows = store.all('SELECT issuer, seq, ids FROM grant_revocations WHERE issuer <> ? ORDER BY learned_at', [
      identity.id
    ])
    this.#lists = new Map(
      rows.map(({ issuer, seq, ids }) => [
        String(issuer),
        // Written by this room alone
        { seq: Number(seq), ids: new Set(JSON.parse(String(ids)) as string[]) }
      ])
    )
  }

  has({ issuer, id }: GrantLink): boolean {
    return this.#lists.get(issuer)?.ids.has(id) ?? false
  }

  /** Of this node's own list, by the clock: so a restored backup isn't behind what others have seen. */
  nextSeq(): number {
    return Math.max(this.#seq + 1, this.#clock())
  }

  /** Goes into the write of what is revoked. */
  moveTo(seq: number): Statement {
    return {
      sql: `INSERT INTO grant_revocations (issuer, seq, ids, learned_at) VALUES (?, ?, '[]', ?)
            ON CONFLICT (issuer) DO UPDATE SET seq = excluded.seq, learned_at = excluded.learned_at`,
      params: [this.#identity.id, seq, this.#clock()]
    }
  }

  /** What was revoked is on disk. */
  moved(seq: number): void {
    this.#seq = seq
  }

  /** @param ids what this node has revoked and would be good otherwise */
  async own(ids: () => readonly string[]): Promise<string> {
    const seq = this.#seq
    if (this.#signed?.seq === seq) return this.#signed.jws
    const payload = { v: 1, iss: this.#identity.did, seq, iat: this.#clock() / 1000, ids: ids() }
    const jws = await this.#identity.sign(REVOCATIONS_TYPE, payload)
    this.#signed = { seq, jws }
    return jws
  }

  /**
   * @param isConcerned whether something here came from this issuer
   * @returns what is revoked that wasn't before; undefined when nothing changed
   * @throws {MeshError} INVALID_RECORD, BUSY, IO
   */
  async learn(jws: string, isConcerned: (issuer: string) => boolean): Promise<RevocationList | undefined> {
    const { issuer, seq, ids } = await readRevocations(jws, this.#clock())
    if (issuer === this.#identity.id) return undefined
    const known = this.#lists.get(issuer)
    if (known !== undefined && seq < known.seq) {
      throw new MeshError('INVALID_RECORD', `the list of revocations is older than the last one of ${issuer}`)
    }
    if (known?.seq === seq) return undefined
    const dropped = known === undefined ? this.#roomFor(isConcerned) : []
    const [, changed] = await this.#store.write([
      {
        sql: 'DELETE FROM grant_revocations WHERE issuer IN (SELECT value FROM json_each(?))',
        params: [json(dropped)]
      },
      {
        sql: `INSERT INTO grant_revocations (issuer, seq, ids, learned_at) VALUES (?, ?, ?, ?)
              ON CONFLICT (issuer) DO UPDATE SET seq = excluded.seq, ids = excluded.ids, learned_at = excluded.learned_at
              WHERE excluded.seq > seq`,
        params: [issuer, seq, json([...ids]), this.#clock()]
      }
    ])
    for (const one of dropped) this.#lists.delete(one)
    if (changed !== 1) return undefined
    this.#lists.delete(issuer)
    this.#lists.set(issuer, { seq, ids })
    return { issuer, seq, ids: new Set([...ids].filter((id) => known?.ids.has(id) !== true)) }
  }

  /** @returns the issuer to forget; a stranger's list can't push out one that matters */
  #roomFor(isConcerned: (issuer: string) => boolean): readonly string[] {
    if (this.#lists.size < MAX_REVOKING_ISSUERS) return []
    const [stranger] = [...this.#lists.keys()].filter((issuer) => !isConcerned(issuer))
    if (stranger === undefined) throw new MeshError('BUSY', 'too many issuers have revoked grants')
    return [stranger]
  }
}

/**
 * Reads a list of revocations and checks its signature.
 *
 * @param now milliseconds since 1970
 * @throws {MeshError} INVALID_RECORD
 */
export async function readRevocations(jws: string, now: number): Promise<RevocationList> {
  const { did, payload } = await verifyJws(jws, { type: REVOCATIONS_TYPE, maxBytes: MAX_REVOCATIONS_BYTES }).catch(
    (err: unknown) => {
      throw new MeshError('INVALID_RECORD', `not a list of revocations: ${MeshError.from(err).message}`, { cause: err })
    }
  )
  const parsed = revocationsPayload.safeParse(payload)
  if (!parsed.success) throw new MeshError('INVALID_RECORD', 'not a list of revocations', { cause: parsed.error })
  const { iss, seq, iat, ids } = parsed.data
  if (iss !== did) throw new MeshError('INVALID_RECORD', 'the list of revocations is not signed by its issuer')
  if (iat * 1000 > now + MAX_CLOCK_SKEW_MS) {
    throw new MeshError('INVALID_RECORD', 'the list of revocations was made in the future')
  }
  return { issuer: peerOf(did), seq, ids: new Set(ids) }
}

function json(values: readonly string[]): string {
  return JSON.stringify(values)
}
