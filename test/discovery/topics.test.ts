import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  ANNOUNCE_BURST,
  ANNOUNCE_INTERVAL_MS,
  CATALOGUE_TABLE_PEERS,
  CATALOGUE_TOPIC,
  LAZY_PROVIDE_MS,
  MAX_PEER_HINTS,
  MAX_TOPICS,
  PUBLISH_BURST,
  RECEIVE_FACTOR,
  UPKEEP_MS
} from '../../src/discovery/constants.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { all, TestMesh, type TestNode, until } from './mesh.ts'
import { NOW } from './records.ts'

const DB_TOPIC = '/pryx-mesh/capability/1/tool/db'

function announcement(changes: Record<string, unknown> = {}): Buffer {
  const caps = { 'tool@1.0.0': ['read'] }
  const body = { v: 1, t: 'announce', agent: 'fs', seq: 1, exp: NOW / 1000 + 3600, digest: 'd'.repeat(43), caps }
  return Buffer.from(JSON.stringify({ ...body, ...changes }))
}

const withdrawal = (seq: number) => Buffer.from(JSON.stringify({ v: 1, t: 'withdraw', agent: 'fs', seq }))

async function pair(): Promise<{ mesh: TestMesh; a: TestNode; b: TestNode }> {
  const mesh = new TestMesh()
  const [a, b] = [await mesh.node(), await mesh.node()]
  mesh.link(a, b)
  return { mesh, a, b }
}

const said = (mesh: TestMesh, topic: string) =>
  mesh.heard.filter((heard) => heard.topic === topic).map(({ text }) => JSON.parse(text))

describe('announcing', () => {
  it('says what is offered on the catalogue and in its name space, and what is withdrawn', async () => {
    const { mesh, a, b } = await pair()
    mesh.topics.set(DB_TOPIC, new Map([[b.id, () => 'accept']]))
    await a.offer('sql', ['db.query', 'db.tables'])
    const announced = { v: 1, t: 'announce', agent: 'sql', caps: { 'tool@1.0.0': ['db.query', 'db.tables'] } }
    expect(said(mesh, CATALOGUE_TOPIC)).toMatchObject([announced])
    expect(said(mesh, DB_TOPIC)).toMatchObject([announced])
    expect(mesh.topics.get(DB_TOPIC)?.has(a.id)).toBe(true)
    await a.drop('sql')
    const { seq } = said(mesh, CATALOGUE_TOPIC)[0]
    expect(said(mesh, CATALOGUE_TOPIC)[1]).toEqual({ v: 1, t: 'withdraw', agent: 'sql', seq })
    expect(said(mesh, DB_TOPIC)[1]).toEqual({ v: 1, t: 'withdraw', agent: 'sql', seq })
    expect(mesh.topics.get(DB_TOPIC)?.has(a.id)).toBe(false)
  })

  it('says nothing of agents that are not for everybody, on no topic and not in the DHT', async () => {
    const { mesh, a } = await pair()
    await a.offer('sql', ['db.query'], { audience: 'paired' })
    expect(mesh.heard).toEqual([])
    expect([...mesh.providers.values()].flatMap((peers) => [...peers])).toEqual([])
  })

  it('withdraws an agent that is no longer for everybody', async () => {
    const { mesh, a } = await pair()
    await a.offer('sql', ['db.query'])
    mesh.nowMs++
    await a.offer('sql', ['db.query'], { audience: 'paired' })
    expect(said(mesh, CATALOGUE_TOPIC).map(({ t }) => t)).toEqual(['announce', 'withdraw'])
    expect([...mesh.providers.values()].flatMap((peers) => [...peers])).toEqual([])
  })

  it('keeps to its budget and says the latest when it may again', async () => {
    const { mesh, a } = await pair()
    const versions = ['1.0.0', '1.0.1', '1.0.2', '1.0.3', '1.0.4']
    for (const version of versions) {
      mesh.nowMs++
      await a.offer('fs', [{ kind: 'tool', name: 'read', version }])
    }
    expect(said(mesh, CATALOGUE_TOPIC)).toHaveLength(ANNOUNCE_BURST)
    mesh.nowMs += ANNOUNCE_INTERVAL_MS
    await a.offer('other', ['x'])
    expect(said(mesh, CATALOGUE_TOPIC)).toMatchObject([
      {},
      {},
      {},
      { caps: { 'tool@1.0.4': ['read'] } },
      { agent: 'other' }
    ])
  })

  it('says it again when it was said to nobody', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    await a.offer('fs', ['read'])
    expect(mesh.heard).toEqual([])
    mesh.link(a, b)
    await a.offer('other', ['x'])
    expect(said(mesh, CATALOGUE_TOPIC).map(({ agent }) => agent)).toEqual(['fs', 'other'])
  })

  it('joins only so many topics, those of its offers first', async () => {
    const { mesh, a } = await pair()
    const { signal } = new AbortController()
    const watch = a.discovery.watch({ kind: 'tool', name: 'watched.*', signal })[Symbol.asyncIterator]()
    const first = watch.next()
    const watched = '/pryx-mesh/capability/1/tool/watched'
    expect(mesh.topics.get(watched)?.has(a.id)).toBe(true)
    await a.offer(
      'many',
      Array.from({ length: MAX_TOPICS + 8 }, (_, i) => `space${i}.run`)
    )
    const joined = [...mesh.topics].filter(([, members]) => members.has(a.id))
    expect(joined).toHaveLength(MAX_TOPICS + 1)
    expect(mesh.topics.get(watched)?.has(a.id)).toBe(false)
    await a.offer('many', ['watched.this'])
    await first
    await watch.return?.()
  })

  it('says goodbye when the node stops', async () => {
    const { mesh, a, b } = await pair()
    await a.offer('fs', ['read'])
    await b.found('read')
    await a.discovery.stop()
    await b.gone('read')
    expect(said(mesh, CATALOGUE_TOPIC).at(-1)).toMatchObject({ t: 'withdraw', agent: 'fs' })
    expect([...mesh.topics.values()].some((members) => members.has(a.id))).toBe(false)
    expect([...mesh.providers.values()].some((peers) => peers.has(a.id))).toBe(false)
  })
})

