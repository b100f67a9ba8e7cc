/**
 * The same agent as of `pryx-mesh`, called by a program that is not on the mesh: REST at the HTTP edge with an API key, from
 * node:http, as there is no SDK to pay for. One node: its agent, policy, schemas and audit as it ships.
 *
 * Beside `a2a` it does a like thing: the same message there and back as JSON, a connection for each call in flight that is
 * kept, each client as its users have it (theirs the SDK on fetch, which sends the message as JSON within a text part). The
 * server of the SDK asks nobody who he is and checks no schema; this one does both, decides by policy and writes it down.
 */
import type * as gateway from '../../../src/gateway/index.ts'
import type * as product from '../../../src/index.ts'
import { built } from '../built.ts'
import { MESSAGE_SCHEMA } from '../payload.ts'
import type { System } from '../system.ts'
import { poster, text } from './http.ts'

export const system: System = {
  async serve(home) {
    const { createNode } = await built<typeof product>('index.js')
    const { openEdge } = await built<typeof gateway>('gateway/index.js')
    const node = await createNode({ home, name: 'bench-edge', listen: ['/ip4/127.0.0.1/tcp/0'], lan: false })
    await node.start()
    await node.agents.add({
      name: 'bench',
      allow: 'any',
      capabilities: [{ name: 'bench.echo', input: MESSAGE_SCHEMA, output: MESSAGE_SCHEMA, handler: (input) => input }]
    })
    const edge = await openEdge({ node, listen: '127.0.0.1:0' })
    const { key } = await node.keys.create({ name: 'bench', pin: 'off' })
    return {
      contact: { port: Number(new URL(edge.url).port), key, target: `${node.id}/bench` },
      close: async () => {
        await edge.close()
        await node.stop()
      }
    }
  },

  async connect({ port, key, target }) {
    const { agent, post } = poster(Number(port), { authorization: `Bearer ${key}` })
    return {
      call: async (message) => {
        const response = await post('/v1/calls', JSON.stringify({ target, capability: 'bench.echo', input: message }))
        const body = await text(response)
        if (response.statusCode !== 200) throw new Error(body)
        return (JSON.parse(body) as { result: unknown }).result
      },
      close: async () => agent.destroy()
    }
  }
}
