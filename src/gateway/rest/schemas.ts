import { z } from 'zod'
import { CREDENTIAL_METHODS, TRUST_LEVELS } from '../../auth/index.ts'
import { ERROR_CODES, type ErrorCode } from '../../errors.ts'
import { agentRecord, capability } from '../../registry/messages.ts'

// What this node answers: loose, as a later version may say more

const time = z.iso.datetime()
const count = z.int().min(0)

/** RFC 9457. */
export const problemSchema = z.looseObject({
  type: z.string().regex(/^urn:pryx-mesh:[a-z-]+$/),
  title: z.string(),
  status: z.int().min(100).max(599),
  detail: z.string(),
  code: z.enum(ERROR_CODES as [ErrorCode, ...ErrorCode[]]),
  retryable: z.boolean(),
  hint: z.string().optional(),
  data: z.unknown().optional()
})

const signedRecord = z.looseObject({ jws: z.string(), record: agentRecord })

/** An agent: what everybody may know of it, and what only who manages it sees. */
export const agent = z.looseObject({
  id: z.string(),
  signed: signedRecord.optional(),
  state: z.string().optional(),
  reason: z.string().optional(),
  definition: z
    .looseObject({
      name: z.string(),
      driver: z.string(),
      config: z.unknown(),
      description: z.string().optional(),
      tags: z.array(z.string()),
      audience: z.string()
    })
    .optional()
})

export const healthReport = z.looseObject({
  kind: z.enum(['agent', 'peer']),
  id: z.string(),
  state: z.string(),
  since: time,
  reason: z.string().optional(),
  errorRate: z.number().min(0).max(1),
  calls: count
})

export const found = z.looseObject({
  agent: z.string(),
  peer: z.string(),
  capability,
  source: z.enum(['cache', 'peer', 'topic', 'dht']),
  record: z.looseObject({ seq: count, expiresAt: time }),
  verifiedAt: time
})

/** What was called before, and is not to be found any more, or only under another key. */
export const missing = z.looseObject({
  agent: z.string(),
  kind: z.enum(['tool', 'skill', 'model']),
  name: z.string(),
  reason: z.enum(['gone', 'another-key']),
  others: z.array(z.string())
})

export const peer = z.looseObject({
  peer: z.string(),
  address: z.string(),
  direction: z.enum(['inbound', 'outbound']),
  connectedAt: time,
  name: z.string().optional()
})

export const status = z.looseObject({
  peerId: z.string(),
  did: z.string(),
  name: z.string(),
  version: z.string(),
  startedAt: time.optional(),
  addresses: z.array(z.string()),
  peers: count,
  agents: count
})

/** Who the node takes the client for. */
export const self = z.looseObject({
  peer: z.string(),
  trust: z.enum(TRUST_LEVELS),
  binding: z.string(),
  credentials: z.array(
    z.looseObject({ method: z.enum(CREDENTIAL_METHODS), subject: z.string(), scopes: z.array(z.string()) })
  )
})

export const permissionStatus = z.looseObject({
  id: z.string(),
  state: z.enum(['pending', 'allowed', 'denied', 'expired', 'cancelled']),
  deadline: time,
  reason: z.string().optional()
})

/** As its owner sees it. */
export const permissionRequest = permissionStatus.extend({
  peer: z.string(),
  action: z.string(),
  resource: z.string(),
  askedAt: time,
  times: count
})

export const sent = z.looseObject({ id: z.string(), seq: count })

export const message = z.looseObject({
  id: z.string(),
  direction: z.enum(['in', 'out']),
  from: z.string(),
  to: z.string(),
  kind: z.string(),
  state: z.string(),
  sentAt: time,
  expiresAt: time
})

/** The pages of a list. */
export function listOf(item: z.ZodType) {
  return z.looseObject({
    items: z.array(item),
    cursor: z.string().describe('for the next page; absent on the last one').optional()
  })
}

/** Schemas that the OpenAPI document names; what is used in several answers is described once. */
export const NAMED = z.registry<{ readonly id: string }>()
for (const [id, schema] of Object.entries({
  Problem: problemSchema,
  SignedRecord: signedRecord,
  AgentRecord: agentRecord,
  Capability: capability,
  Agent: agent,
  HealthReport: healthReport,
  Found: found,
  Peer: peer,
  Status: status,
  Self: self,
  PermissionStatus: permissionStatus,
  PermissionRequest: permissionRequest,
  Sent: sent,
  Message: message
}))
  NAMED.add(schema, { id })