describe('listening', () => {
  const author = createIdentity().id

  it('takes in a changed record of a connected peer as soon as it hears of it', async () => {
    const { mesh, a, b } = await pair()
    await b.offer('fs', ['read'])
    await a.found('read')
    mesh.nowMs++
    await b.offer('fs', [{ kind: 'tool', name: 'read', version: '2.0.0' }])
    expect(await a.emitted('capability:changed')).toMatchObject({ capability: { version: '2.0.0' } })
  })

  it('drops what its owner withdraws, and does not take it again', async () => {
    const { mesh, a, b } = await pair()
    const agent = await b.offer('fs', ['read'])
    await a.found('read')
    const seq = a.discovery.known(agent)?.record.seq ?? 0
    expect(mesh.gossip(b.id, CATALOGUE_TOPIC, withdrawal(seq - 1))).toEqual(['ignore'])
    expect(a.discovery.known(agent)).toBeDefined()
    expect(mesh.gossip(b.id, CATALOGUE_TOPIC, withdrawal(seq))).toEqual(['accept'])
    expect(a.discovery.known(agent)).toBeUndefined()
    const { signal } = new AbortController()
    await expect(a.discovery.resolve(agent, { signal })).rejects.toMatchObject({ code: 'INVALID_RECORD' })
    expect(a.discovery.refused()).toEqual({ 'rolled-back': 1 })
  })

  it.each([
    { id: 'no JSON', data: Buffer.from('{'), reason: 'bad-hint' },
    { id: 'another shape', data: announcement({ seq: 'one' }), reason: 'bad-hint' },
    { id: 'a capability that has no name', data: announcement({ caps: { 'tool@1.0.0': ['-'] } }), reason: 'bad-hint' },
    { id: 'an agent of another peer', data: announcement({ agent: `${author}/fs` }), reason: 'bad-hint' },
    { id: 'too many bytes', data: announcement({ filler: 'x'.repeat(400) }), reason: 'oversize' },
    { id: 'a key that reaches a prototype', data: Buffer.from('{"__proto__":{}}'), reason: 'bad-hint' }
  ])('rejects $id', async ({ data, reason }) => {
    const { mesh, a } = await pair()
    expect(mesh.gossip(author, CATALOGUE_TOPIC, data)).toEqual(['reject', 'reject'])
    expect(a.discovery.refused()).toEqual({ [reason]: 1 })
    expect(await a.emitted('record:refused')).toEqual({ peer: author, reason })
  })

  it('rejects an author that is no node, and what is in the wrong name space', async () => {
    const { mesh, a } = await pair()
    expect(mesh.gossip('nobody', CATALOGUE_TOPIC, announcement())).toEqual(['reject', 'reject'])
    await a.offer('sql', ['db.query'])
    expect(mesh.gossip(author, DB_TOPIC, announcement())).toEqual(['reject'])
    expect(mesh.gossip(author, DB_TOPIC, announcement({ more: true }))).toEqual(['accept'])
  })

  it('ignores what a later version says, what has expired and what is older than what it knows', async () => {
    const { mesh, a } = await pair()
    const tell = (changes: Record<string, unknown>) => mesh.gossip(author, CATALOGUE_TOPIC, announcement(changes))[0]
    expect(tell({ v: 2, t: 'greet' })).toBe('ignore')
    expect(a.discovery.refused()).toEqual({})
    expect(tell({ exp: NOW / 1000 - 1 })).toBe('ignore')
    expect(tell({ seq: 3 })).toBe('accept')
    expect(tell({ seq: 2 })).toBe('ignore')
    expect(tell({ seq: 3 })).toBe('accept')
    expect(a.discovery.refused()).toEqual({ expired: 1 })
  })

  it('bears twice the budget of an author, and no more', async () => {
    const { mesh, a } = await pair()
    const burst = RECEIVE_FACTOR * ANNOUNCE_BURST
    const tell = (seq: number) => mesh.gossip(author, CATALOGUE_TOPIC, announcement({ seq }))[0]
    for (let seq = 1; seq <= burst; seq++) expect(tell(seq)).toBe('accept')
    expect(tell(burst + 1)).toBe('ignore')
    expect(a.discovery.refused()).toEqual({ 'over-budget': 1 })
    mesh.nowMs += ANNOUNCE_INTERVAL_MS / RECEIVE_FACTOR
    expect(tell(burst + 2)).toBe('accept')
    expect(tell(burst + 3)).toBe('ignore')
  })

  it('remembers only so many agents of one author', async () => {
    const { mesh, a } = await pair()
    const verdicts = Array.from({ length: MAX_PEER_HINTS + 1 }, (_, i) =>
      mesh.gossip(author, CATALOGUE_TOPIC, announcement({ agent: `a${i}` }))
    )
    expect(verdicts.at(-2)).toEqual(['accept', 'accept'])
    expect(verdicts.at(-1)).toEqual(['ignore', 'ignore'])
    expect(a.discovery.refused()).toEqual({ 'too-many': 1 })
  })

  it('never yields a hint whose owner does not confirm it', async () => {
    const { mesh, a } = await pair()
    const liar = mesh.stranger(() => ({ records: [], more: false, hints: [] }))
    mesh.gossip(liar.id, CATALOGUE_TOPIC, announcement())
    mesh.gossip(author, CATALOGUE_TOPIC, announcement())
    const results = a.discovery.find({ name: 'read' })
    expect(await all(results)).toEqual([])
    expect((await results.summary).complete).toBe(true)
    const asked = mesh.requests.filter(({ to, body }) => to === liar.id && JSON.stringify(body).includes('read'))
    expect(asked).toHaveLength(1)
  })
})

