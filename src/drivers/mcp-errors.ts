import { ProtocolError, ProtocolErrorCode, SdkError, SdkErrorCode, SdkHttpError } from '@modelcontextprotocol/client'
import { abortError, type ErrorCode, MeshError } from '../errors.ts'
import { clip } from './mcp-tools.ts'

/** The data of an error that a transport answers with itself, in place of a server whose answer will not come. */
export const ANSWER_LOST = Object.freeze({ lost: true })
export const ANSWER_TOO_LARGE = Object.freeze({ tooLarge: true })

/** True when the server itself has answered with an error. */
export function isRefusal(err: unknown): boolean {
  return err instanceof ProtocolError && err.data !== ANSWER_LOST && err.data !== ANSWER_TOO_LARGE
}

/** What became of a call that the SDK failed. A server's own words are the agent's; all else stays here, as cause. */
export function callError(err: unknown, signal: AbortSignal): MeshError {
  if (err instanceof MeshError) return err
  if (signal.aborted) return abortError(signal)
  if (err instanceof ProtocolError) return serverError(err)
  if (err instanceof SdkHttpError) return httpError(err)
  if (err instanceof SdkError) {
    const { code, text } = SDK_FAILURES[err.code] ?? { code: 'AGENT_ERROR', text: 'the call of the MCP server failed' }
    return new MeshError(code, text, { cause: err })
  }
  return networkError(err)
}

function serverError(err: ProtocolError): MeshError {
  if (err.data === ANSWER_LOST)
    return new MeshError('CONNECTION_LOST', 'the connection to the agent broke before it answered')
  if (err.data === ANSWER_TOO_LARGE) return new MeshError('TOO_LARGE', "the agent's answer is too large")
  const code = err.code === ProtocolErrorCode.InvalidParams ? 'INVALID_INPUT' : 'AGENT_ERROR'
  return new MeshError(code, clip(err.message) || 'the MCP server failed', { cause: err })
}

function httpError(err: SdkHttpError): MeshError {
  const { status } = err.data
  const text = `the MCP server answered with HTTP status ${status}`
  if (status === 429) return new MeshError('BUSY', text, { cause: err })
  const failed = status !== undefined && status >= 500 && status !== 503
  return new MeshError(failed ? 'AGENT_ERROR' : 'AGENT_UNAVAILABLE', text, { cause: err })
}

const SDK_FAILURES: Readonly<Record<string, { code: ErrorCode; text: string }>> = {
  [SdkErrorCode.NotConnected]: { code: 'AGENT_UNAVAILABLE', text: 'the agent is not connected' },
  [SdkErrorCode.ConnectionClosed]: {
    code: 'CONNECTION_LOST',
    text: 'the connection to the agent broke before it answered'
  },
  [SdkErrorCode.RequestTimeout]: { code: 'TIMEOUT', text: 'the agent did not answer in time' },
  [SdkErrorCode.InvalidResult]: { code: 'INVALID_OUTPUT', text: 'what the agent answered is no MCP result' },
  [SdkErrorCode.UnsupportedResultType]: {
    code: 'AGENT_ERROR',
    text: 'the tool wants to ask its caller something, which a call over the mesh does not carry'
  }
}

// What `fetch` says before anything has been sent; after that the work may have been done.
const NOT_STARTED = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT'
])

function networkError(err: unknown): MeshError {
  const cause = err instanceof Error ? err.cause : undefined
  const code = typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : ''
  if (NOT_STARTED.has(code))
    return new MeshError('AGENT_UNAVAILABLE', `the agent can't be reached (${code})`, { cause: err })
  return new MeshError('CONNECTION_LOST', 'the connection to the agent broke before it answered', { cause: err })
}
