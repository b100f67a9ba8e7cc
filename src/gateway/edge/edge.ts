/**
 * The way in for everybody else: HTTP for agents and programs that are not on the mesh.
 *
 * Host and origin are checked first, then who asks (edge-auth.ts), then what; rest.ts has the operations. Off the loopback
 * there is no HTTP without TLS.
 *
 * Spec: protocols/http/README.md
 */
import { readFile } from 'node:fs/promises'
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  STATUS_CODES
} from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { MeshError } from '../../errors.ts'
import type { Node } from '../../index.ts'
import { createRest } from '../rest/rest.ts'
import { createEdgeAuth, type EdgeAuth } from './auth.ts'
import { EDGE_LIMITS, type EdgeLimits, MAX_PROOFS_OF_STRANGERS } from './constants.ts'
import { createHosts, type Hosts, isLoopback, type Listen, readListen, refusalOf } from './hosts.ts'
import { createReplays } from './replays.ts'
import type { Tracing } from './tracing.ts'

export interface EdgeInit {
  /** Started. */
  readonly node: Node
  /** IP address and port, such as `127.0.0.1:8645`; port 0 takes a free one. */
  readonly listen: string
  /** Needed off the loopback. */
  readonly tls?: EdgeTls
  /** Names that clients reach it by, beside the address: `host`, `host:port`, or the origin of a proxy before it. */
  readonly hosts?: readonly string[]
  /** Origins of pages that may use it from a browser; default none but its own. */
  readonly origins?: readonly string[]
  /** Who takes connections that ask to become something else, by path (`/v1/ws`). */
  readonly upgrades?: Readonly<Record<string, UpgradeHandler>>
  readonly limits?: Partial<EdgeLimits>
  /** Where OpenTelemetry spans of requests go, OTLP over HTTP: `http://127.0.0.1:4318/v1/traces`; default nowhere. */
  readonly traces?: string
  /** Told what went wrong behind an INTERNAL, which says nothing itself. */
  readonly onDefect?: (cause: unknown) => void
  /** Milliseconds since 1970; default `Date.now`. */
  readonly now?: () => number
}

export interface EdgeTls {
  /** PEM. */
  readonly certFile: string
  readonly keyFile: string
  /** Authorities that clients are told their certificates should be from; who is accepted is in `auth.mtls`. */
  readonly clientCaFile?: string
}

/** Takes over a connection whose host and origin are good. */
export type UpgradeHandler = (upgrade: Upgrade) => void

export interface Upgrade {
  readonly request: IncomingMessage
  readonly socket: Duplex
  /** What came after the request already. */
  readonly head: Buffer
  /** For the headers of the request, or a credential in a first frame. */
  readonly auth: EdgeAuth
  readonly node: Node
  /** Aborted when the edge closes. */
  readonly closing: AbortSignal
}

export interface Edge {
  /** `https://127.0.0.1:8645` */
  readonly url: string
  /** Stops listening and ends what is under way. */
  close(): Promise<void>
}

/**
 * Opens the HTTP edge.
 *
 * @throws {MeshError} INVALID_CONFIG for an address off the loopback without TLS, or an unusable file, host or origin;
 *   ADDRESS_IN_USE
 */
export async function openEdge(init: EdgeInit): Promise<Edge> {
  const { node, tls, hosts = [], origins = [], now = Date.now } = init
  const wanted = readListen(init.listen)
  if (tls === undefined && !isLoopback(wanted.host))
    throw new MeshError(
      'INVALID_CONFIG',
      `without TLS the HTTP edge listens on this machine only, not on ${wanted.host}`,
      {
        hint: 'give edge.tls in config.json a certificate, or listen on 127.0.0.1 behind a proxy that has one'
      }
    )
  // Unusable ones must not wait for the port to be known
  createHosts({ listen: wanted, isTls: tls !== undefined, hosts, origins })
  const limits = { ...EDGE_LIMITS, ...init.limits }
  // So that the owner finds it before the first request
  await node.edges.ownerToken()
  const server = await createServer(tls, limits)
  const closing = new AbortController()
  const listen = await listening(server, wanted)
  const known = createHosts({ listen, isTls: tls !== undefined, hosts, origins })
  const strangers = createReplays(now, MAX_PROOFS_OF_STRANGERS)
  const auth = createEdgeAuth({ edges: node.edges, hosts: known, replays: createReplays(now), strangers, now })
  const tracing = await openTracing(init)
  serve(server, { init, auth, hosts: known, limits, closing: closing.signal, tracing })
  return {
    url: `${tls === undefined ? 'http' : 'https'}://${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${listen.port}`,
    async close() {
      closing.abort(new MeshError('UNREACHABLE', 'the node is stopping'))
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
      // What a collector doesn't take is lost; that is no reason not to stop
      await tracing?.stop().catch(() => {})
    }
  }
}

