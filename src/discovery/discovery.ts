import { LRUCache } from 'lru-cache'
import { MeshError } from '../errors.ts'
import type { MeshEventName, MeshEvents } from '../events.ts'
import { subnetOf } from '../network/subnet.ts'
import { agentName, type Query, type SignedRecord } from '../registry/messages.ts'
import type { Endpoint } from '../rpc/index.ts'
import { type Advertiser, createAdvertiser } from './advertise.ts'
import { createCache, peerOf, type RecordCache, type RecordChange } from './cache.ts'
import {
  ALONE_FACTOR,
  CANDIDATE_TIMEOUT_MS,
  CATALOGUE_NODES,
  MAX_MISSING,
  MAX_WATCHES,
  MISSING_AGAIN_MS,
  REPUBLISH_ATTEMPTS,
  REPUBLISH_MS,
  SETTLE_MS,
  STOP_TIMEOUT_MS,
  UPKEEP_MS
} from './constants.ts'
import { createHintsClient } from './dht-hints-client.ts'
import { createHintsEndpoint } from './dht-hints-endpoint.ts'
import { createHolders } from './dht-holders.ts'
import { createDhtSource, type DhtSource } from './dht-source.ts'
import { find } from './find.ts'
import type { FindComponents } from './find-components.ts'
import { createFindCounts } from './find-counts.ts'
import { createHints, type Hints, hintAddresses } from './hints.ts'
import type {
  Change,
  Discovery,
  DiscoveryComponents,
  DiscoveryInit,
  DiscoveryStatus,
  FindOptions,
  FindResults,
  Missing
} from './index.ts'
import { createLocalRecords, type LocalRecords } from './local.ts'
import { hintMatches } from './match.ts'
import type { Hint } from './messages.ts'
import { createPeers, type Peers } from './peers.ts'
import { createPuller, type Puller } from './pull.ts'
import { createRecordsEndpoint } from './records.ts'
import { createRefusals, type Refusals } from './refusals.ts'
import { createRendezvous, type Rendezvous } from './rendezvous.ts'
import { resolve } from './resolve.ts'
import { createSwitches, type Switches } from './switches.ts'
import { Teller } from './teller.ts'
import { createTopics, type Topics } from './topics.ts'
import { watch } from './watch.ts'

