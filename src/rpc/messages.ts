import { z } from 'zod'
import { MeshError } from '../errors.ts'
import { parseJson } from '../wire/index.ts'
import { MAX_TIMEOUT_MS } from './constants.ts'

const id = z.int().min(1)

const requestFrame = z.object({
  t: z.literal('request'),
  /** Chosen by the asking side, each larger than the one before. */
  id,
  /** Default: the protocol's. */
  timeoutMs: z.int().min(1).max(MAX_TIMEOUT_MS).optional(),
  /** Bytes of items that may come before more is granted; default 262,144. */
  credit: z.int().min(1).optional(),
  body: z.unknown().optional()
})

const itemFrame = z.object({ t: z.literal('item'), id, body: z.unknown() })

const endFrame = z.object({
  t: z.literal('end'),
  id,
  /** After a streamed answer, how many items there were. */
  items: z.int().min(0).optional(),
  body: z.unknown().optional()
})

const errorFrame = z.object({
  t: z.literal('error'),
  id,
  error: z.object({
    code: z.string(),
    message: z.string(),
    retryable: z.boolean(),
    hint: z.string().optional(),
    data: z.unknown().optional()
  })
})

const cancelFrame = z.object({ t: z.literal('cancel'), id })
const creditFrame = z.object({ t: z.literal('credit'), id, bytes: z.int().min(1) })
const pingFrame = z.object({ t: z.literal('ping'), id })
const pongFrame = z.object({ t: z.literal('pong'), id })

/** Every frame of a channel. */
export const frame = z.discriminatedUnion('t', [
  requestFrame,
  itemFrame,
  endFrame,
  errorFrame,
  cancelFrame,
  creditFrame,
  pingFrame,
  pongFrame
])
export type Frame = z.infer<typeof frame>
export type RequestFrame = z.infer<typeof requestFrame>
export type ErrorFrame = z.infer<typeof errorFrame>

/** Reads one frame. @throws {MeshError} INVALID_MESSAGE */
export function readFrame(payload: Uint8Array): Frame {
  const value = parseJson(payload)
  if (isFrame(value)) return value
  throw new MeshError('INVALID_MESSAGE', 'a frame breaks its schema')
}

/** True exactly when {@link frame} accepts the value; by hand, because Zod takes a good part of what a call may cost. */
export function isFrame(value: unknown): value is Frame {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const candidate = value as Readonly<Record<string, unknown>>
  if (!isInteger(candidate['id'], 1)) return false
  switch (candidate['t']) {
    case 'request':
      return isOptionalInteger(candidate['timeoutMs'], 1, MAX_TIMEOUT_MS) && isOptionalInteger(candidate['credit'], 1)
    case 'end':
      return isOptionalInteger(candidate['items'], 0)
    case 'item':
      return 'body' in candidate
    case 'error':
      return isErrorBody(candidate['error'])
    case 'credit':
      return isInteger(candidate['bytes'], 1)
    case 'cancel':
    case 'ping':
    case 'pong':
      return true
    default:
      return false
  }
}

function isInteger(value: unknown, min: number, max: number = Number.MAX_SAFE_INTEGER): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
}

function isOptionalInteger(value: unknown, min: number, max?: number): boolean {
  return value === undefined || isInteger(value, min, max)
}

function isErrorBody(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const { code, message, retryable, hint } = value as Readonly<Record<string, unknown>>
  return (
    typeof code === 'string' &&
    typeof message === 'string' &&
    typeof retryable === 'boolean' &&
    (hint === undefined || typeof hint === 'string')
  )
}

/**
 * The id in a frame that couldn't be parsed, or undefined: so that one bad body fails one request and not its whole channel.
 * Senders put `t` and `id` first; a frame that doesn't has no usable id.
 */
export function idOfBrokenFrame(payload: Buffer): number | undefined {
  const start = payload.toString('latin1', 0, 64)
  const digits = /^\{\s*"t"\s*:\s*"[a-z]+"\s*,\s*"id"\s*:\s*([1-9]\d{0,15})\s*[,}]/.exec(start)?.[1]
  return digits !== undefined && Number.isSafeInteger(Number(digits)) ? Number(digits) : undefined
}
