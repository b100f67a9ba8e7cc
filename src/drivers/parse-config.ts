import type { z } from 'zod'
import { MeshError } from '../errors.ts'

/**
 * Parses what an agent is configured with.
 *
 * @param subject what to call it in the error
 * @throws {MeshError} INVALID_ARGUMENT naming each field that is wrong
 */
export function parseConfig<T>(schema: z.ZodType<T>, config: unknown, subject: string): T {
  const { success, data, error } = schema.safeParse(config)
  if (success) return data
  throw new MeshError('INVALID_ARGUMENT', `${subject} is not valid: ${problems(error)}`)
}

/** What a schema found, for a person, on one line: `capabilities[0].handler must be a function`. */
function problems(error: z.ZodError): string {
  const texts = error.issues.slice(0, MAX_PROBLEMS).map(({ path, message }) => {
    const where = path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('')
    return where === '' ? message : `${where.replace(/^\./, '')}: ${message}`
  })
  return texts.join('; ')
}

// More than a person reads at once.
const MAX_PROBLEMS = 5
