/**
 * Bytes to messages and back: length-prefixed JSON frames with limits, canonical JSON, signatures.
 *
 * Spec: protocols/README.md#frames, protocols/README.md#signatures
 *
 * @packageDocumentation
 * @example
 * const frames = new FrameStream(stream, { maxFrameBytes: MAX_MESSAGE_BYTES, onFrame: (message) => {}, onClose: (err) => {} })
 * frames.send(JSON.stringify({ t: 'ping', id: 1 }))
 */
export * from './constants.ts'
