import { onTestFinished } from 'vitest'
import type { TrustLevel } from '../../src/auth/index.ts'
import { RECORDS_PROTOCOL } from '../../src/discovery/constants.ts'
import {
  createDiscovery,
  type Discovery,
  type DiscoveryComponents,
  type DiscoveryInit
} from '../../src/discovery/index.ts'
import { MeshError } from '../../src/errors.ts'
import type { Emit, MeshEventName, MeshEvents } from '../../src/events.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import type { Gossip, Network, TopicVerdict } from '../../src/network/index.ts'
import {
  type AgentDefinition,
  type CapabilityDefinition,
  createRegistry,
  type Registry,
  registryMigrations
} from '../../src/registry/index.ts'
import type { Endpoint, Protocol, RequestContext, RequestOptions, Rpc } from '../../src/rpc/index.ts'
import { openStore } from '../../src/store/index.ts'
import { callerOf, contextOf } from '../callers.ts'
import { fakeDht } from './fake-dht.ts'
import { orAborted } from './or-aborted.ts'
import { NOW } from './records.ts'

type Receive = (author: string, data: Uint8Array) => TopicVerdict
export type Answer = (body: unknown, context: RequestContext) => unknown

/** Nodes of one process whose network is a table: what it does is said by the test, and at once. */
export class TestMesh {
  readonly nodes = new Map<string, TestNode>()
  readonly topics = new Map<string, Map<string, Receive>>()
  readonly providers = new Map<string, Set<string>>()
  /** What each receiver made of each message. */
  readonly heard: { topic: string; author: string; receiver: string; verdict: TopicVerdict; text: string }[] = []
  readonly requests: { from: string; to: string; body: Record<string, unknown> }[] = []
  nowMs = NOW
  /** Peers in everybody's routing table; default all. */
  routingTable: number | undefined
  /** What a walk through the DHT does beside asking everybody. @returns whether it is complete */
  walk: (signal: AbortSignal) => Promise<boolean> = () => Promise.resolve(true)
  /** How long it takes to see that nobody is there. */
  dial: () => Promise<void> = () => Promise.resolve()
  /** Whom every walk asks; default all nodes. Those that are no nodes speak no hints. */
  holders: readonly string[] | undefined
  /** Whom each of those names, in place of who published. */
  named: ((holder: string) => readonly string[]) | undefined
  readonly walks: { from: string; maxMessages: number; width: number }[] = []
  /** How many nodes walks say there are; default none says. */
  size: number | undefined
  /** Whether every key's neighbourhood is suspiciously full. */
  crowded = false

  async node(init: DiscoveryInit = {}, components: Partial<DiscoveryComponents> = {}): Promise<TestNode> {
    const node = await TestNode.make(this, init, components)
    this.nodes.set(node.id, node)
    await node.discovery.start()
    return node
  }

  /** A peer that answers as the test wants, and has no discovery of its own. */
  stranger(answer: Answer): { id: string; identity: Identity } {
    const identity = createIdentity()
    this.nodes.set(identity.id, new TestNode(this, identity, { answer }))
    return { id: identity.id, identity }
  }

  link(a: { id: string }, b: { id: string }): void {
    this.#of(a.id).join(b.id)
    this.#of(b.id).join(a.id)
  }

  cut(a: { id: string }, b: { id: string }): void {
    this.#of(a.id).leave(b.id)
    this.#of(b.id).leave(a.id)
  }

  /** Publishes as anybody. @returns what each member made of it */
  gossip(author: string, topic: string, data: Uint8Array): TopicVerdict[] {
    const verdicts: TopicVerdict[] = []
    for (const [receiver, receive] of this.topics.get(topic) ?? []) {
      if (receiver === author) continue
      const verdict = receive(author, data)
      this.heard.push({ topic, author, receiver, verdict, text: Buffer.from(data).toString() })
      verdicts.push(verdict)
    }
    return verdicts
  }

  #of(id: string): TestNode {
    const node = this.nodes.get(id)
    if (node === undefined) throw new Error(`no node ${id}`)
    return node
  }
}

