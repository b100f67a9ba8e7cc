import {
  type GossipSub,
  type GossipsubOpts,
  gossipsub,
  type Message,
  StrictSign,
  TopicValidatorResult
} from '@libp2p/gossipsub'
import { MeshError } from '../errors.ts'
import {
  MAX_GOSSIP_BYTES,
  MAX_GOSSIP_QUEUE_BYTES,
  MAX_GOSSIP_RPC_BYTES,
  MAX_GOSSIP_RPC_ENTRIES,
  MAX_TOPIC_BYTES_PER_PEER,
  MAX_TOPIC_LENGTH,
  MAX_TOPICS,
  TOPIC_PREFIX
} from './constants.ts'
import type { Gossip, TopicVerdict } from './index.ts'
import type { MeshIds } from './mesh.ts'

type Receive = (author: string, data: Uint8Array) => TopicVerdict

const VERDICTS: Readonly<Record<TopicVerdict, TopicValidatorResult>> = {
  accept: TopicValidatorResult.Accept,
  ignore: TopicValidatorResult.Ignore,
  reject: TopicValidatorResult.Reject
}

/**
 * How a peer's score changes by what it does in a topic. Without an entry here a Reject costs nothing.
 * P3 (too few deliveries) is off: it punishes honest silence, and our topics are quiet.
 */
const TOPIC_SCORE = {
  topicWeight: 1,
  // P1, P2: at most 1 for an hour in the mesh, at most 2 for first deliveries
  timeInMeshWeight: 1 / 3_600,
  timeInMeshQuantum: 1_000,
  timeInMeshCap: 3_600,
  firstMessageDeliveriesWeight: 0.1,
  firstMessageDeliveriesDecay: 0.9,
  firstMessageDeliveriesCap: 20,
  meshMessageDeliveriesWeight: 0,
  meshMessageDeliveriesDecay: 0.5,
  meshMessageDeliveriesCap: 1,
  meshMessageDeliveriesThreshold: 1,
  meshMessageDeliveriesWindow: 10,
  meshMessageDeliveriesActivation: 1_000,
  meshFailurePenaltyWeight: 0,
  meshFailurePenaltyDecay: 0.5,
  // P4: squared, so three lies (−90) end in the graylist (−80); halved after 35 s
  invalidMessageDeliveriesWeight: -10,
  invalidMessageDeliveriesDecay: 0.98
}

/** What is relied on inside gossipsub, checked by {@link isGossipRouter}. */
interface GossipRouter extends GossipSub {
  allowedTopics: { has(topic: string): boolean }
  score: { params: { topics: Record<string, typeof TOPIC_SCORE> } }
  getScore(peer: string): number
  handleReceivedMessage(from: unknown, message: { topic: string }): Promise<void>
}

const OPTIONS: Partial<GossipsubOpts> = {
  globalSignaturePolicy: StrictSign,
  allowedTopics: [],
  fallbackToFloodsub: false,
  allowPublishToZeroTopicPeers: true,
  maxInboundDataLength: MAX_GOSSIP_RPC_BYTES,
  maxOutboundBufferSize: MAX_GOSSIP_QUEUE_BYTES,
  maxTopicBytesPerPeer: MAX_TOPIC_BYTES_PER_PEER,
  decodeRpcLimits: {
    maxSubscriptions: MAX_GOSSIP_RPC_ENTRIES,
    maxMessages: MAX_GOSSIP_RPC_ENTRIES,
    maxIhaveMessageIDs: MAX_GOSSIP_RPC_ENTRIES,
    maxIwantMessageIDs: MAX_GOSSIP_RPC_ENTRIES,
    maxIdontwantMessageIDs: MAX_GOSSIP_RPC_ENTRIES,
    maxControlMessages: MAX_GOSSIP_RPC_ENTRIES,
    maxPeerInfos: 16
  },
  // P6 off: by default more than 13 peers of one address (NAT, containers, loopback) silence each other
  scoreParams: { IPColocationFactorWeight: 0 }
}

/** Gossipsub with our limits. */
export function meshGossipsub(): ReturnType<typeof gossipsub> {
  return gossipsub(OPTIONS)
}

