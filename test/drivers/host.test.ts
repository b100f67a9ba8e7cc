import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import {
  type AgentConnection,
  createHost,
  type Driver,
  type DriverContext,
  functionDriver,
  type Host,
  type HostInit,
  mcpHttpDriver,
  mcpStdioDriver,
  moduleDriver
} from '../../src/drivers/index.ts'
import { MeshError } from '../../src/errors.ts'
import { createIdentity } from '../../src/identity/index.ts'
import {
  type AgentDefinition,
  type AgentDescription,
  createRegistry,
  type Registry,
  registryMigrations
} from '../../src/registry/index.ts'
import { checkSchema } from '../../src/schema/index.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { invokeContext, isAlive, ODD_SERVER, packageBinary, textOf } from './support.ts'

/** An agent that does what the test says. */
class PuppetDriver implements Driver {
  readonly kind = 'puppet'
  description: AgentDescription = { version: '1.0.0', capabilities: [{ kind: 'tool', name: 'work', version: '1.0.0' }] }
  /** Of all its agents, as they connect. */
  readonly contexts: DriverContext[] = []
  readonly connect = vi.fn<Driver['connect']>(async (_config, context) => {
    this.contexts.push(context)
    return { describe: this.describe, invoke: this.invoke, health: this.health, close: this.close }
  })
  readonly describe = vi.fn<AgentConnection['describe']>(async () => this.description)
  readonly invoke = vi.fn<AgentConnection['invoke']>((_capability, input) => ({ did: input }))
  readonly health = vi.fn<AgentConnection['health']>(async () => {})
  readonly close = vi.fn<AgentConnection['close']>(async () => {})

  parse(config: unknown): unknown {
    if (config === 'bad') throw new MeshError('INVALID_ARGUMENT', 'bad config')
    return config ?? 'default'
  }

  get context(): DriverContext {
    const context = this.contexts.at(-1)
    if (context === undefined) throw new Error('not connected yet')
    return context
  }

  fail(text = 'nobody home'): void {
    this.connect.mockRejectedValueOnce(new MeshError('AGENT_UNAVAILABLE', text))
  }
}

interface Setup {
  readonly host: Host
  readonly registry: Registry
  readonly puppet: PuppetDriver
  readonly store: Store
  readonly announced: string[]
  readonly retracted: string[]
  readonly logged: string[]
  readonly events: [string, object][]
  /** The next event of the kind that has not been waited for. */
  readonly next: (event: string) => Promise<object>
}

const identity = createIdentity()

async function setup(init: HostInit = {}, store?: Store): Promise<Setup> {
  const opened = store ?? (await openStore({ migrations: [registryMigrations] }))
  if (store === undefined) onTestFinished(() => opened.close())
  const [announced, retracted, logged]: [string[], string[], string[]] = [[], [], []]
  const events: [string, object][] = []
  const waited = new Map<string, number>()
  const emit = (event: string, detail: object) => void events.push([event, detail])
  const registry = createRegistry({ store: opened, identity, checkSchema, emit })
  const puppet = new PuppetDriver()
  const host = createHost(
    {
      registry,
      drivers: [functionDriver, moduleDriver, mcpStdioDriver, mcpHttpDriver, puppet],
      peer: identity.id,
      emit,
      announce: async (name) => void announced.push(name),
      retract: async (name) => void retracted.push(name),
      log: (text) => logged.push(text)
    },
    { reconnectMinMs: 1, ...init }
  )
  onTestFinished(() => host.stop())
  return {
    host,
    registry,
    puppet,
    store: opened,
    announced,
    retracted,
    logged,
    events,
    next: (event) =>
      vi.waitFor(
        () => {
          const index = waited.get(event) ?? 0
          const found = events.filter(([name]) => name === event)[index]
          if (found === undefined) throw new Error(`no ${event} yet`)
          waited.set(event, index + 1)
          return found[1]
        },
        { timeout: 15_000, interval: 5 }
      )
  }
}

function definition(name: string, rest: Partial<AgentDefinition> = {}): AgentDefinition {
  return { name, driver: 'puppet', config: undefined, tags: [], audience: 'public', ...rest }
}

const oddServer = { driver: 'mcp-stdio', config: { command: process.execPath, args: [ODD_SERVER] } }
const work = { kind: 'tool', name: 'work' } as const

