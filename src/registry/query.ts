import semver from 'semver'
import { MeshError } from '../errors.ts'
import { compileGlob } from '../policy/glob.ts'
import { type AgentRecord, type Capability, type Query, query as querySchema } from './messages.ts'

/** A query, ready to be held against many records. */
export interface CompiledQuery {
  readonly query: Query
  readonly hasName: (name: string) => boolean
  readonly hasVersion: (version: string) => boolean
  /** Lower case. */
  readonly words: readonly string[]
}

/**
 * Prepares a query.
 *
 * Versions follow npm: a range matches a pre-release only when it names one of the same version (`>=1.2.0-0`), because
 * who asks for `^1` wants what is finished; leave the range out to see all.
 *
 * @throws {MeshError} INVALID_ARGUMENT for a bad range, tag, kind or id
 */
export function compileQuery(query: Query): CompiledQuery {
  const { success, data, error } = querySchema.safeParse(query)
  if (!success) {
    const [issue] = error.issues
    throw new MeshError('INVALID_ARGUMENT', `the query's ${issue?.path.join('.')} is not valid: ${issue?.message}`, {
      cause: error
    })
  }
  const { name, version, text = '' } = data
  return {
    query: data,
    hasName: name === undefined ? () => true : compileGlob(name),
    hasVersion: version === undefined ? () => true : compileRange(version),
    words: text.toLowerCase().split(/\s+/).filter(Boolean)
  }
}

/** The capabilities of a record that match, best first: those with more of the words in their names. */
export function matchRecord(record: AgentRecord, compiled: CompiledQuery): readonly Capability[] {
  const { id, agent } = compiled.query
  if (id !== undefined && id !== record.id) return []
  if (agent !== undefined && agent !== record.name) return []
  const matches = record.capabilities.filter((capability) => isMatch(record, capability, compiled))
  if (compiled.words.length === 0) return matches
  return matches.toSorted((a, b) => wordsIn(b.name, compiled) - wordsIn(a.name, compiled))
}

function isMatch(record: AgentRecord, capability: Capability, compiled: CompiledQuery): boolean {
  const { kind, tags = [] } = compiled.query
  if (kind !== undefined && kind !== capability.kind) return false
  if (!compiled.hasName(capability.name) || !compiled.hasVersion(capability.version)) return false
  if (!tags.every((tag) => record.tags.includes(tag) || capability.tags.includes(tag))) return false
  if (compiled.words.length === 0) return true
  const { name, description = '', tags: own } = capability
  const text = [record.name, record.description ?? '', ...record.tags, name, description, ...own].join('\n')
  return wordsIn(text, compiled) === compiled.words.length
}

function wordsIn(text: string, { words }: CompiledQuery): number {
  const lower = text.toLowerCase()
  return words.filter((word) => lower.includes(word)).length
}

function compileRange(text: string): (version: string) => boolean {
  let range: semver.Range
  try {
    range = new semver.Range(text)
  } catch (err) {
    throw new MeshError('INVALID_ARGUMENT', `${JSON.stringify(text)} is not a version range`, {
      cause: err,
      hint: 'write it as npm does, such as ^1.2.0, >=1.0.0 <3.0.0 or 1.x'
    })
  }
  return (version) => range.test(version)
}
