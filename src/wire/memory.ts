/** Less isn't worth the call. */
const LEAST_BYTES = 16 * 1024

/**
 * Frees the memory of bytes that nobody reads any more. What is left to the collector counts against the heap, and every 64 MiB or
 * so make it mark all of it: 15 times for a blob of 256 MiB, a third of the time that its transfer took.
 *
 * @param bytes the only ones of their memory that are still needed; they have no length afterwards
 */
export function free({ buffer }: Uint8Array): void {
  if (buffer.byteLength < LEAST_BYTES || !(buffer instanceof ArrayBuffer)) return
  try {
    buffer.transfer(0)
  } catch {
    // Node's pool of small buffers, or WebAssembly's: theirs to keep
  }
}
