import type { Protocol } from '../rpc/index.ts'
import { MAX_CONTROL_BYTES } from '../wire/index.ts'

/** `permission/1.0.0`. Waiting for an answer keeps a request running, so there may be some for each open question. */
export const PERMISSION: Protocol = {
  id: '/pryx-mesh/permission/1.0.0',
  maxFrameBytes: MAX_CONTROL_BYTES,
  timeoutMs: 10_000,
  maxInFlight: 16
}

/** Requests that one peer may have open: the owner's attention is the scarcest thing here. */
export const MAX_OPEN_PER_PEER = 5