it('connects, stores, publishes and announces an agent that is added', async () => {
  const { host, registry, announced, events } = await setup()
  const { record } = await host.add(definition('a', { tags: ['x'] }))
  expect(record).toMatchObject({ name: 'a', driver: 'puppet', tags: ['x'], capabilities: [{ name: 'work' }] })
  expect(registry.record('a')?.record).toEqual(record)
  expect(registry.definition('a')).toMatchObject({ config: 'default' })
  expect(announced).toEqual(['a'])
  expect(host.status('a')).toEqual({ state: 'up' })
  expect(events).toEqual([['agent:added', { agent: `${identity.id}/a`, seq: record.seq }]])
})

it('passes an invocation through as it is', async () => {
  const { host, puppet } = await setup()
  await host.add(definition('a'))
  const context = invokeContext()
  expect(host.invoke('a', work, { n: 1 }, context)).toEqual({ did: { n: 1 } })
  expect(puppet.invoke.mock.calls).toEqual([[work, { n: 1 }, context]])
  expect(() => host.invoke('b', work, {}, context)).toThrowError(expect.objectContaining({ code: 'NOT_FOUND' }))
})

it('hosts functions, and keeps nothing of them in the database', async () => {
  const { host, registry, store } = await setup()
  const { record } = await host.add(
    definition('sum', { driver: 'function', config: { capabilities: [{ name: 'add', handler: (n: unknown) => n }] } })
  )
  expect(record.capabilities).toMatchObject([{ name: 'add' }])
  expect(host.invoke('sum', { kind: 'tool', name: 'add' }, 7, invokeContext())).toBe(7)
  expect(registry.definition('sum')).toMatchObject({ config: null })
  expect(store.all('SELECT * FROM agent')).toEqual([])
})

it.each<[string, Partial<AgentDefinition>, string, string]>([
  [
    'a driver that there is not',
    { driver: 'telepathy' },
    'INVALID_ARGUMENT',
    'function, mcp-http, mcp-stdio, module, puppet'
  ],
  ['a configuration that is wrong', { config: 'bad' }, 'INVALID_ARGUMENT', ''],
  ['a name that is none', { name: 'A b' }, 'INVALID_ARGUMENT', 'lower-case'],
  ['a tag that is none', { tags: ['Ü'] }, 'INVALID_ARGUMENT', '']
])('keeps nothing of an agent with %s', async (_, rest, code, hint) => {
  const { host, registry, announced } = await setup()
  const err: unknown = await host.add(definition('a', rest)).catch((thrown: unknown) => thrown)
  expect(err).toMatchObject({ code })
  expect(String((err as MeshError).hint ?? '')).toContain(hint)
  expect([registry.definitions(), announced, host.status('a')]).toEqual([[], [], undefined])
})

it.each<[string, (puppet: PuppetDriver) => void, string]>([
  ['cannot be reached', (puppet) => puppet.fail(), 'nobody home'],
  ['fails in an unforeseen way', (puppet) => puppet.connect.mockRejectedValueOnce(new Error('oops')), 'oops'],
  ['does not say what it offers', (puppet) => puppet.describe.mockRejectedValueOnce(new Error('mute')), 'mute'],
  ['never answers', (puppet) => puppet.connect.mockReturnValueOnce(new Promise(() => {})), 'within 300ms'],
  [
    'dies at birth',
    (puppet) =>
      puppet.describe.mockImplementationOnce(async () => {
        puppet.context.onLost('it died', 'of boredom')
        return puppet.description
      }),
    'it died: of boredom'
  ]
])('keeps nothing of an agent that %s, and tries no more', async (_, prepare, text) => {
  const { host, registry, puppet, announced } = await setup({ connectTimeoutMs: 300 })
  prepare(puppet)
  await expect(host.add(definition('a'))).rejects.toMatchObject({
    code: 'AGENT_UNAVAILABLE',
    message: expect.stringContaining(text)
  })
  expect([registry.definitions(), announced, host.status('a')]).toEqual([[], [], undefined])
  await host.add(definition('a'))
  expect(puppet.connect).toHaveBeenCalledTimes(2)
  expect(puppet.close.mock.calls.length).toBe(puppet.contexts.length - 1)
})

