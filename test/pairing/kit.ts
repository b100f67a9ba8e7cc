import { onTestFinished } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { createEvents } from '../../src/events.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import { createPairing, type Pairing, pairingMigrations } from '../../src/pairing/index.ts'
import type { Endpoint, Rpc } from '../../src/rpc/index.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { createTrust, type Trust, trustMigrations } from '../../src/trust/index.ts'
import { openVault, type Vault } from '../../src/vault/index.ts'
import { contextOf } from '../callers.ts'

export const START = Date.parse('2026-11-23T10:00:00Z')
export const MINUTE = 60_000
export const DAY = 86_400_000

export interface Kit {
  readonly name: string
  readonly identity: Identity
  readonly store: Store
  readonly vault: Vault
  readonly trust: Trust
  readonly pairing: Pairing
  readonly unpaired: string[]
  readonly paired: string[]
  /** By this node's clock. */
  now: number
  /** Says something to the pair endpoint of another, as this node. */
  readonly tell: (peer: string, body: unknown) => Promise<unknown>
}

/** Nodes that reach each other without a network; everything but network and rpc is real. */
export class Town {
  readonly endpoints = new Map<string, Endpoint>()
  /** Sees each answer on its way; may throw in its place. */
  onAnswer: (answer: unknown) => unknown = (answer) => answer

  async move(init: { name?: string; before?: Kit; path?: string; trust?: (trust: Trust) => Trust } = {}): Promise<Kit> {
    const { name = 'node', before, path } = init
    const identity = before?.identity ?? createIdentity()
    const store = before?.store ?? (await openStore({ path, migrations: [pairingMigrations, trustMigrations] }))
    if (before === undefined) onTestFinished(() => store.close())
    const vault = before?.vault ?? (await openVault())
    const events = createEvents()
    const clock = (): number => kit.now
    const trust = await createTrust({ store, emit: events.emit, clock })
    const [unpaired, paired]: [string[], string[]] = [[], []]
    events.on('peer:paired', ({ peer }) => paired.push(peer))
    const tell = async (peer: string, body: unknown): Promise<unknown> => {
      const endpoint = this.endpoints.get(peer)
      if (endpoint === undefined) throw new MeshError('UNREACHABLE', 'nobody there')
      const caller = { peer: identity.id, credentials: [], trust: 'unknown', binding: 'noise' } as const
      const context = contextOf(caller, AbortSignal.timeout(10_000))
      return this.onAnswer(structuredClone(await endpoint.handle(structuredClone(body), context)))
    }
    const rpc: Rpc = {
      handle: async (endpoint) => void this.endpoints.set(identity.id, endpoint),
      request: (peer, _protocol, body) => tell(peer, body),
      stream: () => {
        throw new Error('nothing streams')
      },
      dispatch: async () => undefined,
      stop: async () => {}
    }
    const network = {
      connect: async (address: string) => {
        const peer = address.split('/').at(-1) ?? ''
        if (!this.endpoints.has(peer) || address.startsWith('/ip4/192.0.2.')) {
          throw new MeshError('UNREACHABLE', 'nobody there')
        }
        return peer
      },
      status: () => ({
        addresses: [`/ip4/127.0.0.1/tcp/4001/p2p/${identity.id}`],
        lan: 'off' as const,
        connections: 0,
        mesh: 'main',
        routingTable: 0
      })
    }
    const pairing = await createPairing({
      identity,
      store,
      vault,
      network,
      rpc,
      name,
      clock,
      trust: init.trust?.(trust) ?? trust,
      emit: events.emit,
      onUnpair: (peer) => unpaired.push(peer)
    })
    const kit: Kit = { name, identity, store, vault, trust, pairing, unpaired, paired, tell, now: before?.now ?? START }
    await pairing.start()
    return kit
  }

  /** Two nodes, the second of which has joined the first. */
  async pair(): Promise<[Kit, Kit]> {
    const [ann, bob] = [await this.move({ name: 'ann' }), await this.move({ name: 'bob' })]
    await bob.pairing.join((await ann.pairing.invite()).token)
    return [ann, bob]
  }
}
