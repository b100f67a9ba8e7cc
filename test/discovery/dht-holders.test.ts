import { describe, expect, it } from 'vitest'
import { PLAIN_MS } from '../../src/discovery/constants.ts'
import { signHint } from '../../src/discovery/dht-hint.ts'
import type { HintsClient } from '../../src/discovery/dht-hints-client.ts'
import { createHolders, textOf } from '../../src/discovery/dht-holders.ts'
import type { HintsGetAnswer } from '../../src/discovery/hint-messages.ts'
import { nameKey } from '../../src/discovery/names.ts'
import { MeshError } from '../../src/errors.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import { createHolder } from '../../src/network/holder.ts'
import { NOW } from './records.ts'

const KEY = nameKey('tool', 'db.query')
const options = { signal: new AbortController().signal }
const closer = [{ id: createIdentity().id, addresses: ['/ip4/10.0.0.1/tcp/1'] }]

/** Holders that answer as they are told to; what this node did and refused. */
function speaking(client: Partial<HintsClient> = {}) {
  const world = { ms: NOW, asked: 0, plain: 0 }
  const refused: string[] = []
  const broken: string[] = []
  const provided: string[] = []
  const dht = {
    holder: createHolder({ now: () => world.ms, random: Math.random, salt: Buffer.alloc(32) }),
    async askProviders() {
      world.plain++
      return { closer, providers: ['stock'] }
    },
    async addProvider(peer: string) {
      provided.push(peer)
    }
  }
  const unused = () => Promise.reject(new Error('not asked for'))
  const identity = createIdentity()
  const holders = createHolders({
    identity,
    dht,
    client: { get: unused, put: unused, withdraw: unused, ...client },
    addresses: () => ['/ip4/10.0.0.9/tcp/9'],
    refusals: { add: (_, reason) => void refused.push(reason) },
    onBroken: (_, reason) => void broken.push(reason),
    now: () => world.ms
  })
  return { world, identity, holders, refused, broken, provided, dht }
}

async function hintBy(identity: Identity, more: { name?: string; lifetimeMs?: number } = {}): Promise<string> {
  const { name = 'db.query', lifetimeMs = 60_000 } = more
  const said = { key: textOf(nameKey('tool', name)), seq: NOW, expiresAt: NOW + lifetimeMs, versions: ['1.2.0'] }
  return Buffer.from(await signHint(identity, said)).toString('base64url')
}

const answer = (hints: readonly string[], more: Partial<HintsGetAnswer> = {}): HintsGetAnswer => ({
  hints: [...hints],
  providers: [],
  total: 7,
  held: hints.length,
  closer: [],
  ...more
})

