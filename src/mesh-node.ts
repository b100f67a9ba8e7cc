import type { Agents } from './agents.ts'
import { type Caller, createHello, type Refusal } from './auth/index.ts'
import { type AgentAddress, type Calls, type Compatibility, resolveTarget } from './calls/index.ts'
import type { Change, FindOptions, FindResults } from './discovery/index.ts'
import type { Edges } from './edges/index.ts'
import { MeshError } from './errors.ts'
import type { MeshEventName, MeshListener } from './events.ts'
import type { Sent } from './messaging/index.ts'
import type { PeerInfo } from './network/index.ts'
import type {
  CallOptions,
  ExchangedToken,
  ExchangeOptions,
  MessageOptions,
  Node,
  NodeMessages,
  NodeStatus
} from './node.ts'
import { onceAllowed, streamOnceAllowed } from './permissions/index.ts'
import type { Query, SignedRecord } from './registry/messages.ts'
import type { Rooms } from './rooms/index.ts'
import { VERSION } from './version.ts'

/** An issuer that takes longer is as good as down. */
const EXCHANGE_TIMEOUT_MS = 10_000

/** How often records are looked at for renewal; they are renewed hourly. */
const RENEW_CHECK_MS = 60_000

/** How long a name or record may take to be resolved when the caller gives no signal. */
const RESOLVE_TIMEOUT_MS = 10_000

export interface MeshNodeInit {
  readonly rooms: Rooms
  readonly name: string
  readonly home: string | undefined
  /** Stops the rooms and closes the home. */
  readonly resources: AsyncDisposableStack
}

/** A node, from its rooms. */
export class MeshNode implements Node {
  readonly name: string
  readonly home: string | undefined
  readonly agents: Agents
  readonly #rooms: Rooms
  readonly #resolving: Parameters<typeof resolveTarget>[1]
  readonly #resources: AsyncDisposableStack
  #startedAt: string | undefined
  #renewal: NodeJS.Timeout | undefined
  #stopping: Promise<void> | undefined

  constructor({ rooms, name, home, resources }: MeshNodeInit) {
    this.name = name
    this.home = home
    this.agents = rooms.agents
    this.#rooms = rooms
    this.#resolving = { ...rooms, self: rooms.identity.id, name }
    this.#resources = resources
  }

  get id(): string {
    return this.#rooms.identity.id
  }

  get did(): string {
    return this.#rooms.identity.did
  }

  get trust(): Node['trust'] {
    return this.#rooms.trust
  }

  get policy(): Node['policy'] {
    return this.#rooms.policy
  }

  get keys(): Node['keys'] {
    return this.#rooms.keys
  }

  get logins(): Node['logins'] {
    return this.#rooms.logins
  }

  get tokens(): Node['tokens'] {
    return this.#rooms.tokens
  }

  get pairing(): Node['pairing'] {
    return this.#rooms.pairing
  }

  get permissions(): Node['permissions'] {
    return this.#rooms.permissions
  }

  get grants(): Node['grants'] {
    return this.#rooms.grants
  }

  get blobs(): Node['blobs'] {
    return this.#rooms.blobs
  }

  get pins(): Node['pins'] {
    return this.#rooms.pins
  }

  get messages(): NodeMessages {
    return this.#rooms.messaging
  }

  get mailboxes(): Node['mailboxes'] {
    return this.#rooms.mailboxes
  }

  get edges(): Edges {
    return this.#rooms.edges
  }

  get health(): Node['health'] {
    return this.#rooms.health
  }

  get addresses(): readonly string[] {
    return this.#rooms.network.status().addresses
  }

