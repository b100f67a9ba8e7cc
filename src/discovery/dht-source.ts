import { setTimeout as sleep } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import { MeshError } from '../errors.ts'
import { MAX_ENTRIES_PER_ANSWER } from '../network/holder-constants.ts'
import type { Dht } from '../network/index.ts'
import { type Position, positionOf } from '../network/position.ts'
import type { Contact, WalkStep, WalkSummary } from '../network/walk.ts'
import {
  FIND_ALPHA,
  FIND_PATHS,
  FIND_WIDTH,
  FIRST_WAVE_MESSAGES,
  FULL_READS,
  MAX_READ_MESSAGES,
  MAX_SHARDS_READ,
  MAX_TOTAL,
  NAMED_WAIT_MS,
  PUBLISH_WIDTH,
  REGION_POINTS,
  SHARD_LANES,
  SHARD_SIZE
} from './constants.ts'
import type { HolderAnswer, Holders, NamedProvider } from './dht-holders.ts'
import type { Explain } from './explain.ts'
import { HINTS_TIMEOUT_MS } from './hint-constants.ts'
import { createLane } from './lane.ts'
import { shardKey } from './names.ts'
import { walkBeside } from './region.ts'

/** Reads from the DHT who offers something: what its holders say, which is nothing until each of those has confirmed it. */
export interface DhtSource {
  /**
   * Walks towards the key and tells whom the holders name, as they answer. Ends when nobody is left to be asked, with the budget
   * of messages, or with the signal; never throws.
   */
  read(key: CID, options: ReadOptions): Promise<ReadSummary>
}

export interface ReadOptions {
  readonly signal: AbortSignal
  readonly explain: Explain
  /** `any`: the first that holds is enough; `all`: whatever there is. */
  readonly depth: 'any' | 'all'
  /** Whether to look beside the key too, where a crowd of its neighbours can't keep anything away; asked when all else is done. */
  readonly isSuspicious: () => boolean
  /** @returns when they have been asked */
  readonly onNamed: (holder: string, named: readonly NamedProvider[]) => Promise<void>
}

export interface ReadSummary {
  /** Everybody near the key was asked, and all that they had was read. */
  readonly complete: boolean
  readonly messages: number
  /** How many offer something under the key, by the median of those who hold it. */
  readonly total: number
}

export interface DhtSourceComponents {
  /** This node's PeerId. */
  readonly peer: string
  readonly dht: Pick<Dht, 'walk' | 'askCloser' | 'size'>
  readonly holders: Pick<Holders, 'ask' | 'own'>
  /** 0 ≤ x < 1 */
  readonly random: () => number
}

export function createDhtSource(components: DhtSourceComponents): DhtSource {
  return {
    async read(key, options) {
      const root = new Reading(components, key, options)
      const isWhole = await root.run()
      const { total } = root
      if (options.depth === 'any' || total <= SHARD_SIZE || options.signal.aborted)
        return { complete: isWhole, messages: root.messages, total }
      const shards = await readShards(components, key, total, options)
      return { complete: shards.complete, messages: root.messages + shards.messages, total }
    }
  }
}

/** How many bits tell the shards of so many providers apart. */
export function shardDepth(total: number): number {
  return total <= SHARD_SIZE ? 0 : Math.ceil(Math.log2(total / SHARD_SIZE))
}

/** How many providers there are, by the median of what the nearest holders say: few liars among them change little. */
export function medianTotal(nearest: readonly string[], totals: ReadonlyMap<string, number>): number {
  const said = nearest.slice(0, FIND_WIDTH).flatMap((peer) => totals.get(peer) ?? [])
  return Math.min(MAX_TOTAL, said.sort((a, b) => a - b)[Math.floor(said.length / 2)] ?? 0)
}

