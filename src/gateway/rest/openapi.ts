import { z } from 'zod'
import { VERSION } from '../../version.ts'
import type { Answer, Operation } from './operation.ts'
import { NAMED, problemSchema } from './schemas.ts'

type Json = Readonly<Record<string, unknown>>

const SECURITY: Readonly<Record<string, Json>> = {
  dpop: { type: 'http', scheme: 'DPoP', description: 'Access token with a proof of its key, RFC 9449' },
  bearer: { type: 'http', scheme: 'bearer', description: "Access token, API key, or the owner's token on its machine" },
  apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' },
  mtls: { type: 'mutualTLS' },
  signature: {
    type: 'apiKey',
    in: 'header',
    name: 'signature',
    description: 'HTTP message signature, RFC 9421: Ed25519 with a did:key, or HMAC-SHA256 with the secret of a pair'
  }
}

/** The OpenAPI 3.1 document of the operations. */
export function openApi(operations: readonly Operation[]): Json {
  const paths: Record<string, Record<string, Json>> = {}
  const named: Named = {}
  schemaOf(problemSchema, 'output', named)
  for (const each of operations) paths[each.path] = { ...paths[each.path], [each.method]: describe(each, named) }
  return {
    openapi: '3.1.0',
    info: {
      title: 'pryx-mesh node',
      version: VERSION,
      summary: 'Agents of a peer-to-peer mesh, by HTTP',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' }
    },
    servers: [{ url: '/', description: 'This node' }],
    security: Object.keys(SECURITY).map((name) => ({ [name]: [] })),
    paths,
    components: { securitySchemes: SECURITY, schemas: named }
  }
}

/** What a document names so far, by name. */
type Named = Record<string, unknown>

function describe(operation: Operation, named: Named): Json {
  const { id, tag, summary, description, answers, body, isRepeatable = false } = operation
  const parameters = [...parametersIn('path', operation.params), ...parametersIn('query', operation.query)]
  if (isRepeatable) parameters.push(IDEMPOTENCY_KEY)
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : {
          requestBody: { required: true, content: { 'application/json': { schema: schemaOf(body, 'input', named) } } }
        }),
    responses: {
      ...Object.fromEntries(Object.entries(answers).map(([status, answer]) => [status, describeAnswer(answer, named)])),
      default: {
        description: 'What went wrong',
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } }
      }
    }
  }
}

const IDEMPOTENCY_KEY: Json = {
  name: 'Idempotency-Key',
  in: 'header',
  description: 'The same key with the same request gets the same answer for a day',
  schema: { type: 'string', minLength: 1, maxLength: 128 }
}

function describeAnswer({ description, schema, type = 'application/json' }: Answer, named: Named): Json {
  if (schema === undefined) return { description }
  return { description, content: { [type]: { schema: schemaOf(schema, 'output', named) } } }
}

function parametersIn(where: 'path' | 'query', schema: z.ZodType | undefined): Json[] {
  if (schema === undefined) return []
  const { properties = {}, required = [] } = z.toJSONSchema(schema, { io: 'input' })
  return Object.entries(properties).map(([name, property]) => ({
    // The one list among them; each of its members is a parameter of its own
    name: name === 'tags' ? 'tag' : name,
    in: where,
    ...((where === 'path' || required.includes(name)) && { required: true }),
    schema: property
  }))
}

/** The schema, with what has a name taken out of it. */
function schemaOf(schema: z.ZodType, io: 'input' | 'output', named: Named): unknown {
  // In an array, so that what has a name itself is taken out too
  const { items, $defs = {} } = z.toJSONSchema(z.array(schema), { io, metadata: NAMED, override: withDescription })
  for (const [name, { id: _name, ...rest }] of Object.entries($defs)) named[name] ??= relocated(rest)
  return relocated(items)
}

/** Descriptions are in another register than names. */
function withDescription({
  zodSchema,
  jsonSchema
}: {
  zodSchema: z.core.$ZodType
  jsonSchema: z.core.JSONSchema.BaseSchema
}): void {
  const { description } = z.globalRegistry.get(zodSchema) ?? {}
  if (description !== undefined) jsonSchema.description = description
}

function relocated(schema: unknown): unknown {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/'))
}
