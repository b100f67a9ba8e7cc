import { describe, expect, it } from 'vitest'
import type { TrustLevel } from '../../src/auth/index.ts'
import { MAX_PAGE_BYTES, MAX_PAGE_RECORDS, MAX_SNAPSHOT_HINTS } from '../../src/discovery/constants.ts'
import type { Hint, QueryAnswer } from '../../src/discovery/messages.ts'
import type { PolicyRequest } from '../../src/policy/index.ts'
import { contextOf, callerOf as strangerOf } from '../callers.ts'
import { all, TestMesh, type TestNode } from './mesh.ts'

const callerOf = (trust: TrustLevel) => strangerOf('12D3KooWCaller', trust)

async function ask(node: TestNode, body: unknown, trust: TrustLevel = 'unknown'): Promise<QueryAnswer> {
  const { signal } = new AbortController()
  return (await node.answer?.(body, contextOf(callerOf(trust), signal))) as QueryAnswer
}

const namesIn = (node: TestNode, { records }: { records: readonly string[] }) =>
  records.map((jws) => node.registry.records({}).find((signed) => signed.jws === jws)?.record.name)

describe('query', () => {
  it('gives own records that match, in the order of their names', async () => {
    const node = await new TestMesh().node()
    await node.offer('b', ['read'])
    await node.offer('a', ['read'])
    await node.offer('c', ['write'])
    const answer = await ask(node, { op: 'query', query: { name: 'read' } })
    expect(namesIn(node, answer)).toEqual(['a', 'b'])
    expect(answer.more).toBe(false)
  })

  it('gives nothing of what other nodes offer', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    mesh.link(a, b)
    await b.offer('fs', ['read'])
    await a.found('read')
    expect(await ask(a, { op: 'query', query: {} })).toEqual({ records: [], more: false })
  })

  it('gives pages by number and by bytes', async () => {
    const node = await new TestMesh().node()
    for (let i = 0; i < 5; i++) await node.offer(`a${i}`, ['read'])
    const first = await ask(node, { op: 'query', query: {}, limit: 2 })
    expect(first).toMatchObject({ more: true, cursor: 'a1' })
    const second = await ask(node, { op: 'query', query: {}, limit: 64, cursor: first.cursor })
    expect(namesIn(node, second)).toEqual(['a2', 'a3', 'a4'])
    expect(second).toMatchObject({ more: false })

    const description = 'x'.repeat(4096)
    const capabilities = Array.from({ length: 40 }, (_, i) => ({
      kind: 'tool' as const,
      name: `t${i}`,
      version: '1.0.0',
      description
    }))
    for (let i = 0; i < 8; i++) await node.offer(`large${i}`, capabilities)
    const page = await ask(node, { op: 'query', query: { name: 't*' } })
    expect(page.more).toBe(true)
    expect(JSON.stringify(page).length).toBeLessThan(2 ** 20)
    expect(page.records.join('').length).toBeLessThanOrEqual(MAX_PAGE_BYTES)
    const rest = await ask(node, { op: 'query', query: { name: 't*' }, cursor: page.cursor })
    expect(page.records.length + rest.records.length).toBe(8)
  })

  it('is pulled page by page by those who look', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    const size = MAX_PAGE_RECORDS + 6
    for (let i = 0; i < size; i++) await b.offer(`a${i}`, ['read'])
    mesh.link(a, b)
    expect(await all(a.discovery.find({ name: 'read' }))).toHaveLength(size)
  })

  it.each<{ trust: TrustLevel; sees: string[] }>([
    { trust: 'unknown', sees: ['open'] },
    { trust: 'known', sees: ['open', 'private'] },
    { trust: 'owner', sees: ['open', 'private'] }
  ])('shows a caller that is $trust what is meant for it', async ({ trust, sees }) => {
    const node = await new TestMesh().node()
    await node.offer('open', ['read'])
    await node.offer('private', ['read'], { audience: 'paired' })
    expect(namesIn(node, await ask(node, { op: 'query', query: {} }, trust))).toEqual(sees)
  })

  it('shows what policy allows the caller to read', async () => {
    const asked: PolicyRequest[] = []
    const decide = (request: PolicyRequest) => {
      asked.push(request)
      const effect = request.resource === 'agent:a' ? ('allow' as const) : ('deny' as const)
      return { effect, rules: [], reason: '' }
    }
    const policy = {
      decide,
      document: { v: 1 as const, rules: [] },
      put: () => Promise.reject(),
      remove: () => Promise.reject()
    }
    const node = await new TestMesh().node({}, { policy: policy as never })
    await node.offer('a', ['read'])
    await node.offer('b', ['read'])
    expect(namesIn(node, await ask(node, { op: 'query', query: {} }))).toEqual(['a'])
    expect(asked[0]).toMatchObject({ caller: callerOf('unknown'), action: 'record.read', resource: 'agent:a' })
  })

  it.each([
    { id: 'a request of no kind', body: { op: 'everything' }, code: 'INVALID_MESSAGE' },
    { id: 'a limit that is too high', body: { op: 'query', query: {}, limit: 65 }, code: 'INVALID_MESSAGE' },
    { id: 'no object', body: 'query', code: 'INVALID_MESSAGE' },
    { id: 'a bad range', body: { op: 'query', query: { version: 'newest' } }, code: 'INVALID_ARGUMENT' }
  ])('refuses $id', async ({ body, code }) => {
    const node = await new TestMesh().node()
    await expect(ask(node, body)).rejects.toMatchObject({ code })
  })

  it('refuses a blocked caller', async () => {
    const node = await new TestMesh().node()
    await expect(ask(node, { op: 'query', query: {} }, 'blocked')).rejects.toMatchObject({ code: 'FORBIDDEN' })
  })
})