/** Providers beyond one key's room, in the shares that they published themselves under. */
async function readShards(
  components: DhtSourceComponents,
  root: CID,
  total: number,
  options: ReadOptions
): Promise<Omit<ReadSummary, 'total'>> {
  const depth = shardDepth(total)
  const count = 2 ** depth
  const first = Math.floor(components.random() * count)
  const read = Math.min(count, MAX_SHARDS_READ)
  const lane = createLane(SHARD_LANES)
  let messages = 0
  let areWhole = count <= MAX_SHARDS_READ
  options.explain({ step: 'source', source: 'dht', says: `${total} offer it: reading ${read} of ${count} shards` })
  const shards = Array.from({ length: read }, (_, n) => ((first + n) % count).toString(2).padStart(depth, '0'))
  await Promise.all(
    shards.map((bits) =>
      lane.run(async () => {
        const shard = new Reading(components, shardKey(root, bits), options)
        const isWhole = await shard.run()
        areWhole &&= isWhole
        messages += shard.messages
      }, options.signal)
    )
  )
  return { complete: areWhole && !options.signal.aborted, messages }
}

/** One key's reading. */
class Reading {
  readonly #components: DhtSourceComponents
  readonly #key: CID
  readonly #position: Position
  readonly #options: ReadOptions
  /** What each holder said there is. */
  readonly #totals = new Map<string, number>()
  /** How many each holder has, and tells of if asked. */
  readonly #held = new Map<string, number>()
  readonly #named = new Set<string>()
  /** How many each holder has named of late, for who wants to know how it went. */
  readonly #answers = new Map<string, HolderAnswer>()
  /** Whom each that has answered knows nearer to the key. */
  readonly #closer = new Map<string, readonly Contact[]>()
  readonly #asking = new Set<Promise<void>>()
  #nearest: readonly string[] = []
  messages = 0

  constructor(components: DhtSourceComponents, key: CID, options: ReadOptions) {
    this.#components = components
    this.#key = key
    this.#position = positionOf(key)
    this.#options = options
  }

