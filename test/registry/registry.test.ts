import { join } from 'node:path'
import { expect, it } from 'vitest'
import { createIdentity } from '../../src/identity/index.ts'
import {
  createRegistry,
  MAX_AGENTS,
  MAX_CAPABILITIES,
  MAX_DESCRIPTION_LENGTH,
  MAX_PEER_RECORDS,
  MAX_RENEWALS,
  RECORD_RENEW_MS,
  RECORD_TTL_MS,
  readRecord
} from '../../src/registry/index.ts'
import { tempFolder } from '../temp.ts'
import { checkSchema, definition, offering, openRegistry, START, tool } from './fixtures.ts'

it('definitions are kept across restarts, in order of their names', async () => {
  const path = join(await tempFolder(), 'mesh.db')
  const first = await openRegistry({ path })
  const fs = definition('fs', { description: 'files', config: { command: 'mcp-fs', args: ['/srv'] } })
  await first.registry.define(definition('web'))
  await first.registry.define(definition('fs'))
  await first.registry.define(fs)
  await first.store.close()
  const { registry } = await openRegistry({ path })
  expect(registry.definitions()).toEqual([fs, definition('web')])
  expect(registry.definition('fs')).toEqual(fs)
  expect(registry.definition('nobody')).toBeUndefined()
})

it('a function agent is forgotten at the end of the process, all but its seq', async () => {
  const path = join(await tempFolder(), 'mesh.db')
  const first = await openRegistry({ path })
  const withFunction = definition('calc', { driver: 'function', config: { handler: () => 1 } })
  await first.registry.define(definition('calc'))
  await first.registry.define(withFunction)
  expect(first.registry.definition('calc')).toEqual(withFunction)
  const { record } = await first.registry.publish('calc', offering(tool('add')))
  await first.store.close()
  const second = await openRegistry({ path, nowMs: START - 5_000 })
  expect(second.registry.definitions()).toEqual([])
  await second.registry.define(withFunction)
  expect((await second.registry.publish('calc', offering(tool('add')))).record.seq).toBe(record.seq + 1)
})

