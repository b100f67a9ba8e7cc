/**
 * A node that is the DHT and nothing above it: the network, the holder of hints, and the walk that finds and publishes. The
 * catalogue and connected peers, which answer most finds of a whole node, would hide what the DHT alone can do. It is put
 * together of the parts that discovery is made of, from dist; nothing else here reaches below the package's front.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { memory } from '@libp2p/memory'
import type { CID } from 'multiformats/cid'
import type * as auth from '../../src/auth/index.ts'
import type * as client from '../../src/discovery/dht-hints-client.ts'
import type * as endpoint from '../../src/discovery/dht-hints-endpoint.ts'
import type * as holding from '../../src/discovery/dht-holders.ts'
import type { Holders, Publication } from '../../src/discovery/dht-holders.ts'
import type * as source from '../../src/discovery/dht-source.ts'
import type * as lanes from '../../src/discovery/lane.ts'
import type * as names from '../../src/discovery/names.ts'
import type * as publishing from '../../src/discovery/publish.ts'
import type * as identities from '../../src/identity/index.ts'
import type { Identity } from '../../src/identity/index.ts'
import type { Holder } from '../../src/network/holder.ts'
import type * as networks from '../../src/network/index.ts'
import type { Network } from '../../src/network/index.ts'
import type * as positions from '../../src/network/position.ts'
import type { Position } from '../../src/network/position.ts'
import type * as rpcs from '../../src/rpc/index.ts'
import type { Endpoint } from '../../src/rpc/index.ts'
import { built } from '../bench/built.ts'
import type { Ledger } from './meter.ts'
import type { Random } from './random.ts'

const { createAuth } = await built<typeof auth>('auth/index.js')
const { createHintsClient } = await built<typeof client>('discovery/dht-hints-client.js')
const { createHintsEndpoint } = await built<typeof endpoint>('discovery/dht-hints-endpoint.js')
const { createDhtSource } = await built<typeof source>('discovery/dht-source.js')
const { createHolders } = await built<typeof holding>('discovery/dht-holders.js')
const { createFairLane } = await built<typeof lanes>('discovery/lane.js')
const { nameKey } = await built<typeof names>('discovery/names.js')
const { publish } = await built<typeof publishing>('discovery/publish.js')
const { createIdentity } = await built<typeof identities>('identity/index.js')
const { createNetwork } = await built<typeof networks>('network/index.js')
const { positionOf } = await built<typeof positions>('network/position.js')
const { createRpc } = await built<typeof rpcs>('rpc/index.js')

/** Stops after the first that holds, or goes on until everybody near the key was asked. */
export type Depth = 'first' | 'full'

/** What came of a find. A query is one request to one holder. */
export interface DhtFind {
  readonly isFound: boolean
  /** Sent when the provider was named that turned out to be one. */
  readonly queriesToFirst: number
  readonly queries: number
  readonly ms: number
  /** Named and dialled, until one was found that offers it: those that don't. */
  readonly dialsForNothing: number
  /** Who was named first. */
  readonly first: string | undefined
  /** How many there are, as far as holders say. */
  readonly total: number
}

export type Answer = (body: unknown, caller: string) => unknown

/** What a node does instead of what it should; undefined where it behaves. */
export interface Misbehaviour {
  readonly answer: Answer
  /** What it offers itself it really does: it lies of others only. */
  readonly isProvider?: true
}

export interface DhtNode {
  readonly id: string
  readonly address: string
  readonly network: Network
  readonly holder: Holder
  /** Its holder's endpoint, with everything that a request passes. */
  readonly serve: (body: unknown, caller: string) => unknown
  misbehaviour: Misbehaviour | undefined
  /** Publishes under a name as the product does; or at the so many closest only. @returns who took it */
  publish(name: string, width?: number): Promise<ReadonlySet<string>>
  /** What publishing brings about, without the messages: its hint lies with those holders. */
  leave(name: string, holders: readonly DhtNode[]): Promise<void>
  withdraw(name: string, from: Iterable<string>): Promise<void>
  /** @param owners who really offers it, and is there */
  find(name: string, owners: ReadonlySet<string>, depth: Depth): Promise<DhtFind>
  /** A walk to a position, that asks for nothing else. */
  look(position: Position): Promise<void>
  stop(): Promise<void>
}

