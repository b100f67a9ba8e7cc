import { z } from 'zod'
import { agentName, CAPABILITY_KINDS, capabilityName } from '../registry/messages.ts'
import { MAX_REASON_LENGTH, MAX_WAIT_MS } from './constants.ts'

/** 128 random bits. */
export const requestId = z.string().regex(/^[0-9a-f]{32}$/)

const STATES = ['pending', 'allowed', 'denied', 'expired', 'cancelled'] as const
const state = z.enum(STATES)
const reason = z.string().max(MAX_REASON_LENGTH)
/** Compact JWS each, the owner's first; what they say is judged by who takes them. */
const chain = z.array(z.string().max(16_384)).min(1).max(16)
const jws = z.string().max(65_536)

export const wantedBody = z.object({
  agent: agentName,
  capability: capabilityName,
  kind: z.enum(CAPABILITY_KINDS).exactOptional(),
  /** Milliseconds. */
  forMs: z.int().min(1).exactOptional(),
  uses: z.int().min(1).exactOptional(),
  reason: reason.exactOptional()
})

/** What a peer may ask, but for `check`. */
export const permissionMessage = z.discriminatedUnion('op', [
  wantedBody.extend({ op: z.literal('request') }),
  z.object({ op: z.literal('status'), id: requestId }),
  z.object({ op: z.literal('wait'), id: requestId, forMs: z.int().min(1).max(MAX_WAIT_MS).exactOptional() }),
  z.object({ op: z.literal('present'), chain }),
  z.object({ op: z.literal('revocations') }),
  z.object({
    op: z.literal('decided'),
    id: requestId,
    state: state.exclude(['pending']),
    reason: reason.exactOptional(),
    chain: chain.exactOptional()
  }),
  z.object({ op: z.literal('revoked'), jws })
])
export type PermissionMessage = z.infer<typeof permissionMessage>

/** Answers `request`, `status` and `wait`. */
export const statusAnswer = z.object({
  id: requestId,
  state,
  deadline: z.iso.datetime(),
  reason: reason.exactOptional(),
  /** Of an allowed request ahead, for its holder. */
  chain: chain.exactOptional()
})
export type StatusAnswer = z.infer<typeof statusAnswer>

export const revocationsAnswer = z.object({ jws })

const uses = z.int().min(1).exactOptional()

/** The owner's yes. */
const answer = z.discriminatedUnion('remember', [
  z.strictObject({ remember: z.enum(['once', 'session', 'always']), uses }),
  z.strictObject({ remember: z.literal('duration'), forMs: z.int(), uses })
])

/** What an approver command prints; nothing but `null` leaves it to the owner. */
export const approverAnswer = z.union([
  z.strictObject({ allow: answer }),
  z.strictObject({ deny: z.strictObject({ forever: z.boolean().exactOptional(), reason: reason.exactOptional() }) }),
  z.null()
])
