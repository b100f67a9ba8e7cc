/**
 * Durable messages between agents: an outbox that keeps trying, an inbox that handles each message once, signed receipts.
 *
 * A message is on disk before {@link Messaging.send} resolves. It arrives in the order of its pair (from, to); what its
 * handler keeps, replies and sends is written in one transaction with the fact that it was handled.
 *
 * Spec: protocols/message/1.0.0/README.md
 *
 * @packageDocumentation
 * @example
 * const messaging = createMessaging({ identity, store, rpc, policy, permissions, trust, agents, emit, on })
 * await messaging.start()
 * const { id } = await messaging.send({ to: `${peer}/planner`, body: { task: 'tidy up' }, expectsReply: true })
 * const { reply } = await messaging.waitFor(id, { until: 'reply', signal: AbortSignal.timeout(60_000) })
 */
import type { Caller } from '../auth/index.ts'
import type { MeshError } from '../errors.ts'
import type { Emit, Events } from '../events.ts'
import type { Identity } from '../identity/index.ts'
import type { Permissions } from '../permissions/index.ts'
import type { Policy } from '../policy/index.ts'
import type { Rpc } from '../rpc/index.ts'
import type { Store } from '../store/index.ts'
import type { Trust } from '../trust/index.ts'
import type { MessageState } from './constants.ts'
import type { DeliverAnswer, DeliverRequest, Envelope } from './messages.ts'
import type { Content } from './references.ts'

export * from './constants.ts'
export {
  createMailboxes,
  MAILBOX,
  type Mailboxes,
  mailboxMigrations,
  type ServedMailbox,
  type UsedMailbox
} from './mailbox/mailboxes.ts'
export type { Envelope } from './messages.ts'
export { createMessaging } from './messaging.ts'
export { messagingMigrations } from './rows.ts'

/** What a message says and how it travels. */
export interface MessageInit {
  /** Agent id, `<PeerId>/<name>`; the name `owner` is every node's human. */
  readonly to: string
  /** JSON, or bytes. What is over MAX_BODY_BYTES, and bytes, go by reference: the recipient's node fetches them from this one. */
  readonly body?: unknown
  /** In place of a body: content that this node has. The recipient is allowed to read it; a handler's `send` leaves that to the handler. */
  readonly blob?: { readonly sha256: string; readonly size: number }
  /** Name of the local agent that sends; default `owner`. */
  readonly from?: string
  /** Content type of the body; default `application/json`. */
  readonly type?: string
  /** The application's own; 1 to 128 characters. Of a reply: the id of the request. */
  readonly correlationId?: string
  /** Makes it a request: exactly one result, error or expiry comes back. */
  readonly expectsReply?: boolean
  /** Agent id that replies go to; default the sender. */
  readonly replyTo?: string
  /** How long it is tried, 1 s to 30 days: milliseconds, or text such as `'10m'`; default 24 hours. */
  readonly expiresIn?: number | string
  /** W3C `traceparent`. */
  readonly trace?: string
  /** What may come of it; default MAX_HOPS hops, and nothing else is bounded. */
  readonly budget?: MessageBudget
}

/** What may come of a message. A handler that sends names a share of what its own message has; default an equal part of what is left at its end. */
export interface MessageBudget {
  /** How often it is passed on, 0 to MAX_HOPS. */
  readonly hops?: number
  /** Messages sent by handlers because of it, and because of those: a whole number. */
  readonly calls?: number
  /** What handlers may charge for it, in units that they agree on: a whole number. */
  readonly cost?: number
}

export interface SendOptions {
  readonly signal?: AbortSignal
  /** How long to wait for room in a full outbox; default 30,000. */
  readonly timeoutMs?: number
}

/** A message on disk, on its way. */
export interface Sent {
  /** ULID. */
  readonly id: string
  /** Rises within the pair (from, to). */
  readonly seq: number
}

/** How a request ended. */
export interface Reply {
  readonly outcome: 'result' | 'error' | 'expired'
  /** Of a result its body; of an error `{ code, message }`. */
  readonly body?: unknown
  /** RFC 3339. */
  readonly at: string
}

