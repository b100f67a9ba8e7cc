import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { expect, it, onTestFinished } from 'vitest'
import { compileSchema, createValidationPool } from '../../src/schema/index.ts'

const require = createRequire(import.meta.url)

async function toolsOf(name: string, ...args: string[]) {
  const server = join(dirname(require.resolve(`@modelcontextprotocol/${name}/package.json`)), 'dist', 'index.js')
  const client = new Client({ name: 'test', version: '1.0.0' })
  onTestFinished(() => client.close())
  await client.connect(
    new StdioClientTransport({ command: process.execPath, args: [server, ...args], stderr: 'ignore' })
  )
  return (await client.listTools()).tools
}

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'schema-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

it.each([
  {
    name: 'server-everything',
    args: async () => [],
    fewest: 8,
    tool: 'get-sum',
    fits: { a: 1, b: 2 },
    not: { a: '1' }
  },
  {
    name: 'server-filesystem',
    args: async () => [await newFolder()],
    fewest: 10,
    tool: 'read_text_file',
    fits: { path: '/a', head: 3 },
    not: { head: 3 }
  }
])(
  'every schema of $name compiles and is checked at once',
  async ({ name, args, fewest, tool, fits, not }) => {
    const pool = createValidationPool()
    onTestFinished(() => pool.stop())
    const tools = await toolsOf(name, ...(await args()))
    expect(tools.length).toBeGreaterThanOrEqual(fewest)
    const schemas = tools.flatMap(({ inputSchema, outputSchema }) => [inputSchema, outputSchema ?? inputSchema])
    const validators = await Promise.all(schemas.map((schema) => compileSchema(schema, pool)))
    const outcomes = validators.map((validator) => validator.validate(7))
    expect(outcomes).toEqual(schemas.map(() => [{ path: '', message: 'must be object' }]))
    const { validate } = await compileSchema(tools.find(({ name: tested }) => tested === tool)?.inputSchema, pool)
    expect(validate(fits)).toBeUndefined()
    expect(validate(not)).toHaveLength(1)
  },
  60_000
)