export interface DhtNodeInit {
  readonly name: string
  readonly random: Random
  readonly ledger: Ledger
  /** Default a new one. */
  readonly identity?: Identity
}

/** Published hints outlast a run. */
const LIFETIME_MS = 2 * 3_600_000
/** A find that takes longer counts as one that found nothing. */
const FIND_MS = 20_000
const PUBLISH_MS = 120_000
/** To dial somebody and get its record takes as long as a few answers of holders; what is named meanwhile waits for its turn. */
const VERIFY_MS = 50
/** As discovery asks owners: so many at once, each holder's in turn. */
const VERIFIED_AT_ONCE = 3
const VERSION = '1.0.0'
const MAX_CLOSER = 20

export function keyOf(name: string): CID {
  return nameKey('tool', name)
}

/** base64url of the key's digest, as hints name it. */
export function digestOf(name: string): string {
  return Buffer.from(keyOf(name).multihash.digest).toString('base64url')
}

export function placeOf(name: string): Position {
  return positionOf(keyOf(name))
}

export async function startDhtNode({
  name,
  random,
  ledger,
  identity = createIdentity()
}: DhtNodeInit): Promise<DhtNode> {
  const network = createNetwork(
    { identity, emit: () => {}, random: () => random.next() },
    {
      listen: [`/memory/${name}`],
      lan: false,
      transports: [memory()],
      connectionEncrypters: [ledger.encrypter()]
    }
  )
  const { sessionOf } = createAuth({ standingOf: () => ({ level: 'known' }) })
  const rpc = createRpc({ network, authenticate: sessionOf })
  const { dht } = network
  const [now, refusals] = [Date.now, { add: () => {} }]
  const honest = createHintsEndpoint({
    holder: dht.holder,
    closest: (position, count) => dht.closest(position, count),
    subnetOf: () => undefined,
    refusals,
    now
  })
  const holders = createHolders({
    identity,
    dht,
    client: createHintsClient({ rpc }),
    addresses: () => network.status().addresses,
    refusals,
    now
  })
  const node = new SimDhtNode({ identity, network, honest, random }, holders)
  await rpc.handle({
    protocol: honest.protocol,
    handle: (body, context) => node.misbehaviour?.answer(body, context.caller.peer) ?? honest.handle(body, context)
  })
  await network.start()
  return node
}

interface Parts {
  readonly identity: Identity
  readonly network: Network
  readonly honest: Endpoint
  readonly random: Random
}

class SimDhtNode implements DhtNode {
  readonly #parts: Parts
  readonly #holders: Holders
  misbehaviour: Misbehaviour | undefined

  constructor(parts: Parts, holders: Holders) {
    this.#parts = parts
    this.#holders = holders
  }

  get id(): string {
    return this.#parts.identity.id
  }

  get address(): string {
    return this.network.status().addresses[0] ?? ''
  }

  get network(): Network {
    return this.#parts.network
  }

  get holder(): Holder {
    return this.network.dht.holder
  }

  serve(body: unknown, caller: string): unknown {
    // All that the endpoint looks at of a request's context
    const context = { caller: { peer: caller, trust: 'known' } } as Parameters<Endpoint['handle']>[1]
    return this.#parts.honest.handle(body, context)
  }

