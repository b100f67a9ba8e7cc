import { MeshError } from '../errors.ts'
import type { HealthReport } from '../health/index.ts'
import type { App, Scope } from './http.ts'
import { ndjson, subscription } from './streams.ts'

/**
 * | route | answer |
 * |---|---|
 * | `GET /v1/health` | `HealthReport[]`: agents, peers, and agents of peers that were called |
 * | `GET /v1/health/watch` | NDJSON of `HealthReport`: all there are now, then each whose state changes |
 * | `GET /v1/health/:id` | `HealthReport` of an agent's name or id, or a PeerId |
 * | `GET /v1/agents/:id/health` | the same, of an agent |
 * | `GET /v1/peers/:peer/status` | `StatusInfo`: asks the peer itself |
 */
export function routeHealth(app: App, { node, onDefect, signalOf }: Scope): void {
  const report = (id: string): HealthReport => {
    const known = node.health.of(id)
    if (known !== undefined) return known
    throw new MeshError('NOT_FOUND', `nothing is known of the health of ${id.slice(0, 160)}`, {
      hint: 'agents of this node are watched, peers that are connected, and agents that were called: pryx-mesh health'
    })
  }
  app.get('/v1/health', (context) => context.json(node.health.list()))
  app.get('/v1/health/watch', (context) => {
    const signal = signalOf(context)
    const subscribe = (put: (item: HealthReport) => void) => {
      for (const each of node.health.list()) put(each)
      return node.health.onChange(put)
    }
    return ndjson(subscription(subscribe, signal), { signal, onDefect })
  })
  app.get('/v1/health/:id', (context) => context.json(report(context.req.param('id'))))
  app.get('/v1/agents/:id/health', (context) => context.json(report(context.req.param('id'))))
  app.get('/v1/peers/:peer/status', async (context) => {
    return context.json(await node.health.info(context.req.param('peer'), { signal: signalOf(context) }))
  })
}
