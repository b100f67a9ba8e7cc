import { z } from 'zod'
import { type ErrorBody, MeshError } from '../errors.ts'
import type { MeshEventName, MeshEvents } from '../events.ts'
import type { AgentDefinition, CapabilityKind } from '../index.ts'
import { MAX_TIMEOUT_MS } from './constants.ts'

/** A line of a streamed answer: items, then how it ended. A stream that stops without an end was cut. */
export type ControlLine<Item = unknown, End = unknown> = { item: Item } | { end: End } | { error: ErrorBody }

/** What a failed request answers. */
export interface ControlError {
  readonly error: ErrorBody
}

/** An event as `GET /v1/events` tells it. */
export interface EventItem<K extends MeshEventName = MeshEventName> {
  readonly event: K
  /** RFC 3339, when it happened. */
  readonly at: string
  readonly detail: MeshEvents[K]
}

// A record, so that the compiler asks for every event
const EVENTS: Readonly<Record<MeshEventName, true>> = {
  'message:received': true,
  'message:receipt': true,
  'message:delayed': true,
  'message:dead': true,
  'mailbox:collected': true,
  'mailbox:deposited': true,
  'peer:join': true,
  'peer:refused': true,
  'peer:leave': true,
  'agent:added': true,
  'agent:updated': true,
  'agent:removed': true,
  'agent:down': true,
  'agent:up': true,
  'agent:degraded': true,
  'agent:sleeping': true,
  'peer:down': true,
  'peer:degraded': true,
  'peer:up': true,
  'capability:found': true,
  'capability:changed': true,
  'capability:gone': true,
  'capability:missing': true,
  'record:refused': true,
  'call:denied': true,
  'credential:presented': true,
  'credential:refused': true,
  'policy:reloaded': true,
  'permission:asked': true,
  'permission:answered': true,
  'permission:decided': true,
  'grant:issued': true,
  'grant:revoked': true,
  'trust:changed': true,
  'peer:paired': true,
  'definition:changed': true,
  'login:changed': true
}

const kind = z.enum(['tool', 'skill', 'model'] satisfies readonly CapabilityKind[])
const audience = z.enum(['public', 'paired'] satisfies readonly AgentDefinition['audience'][])
const timeoutMs = z.coerce.number().int().min(1).max(MAX_TIMEOUT_MS)

const availabilityWindow = z.strictObject({
  days: z.string().exactOptional(),
  from: z.string().exactOptional(),
  to: z.string().exactOptional(),
  zone: z.string().exactOptional()
})

// What names, tags, ranges and configurations may be is checked by the node, for the library's users too
const agentFields = z.strictObject({
  description: z.string().optional(),
  tags: z.array(z.string()).optional(),
  audience: audience.optional(),
  availability: z.array(availabilityWindow).optional(),
  allow: z.union([z.literal('any'), z.array(z.string())]).optional(),
  driver: z.string().optional(),
  config: z.unknown().optional()
})

export const connectBody = z.strictObject({ address: z.string() })
export const agentPatchBody = agentFields
export const agentAddBody = agentFields.extend({ name: z.string(), version: z.string().optional(), driver: z.string() })
export const listQuery = z.strictObject({
  id: z.string().optional(),
  agent: z.string().optional(),
  kind: kind.optional(),
  name: z.string().optional(),
  version: z.string().optional(),
  tags: z.array(z.string()).optional(),
  text: z.string().optional()
})
export const findQuery = listQuery.extend({
  timeoutMs: timeoutMs.optional(),
  limit: z.coerce.number().int().min(1).optional()
})
/** As text: `false` is no truth. */
export const explainQuery = z.object({ explain: z.enum(['true', 'false']).optional() })
export const eventsQuery = z.strictObject({
  types: z.array(z.enum(Object.keys(EVENTS) as MeshEventName[], 'no such event')).optional()
})
export const callBody = z.strictObject({
  target: z.string(),
  capability: z.string(),
  input: z.unknown().optional(),
  kind: kind.optional(),
  version: z.string().optional(),
  timeoutMs: timeoutMs.optional(),
  wait: z.boolean().optional()
})

/**
 * Parses what a client sent.
 *
 * @throws {MeshError} INVALID_ARGUMENT naming the field and what is wrong with it
 */
export function parse<T extends z.ZodType>(schema: T, value: unknown): Defined<z.output<T>> {
  const result = schema.safeParse(value)
  if (!result.success) {
    const [issue] = result.error.issues
    throw new MeshError('INVALID_ARGUMENT', `${issue?.path.join('.') || 'request'}: ${issue?.message ?? 'invalid'}`)
  }
  // Fields that JSON can't carry as undefined aren't there at all
  return result.data as Defined<z.output<T>>
}

/** Optional fields without `undefined`, as exactOptionalPropertyTypes wants them. */
type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> }
