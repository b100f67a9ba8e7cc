import { MeshError } from '../errors.ts'
import type { Store } from '../store/index.ts'
import type { Vault } from '../vault/index.ts'
import { keyFromPeerId } from '../wire/index.ts'
import { MAX_HELD } from './constants.ts'
import { readKeyId } from './format.ts'
import type { ApiKeys, HeldKey } from './index.ts'

interface HeldInit {
  readonly store: Store
  readonly vault: Vault
  readonly clock: () => number
  readonly onChange: (peer: string) => void
}

/** The keys that this node presents to peers. */
export function createHeld(init: HeldInit): Pick<ApiKeys, 'hold' | 'held' | 'drop' | 'toPresent' | 'holdsFor'> {
  const { store, vault, clock, onChange } = init
  const peers = new Set(store.all('SELECT peer FROM held_key').map(({ peer }) => String(peer)))
  return {
    async hold(peer, key) {
      checkPeer(peer)
      const id = readKeyId(key)
      if (id === undefined) {
        throw new MeshError('INVALID_ARGUMENT', 'that is no API key, or it was not copied right', {
          hint: 'a key starts with mesh_k_ and has 68 characters; its checksum is wrong'
        })
      }
      const addedAt = clock()
      const [changed] = await store.write([
        {
          sql: `INSERT INTO held_key (peer, id, sealed, added_at) SELECT ?1, ?2, ?3, ?4
                WHERE (SELECT count(*) FROM held_key WHERE peer <> ?1) < ?5
                ON CONFLICT (peer) DO UPDATE SET id = excluded.id, sealed = excluded.sealed, added_at = excluded.added_at`,
          params: [peer, id, await vault.seal(key), addedAt, MAX_HELD]
        }
      ])
      if (changed === 0) throw new MeshError('BUSY', `keys for ${MAX_HELD} peers are held already`)
      peers.add(peer)
      onChange(peer)
      return { peer, id, addedAt: new Date(addedAt).toISOString() }
    },
    held: () =>
      store.all('SELECT peer, id, added_at FROM held_key ORDER BY peer').map(
        ({ peer, id, added_at: addedAt }): HeldKey => ({
          peer: String(peer),
          id: String(id),
          addedAt: new Date(Number(addedAt)).toISOString()
        })
      ),
    async drop(peer) {
      const [changed = 0] = await store.write([{ sql: 'DELETE FROM held_key WHERE peer = ?', params: [peer] }])
      peers.delete(peer)
      if (changed > 0) onChange(peer)
      return changed > 0
    },
    async toPresent(peer) {
      if (!peers.has(peer)) return []
      const row = store.get('SELECT sealed FROM held_key WHERE peer = ?', [peer])
      return row === undefined ? [] : [{ method: 'api-key', key: await vault.open(String(row.sealed)) }]
    },
    holdsFor: (peer) => peers.has(peer)
  }
}

/** @throws {MeshError} INVALID_ARGUMENT when it isn't the PeerId of an Ed25519 key */
export function checkPeer(peer: string): void {
  try {
    keyFromPeerId(peer)
  } catch (err) {
    throw new MeshError('INVALID_ARGUMENT', 'that is not the id of a peer', {
      cause: err,
      hint: 'it starts with 12D3Koo'
    })
  }
}
