import { z } from 'zod'
import { AUDIENCES, agentName, capability, query } from '../../registry/messages.ts'
import { MAX_WS_CREDIT } from './constants.ts'

/** Of a request; the client chooses it, and uses it again only when the request is over. */
const id = z.string().min(1).max(64)
const frames = z.int().min(0).max(Number.MAX_SAFE_INTEGER)
const resumeToken = z.string().regex(/^[\w-]{43}$/)
const timeoutMs = z.int().min(1).max(86_400_000)

/** First, when the request to upgrade had no credentials. Its other members are those of the method. */
export const authFrame = z.looseObject({ type: z.literal('auth'), method: z.string().max(32) })

/** What an agent offers is read by what speaks with agents. */
const registration = z.looseObject({
  name: agentName,
  tags: z.array(z.string()).max(64).optional(),
  audience: z.enum(AUDIENCES).optional(),
  capabilities: z.array(z.unknown()).optional()
})

/** What a client says for itself; frames of its agents are those of `protocols/agents/websocket.md`. */
export const clientFrame = z.discriminatedUnion('type', [
  z.object({ type: z.literal('resume'), token: resumeToken, received: frames }),
  z.object({ type: z.literal('received'), frames }),
  z.object({ type: z.literal('register'), agent: registration }),
  z.object({ type: z.literal('unregister'), agent: agentName }),
  z.object({
    type: z.literal('invoke'),
    id,
    target: z.string().max(512),
    capability: z.string().max(256),
    kind: capability.shape.kind.optional(),
    /** Semver range. */
    version: z.string().max(128).optional(),
    input: z.unknown().optional(),
    /** Items as they come, else they are one array; with an id and what is there already, a stream that can be taken up again. */
    stream: z
      .union([
        z.boolean(),
        z.strictObject({ id: z.string().regex(/^[\w-]{22}$/), after: z.int().min(0).max(Number.MAX_SAFE_INTEGER) })
      ])
      .optional(),
    /** Items that may be sent before the client gives more; absent: as fast as the connection takes them. */
    credit: z.int().min(1).max(MAX_WS_CREDIT).optional(),
    timeoutMs: timeoutMs.optional(),
    /** W3C `traceparent` of what the call is part of; what is none is as good as absent. */
    trace: z.string().max(256).optional()
  }),
  z.object({ type: z.literal('credit'), id, items: z.int().min(1).max(MAX_WS_CREDIT) }),
  z.object({ type: z.literal('cancel'), id }),
  z.object({
    type: z.literal('send'),
    id,
    to: z.string().max(512),
    body: z.unknown(),
    /** One of the agents of this session; default the only one. */
    from: agentName.optional(),
    correlationId: z.string().min(1).max(128).optional(),
    expectsReply: z.boolean().optional(),
    /** Milliseconds, or text such as `10m`. */
    expiresIn: z.union([z.int().min(1_000).max(2_592_000_000), z.string().min(1).max(100)]).optional(),
    budget: z
      .strictObject({ hops: z.int().exactOptional(), calls: z.int().exactOptional(), cost: z.int().exactOptional() })
      .optional()
  }),
  query.omit({ id: true }).extend({
    type: z.literal('find'),
    id,
    timeoutMs: timeoutMs.optional(),
    limit: z.int().min(1).max(1_000).optional()
  })
])
export type ClientFrame = z.infer<typeof clientFrame>
export type Frame<T extends ClientFrame['type']> = Extract<ClientFrame, { type: T }>

const failure = z.object({
  code: z.string().max(64),
  message: z.string(),
  retryable: z.boolean(),
  hint: z.string().optional(),
  data: z.unknown().optional()
})

/** What the node says to a client, beside what it says to its agents. */
export const edgeFrame = z.discriminatedUnion('type', [
  /** Who the client is, once that is known. */
  z.object({
    type: z.literal('welcome'),
    /** PeerId. */
    node: z.string(),
    caller: z.object({ peer: z.string(), trust: z.string() }),
    /** How long a session is kept for a client that was cut off. */
    resumeMs: z.int().min(0)
  }),
  z.object({ type: z.literal('resumed'), received: frames }),
  z.object({ type: z.literal('received'), frames }),
  z.object({
    type: z.literal('registered'),
    agent: agentName,
    /** `<PeerId>/<name>` */
    id: z.string(),
    /** What the session is resumed by: the same for all of its agents. */
    resume: resumeToken
  }),
  z.object({ type: z.literal('refused'), agent: agentName, error: failure }),
  /** It is no agent of this session any more. */
  z.object({ type: z.literal('unregistered'), agent: agentName, reason: z.string() }),
  z.object({ type: z.literal('result'), id, result: z.unknown() }),
  /** `seq` counts from 0. */
  z.object({ type: z.literal('item'), id, seq: frames, item: z.unknown() }),
  /** `summary` of a find. */
  z.object({ type: z.literal('end'), id, summary: z.unknown().optional() }),
  /** Without an id: about the connection, which is closed next. */
  z.object({ type: z.literal('error'), id: id.optional(), error: failure })
])
export type EdgeFrame = z.infer<typeof edgeFrame>
