import { z } from 'zod'
import { MeshError } from '../errors.ts'
import { type App, body, type Scope } from './http.ts'
import { parse } from './messages.ts'

/** Of `PUT /v1/trust/:peer`; the room checks what the texts hold. */
const trustBody = z.strictObject({
  level: z.enum(['blocked', 'unknown', 'known', 'trusted', 'owner']).optional(),
  /** An empty one takes the name away. */
  alias: z.string().optional(),
  reason: z.string().optional()
})

/**
 * | route | body | answer |
 * |---|---|---|
 * | `GET /v1/trust` | | `PeerTrust[]` |
 * | `GET /v1/trust/:peer` | PeerId or alias | `TrustReport` |
 * | `PUT /v1/trust/:peer` | `{level?, alias?, reason?}` | `TrustReport` |
 */
export function routeTrust(app: App, { node }: Scope): void {
  app.get('/v1/trust', (context) => context.json(node.trust.list()))
  app.get('/v1/trust/:peer', (context) => context.json(node.trust.why(context.req.param('peer'))))
  app.put('/v1/trust/:peer', async (context) => {
    const { level, alias, reason } = parse(trustBody, await body(context))
    if (level === undefined && alias === undefined) throw new MeshError('INVALID_ARGUMENT', 'give a level or an alias')
    const standing = {
      ...(level === undefined ? {} : { level }),
      ...(alias === undefined ? {} : { alias }),
      ...(reason === undefined ? {} : { reason })
    }
    const peer = context.req.param('peer')
    if (peer === node.id) throw new MeshError('INVALID_ARGUMENT', "the node's own level can't be changed")
    return context.json(await node.trust.set(peer, standing))
  })
}
