import type { Protocol } from '../rpc/index.ts'
import { MAX_MESSAGE_BYTES } from '../wire/index.ts'

/** `call/1.0.0`. */
export const CALL: Protocol = {
  id: '/pryx-mesh/call/1.0.0',
  maxFrameBytes: MAX_MESSAGE_BYTES,
  timeoutMs: 30_000,
  // 64 in flight saturate a core; four times that leaves room for slow agents without letting one peer own the node
  maxInFlight: 256
}

/** Distinct capabilities that one caller's verdicts and validators are kept for. */
export const MAX_ROUTES = 512
