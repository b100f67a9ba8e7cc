/**
 * Stock noise, sealing what a turn of the loop sends as one. What goes over the wire stays libp2p's noise: length, ciphertext, tag.
 *
 * Stock encrypts and writes each muxer frame on its own, as two to four socket writes, and imports the key into OpenSSL for
 * every large message (11 µs). Here the frames of one turn are sealed together, leave as one contiguous buffer, and the imported
 * key is kept: 114 → 45 µs per request at 16 in flight. Over WebSocket one noise message is one WebSocket message.
 *
 * The cipher goes through noise's own `crypto` hook. The batching changes each connection on its own instance; these are library
 * internals, so their shape is checked first, and a connection of another shape stays as it is.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import type { ConnectionEncrypter, MessageStream, SecureConnectionOptions, SecuredConnection } from '@libp2p/interface'
import { type ICryptoInterface, type NoiseComponents, noise } from '@libp2p/noise'
import { asCrypto, defaultCrypto } from '@libp2p/noise/crypto'
import { Uint8ArrayList } from 'uint8arraylist'
import { free } from '../wire/index.ts'
import { BATCH_BYTES, MAX_CONNECTION_WRITE_BYTES, NATIVE_CIPHER_MIN_BYTES } from './constants.ts'

type Bytes = Uint8Array | Uint8ArrayList

interface EncryptedStream extends MessageStream {
  handshake: { encrypt: (plaintext: Bytes) => Bytes; decrypt: (ciphertext: Bytes, dst?: Uint8Array) => Bytes }
  stream: MessageStream
  writeStatus: string
  sendData: (data: Uint8ArrayList) => { sentBytes: number; canSendMore: boolean }
  decrypt: (chunk: Bytes) => Bytes
  decoder: { lengthDecoder: (data: Bytes) => number }
}

const TAG_BYTES = 16
const LENGTH_BYTES = 2
const MAX_PLAINTEXT_BYTES = 65_535 - TAG_BYTES

/** Batches up to this are flattened before sealing; beyond it copying costs more than another call of the cipher. */
const FLATTEN_BYTES = 16 * 1024

/** Noise, batched. */
export function tunedNoise(): (components: NoiseComponents) => ConnectionEncrypter {
  return (components) => {
    const encrypter = noise({ crypto: cachedKeyCrypto() })(components)
    const inbound = encrypter.secureInbound.bind(encrypter)
    const outbound = encrypter.secureOutbound.bind(encrypter)
    const secure = async (
      handshake: typeof inbound,
      connection: MessageStream,
      options?: SecureConnectionOptions
    ): ReturnType<typeof inbound> => {
      const secured = await handshake(connection, options)
      tune(connection, secured)
      return secured
    }
    encrypter.secureInbound = (connection, options) => secure(inbound, connection, options)
    encrypter.secureOutbound = (connection, options) => secure(outbound, connection, options)
    return encrypter
  }
}

/** True when the connection has the internals that the tuning relies on. */
export function isEncryptedStream(connection: MessageStream): connection is EncryptedStream {
  const { handshake, stream, sendData, decrypt, decoder } = connection as Partial<EncryptedStream>
  return (
    [handshake?.encrypt, handshake?.decrypt, sendData, decrypt, decoder?.lengthDecoder].every(
      (method) => typeof method === 'function'
    ) && typeof stream?.send === 'function'
  )
}

function tune(raw: MessageStream, secured: SecuredConnection<unknown>): void {
  const { connection } = secured
  connection.maxWriteBufferLength = MAX_CONNECTION_WRITE_BYTES
  if (!isEncryptedStream(connection)) return
  const { handshake, stream } = connection
  connection.decoder.lengthDecoder = readLength
  connection.decrypt = (chunk) => open(handshake.decrypt, chunk)
  const sent = new SentMemory(stream)
  connection.sendData = (data) => {
    const sealed = seal(handshake.encrypt, data)
    sent.add(sealed)
    return { sentBytes: data.byteLength, canSendMore: stream.send(sealed) }
  }
  batchSends(raw, connection)
}

