import { hostname } from 'node:os'
import type { Agents } from './agents.ts'
import { type Caller, createHello, type MtlsInit, printableName, type Refusal } from './auth/index.ts'
import { type AgentAddress, type Calls, type Compatibility, resolveTarget } from './calls/index.ts'
import { openHome, readSettings } from './config.ts'
import type { Change, FindOptions, FindResults } from './discovery/index.ts'
import type { Driver } from './drivers/index.ts'
import { MeshError } from './errors.ts'
import type { MeshEventName, MeshListener } from './events.ts'
import type { Grants } from './grants/index.ts'
import type { ApiKeys } from './keys/index.ts'
import type { NetworkInit, NetworkStatus, PeerInfo } from './network/index.ts'
import type { IssuerInit, Logins, Tokens } from './oauth/index.ts'
import type { Pairing } from './pairing/index.ts'
import { type Approver, onceAllowed, type Permissions, streamOnceAllowed } from './permissions/index.ts'
import type { Policy } from './policy/index.ts'
import type { CapabilityKind, Query, SignedRecord } from './registry/messages.ts'
import { openRooms, type Rooms } from './rooms.ts'
import { lockHome } from './store/index.ts'
import type { Pins } from './tools/index.ts'
import type { Trust } from './trust/index.ts'
import { VERSION } from './version.ts'

export interface CallOptions {
  readonly signal?: AbortSignal
  /** Default 30,000. */
  readonly timeoutMs?: number
  /** When the agent has several of the name. */
  readonly kind?: CapabilityKind
  /** Semver range that the capability must be in. */
  readonly version?: string
  /**
   * When the other owner must be asked first: waits for the answer, until its deadline, and calls again. Default false:
   * PERMISSION_PENDING at once.
   */
  readonly wait?: boolean
}

export interface NodeStatus extends NetworkStatus {
  readonly peerId: string
  readonly did: string
  readonly name: string
  readonly home?: string
  /** Of the package. */
  readonly version: string
  /** RFC 3339; unset before the start. */
  readonly startedAt?: string
  readonly peers: number
  readonly agents: number
  /** Records of other nodes in the cache. */
  readonly records: number
  /** What was refused since the start, by reason. */
  readonly refused: Readonly<Record<string, number>>
  /** Permission requests that wait for the owner. */
  readonly pendingApprovals: number
  readonly policy: {
    readonly rules: number
    /** What is wrong with the file, while the rules before stay in force. */
    readonly problem?: string
  }
}

