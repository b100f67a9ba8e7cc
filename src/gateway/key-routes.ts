import { z } from 'zod'
import { type App, body, type Scope } from './http.ts'
import { parse } from './messages.ts'

// What names, scopes, durations and peers may be is checked by the node, for the library's users too
const createBody = z.strictObject({
  name: z.string(),
  scopes: z.array(z.string()).optional(),
  forMs: z.number().optional(),
  pin: z.string().optional()
})
const rotateBody = z.strictObject({ overlapMs: z.number().optional() })
const holdBody = z.strictObject({ key: z.string() })

export function routeKeys(app: App, { node }: Scope): void {
  app.get('/v1/keys', (context) => context.json(node.keys.list()))
  app.post('/v1/keys', async (context) => {
    return context.json(await node.keys.create(parse(createBody, await body(context))), 201)
  })
  app.post('/v1/keys/:id/rotate', async (context) => {
    const options = parse(rotateBody, await body(context))
    return context.json(await node.keys.rotate(context.req.param('id'), options))
  })
  app.delete('/v1/keys/:id', async (context) => context.json(await node.keys.revoke(context.req.param('id'))))
  app.get('/v1/held-keys', (context) => context.json(node.keys.held()))
  app.put('/v1/held-keys/:peer', async (context) => {
    const { key } = parse(holdBody, await body(context))
    return context.json(await node.keys.hold(context.req.param('peer'), key))
  })
  app.delete('/v1/held-keys/:peer', async (context) => {
    const peer = context.req.param('peer')
    return context.json({ peer, dropped: await node.keys.drop(peer) })
  })
}
