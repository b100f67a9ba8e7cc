import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import pRetry from 'p-retry'
import { abortError, MeshError, throwIfAborted } from '../errors.ts'
import { Breaker } from './breaker.ts'
import type { EndpointAccess, EndpointComponents } from './endpoint-auth.ts'
import * as limits from './endpoint-constants.ts'
import { isJson, mediaType, readStart } from './http-body.ts'
import { createDialler, type Dialler, SendError } from './http-dial.ts'
import { clip } from './mcp-tools.ts'
import type { Reach } from './ssrf.ts'

export interface HttpRequestsInit {
  readonly base: URL
  readonly reach: Reach
  readonly access: EndpointAccess
  readonly components: EndpointComponents
  /** To the headers of an answer. */
  readonly timeoutMs: number
}

export interface EndpointRequest {
  readonly method: string
  readonly url: URL
  readonly body?: Uint8Array
  readonly headers?: Readonly<Record<string, string>>
  /** It may be sent again when nobody knows what became of it. */
  readonly isIdempotent: boolean
  readonly signal: AbortSignal
}

/** Why an attempt has failed, and what that means for the next. */
class Failure extends Error {
  readonly error: MeshError
  /** False when the endpoint has done nothing. */
  readonly isDone: boolean
  /** The endpoint is at fault, rather than this request. */
  readonly isOutage: boolean
  readonly retryAfterMs: number | undefined

  constructor(error: MeshError, { isDone = true, isOutage = false, retryAfterMs }: Partial<FailureInit> = {}) {
    super(error.message, { cause: error })
    this.error = error
    this.isDone = isDone
    this.isOutage = isOutage
    this.retryAfterMs = retryAfterMs
  }
}

interface FailureInit {
  readonly isDone: boolean
  readonly isOutage: boolean
  readonly retryAfterMs: number | undefined
}

/** Requests to one endpoint: authenticated, retried when that is safe, and left alone while it is down. */
export class HttpRequests {
  readonly #init: HttpRequestsInit
  readonly #dialler: Dialler
  readonly #breaker: Breaker
  readonly #clock: () => number

  constructor(init: HttpRequestsInit) {
    const { access, reach, components } = init
    const { clock = Date.now, random = Math.random, resolve } = components
    this.#init = init
    this.#clock = clock
    this.#dialler = createDialler({ reach, resolve, tls: access.tls })
    this.#breaker = new Breaker({ clock, random })
  }