/** One node of the mesh. */
export interface Node {
  /** PeerId as text. */
  readonly id: string
  readonly did: string
  readonly name: string
  readonly home: string | undefined
  /** Where others reach it, each with `/p2p/<PeerId>`. Empty until started. */
  readonly addresses: readonly string[]
  readonly agents: Agents
  /** How far peers are trusted. */
  readonly trust: Pick<Trust, 'list' | 'named' | 'of' | 'set' | 'why'>
  /** What callers may do. */
  readonly policy: Pick<Policy, 'document' | 'explain' | 'problem' | 'put' | 'remove'>
  /** Keys for callers, and those of other nodes that this one presents. */
  readonly keys: Pick<ApiKeys, 'create' | 'drop' | 'held' | 'hold' | 'list' | 'revoke' | 'rotate'>
  /** OAuth logins, whose tokens are presented to peers. */
  readonly logins: Pick<Logins, 'list' | 'login' | 'logout'>
  /** Access tokens that callers present. */
  readonly tokens: Pick<Tokens, 'revoke'>
  readonly pairing: Pick<Pairing, 'invite' | 'join' | 'pairs' | 'unpair'>
  /** What the owner is asked, and what this node asks of others. */
  readonly permissions: Pick<Permissions, 'allow' | 'deny' | 'get' | 'list' | 'request' | 'status' | 'watch'>
  readonly grants: Pick<Grants, 'delegate' | 'get' | 'issue' | 'keep' | 'list' | 'revoke'>
  /** Remote capabilities as they were first used. */
  readonly pins: Pick<Pins, 'approve' | 'forget' | 'list'>
  start(): Promise<void>
  /** Withdraws records, ends calls and agents, writes what is queued. */
  stop(): Promise<void>
  status(): NodeStatus
  peers(): readonly PeerInfo[]
  /** Dials a multiaddr and keeps that peer. @returns its PeerId @throws {MeshError} INVALID_ARGUMENT, UNREACHABLE, TIMEOUT */
  connect(address: string, options?: { signal?: AbortSignal }): Promise<string>
  find(options?: FindOptions): FindResults
  watch(options: Query & { signal: AbortSignal }): AsyncIterable<Change>
  /** The verified record of any agent. @param target as in {@link call} @throws {MeshError} NOT_FOUND, AMBIGUOUS, UNREACHABLE */
  resolve(target: string, options?: { signal?: AbortSignal }): Promise<SignedRecord>
  /**
   * Calls a capability and waits for its result; the items of one that streams come as an array.
   *
   * @param target agent id, `@name` or `@name@peer`
   * @throws {MeshError} FORBIDDEN, NOT_FOUND, AMBIGUOUS, INVALID_INPUT, INVALID_OUTPUT, AGENT_ERROR, AGENT_UNAVAILABLE, UNREACHABLE, CONNECTION_LOST, TIMEOUT, CANCELLED
   */
  call(target: string, capability: string, input?: unknown, options?: CallOptions): Promise<unknown>
  /** As {@link call}, yielding items as they come; leaving the loop cancels. A plain result is the only item. */
  stream(target: string, capability: string, input?: unknown, options?: CallOptions): AsyncIterable<unknown>
  /**
   * Says what is missing before a capability can be called, without asking anybody for permission.
   *
   * @throws {MeshError} NOT_FOUND, AMBIGUOUS, UNREACHABLE, TIMEOUT
   */
  check(target: string, capability: string, options?: CallOptions): Promise<Compatibility>
  /**
   * Exchanges the access token that a caller presented here for one to call onward with, in its name: for another
   * audience, and bound to this node's key (RFC 8693). What a caller presented is itself never passed on.
   *
   * @param resource the audience: a peer's did:key, or a URL
   * @throws {MeshError} NOT_FOUND when the caller presented no token, or this node has no login at its issuer; UNAUTHENTICATED
   *   when the issuer refuses; UNREACHABLE, TIMEOUT
   */
  exchangeToken(caller: Caller, resource: string, options?: ExchangeOptions): Promise<ExchangedToken>
  /** Listens to one kind of event, or to all with `*`. @returns how to stop listening */
  on<K extends MeshEventName>(event: K | '*', listener: MeshListener<K>): () => void
}

export interface NodeInit {
  /** Where the node keeps its key, database and policy. Without one it is a new node each time and keeps nothing. */
  readonly home?: string
  /** What it calls itself; default the host's name. 1 to 64 characters. */
  readonly name?: string
  /** Multiaddrs; default every interface, TCP and WebSocket, a free port (kept across restarts). Only loopback when `lan` is false. */
  readonly listen?: readonly string[]
  /** Peers to join by, redialled for ever. */
  readonly bootstrap?: readonly string[]
  /** Find and be found on the local network by mDNS; default true. */
  readonly lan?: boolean
  /** Whose credentials are accepted, beside the keys of connections. */
  readonly auth?: AuthInit
  /** Answers permission requests in the owner's place. */
  readonly approver?: Approver
  /** A command that does: JSON of the request on stdin, the answer as JSON on stdout. */
  readonly approverCommand?: readonly string[]
  /** File with a libp2p pre-shared key (`pryx-mesh swarm-key`): only nodes that have it connect. */
  readonly swarmKey?: string
  /** The owner's own drivers, beside the built-in ones. */
  readonly drivers?: readonly Driver[]
  /** libp2p transports and encrypters in place of TCP, WebSocket and Noise: for simulations in one process. */
  readonly transports?: NetworkInit['transports']
  readonly connectionEncrypters?: NetworkInit['connectionEncrypters']
  /** Told what goes wrong without anybody waiting for it, one line each; default nobody. */
  readonly log?: (text: string) => void
}

export interface AuthInit {
  /** Issuers whose access tokens are accepted; default none. */
  readonly issuers?: readonly IssuerInit[]
  /** A URL that stands for this node beside its did:key, as audience of tokens. */
  readonly audience?: string
  /** Client certificates that are accepted; default none. */
  readonly mtls?: MtlsInit
}

export interface ExchangeOptions {
  /** Fewer than the caller's token has; default all of them. */
  readonly scopes?: readonly string[]
  readonly signal?: AbortSignal
}

export interface ExchangedToken {
  readonly token: string
  /** Milliseconds since 1970. */
  readonly expiresAt: number
}

