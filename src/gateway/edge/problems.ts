import { ERROR_TEXTS, type ErrorBody, type ErrorCode, MeshError } from '../../errors.ts'
import { HTTP_STATUS } from '../errors.ts'
import type { WholeReply } from '../rest/reply.ts'

/** RFC 9457, with the members of an error of the mesh. */
export interface Problem extends Omit<ErrorBody, 'message'> {
  /** `urn:pryx-mesh:<code>`, lower case with `-`. */
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
}

/** Statuses that only HTTP has; the code is the nearest of the mesh. */
export class HttpError extends MeshError {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>

  constructor(status: number, code: ErrorCode, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(code, message)
    this.status = status
    this.headers = headers
  }
}

export interface ProblemOptions {
  /** What `WWW-Authenticate` says; an `error` when credentials were bad, none when there were none (RFC 6750 §3). */
  readonly challenge: (error?: 'invalid_token') => string
  /** Told what is behind an INTERNAL, which says nothing itself. */
  readonly onDefect?: ((cause: unknown) => void) | undefined
}

/** The answer for whatever was thrown. */
export function problem(thrown: unknown, { challenge, onDefect }: ProblemOptions): WholeReply {
  const err = MeshError.from(thrown)
  if (err.code === 'INTERNAL') onDefect?.(err.cause)
  const body = problemOf(err)
  return {
    status: body.status,
    body: JSON.stringify(body),
    headers: {
      'content-type': 'application/problem+json',
      ...(body.status === 401 && { 'www-authenticate': challenge(isBadCredential(err) ? 'invalid_token' : undefined) }),
      ...(body.status === 429 && { 'retry-after': String(retryAfterSeconds(err)) }),
      ...pendingHeaders(err),
      ...(err instanceof HttpError && err.headers)
    }
  }
}

/** Something was presented that isn't accepted, where an UNAUTHENTICATED without a reason says that nothing was. */
export function isBadCredential(err: unknown): boolean {
  return err instanceof MeshError && err.code === 'UNAUTHENTICATED' && err.data !== undefined
}

export function problemOf(err: MeshError): Problem {
  const { message, ...rest } = err.toJSON()
  return {
    type: `urn:pryx-mesh:${err.code.toLowerCase().replaceAll('_', '-')}`,
    title: ERROR_TEXTS[err.code],
    status: statusOf(err),
    detail: message,
    ...rest
  }
}

/** Whoever has to wait for an owner has asked well: its request is taken, and where it stands can be read. */
function statusOf(err: MeshError): number {
  if (err instanceof HttpError) return err.status
  return err.code === 'PERMISSION_PENDING' ? 202 : HTTP_STATUS[err.code]
}

function pendingHeaders({ code, data }: MeshError): Record<string, string> {
  const { id } = (data ?? {}) as { id?: unknown }
  return code === 'PERMISSION_PENDING' && typeof id === 'string' ? { location: `/v1/permissions/${id}` } : {}
}

function retryAfterSeconds({ data }: MeshError): number {
  const { retryAfterMs } = (data ?? {}) as { retryAfterMs?: unknown }
  return typeof retryAfterMs === 'number' ? Math.max(1, Math.ceil(retryAfterMs / 1_000)) : 1
}
