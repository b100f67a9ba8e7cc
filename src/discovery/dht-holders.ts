import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import { MeshError } from '../errors.ts'
import type { Identity } from '../identity/index.ts'
import { MAX_ENTRIES_PER_ANSWER } from '../network/holder-constants.ts'
import type { Dht } from '../network/index.ts'
import type { Contact } from '../network/walk.ts'
import { MAX_PLAIN_PEERS, MAX_VERIFIED_HINTS, PLAIN_MS } from './constants.ts'
import { type DhtHint, signHint, verifyHint } from './dht-hint.ts'
import type { HintsClient } from './dht-hints-client.ts'
import { MAX_WITHDRAWN_KEYS } from './hint-constants.ts'
import type { HintsGetAnswer } from './hint-messages.ts'
import type { Refusals } from './refusals.ts'

/** Somebody who offers something under a key, as a holder says. */
export interface NamedProvider {
  readonly peer: string
  /** What it says of itself, signed; none when it doesn't say, or not all. */
  readonly versions: readonly string[]
  /** Where it may be, by hearsay. */
  readonly addresses: readonly string[]
}

export interface HolderAnswer {
  readonly closer: readonly Contact[]
  readonly named: readonly NamedProvider[]
  /** How many there are; undefined when the holder doesn't count. */
  readonly total: number | undefined
  /** How many the holder has; undefined when it may have more than it said and can't be asked for the rest. */
  readonly held: number | undefined
}

export interface Publication {
  readonly key: CID
  /** The highest first. */
  readonly versions: readonly string[]
  /** Grows with each publication under the key. */
  readonly seq: number
  /** Milliseconds since 1970. */
  readonly expiresAt: number
}

export interface PutOptions {
  readonly signal: AbortSignal
  /** Whether to leave a stock provider record too, for who speaks nothing else. */
  readonly withProviderRecord: boolean
}

/** Speaks to those who hold the DHT's keys: by signed hints, or as any libp2p node would. */
export interface Holders {
  /**
   * @param options `offset` into what the holder has; without it some at random
   * @throws {MeshError} whatever the request fails with
   */
  ask(peer: string, key: CID, options: { signal: AbortSignal; offset?: number }): Promise<HolderAnswer>
  /** Who offers something under the key, of what this node holds itself. */
  own(key: CID): readonly NamedProvider[]
  sign(publication: Publication): Promise<Uint8Array>
  /** @returns whether it was taken @throws {MeshError} whatever the request fails with */
  put(peer: string, key: CID, hint: Uint8Array, options: PutOptions): Promise<boolean>
  /** @throws {MeshError} whatever the request fails with */
  withdraw(peer: string, keys: readonly CID[], options: { signal: AbortSignal }): Promise<void>
}

export interface HoldersComponents {
  readonly identity: Pick<Identity, 'id' | 'signBytes'>
  readonly dht: Pick<Dht, 'askProviders' | 'addProvider' | 'holder'>
  readonly client: HintsClient
  /** Where this node listens, the best first. */
  readonly addresses: () => readonly string[]
  readonly refusals: Pick<Refusals, 'add'>
  /** A holder gave what it can't have taken. */
  readonly onBroken?: (peer: string, reason: string) => void
  readonly now: () => number
}

export function createHolders(components: HoldersComponents): Holders {
  return new HintHolders(components)
}

class HintHolders implements Holders {
  readonly #components: HoldersComponents
  /** Who doesn't speak hints. */
  readonly #plain: LRUCache<string, true>
  /** Hints whose signature holds: the same ones come from many holders, and a check takes 0.1 ms. */
  readonly #verified = new LRUCache<string, DhtHint>({ max: MAX_VERIFIED_HINTS })

  constructor(components: HoldersComponents) {
    this.#components = components
    this.#plain = new LRUCache({ max: MAX_PLAIN_PEERS, ttl: PLAIN_MS, ttlResolution: 0, perf: { now: components.now } })
  }

