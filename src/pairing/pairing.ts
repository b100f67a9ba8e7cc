import { MAX_STATEMENTS, STATEMENT_MS } from './constants.ts'
import type { Pairing, PairingInit } from './index.ts'
import { createRedeeming, makeInvite } from './inviting.ts'
import { joinBy } from './joining.ts'
import { createLedger, describePair } from './ledger.ts'
import { createSecrets } from './secrets.ts'
import { createOwnerVerifier } from './statements.ts'
import { readToken } from './token.ts'

export { pairingMigrations } from './rows.ts'

export async function createPairing(init: PairingInit): Promise<Pairing> {
  const { identity, store, vault, network, rpc, trust, emit, name, onUnpair, clock = Date.now } = init
  const ledger = createLedger({ store, vault, trust, emit, clock })
  const { keyIdOf, ...secrets } = createSecrets({ self: identity.id, ledger, clock })
  const context = { identity, store, vault, network, rpc, name, ledger, clock }
  const endpoint = await createRedeeming(context)

  return {
    ...secrets,
    ownerVerifier: createOwnerVerifier(clock),
    async start() {
      // Pairs that were written before the process died, and nothing more
      for (const pair of ledger.live.values()) await ledger.settle(pair)
      await rpc.handle(endpoint)
    },
    invite: (wanted = {}) => makeInvite(context, wanted),
    async join(token, { signal } = {}) {
      const pair = await joinBy(context, readToken(token), { signal })
      await ledger.settle(pair)
      return describePair(pair, trust, keyIdOf(pair))
    },
    pairs: () =>
      [...ledger.live.values()]
        .sort((a, b) => (a.name === b.name ? compare(a.peer, b.peer) : compare(a.name, b.name)))
        .map((pair) => describePair(pair, trust, keyIdOf(pair))),
    isPaired: (peer) => ledger.live.has(peer),
    async unpair(nameOrPeer) {
      const peer = trust.named(nameOrPeer) ?? nameOrPeer
      await ledger.end(peer)
      onUnpair?.(peer)
    },
    ownerStatements: () =>
      [...ledger.live.values()]
        .filter(({ statement, pairedAt }) => statement !== undefined && pairedAt + STATEMENT_MS > clock())
        .sort((a, b) => b.pairedAt - a.pairedAt)
        .slice(0, MAX_STATEMENTS)
        .map(({ statement }) => ({ method: 'owner', jws: statement })),
    stop: async () => {}
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : 1
}
