import { z } from 'zod'
import { MeshError } from '../errors.ts'
import type { CapabilityKind, Node, PermissionRequest } from '../index.ts'
import { type App, body, queryOf, type Scope } from './http.ts'
import { parse } from './messages.ts'
import { ndjson } from './streams.ts'

const states = ['pending', 'allowed', 'denied', 'expired', 'cancelled'] as const satisfies PermissionRequest['state'][]
const listQuery = z.strictObject({ state: z.enum(states).exactOptional(), peer: z.string().max(256).exactOptional() })
const uses = z.number().exactOptional()
// What makes sense for which request is checked by the node, for the library's users too
const allowBody = z.discriminatedUnion('remember', [
  z.strictObject({ remember: z.enum(['once', 'session', 'always']), uses }),
  z.strictObject({ remember: z.literal('duration'), forMs: z.number(), uses })
])
const denyBody = z.strictObject({ forever: z.boolean().exactOptional(), reason: z.string().max(512).exactOptional() })
const kind = z.enum(['tool', 'skill', 'model'] satisfies readonly CapabilityKind[])
const requestBody = z.strictObject({
  target: z.string(),
  capability: z.string(),
  kind: kind.exactOptional(),
  forMs: z.number().exactOptional(),
  uses,
  reason: z.string().max(512).exactOptional()
})
const statusQuery = z.strictObject({ wait: z.enum(['true', 'false']).exactOptional() })

/**
 * | route | query or body | answer |
 * |---|---|---|
 * | `GET /v1/approvals` | `state peer` | `PermissionRequest[]` |
 * | `GET /v1/approvals/watch` | | `PermissionRequest` a line: what is pending, then each as it is asked or answered |
 * | `GET /v1/approvals/:id` | | `PermissionRequest` |
 * | `POST /v1/approvals/:id/allow` | `{remember: once\|session\|always, uses?}`, `{remember: duration, forMs, uses?}` | `PermissionRequest` |
 * | `POST /v1/approvals/:id/deny` | `{forever?, reason?}` | `PermissionRequest` |
 * | `POST /v1/permissions/request` | `{target, capability, kind?, forMs?, uses?, reason?}` | `PermissionStatus` and `peer` |
 * | `GET /v1/permissions/:peer/:id` | `wait` | `PermissionStatus` and `peer` |
 *
 * An id may be cut where what is left is unique; a peer may be an alias.
 */
export function routePermissions(app: App, { node, onDefect, signalOf }: Scope): void {
  const { permissions } = node
  app.get('/v1/approvals', (context) => {
    const { peer, ...filter } = parse(listQuery, queryOf(context))
    return context.json(permissions.list({ ...filter, ...(peer !== undefined && { peer: peerOf(node, peer) }) }))
  })
  app.get('/v1/approvals/watch', (context) => {
    const signal = signalOf(context)
    return ndjson(permissions.watch({ signal }), { signal, onDefect })
  })
  app.get('/v1/approvals/:id', (context) => context.json(found(node, context.req.param('id'))))
  app.post('/v1/approvals/:id/allow', async (context) => {
    const answer = parse(allowBody, await body(context))
    return context.json(await permissions.allow(found(node, context.req.param('id')).id, answer))
  })
  app.post('/v1/approvals/:id/deny', async (context) => {
    const options = parse(denyBody, await body(context))
    return context.json(await permissions.deny(found(node, context.req.param('id')).id, options))
  })
  routeAsking(app, { node, onDefect, signalOf })
}

function routeAsking(app: App, { node, signalOf }: Scope): void {
  const { permissions } = node
  app.post('/v1/permissions/request', async (context) => {
    const { target, ...wanted } = parse(requestBody, await body(context))
    const signal = signalOf(context)
    const id = target.replace(/^mesh:\/\//, '')
    // Whom it is about is known from an id, also when its record isn't shown to us
    const [peer = '', agent = ''] = (AGENT_ID.test(id) ? id : (await node.resolve(target, { signal })).record.id).split(
      '/'
    )
    return context.json({ peer, ...(await permissions.request({ peer, agent }, wanted, { signal })) })
  })
  app.get('/v1/permissions/:peer/:id', async (context) => {
    const { wait } = parse(statusQuery, queryOf(context))
    const peer = peerOf(node, context.req.param('peer'))
    const options = { signal: signalOf(context), wait: wait === 'true' }
    return context.json({ peer, ...(await permissions.status(peer, context.req.param('id'), options)) })
  })
}

const AGENT_ID = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}\/[^/]+$/

function peerOf({ trust }: Node, text: string): string {
  return trust.named(text) ?? text
}

/** @throws {MeshError} NOT_FOUND, AMBIGUOUS */
function found({ permissions }: Node, prefix: string): PermissionRequest {
  const exact = permissions.get(prefix)
  if (exact !== undefined) return exact
  const fitting = prefix === '' ? [] : permissions.list().filter(({ id }) => id.startsWith(prefix))
  const [only] = fitting
  if (only === undefined) {
    throw new MeshError('NOT_FOUND', `there is no permission request ${prefix}`, { hint: 'pryx-mesh approvals list' })
  }
  if (fitting.length === 1) return only
  throw new MeshError('AMBIGUOUS', `${fitting.length} permission requests begin with ${prefix}`, {
    hint: 'give more of its id'
  })
}
