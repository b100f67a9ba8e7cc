import { z } from 'zod'
import { MeshError } from '../errors.ts'
import { MAX_CAPABILITIES } from '../registry/constants.ts'
import { agentRecord } from '../registry/messages.ts'
import { offeredCapability } from './agent-frames.ts'
import { endpointAuth } from './endpoint-auth.ts'
import { ANSWER_TIMEOUT_MS } from './endpoint-constants.ts'
import { endpointUrl } from './endpoint-url.ts'

/** A path below the endpoint's URL: it can't leave it. */
const path = z
  .string()
  .max(1024)
  .regex(/^[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$/, 'must be a path')
  .refine((text) => !/(?:^|\/)(?:\.|%2e){1,2}(?:\/|$)/i.test(text), 'must not climb')

const httpCapability = offeredCapability.omit({ streaming: true }).extend({
  /** How its items come; absent: one answer. */
  streaming: z.enum(['sse', 'ndjson']).optional(),
  method: z.enum(['POST', 'PUT', 'PATCH', 'GET', 'DELETE']).default('POST'),
  /** Default: its name. */
  path: path.optional(),
  /** Whether it does no harm to do it twice; default: when its effects are `none` or `read`. */
  idempotent: z.boolean().optional()
})
export type HttpCapability = z.infer<typeof httpCapability>

/** What an endpoint answers to `describe`. */
export const httpDescription = z.object({
  description: agentRecord.shape.description,
  version: agentRecord.shape.version.optional(),
  capabilities: z.array(httpCapability).max(MAX_CAPABILITIES).refine(isUnique, 'must not offer anything twice')
})

export const httpConfig = z
  .strictObject({
    url: endpointUrl(['https:', 'http:']),
    description: agentRecord.shape.description,
    version: agentRecord.shape.version.optional(),
    capabilities: httpDescription.shape.capabilities.optional(),
    /** Where the endpoint says itself what it offers. */
    describe: path.optional(),
    /** Asked whether the endpoint is well; default: HEAD of the URL. */
    health: path.optional(),
    /** Where messages for the agent go; without it, it takes none. */
    messages: path.optional(),
    auth: endpointAuth.optional(),
    /** To the headers of an answer, and to the end of one that isn't streamed. */
    timeoutMs: z.int().min(100).max(86_400_000).default(ANSWER_TIMEOUT_MS),
    /** Whether it may be on a private network. */
    allowPrivate: z.boolean().default(false)
  })
  .refine(
    ({ capabilities, describe }) => (capabilities === undefined) !== (describe === undefined),
    'give either `capabilities` or `describe`'
  )
export type HttpConfig = z.infer<typeof httpConfig>

/** Query parameters of an endpoint's own URL, such as a tenant, stay. */
export function urlOf(base: string, below: string): URL {
  const url = new URL(base)
  if (below !== '') url.pathname = `${url.pathname.replace(/\/$/, '')}/${below.replace(/^\/+/, '')}`
  return url
}

/**
 * Puts a flat input into the query.
 *
 * @throws {MeshError} INVALID_INPUT when it isn't flat
 */
export function addQuery(url: URL, input: unknown): void {
  if (input === undefined || input === null) return
  if (typeof input !== 'object' || Array.isArray(input)) throw notFlat('it must be an object')
  for (const [name, value] of Object.entries(input)) {
    const values: readonly unknown[] = Array.isArray(value) ? value : [value]
    for (const one of values) {
      if (one === null) continue
      if (typeof one !== 'string' && typeof one !== 'number' && typeof one !== 'boolean')
        throw notFlat(`${name} must be a text, a number or a boolean, or several of them`)
      url.searchParams.append(name, String(one))
    }
  }
  if (url.href.length > MAX_URL_LENGTH) throw new MeshError('TOO_LARGE', 'the input does not fit into a URL')
}

export function isIdempotent({ idempotent, effects }: HttpCapability): boolean {
  return idempotent ?? (effects === 'none' || effects === 'read')
}

function isUnique(capabilities: readonly HttpCapability[]): boolean {
  return new Set(capabilities.map(({ kind = 'tool', name }) => `${kind} ${name}`)).size === capabilities.length
}

function notFlat(why: string): MeshError {
  return new MeshError('INVALID_INPUT', `the input of this capability goes into a query: ${why}`)
}

// What servers take in general.
const MAX_URL_LENGTH = 8_000
