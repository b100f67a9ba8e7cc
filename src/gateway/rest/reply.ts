import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'

/** An answer, before it is written by whoever took the request. */
export interface Reply {
  readonly status: number
  /** By names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | ReadableStream<Uint8Array> | null
}

/** A reply that is there as a whole. */
export interface WholeReply extends Reply {
  readonly body: string | null
}

const NO_CONTENT = { status: 204, headers: {}, body: null } as const

/** Nothing to say but that it is done. */
export function noContent(): WholeReply {
  return NO_CONTENT
}

/** A JSON answer about something that has a state, with its entity tag. */
export function json(value: unknown, status = 200, headers: Readonly<Record<string, string>> = {}): WholeReply {
  const body = JSON.stringify(value)
  return { status, headers: { 'content-type': 'application/json', etag: tagOf(body), ...headers }, body }
}

const JSON_HEADERS = { 'content-type': 'application/json' } as const

/** A JSON answer that nobody can ask for again. */
export function jsonOnce(value: unknown): WholeReply {
  return { status: 200, headers: JSON_HEADERS, body: JSON.stringify(value) }
}

/** The entity tag of a text. */
export function tagOf(text: string): string {
  return `"${createHash('sha256').update(text).digest('base64url').slice(0, 22)}"`
}

/** RFC 9110 §13.1.2: what the client has already is not sent again. */
export function unlessKnown(reply: Reply, wanted: string | undefined): Reply {
  const { etag } = reply.headers
  if (wanted === undefined || etag === undefined || reply.status !== 200) return reply
  const isKnown = wanted.split(',').some((each) => each.trim().replace(/^W\//, '') === etag)
  return isKnown ? { status: 304, headers: { etag }, body: null } : reply
}

export function isWhole(reply: Reply): reply is WholeReply {
  return reply.body === null || typeof reply.body === 'string'
}

/** For hono. */
export function toResponse({ status, headers, body }: Reply): Response {
  return new Response(body, { status, headers })
}

/** Writes it in one go. @param common what every answer carries, unless it says otherwise itself */
export function sendWhole(
  outgoing: ServerResponse,
  { status, headers, body }: WholeReply,
  common: Readonly<Record<string, string>>
): void {
  const length = body === null ? {} : { 'content-length': Buffer.byteLength(body) }
  outgoing.writeHead(status, { ...common, ...headers, ...length })
  if (body === null) outgoing.end()
  else outgoing.end(body)
}
