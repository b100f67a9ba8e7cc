import { createHash } from 'node:crypto'
import { MAX_RECORD_LIFETIME_MS } from '../registry/constants.ts'
import type { AgentRecord, CapabilityKind, SignedRecord } from '../registry/messages.ts'
import { nameOf, peerOf } from './cache.ts'
import {
  MAX_GIVER_HINTS,
  MAX_HINT_ADDRESS_LENGTH,
  MAX_HINT_ADDRESSES,
  MAX_HINT_BYTES,
  MAX_HINTS,
  MAX_PEER_HINTS
} from './constants.ts'
import type { Announce, Hint } from './messages.ts'

/** A hint and who told it: its subject itself, signed, or another node, unsigned. */
interface KnownHint {
  readonly hint: Hint
  readonly giver: string
}

/** What a hint says of one capability. */
export interface HintedCapability {
  readonly kind: CapabilityKind
  readonly name: string
  readonly version: string
}

/** Hints of other nodes' records; candidates to ask, never results. */
export interface Hints {
  readonly size: number
  /**
   * Takes a hint, replacing the one there is when this one is newer, or from the agent's own node.
   *
   * @returns whether it was news; `'too-many'` when its author or giver has as many as it may
   */
  put(known: KnownHint): 'new' | 'old' | 'expired' | 'too-many'
  /** Drops the hint unless a newer one is here. */
  withdraw(agent: string, seq: number): void
  /** Drops all hints of a peer that is gone. */
  forget(peer: string): void
  get(agent: string): Hint | undefined
  /** Where the hints of a peer's agents say that it listens. */
  addressesOf(peer: string): readonly string[]
  /** True when the agent's own node told of a newer record. */
  isReplaced(agent: string, seq: number): boolean
  /** Unexpired ones. */
  all(): Iterable<Hint>
  expire(): void
}

export interface HintsComponents {
  readonly now: () => number
}

export function createHints(components: HintsComponents): Hints {
  return new BoundedHints(components)
}

class BoundedHints implements Hints {
  readonly #now: () => number
  readonly #hints = new Map<string, KnownHint>()
  readonly #byPeer = new Map<string, Set<string>>()
  readonly #byGiver = new Map<string, number>()

  constructor({ now }: HintsComponents) {
    this.#now = now
  }

  get size(): number {
    return this.#hints.size
  }

