// Characters that a reader doesn't see and a model does: SECURITY's list for descriptions. Line feed and tab may stay.
// In order: C0 and C1 controls, soft hyphen, Arabic letter mark, Mongolian vowel separator, zero-width and direction
// marks, line and paragraph separators and embeddings, invisible operators and isolates, byte order mark, interlinear
// annotations, tags and supplementary variation selectors.
const HIDDEN =
  String.raw`\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f` +
  String.raw`\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}`

const HIDDEN_CHARACTERS = new RegExp(`[${HIDDEN}]`, 'gu')

/** Text without a character that can't be seen, nor half a surrogate pair. */
export const VISIBLE_TEXT = new RegExp(`^[^${HIDDEN}\\ud800-\\udfff]*$`, 'u')

/** Strips what {@link VISIBLE_TEXT} refuses, then cuts to `maxLength` UTF-16 units between characters. */
export function visibleText(text: string, maxLength: number): string {
  const visible = text.toWellFormed().replace(HIDDEN_CHARACTERS, '')
  if (visible.length <= maxLength) return visible
  // The cut may leave half of a surrogate pair; toWellFormed would replace it, so it goes.
  return `${visible.slice(0, maxLength - 1).replace(/[\ud800-\udbff]$/, '')}…`
}

/**
 * Strips the texts of a JSON Schema that are there to be read: titles, descriptions and comments, however deep. What a value
 * is compared with stays as it is.
 */
export function visibleSchema(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(visibleSchema)
  if (typeof schema !== 'object' || schema === null) return schema
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => {
      if (ANNOTATIONS.has(key) && typeof value === 'string') return [key, visibleText(value, value.length + 1)]
      return [key, VALUES.has(key) ? value : visibleSchema(value)]
    })
  )
}

/** True when {@link visibleSchema} would change nothing. */
export function isVisibleSchema(schema: unknown): boolean {
  if (Array.isArray(schema)) return schema.every(isVisibleSchema)
  if (typeof schema !== 'object' || schema === null) return true
  return Object.entries(schema).every(([key, value]) => {
    if (ANNOTATIONS.has(key) && typeof value === 'string') return VISIBLE_TEXT.test(value)
    return VALUES.has(key) || isVisibleSchema(value)
  })
}

const ANNOTATIONS: ReadonlySet<string> = new Set(['title', 'description', '$comment'])
const VALUES: ReadonlySet<string> = new Set(['const', 'enum', 'default', 'examples'])