/** An issuer that takes longer is as good as down. */
const EXCHANGE_TIMEOUT_MS = 10_000

/** How often records are looked at for renewal; they are renewed hourly. */
const RENEW_CHECK_MS = 60_000

/** How long a name or record may take to be resolved when the caller gives no signal. */
const RESOLVE_TIMEOUT_MS = 10_000

/**
 * Opens a home and makes its node; {@link Node.start} puts it on the network, {@link Node.stop} closes the home again.
 *
 * @throws {MeshError} HOME_IN_USE, INVALID_CONFIG, INVALID_ARGUMENT, IO; nothing is left open then
 */
export async function createNode(init: NodeInit = {}): Promise<Node> {
  await using opening = new AsyncDisposableStack()
  const home = init.home === undefined ? undefined : await openHome(init.home)
  if (home !== undefined) opening.adopt(await lockHome(home.path), (lock) => lock.release())
  const settings = withoutUndefined({ ...(home && (await readSettings(home))), ...withoutUndefined(init) })
  const name = nodeName(settings.name)
  const rooms = await openRooms(home, { ...settings, name }, opening)
  return new MeshNode({ rooms, name, home: home?.path, resources: opening.move() })
}

interface MeshNodeInit {
  readonly rooms: Rooms
  readonly name: string
  readonly home: string | undefined
  /** Stops the rooms and closes the home. */
  readonly resources: AsyncDisposableStack
}

class MeshNode implements Node {
  readonly name: string
  readonly home: string | undefined
  readonly agents: Agents
  readonly #rooms: Rooms
  readonly #resources: AsyncDisposableStack
  #startedAt: string | undefined
  #renewal: NodeJS.Timeout | undefined
  #stopping: Promise<void> | undefined

  constructor({ rooms, name, home, resources }: MeshNodeInit) {
    this.name = name
    this.home = home
    this.agents = rooms.agents
    this.#rooms = rooms
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

  get pins(): Node['pins'] {
    return this.#rooms.pins
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
    const { auth, calls, describe, discovery, events, host, network, pairing, permissions } = this.#rooms
    const { presenter, registry, rpc, trust } = this.#rooms
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
    events.on('peer:join', ({ peer }) => this.#greet(peer))
    events.on('peer:leave', ({ peer }) => presenter.lost(peer))
    // Whatever a first peer may ask is served before there is one
    await discovery.start()
    await network.start()
    host.start()
    this.#renewal = setInterval(() => {
      registry
        .renew()
        .then((names) => Promise.all(names.map((name) => discovery.announce(name))))
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
      refused: { ...discovery.refused(), ...(breaches.count > 0 && { 'bad-frame': breaches.count }) },
      pendingApprovals: permissions.pending,
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
    const stream = () => calls.stream(owner, address, invocation(capability, input, options), options)
    if (options.wait !== true) return stream()
    const peer = async () => (await address()).peer
    return streamOnceAllowed(this.#rooms.permissions, peer, options.signal, stream)
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
    const { discovery, network, registry } = this.#rooms
    const components = { self: this.id, name: this.name, registry, network, discovery }
    return resolveTarget(target, components, () => within(RESOLVE_TIMEOUT_MS, signal))
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

function invocation(capability: string, input: unknown, { kind, version }: CallOptions): Parameters<Calls['call']>[2] {
  return {
    capability,
    ...(input === undefined ? {} : { input }),
    ...(kind === undefined ? {} : { kind }),
    ...(version === undefined ? {} : { version })
  }
}

function nodeName(wanted: string | undefined): string {
  if (wanted === undefined) return printableName(hostname(), 'node')
  if (wanted !== '' && printableName(wanted, '') === wanted) return wanted
  throw new MeshError('INVALID_ARGUMENT', `${JSON.stringify(wanted.slice(0, 80))} can't be the name of a node`, {
    hint: 'use 1 to 64 printable characters, without spaces at the ends'
  })
}

function within(timeoutMs: number, signal: AbortSignal | undefined): AbortSignal {
  const deadline = AbortSignal.timeout(timeoutMs)
  return signal === undefined ? deadline : AbortSignal.any([signal, deadline])
}

/** What isn't given leaves room for what `config.json` says, and for defaults. */
function withoutUndefined<T extends object>(init: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(init).filter(([, value]) => value !== undefined)) as never
}
