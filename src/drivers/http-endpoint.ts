import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Caller } from '../auth/index.ts'
import { abortError, MeshError } from '../errors.ts'
import type { Envelope, MessageContext } from '../messaging/index.ts'
import type { AgentDescription } from '../registry/index.ts'
import type { CapabilityKind } from '../registry/messages.ts'
import { parseJson } from '../wire/index.ts'
import { descriptionOf } from './agent-frames.ts'
import type { EndpointAccess, EndpointComponents } from './endpoint-auth.ts'
import { MAX_CALLS, MAX_DESCRIPTION_BYTES } from './endpoint-constants.ts'
import { isStreamed, readAnswer, readBody, readItems } from './http-body.ts'
import { addQuery, type HttpCapability, type HttpConfig, httpDescription, isIdempotent, urlOf } from './http-config.ts'
import { HttpRequests } from './http-requests.ts'
import type { AgentConnection, InvokeContext } from './index.ts'
import { parseConfig } from './parse-config.ts'
import type { Reach } from './ssrf.ts'

export interface HttpEndpointInit {
  readonly config: HttpConfig
  readonly reach: Reach
  readonly access: EndpointAccess
  readonly components: EndpointComponents
}

/** An agent that is an HTTP endpoint. */
export class HttpEndpoint implements AgentConnection {
  readonly #config: HttpConfig
  readonly #requests: HttpRequests
  readonly #closed = new AbortController()
  /** By kind and name. */
  #offers = new Map<string, HttpCapability>()
  #calls = 0
  /** Absent when the endpoint takes no messages. */
  readonly message?: (message: Delivered, context: DeliveryContext) => Promise<void>

  constructor({ config, ...init }: HttpEndpointInit) {
    this.#config = config
    this.#requests = new HttpRequests({ ...init, base: new URL(config.url), timeoutMs: config.timeoutMs })
    const { messages } = config
    if (messages !== undefined) this.message = (message, context) => this.#deliver(messages, message, context)
  }

  async describe({ signal }: { signal: AbortSignal }): Promise<AgentDescription> {
    const { description, version, capabilities } = await this.#said(signal)
    this.#offers = new Map(capabilities.map((offer) => [keyOf(offer.kind ?? 'tool', offer.name), offer]))
    return descriptionOf({
      description,
      version,
      capabilities: capabilities.map(({ streaming, method: _m, path: _p, idempotent: _i, ...rest }) => ({
        ...rest,
        streaming: streaming !== undefined
      }))
    })
  }

  invoke(
    { kind, name }: { kind: CapabilityKind; name: string },
    input: unknown,
    { caller, signal, trace }: InvokeContext
  ): unknown {
    const offer = this.#offers.get(keyOf(kind, name))
    if (offer === undefined) throw new MeshError('NOT_FOUND', `the endpoint offers no ${name}`)
    return offer.streaming === undefined
      ? this.#call(offer, input, { caller, signal, trace })
      : this.#stream(offer, input, { caller, signal, trace })
  }

