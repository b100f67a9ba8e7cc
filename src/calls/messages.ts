import { z } from 'zod'
import { agentName, CAPABILITY_KINDS, capabilityName } from '../registry/messages.ts'

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
  input: z.unknown().optional()
})
export type CallRequest = z.infer<typeof callRequest>
