import type { PeerId, Transport } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { MeshError } from '../errors.ts'

const EXAMPLE = '/ip4/0.0.0.0/tcp/4001 or /ip4/0.0.0.0/tcp/4002/ws'
const PEER_EXAMPLE = '/ip4/192.168.1.20/tcp/4001/p2p/12D3Koo… or a PeerId'

const OPEN_PORT = /\/tcp\/0(?=\/|$)/

// Of the operating system: taken, not ours, not allowed
const IN_USE = new Set(['EADDRINUSE', 'EADDRNOTAVAIL', 'EACCES'])

/** Where a node listens when its owner doesn't say: TCP and WebSocket on a free port of every interface, or of loopback only. */
export function defaultListen(lan: boolean): readonly string[] {
  const host = lan ? '0.0.0.0' : '127.0.0.1'
  return [`/ip4/${host}/tcp/0`, `/ip4/${host}/tcp/0/ws`]
}

/** An address on which listening failed, and why. */
export interface ListenFailure {
  readonly address: string
  readonly error: unknown
}

/** What a transport tells of its listeners. */
export interface ListenWatch {
  onListening(address: string, port: number | undefined): void
  onFailure(failure: ListenFailure): void
}

/** Lets a transport tell where it listens and where it can't: libp2p's own error only has that in its text. */
export function watchListen<C>(create: (components: C) => Transport, watch: ListenWatch): (components: C) => Transport {
  return (components) => {
    const transport = create(components)
    const createListener = transport.createListener.bind(transport)
    transport.createListener = (options) => {
      const listener = createListener(options)
      const listen = listener.listen.bind(listener)
      listener.listen = async (address) => {
        try {
          await listen(address)
        } catch (error) {
          watch.onFailure({ address: address.toString(), error })
          throw error
        }
        watch.onListening(address.toString(), portOf(listener.getAddrs()[0]))
      }
      return listener
    }
    return transport
  }
}

/** The error to start with no further than listening. */
export function listenError(listen: readonly string[], failures: readonly ListenFailure[], cause: unknown): MeshError {
  const [failure] = failures
  if (failure === undefined) {
    return new MeshError('INVALID_ARGUMENT', `nothing here can listen on ${listen.join(', ')}`, {
      cause,
      hint: `Give addresses such as ${EXAMPLE}.`
    })
  }
  const isTaken = isInUse(failure)
  return new MeshError(
    'ADDRESS_IN_USE',
    isTaken ? `${failure.address} is taken or not an address of this machine` : `cannot listen on ${failure.address}`,
    { cause: failure.error, hint: 'Choose another port (0 for any free one), or stop the program that has it.' }
  )
}

/** True when the operating system refused the address. */
export function isInUse({ error }: ListenFailure): boolean {
  const { code, name } = error as { code?: string; name?: string }
  return (code !== undefined && IN_USE.has(code)) || name === 'ListenError'
}

/** @throws {MeshError} INVALID_ARGUMENT */
export function readListenAddress(text: string): Multiaddr {
  return readMultiaddr(text, `Write it like ${EXAMPLE}.`)
}

/**
 * Reads what the owner gave to reach a peer by.
 *
 * @throws {MeshError} INVALID_ARGUMENT
 */
export function readPeerAddress(text: string): { peer: PeerId | undefined; address: Multiaddr | undefined } {
  const hint = `Write it like ${PEER_EXAMPLE}.`
  if (!text.startsWith('/')) return { peer: readPeerId(text, hint), address: undefined }
  const address = readMultiaddr(text, hint)
  const components = address.getComponents()
  const id = components.findLast((component) => component.name === 'p2p')?.value
  const peer = id === undefined ? undefined : readPeerId(id, hint)
  return components.length === 1 && peer !== undefined ? { peer, address: undefined } : { peer, address }
}

/** @throws {MeshError} INVALID_ARGUMENT */
export function readPeerId(text: string, hint = 'A PeerId looks like 12D3Koo….'): PeerId {
  try {
    return peerIdFromString(text)
  } catch (cause) {
    throw new MeshError('INVALID_ARGUMENT', `'${text.slice(0, 100)}' is not a PeerId`, { cause, hint })
  }
}

function readMultiaddr(text: string, hint: string): Multiaddr {
  try {
    const address = multiaddr(text)
    if (address.getComponents().length > 0) return address
  } catch (cause) {
    throw new MeshError('INVALID_ARGUMENT', `'${text.slice(0, 200)}' is not a multiaddr`, { cause, hint })
  }
  throw new MeshError('INVALID_ARGUMENT', 'an empty multiaddr', { hint })
}

/** `/ip4/…/tcp/0/ws` with the port put in; an address that names a port stays. */
export function withPort(address: string, port: number | undefined): string {
  return port === undefined ? address : address.replace(OPEN_PORT, `/tcp/${port}`)
}

/** True when the address leaves the port to the operating system. */
export function hasOpenPort(address: string): boolean {
  return OPEN_PORT.test(address)
}

function portOf(address: Multiaddr | undefined): number | undefined {
  const port = address?.getComponents().find(({ name }) => name === 'tcp')?.value
  return port === undefined ? undefined : Number(port)
}