describe('the provider keys', () => {
  it('are one per name and one per name space, at most 64', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    onTestFinished(() => void vi.useRealTimers())
    const { mesh, a } = await pair()
    mesh.routingTable = CATALOGUE_TABLE_PEERS + 1
    await a.offer('sql', ['db.query', 'db.tables', 'echo'])
    // db.query, db.tables, echo; db.*, echo.*
    await until(() => mesh.providers.size >= 5)
    expect(mesh.providers.size).toBe(5)
    await a.drop('sql')
    mesh.providers.clear()
    const names = Array.from({ length: 100 }, (_, i) => `tool${i}`)
    await a.offer('many', names)
    for (let i = 0; i < 20; i++) {
      mesh.nowMs += UPKEEP_MS
      await vi.advanceTimersByTimeAsync(UPKEEP_MS)
    }
    await until(() => mesh.providers.size >= 64)
    await a.offer('more', ['one-more'])
    mesh.nowMs += UPKEEP_MS
    await vi.advanceTimersByTimeAsync(UPKEEP_MS)
    expect(mesh.providers.size).toBe(64)
  })

  it('are published few at a time, for a holder takes 16 a minute from one node', async () => {
    const { mesh, a } = await pair()
    mesh.routingTable = CATALOGUE_TABLE_PEERS + 1
    const names = Array.from({ length: 100 }, (_, i) => `tool${i}`)
    await a.offer('many', names)
    await until(() => mesh.walks.filter(({ from }) => from === a.id).length >= PUBLISH_BURST)
    await a.offer('more', ['one-more'])
    expect(mesh.walks.filter(({ from }) => from === a.id)).toHaveLength(PUBLISH_BURST)
  })

  it('have time as long as the catalogue covers the mesh, and then come one after the other', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    onTestFinished(() => void vi.useRealTimers())
    const { mesh, a } = await pair()
    await a.offer('sql', ['db.query'])
    await vi.advanceTimersByTimeAsync(UPKEEP_MS)
    expect(mesh.providers.size).toBe(0)
    mesh.nowMs += 1.5 * LAZY_PROVIDE_MS
    await vi.advanceTimersByTimeAsync(UPKEEP_MS)
    expect(mesh.providers.size).toBe(1)
    await vi.advanceTimersByTimeAsync(UPKEEP_MS)
    expect(mesh.providers.size).toBe(2)
  })
})
