import { once } from 'node:events'
import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { mcpStdioDriver } from '../../src/drivers/mcp-stdio.ts'
import { type Connected, connect, gone, invokeContext, isAlive, ODD_SERVER, packageBinary, textOf } from './support.ts'

const command = process.execPath

function odd(...args: string[]): Promise<Connected> {
  return connect(mcpStdioDriver, { command, args: [ODD_SERVER, ...args] })
}

async function pidOf({ call }: Connected): Promise<number> {
  return Number(textOf(await call('pid')))
}

const ERAS: [string, string[]][] = [
  ['both eras', []],
  ['2025 only', ['--era', 'legacy']],
  ['2025 only, and ends at any other request', ['--era', 'strict']]
]

it.each(ERAS)('offers the tools of all pages of a server that speaks %s', async (_, args) => {
  const { describe } = await odd(...args)
  const { version, description, capabilities } = await describe()
  expect([version, description]).toEqual(['1.2.0', 'Tools that go wrong'])
  expect(capabilities.map(({ name }) => name)).toEqual([
    'echo',
    'tree',
    'bad name!',
    'pid',
    'crash',
    'hang',
    'cancelled',
    'huge',
    'fail',
    'wrong',
    'ask',
    'grow'
  ])
})

it.each(ERAS)('calls the tools of a server that speaks %s', async (_, args) => {
  const { call, connection } = await odd(...args)
  expect(await call('echo', { a: [1, 'ü'] })).toMatchObject({ structuredContent: { a: [1, 'ü'] } })
  await expect(call('fail')).rejects.toMatchObject({
    code: 'AGENT_ERROR',
    message: expect.stringMatching(/^failed: é/),
    data: { isError: true }
  })
  await expect(call('wrong')).rejects.toMatchObject({ code: 'INVALID_INPUT', message: 'no such thing as that' })
  await expect(call('ask')).rejects.toMatchObject({ code: 'AGENT_ERROR' })
  await connection.health({ signal: AbortSignal.timeout(10_000) })
})

it.each(ERAS)('tells when the tools change of a server that speaks %s', async (_, args) => {
  const { call, describe, events } = await odd(...args)
  const before = (await describe()).capabilities.length
  const changed = once(events, 'changed')
  await call('grow')
  await changed
  expect((await describe()).capabilities).toHaveLength(before + 1)
})

it.each(ERAS)('lets a server that speaks %s know that its caller gave up', async (_, args) => {
  const { call } = await odd(...args)
  const controller = new AbortController()
  const hanging = call('hang', {}, invokeContext(controller.signal))
  await call('echo') // The server reads in order: now it hangs.
  controller.abort()
  await expect(hanging).rejects.toMatchObject({ code: 'CANCELLED' })
  expect(textOf(await call('cancelled'))).toBe('1')
})

it('fails a call at its deadline', async () => {
  const { call } = await odd()
  await expect(call('hang', {}, invokeContext(AbortSignal.timeout(100)))).rejects.toMatchObject({ code: 'TIMEOUT' })
})

it('refuses an answer that is too large, and goes on with the next', async () => {
  const agent = await odd()
  const lost = vi.fn<() => void>()
  agent.events.on('lost', lost)
  const [huge, small] = await Promise.allSettled([
    agent.call('huge', { bytes: 6_000_000 }),
    agent.call('huge', { bytes: 1_000_000 })
  ])
  expect(huge).toMatchObject({ status: 'rejected', reason: { code: 'TOO_LARGE' } })
  expect(small.status === 'fulfilled' && textOf(small.value).length).toBe(1_000_000)
  expect(lost).not.toHaveBeenCalled()
})

it('refuses what an MCP tool cannot take', async () => {
  const { call, connection } = await odd()
  await expect(call('echo', [1])).rejects.toMatchObject({ code: 'INVALID_INPUT' })
  await expect(connection.invoke({ kind: 'skill', name: 'echo' }, {}, invokeContext())).rejects.toMatchObject({
    code: 'NOT_FOUND'
  })
})

it('says how a server ended that crashes at a call, and fails the calls at once', async () => {
  const { call, events } = await odd()
  const lost = once(events, 'lost')
  const hanging = call('hang')
  const crashing = call('crash')
  await expect(crashing).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  await expect(hanging).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  expect(await lost).toEqual(['its process ended with exit code 3', 'something terrible happened'])
  await expect(call('echo')).rejects.toMatchObject({ code: 'AGENT_UNAVAILABLE' })
})

it('says that a server was killed', async () => {
  const agent = await odd()
  const lost = once(agent.events, 'lost')
  process.kill(await pidOf(agent), 'SIGKILL')
  expect(await lost).toEqual(['its process was ended by SIGKILL', undefined])
})

it('ends its process on close, and says nothing of a loss', async () => {
  const agent = await odd()
  const lost = vi.fn<() => void>()
  agent.events.on('lost', lost)
  const pid = await pidOf(agent)
  await agent.connection.close()
  expect(isAlive(pid)).toBe(false)
  expect(lost).not.toHaveBeenCalled()
})

