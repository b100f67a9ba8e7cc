/**
 * A full node on each side, as it ships: identity and store in a home, both schemas of a function agent checked, a policy
 * rule that lets the caller in, every decision audited; over TCP.
 */
import type * as product from '../../../src/index.ts'
import { built } from '../built.ts'
import { COUNT_SCHEMA, ITEM_SCHEMA, MESSAGE_SCHEMA, nthItem } from '../payload.ts'
import type { System } from '../system.ts'

export const system: System = {
  async serve(home) {
    const node = await startNode(home, 'bench-server')
    await node.agents.add({
      name: 'bench',
      allow: 'any',
      capabilities: [
        { name: 'bench.echo', input: MESSAGE_SCHEMA, output: MESSAGE_SCHEMA, handler: (input) => input },
        { name: 'bench.items', streaming: true, input: COUNT_SCHEMA, output: ITEM_SCHEMA, handler: items }
      ]
    })
    return { contact: { address: node.addresses[0] ?? '', agent: `${node.id}/bench` }, close: () => node.stop() }
  },

  async connect({ address, agent }, home) {
    const node = await startNode(home, 'bench-client')
    await node.connect(String(address))
    const target = String(agent)
    return {
      call: (message) => node.call(target, 'bench.echo', message),
      stream: async (count, onItem) => {
        for await (const item of node.stream(target, 'bench.items', { count })) onItem(item)
      },
      close: () => node.stop()
    }
  }
}

async function startNode(home: string, name: string) {
  const { createNode } = await built<typeof product>('index.js')
  const node = await createNode({ home, name, listen: ['/ip4/127.0.0.1/tcp/0'], lan: false })
  await node.start()
  return node
}

async function* items(input: unknown): AsyncGenerator<unknown> {
  const { count } = input as { count: number }
  for (let i = 0; i < count; i++) yield nthItem(i)
}