  async ask(
    peer: string,
    key: CID,
    { signal, offset }: { signal: AbortSignal; offset?: number }
  ): Promise<HolderAnswer> {
    const { client } = this.#components
    const request = { key: textOf(key), ...(offset !== undefined && { offset }) }
    const answer = await this.#unlessPlain(peer, () => client.get(peer, request, { signal }))
    return answer === undefined ? this.#askPlain(peer, key, signal) : this.#read(peer, textOf(key), answer)
  }

  own(key: CID): readonly NamedProvider[] {
    const entries = this.#components.dht.holder.sample(textOf(key))
    return entries.map(({ peer, hint }) => ({ peer, versions: [], addresses: hint?.addresses ?? [] }))
  }

  sign({ key, versions, seq, expiresAt }: Publication): Promise<Uint8Array> {
    return signHint(this.#components.identity, { key: textOf(key), versions, seq, expiresAt })
  }

  async put(peer: string, key: CID, hint: Uint8Array, { signal, withProviderRecord }: PutOptions): Promise<boolean> {
    const { addresses, client, dht } = this.#components
    const answer = await this.#unlessPlain(peer, () => client.put(peer, [hint], { signal, addresses: addresses() }))
    if (withProviderRecord) await dht.addProvider(peer, key, { signal })
    if (answer === undefined) return withProviderRecord
    // A holder that has enough others drops it: nothing to try again for
    return ['kept', 'dropped'].includes(answer.results[0]?.result ?? '')
  }

  async withdraw(peer: string, keys: readonly CID[], { signal }: { signal: AbortSignal }): Promise<void> {
    const { client, now } = this.#components
    const hints = keys.map((key) => ({ key: textOf(key), seq: now() }))
    for (let at = 0; at < hints.length; at += MAX_WITHDRAWN_KEYS) {
      const some = hints.slice(at, at + MAX_WITHDRAWN_KEYS)
      await this.#unlessPlain(peer, () => client.withdraw(peer, some, { signal }))
    }
  }

  /** @returns undefined for one that doesn't speak hints */
  async #unlessPlain<T>(peer: string, ask: () => Promise<T>): Promise<T | undefined> {
    if (this.#plain.has(peer)) return undefined
    try {
      return await ask()
    } catch (err) {
      const { code } = MeshError.from(err)
      if (code === 'INVALID_MESSAGE' || code === 'TOO_LARGE') this.#components.refusals.add(peer, 'malformed')
      if (code !== 'UNSUPPORTED_VERSION') throw err
      this.#plain.set(peer, true)
      return undefined
    }
  }

  async #askPlain(peer: string, key: CID, signal: AbortSignal): Promise<HolderAnswer> {
    const { closer, providers } = await this.#components.dht.askProviders(peer, key, { signal })
    const named = providers.map((provider) => ({ peer: provider, versions: [], addresses: [] }))
    const isAll = named.length < MAX_ENTRIES_PER_ANSWER
    return { closer, named, total: undefined, held: isAll ? named.length : undefined }
  }

  #read(
    holder: string,
    key: string,
    { closer, hints, providers, total, held, where = [] }: HintsGetAnswer
  ): HolderAnswer {
    const addresses = new Map(where.map((each) => [each.id, each.addresses]))
    const named = providers.map((peer): NamedProvider => ({ peer, versions: [], addresses: [] }))
    for (const text of hints) {
      const hint = this.#verify(holder, key, text)
      if (hint === undefined) continue
      named.push({
        peer: hint.peer,
        versions: hint.hasMore ? [] : hint.versions,
        addresses: addresses.get(hint.peer) ?? []
      })
    }
    return { closer, named, total, held }
  }

  /** @returns undefined for one that is refused */
  #verify(holder: string, key: string, text: string): DhtHint | undefined {
    const { now, onBroken, refusals } = this.#components
    const known = this.#verified.get(text)
    if (known !== undefined && known.key === key && known.expiresAt > now()) return known
    const hint = verifyHint(Buffer.from(text, 'base64url'), { key, now: now() })
    if (typeof hint === 'string') {
      refusals.add(holder, hint)
      if (hint !== 'expired') onBroken?.(holder, `a hint: ${hint}`)
      return undefined
    }
    this.#verified.set(text, hint)
    return hint
  }
}

/** A key as hints name it. */
export function textOf(key: CID): string {
  return Buffer.from(key.multihash.digest).toString('base64url')
}