it.each([
  { id: 'an upper-case name', changes: { name: 'Fs' } },
  { id: 'a path for a name', changes: { name: 'a/b' } },
  { id: 'no driver', changes: { driver: '' } },
  { id: 'a tag with a blank', changes: { tags: ['a b'] } },
  { id: 'an unknown audience', changes: { audience: 'friends' as 'public' } },
  { id: 'a description without end', changes: { description: 'x'.repeat(MAX_DESCRIPTION_LENGTH + 1) } },
  { id: 'a configuration that JSON cannot say', changes: { config: { n: 1n } } }
])('a definition with $id is refused, and nothing kept', async ({ changes }) => {
  const { registry, store } = await openRegistry()
  await expect(registry.define(definition('fs', changes))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(registry.definitions()).toEqual([])
  expect(store.all('SELECT * FROM agent')).toEqual([])
})

it('a node has a limit of agents, and may still change those it has', async () => {
  const { registry } = await openRegistry()
  await Promise.all(Array.from({ length: MAX_AGENTS }, (_, n) => registry.define(definition(`a${n}`))))
  await expect(registry.define(definition('one-more'))).rejects.toMatchObject({ code: 'BUSY' })
  await expect(registry.define(definition('a0', { tags: ['new'] }))).resolves.toBeUndefined()
  await registry.remove('a1')
  await expect(registry.define(definition('one-more'))).resolves.toBeUndefined()
})

it('agents that dial in have a limit of their own, which leaves that of the others as it is', async () => {
  const { registry, store, identity } = await openRegistry({ maxDialledIn: 3 })
  const inbound = (name: string) => definition(name, { driver: 'inbound', config: {} })
  for (const name of ['g0', 'g1', 'g2']) await registry.define(inbound(name))
  await expect(registry.define(inbound('g3'))).rejects.toMatchObject({
    code: 'BUSY',
    message: expect.stringContaining('at most 3 agents that dial in')
  })
  await expect(registry.define(inbound('g0'))).resolves.toBeUndefined()
  await Promise.all(Array.from({ length: MAX_AGENTS }, (_, n) => registry.define(definition(`a${n}`))))
  await expect(registry.define(definition('one-more'))).rejects.toMatchObject({ code: 'BUSY' })
  for (const maxDialledIn of [-1, 1.5, MAX_PEER_RECORDS - MAX_AGENTS + 1])
    expect(() => createRegistry({ store, identity, checkSchema }, { maxDialledIn })).toThrowError(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' })
    )
})

it('many records that are due together are renewed some at a time, the oldest first', async () => {
  const opened = await openRegistry()
  const { registry } = opened
  for (let n = 0; n < MAX_RENEWALS + 2; n++) {
    await registry.define(definition(`a${n}`))
    await registry.publish(`a${n}`, offering(tool('add')))
    opened.nowMs += 1
  }
  opened.nowMs += RECORD_RENEW_MS
  expect(await registry.renew()).toEqual(Array.from({ length: MAX_RENEWALS }, (_, n) => `a${n}`))
  expect(await registry.renew()).toEqual([`a${MAX_RENEWALS}`, `a${MAX_RENEWALS + 1}`])
  expect(await registry.renew()).toEqual([])
})

it('a stored definition that cannot be read is INVALID_CONFIG', async () => {
  const { store, identity } = await openRegistry()
  await store.write([{ sql: `INSERT INTO agent VALUES ('x', '{"name":"X"}')` }])
  expect(() => createRegistry({ store, identity, checkSchema })).toThrowError(
    expect.objectContaining({ code: 'INVALID_CONFIG' })
  )
})

it('a published record says what the agent offers, and reads back as its owner’s', async () => {
  const { registry, identity } = await openRegistry({ auth: ['noise'], protocols: { call: ['1.0.0'] } })
  await registry.define(definition('fs', { description: 'the files' }))
  const input = { type: 'object', properties: { path: { type: 'string' } } }
  const capabilities = [tool('write', { effects: 'write', tags: ['disk'] }), tool('read', { input, streaming: true })]
  const signed = await registry.publish('fs', { version: '2.1.0', description: 'ignored', capabilities })
  expect(signed.record).toMatchObject({
    v: 1,
    id: `${identity.id}/fs`,
    seq: START,
    issuedAt: '2026-11-23T12:00:00.000Z',
    expiresAt: new Date(START + RECORD_TTL_MS).toISOString(),
    name: 'fs',
    description: 'the files',
    version: '2.1.0',
    driver: 'mcp-stdio',
    audience: 'public',
    tags: ['files'],
    auth: ['noise'],
    protocols: { call: ['1.0.0'] },
    capabilities: [
      { kind: 'tool', name: 'read', version: '1.0.0', input, streaming: true, effects: 'external', tags: [] },
      { kind: 'tool', name: 'write', version: '1.0.0', streaming: false, effects: 'write', tags: ['disk'] }
    ]
  })
  expect(await readRecord(signed.jws, { now: START })).toEqual(signed)
  expect(registry.record('fs')).toBe(signed)
})

it('the same offer keeps its record, in any order; a changed one gets the next seq', async () => {
  const running = await openRegistry()
  const { registry } = running
  await registry.define(definition('fs'))
  const first = await registry.publish('fs', offering(tool('a'), tool('b')))
  running.nowMs += 1_000
  expect(await registry.publish('fs', offering(tool('b'), tool('a')))).toBe(first)
  const second = await registry.publish('fs', offering(tool('a'), tool('b', { description: 'changed' })))
  expect(second.record.seq).toBe(START + 1_000)
  expect(second.record.capabilities[0]?.digest).toBe(first.record.capabilities[0]?.digest)
  expect(second.record.capabilities[1]?.digest).not.toBe(first.record.capabilities[1]?.digest)
  await registry.define(definition('fs', { tags: ['other'] }))
  expect((await registry.publish('fs', offering(tool('a')))).record.tags).toEqual(['other'])
})

it('seq grows when the clock stands still, goes back, or the database is lost', async () => {
  const folder = await tempFolder()
  const identity = createIdentity()
  const running = await openRegistry({ path: join(folder, 'mesh.db'), identity })
  await running.registry.define(definition('fs'))
  const publish = async (name: string): Promise<number> =>
    (await running.registry.publish('fs', offering(tool(name)))).record.seq
  const still = [await publish('a'), await publish('b')]
  running.nowMs -= 86_400_000
  const back = await publish('c')
  expect([...still, back]).toEqual([START, START + 1, START + 2])
  await running.store.close()

  const kept = await openRegistry({ path: join(folder, 'mesh.db'), identity, nowMs: START - 1_000 })
  expect((await kept.registry.publish('fs', offering(tool('a')))).record.seq).toBe(START + 3)
  const lost = await openRegistry({ path: join(folder, 'new.db'), identity, nowMs: START + 60_000 })
  await lost.registry.define(definition('fs'))
  expect((await lost.registry.publish('fs', offering(tool('a')))).record.seq).toBe(START + 60_000)
})

it('an agent removed and added again goes on counting', async () => {
  const running = await openRegistry()
  await running.registry.define(definition('fs'))
  const first = await running.registry.publish('fs', offering(tool('a')))
  expect(await running.registry.remove('fs')).toEqual(definition('fs'))
  expect(running.registry.record('fs')).toBeUndefined()
  expect(await running.registry.remove('fs')).toBeUndefined()
  await running.registry.define(definition('fs'))
  const second = await running.registry.publish('fs', offering(tool('a')))
  expect(second.record.seq).toBe(first.record.seq + 1)
})

it('seq is on disk before the record is handed out', async () => {
  const { registry, store } = await openRegistry({ path: join(await tempFolder(), 'mesh.db') })
  await registry.define(definition('fs'))
  const { record } = await registry.publish('fs', offering(tool('a')))
  expect(store.get('SELECT seq FROM record_seq WHERE agent = ?', ['fs'])).toEqual({ seq: record.seq })
})

it('a record that could not be stored is not handed out, and the one before stays', async () => {
  const { registry, store } = await openRegistry()
  await registry.define(definition('fs'))
  const first = await registry.publish('fs', offering(tool('a')))
  await store.write([{ sql: 'ALTER TABLE record_seq RENAME TO gone' }])
  await expect(registry.publish('fs', offering(tool('b')))).rejects.toMatchObject({ code: 'INTERNAL' })
  expect(registry.record('fs')).toBe(first)
  await store.write([{ sql: 'ALTER TABLE gone RENAME TO record_seq' }])
  expect((await registry.publish('fs', offering(tool('b')))).record.seq).toBe(first.record.seq + 2)
})

it('records are renewed when due, and only then', async () => {
  const running = await openRegistry()
  const { registry } = running
  await registry.define(definition('early'))
  await registry.define(definition('late'))
  await registry.define(definition('never-up'))
  const early = await registry.publish('early', offering(tool('a')))
  running.nowMs += RECORD_RENEW_MS / 2
  await registry.publish('late', offering(tool('a')))
  expect(await registry.renew()).toEqual([])
  running.nowMs += RECORD_RENEW_MS / 2
  expect(await registry.renew()).toEqual(['early'])
  const renewed = registry.record('early')
  expect(renewed?.record).toEqual({
    ...early.record,
    seq: running.nowMs,
    issuedAt: new Date(running.nowMs).toISOString(),
    expiresAt: new Date(running.nowMs + RECORD_TTL_MS).toISOString()
  })
  expect(await registry.renew()).toEqual([])
})

it('publishing the same offer renews a record that is due', async () => {
  const running = await openRegistry()
  await running.registry.define(definition('fs'))
  const first = await running.registry.publish('fs', offering(tool('a')))
  running.nowMs += RECORD_RENEW_MS
  const second = await running.registry.publish('fs', offering(tool('a')))
  expect(second.record.seq).toBe(first.record.seq + RECORD_RENEW_MS)
})

it('a record from the future is due: the clock was wrong', async () => {
  const running = await openRegistry()
  await running.registry.define(definition('fs'))
  await running.registry.publish('fs', offering(tool('a')))
  running.nowMs -= 3_600_000
  expect(await running.registry.renew()).toEqual(['fs'])
  expect(running.registry.record('fs')?.record).toMatchObject({ seq: START + 1, issuedAt: '2026-11-23T11:00:00.000Z' })
})

it('a record that was not renewed in time is not given out', async () => {
  const running = await openRegistry()
  await running.registry.define(definition('fs'))
  await running.registry.publish('fs', offering(tool('a')))
  running.nowMs += RECORD_TTL_MS
  expect(running.registry.record('fs')).toBeUndefined()
  expect(running.registry.records({})).toEqual([])
})

it('a withdrawn agent has no record until it is published again, with a higher seq', async () => {
  const { registry } = await openRegistry()
  await registry.define(definition('fs'))
  const first = await registry.publish('fs', offering(tool('a')))
  registry.withdraw('fs')
  registry.withdraw('nobody')
  expect(registry.record('fs')).toBeUndefined()
  expect(await registry.renew()).toEqual([])
  const second = await registry.publish('fs', offering(tool('a')))
  expect(second.record.seq).toBe(first.record.seq + 1)
})

it('what is withdrawn while it is being published stays withdrawn', async () => {
  const { registry } = await openRegistry({ path: join(await tempFolder(), 'mesh.db') })
  await registry.define(definition('fs'))
  const publishing = registry.publish('fs', offering(tool('a')))
  registry.withdraw('fs')
  await publishing
  expect(registry.record('fs')).toBeUndefined()
})

it('of two offers published at once the later one stays', async () => {
  const { registry } = await openRegistry({ path: join(await tempFolder(), 'mesh.db') })
  await registry.define(definition('fs'))
  const [first, second] = await Promise.all([
    registry.publish('fs', offering(tool('a'))),
    registry.publish('fs', offering(tool('b')))
  ])
  expect(second.record.seq).toBeGreaterThan(first.record.seq)
  expect(registry.record('fs')).toBe(second)
  expect(await registry.publish('fs', offering(tool('b')))).toBe(second)
})

it('of two renewals at once the higher seq stays, though it is ready first', async () => {
  const identity = createIdentity()
  const first = Promise.withResolvers<void>()
  let renewals = 0
  const sign: typeof identity.sign = async (type, payload) => {
    renewals += 1
    if (renewals === 2) await first.promise
    return identity.sign(type, payload)
  }
  const running = await openRegistry({ identity: { ...identity, sign } })
  const { registry, store } = running
  await registry.define(definition('fs'))
  await registry.publish('fs', offering(tool('a')))
  running.nowMs += RECORD_RENEW_MS
  const slow = registry.renew()
  await registry.renew()
  first.resolve()
  await slow
  const seq = START + RECORD_RENEW_MS + 1
  expect(registry.record('fs')?.record.seq).toBe(seq)
  expect(store.get('SELECT seq FROM record_seq')).toEqual({ seq })
})

it('publishing what is not defined is NOT_FOUND, and a version that is not semver INVALID_ARGUMENT', async () => {
  const { registry } = await openRegistry()
  await expect(registry.publish('fs', offering())).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await registry.define(definition('fs'))
  await expect(registry.publish('fs', { version: 'v1', capabilities: [] })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('"v1"')
  })
})

