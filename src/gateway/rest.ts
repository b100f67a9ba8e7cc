import type { HttpBindings } from '@hono/node-server'
import { Hono } from 'hono'
import { MeshError } from '../errors.ts'
import type { Node } from '../index.ts'
import type { EdgeAuth } from './edge-auth.ts'
import type { EdgeLimits } from './edge-constants.ts'
import { type Hosts, refusalOf } from './edge-hosts.ts'
import { HttpError, problem } from './problems.ts'

export interface RestInit {
  readonly node: Node
  readonly auth: EdgeAuth
  readonly hosts: Hosts
  readonly limits: EdgeLimits
  readonly closing: AbortSignal
  readonly onDefect: ((cause: unknown) => void) | undefined
  readonly now: () => number
}

/** The REST operations, behind the checks that hold for all of them. */
export function createRest(init: RestInit): Hono<{ Bindings: HttpBindings }> {
  const { hosts, onDefect } = init
  const app = new Hono<{ Bindings: HttpBindings }>()
  const options = { challenge: 'DPoP, Bearer', onDefect }
  app.onError((err) => problem(err, options))
  app.notFound(({ req }) => problem(new MeshError('NOT_FOUND', `no route ${req.method} ${req.path}`), options))
  app.use(async ({ env }, next) => {
    const status = refusalOf(env.incoming, hosts)
    if (status === 421) throw new HttpError(421, 'INVALID_ARGUMENT', 'this node is not known by that host')
    if (status === 403) throw new HttpError(403, 'FORBIDDEN', 'pages of that origin may not use this node')
    await next()
  })
  return app
}