/** Brings the parts of the room together. */
export class MeshDiscovery implements Discovery {
  readonly #components: DiscoveryComponents
  readonly #settleMs: number
  readonly #now: () => number
  readonly #peer: string
  readonly #refusals: Refusals
  readonly #cache: RecordCache
  readonly #hints: Hints
  readonly #local: LocalRecords
  readonly #puller: Puller
  readonly #peers: Peers
  readonly #topics: Topics
  readonly #advertiser: Advertiser
  readonly #rendezvous: Rendezvous
  readonly #teller: Teller
  readonly #stopping = new AbortController()
  readonly #hintListeners = new Set<(hint: Hint) => void>()
  readonly #watches = new Set<(hint: Hint) => boolean>()
  readonly #undo: (() => void)[] = []
  readonly #counts = createFindCounts()
  readonly #switches: Switches
  readonly #dht: DhtSource
  /** What was told to be missing lately. */
  readonly #missing = new LRUCache<string, true>({
    max: MAX_MISSING,
    ttl: MISSING_AGAIN_MS,
    ttlResolution: 0,
    perf: { now: () => this.#now() }
  })
  #startedAt = 0
  #republish: NodeJS.Timeout | undefined

  constructor(
    components: DiscoveryComponents,
    { catalogueNodes = CATALOGUE_NODES, settleMs = SETTLE_MS }: DiscoveryInit
  ) {
    const { clock: now = Date.now, emit, identity, network, random = Math.random, registry, rpc } = components
    const peer = identity.id
    const onHint = (hint: Hint, giver: string) => this.#hear(hint, giver)
    this.#components = components
    this.#settleMs = settleMs
    this.#now = now
    this.#peer = peer
    const refusals = createRefusals(emit)
    const cache = createCache({ emit, now })
    const hints = createHints({ now })
    this.#refusals = refusals
    this.#cache = cache
    this.#hints = hints
    this.#local = createLocalRecords({ peer, registry })
    this.#puller = createPuller({ rpc, cache, refusals, now })
    this.#peers = createPeers({ peer, network, puller: this.#puller, cache, hints, now, onHint })
    this.#teller = new Teller({
      peer,
      network,
      rpc,
      local: this.#local,
      cache,
      hints,
      peers: this.#peers,
      now,
      stopping: this.#stopping.signal
    })
    const addresses = () => network.status().addresses
    const isSmall = () => this.#isSmall()
    this.#switches = createSwitches({
      catalogueNodes,
      nodes: () => network.dht.size,
      tableSize: () => network.status().routingTable,
      now,
      onCatalogue: (to) => this.#setCatalogue(to)
    })
    const onCatalogue = () => this.#switches.heard()
    const heard = { cache, hints, refusals, now, onHint, onCatalogue }
    this.#topics = createTopics({ peer, gossip: network.gossip, addresses, ...heard })
    const client = createHintsClient({ rpc })
    const holders = createHolders({
      identity,
      dht: network.dht,
      client,
      addresses: () => hintAddresses(addresses()),
      refusals,
      ...(components.onBroken && { onBroken: components.onBroken }),
      now
    })
    this.#dht = createDhtSource({ peer, dht: network.dht, holders, random })
    this.#advertiser = createAdvertiser({ peer, network, holders, counts: this.#counts, isSmall, now, random })
    const met = { peers: this.#peers, topics: this.#topics, dht: this.#dht }
    this.#rendezvous = createRendezvous({ peer, network, isSmall, now, ...met })
  }

  async start(): Promise<void> {
    const { isKnown = () => false, network, policy, registry, rpc } = this.#components
    this.#startedAt = this.#now()
    await rpc.handle(
      createRecordsEndpoint({
        local: this.#local,
        hints: () => this.#teller.hints(),
        onChanged: (giver) => this.#peers.outdated(giver),
        ...(policy && { policy })
      })
    )
    await rpc.handle(this.#hintsEndpoint())
    this.#topics.start()
    this.#listen('peer:join', ({ peer }) => this.#joined(peer))
    this.#listen('peer:leave', ({ peer }) => this.#peers.left(peer))
    this.#listen('trust:changed', ({ peer, to }) => {
      if (to === 'blocked') this.#forgetPeer(peer)
      else if (to !== 'unknown') this.#teller.changed((each) => each === peer && isKnown(each))
    })
    this.#undo.push(
      this.#local.onChange(({ before, after }) => {
        const isPrivate = [before, after].some((signed) => signed !== undefined && signed.record.audience !== 'public')
        if (isPrivate) this.#teller.changed(isKnown)
      })
    )
    for (const { peer } of network.peers()) this.#joined(peer)
    const timer = setInterval(() => this.#upkeep(), UPKEEP_MS)
    this.#undo.push(() => clearInterval(timer))
    for (const { name } of registry.definitions()) await this.announce(name)
  }

  async stop(): Promise<void> {
    if (this.#stopping.signal.aborted) return
    for (const undo of this.#undo) undo()
    clearTimeout(this.#republish)
    this.#stopping.abort()
    const goodbyes = [...this.#local.all()].map(({ record }) => this.retract(record.name))
    const work = [...goodbyes, this.#advertiser.stop(), this.#peers.stop(), this.#rendezvous.stop()]
    await within(STOP_TIMEOUT_MS, Promise.allSettled(work))
    this.#topics.stop()
  }

  find(options: FindOptions): FindResults {
    return find(this.#findComponents(), options)
  }

  watch({ signal, ...query }: Query & { signal: AbortSignal }): AsyncIterable<Change> {
    const matches = hintMatches(query)
    return { [Symbol.asyncIterator]: () => this.#watch(query, matches, signal) }
  }

  async announce(name: string): Promise<void> {
    // The record is served from here on. Nobody waits for gossip, which promises nothing: it never rejects.
    void this.#told(this.#local.refresh(name))
  }

  async retract(name: string): Promise<void> {
    await this.#told(this.#local.remove(name))
  }

  known(agentId: string): SignedRecord | undefined {
    return this.#local.get(agentId) ?? this.#cache.get(agentId)
  }

  resolve(agentId: string, { signal }: { signal: AbortSignal }): Promise<SignedRecord> {
    const components = { peer: this.#peer, network: this.#components.network, cache: this.#cache, now: this.#now }
    const rooms = { local: this.#local, hints: this.#hints, peers: this.#peers, puller: this.#puller }
    return resolve({ ...components, ...rooms }, agentId, signal)
  }

  async named(name: string, { signal }: { signal: AbortSignal }): Promise<readonly SignedRecord[]> {
    if (!agentName.safeParse(name).success) {
      throw new MeshError('INVALID_ARGUMENT', `${JSON.stringify(name.slice(0, 80))} is not an agent's name`)
    }
    // What it brings in is in the cache afterwards.
    for await (const _ of this.find({ agent: name, timeoutMs: CANDIDATE_TIMEOUT_MS, signal }));
    const own = this.#local.named(name)
    return [...(own === undefined ? [] : [own]), ...this.#cache.named(name)]
  }

  get size(): number {
    return this.#cache.size
  }

  refused(): Readonly<Record<string, number>> {
    return this.#refusals.counts()
  }

  status(): DiscoveryStatus {
    const nodes = this.#components.network.dht.size
    return { catalogue: this.#switches.catalogue, ...(nodes !== undefined && { nodes }), ...this.#counts.all() }
  }

  async *#watch(query: Query, matches: (hint: Hint) => boolean, signal: AbortSignal): AsyncGenerator<Change> {
    if (this.#watches.size >= MAX_WATCHES) throw new MeshError('BUSY', `a node has at most ${MAX_WATCHES} watches`)
    this.#watches.add(matches)
    try {
      yield* watch({ ...this.#findComponents(), topics: this.#topics }, query, signal)
    } finally {
      this.#watches.delete(matches)
    }
  }

  #hintsEndpoint(): Endpoint {
    const { network, onBroken } = this.#components
    const { dht } = network
    return createHintsEndpoint({
      holder: dht.holder,
      closest: (position, count) => dht.closest(position, count),
      subnetOf: (peer) => subnetOf(network.peers().find((each) => each.peer === peer)?.address),
      addressesOf: (peer) => hintAddresses(network.addressesOf(peer)),
      refusals: this.#refusals,
      ...(onBroken && { onBroken }),
      now: this.#now
    })
  }

  #findComponents(): FindComponents {
    const { healthOf = () => 'unknown', pinned = () => [], trustOf = () => 'unknown' } = this.#components
    return {
      peer: this.#peer,
      network: this.#components.network,
      local: this.#local,
      cache: this.#cache,
      hints: this.#hints,
      peers: this.#peers,
      dht: this.#dht,
      refusals: this.#refusals,
      counts: this.#counts,
      healthOf,
      trustOf,
      // Who was blocked isn't missed.
      pinned: () => Iterator.from(pinned()).filter(({ agent }) => trustOf(peerOf(agent)) !== 'blocked'),
      onMissing: (missing) => this.#tellMissing(missing),
      now: this.#now,
      settleMs: () => this.#startedAt + this.#settleMs - this.#now(),
      isYoung: () =>
        this.#peers.connected().length === 0 && this.#now() - this.#startedAt < ALONE_FACTOR * this.#settleMs,
      isSmall: () => this.#isSmall(),
      onHint: (listener: (hint: Hint) => void) => {
        this.#hintListeners.add(listener)
        return () => this.#hintListeners.delete(listener)
      },
      stopping: this.#stopping.signal
    }
  }

  /** Whether the catalogue can tell everybody what there is. */
  #isSmall(): boolean {
    return this.#switches.catalogue === 'on'
  }

  #setCatalogue(to: 'on' | 'off'): void {
    this.#topics.setCatalogue(to)
    if (this.#startedAt === 0 || this.#stopping.signal.aborted) return
    // What the one doesn't tell any more the other has to, and what was said meanwhile wasn't heard.
    if (to === 'off') this.#advertiser.upkeep()
    else this.#peers.askAgain()
  }

  #tellMissing(missing: readonly Missing[]): void {
    for (const { agent, name, others } of missing) {
      const key = `${agent} ${name}`
      if (this.#missing.has(key)) continue
      this.#missing.set(key, true)
      this.#counts.add('missed')
      this.#components.emit('capability:missing', { agent, capability: name, others: others.length })
    }
  }

  /** Tells the mesh of a change of an own record. */
  async #told(change: RecordChange | undefined): Promise<void> {
    if (change === undefined) return
    if (!this.#stopping.signal.aborted) {
      this.#advertiser.offer([...this.#local.all()].filter(({ record }) => record.audience === 'public'))
      const isPublic = [change.before, change.after].some((signed) => signed?.record.audience === 'public')
      if (isPublic && !this.#topics.canSay(change)) this.#teller.changedSoon()
    }
    await this.#topics.announce(change).catch(() => {
      // No topic more is to be had; peers, snapshots and the DHT tell of the record.
    })
  }

  /** A hint that is news: gets the record if its owner is connected or a watch is after it. */
  #hear(hint: Hint, giver: string): void {
    if (this.#cache.get(hint.id)?.record.seq === hint.seq) return
    const peer = peerOf(hint.id)
    if (peer === this.#peer) return
    const isOwners = giver === peer && this.#peers.isConnected(peer)
    if (isOwners || this.#watches.values().some((matches) => matches(hint))) this.#peers.fetch(hint.id, 'topic')
    for (const listener of this.#hintListeners) listener(hint)
  }

  #joined(peer: string): void {
    this.#peers.joined(peer)
    this.#republishSoon(REPUBLISH_ATTEMPTS)
  }

  /** What a blocked peer says of itself isn't shown any more. */
  #forgetPeer(peer: string): void {
    for (const { record } of this.#cache.ofPeer(peer)) this.#cache.forget(record.id)
    this.#hints.forget(peer)
  }

  /** What was said to nobody is said again once the peer has joined the topics, which takes it a moment. */
  #republishSoon(attempts: number): void {
    clearTimeout(this.#republish)
    if (attempts === 0 || this.#stopping.signal.aborted) return
    this.#republish = setTimeout(() => {
      void this.#topics.flush()
      if (!this.#isSmall()) this.#advertiser.upkeep()
      this.#rendezvous.upkeep()
      this.#republishSoon(attempts - 1)
    }, REPUBLISH_MS)
  }

  #upkeep(): void {
    this.#switches.upkeep()
    this.#cache.expire()
    this.#hints.expire()
    this.#peers.upkeep()
    this.#advertiser.upkeep()
    this.#rendezvous.upkeep()
    void this.#topics.flush()
  }

  #listen<K extends MeshEventName>(event: K, listener: (detail: MeshEvents[K]) => void): void {
    this.#undo.push(this.#components.on(event, listener))
  }
}

/** Waits for the work, but not longer. */
async function within(timeoutMs: number, work: Promise<unknown>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, timeoutMs)
  await Promise.race([work, promise])
  clearTimeout(timer)
}
