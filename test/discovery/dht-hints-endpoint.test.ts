import { createHash, randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { TrustLevel } from '../../src/auth/index.ts'
import { type DhtHint, signHint, verifyHint } from '../../src/discovery/dht-hint.ts'
import { createHintsClient } from '../../src/discovery/dht-hints-client.ts'
import {
  createHintsEndpoint,
  type HintsComponents,
  hintsProtocol,
  positionOfKey
} from '../../src/discovery/dht-hints-endpoint.ts'
import { MAX_CLOSER_ADDRESSES, MAX_CLOSER_PEERS } from '../../src/discovery/hint-constants.ts'
import { type HintsGetAnswer, hintsGetAnswer } from '../../src/discovery/hint-messages.ts'
import { nameKey } from '../../src/discovery/names.ts'
import { MeshError } from '../../src/errors.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import { createHolder } from '../../src/network/holder.ts'
import {
  MAX_ENTRIES_PER_ANSWER,
  MAX_ENTRIES_PER_SUBNET,
  MAX_KEYS_PER_WINDOW
} from '../../src/network/holder-constants.ts'
import { createRpc } from '../../src/rpc/index.ts'
import { callerOf, contextOf, strangersAuth } from '../callers.ts'
import { startNode } from '../network/nodes.ts'
import { NOW } from './records.ts'

const HOUR = 3_600_000
const keyOf = (name: string): string => Buffer.from(nameKey('tool', name).multihash.digest).toString('base64url')
const KEY = keyOf('add')
const far = { id: createIdentity().id, addresses: ['/ip4/192.0.2.1/tcp/4001'] }

/** A holder that is asked without a network. */
function make(components: Partial<HintsComponents> = {}) {
  const refused: [string, string][] = []
  const broken: string[] = []
  const clock = { ms: NOW }
  const now = (): number => clock.ms
  const holder = createHolder({ now, random: Math.random, salt: Buffer.alloc(32) })
  const endpoint = createHintsEndpoint({
    holder,
    closest: () => [],
    subnetOf: () => undefined,
    refusals: { add: (peer, reason) => refused.push([peer, reason]) },
    onBroken: (peer) => broken.push(peer),
    now,
    ...components
  })
  const ask = (peer: string, body: unknown, trust: TrustLevel = 'unknown'): unknown =>
    endpoint.handle(body, contextOf(callerOf(peer, trust), new AbortController().signal))
  const get = (rest: object = {}): HintsGetAnswer =>
    hintsGetAnswer.parse(ask('asker', { op: 'get', key: KEY, ...rest }))
  const put = (peer: string, ...hints: Uint8Array[]): string[] => {
    const texts = hints.map((bytes) => Buffer.from(bytes).toString('base64url'))
    const { results } = ask(peer, { op: 'put', hints: texts }) as { results: { result: string }[] }
    return results.map(({ result }) => result)
  }
  return { ask, broken, clock, get, holder, put, refused }
}

async function hintBy(identity: Identity, changes: Partial<DhtHint> = {}): Promise<Uint8Array> {
  return await signHint(identity, { key: KEY, seq: NOW, expiresAt: NOW + HOUR, versions: ['1.0.0'], ...changes })
}

describe('put and get', () => {
  it('give back what the provider has signed', async () => {
    const { get, put } = make()
    const provider = createIdentity()
    const bytes = await hintBy(provider)
    expect(put(provider.id, bytes)).toEqual(['kept'])
    const answer = get()
    expect(answer).toEqual({
      hints: [Buffer.from(bytes).toString('base64url')],
      providers: [],
      total: 1,
      held: 1,
      closer: []
    })
    expect(verifyHint(Buffer.from(answer.hints[0] ?? '', 'base64url'), { key: KEY, now: NOW })).toMatchObject({
      peer: provider.id,
      versions: ['1.0.0']
    })
  })

  it('tell the publisher how many there are', async () => {
    const { ask } = make()
    for (const total of [1, 2, 3]) {
      const provider = createIdentity()
      const hints = [Buffer.from(await hintBy(provider)).toString('base64url')]
      expect(ask(provider.id, { op: 'put', hints })).toEqual({ results: [{ result: 'kept', total }] })
    }
  })

  it('name providers that gave no hint beside those that did', async () => {
    const { get, holder, put } = make()
    const [silent, provider] = [createIdentity(), createIdentity()]
    holder.put({ key: KEY, peer: silent.id, expiresAt: NOW + HOUR })
    put(provider.id, await hintBy(provider))
    expect(get()).toMatchObject({ providers: [silent.id], total: 2, held: 2 })
    expect(get().hints).toHaveLength(1)
  })

  it('give 20 at random, the next ones of all, or the highest versions', async () => {
    const { get, put } = make()
    const peers: string[] = []
    for (let i = 0; i < 50; i++) {
      const provider = createIdentity()
      peers.push(provider.id)
      put(provider.id, await hintBy(provider, { versions: [`1.${i}.0`, '0.1.0'] }))
    }
    const peersIn = ({ hints }: HintsGetAnswer) =>
      hints.map((text) => (verifyHint(Buffer.from(text, 'base64url'), { key: KEY, now: NOW }) as DhtHint).peer)
    expect(new Set(peersIn(get())).size).toBe(MAX_ENTRIES_PER_ANSWER)
    expect(peersIn(get())).not.toEqual(peersIn(get()))
    expect(get().held).toBe(50)
    expect([0, 20, 40, 60].flatMap((offset) => peersIn(get({ offset })))).toEqual(peers)
    expect(peersIn(get({ best: true }))).toEqual(peers.slice(18).toReversed().slice(0, MAX_ENTRIES_PER_ANSWER))
  })

  it('give nothing for a key that nobody put', () => {
    expect(make({ closest: () => [far] }).get()).toEqual({
      hints: [],
      providers: [],
      total: 0,
      held: 0,
      closer: [far]
    })
  })

  it('name nearer nodes, at most 20 with 8 addresses, and not who asks', () => {
    const asker = createIdentity().id
    const asked: [Uint8Array, number][] = []
    const many = Array.from({ length: 40 }, () => ({
      id: createIdentity().id,
      addresses: [`/dns4/${'a'.repeat(130)}/tcp/1`, ...Array.from({ length: 20 }, (_, i) => `/ip4/192.0.2.1/tcp/${i}`)]
    }))
    const closest: HintsComponents['closest'] = (position, count) => {
      asked.push([position, count])
      return [{ id: asker, addresses: [] }, ...many].slice(0, count)
    }
    const answer = hintsGetAnswer.parse(make({ closest }).ask(asker, { op: 'get', key: KEY }))
    expect(answer.closer.map(({ id }) => id)).toEqual(many.slice(0, MAX_CLOSER_PEERS).map(({ id }) => id))
    expect(answer.closer.every(({ addresses }) => addresses.length === MAX_CLOSER_ADDRESSES)).toBe(true)
    expect(asked[0]?.[0]).toEqual(positionOfKey(KEY))
  })

  it('fit a frame at their largest', async () => {
    const closer = Array.from({ length: 30 }, () => ({
      id: createIdentity().id,
      addresses: Array.from({ length: 8 }, () => `/dns4/${'a'.repeat(122)}`)
    }))
    const { ask } = make({ closest: () => closer })
    for (let i = 0; i < 30; i++) {
      const provider = createIdentity()
      const hints = [
        Buffer.from(await hintBy(provider, { versions: [`1.0.0-${'a'.repeat(52)}`] })).toString('base64url')
      ]
      ask(provider.id, { op: 'put', hints, addresses: closer[0]?.addresses.slice(0, 4) })
    }
    expect(JSON.stringify(ask('asker', { op: 'get', key: KEY })).length).toBeLessThan(hintsProtocol.maxFrameBytes)
  })

  it('tell where a provider is, as it said with its hint, or otherwise as the holder knows', async () => {
    const [said, known, silent] = [createIdentity(), createIdentity(), createIdentity()]
    const { ask, get } = make({ addressesOf: (peer) => (peer === known.id ? ['/ip4/192.0.2.9/tcp/1'] : []) })
    for (const provider of [said, known, silent]) {
      const hints = [Buffer.from(await hintBy(provider)).toString('base64url')]
      ask(provider.id, { op: 'put', hints, ...(provider === said && { addresses: far.addresses }) })
    }
    expect(get({ offset: 0 }).where).toEqual([
      { id: said.id, addresses: far.addresses },
      { id: known.id, addresses: ['/ip4/192.0.2.9/tcp/1'] }
    ])
  })

  it('leave out what would spoil the answer', () => {
    const rsa = 'QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N'
    const odd = ['/dns4/a"b/tcp/1', '/dns4/a\\b/tcp/1', '/dns4/a\u0001b', '/dns4/ä', 'tcp', '']
    const { get, holder } = make({
      closest: () => [
        { id: rsa, addresses: [] },
        { ...far, addresses: [...odd, ...far.addresses] }
      ]
    })
    holder.put({ key: KEY, peer: rsa, expiresAt: NOW + HOUR })
    expect(get()).toMatchObject({ providers: [], closer: [far] })
  })

  it('forget what has expired', async () => {
    const { clock, get, put } = make()
    const provider = createIdentity()
    put(provider.id, await hintBy(provider))
    clock.ms += HOUR
    expect(get()).toMatchObject({ hints: [], total: 0 })
  })
})

describe('withdraw', () => {
  it('ends a hint for good, and only its provider can', async () => {
    const { ask, get, put } = make()
    const [provider, other] = [createIdentity(), createIdentity()]
    const bytes = await hintBy(provider)
    put(provider.id, bytes)
    const hints = [{ key: KEY, seq: NOW }]
    expect(ask(other.id, { op: 'withdraw', hints })).toEqual({ withdrawn: 0 })
    expect(get().held).toBe(1)
    expect(ask(provider.id, { op: 'withdraw', hints })).toEqual({ withdrawn: 1 })
    expect(get().held).toBe(0)
    expect(put(provider.id, bytes)).toEqual(['rolled-back'])
    expect(put(provider.id, await hintBy(provider, { seq: NOW + 1 }))).toEqual(['kept'])
  })
})

describe('refusals', () => {
  const provider = createIdentity()
  const thief = createIdentity()

  it.each<{ id: string; peer: string; bytes: () => Promise<Uint8Array>; reason: string; isBroken: boolean }>([
    {
      id: 'a hint of somebody else',
      peer: thief.id,
      bytes: () => hintBy(provider),
      reason: 'wrong-owner',
      isBroken: true
    },
    {
      id: 'a hint signed by another key',
      peer: provider.id,
      bytes: async () => {
        const [own, other] = [await hintBy(provider), await hintBy(thief)]
        return Buffer.concat([own.subarray(0, -64), other.subarray(-64)])
      },
      reason: 'forged',
      isBroken: true
    },
    {
      id: 'bytes that are no hint',
      peer: provider.id,
      bytes: async () => Buffer.alloc(150),
      reason: 'bad-hint',
      isBroken: true
    },
    {
      id: 'an expired hint',
      peer: provider.id,
      bytes: () => hintBy(provider, { expiresAt: NOW }),
      reason: 'expired',
      isBroken: false
    },
    {
      id: 'a hint that would never expire',
      peer: provider.id,
      bytes: () => hintBy(provider, { expiresAt: NOW + 15 * HOUR }),
      reason: 'expired',
      isBroken: false
    }
  ])('of $id are counted for who sent it', async ({ peer, bytes, reason, isBroken }) => {
    const { broken, holder, put, refused } = make()
    expect(put(peer, await bytes())).toEqual([reason])
    expect(refused).toEqual([[peer, reason]])
    expect(broken).toEqual(isBroken ? [peer] : [])
    expect(holder.size).toBe(0)
  })

  it('of an older hint leave the newer one', async () => {
    const { get, put, refused } = make()
    const newer = await hintBy(provider)
    expect(put(provider.id, newer, await hintBy(provider, { seq: NOW - 1 }))).toEqual(['kept', 'rolled-back'])
    expect(refused).toEqual([[provider.id, 'rolled-back']])
    expect(get().hints).toEqual([Buffer.from(newer).toString('base64url')])
  })

  it('come after 16 keys in a minute', async () => {
    const { clock, put, refused } = make()
    const hint = (i: number) => hintBy(provider, { key: keyOf(`tool${i}`) })
    for (let i = 0; i < MAX_KEYS_PER_WINDOW; i++) expect(put(provider.id, await hint(i))).toEqual(['kept'])
    expect(put(provider.id, await hint(99))).toEqual(['over-budget'])
    expect(refused).toEqual([[provider.id, 'over-budget']])
    clock.ms += 60_000
    expect(put(provider.id, await hint(99))).toEqual(['kept'])
  })

  it('come after 8 publishers of one subnet', async () => {
    const { put } = make({ subnetOf: () => '198.51.100' })
    const results: string[] = []
    for (let i = 0; i < 20; i++) {
      const each = createIdentity()
      results.push(...put(each.id, await hintBy(each)))
    }
    expect(results.filter((result) => result === 'kept')).toHaveLength(MAX_ENTRIES_PER_SUBNET)
    expect(results.filter((result) => result === 'too-many')).toHaveLength(20 - MAX_ENTRIES_PER_SUBNET)
  })

  it.each([
    { id: 'no object', body: 'get' },
    { id: 'an unknown op', body: { op: 'list', key: KEY } },
    { id: 'a key that is none', body: { op: 'get', key: 'add' } },
    { id: 'an offset beyond what a holder has', body: { op: 'get', key: KEY, offset: 289 } },
    { id: 'no hints', body: { op: 'put', hints: [] } },
    { id: 'an address that is none', body: { op: 'put', hints: ['AAAA'], addresses: ['tcp'] } },
    { id: '17 hints', body: { op: 'put', hints: Array.from({ length: 17 }, () => 'AAAA') } },
    { id: 'a hint that is not base64url', body: { op: 'put', hints: ['='] } },
    { id: 'a hint that is too long', body: { op: 'put', hints: ['A'.repeat(268)] } },
    {
      id: '65 withdrawals',
      body: { op: 'withdraw', hints: Array.from({ length: 65 }, () => ({ key: KEY, seq: 1 })) }
    }
  ])('meet $id', ({ body }) => {
    const { ask } = make()
    expect(() => ask(provider.id, body)).toThrow(expect.objectContaining({ code: 'INVALID_MESSAGE' }))
  })

  it('meet a blocked peer', () => {
    const { ask } = make()
    expect(() => ask(provider.id, { op: 'get', key: KEY }, 'blocked')).toThrow(
      expect.objectContaining({ code: 'FORBIDDEN' })
    )
  })
})

describe('asking a holder', () => {
  const request = async (answer: unknown) =>
    await createHintsClient({ rpc: { request: async () => answer } }).get(
      'peer',
      { key: KEY },
      { signal: AbortSignal.timeout(1_000) }
    )
  const empty = { hints: [], providers: [], total: 0, held: 0, closer: [] }

  it('ignores what a later version adds', async () => {
    expect(await request({ ...empty, more: true })).toEqual(empty)
  })

  it.each([
    { id: 'is nothing', answer: undefined },
    { id: 'has 21 hints', answer: { ...empty, hints: Array.from({ length: 21 }, () => 'AAAA') } },
    { id: 'has a hint that is too long', answer: { ...empty, hints: ['A'.repeat(268)] } },
    { id: 'has 21 providers', answer: { ...empty, providers: Array.from({ length: 21 }, () => far.id) } },
    { id: 'names a provider that is none', answer: { ...empty, providers: ['peer'] } },
    { id: 'names 21 nearer nodes', answer: { ...empty, closer: Array.from({ length: 21 }, () => far) } },
    {
      id: 'has nine addresses of one',
      answer: { ...empty, closer: [{ id: far.id, addresses: Array.from({ length: 9 }, () => '/ip4/192.0.2.1/tcp/1') }] }
    },
    { id: 'tells of 21 places', answer: { ...empty, where: Array.from({ length: 21 }, () => far) } },
    { id: 'has a negative total', answer: { ...empty, total: -1 } },
    { id: 'holds more than a holder may', answer: { ...empty, held: 289 } }
  ])('fails when the answer $id', async ({ answer }) => {
    await expect(request(answer)).rejects.toMatchObject({ code: 'INVALID_MESSAGE' })
  })

  it('works over a real connection', async () => {
    const [provider, keeper, seeker] = [await startNode(), await startNode(), await startNode()]
    const rpcs = [provider, keeper, seeker].map(({ network }) =>
      createRpc({ network, authenticate: strangersAuth().sessionOf })
    )
    onTestFinished(async () => void (await Promise.all(rpcs.map((rpc) => rpc.stop()))))
    const [providing, keeping, seeking] = rpcs as [(typeof rpcs)[0], (typeof rpcs)[0], (typeof rpcs)[0]]
    const holder = createHolder({ now: Date.now, random: Math.random, salt: Buffer.from(randomUUID()) })
    const components = { closest: () => [far], subnetOf: () => undefined, refusals: { add: () => {} }, now: Date.now }
    await keeping.handle(createHintsEndpoint({ holder, ...components }))
    await provider.network.connect(keeper.address())
    await seeker.network.connect(keeper.address())
    const options = { signal: AbortSignal.timeout(5_000) }
    const mine = createHintsClient({ rpc: providing })
    const seq = Date.now()
    const bytes = await hintBy(provider.identity, { seq, expiresAt: Date.now() + HOUR })
    expect(await mine.put(keeper.id, [bytes], { ...options, addresses: ['not one', ...far.addresses] })).toEqual({
      results: [{ result: 'kept', total: 1 }]
    })
    const found = await createHintsClient({ rpc: seeking }).get(keeper.id, { key: KEY }, options)
    expect(found).toMatchObject({
      where: [{ id: provider.id, addresses: far.addresses }],
      total: 1,
      held: 1,
      closer: [far]
    })
    expect(verifyHint(Buffer.from(found.hints[0] ?? '', 'base64url'), { key: KEY, now: Date.now() })).toMatchObject({
      peer: provider.id
    })
    expect(await mine.withdraw(keeper.id, [{ key: KEY, seq }], options)).toBe(1)
    expect((await createHintsClient({ rpc: seeking }).get(keeper.id, { key: KEY }, options)).held).toBe(0)
  })
})

it('places a key where the DHT does', () => {
  const { multihash } = nameKey('tool', 'add')
  expect(Buffer.from(positionOfKey(KEY))).toEqual(createHash('sha256').update(multihash.bytes).digest())
})

it('answers any body or refuses it, and keeps nothing that is not signed', () => {
  const { ask, holder } = make({ closest: () => [far] })
  const field = fc.oneof(fc.constantFrom('put', 'get', 'withdraw', KEY, 'AAAA'), fc.jsonValue())
  const hint = fc.uint8Array({ minLength: 130, maxLength: 210 }).map((bytes) => {
    bytes[0] = 1
    return Buffer.from(bytes).toString('base64url')
  })
  const body = fc.oneof(
    fc.record(
      { op: field, key: field, hints: fc.array(field), offset: field, best: field, addresses: field },
      { requiredKeys: ['op'] }
    ),
    fc.record({ op: fc.constant('put'), hints: fc.array(hint, { minLength: 1, maxLength: 16 }) })
  )
  const outcome = (answer: () => unknown): string => {
    try {
      return JSON.stringify(answer()).length < hintsProtocol.maxFrameBytes ? 'an answer' : 'more than a frame'
    } catch (err) {
      return MeshError.from(err).code
    }
  }
  fc.assert(
    fc.property(body, (each) => {
      expect(['an answer', 'INVALID_MESSAGE']).toContain(outcome(() => ask(far.id, each)))
      expect(holder.size).toBe(0)
    }),
    { seed: 10, numRuns: 1_000 }
  )
})