export class TestNode {
  readonly id: string
  readonly events: { event: MeshEventName; detail: unknown }[] = []
  readonly mesh: TestMesh
  readonly identity: Identity
  readonly connected = new Set<string>()
  readonly network: Network
  readonly rpc: Rpc
  /** Where the requests of peers for records arrive. */
  answer: Answer | undefined
  /** Where others do, by protocol. */
  readonly answers = new Map<string, Answer>()
  /** How this node sees those who ask it. */
  trust: TrustLevel = 'unknown'
  isReachable = true
  discovery!: Discovery
  registry!: Registry
  readonly #listeners = new Map<string, Set<(detail: never) => void>>()
  readonly #waiting = new Set<() => void>()

  constructor(mesh: TestMesh, identity: Identity, { answer }: { answer?: Answer } = {}) {
    this.mesh = mesh
    this.identity = identity
    this.id = identity.id
    this.answer = answer
    this.network = fakeNetwork(this)
    this.rpc = fakeRpc(this)
  }

  static async make(mesh: TestMesh, init: DiscoveryInit, components: Partial<DiscoveryComponents>): Promise<TestNode> {
    const node = new TestNode(mesh, createIdentity())
    const store = await openStore({ migrations: [registryMigrations] })
    const clock = () => mesh.nowMs
    const { identity, network, rpc } = node
    node.registry = createRegistry({ store, identity, checkSchema: async () => {}, clock })
    const on: DiscoveryComponents['on'] = (event, listener) => node.on(event, listener)
    const emit: Emit = (event, detail) => node.emit(event, detail)
    node.discovery = createDiscovery(
      { identity, network, rpc, registry: node.registry, emit, on, clock, ...components },
      { settleMs: 0, ...init }
    )
    onTestFinished(async () => {
      await node.discovery.stop()
      await store.close()
    })
    return node
  }

  /** Adds or changes an agent, and tells the mesh. */
  async offer(
    name: string,
    capabilities: readonly (string | CapabilityDefinition)[],
    changes: Partial<AgentDefinition> = {}
  ): Promise<string> {
    const definition = { name, driver: 'function', config: {}, tags: [], audience: 'public' as const, ...changes }
    await this.registry.define(definition)
    await this.registry.publish(name, {
      version: '1.0.0',
      capabilities: capabilities.map((capability) =>
        typeof capability === 'string' ? { kind: 'tool', name: capability, version: '1.0.0' } : capability
      )
    })
    await this.discovery.announce(name)
    return `${this.id}/${name}`
  }

  async drop(name: string): Promise<void> {
    this.registry.withdraw(name)
    await this.discovery.retract(name)
  }

  join(peer: string): void {
    if (this.connected.has(peer)) return
    this.connected.add(peer)
    this.emit('peer:join', { peer, address: '/memory/x' })
  }

  leave(peer: string): void {
    if (this.connected.delete(peer)) this.emit('peer:leave', { peer })
  }

  on<K extends MeshEventName>(event: K, listener: (detail: MeshEvents[K]) => void): () => void {
    const listeners = this.#listeners.get(event) ?? new Set()
    listeners.add(listener)
    this.#listeners.set(event, listeners)
    return () => listeners.delete(listener)
  }

