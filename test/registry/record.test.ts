import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createIdentity } from '../../src/identity/index.ts'
import {
  capabilityDigest,
  MAX_CAPABILITIES,
  MAX_CLOCK_SKEW_MS,
  MAX_RECORD_BYTES,
  MAX_RECORD_LIFETIME_MS,
  readRecord
} from '../../src/registry/index.ts'
import { START } from './fixtures.ts'

type Payload = Record<string, unknown>

const identity = createIdentity()

function capability(changes: Payload = {}): Payload {
  const unsigned = {
    kind: 'tool',
    name: 'read',
    version: '1.0.0',
    streaming: false,
    effects: 'read',
    tags: [],
    ...changes
  }
  return { ...unsigned, digest: capabilityDigest(unsigned) }
}

function payload(changes: Payload = {}): Payload {
  return {
    v: 1,
    id: `${identity.id}/fs`,
    seq: 1,
    issuedAt: new Date(START).toISOString(),
    expiresAt: new Date(START + 3_600_000).toISOString(),
    name: 'fs',
    version: '1.0.0',
    driver: 'function',
    audience: 'public',
    tags: [],
    auth: ['noise'],
    protocols: {},
    capabilities: [capability()],
    ...changes
  }
}

const sign = (changes: Payload = {}, type = 'mesh-record+jws'): Promise<string> => identity.sign(type, payload(changes))

function at(offsetMs: number): string {
  return new Date(START + offsetMs).toISOString()
}

it('a good record is read, whatever is in its optional members', async () => {
  const jws = await sign({ description: 'line\nand\ttab 🦊', capabilities: [] })
  const { record } = await readRecord(jws, { now: START })
  expect(record).toEqual(payload({ description: 'line\nand\ttab 🦊', capabilities: [] }))
})

it('members of a later version are ignored, and covered by the digest', async () => {
  const later = capability({ cost: { usd: 1 } })
  const { record } = await readRecord(await sign({ capabilities: [later], region: 'eu' }), { now: START })
  expect(record.capabilities).toMatchObject([{ name: 'read', digest: later['digest'] }])
  expect(record).not.toHaveProperty('region')
  const { cost: _cost, ...without } = later
  await expect(readRecord(await sign({ capabilities: [without] }), { now: START })).rejects.toMatchObject({
    message: 'the digest of tool read is not right'
  })
})

it.each([
  { id: 'issued just within the tolerated skew', changes: { issuedAt: at(MAX_CLOCK_SKEW_MS) } },
  { id: 'in its last millisecond', changes: { issuedAt: at(-1_000), expiresAt: at(1) } },
  { id: 'with the longest life', changes: { expiresAt: at(MAX_RECORD_LIFETIME_MS) } },
  { id: 'with the same name in two kinds', changes: { capabilities: [capability(), capability({ kind: 'skill' })] } }
])('a record $id is accepted', async ({ changes }) => {
  expect((await readRecord(await sign(changes), { now: START })).record.id).toBe(`${identity.id}/fs`)
})

const stranger = createIdentity()

