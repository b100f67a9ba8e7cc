import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { frame, idOfBrokenFrame, isFrame } from '../../src/rpc/messages.ts'

/** Values at and around every limit, and of every wrong type. */
const member = fc.oneof(
  fc.constantFrom<unknown>(
    undefined,
    null,
    true,
    false,
    '',
    'x',
    [],
    {},
    0,
    -0,
    1,
    -1,
    1.5,
    Number.NaN,
    Number.POSITIVE_INFINITY
  ),
  fc.constantFrom<unknown>(
    86_400_000,
    86_400_001,
    Number.MAX_SAFE_INTEGER,
    Number.MAX_SAFE_INTEGER + 1,
    1e300,
    '1',
    [1]
  ),
  fc.jsonValue()
)
const kind = fc.oneof(
  fc.constantFrom<unknown>('request', 'item', 'end', 'error', 'cancel', 'credit', 'ping', 'pong', 'error', 'request'),
  member
)
const error = fc.oneof(
  fc.record(
    { code: fc.string(), message: fc.string(), retryable: fc.boolean(), hint: member, data: member },
    { requiredKeys: [] }
  ),
  fc.record(
    { code: member, message: member, retryable: member, hint: member },
    { requiredKeys: ['code', 'message', 'retryable'] }
  ),
  member
)
const id = fc.oneof(fc.nat(), member)
const candidate = fc.oneof(
  fc.record(
    { t: kind, id, timeoutMs: member, credit: member, body: member, items: member, error, bytes: member },
    { requiredKeys: ['t', 'id'] }
  ),
  fc.record({ t: kind, id, error }, { requiredKeys: [] }),
  fc.record({
    t: kind,
    id: fc.integer({ min: 1 }),
    timeoutMs: fc.integer({ min: 1 }),
    credit: fc.nat(),
    items: fc.nat(),
    bytes: fc.nat()
  }),
  member
)

describe('isFrame', () => {
  it('accepts exactly what the schema accepts', () => {
    let accepted = 0
    let refused = 0
    fc.assert(
      fc.property(candidate, (value) => {
        const expected = frame.safeParse(value).success
        expect(isFrame(value)).toBe(expected)
        if (expected) accepted += 1
        else refused += 1
      }),
      { numRuns: 20_000 }
    )
    expect(accepted).toBeGreaterThan(1_000)
    expect(refused).toBeGreaterThan(1_000)
  })

  it.each([
    { t: 'request', id: 1 },
    { t: 'request', id: 1, timeoutMs: 30_000, credit: 262_144, body: null, unknown: 1 },
    { t: 'item', id: 1, body: null },
    { t: 'end', id: 1 },
    { t: 'end', id: 1, items: 0 },
    { t: 'error', id: 1, error: { code: 'NEW_ONE', message: '', retryable: false, hint: 'x', data: {} } },
    { t: 'cancel', id: 1 },
    { t: 'credit', id: 1, bytes: 1 },
    { t: 'ping', id: Number.MAX_SAFE_INTEGER },
    { t: 'pong', id: 1 }
  ])('accepts %j', (value) => {
    expect(isFrame(value)).toBe(true)
  })
})

describe('idOfBrokenFrame', () => {
  it.each([
    { text: '{"t":"request","id":12,"body":[[', id: 12 },
    { text: '{ "t" : "end" , "id" : 3 }', id: 3 },
    { text: '{"t":"end","id":9007199254740991,', id: Number.MAX_SAFE_INTEGER },
    { text: '{"t":"end","id":9007199254740993,', id: undefined },
    { text: '{"t":"end","id":0}', id: undefined },
    { text: '{"t":"end","id":-1}', id: undefined },
    { text: '{"t":"end","id":1.5}', id: undefined },
    { text: '{"id":1,"t":"end"}', id: undefined },
    { text: '{"t":"end","id":1', id: undefined },
    { text: '', id: undefined }
  ])('of $text is $id', ({ text, id: expected }) => {
    expect(idOfBrokenFrame(Buffer.from(text))).toBe(expected)
  })
})
