import type { HttpBindings } from '@hono/node-server'
import type { Context, Hono } from 'hono'
import { MeshError } from '../errors.ts'
import { parseJson } from '../wire/index.ts'
import { MAX_BODY_BYTES } from './constants.ts'
import type { ControlInit } from './control.ts'
import { HTTP_STATUS } from './errors.ts'
import type { ControlError } from './messages.ts'

export type App = Hono<{ Bindings: HttpBindings }>

/** What the routes work with. */
export interface Scope {
  readonly node: ControlInit['node']
  readonly onDefect: ControlInit['onDefect'] | undefined
  /** Aborted when the client is gone or the control closes. */
  readonly signalOf: (context: Context) => AbortSignal
}

/** The body as JSON. hono's own limit rebuilds the request, which needs its global replaced for the whole process. */
export async function body({ req }: Context): Promise<unknown> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of req.raw.body ?? []) {
    bytes += chunk.byteLength
    if (bytes > MAX_BODY_BYTES) throw new MeshError('TOO_LARGE', `the body has more than ${MAX_BODY_BYTES} bytes`)
    chunks.push(chunk)
  }
  try {
    // With the rules for what comes from peers: its input goes to agents as theirs does
    return parseJson(Buffer.concat(chunks))
  } catch (err) {
    throw new MeshError('INVALID_ARGUMENT', `the body is not usable: ${MeshError.from(err).message}`, { cause: err })
  }
}

/** The query string; `tag` may be repeated and is called `tags` inside. */
export function queryOf({ req }: Context): unknown {
  const { tag, ...rest } = req.query()
  return tag === undefined ? rest : { ...rest, tags: req.queries('tag') }
}

export function fail(err: MeshError, onDefect?: ControlInit['onDefect']): Response {
  if (err.code === 'INTERNAL') onDefect?.(err.cause)
  return Response.json({ error: err.toJSON() } satisfies ControlError, { status: HTTP_STATUS[err.code] })
}
