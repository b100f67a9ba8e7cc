import { z } from 'zod'
import { MeshError } from '../errors.ts'
import type { Node } from '../index.ts'
import { type App, body, queryOf, type Scope } from './http.ts'
import { parse } from './messages.ts'

const pinsQuery = z.strictObject({ agent: z.string().optional(), name: z.string().optional() })
const pinsBody = z.strictObject({ agent: z.string(), name: z.string().optional() })

/**
 * | route | body or query | answer |
 * |---|---|---|
 * | `GET /v1/pins` | `?agent name` | `Pin[]`; NOT_FOUND when nothing of an agent is pinned |
 * | `POST /v1/pins/approve` | `{agent, name?}` | `Pin[]`: those approved |
 * | `POST /v1/pins/forget` | `{agent, name?}` | `{forgotten}`: how many |
 *
 * An agent is an id, `@name` or `@name@peer`, looked up among the agents that are pinned: they may be out of reach.
 */
export function routePins(app: App, { node }: Scope): void {
  app.get('/v1/pins', (context) => {
    const { agent, name } = parse(pinsQuery, queryOf(context))
    const pins = node.pins.list(agent === undefined ? undefined : agentOf(node, agent))
    return context.json(pins.filter((pin) => name === undefined || pin.name === name))
  })
  app.post('/v1/pins/approve', async (context) => {
    const { agent, name } = parse(pinsBody, await body(context))
    return context.json(await node.pins.approve(agentOf(node, agent), name))
  })
  app.post('/v1/pins/forget', async (context) => {
    const { agent, name } = parse(pinsBody, await body(context))
    return context.json({ forgotten: await node.pins.forget(agentOf(node, agent), name) })
  })
}

function agentOf(node: Node, target: string): string {
  // A short name may have been used without any call
  const agents = [...new Set([...node.pins.list(), ...node.pins.names()].map(({ agent }) => agent))]
  const found = agents.filter(matcher(node, target))
  const [agent] = found
  if (agent === undefined) {
    throw new MeshError('NOT_FOUND', `nothing of ${target} is pinned`, { hint: 'pryx-mesh pins list shows what is' })
  }
  if (found.length > 1) {
    const shown = found.slice(0, MAX_CANDIDATES).join(', ')
    throw new MeshError('AMBIGUOUS', `${found.length} pinned agents are called ${target}`, {
      hint: `say one of ${shown}`
    })
  }
  return agent
}

/** Candidates that a hint names. */
const MAX_CANDIDATES = 5

function matcher(node: Node, target: string): (agent: string) => boolean {
  const [first, name, who] = target.split('@')
  if (first !== '' || name === undefined) return (agent) => agent === target
  const isPeer = (id: string) => id === who || node.peers().some((peer) => peer.peer === id && peer.name === who)
  return (agent) => {
    const [peer = '', own] = agent.split('/')
    return own === name && (who === undefined || isPeer(peer))
  }
}
