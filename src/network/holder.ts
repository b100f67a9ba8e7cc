import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { valid } from 'semver'
import { expiryOf, HeldKey, type Kept } from './held-key.ts'
import {
  MAX_COUNTED_PUBLISHERS,
  MAX_ENTRIES,
  MAX_ENTRIES_PER_ANSWER,
  MAX_ENTRIES_PER_SUBNET,
  MAX_KEYS_PER_PUBLISHER,
  MAX_KEYS_PER_WINDOW,
  MAX_PUTS_PER_WINDOW,
  MAX_WITHDRAWALS,
  QUOTA_WINDOW_MS
} from './holder-constants.ts'
import { Publishers } from './publishers.ts'

/** What one publisher says under one key: that it is there, or what a signed hint says. */
export interface Publication {
  /** 43 characters: base64url of the key's SHA-256 digest. */
  readonly key: string
  /** PeerId of the publisher, who has been authenticated. */
  readonly peer: string
  /** Milliseconds since 1970. */
  readonly expiresAt: number
  /** What counts as one network, by {@link subnetOf}; without one it isn't counted. */
  readonly subnet?: string | undefined
  /** Absent for a provider record, which carries nothing. */
  readonly hint?: HeldHint | undefined
}

export interface HeldHint {
  readonly bytes: Uint8Array
  /** Grows with every hint of the publisher under the key. */
  readonly seq: number
  /** The highest version that it claims. */
  readonly version?: string | undefined
  /** Where the publisher said that it listens, when it put this; few and short. */
  readonly addresses?: readonly string[] | undefined
}

/** One publisher under one key. */
export interface HeldEntry {
  readonly peer: string
  readonly expiresAt: number
  /** Absent when the publisher gave none, or only one that has expired. */
  readonly hint?: HeldHint | undefined
}

/**
 * - `kept`
 * - `dropped`: the key has enough others; nobody's fault
 * - `rolled-back`: older than what the publisher put or withdrew before, or another of the same seq
 * - `too-many`: of its publisher, of its subnet, or in all
 */
export type HoldVerdict = 'kept' | 'dropped' | 'rolled-back' | 'too-many'

/**
 * What this node keeps for others under keys that it is near to: provider records and signed hints alike. However much is put,
 * it stays bounded, fair and cheap to answer from.
 */
export interface Holder {
  /** Counts one put against the publisher's quota. @returns false when it has none left this minute */
  admit(peer: string, key: string): boolean
  put(publication: Publication): HoldVerdict
  /** Ends what the publisher put under the key up to this seq; what it had is refused from then on. @returns whether there was any */
  withdraw(key: string, peer: string, seq: number): boolean
  /** At most 20, chosen at random. */
  sample(key: string): readonly HeldEntry[]
  /** At most 20 of those that claim the highest versions, highest first. */
  best(key: string): readonly HeldEntry[]
  /** At most 20, from the `offset`th on, in the order in which they came: for who wants all. */
  page(key: string, offset: number): readonly HeldEntry[]
  /** Entries under the key here, at most 288. */
  count(key: string): number
  /** How many publishers the key has, by what is held and what had to go: (C − 1) / h once there are more than 256. */
  estimate(key: string): number
  /** Drops what has expired; reading does it for its own key. */
  expire(): void
  /** Entries in all. */
  readonly size: number
  status(): HolderStatus
}

export interface HolderStatus {
  readonly keys: number
  readonly entries: number
  readonly publishers: number
  /** Since the start. */
  readonly puts: Readonly<Record<HoldVerdict | 'over-budget', number>>
  readonly withdrawn: number
}

export interface HolderInit {
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** 0 ≤ x < 1, for the choice of answers. */
  readonly random: () => number
  /** 32 random bytes that nobody else knows: by them no id can be made that is always in the sample. */
  readonly salt: Uint8Array
}

/** Makes a holder; it holds nothing yet. */
export function createHolder(init: HolderInit): Holder {
  return new BoundedHolder(init)
}