  async start(): Promise<void> {
    if (this.#stopping !== undefined)
      throw new MeshError('INVALID_ARGUMENT', 'a stopped node is not started again', {
        hint: 'make a new one with createNode'
      })
    if (this.#startedAt !== undefined) return
    this.#startedAt = new Date().toISOString()
    const { auth, calls, describe, discovery, events, health, host, network, pairing } = this.#rooms
    const { permissions, presenter, registry, rpc, trust } = this.#rooms
    await rpc.handle(
      createHello({
        auth,
        describe,
        onHello: (peer, { name }) => network.setName(peer, name),
        onPresented(peer, method, presented) {
          const outcome = presented.ok
            ? { subject: presented.credential.subject, ...withoutUndefined({ token: presented.credential.token }) }
            : { refusal: presented.error.message }
          events.emit('credential:presented', { peer, method, ...outcome })
          if (!presented.ok && isForged(presented.error)) trust.note(peer, 'signature:bad')
        }
      })
    )
    await pairing.start()
    await permissions.start()
    await calls.start()
    await this.#rooms.blobs.start()
    await this.#rooms.messaging.start()
    await this.#rooms.mailboxes.start()
    events.on('peer:join', ({ peer }) => this.#greet(peer))
    events.on('peer:leave', ({ peer }) => presenter.lost(peer))
    await health.start()
    // Whatever a first peer may ask is served before there is one
    await discovery.start()
    await network.start()
    host.start()
    this.#renewal = setInterval(() => {
      registry
        .renew()
        .then((names) => Promise.all(names.filter(health.mayAnnounce).map((name) => discovery.announce(name))))
        .catch(() => {
          // the disk refuses; the records are good for an hour and a half more, and the next minute tries again
        })
    }, RENEW_CHECK_MS).unref()
  }

  stop(): Promise<void> {
    clearInterval(this.#renewal)
    this.#stopping ??= this.#resources.disposeAsync()
    return this.#stopping
  }

  status(): NodeStatus {
    const { breaches, discovery, network, permissions, policy, registry } = this.#rooms
    return {
      peerId: this.id,
      did: this.did,
      name: this.name,
      ...(this.home === undefined ? {} : { home: this.home }),
      version: VERSION,
      ...(this.#startedAt === undefined ? {} : { startedAt: this.#startedAt }),
      ...network.status(),
      peers: network.peers().length,
      agents: registry.definitions().length,
      records: discovery.size,
      discovery: discovery.status(),
      dht: network.dht.status(),
      held: network.dht.holder.status(),
      refused: { ...discovery.refused(), ...(breaches.count > 0 && { 'bad-frame': breaches.count }) },
      pendingApprovals: permissions.pending,
      messages: this.#rooms.messaging.counts,
      policy: {
        rules: policy.document.rules.length,
        ...(policy.problem && { problem: policy.problem.message })
      }
    }
  }

  peers(): readonly PeerInfo[] {
    return this.#rooms.network.peers()
  }

  connect(address: string, options: { signal?: AbortSignal } = {}): Promise<string> {
    return this.#rooms.network.connect(address, options)
  }

  find(options: FindOptions = {}): FindResults {
    return this.#rooms.discovery.find(options)
  }

  watch(options: Query & { signal: AbortSignal }): AsyncIterable<Change> {
    return this.#rooms.discovery.watch(options)
  }

  async resolve(target: string, options: { signal?: AbortSignal } = {}): Promise<SignedRecord> {
    const signal = within(RESOLVE_TIMEOUT_MS, options.signal)
    const { peer, agent } = await this.#target(target, signal)
    return this.#rooms.discovery.resolve(`${peer}/${agent}`, { signal })
  }

  async call(target: string, capability: string, input?: unknown, options: CallOptions = {}): Promise<unknown> {
    const { calls, owner } = this.#rooms
    const found = this.#target(target, options.signal)
    const address = found instanceof Promise ? await found : found // an id, as most are, costs no turn of the loop
    const call = () => calls.call(owner, address, invocation(capability, input, options), options)
    if (options.wait !== true || address.peer === this.id) return call()
    return onceAllowed(this.#rooms.permissions, address.peer, options.signal, call)
  }

  stream(target: string, capability: string, input?: unknown, options: CallOptions = {}): AsyncIterable<unknown> {
    const { calls, owner } = this.#rooms
    const address = () => this.#target(target, options.signal)
    const asked = { ...invocation(capability, input, options), ...(options.stream && { stream: options.stream }) }
    const stream = () => calls.stream(owner, address, asked, options)
    if (options.wait !== true) return stream()
    const peer = async () => (await address()).peer
    return streamOnceAllowed(this.#rooms.permissions, peer, options.signal, stream)
  }

  async send(target: string, body: unknown, options: MessageOptions = {}): Promise<Sent> {
    const { signal, timeoutMs, ...init } = options
    const found = this.#target(target, signal)
    const { peer, agent } = found instanceof Promise ? await found : found
    const sending = withoutUndefined({ signal, timeoutMs })
    return this.#rooms.messaging.send({ ...init, to: `${peer}/${agent}`, body }, sending)
  }

  async check(target: string, capability: string, options: CallOptions = {}): Promise<Compatibility> {
    const address = await this.#target(target, options.signal)
    return this.#rooms.calls.check(address, invocation(capability, undefined, options), options)
  }

  async exchangeToken(caller: Caller, resource: string, options: ExchangeOptions = {}): Promise<ExchangedToken> {
    const { tokens, logins } = this.#rooms
    const credential = caller.credentials.find(({ method }) => method === 'oauth')
    const token = credential && tokens.tokenOf(credential)
    if (credential?.issuer === undefined || token === undefined)
      throw new MeshError('NOT_FOUND', 'the caller has presented no access token')
    const { signal = AbortSignal.timeout(EXCHANGE_TIMEOUT_MS), scopes } = options
    return logins.exchange({ issuer: credential.issuer, token }, resource, { signal, ...(scopes && { scopes }) })
  }

  on<K extends MeshEventName>(event: K | '*', listener: MeshListener<K>): () => void {
    return this.#rooms.events.on(event, listener)
  }

  #target(target: string, signal: AbortSignal | undefined): AgentAddress | Promise<AgentAddress> {
    return resolveTarget(target, this.#resolving, () => within(RESOLVE_TIMEOUT_MS, signal))
  }

  /** The dialling side greets; one greeting tells both. Whoever has something to show the other does so. */
  #greet(peer: string): void {
    const { network, presenter } = this.#rooms
    const isDialler = network.peers().find((each) => each.peer === peer)?.direction === 'outbound'
    void (isDialler ? presenter.greet(peer) : presenter.ready(peer))
  }
}

/** What an honest peer doesn't present, not even late or by mistake. */
function isForged({ data }: MeshError): boolean {
  const { reason } = (data ?? {}) as { reason?: Refusal }
  return reason === 'signature' || reason === 'replayed' || reason === 'wrong-peer'
}

function invocation(
  capability: string,
  input: unknown,
  { kind, version, trace }: CallOptions
): Parameters<Calls['call']>[2] {
  return {
    capability,
    ...(input === undefined ? {} : { input }),
    ...(kind === undefined ? {} : { kind }),
    ...(version === undefined ? {} : { version }),
    ...(trace === undefined ? {} : { trace })
  }
}

function within(timeoutMs: number, signal: AbortSignal | undefined): AbortSignal {
  const deadline = AbortSignal.timeout(timeoutMs)
  return signal === undefined ? deadline : AbortSignal.any([signal, deadline])
}

/** What isn't given leaves room for what `config.json` says, and for defaults. */
export function withoutUndefined<T extends object>(init: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(init).filter(([, value]) => value !== undefined)) as never
}
