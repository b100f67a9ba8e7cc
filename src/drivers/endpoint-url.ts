import { z } from 'zod'

/** A URL that an agent is reached at, with nothing secret in it. */
export function endpointUrl(protocols: readonly string[]): z.ZodType<string> {
  return z
    .string()
    .max(2048)
    .refine((text) => URL.canParse(text) && protocols.includes(new URL(text).protocol), {
      error: `must be a URL that begins with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`,
      abort: true
    })
    .refine(
      (text) => new URL(text).username === '' && new URL(text).password === '',
      'must carry no password: use `auth`'
    )
    .refine((text) => new URL(text).hash === '', 'must have no fragment')
}
