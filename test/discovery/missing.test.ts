import { describe, expect, it } from 'vitest'
import type { Pinned } from '../../src/discovery/index.ts'
import { expectedOf } from '../../src/discovery/missing.ts'
import type { Query } from '../../src/registry/messages.ts'
import { all, TestMesh, until } from './mesh.ts'

const OLD = '12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy/sql'
const NEW = '12D3KooWAfPwQQxGNNxYTCCwLHyrdwdUTHtKWPrCfLQZu9Z3EFqS/sql'
const PIN: Pinned = { agent: OLD, kind: 'tool', name: 'db.query' }

const missing = (query: Query, found: Record<string, string[]>, pins: readonly Pinned[] = [PIN]) =>
  expectedOf(query, () => pins).missing(new Map(Object.entries(found).map(([key, ids]) => [key, new Set(ids)])))

describe('what was called before', () => {
  it('is not missing when it is found', () => {
    expect(missing({ name: 'db.*' }, { 'tool db.query': [OLD, NEW] })).toEqual([])
  })

  it('is gone when nobody offers it, or only agents of other names', () => {
    const gone = [{ ...PIN, reason: 'gone', others: [] }]
    expect(missing({ name: 'db.query' }, {})).toEqual(gone)
    expect(missing({ name: 'db.query' }, { 'tool db.query': [NEW.replace('/sql', '/other')] })).toEqual(gone)
  })

  it('has another key when an agent of the same name offers it that was not called before', () => {
    expect(missing({}, { 'tool db.query': [NEW] })).toEqual([{ ...PIN, reason: 'another-key', others: [NEW] }])
    const both = [PIN, { ...PIN, agent: NEW }]
    expect(missing({}, { 'tool db.query': [NEW] }, both)).toEqual([{ ...PIN, reason: 'gone', others: [] }])
  })

  it.each([
    { id: 'another name', query: { name: 'fs.*' } },
    { id: 'another kind', query: { kind: 'skill' as const } },
    { id: 'another agent', query: { agent: 'fs' } },
    { id: 'a version, which it need never have had', query: { version: '^9' } },
    { id: 'a tag, which it need never have had', query: { tags: ['sql'] } }
  ])('is not looked for by $id', ({ query }) => {
    expect(missing(query, {})).toEqual([])
  })
})

describe('a find', () => {
  it('tells what is missing once everything was covered, and the node says so once', async () => {
    const mesh = new TestMesh()
    const [b, c] = [await mesh.node(), await mesh.node()]
    const old = await b.offer('sql', ['db.query'])
    const a = await mesh.node({}, { pinned: () => [{ agent: old, kind: 'tool', name: 'db.query' }] })
    mesh.link(a, b)
    mesh.link(a, c)
    await a.found('db.query')
    const find = async () => {
      const results = a.discovery.find({ name: 'db.query' })
      await all(results)
      return results.summary
    }
    expect((await find()).missing).toBeUndefined()
    await b.drop('sql')
    const other = await c.offer('sql', ['db.query'])
    await until(() => a.discovery.known(other) !== undefined && a.discovery.known(old) === undefined)
    for (let i = 0; i < 2; i++) {
      expect((await find()).missing).toEqual([
        { agent: old, kind: 'tool', name: 'db.query', reason: 'another-key', others: [other] }
      ])
    }
    const told = a.events.filter(({ event }) => event === 'capability:missing')
    expect(told).toMatchObject([{ detail: { agent: old, capability: 'db.query', others: 1 } }])
    expect(a.discovery.status().missed).toBe(1)
  })

  it('does not miss what a blocked peer offered', async () => {
    const a = await new TestMesh().node({}, { pinned: () => [PIN], trustOf: () => 'blocked' })
    const results = a.discovery.find({ name: 'db.query' })
    await all(results)
    expect(await results.summary).toEqual({ complete: true, count: 0, estimate: 0 })
  })

  it('tells of nothing missing when it did not see everything', async () => {
    const mesh = new TestMesh()
    const a = await mesh.node({}, { pinned: () => [PIN] })
    await a.offer('fs', ['db.query'])
    const results = a.discovery.find({ name: 'db.query', limit: 1 })
    await all(results)
    expect(await results.summary).toEqual({ complete: false, count: 1, estimate: 1 })
  })
})