  emit<K extends MeshEventName>(event: K, detail: MeshEvents[K]): void {
    this.events.push({ event, detail })
    for (const listener of this.#listeners.get(event) ?? []) listener(detail as never)
    for (const check of this.#waiting) check()
  }

  /** Resolves with the first event that fits, one that has been emitted already too. */
  emitted<K extends MeshEventName>(
    event: K,
    fits: (detail: MeshEvents[K]) => boolean = () => true
  ): Promise<MeshEvents[K]> {
    return new Promise((resolve) => {
      const check = () => {
        const found = this.events.find((e) => e.event === event && fits(e.detail as MeshEvents[K]))
        if (found === undefined) return
        this.#waiting.delete(check)
        resolve(found.detail as MeshEvents[K])
      }
      this.#waiting.add(check)
      check()
    })
  }

  /** Resolves when a capability of this name came into view. */
  async found(name: string): Promise<void> {
    await this.emitted('capability:found', ({ capability }) => capability.name === name)
  }

  async gone(name: string): Promise<void> {
    await this.emitted('capability:gone', ({ capability }) => capability.name === name)
  }
}

function fakeNetwork(node: TestNode): Network {
  const { mesh, id } = node
  const gossip: Gossip = {
    join(topic, receive) {
      const members = mesh.topics.get(topic) ?? new Map<string, Receive>()
      mesh.topics.set(topic, members.set(id, receive))
    },
    leave: (topic) => void mesh.topics.get(topic)?.delete(id),
    async publish(topic, data) {
      mesh.gossip(id, topic, data)
    },
    members: (topic) => [...(mesh.topics.get(topic)?.keys() ?? [])].filter((member) => node.connected.has(member))
  }
  const dht = fakeDht(node)
  const unused = () => Promise.reject(new Error('not used by discovery'))
  return {
    start: unused,
    stop: unused,
    connect: unused,
    disconnect: () => {},
    openStream: unused,
    handle: unused,
    setName: () => {},
    status: () => ({
      addresses: [],
      lan: 'off',
      mesh: 'main',
      connections: node.connected.size,
      routingTable: mesh.routingTable ?? mesh.nodes.size - 1
    }),
    peers: () =>
      [...node.connected].map((peer) => ({
        peer,
        address: '/memory/x',
        direction: 'outbound' as const,
        connectedAt: ''
      })),
    isConnected: (peer) => node.connected.has(peer),
    addressesOf: () => [],
    learn: () => Promise.resolve(),
    gossip,
    dht
  }
}

function fakeRpc(node: TestNode): Rpc {
  const { mesh } = node

  /** The other side's answer, bounded and cut short as a channel would. */
  async function* stream(
    to: string,
    protocol: Protocol,
    body: unknown,
    options: RequestOptions = {}
  ): AsyncGenerator<unknown> {
    const other = mesh.nodes.get(to)
    if (mesh.holders?.includes(to) === true && other === undefined) {
      throw new MeshError('UNSUPPORTED_VERSION', `no ${protocol.id} here`)
    }
    const answers = protocol.id === RECORDS_PROTOCOL ? other?.answer : other?.answers.get(protocol.id)
    if (other?.answer === undefined || !other.isReachable) {
      await mesh.dial()
      throw new MeshError('UNREACHABLE', 'nobody there')
    }
    // Who walks passes by.
    if (protocol.id === RECORDS_PROTOCOL) mesh.link(node, other)
    if (answers === undefined) throw new MeshError('UNSUPPORTED_VERSION', `no ${protocol.id} here`)
    mesh.requests.push({ from: node.id, to, body: body as Record<string, unknown> })
    const ended = new AbortController()
    const timer = setTimeout(
      () => ended.abort(new MeshError('TIMEOUT', 'the deadline passed')),
      options.timeoutMs ?? protocol.timeoutMs
    )
    const signal = AbortSignal.any([ended.signal, ...(options.signal === undefined ? [] : [options.signal])])
    const context = contextOf(callerOf(node.id, other.trust), signal)
    try {
      const answer = await orAborted(Promise.resolve(answers(copy(body, protocol), context)), signal)
      if (!isIterable(answer)) {
        yield copy(answer, protocol)
        return
      }
      const items = answer[Symbol.asyncIterator]()
      for (;;) {
        const { done, value } = await orAborted(items.next(), signal)
        if (done === true) return
        yield copy(value, protocol)
      }
    } finally {
      ended.abort()
      clearTimeout(timer)
    }
  }

  return {
    async handle(endpoint: Endpoint) {
      const answer: Answer = (body, context) => endpoint.handle(body, context)
      if (endpoint.protocol.id === RECORDS_PROTOCOL) node.answer = answer
      else node.answers.set(endpoint.protocol.id, answer)
    },
    async request(to, protocol, body, options) {
      for await (const item of stream(to, protocol, body, options)) return item
      return undefined
    },
    stream,
    dispatch: () => Promise.resolve(),
    stop: () => Promise.resolve()
  }
}

function copy(value: unknown, { maxFrameBytes }: Protocol): unknown {
  const text = JSON.stringify(value)
  if (text.length > maxFrameBytes) throw new MeshError('TOO_LARGE', 'the frame is over its limit')
  return JSON.parse(text)
}

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}

/** Reads to the end. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const read: T[] = []
  for await (const item of items) read.push(item)
  return read
}

/** Resolves when `isTrue` holds, looked at after each turn of the loop; the test's own timeout is the deadline. */
export async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setImmediate(resolve))
}

/** The answer of a peer that hangs. */
export function never(): Promise<never> {
  return new Promise(() => {})
}
