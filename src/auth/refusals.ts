import { MeshError } from '../errors.ts'

/** Why a credential is not accepted. */
export const REFUSALS = [
  'malformed',
  'unsupported',
  'unknown',
  'signature',
  'expired',
  'not-yet-valid',
  'revoked',
  'replayed',
  'wrong-peer',
  'wrong-issuer',
  'wrong-audience',
  'unbound'
] as const
export type Refusal = (typeof REFUSALS)[number]

/**
 * The error for a credential that isn't accepted.
 *
 * @param message for people; never quotes the credential
 * @param cause stays on this node
 */
export function refused(reason: Refusal, message: string, cause?: unknown): MeshError {
  return new MeshError('UNAUTHENTICATED', message, { data: { reason }, cause })
}
