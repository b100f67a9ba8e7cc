import {
  AuthorizationResponseError,
  ClientError,
  ResponseBodyError,
  WWWAuthenticateChallengeError
} from 'openid-client'
import { MeshError } from '../errors.ts'

/**
 * What a failure of an issuer means for a login: `login`: it refuses this client or user for good; `request`: it refuses
 * what was asked for; `later`: nothing is decided.
 */
type Verdict = 'login' | 'request' | 'later'

/** A failure of an issuer: what to throw, and what it means. */
export interface IssuerFailure {
  readonly error: MeshError
  readonly verdict: Verdict
  /** The issuer's error code, if it gave one. */
  readonly reason?: string
}

// RFC 6749 §5.2: only a new login helps
const FOR_GOOD = ['invalid_grant', 'invalid_client', 'unauthorized_client', 'access_denied']
const LATER = ['temporarily_unavailable', 'server_error', 'slow_down', 'authorization_pending']

/** Reads what openid-client, or the fetch given to it, has thrown. */
export function readFailure(err: unknown, issuer: string): IssuerFailure {
  if (err instanceof MeshError) return { error: err, verdict: 'later' }
  if (err instanceof ResponseBodyError) return answered(err, issuer, err.error, err.status)
  if (err instanceof AuthorizationResponseError) return answered(err, issuer, err.error)
  if (err instanceof WWWAuthenticateChallengeError) {
    // RFC 6749 §5.2: a client that tried by a header is refused by one
    return answered(err, issuer, err.cause[0]?.parameters['error'] ?? 'invalid_client')
  }
  // The library's word for an answer of the wrong shape is a TypeError
  if (err instanceof TypeError) return untrusted(err, issuer)
  if (!(err instanceof ClientError)) return { error: MeshError.from(err), verdict: 'later' }
  if (err.cause instanceof MeshError) return { error: err.cause, verdict: 'later' }
  if (err.code === 'OAUTH_TIMEOUT') return { error: unreachable(err, issuer, 'does not answer'), verdict: 'later' }
  if (err.code === 'OAUTH_ABORT')
    return { error: new MeshError('CANCELLED', 'cancelled', { cause: err }), verdict: 'later' }
  if (err.cause instanceof Response) {
    return { error: unreachable(err, issuer, `answers with HTTP ${err.cause.status}`), verdict: 'later' }
  }
  return untrusted(err, issuer)
}

function untrusted(cause: unknown, issuer: string): IssuerFailure {
  const error = new MeshError('UNAUTHENTICATED', `the answer of ${issuer} can't be trusted`, {
    cause,
    hint: 'check that the issuer is the one that was meant, and its version'
  })
  return { error, verdict: 'later', reason: 'invalid_response' }
}

function answered(cause: unknown, issuer: string, code: string, status = 400): IssuerFailure {
  const reason = /^[\w.-]{1,64}$/.test(code) ? code : 'unknown_error'
  if (reason === 'expired_token') {
    return { error: new MeshError('TIMEOUT', 'nobody said yes in time', { cause }), verdict: 'request', reason }
  }
  if (status >= 500 || status === 429 || LATER.includes(reason)) {
    return { error: unreachable(cause, issuer, `answers ${reason}`), verdict: 'later', reason }
  }
  const error = new MeshError('UNAUTHENTICATED', `${issuer} refuses: ${reason}`, {
    cause,
    data: { error: reason },
    ...(HINTS[reason] === undefined ? {} : { hint: HINTS[reason] })
  })
  return { error, verdict: FOR_GOOD.includes(reason) ? 'login' : 'request', reason }
}

const HINTS: Readonly<Record<string, string>> = {
  invalid_client: 'check --client-id and the client secret',
  invalid_grant: 'log in again: pryx-mesh login',
  invalid_scope: 'check --scope',
  invalid_target: 'the issuer knows no such resource: register it there, or name another with --resource',
  invalid_dpop_proof: "set this machine's clock",
  unauthorized_client: 'the client is not registered for this --flow',
  access_denied: 'somebody said no'
}

function unreachable(cause: unknown, issuer: string, what: string): MeshError {
  return new MeshError('UNREACHABLE', `${issuer} ${what}`, { cause, hint: 'check the issuer, and the network' })
}
