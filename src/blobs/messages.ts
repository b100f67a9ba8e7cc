import { z } from 'zod'

/** SHA-256 of the content, hex in lower case. */
export const blobId = z.string().regex(/^[0-9a-f]{64}$/)

/** The one frame that the asking side sends. */
export const blobRequest = z.object({
  sha256: blobId,
  /** Bytes of it that are there already. */
  offset: z.int().min(0).optional()
})
export type BlobRequest = z.infer<typeof blobRequest>

const found = z.object({
  /** Of the whole blob, bytes; what follows is that less the offset. */
  size: z.int().min(0)
})

const refusal = z.object({
  error: z.object({
    code: z.string().max(64),
    message: z.string().max(1_024),
    retryable: z.boolean(),
    hint: z.string().optional(),
    data: z.unknown().optional()
  })
})

/** The one frame that answers it, before the bytes. */
export const blobHeader = z.union([found, refusal])
