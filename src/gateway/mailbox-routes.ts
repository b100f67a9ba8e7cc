import { z } from 'zod'
import { type App, body, type Scope } from './http.ts'
import { parse } from './messages.ts'

// What they may say is checked by the node, for the library's users too
const serveBody = z.strictObject({ bytes: z.number().exactOptional(), from: z.string().exactOptional() })
const learnBody = z.strictObject({ at: z.string() })

/**
 * | route | body | answer |
 * |---|---|---|
 * | `GET /v1/mailboxes` | | `{used: UsedMailbox[], served: ServedMailbox[]}` |
 * | `PUT /v1/mailboxes/used/:peer` | | `UsedMailbox` |
 * | `DELETE /v1/mailboxes/used/:peer` | | `{dropped}` |
 * | `PUT /v1/mailboxes/served/:peer` | `{bytes?, from?}` | `ServedMailbox` |
 * | `DELETE /v1/mailboxes/served/:peer` | | `{dropped}` |
 * | `POST /v1/mailboxes/learned/:peer` | `{at}` | `{known}`: whether that node knows where messages for the peer may be left |
 *
 * A peer is a PeerId or an alias.
 */
export function routeMailboxes(app: App, { node, signalOf }: Scope): void {
  const { mailboxes, trust } = node
  const peerOf = (name: string): string => trust.named(name) ?? name
  app.get('/v1/mailboxes', (context) => context.json(mailboxes.list()))
  app.put('/v1/mailboxes/used/:peer', async (context) => {
    const options = { signal: signalOf(context) }
    return context.json(await mailboxes.use(peerOf(context.req.param('peer')), options))
  })
  app.delete('/v1/mailboxes/used/:peer', async (context) =>
    context.json({ dropped: await mailboxes.drop(peerOf(context.req.param('peer'))) })
  )
  app.put('/v1/mailboxes/served/:peer', async (context) =>
    context.json(await mailboxes.serve(peerOf(context.req.param('peer')), parse(serveBody, await body(context))))
  )
  app.delete('/v1/mailboxes/served/:peer', async (context) =>
    context.json({ dropped: await mailboxes.unserve(peerOf(context.req.param('peer'))) })
  )
  app.post('/v1/mailboxes/learned/:peer', async (context) => {
    const at = peerOf(parse(learnBody, await body(context)).at)
    const options = { signal: signalOf(context) }
    return context.json({ known: await mailboxes.learn(peerOf(context.req.param('peer')), at, options) })
  })
}