it('ends a server that heeds no SIGTERM', async () => {
  const script = `process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); await import(${JSON.stringify(ODD_SERVER)})`
  const agent = await connect(mcpStdioDriver, { command, args: ['--input-type=module', '-e', script] })
  const pid = await pidOf(agent)
  await agent.connection.close()
  expect(isAlive(pid)).toBe(false)
})

it.each(['close', 'kill'])('ends a server behind a wrapper, as npx is one, on %s', async (how) => {
  const agent = await connect(mcpStdioDriver, { command: 'sh', args: ['-c', `"${command}" "${ODD_SERVER}"; true`] })
  const pid = await pidOf(agent)
  const parent = Number(process.platform === 'linux' ? await parentOf(pid) : 0)
  expect(parent).not.toBe(process.pid)
  if (how === 'close') {
    await agent.connection.close()
  } else {
    const lost = once(agent.events, 'lost')
    process.kill(parent, 'SIGKILL')
    await lost
  }
  await gone(pid)
})

async function parentOf(pid: number): Promise<string | undefined> {
  const { readFile } = await import('node:fs/promises')
  return (await readFile(`/proc/${pid}/stat`, 'utf8')).split(' ')[3]
}

it.each<[string, unknown, string]>([
  ['there is no such command', { command: '/nowhere/server' }, 'ENOENT'],
  [
    'it ends at once',
    { command, args: ['-e', 'console.error("no licence"); process.exit(7)'] },
    'exit code 7; its last words: no licence'
  ]
])('tells why a server did not come up when %s', async (_, config, text) => {
  await expect(connect(mcpStdioDriver, config)).rejects.toMatchObject({
    code: 'AGENT_UNAVAILABLE',
    message: expect.stringContaining(text)
  })
})

it('waits for a server no longer than it may, and leaves no process behind', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-stdio-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const script = `require('node:fs').writeFileSync('pid', String(process.pid)); setInterval(() => {}, 1000)`
  const controller = new AbortController()
  const connecting = connect(mcpStdioDriver, { command, args: ['-e', script], cwd: folder }, controller.signal)
  const { readFile } = await import('node:fs/promises')
  const pid = await vi.waitFor(
    async () => Number(await readFile(join(folder, 'pid'), 'utf8')) || Promise.reject(new Error('not yet')),
    10_000
  )
  controller.abort()
  await expect(connecting).rejects.toMatchObject({ code: 'CANCELLED' })
  expect(isAlive(pid)).toBe(false)
})

it('gives a server the variables and the folder of its configuration, and none of the secrets of the node', async () => {
  process.env['PRYX_TEST_SECRET'] = 'hunter2'
  onTestFinished(() => {
    delete process.env['PRYX_TEST_SECRET']
  })
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'mcp-stdio-')))
  onTestFinished(() => rm(folder, { recursive: true }))
  const { call } = await connect(mcpStdioDriver, {
    command,
    args: [packageBinary('@modelcontextprotocol/server-everything')],
    cwd: folder,
    env: { COLOUR: 'blue' }
  })
  const env = textOf(await call('get-env'))
  expect(JSON.parse(env)).toMatchObject({ COLOUR: 'blue', PATH: expect.any(String) })
  expect(env).not.toContain('hunter2')
})

it('offers and calls the tools of server-everything', async () => {
  const { describe, call } = await connect(mcpStdioDriver, {
    command,
    args: [packageBinary('@modelcontextprotocol/server-everything')]
  })
  const { version, capabilities } = await describe()
  expect(version).toMatch(/^\d+\.\d+\.\d+$/)
  const structured = capabilities.find(({ name }) => name === 'get-structured-content')
  expect(structured?.output).toMatchObject({ required: ['content', 'structuredContent'] })
  expect(textOf(await call('echo', { message: 'hello' }))).toBe('Echo: hello')
  expect(textOf(await call('get-sum', { a: 2, b: 3 }))).toContain('5')
})

it('offers and calls the tools of server-filesystem', async () => {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'mcp-stdio-')))
  onTestFinished(() => rm(folder, { recursive: true }))
  await writeFile(join(folder, 'note.txt'), 'remember the milk')
  const { describe, call } = await connect(mcpStdioDriver, {
    command,
    args: [packageBinary('@modelcontextprotocol/server-filesystem'), folder]
  })
  const effects = new Map((await describe()).capabilities.map(({ name, effects }) => [name, effects]))
  expect(effects.get('read_text_file')).toBe('read')
  expect(effects.get('write_file')).not.toBe('read')
  expect(textOf(await call('read_text_file', { path: join(folder, 'note.txt') }))).toBe('remember the milk')
  await expect(call('read_text_file', { path: '/etc/passwd' })).rejects.toMatchObject({
    code: 'AGENT_ERROR',
    data: { isError: true }
  })
})

it.each<[unknown, string]>([
  [undefined, 'expected object'],
  [{ command: '' }, 'command'],
  [{ command: 'x', args: 'y' }, 'args'],
  [{ command: 'x', env: { A: 1 } }, 'env']
])('refuses the configuration %j', (config, text) => {
  expect(() => mcpStdioDriver.parse(config)).toThrowError(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(text) })
  )
})
