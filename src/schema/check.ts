import { MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH } from './constants.ts'
import { type Cost, costOf } from './cost.ts'
import { DIALECTS, dialectOf, isObject, type JsonSchema } from './keywords.ts'
import { invalidSchema, type ReducedSchema, reduceSchema } from './reduce.ts'

/**
 * Checks that a schema is one, in the dialect it names, and within what the mesh allows: at most 64 KiB, 32 levels of
 * nesting and 1,000 subschemas, references only to its own parts, patterns that RE2 knows.
 *
 * @throws {MeshError} INVALID_SCHEMA saying where and what
 */
export async function checkSchema(schema: unknown): Promise<void> {
  const { compileReduced } = await import('./ajv.ts')
  compileReduced((await readSchema(schema)).reduced, Number.POSITIVE_INFINITY)
}

/** A schema checked except for its patterns, reduced to what checks values, and what a check may cost. */
export interface ReadSchema {
  readonly reduced: ReducedSchema
  readonly cost: Cost
}

export async function readSchema(schema: unknown): Promise<ReadSchema> {
  const json = toJson(schema)
  checkShape(json, '#', 0)
  if (typeof json !== 'boolean' && !isObject(json)) throw invalidSchema('#', 'is neither an object nor a boolean')
  const dialect = dialectOf(isObject(json) ? json['$schema'] : undefined)
  if (dialect === undefined) throw invalidSchema('#', `names a $schema other than ${DIALECTS.join(' and ')}`)
  const { metaFailures } = await import('./ajv.ts')
  const failure = metaFailures(dialect, json as JsonSchema)?.[0]
  if (failure !== undefined) throw invalidSchema(`#${failure.path}`, failure.message)
  const reduced = reduceSchema(json as JsonSchema, dialect)
  return { reduced, cost: costOf(reduced) }
}

/** As it would arrive at a peer: what isn't JSON is gone or fails here. */
function toJson(schema: unknown): unknown {
  let text: string | undefined
  try {
    text = JSON.stringify(schema)
  } catch (err) {
    throw invalidSchema('#', 'is not JSON', err)
  }
  if (text === undefined) throw invalidSchema('#', 'is not JSON')
  if (Buffer.byteLength(text) > MAX_SCHEMA_BYTES) throw invalidSchema('#', `is larger than ${MAX_SCHEMA_BYTES} bytes`)
  return JSON.parse(text)
}

/** No frame with such a key is read (protocols/README.md#frames), so no schema can travel that has one. */
const REFUSED_KEYS = new Set(['__proto__', 'constructor', 'prototype'])

function checkShape(json: unknown, at: string, depth: number): void {
  if (typeof json !== 'object' || json === null) return
  if (depth >= MAX_SCHEMA_DEPTH) throw invalidSchema('#', `is nested deeper than ${MAX_SCHEMA_DEPTH} levels`)
  for (const [key, value] of Object.entries(json)) {
    if (REFUSED_KEYS.has(key)) throw invalidSchema(at, `has a member named ${key}, which no message may have`)
    checkShape(value, `${at}/${key}`, depth + 1)
  }
}
