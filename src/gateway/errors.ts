import type { ErrorCode } from '../errors.ts'

/** The HTTP status of each code, at every HTTP edge. */
export const HTTP_STATUS: Readonly<
  Record<ErrorCode, 400 | 403 | 404 | 409 | 413 | 422 | 429 | 499 | 500 | 502 | 503 | 504>
> = {
  INVALID_ARGUMENT: 400,
  INVALID_MESSAGE: 400,
  INVALID_INPUT: 422,
  INVALID_OUTPUT: 502,
  INVALID_RECORD: 502,
  INVALID_SCHEMA: 422,
  INVALID_CONFIG: 500,
  UNSUPPORTED_VERSION: 404,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  AMBIGUOUS: 409,
  ALREADY_EXISTS: 409,
  TOO_LARGE: 413,
  BUSY: 429,
  TIMEOUT: 504,
  // nginx's "client closed request": nobody is left to read it, but the log is
  CANCELLED: 499,
  UNREACHABLE: 503,
  CONNECTION_LOST: 502,
  AGENT_UNAVAILABLE: 503,
  AGENT_ERROR: 502,
  HOME_IN_USE: 409,
  ADDRESS_IN_USE: 409,
  IO: 500,
  INTERNAL: 500
}
