import { z } from 'zod'
import type { LoginFlow } from '../oauth/index.ts'
import { type App, body, type Scope } from './http.ts'
import { parse } from './messages.ts'
import { ndjson } from './streams.ts'

// What issuers, scopes and resources may be is checked by the node, for the library's users too
const loginBody = z.strictObject({
  issuer: z.string(),
  clientId: z.string(),
  clientSecret: z.string().optional(),
  flow: z.enum(['client-credentials', 'code', 'device'] satisfies readonly LoginFlow[]),
  scopes: z.array(z.string()).optional(),
  /** PeerIds or aliases. */
  peers: z.array(z.string()),
  resources: z.array(z.string()).optional()
})

const revokeBody = z.strictObject({ issuer: z.string().min(1).max(512), id: z.string().min(1).max(512) })

/**
 * | route | body | answer |
 * |---|---|---|
 * | `POST /v1/logins` | `LoginInit`, peers by alias too | NDJSON of `LoginStep`; the login ends with the reader |
 * | `GET /v1/logins` | | `Login[]` |
 * | `DELETE /v1/logins/:id` | | `{id, revoked}`: whether the issuer has confirmed it |
 * | `POST /v1/tokens/revoke` | `{issuer, id}`: of a token that callers present here | the same |
 */
export function routeLogins(app: App, { node, onDefect, signalOf }: Scope): void {
  app.post('/v1/logins', async (context) => {
    const { peers, ...init } = parse(loginBody, await body(context))
    const { clientSecret, scopes, resources, ...rest } = init
    const signal = signalOf(context)
    const steps = node.logins.login(
      {
        ...rest,
        peers: peers.map((peer) => node.trust.named(peer) ?? peer),
        ...(clientSecret === undefined ? {} : { clientSecret }),
        ...(scopes === undefined ? {} : { scopes }),
        ...(resources === undefined ? {} : { resources })
      },
      { signal }
    )
    return ndjson(steps, { signal, onDefect })
  })
  app.get('/v1/logins', (context) => context.json(node.logins.list()))
  app.delete('/v1/logins/:id', async (context) => {
    const id = context.req.param('id')
    return context.json({ id, ...(await node.logins.logout(id, { signal: signalOf(context) })) })
  })
  app.post('/v1/tokens/revoke', async (context) => {
    const { issuer, id } = parse(revokeBody, await body(context))
    await node.tokens.revoke(issuer, id)
    return context.json({ issuer, id })
  })
}
