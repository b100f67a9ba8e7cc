import { expect, it } from 'vitest'
import { createCache, type RecordChange } from '../../src/discovery/cache.ts'
import { MAX_PEER_BYTES } from '../../src/discovery/constants.ts'
import { capabilityMatch } from '../../src/discovery/match.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { MAX_PEER_RECORDS, RECORD_TTL_MS } from '../../src/registry/index.ts'
import type { Query } from '../../src/registry/messages.ts'
import { NOW, type RecordInit, tool, unsigned } from './records.ts'

const identity = createIdentity()
const agent = `${identity.id}/fs`

function openCache() {
  const clock = { nowMs: NOW }
  const events: unknown[] = []
  const changes: RecordChange[] = []
  const cache = createCache({ emit: (event, detail) => events.push([event, detail]), now: () => clock.nowMs })
  cache.onChange((change) => changes.push(change))
  const put = (init: RecordInit = {}) => cache.accept(identity.id, unsigned({ identity, ...init }), 'peer')
  const names = (query: Query) =>
    [...cache.candidates(query)].flatMap(({ record }) => capabilityMatch(query)(record)).map(({ name }) => name)
  return { cache, clock, events, changes, put, names }
}

it('the highest seq wins, and nothing older comes back', () => {
  const { cache, put } = openCache()
  const first = put({ seq: 5 })
  expect(cache.get(agent)).toBe(first)
  expect(put({ seq: 4 })).toBe('rolled-back')
  expect(put({ seq: 5, capabilities: [tool('other')] })).toBe('rolled-back')
  expect(put({ seq: 5 })).toBe(first)
  expect(put({ seq: 6 })).toMatchObject({ record: { seq: 6 } })
  expect(cache.size).toBe(1)
})

it('what was withdrawn does not come back, what was forgotten may', () => {
  const { cache, put } = openCache()
  put({ seq: 5 })
  cache.withdraw(agent, 4)
  expect(cache.get(agent)).toBeDefined()
  cache.withdraw(agent, 5)
  expect(cache.get(agent)).toBeUndefined()
  expect(put({ seq: 5 })).toBe('rolled-back')
  expect(cache.isOutdated(agent, 5)).toBe(true)
  put({ seq: 6 })
  cache.forget(agent)
  expect(cache.size).toBe(0)
  expect(put({ seq: 5 })).toBe('rolled-back')
  expect(put({ seq: 6 })).toMatchObject({ record: { seq: 6 } })
})

it('tells of capabilities that come, change and go, and not of renewals', () => {
  const { cache, clock, events, put } = openCache()
  const told = () =>
    events.splice(0).map((event) => [(event as [string])[0], (event as [string, never])[1]['capability']])
  put({ seq: 1, capabilities: [tool('a'), tool('b')] })
  expect(told()).toEqual([
    ['capability:found', { kind: 'tool', name: 'a', version: '1.0.0' }],
    ['capability:found', { kind: 'tool', name: 'b', version: '1.0.0' }]
  ])
  put({ seq: 2, capabilities: [tool('a'), tool('b', { version: '2.0.0' }), tool('c')] })
  expect(told()).toEqual([
    ['capability:changed', { kind: 'tool', name: 'b', version: '2.0.0' }],
    ['capability:found', { kind: 'tool', name: 'c', version: '1.0.0' }]
  ])
  put({ seq: 3, capabilities: [tool('a')] })
  expect(told()).toMatchObject([
    ['capability:gone', { name: 'b' }],
    ['capability:gone', { name: 'c' }]
  ])
  put({ seq: 4, capabilities: [tool('a')] })
  expect(told()).toEqual([])
  clock.nowMs += RECORD_TTL_MS
  expect(cache.get(agent)).toBeUndefined()
  cache.expire()
  expect(told()).toMatchObject([['capability:gone', { name: 'a' }]])
})

it.each([
  { id: 'id', query: { id: agent }, expected: ['db.query', 'read'] },
  { id: 'agent', query: { agent: 'fs' }, expected: ['db.query', 'read'] },
  { id: 'name', query: { name: 'read' }, expected: ['read'] },
  { id: 'glob', query: { name: '*query' }, expected: ['db.query'] },
  { id: 'tag', query: { tags: ['sql'] }, expected: ['db.query'] },
  { id: 'tag and glob', query: { tags: ['sql'], name: 're*' }, expected: [] },
  { id: 'kind', query: { kind: 'tool' as const }, expected: ['db.query', 'other', 'read'] },
  { id: 'text', query: { text: 'QUERY' }, expected: ['db.query'] }
])('finds by $id', ({ query, expected }) => {
  const { names, put } = openCache()
  put({ capabilities: [tool('db.query', { tags: ['sql'] }), tool('read')] })
  put({ name: 'other', capabilities: [tool('other')] })
  expect(names(query).sort()).toEqual(expected)
})

it('forgets what a replaced record said', () => {
  const { names, put } = openCache()
  put({ seq: 1, capabilities: [tool('old', { tags: ['sql'] })] })
  put({ seq: 2, capabilities: [tool('new')] })
  expect(names({ name: 'old' })).toEqual([])
  expect(names({ tags: ['sql'] })).toEqual([])
  expect(names({ name: 'n*' })).toEqual(['new'])
})

it('takes from one peer what one node may have, and no more', () => {
  const { cache, put } = openCache()
  for (let i = 0; i < MAX_PEER_RECORDS; i++) put({ name: `a${i}` })
  expect(put({ name: 'one-more' })).toBe('too-many')
  expect(put({ name: 'a0', seq: 2 })).toMatchObject({ record: { seq: 2 } })
  expect(cache.size).toBe(MAX_PEER_RECORDS)
})

it('takes from one peer only so many bytes', () => {
  const { cache, put } = openCache()
  const description = 'x'.repeat(4096)
  const capabilities = Array.from({ length: 60 }, (_, i) => tool(`t${i}`, { description }))
  let taken = 0
  while (typeof put({ name: `a${taken}`, capabilities }) !== 'string') taken++
  const bytes = cache.ofPeer(identity.id).reduce((sum, { jws }) => sum + jws.length, 0)
  expect(taken).toBeLessThan(MAX_PEER_RECORDS)
  expect(bytes).toBeLessThanOrEqual(MAX_PEER_BYTES)
})
