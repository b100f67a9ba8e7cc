import { compileQuery } from '../registry/index.ts'
import type { Query, SignedRecord } from '../registry/messages.ts'
import { DIAL_LANES, MAX_CANDIDATES, MAX_QUEUED_CANDIDATES, PEER_LANES } from './constants.ts'
import type { NamedProvider } from './dht-holders.ts'
import type { Explain } from './explain.ts'
import type { FindComponents } from './find-components.ts'
import type { FindSource } from './index.ts'
import { createFairLane, createLane } from './lane.ts'
import { rankNamed } from './ranking.ts'

/** Asks owners for their records, each once in a find: nothing that others say of them is a result. */
export interface Asking {
  /**
   * Asks a peer for what matches; not one whose records are all here, unless a hint tells of another.
   *
   * @returns when it has been asked; never rejects
   */
  ask(peer: string, source: FindSource, options?: AskOptions): Promise<void>
  /** Asks whom a holder of the DHT names. @returns when they have been asked */
  askNamed(holder: string, named: readonly NamedProvider[]): Promise<void>
  /** Owners asked. */
  readonly messages: number
  /** Of those, the ones that this node isn't connected to. */
  readonly candidates: number
  /** Nobody was left out, and everybody answered. */
  readonly isWhole: boolean
}

interface AskOptions {
  readonly isTold?: boolean
  /** Who named it: each giver's candidates wait for each other only. Default the source. */
  readonly giver?: string
  readonly addresses?: readonly string[]
}

export interface AskingInit {
  readonly query: Query
  readonly explain: Explain
  readonly signal: AbortSignal
  /** Keeps the find going until the work is done; never rejects. */
  readonly work: (work: () => Promise<void>) => Promise<void>
  /** @returns whether anything of it matches */
  readonly onRecord: (signed: SignedRecord, source: FindSource) => boolean
}

type AskingComponents = Pick<FindComponents, 'peer' | 'network' | 'cache' | 'peers' | 'counts' | 'trustOf'>

export function createAsking(components: AskingComponents, init: AskingInit): Asking {
  return new OwnersAsking(components, init)
}

class OwnersAsking implements Asking {
  readonly #components: AskingComponents
  readonly #init: AskingInit
  readonly #asked = new Set<string>()
  readonly #peerLane = createLane(PEER_LANES)
  readonly #dialLane = createFairLane(DIAL_LANES)
  readonly #hasVersion: (version: string) => boolean
  #queued = 0
  messages = 0
  candidates = 0
  isWhole = true

  constructor(components: AskingComponents, init: AskingInit) {
    this.#components = components
    this.#init = init
    this.#hasVersion = compileQuery(init.query).hasVersion
  }

  ask(peer: string, source: FindSource, options: AskOptions = {}): Promise<void> {
    const { peers } = this.#components
    const { signal, work } = this.#init
    const { isTold = false, giver = source, addresses = [] } = options
    const isDone = () => peer === this.#components.peer || this.#asked.has(peer) || (peers.isFresh(peer) && !isTold)
    if (isDone()) return Promise.resolve()
    if (peers.isConnected(peer)) {
      this.#asked.add(peer)
      return work(() => this.#peerLane.run(async () => void (await this.#pull(peer, source)), signal))
    }
    if (this.#queued >= MAX_QUEUED_CANDIDATES) {
      this.isWhole = false
      return Promise.resolve()
    }
    this.#queued++
    // That one giver named it among others doesn't keep it from coming up in its turn for another.
    const meet = async () => {
      this.#queued--
      if (isDone()) return undefined
      this.#asked.add(peer)
      return this.#meet(peer, source, addresses)
    }
    return work(() => this.#dialLane.run({ giver, candidate: peer, work: meet }, signal))
  }

  async askNamed(holder: string, named: readonly NamedProvider[]): Promise<void> {
    const { trustOf } = this.#components
    const ordered = rankNamed(named, { trustOf, hasVersion: this.#hasVersion })
    await Promise.all(ordered.map(({ peer, addresses }) => this.ask(peer, 'dht', { giver: holder, addresses })))
  }

  /** Asks somebody this node isn't connected to. @returns whether it gave what matches; undefined when that isn't known */
  async #meet(peer: string, source: FindSource, addresses: readonly string[]): Promise<boolean | undefined> {
    const { counts, network } = this.#components
    if (this.candidates >= MAX_CANDIDATES) {
      this.isWhole = false
      return undefined
    }
    this.candidates++
    counts.add('candidates')
    if (addresses.length > 0) await network.learn(peer, addresses)
    const records = await this.#pull(peer, source)
    if (records > 0) return true
    if (this.#init.signal.aborted) return undefined
    counts.add('falseCandidates')
    return false
  }

  /** @returns how many records it gave that match */
  async #pull(peer: string, source: FindSource): Promise<number> {
    const { cache, peers } = this.#components
    const { explain, query, signal } = this.#init
    const askedAt = performance.now()
    let records = 0
    const onRecord = (signed: SignedRecord) => {
      if (this.#init.onRecord(signed, source)) records++
    }
    this.messages++
    const outcome = await peers.ask(peer, query, { signal, source, onRecord })
    explain({ step: 'owner', peer, source, tookMs: Math.round(performance.now() - askedAt), outcome, records })
    if (outcome === 'silent') this.isWhole = false
    // Its records are older than TRUSTED_MS, or they wouldn't have been asked for.
    if (outcome === 'gone' && source === 'cache') for (const { record } of cache.ofPeer(peer)) cache.forget(record.id)
    return records
  }
}