/**
 * Collects what is sent during a turn. While frames come one by one the batch leaves before the loop goes on (nextTick, best
 * latency); once a turn brought several, at its end (setImmediate, best throughput).
 */
function batchSends(raw: MessageStream, connection: EncryptedStream): void {
  const send = connection.send.bind(connection)
  const close = raw.close.bind(raw)
  let queue: Bytes[] = []
  let queuedBytes = 0
  let isScheduled = false
  let lastBatch = 1

  const flush = (): void => {
    isScheduled = false
    if (queuedBytes === 0) return
    const batch = new Uint8ArrayList(...queue)
    lastBatch = queue.length
    queue = []
    queuedBytes = 0
    if (connection.writeStatus !== 'writable' || raw.status !== 'open') return // nobody is left to send to
    try {
      send(batch)
    } catch (err) {
      connection.abort(err instanceof Error ? err : new Error('send failed', { cause: err }))
    }
  }
  connection.send = (data) => {
    if (connection.writeStatus !== 'writable') return send(data) // throws, as it should
    queue.push(data)
    queuedBytes += data.byteLength
    if (queuedBytes >= BATCH_BYTES) flush()
    else if (!isScheduled) {
      isScheduled = true
      if (lastBatch > 1) setImmediate(flush)
      else process.nextTick(flush)
    }
    return !connection.writableNeedsDrain
  }
  // libp2p closes the connection below the encryption, so what waits here must go first.
  raw.close = async (options) => {
    flush()
    await close(options)
  }
}

interface TcpStream extends MessageStream {
  readonly socket: { readonly writableLength: number }
  readonly writeBuffer: { readonly byteLength: number }
}

/** What may wait in a socket; what is more than that is left to the collector. */
const MAX_UNSENT = 32

/** Frees what was sealed once the kernel has all of it. */
class SentMemory {
  readonly #tcp: TcpStream | undefined
  #sealed: Uint8Array[] = []

  constructor(stream: MessageStream) {
    const { socket, writeBuffer } = stream as Partial<TcpStream> // looked at here
    const isTcp = typeof socket?.writableLength === 'number' && typeof writeBuffer?.byteLength === 'number'
    this.#tcp = isTcp ? (stream as TcpStream) : undefined
  }

