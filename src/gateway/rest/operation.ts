import type { IncomingMessage } from 'node:http'
import type { z } from 'zod'
import type { Caller, Session } from '../../auth/index.ts'
import type { Node } from '../../index.ts'
import { HttpError } from '../edge/problems.ts'
import { parse } from '../messages.ts'
import { json, type Reply, tagOf } from './reply.ts'

/** An answer as the OpenAPI document has it. */
export interface Answer {
  readonly description: string
  /** Of the body; absent when there is none, or no JSON. */
  readonly schema?: z.ZodType
  /** Default `application/json`. */
  readonly type?: string
}

/** What an operation gets. */
export interface RestRequest<P = unknown, Q = unknown, B = unknown> {
  readonly node: Node
  readonly session: Session
  readonly caller: Caller
  readonly params: P
  readonly query: Q
  readonly body: B
  readonly incoming: IncomingMessage
  /** Aborted when the client is gone or the edge closes. */
  readonly signal: AbortSignal
  /** To be called when an answer that streams isn't read any more. */
  readonly leave: () => void
  /** @throws {MeshError} FORBIDDEN unless policy allows it */
  readonly allow: (action: string, resource: string) => void
  /** Whether policy allows it: for showing and hiding, without audit. */
  readonly may: (action: string, resource: string) => boolean
  /** A header of the request. */
  readonly header: (name: string) => string | undefined
}

interface OperationInit<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType> {
  /** `operationId`. */
  readonly id: string
  readonly method: 'get' | 'post' | 'patch' | 'delete'
  /** With `{name}` for parameters. */
  readonly path: string
  readonly tag: string
  readonly summary: string
  readonly description?: string
  readonly params?: P
  readonly query?: Q
  readonly body?: B
  /** By status; those of problems are added. */
  readonly answers: Readonly<Record<number, Answer>>
  /** Takes `Idempotency-Key`. */
  readonly isRepeatable?: boolean
  readonly handle: (request: RestRequest<Parsed<P>, Parsed<Q>, Parsed<B>>) => Reply | Promise<Reply>
}

type Parsed<T extends z.ZodType> = ReturnType<typeof parse<T>>

/** What came with a request, not yet parsed. */
export interface RawRequest extends Omit<RestRequest, 'params' | 'query' | 'body'> {
  readonly params: unknown
  readonly query: unknown
  readonly body: unknown
}

/** One operation of the REST edge: a row of the table that routes and OpenAPI document are made from. */
export interface Operation
  extends Omit<OperationInit<z.ZodType, z.ZodType, z.ZodType>, 'handle' | 'params' | 'query' | 'body'> {
  readonly params?: z.ZodType
  readonly query?: z.ZodType
  readonly body?: z.ZodType
  /** @throws {MeshError} INVALID_ARGUMENT, and what the operation throws */
  run(request: RawRequest): Reply | Promise<Reply>
}

/** Makes a row; its handler sees what its schemas have parsed. */
export function operation<
  P extends z.ZodType = z.ZodUndefined,
  Q extends z.ZodType = z.ZodUndefined,
  B extends z.ZodType = z.ZodUndefined
>(init: OperationInit<P, Q, B>): Operation {
  const { params, query, body, handle, ...rest } = init
  // What has no schema isn't looked at, and its type says so
  const read = <T extends z.ZodType>(schema: T | undefined, value: unknown): Parsed<T> =>
    schema === undefined ? (undefined as never) : parse(schema, value)
  return {
    ...rest,
    ...(params && { params }),
    ...(query && { query }),
    ...(body && { body }),
    run: (request) =>
      handle({
        ...request,
        params: read(params, request.params),
        query: read(query, request.query),
        body: read(body, request.body)
      })
  }
}

/** RFC 9110 §13.1.1. @throws {HttpError} 412 when the client has seen another state than the present one */
export function checkMatch({ header }: RestRequest, present: unknown): void {
  const wanted = header('if-match')
  if (wanted === undefined || wanted === '*') return
  const tags = wanted.split(',').map((tag) => tag.trim())
  if (!tags.includes(tagOf(JSON.stringify(present))))
    throw new HttpError(412, 'ALREADY_EXISTS', 'it has changed since it was read: read it again')
}

/** One page of a list, with the way to the next. */
export function page(
  { incoming }: Pick<RestRequest, 'incoming'>,
  items: readonly unknown[],
  cursor: string | undefined
): Reply {
  if (cursor === undefined) return json({ items })
  const url = new URL(incoming.url ?? '', 'http://edge')
  url.searchParams.set('cursor', cursor)
  return json({ items, cursor }, 200, { link: `<${url.pathname}${url.search}>; rel="next"` })
}