  /**
   * Resolves with an answer that says yes; its body is the caller's.
   *
   * @throws {MeshError} AGENT_ERROR, AGENT_UNAVAILABLE, BUSY, CONNECTION_LOST, FORBIDDEN, TIMEOUT, CANCELLED
   */
  async send(request: EndpointRequest): Promise<IncomingMessage> {
    const { signal, isIdempotent } = request
    try {
      return await pRetry(() => this.#attempt(request), {
        retries: limits.MAX_RETRIES,
        minTimeout: limits.RETRY_MIN_MS,
        randomize: true,
        signal,
        shouldRetry: ({ error }) =>
          error instanceof Failure &&
          // Whoever waited that long would hardly wait as long again.
          error.error.code !== 'TIMEOUT' &&
          (isIdempotent || !error.isDone) &&
          (error.isOutage || error.retryAfterMs !== undefined) &&
          (error.retryAfterMs ?? 0) <= limits.MAX_WAIT_MS,
        onFailedAttempt: async ({ error, retriesLeft }) => {
          if (
            error instanceof Failure &&
            error.retryAfterMs !== undefined &&
            retriesLeft > 0 &&
            error.retryAfterMs <= limits.MAX_WAIT_MS
          )
            await sleep(error.retryAfterMs, undefined, { signal })
        }
      })
    } catch (err) {
      if (err instanceof Failure) throw err.error
      throw signal.aborted ? abortError(signal) : err
    }
  }

  /** One attempt, whatever the answer says; the breaker isn't asked. @throws {MeshError} AGENT_UNAVAILABLE, FORBIDDEN, TIMEOUT */
  async ask(request: Omit<EndpointRequest, 'isIdempotent'>): Promise<IncomingMessage> {
    try {
      return await this.#exchange(request)
    } catch (err) {
      throw err instanceof Failure ? err.error : err
    }
  }

  close(): void {
    this.#init.access.close()
    this.#dialler.close()
  }

  async #attempt(request: EndpointRequest): Promise<IncomingMessage> {
    this.#breaker.enter()
    try {
      let response = await this.#exchange(request)
      if (response.statusCode === 401 && this.#init.access.refused()) {
        response.destroy()
        response = await this.#exchange(request)
      }
      const { statusCode = 0 } = response
      if (statusCode < 200 || statusCode > 299) throw await this.#failureOf(response)
      this.#breaker.succeeded()
      return response
    } catch (err) {
      this.#learn(err)
      throw err
    }
  }

  #learn(err: unknown): void {
    if (!(err instanceof Failure)) return this.#breaker.abandoned()
    if (err.isOutage) this.#breaker.failed()
    else this.#breaker.succeeded()
    if (err.retryAfterMs !== undefined && err.retryAfterMs > limits.MAX_WAIT_MS) this.#breaker.rest(err.retryAfterMs)
  }

  /** Waits for the headers of an answer. */
  async #exchange(request: Omit<EndpointRequest, 'isIdempotent'>): Promise<IncomingMessage> {
    const { method, url, body, signal } = request
    throwIfAborted(signal)
    // Ends the waiting for the headers only: a stream goes on for longer.
    const waiting = new AbortController()
    const late = (): void => waiting.abort(new MeshError('TIMEOUT', 'the endpoint does not answer in time'))
    const timer = setTimeout(late, this.#init.timeoutMs)
    const all = AbortSignal.any([signal, waiting.signal])
    try {
      return await this.#dialler.send({ method, url, body, signal: all, headers: (hop) => this.#headers(hop, request) })
    } catch (err) {
      if (signal.aborted) throw abortError(signal)
      if (waiting.signal.aborted) throw new Failure(abortError(waiting.signal), { isOutage: true })
      throw err instanceof SendError ? sendFailure(err) : err
    } finally {
      clearTimeout(timer)
    }
  }

  async #headers(hop: URL, request: Omit<EndpointRequest, 'isIdempotent'>): Promise<Record<string, string>> {
    const { method, body, headers, signal } = request
    const { base, access } = this.#init
    // Whoever the endpoint redirects to learns nothing that lets it pass for the node.
    const own = hop.origin === base.origin ? await access.headers({ method, url: hop, body }, { signal }) : {}
    return {
      'user-agent': 'pryx-mesh',
      accept: 'application/json',
      'accept-encoding': 'identity',
      ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(body.length) }),
      ...headers,
      ...own
    }
  }

  async #failureOf(response: IncomingMessage): Promise<Failure> {
    const { statusCode: status = 0, headers } = response
    const text = await readStart(response, { maxBytes: limits.MAX_PROBLEM_BYTES, progressMs: limits.CONNECT_MS })
    const retryAfterMs = status === 429 || status === 503 ? this.#retryAfter(headers['retry-after']) : undefined
    if (status === 429) {
      const data = retryAfterMs === undefined ? {} : { data: { retryAfterMs } }
      return new Failure(new MeshError('BUSY', 'the endpoint has too much to do (HTTP status 429)', data), {
        isDone: false,
        retryAfterMs
      })
    }
    if (status === 502 || status === 503 || status === 504) {
      const data = { status, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) }
      const error = new MeshError('AGENT_UNAVAILABLE', `the endpoint is not available (HTTP status ${status})`, {
        data
      })
      // A 503 comes from who refuses; the other two from a gateway that doesn't know.
      return new Failure(error, { isDone: status !== 503, isOutage: true, retryAfterMs })
    }
    return new Failure(agentError(status, mediaType(response), text), { isOutage: status >= 500 })
  }

  /** RFC 9110 §10.2.3: seconds, or a date. */
  #retryAfter(header: string | undefined): number | undefined {
    if (header === undefined) return undefined
    const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - this.#clock()
    return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), limits.MAX_RETRY_AFTER_MS)
  }
}

function sendFailure(err: SendError): Failure {
  const { isSent, message } = err
  const error = isSent
    ? new MeshError('CONNECTION_LOST', 'the connection to the agent broke before it answered', { cause: err })
    : new MeshError('AGENT_UNAVAILABLE', `the agent can't be reached (${message})`, { cause: err })
  return new Failure(error, { isDone: isSent, isOutage: true })
}

/** The endpoint's own words: a problem (RFC 9457), another JSON error with a text, or plain text. */
function agentError(status: number, type: string, text: string): MeshError {
  const said = isJson(type) ? problemOf(text) : { text: type.startsWith('text/plain') ? text : '' }
  return new MeshError('AGENT_ERROR', clip(said.text.trim()) || `the endpoint answered with HTTP status ${status}`, {
    data: { status, ...(said.type === undefined ? {} : { type: said.type }) }
  })
}

function problemOf(text: string): { text: string; type?: string } {
  let problem: unknown
  try {
    problem = JSON.parse(text)
  } catch {
    return { text: '' } // Cut off, or not what it says it is: the status has to do.
  }
  if (typeof problem !== 'object' || problem === null) return { text: '' }
  const fields = new Map<string, unknown>(Object.entries(problem))
  const texts = ['title', 'detail', 'message', 'error']
    .map((name) => fields.get(name))
    .filter((value) => typeof value === 'string')
  const type = fields.get('type')
  return {
    text: [...new Set(texts)].slice(0, 2).join(': '),
    ...(typeof type === 'string' && { type: type.slice(0, 200) })
  }
}