/** One message of this node's, as its owner sees it. */
export interface MessageInfo {
  readonly id: string
  readonly direction: 'in' | 'out'
  readonly from: string
  readonly to: string
  readonly kind: Envelope['kind']
  readonly correlationId?: string
  readonly seq: number
  readonly state: MessageState
  /** RFC 3339. */
  readonly sentAt: string
  readonly expiresAt: string
  /** Last attempt's failure, or why it ended so. */
  readonly code?: string
  readonly reason?: string
  /** How often its handler was begun and failed. */
  readonly tries: number
  readonly type: string
  readonly bytes: number
  /** Unset once it was dropped, MESSAGE_KEPT_MS after the end. */
  readonly body?: unknown
  /** In place of a body; an agent's is here when its handler runs, the owner's must be fetched. */
  readonly blob?: { readonly sha256: string; readonly size: number }
}

/** What is known of a message: itself, what happened to it, oldest first, and its reply. */
export interface MessageStory extends MessageInfo {
  readonly events: readonly MessageEvent[]
  readonly reply?: Reply
}

export interface MessageEvent {
  /** RFC 3339, by the clock of whoever says it. */
  readonly at: string
  /** A state; or `attempt`, `delayed`, `late-reply`, `replayed`. */
  readonly what: string
  /** True when a receipt signed by the other node says it. */
  readonly isSigned: boolean
  readonly code?: string
  readonly reason?: string
}

export interface MessageFilter {
  /** Default for the inbox: what waits to be read or handled; for the outbox: what has not ended. */
  readonly state?: MessageState | 'all'
  /** Name of the local agent; default for the inbox `owner`, for the outbox any. */
  readonly agent?: string
  /** PeerId of the other side. */
  readonly peer?: string
  /** Default 100, at most MAX_PAGE. */
  readonly limit?: number
  /** Id of the last message of the page before. */
  readonly after?: string
}

/** What an agent's handler may use. All that it keeps, replies and sends takes effect when it returns, or not at all. */
export interface MessageContext {
  readonly message: Envelope
  /** Who wrote it: proven by signature. */
  readonly caller: Caller
  /** Fires at the handler's deadline, HANDLER_TIMEOUT_MS, or when the node stops. */
  readonly signal: AbortSignal
  /** How many attempts there were before. */
  readonly tries: number
  /** Durable JSON, per agent. `get` sees what earlier handlers have set, and this one's own. */
  readonly state: {
    readonly get: (key: string) => unknown
    /** `undefined` removes it. @throws {MeshError} TOO_LARGE, INVALID_ARGUMENT */
    readonly set: (key: string, value: unknown) => void
  }
  /** Answers it, at most once. @throws {MeshError} INVALID_ARGUMENT the second time, TOO_LARGE */
  readonly reply: (body: unknown, options?: { readonly type?: string }) => void
  /** Ends it as failed, without another attempt; a request gets the error as its reply. */
  readonly fail: (code: string, message: string) => void
  /**
   * Sends a message that takes one call, and its share, of the budget of the one that is handled.
   *
   * @returns the id
   * @throws {MeshError} LIMIT_EXCEEDED when the budget has not so much left, BUSY, TOO_LARGE, INVALID_ARGUMENT
   */
  readonly send: (to: string, body: unknown, options?: Omit<MessageInit, 'to' | 'body' | 'from'>) => string
  /** Takes from the message's budget of `cost`, if it has one; with an attempt that fails, that is undone too. @throws {MeshError} LIMIT_EXCEEDED when there isn't so much left, INVALID_ARGUMENT */
  readonly charge: (amount: number) => void
}

/** Handles one message; throwing makes it be tried again. */
export type MessageHandler = (message: Envelope, context: MessageContext) => unknown

/** How a local agent stands to messages. `down` ones are waited for. */
export type Receiver = MessageHandler | 'down' | 'unsupported' | 'unknown'

export interface MessagingCounts {
  /** Unread in the owner's inbox. */
  readonly unread: number
  /** Not delivered yet. */
  readonly queued: number
  readonly deadLetters: number
}

