import type { Migrations } from '../store/index.ts'
import { unfinished } from '../unfinished.ts'
import type { Pairing, PairingInit } from './index.ts'

export const pairingMigrations: Migrations = { room: 'pairing', steps: [] }

export async function createPairing(_init: PairingInit): Promise<Pairing> {
  const verify = () => Promise.reject(new Error('not built'))
  return unfinished<Pairing>({
    start: async () => {},
    stop: async () => {},
    pairs: () => [],
    isPaired: () => false,
    ownerStatements: () => [],
    verifier: { method: 'shared-secret', verify },
    ownerVerifier: { method: 'owner', verify }
  })
}
