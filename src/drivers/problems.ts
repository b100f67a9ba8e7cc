import type { z } from 'zod'

/** What a schema found, for a person, on one line: `capabilities[0].handler must be a function`. */
export function problems(error: z.ZodError): string {
  const texts = error.issues.slice(0, MAX_PROBLEMS).map(({ path, message }) => {
    const where = path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('')
    return where === '' ? message : `${where.replace(/^\./, '')}: ${message}`
  })
  return texts.join('; ')
}

// More than a person reads at once.
const MAX_PROBLEMS = 5