  get total(): number {
    return Math.max(this.#named.size, medianTotal(this.#nearest, this.#totals))
  }

  /** @returns whether all that there is has been read */
  async run(): Promise<boolean> {
    const { depth, isSuspicious, signal } = this.#options
    this.#take(this.#components.peer, this.#components.holders.own(this.#key))
    const first = await this.#walk(this.#position, depth === 'any' ? FIRST_WAVE_MESSAGES : MAX_READ_MESSAGES)
    this.#nearest = first.closest
    // Whoever names peers that hang doesn't keep the search from going on.
    await Promise.race([this.#settled(), sleep(NAMED_WAIT_MS, undefined, { ref: false, signal }).catch(() => {})])
    if (signal.aborted) return false
    const isCrowded = first.crowded || isSuspicious()
    if (isCrowded) await this.#readRegion()
    const again = (await this.#walkOn(first, isCrowded)) ?? first
    const isRead = depth === 'any' || (await this.#readRest())
    await this.#settled()
    return again.complete && isRead && !signal.aborted
  }

  /**
   * Goes on where the first walk has ended without anything being found. Whoever crowds around a key hides it from those who ask
   * the nearest 20 only: who offers it has published it 60 wide.
   */
  async #walkOn(first: WalkSummary, isCrowded: boolean): Promise<WalkSummary | undefined> {
    const { depth, explain, signal } = this.#options
    if (signal.aborted || this.#left() <= 0) return undefined
    const isMiss = depth === 'any' || this.#named.size === 0
    // Fewer than it would have asked: there is nobody else
    const isWider = isMiss && first.closest.length >= FIND_WIDTH
    if (isWider) explain({ step: 'source', source: 'dht', says: `nothing yet: asking the ${PUBLISH_WIDTH} nearest` })
    else if (first.complete || isCrowded) return undefined
    return this.#walk(this.#position, this.#left(), isWider ? PUBLISH_WIDTH : FIND_WIDTH)
  }

  /** Beside the key, where who sits around it has no say. */
  async #readRegion(): Promise<void> {
    const { dht } = this.#components
    const { explain, signal } = this.#options
    explain({ step: 'source', source: 'dht', says: `looking at ${REGION_POINTS} places beside the key too` })
    for (let n = 0; n < REGION_POINTS && !signal.aborted; n++) {
      const maxMessages = Math.floor(this.#left() / (REGION_POINTS - n) / 2)
      const options = { position: this.#position, width: FIND_WIDTH, maxMessages, signal }
      const { closest, messages } = await walkBeside(dht, options)
      this.messages += messages
      const lane = createLane(FIND_PATHS * FIND_ALPHA)
      const unasked = closest.filter((holder) => !this.#closer.has(holder))
      const askOne = async (holder: string) => void (await this.#askOnce(holder))
      await Promise.all(unasked.map((holder) => lane.run(() => askOne(holder), signal)))
    }
  }

  /** A holder names 20 of those that it has: goes through all that the nearest have, until there is nothing new to be had. */
  async #readRest(): Promise<boolean> {
    let read = 0
    for (const holder of this.#nearest) {
      if (read >= FULL_READS && this.#named.size >= this.total) break
      if (await this.#readAll(holder)) read++
    }
    return read >= Math.min(FULL_READS, this.#nearest.length) && this.#named.size >= this.total * ENOUGH
  }

  /** @returns whether all that the holder has was read */
  async #readAll(holder: string): Promise<boolean> {
    const held = this.#held.get(holder)
    // What is no more than one answer has been in the first.
    if (held === undefined || held <= MAX_ENTRIES_PER_ANSWER) return held !== undefined
    for (let offset = 0; offset < held; offset += MAX_ENTRIES_PER_ANSWER) {
      if (this.#left() <= 0 || this.#options.signal.aborted || !(await this.#askOnce(holder, offset))) return false
    }
    return true
  }

  /** Asks outside of a walk. @returns whether it answered */
  async #askOnce(holder: string, offset?: number): Promise<boolean> {
    const signal = AbortSignal.any([this.#options.signal, AbortSignal.timeout(HINTS_TIMEOUT_MS)])
    const askedAt = performance.now()
    const tell = (outcome: WalkStep['outcome']) =>
      this.#tell({ peer: holder, path: 0, ms: performance.now() - askedAt, outcome, closer: 0 })
    this.messages++
    try {
      await this.#ask(holder, { signal, ...(offset !== undefined && { offset }) })
      tell('answered')
      return true
    } catch (err) {
      tell(MeshError.from(err).code === 'TIMEOUT' ? 'timeout' : 'unreachable')
      return false
    }
  }

  /** Who has answered in an earlier walk isn't asked again, and costs nothing. */
  async #walk(position: Position, maxMessages: number, width = FIND_WIDTH): Promise<WalkSummary> {
    const { signal } = this.#options
    const known = new Map(this.#closer)
    let repeated = 0
    const walk = this.#components.dht.walk({
      position,
      ask: async (peer, options) => {
        const closer = known.get(peer)
        if (closer !== undefined) repeated++
        return { closer: closer ?? (await this.#ask(peer, options)).closer, value: undefined }
      },
      paths: FIND_PATHS,
      alpha: FIND_ALPHA,
      width,
      maxMessages: Math.max(0, maxMessages + known.size),
      signal,
      onStep: (step) => known.has(step.peer) || this.#tell(step)
    })
    for await (const _ of walk) if (signal.aborted) break
    const summary = await walk.summary
    this.messages += summary.messages - repeated
    return summary
  }

  async #ask(peer: string, options: { signal: AbortSignal; offset?: number }): Promise<HolderAnswer> {
    const answer = await this.#components.holders.ask(peer, this.#key, options)
    this.#answers.set(peer, answer)
    this.#closer.set(peer, answer.closer)
    if (answer.total !== undefined) this.#totals.set(peer, answer.total)
    if (answer.held !== undefined) this.#held.set(peer, answer.held)
    this.#take(peer, answer.named)
    return answer
  }

  #take(holder: string, named: readonly NamedProvider[]): void {
    for (const { peer } of named) this.#named.add(peer)
    const asking = this.#options.onNamed(holder, named).finally(() => this.#asking.delete(asking))
    this.#asking.add(asking)
  }

  /** Resolves when all that were named have been asked. */
  async #settled(): Promise<void> {
    await Promise.allSettled(this.#asking)
  }

  #left(): number {
    return MAX_READ_MESSAGES - this.messages
  }

  #tell({ peer, path, ms, outcome, closer, reason }: WalkStep): void {
    const { named, total } = this.#answers.get(peer) ?? {}
    this.#answers.delete(peer)
    this.#options.explain({
      step: 'holder',
      peer,
      tookMs: Math.round(ms),
      outcome,
      path,
      closer,
      named: named?.length ?? 0,
      ...(total !== undefined && { total }),
      ...(reason !== undefined && { reason })
    })
  }
}

/** What is called all, of an estimate that is 12 % off at times. */
const ENOUGH = 0.85