describe('watch', () => {
  it('gives pages of what is there, then what changes', async () => {
    const node = await new TestMesh().node()
    for (let i = 0; i < MAX_PAGE_RECORDS + 1; i++) await node.offer(`a${i}`, ['read'])
    const { signal } = new AbortController()
    const answer = node.answer?.({ op: 'watch', query: { name: 'read' } }, contextOf(callerOf('unknown'), signal))
    const items = (answer as AsyncIterable<Record<string, unknown>>)[Symbol.asyncIterator]()
    expect((await items.next()).value).toMatchObject({ more: true })
    expect((await items.next()).value).toMatchObject({ records: [expect.any(String)], more: false })
    const agent = await node.offer('new', ['read'])
    const record = node.registry.record('new')
    expect((await items.next()).value).toEqual({ changed: record?.jws })
    await node.offer('unrelated', ['write'])
    await node.offer('new', ['write'])
    expect((await items.next()).value).toEqual({ withdrawn: agent, seq: record?.record.seq })
    await node.drop('a0')
    expect((await items.next()).value).toMatchObject({ withdrawn: `${node.id}/a0` })
    await items.return?.()
  })

  it('keeps only the latest for a reader that is slow', async () => {
    const node = await new TestMesh().node()
    const { signal } = new AbortController()
    const answer = node.answer?.({ op: 'watch', query: {} }, contextOf(callerOf('unknown'), signal))
    const items = (answer as AsyncIterable<Record<string, unknown>>)[Symbol.asyncIterator]()
    await items.next()
    for (const version of ['1.0.0', '2.0.0', '3.0.0']) await node.offer('fs', [{ kind: 'tool', name: 'read', version }])
    expect((await items.next()).value).toEqual({ changed: node.registry.record('fs')?.jws })
    await node.offer('short', ['x'])
    await node.drop('short')
    await node.offer('last', ['x'])
    expect((await items.next()).value).toEqual({ changed: node.registry.record('last')?.jws })
    await items.return?.()
  })
})

describe('hints', () => {
  it('are what this node knows of public records, its own first, at most so many', async () => {
    const mesh = new TestMesh()
    const [a, b] = [await mesh.node(), await mesh.node()]
    mesh.link(a, b)
    const own = await a.offer('own', ['x'])
    await a.offer('secret', ['x'], { audience: 'paired' })
    const other = await b.offer('fs', ['read'])
    await a.found('read')
    const { hints } = (await ask(a, { op: 'hints' })) as unknown as { hints: Hint[] }
    expect(hints.map(({ id }) => id)).toEqual([own, other])
    expect(hints[1]).toMatchObject({ caps: { 'tool@1.0.0': ['read'] }, digest: expect.stringMatching(/^[\w-]{43}$/) })
    const few = (await ask(a, { op: 'hints', limit: 1 })) as unknown as { hints: Hint[] }
    expect(few.hints).toHaveLength(1)
    await expect(ask(a, { op: 'hints', limit: MAX_SNAPSHOT_HINTS + 1 })).rejects.toMatchObject({
      code: 'INVALID_MESSAGE'
    })
  })
})
