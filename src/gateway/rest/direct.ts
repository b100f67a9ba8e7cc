import type { IncomingMessage, ServerResponse } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { hasContent } from '../edge/body.ts'
import { refusalOf } from '../edge/hosts.ts'
import type { Answering, RestInit } from './answer.ts'
import type { Operation } from './operation.ts'
import { isWhole, type Reply, sendWhole, toResponse } from './reply.ts'

interface DirectInit extends Pick<RestInit, 'hosts' | 'onDefect'> {
  readonly answering: Answering
  readonly operations: readonly Operation[]
  /** What every answer carries. */
  readonly headers: Readonly<Record<string, string>>
}

/** @returns whether it takes the request; whoever is told no does */
export type TakeRequest = (incoming: IncomingMessage, outgoing: ServerResponse) => boolean

/**
 * Takes requests that need no router: to the very path of an operation, without a query, by no page of a browser. Calls are
 * such, and a router with the objects of `fetch` takes as long for one as the call itself.
 */
export function createDirect({ answering, operations, headers, hosts, onDefect }: DirectInit): TakeRequest {
  const routes = new Map(
    operations
      .filter(({ path }) => !path.includes('{'))
      .map((operation) => [`${operation.method.toUpperCase()} ${operation.path}`, operation])
  )
  const write = async (incoming: IncomingMessage, outgoing: ServerResponse, reply: Reply): Promise<void> => {
    if (!isWhole(reply)) {
      const response = toResponse({ ...reply, headers: { ...headers, ...reply.headers } })
      return getRequestListener(() => response, { overrideGlobalObjects: false })(incoming, outgoing)
    }
    if (hasContent(incoming) && !incoming.readableDidRead) dropRest(incoming)
    sendWhole(outgoing, reply, headers)
  }
  return (incoming, outgoing) => {
    const operation = routes.get(`${incoming.method} ${incoming.url}`)
    if (operation === undefined || incoming.headers.origin !== undefined) return false
    // Whoever refuses one refuses them all
    if (refusalOf(incoming, hosts) !== undefined) return false
    answering
      .answer(operation, { incoming, outgoing, params: {}, query: {} })
      .then((reply) => write(incoming, outgoing, reply))
      .catch((err: unknown) => {
        outgoing.destroy()
        onDefect?.(err)
      })
    return true
  }
}

/** How long a client that was answered early may go on sending what nobody reads. */
const DROP_MS = 500

function dropRest(incoming: IncomingMessage): void {
  const { socket } = incoming
  const timer = setTimeout(() => socket.destroySoon(), DROP_MS).unref()
  const stop = (): void => clearTimeout(timer)
  incoming.once('end', stop).once('close', stop)
  incoming.resume()
}
