import type { CID } from 'multiformats/cid'
import { rcompare } from 'semver'
import type { Dht, Network } from '../network/index.ts'
import type { SignedRecord } from '../registry/messages.ts'
import { createBudget } from './budget.ts'
import {
  HINT_LIFETIME_MS,
  LAZY_PROVIDE_MS,
  MAX_PROVIDER_KEYS,
  PROVIDE_LANES,
  PUBLISH_BURST,
  PUBLISH_EVERY_MS,
  PUBLISH_JITTER,
  PUBLISH_MS,
  PUBLISH_RETRY_MS,
  PUBLISH_WIDTH,
  STEADY_AFTER_MS,
  STEADY_HINT_LIFETIME_MS,
  STEADY_PUBLISH_MS,
  STOP_TIMEOUT_MS,
  WITHDRAW_LANES
} from './constants.ts'
import type { Holders } from './dht-holders.ts'
import type { FindCounts } from './find-counts.ts'
import { createLane } from './lane.ts'
import { firstSegment, nameKey, segmentKey } from './names.ts'
import { publish } from './publish.ts'

/** Keeps this node's hints in the DHT: one key per capability name, one per name space. */
export interface Advertiser {
  /** Publishes what these records offer, again and again, and withdraws the rest, in the background. */
  offer(records: Iterable<SignedRecord>): void
  /** Publishes what is due. */
  upkeep(): void
  /** Withdraws everything from those who hold it. Ends when all background work has. */
  stop(): Promise<void>
}

export interface AdvertiserComponents {
  /** This node's PeerId. */
  readonly peer: string
  readonly network: Pick<Network, 'peers' | 'isConnected' | 'status'> & {
    readonly dht: Pick<Dht, 'walk' | 'askCloser' | 'size'>
  }
  readonly holders: Holders
  readonly counts: FindCounts
  /** Whether the mesh is so small that the catalogue tells everybody what there is: then the DHT has time. */
  readonly isSmall: () => boolean
  readonly now: () => number
  /** 0 ≤ x < 1 */
  readonly random: () => number
}

export function createAdvertiser(components: AdvertiserComponents): Advertiser {
  return new DhtAdvertiser(components)
}

/** What is said under one key. */
interface Offer {
  readonly key: CID
  versions: readonly string[]
  dueAt: number
  /** Peers in the routing table when it was last published. */
  tableSize: number
  isRunning: boolean
  /** By each key that it was published under, the root and its shards, who took it and until when. */
  readonly held: Map<string, { readonly key: CID; readonly holders: Map<string, number> }>
}

class DhtAdvertiser implements Advertiser {
  readonly #components: AdvertiserComponents
  readonly #offers = new Map<string, Offer>()
  readonly #lane = createLane(PROVIDE_LANES)
  readonly #stopping = new AbortController()
  readonly #work = new Set<Promise<void>>()
  readonly #budget
  readonly #startedAt: number
  /** A walk dials 20 peers and more: a mesh that has just been started doesn't do that all at once. */
  readonly #lazyUntil: number

  constructor(components: AdvertiserComponents) {
    const { now, random } = components
    this.#components = components
    this.#startedAt = now()
    this.#lazyUntil = now() + LAZY_PROVIDE_MS * (0.5 + random())
    this.#budget = createBudget({ burst: PUBLISH_BURST, intervalMs: PUBLISH_EVERY_MS, now })
  }

