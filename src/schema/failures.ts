import type { ErrorObject } from 'ajv'
import { MAX_FAILURE_LENGTH, MAX_FAILURES } from './constants.ts'

/** One way in which a value doesn't fit. Bounded text, without the value itself. */
export interface Failure {
  /** JSON pointer into the value; empty for the whole of it. */
  readonly path: string
  readonly message: string
}

/** Undefined when the value fits; else at least one failure, the first ones found, at most MAX_FAILURES. */
export type Outcome = readonly Failure[] | undefined

export const TOO_DEEP: Outcome = [{ path: '', message: 'is nested too deeply to be checked' }]
export const TOO_COSTLY: Outcome = [{ path: '', message: 'takes too long to be checked' }]
export const NOT_JSON: Outcome = [{ path: '', message: 'is not JSON' }]

export function failuresOf(errors: readonly ErrorObject[] | null | undefined): Outcome {
  return (errors ?? []).slice(0, MAX_FAILURES).map((error) => ({
    path: cut(error.instancePath),
    message: cut(messageOf(error))
  }))
}

function messageOf({ keyword, message = 'is not valid', params }: ErrorObject): string {
  const { additionalProperty, unevaluatedProperty, allowedValues } = params
  const name: unknown = additionalProperty ?? unevaluatedProperty
  if (typeof name === 'string') return `${message}: ${name}`
  if (keyword === 'enum' && Array.isArray(allowedValues)) return `${message}: ${allowedValues.join(', ')}`
  if (keyword === 'const') return `${message}: ${JSON.stringify(params['allowedValue'])}`
  return message
}

function cut(text: string): string {
  return text.length <= MAX_FAILURE_LENGTH ? text : `${text.slice(0, MAX_FAILURE_LENGTH - 1)}…`
}