describe('asking a holder', () => {
  it('gives those whose hints are signed, with their versions and where they are, and those of provider records', async () => {
    const provider = createIdentity()
    const hint = await hintBy(provider)
    const where = [{ id: provider.id, addresses: ['/ip4/10.0.0.7/tcp/1'] }]
    const get = async () => answer([hint], { providers: ['other'], where, closer })
    const { holders, refused } = speaking({ get })
    expect(await holders.ask('holder', KEY, options)).toEqual({
      closer,
      named: [
        { peer: 'other', versions: [], addresses: [] },
        { peer: provider.id, versions: ['1.2.0'], addresses: ['/ip4/10.0.0.7/tcp/1'] }
      ],
      total: 7,
      held: 1
    })
    expect(refused).toEqual([])
  })

  it.each([
    {
      id: 'for another key',
      hint: () => hintBy(createIdentity(), { name: 'other' }),
      reason: 'bad-hint',
      blamed: true
    },
    {
      id: 'that has expired',
      hint: () => hintBy(createIdentity(), { lifetimeMs: -1000 }),
      reason: 'expired',
      blamed: false
    },
    {
      id: 'that nobody signed',
      hint: async () => (await hintBy(createIdentity())).replace(/.{4}$/, 'AAAA'),
      reason: 'forged',
      blamed: true
    }
  ])('refuses a hint $id, and says whose fault it is', async ({ hint, reason, blamed }) => {
    const forged = await hint()
    const { holders, refused, broken } = speaking({ get: async () => answer([forged]) })
    expect((await holders.ask('holder', KEY, options)).named).toEqual([])
    expect(refused).toEqual([reason])
    expect(broken).toEqual(blamed ? [`a hint: ${reason}`] : [])
  })

  it('lets no hint live on in what it has checked before', async () => {
    const hint = await hintBy(createIdentity())
    const { holders, refused, world } = speaking({ get: async () => answer([hint]) })
    expect((await holders.ask('a', KEY, options)).named).toHaveLength(1)
    world.ms += 61_000
    expect((await holders.ask('b', KEY, options)).named).toHaveLength(0)
    expect(refused).toEqual(['expired'])
  })

  it('asks one that speaks no hints as any libp2p node does, and no more in vain for an hour', async () => {
    let tried = 0
    const get = async () => {
      tried++
      throw new MeshError('UNSUPPORTED_VERSION', 'no hints here')
    }
    const { holders, world } = speaking({ get })
    for (let i = 0; i < 3; i++) {
      expect(await holders.ask('stock', KEY, options)).toEqual({
        closer,
        named: [{ peer: 'stock', versions: [], addresses: [] }],
        total: undefined,
        held: 1
      })
    }
    expect({ tried, plain: world.plain }).toEqual({ tried: 1, plain: 3 })
    world.ms += PLAIN_MS + 1
    await holders.ask('stock', KEY, options)
    expect(tried).toBe(2)
  })

  it.each(['INVALID_MESSAGE', 'TOO_LARGE'] as const)(
    'counts an answer that is none (%s) against the holder',
    async (code) => {
      const { holders, refused } = speaking({ get: () => Promise.reject(new MeshError(code, 'nonsense')) })
      await expect(holders.ask('holder', KEY, options)).rejects.toMatchObject({ code })
      expect(refused).toEqual(['malformed'])
    }
  )

  it('knows what it holds itself without asking', () => {
    const { holders, dht } = speaking()
    const { id } = createIdentity()
    dht.holder.put({ key: textOf(KEY), peer: id, expiresAt: NOW + 1000 })
    expect(holders.own(KEY)).toEqual([{ peer: id, versions: [], addresses: [] }])
  })
})

describe('putting and withdrawing', () => {
  it('is done when the holder keeps it, or has enough others; the nearest get a provider record too', async () => {
    const results: string[] = ['kept', 'dropped', 'over-budget']
    const told: (readonly string[] | undefined)[] = []
    const { holders, provided } = speaking({
      async put(_peer, _hints, { addresses }) {
        told.push(addresses)
        return { results: [{ result: results.shift() ?? '', total: 1 }] }
      }
    })
    const hint = new Uint8Array()
    expect(await holders.put('a', KEY, hint, { ...options, withProviderRecord: true })).toBe(true)
    expect(await holders.put('b', KEY, hint, { ...options, withProviderRecord: true })).toBe(true)
    expect(await holders.put('c', KEY, hint, { ...options, withProviderRecord: false })).toBe(false)
    expect(provided).toEqual(['a', 'b'])
    expect(told[0]).toEqual(['/ip4/10.0.0.9/tcp/9'])
  })

  it('leaves a provider record at the nearest of those who speak no hints', async () => {
    const { holders, provided } = speaking({ put: () => Promise.reject(new MeshError('UNSUPPORTED_VERSION', 'none')) })
    const hint = new Uint8Array()
    expect(await holders.put('near', KEY, hint, { ...options, withProviderRecord: true })).toBe(true)
    expect(await holders.put('far', KEY, hint, { ...options, withProviderRecord: false })).toBe(false)
    expect(provided).toEqual(['near'])
  })

  it('withdraws so many keys at a time, up to now', async () => {
    const sent: number[][] = []
    const { holders } = speaking({
      async withdraw(_peer, hints) {
        sent.push([hints.length, hints[0]?.seq ?? 0])
        return hints.length
      }
    })
    const keys = Array.from({ length: 100 }, (_, i) => nameKey('tool', `t${i}`))
    await holders.withdraw('holder', keys, options)
    expect(sent).toEqual([
      [64, NOW],
      [36, NOW]
    ])
  })
})