/** True when the router has the internals that {@link createGossip} relies on. */
export function isGossipRouter(router: GossipSub): router is GossipRouter {
  const { allowedTopics, score, getScore, handleReceivedMessage } = router as Partial<GossipRouter>
  return (
    typeof allowedTopics?.has === 'function' &&
    typeof score?.params?.topics === 'object' &&
    typeof getScore === 'function' &&
    typeof handleReceivedMessage === 'function'
  )
}

/** Gossip that may be joined before the node starts, and outlives its restarts. */
export interface MeshGossip extends Gossip {
  attach(router: GossipSub): void
  detach(): void
}

export function createGossip(mesh: MeshIds): MeshGossip {
  /** By the topic on the wire. */
  const topics = new Map<string, Receive>()
  let router: GossipSub | undefined

  const subscribe = (to: GossipSub, topic: string): void => {
    if (isGossipRouter(to)) to.score.params.topics[topic] ??= TOPIC_SCORE
    to.topicValidators.set(topic, (_from, message) => judge(topics.get(topic), message))
    to.subscribe(topic)
  }

  return {
    join(name, receive) {
      const topic = wireTopic(name, mesh)
      if (!topics.has(topic) && topics.size >= MAX_TOPICS) {
        throw new MeshError('BUSY', `already in ${MAX_TOPICS} topics`, { hint: 'Leave one first.' })
      }
      const isNew = !topics.has(topic)
      topics.set(topic, receive)
      if (isNew && router !== undefined) subscribe(router, topic)
    },
    leave(name) {
      const topic = mesh.wire(name)
      if (!topics.delete(topic) || router === undefined) return
      router.unsubscribe(topic)
      router.topicValidators.delete(topic)
    },
    async publish(name, data) {
      const topic = wireTopic(name, mesh)
      if (data.byteLength > MAX_GOSSIP_BYTES) {
        throw new MeshError('TOO_LARGE', `${data.byteLength} bytes of gossip, ${MAX_GOSSIP_BYTES} are allowed`)
      }
      await router?.publish(topic, data)
    },
    members: (name) => router?.getSubscribers(mesh.wire(name)).map(String) ?? [],
    attach(to) {
      router = to
      if (isGossipRouter(to)) allowMeshTopics(to, topics, mesh)
      for (const topic of topics.keys()) subscribe(to, topic)
    },
    detach() {
      router = undefined
    }
  }
}

/**
 * gossipsub drops what isn't about an allowed topic, subscriptions as well as messages. A peer announces its subscriptions once, so
 * a topic joined later would have no members for ever: nobody to publish to. Hence subscriptions to any topic of the mesh are
 * noted (bounded by MAX_TOPIC_BYTES_PER_PEER), and only messages are held to the topics joined, before their signature costs anything.
 */
function allowMeshTopics(router: GossipRouter, joined: ReadonlyMap<string, Receive>, { prefix }: MeshIds): void {
  router.allowedTopics = { has: (topic) => topic.startsWith(prefix) && topic.length <= MAX_TOPIC_LENGTH }
  const handleReceivedMessage = router.handleReceivedMessage.bind(router)
  router.handleReceivedMessage = async (from, message) => {
    if (joined.has(message.topic)) await handleReceivedMessage(from, message)
  }
}

function judge(receive: Receive | undefined, message: Message): TopicValidatorResult {
  if (receive === undefined || message.type !== 'signed') return TopicValidatorResult.Ignore
  if (message.data.byteLength > MAX_GOSSIP_BYTES) return TopicValidatorResult.Reject
  try {
    return VERDICTS[receive(message.from.toString(), message.data)]
  } catch {
    return TopicValidatorResult.Ignore // our defect, not the sender's
  }
}

function wireTopic(topic: string, mesh: MeshIds): string {
  const wire = mesh.wire(topic)
  if (topic.startsWith(TOPIC_PREFIX) && wire.length <= MAX_TOPIC_LENGTH) return wire
  throw new MeshError('INVALID_ARGUMENT', `'${topic.slice(0, 100)}' is not a topic of the mesh`, {
    hint: `Topics start with ${TOPIC_PREFIX} and have at most ${MAX_TOPIC_LENGTH} characters.`
  })
}
