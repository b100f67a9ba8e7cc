import { z } from 'zod'
import { availability, ownAvailability } from './availability.ts'
import { MAX_CAPABILITIES, MAX_DESCRIPTION_LENGTH, MAX_NAME_LENGTH, MAX_TAGS } from './constants.ts'
import { VISIBLE_TEXT } from './text.ts'

/** What an agent may offer. */
export const CAPABILITY_KINDS = ['tool', 'skill', 'model'] as const
export type CapabilityKind = (typeof CAPABILITY_KINDS)[number]

/** What invoking a capability does to the world. */
const EFFECTS = ['none', 'read', 'write', 'external'] as const

export const AUDIENCES = ['public', 'paired'] as const

/** An agent's name on its node: one path segment, lower case. */
export const agentName = z.string().regex(/^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/)

/** Dotted for name spaces (`db.query`); also what MCP allows as a tool's name. */
export const capabilityName = z
  .string()
  .max(MAX_NAME_LENGTH)
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_./-]*$/)

/** `<PeerId>/<agent name>`; PeerIds are base58btc Ed25519 identity multihashes. */
export const agentId = z.string().regex(/^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}\/[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/)

// https://semver.org/#is-there-a-suggested-regular-expression-regex-to-check-a-semver-string
export const semverVersion = z
  .string()
  .max(64)
  .regex(
    /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$/
  )

const tag = z.string().regex(/^[a-z0-9][a-z0-9._:-]{0,62}$/)
const jsonSchema = z.union([z.boolean(), z.record(z.string(), z.unknown())])
/** Text that others will read, and models with them: nothing in it may hide from the eye. */
const description = z.string().max(MAX_DESCRIPTION_LENGTH).regex(VISIBLE_TEXT, 'has hidden characters')
const timestamp = z.iso.datetime({ precision: 3 })

export const capability = z.object({
  kind: z.enum(CAPABILITY_KINDS),
  name: capabilityName,
  version: semverVersion,
  description: description.optional(),
  /** JSON Schema of the input, 2020-12 unless `$schema` says draft-07; absent means anything. */
  input: jsonSchema.optional(),
  /** JSON Schema of the output, or of each item when streaming. */
  output: jsonSchema.optional(),
  streaming: z.boolean(),
  effects: z.enum(EFFECTS),
  tags: z.array(tag).max(MAX_TAGS),
  /** base64url SHA-256 over the canonical JSON of this object without `digest`. */
  digest: z.string().regex(/^[A-Za-z0-9_-]{43}$/)
})
export type Capability = z.infer<typeof capability>

/** The signed description of an agent: the payload of a JWS of type `mesh-record+jws`. */
export const agentRecord = z.object({
  v: z.literal(1),
  id: agentId,
  /** Grows with every change and renewal; a lower one never replaces a higher one. */
  seq: z.int().min(1),
  issuedAt: timestamp,
  expiresAt: timestamp,
  name: agentName,
  description: description.optional(),
  version: semverVersion,
  /** The kind of driver behind it, for information. */
  driver: z.string().max(32),
  audience: z.enum(AUDIENCES),
  tags: z.array(tag).max(MAX_TAGS),
  /** Credential methods its owner accepts. */
  auth: z.array(z.string().max(32)).max(16),
  /** Protocol name to the versions its node speaks. */
  protocols: z.record(z.string().max(32), z.array(z.string().max(16)).max(16)),
  /** When the agent is there; absent: always. */
  availability: availability.optional(),
  capabilities: z.array(capability).max(MAX_CAPABILITIES)
})
export type AgentRecord = z.infer<typeof agentRecord>

/** What `agents add` stores; its description is made visible when it is published. */
export const agentDefinition = z.object({
  name: agentName,
  driver: z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/),
  config: z.unknown(),
  description: z.string().max(MAX_DESCRIPTION_LENGTH).optional(),
  tags: z.array(tag).max(MAX_TAGS),
  audience: z.enum(AUDIENCES),
  availability: ownAvailability.optional()
})

/** A record as it travels: the compact JWS, and what it says. */
export interface SignedRecord {
  readonly jws: string
  readonly record: AgentRecord
}

export interface RecordRef {
  readonly seq: number
  readonly expiresAt: string
}

export interface CapabilityRef {
  readonly kind: CapabilityKind
  readonly name: string
  readonly version: string
}

/** What to look for; every field given must match. */
export const query = z.object({
  /** Exact agent id. */
  id: agentId.optional(),
  /** Exact agent name. */
  agent: agentName.optional(),
  kind: z.enum(CAPABILITY_KINDS).optional(),
  /** Glob over capability names: `*` stands for any run of characters. */
  name: z.string().max(MAX_NAME_LENGTH).optional(),
  /** Semver range over capability versions. */
  version: z.string().max(128).optional(),
  /** All of them, on the agent or the capability. */
  tags: z.array(tag).max(MAX_TAGS).optional(),
  /** Words, all of which occur in names, descriptions or tags; case does not matter. */
  text: z.string().max(256).optional()
})
export type Query = z.infer<typeof query>
