/** What the WebSocket edge takes of its clients; a test or an owner may set others. */
export interface WsLimits {
  /** From the opening of a connection to good credentials. */
  readonly authTimeoutMs: number
  /** How long a session waits for its client to come back. */
  readonly resumeMs: number
  /** How often a client is pinged, and after which silence it is taken for dead. */
  readonly pingMs: number
  readonly deadMs: number
  /** How often connections are looked at. */
  readonly sweepMs: number
  readonly maxConnections: number
  /** Of those, without credentials yet. */
  readonly maxWaiting: number
  /** Bytes that wait to be written to one client, which is then too slow. */
  readonly maxWriteQueueBytes: number
}

export const WS_LIMITS: WsLimits = {
  authTimeoutMs: 5_000,
  resumeMs: 60_000,
  pingMs: 20_000,
  deadMs: 45_000,
  sweepMs: 5_000,
  maxConnections: 2_000,
  maxWaiting: 256,
  maxWriteQueueBytes: 4 * 1024 * 1024
}

/** The subprotocol; a client may leave it out, and may not ask for others only. */
export const WS_PROTOCOL = 'pryx-mesh.v1'

/** Of a client's frame; what the node sends may have an envelope around as much. */
export const MAX_WS_FRAME_BYTES = 1024 * 1024
export const MAX_WS_NODE_FRAME_BYTES = MAX_WS_FRAME_BYTES + 4096

/** Requests of a client under way; each may hold an input or a result of a mebibyte. */
export const MAX_WS_PENDING = 64

export const MAX_WS_AGENTS = 16

/** Items that are asked for at once when the client gives credit, and none by a client that names a number above it. */
export const MAX_WS_CREDIT = 1_000_000

/** What waits to be written, or to be confirmed, before items and results of requests wait too. */
export const WS_HIGH_WATER_BYTES = 256 * 1024

/** Beyond it an agent is too slow for another call or message. */
export const WS_BUSY_BYTES = 1024 * 1024

/**
 * Frames that the client hasn't confirmed, kept for it to come back to: of one session, above what BUSY lets pass and one
 * frame more, and of all of them. Past either the session goes on, but can't be resumed.
 */
export const MAX_WS_KEPT_BYTES = 3 * 1024 * 1024
export const MAX_WS_KEPT_TOTAL_BYTES = 64 * 1024 * 1024

/** How often this node confirms what it got: the client need keep no more than that, and a frame. */
export const WS_CONFIRM_FRAMES = 32
export const WS_CONFIRM_BYTES = 64 * 1024

/** Items of a stream that was not asked for as one, together in one result. */
export const MAX_WS_COLLECTED_BYTES = 1024 * 1024

/** How long a client has to answer a close frame. */
export const CLOSE_GRACE_MS = 2_000

/** Close codes: those of RFC 6455 §7.4.1 and of IANA's registry, and one of our own. */
export const WS_CLOSE = {
  /** The node stops. */
  GOING_AWAY: 1001,
  /** A frame that isn't one of the protocol. */
  PROTOCOL: 1002,
  /** The client reads too slowly. */
  TRY_AGAIN: 1013,
  UNAUTHORIZED: 3000,
  /** No credentials in time. */
  TIMEOUT: 3008,
  /** The session was resumed by another connection. */
  REPLACED: 4000
} as const
