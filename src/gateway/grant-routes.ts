import { z } from 'zod'
import { MeshError } from '../errors.ts'
import type { Node } from '../index.ts'
import { type App, body, queryOf, type Scope } from './http.ts'
import { parse } from './messages.ts'

const listQuery = z.strictObject({
  role: z.enum(['issued', 'held', 'presented']).optional(),
  all: z.literal('true').optional()
})
// What globs, times and counts may be is checked by the node, for the library's users too
const limits = {
  holder: z.string(),
  forMs: z.number().optional(),
  expiresAt: z.number().optional(),
  uses: z.number().optional(),
  depth: z.number().optional()
}
const issueBody = z.strictObject({ act: z.string(), res: z.string(), ...limits })
const delegateBody = z.strictObject({ act: z.string().optional(), res: z.string().optional(), ...limits })
const keepBody = z.strictObject({ chain: z.array(z.string()) })

/**
 * | route | body or query | answer |
 * |---|---|---|
 * | `GET /v1/grants` | `?role all=true` | `Grant[]`: those in force, or all |
 * | `POST /v1/grants` | `{holder, act, res, forMs? or expiresAt?, uses?, depth?}` | `Grant` |
 * | `GET /v1/grants/:id` | | `Grant` |
 * | `DELETE /v1/grants/:id` | | `Grant`, revoked |
 * | `POST /v1/grants/:id/delegate` | as to issue; what is left out stays as it is | `Grant` |
 * | `POST /v1/held-grants` | `{chain}` | `Grant` |
 *
 * An id may be the beginning of one. A holder is a PeerId or an alias.
 */
export function routeGrants(app: App, { node }: Scope): void {
  app.get('/v1/grants', (context) => {
    const { role, all } = parse(listQuery, queryOf(context))
    const grants = node.grants.list().filter((grant) => role === undefined || grant.role === role)
    return context.json(all === undefined ? grants.filter(({ state }) => state === 'valid') : grants)
  })
  app.post('/v1/grants', async (context) => {
    const { holder, act, res, ...terms } = parse(issueBody, await body(context))
    const wanted = { ...termsOf(terms), act, res, holder: peerOf(node, holder) }
    return context.json(await node.grants.issue(wanted), 201)
  })
  app.get('/v1/grants/:id', (context) => {
    const id = idOf(node, context.req.param('id'))
    return context.json(node.grants.get(id))
  })
  app.delete('/v1/grants/:id', async (context) => {
    return context.json(await node.grants.revoke(idOf(node, context.req.param('id'))))
  })
  app.post('/v1/grants/:id/delegate', async (context) => {
    const { holder, ...terms } = parse(delegateBody, await body(context))
    const id = idOf(node, context.req.param('id'))
    return context.json(await node.grants.delegate(id, peerOf(node, holder), termsOf(terms)), 201)
  })
  app.post('/v1/held-grants', async (context) => {
    const { chain } = parse(keepBody, await body(context))
    return context.json(await node.grants.keep(chain), 201)
  })
}

interface GivenTerms {
  readonly act?: string | undefined
  readonly res?: string | undefined
  readonly forMs?: number | undefined
  readonly expiresAt?: number | undefined
  readonly uses?: number | undefined
  readonly depth?: number | undefined
}

function termsOf({ act, res, forMs, expiresAt, uses, depth }: GivenTerms) {
  if (forMs !== undefined && expiresAt !== undefined) {
    throw new MeshError('INVALID_ARGUMENT', 'give forMs or expiresAt, not both')
  }
  const end = forMs === undefined ? expiresAt : Date.now() + forMs
  return {
    ...(act === undefined ? {} : { act }),
    ...(res === undefined ? {} : { res }),
    ...(end === undefined ? {} : { expiresAt: end }),
    ...(uses === undefined ? {} : { uses }),
    ...(depth === undefined ? {} : { depth })
  }
}

function peerOf(node: Node, peer: string): string {
  return node.trust.named(peer) ?? peer
}

/** Candidates that a hint names. */
const MAX_CANDIDATES = 5

function idOf(node: Node, prefix: string): string {
  if (node.grants.get(prefix) !== undefined) return prefix
  const ids = [...new Set(node.grants.list().map(({ id }) => id))].filter((id) => id.startsWith(prefix))
  const [id] = ids
  if (id === undefined) {
    throw new MeshError('NOT_FOUND', `there is no grant ${prefix}`, {
      hint: 'pryx-mesh grants list --all shows the ids'
    })
  }
  if (ids.length > 1) {
    const shown = ids.slice(0, MAX_CANDIDATES).join(', ')
    throw new MeshError('AMBIGUOUS', `${ids.length} grants begin with ${prefix}`, { hint: `say one of ${shown}` })
  }
  return id
}