interface Quota {
  readonly since: number
  readonly keys: Set<string>
  puts: number
}

interface Withdrawal {
  readonly seq: number
  readonly until: number
}

class BoundedHolder implements Holder {
  readonly #init: HolderInit
  readonly #keys = new Map<string, HeldKey>()
  readonly #publishers = new Publishers()
  readonly #quotas = new LRUCache<string, Quota>({ max: MAX_COUNTED_PUBLISHERS })
  readonly #withdrawals = new LRUCache<string, Withdrawal>({ max: MAX_WITHDRAWALS })
  readonly #puts = { kept: 0, dropped: 0, 'rolled-back': 0, 'too-many': 0, 'over-budget': 0 }
  #withdrawn = 0
  #size = 0

  constructor(init: HolderInit) {
    this.#init = init
  }

  get size(): number {
    return this.#size
  }

  admit(peer: string, key: string): boolean {
    const now = this.#init.now()
    const counted = this.#quotas.get(peer)
    const isOver = counted === undefined || Math.abs(now - counted.since) >= QUOTA_WINDOW_MS
    const quota = isOver ? { since: now, keys: new Set<string>(), puts: 0 } : counted
    if (isOver) this.#quotas.set(peer, quota)
    const isAdmitted =
      quota.puts < MAX_PUTS_PER_WINDOW && (quota.keys.has(key) || quota.keys.size < MAX_KEYS_PER_WINDOW)
    if (!isAdmitted) {
      this.#puts['over-budget'] += 1
      return false
    }
    quota.puts += 1
    quota.keys.add(key)
    return true
  }

  put(publication: Publication): HoldVerdict {
    const verdict = this.#put(publication)
    this.#puts[verdict] += 1
    return verdict
  }

  withdraw(key: string, peer: string, seq: number): boolean {
    const kept = this.#fresh(key)?.get(peer)
    if (kept === undefined || (kept.hint !== undefined && kept.hint.seq > seq)) return false
    this.#withdrawals.set(nameOf(key, peer), { seq, until: expiryOf(kept) })
    this.#drop(kept)
    this.#withdrawn += 1
    return true
  }

