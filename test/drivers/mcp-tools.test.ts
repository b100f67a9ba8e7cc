import type { Tool } from '@modelcontextprotocol/client'
import { expect, it } from 'vitest'
import { clip, resultSchema, toolCapability, toolResult, toSemver } from '../../src/drivers/mcp-tools.ts'
import { compileSchema, createValidationPool } from '../../src/schema/index.ts'

const inputSchema: Tool['inputSchema'] = { type: 'object' }
const content = [{ type: 'text', text: 'ok' }]

async function fits(output: Tool['outputSchema'], result: unknown): Promise<boolean> {
  const pool = createValidationPool()
  try {
    const validator = await compileSchema(resultSchema(output), pool)
    return (await validator.validate(result)) === undefined
  } finally {
    await pool.stop()
  }
}

const node = {
  type: 'object' as const,
  properties: { label: { type: 'string' }, children: { type: 'array', items: { $ref: '#/$defs/node' } } },
  required: ['label'],
  additionalProperties: false
}
const ok = { label: 'a', children: [{ label: 'b', children: [] }] }
const bad = { label: 'a', children: [{ label: 1 }] }
const draft07 = 'http://json-schema.org/draft-07/schema#'

it.each<[string, Tool['outputSchema'], unknown, unknown]>([
  [
    'definitions that recur',
    { type: 'object', properties: { root: { $ref: '#/$defs/node' } }, $defs: { node } },
    { root: ok },
    { root: bad }
  ],
  [
    'itself as its definition',
    { ...node, properties: { ...node.properties, children: { type: 'array', items: { $ref: '#' } } } },
    ok,
    bad
  ],
  [
    'an $id of its own',
    { $id: 'https://example.org/t', type: 'object', properties: { root: { $ref: '#/$defs/node' } }, $defs: { node } },
    { root: ok },
    { root: bad }
  ],
  [
    'an anchor',
    { type: 'object', properties: { root: { $ref: '#name' } }, $defs: { n: { $anchor: 'name', type: 'string' } } },
    { root: 'a' },
    { root: 1 }
  ],
  [
    'a property that is called enum, and refers',
    { type: 'object', properties: { enum: { $ref: '#/$defs/n' } }, $defs: { n: { type: 'string' } } },
    { enum: 'a' },
    { enum: 1 }
  ],
  [
    'a property that is called $ref',
    { type: 'object', properties: { $ref: { type: 'string' } } },
    { $ref: '#/x' },
    { $ref: 1 }
  ],
  [
    'a value that looks like a reference',
    { type: 'object', properties: { a: { const: { $ref: '#/x' } } } },
    { a: { $ref: '#/x' } },
    { a: { $ref: '#/y' } }
  ],
  [
    'draft-07 definitions',
    {
      $schema: draft07,
      type: 'object',
      properties: { root: { $ref: '#/definitions/n' } },
      definitions: { n: { type: 'string' } }
    },
    { root: 'a' },
    { root: 1 }
  ],
  [
    'a keyword that only draft-07 reads so',
    { $schema: draft07, type: 'object', properties: { a: { items: [{ type: 'string' }] } } },
    { a: ['b', 1] },
    { a: [1] }
  ]
])('a result is checked against an output schema with %s', async (_, output, good, wrong) => {
  expect(await fits(output, { content, structuredContent: good })).toBe(true)
  expect(await fits(output, { content, structuredContent: wrong })).toBe(false)
})

it.each<[Tool['outputSchema'], unknown, boolean]>([
  [undefined, { content }, true],
  [undefined, { content, structuredContent: 1, _meta: {} }, true],
  [undefined, {}, false],
  [{ type: 'object' }, { content, structuredContent: {} }, true],
  [{ type: 'object' }, { content }, false]
])('with the output schema %j, the result %j fits: %s', async (output, result, expected) => {
  expect(await fits(output, result)).toBe(expected)
})

it('an output schema of any depth is taken, for the registry to refuse', () => {
  let deep: Record<string, unknown> = {}
  for (let n = 0; n < 20_000; n += 1) deep = { not: deep }
  expect(resultSchema({ type: 'object', ...deep })).toHaveProperty('properties.structuredContent.not')
})

it.each<[string, Tool['annotations'], string]>([
  ['says nothing', undefined, 'external'],
  ['only reads', { readOnlyHint: true, openWorldHint: true }, 'read'],
  ['writes within its own world', { openWorldHint: false }, 'write'],
  ['destroys within its own world', { destructiveHint: true, openWorldHint: false }, 'write'],
  ['reaches out', { openWorldHint: true }, 'external']
])('a tool that %s has these effects', (_, annotations, effects) => {
  const tool = { name: 'a', inputSchema, ...(annotations === undefined ? {} : { annotations }) } satisfies Tool
  expect(toolCapability(tool, '1.0.0').effects).toBe(effects)
})

it.each([
  [{ description: 'does it', title: 'It' }, 'does it'],
  [{ title: 'It' }, 'It'],
  [{ annotations: { title: 'It too' } }, 'It too'],
  [{}, undefined]
])('a tool with %j is described so', (texts, description) => {
  expect(toolCapability({ name: 'a', inputSchema, ...texts }, '1.0.0').description).toBe(description)
})

it.each([
  ['1.2.3', '1.2.3'],
  ['v1.2.3-beta.1', '1.2.3-beta.1'],
  ['1.2', '1.2.0'],
  ['2026.8.31', '2026.8.31'],
  ['release 7', '7.0.0'],
  ['latest', '0.0.0'],
  [undefined, '0.0.0'],
  ['9'.repeat(500), '0.0.0']
])('the version %s of a server reads as %s', (version, semver) => {
  expect(toSemver(version)).toBe(semver)
})

it('a tool that reports a failure speaks for itself, within bounds', () => {
  const result = {
    isError: true,
    content: [
      { type: 'text', text: 'é'.repeat(5_000) },
      { type: 'image', data: '' }
    ]
  }
  expect(() => toolResult(result)).toThrowError(
    expect.objectContaining({ code: 'AGENT_ERROR', data: result, message: 'é'.repeat(2_048) })
  )
  expect(() => toolResult({ isError: true, content: [] })).toThrowError('the tool reported a failure')
})

it('a text is cut between characters', () => {
  expect(clip(`${'x'.repeat(4_095)}é`)).toBe('x'.repeat(4_095))
  expect(clip('😀'.repeat(2_000))).toBe('😀'.repeat(1_024))
  expect(clip('short')).toBe('short')
})
