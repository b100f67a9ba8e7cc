import { z } from 'zod'
import { MAX_NONCE_LENGTH } from './constants.ts'

/** Request of `status/1.0.0`. */
export const statusRequest = z.discriminatedUnion('op', [
  z.object({ op: z.literal('ping'), nonce: z.string().max(MAX_NONCE_LENGTH) }),
  z.object({ op: z.literal('info') })
])

export const pingAnswer = z.object({ nonce: z.string().max(MAX_NONCE_LENGTH) })

/** How a node is. */
export const infoAnswer = z.object({
  /** Of the node's software. */
  version: z.string().regex(/^[\x21-\x7e]{1,64}$/),
  /** Since its start, milliseconds. */
  uptimeMs: z.int().min(0),
  /** Calls of its agents under way. */
  running: z.int().min(0)
})
export type StatusInfo = z.infer<typeof infoAnswer>
