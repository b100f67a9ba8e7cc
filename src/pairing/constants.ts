import type { Protocol } from '../rpc/index.ts'
import { MAX_CONTROL_BYTES } from '../wire/index.ts'

/** `pair/1.0.0`. */
export const PAIR: Protocol = {
  id: '/pryx-mesh/pair/1.0.0',
  maxFrameBytes: MAX_CONTROL_BYTES,
  timeoutMs: 10_000,
  maxInFlight: 2
}
