/** The node of the bench `agents`, as a child: `node --expose-gc edge-host.ts HOME`. Says where it is, and what it holds when asked. */
import { setTimeout as sleep } from 'node:timers/promises'
import type * as gateway from '../../src/gateway/index.ts'
import type * as product from '../../src/index.ts'
import { built } from './built.ts'

export interface EdgeHost {
  readonly url: string
  readonly token: string
}

/** A collection finds what the one before has finished with. */
const COLLECTIONS = 3
const BETWEEN_MS = 500

const { createNode } = await built<typeof product>('index.js')
const { createWsEdge, openEdge, WS_PATH } = await built<typeof gateway>('gateway/index.js')
const node = await createNode({ home: process.argv[2] ?? '', listen: ['/ip4/127.0.0.1/tcp/0'], lan: false })
await node.start()
const edge = await openEdge({ node, listen: '127.0.0.1:0', upgrades: { [WS_PATH]: createWsEdge() } })
process.on('disconnect', () => process.exit())
process.on('message', () => {
  void weigh().then((megabytes) => process.send?.(megabytes))
})
const ready: EdgeHost = { url: edge.url.replace('http', 'ws') + WS_PATH, token: await node.edges.ownerToken() }
process.send?.(ready)

/** Objects and buffers that are in use, without what was left behind by the work before: MB of 10⁶ bytes. */
async function weigh(): Promise<number> {
  for (let n = 0; n < COLLECTIONS; n++) {
    globalThis.gc?.()
    await sleep(BETWEEN_MS)
  }
  const { heapUsed, external } = process.memoryUsage()
  return (heapUsed + external) / 1e6
}