  sample(key: string): readonly HeldEntry[] {
    const entries = this.#fresh(key)?.all() ?? []
    return pick(entries, MAX_ENTRIES_PER_ANSWER, this.#init.random).map((kept) => this.#entryOf(kept))
  }

  best(key: string): readonly HeldEntry[] {
    const best = this.#fresh(key)?.best() ?? []
    return best.slice(0, MAX_ENTRIES_PER_ANSWER).map((kept) => this.#entryOf(kept))
  }

  page(key: string, offset: number): readonly HeldEntry[] {
    const entries = this.#fresh(key)?.all() ?? []
    return entries.slice(offset, offset + MAX_ENTRIES_PER_ANSWER).map((kept) => this.#entryOf(kept))
  }

  count(key: string): number {
    return this.#fresh(key)?.size ?? 0
  }

  estimate(key: string): number {
    return this.#fresh(key)?.estimate(this.#init.now()) ?? 0
  }

  expire(): void {
    for (const key of this.#keys.keys()) this.#fresh(key)
  }

  status(): HolderStatus {
    return {
      keys: this.#keys.size,
      entries: this.#size,
      publishers: this.#publishers.size,
      puts: { ...this.#puts },
      withdrawn: this.#withdrawn
    }
  }

  #put(publication: Publication): HoldVerdict {
    const { key, peer, hint, subnet } = publication
    const held = this.#fresh(key) ?? new HeldKey()
    const kept = held.get(peer)
    const replay = this.#judgeSeq(publication, kept)
    if (replay !== undefined) return replay
    if (kept === undefined && this.#publishers.countOf(peer) >= MAX_KEYS_PER_PUBLISHER) return 'too-many'
    if (subnet !== undefined && subnet !== kept?.subnet && held.inSubnet(subnet) >= MAX_ENTRIES_PER_SUBNET) {
      return 'too-many'
    }
    const change = (entry: Kept): void => {
      entry.subnet = subnet
      if (hint === undefined) {
        entry.recordUntil = publication.expiresAt
        return
      }
      entry.hint = hint
      entry.hintUntil = publication.expiresAt
      entry.version = valid(hint.version) ?? undefined
    }
    if (kept !== undefined) return this.#settle(held, kept, held.update(kept, change))
    const entry = this.#newEntry(key, peer)
    change(entry)
    this.#keys.set(key, held)
    this.#publishers.add(entry)
    this.#size += 1
    return this.#settle(held, entry, held.add(entry))
  }

  /** Accounts for what had to go, and makes room if there are too many in all. */
  #settle(held: HeldKey, entry: Kept, gone: readonly Kept[]): HoldVerdict {
    for (const each of gone) this.#account(each)
    if (gone.includes(entry)) {
      if (held.size === 0) this.#keys.delete(entry.key)
      return 'dropped'
    }
    if (this.#size <= MAX_ENTRIES) return 'kept'
    // Who has most gives way, but only to who stays below it: else two that push would take turns
    const heaviest = this.#publishers.oldestAbove(this.#publishers.countOf(entry.peer))
    this.#drop(heaviest ?? entry)
    return heaviest === undefined ? 'too-many' : 'kept'
  }

  /** @returns what becomes of it when its seq says that it isn't news */
  #judgeSeq({ key, peer, hint }: Publication, kept: Kept | undefined): HoldVerdict | undefined {
    if (hint === undefined) return undefined
    const withdrawn = this.#withdrawals.get(nameOf(key, peer))
    if (withdrawn !== undefined && withdrawn.until > this.#init.now() && hint.seq <= withdrawn.seq) return 'rolled-back'
    if (kept?.hint === undefined || hint.seq > kept.hint.seq) return undefined
    // The same once more is a retry
    return Buffer.compare(kept.hint.bytes, hint.bytes) === 0 ? 'kept' : 'rolled-back'
  }

  #newEntry(key: string, peer: string): Kept {
    // Of a digest 48 bits are a number without loss
    const digest = hash('sha256', Buffer.concat([this.#init.salt, Buffer.from(nameOf(key, peer))]), 'buffer')
    const rank = digest.readUIntBE(0, 6) / 2 ** 48
    const nothing = { subnet: undefined, hint: undefined, version: undefined }
    return { key, peer, rank, recordUntil: 0, hintUntil: 0, ...nothing }
  }

  #entryOf(kept: Kept): HeldEntry {
    const { peer, hint, hintUntil } = kept
    return { peer, expiresAt: expiryOf(kept), hint: hintUntil > this.#init.now() ? hint : undefined }
  }

  /** The key without what has expired; undefined when that was all. */
  #fresh(key: string): HeldKey | undefined {
    const held = this.#keys.get(key)
    for (const kept of held?.expire(this.#init.now()) ?? []) this.#account(kept)
    if (held?.size === 0) this.#keys.delete(key)
    return this.#keys.get(key)
  }

  #drop(kept: Kept): void {
    const held = this.#keys.get(kept.key)
    held?.delete(kept)
    if (held?.size === 0) this.#keys.delete(kept.key)
    this.#account(kept)
  }

  #account(gone: Kept): void {
    this.#publishers.delete(gone)
    this.#size -= 1
  }
}

const nameOf = (key: string, peer: string): string => `${key}/${peer}`

/** So many of them at random, in random order. */
function pick<T>(items: T[], count: number, random: () => number): T[] {
  const picked: T[] = []
  while (picked.length < count && items.length > 0) {
    const at = Math.floor(random() * items.length)
    const item = items[at]
    const last = items.pop()
    if (last !== undefined && at < items.length) items[at] = last
    if (item !== undefined) picked.push(item)
  }
  return picked
}
