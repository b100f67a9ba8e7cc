import type { Tool } from '@modelcontextprotocol/client'
import coerce from 'semver/functions/coerce.js'
import valid from 'semver/functions/valid.js'
import { MeshError } from '../errors.ts'
import type { CapabilityDefinition } from '../registry/index.ts'
import type { Capability } from '../registry/messages.ts'
import { MAX_ERROR_TEXT_BYTES, MAX_SCHEMA_DEPTH } from './constants.ts'

type Schema = Exclude<Capability['input'], boolean | undefined>

/** The version that a server says, as semver: `1.2` reads as 1.2.0, what can't be read as 0.0.0. */
export function toSemver(version: string | undefined): string {
  const text = (version ?? '').slice(0, 64)
  return valid(text) ?? coerce(text)?.version ?? '0.0.0'
}

/**
 * A tool as a capability. Its output is the whole result of `tools/call`, so that nothing a server says gets lost.
 *
 * What the mesh can't offer, such as a name with a blank, is for the registry to refuse.
 */
export function toolCapability(tool: Tool, version: string): CapabilityDefinition {
  const description = tool.description ?? tool.title ?? tool.annotations?.title
  return {
    kind: 'tool',
    name: tool.name,
    version,
    ...(description === undefined ? {} : { description }),
    input: tool.inputSchema,
    output: resultSchema(tool.outputSchema),
    streaming: false,
    effects: effectsOf(tool.annotations)
  }
}

// MCP's own defaults: a tool writes unless it says that it only reads, and reaches out unless it says that it doesn't.
function effectsOf(annotations: Tool['annotations']): Capability['effects'] {
  if (annotations?.readOnlyHint === true) return 'read'
  return annotations?.openWorldHint === false ? 'write' : 'external'
}

/**
 * The schema of a `CallToolResult` whose structured content fits `output`.
 *
 * `output` moves one level down, so its pointers are rewritten; `$schema` moves up, where it says the dialect of the whole.
 */
export function resultSchema(output: Schema | undefined): Schema {
  const content = { type: 'array' }
  if (output === undefined) return { type: 'object', properties: { content }, required: ['content'] }
  // An `$id` would make it a document of its own again, whose pointers then miss.
  const { $schema, $id: _id, ...schema } = output
  const structuredContent = moved(schema, '#/properties/structuredContent', 0)
  return {
    ...($schema === undefined ? {} : { $schema }),
    type: 'object',
    properties: { content, structuredContent },
    required: ['content', 'structuredContent']
  }
}

// Keywords whose value is data, and those whose value maps free names to schemas.
const DATA = new Set(['const', 'enum', 'default', 'examples'])
const NAMED = new Set(['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas', 'dependencies'])

function moved(schema: unknown, base: string, depth: number): unknown {
  if (depth > MAX_SCHEMA_DEPTH) return schema // The registry refuses what is that deep.
  if (Array.isArray(schema)) return schema.map((item) => moved(item, base, depth + 1))
  if (typeof schema !== 'object' || schema === null) return schema
  const entries = Object.entries(schema).map(([keyword, value]): [string, unknown] => {
    if (DATA.has(keyword)) return [keyword, value]
    if (keyword === '$ref') return [keyword, movedPointer(value, base)]
    if (NAMED.has(keyword) && typeof value === 'object' && value !== null) {
      return [
        keyword,
        Object.fromEntries(Object.entries(value).map(([name, item]) => [name, moved(item, base, depth + 1)]))
      ]
    }
    return [keyword, moved(value, base, depth + 1)]
  })
  return Object.fromEntries(entries)
}

// `#` and `#/…` point from the root; `#name` is an anchor, which is found wherever it stands.
function movedPointer(reference: unknown, base: string): unknown {
  if (typeof reference !== 'string') return reference
  return reference === '#' || reference.startsWith('#/') ? base + reference.slice(1) : reference
}

/**
 * Passes a tool's result on.
 *
 * @throws {MeshError} AGENT_ERROR with the tool's own words, and its whole result as data, when it says that it failed
 */
export function toolResult<T extends { content: readonly object[]; isError?: boolean | undefined }>(result: T): T {
  if (result.isError !== true) return result
  const texts = result.content.flatMap((block) =>
    'text' in block && typeof block.text === 'string' ? [block.text] : []
  )
  throw new MeshError('AGENT_ERROR', clip(texts.join('\n')) || 'the tool reported a failure', { data: result })
}

/** At most MAX_ERROR_TEXT_BYTES of UTF-8, cut between characters. */
export function clip(text: string): string {
  const bytes = Buffer.from(text.slice(0, MAX_ERROR_TEXT_BYTES))
  if (bytes.length <= MAX_ERROR_TEXT_BYTES) return bytes.toString()
  return new TextDecoder().decode(bytes.subarray(0, MAX_ERROR_TEXT_BYTES), { stream: true })
}
