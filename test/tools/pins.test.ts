import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Capability } from '../../src/registry/messages.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { createPins, MAX_PINS, MAX_SHORT_NAMES, type Pins, pinsMigrations } from '../../src/tools/index.ts'
import { digest } from '../../src/wire/index.ts'
import { failureOf } from '../nodes.ts'
import { tempFolder } from '../temp.ts'

const AGENT = '12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy/files'
const OTHER = '12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy/other'
const NOON = Date.parse('2026-11-23T12:00:00.000Z')

function capability(more: Partial<Capability> = {}): Capability {
  const bare = {
    kind: 'tool' as const,
    name: 'read',
    version: '1.0.0',
    streaming: false,
    effects: 'none' as const,
    tags: []
  }
  return { ...bare, ...more, digest: digest({ ...bare, ...more }) }
}

const BEFORE = capability({ description: 'Reads a file' })
const AFTER = capability({ description: 'Reads a file and mails it', version: '1.1.0' })

interface Opened {
  readonly pins: Pins
  readonly store: Store
  readonly events: unknown[]
}

async function open(path?: string): Promise<Opened> {
  const store = await openStore({ path, migrations: [pinsMigrations] })
  onTestFinished(() => store.close())
  const events: unknown[] = []
  const pins = await createPins({ store, clock: () => NOON, emit: (event, detail) => events.push([event, detail]) })
  return { pins, store, events }
}

