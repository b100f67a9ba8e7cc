import type { Connection, Stream } from '@libp2p/interface'
import type { Session } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import { Channel } from './channel.ts'
import { MAX_CHANNELS_PER_PEER, MAX_VIOLATIONS } from './constants.ts'
import { dispatch } from './dispatch.ts'
import type { Endpoint, ItemStream, Protocol, RequestOptions, Rpc, RpcComponents } from './index.ts'
import { collectReply, ItemReader } from './replies.ts'
import { type Load, ServedChannel } from './served-channel.ts'

/** Carries requests to peers and answers theirs. */
export function createRpc(components: RpcComponents): Rpc {
  return new ChannelRpc(components)
}

/** What a peer has here at one endpoint. */
interface Guest extends Load {
  /** Oldest first. */
  readonly channels: Set<ServedChannel>
}

class ChannelRpc implements Rpc {
  readonly #components: RpcComponents
  readonly #now: () => number
  /** Protocol id → peer → channel. */
  readonly #channels = new Map<string, Map<string, Channel>>()
  readonly #served = new Set<ServedChannel>()
  /** By protocol id. */
  readonly #endpoints = new Map<string, Endpoint>()
  readonly #violations = new WeakMap<Connection, number>()
  #isStopped = false

  constructor(components: RpcComponents) {
    this.#components = components
    this.#now = components.now ?? (() => performance.now())
  }

  async handle(endpoint: Endpoint): Promise<void> {
    const guests = new Map<string, Guest>()
    this.#endpoints.set(endpoint.protocol.id, endpoint)
    await this.#components.network.handle(endpoint.protocol.id, (stream, connection) => {
      this.#serve(endpoint, guests, { stream, connection })
    })
  }

  request(peer: string, protocol: Protocol, body: unknown, options: RequestOptions = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#channel(peer, protocol).ask(body, options, collectReply(resolve, reject))
    })
  }

  stream(peer: string, protocol: Protocol, body: unknown, options: RequestOptions = {}): ItemStream {
    return new ItemReader((reply) => this.#channel(peer, protocol).ask(body, options, reply))
  }

  async dispatch(session: Session, { id }: Protocol, body: unknown, options?: RequestOptions): Promise<unknown> {
    const endpoint = this.#endpoints.get(id)
    if (endpoint === undefined) throw new MeshError('UNSUPPORTED_VERSION', `this node does not serve ${id}`)
    try {
      return await dispatch(endpoint, session, body, options)
    } catch (err) {
      const error = MeshError.from(err)
      if (error.code === 'INTERNAL') this.#components.onDefect?.(error.cause, id)
      throw error
    }
  }

  stop(): Promise<void> {
    this.#isStopped = true
    const reason = new MeshError('CANCELLED', 'the node is stopping')
    for (const channels of this.#channels.values()) {
      for (const channel of channels.values()) channel.close(reason)
    }
    for (const channel of this.#served) channel.close()
    return Promise.resolve()
  }

  /** The channel to a peer, begun if there is none: so concurrent first uses share one opening. */
  #channel(peer: string, protocol: Protocol): Channel {
    let channels = this.#channels.get(protocol.id)
    if (channels === undefined) {
      channels = new Map()
      this.#channels.set(protocol.id, channels)
    }
    return channels.get(peer) ?? this.#openChannel(peer, protocol, channels)
  }

  #openChannel(peer: string, protocol: Protocol, channels: Map<string, Channel>): Channel {
    if (this.#isStopped) throw new MeshError('CANCELLED', 'the node is stopping')
    const channel = new Channel({
      protocol,
      now: this.#now,
      open: (signal) => this.#components.network.openStream(peer, [protocol.id], { signal }),
      onClose: (closed) => {
        if (channels.get(peer) === closed) channels.delete(peer)
      }
    })
    channels.set(peer, channel)
    return channel
  }

  /** Each breach costs its stream; the last that is borne costs the connection, and so a handshake for the next. */
  #violated(connection: Connection, peer: string, reason: string): void {
    const count = (this.#violations.get(connection) ?? 0) + 1
    this.#violations.set(connection, count)
    this.#components.onViolation?.(peer, reason)
    if (count >= MAX_VIOLATIONS) connection.abort(new Error('the peer broke the protocol too often'))
  }

  #serve(endpoint: Endpoint, guests: Map<string, Guest>, inbound: { stream: Stream; connection: Connection }): void {
    const { stream, connection } = inbound
    if (this.#isStopped) {
      stream.abort(new Error('the node is stopping'))
      return
    }
    const session = this.#authenticate(stream, connection)
    if (session === undefined) return
    const { peer } = session.caller
    const guest = guests.get(peer) ?? newGuest(peer, guests)
    const channel = new ServedChannel(stream, {
      endpoint,
      session,
      load: guest,
      now: this.#now,
      onViolation: (violator, reason) => this.#violated(connection, violator, reason),
      onDefect: this.#components.onDefect ?? (() => {}),
      onClose: (closed) => {
        this.#served.delete(closed)
        guest.channels.delete(closed)
        guest.release()
      }
    })
    this.#served.add(channel)
    guest.channels.add(channel)
    const [oldest] = guest.channels
    if (guest.channels.size > MAX_CHANNELS_PER_PEER) oldest?.abort(new MeshError('BUSY', 'too many channels'))
  }

  #authenticate(stream: Stream, connection: Connection) {
    try {
      return this.#components.authenticate(connection)
    } catch (err) {
      const error = MeshError.from(err)
      this.#components.onViolation?.(connection.remotePeer.toString(), error.message)
      stream.abort(error)
      return undefined
    }
  }
}

function newGuest(peer: string, guests: Map<string, Guest>): Guest {
  const guest: Guest = {
    handlers: 0,
    channels: new Set(),
    release() {
      if (guest.handlers === 0 && guest.channels.size === 0) guests.delete(peer)
    }
  }
  guests.set(peer, guest)
  return guest
}
