import { z } from 'zod'
import { MeshError } from '../errors.ts'
import type { Caller, Node } from '../index.ts'
import { type App, queryOf, type Scope } from './http.ts'
import { parse } from './messages.ts'

const explainQuery = z.strictObject({
  caller: z.string().min(1).max(256),
  action: z.string().min(1).max(256),
  resource: z.string().min(1).max(512),
  scopes: z.array(z.string().max(256)).max(64).optional(),
  effects: z.enum(['none', 'read', 'write', 'external']).optional(),
  tags: z.array(z.string().max(64)).max(64).optional(),
  bytes: z.coerce.number().int().min(0).optional()
})

/**
 * | route | query | answer |
 * |---|---|---|
 * | `GET /v1/policy` | | `{rules, problem?}`: those in force |
 * | `GET /v1/policy/explain` | `caller action resource scope* effects tag* bytes` | `Explanation` |
 *
 * A caller is a PeerId, an alias, `owner` or `level:<level>`.
 */
export function routePolicy(app: App, { node }: Scope): void {
  app.get('/v1/policy', (context) => {
    const { document, problem } = node.policy
    return context.json({ rules: document.rules, ...(problem && { problem: problem.message }) })
  })
  app.get('/v1/policy/explain', (context) => {
    const { scope: _, ...query } = queryOf(context) as Record<string, unknown>
    const asked = parse(explainQuery, { ...query, scopes: context.req.queries('scope') })
    const { action, resource, scopes = [], effects, tags = [], bytes } = asked
    const facts = { ...(effects && { effects }), tags, ...(bytes !== undefined && { bytes: () => bytes }) }
    return context.json(node.policy.explain({ caller: callerOf(node, asked.caller, scopes), action, resource, facts }))
  })
}

function callerOf(node: Node, who: string, scopes: readonly string[]): Caller {
  const { peer, trust, alias } = standingOf(node, who)
  return {
    peer,
    trust,
    binding: 'noise',
    ...(alias === undefined ? {} : { alias }),
    credentials: [
      {
        method: 'noise',
        binding: 'noise',
        subject: peer,
        scopes: []
      },
      ...(scopes.length > 0
        ? [
            {
              method: 'oauth',
              binding: 'noise',
              subject: peer,
              scopes
            } as const
          ]
        : [])
    ]
  }
}

function standingOf(node: Node, who: string): Pick<Caller, 'peer' | 'trust' | 'alias'> {
  if (who === 'owner') return { peer: node.status().peerId, trust: 'owner' }
  const level = LEVELS.find((name) => who === `level:${name}`)
  if (level !== undefined) return { peer: who, trust: level }
  const peer = node.trust.named(who) ?? who
  if (!/^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/.test(peer)) {
    throw new MeshError('INVALID_ARGUMENT', `${who} is no PeerId, alias, owner or level:`, {
      hint: `say a PeerId, an alias of a peer, owner, or one of ${LEVELS.map((name) => `level:${name}`).join(', ')}`
    })
  }
  const { level: trust, alias } = node.trust.of(peer)
  return { peer, trust, ...(alias === undefined ? {} : { alias }) }
}

const LEVELS = ['blocked', 'unknown', 'known', 'trusted', 'owner'] as const
