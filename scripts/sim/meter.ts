/**
 * Counts messages by protocol where none can hide: between the muxer and the (plaintext) encryption. A message is a Yamux
 * data frame, which is what one `send` on a stream becomes; negotiating a stream counts for its protocol.
 */
import type { MessageStream } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { plaintext } from '@libp2p/plaintext'
import type { Uint8ArrayList } from 'uint8arraylist'

type Encrypter = ReturnType<typeof plaintext>
type Count = (protocol: string, bytes: number) => void

/** What the nodes of a simulation say to each other. */
export interface Ledger {
  /** Messages of one node, sent and received, of the protocols that `wanted` accepts. */
  messagesOf(peer: string, wanted: (protocol: string) => boolean): number
  /** Messages of all nodes by protocol, each once. */
  messages(): ReadonlyMap<string, number>
  /** Bytes of all nodes, each once. */
  bytes(): number
  /** To be given to a node. */
  encrypter(): Encrypter
}

export function createLedger(): Ledger {
  const byPeer = new Map<string, Map<string, number>>()
  const all = new Map<string, number>()
  let bytes = 0
  const add = (counts: Map<string, number>, protocol: string): void => {
    counts.set(protocol, (counts.get(protocol) ?? 0) + 1)
  }
  const countsOf = (peer: string): Map<string, number> => {
    const counts = byPeer.get(peer) ?? new Map<string, number>()
    byPeer.set(peer, counts)
    return counts
  }
  const counter = (from: string, to: string): Count => {
    const [sent, received] = [countsOf(from), countsOf(to)]
    return (protocol, length) => {
      add(sent, protocol)
      add(received, protocol)
      add(all, protocol)
      bytes += length
    }
  }
  return {
    messagesOf: (peer, wanted) => {
      let sum = 0
      for (const [protocol, count] of countsOf(peer)) if (wanted(protocol)) sum += count
      return sum
    },
    messages: () => new Map(all),
    bytes: () => bytes,
    encrypter: () => meteredPlaintext(counter)
  }
}

function meteredPlaintext(counter: (from: string, to: string) => Count): Encrypter {
  return (components) => {
    const encrypter = plaintext()(components)
    const self = peerIdFromPrivateKey(components.privateKey).toString()
    const [inbound, outbound] = [encrypter.secureInbound.bind(encrypter), encrypter.secureOutbound.bind(encrypter)]
    encrypter.secureInbound = async (connection, options) => {
      const secured = await inbound(connection, options)
      tap(secured.connection, counter(self, secured.remotePeer.toString()))
      return secured
    }
    encrypter.secureOutbound = async (connection, options) => {
      const secured = await outbound(connection, options)
      tap(secured.connection, counter(self, secured.remotePeer.toString()))
      return secured
    }
    return encrypter
  }
}

function tap(connection: MessageStream, count: Count): void {
  const send = connection.send.bind(connection)
  const watch = frameCounter(count)
  connection.send = (data) => {
    watch(data)
    return send(data)
  }
}

/** https://github.com/hashicorp/yamux/blob/master/spec.md: version, type, flags (2), stream id (4), length (4) */
const HEADER_BYTES = 12
const TYPE_DATA = 0
const FLAGS_END = 0x4 | 0x8

/** Reads what one side of a connection sends, and counts its data frames by the protocol of their stream. */
function frameCounter(count: Count): (data: Uint8Array | Uint8ArrayList) => void {
  const streams = new Map<number, ReturnType<typeof streamCounter>>()
  let rest = Buffer.alloc(0)
  const readFrame = (bytes: Buffer, at: number): number | undefined => {
    // Before the muxer is agreed on, multistream-select lines pass, each with its length in front; version 0 isn't one.
    const line = bytes[at] ?? 0
    if (line !== 0) return at + 1 + line
    if (bytes.length < at + HEADER_BYTES) return undefined
    const [type, flags, id] = [bytes[at + 1], bytes.readUInt16BE(at + 2), bytes.readUInt32BE(at + 4)]
    const length = type === TYPE_DATA ? bytes.readUInt32BE(at + 8) : 0
    const end = at + HEADER_BYTES + length
    if (bytes.length < end) return undefined
    const stream = streams.get(id) ?? streamCounter(count)
    if (length > 0) stream(bytes.subarray(at + HEADER_BYTES, end))
    if ((flags & FLAGS_END) === 0) streams.set(id, stream)
    else streams.delete(id)
    return end
  }
  return (data) => {
    const sent = data.subarray()
    const bytes =
      rest.length === 0 ? Buffer.from(sent.buffer, sent.byteOffset, sent.length) : Buffer.concat([rest, sent])
    let at = 0
    for (let end = readFrame(bytes, at); end !== undefined && at < bytes.length; end = readFrame(bytes, at)) at = end
    rest = Buffer.from(bytes.subarray(at))
  }
}

/** A multistream-select line other than its greeting: a length byte, the protocol, a line feed. */
const NEGOTIATED = /(?:^|\n)[\s\S](\/(?!multistream\/)[^\n]*)\n/

/** One stream's frames: those of its negotiation wait until they have said what the protocol is. */
function streamCounter(count: Count): (payload: Buffer) => void {
  let protocol: string | undefined
  let waiting: number[] = []
  return (payload) => {
    if (protocol !== undefined) return count(protocol, payload.length)
    waiting.push(payload.length)
    protocol = NEGOTIATED.exec(payload.toString('latin1'))?.[1]
    if (protocol === undefined) return
    for (const length of waiting) count(protocol, length)
    waiting = []
  }
}