  /** Before it is sent. */
  add(sealed: Uint8Array): void {
    if (this.#tcp === undefined) return
    const isAllSent = this.#tcp.writeBuffer.byteLength === 0 && this.#tcp.socket.writableLength === 0
    if (isAllSent) this.#sealed.forEach(free)
    if (isAllSent || this.#sealed.length >= MAX_UNSENT) this.#sealed = []
    this.#sealed.push(sealed)
  }
}

/** Its decoder takes a RangeError as "not there yet", after every message it has read: a new one would collect a stack each time. */
const NO_LENGTH_YET = new RangeError('the length of the next message is not there yet')

function readLength(data: Bytes): number {
  if (data.byteLength < LENGTH_BYTES) throw NO_LENGTH_YET
  return data instanceof Uint8Array ? ((data[0] ?? 0) << 8) | (data[1] ?? 0) : data.getUint16(0)
}

function seal(encrypt: (plaintext: Bytes) => Bytes, data: Uint8ArrayList): Uint8Array {
  const messages = Math.ceil(data.byteLength / MAX_PLAINTEXT_BYTES)
  const sealed = Buffer.allocUnsafe(data.byteLength + messages * (LENGTH_BYTES + TAG_BYTES))
  const plaintext = data.byteLength <= FLATTEN_BYTES ? data.subarray() : data
  let at = 0
  for (let start = 0; start < plaintext.byteLength; start += MAX_PLAINTEXT_BYTES) {
    const end = Math.min(start + MAX_PLAINTEXT_BYTES, plaintext.byteLength)
    const part = plaintext instanceof Uint8Array ? plaintext.subarray(start, end) : plaintext.sublist(start, end)
    at = sealed.writeUInt16BE(end - start + TAG_BYTES, at)
    const ciphertext = encrypt(part)
    for (const bytes of ciphertext instanceof Uint8Array ? [ciphertext] : ciphertext) {
      sealed.set(bytes, at)
      at += bytes.byteLength
      if (bytes.byteLength === bytes.buffer.byteLength) free(bytes)
    }
  }
  return sealed
}

function open(decrypt: (ciphertext: Bytes, dst?: Uint8Array) => Bytes, chunk: Bytes): Bytes {
  const length = chunk.byteLength - TAG_BYTES
  if (length < 0) throw new Error('message shorter than its tag')
  const opened = length < NATIVE_CIPHER_MIN_BYTES ? openSmall(decrypt, chunk) : decrypt(chunk)
  for (const part of chunk instanceof Uint8Array ? [chunk] : chunk) {
    // Messages are opened one after the other: with its last byte, all of the memory has been read
    if (part.byteOffset + part.byteLength === part.buffer.byteLength) free(part)
  }
  return opened
}

/** In place, as stock does, but in memory of its own: what it came in is freed with what comes after it. */
function openSmall(decrypt: (ciphertext: Bytes, dst?: Uint8Array) => Bytes, chunk: Bytes): Bytes {
  const message = chunk instanceof Uint8Array ? new Uint8Array(chunk) : chunk.slice()
  return decrypt(message, message.subarray(0, message.length - TAG_BYTES))
}

/** Node's ChaCha20-Poly1305 with the key imported once, WebAssembly for what is small. */
function cachedKeyCrypto(): ICryptoInterface {
  const keys = new WeakMap<Uint8Array, KeyObject>()
  const keyObject = (bytes: Uint8Array): KeyObject => {
    const known = keys.get(bytes)
    if (known !== undefined) return known
    const key = createSecretKey(bytes)
    keys.set(bytes, key)
    return key
  }
  return {
    ...defaultCrypto,
    chaCha20Poly1305Encrypt(plaintext, nonce, ad, k) {
      if (plaintext.byteLength < NATIVE_CIPHER_MIN_BYTES)
        return asCrypto.chaCha20Poly1305Encrypt(plaintext, nonce, ad, k)
      const cipher = createCipheriv('chacha20-poly1305', keyObject(k), nonce, { authTagLength: TAG_BYTES })
      cipher.setAAD(ad, { plaintextLength: plaintext.byteLength })
      const parts = eachPart(plaintext, (part) => cipher.update(part))
      cipher.final()
      parts.append(cipher.getAuthTag())
      return parts
    },
    // oxlint-disable-next-line max-params -- noise's interface
    chaCha20Poly1305Decrypt(ciphertext, nonce, ad, k, dst) {
      const length = ciphertext.byteLength - TAG_BYTES
      if (length < NATIVE_CIPHER_MIN_BYTES) return asCrypto.chaCha20Poly1305Decrypt(ciphertext, nonce, ad, k, dst)
      const decipher = createDecipheriv('chacha20-poly1305', keyObject(k), nonce, { authTagLength: TAG_BYTES })
      decipher.setAAD(ad, { plaintextLength: length })
      decipher.setAuthTag(ciphertext.subarray(length))
      const body = ciphertext instanceof Uint8Array ? ciphertext.subarray(0, length) : ciphertext.sublist(0, length)
      const parts = eachPart(body, (part) => decipher.update(part))
      decipher.final() // throws when the tag doesn't fit
      return parts
    }
  }
}

function eachPart(data: Bytes, update: (part: Uint8Array) => Uint8Array): Uint8ArrayList {
  const result = new Uint8ArrayList()
  for (const part of data instanceof Uint8Array ? [data] : data) result.append(update(part))
  return result
}
