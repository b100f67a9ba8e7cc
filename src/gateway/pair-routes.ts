import { z } from 'zod'
import { type App, body, type Scope } from './http.ts'
import { parse } from './messages.ts'

const inviteBody = z.strictObject({
  forMs: z.number().optional(),
  level: z.enum(['known', 'trusted', 'owner']).optional()
})
const joinBody = z.strictObject({ token: z.string() })

/**
 * | route | body | answer |
 * |---|---|---|
 * | `POST /v1/invites` | `{forMs?, level?}` | 201 `Invite`: the token, this once |
 * | `POST /v1/pairs` | `{token}` | 201 `Pair` |
 * | `GET /v1/pairs` | | `Pair[]` |
 * | `DELETE /v1/pairs/:peer` | PeerId or alias | `{unpaired: peer}` |
 */
export function routePairing(app: App, { node, signalOf }: Scope): void {
  app.post('/v1/invites', async (context) => {
    return context.json(await node.pairing.invite(parse(inviteBody, await body(context))), 201)
  })
  app.get('/v1/pairs', (context) => context.json(node.pairing.pairs()))
  app.post('/v1/pairs', async (context) => {
    const { token } = parse(joinBody, await body(context))
    return context.json(await node.pairing.join(token, { signal: signalOf(context) }), 201)
  })
  app.delete('/v1/pairs/:peer', async (context) => {
    const peer = context.req.param('peer')
    await node.pairing.unpair(peer)
    return context.json({ unpaired: peer })
  })
}
