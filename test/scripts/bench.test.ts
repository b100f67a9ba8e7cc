import { identify } from '@libp2p/identify'
import { memory } from '@libp2p/memory'
import { ping } from '@libp2p/ping'
import { yamux } from '@libp2p/yamux'
import fc from 'fast-check'
import { createLibp2p } from 'libp2p'
import { describe, expect, it, onTestFinished } from 'vitest'
import { judge } from '../../scripts/bench/floors.ts'
import { encodeFrame, frameReader } from '../../scripts/bench/frames.ts'
import { median, percentile } from '../../scripts/bench/measure.ts'
import { checkEcho, checkItem, MESSAGE_BYTES, nthItem, nthMessage } from '../../scripts/bench/payload.ts'
import { align } from '../../scripts/bench/report.ts'
import type { Result } from '../../scripts/bench/result.ts'
import type { Ledger } from '../../scripts/sim/meter.ts'
import { createLedger } from '../../scripts/sim/meter.ts'
import { createRandom } from '../../scripts/sim/random.ts'
import { layOut } from '../../scripts/sim/world.ts'

describe('what the bench sends', () => {
  it.each([0, 1, 8_999_999])('message %i is one KiB of JSON', (n) => {
    expect(JSON.stringify(nthMessage(n))).toHaveLength(MESSAGE_BYTES)
  })

  it('takes an echo for good only when id and length are the same', () => {
    const sent = nthMessage(7)
    checkEcho(sent, structuredClone(sent))
    expect(() => checkEcho(sent, nthMessage(8))).toThrow('bad echo')
    expect(() => checkEcho(sent, { ...sent, params: { ...sent.params, text: 'short' } })).toThrow('bad echo')
    expect(() => checkEcho(sent, undefined)).toThrow('bad echo')
  })

  it('notices an item that is missing or comes twice', () => {
    checkItem(3, nthItem(3))
    expect(() => checkItem(3, nthItem(4))).toThrow('item 3 was due')
    expect(() => checkItem(3, nthItem(2))).toThrow('item 3 was due')
  })

  it('reads frames back however they are cut', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 300 })), fc.integer({ min: 1, max: 64 }), (texts, cut) => {
        const bytes = Buffer.concat(texts.map(encodeFrame))
        const read: string[] = []
        const push = frameReader((frame) => read.push(frame.toString()))
        for (let at = 0; at < bytes.length; at += cut) push(bytes.subarray(at, at + cut))
        expect(read).toEqual(texts)
      })
    )
  })
})

describe('what the bench says', () => {
  it.each([
    { id: 'of none', values: [], p50: Number.NaN, p95: Number.NaN, middle: Number.NaN },
    { id: 'of one', values: [4], p50: 4, p95: 4, middle: 4 },
    { id: 'of an even number, in any order', values: [40, 10, 30, 20], p50: 20, p95: 40, middle: 25 },
    { id: 'of an odd number', values: [3, 1, 2], p50: 2, p95: 3, middle: 2 }
  ])('percentiles and median $id', ({ values, p50, p95, middle }) => {
    expect([percentile(values, 0.5), percentile(values, 0.95), median(values)]).toEqual([p50, p95, middle])
  })

  it('judges a floor by the median ratio of runs at the same time', () => {
    const result = (system: Result['system'], runs: number[]): Result => ({
      bench: 'call',
      system,
      inFlight: 64,
      bytes: 1024,
      perSecond: median(runs),
      p50Ms: 1,
      p99Ms: 1,
      runs,
      runsP50Ms: []
    })
    // The machine is ten times slower in the second run, for both alike.
    const floors = judge([result('pryx-mesh', [70, 7, 60]), result('libp2p', [100, 10, 100])], ['call'])
    const byName = new Map(floors.map((floor) => [floor.name, floor]))
    expect(byName.get('64 in flight: rate to libp2p')).toMatchObject({ value: 0.7, met: true })
    expect(byName.get('64 in flight: rate to nats')).toMatchObject({ value: undefined, met: undefined })
    expect(floors.every(({ bench }) => bench === 'call')).toBe(true)
  })

  it('aligns words to the left and numbers to the right', () => {
    expect(
      align([
        ['system', 'n'],
        ['a', '1'],
        ['bcd', '10']
      ])
    ).toBe('  system   n\n  a        1\n  bcd     10')
  })
})

describe('the simulation', () => {
  it('lays out the same mesh from the same seed, and another from another', () => {
    const [one, same, other] = [layOut(20, createRandom(7)), layOut(20, createRandom(7)), layOut(20, createRandom(8))]
    expect(same).toEqual(one)
    expect(other).not.toEqual(one)
    expect(one.offers.every((names) => new Set(names).size === 3)).toBe(true)
    expect(one.contacts.every((contacts, node) => contacts.every((contact) => contact < node))).toBe(true)
  })

  it('counts what two nodes say to each other, by protocol', async () => {
    const ledger = createLedger()
    const [a, b] = [await startPlain(ledger, 'meter-a'), await startPlain(ledger, 'meter-b')]
    const [address] = b.getMultiaddrs()
    if (address === undefined) throw new Error('b does not listen')
    await a.dial(address)
    await a.services.ping.ping(address)
    const isPing = (protocol: string): boolean => protocol === '/ipfs/ping/1.0.0'
    // Each side negotiates, then a sends 32 bytes and b sends them back.
    expect(ledger.messages().get('/ipfs/ping/1.0.0')).toBeGreaterThanOrEqual(4)
    expect(ledger.messages().get('/ipfs/ping/1.0.0')).toBeLessThanOrEqual(6)
    expect(ledger.messagesOf(a.peerId.toString(), isPing)).toBe(ledger.messagesOf(b.peerId.toString(), isPing))
    expect([...ledger.messages().keys()].toSorted()).toEqual(
      expect.arrayContaining(['/ipfs/id/1.0.0', '/ipfs/ping/1.0.0'])
    )
    expect(ledger.bytes()).toBeGreaterThan(64)
  })
})

async function startPlain(ledger: Ledger, name: string) {
  const node = await createLibp2p({
    addresses: { listen: [`/memory/${name}`] },
    transports: [memory()],
    connectionEncrypters: [ledger.encrypter()],
    streamMuxers: [yamux()],
    connectionMonitor: { enabled: false },
    services: { identify: identify(), ping: ping() }
  })
  onTestFinished(() => node.stop())
  return node
}
