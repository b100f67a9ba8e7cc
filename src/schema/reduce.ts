import { MeshError } from '../errors.ts'
import { MAX_COMPARED_VALUES, MAX_SUBSCHEMAS } from './constants.ts'
import { type Dialect, isObject, type JsonSchema, KEYWORDS, REFUSED_KEYWORDS } from './keywords.ts'

/** A schema with nothing left but what checks: no ids, no annotations, no unknown keywords, every `$ref` a known pointer. */
export interface ReducedSchema {
  readonly dialect: Dialect
  readonly root: JsonSchema
  /** What a `$ref` of the reduced schema points to. */
  readonly targets: ReadonlyMap<string, JsonSchema>
}

type Draft = Record<string, unknown>

export function invalidSchema(at: string, what: string, cause?: unknown): MeshError {
  const place = at === '#' ? 'the schema' : `the schema at ${at.slice(0, 200)}`
  return new MeshError('INVALID_SCHEMA', `${place} ${what}`, cause === undefined ? {} : { cause })
}

/**
 * Reduces a schema that its meta-schema accepts.
 *
 * @throws {MeshError} INVALID_SCHEMA for a reference that isn't local or doesn't resolve, too many subschemas, or a keyword
 *   that is refused
 */
export function reduceSchema(schema: JsonSchema, dialect: Dialect): ReducedSchema {
  const reduction = new Reduction(dialect)
  const root = reduction.reduce(schema, '#')
  reduction.resolveRefs()
  return { dialect, root, targets: reduction.targets }
}

class Reduction {
  readonly targets = new Map<string, JsonSchema>()
  readonly #dialect: Dialect
  readonly #anchors = new Map<string, string>()
  readonly #refs: { schema: Draft; at: string }[] = []

  constructor(dialect: Dialect) {
    this.#dialect = dialect
  }

  /** @param hasOwnBase true below an `$id` other than the root's, where `#` would mean something else */
  reduce(schema: unknown, at: string, hasOwnBase = false): JsonSchema {
    if (this.targets.size >= MAX_SUBSCHEMAS) throw invalidSchema('#', `has more than ${MAX_SUBSCHEMAS} subschemas`)
    if (!isObject(schema)) {
      if (typeof schema !== 'boolean') throw invalidSchema(at, 'is neither an object nor a boolean')
      this.targets.set(at, schema)
      return schema
    }
    const refused = REFUSED_KEYWORDS.find((keyword) => Object.hasOwn(schema, keyword))
    if (refused !== undefined) throw invalidSchema(at, `uses ${refused}, which is not allowed`)
    const isBased = hasOwnBase || (at !== '#' && Object.hasOwn(schema, '$id'))
    const reduced: Draft = {}
    this.targets.set(at, reduced)
    const { $anchor, $ref } = schema
    if (typeof $anchor === 'string' && this.#dialect === '2020-12') this.#addAnchor($anchor, at)
    const hasRef = typeof $ref === 'string'
    if (hasRef) {
      if (isBased) throw invalidSchema(at, 'has a $ref below an $id of its own, which is not allowed')
      reduced['$ref'] = $ref
      this.#refs.push({ schema: reduced, at })
    }
    for (const [keyword, value] of Object.entries(schema)) {
      // draft-07 §8.3: all other properties in a $ref object are ignored; what it defines can still be pointed to.
      const isIgnored = hasRef && this.#dialect === 'draft-07' && keyword !== 'definitions' && keyword !== '$defs'
      if (isIgnored || !KEYWORDS[this.#dialect].has(keyword)) continue
      reduced[keyword === 'enum' && isLookedUp(value) ? 'largeEnum' : keyword] = this.#reduceKeyword(
        keyword,
        value,
        `${at}/${keyword}`,
        isBased
      )
    }
    return reduced
  }

  resolveRefs(): void {
    for (const { schema, at } of this.#refs) schema['$ref'] = this.#resolve(String(schema['$ref']), at)
  }

  #reduceKeyword(keyword: string, value: unknown, at: string, isBased: boolean): unknown {
    const list = (values: readonly unknown[]) =>
      values.map((item, index) => this.reduce(item, `${at}/${index}`, isBased))
    const map = (reduceMember: (member: unknown, memberAt: string) => unknown) =>
      Object.fromEntries(
        Object.entries(isObject(value) ? value : {}).map(([key, member]) => [
          key,
          reduceMember(member, `${at}/${escapePointer(key)}`)
        ])
      )
    const shape = KEYWORDS[this.#dialect].get(keyword)
    if (shape === 'schema' || (shape === 'items' && !Array.isArray(value))) return this.reduce(value, at, isBased)
    if (Array.isArray(value) && (shape === 'list' || shape === 'items')) return list(value)
    if (shape === 'map') return map((member, memberAt) => this.reduce(member, memberAt, isBased))
    if (shape === 'dependencies') {
      return map((member, memberAt) => (Array.isArray(member) ? member : this.reduce(member, memberAt, isBased)))
    }
    return value
  }

  #addAnchor(anchor: string, at: string): void {
    if (this.#anchors.has(anchor)) throw invalidSchema(at, `has an $anchor that is used twice: ${anchor}`)
    this.#anchors.set(anchor, at)
  }

  #resolve(ref: string, at: string): string {
    if (!ref.startsWith('#'))
      throw invalidSchema(at, `refers to another document, which is not allowed: ${ref.slice(0, 200)}`)
    const target = ref === '#' || ref.startsWith('#/') ? canonicalPointer(ref) : this.#anchors.get(ref.slice(1))
    if (target === undefined || !this.targets.has(target)) {
      throw invalidSchema(at, `refers to a subschema that is not there: ${ref.slice(0, 200)}`)
    }
    return target
  }
}

/** An empty one is allowed, and fits nothing, but Ajv's own keyword takes none. */
function isLookedUp(values: unknown): boolean {
  return Array.isArray(values) && (values.length === 0 || values.length > MAX_COMPARED_VALUES)
}

/** RFC 6901 §3 and §6: as one token of a URI fragment. */
function escapePointer(token: string): string {
  return encodeURIComponent(token.toWellFormed().replaceAll('~', '~0').replaceAll('/', '~1')).replaceAll('%24', '$')
}

/** However its author escaped it, one spelling. */
function canonicalPointer(ref: string): string | undefined {
  try {
    return decodeURIComponent(ref)
      .split('/')
      .map((token) => escapePointer(token.replaceAll('~1', '/').replaceAll('~0', '~')))
      .join('/')
      .replace(/^%23/, '#')
  } catch {
    return undefined // a stray per cent sign: no reference to anything
  }
}
