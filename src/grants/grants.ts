import { randomBytes } from 'node:crypto'
import { refused, type Session } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { Identity } from '../identity/index.ts'
import type { Store } from '../store/index.ts'
import { type GrantLink, hashOf, judgeGrantChain, payloadOf, readGrantChain, whatIsWider } from './chain.ts'
import {
  GRANT_TYPE,
  MAX_CHAIN,
  MAX_ENDED_GRANTS,
  MAX_GRANT_BYTES,
  MAX_GRANTS,
  MAX_GRANTS_PER_HOLDER,
  MAX_PASSED_ON,
  MAX_PRESENTED,
  MAX_REVOKED_IDS,
  MAX_SESSION_GRANTS
} from './constants.ts'
import { Counters, newCounter } from './counters.ts'
import { type Entry, endedLongAgo, entryOf, fits, grantOf, isBetter, stateOf } from './entries.ts'
import { HeldGrants } from './held.ts'
import type { Grant, GrantQuestion, Grants, GrantsInit, GrantTerms, GrantUse } from './index.ts'
import { Revocations } from './revocations.ts'
import { deleteIssued, insertIssued, readIssued, revokeIssued } from './rows.ts'
import { SessionGrants } from './sessions.ts'
import { blocked, checkedTerms, checkFirstHolder, checkHolder, full, noGrant, withoutUndefined } from './terms.ts'

export { grantsMigrations } from './rows.ts'

/**
 * Opens the grants of a store.
 *
 * @throws {MeshError} IO
 */
export async function createGrants(init: GrantsInit): Promise<Grants> {
  return new StoredGrants(init)
}

