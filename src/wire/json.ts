import { isUtf8 } from 'node:buffer'
import { MeshError } from '../errors.ts'
import { MAX_JSON_DEPTH } from './constants.ts'

/**
 * Parses JSON that came from outside.
 *
 * @returns a value that nests at most {@link MAX_JSON_DEPTH} deep and has no key that reaches a prototype
 * @throws {MeshError} INVALID_MESSAGE for invalid UTF-8, bad JSON, too deep nesting, or a key `__proto__`, `constructor` or `prototype`
 */
export function parseJson(input: Uint8Array | string): unknown {
  const text = typeof input === 'string' ? input : decodeUtf8(input)
  // Before the parser: it goes a million levels down, and takes its time for it.
  if (mayNestTooDeep(text) && depthOf(text) > MAX_JSON_DEPTH) {
    throw new MeshError('INVALID_MESSAGE', `JSON nests deeper than ${MAX_JSON_DEPTH} levels`)
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (err) {
    throw new MeshError('INVALID_MESSAGE', 'not JSON', { cause: err })
  }
  if (mayHaveForbiddenKey(text)) refuseForbiddenKeys(value)
  return value
}

function decodeUtf8(bytes: Uint8Array): string {
  // isUtf8 with toString: as fast as a TextDecoder, and the decoder would drop a byte order mark in silence.
  if (!isUtf8(bytes)) throw new MeshError('INVALID_MESSAGE', 'not UTF-8')
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()
}

/** False only if `text` can't nest too deep: native searches, as an ordinary message has few brackets (a loop over its characters costs ten times as much). */
function mayNestTooDeep(text: string): boolean {
  if (text.length <= 2 * MAX_JSON_DEPTH) return false
  let openers = 0
  for (const bracket of ['{', '[']) {
    for (let at = text.indexOf(bracket); at !== -1; at = text.indexOf(bracket, at + 1)) {
      openers += 1
      if (openers > MAX_JSON_DEPTH) return true
    }
  }
  return false
}

/** The depth of JSON text; of other text, a number that does no harm: the parser will refuse it. Stops above the limit. */
function depthOf(text: string): number {
  let depth = 0
  let deepest = 0
  for (let at = 0; at < text.length && deepest <= MAX_JSON_DEPTH; at += 1) {
    const code = text.charCodeAt(at)
    if (code === 0x22) {
      at = endOfString(text, at)
    } else if (code === 0x7b || code === 0x5b) {
      depth += 1
      if (depth > deepest) deepest = depth
    } else if (code === 0x7d || code === 0x5d) {
      depth -= 1
    }
  }
  return deepest
}

/** Index of the quote that ends the string starting at `start`, or the end of the text. */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let backslashes = 0
    while (text.charCodeAt(at - 1 - backslashes) === 0x5c) backslashes += 1
    if (backslashes % 2 === 0) return at
  }
  return text.length
}

/** False only if no key can be forbidden: neither written out, nor with an escape that could hide it. */
function mayHaveForbiddenKey(text: string): boolean {
  if (text.includes('\\u') || text.includes('constructor')) return true
  // "proto" is common ("protocol"), what it stands for in keys isn't
  return text.includes('proto') && (text.includes('__proto__') || text.includes('prototype'))
}

function refuseForbiddenKeys(value: unknown): void {
  if (typeof value !== 'object' || value === null) return
  if (Array.isArray(value)) {
    for (const item of value) refuseForbiddenKeys(item)
    return
  }
  for (const [key, member] of Object.entries(value)) {
    if (key === '__proto__' || key === 'constructor' || key === 'prototype') {
      throw new MeshError('INVALID_MESSAGE', `the key ${key} is not allowed`)
    }
    refuseForbiddenKeys(member)
  }
}
