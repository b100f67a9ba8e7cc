/**
 * Bytes to messages and back: length-prefixed JSON frames with limits, canonical JSON, signatures.
 *
 * Spec: protocols/README.md#frames, protocols/README.md#signatures
 *
 * @packageDocumentation
 * @example
 * const frames = new FrameStream(stream, {
 *   maxFrameBytes: MAX_MESSAGE_BYTES,
 *   onFrame: (payload) => console.log(parseJson(payload)),
 *   onClose: (error) => console.log(error?.code ?? 'closed')
 * })
 * frames.send(JSON.stringify({ t: 'ping', id: 1 }))
 */
export { ByteStream, type ByteStreamInit } from './byte-stream.ts'
export { canonicalJson, digest } from './canonical.ts'
export * from './constants.ts'
export { didFromKey, keyFromDid, keyFromPeerId, peerIdFromKey } from './did.ts'
export { FrameStream, type FrameStreamInit } from './frame-stream.ts'
export { decodeFrames, encodeBatch, encodeFrame, encodeFrames, FrameDecoder } from './frames.ts'
export {
  type HttpRequest,
  type HttpSignature,
  type HttpSignatureKey,
  httpKeyOfDid,
  readSignature,
  type SignRequestInit,
  signatureBase,
  signRequest,
  type VerifyRequestInit,
  verifyRequest
} from './http-signatures.ts'
export { parseJson } from './json.ts'
export { publicKeyOf, type Signer, signJws, type VerifyJwsOptions, verifyJws } from './jws.ts'
export { free } from './memory.ts'
export { isSigned, signBytes } from './signed-bytes.ts'
export { readTraceparent, TRACEPARENT } from './trace.ts'
