import { describe, expect, it } from 'vitest'
import { CATALOGUE_TABLE_PEERS } from '../../src/discovery/constants.ts'
import type { Change } from '../../src/discovery/index.ts'
import { all, TestMesh, type TestNode, until } from './mesh.ts'

/** Reads a watch one change at a time. */
function watching(node: TestNode, query: { kind?: 'tool'; name?: string } = {}) {
  const giveUp = new AbortController()
  const changes = node.discovery.watch({ ...query, signal: giveUp.signal })[Symbol.asyncIterator]()
  return {
    giveUp,
    changes,
    async next(): Promise<string> {
      const { value } = await changes.next()
      const { change, capability, source } = value as Change
      return `${change} ${capability.name}@${capability.version} ${source}`
    }
  }
}

describe('watch', () => {
  it('gives what is there, own agents included, then what comes, changes and goes', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    mesh.link(a, b)
    await a.offer('own', ['db.own'])
    await b.offer('sql', ['db.query'])
    await a.found('db.query')
    const watch = watching(a, { name: 'db.*' })
    expect([await watch.next(), await watch.next()].sort()).toEqual([
      'added db.own@1.0.0 cache',
      'added db.query@1.0.0 cache'
    ])
    mesh.nowMs++
    await b.offer('sql', [{ kind: 'tool', name: 'db.query', version: '2.0.0' }])
    expect(await watch.next()).toMatch(/^changed db.query@2.0.0 (peer|topic)$/)
    await b.offer('sql', [])
    expect(await watch.next()).toMatch(/^gone db.query@2.0.0 /)
    await a.drop('own')
    expect(await watch.next()).toBe('gone db.own@1.0.0 cache')
    watch.giveUp.abort()
    expect(await watch.changes.next()).toMatchObject({ done: true })
  })

  it('is told at once by connected peers, of what is on no topic too', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    b.trust = 'known'
    mesh.link(a, b)
    const watch = watching(a)
    const first = watch.next()
    await until(() => mesh.requests.some(({ from, body }) => from === a.id && body['op'] === 'watch'))
    await b.offer('secret', ['x'], { audience: 'paired' })
    expect(await first).toBe('added x@1.0.0 peer')
    await b.drop('secret')
    expect(await watch.next()).toBe('gone x@1.0.0 peer')
    await watch.changes.return?.()
  })

  it('follows a peer that joins later', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    const watch = watching(a)
    const first = watch.next()
    mesh.link(a, b)
    await b.offer('fs', ['read'])
    expect(await first).toMatch(/^added read@1.0.0 /)
    await watch.changes.return?.()
  })

  it('fetches what a hint on a topic tells of, though its author is not connected', async () => {
    const mesh = new TestMesh()
    const [a, x, b] = [await mesh.node(), await mesh.node(), await mesh.node()]
    mesh.link(a, x)
    mesh.link(x, b)
    const watch = watching(a, { name: 'db.*' })
    const first = watch.next()
    await b.offer('sql', ['db.query'])
    expect(await first).toBe('added db.query@1.0.0 topic')
    await watch.changes.return?.()
  })

  it('looks in the DHT for those that nobody tells of', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    mesh.routingTable = CATALOGUE_TABLE_PEERS + 1
    for (const node of [a, b]) {
      mesh.link(
        node,
        mesh.stranger(() => ({ records: [], more: false, hints: [] }))
      )
    }
    await b.offer('sql', ['db.query'])
    const watch = watching(a, { name: 'db.query' })
    expect(await watch.next()).toBe('added db.query@1.0.0 dht')
    await watch.changes.return?.()
  })

  it('says nothing of a renewal', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    mesh.link(a, b)
    const agent = await b.offer('fs', ['read'])
    const watch = watching(a)
    await watch.next()
    const seq = b.registry.record('fs')?.record.seq ?? 0
    mesh.nowMs += 61 * 60_000
    expect(await b.registry.renew()).toEqual(['fs'])
    await b.discovery.announce('fs')
    await until(() => (a.discovery.known(agent)?.record.seq ?? 0) > seq)
    await b.offer('other', ['write'])
    expect(await watch.next()).toMatch(/^added write/)
    await watch.changes.return?.()
  })

  it('ends with the signal, with leaving the loop and with the node, and leaves its topics', async () => {
    const mesh = new TestMesh()
    const node = await mesh.node()
    await node.offer('fs', ['read'])
    const topics = () => [...mesh.topics].filter(([, members]) => members.has(node.id)).map(([topic]) => topic)
    const before = topics()
    const [first, second, third] = [watching(node), watching(node, { name: 'x.*' }), watching(node)]
    for (const watch of [first, third]) expect(await watch.next()).toBe('added read@1.0.0 cache')
    const waiting = second.changes.next()
    expect(topics()).toHaveLength(before.length + 3)
    first.giveUp.abort()
    expect(await first.changes.next()).toMatchObject({ done: true })
    second.giveUp.abort()
    expect(await waiting).toMatchObject({ done: true })
    expect(topics()).toEqual(before)
    const last = third.changes.next()
    await node.discovery.stop()
    expect(await last).toMatchObject({ done: true })
  })

  it('refuses a bad range at once', async () => {
    const node = await new TestMesh().node()
    const { signal } = new AbortController()
    expect(() => node.discovery.watch({ version: 'newest', signal })).toThrowError(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' })
    )
  })

  it('is not given to any number of watchers', async () => {
    const node = await new TestMesh().node()
    await node.offer('fs', ['read'])
    const watches = Array.from({ length: 256 }, () => watching(node))
    for (const watch of watches) await watch.next()
    await expect(watching(node).next()).rejects.toMatchObject({ code: 'BUSY' })
    for (const { changes } of watches) await changes.return?.()
  })
})

describe('a peer that pushes', () => {
  it('without end is stopped at its budget', async () => {
    const mesh = new TestMesh()
    const a = await mesh.node()
    const flood = mesh.stranger((body) => {
      const { op } = body as { op: string }
      if (op !== 'watch') return { records: [], more: false, hints: [] }
      return (async function* () {
        for (;;) yield { withdrawn: `${flood.id}/fs`, seq: 1 }
      })()
    })
    const watch = watching(a)
    const next = watch.changes.next()
    mesh.link(a, flood)
    expect(await a.emitted('record:refused')).toEqual({ peer: flood.id, reason: 'over-budget' })
    watch.giveUp.abort()
    await next
  })

  it('withdrawals of what is not its own is refused', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    const agent = await b.offer('fs', ['read'])
    mesh.link(a, b)
    await a.found('read')
    const liar = mesh.stranger((body) => {
      const { op } = body as { op: string }
      if (op !== 'watch') return { records: [], more: false, hints: [] }
      return (async function* () {
        yield { withdrawn: agent, seq: Number.MAX_SAFE_INTEGER }
      })()
    })
    const watch = watching(a)
    await watch.next()
    mesh.link(a, liar)
    expect(await a.emitted('record:refused')).toEqual({ peer: liar.id, reason: 'wrong-owner' })
    expect(await all(a.discovery.find({ name: 'read' }))).toHaveLength(1)
    await watch.changes.return?.()
  })
})
