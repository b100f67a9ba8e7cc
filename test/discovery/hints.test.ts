import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createBudget } from '../../src/discovery/budget.ts'
import {
  CATALOGUE_TOPIC,
  MAX_GIVER_HINTS,
  MAX_HINT_BYTES,
  MAX_HINTS,
  MAX_PEER_HINTS
} from '../../src/discovery/constants.ts'
import { announceOf, createHints, hintAddresses, hinted, hintOf } from '../../src/discovery/hints.ts'
import { hintMatches } from '../../src/discovery/match.ts'
import type { Hint } from '../../src/discovery/messages.ts'
import {
  capabilityTopic,
  firstSegment,
  fixedSegment,
  nameKey,
  queryKeys,
  queryTopics,
  segmentKey
} from '../../src/discovery/names.ts'
import { readMessage } from '../../src/discovery/topics.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { capabilityName } from '../../src/registry/messages.ts'
import { canonicalJson } from '../../src/wire/index.ts'
import { NOW, tool, unsigned } from './records.ts'

const author = createIdentity().id
const PEER = `12D3KooW${'A'.repeat(40)}`
const peer = (i: number) =>
  PEER + [i >> 15, i >> 10, i >> 5, i].map((n) => 'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghi'[n & 31]).join('')

function hint(changes: Partial<Hint> = {}): Hint {
  const exp = NOW / 1000 + 3600
  return { id: `${author}/fs`, seq: 1, exp, digest: 'd'.repeat(43), caps: { 'tool@1.0.0': ['read'] }, ...changes }
}

describe('names', () => {
  it.each([
    { name: 'read', first: 'read' },
    { name: 'db.query.run', first: 'db' },
    { name: 'files/read.all', first: 'files' }
  ])('$name is in the name space $first', ({ name, first }) => expect(firstSegment(name)).toBe(first))

  it.each([
    { glob: 'read', fixed: 'read' },
    { glob: 'db.query', fixed: 'db' },
    { glob: 'db.*', fixed: 'db' },
    { glob: 'db*', fixed: undefined },
    { glob: '*.query', fixed: undefined },
    { glob: '*', fixed: undefined }
  ])('all matches of $glob are in $fixed', ({ glob, fixed }) => expect(fixedSegment(glob)).toBe(fixed))

  it('keys and topics are those of the protocol', () => {
    expect(capabilityTopic('tool', 'db')).toBe('/pryx-mesh/capability/1/tool/db')
    // sha256('/pryx-mesh/capability/1/tool/db.query') as CIDv1, raw
    expect(nameKey('tool', 'db.query').toString()).toMatch(/^bafkrei[a-z2-7]{52}$/)
    expect(queryKeys({ kind: 'tool', name: 'db.query' })).toEqual([nameKey('tool', 'db.query')])
    expect(queryKeys({ name: 'db.*' })).toHaveLength(3)
    expect(queryKeys({ kind: 'tool', name: 'db.*' })).toEqual([segmentKey('tool', 'db')])
    expect(queryKeys({ kind: 'tool', name: '*' })).toBeUndefined()
    expect(queryKeys({ text: 'x' })).toBeUndefined()
    expect(queryTopics({ kind: 'skill', name: 'db.q*' })).toEqual(['/pryx-mesh/capability/1/skill/db'])
    expect(queryTopics({})).toEqual([])
  })
})

describe('a hint', () => {
  it('says where its node listens, loopback last, the second address only if all names fit', () => {
    const listening = ['/ip4/127.0.0.1/tcp/4001', '/ip4/192.168.1.20/tcp/4002/ws', '/ip4/192.168.1.20/tcp/4001']
    const addresses = hintAddresses(listening.map((address) => `${address}/p2p/${author}`))
    expect(addresses).toEqual([listening[2], listening[1], listening[0]])
    const few = hintOf(unsigned({ capabilities: [tool('read')] }), addresses)
    expect(few.addrs).toEqual(addresses.slice(0, 2))
    const many = hintOf(unsigned({ capabilities: Array.from({ length: 40 }, (_, i) => tool(`tool-${i}`)) }), addresses)
    expect(many).toMatchObject({ addrs: addresses.slice(0, 1), more: true })
    expect(Buffer.byteLength(canonicalJson(announceOf(many)))).toBeLessThanOrEqual(MAX_HINT_BYTES)
    const hints = createHints({ now: () => NOW })
    hints.put({ hint: hint({ addrs: ['/memory/a'] }), giver: author })
    expect(hints.addressesOf(author)).toEqual(['/memory/a'])
  })

  it('of any record fits a gossip message, is valid, and says when it leaves something out', () => {
    const names = fc.uniqueArray(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}$/), { maxLength: 40 })
    const version = fc.constantFrom('1.0.0', '2.1.3-beta.1', '10.20.30')
    fc.assert(
      fc.property(names, version, (given, v) => {
        const valid = given.filter((name) => capabilityName.safeParse(name).success)
        const record = unsigned({ capabilities: valid.map((name) => tool(name, { version: v })) })
        const told = hintOf(record)
        const data = Buffer.from(canonicalJson(announceOf(told)))
        expect(data.byteLength).toBeLessThanOrEqual(MAX_HINT_BYTES)
        expect(readMessage(CATALOGUE_TOPIC, author, data)).toMatchObject({ t: 'announce', agent: 'fs', seq: 1 })
        const listed = [...hinted(told)].map(({ name }) => name)
        expect(listed).toEqual(valid.slice(0, listed.length))
        expect(told.more === true).toBe(listed.length < valid.length)
      })
    )
  })

  it('of any shape is judged without a throw, and only valid ones pass', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.json(),
          fc.string(),
          fc.jsonValue().map((v) => JSON.stringify({ v: 1, t: 'announce', agent: v }))
        ),
        (text) => {
          const message = readMessage(CATALOGUE_TOPIC, author, Buffer.from(text))
          const verdict = typeof message === 'string' ? message : message.t
          expect(['oversize', 'bad-hint', 'later', 'announce', 'withdraw']).toContain(verdict)
        }
      )
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
        const message = readMessage(CATALOGUE_TOPIC, author, bytes)
        expect(['oversize', 'bad-hint', 'later', 'object']).toContain(typeof message === 'string' ? message : 'object')
      })
    )
  })

  it.each([
    { id: 'a name that fits', query: { name: 'read' }, fits: true },
    { id: 'another name', query: { name: 'write' }, fits: false },
    { id: 'a range that fits', query: { version: '^1' }, fits: true },
    { id: 'another range', query: { name: 'read', version: '^2' }, fits: false },
    { id: 'another kind', query: { kind: 'model' as const }, fits: false },
    { id: 'another agent', query: { agent: 'other' }, fits: false },
    { id: 'what it does not tell', query: { tags: ['x'], text: 'y' }, fits: true }
  ])('fits a query for $id: $fits', ({ query, fits }) => {
    expect(hintMatches(query)(hint())).toBe(fits)
  })

  it('that left something out fits every capability', () => {
    expect(hintMatches({ name: 'write' })(hint({ more: true }))).toBe(true)
    expect(hintMatches({ name: 'write', agent: 'other' })(hint({ more: true }))).toBe(false)
  })
})

