/** A JSON Schema as far as its JSON goes. */
export type JsonSchema = boolean | Readonly<Record<string, unknown>>

export const DIALECTS = ['2020-12', 'draft-07'] as const
export type Dialect = (typeof DIALECTS)[number]

/** What stands under a keyword: one subschema, a list or a map of them, a plain value, or what a dialect makes of it. */
const KEYWORD_SHAPES = ['schema', 'list', 'map', 'value', 'items', 'dependencies'] as const
export type KeywordShape = (typeof KEYWORD_SHAPES)[number]

function keywordsOf(shapes: Readonly<Partial<Record<KeywordShape, string>>>): ReadonlyMap<string, KeywordShape> {
  return new Map(
    KEYWORD_SHAPES.flatMap((shape) => (shapes[shape] ?? '').split(' ').map((keyword) => [keyword, shape] as const))
  )
}

const COMMON = keywordsOf({
  schema: 'not if then else additionalProperties propertyNames contains',
  list: 'allOf anyOf oneOf',
  map: '$defs definitions properties patternProperties',
  value:
    'type enum const multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern ' +
    'maxItems minItems uniqueItems maxProperties minProperties required'
})

const ONLY_2020_12 = keywordsOf({
  schema: 'items unevaluatedItems unevaluatedProperties',
  list: 'prefixItems',
  map: 'dependentSchemas',
  value: 'dependentRequired maxContains minContains'
})

const ONLY_DRAFT_07 = keywordsOf({ items: 'items', schema: 'additionalItems', dependencies: 'dependencies' })

/** The keywords that check something. All others are annotations and are left out before a schema is compiled. */
export const KEYWORDS: Readonly<Record<Dialect, ReadonlyMap<string, KeywordShape>>> = {
  '2020-12': new Map([...COMMON, ...ONLY_2020_12]),
  'draft-07': new Map([...COMMON, ...ONLY_DRAFT_07])
}

/** Keywords whose meaning depends on where a schema is reached from, or that are Ajv's own. */
export const REFUSED_KEYWORDS = ['$dynamicRef', '$dynamicAnchor', '$recursiveRef', '$recursiveAnchor', '$async']

const DIALECT_OF: Readonly<Record<string, Dialect>> = {
  'json-schema.org/draft/2020-12/schema': '2020-12',
  'json-schema.org/draft-07/schema': 'draft-07'
}

/** The dialect that `$schema` names; undefined when it isn't one of ours. */
export function dialectOf($schema: unknown): Dialect | undefined {
  if ($schema === undefined) return '2020-12'
  if (typeof $schema !== 'string') return undefined
  const name = $schema.replace(/^https?:\/\//, '').replace(/#$/, '')
  return Object.hasOwn(DIALECT_OF, name) ? DIALECT_OF[name] : undefined
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