it.each([
  { id: 'a name with a blank', capability: tool('two words'), code: 'INVALID_ARGUMENT' },
  { id: 'a version that is not semver', capability: tool('x', { version: '1' }), code: 'INVALID_ARGUMENT' },
  { id: 'a tag in upper case', capability: tool('x', { tags: ['BIG'] }), code: 'INVALID_ARGUMENT' },
  {
    id: 'an input schema that is refused',
    capability: tool('x', { input: { type: 'nonsense' } }),
    code: 'INVALID_SCHEMA'
  },
  {
    id: 'an output schema that is refused',
    capability: tool('x', { output: { type: 'nonsense' } }),
    code: 'INVALID_SCHEMA'
  },
  { id: 'a name that it has already', capability: tool('good', { version: '2.0.0' }), code: 'INVALID_ARGUMENT' },
  {
    id: 'a schema with a key that reaches a prototype',
    capability: tool('x', { input: { properties: { constructor: {} } } }),
    code: 'INVALID_MESSAGE'
  },
  { id: 'a schema that JSON cannot say', capability: tool('x', { input: { const: 1n } }), code: 'INVALID_ARGUMENT' },
  {
    id: 'half a surrogate pair in a schema',
    capability: tool('x', { input: { const: '\ud800' } }),
    code: 'INVALID_ARGUMENT'
  },
  { id: 'a schema nested too deep', capability: tool('x', { input: nested(70) }), code: 'INVALID_MESSAGE' }
])('a capability with $id is left out and named; the agent is published', async ({ capability, code }) => {
  const { registry } = await openRegistry()
  await registry.define(definition('fs'))
  const signed = await registry.publish('fs', offering(tool('good'), capability, tool('other')))
  expect(signed.record.capabilities.map(({ name, version }) => `${name}@${version}`)).toEqual([
    'good@1.0.0',
    'other@1.0.0'
  ])
  expect(registry.refused('fs')).toMatchObject([{ kind: 'tool', name: capability.name, error: { code } }])
  expect(await readRecord(signed.jws, { now: START })).toEqual(signed)
  await registry.publish('fs', offering(tool('good')))
  expect(registry.refused('fs')).toEqual([])
})

