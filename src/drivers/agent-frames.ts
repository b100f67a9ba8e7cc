import { z } from 'zod'
import { MAX_CAPABILITIES } from '../registry/constants.ts'
import type { AgentDescription } from '../registry/index.ts'
import { agentName, agentRecord, capability } from '../registry/messages.ts'

/** A capability as an agent says it itself; what it leaves out has a default. */
export const offeredCapability = capability.omit({ digest: true }).partial().required({ name: true })

const offered = z.array(offeredCapability).max(MAX_CAPABILITIES)

/** Tells one call or message from the others of a session; the node chooses it. */
const id = z.string().min(1).max(64)

const failure = z.object({
  /** One of the codes of the mesh, or the agent's own. */
  code: z.string().max(64),
  message: z.string(),
  data: z.unknown().optional()
})

/** The first thing an agent says. */
export const helloFrame = z.object({
  type: z.literal('hello'),
  description: agentRecord.shape.description,
  /** Semver of the agent, and of each capability that has none; default `1.0.0`. */
  version: agentRecord.shape.version.optional(),
  capabilities: offered
})

/** What an agent says after its hello. */
export const agentFrame = z.discriminatedUnion('type', [
  z.object({ type: z.literal('capabilities'), capabilities: offered }),
  z.object({ type: z.literal('result'), id, result: z.unknown() }),
  /** `seq` counts from 0. */
  z.object({ type: z.literal('item'), id, seq: z.int().min(0), item: z.unknown() }),
  z.object({ type: z.literal('end'), id }),
  z.object({ type: z.literal('error'), id, error: failure }),
  z.object({ type: z.literal('ack'), id })
])
export type AgentFrame = z.infer<typeof agentFrame>
export type AgentFailure = z.infer<typeof failure>
export type OfferedCapability = z.infer<typeof offeredCapability>

/** Which of the agents of a connection it is for; absent when there can be only one. */
const agent = agentName.optional()

const callerInfo = z.object({
  /** PeerId; where none is proven, what the edge has proven. */
  peer: z.string(),
  trust: z.string(),
  alias: z.string().optional(),
  /** did:key */
  owner: z.string().optional()
})

/** What the node says. */
export const nodeFrame = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('call'),
    id,
    agent,
    capability: z.object({ kind: z.string(), name: z.string(), version: z.string() }),
    input: z.unknown(),
    caller: callerInfo,
    /** How long the node waits for the answer, or for each item, from when it is asked for. */
    deadlineMs: z.int().min(1),
    /** Items that may be sent before the node gives more. */
    credit: z.int().min(1)
  }),
  z.object({ type: z.literal('credit'), id, items: z.int().min(1) }),
  z.object({ type: z.literal('cancel'), id }),
  z.object({ type: z.literal('message'), id, agent, message: z.unknown(), caller: callerInfo.optional() })
])
export type NodeFrame = z.infer<typeof nodeFrame>

/** What an agent says of itself, with the defaults filled in. */
export function descriptionOf(said: {
  readonly description?: string | undefined
  readonly version?: string | undefined
  readonly capabilities: readonly OfferedCapability[]
}): AgentDescription {
  const version = said.version ?? '1.0.0'
  return {
    ...(said.description === undefined ? {} : { description: said.description }),
    version,
    capabilities: said.capabilities.map(({ kind = 'tool', ...rest }) => ({
      version,
      ...defined(rest),
      kind
    }))
  }
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> }

/** Zod writes an absent field's type as `T | undefined`; its value never is. */
function defined<T extends object>(value: T): Defined<T> {
  return value as Defined<T>
}