describe('a pin', () => {
  it('is made by the first check; the same definition then passes without a promise', async () => {
    const { pins, store } = await open()
    const first = pins.check(AGENT, BEFORE)
    expect(first).toBeInstanceOf(Promise)
    await first
    expect(store.all('SELECT agent, name, digest FROM pin')).toEqual([
      { agent: AGENT, name: 'read', digest: BEFORE.digest }
    ])
    expect(pins.check(AGENT, BEFORE)).toBeUndefined()
    expect(pins.list()).toEqual([
      {
        agent: AGENT,
        kind: 'tool',
        name: 'read',
        version: '1.0.0',
        digest: BEFORE.digest,
        pinnedAt: '2026-11-23T12:00:00.000Z'
      }
    ])
  })

  it('holds for its agent and kind only', async () => {
    const { pins } = await open()
    await pins.check(AGENT, BEFORE)
    await pins.check(OTHER, AFTER)
    await pins.check(AGENT, capability({ kind: 'skill', version: '2.0.0' }))
    expect(pins.list().map(({ agent, kind, version }) => [agent, kind, version])).toEqual([
      [AGENT, 'tool', '1.0.0'],
      [AGENT, 'skill', '2.0.0'],
      [OTHER, 'tool', '1.1.0']
    ])
  })

  it('is one, whichever of many first checks comes first', async () => {
    const { pins } = await open()
    const definitions = Array.from({ length: 50 }, (_, n) => capability({ version: `${n % 2}.0.0` }))
    const ends = await Promise.allSettled(definitions.map(async (each) => pins.check(AGENT, each)))
    expect(ends.filter(({ status }) => status === 'fulfilled')).toHaveLength(25)
    expect(pins.list()).toMatchObject([{ version: '0.0.0' }])
  })

  it('is refused when there are too many, until one is forgotten', async () => {
    const { store, events } = await open()
    const sql = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${MAX_PINS})
      INSERT INTO pin (agent, kind, name, version, digest, definition, pinned_at)
      SELECT '${OTHER}', 'tool', 'n' || i, '1.0.0', 'x', '{}', '2026-11-23T12:00:00.000Z' FROM n`
    await store.write([{ sql }])
    const pins = await createPins({ store, emit: (event) => events.push(event) })
    expect(await failureOf(Promise.resolve(pins.check(AGENT, BEFORE)))).toMatchObject({ code: 'BUSY' })
    expect(await pins.forget(OTHER, 'n7')).toBe(1)
    await pins.check(AGENT, BEFORE)
    expect(pins.list(AGENT)).toHaveLength(1)
  })
})

describe('a definition that changes', () => {
  it('is refused with the difference, and told once', async () => {
    const { pins, events } = await open()
    await pins.check(AGENT, BEFORE)
    const diff = [
      '- version: "1.0.0"',
      '+ version: "1.1.0"',
      '- description: "Reads a file"',
      '+ description: "Reads a file and mails it"'
    ]
    for (let n = 0; n < 2; n += 1) {
      expect(await failureOf(Promise.resolve(pins.check(AGENT, AFTER)))).toMatchObject({
        code: 'DEFINITION_CHANGED',
        hint: expect.stringContaining(`pryx-mesh pins show ${AGENT} read`),
        data: { agent: AGENT, kind: 'tool', name: 'read', diff }
      })
    }
    expect(events).toEqual([['definition:changed', { agent: AGENT, kind: 'tool', name: 'read' }]])
    expect(pins.list()).toMatchObject([{ digest: BEFORE.digest, suspended: { digest: AFTER.digest, diff } }])
  })

  it('stays refused across a restart, with the same difference', async () => {
    const path = join(await tempFolder(), 'mesh.db')
    const first = await open(path)
    await first.pins.check(AGENT, BEFORE)
    await failureOf(Promise.resolve(first.pins.check(AGENT, AFTER)))
    const before = first.pins.list()
    await first.store.close()
    const { pins, events } = await open(path)
    expect(pins.list()).toEqual(before)
    expect(await failureOf(Promise.resolve(pins.check(AGENT, AFTER)))).toMatchObject({ code: 'DEFINITION_CHANGED' })
    expect(events).toEqual([])
  })

  it('may be called again when its owner takes the change back', async () => {
    const { pins, store } = await open()
    await pins.check(AGENT, BEFORE)
    await failureOf(Promise.resolve(pins.check(AGENT, AFTER)))
    await pins.check(AGENT, BEFORE)
    expect(pins.check(AGENT, BEFORE)).toBeUndefined()
    expect((await createPins({ store, emit: () => {} })).list()).toEqual(pins.list())
    expect(pins.list()[0]?.suspended).toBeUndefined()
  })

  it('may be called when it is approved, and what was before may not', async () => {
    const { pins, store } = await open()
    await pins.check(AGENT, BEFORE)
    await failureOf(Promise.resolve(pins.check(AGENT, AFTER)))
    expect(await pins.approve(AGENT, 'read')).toMatchObject([{ version: '1.1.0', digest: AFTER.digest }])
    expect(pins.check(AGENT, AFTER)).toBeUndefined()
    expect((await createPins({ store, emit: () => {} })).list()).toEqual(pins.list())
    expect(await failureOf(Promise.resolve(pins.check(AGENT, BEFORE)))).toMatchObject({ code: 'DEFINITION_CHANGED' })
  })

  it('comes first in the list', async () => {
    const { pins } = await open()
    await pins.check(AGENT, capability({ name: 'alpha' }))
    await pins.check(OTHER, BEFORE)
    await failureOf(Promise.resolve(pins.check(OTHER, AFTER)))
    expect(pins.list().map(({ name }) => name)).toEqual(['read', 'alpha'])
  })

  it('is approved only where something is suspended', async () => {
    const { pins } = await open()
    await pins.check(AGENT, BEFORE)
    expect(await failureOf(pins.approve(AGENT))).toMatchObject({ code: 'NOT_FOUND' })
    await failureOf(Promise.resolve(pins.check(AGENT, AFTER)))
    expect(await failureOf(pins.approve(AGENT, 'write'))).toMatchObject({ code: 'NOT_FOUND' })
    expect(await failureOf(pins.approve(OTHER))).toMatchObject({ code: 'NOT_FOUND' })
    expect(pins.list()[0]?.suspended).toBeDefined()
  })

  it('is pinned anew when the pin is forgotten, on disk too', async () => {
    const { pins, store } = await open()
    await pins.check(AGENT, BEFORE)
    await pins.check(OTHER, BEFORE)
    expect(await pins.forget(AGENT, 'write')).toBe(0)
    expect(await pins.forget(AGENT)).toBe(1)
    expect(store.all('SELECT agent FROM pin')).toEqual([{ agent: OTHER }])
    await pins.check(AGENT, AFTER)
    expect(pins.check(AGENT, AFTER)).toBeUndefined()
  })
})

describe('a short name', () => {
  const stranger = AGENT.replace('12D3KooWB3', '12D3KooWX3')

  it('means what it meant the first time, after a restart too', async () => {
    const path = join(await tempFolder(), 'mesh.db')
    const { pins, store } = await open(path)
    await pins.checkName('@files', AGENT)
    expect(pins.checkName('@files', AGENT)).toBeUndefined()
    await store.close()
    const again = await open(path)
    expect(again.pins.names()).toEqual([{ text: '@files', agent: AGENT }])
    expect(await failureOf(Promise.resolve(again.pins.checkName('@files', stranger)))).toMatchObject({
      code: 'DEFINITION_CHANGED',
      data: { name: '@files', was: AGENT, is: stranger },
      hint: expect.stringContaining(`pins forget ${AGENT}`)
    })
  })

  it('means another agent only when the owner has forgotten the one before', async () => {
    const { pins } = await open()
    await pins.checkName('@files', AGENT)
    await pins.checkName('@files@bob', AGENT)
    await pins.forget(AGENT, 'read')
    expect(await failureOf(Promise.resolve(pins.checkName('@files', stranger)))).toMatchObject({
      code: 'DEFINITION_CHANGED'
    })
    await pins.forget(AGENT)
    await pins.checkName('@files', stranger)
    expect(pins.names()).toEqual([{ text: '@files', agent: stranger }])
  })

  it('is one of so many that are remembered', async () => {
    const { pins, store } = await open()
    for (let i = 0; i <= MAX_SHORT_NAMES; i++) await pins.checkName(`@a${i}`, AGENT)
    expect(pins.names()).toHaveLength(MAX_SHORT_NAMES)
    expect(pins.names()[0]?.text).toBe('@a1')
    expect(store.get('SELECT count(*) AS n FROM short_name')).toEqual({ n: MAX_SHORT_NAMES })
  })
})
