import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { MeshError } from '../errors.ts'
import { CONNECT_MS, IDLE_CONNECTION_MS, MAX_CALLS, MAX_REDIRECTS } from './endpoint-constants.ts'
import { checkUrl, guardedLookup, type Reach, type Resolve } from './ssrf.ts'

export interface DiallerInit {
  readonly reach: Reach
  readonly resolve?: Resolve | undefined
  /** Default 3. */
  readonly maxRedirects?: number
  /** Our certificate, and whose to accept. */
  readonly tls?: { readonly cert?: string; readonly key?: string; readonly ca?: string }
}

interface DialRequest {
  readonly method: string
  readonly url: URL
  readonly body?: Uint8Array | undefined
  /** Asked for every hop: what is meant for one server is nothing for the next. */
  readonly headers: (url: URL) => Promise<Record<string, string>>
  readonly signal: AbortSignal
}

/** Sends requests to where an endpoint may be, and nowhere else. */
export interface Dialler {
  /**
   * Resolves with the headers of the answer; its body is the caller's to read or destroy.
   *
   * @throws {MeshError} FORBIDDEN for an address or a redirect that isn't allowed
   * @throws {SendError} for all that goes wrong on the network
   */
  send(request: DialRequest): Promise<IncomingMessage>
  close(): void
}

/** No answer. */
export class SendError extends Error {
  override readonly name = 'SendError'
  /** False when nothing can have reached the endpoint. */
  readonly isSent: boolean

  constructor(message: string, isSent: boolean, cause: unknown) {
    super(message, { cause })
    this.isSent = isSent
  }
}

export function createDialler({ reach, resolve, tls = {}, maxRedirects = MAX_REDIRECTS }: DiallerInit): Dialler {
  const lookup = guardedLookup(reach, resolve)
  const options = { keepAlive: true, maxSockets: MAX_CALLS, timeout: IDLE_CONNECTION_MS, lookup }
  const plain = new HttpAgent(options)
  const secure = new HttpsAgent({ ...options, ...tls })

  const sendOnce = async ({ method, url, body, headers, signal }: DialRequest): Promise<IncomingMessage> => {
    checkUrl(url, reach)
    const fields = await headers(url)
    signal.throwIfAborted()
    return new Promise((resolveAnswer, reject) => {
      const isSecure = url.protocol === 'https:'
      const init = { method, headers: fields, signal, agent: isSecure ? secure : plain }
      const request = isSecure ? httpsRequest(url, init) : httpRequest(url, init)
      let isConnected = false
      const timer = setTimeout(() => request.destroy(new Error('no connection in time')), CONNECT_MS)
      request.once('socket', (socket) => {
        const connected = (): void => {
          isConnected = true
          clearTimeout(timer)
        }
        // The agent's limit is for unused connections; a slow answer has the caller's.
        socket.setTimeout(0)
        if (request.reusedSocket) connected()
        else socket.once(isSecure ? 'secureConnect' : 'connect', connected)
      })
      request.once('response', (response) => resolveAnswer(response))
      request.on('error', (err) => {
        clearTimeout(timer)
        reject(err instanceof MeshError ? err : new SendError(reasonOf(err), isConnected, err))
      })
      request.end(body)
    })
  }

  return {
    async send(first) {
      let request = first
      for (let hops = 0; ; hops += 1) {
        const response = await sendOnce(request)
        const location = redirectOf(response, request)
        if (location === undefined) return response
        response.destroy()
        if (hops >= maxRedirects) throw new MeshError('FORBIDDEN', 'the endpoint redirects too often')
        request = { ...request, url: location }
      }
    },
    close() {
      plain.destroy()
      secure.destroy()
    }
  }
}

/** Where to go on, if anywhere. A body is sent again only where the answer says so. */
function redirectOf({ statusCode = 0, headers }: IncomingMessage, { method, url }: DialRequest): URL | undefined {
  const { location } = headers
  const isSafe = method === 'GET' || method === 'HEAD'
  const goesOn = statusCode === 307 || statusCode === 308 || (isSafe && [301, 302, 303].includes(statusCode))
  if (!goesOn || location === undefined) return undefined
  if (!URL.canParse(location, url.href)) throw new MeshError('FORBIDDEN', 'the endpoint redirects to what is no URL')
  const next = new URL(location, url)
  if (next.protocol !== url.protocol && next.protocol !== 'https:')
    throw new MeshError('FORBIDDEN', 'the endpoint redirects to where nothing is encrypted')
  next.username = ''
  next.password = ''
  return next
}

/** A few words without an address: callers may read them. */
function reasonOf(err: Error): string {
  return 'code' in err && typeof err.code === 'string' ? err.code : err.message.slice(0, 100)
}