class StoredGrants implements Grants {
  readonly #identity: Identity
  readonly #store: Store
  readonly #emit: GrantsInit['emit']
  readonly #clock: () => number
  readonly #isBlocked: (peer: string) => boolean
  readonly #counters: Counters
  readonly #revocations: Revocations
  /** By id: those of this node's resources, and those that it has passed on. */
  readonly #issued: Map<string, Entry>
  /** Of this node's resources. */
  readonly #byHolder = new Map<string, Set<Entry>>()
  readonly #held: HeldGrants
  readonly #sessions = new SessionGrants()
  readonly #listeners = new Set<(grant: Grant) => void>()
  /** Grants that are being written just now. */
  #adding = 0
  /** The last change that was asked for, of those that look at what the one before has left. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor({ identity, store, emit, isBlocked = () => false, clock = Date.now }: GrantsInit) {
    this.#identity = identity
    this.#store = store
    this.#emit = emit
    this.#clock = clock
    this.#isBlocked = isBlocked
    this.#counters = new Counters(store, clock)
    this.#revocations = new Revocations({ identity, store, clock })
    const issued = store.all('SELECT * FROM grant_issued').map((row) => readIssued(row, (id) => this.#counters.get(id)))
    this.#issued = new Map(issued.map((entry) => [entry.leaf.id, entry]))
    for (const entry of issued) this.#index(entry)
    this.#held = new HeldGrants(store)
  }

  find(question: GrantQuestion): GrantUse | undefined {
    let best: Entry | undefined
    const consider = (entry: Entry): void => {
      if (best !== undefined && !isBetter(entry, best)) return
      if (this.#isValid(entry) && fits(entry, question)) best = entry
    }
    this.#byHolder.get(question.caller.peer)?.forEach(consider)
    this.#sessions.of(question.session).forEach(consider)
    return best && this.#useOf(best)
  }

  async issue(wanted: GrantTerms & { holder: string; session?: Session }): Promise<Grant> {
    const { holder, session, ...rest } = wanted
    const now = this.#clock()
    const terms = checkedTerms(rest, now)
    checkFirstHolder(holder, this.#identity.id, terms.depth)
    if (this.#isBlocked(holder)) throw blocked(holder)
    const owner = this.#identity.id
    const link = { ...terms, id: newId(), issuer: owner, holder, owner, issuedAt: now }
    if (session !== undefined) return this.#issueForSession(session, { ...link, depth: 0, text: '', hash: '' })
    if (this.#liveOf(holder) >= MAX_GRANTS_PER_HOLDER) throw full(`${MAX_GRANTS_PER_HOLDER} grants of ${holder}`)
    const signed = await this.#sign(link)
    const counters = [newCounter({ id: link.id, root: link.id }, signed, true)]
    return this.#add(entryOf({ role: 'issued', chain: [signed], counters }))
  }

  async delegate(id: string, holder: string, terms: Partial<GrantTerms>): Promise<Grant> {
    const parent = this.#held.get(id)
    if (parent === undefined) throw noGrant(id)
    const now = this.#clock()
    const state = stateOf(parent, now, this.#isRevoked)
    if (state !== 'valid') throw new MeshError('INVALID_ARGUMENT', `the grant ${id} is ${state}`)
    checkHolder(holder, this.#identity.id)
    if (this.#isBlocked(holder)) throw blocked(holder)
    const { act, res, expiresAt, uses, input, digest, owner, depth, hash } = parent.leaf
    if (depth === 0 || parent.chain.length >= MAX_CHAIN) {
      throw new MeshError('INVALID_ARGUMENT', `the grant ${id} may not be passed on`, {
        hint: 'ask its issuer for one with a depth'
      })
    }
    const inherited = withoutUndefined({ act, res, expiresAt, uses, input, digest })
    const scope = { ...checkedTerms({ ...inherited, ...withoutUndefined(terms) }, now), owner }
    const wider = whatIsWider(scope, parent.leaf)
    if (wider !== undefined) {
      throw new MeshError('INVALID_ARGUMENT', `that would allow more than the grant ${id}: ${wider}`)
    }
    const link = { ...scope, id: newId(), issuer: this.#identity.id, holder, issuedAt: now, parent: hash }
    const [root, ...others] = parent.chain
    return this.#add(entryOf({ role: 'issued', chain: [root, ...others, await this.#sign(link)], counters: [] }))
  }

  async keep(texts: readonly string[]): Promise<Grant> {
    const chain = await readGrantChain(texts)
    judgeGrantChain(chain, this.#clock())
    const entry = entryOf({ role: 'held', chain, counters: [] })
    const { holder, owner } = entry.leaf
    if (holder !== this.#identity.id) throw refused('wrong-peer', 'the grant is for another node')
    if (owner === this.#identity.id) throw refused('wrong-audience', "the grant is about this node's own resources")
    if (chain.some(this.#isRevoked)) throw refused('revoked', 'the grant is revoked')
    if (this.#issued.has(entry.leaf.id)) throw refused('replayed', 'there is another grant of this id')
    return this.#inTurn(async () => this.#grantOf(await this.#held.keep(entry, (each) => this.#isValid(each))))
  }

  async present(session: Session, texts: readonly string[]): Promise<Grant> {
    const chain = await readGrantChain(texts)
    judgeGrantChain(chain, this.#clock())
    const leaf = chain.at(-1) ?? chain[0]
    if (chain[0].owner !== this.#identity.id)
      throw refused('wrong-audience', 'the grant is about resources of another node')
    if (leaf.holder !== session.caller.peer) throw refused('wrong-peer', 'the grant is for another node')
    const root = this.#issued.get(chain[0].id)
    if (root?.leaf.hash !== chain[0].hash)
      throw refused('unknown', 'this node does not know the grant that it came from')
    if (chain.some(this.#isRevoked)) throw refused('revoked', 'the grant, or one that it came from, is revoked')
    const state = stateOf(root, this.#clock(), this.#isRevoked)
    if (state !== 'valid') throw refused('expired', `the grant that it came from is ${state}`)
    // Found by its holder anyway
    if (chain.length === 1) return this.#grantOf(root)
    const entry = entryOf({ role: 'presented', chain, counters: await this.#counters.ofChain(chain) })
    this.#sessions.keepOnly(session, (each) => each.role !== 'presented' || this.#isValid(each))
    const others = this.#sessions
      .of(session)
      .filter((each) => each.role === 'presented' && each.leaf.hash !== leaf.hash)
    if (others.length >= MAX_PRESENTED) throw full(`${MAX_PRESENTED} grants on a connection`)
    this.#sessions.add(session, entry)
    return this.#grantOf(entry)
  }

  toPresent(owner: string): readonly Grant[] {
    const entries = this.#held.passedOnOver(owner)
    if (entries === undefined) return []
    return [...entries].filter((entry) => this.#isValid(entry)).map((entry) => this.#grantOf(entry))
  }

  dependsOn(peer: string): boolean {
    return this.#held.values().some(({ leaf: { issuer, owner } }) => issuer === peer || owner === peer)
  }

  hasRevokedOver(owner: string): boolean {
    return this.#issued.values().some(({ leaf, revokedAt }) => leaf.owner === owner && revokedAt !== undefined)
  }

  list(): readonly Grant[] {
    const session = this.#sessions.all()
    const groups = [
      [...this.#issued.values(), ...session.filter(({ role }) => role === 'issued')],
      [...this.#held.values()],
      session.filter(({ role }) => role === 'presented')
    ]
    return groups.flatMap((group) =>
      group.map((entry) => this.#grantOf(entry)).sort((a, b) => b.issuedAt - a.issuedAt || (a.id < b.id ? -1 : 1))
    )
  }

  get(id: string): Grant | undefined {
    const entry = this.#own(id) ?? this.#held.get(id) ?? this.#sessions.all().find(({ leaf }) => leaf.id === id)
    return entry && this.#grantOf(entry)
  }

  async revoke(id: string): Promise<Grant> {
    const entry = this.#own(id)
    if (entry === undefined) {
      if (this.get(id) === undefined) throw noGrant(id)
      throw new MeshError('FORBIDDEN', `the grant ${id} was issued by another node`, { hint: 'ask its issuer' })
    }
    await this.#inTurn(() => this.#revokeAll([entry]))
    return this.#grantOf(entry)
  }

  async revokeHolder(peer: string): Promise<number> {
    const isOpen = (entry: Entry): boolean =>
      entry.leaf.holder === peer && entry.role === 'issued' && entry.revokedAt === undefined && !this.#hasExpired(entry)
    return this.#inTurn(() => this.#revokeAll([...this.#issued.values(), ...this.#sessions.all()].filter(isOpen)))
  }

  revocations(): Promise<string> {
    return this.#revocations.own(() =>
      [...this.#issued.values()]
        .filter((entry) => entry.revokedAt !== undefined && !this.#hasExpired(entry))
        // Owners depend on what is said of grants over their resources; of this node's own, holders are only told
        .sort((a, b) => Number(this.#isOwn(a)) - Number(this.#isOwn(b)) || (b.revokedAt ?? 0) - (a.revokedAt ?? 0))
        .slice(0, MAX_REVOKED_IDS)
        .map(({ leaf }) => leaf.id)
    )
  }

  async learnRevocations(jws: string): Promise<void> {
    const others = [...this.#held.values(), ...this.#sessions.all()]
    const issuers = new Set(others.flatMap(({ chain }) => chain.map(({ issuer }) => issuer)))
    const news = await this.#revocations.learn(jws, (issuer) => issuers.has(issuer) || this.#byHolder.has(issuer))
    if (news === undefined) return
    const isNew = (link: GrantLink): boolean => link.issuer === news.issuer && news.ids.has(link.id)
    for (const { chain, leaf } of others) {
      if (chain.some(isNew)) this.#emit('grant:revoked', { id: leaf.id, holder: leaf.holder })
    }
  }

  onRevoke(listener: (grant: Grant) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #issueForSession(session: Session, link: GrantLink): Grant {
    if (link.holder !== session.caller.peer) {
      throw new MeshError('INVALID_ARGUMENT', 'the connection is not that of the holder')
    }
    this.#sessions.keepOnly(session, (each) => !each.isSession || this.#isValid(each))
    if (this.#sessions.of(session).filter(({ isSession }) => isSession).length >= MAX_SESSION_GRANTS) {
      throw full(`${MAX_SESSION_GRANTS} grants for one connection`)
    }
    const counters = [newCounter({ id: link.id, root: link.id }, link, false)]
    const entry = entryOf({ role: 'issued', chain: [link], counters, isSession: true })
    this.#sessions.add(session, entry)
    this.#emit('grant:issued', { id: link.id, holder: link.holder, res: link.res })
    return this.#grantOf(entry)
  }

  /** Writes a grant that this node has signed, and forgets those that ended long ago. */
  async #add(entry: Entry): Promise<Grant> {
    const forgotten = endedLongAgo([...this.#issued.values()], this.#clock(), this.#isRevoked)
    if (this.#issued.size - forgotten.length + this.#adding >= MAX_GRANTS + MAX_ENDED_GRANTS) {
      throw full(`${MAX_GRANTS} grants`)
    }
    const { id, holder, res } = entry.leaf
    if (!this.#isOwn(entry) && this.#passedOn() >= MAX_PASSED_ON) throw full(`${MAX_PASSED_ON} grants passed on`)
    this.#adding += 1
    try {
      await this.#store.write([...deleteIssued(forgotten), ...insertIssued(entry.chain, entry.counters.length > 0)])
    } finally {
      this.#adding -= 1
    }
    this.#forget(forgotten)
    for (const counter of entry.counters) this.#counters.add(counter)
    this.#issued.set(id, entry)
    this.#index(entry)
    this.#emit('grant:issued', { id, holder, res })
    // Blocked while it was being written: too late for whoever has revoked all that there was
    if (this.#isBlocked(holder)) await this.#inTurn(() => this.#revokeAll([entry]))
    return this.#grantOf(entry)
  }

  async #revokeAll(entries: readonly Entry[]): Promise<number> {
    const open = entries.filter(({ revokedAt }) => revokedAt === undefined)
    if (open.length === 0) return 0
    const now = this.#clock()
    const kept = open.filter(({ isSession }) => !isSession).map(({ leaf }) => leaf.id)
    const seq = this.#revocations.nextSeq()
    if (kept.length > 0) await this.#store.write([revokeIssued(kept, now), this.#revocations.moveTo(seq)])
    // In one go with the list's new seq: one seq never stands for two lists
    for (const entry of open) entry.revokedAt = now
    this.#revocations.moved(seq)
    for (const entry of open) {
      this.#emit('grant:revoked', { id: entry.leaf.id, holder: entry.leaf.holder })
      if (!entry.isSession) for (const listener of this.#listeners) listener(this.#grantOf(entry))
    }
    return open.length
  }

  #useOf(entry: Entry): GrantUse {
    let taken = false
    return {
      grant: this.#grantOf(entry),
      take: async () => {
        if (taken || !this.#isValid(entry)) return false
        taken = await this.#counters.take(entry.counters)
        return taken
      },
      giveBack: async () => {
        if (!taken) return
        taken = false
        await this.#counters.giveBack(entry.counters)
      },
      holds: () => {
        // One for a session ended with its connection
        if (entry.isSession) return false
        const state = stateOf(entry, this.#clock(), this.#isRevoked)
        return state === 'valid' || (taken && state === 'used-up')
      }
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => {
      // Whoever asked is told; the next one is not concerned
    })
    return result
  }

  /** A link that this node has issued; or one on its issuer's list, or whose issuer's word counts for nothing just now. */
  readonly #isRevoked = (link: GrantLink): boolean =>
    link.issuer === this.#identity.id
      ? this.#issued.get(link.id)?.revokedAt !== undefined
      : this.#isBlocked(link.issuer) || this.#revocations.has(link)

  #isValid(entry: Entry): boolean {
    return stateOf(entry, this.#clock(), this.#isRevoked) === 'valid'
  }

  #hasExpired({ chain }: Entry): boolean {
    return chain.some(({ expiresAt = Infinity }) => expiresAt <= this.#clock())
  }

  #grantOf(entry: Entry): Grant {
    return grantOf(entry, this.#clock(), this.#isRevoked)
  }

  /** One that this node has issued. */
  #own(id: string): Entry | undefined {
    return this.#issued.get(id) ?? this.#sessions.all().find(({ leaf, isSession }) => isSession && leaf.id === id)
  }

  /** Over this node's resources, and not one that it has passed on. */
  #isOwn({ leaf }: Entry): boolean {
    return leaf.owner === this.#identity.id
  }

  #passedOn(): number {
    const open = [...this.#issued.values()].filter((entry) => !this.#isOwn(entry) && !this.#hasExpired(entry))
    return open.length + this.#adding
  }

  #index(entry: Entry): void {
    if (!this.#isOwn(entry)) return
    const { holder } = entry.leaf
    const entries = this.#byHolder.get(holder) ?? new Set()
    this.#byHolder.set(holder, entries.add(entry))
  }

  #liveOf(holder: string): number {
    return [...(this.#byHolder.get(holder) ?? [])].filter((entry) => this.#isValid(entry)).length
  }

  #forget(ids: readonly string[]): void {
    if (ids.length === 0) return
    const forgotten = new Set(ids)
    this.#counters.drop(({ root }) => forgotten.has(root))
    for (const id of ids) {
      const entry = this.#issued.get(id)
      this.#issued.delete(id)
      if (entry !== undefined) this.#byHolder.get(entry.leaf.holder)?.delete(entry)
    }
  }

  async #sign(link: Omit<GrantLink, 'text' | 'hash'>): Promise<GrantLink> {
    const text = await this.#identity.sign(GRANT_TYPE, payloadOf(link))
    if (text.length > MAX_GRANT_BYTES) throw new MeshError('INVALID_ARGUMENT', 'the globs of the grant are too long')
    return { ...link, text, hash: hashOf(text) }
  }
}

/** In hex, as an id is an argument of commands and must not begin with a dash. */
function newId(): string {
  return randomBytes(16).toString('hex')
}
