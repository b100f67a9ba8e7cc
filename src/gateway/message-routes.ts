import { z } from 'zod'
import { MeshError } from '../errors.ts'
import type { MessageFilter } from '../index.ts'
import { MAX_TIMEOUT_MS } from './constants.ts'
import { type App, body, queryOf, type Scope } from './http.ts'
import { parse } from './messages.ts'

const states = [
  'queued',
  'accepted',
  'delivered',
  'processed',
  'failed',
  'expired',
  'cancelled',
  'all'
] as const satisfies NonNullable<MessageFilter['state']>[]
const id = z.string().regex(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/, 'must be the id of a message')
const filterQuery = z.strictObject({
  state: z.enum(states).exactOptional(),
  agent: z.string().max(64).exactOptional(),
  peer: z.string().max(256).exactOptional(),
  limit: z.coerce.number().int().min(1).max(1_000).exactOptional(),
  after: id.exactOptional()
})
const budget = {
  hops: z.number().exactOptional(),
  calls: z.number().exactOptional(),
  cost: z.number().exactOptional()
}
// What a message may say is checked by the node, for the library's users too
const sendBody = z.strictObject({
  target: z.string(),
  body: z.unknown().optional(),
  blob: z.strictObject({ sha256: z.string(), size: z.number() }).exactOptional(),
  from: z.string().exactOptional(),
  type: z.string().exactOptional(),
  correlationId: z.string().exactOptional(),
  replyTo: z.string().exactOptional(),
  expectsReply: z.boolean().exactOptional(),
  expiresIn: z.union([z.number(), z.string()]).exactOptional(),
  trace: z.string().exactOptional(),
  budget: z.strictObject(budget).exactOptional(),
  timeoutMs: z.number().int().min(1).max(MAX_TIMEOUT_MS).exactOptional()
})
const replyBody = z.strictObject({ body: z.unknown() })
const waitQuery = z.strictObject({
  until: z.enum(['processed', 'reply']).exactOptional(),
  timeoutMs: z.coerce.number().int().min(1).max(MAX_TIMEOUT_MS).exactOptional()
})

/**
 * | route | query or body | answer |
 * |---|---|---|
 * | `POST /v1/messages` | `{target, body \| blob {sha256, size}, from?, type?, correlationId?, replyTo?, expectsReply?, expiresIn?, trace?, budget? {hops?, calls?, cost?}, timeoutMs?}` | 201 `{id, seq}`: on disk |
 * | `GET /v1/messages/:id` | | `MessageStory` |
 * | `GET /v1/messages/:id/wait` | `until timeoutMs` | `MessageStory`, once it is processed or replied to |
 * | `POST /v1/messages/:id/read` | | `MessageInfo` |
 * | `POST /v1/messages/:id/reply` | `{body}` | 201 `{id, seq}` |
 * | `GET /v1/inbox`, `GET /v1/outbox` | `state agent peer limit after` | `MessageInfo[]`, oldest first; `after` is the last id of the page before |
 * | `GET /v1/dead-letters` | `agent peer limit after` | `MessageInfo[]` |
 * | `POST /v1/dead-letters/:id/replay`, `DELETE /v1/dead-letters/:id` | | `{replayed}`, `{dropped}` |
 */
export function routeMessages(app: App, { node, signalOf }: Scope): void {
  const { messages, trust } = node
  const filterOf = (query: unknown): MessageFilter => {
    const { peer, ...filter } = parse(filterQuery, query)
    return { ...filter, ...(peer !== undefined && { peer: trust.named(peer) ?? peer }) }
  }
  app.post('/v1/messages', async (context) => {
    const { target, body: content, ...options } = parse(sendBody, await body(context))
    return context.json(await node.send(target, content, { ...options, signal: signalOf(context) }), 201)
  })
  app.get('/v1/messages/:id', (context) => {
    const wanted = parse(id, context.req.param('id'))
    const story = messages.show(wanted)
    if (story === undefined) throw new MeshError('NOT_FOUND', `there is no message ${wanted}`, { hint: HINT })
    return context.json(story)
  })
  app.get('/v1/messages/:id/wait', async (context) => {
    const { until = 'processed', timeoutMs = MAX_TIMEOUT_MS } = parse(waitQuery, queryOf(context))
    const signal = AbortSignal.any([signalOf(context), AbortSignal.timeout(timeoutMs)])
    return context.json(await messages.waitFor(parse(id, context.req.param('id')), { signal, until }))
  })
  app.post('/v1/messages/:id/read', async (context) =>
    context.json(await messages.read(parse(id, context.req.param('id'))))
  )
  app.post('/v1/messages/:id/reply', async (context) => {
    const { body: content } = parse(replyBody, await body(context))
    const options = { signal: signalOf(context) }
    return context.json(await messages.reply(parse(id, context.req.param('id')), content, options), 201)
  })
  app.get('/v1/inbox', (context) => context.json(messages.inbox(filterOf(queryOf(context)))))
  app.get('/v1/outbox', (context) => context.json(messages.outbox(filterOf(queryOf(context)))))
  app.get('/v1/dead-letters', (context) => context.json(messages.deadLetters(filterOf(queryOf(context)))))
  app.post('/v1/dead-letters/:id/replay', async (context) => {
    const replayed = parse(id, context.req.param('id'))
    await messages.replay(replayed)
    return context.json({ replayed })
  })
  app.delete('/v1/dead-letters/:id', async (context) => {
    const dropped = parse(id, context.req.param('id'))
    await messages.drop(dropped)
    return context.json({ dropped })
  })
}

const HINT = 'see pryx-mesh inbox --all and pryx-mesh outbox --all'
