import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { compileSchema, createValidationPool, MAX_WAITING, type ValidationPool } from '../../src/schema/index.ts'

const times = <T>(count: number, item: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => item(n))
const NODE = {
  $ref: '#/$defs/node',
  $defs: { node: { type: 'object', properties: { next: { $ref: '#/$defs/node' } } } }
}
const doubling = (levels: number) => ({
  $ref: '#/$defs/d0',
  $defs: {
    ...Object.fromEntries(
      times(levels, (n) => [`d${n}`, { allOf: [{ $ref: `#/$defs/d${n + 1}` }, { $ref: `#/$defs/d${n + 1}` }] }])
    ),
    [`d${levels}`]: { type: 'number' }
  }
})

function newPool(timeoutMs?: number): ValidationPool {
  const pool = createValidationPool(timeoutMs === undefined ? {} : { timeoutMs })
  onTestFinished(() => pool.stop())
  return pool
}

/** A generous time, for machines that are busy; 100 ms is for nodes. */
async function outcomeOf(schema: unknown, value: unknown, timeoutMs = 60_000): Promise<unknown> {
  const { validate } = await compileSchema(schema, newPool(timeoutMs))
  return validate(value)
}

const TOO_COSTLY = [{ path: '', message: 'takes too long to be checked' }]
const TOO_DEEP = [{ path: '', message: 'is nested too deeply to be checked' }]

function chain(length: number): unknown {
  let value: unknown = {}
  for (let n = 0; n < length; n++) value = { next: value }
  return value
}

describe('what stalls a plain validator ends here', () => {
  it.each<{ id: string; schema: unknown; value: unknown; fits: boolean }>([
    { id: 'a pattern that backtracks', schema: { pattern: '^(a+)+$' }, value: `${'a'.repeat(5_000)}!`, fits: false },
    {
      id: 'the same on a text of 1 MiB',
      schema: { pattern: '^(a+)+$' },
      value: `${'a'.repeat(1024 * 1024)}!`,
      fits: false
    },
    {
      id: 'a pattern of names that backtracks',
      schema: { patternProperties: { '^(a|a)*$': false } },
      value: { [`${'a'.repeat(100_000)}!`]: 1 },
      fits: true
    },
    {
      id: 'an automaton that outgrows its cache',
      schema: { pattern: 'c|^(a|b)*a(a|b){16}d' },
      value: 'ab'.repeat(2_000),
      fits: false
    },
    {
      id: 'unique objects',
      schema: { uniqueItems: true },
      value: times(20_000, (n) => ({ n, list: [n] })),
      fits: true
    },
    {
      id: 'unique arrays in arrays',
      schema: { items: { uniqueItems: true } },
      value: times(100, () => times(1_000, (n) => [n])),
      fits: true
    },
    {
      id: 'a long enumeration of many items',
      schema: { items: { enum: times(5_000, (n) => n) } },
      value: times(100_000, (n) => n % 5_000),
      fits: true
    },
    {
      id: 'many branches for many items',
      schema: { items: { anyOf: times(60, (n) => ({ const: n })) } },
      value: times(20_000, () => 59),
      fits: true
    },
    { id: 'references that double twelve times', schema: doubling(12), value: 1, fits: true },
    { id: 'recursion as deep as a message may be', schema: NODE, value: chain(64), fits: true },
    {
      id: 'nested contains',
      schema: { contains: { contains: { contains: { const: 1 } } } },
      value: times(50, () => times(50, () => times(50, () => 0))),
      fits: false
    }
  ])('$id', async ({ schema, value, fits }) => {
    const outcome = await outcomeOf(schema, value)
    expect(outcome === undefined).toBe(fits)
    expect(outcome).not.toEqual(TOO_COSTLY)
  })

  it.each<{ id: string; schema: unknown; value: unknown }>([
    { id: 'references that double forty times', schema: doubling(40), value: 1 },
    {
      id: 'recursion that branches at each level',
      schema: {
        $ref: '#/$defs/n',
        $defs: { n: { properties: { next: { allOf: [{ $ref: '#/$defs/n' }, { $ref: '#/$defs/n' }] } } } }
      },
      value: chain(60)
    }
  ])('by being killed: $id', async ({ schema, value }) => {
    expect(await outcomeOf(schema, value, 100)).toEqual(TOO_COSTLY)
  })

  it.each<{ id: string; schema: unknown; value: unknown }>([
    { id: 'recursion on a value deeper than the stack', schema: NODE, value: chain(20_000) },
    {
      id: 'comparing values deeper than the stack',
      schema: { uniqueItems: true },
      value: [chain(20_000), chain(20_000)]
    }
  ])('as too deep: $id', async ({ schema, value }) => {
    expect(await outcomeOf(schema, value)).toEqual(TOO_DEEP)
  })
})