  async publish(name: string, width?: number): Promise<ReadonlySet<string>> {
    const signal = AbortSignal.timeout(PUBLISH_MS)
    if (width !== undefined) return this.#publishAt(said(name), width, signal)
    const { network, random } = this.#parts
    const components = { peer: this.id, network, holders: this.#holders, now: Date.now, random: () => random.next() }
    const taken = new Set<string>()
    const onTaken = (_key: CID, holder: string): void => void taken.add(holder)
    await publish(components, said(name), { lifetimeMs: LIFETIME_MS, signal, onTaken })
    return taken
  }

  async leave(name: string, holders: readonly DhtNode[]): Promise<void> {
    const hint = await this.#holders.sign(said(name))
    const hints = [Buffer.from(hint).toString('base64url')]
    for (const holder of holders) holder.serve({ op: 'put', hints }, this.id)
  }

  async withdraw(name: string, from: Iterable<string>): Promise<void> {
    const signal = AbortSignal.timeout(PUBLISH_MS)
    await Promise.allSettled([...from].map((peer) => this.#holders.withdraw(peer, [keyOf(name)], { signal })))
  }

  async find(name: string, owners: ReadonlySet<string>, depth: Depth): Promise<DhtFind> {
    const found = new AbortController()
    const signal = AbortSignal.any([found.signal, AbortSignal.timeout(FIND_MS)])
    const lane = createFairLane(VERIFIED_AT_ONCE)
    const asked = new Set<string>([this.id])
    let [queries, dialsForNothing] = [0, 0]
    let queriesToFirst: number | undefined
    let first: string | undefined
    const holders: Pick<Holders, 'ask' | 'own'> = {
      // In a small mesh everybody is a holder, and a find that asks nobody proves nothing
      own: () => [],
      ask: (peer, key, options) => {
        queries++
        return this.#holders.ask(peer, key, options)
      }
    }
    const verify = async (peer: string, namedAfter: number): Promise<boolean | undefined> => {
      if (asked.has(peer)) return undefined
      asked.add(peer)
      if (queriesToFirst === undefined && !owners.has(peer)) dialsForNothing++
      await sleep(VERIFY_MS)
      if (!owners.has(peer)) return false
      queriesToFirst ??= namedAfter
      if (depth === 'first') found.abort()
      return true
    }
    const { network, random } = this.#parts
    const from = performance.now()
    let ms: number | undefined
    found.signal.addEventListener('abort', () => (ms = performance.now() - from))
    const { total } = await createDhtSource({
      peer: this.id,
      dht: network.dht,
      holders,
      random: () => random.next()
    }).read(keyOf(name), {
      signal,
      depth: depth === 'first' ? 'any' : 'all',
      explain: () => {},
      isSuspicious: () => false,
      onNamed: async (holder, named) => {
        first ??= named[0]?.peer
        const after = queries
        const turns = named.map(({ peer }) => ({ giver: holder, candidate: peer, work: () => verify(peer, after) }))
        await Promise.all(turns.map((turn) => lane.run(turn, signal)))
      }
    })
    return {
      isFound: queriesToFirst !== undefined,
      queriesToFirst: queriesToFirst ?? Number.NaN,
      queries,
      ms: ms ?? performance.now() - from,
      dialsForNothing,
      first,
      total
    }
  }

  async look(position: Position): Promise<void> {
    await this.#walk(position, { width: MAX_CLOSER, signal: AbortSignal.timeout(FIND_MS) })
  }

  stop(): Promise<void> {
    return this.network.stop()
  }

  async #publishAt(publication: Publication, width: number, signal: AbortSignal): Promise<ReadonlySet<string>> {
    const { key } = publication
    const closest = await this.#walk(positionOf(key), { width, signal, key })
    const taken = new Set<string>()
    const hint = await this.#holders.sign(publication)
    const put = async (peer: string): Promise<void> => {
      if (await this.#holders.put(peer, key, hint, { signal, withProviderRecord: false })) taken.add(peer)
    }
    await Promise.allSettled(closest.map(put))
    return taken
  }

  async #walk(
    position: Position,
    { width, signal, key = keyOf('nothing') }: { width: number; signal: AbortSignal; key?: CID }
  ): Promise<readonly string[]> {
    const walk = this.network.dht.walk({
      position,
      ask: async (peer, options) => {
        const { closer } = await this.#holders.ask(peer, key, options)
        return { closer, value: undefined }
      },
      paths: 1,
      alpha: 6,
      width,
      maxMessages: 200,
      signal
    })
    for await (const _ of walk) if (signal.aborted) break
    return (await walk.summary).closest
  }
}

function said(name: string): Publication {
  return { key: keyOf(name), versions: [VERSION], seq: Date.now(), expiresAt: Date.now() + LIFETIME_MS }
}