function nested(depth: number): Record<string, unknown> {
  return depth === 0 ? {} : { not: nested(depth - 1) }
}

it('beyond the limit of capabilities the rest is left out', async () => {
  const { registry } = await openRegistry()
  await registry.define(definition('fs'))
  const tools = Array.from({ length: MAX_CAPABILITIES + 2 }, (_, n) => tool(`t${String(n).padStart(4, '0')}`))
  const { record } = await registry.publish('fs', offering(...tools))
  expect(record.capabilities).toHaveLength(MAX_CAPABILITIES)
  expect(registry.refused('fs').map(({ name, error }) => [name, error.code])).toEqual([
    ['t0256', 'TOO_LARGE'],
    ['t0257', 'TOO_LARGE']
  ])
})

it('a record that would be too large is refused, naming what to shorten', async () => {
  const { registry } = await openRegistry()
  await registry.define(definition('fs'))
  const first = await registry.publish('fs', offering(tool('small')))
  const tools = Array.from({ length: 10 }, (_, n) => tool(`t${n}`, { input: { const: 'x'.repeat(n * 5_000) } }))
  await expect(registry.publish('fs', offering(...tools))).rejects.toMatchObject({
    code: 'TOO_LARGE',
    hint: expect.stringMatching(/t9 \(45\d+ bytes\), t8 \(40\d+ bytes\), t7/)
  })
  expect(registry.record('fs')).toBe(first)
})