/** Loaded where it is wanted only: the libraries of it take 10 MB. */
async function openTracing({ traces, node }: EdgeInit): Promise<Tracing | undefined> {
  if (traces === undefined) return undefined
  if (!URL.canParse(traces)) throw new MeshError('INVALID_CONFIG', `${traces.slice(0, 80)} is no URL to send traces to`)
  const { createTracing } = await import('./tracing.ts')
  return createTracing({ url: traces, peerId: node.id, name: node.name })
}

async function createServer(tls: EdgeTls | undefined, limits: EdgeLimits): Promise<Server> {
  const options = {
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    connectionsCheckingInterval: limits.checkIntervalMs,
    keepAliveTimeout: limits.keepAliveMs,
    maxHeaderSize: limits.maxHeaderBytes
  }
  const server = tls === undefined ? createHttpServer(options) : await createTlsServer(tls, options)
  boundConnections(server, limits)
  return server
}

async function createTlsServer(
  { certFile, keyFile, clientCaFile }: EdgeTls,
  options: ServerOptions & { readonly headersTimeout: number }
): Promise<Server> {
  try {
    return createHttpsServer({
      ...options,
      cert: await readFile(certFile),
      key: await readFile(keyFile),
      ...(clientCaFile === undefined ? {} : { ca: await readFile(clientCaFile) }),
      minVersion: 'TLSv1.3',
      handshakeTimeout: options.headersTimeout,
      // Who is accepted is for the verifier to say, not for a chain to an authority of the system
      requestCert: true,
      rejectUnauthorized: false
    })
  } catch (err) {
    const reason = err instanceof Error ? err.message : String(err)
    throw new MeshError('INVALID_CONFIG', `the certificate of the HTTP edge is unusable: ${reason}`, {
      cause: err,
      hint: 'edge.tls in config.json names files in PEM: certFile, keyFile and, if wanted, clientCaFile'
    })
  }
}

function boundConnections(server: Server, { maxConnections, maxConnectionsPerAddress }: EdgeLimits): void {
  server.maxConnections = maxConnections
  const open = new Map<string, number>()
  server.on('connection', (socket: Socket) => {
    const { remoteAddress = '' } = socket
    if (isLoopback(remoteAddress)) return
    const count = open.get(remoteAddress) ?? 0
    if (count >= maxConnectionsPerAddress) {
      socket.destroy()
      return
    }
    open.set(remoteAddress, count + 1)
    socket.once('close', () => {
      const left = (open.get(remoteAddress) ?? 1) - 1
      if (left === 0) open.delete(remoteAddress)
      else open.set(remoteAddress, left)
    })
  })
}

async function listening(server: Server, { host, port }: Listen): Promise<Listen> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('listening', resolve).once('error', reject)
  try {
    server.listen(port, host)
    await promise
  } catch (err) {
    throw new MeshError('ADDRESS_IN_USE', `cannot listen on ${host}:${port}: ${(err as Error).message}`, { cause: err })
  } finally {
    server.off('error', reject)
  }
  // Of a TCP server it is one
  return { host, port: (server.address() as AddressInfo).port }
}

interface Serving {
  readonly init: EdgeInit
  readonly auth: EdgeAuth
  readonly hosts: Hosts
  readonly limits: EdgeLimits
  readonly closing: AbortSignal
  readonly tracing: Tracing | undefined
}

function serve(server: Server, { init, auth, hosts, limits, closing, tracing }: Serving): void {
  const { node, onDefect, upgrades = {}, tls } = init
  server.on('request', createRest({ node, auth, hosts, limits, closing, tracing, onDefect, isTls: tls !== undefined }))
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // A client that goes away must not end the node
    socket.on('error', () => socket.destroy())
    const status = refusalOf(request, hosts)
    if (status !== undefined) return refuseUpgrade(socket, status)
    const path = new URL(request.url ?? '', 'http://edge').pathname
    const handler = Object.hasOwn(upgrades, path) ? upgrades[path] : undefined
    if (handler === undefined) return refuseUpgrade(socket, 404)
    handler({ request, socket, head, auth, node, closing })
  })
}

/** Answers a request to upgrade with a refusal, and closes. */
export function refuseUpgrade(socket: Duplex, status: number, headers: Readonly<Record<string, string>> = {}): void {
  const lines = Object.entries({ connection: 'close', 'content-length': '0', ...headers }).map(
    ([name, value]) => `${name}: ${value}\r\n`
  )
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n`)
}
