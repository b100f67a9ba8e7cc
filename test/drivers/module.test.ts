import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { moduleDriver } from '../../src/drivers/module.ts'
import { connect } from './support.ts'

async function moduleFile(name: string, text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'module-agent-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const file = join(folder, name)
  await writeFile(file, text)
  return file
}

it.each([
  ['agent.mjs', "export default { version: '3.0.0', capabilities: [{ name: 'hi', handler: () => 'hi' }] }"],
  ['agent.js', "export const agent = { version: '3.0.0', capabilities: [{ name: 'hi', handler: () => 'hi' }] }"],
  [
    'agent.ts',
    "export const agent = { version: '3.0.0' as string, capabilities: [{ name: 'hi', handler: (): string => 'hi' }] }"
  ]
])('serves what %s exports', async (name, text) => {
  const { describe, call } = await connect(moduleDriver, { file: await moduleFile(name, text) })
  expect(await describe()).toMatchObject({ version: '3.0.0', capabilities: [{ kind: 'tool', name: 'hi' }] })
  expect(await call('hi')).toBe('hi')
})

it('reads a changed file anew, and an unchanged one not', async () => {
  const agent = (n: number) =>
    `let calls = ${n}; export const agent = { capabilities: [{ name: 'count', handler: () => ++calls }] }`
  const file = await moduleFile('agent.mjs', agent(0))
  const first = await connect(moduleDriver, { file })
  expect(await first.call('count')).toBe(1)
  const again = await connect(moduleDriver, { file })
  expect(await again.call('count')).toBe(2)
  await writeFile(file, agent(40))
  await utimes(file, new Date(), new Date(Date.now() + 5_000))
  const changed = await connect(moduleDriver, { file })
  expect(await changed.call('count')).toBe(41)
})

it.each([
  ['has a syntax error', 'export const agent = {', 'AGENT_UNAVAILABLE', "can't be loaded"],
  ['throws when it is loaded', "throw new Error('no database')", 'AGENT_UNAVAILABLE', 'no database'],
  ['exports no agent', 'export const other = 1', 'INVALID_ARGUMENT', 'exports no agent'],
  ['exports something else', 'export default 7', 'INVALID_ARGUMENT', 'expected object'],
  [
    'has a capability without a handler',
    "export default { capabilities: [{ name: 'a' }] }",
    'INVALID_ARGUMENT',
    'handler: must be'
  ]
])('names a file that %s', async (_, text, code, said) => {
  const file = await moduleFile('broken.mjs', text)
  const err: unknown = await connect(moduleDriver, { file }).catch((thrown: unknown) => thrown)
  expect(err).toMatchObject({ code, message: expect.stringContaining(said) })
  expect((err as Error).message).toContain(file)
})

it('names a file that is missing', async () => {
  const file = join(tmpdir(), 'there-is-no-such-agent.mjs')
  await expect(connect(moduleDriver, { file })).rejects.toMatchObject({
    code: 'AGENT_UNAVAILABLE',
    message: expect.stringContaining(file)
  })
})

it('waits for a module no longer than it may', async () => {
  const file = await moduleFile('slow.mjs', 'await new Promise(() => setInterval(() => {}, 1e6).unref())')
  await expect(connect(moduleDriver, { file }, AbortSignal.timeout(200))).rejects.toMatchObject({ code: 'TIMEOUT' })
})

it.each<[unknown, string]>([
  [{}, 'file'],
  [{ file: 'agent.mjs' }, 'absolute'],
  [{ file: '/srv/agent.py' }, '.js, .mjs or .ts']
])('refuses the configuration %j', (config, text) => {
  expect(() => moduleDriver.parse(config)).toThrowError(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(text) })
  )
})
