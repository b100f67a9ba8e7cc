import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  CANDIDATE_TIMEOUT_MS,
  CATALOGUE_TABLE_PEERS,
  JOIN_JITTER_MS,
  SETTLE_MS,
  TRUSTED_MS
} from '../../src/discovery/constants.ts'
import { all, never, TestMesh, until } from './mesh.ts'
import { signed } from './records.ts'

/** Drives the timers of the room and of the test mesh; promises go on as they are. */
function fakeTime(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
}

describe('sources', () => {
  it('gives own agents, whatever their audience', async () => {
    const node = await new TestMesh().node()
    const agent = await node.offer('fs', ['read'], { audience: 'paired' })
    const results = node.discovery.find({ name: 'read' })
    expect(await all(results)).toMatchObject([{ agent, peer: node.id, source: 'cache', capability: { name: 'read' } }])
    expect(await results.summary).toMatchObject({ complete: true, count: 1 })
  })

  it('asks a connected peer before it is synchronised', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    const agent = await b.offer('fs', ['read', 'write'])
    mesh.link(a, b)
    const results = a.discovery.find({ name: 'read' })
    expect(await all(results)).toMatchObject([{ agent, source: 'peer', capability: { name: 'read', kind: 'tool' } }])
    expect(await results.summary).toMatchObject({ complete: true, count: 1 })
  })

  it('answers from the cache once a peer is synchronised, without asking anybody', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    await b.offer('fs', ['read'])
    mesh.link(a, b)
    const asked = (op: string) => mesh.requests.filter(({ from, body }) => from === a.id && body['op'] === op).length
    await until(() => asked('hints') === 1)
    const before = asked('query')
    const results = a.discovery.find({ kind: 'tool' })
    expect(await all(results)).toMatchObject([{ source: 'cache' }])
    expect(await results.summary).toMatchObject({ complete: true, count: 1 })
    expect(asked('query')).toBe(before)
  })

  it('asks the author of a hint it heard on a topic', async () => {
    const mesh = new TestMesh()
    const [a, x, b] = [await mesh.node(), await mesh.node(), await mesh.node()]
    mesh.link(a, x)
    mesh.link(x, b)
    const agent = await b.offer('fs', ['read'])
    await until(() => mesh.heard.some(({ author, receiver }) => author === b.id && receiver === a.id))
    const results = a.discovery.find({ name: 're*' })
    expect(await all(results)).toMatchObject([{ agent, source: 'topic' }])
  })

  it.each([
    { id: 'an exact name', name: 'db.query' },
    { id: 'a glob in one name space', name: 'db.*' }
  ])('asks the providers that the DHT names for $id', async ({ name }) => {
    const mesh = new TestMesh()
    mesh.routingTable = CATALOGUE_TABLE_PEERS + 1
    const [a, b] = [await mesh.node(), await mesh.node()]
    for (const node of [a, b]) {
      mesh.link(
        node,
        mesh.stranger(() => ({ records: [], more: false, hints: [] }))
      )
    }
    const agent = await b.offer('sql', ['db.query'])
    await until(() => mesh.providers.size === 2)
    const results = a.discovery.find({ name })
    expect(await all(results)).toMatchObject([{ agent, source: 'dht' }])
    expect(await results.summary).toMatchObject({ complete: true, count: 1 })
  })

  it('asks a peer that joins while it looks', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node({ settleMs: 60_000 }), await mesh.node()]
    const agent = await b.offer('fs', ['read'])
    const found = all(a.discovery.find({ name: 'read', limit: 1 }))
    mesh.link(a, b)
    expect(await found).toMatchObject([{ agent }])
  })

  it('gives each capability of an agent once, whatever the number of sources', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    mesh.link(a, b)
    await b.offer('fs', ['read', 'write'])
    await a.found('read')
    const found = await all(a.discovery.find({}))
    expect(found.map(({ capability }) => capability.name).sort()).toEqual(['read', 'write'])
  })

  it('prefers what the owner itself tells to be newer over what it has', async () => {
    const mesh = new TestMesh()
    const [a, x, b] = [await mesh.node(), await mesh.node(), await mesh.node()]
    mesh.link(a, b)
    await b.offer('fs', ['read'])
    await a.found('read')
    mesh.cut(a, b)
    mesh.link(a, x)
    mesh.link(x, b)
    mesh.nowMs += 1
    await b.offer('fs', [{ kind: 'tool', name: 'read', version: '2.0.0' }])
    expect(await all(a.discovery.find({ name: 'read' }))).toMatchObject([{ capability: { version: '2.0.0' } }])
  })
})

