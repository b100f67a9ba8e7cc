import { z } from 'zod'
import { agentName, CAPABILITY_KINDS, capabilityName } from '../registry/messages.ts'

/** Makes an answer one that can be resumed after its connection broke. */
export const streamRequest = z.object({
  /** 128 random bits as base64url, chosen by the caller for this call alone. */
  id: z.string().regex(/^[A-Za-z0-9_-]{22}$/),
  /** How many items of it the caller has. */
  after: z.int().min(0)
})
export type StreamRequest = z.infer<typeof streamRequest>

/** The body of a `call/1.0.0` request. */
export const callRequest = z.object({
  /** The agent's name on the called node. */
  agent: agentName,
  capability: capabilityName,
  /** Needed only when the agent has the name in several kinds. */
  kind: z.enum(CAPABILITY_KINDS).optional(),
  /** Semver range that the capability's version must be in. */
  version: z.string().max(128).optional(),
  /** What the capability's input schema describes; absent means `{}`. */
  input: z.unknown().optional(),
  /** Set when the answer is to be resumable: then it is a streamed one, whatever the capability is. */
  stream: streamRequest.optional(),
  /** W3C `traceparent`; anything else is as good as absent. */
  trace: z.unknown().optional()
})
export type CallRequest = z.infer<typeof callRequest>
