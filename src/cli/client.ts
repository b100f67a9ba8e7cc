import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { abortError, MeshError } from '../errors.ts'
import type { ControlError, ControlLine } from '../gateway/index.ts'
import { homeFlag, socketOf } from './home.ts'

export interface ClientInit {
  readonly home: string
  /** Cancels every request, on the node too. */
  readonly signal: AbortSignal
}

/** Speaks to the node that runs on a home, over its control socket. */
export interface Client {
  /** @throws {MeshError} what the node answers; UNREACHABLE when none runs there */
  ask<T>(method: string, route: string, body?: unknown): Promise<T>
  /** Yields the items of a streamed answer, or its only result. @returns what its end says */
  items<Item, End>(method: string, route: string, body?: unknown): AsyncGenerator<Item, End>
  /** As either: a streamed answer or a result. */
  open(method: string, route: string, body?: unknown): Promise<Answer>
}

/** A result, or items. */
export type Answer = { readonly items: AsyncGenerator<unknown, unknown> } | { readonly body: unknown }

export function createClient({ home, signal }: ClientInit): Client {
  const client: Client = {
    async open(method, route, body) {
      const response = await send({ home, signal }, { method, route, body })
      if (response.headers['content-type']?.startsWith('application/x-ndjson') === true) {
        return { items: itemsOf(response, signal) }
      }
      const answer: unknown = JSON.parse(await textOf(response, signal))
      // The node of this home is the owner's own program
      if ((response.statusCode ?? 500) >= 400) throw MeshError.fromBody((answer as ControlError).error)
      return { body: answer }
    },
    async ask<T>(method: string, route: string, body?: unknown) {
      const answer = await client.open(method, route, body)
      if ('items' in answer) throw new MeshError('INTERNAL', `${route} streams`)
      return answer.body as T
    },
    async *items<Item, End>(method: string, route: string, body?: unknown) {
      const answer = await client.open(method, route, body)
      if ('body' in answer) throw new MeshError('INTERNAL', `${route} does not stream`)
      return (yield* answer.items as AsyncGenerator<Item, End>) as End
    }
  }
  return client
}

async function send(
  { home, signal }: ClientInit,
  { method, route, body }: { method: string; route: string; body: unknown }
): Promise<IncomingMessage> {
  const text = body === undefined ? undefined : serialize(body)
  return new Promise((resolve, reject) => {
    const failed = (err: unknown) => reject(signal.aborted ? abortError(signal) : connectError(err, home))
    const headers = body === undefined ? {} : { 'content-type': 'application/json' }
    const sent: ClientRequest = request({
      socketPath: socketOf(home),
      method,
      path: route,
      headers,
      agent: false,
      signal
    })
    sent.on('response', resolve).on('error', failed)
    sent.end(text)
  })
}

/** JSON.parse takes what is nested deeper than JSON.stringify can write. */
function serialize(body: unknown): string {
  try {
    return JSON.stringify(body)
  } catch (err) {
    throw new MeshError('INVALID_ARGUMENT', 'the input is nested too deep', { cause: err })
  }
}

function connectError(err: unknown, home: string): MeshError {
  const { code } = err as NodeJS.ErrnoException
  if (code === 'EACCES' || code === 'EPERM') {
    return new MeshError('FORBIDDEN', `the node in ${home} is another user's`, {
      cause: err,
      hint: 'run this as that user'
    })
  }
  if (code === 'ECONNRESET' || code === 'EPIPE')
    return new MeshError('CONNECTION_LOST', 'the node went away', { cause: err })
  return new MeshError('UNREACHABLE', `no node runs in ${home}`, {
    cause: err,
    hint: `pryx-mesh start${homeFlag(home)}`
  })
}

async function textOf(response: IncomingMessage, signal: AbortSignal): Promise<string> {
  let text = ''
  for await (const chunk of chunksOf(response, signal)) text += chunk
  return text
}

async function* itemsOf(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<unknown, unknown> {
  for await (const text of linesOf(response, signal)) {
    const line = JSON.parse(text) as ControlLine
    if ('error' in line) throw MeshError.fromBody(line.error)
    if ('end' in line) return line.end
    yield line.item
  }
  throw new MeshError('CONNECTION_LOST', 'the node stopped', { hint: 'pryx-mesh start' })
}

/** node:readline also splits at U+2028, which JSON may hold. */
async function* linesOf(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of chunksOf(response, signal)) {
    const lines = chunk.split('\n')
    lines[0] = rest + lines[0]
    rest = lines.pop() ?? ''
    yield* lines
  }
}

async function* chunksOf(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<string> {
  try {
    yield* response.setEncoding('utf8') as AsyncIterable<string>
  } catch (err) {
    throw signal.aborted ? abortError(signal) : new MeshError('CONNECTION_LOST', 'the node went away', { cause: err })
  }
}