it.each<{ id: string; jws: () => Promise<string>; reason: string | RegExp }>([
  { id: 'no JWS', jws: async () => 'hello', reason: 'not a compact JWS' },
  { id: 'larger than allowed', jws: async () => 'x'.repeat(MAX_RECORD_BYTES + 1), reason: /over the limit/ },
  { id: 'tampered with', jws: async () => swapBody(await sign(), await sign({ seq: 2 })), reason: /signature/ },
  { id: 'of another type', jws: () => sign({}, 'mesh-grant+jws'), reason: /not of type mesh-record\+jws/ },
  { id: 'a list', jws: () => identity.sign('mesh-record+jws', []), reason: /payload/ },
  { id: 'of another version', jws: () => sign({ v: 2 }), reason: /^v: / },
  { id: 'without a seq', jws: () => sign({ seq: undefined }), reason: /^seq: / },
  { id: 'with a seq beyond 2⁵³', jws: () => sign({ seq: 2 ** 60 }), reason: /^seq: / },
  { id: 'with a bad time', jws: () => sign({ issuedAt: '2026-02-30T00:00:00.000Z' }), reason: /^issuedAt: / },
  { id: 'with a bad name', jws: () => sign({ name: 'F S' }), reason: /^name: / },
  {
    id: 'with a hidden character',
    jws: () => sign({ description: 'a\u202eb' }),
    reason: 'description: has hidden characters'
  },
  {
    id: 'with too many capabilities',
    jws: () =>
      sign({ capabilities: Array.from({ length: MAX_CAPABILITIES + 1 }, (_, n) => capability({ name: `t${n}` })) }),
    reason: /^capabilities: /
  },
  {
    id: 'signed by another node',
    jws: () => stranger.sign('mesh-record+jws', payload()),
    reason: /not signed by the node/
  },
  { id: 'of an id with another name', jws: () => sign({ name: 'other' }), reason: /not that of its id/ },
  {
    id: 'from the future',
    jws: () => sign({ issuedAt: at(MAX_CLOCK_SKEW_MS + 1) }),
    reason: 'it was issued in the future'
  },
  { id: 'expired', jws: () => sign({ issuedAt: at(-2_000), expiresAt: at(0) }), reason: 'it has expired' },
  { id: 'upside down', jws: () => sign({ issuedAt: at(2_000), expiresAt: at(1_000) }), reason: /before it was issued/ },
  {
    id: 'to live too long',
    jws: () => sign({ expiresAt: at(MAX_RECORD_LIFETIME_MS + 1) }),
    reason: /longer than 24 hours/
  },
  {
    id: 'with a wrong digest',
    jws: () => sign({ capabilities: [{ ...capability(), version: '2.0.0' }] }),
    reason: /digest of tool read/
  },
  {
    id: 'with a capability twice',
    jws: () => sign({ capabilities: [capability(), capability({ version: '2.0.0' })] }),
    reason: 'it has tool read twice'
  },
  {
    id: 'with hidden text in a schema',
    jws: () => sign({ capabilities: [capability({ input: { anyOf: [{ description: 'a\u200bb' }] } })] }),
    reason: 'a schema of tool read has hidden characters'
  }
])('a record that is $id is refused', async ({ jws, reason }) => {
  const refusal = await readRecord(await jws(), { now: START }).catch((err: unknown) => err)
  expect(refusal).toMatchObject({ code: 'INVALID_RECORD' })
  expect(refusal instanceof Error && refusal.message).toMatch(reason)
})

it('no change of a byte makes another record that reads', async () => {
  const jws = await sign()
  await fc.assert(
    fc.asyncProperty(fc.nat(jws.length - 1), fc.integer({ min: 1, max: 127 }), async (index, mask) => {
      const changed = jws.slice(0, index) + String.fromCharCode(jws.charCodeAt(index) ^ mask) + jws.slice(index + 1)
      await expect(readRecord(changed, { now: START })).rejects.toMatchObject({ code: 'INVALID_RECORD' })
    }),
    { numRuns: 300 }
  )
})

it('no text makes it throw anything but INVALID_RECORD', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string(),
        fc.json(),
        fc.array(fc.base64String(), { maxLength: 4 }).map((parts) => parts.join('.'))
      ),
      async (text) => {
        await expect(readRecord(text, { now: START })).rejects.toMatchObject({ code: 'INVALID_RECORD' })
      }
    )
  )
})

it('no payload that its node signs makes it throw anything but INVALID_RECORD', async () => {
  const key = fc.constantFrom(...Object.keys(payload()))
  const value = fc.oneof(
    fc.jsonValue(),
    fc.array(fc.record({ kind: fc.jsonValue(), name: fc.jsonValue(), digest: fc.jsonValue() }))
  )
  await fc.assert(
    fc.asyncProperty(key, value, async (name, changed) => {
      const jws = await sign({ [name]: changed }).catch(() => '')
      const outcome = await readRecord(jws, { now: START }).catch((err: unknown) => err)
      expect(outcome instanceof Error ? outcome : { code: 'INVALID_RECORD' }).toMatchObject({ code: 'INVALID_RECORD' })
    })
  )
})

function swapBody(jws: string, other: string): string {
  const [header, , signature] = jws.split('.')
  return [header, other.split('.')[1], signature].join('.')
}