describe('hints', () => {
  it('are replaced by newer ones, and by the word of their own node', () => {
    const hints = createHints({ now: () => NOW })
    expect(hints.put({ hint: hint({ seq: 9 }), giver: 'gossip' })).toBe('new')
    expect(hints.isReplaced(hint().id, 1)).toBe(false)
    expect(hints.put({ hint: hint({ seq: 2 }), giver: author })).toBe('new')
    expect(hints.put({ hint: hint({ seq: 9 }), giver: 'gossip' })).toBe('old')
    expect(hints.put({ hint: hint({ seq: 2 }), giver: author })).toBe('old')
    expect(hints.put({ hint: hint({ seq: 3 }), giver: author })).toBe('new')
    expect(hints.isReplaced(hint().id, 2)).toBe(true)
    hints.withdraw(hint().id, 2)
    expect(hints.size).toBe(1)
    hints.withdraw(hint().id, 3)
    expect(hints.size).toBe(0)
  })

  it('expire, and may not claim to live for ever', () => {
    let now = NOW
    const hints = createHints({ now: () => now })
    expect(hints.put({ hint: hint({ exp: NOW / 1000 }), giver: author })).toBe('expired')
    expect(hints.put({ hint: hint({ exp: NOW / 1000 + 90_000 }), giver: author })).toBe('expired')
    hints.put({ hint: hint(), giver: author })
    now += 3_600_000
    expect([...hints.all()]).toEqual([])
    expect(hints.get(hint().id)).toBeUndefined()
    hints.expire()
    expect(hints.size).toBe(0)
  })

  it('of one author are few, and what others say of it makes place for its own', () => {
    const hints = createHints({ now: () => NOW })
    for (let i = 0; i < MAX_PEER_HINTS; i++) hints.put({ hint: hint({ id: `${author}/a${i}` }), giver: 'other' })
    expect(hints.put({ hint: hint({ id: `${author}/b` }), giver: 'other' })).toBe('too-many')
    for (let i = 0; i < MAX_PEER_HINTS; i++) {
      expect(hints.put({ hint: hint({ id: `${author}/own${i}` }), giver: author })).toBe('new')
    }
    expect(hints.put({ hint: hint({ id: `${author}/b` }), giver: author })).toBe('too-many')
    expect(hints.size).toBe(MAX_PEER_HINTS)
    hints.forget(author)
    expect(hints.size).toBe(0)
  })

  it('of one giver are bounded, and all together', () => {
    const hints = createHints({ now: () => NOW })
    const given = Array.from({ length: MAX_GIVER_HINTS + 1 }, (_, i) =>
      hints.put({ hint: hint({ id: `${peer(i)}/fs` }), giver: 'liar' })
    )
    expect(given.filter((result) => result === 'new')).toHaveLength(MAX_GIVER_HINTS)
    for (let i = 0; i < MAX_HINTS + 10; i++) hints.put({ hint: hint({ id: `${peer(i)}/own` }), giver: peer(i) })
    expect(hints.size).toBe(MAX_HINTS)
  })
})

it('a budget is a burst, then one per interval', () => {
  let now = NOW
  const budget = createBudget({ burst: 3, intervalMs: 600_000, now: () => now })
  expect([1, 2, 3, 4].map(() => budget.take('a'))).toEqual([true, true, true, false])
  expect(budget.take('b')).toBe(true)
  now += 600_000
  expect([1, 2].map(() => budget.take('a'))).toEqual([true, false])
})