it('text that cannot be seen is stripped from what models will read, and from nothing else', async () => {
  const { registry } = await openRegistry()
  const hidden = '\u202e\u200b\u0007\u{e0041}\ufeff'
  await registry.define(definition('fs', { description: `all${hidden} files` }))
  const input = {
    title: `T${hidden}`,
    properties: { description: { description: `the\npath${hidden}`, enum: [`a${hidden}`] } },
    const: { title: `b${hidden}` }
  }
  const signed = await registry.publish('fs', offering(tool('read', { description: `Reads${hidden}\ta file`, input })))
  expect(signed.record).toMatchObject({
    description: 'all files',
    capabilities: [
      {
        description: 'Reads\ta file',
        input: {
          title: 'T',
          properties: { description: { description: 'the\npath', enum: [`a${hidden}`] } },
          const: { title: `b${hidden}` }
        }
      }
    ]
  })
  expect(await readRecord(signed.jws, { now: START })).toEqual(signed)
})

it('a description that is too long is cut between characters', async () => {
  const { registry } = await openRegistry()
  await registry.define(definition('fs'))
  const description = '🦊'.repeat(MAX_DESCRIPTION_LENGTH)
  const signed = await registry.publish('fs', offering(tool('read', { description })))
  const text = signed.record.capabilities[0]?.description ?? ''
  expect(text).toMatch(/^(?:🦊)+…$/u)
  expect(text.length).toBe(MAX_DESCRIPTION_LENGTH - 1)
  expect(await readRecord(signed.jws, { now: START })).toEqual(signed)
})

it('records answers queries with the agents that have a match', async () => {
  const { registry } = await openRegistry()
  for (const name of ['web', 'fs']) await registry.define(definition(name))
  await registry.publish('fs', offering(tool('file.read'), tool('file.write')))
  await registry.publish('web', offering(tool('page.read', { version: '2.0.0' })))
  const names = (query: object): string[] => registry.records(query).map(({ record }) => record.name)
  expect(names({})).toEqual(['fs', 'web'])
  expect(names({ name: '*.read' })).toEqual(['fs', 'web'])
  expect(names({ name: '*.read', version: '^1.0.0' })).toEqual(['fs'])
  expect(names({ kind: 'skill' })).toEqual([])
  expect(() => registry.records({ version: 'nope' })).toThrowError(
    expect.objectContaining({ code: 'INVALID_ARGUMENT' })
  )
})

it('tells of agents that are added, updated and removed', async () => {
  const running = await openRegistry()
  const { registry, events, identity } = running
  const agent = `${identity.id}/fs`
  await registry.define(definition('fs'))
  await registry.publish('fs', offering(tool('a')))
  await registry.publish('fs', offering(tool('a')))
  registry.withdraw('fs')
  await registry.publish('fs', offering(tool('b')))
  running.nowMs += RECORD_RENEW_MS
  await registry.renew()
  await registry.remove('fs')
  expect(events).toEqual([
    { event: 'agent:added', detail: { agent, seq: START } },
    { event: 'agent:updated', detail: { agent, seq: START + 1 } },
    { event: 'agent:updated', detail: { agent, seq: START + RECORD_RENEW_MS } },
    { event: 'agent:removed', detail: { agent } }
  ])
})