it('keeps nothing of an agent that cannot be published', async () => {
  const { host, registry, puppet } = await setup()
  puppet.description = { version: 'one', capabilities: [] }
  await expect(host.add(definition('a'))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(registry.definitions()).toEqual([])
  expect(puppet.close).toHaveBeenCalledOnce()
})

it('says which capabilities are left out', async () => {
  const { host, puppet, logged } = await setup()
  const capabilities = ['good', 'bad name\u0007'].map((name) => ({ kind: 'tool' as const, name, version: '1.0.0' }))
  puppet.description = { version: '1.0.0', capabilities }
  const { record } = await host.add(definition('a'))
  expect(record.capabilities.map(({ name }) => name)).toEqual(['good'])
  expect(logged).toEqual([expect.stringContaining('"bad name\\u0007" is not offered')])
})

it('lets one name be added only once, also at the same time', async () => {
  const { host, puppet } = await setup()
  const results = await Promise.allSettled([
    host.add(definition('a')),
    host.add(definition('a')),
    host.add(definition('b'))
  ])
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(results[1]).toMatchObject({ reason: { code: 'ALREADY_EXISTS' } })
  expect(puppet.connect).toHaveBeenCalledTimes(2)
})

it('does what is asked of one name in the order it is asked', async () => {
  const { host, registry } = await setup()
  const results = await Promise.all([
    host.add(definition('a')).then(({ record }) => record.tags),
    host.update('a', { tags: ['one'] }).then((signed) => signed?.record.tags),
    host.update('a', { config: 'other', tags: ['two'] }).then((signed) => signed?.record.tags),
    host.remove('a').then(({ tags, config }) => [...tags, config]),
    host.add(definition('a', { tags: ['again'] })).then(({ record }) => record.tags)
  ])
  expect(results).toEqual([[], ['one'], ['two'], ['two', 'other'], ['again']])
  expect(registry.record('a')?.record.tags).toEqual(['again'])
})

it('signs and announces what a running agent offers anew, once for changes that come together', async () => {
  const { host, puppet, registry, announced } = await setup()
  const first = await host.add(definition('a'))
  puppet.description = { version: '2.0.0', capabilities: [{ kind: 'tool', name: 'play', version: '2.0.0' }] }
  for (let n = 0; n < 10; n += 1) puppet.context.onChange()
  const record = await vi.waitFor(() => {
    const signed = registry.record('a')
    expect(signed?.record.version).toBe('2.0.0')
    return signed?.record
  })
  expect(record?.seq).toBeGreaterThan(first.record.seq)
  expect(puppet.describe).toHaveBeenCalledTimes(2)
  await vi.waitFor(() => expect(announced).toEqual(['a', 'a']))
})

it('neither signs nor announces anything for a change that changes nothing', async () => {
  const { host, puppet, registry, announced } = await setup()
  const { record } = await host.add(definition('a'))
  puppet.context.onChange()
  await vi.waitFor(() => expect(puppet.describe).toHaveBeenCalledTimes(2))
  await host.update('a', {}) // Its turn comes after that of the change.
  expect(registry.record('a')?.record.seq).toBe(record.seq)
  expect(announced).toEqual(['a'])
})

it('hears of a change that comes while the agent is being added', async () => {
  const { host, puppet, registry } = await setup()
  puppet.describe.mockImplementationOnce(async () => {
    const before = puppet.description
    puppet.description = { version: '2.0.0', capabilities: [] }
    puppet.context.onChange()
    return before
  })
  expect((await host.add(definition('a'))).record.version).toBe('1.0.0')
  await vi.waitFor(() => expect(registry.record('a')?.record.version).toBe('2.0.0'))
})

it('keeps the record of an agent that cannot say what it offers now', async () => {
  const { host, puppet, registry, logged } = await setup()
  const { record } = await host.add(definition('a'))
  puppet.describe.mockRejectedValueOnce(new Error('hoarse'))
  puppet.context.onChange()
  await vi.waitFor(() => expect(logged).toEqual([expect.stringContaining('hoarse')]))
  expect(registry.record('a')?.record).toEqual(record)
  expect(host.status('a')).toEqual({ state: 'up' })
})

it('takes the record of a lost agent back, tells why, and brings it up again', async () => {
  const { host, puppet, registry, retracted, announced, next } = await setup({ reconnectMinMs: 400 })
  await host.add(definition('a'))
  puppet.context.onLost('its process ended with exit code 1', 'secret path')
  expect(registry.record('a')).toBeUndefined()
  expect(retracted).toEqual(['a'])
  expect(await next('agent:down')).toEqual({
    agent: `${identity.id}/a`,
    reason: 'its process ended with exit code 1: secret path',
    retryInMs: expect.any(Number)
  })
  expect(host.status('a')).toEqual({
    state: 'down',
    reason: expect.stringMatching(/secret path; next attempt in \d+ms$/)
  })
  const refusal = (trust: 'known' | 'owner') => {
    try {
      return host.invoke('a', work, {}, invokeContext(undefined, trust))
    } catch (err) {
      return (err as MeshError).toJSON()
    }
  }
  expect(refusal('known')).toEqual({
    code: 'AGENT_UNAVAILABLE',
    message: expect.stringMatching(/^the agent a is down: its process ended with exit code 1; next attempt in \d+ms$/),
    retryable: true
  })
  expect(refusal('owner')).toMatchObject({ message: expect.stringContaining('secret path') })
  expect(await next('agent:up')).toEqual({ agent: `${identity.id}/a` })
  expect(host.status('a')).toEqual({ state: 'up' })
  expect(registry.record('a')).toBeDefined()
  expect(announced).toEqual(['a', 'a'])
  expect(puppet.close).toHaveBeenCalledOnce()
})

it('waits twice as long before each attempt, up to the most, and tells of each', async () => {
  const { host, puppet, events, next } = await setup({ reconnectMinMs: 2, reconnectMaxMs: 5 })
  await host.add(definition('a'))
  for (let n = 0; n < 6; n += 1) puppet.fail()
  puppet.context.onLost('gone')
  await next('agent:up')
  const waits = events.flatMap(([event, detail]) =>
    event === 'agent:down' && 'retryInMs' in detail ? [detail.retryInMs] : []
  )
  expect(waits).toHaveLength(7)
  for (const [index, wait] of waits.entries()) expect(wait).toBeLessThanOrEqual(Math.min(5, 2 * 2 ** index))
  expect(events.filter(([event]) => event === 'agent:down').at(-1)?.[1]).toMatchObject({
    reason: 'it could not be brought up: nobody home'
  })
})

it('hears of a loss only once, and not from a connection of before', async () => {
  const { host, puppet, next, events } = await setup()
  await host.add(definition('a'))
  const before = puppet.context
  before.onLost('gone')
  before.onLost('gone')
  await next('agent:up')
  before.onLost('gone')
  before.onChange()
  expect(host.status('a')).toEqual({ state: 'up' })
  expect(events.filter(([event]) => event === 'agent:down')).toHaveLength(1)
})

it('gives an agent up for lost that does not answer when asked', async () => {
  const { host, puppet, next } = await setup({ healthIntervalMs: 10, healthTimeoutMs: 50 })
  await host.add(definition('a'))
  puppet.health.mockReturnValueOnce(new Promise(() => {}))
  expect(await next('agent:down')).toMatchObject({ reason: expect.stringContaining('it does not answer') })
  await next('agent:up')
})

it('changes what is said of an agent without touching it', async () => {
  const { host, puppet, registry, announced } = await setup()
  const first = await host.add(definition('a'))
  const signed = await host.update('a', { tags: ['x'], description: 'Works' })
  expect(signed?.record).toMatchObject({ tags: ['x'], description: 'Works' })
  expect(signed?.record.seq).toBeGreaterThan(first.record.seq)
  expect(registry.definition('a')).toMatchObject({ tags: ['x'] })
  expect(announced).toEqual(['a', 'a'])
  expect(puppet.connect).toHaveBeenCalledOnce()
})

it('connects an agent anew for another configuration, and lets go of the old one then', async () => {
  const { host, puppet, registry, events } = await setup()
  await host.add(definition('a'))
  puppet.close.mockImplementationOnce(async () => expect(puppet.connect).toHaveBeenCalledTimes(2))
  await host.update('a', { config: 'new' })
  expect(puppet.connect.mock.calls.map(([config]) => config)).toEqual(['default', 'new'])
  expect(puppet.close).toHaveBeenCalledOnce()
  expect(registry.definition('a')).toMatchObject({ config: 'new' })
  puppet.contexts[0]?.onLost('the old one')
  expect(host.status('a')).toEqual({ state: 'up' })
  expect(events.map(([event]) => event)).not.toContain('agent:down')
})

it.each<[string, Parameters<Host['update']>[1], string]>([
  ['a configuration that is wrong', { config: 'bad' }, 'INVALID_ARGUMENT'],
  ['a driver that there is not', { driver: 'telepathy' }, 'INVALID_ARGUMENT'],
  ['a configuration that does not work', { config: 'new', tags: ['x'] }, 'AGENT_UNAVAILABLE'],
  ['a tag that is none', { tags: ['Ü'] }, 'INVALID_ARGUMENT'],
  ['a tag that is none, with another configuration', { config: 'other', tags: ['Ü'] }, 'INVALID_ARGUMENT']
])('leaves an agent as it was after an update with %s', async (_, change, code) => {
  const { host, puppet, registry } = await setup()
  await host.add(definition('a', { tags: ['old'] }))
  const before = [registry.definition('a'), registry.record('a')]
  if ('config' in change && change.config === 'new') puppet.fail()
  await expect(host.update('a', change)).rejects.toMatchObject({ code })
  expect([registry.definition('a'), registry.record('a')]).toEqual(before)
  expect(host.invoke('a', work, 1, invokeContext())).toEqual({ did: 1 })
})

it('brings an agent up by an update that mends it', async () => {
  const { host, puppet, next } = await setup({ reconnectMinMs: 60_000 })
  await host.add(definition('a'))
  puppet.context.onLost('gone')
  await next('agent:down')
  expect(await host.update('a', { tags: ['x'] })).toBeUndefined()
  expect((await host.update('a', { config: 'mended' }))?.record.tags).toEqual(['x'])
  await next('agent:up')
  expect(host.status('a')).toEqual({ state: 'up' })
})

it('forgets an agent that is removed, and tells the mesh', async () => {
  const { host, puppet, registry, retracted } = await setup()
  await host.add(definition('a'))
  expect(await host.remove('a')).toMatchObject({ name: 'a' })
  expect([registry.definitions(), registry.record('a'), host.status('a')]).toEqual([[], undefined, undefined])
  expect(retracted).toEqual(['a'])
  expect(puppet.close).toHaveBeenCalledOnce()
})

it('removes an agent at once that is waiting for its next attempt, or in the middle of it', async () => {
  const { host, puppet, registry } = await setup({ reconnectMinMs: 1 })
  await host.add(definition('a'))
  puppet.connect.mockReturnValueOnce(new Promise(() => {}))
  puppet.context.onLost('gone')
  await vi.waitFor(() => expect(puppet.connect).toHaveBeenCalledTimes(2))
  await host.remove('a')
  expect(registry.definitions()).toEqual([])
})

it.each(['update', 'remove'] as const)('tells NOT_FOUND to %s an agent that there is not', async (verb) => {
  const { host } = await setup()
  await expect(host[verb]('a', {})).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

it('brings stored agents up at the start, whatever the state of the others', async () => {
  const first = await setup()
  for (const name of ['a', 'b', 'c']) await first.host.add(definition(name, { config: name }))
  await first.registry.define(definition('odd-one', { driver: 'telepathy', config: null }))
  await first.registry.define(definition('worn', { config: 'bad' }))
  await first.host.stop()

  const { host, puppet, next, registry, announced } = await setup({ reconnectMinMs: 60_000 }, first.store)
  puppet.connect.mockImplementationOnce(() => Promise.reject(new MeshError('AGENT_UNAVAILABLE', 'not today')))
  host.start()
  expect(host.status('b')).toEqual({ state: 'starting' })
  const downs = [await next('agent:down'), await next('agent:down'), await next('agent:down')]
  await next('agent:up')
  await next('agent:up')
  expect(host.status('a')).toEqual({ state: 'down', reason: expect.stringContaining('not today; next attempt in') })
  expect(host.status('odd-one')).toEqual({ state: 'down', reason: expect.stringContaining('no driver telepathy') })
  expect(host.status('worn')).toEqual({ state: 'down', reason: expect.stringContaining('bad config') })
  expect(downs.filter((detail) => 'retryInMs' in detail)).toHaveLength(1)
  expect(announced.toSorted()).toEqual(['b', 'c'])
  expect(registry.records({}).map(({ record }) => record.name)).toEqual(['b', 'c'])
  await expect(host.add(definition('worn'))).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  await host.remove('worn')
  await host.add(definition('worn'))
})

it('ends all agents on stop, and takes no more', async () => {
  const { host, puppet, registry } = await setup()
  await host.add(definition('a'))
  puppet.connect.mockReturnValueOnce(new Promise(() => {}))
  const adding = host.add(definition('b'))
  await vi.waitFor(() => expect(puppet.connect).toHaveBeenCalledTimes(2))
  await host.stop()
  await expect(adding).rejects.toMatchObject({ code: 'CANCELLED' })
  expect(puppet.close).toHaveBeenCalledOnce()
  expect(registry.definitions().map(({ name }) => name)).toEqual(['a'])
  expect(() => host.invoke('a', work, {}, invokeContext())).toThrowError(
    expect.objectContaining({ code: 'AGENT_UNAVAILABLE' })
  )
  await expect(host.add(definition('c'))).rejects.toMatchObject({ code: 'AGENT_UNAVAILABLE' })
})

it('ends an update under way on stop', async () => {
  const { host, puppet } = await setup()
  await host.add(definition('a'))
  puppet.connect.mockReturnValueOnce(new Promise(() => {}))
  const updating = host.update('a', { config: 'new' })
  await vi.waitFor(() => expect(puppet.connect).toHaveBeenCalledTimes(2))
  await host.stop()
  await expect(updating).rejects.toMatchObject({ code: 'CANCELLED' })
})

it('says so when an agent is lost before it has said what it offers', async () => {
  const { host, puppet } = await setup()
  puppet.describe.mockImplementationOnce(async () => {
    puppet.context.onLost('its process ended with exit code 1')
    throw new MeshError('CONNECTION_LOST', 'broken')
  })
  await expect(host.add(definition('a'))).rejects.toMatchObject({
    code: 'AGENT_UNAVAILABLE',
    message: expect.stringContaining('its process ended with exit code 1')
  })
})

it('closes what a driver brings up too late', async () => {
  const { host, puppet } = await setup({ connectTimeoutMs: 20 })
  const slow = Promise.withResolvers<AgentConnection>()
  puppet.connect.mockReturnValueOnce(slow.promise)
  await expect(host.add(definition('a'))).rejects.toMatchObject({ code: 'AGENT_UNAVAILABLE' })
  slow.resolve({ describe: puppet.describe, invoke: puppet.invoke, health: puppet.health, close: puppet.close })
  await vi.waitFor(() => expect(puppet.close).toHaveBeenCalledOnce())
})

it('refuses two drivers of one kind', () => {
  const drivers = [new PuppetDriver(), new PuppetDriver()]
  const nothing = async () => {}
  const registry = undefined as unknown as Registry
  expect(() =>
    createHost({ registry, drivers, peer: 'p', emit: () => {}, announce: nothing, retract: nothing })
  ).toThrowError(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})

it.each(['server-everything', 'server-filesystem'])('publishes every tool of %s', async (server) => {
  const { host, registry } = await setup()
  const args = [packageBinary(`@modelcontextprotocol/${server}`), tmpdir()]
  const { record } = await host.add(
    definition('real', {
      driver: 'mcp-stdio',
      config: { command: process.execPath, args: args.slice(0, server.endsWith('filesystem') ? 2 : 1) }
    })
  )
  expect(record.capabilities.length).toBeGreaterThan(8)
  expect(registry.refused('real')).toEqual([])
})

it('restarts a server that was killed, and offers the same again', async () => {
  const { host, registry, next } = await setup()
  const { record } = await host.add(definition('odd', oddServer))
  const call = async (name: string) => host.invoke('odd', { kind: 'tool', name }, {}, invokeContext())
  const pid = Number(textOf(await call('pid')))
  const hanging = call('hang')
  hanging.catch(() => {})
  process.kill(pid, 'SIGKILL')
  expect(await next('agent:down')).toMatchObject({ reason: 'its process was ended by SIGKILL' })
  await expect(hanging).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  await next('agent:up')
  const again = Number(textOf(await call('pid')))
  expect(again).not.toBe(pid)
  expect(registry.record('odd')?.record.capabilities).toEqual(record.capabilities)
  await host.remove('odd')
  expect(isAlive(again)).toBe(false)
})

it('signs a changed tool list of a server under a new number', async () => {
  const { host, registry, next } = await setup()
  const { record } = await host.add(definition('odd', oddServer))
  await next('agent:added')
  await host.invoke('odd', { kind: 'tool', name: 'grow' }, {}, invokeContext())
  await next('agent:updated')
  const now = registry.record('odd')?.record
  expect(now?.capabilities).toHaveLength(record.capabilities.length + 1)
  expect(now?.seq).toBeGreaterThan(record.seq)
})

it('reads a module anew when it is asked to connect again', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'host-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const file = join(folder, 'agent.mjs')
  const text = (version: string) =>
    `export const agent = { version: '${version}', capabilities: [{ name: 'v', handler: () => '${version}' }] }`
  await writeFile(file, text('1.0.0'))
  const { host } = await setup()
  await host.add(definition('mod', { driver: 'module', config: { file } }))
  await writeFile(file, `${text('2.0.0')}\n`)
  expect((await host.update('mod', { config: { file } }))?.record.version).toBe('2.0.0')
  expect(host.invoke('mod', { kind: 'tool', name: 'v' }, {}, invokeContext())).toBe('2.0.0')
})
