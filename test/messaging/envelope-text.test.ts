import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createIdentity } from '../../src/identity/index.ts'
import { envelopeText } from '../../src/messaging/envelope-text.ts'
import { type Envelope, envelope } from '../../src/messaging/messages.ts'
import { canonicalJson } from '../../src/wire/index.ts'

const SEED = Number(process.env['MESH_SEED'] ?? Date.now() % 1_000_000)

const [ann, bob] = [createIdentity().id, createIdentity().id]
const text = (maxLength: number) => fc.string({ unit: 'grapheme', minLength: 1, maxLength })
const time = fc.nat({ max: Number.MAX_SAFE_INTEGER })
const agent = fc.constantFrom(`${ann}/owner`, `${bob}/planner.a-1`)
const written = fc.record(
  {
    v: fc.constant(1 as const),
    id: fc.constantFrom('01KASB7G00F8Z3N1Q2R4S5T6V7', '7ZZZZZZZZZZZZZZZZZZZZZZZZZ'),
    from: agent,
    to: agent,
    kind: fc.constantFrom('message', 'request', 'reply'),
    corr: text(20),
    replyTo: agent,
    seq: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    sent: time,
    exp: time,
    type: text(20),
    body: fc.jsonValue(),
    blob: fc.record({ sha256: fc.constant('0f'.repeat(32)), size: time }),
    outcome: fc.constantFrom('result', 'error', 'expired'),
    trace: fc.constant(`00-${'a1'.repeat(16)}-${'b2'.repeat(8)}-01`),
    budget: fc.record(
      { hops: fc.integer({ min: 0, max: 8 }), calls: fc.maxSafeNat(), cost: fc.maxSafeNat() },
      { requiredKeys: ['hops'] }
    )
  },
  { requiredKeys: ['v', 'id', 'from', 'to', 'kind', 'seq', 'sent', 'exp', 'type', 'budget'] }
)

it(`writes every envelope as canonical JSON has it, seed ${SEED}`, () => {
  fc.assert(
    fc.property(written, (each) => {
      const { body, ...rest } = each as Envelope
      const json = body === undefined ? undefined : canonicalJson(body)
      expect(envelopeText(rest, json)).toBe(canonicalJson(each))
    }),
    { seed: SEED }
  )
})

it('writes every member that an envelope has', () => {
  const [all] = fc.sample(
    fc.tuple(written).filter(([each]) => Object.keys(each).length === 16),
    { numRuns: 1, seed: 1 }
  )
  const { body, ...rest } = (all?.[0] ?? {}) as Envelope
  expect(Object.keys(JSON.parse(envelopeText(rest, canonicalJson(body)))).toSorted()).toEqual(
    Object.keys(envelope.shape).toSorted()
  )
})
