import type { Protocol } from '../rpc/index.ts'
import { MAX_CONTROL_BYTES } from '../wire/index.ts'

/** `hello/1.0.0`. Small and answered from memory: one at a time would do, a few allow for both sides greeting at once. */
export const HELLO: Protocol = {
  id: '/pryx-mesh/hello/1.0.0',
  maxFrameBytes: MAX_CONTROL_BYTES,
  timeoutMs: 10_000,
  maxInFlight: 4
}

/** Longest name of a node, in code points; it stands in tables and prompts. */
export const MAX_NODE_NAME_LENGTH = 64

/** Most protocols, and credential methods, that a node may list. */
export const MAX_HELLO_PROTOCOLS = 32
export const MAX_HELLO_METHODS = 16