export interface Messaging {
  /** Serves `message/1.0.0` from now on, and takes up what a restart has interrupted. */
  start(): Promise<void>
  /**
   * Queues a message; resolves when it is on disk. Those sent in one turn of the loop share a signature and a commit.
   *
   * @throws {MeshError} INVALID_ARGUMENT, TOO_LARGE, NOT_FOUND when `from` isn't an agent of this node, BUSY when the
   *   outbox has had no room until `timeoutMs`, CANCELLED, IO when the disk is full
   */
  send(message: MessageInit, options?: SendOptions): Promise<Sent>
  /** Newest last. @throws {MeshError} INVALID_ARGUMENT */
  inbox(filter?: MessageFilter): readonly MessageInfo[]
  outbox(filter?: MessageFilter): readonly MessageInfo[]
  /** Undefined when there is no such message. */
  show(id: string): MessageStory | undefined
  /** The owner has read it: it counts as processed. @throws {MeshError} NOT_FOUND */
  read(id: string): Promise<MessageInfo>
  /**
   * Waits until a message of ours has been processed, or a request has its one outcome. Taking a reply reads it.
   *
   * @throws {MeshError} NOT_FOUND, TIMEOUT, CANCELLED; with `processed` also what the message failed with
   */
  waitFor(
    id: string,
    options: { readonly signal: AbortSignal; readonly until?: 'processed' | 'reply' }
  ): Promise<MessageStory>
  /** The owner answers a message of its inbox. @throws {MeshError} NOT_FOUND, INVALID_ARGUMENT when it was answered already */
  reply(id: string, body: unknown, options?: SendOptions): Promise<Sent>
  /** What handlers could not handle, oldest first. */
  deadLetters(filter?: Pick<MessageFilter, 'agent' | 'peer' | 'limit' | 'after'>): readonly MessageInfo[]
  /**
   * Gives a dead letter to its agent again, with new attempts. Content that it refers to is fetched first, if that was never done.
   *
   * @throws {MeshError} NOT_FOUND also when that content is not to be had any more; UNREACHABLE, TIMEOUT, BUSY and others, when it can't be fetched now
   */
  replay(id: string): Promise<void>
  /** Forgets a dead letter. @throws {MeshError} NOT_FOUND */
  drop(id: string): Promise<void>
  /** It was blocked: cancels what is queued to it and drops what of it has not been handled. */
  dropPeer(peer: string): Promise<void>
  readonly counts: MessagingCounts
  /**
   * Takes messages that came by another way than their author's own connection, such as a mailbox: signatures, policy
   * and order are checked as ever. Their authors, who get no answer, get receipts.
   */
  receive(request: DeliverRequest): Promise<DeliverAnswer>
  /** Peers that messages wait for here; `problem` is what the last attempt to deliver has met. */
  waitedFor(): readonly { readonly peer: string; readonly problem?: MeshError | undefined }[]
  /** Takes receipts signed by the node they are about messages to. @throws {MeshError} INVALID_RECORD, INVALID_MESSAGE */
  takeReceipts(receipts: string): Promise<void>
  /** Lets go of the handlers and what is under way; all that was acknowledged is on disk. */
  stop(): Promise<void>
}

export interface MessagingComponents {
  readonly identity: Identity
  readonly store: Store
  readonly rpc: Rpc
  readonly policy: Policy
  readonly permissions: Pick<Permissions, 'expect' | 'permit'>
  /** Where bodies lie that go by reference; without it there are none. */
  readonly blobs?: Content
  readonly trust: Pick<Trust, 'note' | 'of'>
  /** How a local agent takes messages; looked at for each. */
  readonly receiver: (agent: string) => Receiver
  readonly emit: Emit
  readonly on: Events['on']
  /** A peer has answered. */
  readonly onMet?: (peer: string) => void
  /** Brings receipts to a peer by another way, when it can't be reached. @returns whether that was possible */
  readonly carryReceipts?: (peer: string, receipts: string) => Promise<boolean>
  /** What must be shown to a peer before it is asked for something; undefined when that is done. */
  readonly prepare?: (peer: string) => Promise<unknown> | undefined
  /** Why nothing new may be kept just now (the disk is nearly full), or undefined. */
  readonly refusal?: () => MeshError | undefined
  /** The disk has refused a write. */
  readonly onDiskError?: (err: MeshError) => void
  readonly log?: (text: string) => void
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
  /** Uniform in [0, 1); default `Math.random`. */
  readonly random?: () => number
}

/** Bounds that an owner, or a test, may set; the defaults are in constants.ts. */
export interface MessagingInit {
  readonly maxQueuedPerPeer?: number
  readonly maxQueued?: number
  readonly maxUnhandledPerPeer?: number
  readonly maxUnhandled?: number
  readonly handlerTimeoutMs?: number
  /** How often timers are looked at; default 200. */
  readonly tickMs?: number
}