  async health({ signal }: { signal: AbortSignal }): Promise<void> {
    const { health, url } = this.#config
    const request = {
      method: health === undefined ? 'HEAD' : 'GET',
      url: urlOf(url, health ?? ''),
      signal: this.#until(signal)
    }
    const response = await this.#requests.ask(request).catch((err: unknown) => {
      // An unused connection may be closed just when it is used again: that says nothing about the endpoint.
      if (err instanceof MeshError && err.code === 'CONNECTION_LOST') return this.#requests.ask(request)
      throw err
    })
    const { statusCode = 0 } = response
    response.destroy()
    // Whoever answers a HEAD with a refusal is there.
    const isWell = health === undefined ? statusCode < 500 || statusCode === 501 : statusCode >= 200 && statusCode < 300
    if (!isWell)
      throw new MeshError('AGENT_UNAVAILABLE', `the endpoint is not well: it answers with HTTP status ${statusCode}`)
  }

  async close(): Promise<void> {
    this.#closed.abort(new MeshError('CONNECTION_LOST', 'the agent was let go of'))
    this.#requests.close()
  }

  async #said(signal: AbortSignal): Promise<Omit<HttpConfig, 'url'> & { capabilities: HttpCapability[] }> {
    const { describe, capabilities, ...config } = this.#config
    if (describe === undefined) return { ...config, capabilities: capabilities ?? [] }
    const response = await this.#requests.send({
      method: 'GET',
      url: urlOf(config.url, describe),
      isIdempotent: true,
      signal: this.#until(signal)
    })
    const body = parseJson(await readBody(response, { maxBytes: MAX_DESCRIPTION_BYTES }))
    const said = parseConfig(httpDescription, body, 'what the endpoint says of itself')
    return {
      ...config,
      capabilities: said.capabilities,
      description: config.description ?? said.description,
      version: config.version ?? said.version
    }
  }

  async #call(offer: HttpCapability, input: unknown, { signal, ...who }: Who): Promise<unknown> {
    const until = this.#until(signal)
    return this.#counted(until, async () => {
      const response = await this.#requests.send(this.#requestFor(offer, input, { ...who, signal: until }))
      if (!isStreamed(response)) return this.#inTime(response, readAnswer)
      response.destroy()
      throw new MeshError('AGENT_ERROR', 'the endpoint streams, but its capability does not say so')
    })
  }

  async *#stream(offer: HttpCapability, input: unknown, { signal, ...who }: Who): AsyncGenerator<unknown, void> {
    const until = this.#until(signal)
    const leave = this.#enter()
    try {
      const response = await this.#requests.send(this.#requestFor(offer, input, { ...who, signal: until }))
      if (isStreamed(response)) yield* readItems(response)
      else yield await readAnswer(response)
    } catch (err) {
      throw until.aborted ? abortError(until) : err
    } finally {
      leave()
    }
  }

  #requestFor(
    offer: HttpCapability,
    input: unknown,
    { caller, signal, trace }: Who
  ): Parameters<HttpRequests['send']>[0] {
    const { method, streaming } = offer
    const url = urlOf(this.#config.url, offer.path ?? offer.name)
    const isRepeatable = isIdempotent(offer)
    const inQuery = method === 'GET' || method === 'DELETE'
    if (inQuery) addQuery(url, input)
    return {
      method,
      url,
      signal,
      isIdempotent: isRepeatable,
      headers: {
        accept: streaming === undefined ? 'application/json' : ACCEPT[streaming],
        ...callerHeaders(caller),
        ...(trace === undefined ? {} : { traceparent: trace }),
        ...(isRepeatable ? {} : { 'idempotency-key': randomUUID() })
      },
      ...(inQuery ? {} : { body: Buffer.from(JSON.stringify(input ?? {})) })
    }
  }

  async #deliver(path: string, message: Delivered, { signal, caller, reply }: DeliveryContext): Promise<void> {
    const until = this.#until(signal)
    await this.#counted(until, async () => {
      const response = await this.#requests.send({
        method: 'POST',
        url: urlOf(this.#config.url, path),
        body: Buffer.from(JSON.stringify(message)),
        // It may come twice anyway, and has an id of its own.
        isIdempotent: true,
        headers: {
          ...callerHeaders(caller),
          'idempotency-key': message.id,
          ...(message.trace === undefined ? {} : { traceparent: message.trace })
        },
        signal: until
      })
      const answer = await this.#inTime(response, readAnswer)
      if (message.kind === 'request' && answer !== null) reply(answer)
    })
  }

  /** Reads an answer for no longer than one may take. */
  async #inTime<T>(response: IncomingMessage, read: (response: IncomingMessage) => Promise<T>): Promise<T> {
    const late = new MeshError('TIMEOUT', "the agent's answer takes too long")
    const timer = setTimeout(() => response.destroy(late), this.#config.timeoutMs)
    try {
      return await read(response)
    } finally {
      clearTimeout(timer)
    }
  }

  async #counted<T>(signal: AbortSignal, task: () => Promise<T>): Promise<T> {
    const leave = this.#enter()
    try {
      return await task()
    } catch (err) {
      throw signal.aborted ? abortError(signal) : err
    } finally {
      leave()
    }
  }

  /** @returns what is to be called at the end */
  #enter(): () => void {
    if (this.#calls >= MAX_CALLS) throw new MeshError('BUSY', 'the endpoint has too much under way')
    this.#calls += 1
    return () => {
      this.#calls -= 1
    }
  }

  #until(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.#closed.signal])
  }
}

type Delivered = Pick<Envelope, 'id' | 'kind' | 'trace'>
type DeliveryContext = Pick<MessageContext, 'signal' | 'caller' | 'reply'>

interface Who {
  readonly caller: Caller
  readonly signal: AbortSignal
  readonly trace: string | undefined
}

const ACCEPT = { sse: 'text/event-stream', ndjson: 'application/x-ndjson' } as const

/** Who asks: as the node knows it, never what the caller has shown to be known by. */
function callerHeaders({ peer, trust }: Pick<Caller, 'peer' | 'trust'>): Record<string, string> {
  return {
    'mesh-caller': peer
      .toWellFormed()
      .slice(0, 256)
      .replace(/[^\x21-\x7e]/gu, encodeURIComponent),
    'mesh-trust': trust
  }
}

function keyOf(kind: CapabilityKind, name: string): string {
  return `${kind} ${name}`
}
