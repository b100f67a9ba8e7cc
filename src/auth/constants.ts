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

/** Credentials in one hello, and on one session with the key of the connection. */
export const MAX_CREDENTIALS = 8

/** Bad credentials on a connection within {@link REFUSED_WINDOW_MS}; each may cost a signature check or a request to an issuer. */
export const MAX_REFUSED_CREDENTIALS = 16
export const REFUSED_WINDOW_MS = 60_000

/** For getting credentials, perhaps from an issuer, and presenting them; calls to the peer wait so long at most. */
export const PRESENT_TIMEOUT_MS = 10_000

/** Issuers of access tokens that a node accepts: each costs a key set in memory. */
export const MAX_ISSUERS = 8

/** A client certificate with RSA-4096 keys and a handful of names has 3 KiB; the handshake would let in 16 MiB. */
export const MAX_CERTIFICATE_BYTES = 16_384

/** Authorities for client certificates: each that has the right name costs a signature check. Those of a whole system are about 150 and 300 KiB, and not meant here. */
export const MAX_AUTHORITIES = 64
export const MAX_CA_FILE_BYTES = 1_048_576
