import { onTestFinished } from 'vitest'
import type { MeshEventName, MeshEvents } from '../src/index.ts'
import { createNode, type Node, type NodeInit } from '../src/index.ts'

/** A node on loopback that is stopped when the test has finished. */
export async function startNode(init: NodeInit = {}): Promise<Node> {
  const node = await createNode({ listen: ['/ip4/127.0.0.1/tcp/0'], lan: false, ...init })
  onTestFinished(() => node.stop())
  await node.start()
  return node
}

/** Two nodes, the first of which has dialled the second. */
export async function startPair(init: NodeInit = {}): Promise<[Node, Node]> {
  const [near, far] = [await startNode({ name: 'near', ...init }), await startNode({ name: 'far', ...init })]
  const met = nextEvent(far, 'peer:join', ({ peer }) => peer === near.id)
  await near.connect(addressOf(far))
  // Which it has let in a moment later
  await met
  return [near, far]
}

export function addressOf(node: Node): string {
  const [address] = node.addresses
  if (address === undefined) throw new Error('the node has no address')
  return address
}

/** The next event that fits. */
export function nextEvent<K extends MeshEventName>(
  node: Node,
  name: K,
  fits: (detail: MeshEvents[K]) => boolean = () => true
): Promise<MeshEvents[K]> {
  const { promise, resolve } = Promise.withResolvers<MeshEvents[K]>()
  const off = node.on(name, (detail) => {
    if (!fits(detail)) return
    off()
    resolve(detail)
  })
  return promise
}

/** What a promise is rejected with. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => {
      throw new Error(`did not fail, but gave ${JSON.stringify(value)}`)
    },
    (err: unknown) => err
  )
}