describe('filters', () => {
  it.each([
    { id: 'kind', query: { kind: 'skill' as const }, names: ['plan'] },
    { id: 'glob', query: { name: 'db.*' }, names: ['db.query'] },
    { id: 'range', query: { version: '^2' }, names: ['db.query'] },
    { id: 'tag', query: { tags: ['sql'] }, names: ['db.query'] },
    { id: 'words', query: { text: 'PLAN the day' }, names: ['plan'] },
    { id: 'agent', query: { agent: 'other' }, names: [] }
  ])('holds to its $id', async ({ query, names }) => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    mesh.link(a, b)
    await b.offer('mixed', [
      { kind: 'tool', name: 'db.query', version: '2.1.0', tags: ['sql'] },
      { kind: 'skill', name: 'plan', version: '1.0.0', description: 'Plans the day.' }
    ])
    const found = await all(a.discovery.find(query))
    expect(found.map(({ capability }) => capability.name)).toEqual(names)
  })

  it.each([
    { id: 'a bad range', options: { version: 'newest' } },
    { id: 'a bad tag', options: { tags: ['Not A Tag'] } },
    { id: 'a limit of nothing', options: { limit: 0 } },
    { id: 'a time that is none', options: { timeoutMs: Number.NaN } }
  ])('refuses $id at once', async ({ options }) => {
    const node = await new TestMesh().node()
    expect(() => node.discovery.find(options)).toThrowError(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

describe('the end', () => {
  it('comes at once on a node that has been alone for a while', async () => {
    const node = await new TestMesh().node()
    const results = node.discovery.find({ name: 'read' })
    expect(await all(results)).toEqual([])
    expect(await results.summary).toMatchObject({ complete: true, count: 0 })
  })

  it('waits for the first peers of a young node', async () => {
    fakeTime()
    const node = await new TestMesh().node({ settleMs: SETTLE_MS })
    let isOver = false
    const found = all(node.discovery.find({ name: 'read' })).then(() => {
      isOver = true
    })
    await vi.advanceTimersByTimeAsync(SETTLE_MS - 1)
    expect(isOver).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    await found
    expect(isOver).toBe(true)
  })

  it('comes with the limit', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    mesh.link(a, b)
    await b.offer('fs', ['read', 'write', 'list'])
    const results = a.discovery.find({ limit: 2 })
    expect(await all(results)).toHaveLength(2)
    expect(await results.summary).toMatchObject({ complete: false, count: 2 })
  })

  it('comes with the deadline, and says that something is missing', async () => {
    const mesh = new TestMesh()
    const a = await mesh.node()
    mesh.link(a, mesh.stranger(never))
    const results = a.discovery.find({ name: 'read', timeoutMs: 20 })
    expect(await all(results)).toEqual([])
    expect(await results.summary).toMatchObject({ complete: false, count: 0 })
  })

  it('comes with the signal', async () => {
    const mesh = new TestMesh()
    const a = await mesh.node()
    mesh.link(a, mesh.stranger(never))
    const giveUp = new AbortController()
    const results = a.discovery.find({ name: 'read', signal: giveUp.signal })
    const found = all(results)
    giveUp.abort()
    expect(await found).toEqual([])
    expect((await results.summary).complete).toBe(false)
  })

  it('comes with leaving the loop', async () => {
    const node = await new TestMesh().node()
    await node.offer('fs', ['read', 'write'])
    const results = node.discovery.find({})
    for await (const _ of results) break
    expect(await results.summary).toMatchObject({ complete: false, count: 1 })
  })

  it('comes with the end of the node', async () => {
    const mesh = new TestMesh()
    const a = await mesh.node()
    mesh.link(a, mesh.stranger(never))
    const found = all(a.discovery.find({ name: 'read' }))
    await a.discovery.stop()
    expect(await found).toEqual([])
  })

  it('is not complete when a walk through the DHT was cut', async () => {
    const mesh = new TestMesh()
    mesh.walk = () => Promise.resolve(false)
    mesh.routingTable = CATALOGUE_TABLE_PEERS + 1
    const a = await mesh.node()
    mesh.stranger(never)
    mesh.link(
      a,
      mesh.stranger(() => ({ records: [], more: false, hints: [] }))
    )
    const results = a.discovery.find({ name: 'read' })
    await all(results)
    expect((await results.summary).complete).toBe(false)
  })

  it('is not complete when nobody could have told of a match', async () => {
    const mesh = new TestMesh()
    const a = await mesh.node()
    mesh.stranger(never)
    const x = mesh.stranger((body) => (isHints(body) ? never() : { records: [], more: false }))
    mesh.link(a, x)
    const results = a.discovery.find({ text: 'anything' })
    await all(results)
    expect((await results.summary).complete).toBe(false)
  })

  it('is complete without the DHT when the catalogue covers a mesh of this size', async () => {
    const mesh = new TestMesh()
    const [a, x] = [await mesh.node(), await mesh.node()]
    mesh.stranger(never)
    mesh.link(a, x)
    await until(() => mesh.requests.filter(({ body }) => isHints(body)).length === 2)
    await new Promise((resolve) => setImmediate(resolve))
    const results = a.discovery.find({ text: 'anything' })
    await all(results)
    expect((await results.summary).complete).toBe(true)
  })

  it('is read once', async () => {
    const results = (await new TestMesh().node()).discovery.find({})
    await all(results)
    await expect(all(results)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

describe('peers that do not answer', () => {
  it('cost a find no more than the time of one candidate, and nobody else waits', async () => {
    fakeTime()
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    await b.offer('fs', ['read'])
    mesh.link(a, mesh.stranger(never))
    mesh.link(a, b)
    const results = a.discovery.find({ name: 'read' })[Symbol.asyncIterator]()
    expect(await results.next()).toMatchObject({ value: { peer: b.id } })
    const end = results.next()
    await vi.advanceTimersByTimeAsync(CANDIDATE_TIMEOUT_MS + JOIN_JITTER_MS)
    expect(await end).toMatchObject({ done: true })
  })

  it('are not asked again for a while, and results are not complete meanwhile', async () => {
    fakeTime()
    const mesh = new TestMesh()
    const a = await mesh.node()
    mesh.link(a, mesh.stranger(never))
    const first = all(a.discovery.find({ name: 'read' }))
    await vi.advanceTimersByTimeAsync(CANDIDATE_TIMEOUT_MS)
    await first
    const again = a.discovery.find({ name: 'read' })
    expect(await all(again)).toEqual([])
    expect((await again.summary).complete).toBe(false)
  })

  it('are forgotten with their old records when they cannot be reached', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    await b.offer('fs', ['read'])
    mesh.link(a, b)
    await a.found('read')
    mesh.cut(a, b)
    b.isReachable = false
    expect(await all(a.discovery.find({ name: 'read' }))).toHaveLength(1)
    mesh.nowMs += TRUSTED_MS
    const results = a.discovery.find({ name: 'read' })
    expect(await all(results)).toEqual([])
    expect((await results.summary).complete).toBe(true)
    expect(a.discovery.size).toBe(0)
  })

  it('that speak another protocol leave results complete', async () => {
    const mesh = new TestMesh()
    const a = await mesh.node()
    const { MeshError } = await import('../../src/errors.ts')
    mesh.link(
      a,
      mesh.stranger(() => {
        throw new MeshError('UNSUPPORTED_VERSION', 'no common version')
      })
    )
    const results = a.discovery.find({ name: 'read' })
    await all(results)
    expect((await results.summary).complete).toBe(true)
  })
})

describe('rank', () => {
  it('is connected peers first, then the newest record', async () => {
    const mesh = new TestMesh()
    const a = await mesh.node()
    const others = [await mesh.node(), await mesh.node(), await mesh.node()]
    for (const other of others) {
      mesh.nowMs += 1
      await other.offer('fs', ['read'])
      mesh.link(a, other)
      await a.emitted('capability:found', ({ agent }) => agent.startsWith(other.id))
    }
    const [oldest, middle, newest] = others.map(({ id }) => id)
    if (others[2] !== undefined) mesh.cut(a, others[2])
    const found = await all(a.discovery.find({ name: 'read' }))
    expect(found.map(({ peer }) => peer)).toEqual([middle, oldest, newest])
  })
})

describe('resolve', () => {
  it('gives the verified record of an agent, from its owner or the cache', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    const agent = await b.offer('fs', ['read'])
    const { signal } = new AbortController()
    const record = await a.discovery.resolve(agent, { signal })
    expect(record).toEqual(b.registry.record('fs'))
    expect(a.discovery.known(agent)).toBe(record)
    expect(await a.discovery.resolve(agent, { signal })).toBe(record)
    expect(await b.discovery.resolve(agent, { signal })).toBe(b.registry.record('fs'))
  })

  it('gives the record of an agent that offers nothing just now', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    const agent = await b.offer('fs', [])
    const { record } = await a.discovery.resolve(agent, { signal: new AbortController().signal })
    expect(record.capabilities).toEqual([])
  })

  it('fails with NOT_FOUND when the owner has no such agent, and forgets what it had', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    await b.offer('fs', ['read'])
    const { signal } = new AbortController()
    await expect(a.discovery.resolve(`${b.id}/nobody`, { signal })).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(a.discovery.resolve(`${a.id}/nobody`, { signal })).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('fails with UNREACHABLE, INVALID_ARGUMENT, INVALID_RECORD and TIMEOUT', async () => {
    fakeTime()
    const mesh = new TestMesh()
    const a = await mesh.node()
    const { signal } = new AbortController()
    const liar = mesh.stranger(async (body) =>
      isHints(body)
        ? { hints: [] }
        : { records: [(await signed({ identity: liar.identity, expiresInMs: -1 })).jws], more: false }
    )
    const hung = mesh.stranger(never)
    const gone = (await signed()).record.id
    await expect(a.discovery.resolve(gone, { signal })).rejects.toMatchObject({ code: 'UNREACHABLE' })
    await expect(a.discovery.resolve('@fs', { signal })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(a.discovery.resolve(`${liar.id}/fs`, { signal })).rejects.toMatchObject({ code: 'INVALID_RECORD' })
    const late = a.discovery.resolve(`${hung.id}/fs`, { signal }).catch((err: unknown) => err)
    await vi.advanceTimersByTimeAsync(10_000)
    expect(await late).toMatchObject({ code: 'TIMEOUT' })
  })
})

describe('named', () => {
  it('gives all agents of one name, of any node', async () => {
    const mesh = new TestMesh()
    const [a, b, c] = [await mesh.node(), await mesh.node(), await mesh.node()]
    mesh.link(a, b)
    mesh.link(a, c)
    const agents = [await a.offer('fs', ['x']), await b.offer('fs', ['read']), await c.offer('fs', ['write'])]
    await b.offer('other', ['read'])
    const { signal } = new AbortController()
    const named = await a.discovery.named('fs', { signal })
    expect(named.map(({ record }) => record.id).sort()).toEqual(agents.sort())
    await expect(a.discovery.named('Not A Name', { signal })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

function isHints(body: unknown): boolean {
  return (body as { op: string }).op === 'hints'
}
