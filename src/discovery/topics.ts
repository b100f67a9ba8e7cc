import type { Gossip, TopicVerdict } from '../network/index.ts'
import { agentId, type SignedRecord } from '../registry/messages.ts'
import { canonicalJson, parseJson } from '../wire/index.ts'
import { createBudget } from './budget.ts'
import { nameOf, type RecordCache, type RecordChange } from './cache.ts'
import {
  ANNOUNCE_BURST,
  ANNOUNCE_INTERVAL_MS,
  CAPABILITY_PREFIX,
  CATALOGUE_TOPIC,
  MAX_HINT_BYTES,
  MAX_PEER_HINTS,
  MAX_TOPICS,
  RECEIVE_FACTOR,
  REPEAT_MS
} from './constants.ts'
import { announceOf, type Hints, hintAddresses, hinted, hintOf } from './hints.ts'
import { type Announce, type Hint, topicMessage, type Withdraw } from './messages.ts'
import { capabilityTopic, firstSegment } from './names.ts'
import type { Refusal, Refusals } from './refusals.ts'

/** Hints by gossip: what this node says of its agents, and what it hears of others'. */
export interface Topics {
  start(): void
  /** Joins or leaves the topic on which everybody's hints are. */
  setCatalogue(to: 'on' | 'off'): void
  /** To be called with each change of an own record; publishes as far as the budget allows, the rest later. */
  announce(change: RecordChange): Promise<void>
  /** Whether a change can be said on topics: others take the hints of MAX_PEER_HINTS agents of one node. */
  canSay(change: RecordChange): boolean
  /** Joins topics for as long as a watch lasts. @returns how to let go of them */
  watch(topics: readonly string[]): () => void
  /** Capability topics this node is in. */
  joined(): readonly string[]
  /** Publishes what nobody was there to hear, or what was over the budget. */
  flush(): Promise<void>
  /** Leaves all topics. */
  stop(): void
}

export interface TopicsComponents {
  /** This node's PeerId. */
  readonly peer: string
  readonly gossip: Gossip
  /** Where this node listens. */
  readonly addresses: () => readonly string[]
  readonly cache: RecordCache
  readonly hints: Hints
  readonly refusals: Refusals
  readonly now: () => number
  /** Called with each message on the catalogue that is within its author's budget: who has none left makes no mesh busy. */
  readonly onCatalogue: () => void
  /** Called with each hint that its own author sent and that is news. */
  readonly onHint: (hint: Hint, author: string) => void
}

export function createTopics(components: TopicsComponents): Topics {
  return new GossipTopics(components)
}

class GossipTopics implements Topics {
  readonly #components: TopicsComponents
  /** Topics of each announced agent. */
  readonly #offered = new Map<string, readonly string[]>()
  readonly #watched = new Map<string, number>()
  readonly #joined = new Set<string>()
  /** By topic and agent, what is still to be said there. */
  readonly #due = new Map<string, { topic: string; agent: string; say: () => Announce | Withdraw; isFree: boolean }>()
  readonly #repeats = new Set<NodeJS.Timeout>()
  readonly #sending
  readonly #receiving
  readonly #authors
  #isStarted = false
  #hasCatalogue = true

  constructor(components: TopicsComponents) {
    const { now } = components
    this.#components = components
    this.#sending = createBudget({ burst: ANNOUNCE_BURST, intervalMs: ANNOUNCE_INTERVAL_MS, now })
    const burst = RECEIVE_FACTOR * ANNOUNCE_BURST
    const intervalMs = ANNOUNCE_INTERVAL_MS / RECEIVE_FACTOR
    this.#receiving = createBudget({ burst, intervalMs, now })
    // All agents of an author together, so that one author can't fill the other budget's memory with names.
    const topics = RECEIVE_FACTOR * MAX_PEER_HINTS
    this.#authors = createBudget({ burst: burst * topics, intervalMs: intervalMs / topics, now })
  }

  start(): void {
    this.#isStarted = true
    this.#update()
  }

