import type { Network } from '../network/index.ts'
import type { CapabilityKind } from '../registry/messages.ts'
import { ANNOUNCE_INTERVAL_MS, CAPABILITY_PREFIX, FIND_TIMEOUT_MS, RENDEZVOUS_PEERS } from './constants.ts'
import type { DhtSource } from './dht-source.ts'
import { createLane } from './lane.ts'
import { segmentKey } from './names.ts'
import type { Peers } from './peers.ts'
import type { Topics } from './topics.ts'

/** Meets other members of this node's capability topics: a topic doesn't connect its members by itself. */
export interface Rendezvous {
  /** Looks for members where there are few, in the background. */
  upkeep(): void
  /** Ends when all background work has. */
  stop(): Promise<void>
}

export interface RendezvousComponents {
  /** This node's PeerId. */
  readonly peer: string
  readonly network: Pick<Network, 'gossip'>
  readonly dht: DhtSource
  /** Whether the mesh is so small that the catalogue tells everybody what there is. */
  readonly isSmall: () => boolean
  readonly peers: Peers
  readonly topics: Topics
  readonly now: () => number
}

export function createRendezvous({
  peer: self,
  network,
  dht,
  isSmall,
  peers,
  topics,
  now
}: RendezvousComponents): Rendezvous {
  const lane = createLane(1)
  const meeting = createLane(1)
  const stopping = new AbortController()
  const work = new Set<Promise<void>>()
  const triedAt = new Map<string, number>()

  /** Asks those who offer something in the name space for it, which connects to them as long as that lasts. */
  async function meet(topic: string): Promise<void> {
    const [kind = '', segment = ''] = topic.slice(CAPABILITY_PREFIX.length + 1).split('/')
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(FIND_TIMEOUT_MS)])
    const enough = new AbortController()
    let wanted = RENDEZVOUS_PEERS - network.gossip.members(topic).length
    const meetOne = async (peer: string): Promise<void> => {
      if (wanted <= 0 || peer === self || peers.isConnected(peer)) return
      const outcome = await peers.ask(peer, { name: `${segment}*` }, { signal, source: 'dht' })
      if (outcome === 'answered') wanted--
      if (wanted <= 0) enough.abort()
    }
    // The topics of this room are made of the three kinds.
    await dht.read(segmentKey(kind as CapabilityKind, segment), {
      signal: AbortSignal.any([signal, enough.signal]),
      explain: () => {},
      depth: 'any',
      isSuspicious: () => false,
      onNamed: async (_, named) => {
        for (const { peer } of named) await meeting.run(() => meetOne(peer), signal)
      }
    })
  }

  return {
    upkeep() {
      const joined = new Set(topics.joined())
      for (const topic of triedAt.keys()) if (!joined.has(topic)) triedAt.delete(topic)
      // What the topics would tell, the catalogue tells.
      if (isSmall()) return
      for (const topic of joined) {
        const isRecent = now() - (triedAt.get(topic) ?? -Infinity) < ANNOUNCE_INTERVAL_MS
        if (isRecent || network.gossip.members(topic).length >= RENDEZVOUS_PEERS) continue
        triedAt.set(topic, now())
        const task = lane.run(() => meet(topic), stopping.signal).finally(() => work.delete(task))
        work.add(task)
      }
    },
    async stop() {
      stopping.abort()
      await Promise.allSettled(work)
    }
  }
}
