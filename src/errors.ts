/**
 * The one error type of the mesh and its codes.
 *
 * @see protocols/README.md#errors
 */

const ERRORS = {
  INVALID_ARGUMENT: {
    retryable: false,
    text: 'what was asked for makes no sense: a bad name, version range, address or option'
  },
  INVALID_MESSAGE: { retryable: false, text: 'a frame or message is malformed, too deep, or breaks its schema' },
  INVALID_INPUT: { retryable: false, text: "the input doesn't fit the capability's input schema" },
  INVALID_OUTPUT: { retryable: false, text: "the agent's output doesn't fit the capability's output schema" },
  INVALID_RECORD: {
    retryable: false,
    text: 'a record is forged, expired, rolled back, oversize or says what its author may not say'
  },
  INVALID_SCHEMA: {
    retryable: false,
    text: 'a JSON Schema is not valid, too large, or uses what the mesh does not allow'
  },
  INVALID_CONFIG: { retryable: false, text: 'a file in the home (key, policy, configuration, database) is unusable' },
  UNSUPPORTED_VERSION: {
    retryable: false,
    text: 'no common protocol version, or no capability in the asked version range'
  },
  UNAUTHENTICATED: {
    retryable: false,
    text: 'no credential, or one that is not accepted: forged, expired, revoked, replayed, or bound to another peer'
  },
  FORBIDDEN: { retryable: false, text: "the owner's policy denies it" },
  PERMISSION_PENDING: { retryable: true, text: 'the owner has been asked; `data` has the id to wait for' },
  LIMIT_EXCEEDED: { retryable: true, text: 'a limit that the owner has set is used up; nothing was started' },
  DEFINITION_CHANGED: {
    retryable: false,
    text: 'the remote capability is not defined as it was when it was first used, and waits to be approved again'
  },
  NOT_FOUND: { retryable: false, text: 'there is no such agent, capability or peer' },
  AMBIGUOUS: { retryable: false, text: 'the short name fits more than one agent or capability' },
  ALREADY_EXISTS: { retryable: false, text: 'the name is taken' },
  TOO_LARGE: { retryable: false, text: 'a message is larger than its limit' },
  BUSY: { retryable: true, text: 'a limit on concurrent work is reached; nothing was started' },
  TIMEOUT: { retryable: true, text: 'the deadline passed; the work may have been done' },
  CANCELLED: { retryable: false, text: 'the caller gave up' },
  UNREACHABLE: { retryable: true, text: 'the peer cannot be dialled, or no node is running here' },
  CONNECTION_LOST: { retryable: true, text: 'the connection broke; the work may have been done' },
  STREAM_LOST: {
    retryable: false,
    text: "a stream that was interrupted can't be gone on with: what it needs is not kept any more"
  },
  AGENT_UNAVAILABLE: { retryable: true, text: 'the agent is not running just now; nothing was started' },
  AGENT_ERROR: { retryable: false, text: 'the agent ran and reported a failure' },
  HOME_IN_USE: { retryable: false, text: 'another process runs on this home' },
  ADDRESS_IN_USE: { retryable: false, text: 'an address to listen on is taken or not ours' },
  IO: { retryable: false, text: 'a file or folder cannot be read or written' },
  INTERNAL: { retryable: false, text: 'a defect of this node; its log has the details' }
} as const

/** Why something failed. Callers test this, never the message. */
export type ErrorCode = keyof typeof ERRORS

/** Every code, in the order of protocols/README.md. */
export const ERROR_CODES = Object.keys(ERRORS) as readonly ErrorCode[]

/** What each code means, one line, as the documentation prints it. */
export const ERROR_TEXTS: Readonly<Record<ErrorCode, string>> = Object.fromEntries(
  ERROR_CODES.map((code) => [code, ERRORS[code].text])
) as Record<ErrorCode, string>

/** True when `value` is one of this version's codes. */
function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERRORS, value)
}

export interface MeshErrorOptions {
  /** What caused it; stays on this node. */
  readonly cause?: unknown
  /** What to do next, one sentence, for a person. */
  readonly hint?: string
  /** JSON that goes with the error, such as an agent's own failure report; crosses the wire. */
  readonly data?: unknown
}

/** What crosses the wire in place of a {@link MeshError}: never a stack, never a cause. */
export interface ErrorBody {
  readonly code: ErrorCode
  readonly message: string
  readonly retryable: boolean
  readonly hint?: string
  readonly data?: unknown
}

/** A failure with a code; everything this project throws on purpose. */
export class MeshError extends Error {
  override readonly name = 'MeshError'
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly data: unknown

  constructor(code: ErrorCode, message: string, options: MeshErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hint = options.hint
    this.data = options.data
  }

  /** True when the same request may succeed if it is sent again later. */
  get retryable(): boolean {
    return ERRORS[this.code].retryable
  }

  toJSON(): ErrorBody {
    return {
      code: this.code,
      message: this.message,
      retryable: this.retryable,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      ...(this.data === undefined ? {} : { data: this.data })
    }
  }

  /** Makes a {@link MeshError} of anything thrown; what isn't ours becomes INTERNAL and keeps its text to itself. */
  static from(err: unknown): MeshError {
    if (err instanceof MeshError) return err
    return new MeshError('INTERNAL', 'internal error', { cause: err })
  }

  /** Rebuilds the error that a peer sent; a code of a later version reads as INTERNAL. */
  static fromBody(body: { code: string; message: string; hint?: string | undefined; data?: unknown }): MeshError {
    const code = isErrorCode(body.code) ? body.code : 'INTERNAL'
    return new MeshError(code, body.message, {
      ...(body.hint === undefined ? {} : { hint: body.hint }),
      ...(body.data === undefined ? {} : { data: body.data })
    })
  }
}

/** Throws what `signal` was aborted with, as TIMEOUT or CANCELLED. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortError(signal)
}

/** The error to fail with when `signal` fires: TIMEOUT for a passed deadline, else CANCELLED (or the reason, if it is ours). */
export function abortError(signal: AbortSignal): MeshError {
  const { reason } = signal
  if (reason instanceof MeshError) return reason
  const timedOut = reason instanceof DOMException && reason.name === 'TimeoutError'
  return timedOut ? new MeshError('TIMEOUT', 'the deadline passed') : new MeshError('CANCELLED', 'cancelled')
}

/**
 * Waits for `promise` no longer than the signal allows; what it was waiting for goes on.
 *
 * @throws {MeshError} TIMEOUT, CANCELLED
 */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    throwIfAborted(signal)
    const onAbort = () => reject(abortError(signal))
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