  setCatalogue(to: 'on' | 'off'): void {
    this.#hasCatalogue = to === 'on'
    if (this.#isStarted) this.#update()
  }

  canSay({ agent, after }: RecordChange): boolean {
    return this.#offered.has(agent) || (after?.record.audience === 'public' && this.#offered.size < MAX_PEER_HINTS)
  }

  async announce(change: RecordChange): Promise<void> {
    if (!this.canSay(change)) return
    const { agent, before, after } = change
    const wasPublic = this.#offered.has(agent)
    if (after?.record.audience === 'public') {
      this.#offered.set(agent, topicsOf(after))
      this.#update()
      // Where this node listens shows when it is said: stored agents are announced before the start of the network.
      this.#say(agent, () => announceOf(hintOf(after, hintAddresses(this.#components.addresses()))), false)
    } else if (wasPublic && before !== undefined) {
      const { seq } = before.record
      this.#say(agent, () => ({ v: 1, t: 'withdraw', agent: nameOf(agent), seq }), true)
    }
    await this.flush()
    if (after?.record.audience === 'public') return
    this.#offered.delete(agent)
    this.#update()
  }

  watch(topics: readonly string[]): () => void {
    for (const topic of topics) this.#watched.set(topic, (this.#watched.get(topic) ?? 0) + 1)
    this.#update()
    return () => {
      for (const topic of topics) {
        const left = (this.#watched.get(topic) ?? 0) - 1
        if (left > 0) this.#watched.set(topic, left)
        else this.#watched.delete(topic)
      }
      this.#update()
    }
  }

  joined(): readonly string[] {
    return [...this.#joined].filter((topic) => topic !== CATALOGUE_TOPIC)
  }

  async flush(): Promise<void> {
    const { gossip } = this.#components
    const sent: Promise<void>[] = []
    for (const [key, { topic, say, isFree }] of this.#due) {
      // What nobody hears costs nothing and is said again when somebody is there.
      if (!this.#joined.has(topic) || gossip.members(topic).length === 0) continue
      if (!isFree && !this.#sending.take(key)) continue
      this.#due.delete(key)
      const message = say()
      sent.push(gossip.publish(topic, Buffer.from(canonicalJson(message))))
      if (message.t === 'announce' && topic === CATALOGUE_TOPIC)
        this.#repeat(`${this.#components.peer}/${message.agent}`, say)
    }
    // Gossip promises nothing: who misses a hint asks, or is told by the next one.
    await Promise.allSettled(sent)
  }

  stop(): void {
    for (const timer of this.#repeats) clearTimeout(timer)
    for (const topic of this.#joined) this.#components.gossip.leave(topic)
    this.#joined.clear()
    this.#due.clear()
  }

  /** Puts a message in place of whatever was still to be said of the agent, on each of its topics. */
  #say(agent: string, say: () => Announce | Withdraw, isFree: boolean): void {
    for (const topic of [CATALOGUE_TOPIC, ...(this.#offered.get(agent) ?? [])]) {
      this.#due.set(`${topic} ${agent}`, { topic, agent, say, isFree })
    }
  }

  /** Says on the catalogue once more what still holds. Receivers bear twice the budget. */
  #repeat(agent: string, say: () => Announce | Withdraw): void {
    const { gossip } = this.#components
    const topics = this.#offered.get(agent)
    const timer = setTimeout(
      () => {
        this.#repeats.delete(timer)
        if (this.#offered.get(agent) !== topics) return
        void gossip.publish(CATALOGUE_TOPIC, Buffer.from(canonicalJson(say()))).catch(() => {})
      },
      REPEAT_MS * (0.75 + Math.random() / 2)
    )
    this.#repeats.add(timer)
  }

  /** Joins the topics that are wanted now, those of own offers first, and leaves the others. */
  #update(): void {
    const wanted = [...new Set([...this.#offered.values()].flat()), ...this.#watched.keys()]
    const catalogue = this.#hasCatalogue ? [CATALOGUE_TOPIC] : []
    const chosen = new Set([...catalogue, ...new Set(wanted).values().take(MAX_TOPICS)])
    for (const topic of this.#joined) {
      if (chosen.has(topic)) continue
      this.#joined.delete(topic)
      this.#components.gossip.leave(topic)
      for (const [key, due] of this.#due) if (due.topic === topic) this.#due.delete(key)
    }
    for (const topic of chosen) this.#join(topic)
  }

  #join(topic: string): void {
    if (this.#joined.has(topic)) return
    this.#joined.add(topic)
    this.#components.gossip.join(topic, (author, data) => this.#receive(topic, author, data))
  }

  #receive(topic: string, author: string, data: Uint8Array): TopicVerdict {
    if (author === this.#components.peer) return 'ignore'
    const message = readMessage(topic, author, data)
    if (message === 'later') return 'ignore'
    if (typeof message === 'string') return this.#refuse(author, message, 'reject')
    const agent = `${author}/${message.agent}`
    const key = `${topic} ${message.t} ${agent}`
    if (!this.#authors.take(author) || !this.#receiving.take(key)) return this.#refuse(author, 'over-budget', 'ignore')
    if (topic === CATALOGUE_TOPIC) this.#components.onCatalogue()
    return message.t === 'announce' ? this.#hear(author, agent, message) : this.#drop(agent, message.seq)
  }

  #hear(author: string, agent: string, message: Announce): TopicVerdict {
    const { cache, hints, onHint } = this.#components
    if (cache.isOutdated(agent, message.seq)) return 'ignore'
    const { seq, exp, digest, caps, more, addrs } = message
    const hint: Hint = { id: agent, seq, exp, digest, caps, ...(more && { more }), ...(addrs && { addrs }) }
    switch (hints.put({ hint, giver: author })) {
      case 'new':
        onHint(hint, author)
        return 'accept'
      case 'old':
        // The same hint on another topic has to travel there too.
        return hints.get(agent)?.seq === seq ? 'accept' : 'ignore'
      case 'expired':
        return this.#refuse(author, 'expired', 'ignore')
      case 'too-many':
        return this.#refuse(author, 'too-many', 'ignore')
    }
  }

  #drop(agent: string, seq: number): TopicVerdict {
    const { cache, hints } = this.#components
    if ((cache.get(agent)?.record.seq ?? 0) > seq) return 'ignore'
    hints.withdraw(agent, seq)
    cache.withdraw(agent, seq)
    return 'accept'
  }

  #refuse(author: string, reason: Refusal, verdict: TopicVerdict): TopicVerdict {
    this.#components.refusals.add(author, reason)
    return verdict
  }
}

/** Judges a message by itself: what it says, `'later'` for one of a later version, or why it is refused. */
export function readMessage(topic: string, author: string, data: Uint8Array): Announce | Withdraw | 'later' | Refusal {
  if (data.byteLength > MAX_HINT_BYTES) return 'oversize'
  let value: unknown
  try {
    value = parseJson(data)
  } catch {
    return 'bad-hint'
  }
  if (isOfLaterVersion(value)) return 'later'
  const parsed = topicMessage.safeParse(value)
  if (!parsed.success) return 'bad-hint'
  const message = parsed.data
  if (!agentId.safeParse(`${author}/${message.agent}`).success) return 'bad-hint'
  return message.t === 'withdraw' || isOn(topic, message) ? message : 'bad-hint'
}

function isOfLaterVersion(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || !('v' in value)) return false
  return typeof value.v === 'number' && Number.isInteger(value.v) && value.v > 1
}

function isOn(topic: string, message: Announce): boolean {
  if (!topic.startsWith(CAPABILITY_PREFIX) || message.more === true) return true
  return hinted(message).some(({ kind, name }) => capabilityTopic(kind, firstSegment(name)) === topic)
}

function topicsOf({ record }: SignedRecord): readonly string[] {
  return [...new Set(record.capabilities.map(({ kind, name }) => capabilityTopic(kind, firstSegment(name))))]
}
