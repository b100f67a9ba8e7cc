import { MeshError } from '../errors.ts'
import { canonicalJson, parseJson } from '../wire/index.ts'
import { MAX_CAPABILITIES, MAX_DESCRIPTION_LENGTH } from './constants.ts'
import type { AgentDefinition, AgentDescription, CapabilityDefinition, RefusedCapability } from './index.ts'
import { type AgentRecord, type Capability, capability as capabilitySchema, semverVersion } from './messages.ts'
import { capabilityDigest } from './record.ts'
import { visibleSchema, visibleText } from './text.ts'

/** Rejects with {@link MeshError} INVALID_SCHEMA for a JSON Schema that the mesh doesn't allow. */
export type CheckSchema = (schema: boolean | Record<string, unknown>) => Promise<void>

/** What a record says, apart from when. */
type RecordContent = Omit<AgentRecord, 'seq' | 'issuedAt' | 'expiresAt'>

export interface Offer {
  readonly content: RecordContent
  /** The same offer again has the same text. */
  readonly text: string
  readonly refused: readonly RefusedCapability[]
}

export interface OfferContext {
  /** PeerId of this node. */
  readonly peer: string
  readonly auth: readonly string[]
  readonly protocols: Readonly<Record<string, readonly string[]>>
  readonly checkSchema: CheckSchema
}

/**
 * Turns what a driver says of an agent into what its record will say; capabilities that can't be published are left out.
 *
 * @throws {MeshError} INVALID_ARGUMENT when the agent's version is not semver
 */
export async function makeOffer(
  definition: AgentDefinition,
  description: AgentDescription,
  context: OfferContext
): Promise<Offer> {
  const { version } = description
  if (!semverVersion.safeParse(version).success) {
    throw new MeshError(
      'INVALID_ARGUMENT',
      `the version of ${definition.name}, ${JSON.stringify(version)}, is not semver`
    )
  }
  const text = definition.description ?? description.description
  const { availability = [] } = definition
  const { capabilities, refused } = await sift(description.capabilities, context.checkSchema)
  const content: RecordContent = {
    v: 1,
    id: `${context.peer}/${definition.name}`,
    name: definition.name,
    ...(text === undefined ? {} : { description: visibleText(text, MAX_DESCRIPTION_LENGTH) }),
    version,
    driver: definition.driver,
    audience: definition.audience,
    tags: [...definition.tags],
    auth: [...context.auth],
    protocols: Object.fromEntries(Object.entries(context.protocols).map(([name, versions]) => [name, [...versions]])),
    ...(availability.length === 0 ? {} : { availability: [...availability] }),
    capabilities
  }
  return { content, text: canonicalJson(content), refused }
}

interface Sifted {
  readonly capabilities: Capability[]
  readonly refused: RefusedCapability[]
}

async function sift(definitions: readonly CapabilityDefinition[], checkSchema: CheckSchema): Promise<Sifted> {
  const accepted = new Map<string, Capability>()
  const refused: RefusedCapability[] = []
  for (const definition of definitions) {
    const key = `${definition.kind} ${definition.name}`
    try {
      if (accepted.has(key)) throw new MeshError('INVALID_ARGUMENT', 'the agent has it twice')
      if (accepted.size >= MAX_CAPABILITIES) {
        throw new MeshError('TOO_LARGE', `a record has at most ${MAX_CAPABILITIES} capabilities`)
      }
      accepted.set(key, await publishable(definition, checkSchema))
    } catch (err) {
      const { kind, name } = definition
      refused.push({ kind, name, error: MeshError.from(err) })
    }
  }
  // In one order whatever the agent's: a list told in another order is the same offer.
  const capabilities = [...accepted].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, capability]) => capability)
  return { capabilities, refused }
}

async function publishable(definition: CapabilityDefinition, checkSchema: CheckSchema): Promise<Capability> {
  const { kind, name, version, description, input, output, streaming, effects, tags } = definition
  const unsigned = asItTravels({
    kind,
    name,
    version,
    ...(description === undefined ? {} : { description: visibleText(description, MAX_DESCRIPTION_LENGTH) }),
    ...(input === undefined ? {} : { input }),
    ...(output === undefined ? {} : { output }),
    streaming: streaming ?? false,
    effects: effects ?? 'external',
    tags: tags ?? []
  })
  for (const key of ['input', 'output'] as const) {
    if (unsigned[key] !== undefined) unsigned[key] = visibleSchema(unsigned[key])
  }
  const { success, data, error } = capabilitySchema.safeParse({ ...unsigned, digest: capabilityDigest(unsigned) })
  if (!success) {
    const [issue] = error.issues
    throw new MeshError('INVALID_ARGUMENT', `${issue?.path.join('.')}: ${issue?.message}`, { cause: error })
  }
  if (data.input !== undefined) await checkSchema(data.input)
  if (data.output !== undefined) await checkSchema(data.output)
  return data
}

/** A copy of plain JSON which peers will take: they refuse deep nesting and keys that reach a prototype. */
function asItTravels(capability: unknown): Record<string, unknown> {
  // In its place in a record, which counts for the depth.
  const record = parseJson(canonicalJson({ capabilities: [capability] })) as { capabilities: [Record<string, unknown>] }
  return record.capabilities[0]
}
