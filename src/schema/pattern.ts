import { RE2JS } from 're2js'
import type { Budget } from './budget.ts'
import { PATTERN_START_CHARACTERS } from './constants.ts'
import { invalidSchema } from './reduce.ts'

/** Named back references: re2js reads `\k` as the letter, so the pattern would mean something else. */
const BACK_REFERENCE = /(?:^|[^\\])(?:\\\\)*\\k/

/** What Ajv takes for `new RegExp(source, 'u')`. */
export interface Pattern {
  readonly test: (text: string) => boolean
  readonly toString: () => string
  /** Size of its automaton; at worst each character costs a step per state. */
  readonly states: number
}

/** @throws {MeshError} INVALID_SCHEMA for a pattern that RE2 doesn't know */
export function compilePattern(source: string, budget: Budget): Pattern {
  const pattern = parsePattern(source)
  const states = pattern.programSize()
  return {
    states,
    test(text) {
      budget.spend((text.length + PATTERN_START_CHARACTERS) * states)
      return pattern.test(text)
    },
    // Ajv keeps patterns by this text: without it every pattern of a schema would be the first one.
    toString: () => `re2:${source}`
  }
}

function parsePattern(source: string): RE2JS {
  if (BACK_REFERENCE.test(source)) throw unsupported(source, 'back references are not allowed')
  try {
    return RE2JS.compile(RE2JS.translateRegExp(source))
  } catch (err) {
    throw unsupported(source, err instanceof Error ? err.message : 'not a regular expression', err)
  }
}

const MAX_SHOWN = 100

function unsupported(source: string, why: string, cause?: unknown): Error {
  const shown = source.length > MAX_SHOWN ? `${source.slice(0, MAX_SHOWN)}…` : source
  return invalidSchema('#', `has a pattern that RE2 does not know, ${shown}: ${why.slice(0, MAX_SHOWN)}`, cause)
}
