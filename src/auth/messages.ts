import { z } from 'zod'
import {
  MAX_CREDENTIALS,
  MAX_HELLO_METHODS,
  MAX_HELLO_PROTOCOLS,
  MAX_ISSUERS,
  MAX_NODE_NAME_LENGTH
} from './constants.ts'

// Control, format (bidi, zero-width), surrogate and private characters and line breaks can make one name look like another.
const UNPRINTABLE = '\\p{Cc}\\p{Cf}\\p{Cs}\\p{Co}\\p{Zl}\\p{Zp}'

/** What a node calls itself. Not unique, not proven: for people. */
const nodeName = z.string().regex(new RegExp(`^[^${UNPRINTABLE}]{1,${MAX_NODE_NAME_LENGTH}}$`, 'u'))

/** Request and answer of `hello/1.0.0`. */
export const helloMessage = z.object({
  name: nodeName,
  /** Of the node's software. */
  version: z.string().regex(/^[\x21-\x7e]{1,64}$/),
  /** The sender's clock. */
  time: z.iso.datetime({ precision: 3 }),
  /** Protocol name to the versions spoken, `{"call":["1.0.0"]}`. */
  protocols: z
    .record(z.string().regex(/^[a-z][a-z0-9-]{0,31}$/), z.array(z.string().regex(/^[0-9A-Za-z.+-]{1,16}$/)).max(16))
    .refine((protocols) => Object.keys(protocols).length <= MAX_HELLO_PROTOCOLS)
    .meta({ maxProperties: MAX_HELLO_PROTOCOLS }),
  /** Credential methods accepted. */
  auth: z.array(z.string().regex(/^[a-z][a-z0-9-]{0,31}$/)).max(MAX_HELLO_METHODS),
  /** What somebody must know to get an access token for the sender: the audience, and the issuers that it accepts. RFC 9728 in small. */
  oauth: z.object({ resource: z.string().max(512), issuers: z.array(z.string().max(512)).max(MAX_ISSUERS) }).optional()
})
export type Hello = z.infer<typeof helloMessage>

/** What is presented; each method says what it holds beside `method`. */
const presented = z.looseObject({ method: z.string().max(32) })

/** Request of `hello/1.0.0`: also presents credentials, or renews them. */
export const helloRequest = helloMessage.extend({ credentials: z.array(presented).max(MAX_CREDENTIALS).optional() })
export type HelloRequest = z.infer<typeof helloRequest>

const accepted = z.object({
  ok: z.literal(true),
  method: z.string().max(32),
  scopes: z.array(z.string().max(256)).max(64).optional(),
  /** When it ends; absent: with the connection. */
  expiresAt: z.iso.datetime({ precision: 3 }).optional()
})
const notAccepted = z.object({
  ok: z.literal(false),
  method: z.string().max(32),
  error: z.object({
    code: z.string().max(64),
    message: z.string().max(1_024),
    data: z.object({ reason: z.string().max(64).optional() }).optional()
  })
})

/** Answer: what became of each credential, in the order in which they were presented. */
export const helloAnswer = helloMessage.extend({
  credentials: z
    .array(z.discriminatedUnion('ok', [accepted, notAccepted]))
    .max(MAX_CREDENTIALS)
    .optional()
})
export type HelloAnswer = z.infer<typeof helloAnswer>

/** Makes a text fit for a node's name: unprintable characters go, then what is too long; `fallback` if nothing is left. */
export function printableName(text: string, fallback: string): string {
  const printable = text.replace(new RegExp(`[${UNPRINTABLE}]`, 'gu'), '').trim()
  return Array.from(printable).slice(0, MAX_NODE_NAME_LENGTH).join('').trim() || fallback
}
