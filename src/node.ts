import { hostname } from 'node:os'
import type { Agents } from './agents.ts'
import { type Caller, type MtlsInit, printableName } from './auth/index.ts'
import type { Blobs } from './blobs/index.ts'
import type { Compatibility } from './calls/index.ts'
import { openHome, readSettings } from './config.ts'
import type { Change, DiscoveryStatus, FindOptions, FindResults } from './discovery/index.ts'
import type { Driver } from './drivers/index.ts'
import type { EdgeSettings, Edges } from './edges/index.ts'
import { MeshError } from './errors.ts'
import type { MeshEventName, MeshListener } from './events.ts'
import type { Grants } from './grants/index.ts'
import type { Health } from './health/index.ts'
import type { ApiKeys } from './keys/index.ts'
import { MeshNode, withoutUndefined } from './mesh-node.ts'
import type { Mailboxes, MessageInit, Messaging, MessagingCounts, SendOptions, Sent } from './messaging/index.ts'
import type { DhtStatus, Holder, NetworkInit, NetworkStatus, PeerInfo } from './network/index.ts'
import type { IssuerInit, Logins, Tokens } from './oauth/index.ts'
import type { Pairing } from './pairing/index.ts'
import type { Approver, Permissions } from './permissions/index.ts'
import type { Policy } from './policy/index.ts'
import type { CapabilityKind, Query, SignedRecord } from './registry/messages.ts'
import { openRooms } from './rooms/index.ts'
import { lockHome } from './store/index.ts'
import type { Pins } from './tools/index.ts'
import type { Trust } from './trust/index.ts'
export interface CallOptions {
  readonly signal?: AbortSignal
  /** Default 30,000. */
  readonly timeoutMs?: number
  /** When the agent has several of the name. */
  readonly kind?: CapabilityKind
  /** Semver range that the capability must be in. */
  readonly version?: string
  /**
   * Of a stream: 22 base64url characters that name it for this caller, and how many items are there already. By the id it goes
   * on over another connection, or another edge; default a new one of its own, which goes on by itself.
   */
  readonly stream?: { readonly id: string; readonly after: number }
  /**
   * When the other owner must be asked first: waits for the answer, until its deadline, and calls again. Default false:
   * PERMISSION_PENDING at once.
   */
  readonly wait?: boolean
  /** W3C `traceparent` of what the call is part of; the agent gets it. */
  readonly trace?: string
}

/** How a message is sent. */
export type MessageOptions = Omit<MessageInit, 'to' | 'body'> & SendOptions

export type NodeMessages = Pick<
  Messaging,
  'deadLetters' | 'drop' | 'inbox' | 'outbox' | 'read' | 'replay' | 'reply' | 'show' | 'waitFor'
>

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
  /** What finding and publishing took. */
  readonly discovery: DiscoveryStatus
  /** How the DHT is, and what walking through it took. */
  readonly dht: DhtStatus
  /** What this node keeps for others who publish in the DHT. */
  readonly held: ReturnType<Holder['status']>
  /** What was refused since the start, by reason. */
  readonly refused: Readonly<Record<string, number>>
  /** Permission requests that wait for the owner. */
  readonly pendingApprovals: number
  /** Messages unread in the owner's inbox, not delivered yet, and given up by agents of this node. */
  readonly messages: MessagingCounts
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
  readonly pins: Pick<Pins, 'approve' | 'forget' | 'list' | 'names'>
  /** Content by its SHA-256. */
  readonly blobs: Omit<Blobs, 'start' | 'stop'>
  /** Messages that were sent and that came. */
  readonly messages: NodeMessages
  /** Peers that keep messages for this node while it is away, and those that it keeps them for. */
  readonly mailboxes: Pick<Mailboxes, 'drop' | 'learn' | 'list' | 'serve' | 'unserve' | 'use'>
  /** For edges, which act in the name of others. */
  readonly edges: Edges
  /** How agents and peers are. */
  readonly health: Pick<Health, 'info' | 'list' | 'of' | 'onChange'>
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
  /**
   * Sends a durable message; resolves when it is on disk. It is tried until it is delivered or expires.
   *
   * @param target as in {@link call}; `@owner@peer` or `<PeerId>/owner` is that node's human
   * @param body JSON, or bytes; those, and JSON over 256 KiB, go by reference: the recipient finds them in its `blobs`
   * @throws {MeshError} NOT_FOUND, AMBIGUOUS, INVALID_ARGUMENT, TOO_LARGE, BUSY when the outbox has no room until the
   *   timeout, IO when the disk is full
   */
  send(target: string, body: unknown, options?: MessageOptions): Promise<Sent>
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
  /** The HTTP edge that a program opens for the node, as `pryx-mesh start` does; default none. */
  readonly edge?: EdgeSettings
  /** Let libp2p measure what goes on, for the metrics of an edge; default only with `edge`. */
  readonly metrics?: boolean
  /** Answers permission requests in the owner's place. */
  readonly approver?: Approver
  /** A command that does: JSON of the request on stdin, the answer as JSON on stdout. */
  readonly approverCommand?: readonly string[]
  /** What content by its hash may take on disk, bytes; default 4 GiB. */
  readonly blobs?: { readonly quotaBytes?: number }
  /**
   * How long a stream whose connection broke is kept for its caller here, and tried for as a caller: milliseconds, 0 to
   * 3,600,000; default 60,000.
   */
  readonly streams?: { readonly detachedMs?: number }
  /** File with a libp2p pre-shared key (`pryx-mesh swarm-key`): only nodes that have it connect. */
  readonly swarmKey?: string
  /**
   * The mesh to be of: nodes of another one are no peers. 1 to 32 of a-z, 0-9 and `-`; default the one that the home was first
   * started in, else `main`.
   */
  readonly mesh?: string
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

function nodeName(wanted: string | undefined): string {
  if (wanted === undefined) return printableName(hostname(), 'node')
  if (wanted !== '' && printableName(wanted, '') === wanted) return wanted
  throw new MeshError('INVALID_ARGUMENT', `${JSON.stringify(wanted.slice(0, 80))} can't be the name of a node`, {
    hint: 'use 1 to 64 printable characters, without spaces at the ends'
  })
}