  offer(records: Iterable<SignedRecord>): void {
    const wanted = offersOf(records)
    for (const [text, offer] of this.#offers) {
      if (wanted.has(text)) continue
      this.#offers.delete(text)
      this.#background(() => this.#withdraw([offer], this.#stopping.signal))
    }
    for (const [text, { key, versions }] of wanted) {
      const known = this.#offers.get(text)
      if (known === undefined) {
        const fresh = { key, versions, dueAt: -Infinity, tableSize: 0, isRunning: false, held: new Map() }
        this.#offers.set(text, fresh)
      } else if (known.versions.join() !== versions.join()) {
        known.versions = versions
        known.dueAt = -Infinity
      }
    }
    if (!this.#components.isSmall()) this.upkeep()
  }

  upkeep(): void {
    const { isSmall, network, now } = this.#components
    // With nobody there the next upkeep or change of peers comes back to it.
    if (this.#stopping.signal.aborted || network.peers().length === 0) return
    const isLazy = isSmall()
    if (isLazy && now() < this.#lazyUntil) return
    const due = [...this.#offers.values()].filter((offer) => this.#isDue(offer))
    for (const offer of due.slice(0, isLazy ? 1 : due.length)) {
      if (!this.#budget.take('')) return
      offer.isRunning = true
      const publish = () => this.#publish(offer)
      this.#background(() => this.#lane.run(publish, this.#stopping.signal).finally(() => (offer.isRunning = false)))
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    await Promise.allSettled(this.#work)
    await this.#withdraw([...this.#offers.values()], AbortSignal.timeout(STOP_TIMEOUT_MS))
    this.#offers.clear()
  }

  /** Also when there are twice as many to tell: while a mesh forms, those who should hold a key aren't there yet. */
  #isDue({ dueAt, isRunning, tableSize }: Offer): boolean {
    const { network, now } = this.#components
    if (isRunning) return false
    const hasGrown = tableSize < PUBLISH_WIDTH && network.status().routingTable >= 2 * Math.max(1, tableSize)
    return now() >= dueAt || hasGrown
  }

  async #publish(offer: Offer): Promise<void> {
    const { counts, network, now, random } = this.#components
    if (!this.#offers.has(offer.key.toString())) return
    const { everyMs, lifetimeMs } = this.#pace()
    const { versions } = offer
    offer.tableSize = network.status().routingTable
    const signal = this.#stopping.signal
    forgetExpired(offer, now())
    let taken = 0
    const onTaken = (key: CID, holder: string): void => {
      const held = offer.held.get(key.toString()) ?? { key, holders: new Map<string, number>() }
      held.holders.set(holder, now() + lifetimeMs)
      offer.held.set(key.toString(), held)
      counts.add('published')
      taken++
    }
    await publish(this.#components, offer, { lifetimeMs, signal, onTaken })
    const jitter = 1 + PUBLISH_JITTER * (2 * random() - 1)
    const isCurrent = offer.versions === versions
    if (isCurrent) offer.dueAt = now() + (taken > 0 ? everyMs * jitter : PUBLISH_RETRY_MS)
    if (!this.#offers.has(offer.key.toString())) await this.#withdraw([offer], signal)
  }

  /** Who has stayed a day will stay: it needn't be asked every hour whether it does. */
  #pace(): { readonly everyMs: number; readonly lifetimeMs: number } {
    const isSteady = this.#components.now() - this.#startedAt >= STEADY_AFTER_MS
    return isSteady
      ? { everyMs: STEADY_PUBLISH_MS, lifetimeMs: STEADY_HINT_LIFETIME_MS }
      : { everyMs: PUBLISH_MS, lifetimeMs: HINT_LIFETIME_MS }
  }

  /** Tells those who took it, the connected ones first: the others have to be dialled, and there may be little time. */
  async #withdraw(offers: readonly Offer[], signal: AbortSignal): Promise<void> {
    const { holders, network } = this.#components
    const held = new Map<string, CID[]>()
    for (const { key, holders: peers } of offers.flatMap((offer) => [...offer.held.values()])) {
      for (const peer of peers.keys()) held.set(peer, [...(held.get(peer) ?? []), key])
    }
    const ordered = [...held].sort(([a], [b]) => Number(network.isConnected(b)) - Number(network.isConnected(a)))
    const lane = createLane(WITHDRAW_LANES)
    await Promise.all(
      ordered.map(([peer, keys]) =>
        lane.run(async () => {
          // Who can't be told forgets it by itself.
          await holders.withdraw(peer, keys, { signal }).catch(() => {})
        }, signal)
      )
    )
  }

  #background(work: () => Promise<void>): void {
    const task = work()
      .catch(() => {
        // Peers and topics tell of the record; the key comes up again.
      })
      .finally(() => this.#work.delete(task))
    this.#work.add(task)
  }
}

function forgetExpired({ held }: Offer, now: number): void {
  for (const [text, { holders }] of held) {
    for (const [holder, until] of holders) if (until <= now) holders.delete(holder)
    if (holders.size === 0) held.delete(text)
  }
}

/** What is said under which keys, those first that are asked for most: exact names, last name spaces of one name. */
function offersOf(records: Iterable<SignedRecord>): ReadonlyMap<string, Pick<Offer, 'key' | 'versions'>> {
  const all = [...records].flatMap(({ record }) => record.capabilities)
  // Many agents may offer the same, and a key is a hash
  const byName = Map.groupBy(all, ({ kind, name }) => `${kind} ${name}`)
  const capabilities = [...byName.values()].flatMap(([first]) => first ?? []).slice(0, MAX_PROVIDER_KEYS)
  const names = capabilities.map(({ kind, name }) => {
    const versions = new Set(byName.get(`${kind} ${name}`)?.map(({ version }) => version))
    return { key: nameKey(kind, name), versions: [...versions].sort(rcompare) }
  })
  const dotted = capabilities.filter(({ name }) => firstSegment(name) !== name)
  const plain = capabilities.filter(({ name }) => firstSegment(name) === name)
  const segments = [...dotted, ...plain].map(({ kind, name }) => ({
    key: segmentKey(kind, firstSegment(name)),
    versions: []
  }))
  const distinct = new Map([...names, ...segments].map((offer) => [offer.key.toString(), offer]))
  return new Map([...distinct].slice(0, MAX_PROVIDER_KEYS))
}
