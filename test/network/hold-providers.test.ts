import { createHash } from 'node:crypto'
import type { PeerId } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { create as createDigest } from 'multiformats/hashes/digest'
import { describe, expect, it } from 'vitest'
import { createIdentity } from '../../src/identity/index.ts'
import { PROVIDER_VALIDITY_MS } from '../../src/network/constants.ts'
import { holdProviders, type ProviderStore } from '../../src/network/hold-providers.ts'
import { createHolder } from '../../src/network/holder.ts'
import {
  MAX_ENTRIES_PER_ANSWER,
  MAX_ENTRIES_PER_SUBNET,
  MAX_KEYS_PER_WINDOW
} from '../../src/network/holder-constants.ts'

const KEY = keyOf('a name')

function keyOf(text: string, code = 0x12): CID {
  return CID.createV1(raw.code, createDigest(code, createHash('sha256').update(text).digest()))
}

/** kad-dht's own store, as far as it is used. */
function stock(): ProviderStore & { readonly written: PeerId[] } {
  const written: PeerId[] = []
  return {
    written,
    addProvider: async (_key, provider) => void written.push(provider),
    getProviders: async () => written
  }
}

function make({ address = '/ip4/127.0.0.1/tcp/1', forgotten }: { address?: string; forgotten?: PeerId } = {}) {
  const store = stock()
  let ms = 1_795_435_200_000
  const now = (): number => ms
  const holder = createHolder({ now, random: Math.random, salt: Buffer.alloc(32) })
  const isStored = async (peer: PeerId): Promise<boolean> => peer.toString() !== forgotten?.toString()
  holdProviders(store, { holder, addressOf: () => address, isStored, now })
  return { store, holder, pass: (time: number) => (ms += time) }
}

const strangers = (count: number): PeerId[] => Array.from({ length: count }, () => createIdentity().peerId)
const texts = (peers: readonly PeerId[]): string[] => peers.map((peer) => peer.toString())

describe('provider records', () => {
  it('are held, and not written', async () => {
    const { store, holder } = make()
    const [peer] = strangers(1) as [PeerId]
    await store.addProvider(KEY, peer)
    expect(texts(await store.getProviders(KEY))).toEqual([peer.toString()])
    expect(store.written).toEqual([])
    expect(holder.size).toBe(1)
  })

  it('that an earlier run has written are not given', async () => {
    const { store } = make()
    store.written.push(...strangers(3))
    expect(await store.getProviders(KEY)).toEqual([])
  })

  it('are gone after their time', async () => {
    const { store, pass } = make()
    const [peer] = strangers(1) as [PeerId]
    await store.addProvider(KEY, peer)
    pass(PROVIDER_VALIDITY_MS)
    expect(await store.getProviders(KEY)).toEqual([])
  })

  it('are named 20 at a time', async () => {
    const { store } = make()
    for (const peer of strangers(60)) await store.addProvider(KEY, peer)
    expect(new Set(texts(await store.getProviders(KEY))).size).toBe(MAX_ENTRIES_PER_ANSWER)
  })

  it('of a peer that the peer store has forgotten are left out, and do not spoil the answer', async () => {
    const [gone, there] = strangers(2) as [PeerId, PeerId]
    const { store } = make({ forgotten: gone })
    await store.addProvider(KEY, gone)
    await store.addProvider(KEY, there)
    expect(texts(await store.getProviders(KEY))).toEqual([there.toString()])
  })

  it('are bounded for each publisher and minute', async () => {
    const { store, holder } = make()
    const [peer] = strangers(1) as [PeerId]
    for (let i = 0; i < 50; i++) await store.addProvider(keyOf(`${i}`), peer)
    expect(holder.size).toBe(MAX_KEYS_PER_WINDOW)
  })

  it('are bounded for each subnet', async () => {
    const { store, holder } = make({ address: '/ip4/198.51.100.7/tcp/1' })
    for (const peer of strangers(20)) await store.addProvider(KEY, peer)
    expect(holder.size).toBe(MAX_ENTRIES_PER_SUBNET)
  })

  it('of a peer with another kind of key are nobody’s: no mesh has such peers', async () => {
    const { store, holder } = make()
    await store.addProvider(KEY, peerIdFromString('QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N'))
    expect(holder.size).toBe(0)
  })

  it('under a key that is no SHA-256 are nobody’s', async () => {
    const { store, holder } = make()
    const [peer] = strangers(1) as [PeerId]
    await store.addProvider(keyOf('a name', 0x16), peer)
    expect(holder.size).toBe(0)
    expect(await store.getProviders(keyOf('a name', 0x16))).toEqual([])
  })
})
