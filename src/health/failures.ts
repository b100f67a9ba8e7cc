import type { ErrorCode } from '../errors.ts'

/** What speaks against the agent that was called: not against who called it, nor for it. */
const FAILURES: ReadonlySet<ErrorCode> = new Set([
  'AGENT_ERROR',
  'AGENT_UNAVAILABLE',
  'INVALID_OUTPUT',
  'TIMEOUT',
  'UNREACHABLE',
  'CONNECTION_LOST',
  'INTERNAL'
])

export function isFailure(code: ErrorCode): boolean {
  return FAILURES.has(code)
}
