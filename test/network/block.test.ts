import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createNode, MeshError, type Node } from '../../src/index.ts'
import { addressOf, failureOf, nextEvent, startNode, startPair } from '../nodes.ts'
import { tempFolder } from '../temp.ts'

// Real nodes over TCP: a refused dial may take its 10 s on a busy machine
vi.setConfig({ testTimeout: 30_000 })

describe('a peer that is blocked', () => {
  it('is cut at once: its running stream ends on both sides', async () => {
    const [near, far] = await startPair()
    const aborted = Promise.withResolvers<void>()
    await far.agents.add({
      name: 'source',
      capabilities: [
        {
          name: 'flow',
          streaming: true,
          async *handler(_input, { signal }) {
            signal.addEventListener('abort', () => aborted.resolve(), { once: true })
            for (let n = 0; !signal.aborted; n++) {
              yield n
              await new Promise((resolve) => setImmediate(resolve))
            }
          }
        }
      ],
      allow: 'any'
    })
    const items = near.stream(`${far.id}/source`, 'flow', {}, { timeoutMs: 3_000 })[Symbol.asyncIterator]()
    expect(await items.next()).toEqual({ done: false, value: 0 })
    const left = nextEvent(near, 'peer:leave', ({ peer }) => peer === far.id)
    await far.trust.set(near.id, { level: 'blocked' })
    await Promise.all([aborted.promise, left])
    // It tries to go on with the stream, until its deadline
    expect(['TIMEOUT', 'UNREACHABLE', 'CONNECTION_LOST']).toContain(codeOf(await failureOf(drain(items))))
    expect(far.peers()).toEqual([])
  })

  it('may be dialled from neither side, until it is let in again', async () => {
    const [near, far] = await startPair()
    const left = nextEvent(far, 'peer:leave', ({ peer }) => peer === near.id)
    await near.trust.set(far.id, { level: 'blocked' })
    await left
    expect(await failureOf(near.connect(addressOf(far)))).toMatchObject({
      code: 'FORBIDDEN',
      message: `this node has blocked ${far.id}`,
      hint: expect.stringContaining(`trust set ${far.id} unknown`)
    })
    // Without its id the peer shows only when it has answered
    const anonymous = addressOf(far).replace(/\/p2p\/.*/, '')
    expect(await failureOf(near.connect(anonymous))).toMatchObject({ code: 'UNREACHABLE' })
    expect(await failureOf(near.call(`${far.id}/any`, 'thing'))).toMatchObject({ code: 'FORBIDDEN' })
    const joins: string[] = []
    near.on('peer:join', ({ peer }) => void joins.push(peer))
    // Who dials may believe to be connected until the refusal has arrived
    await far.connect(addressOf(near)).catch(() => {})
    expect(['UNREACHABLE', 'CONNECTION_LOST']).toContain(codeOf(await failureOf(far.call(`${near.id}/any`, 'thing'))))
    expect([joins, near.peers()]).toEqual([[], []])

    await near.trust.set(far.id, { level: 'unknown' })
    expect(await near.connect(addressOf(far))).toBe(far.id)
  })

  it('stays blocked across a restart, and is not dialled again', async () => {
    const home = await tempFolder()
    const far = await startNode({ name: 'far' })
    const first = await openNode(home)
    await first.connect(addressOf(far))
    await first.trust.set(far.id, { level: 'blocked', reason: 'sends rubbish' })
    await first.stop()

    const joins: string[] = []
    far.on('peer:join', ({ peer }) => void joins.push(peer))
    const again = await openNode(home)
    expect(again.trust.why(far.id)).toMatchObject({ level: 'blocked', changes: [{ reason: 'sends rubbish' }] })
    // Had it been kept, it would have been dialled before a stranger that is dialled now
    const stranger = await startNode()
    await again.connect(addressOf(stranger))
    expect(joins).toEqual([])
    await again.trust.set(far.id, { level: 'unknown' })
    await again.stop()

    const third = await openNode(home)
    await third.connect(addressOf(far))
    await expect.poll(() => joins).toEqual([third.id])
  })

  it('is not joined as a bootstrap peer either', async () => {
    const home = await tempFolder()
    const far = await startNode({ name: 'far' })
    const first = await openNode(home)
    await first.trust.set(far.id, { level: 'blocked' })
    await first.stop()
    const stranger = await startNode()
    const again = await openNode(home, [addressOf(far), addressOf(stranger)])
    await expect.poll(() => again.peers().map(({ peer }) => peer)).toEqual([stranger.id])
    expect(far.peers()).toEqual([])
  })
})

function codeOf(err: unknown): string {
  return err instanceof MeshError ? err.code : String(err)
}

async function drain(items: AsyncIterator<unknown>): Promise<void> {
  for (let next = await items.next(); next.done !== true; next = await items.next());
}

async function openNode(home: string, bootstrap: readonly string[] = []): Promise<Node> {
  const node = await createNode({ home, listen: ['/ip4/127.0.0.1/tcp/0'], lan: false, bootstrap: [...bootstrap] })
  onTestFinished(() => node.stop())
  await node.start()
  return node
}