describe('an ordinary schema', () => {
  const objects = (count: number, property: (n: number) => unknown) => ({
    type: 'array',
    items: {
      type: 'object',
      properties: Object.fromEntries(times(count, (n) => [`p${n}`, property(n)])),
      required: times(count, (n) => `p${n}`),
      additionalProperties: false
    }
  })

  it.each<{ id: string; schema: unknown; value: unknown }>([
    { id: 'a list of objects with thirty properties', schema: objects(30, () => ({ type: 'string' })), value: [] },
    {
      id: 'optional members as Python writes them',
      schema: objects(12, () => ({ anyOf: [{ type: 'string' }, { type: 'null' }], default: null })),
      value: []
    },
    {
      id: 'a choice of shapes',
      schema: {
        oneOf: times(8, (n) => ({ type: 'object', properties: { kind: { const: `k${n}` } }, required: ['kind'] }))
      },
      value: { kind: 'k7' }
    },
    {
      id: 'countries',
      schema: { properties: { to: { type: 'array', items: { enum: times(250, (n) => `c${n}`) }, uniqueItems: true } } },
      value: { to: times(50, (n) => `c${n}`) }
    },
    {
      id: 'patterns on short texts',
      schema: { additionalProperties: { pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' } },
      value: Object.fromEntries(times(20, (n) => [n, '123e4567-e89b-12d3-a456-426614174000']))
    },
    {
      id: 'definitions',
      schema: {
        properties: { a: { $ref: '#/$defs/p' }, b: { $ref: '#/$defs/p' } },
        $defs: { p: { type: 'object', properties: { x: { type: 'number' } } } }
      },
      value: { a: { x: 1 } }
    }
  ])('is checked at once: $id', async ({ schema, value }) => {
    const { validate } = await compileSchema(schema, newPool())
    expect(validate(value)).toBeUndefined()
  })
})

describe('the workers', () => {
  it('check one after the other, and still after one was killed', async () => {
    const pool = newPool()
    const [slow, quick] = await Promise.all([compileSchema(doubling(40), pool), compileSchema(NODE, newPool(60_000))])
    const outcomes = await Promise.all([
      slow.validate(1),
      slow.validate('x'),
      slow.validate(1),
      quick.validate(chain(3)),
      quick.validate({ next: 1 })
    ])
    expect(outcomes[0]).toEqual(TOO_COSTLY)
    expect(outcomes[2]).toEqual(TOO_COSTLY)
    expect(outcomes[3]).toBeUndefined()
    expect(outcomes[4]).toEqual([{ path: '/next', message: 'must be object' }])
  })

  it('leave this thread free while they check', async () => {
    const { validate } = await compileSchema(doubling(40), newPool())
    let turns = 0
    const counting = setInterval(() => turns++, 1)
    onTestFinished(() => clearInterval(counting))
    await validate(1)
    expect(turns).toBeGreaterThan(10)
  })

  it('refuse more than they can queue', async () => {
    const { validate } = await compileSchema(NODE, newPool(60_000))
    const outcomes = await Promise.allSettled(times(MAX_WAITING + 10, async () => validate({})))
    const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason.code] : []))
    expect(refused).toEqual(times(8, () => 'BUSY'))
  })

  it('give up what waits when they are stopped', async () => {
    const pool = createValidationPool()
    const { validate } = await compileSchema(NODE, pool)
    const waiting = Promise.allSettled(times(5, async () => validate({})))
    await pool.stop()
    const cancelled = { status: 'rejected', reason: { code: 'CANCELLED' } }
    expect(await waiting).toMatchObject(times(5, () => cancelled))
    await expect(validate({})).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  it('say of a value that cannot be sent that it is not JSON', async () => {
    expect(await outcomeOf(NODE, { next: () => 1 })).toEqual([{ path: '', message: 'is not JSON' }])
  })

  it('give up a check that takes too much memory', async () => {
    const schema = { $ref: '#/$defs/n', $defs: { n: { contains: { $ref: '#/$defs/n' } } } }
    const wide = [times(300_000, () => times(3, () => []))]
    expect(await outcomeOf(schema, wide)).toEqual(TOO_COSTLY)
  })

  it('keep no process alive', async () => {
    const script = `
      const { compileSchema, createValidationPool } = await import(${JSON.stringify(new URL('../../src/schema/index.ts', import.meta.url).href)})
      const { validate } = await compileSchema(${JSON.stringify(NODE)}, createValidationPool({ timeoutMs: 60000 }))
      console.log(JSON.stringify(await validate({ next: 1 })))`
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
    expect({ stdout, stderr }).toEqual({ stdout: '[{"path":"/next","message":"must be object"}]\n', stderr: '' })
  })
})
