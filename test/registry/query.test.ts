import fc from 'fast-check'
import { satisfies } from 'semver'
import { expect, it } from 'vitest'
import { compileQuery, matchRecord } from '../../src/registry/index.ts'
import type { AgentRecord, Capability, Query } from '../../src/registry/messages.ts'

const PEER = '12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN'

function capability(name: string, changes: Partial<Capability> = {}): Capability {
  return {
    kind: 'tool',
    name,
    version: '1.0.0',
    streaming: false,
    effects: 'none',
    tags: [],
    digest: 'x'.repeat(43),
    ...changes
  }
}

const RECORD: AgentRecord = {
  v: 1,
  id: `${PEER}/library`,
  seq: 1,
  issuedAt: '2026-11-23T12:00:00.000Z',
  expiresAt: '2026-11-23T13:00:00.000Z',
  name: 'library',
  description: 'Knows the Books',
  version: '1.0.0',
  driver: 'function',
  audience: 'public',
  tags: ['lang:en'],
  auth: [],
  protocols: {},
  capabilities: [
    capability('book.find', { description: 'Finds a book', tags: ['search'] }),
    capability('book.lend', { version: '1.4.2', description: 'Lends it, if you find it' }),
    capability('book.lend', { kind: 'skill', version: '2.0.0-beta.1' }),
    capability('summarise', { kind: 'model', version: '0.3.0', tags: ['search', 'slow'] })
  ]
}

const [FIND, LEND, LEND_SKILL, SUMMARISE] = ['tool book.find', 'tool book.lend', 'skill book.lend', 'model summarise']
const ALL = [FIND, LEND, LEND_SKILL, SUMMARISE]

function matches(query: Query): string[] {
  return matchRecord(RECORD, compileQuery(query)).map(({ kind, name }) => `${kind} ${name}`)
}

it.each<{ id: string; query: Query; found: unknown[] }>([
  { id: 'everything', query: {}, found: ALL },
  { id: 'its id', query: { id: `${PEER}/library` }, found: ALL },
  { id: 'another id', query: { id: `${PEER}/other` }, found: [] },
  { id: 'its agent', query: { agent: 'library' }, found: ALL },
  { id: 'another agent', query: { agent: 'lib' }, found: [] },
  { id: 'a kind', query: { kind: 'skill' }, found: [LEND_SKILL] },
  { id: 'a name', query: { name: 'book.lend' }, found: [LEND, LEND_SKILL] },
  { id: 'part of a name without a star', query: { name: 'book' }, found: [] },
  { id: 'a name in other case', query: { name: 'Book.*' }, found: [] },
  { id: 'a glob', query: { name: 'book.*' }, found: [FIND, LEND, LEND_SKILL] },
  { id: 'a glob, where a dot is a dot', query: { name: 'book?*' }, found: [] },
  { id: 'a caret range', query: { version: '^1.0.0' }, found: [FIND, LEND] },
  { id: 'a range with a lower end', query: { version: '>=1.1.0 <2.0.0' }, found: [LEND] },
  { id: 'alternatives', query: { version: '0.3.x || 1.4.x' }, found: [LEND, SUMMARISE] },
  { id: 'any finished version', query: { version: '*' }, found: [FIND, LEND, SUMMARISE] },
  { id: 'a pre-release by name', query: { version: '>=2.0.0-0' }, found: [LEND_SKILL] },
  { id: 'a tag of the capability', query: { tags: ['search'] }, found: [FIND, SUMMARISE] },
  { id: 'tags of both', query: { tags: ['slow', 'lang:en'] }, found: [SUMMARISE] },
  { id: 'a tag nobody has', query: { tags: ['search', 'fast'] }, found: [] },
  { id: 'a word of the agent', query: { text: 'KNOWS' }, found: ALL },
  { id: 'words from several places', query: { text: ' books  SEARCH summ' }, found: [SUMMARISE] },
  { id: 'a word nobody says', query: { text: 'book zebra' }, found: [] },
  { id: 'blanks', query: { text: '   ' }, found: ALL },
  {
    id: 'all at once',
    query: { kind: 'tool', name: 'book.*', version: '1.x', tags: ['lang:en'], text: 'lend' },
    found: [LEND]
  }
])('a query for $id', ({ query, found }) => {
  expect(matches(query)).toEqual(found)
})

it('capabilities with the words in their names come first', () => {
  expect(matches({ text: 'find' })).toEqual([FIND, LEND])
  expect(matches({ text: 'lend' })).toEqual([LEND, LEND_SKILL])
  expect(matches({ text: 'book' })[3]).toBe(SUMMARISE)
})

it.each<{ id: string; query: unknown; says: string }>([
  { id: 'range', query: { version: '>>1' }, says: '">>1" is not a version range' },
  { id: 'kind', query: { kind: 'agent' }, says: 'kind' },
  { id: 'tag', query: { tags: ['a b'] }, says: 'tags.0' },
  { id: 'id', query: { id: 'library' }, says: 'id' },
  { id: 'overlong name', query: { name: '*'.repeat(129) }, says: 'name' },
  { id: 'overlong range', query: { version: '1 || '.repeat(30) }, says: 'version' }
])('a bad $id is INVALID_ARGUMENT at once', ({ query, says }) => {
  expect(() => compileQuery(query as Query)).toThrowError(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(says) })
  )
})

it('ranges mean what they mean to npm', () => {
  const number = fc.nat(3)
  const version = fc
    .tuple(number, number, number, fc.constantFrom('', '-a', '-b.1'))
    .map(([major, minor, patch, tag]) => `${major}.${minor}.${patch}${tag}`)
  const comparator = fc.tuple(fc.constantFrom('', '^', '~', '>=', '<', '='), version).map((parts) => parts.join(''))
  const range = fc.array(comparator, { minLength: 1, maxLength: 3 }).map((parts) => parts.join(' '))
  fc.assert(
    fc.property(version, range, (has, asked) => {
      const record = { ...RECORD, capabilities: [capability('x', { version: has })] }
      expect(matchRecord(record, compileQuery({ version: asked })).length > 0).toBe(satisfies(has, asked))
    })
  )
})