  put(known: KnownHint): 'new' | 'old' | 'expired' | 'too-many' {
    const { hint } = known
    const life = hint.exp * 1000 - this.#now()
    if (life <= 0 || life > MAX_RECORD_LIFETIME_MS) return 'expired'
    const current = this.#hints.get(hint.id)
    if (current !== undefined) {
      const isPromoted = isFirstHand(known) && !isFirstHand(current)
      const isHearsay = isFirstHand(current) && !isFirstHand(known)
      if (isHearsay || (!isPromoted && hint.seq <= current.hint.seq)) return 'old'
      this.#remove(hint.id)
    }
    if (!this.#makeRoom(known)) return 'too-many'
    this.#add(known)
    return 'new'
  }

  withdraw(agent: string, seq: number): void {
    const current = this.#hints.get(agent)
    // Hearsay may claim any seq; the owner's own word ends it.
    if (current !== undefined && (current.hint.seq <= seq || !isFirstHand(current))) this.#remove(agent)
  }

  forget(peer: string): void {
    for (const agent of this.#byPeer.get(peer) ?? []) this.#remove(agent)
  }

  get(agent: string): Hint | undefined {
    const known = this.#hints.get(agent)
    return known === undefined || this.#isExpired(known) ? undefined : known.hint
  }

  addressesOf(peer: string): readonly string[] {
    const agents = [...(this.#byPeer.get(peer) ?? [])]
    return [...new Set(agents.flatMap((agent) => this.#hints.get(agent)?.hint.addrs ?? []))]
  }

  isReplaced(agent: string, seq: number): boolean {
    const known = this.#hints.get(agent)
    return known !== undefined && isFirstHand(known) && !this.#isExpired(known) && known.hint.seq > seq
  }

  *all(): Iterable<Hint> {
    for (const known of this.#hints.values()) if (!this.#isExpired(known)) yield known.hint
  }

  expire(): void {
    for (const [agent, known] of this.#hints) if (this.#isExpired(known)) this.#remove(agent)
  }

  /** Whether there is room for one more; what others said of a peer makes place for what it says itself. */
  #makeRoom(known: KnownHint): boolean {
    const agents = this.#byPeer.get(peerOf(known.hint.id)) ?? new Set()
    if (!isFirstHand(known)) {
      return agents.size < MAX_PEER_HINTS && (this.#byGiver.get(known.giver) ?? 0) < MAX_GIVER_HINTS
    }
    if (agents.size < MAX_PEER_HINTS) return true
    const hearsay = [...agents].find((agent) => this.#hints.get(agent)?.giver !== known.giver)
    if (hearsay !== undefined) this.#remove(hearsay)
    return hearsay !== undefined
  }

  #add(known: KnownHint): void {
    const agent = known.hint.id
    const peer = peerOf(agent)
    const [oldest] = this.#hints.keys()
    if (this.#hints.size >= MAX_HINTS && oldest !== undefined) this.#remove(oldest)
    this.#hints.set(agent, known)
    this.#byGiver.set(known.giver, (this.#byGiver.get(known.giver) ?? 0) + 1)
    this.#byPeer.set(peer, (this.#byPeer.get(peer) ?? new Set()).add(agent))
  }

  #remove(agent: string): void {
    const known = this.#hints.get(agent)
    if (known === undefined) return
    this.#hints.delete(agent)
    const peer = peerOf(agent)
    const agents = this.#byPeer.get(peer)
    agents?.delete(agent)
    if (agents?.size === 0) this.#byPeer.delete(peer)
    const given = (this.#byGiver.get(known.giver) ?? 1) - 1
    if (given > 0) this.#byGiver.set(known.giver, given)
    else this.#byGiver.delete(known.giver)
  }

  #isExpired({ hint }: KnownHint): boolean {
    return hint.exp * 1000 <= this.#now()
  }
}

function isFirstHand({ hint, giver }: KnownHint): boolean {
  return peerOf(hint.id) === giver
}

/**
 * The hint that a record is worth, with as many of its capabilities as fit a gossip message.
 *
 * @param addresses of its node, the best first; the second gives way to capabilities
 */
export function hintOf(signed: SignedRecord, addresses: readonly string[] = []): Hint {
  const most = addresses.filter(({ length }) => length <= MAX_HINT_ADDRESS_LENGTH).slice(0, MAX_HINT_ADDRESSES)
  const whole = hintWith(signed, most)
  return whole.more === true && most.length > 1 ? hintWith(signed, most.slice(0, 1)) : whole
}

/** What a node says of where it listens: what others can dial first, the shortest first. */
export function hintAddresses(addresses: readonly string[]): readonly string[] {
  const isRemote = (address: string) => !/^\/ip(?:4\/127\.|6\/::1\/)/.test(address)
  const bare = addresses
    .filter((address) => !address.includes('/p2p-circuit'))
    .map((address) => address.replace(/\/p2p\/[^/]+$/, ''))
  return bare.sort((a, b) => Number(isRemote(b)) - Number(isRemote(a)) || a.length - b.length)
}

function hintWith({ jws, record }: SignedRecord, addrs: readonly string[]): Hint {
  const digest = createHash('sha256').update(jws).digest('base64url')
  const exp = Math.floor(Date.parse(record.expiresAt) / 1000)
  const bare = { id: record.id, seq: record.seq, exp, digest, ...(addrs.length > 0 && { addrs: [...addrs] }) }
  let caps: Hint['caps'] = {}
  for (const capability of record.capabilities) {
    const wider = withCapability(caps, capability)
    if (sizeOf({ ...bare, caps: wider, more: true }) > MAX_HINT_BYTES) return { ...bare, caps, more: true }
    caps = wider
  }
  return { ...bare, caps }
}

/** The gossip message of a hint; its author's PeerId travels with the signature. */
export function announceOf({ id, ...fields }: Hint): Announce {
  return { v: 1, t: 'announce', agent: nameOf(id), ...fields }
}

/** What the hint says is offered; when it says `more`, there is more. */
export function* hinted({ caps }: Pick<Hint, 'caps'>): Generator<HintedCapability> {
  for (const [key, names] of Object.entries(caps)) {
    const at = key.indexOf('@')
    // The schema lets only the three kinds through.
    const kind = key.slice(0, at) as CapabilityKind
    for (const name of names) yield { kind, name, version: key.slice(at + 1) }
  }
}

function withCapability(
  caps: Hint['caps'],
  { kind, name, version }: AgentRecord['capabilities'][number]
): Hint['caps'] {
  const key = `${kind}@${version}`
  return { ...caps, [key]: [...(caps[key] ?? []), name] }
}

function sizeOf(hint: Hint): number {
  return Buffer.byteLength(JSON.stringify(announceOf(hint)))
}
